//! The part of the check that looks at what the size does not imply: older partial tiles, blobs,
//! left-overs, and files that do not belong into a ledger.

use super::{Checker, is_temporary};
use crate::digest::Sha256;
use crate::ledger::tile::{self, MAX_BUNDLE, MAX_TILE, Row, Tile, WIDTH};
use crate::ledger::{LedgerError, MAX_BLOB, blob_key, commit};

impl Checker<'_> {
    /// A log that had `end` entries had these partial tiles. They stay until the full one exists, for
    /// readers who hold the checkpoint of that size.
    pub(super) fn expect_partials(&mut self, end: u64) {
        let size = self.report.checkpoint.size;
        if end >= size {
            return;
        }
        let rows = (0..8).map(|level| Row::Hashes { level });
        for row in rows.chain([Row::Entries]) {
            let level = match row {
                Row::Hashes { level } => level,
                Row::Entries => 0,
            };
            let index = (end >> (8 * u32::from(level))) / WIDTH;
            let width = Tile::width_in(row, index, end);
            let now = Tile::width_in(row, index, size);
            if width > 0 && width < now && now < WIDTH {
                self.older.entry(Tile { row, index, width }).or_insert(end);
            }
        }
    }

    /// Everything else that lies in the ledger: older partial tiles, blobs, and what is unknown.
    pub(super) fn rest(&mut self) -> Result<(), LedgerError> {
        for key in self.store.list("")? {
            match key.as_str() {
                "checkpoint" | commit::STATE => {}
                "lock" => {
                    if !self.read(&key, 0).unwrap_or_default().is_empty() {
                        self.problem(key, "is not empty");
                    }
                }
                _ if is_temporary(&key) => {
                    self.note(key, "is left over from a writer that was killed");
                }
                _ if key.starts_with("_commit/") => {}
                _ if key.starts_with("blob/") => self.blob(&key),
                _ if key.starts_with("tile/") => self.other_tile(&key),
                _ => self.problem(key, "does not belong into a ledger"),
            }
        }
        // Of several batches that were published at once, only the last one has such tiles.
        for (tile, end) in std::mem::take(&mut self.older) {
            let what = format!("is missing: readers of a checkpoint of {end} entries need it");
            self.note(tile.key(), what);
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
        self.older.remove(&tile);
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
