//! What a commit says of every file beneath it, proved from its objects alone: the proof that can be kept and
//! checked again years later, without the server.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{GitError, Kind, MAX_OBJECT, Mode, ObjectId, Pointer, commit, tree};
use crate::artifact::manifest::ManifestFile;
use crate::artifact::{FileFault, Manifest};
use crate::digest::{Algorithm, Sha256};
use crate::json::{self, JsonError};
use crate::path::ArtifactPath;

/// The largest proof, as it is stored: room for the trees of some hundred thousand files.
pub const MAX_PROOF: usize = 64 * 1024 * 1024;

/// The most files in a snapshot, and how deep they lie.
const MAX_FILES: usize = 5_000_000;
const MAX_DEPTH: usize = 256;

/// The largest file that a hub keeps in git itself and not behind a pointer.
pub const MAX_SMALL: u64 = 16 * 1024 * 1024;

/// A commit with all its trees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotProof {
    /// Always `https://weighbridge.dev/git-snapshot/v1`.
    pub schema: String,
    pub commit_id: ObjectId,
    /// The commit, as git has it.
    #[serde(with = "base64")]
    pub commit: Vec<u8>,
    /// Every tree beneath it, each once, in the order of their ids.
    #[serde(with = "base64_list")]
    pub trees: Vec<Vec<u8>>,
    /// The pointers of large files, by which a changed one can be told what it should be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pointers: Vec<Pointer>,
}

const SCHEMA: &str = "https://weighbridge.dev/git-snapshot/v1";

/// The files of a commit, each with the id of its blob: that of its content, or of its pointer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub commit: ObjectId,
    pub is_signed: bool,
    pub files: BTreeMap<ArtifactPath, Blob>,
    /// The large files' pointers, by the ids of their blobs.
    pub pointers: BTreeMap<ObjectId, Pointer>,
    /// Links, submodules, and names that no artifact has: what cannot be verified as a file.
    pub others: Vec<(String, &'static str)>,
}

/// A file of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blob {
    pub id: ObjectId,
    pub mode: Mode,
}

/// How a file was bound to the commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// By its pointer, which has its SHA-256.
    Pointer,
    /// By its content.
    Content,
}

