//! The part of the check that looks at what the size does not imply: older partial tiles, blobs,
//! left-overs, and files that do not belong into a ledger.

use super::{Checker, is_temporary};
use crate::digest::Sha256;
use crate::ledger::chain::STATE;
use crate::ledger::tile::{self, MAX_BUNDLE, MAX_TILE, Row, Tile};
use crate::ledger::{LedgerError, MAX_BLOB, blob_key};

impl Checker<'_> {
    /// Everything else that lies in the ledger: older partial tiles, blobs, and what is unknown.
    pub(super) fn rest(&mut self) -> Result<(), LedgerError> {
        for key in self.store.list("")? {
            match key.as_str() {
                "checkpoint" | STATE => {}
                "lock" => {
                    if !self.read(&key, 0).unwrap_or_default().is_empty() {
                        self.problem(key, "is not empty");
                    }
                }
                _ if is_temporary(&key) => {
                    self.note(key, "is left over from a writer that was killed");
                }
                _ if key.starts_with("_commit/") => {}
                // An index is disposable, and checks itself against the log.
                _ if key.starts_with("index.sqlite") => {}
                _ if key.starts_with("_inbox/") => {
                    self.note(key, "waits to be appended; nobody acknowledged it");
                }
                _ if key.starts_with("_probe/") => {
                    self.note(key, "is left of a probe of the store, and can be removed");
                }
                _ if key.starts_with("blob/") => self.blob(&key),
                _ if key.starts_with("tile/") => self.other_tile(&key),
                _ => self.problem(key, "does not belong into a ledger"),
            }
        }
        Ok(())
    }

    fn blob(&mut self, key: &str) {
        let Some(bytes) = self.read(key, MAX_BLOB) else {
            return;
        };
        let digest = Sha256::of(&bytes);
        if blob_key(&digest) != key {
            self.problem(key, format!("its content has digest {digest}"));
        }
    }

    /// A tile that the size does not imply: an older partial one must be a prefix of the newest.
    fn other_tile(&mut self, key: &str) {
        let size = self.report.checkpoint.size;
        let Some(tile) = Tile::parse(key) else {
            self.problem(key, "is not the name of a tile");
            return;
        };
        let width = Tile::width_in(tile.row, tile.index, size);
        if width == tile.width {
            return;
        }
        if width < tile.width {
            if tile.width <= Tile::width_in(tile.row, tile.index, self.committed) {
                self.note(
                    key,
                    "is ahead of the checkpoint, as its committed entries are",
                );
            } else {
                self.problem(key, "is ahead of everything that was committed");
            }
            return;
        }
        let limit = if tile.row == Row::Entries {
            MAX_BUNDLE
        } else {
            MAX_TILE
        };
        let newest = Tile { width, ..tile };
        let (Some(old), Some(new)) = (
            self.read(key, limit),
            self.store.read(&newest.key(), limit).ok().flatten(),
        ) else {
            return;
        };
        let complete = match tile.row {
            Row::Entries => tile::parse_bundle(&old, tile.width).is_ok(),
            Row::Hashes { .. } => old.len() as u64 == tile.width * 32,
        };
        if !complete || !new.starts_with(&old) {
            self.problem(
                key,
                format!("is not a prefix of {}: history was rewritten", newest.key()),
            );
        }
    }
}
