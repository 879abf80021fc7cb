//! What a source publishes of an artifact, in one form for every channel, and whether what lies on disk is that.

use std::collections::BTreeMap;

use crate::artifact::manifest::ManifestFile;
use crate::artifact::{FileFault, Manifest};
use crate::digest::{Algorithm, Digest, Hasher, Sha256};
use crate::git::snapshot::{MAX_SMALL, Snapshot};
use crate::git::{Kind, ObjectId, Pointer};
use crate::minisign::{MinisignKey, MinisignSignature};

use crate::path::ArtifactPath;
use crate::statement::acquire::{
    Asset, AuthenticationMethod, AuthenticationResult, Claim, CommitSignature, EndpointIdentity,
    Http, PublishedDigest,
};

/// An artifact as its source has it.
#[derive(Clone, Debug)]
pub struct Published {
    /// Where it is, as a record says it.
    pub uri: String,
    /// What the source calls this exact content.
    pub revision: Option<String>,
    /// The name that was asked for, if it was another.
    pub requested: Option<String>,
    pub publisher: Option<String>,
    pub licence: Option<String>,
    /// Is it open to everybody?
    pub public: Option<bool>,
    pub asset: Asset,
    pub files: BTreeMap<ArtifactPath, PublishedFile>,
    /// Archives with further files, which are known when they were read.
    pub packed: Vec<PackedFiles>,
    /// What it does not name is no addition: it says something of some of its files.
    pub is_open: bool,
    /// One file that is the artifact, and not a tree with one file.
    pub is_single: bool,
    /// What was looked at, for whoever wants to look again.
    pub evidence: Vec<Evidence>,
    pub assurance: Assurance,
    /// The signature in the commit, if it is of one.
    pub commit_signature: Option<CommitSignature>,
    /// What its own files say of it.
    pub claims: Vec<Claim>,
    /// What the files are those of, for people: `commit 1234…`.
    pub name: String,
}

/// A file as its source has it.
#[derive(Clone, Debug)]
pub struct PublishedFile {
    /// `None` if the source says it only when it sends the file.
    pub size: Option<u64>,
    /// What tells this version from any other, while it is fetched.
    pub validator: Option<String>,
    pub expected: Expected,
    /// It is in an archive, which `place` names.
    pub is_member: bool,
    /// A signature over the BLAKE2b digest of the content, and the key that must have made it.
    pub signature: Option<Box<(MinisignSignature, MinisignKey)>>,
    /// Weak digests that the source has. Another content is not what was published; the same says nothing.
    pub claims: Vec<Digest>,
    /// Where it is, in the words of its channel, if its path does not say it.
    pub place: String,
}

/// An archive of tar, whose members are files of the artifact.
#[derive(Clone, Debug)]
pub struct PackedFiles {
    /// The archive itself.
    pub file: PublishedFile,
    pub compression: Compression,
}

/// How an archive is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
}

/// By what the content of a file is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// By nothing.
    Unknown,
    /// By its digest.
    Digest(Digest),
    /// By git's name of its content, or of the pointer to it.
    Blob {
        id: ObjectId,
        pointer: Option<Pointer>,
    },
}

/// Bytes that prove something, kept as a blob of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    pub name: &'static str,
    pub media_type: &'static str,
    pub bytes: Vec<u8>,
}

/// How it is known that the source is the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assurance {
    pub method: AuthenticationMethod,
    pub result: AuthenticationResult,
    pub endpoint: Option<EndpointIdentity>,
    pub publisher_identity: Option<String>,
    /// The name of what proved who asks, never it itself.
    pub credential: Option<String>,
    /// SHA-256 of the publisher's signature.
    pub signature: Option<Sha256>,
    pub digest: Option<PublishedDigest>,
    pub http: Option<Http>,
}

impl Default for Assurance {
    /// Nobody proved anything.
    fn default() -> Assurance {
        Assurance {
            method: AuthenticationMethod::None,
            result: AuthenticationResult::NotChecked,
            endpoint: None,
            publisher_identity: None,
            credential: None,
            signature: None,
            digest: None,
            http: None,
        }
    }
}

/// Why what is on disk is not what was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// The content is another.
    Changed {
        path: ArtifactPath,
        found: String,
        expected: String,
    },
    /// The pointer of git-lfs lies there, not the file that it points to.
    PointerOnly {
        path: ArtifactPath,
    },
    /// The publisher's signature is not of it.
    Unsigned {
        path: ArtifactPath,
        why: String,
    },
    Missing {
        path: ArtifactPath,
    },
    Added {
        path: ArtifactPath,
    },
    /// It cannot be read as a file, or shows the marks of a made collision.
    Unreadable {
        path: ArtifactPath,
        why: String,
    },
}

