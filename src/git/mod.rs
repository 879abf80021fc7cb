//! Git's objects as evidence: commits and trees that hash to their ids, and what they say of the files in a
//! snapshot (git's object format; git-lfs specification). Bytes in, facts out; runs no git.
//!
//! A commit id leads by SHA-1 to every file: to the content of a small one, to the pointer of a large one,
//! which holds its SHA-256. SHA-1 is computed with detection of known kinds of collisions, and content is
//! bound by its SHA-256 wherever it is recorded.

#[cfg(feature = "http")]
pub mod pack;
#[cfg(feature = "http")]
pub mod repository;
pub mod snapshot;

use std::fmt;

use serde::{Deserialize, Serialize};
use sha1_checked::Digest;

use crate::digest::Sha256;

/// The largest commit or tree that is read.
pub const MAX_OBJECT: usize = 64 * 1024 * 1024;

/// The name of an object: SHA-1 over its kind, its length and itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(pub [u8; 20]);

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Commit,
    Tree,
    Blob,
    Tag,
}

/// Why bytes are not the object they are said to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GitError {
    #[error("SHA-1 of {0} shows the marks of a made collision")]
    Collision(&'static str),
    #[error("the {kind} {id} is malformed: {why}")]
    Malformed {
        kind: &'static str,
        id: ObjectId,
        why: &'static str,
    },
    #[error("the {kind} {id} is missing")]
    Missing { kind: &'static str, id: ObjectId },
    #[error("the pack is damaged: {0}")]
    Pack(&'static str),
    #[error("{what} is more than {limit}")]
    Limit { what: &'static str, limit: usize },
}

impl Kind {
    /// As the object's header spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Commit => "commit",
            Kind::Tree => "tree",
            Kind::Blob => "blob",
            Kind::Tag => "tag",
        }
    }
}

impl ObjectId {
    /// The id of an object with this content.
    pub fn of(kind: Kind, content: &[u8]) -> Result<ObjectId, GitError> {
        let mut hasher = sha1_checked::Sha1::new();
        hasher.update(format!("{} {}\0", kind.name(), content.len()));
        hasher.update(content);
        let result = hasher.try_finalize();
        if result.has_collision() {
            return Err(GitError::Collision(kind.name()));
        }
        Ok(ObjectId((*result.hash()).into()))
    }

    /// Forty hexadecimal digits in lower case.
    pub fn parse(text: &str) -> Option<ObjectId> {
        let lower = text.bytes().all(|byte| !byte.is_ascii_uppercase());
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).ok()?;
        lower.then(|| bytes.try_into().ok().map(ObjectId)).flatten()
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for ObjectId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ObjectId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<ObjectId, D::Error> {
        let text = String::deserialize(deserializer)?;
        ObjectId::parse(&text).ok_or_else(|| serde::de::Error::custom("not a git object id"))
    }
}

/// One name in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeEntry<'a> {
    pub mode: Mode,
    pub name: &'a [u8],
    pub id: ObjectId,
}

/// What a name in a tree is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    File,
    Executable,
    Link,
    Directory,
    /// A commit of another repository.
    Submodule,
}

/// The entries of a tree, in its order.
pub fn tree(id: ObjectId, content: &[u8]) -> Result<Vec<TreeEntry<'_>>, GitError> {
    let malformed = |why| GitError::Malformed {
        kind: "tree",
        id,
        why,
    };
    let mut entries = Vec::new();
    let mut rest = content;
    while !rest.is_empty() {
        let space = rest.iter().position(|byte| *byte == b' ');
        let (mode, after) = space
            .and_then(|at| Some((rest.get(..at)?, rest.get(at + 1..)?)))
            .ok_or(malformed("it ends in a mode"))?;
        let mode = match mode {
            b"100644" => Mode::File,
            b"100755" => Mode::Executable,
            b"120000" => Mode::Link,
            b"40000" => Mode::Directory,
            b"160000" => Mode::Submodule,
            _ => return Err(malformed("it has an unknown mode")),
        };
        let zero = after.iter().position(|byte| *byte == 0);
        let (name, after) = zero
            .and_then(|at| Some((after.get(..at)?, after.get(at + 1..)?)))
            .ok_or(malformed("it ends in a name"))?;
        let (id, after) = after
            .split_first_chunk::<20>()
            .ok_or(malformed("it ends in an id"))?;
        entries.push(TreeEntry {
            mode,
            name,
            id: ObjectId(*id),
        });
        rest = after;
    }
    Ok(entries)
}

/// What a commit says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    pub tree: ObjectId,
    /// It carries a signature in its header. Nothing is verified here.
    pub is_signed: bool,
}

/// Reads a commit.
pub fn commit(id: ObjectId, content: &[u8]) -> Result<Commit, GitError> {
    let malformed = |why| GitError::Malformed {
        kind: "commit",
        id,
        why,
    };
    let mut lines = content.split(|byte| *byte == b'\n');
    let first = lines.next().and_then(|line| line.strip_prefix(b"tree "));
    let tree = first.and_then(|id| ObjectId::parse(std::str::from_utf8(id).ok()?));
    let header = lines.take_while(|line| !line.is_empty());
    let mut is_signed = false;
    for line in header {
        is_signed |= line.starts_with(b"gpgsig ") || line.starts_with(b"gpgsig-sha256 ");
    }
    Ok(Commit {
        tree: tree.ok_or(malformed("it does not begin with its tree"))?,
        is_signed,
    })
}

