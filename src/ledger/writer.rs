//! A writer to one ledger: commits, publishes, serves the inbox, and remembers where the log stands.

use std::time::{Duration, Instant};

use super::LedgerError;
use super::append::{Appended, Level, Recovery, check_sizes};
use super::commit::MAX_BATCH;
use super::contention::Contention;
use super::head::{Claim, Head, View};
use super::inbox;
use super::publish::{self, CHECKPOINT, Publisher};
use super::reader::Log;
use super::recent::{LeafIndex, Place, REMEMBERED, locate};
use super::store::{DirectoryStore, Store};
use crate::checkpoint::Checkpoint;
use crate::disk::Lock;
use crate::merkle::Hash;
use crate::note::MAX_NOTE;
use crate::tlog_policy::TlogPolicy;

/// Appends to one ledger, and remembers where it stands.
pub struct Writer<'a> {
    store: &'a dyn Store,
    /// What readers ask for.
    asked: TlogPolicy,
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
            trust: trust.without_quorum(),
            asked: trust,
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
    #[must_use]
    pub fn with_index(mut self, index: Box<dyn LeafIndex + 'a>) -> Self {
        self.index = Some(index);
        self
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
            Level::Witnessed => {
                let checkpoint = self.cover(&indices)?;
                self.witnessed(&indices)?;
                Some(checkpoint)
            }
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
        let unpublished = self.stand.as_ref().map_or(0, |stand| {
            stand.head.chain.size.saturating_sub(stand.checkpoint.size)
        });
        let checkpoint = match &self.stand {
            Some(stand) if unpublished == 0 => stand.checkpoint.clone(),
            _ => {
                let checkpoint = self.publish_committed()?;
                self.recovery.published += unpublished;
                checkpoint
            }
        };
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
            inbox::sweep(directory)?;
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
        let answer = inbox::answer(directory, &request)?;
        match (lock, answer) {
            (_, Some(indices)) => Ok(indices),
            (Ok(lock), None) => {
                inbox::withdraw(directory, &request)?;
                self.rounds(directory, &lock, entries)
            }
            (Err(error), None) => {
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
        let (checkpoint, note) = publish::newest(self.store, &self.trust)?;
        self.goes_on(&checkpoint, &note)?;
        self.stand = None;
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

    /// A directory that was put back to an earlier state must not be written to by who knows better: what
    /// is signed then is a fork. On a bucket an older checkpoint may appear for a moment.
    fn goes_on(&self, now: &Checkpoint, note: &[u8]) -> Result<(), LedgerError> {
        let Some(stand) = &self.stand else {
            return Ok(());
        };
        let known = &stand.checkpoint;
        let same = if now.size < known.size {
            self.store.directory().is_none()
        } else {
            let log = Log::at(self.store, now.clone(), note.to_vec());
            log.consistency(known.size)?.1 == known.root
        };
        if same {
            return Ok(());
        }
        let what = format!(
            "has {} entries and does not go on from the {} that this process published: the ledger was \
             replaced",
            now.size, known.size
        );
        Err(LedgerError::damaged(CHECKPOINT, what))
    }

    /// Brings the index to the newest checkpoint that is known.
    fn follow(&mut self) -> Result<(), LedgerError> {
        if let (Some(index), Some(stand)) = (&mut self.index, &self.stand) {
            let log = Log::at(self.store, stand.checkpoint.clone(), stand.note.clone());
            match index.follow(&log) {
                Ok(()) => self.followed = stand.checkpoint.size,
                // It is disposable: without it, the newest entries are still found.
                Err(LedgerError::Index { .. }) => self.index = None,
                // The log could not be read: that is no fault of the index.
                Err(error) => {
                    self.stand = None;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Commits those of `entries` that are not in the log. The index of each.
    fn commit(&mut self, entries: &[Vec<u8>]) -> Result<Vec<u64>, LedgerError> {
        let begin = Instant::now();
        // In a directory the lock keeps the order.
        if self.store.directory().is_none()
            && self.contention.give_way()
            && let Some(stand) = &mut self.stand
        {
            let begin = Instant::now();
            if stand.head.catch_up(self.store)? > 0 {
                self.contention.seen();
            } else {
                self.contention.looked(begin.elapsed());
            }
        }
        loop {
            if self.stand.is_none() {
                self.look()?;
            }
            let Some(stand) = &mut self.stand else {
                return Err(LedgerError::NoCheckpoint);
            };
            if self.index.is_some()
                && stand.checkpoint.size.saturating_sub(self.followed) > FOLLOW_AFTER
            {
                self.follow()?;
                continue;
            }
            let log = Log::at(self.store, stand.checkpoint.clone(), stand.note.clone());
            let mut lies = false;
            let mut find = |leaf: &Hash| -> Result<Option<u64>, LedgerError> {
                let Some(index) = self.index.as_deref_mut() else {
                    return Ok(None);
                };
                let place = match index.find(leaf) {
                    Ok(place) => place,
                    Err(LedgerError::Index { .. }) => None,
                    Err(error) => return Err(error),
                };
                // A hit counts only if the log has that entry there.
                match place.map(|place| log.leaf(place)) {
                    None => Ok(None),
                    Some(Ok(there)) if there == *leaf => Ok(place),
                    Some(Ok(_) | Err(LedgerError::Outside { .. })) => {
                        lies = true;
                        Ok(None)
                    }
                    Some(Err(error)) => Err(error),
                }
            };
            let (places, new) = locate(entries, &stand.head.recent, &mut find)?;
            if lies {
                // It says what is not so: it is not used any more, and built anew on request.
                self.index = None;
            }
            let first = stand.head.chain.size;
            if !new.is_empty() {
                let tried = Instant::now();
                let claim = stand.head.claim(self.store, &new);
                match claim {
                    Ok(Claim::Won) => self.contention.won(tried.elapsed()),
                    Ok(Claim::Lost(bytes)) if begin.elapsed() < PATIENCE => {
                        stand.head.advance(self.store, &bytes)?;
                        // The next slot is probably free, and to look first would lose it as well. Who
                        // loses again and again is behind.
                        if self.contention.lost(tried.elapsed()).is_multiple_of(4) {
                            stand.head.catch_up(self.store)?;
                        }
                        continue;
                    }
                    Ok(Claim::Lost(_)) => return Err(LedgerError::Busy),
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

    /// Does the published checkpoint carry every signature that readers ask for?
    fn witnessed(&self, indices: &[u64]) -> Result<(), LedgerError> {
        let first = indices.first().copied().unwrap_or_default();
        let not = |source| LedgerError::NotWitnessed {
            first,
            source: Box::new(source),
        };
        let end = indices.iter().max().map_or(0, |last| last + 1);
        match publish::newest(self.store, &self.asked).map_err(not)? {
            (checkpoint, _) if checkpoint.size >= end => Ok(()),
            _ => Err(not(LedgerError::NoCheckpoint)),
        }
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
        let (checkpoint, note) =
            publish::publish(self.store, &publisher, &self.trust, &mut stand.head)?;
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
