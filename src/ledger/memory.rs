//! What a client remembers of a log: the newest checkpoint that it has seen. With it a log cannot
//! show this client another history, nor take back what it showed.
//!
//! One directory per log, named by the SHA-256 of its key in text form, holding `checkpoint` (the signed
//! note), `lock`, and a `fork-<digest>` for each contradiction that was seen: both notes, as evidence.

use std::path::{Path, PathBuf};

use super::LedgerError;
use super::reader::Log;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::digest::Sha256;
use crate::disk::{self, Access, DiskError, Existing, Lock};
use crate::merkle::Hash;
use crate::note::{MAX_NOTE, Note, NoteKey};

/// A log does not go on from what is known of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("what was remembered cannot be read: {source}")]
    Unreadable { path: PathBuf, source: DiskError },
    #[error("cannot read what was remembered in {}: {source}", path.display())]
    Remembered {
        path: PathBuf,
        source: CheckpointError,
    },
    #[error(transparent)]
    Fork(Box<Fork>),
    #[error(
        "{origin} was rolled back: it has {size} entries, and a checkpoint of {known} was seen \
         before, in {}", seen.display()
    )]
    RolledBack {
        origin: String,
        size: u64,
        known: u64,
        seen: PathBuf,
    },
    #[error(
        "{origin} is shown at {size} entries, and a checkpoint of {known} was seen before, in {}; the \
         two agree, and this one is stale", seen.display()
    )]
    Stale {
        origin: String,
        size: u64,
        known: u64,
        seen: PathBuf,
    },
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Two histories of one log.
#[derive(Debug, thiserror::Error)]
#[error(
    "{origin} was forked: it has {size} entries with root {root}, and {known} entries, seen before \
     in {}, had root {known_root} where these have {here}", seen.display()
)]
pub struct Fork {
    pub origin: String,
    pub size: u64,
    pub root: Hash,
    /// The size that was seen before, and its root.
    pub known: u64,
    pub known_root: Hash,
    /// The root of this log at that size.
    pub here: Hash,
    /// Where the other note is kept.
    pub seen: PathBuf,
}

impl MemoryError {
    /// Does the log contradict what it showed before? Anything else means that it could not be
    /// compared.
    pub fn is_contradiction(&self) -> bool {
        matches!(self, MemoryError::Fork(_) | MemoryError::RolledBack { .. })
    }
}

/// Does `log` go on from the checkpoint in `note`, which lies at `seen` and is trusted as it is? Its
/// signatures were verified when it was kept, by the keys of that time. `true` if `log` is larger.
pub fn goes_on(log: &Log<'_>, note: &[u8], seen: &Path) -> Result<bool, MemoryError> {
    let bad = |source| MemoryError::Remembered {
        path: seen.into(),
        source,
    };
    let parsed = Note::parse(note).map_err(|error| bad(error.into()))?;
    let known = Checkpoint::parse(parsed.text).map_err(bad)?;
    let now = log.checkpoint();
    if known.origin != now.origin {
        return Err(bad(CheckpointError::Origin {
            found: known.origin,
            expected: now.origin.clone(),
        }));
    }
    let fork = |here| {
        MemoryError::Fork(Box::new(Fork {
            origin: now.origin.clone(),
            size: now.size,
            root: now.root,
            known: known.size,
            known_root: known.root,
            here,
            seen: seen.into(),
        }))
    };
    if known.size > now.size {
        // A slower publisher may have put an older checkpoint over a newer one: then the tiles of the
        // newer one are there, and prove it.
        let newer = Log::at(log.store(), known.clone(), note.to_vec());
        if let Ok((_, root)) = newer.consistency(now.size) {
            if root != now.root {
                return Err(fork(root));
            }
            return Err(MemoryError::Stale {
                origin: now.origin.clone(),
                size: now.size,
                known: known.size,
                seen: seen.into(),
            });
        }
        return Err(MemoryError::RolledBack {
            origin: now.origin.clone(),
            size: now.size,
            known: known.size,
            seen: seen.into(),
        });
    }
    if known.size == now.size {
        return if known.root == now.root {
            Ok(false)
        } else {
            Err(fork(now.root))
        };
    }
    // The proof is made and verified from the log's own tiles, up to the root that it signed.
    let (_, here) = log.consistency(known.size)?;
    if here == known.root {
        Ok(true)
    } else {
        Err(fork(here))
    }
}

/// The newest checkpoints that this client has seen.
#[derive(Clone, Debug)]
pub struct Memory {
    directory: PathBuf,
    /// By which key the log is known: another log may bear the same name.
    key: String,
}

impl Memory {
    /// The memory of the log of `key` in `directory`, which need not exist.
    pub fn new(directory: &Path, key: &NoteKey) -> Memory {
        Memory {
            directory: directory.into(),
            key: key.to_string(),
        }
    }

