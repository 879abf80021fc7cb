//! Appending: commit → derive → sign → publish.
//!
//! 1. Finish what a crashed writer committed and did not publish.
//! 2. Commit: put the batch into the next free slot. From here on it is part of the log.
//! 3. Derive: write the tiles and bundles that the new size implies. They follow from the slots
//!    alone, so that doing it twice writes the same bytes.
//! 4. Sign the checkpoint, and publish it.
//!
//! Every write is durable before the next begins. Killed before step 2 ends, the batch is wholly
//! absent; killed after, the next publisher publishes it. In a directory, writers take turns by a
//! lock, and who waits leaves its entries in the inbox of who writes. On a bucket they race for the
//! slots, and who loses a race backs off.

use serde::{Deserialize, Serialize};

use super::LedgerError;
use super::commit::MAX_BATCH;
use super::publish::{self, CHECKPOINT, Publisher};
use super::store::{Created, DirectoryStore, Store};
use super::tile::MAX_ENTRY;
use super::writer::Writer;
use crate::checkpoint::Checkpoint;
use crate::cosignature::LogSigner;
use crate::time::Timestamp;

/// How far an append has to come before it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Durable in a slot: its index never changes. Readers do not see it yet.
    Committed,
    /// Under a signed checkpoint that readers see.
    Published,
    /// And cosigned by as many witnesses as the trust policy asks for.
    Witnessed,
}

/// What an append did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// The index of each entry, in the order they were given. An entry that was in the log already
    /// keeps the index it has.
    pub indices: Vec<u64>,
    /// The published checkpoint that covers them; `None` if they are only committed.
    pub checkpoint: Option<Checkpoint>,
    pub recovery: Recovery,
}

/// What was found undone and was done.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Recovery {
    /// Entries that a writer committed and did not publish.
    pub published: u64,
    /// Temporary files that a writer left when it was killed.
    pub swept: usize,
}

impl Appended {
    /// The index of the first entry.
    pub fn first(&self) -> u64 {
        self.indices.first().copied().unwrap_or_default()
    }
}

/// Makes an empty ledger of the log that `signer` signs for. One that is there is left alone.
pub fn create(
    store: &dyn Store,
    signer: &LogSigner,
    now: Timestamp,
) -> Result<Created, LedgerError> {
    let _lock = store.directory().map(DirectoryStore::lock).transpose()?;
    // A log that lost its checkpoint must not be started anew: it would be a fork of itself.
    if !store.exists(CHECKPOINT)? {
        for prefix in ["tile/", "_commit/"] {
            if let Some(left) = store.list(prefix)?.into_iter().next() {
                let what = format!("is missing, and {left} is there; restore it from a copy");
                return Err(LedgerError::damaged(CHECKPOINT, what));
            }
        }
    }
    let signed = signer.sign(&publish::empty(signer.origin()), now)?;
    Ok(store.create(CHECKPOINT, signed.as_bytes())?)
}

/// Appends `entries`, which are durable and published when this returns.
pub fn append(
    store: &dyn Store,
    signer: &LogSigner,
    entries: &[Vec<u8>],
    now: Timestamp,
) -> Result<Appended, LedgerError> {
    let clock = || now;
    let publisher = Publisher {
        signer,
        cosigners: None,
        clock: &clock,
    };
    Writer::new(store, signer.trust(), Some(publisher)).append(entries, Level::Published)
}