impl PublishedFile {
    /// A file of which nothing more is known.
    pub fn new(expected: Expected, place: String) -> PublishedFile {
        PublishedFile {
            size: None,
            validator: None,
            is_member: false,
            expected,
            signature: None,
            claims: Vec::new(),
            place,
        }
    }

    /// Is it known which content it must have?
    pub fn is_known(&self) -> bool {
        self.signature.is_some() || !matches!(self.expected, Expected::Unknown)
    }

    /// The digests that it takes to compare its content.
    pub fn algorithms(&self) -> Vec<Algorithm> {
        let mut all = vec![Algorithm::Sha256];
        let expected = match &self.expected {
            Expected::Digest(digest) => Some(digest),
            _ => None,
        };
        for digest in expected.into_iter().chain(&self.claims) {
            if !all.contains(&digest.algorithm) {
                all.push(digest.algorithm);
            }
        }
        if self.signature.is_some() && !all.contains(&Algorithm::Blake2b) {
            all.push(Algorithm::Blake2b);
        }
        all
    }

    /// Is the content small enough to be kept until it is compared, and does it take that?
    pub fn is_by_content(&self) -> bool {
        matches!(self.expected, Expected::Blob { pointer: None, .. })
    }

    /// Is this content that was published? With `digests` in the order of [`PublishedFile::algorithms`]
    /// and, if [`PublishedFile::is_by_content`], the content.
    pub fn check(&self, size: u64, digests: &[u8], content: &[u8]) -> Result<(), Wrong> {
        let mut rest = digests;
        let mut found = BTreeMap::new();
        for algorithm in self.algorithms() {
            let (digest, after) = rest
                .split_at_checked(algorithm.length())
                .unwrap_or_default();
            found.insert(algorithm.name(), digest);
            rest = after;
        }
        let sha256 = found
            .get(Algorithm::Sha256.name())
            .and_then(|digest| <[u8; 32]>::try_from(*digest).ok())
            .map(Sha256);
        let is = |digest: &Digest| {
            let found = found
                .get(digest.algorithm.name())
                .copied()
                .unwrap_or_default();
            if found == &*digest.bytes {
                return Ok(());
            }
            let name = digest.algorithm.title();
            Err(Wrong::Content {
                found: format!("{name} {}", data_encoding::HEXLOWER.encode(found)),
                expected: digest.hex(),
            })
        };
        match (&self.expected, sha256) {
            (Expected::Unknown, _) => {}
            (Expected::Digest(digest), _) => is(digest)?,
            (Expected::Blob { id, pointer }, Some(sha256)) => {
                is_blob((*id, pointer.as_ref()), Pointer { sha256, size }, content)?;
            }
            (Expected::Blob { .. }, None) => return Err(Wrong::Odd("it has no SHA-256".into())),
        }
        if let Some((signature, key)) = self.signature.as_deref() {
            let digest = found.get(Algorithm::Blake2b.name()).copied();
            let result = key.verify(signature, digest.unwrap_or_default());
            result.map_err(|error| Wrong::Signature(error.to_string()))?;
        }
        self.claims.iter().try_for_each(is)?;
        if self.size.is_some_and(|expected| expected != size) {
            let expected = self.size.unwrap_or_default();
            return Err(Wrong::Content {
                found: format!("{size} bytes"),
                expected: format!("{expected} bytes"),
            });
        }
        Ok(())
    }
}

/// Is the content what git calls `id`, itself or by the pointer `lies` to it?
fn is_blob(
    (id, pointer): (ObjectId, Option<&Pointer>),
    lies: Pointer,
    content: &[u8],
) -> Result<(), Wrong> {
    let odd = |error: crate::git::GitError| Wrong::Odd(error.to_string());
    if lies.id().map_err(odd)? == id {
        return Ok(());
    }
    if let Some(pointer) = pointer {
        if Pointer::parse(content).is_some() {
            return Err(Wrong::Pointer);
        }
        return Err(Wrong::Content {
            found: format!("SHA-256 {}", lies.sha256),
            expected: pointer.sha256.to_string(),
        });
    }
    let of = ObjectId::of(Kind::Blob, content).map_err(odd)?;
    if of != id {
        return Err(Wrong::Content {
            found: format!("git blob {of}"),
            expected: id.to_string(),
        });
    }
    if Pointer::parse(content).is_some() {
        return Err(Wrong::Pointer);
    }
    Ok(())
}

/// No pointer is larger (git-lfs, spec v1).
const MAX_POINTER: u64 = 1024;

/// How content is not what was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    Content {
        found: String,
        expected: String,
    },
    /// It is only the pointer to it.
    Pointer,
    /// The publisher's signature is not of it.
    Signature(String),
    Odd(String),
}