    /// Where the newest checkpoint is kept.
    pub fn place(&self) -> PathBuf {
        let name = Sha256::of(self.key.as_bytes()).to_string();
        self.directory.join(name).join("checkpoint")
    }

    /// Makes sure that `log` goes on from what is remembered, and remembers it. Of two processes
    /// that do so at once, each compares with what the other kept.
    pub fn check(&self, log: &Log<'_>) -> Result<(), MemoryError> {
        let path = self.place();
        // To compare takes no lock, and nothing that may be written.
        compare(log, &path)?;
        let directory = path.parent().unwrap_or(&self.directory);
        disk::create_directory(directory)?;
        let _lock = Lock::acquire(&directory.join("lock"))?;
        if compare(log, &path)? {
            disk::write(&path, log.note(), Existing::Replace, Access::Shared)?;
        }
        Ok(())
    }
}

/// Does `log` go on from what is kept at `path`? `true` if there is something new to keep.
fn compare(log: &Log<'_>, path: &Path) -> Result<bool, MemoryError> {
    let note = match disk::read_no_link(path, MAX_NOTE as u64) {
        Ok(note) => note,
        Err(error) if error.is_not_found() => return Ok(true),
        // Where this user may not read, it never kept anything: a warning. What is there and cannot be
        // read for another reason must not be taken for nothing.
        Err(error) if error.is_denied() => return Err(error.into()),
        Err(error) => {
            let path = path.into();
            return Err(MemoryError::Unreadable {
                path,
                source: error,
            });
        }
    };
    goes_on(log, &note, path).inspect_err(|error| {
        if error.is_contradiction() {
            // The verdict stands, whether or not the evidence can be kept.
            _ = keep_evidence(path.parent().unwrap_or(path), &note, log.note());
        }
    })
}

/// Two notes that contradict each other convict whoever signed both.
fn keep_evidence(directory: &Path, known: &[u8], now: &[u8]) -> Result<(), DiskError> {
    let both = [
        b"# seen before\n".as_slice(),
        known,
        b"\n# shown now\n",
        now,
    ]
    .concat();
    let name = Sha256::of(&both).to_string();
    let path = directory.join(format!("fork-{}", name.get(..16).unwrap_or_default()));
    match disk::write(&path, &both, Existing::Refuse, Access::Shared) {
        Ok(()) | Err(DiskError::Exists { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cosignature::LogSigner;
    use crate::ledger::{DirectoryStore, append, create};
    use crate::time::Timestamp;

    fn log(directory: &Path, entries: &[&[u8]]) -> DirectoryStore {
        let now = Timestamp::from_millis(1_700_000_000_000).unwrap();
        let store = DirectoryStore::new(directory);
        create(&store, &signer(), now).unwrap();
        for entry in entries {
            append(&store, &signer(), &[entry.to_vec()], now).unwrap();
        }
        store
    }

    fn signer() -> LogSigner {
        let key = ed25519_dalek::SigningKey::from_bytes(&[9; 32]);
        LogSigner::new("log", key).unwrap()
    }

    /// Invariant 4: two trees of one size, or of any, are never both accepted.
    #[test]
    fn one_history_is_accepted() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        let memory = Memory::new(&at("memory"), signer().trust().log());
        let check =
            |store: &DirectoryStore| memory.check(&Log::open(store, &signer().trust()).unwrap());
        let one = log(&at("one"), &[b"a"]);
        let honest = log(&at("honest"), &[b"a", b"b", b"c"]);
        check(&one).unwrap();
        check(&honest).unwrap();
        check(&honest).unwrap();
        let error = check(&one).unwrap_err();
        assert!(error.to_string().contains("rolled back"), "{error}");
        for (name, entries) in [
            ("same size", [b"a".as_slice(), b"x", b"c"].as_slice()),
            ("ahead", &[b"a", b"b", b"x", b"d"]),
            ("ahead from the first", &[b"x", b"b", b"c", b"d"]),
        ] {
            let error = check(&log(&at(name), entries)).unwrap_err();
            assert!(error.is_contradiction(), "{name}");
            assert!(error.to_string().contains("forked"), "{name}: {error}");
        }
        let kept = std::fs::read_dir(memory.place().parent().unwrap()).unwrap();
        let kept = kept.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        // The rollback, and three forks.
        assert_eq!(kept.filter(|name| name.starts_with("fork-")).count(), 4);
        // What was refused was not remembered.
        check(&log(&at("grown"), &[b"a", b"b", b"c", b"d"])).unwrap();
        disk::write(&memory.place(), b"torn", Existing::Replace, Access::Shared).unwrap();
        assert!(!check(&honest).unwrap_err().is_contradiction());
    }
}
