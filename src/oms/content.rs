//! What a statement lists, as lines to compare with files: whole files, or files in shards.

use std::collections::BTreeMap;

use super::statement::{FileSubject, Resource, Serialization};
use super::{Content, OmsError};
use crate::artifact::manifest::Line;
use crate::checkpoint::decimal;
use crate::digest::{self, Algorithm, Sha256, ShardHash, Sharding};
use crate::path::ArtifactPath;

/// The media name of a single file, as model_signing writes it.
pub(super) const SINGLE_FILE: &str = ".";
/// What model_signing 0.2.0 calls the digest of a whole file.
const FILE_SHA256: &str = "file-sha256";

/// What is listed, the root digest over it in the order in which it is listed, and whether that order is
/// not the specified one.
pub(super) struct Listed {
    pub(super) content: Content,
    pub(super) root: Sha256,
    pub(super) unsorted: bool,
}

/// The digest of files that `serialization` asks for.
pub(super) fn algorithm(
    serialization: &Serialization,
    resources: usize,
) -> Result<Algorithm, OmsError> {
    let of = match serialization.hash_type.as_str() {
        "sha256" => ShardHash::Sha256,
        "blake2b" => ShardHash::Blake2b,
        "blake3" => ShardHash::Blake3,
        _ => return Err(OmsError::Statement("unknown hash type")),
    };
    match (serialization.method.as_str(), serialization.shard_size) {
        ("files", None) => Ok(of.algorithm()),
        ("files", Some(_)) => Err(OmsError::Statement("method files has a shard size")),
        ("shards", Some(size)) => Ok(Algorithm::Sharded(Sharding {
            of,
            size,
            most: resources as u64,
            keep: false,
        })),
        ("shards", None) => Err(OmsError::Statement("method shards has no shard size")),
        _ => Err(OmsError::Statement("unknown serialization method")),
    }
}

/// The resources of a v1.0 statement.
pub(super) fn resources(
    resources: Vec<Resource>,
    algorithm: Algorithm,
) -> Result<Listed, OmsError> {
    match algorithm {
        Algorithm::Sharded(sharding) => shards(resources, sharding),
        algorithm => {
            let named = |label: &str| label == algorithm.name();
            if !resources.iter().all(|one| named(&one.algorithm)) {
                return Err(OmsError::Statement(
                    "a resource has another algorithm than hash_type",
                ));
            }
            let files = resources.into_iter().map(|one| {
                let digest = decode(algorithm, &one.name, &one.digest)?;
                Ok((one.name, digest))
            });
            files_of(files.collect::<Result<_, OmsError>>()?)
        }
    }
}

/// The subjects of a statement of model_signing 0.2.0.
pub(super) fn subjects(subjects: Vec<FileSubject>) -> Result<Listed, OmsError> {
    let files = subjects.into_iter().map(|subject| {
        if subject.annotations.actual_hash_algorithm != FILE_SHA256 {
            return Err(OmsError::Unsupported(format!(
                "digests of kind {:?}, only {FILE_SHA256:?}",
                subject.annotations.actual_hash_algorithm
            )));
        }
        Ok((subject.name, subject.digest.sha256.0.into()))
    });
    files_of(files.collect::<Result<_, OmsError>>()?)
}

fn decode(algorithm: Algorithm, name: &str, digest: &str) -> Result<Box<[u8]>, OmsError> {
    let decoded = digest::decode(algorithm, digest);
    decoded.map(Vec::into).map_err(|source| OmsError::Digest {
        name: name.into(),
        source,
    })
}

fn path(name: &str) -> Result<ArtifactPath, OmsError> {
    ArtifactPath::new(name).map_err(|source| OmsError::Path {
        name: name.into(),
        source,
    })
}