/// Why a snapshot on disk is not that of the commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// The content is another. What is there, and what the commit says.
    Changed {
        path: ArtifactPath,
        found: Sha256,
        /// None of a small file, of which the commit has no SHA-256.
        expected: Option<Sha256>,
        blob: ObjectId,
    },
    /// The commit's pointer lies there, not the file that it points to.
    PointerOnly {
        path: ArtifactPath,
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

impl SnapshotProof {
    /// The proof of `commit_id` out of `objects`, which may hold more.
    pub fn gather(
        commit_id: ObjectId,
        objects: &BTreeMap<ObjectId, (Kind, Vec<u8>)>,
    ) -> Result<SnapshotProof, GitError> {
        let get = |kind: Kind, id: ObjectId| match objects.get(&id) {
            Some((found, content)) if *found == kind => Ok(content.clone()),
            _ => Err(GitError::Missing {
                kind: kind.name(),
                id,
            }),
        };
        let raw = get(Kind::Commit, commit_id)?;
        let mut trees = BTreeMap::new();
        let mut pending = vec![commit(commit_id, &raw)?.tree];
        while let Some(id) = pending.pop() {
            if trees.contains_key(&id) {
                continue;
            }
            let content = get(Kind::Tree, id)?;
            let entries = tree(id, &content)?;
            let directories = entries.iter().filter(|one| one.mode == Mode::Directory);
            pending.extend(directories.map(|one| one.id));
            trees.insert(id, content);
        }
        Ok(SnapshotProof {
            schema: SCHEMA.into(),
            commit_id,
            commit: raw,
            trees: trees.into_values().collect(),
            pointers: Vec::new(),
        })
    }

    /// Reads a stored proof. Nothing is proved by that yet.
    pub fn parse(bytes: &[u8]) -> Result<SnapshotProof, JsonError> {
        json::parse(bytes, MAX_PROOF)
    }

    /// As it is stored.
    pub fn to_json(&self) -> Result<Vec<u8>, JsonError> {
        json::canonical(self)
    }

    /// The files of the commit, if every object hashes to the id by which it is named.
    pub fn snapshot(&self) -> Result<Snapshot, GitError> {
        if self.schema != SCHEMA || ObjectId::of(Kind::Commit, &self.commit)? != self.commit_id {
            return Err(GitError::Missing {
                kind: "commit",
                id: self.commit_id,
            });
        }
        let head = commit(self.commit_id, &self.commit)?;
        let mut trees = BTreeMap::new();
        for content in &self.trees {
            if content.len() > MAX_OBJECT {
                return Err(GitError::Limit {
                    what: "the size of a tree",
                    limit: MAX_OBJECT,
                });
            }
            trees.insert(ObjectId::of(Kind::Tree, content)?, content.as_slice());
        }
        let mut pointers = BTreeMap::new();
        for pointer in &self.pointers {
            pointers.insert(pointer.id()?, *pointer);
        }
        let mut snapshot = Snapshot {
            pointers,
            commit: self.commit_id,
            is_signed: head.is_signed,
            files: BTreeMap::new(),
            others: Vec::new(),
        };
        let mut pending = vec![(head.tree, String::new(), 0)];
        while let Some((id, prefix, depth)) = pending.pop() {
            let content = trees
                .get(&id)
                .ok_or(GitError::Missing { kind: "tree", id })?;
            for entry in tree(id, content)? {
                let name = String::from_utf8_lossy(entry.name);
                let path = format!("{prefix}{name}");
                if entry.mode == Mode::Directory {
                    if depth >= MAX_DEPTH {
                        return Err(GitError::Limit {
                            what: "the depth of directories",
                            limit: MAX_DEPTH,
                        });
                    }
                    pending.push((entry.id, format!("{path}/"), depth + 1));
                    continue;
                }
                snapshot.take(&entry, &path)?;
            }
            if snapshot.files.len() + snapshot.others.len() + pending.len() > MAX_FILES {
                return Err(GitError::Limit {
                    what: "the number of files",
                    limit: MAX_FILES,
                });
            }
        }
        Ok(snapshot)
    }
}

impl Snapshot {
    fn take(&mut self, entry: &super::TreeEntry<'_>, path: &str) -> Result<(), GitError> {
        let why = match entry.mode {
            Mode::Link => "is a link",
            Mode::Submodule => "is another repository",
            _ => match (std::str::from_utf8(entry.name), ArtifactPath::new(path)) {
                (Ok(name), Ok(path)) if !name.contains('/') => {
                    let blob = Blob {
                        id: entry.id,
                        mode: entry.mode,
                    };
                    if self.files.insert(path, blob).is_some() {
                        return Err(GitError::Malformed {
                            kind: "commit",
                            id: self.commit,
                            why: "a name is there twice",
                        });
                    }
                    return Ok(());
                }
                _ => "has a name that no artifact may have",
            },
        };
        self.others.push((crate::path::display(path), why));
        Ok(())
    }

    /// Compares what is on disk: every file by its pointer, or a small one by its content, which `read` reads.
    ///
    /// Closed: a file that is missing or was added is a mismatch. The content that `read` returns must have
    /// the SHA-256 that the manifest has, or somebody changes files while they are verified.
    pub fn compare(
        &self,
        manifest: &Manifest,
        faults: &[FileFault],
        read: &mut dyn FnMut(&ArtifactPath) -> Result<Vec<u8>, String>,
    ) -> (BTreeMap<ArtifactPath, Bound>, Vec<Mismatch>) {
        let mut bound = BTreeMap::new();
        let mut wrong = Vec::new();
        for file in manifest.files() {
            let Some(blob) = self.files.get(&file.path) else {
                let path = file.path.clone();
                wrong.push(Mismatch::Added { path });
                continue;
            };
            let expected = self.pointers.get(&blob.id).map(|pointer| pointer.sha256);
            match bind(manifest, file, (blob.id, expected), read) {
                Ok(how) => _ = bound.insert(file.path.clone(), how),
                Err(mismatch) => wrong.push(mismatch),
            }
        }
        for path in self.files.keys() {
            let there = manifest.file(path.as_str()).is_some();
            if !there && !faults.iter().any(|fault| fault.path == *path) {
                wrong.push(Mismatch::Missing { path: path.clone() });
            }
        }
        (bound, wrong)
    }
}

fn bind(
    manifest: &Manifest,
    file: &ManifestFile,
    (blob, expected): (ObjectId, Option<Sha256>),
    read: &mut dyn FnMut(&ArtifactPath) -> Result<Vec<u8>, String>,
) -> Result<Bound, Mismatch> {
    let path = || file.path.clone();
    let unreadable = |why: String| Mismatch::Unreadable { path: path(), why };
    let digest = manifest.digest(file, Algorithm::Sha256);
    let sha256 = digest.and_then(|digest| Some(Sha256(digest.try_into().ok()?)));
    let sha256 = sha256.ok_or_else(|| unreadable("it has no SHA-256".into()))?;
    let pointer = Pointer {
        sha256,
        size: file.size,
    };
    let id = pointer
        .id()
        .map_err(|error| unreadable(error.to_string()))?;
    if id == blob {
        return Ok(Bound::Pointer);
    }
    let changed = || Mismatch::Changed {
        path: path(),
        found: sha256,
        expected,
        blob,
    };
    if file.size > MAX_SMALL {
        return Err(changed());
    }
    let content = read(&file.path).map_err(unreadable)?;
    if Sha256::of(&content) != sha256 {
        return Err(unreadable("it changes while it is read".into()));
    }
    let id = ObjectId::of(Kind::Blob, &content).map_err(|error| unreadable(error.to_string()))?;
    if id != blob {
        return Err(changed());
    }
    if Pointer::parse(&content).is_some() {
        return Err(Mismatch::PointerOnly { path: path() });
    }
    Ok(Bound::Content)
}

mod base64 {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&data_encoding::BASE64.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        crate::digest::decode_base64(&text).ok_or_else(|| de::Error::custom("not base64"))
    }
}

mod base64_list {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(
        list: &[Vec<u8>],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(list.iter().map(|one| data_encoding::BASE64.encode(one)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Vec<u8>>, D::Error> {
        let list = Vec::<String>::deserialize(deserializer)?;
        let decode = |text: &String| crate::digest::decode_base64(text);
        let decoded: Option<Vec<Vec<u8>>> = list.iter().map(decode).collect();
        decoded.ok_or_else(|| de::Error::custom("not base64"))
    }
}
