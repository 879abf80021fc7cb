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

use std::time::{Duration, Instant};

use super::LedgerError;
use super::commit::MAX_BATCH;
use super::contention::Contention;
use super::head::{Claim, Head, View};
use super::inbox;
use super::publish::{self, CHECKPOINT, Publisher};
use super::reader::Log;
use super::recent::{LeafIndex, Place, REMEMBERED, locate};
use super::store::{Created, DirectoryStore, Store};
use super::tile::MAX_ENTRY;
use crate::checkpoint::Checkpoint;
use crate::cosignature::LogSigner;
use crate::disk::Lock;
use crate::note::MAX_NOTE;
use crate::time::Timestamp;
use crate::tlog_policy::TlogPolicy;

/// How far an append has to come before it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Durable in a slot: its index never changes. Readers do not see it yet.
    Committed,
    /// Under a signed checkpoint that readers see.
    Published,
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

/// Appends to one ledger, and remembers where it stands.
pub struct Writer<'a> {
    store: &'a dyn Store,
    /// The log's key, without its witnesses: a checkpoint that they have not seen yet is a
    /// checkpoint to go on from.
    trust: TlogPolicy,
    publisher: Option<Publisher<'a>>,
    index: Option<Box<dyn LeafIndex + 'a>>,
    /// How many entries the index has.
    followed: u64,
    stand: Option<Stand>,
    recovery: Recovery,
    contention: Contention,
}

/// Where the log stood when the writer last looked.
struct Stand {
    head: Head,
    /// The newest checkpoint that is known to be published, and its note.
    checkpoint: Checkpoint,
    note: Vec<u8>,
}