pub(super) fn check_sizes(entries: &[Vec<u8>]) -> Result<(), LedgerError> {
    if entries.is_empty() || entries.len() > MAX_BATCH {
        return Err(LedgerError::BatchSize {
            count: entries.len(),
        });
    }
    let bad = entries
        .iter()
        .find(|entry| !(1..=MAX_ENTRY).contains(&entry.len()));
    match bad {
        Some(entry) => Err(LedgerError::EntrySize { size: entry.len() }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Sha256;
    use crate::ledger::chain::{Chain, STATE};
    use crate::ledger::commit::{self, Commit};
    use crate::ledger::fsck::{Slots, fsck};
    use crate::ledger::reader::Log;
    use crate::merkle::{self, leaf_hash};
    use crate::tlog_policy::TlogPolicy;

    fn signer(origin: &str, seed: u8) -> LogSigner {
        LogSigner::new(origin, ed25519_dalek::SigningKey::from_bytes(&[seed; 32])).unwrap()
    }

    fn key() -> LogSigner {
        signer("log", 9)
    }

    fn vkey() -> TlogPolicy {
        key().trust()
    }

    fn now() -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000).unwrap()
    }

    fn entry(index: u64) -> Vec<u8> {
        format!("entry {index}").into_bytes()
    }

    #[test]
    fn batches_of_any_size_make_the_same_log() {
        let scratch = tempfile::tempdir().unwrap();
        let mut builder = merkle::RootBuilder::default();
        let store = DirectoryStore::new(&scratch.path().join("ledger"));
        assert_eq!(create(&store, &key(), now()).unwrap(), Created::New);
        assert_eq!(create(&store, &key(), now()).unwrap(), Created::Exists);
        for size in [1, 2, 252, 1, 255, 257, 600, 3] {
            let first = builder.size();
            let entries: Vec<_> = (first..first + size).map(entry).collect();
            for entry in &entries {
                builder.push(leaf_hash(entry));
            }
            let appended = append(&store, &key(), &entries, now()).unwrap();
            assert_eq!((appended.first(), appended.recovery.published), (first, 0));
            assert_eq!(appended.checkpoint.unwrap().root, builder.root());
            let report = fsck(&store, &vkey(), Slots::Required).unwrap();
            assert!(report.problems.is_empty(), "{:?}", report.problems);
        }
        let log = Log::open(&store, &vkey()).unwrap();
        for index in [
            0,
            1,
            255,
            256,
            511,
            512,
            1023,
            1024,
            log.checkpoint().size - 1,
        ] {
            let (bytes, proof) = log.entry(index).unwrap();
            assert_eq!(bytes, entry(index));
            assert_eq!(proof.verify(&bytes, &vkey()).unwrap(), *log.checkpoint());
        }
        for old in [0, 1, 255, 256, 257, 1000, log.checkpoint().size] {
            log.consistency(old).unwrap();
        }
        log.scan(|index, bytes| assert_eq!(bytes, entry(index)))
            .unwrap();
        assert!(log.entry(log.checkpoint().size).is_err());
        assert!(!scratch.path().join("ledger/tile/0/000.p").exists());
    }

    #[test]
    fn a_committed_batch_is_published_by_the_next_writer() {
        let scratch = tempfile::tempdir().unwrap();
        let store = DirectoryStore::new(scratch.path());
        create(&store, &key(), now()).unwrap();
        append(&store, &key(), &[entry(0)], now()).unwrap();
        // A writer that died right after its commit, slots that are void for each reason, and one
        // more writer that died.
        let mut chain =
            Chain::open(&store.read(STATE, 4096).unwrap().unwrap(), vkey().log()).unwrap();
        let mut put = |commit: &dyn Fn(&Chain) -> Vec<u8>, valid: bool| {
            let bytes = commit(&chain);
            store.create(&commit::key(chain.next), &bytes).unwrap();
            assert_eq!(chain.advance(&bytes).is_some(), valid);
        };
        let batch = |chain: &Chain, first, entries: Vec<Vec<u8>>| {
            let (sequence, previous) = (chain.next, chain.last);
            Commit {
                sequence,
                first,
                previous,
                nonce: [0; 16],
                entries,
            }
            .encode()
        };
        put(&|chain| batch(chain, 1, vec![entry(1), entry(2)]), true);
        put(&|_| b"void".to_vec(), false);
        put(&|chain| batch(chain, 0, vec![entry(9)]), false);
        put(&|chain| batch(chain, 7, vec![entry(9)]), false);
        put(
            &|chain| {
                batch(
                    &Chain {
                        last: Sha256::of(b"x"),
                        ..chain.clone()
                    },
                    3,
                    vec![entry(9)],
                )
            },
            false,
        );
        put(&|chain| batch(chain, 3, vec![entry(3)]), true);
        // Without the state the slots are read from the first, to the same end.
        store.remove(STATE).unwrap();
        let appended = append(&store, &key(), &[entry(4)], now()).unwrap();
        assert_eq!((appended.first(), appended.recovery.published), (4, 3));
        let log = Log::open(&store, &vkey()).unwrap();
        log.scan(|index, bytes| assert_eq!(bytes, entry(index)))
            .unwrap();
        assert_eq!(log.checkpoint().size, 5);
        let report = fsck(&store, &vkey(), Slots::Required).unwrap();
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        assert_eq!(report.notes.len(), 4, "{:?}", report.notes);
    }

    #[test]
    fn a_log_is_not_started_anew_and_not_continued_without_its_slots() {
        let scratch = tempfile::tempdir().unwrap();
        let store = DirectoryStore::new(scratch.path());
        create(&store, &key(), now()).unwrap();
        for index in 0..3 {
            append(&store, &key(), &[entry(index)], now()).unwrap();
        }
        let checkpoint = store.read("checkpoint", 4096).unwrap().unwrap();
        store.remove("checkpoint").unwrap();
        assert!(create(&store, &key(), now()).is_err());
        store.replace("checkpoint", &checkpoint).unwrap();
        let last = store.read(&commit::key(2), 4096).unwrap().unwrap();
        store.remove(&commit::key(2)).unwrap();
        let error = append(&store, &key(), &[entry(3)], now())
            .unwrap_err()
            .to_string();
        assert!(error.contains("slots are missing"), "{error}");
        assert!(
            !fsck(&store, &vkey(), Slots::Required)
                .unwrap()
                .problems
                .is_empty()
        );
        store.create(&commit::key(2), &last).unwrap();
        append(&store, &key(), &[entry(3)], now()).unwrap();
    }

    #[test]
    fn limits() {
        let scratch = tempfile::tempdir().unwrap();
        let store = DirectoryStore::new(scratch.path());
        create(&store, &key(), now()).unwrap();
        for bad in [
            vec![],
            vec![vec![]],
            vec![vec![0; MAX_ENTRY + 1]],
            vec![vec![0]; MAX_BATCH + 1],
        ] {
            assert!(append(&store, &key(), &bad, now()).is_err());
        }
        append(&store, &key(), &[vec![0; MAX_ENTRY]], now()).unwrap();
        assert!(append(&store, &signer("other", 9), &[vec![1]], now()).is_err());
        assert!(append(&store, &signer("log", 1), &[vec![1]], now()).is_err());
    }
}
