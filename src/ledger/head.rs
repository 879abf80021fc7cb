//! Where the log stands for a writer: the chain of committed slots, and the tree that they make.
//! Reads slots; claims them; knows no key.

use std::time::{Duration, Instant};

use super::LedgerError;
use super::chain::{Chain, MAX_STATE, STATE};
use super::commit::{self, Commit};
use super::edge::Edge;
use super::recent::Recent;
use super::store::{Created, Store};
use crate::checkpoint::Checkpoint;
use crate::digest::Sha256;
use crate::tlog_policy::TlogPolicy;

/// How long an answer that was lost is sought, before the writer says that it does not know.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a writer needs of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// The slots: to commit.
    Slots,
    /// The tree as well: to publish.
    Tree,
}

/// Where the log stands.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) chain: Chain,
    /// The tree of all committed entries, for a publisher.
    pub(super) edge: Option<Edge>,
    pub(super) recent: Recent,
}

/// What became of a claim.
pub(super) enum Claim {
    /// The slot holds our bytes, durably.
    Won,
    /// The slot holds somebody else's: these bytes.
    Lost(Vec<u8>),
}

impl Head {
    /// Reads what was committed, from the signed state on, or from the first slot.
    pub(super) fn open(
        store: &dyn Store,
        trust: &TlogPolicy,
        checkpoint: &Checkpoint,
        view: View,
    ) -> Result<Head, LedgerError> {
        let published = checkpoint.size;
        let mut head = Head::at_first_slot(store, checkpoint, view)?;
        let state = store.read(STATE, MAX_STATE)?;
        let state = state.and_then(|state| trust.logs().find_map(|key| Chain::open(&state, key)));
        // One that is ahead of the checkpoint, as after a slow publisher, leaves out entries that the
        // index does not have either.
        if let Some(chain) = state.filter(|chain| chain.size <= published) {
            head.start_from(store, chain)?;
        }
        head.catch_up(store)?;
        if head.chain.size < published {
            let what = format!(
                "the slots lead to {} entries, the checkpoint has {published}: slots are missing",
                head.chain.size
            );
            return Err(LedgerError::damaged("_commit", what));
        }
        Ok(head)
    }

    /// The same, from the first slot whatever the state says.
    pub(super) fn from_first_slot(
        store: &dyn Store,
        checkpoint: &Checkpoint,
        view: View,
    ) -> Result<Head, LedgerError> {
        let mut head = Head::at_first_slot(store, checkpoint, view)?;
        head.catch_up(store)?;
        Ok(head)
    }

    fn at_first_slot(
        store: &dyn Store,
        checkpoint: &Checkpoint,
        view: View,
    ) -> Result<Head, LedgerError> {
        Ok(Head {
            chain: Chain::start(),
            edge: match view {
                View::Slots => None,
                View::Tree => Some(Edge::read(store, checkpoint)?),
            },
            recent: Recent::default(),
        })
    }

    /// Starts from `chain`, if the slot before is the one that it names; else from the first slot,
    /// which finds out what is missing. Its entries are remembered: who committed them may not know.
    fn start_from(&mut self, store: &dyn Store, chain: Chain) -> Result<(), LedgerError> {
        let Some(sequence) = chain.next.checked_sub(1) else {
            return Ok(());
        };
        let bytes = commit::read(store, sequence)?;
        let Some(bytes) = bytes.filter(|bytes| Sha256::of(bytes) == chain.last) else {
            return Ok(());
        };
        // A void slot may claim any place.
        if let Some(commit) = Commit::parse(&bytes, sequence).filter(|c| c.end() == chain.size) {
            self.recent.add(commit.first, &commit.entries);
        }
        self.chain = chain;
        Ok(())
    }