impl<'a> Writer<'a> {
    /// A writer to the ledger in `store`. Without a publisher it can commit, and no more.
    pub fn new(
        store: &'a dyn Store,
        trust: TlogPolicy,
        publisher: Option<Publisher<'a>>,
    ) -> Writer<'a> {
        Writer {
            store,
            trust,
            publisher,
            index: None,
            followed: 0,
            stand: None,
            recovery: Recovery::default(),
            contention: Contention::default(),
        }
    }

    /// Finds entries that are in the log already in `index`, however old they are. Without it, only
    /// the newest are found.
    pub fn set_index(&mut self, index: Box<dyn LeafIndex + 'a>) {
        self.index = Some(index);
    }

    /// Appends 1 to 1,024 entries of 1 to 65,535 bytes each, in one batch.
    pub fn append(&mut self, entries: &[Vec<u8>], level: Level) -> Result<Appended, LedgerError> {
        check_sizes(entries)?;
        if level >= Level::Published && self.publisher.is_none() {
            return Err(LedgerError::NoSigner);
        }
        let indices = match self.store.directory() {
            Some(directory) => match directory.try_lock()? {
                Some(lock) => self.rounds(directory, &lock, entries)?,
                None => self.by_inbox(directory, entries)?,
            },
            None => self.commit(entries)?,
        };
        let checkpoint = match level {
            Level::Committed => None,
            Level::Published => Some(self.cover(&indices)?),
        };
        Ok(Appended {
            indices,
            checkpoint,
            recovery: std::mem::take(&mut self.recovery),
        })
    }

    /// Publishes what is committed. Returns the newest checkpoint, and what was found undone.
    pub fn publish(&mut self) -> Result<(Checkpoint, Recovery), LedgerError> {
        let directory = self.store.directory();
        let _lock = directory.map(DirectoryStore::lock).transpose()?;
        self.look()?;
        let checkpoint = self.publish_committed()?;
        Ok((checkpoint, std::mem::take(&mut self.recovery)))
    }

    /// Commits and publishes `entries`, and what waits in the inbox, with the lock held.
    fn rounds(
        &mut self,
        directory: &DirectoryStore,
        _lock: &Lock,
        entries: &[Vec<u8>],
    ) -> Result<Vec<u64>, LedgerError> {
        if self.stand.is_none() {
            self.recovery.swept += directory.sweep()?;
        }
        self.look()?;
        let (own, mut more) = self.round(directory, entries)?;
        // Whoever asked in vain does it without us.
        for _ in 1..ROUNDS {
            if !more {
                break;
            }
            more = self.round(directory, &[]).is_ok_and(|(_, more)| more);
        }
        Ok(own)
    }

    /// Commits and publishes one batch: `entries`, and as many requests as fit beside them. Returns
    /// the indices of `entries`, and whether requests are left.
    fn round(
        &mut self,
        directory: &DirectoryStore,
        entries: &[Vec<u8>],
    ) -> Result<(Vec<u64>, bool), LedgerError> {
        let (requests, more) = inbox::requests(directory, MAX_BATCH - entries.len())?;
        let asked = requests.iter().flat_map(|request| &request.entries);
        let batch: Vec<Vec<u8>> = entries.iter().chain(asked).cloned().collect();
        if batch.is_empty() {
            return Ok((Vec::new(), more));
        }
        let mut indices = self.commit(&batch)?;
        if self.publisher.is_some() {
            self.cover(&indices)?;
        }
        let mut others = indices.split_off(entries.len());
        for request in &requests {
            let rest = others.split_off(request.entries.len().min(others.len()));
            inbox::settle(directory, request, &others)?;
            others = rest;
        }
        Ok((indices, more))
    }

    /// Leaves `entries` to the process that holds the lock; if it does not take them, does it.
    fn by_inbox(
        &mut self,
        directory: &DirectoryStore,
        entries: &[Vec<u8>],
    ) -> Result<Vec<u64>, LedgerError> {
        if inbox::waiting(directory)? >= inbox::MAX_WAITING {
            return Err(LedgerError::Busy);
        }
        let request = inbox::ask(directory, entries)?;
        let lock = directory.lock();
        // A request that is withdrawn may have been taken: then it is in the log, unacknowledged.
        let answer = match &lock {
            Ok(_) => inbox::answer(directory, &request)?,
            Err(_) => None,
        };
        match (lock, answer) {
            (Ok(_), Some(indices)) => Ok(indices),
            (Ok(lock), None) => {
                inbox::withdraw(directory, &request)?;
                self.rounds(directory, &lock, entries)
            }
            (Err(error), _) => {
                inbox::withdraw(directory, &request)?;
                Err(error.into())
            }
        }
    }

    /// Finds out where the log stands, going on from what is known where that is enough.
    fn look(&mut self) -> Result<(), LedgerError> {
        if let Some(stand) = &mut self.stand {
            // In a directory others may have published, and dropped partial tiles. On a bucket a
            // publisher goes on from its own tree, whatever others published.
            let current = self.store.directory().is_none()
                || self.store.read(CHECKPOINT, MAX_NOTE as u64)?.as_ref() == Some(&stand.note);
            if current {
                stand.head.catch_up(self.store)?;
                return Ok(());
            }
        }
        self.stand = None;
        let (checkpoint, note) = publish::newest(self.store, &self.trust)?;
        let view = match self.publisher {
            Some(_) => View::Tree,
            None => View::Slots,
        };
        let head = Head::open(self.store, &self.trust, &checkpoint, view)?;
        let unpublished = head.chain.size - checkpoint.size;
        self.stand = Some(Stand {
            head,
            checkpoint,
            note,
        });
        self.follow()?;
        if unpublished > 0 && self.publisher.is_some() {
            self.publish_committed()?;
            self.recovery.published += unpublished;
        }
        Ok(())
    }

    /// Brings the index to the newest checkpoint that is known.
    fn follow(&mut self) -> Result<(), LedgerError> {
        if let (Some(index), Some(stand)) = (&mut self.index, &self.stand) {
            let log = Log::at(self.store, stand.checkpoint.clone(), stand.note.clone());
            index.follow(&log)?;
            self.followed = stand.checkpoint.size;
        }
        Ok(())
    }

    /// Commits those of `entries` that are not in the log. The index of each.
    fn commit(&mut self, entries: &[Vec<u8>]) -> Result<Vec<u64>, LedgerError> {
        let begin = Instant::now();
        self.contention.give_way();
        loop {
            if self.stand.is_none() {
                self.look()?;
            }
            let Some(stand) = &mut self.stand else {
                return Err(LedgerError::NoCheckpoint);
            };
            if self.index.is_some() && stand.checkpoint.size - self.followed > FOLLOW_AFTER {
                self.follow()?;
                continue;
            }
            let (places, new) = locate(entries, &stand.head.recent, self.index.as_deref_mut())?;
            let first = stand.head.chain.size;
            if !new.is_empty() {
                let tried = Instant::now();
                let claim = stand.head.claim(self.store, &new);
                match claim {
                    Ok(Claim::Won) => self.contention.won(tried.elapsed()),
                    Ok(Claim::Lost) if begin.elapsed() < PATIENCE => {
                        stand.head.catch_up(self.store)?;
                        self.contention.lost(tried.elapsed());
                        continue;
                    }
                    Ok(Claim::Lost) => return Err(LedgerError::Busy),
                    Err(error) => {
                        // What the slot holds is not known: the next time it is read.
                        self.stand = None;
                        return Err(error);
                    }
                }
            }
            let index = |place: &Place| match place {
                Place::There(index) => *index,
                Place::New(offset) => first + offset,
            };
            return Ok(places.iter().map(index).collect());
        }
    }

    /// A published checkpoint that covers `indices`.
    fn cover(&mut self, indices: &[u64]) -> Result<Checkpoint, LedgerError> {
        let size = indices.iter().max().map_or(0, |last| last + 1);
        let published = self.publish_up_to(size);
        published.map_err(|source| LedgerError::NotPublished {
            first: indices.first().copied().unwrap_or_default(),
            source: Box::new(source),
        })
    }

    fn publish_up_to(&mut self, size: u64) -> Result<Checkpoint, LedgerError> {
        if let Some(stand) = &self.stand
            && stand.checkpoint.size >= size
        {
            return Ok(stand.checkpoint.clone());
        }
        let mine = self
            .stand
            .as_ref()
            .is_some_and(|stand| stand.head.chain.size >= size);
        if !mine || self.store.directory().is_none() {
            // Others publish too: often one of them has done it by now.
            self.contention.pause();
            let (checkpoint, note) = publish::newest(self.store, &self.trust)?;
            if checkpoint.size >= size {
                if let Some(stand) = &mut self.stand
                    && self.store.directory().is_none()
                {
                    stand.checkpoint = checkpoint.clone();
                    stand.note = note;
                }
                return Ok(checkpoint);
            }
        }
        if !mine {
            self.stand = None;
            let directory = self.store.directory();
            let _lock = directory.map(DirectoryStore::lock).transpose()?;
            self.look()?;
            return self.publish_committed();
        }
        self.publish_committed()
    }

    /// Publishes everything that is known to be committed. In a directory, with the lock held.
    fn publish_committed(&mut self) -> Result<Checkpoint, LedgerError> {
        let publisher = self.publisher.ok_or(LedgerError::NoSigner)?;
        let Some(mut stand) = self.stand.take() else {
            return Err(LedgerError::NoCheckpoint);
        };
        // If this fails, it is not known how far it came: the next time it is read.
        let (checkpoint, note) = publish::publish(self.store, &publisher, &mut stand.head)?;
        stand.checkpoint = checkpoint.clone();
        stand.note = note;
        self.stand = Some(stand);
        Ok(checkpoint)
    }
}

/// How many batches are committed with the lock held before the others get their turn.
const ROUNDS: usize = 8;
/// How long a writer races for a slot.
const PATIENCE: Duration = Duration::from_secs(120);
/// How many entries are published before the index follows: fewer than are remembered without it.
const FOLLOW_AFTER: u64 = REMEMBERED as u64 / 4;

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
    use crate::merkle::{self, leaf_hash};

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
