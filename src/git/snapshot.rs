//! What a commit says of every file beneath it, proved from its objects alone: the proof that can be kept and
//! checked again years later, without the server.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{GitError, Kind, MAX_OBJECT, Mode, ObjectId, Pointer, commit, tree};
use crate::json::{self, JsonError};
use crate::path::ArtifactPath;

/// The largest proof, as it is stored: room for the trees of some hundred thousand files.
pub const MAX_PROOF: usize = 128 * 1024 * 1024;

/// The most names in all trees of a snapshot, how deep they lie, and the bytes of all their paths.
const MAX_NAMES: usize = 5_000_000;
const MAX_DEPTH: usize = 256;
const MAX_PATHS: usize = 1 << 30;

/// What all trees of a commit take together.
const MAX_TREES: usize = 512 * 1024 * 1024;

/// The longest name that a file system takes.
const MAX_NAME: usize = 255;

/// As many are told of that no artifact can have: a snapshot with any is refused.
const MAX_OTHERS: usize = 20;

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
    /// How many directories the files are in.
    pub directories: usize,
    /// Links, submodules, and names that no artifact has, some of them: what cannot be verified as a file.
    pub others: Vec<(String, &'static str)>,
}

/// A file of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blob {
    pub id: ObjectId,
    pub mode: Mode,
}

impl SnapshotProof {
    /// The proof of `commit_id` out of `objects`, which may hold more.
    pub fn gather(
        commit_id: ObjectId,
        objects: &BTreeMap<ObjectId, (Kind, Vec<u8>)>,
    ) -> Result<SnapshotProof, GitError> {
        SnapshotProof::gather_by(commit_id, &mut |kind, id| match objects.get(&id) {
            Some((found, content)) if *found == kind => Ok(content.clone()),
            _ => Err(GitError::Missing {
                kind: kind.name(),
                id,
            }),
        })
    }