/// Whole files, in the order in which they are listed.
fn files_of(files: Vec<(String, Box<[u8]>)>) -> Result<Listed, OmsError> {
    if files.is_empty() {
        return Err(OmsError::Statement("it lists no file"));
    }
    let digests: Vec<u8> = files
        .iter()
        .flat_map(|(_, digest)| digest.to_vec())
        .collect();
    let root = Sha256::of(&digests);
    if let [(name, digest)] = files.as_slice()
        && name == SINGLE_FILE
    {
        let digest = digest.clone();
        return Ok(Listed {
            content: Content::File { digest },
            root,
            unsorted: false,
        });
    }
    let lines = files.into_iter().map(|(name, digest)| {
        let path = path(&name)?;
        Ok(Line { digest, path })
    });
    let mut lines: Vec<Line> = lines.collect::<Result<_, OmsError>>()?;
    let unsorted = !lines.is_sorted_by(|a, b| a.path < b.path);
    lines.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    let twice = lines
        .windows(2)
        .find(|pair| matches!(pair, [a, b] if a.path == b.path));
    if let Some([twice, ..]) = twice {
        return Err(OmsError::Twice(twice.path.as_str().into()));
    }
    Ok(Listed {
        content: Content::Tree(lines),
        root,
        unsorted,
    })
}

/// One part of a file, as it is listed.
struct Shard {
    start: u64,
    end: u64,
    digest: Box<[u8]>,
}

/// Files in shards: each must be covered from its first byte to its last, once.
fn shards(resources: Vec<Resource>, sharding: Sharding) -> Result<Listed, OmsError> {
    if resources.is_empty() {
        return Err(OmsError::Statement("it lists no file"));
    }
    let unsorted = !resources.is_sorted_by(|a, b| a.name < b.name);
    let algorithm = sharding.of.algorithm();
    let label = format!("{}-sharded-{}", algorithm.name(), sharding.size);
    let mut digests = Vec::new();
    let mut files: BTreeMap<String, Vec<Shard>> = BTreeMap::new();
    for resource in resources {
        // The specification says the one, and everybody writes the other.
        if resource.algorithm != algorithm.name() && resource.algorithm != label {
            return Err(OmsError::Statement(
                "a resource has another algorithm or shard size than the serialization",
            ));
        }
        let digest = decode(algorithm, &resource.name, &resource.digest)?;
        digests.extend_from_slice(&digest);
        let (name, start, end) = range(&resource.name).ok_or(OmsError::Statement(
            "a resource of method shards is not named <path>:<start>:<end>",
        ))?;
        let shard = Shard { start, end, digest };
        files.entry(name.into()).or_default().push(shard);
    }
    let root = Sha256::of(&digests);
    if files.len() == 1
        && let Some(shards) = files.remove(SINGLE_FILE)
    {
        let digest = joined(SINGLE_FILE, shards, sharding)?;
        return Ok(Listed {
            content: Content::File { digest },
            root,
            unsorted,
        });
    }
    let lines = files.into_iter().map(|(name, shards)| {
        let path = path(&name)?;
        let digest = joined(&name, shards, sharding)?;
        Ok(Line { digest, path })
    });
    let mut lines: Vec<Line> = lines.collect::<Result<_, OmsError>>()?;
    lines.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(Listed {
        content: Content::Tree(lines),
        root,
        unsorted,
    })
}

/// `<path>:<start>:<end>`; the path may hold colons.
fn range(name: &str) -> Option<(&str, u64, u64)> {
    let (rest, end) = name.rsplit_once(':')?;
    let (name, start) = rest.rsplit_once(':')?;
    Some((name, decimal(start)?, decimal(end)?))
}

/// The digest that stands for a file in shards, which must leave no gap and not overlap.
fn joined(name: &str, mut shards: Vec<Shard>, sharding: Sharding) -> Result<Box<[u8]>, OmsError> {
    shards.sort_unstable_by_key(|shard| (shard.start, shard.end));
    let size = sharding.size.get();
    let mut digests = Vec::new();
    let count = shards.len();
    let mut next = 0;
    for (number, shard) in shards.into_iter().enumerate() {
        let length = shard.end.checked_sub(shard.start);
        let whole = match length {
            Some(length) if number + 1 < count => length == size,
            Some(length) => (1..=size).contains(&length),
            None => false,
        };
        if shard.start != next || !whole {
            return Err(OmsError::Shards(name.into()));
        }
        next = shard.end;
        digests.extend_from_slice(&shard.digest);
    }
    Ok(Sha256::of(&digests).0.into())
}
