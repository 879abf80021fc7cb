//! What a statement lists, as lines to compare with files: whole files, or files in shards.

use std::borrow::Cow;
use std::collections::BTreeMap;

use sha2::Digest as _;

use super::statement::{FileSubject, Resource, Serialization};
use super::{Content, OmsError};
use crate::artifact::manifest::Line;
use crate::artifact::seals::VerityDigest;
use crate::checkpoint::decimal;
use crate::digest::{self, Algorithm, DigestBytes, Sha256, ShardHash, Sharding};
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
    /// What kernels keep of files, and the digest that is listed with each.
    pub(super) fs_verity: Vec<(VerityDigest, DigestBytes)>,
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

/// What is put before a digest of fs-verity, as `fsverity` does.
const VERITY: &str = "sha256:";

/// A digest of fs-verity, as it is written.
pub(super) fn verity_text(digest: &[u8]) -> String {
    format!("{VERITY}{}", data_encoding::HEXLOWER.encode(digest))
}

/// The same, read. What is none says nothing: unknown fields must be ignored (spec §5.2.1).
fn verity(text: &str) -> Option<VerityDigest> {
    let digest = digest::decode(Algorithm::FsVerity, text.strip_prefix(VERITY)?).ok()?;
    (*digest).try_into().ok()
}

/// The resources of a v1.0 statement.
pub(super) fn resources(
    resources: Vec<Resource<'_>>,
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
            let mut fs_verity = Vec::new();
            let count = resources.len();
            let files = resources.into_iter().map(|one| {
                let digest = decode(algorithm, &one.name, &one.digest)?;
                let verity = one.fs_verity.as_deref().and_then(verity);
                fs_verity.extend(verity.map(|verity| (verity, digest)));
                Ok((one.name, digest))
            });
            let mut listed = files_of(files, count)?;
            listed.fs_verity = fs_verity;
            Ok(listed)
        }
    }
}

/// The subjects of a statement of model_signing 0.2.0.
pub(super) fn subjects(subjects: Vec<FileSubject>) -> Result<Listed, OmsError> {
    let count = subjects.len();
    let files = subjects.into_iter().map(|subject| {
        if subject.annotations.actual_hash_algorithm != FILE_SHA256 {
            return Err(OmsError::Unsupported(format!(
                "digests of kind {:?}, only {FILE_SHA256:?}",
                subject.annotations.actual_hash_algorithm
            )));
        }
        Ok((subject.name.into(), subject.digest.sha256.0.into()))
    });
    files_of(files, count)
}

fn decode(algorithm: Algorithm, name: &str, digest: &str) -> Result<DigestBytes, OmsError> {
    let decoded = digest::decode(algorithm, digest);
    decoded.map_err(|source| OmsError::Digest {
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

/// `count` whole files, in the order in which they are listed.
fn files_of<'a>(
    files: impl Iterator<Item = Result<(Cow<'a, str>, DigestBytes), OmsError>>,
    count: usize,
) -> Result<Listed, OmsError> {
    if count == 0 {
        return Err(OmsError::Statement("it lists no file"));
    }
    let mut root = sha2::Sha256::new();
    let mut lines = Vec::with_capacity(count);
    for file in files {
        let (name, digest) = file?;
        root.update(&*digest);
        if count == 1 && name == SINGLE_FILE {
            return Ok(Listed {
                content: Content::File { digest },
                root: Sha256(root.finalize().into()),
                unsorted: false,
                fs_verity: Vec::new(),
            });
        }
        let path = path(&name)?;
        lines.push(Line { digest, path });
    }
    let unsorted = !lines.is_sorted_by(|a, b| a.path < b.path);
    if unsorted {
        lines.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    }
    let twice = lines
        .windows(2)
        .find(|pair| matches!(pair, [a, b] if a.path == b.path));
    if let Some([twice, ..]) = twice {
        return Err(OmsError::Twice(twice.path.as_str().into()));
    }
    Ok(Listed {
        content: Content::Tree(lines),
        root: Sha256(root.finalize().into()),
        unsorted,
        fs_verity: Vec::new(),
    })
}

/// One part of a file, as it is listed.
struct Shard {
    start: u64,
    end: u64,
    digest: DigestBytes,
}

/// Files in shards: each must be covered from its first byte to its last, once.
fn shards(resources: Vec<Resource<'_>>, sharding: Sharding) -> Result<Listed, OmsError> {
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
            fs_verity: Vec::new(),
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
        fs_verity: Vec::new(),
    })
}

/// `<path>:<start>:<end>`; the path may hold colons.
fn range(name: &str) -> Option<(&str, u64, u64)> {
    let (rest, end) = name.rsplit_once(':')?;
    let (name, start) = rest.rsplit_once(':')?;
    Some((name, decimal(start)?, decimal(end)?))
}

/// The digest that stands for a file in shards, which must leave no gap and not overlap.
fn joined(name: &str, mut shards: Vec<Shard>, sharding: Sharding) -> Result<DigestBytes, OmsError> {
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
