//! The part of the check that compares the commit slots with the entries. Sequential: each slot
//! names the one before it.

use super::{Checker, is_temporary, root_cause};
use crate::ledger::LedgerError;
use crate::ledger::chain::{Chain, MAX_STATE, STATE};
use crate::ledger::commit::{self, Commit};
use crate::ledger::tile::{self, MAX_BUNDLE, Row, Tile, WIDTH};
use crate::note::{NoteKey, SignatureType};

impl Checker<'_> {
    /// Compares the commit slots with the entries, in order.
    pub(super) fn slots(&mut self) -> Result<(), LedgerError> {
        let size = self.report.checkpoint.size;
        let state = self.state();
        let mut state_is_right = state.is_none() || state == Some(Chain::start());
        let mut chain = Chain::start();
        let mut void = Vec::new();
        let keys = self.store.list("_commit/")?;
        for key in keys.iter().filter(|key| !is_temporary(key)) {
            if *key != commit::key(chain.next) {
                let what = format!("expected {}", commit::key(chain.next));
                if chain.size >= size {
                    // Somebody may write ahead; nobody reads it before its turn.
                    self.note(key, format!("{what}: it has no place yet"));
                } else {
                    self.problem(key, what);
                }
                break;
            }
            self.report.files += 1;
            let bytes = match commit::read(self.store, chain.next) {
                Ok(bytes) => bytes.unwrap_or_default(),
                Err(error) => {
                    self.problem(key, root_cause(&error));
                    break;
                }
            };
            if let Some(commit) = chain.advance(&bytes) {
                for key in void.drain(..) {
                    self.note(key, "is void: it adds nothing");
                }
                if commit.first >= size {
                    self.note(
                        key,
                        "is committed and not published yet; the next append publishes it",
                    );
                } else if !self.same_entries(&commit) {
                    self.problem(key, "its entries are not those of the log");
                }
            } else {
                void.push(key.clone());
            }
            state_is_right |= state.as_ref() == Some(&chain);
        }
        self.committed = chain.size;
        if chain.size < size {
            let what = format!(
                "the slots from here on do not hold entries {} to {size}",
                chain.size
            );
            self.problem(void.first().map_or("_commit", String::as_str), what);
        } else {
            for key in void {
                self.note(key, "is void: it adds nothing");
            }
        }
        if !state_is_right {
            self.problem(STATE, "does not belong to the slots");
        }
        Ok(())
    }

    fn state(&mut self) -> Option<Chain> {
        let bytes = self
            .store
            .exists(STATE)
            .ok()?
            .then(|| self.read(STATE, MAX_STATE));
        let bytes = bytes??;
        let chain = self
            .log_keys
            .iter()
            .find_map(|key| Chain::open(&bytes, key));
        let signs_states = |key: &NoteKey| key.signature_type() == SignatureType::Ed25519;
        if chain.is_none() && self.log_keys.iter().any(signs_states) {
            self.problem(STATE, "is damaged");
        }
        chain
    }

    /// Are the entries of `commit` those that the bundles hold?
    fn same_entries(&self, commit: &Commit) -> bool {
        let size = self.report.checkpoint.size;
        let mut index = commit.first;
        let mut rest = commit.entries.as_slice();
        while !rest.is_empty() {
            let width = Tile::width_in(Row::Entries, index / WIDTH, size);
            let tile = Tile {
                row: Row::Entries,
                index: index / WIDTH,
                width,
            };
            // A bundle that cannot be read or parsed was reported when the tree was rebuilt.
            let Some(bytes) = self.store.read(&tile.key(), MAX_BUNDLE).ok().flatten() else {
                return true;
            };
            let Ok(entries) = tile::parse_bundle(&bytes, width) else {
                return true;
            };
            let skip = usize::try_from(index % WIDTH).unwrap_or(usize::MAX);
            let there = entries.get(skip..).unwrap_or_default();
            let count = there.len().min(rest.len());
            let (now, later) = rest.split_at_checked(count).unwrap_or((rest, &[]));
            if count == 0 || now.iter().zip(there).any(|(ours, theirs)| ours != theirs) {
                return false;
            }
            index += count as u64;
            rest = later;
        }
        true
    }
}