/// The signature in a commit, and what it is over: the commit without it (gitformat-signature).
pub fn signature(commit: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let end = commit.windows(2).position(|pair| pair == b"\n\n")? + 1;
    let (head, rest) = commit.split_at_checked(end)?;
    let (mut signed, mut signature) = (Vec::new(), Vec::new());
    let mut within = false;
    for line in head.split_inclusive(|byte| *byte == b'\n') {
        if let Some(first) = line.strip_prefix(b"gpgsig ") {
            if !signature.is_empty() {
                return None;
            }
            within = true;
            signature.extend_from_slice(first);
        } else if let Some(more) = line.strip_prefix(b" ").filter(|_| within) {
            signature.extend_from_slice(more);
        } else {
            within = false;
            signed.extend_from_slice(line);
        }
    }
    signed.extend_from_slice(rest);
    (!signature.is_empty()).then_some((signed, signature))
}

/// What git-lfs keeps in place of a large file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pointer {
    pub sha256: Sha256,
    pub size: u64,
}

impl Pointer {
    /// The largest pointer (git-lfs specification, "The Pointer").
    pub const MAX: usize = 1024;

    /// Reads a pointer in its canonical form.
    pub fn parse(content: &[u8]) -> Option<Pointer> {
        if content.len() > Pointer::MAX {
            return None;
        }
        let text = std::str::from_utf8(content).ok()?;
        let rest = text.strip_prefix("version https://git-lfs.github.com/spec/v1\noid sha256:")?;
        let (sha256, size) = rest.strip_suffix('\n')?.split_once("\nsize ")?;
        let pointer = Pointer {
            sha256: sha256.parse().ok()?,
            size: size.parse().ok()?,
        };
        (pointer.content().as_bytes() == content).then_some(pointer)
    }

    /// The pointer, byte for byte.
    pub fn content(&self) -> String {
        format!(
            "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {}\n",
            self.sha256, self.size
        )
    }

    /// The id of the blob that it is.
    pub fn id(&self) -> Result<ObjectId, GitError> {
        ObjectId::of(Kind::Blob, self.content().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ids by `git hash-object`, of git 2.39; the pointers are those of a repository by `git-lfs`.
    #[test]
    fn ids_as_git_has_them() {
        let id = |kind, content: &[u8]| ObjectId::of(kind, content).unwrap().to_string();
        assert_eq!(
            id(Kind::Blob, b""),
            "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
        );
        assert_eq!(
            id(Kind::Blob, b"hello\n"),
            "ce013625030ba8dba906f756967f9e9ca394464a"
        );
        assert_eq!(
            id(Kind::Tree, b""),
            "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
        );
    }

    #[test]
    fn signatures_of_commits() {
        let text = b"tree x\ngpgsig -----BEGIN\n \n abc\nencoding y\n\ngpgsig not\n";
        let (signed, found) = signature(text).unwrap();
        assert_eq!(found, b"-----BEGIN\n\nabc\n");
        assert_eq!(signed, b"tree x\nencoding y\n\ngpgsig not\n");
        assert_eq!(signature(b"tree x\n\ngpgsig a\n"), None);
        assert_eq!(signature(b"tree x\ngpgsig a\nx y\ngpgsig b\n\n"), None);
    }

    #[test]
    fn pointers() {
        let pointer = Pointer {
            sha256: Sha256::of(b"x"),
            size: 1,
        };
        let text = pointer.content();
        assert_eq!(Pointer::parse(text.as_bytes()), Some(pointer));
        for other in [
            text.trim_end().to_owned(),
            text.clone() + "\n",
            text.replace("size 1", "size 01"),
            text.replace("size 1", "size +1"),
            text.replace("sha256:", "sha1:"),
            text.replace('\n', "\r\n"),
        ] {
            assert_eq!(Pointer::parse(other.as_bytes()), None, "{other:?}");
        }
    }

    #[test]
    fn trees_and_commits_are_read_strictly() {
        let id = ObjectId([1; 20]);
        let entry = [b"100644 a\0".as_slice(), &[2; 20]].concat();
        let read = tree(id, &entry).unwrap();
        assert_eq!((read[0].mode, read[0].name), (Mode::File, b"a".as_slice()));
        for cut in 1..entry.len() {
            assert!(tree(id, &entry[..cut]).is_err(), "{cut}");
        }
        assert!(tree(id, &[b"100600 a\0".as_slice(), &[2; 20]].concat()).is_err());
        let text = format!("tree {id}\nauthor a\ngpgsig -----BEGIN\n\ngpgsig no\n");
        assert!(commit(id, text.as_bytes()).unwrap().is_signed);
        let text = format!("tree {id}\nauthor a\n\ngpgsig no\n");
        assert!(!commit(id, text.as_bytes()).unwrap().is_signed);
        assert!(commit(id, b"parent x\n").is_err());
    }
}