    /// Goes on over the slots that were committed since. How many entries they hold.
    pub(super) fn catch_up(&mut self, store: &dyn Store) -> Result<u64, LedgerError> {
        let (before, first) = (self.chain.size, self.chain.next);
        // Mostly there is none. Where there are some there may be many, and on a bucket each takes as
        // long as all of them: who reads them one by one never catches up with who writes them.
        let mut ahead = 1;
        loop {
            let slots = commit::read_ahead(store, self.chain.next, ahead)?;
            for bytes in &slots {
                self.advance(store, bytes)?;
            }
            if (slots.len() as u64) < ahead {
                break;
            }
            let large = slots.iter().map(Vec::len).sum::<usize>() > AHEAD_BYTES;
            ahead = if large { 1 } else { (ahead * 2).min(AHEAD) };
        }
        // Whoever wrote them may have been killed before their names were durable.
        if let Some(directory) = store.directory()
            && self.chain.next > first
        {
            directory.sync_names(&commit::key(first))?;
        }
        Ok(self.chain.size - before)
    }

    /// Goes on over the next slot, whose bytes are `bytes`.
    pub(super) fn advance(&mut self, store: &dyn Store, bytes: &[u8]) -> Result<(), LedgerError> {
        let Some(commit) = self.chain.advance(bytes) else {
            return Ok(());
        };
        self.recent.add(commit.first, &commit.entries);
        if let Some(edge) = &mut self.edge {
            // Slots before the checkpoint are in the tree already.
            if commit.first == edge.size() {
                edge.extend(&commit.entries)?;
                if edge.complete() > TILES_IN_MEMORY {
                    super::publish::write_tiles(store, &edge.take_complete())?;
                }
            } else if commit.end() > edge.size() {
                let what = format!(
                    "slot {} does not end where the published log does: slots were changed",
                    commit.sequence
                );
                return Err(LedgerError::damaged("_commit", what));
            }
        }
        Ok(())
    }

    /// Tries to put `entries` into the next slot. Returns after it is known who has it.
    pub(super) fn claim(
        &mut self,
        store: &dyn Store,
        entries: &[Vec<u8>],
    ) -> Result<Claim, LedgerError> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(|error| LedgerError::Random(error.to_string()))?;
        let Chain {
            next: sequence,
            size: first,
            last: previous,
        } = self.chain.clone();
        let commit = Commit {
            sequence,
            first,
            previous,
            nonce,
            entries: entries.into(),
        };
        let (slot, bytes) = (commit::key(sequence), commit.encode());
        let begin = Instant::now();
        let mut wait = Duration::from_millis(2);
        loop {
            // The nonce makes these bytes ours alone. As long as it is not known what the slot
            // holds, the same bytes go to the same slot: an earlier try may still arrive.
            match store.create(&slot, &bytes) {
                Ok(Created::New) => break,
                Ok(Created::Exists) => match commit::read(store, sequence) {
                    Ok(Some(there)) if there == bytes => break,
                    Ok(Some(there)) => return Ok(Claim::Lost(there)),
                    Ok(None) => {}
                    Err(error) if error.is_ambiguous() => {}
                    Err(error) => return Err(error.into()),
                },
                Err(error) if error.is_ambiguous() && begin.elapsed() < PATIENCE => {}
                Err(error) if error.is_ambiguous() => {
                    return Err(LedgerError::Unknown {
                        slot,
                        source: error,
                    });
                }
                Err(error) => return Err(error.into()),
            }
            if begin.elapsed() >= PATIENCE {
                let what = "is taken and cannot be read";
                return Err(LedgerError::damaged(slot, what));
            }
            std::thread::sleep(wait);
            wait = (wait * 2).min(Duration::from_secs(2));
        }
        self.advance(store, &bytes)?;
        if self.chain.size == commit.end() {
            Ok(Claim::Won)
        } else {
            Err(LedgerError::damaged(
                slot,
                "is void although it was written by the rules",
            ))
        }
    }
}

/// How many slots are read at once.
const AHEAD: u64 = 16;
/// After slots of so many bytes together, the next is read alone.
const AHEAD_BYTES: usize = 4 << 20;
/// How many complete tiles wait in memory, while slots are read, before they are written.
const TILES_IN_MEMORY: usize = 256;