    /// The same, with objects from wherever `get` has them.
    pub fn gather_by<E: From<GitError>>(
        commit_id: ObjectId,
        get: &mut dyn FnMut(Kind, ObjectId) -> Result<Vec<u8>, E>,
    ) -> Result<SnapshotProof, E> {
        let raw = get(Kind::Commit, commit_id)?;
        let mut bytes = 0;
        let mut trees = BTreeMap::new();
        let mut pending = vec![commit(commit_id, &raw)?.tree];
        while let Some(id) = pending.pop() {
            if trees.contains_key(&id) {
                continue;
            }
            let content = get(Kind::Tree, id)?;
            bytes += content.len();
            within(bytes, MAX_TREES, "the size of all trees")?;
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
            directories: 0,
            others: Vec::new(),
        };
        let (mut names, mut bytes) = (0, 0);
        let mut pending = vec![(head.tree, String::new(), 0)];
        while let Some((id, prefix, depth)) = pending.pop() {
            let content = trees
                .get(&id)
                .ok_or(GitError::Missing { kind: "tree", id })?;
            for entry in tree(id, content)? {
                names += 1;
                bytes += prefix.len() + entry.name.len();
                within(names, MAX_NAMES, "the number of names")?;
                within(bytes, MAX_PATHS, "the length of all paths")?;
                let shown = || crate::path::display(&format!("{prefix}{}", lossy(entry.name)));
                if let Err(why) = acceptable(entry.name, &prefix) {
                    snapshot.refuse(shown(), why);
                    continue;
                }
                let path = format!("{prefix}{}", lossy(entry.name));
                if entry.mode == Mode::Directory {
                    within(depth + 1, MAX_DEPTH, "the depth of directories")?;
                    snapshot.directories += 1;
                    pending.push((entry.id, format!("{path}/"), depth + 1));
                } else {
                    snapshot.take(&entry, &path)?;
                }
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
            _ => match ArtifactPath::new(path) {
                Ok(path) if path.printable().is_ok() => {
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
        self.refuse(crate::path::display(path), why);
        Ok(())
    }

    fn refuse(&mut self, path: String, why: &'static str) {
        if self.others.len() < MAX_OTHERS {
            self.others.push((path, why));
        }
    }
}

fn within(count: usize, limit: usize, what: &'static str) -> Result<(), GitError> {
    if count > limit {
        return Err(GitError::Limit { what, limit });
    }
    Ok(())
}

fn lossy(name: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(name.get(..MAX_NAME).unwrap_or(name))
}

/// May a name stand there? Not one that is git's or a hub client's own: what lies there runs, or is left out of
/// every artifact.
fn acceptable(name: &[u8], prefix: &str) -> Result<(), &'static str> {
    let text = std::str::from_utf8(name).map_err(|_| "has a name that is not UTF-8")?;
    if name.len() > MAX_NAME || text.is_empty() || text.contains('/') || matches!(text, "." | "..")
    {
        return Err("has a name that no file may have");
    }
    if is_gits(text) {
        return Err("is in git's own directory");
    }
    if prefix == ".cache/" && text.eq_ignore_ascii_case("huggingface") {
        return Err("is in the directory of the hub's client");
    }
    Ok(())
}

/// May a file have this path? None may be in a directory that is git's or a hub client's own.
pub fn acceptable_path(path: &ArtifactPath) -> Result<(), &'static str> {
    path.printable()
        .map_err(|_| "has a name that no artifact may have")?;
    let mut prefix = String::new();
    for part in path.as_str().split('/') {
        acceptable(part.as_bytes(), &prefix)?;
        prefix.push_str(part);
        prefix.push('/');
    }
    Ok(())
}

/// Is it `.git` to some file system: in any case, in the short name of NTFS, with characters that HFS+ ignores,
/// with the endings that Windows drops?
fn is_gits(name: &str) -> bool {
    let ignored = |c: &char| !matches!(*c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}');
    let plain: String = name.chars().filter(ignored).collect();
    let plain = plain.to_ascii_lowercase();
    let plain = plain.split(':').next().unwrap_or_default();
    let plain = plain.trim_end_matches([' ', '.']);
    plain == ".git" || plain == "git~1"
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A commit with one tree of these entries, and others beneath it.
    fn proof(trees: Vec<Vec<u8>>) -> SnapshotProof {
        let root = ObjectId::of(Kind::Tree, trees.last().unwrap()).unwrap();
        let commit = format!("tree {root}\nauthor a\n\n").into_bytes();
        SnapshotProof {
            schema: SCHEMA.into(),
            commit_id: ObjectId::of(Kind::Commit, &commit).unwrap(),
            commit,
            trees,
            pointers: Vec::new(),
        }
    }

    fn entry(mode: &str, name: &[u8], id: ObjectId) -> Vec<u8> {
        [mode.as_bytes(), b" ", name, b"\0", &id.0].concat()
    }

    #[test]
    fn names_that_are_not_taken() {
        let id = ObjectId([1; 20]);
        for name in [
            ".git",
            ".GIT",
            "git~1",
            ".g\u{200c}it",
            ".git ",
            ".git.",
            ".git::$INDEX_ALLOCATION",
            "..",
            "a\\b",
            "a\nb",
        ] {
            let snapshot = proof(vec![entry("100644", name.as_bytes(), id)]).snapshot();
            let snapshot = snapshot.unwrap();
            assert!(
                snapshot.files.is_empty() && !snapshot.others.is_empty(),
                "{name:?}"
            );
        }
        let directory = |name: &[u8], inside: &[u8]| {
            let leaf = entry("100644", inside, id);
            let leaf_id = ObjectId::of(Kind::Tree, &leaf).unwrap();
            proof(vec![leaf, entry("40000", name, leaf_id)])
                .snapshot()
                .unwrap()
        };
        assert_eq!(directory(b".git", b"config").files.len(), 0);
        assert_eq!(directory(b"\xff", b"x").files.len(), 0);
        assert_eq!(directory(b".cache", b"huggingface").files.len(), 0);
        assert_eq!(directory(b".cache", b"other").files.len(), 1);
        assert_eq!(directory(b".github", b"x").files.len(), 1);
    }

    /// Trees that name the next one twice, and so on: few bytes, and more files than anybody can count.
    #[test]
    fn a_bomb_of_trees() {
        let mut trees = vec![Vec::new()];
        let mut id = ObjectId::of(Kind::Tree, &[]).unwrap();
        for _ in 0..60 {
            let next = [entry("40000", b"a", id), entry("40000", b"b", id)].concat();
            id = ObjectId::of(Kind::Tree, &next).unwrap();
            trees.push(next);
        }
        let bomb = proof(trees).snapshot();
        assert!(matches!(bomb, Err(GitError::Limit { .. })), "{bomb:?}");
    }

    /// A long directory with many entries costs no more than it has bytes.
    #[test]
    fn long_names() {
        let id = ObjectId([1; 20]);
        let leaf: Vec<u8> = (0..1000)
            .flat_map(|n| entry("120000", format!("{n:04}").as_bytes(), id))
            .collect();
        let leaf_id = ObjectId::of(Kind::Tree, &leaf).unwrap();
        let root = entry("40000", "x".repeat(100_000).as_bytes(), leaf_id);
        let snapshot = proof(vec![leaf, root]).snapshot().unwrap();
        assert_eq!(snapshot.others.len(), 1);
        assert!(snapshot.others[0].0.len() < 1000);
    }
}