/// The files of a commit: all there are.
pub fn of_snapshot(snapshot: &Snapshot) -> BTreeMap<ArtifactPath, PublishedFile> {
    let file = |(path, blob): (&ArtifactPath, &crate::git::snapshot::Blob)| {
        let pointer = snapshot.pointers.get(&blob.id).copied();
        let file = PublishedFile {
            size: pointer.map(|pointer| pointer.size),
            ..PublishedFile::new(
                Expected::Blob {
                    id: blob.id,
                    pointer,
                },
                String::new(),
            )
        };
        (path.clone(), file)
    };
    snapshot.files.iter().map(file).collect()
}

/// The files of a manifest of SHA-256: what was found when it was made.
pub fn of_manifest(
    lines: Vec<crate::artifact::manifest::Line>,
) -> BTreeMap<ArtifactPath, PublishedFile> {
    let file = |line: crate::artifact::manifest::Line| {
        let digest = Digest {
            algorithm: Algorithm::Sha256,
            bytes: line.digest.into(),
        };
        let file = PublishedFile::new(Expected::Digest(digest), line.path.as_str().into());
        (line.path, file)
    };
    lines.into_iter().map(file).collect()
}

/// Every algorithm that it takes to compare `files`.
pub fn algorithms(files: &BTreeMap<ArtifactPath, PublishedFile>) -> Vec<Algorithm> {
    let mut all = vec![Algorithm::Sha256];
    for algorithm in files.values().flat_map(PublishedFile::algorithms) {
        if !all.contains(&algorithm) {
            all.push(algorithm);
        }
    }
    all
}

/// Compares what is on disk, hashed by all of [`algorithms`]; `read` reads a small file that is known by its content.
///
/// Closed: a file that is missing or was added is a mismatch. The content that `read` returns must have
/// the SHA-256 that the manifest has, or somebody changes files while they are verified.
pub fn compare(
    files: &BTreeMap<ArtifactPath, PublishedFile>,
    manifest: &Manifest,
    faults: &[FileFault],
    read: &mut dyn FnMut(&ArtifactPath) -> Result<Vec<u8>, String>,
) -> Vec<Mismatch> {
    let mut wrong = Vec::new();
    for file in manifest.files() {
        let path = || file.path.clone();
        let Some(published) = files.get(&file.path) else {
            wrong.push(Mismatch::Added { path: path() });
            continue;
        };
        wrong.extend(match compare_one(published, manifest, file, read) {
            Ok(()) => continue,
            Err(Wrong::Content { found, expected }) => Some(Mismatch::Changed {
                path: path(),
                found,
                expected,
            }),
            Err(Wrong::Pointer) => Some(Mismatch::PointerOnly { path: path() }),
            Err(Wrong::Signature(why)) => Some(Mismatch::Unsigned { path: path(), why }),
            Err(Wrong::Odd(why)) => Some(Mismatch::Unreadable { path: path(), why }),
        });
    }
    for path in files.keys() {
        let there = manifest.file(path.as_str()).is_some();
        if !there && !faults.iter().any(|fault| fault.path == *path) {
            wrong.push(Mismatch::Missing { path: path.clone() });
        }
    }
    wrong
}

fn compare_one(
    published: &PublishedFile,
    manifest: &Manifest,
    file: &ManifestFile,
    read: &mut dyn FnMut(&ArtifactPath) -> Result<Vec<u8>, String>,
) -> Result<(), Wrong> {
    let mut digests = Vec::new();
    for algorithm in published.algorithms() {
        let digest = manifest.digest(file, algorithm);
        let none = || Wrong::Odd(format!("it has no {}", algorithm.title()));
        digests.extend_from_slice(digest.ok_or_else(none)?);
    }
    // A file as small as a pointer may be the pointer to what it should be.
    let by_content = match &published.expected {
        Expected::Blob { pointer: None, .. } => file.size <= MAX_SMALL,
        Expected::Blob {
            pointer: Some(_), ..
        } => file.size <= MAX_POINTER,
        _ => false,
    };

    // The content of a large file is asked for only if it is not the one that a pointer names.
    let mut content = Vec::new();
    if by_content {
        content = read(&file.path).map_err(Wrong::Odd)?;
        let mut hasher = Hasher::new(&[Algorithm::Sha256], file.size);
        hasher.update(&content);
        if Some(&*hasher.finish()) != manifest.digest(file, Algorithm::Sha256) {
            return Err(Wrong::Odd("it changes while it is read".into()));
        }
    }
    let too_large = published.is_by_content() && !by_content;
    match published.check(file.size, &digests, &content) {
        Err(Wrong::Content { .. }) if too_large => Err(Wrong::Odd(format!(
            "has {} bytes, and is in git itself: only up to {MAX_SMALL} are compared there",
            file.size
        ))),
        result => result,
    }
}
