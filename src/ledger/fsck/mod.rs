//! Checks a whole ledger from its entries: every tile, every bundle, every commit slot, every
//! blob, byte for byte, and the signature of the checkpoint. Changes nothing.

mod slots;

use super::commit;
use super::store::Store;
use super::tile::{self, MAX_BUNDLE, MAX_TILE, Row, Tile, WIDTH};
use super::{LedgerError, MAX_BLOB};
use crate::checkpoint::Checkpoint;
use crate::digest::Sha256;
use crate::disk::TEMPORARY_PREFIX;
use crate::merkle::{Hash, RootBuilder, leaf_hash};
use crate::note::MAX_NOTE;
use crate::tlog_policy::TlogPolicy;

/// What was checked and what is wrong.
#[derive(Debug)]
pub struct FsckReport {
    pub checkpoint: Checkpoint,
    /// Tiles, bundles, slots and blobs that were read.
    pub files: u64,
    /// Things that are no damage: a slot that is not published yet, a left-over of a crash.
    pub notes: Vec<Problem>,
    pub problems: Vec<Problem>,
}

/// Something wrong with one file of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub key: String,
    pub what: String,
}

/// Must the commit slots be there?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slots {
    /// In the ledger that writers use, and in any copy that should be able to take its place.
    Required,
    /// In a copy for reading, or a log of another program, they are not.
    Absent,
}

/// Checks the ledger in `store` against what is trusted. An error means that it could not be
/// checked at all; what is wrong with it is in the report.
pub fn fsck(
    store: &dyn Store,
    trust: &TlogPolicy,
    slots: Slots,
) -> Result<FsckReport, LedgerError> {
    for _ in 0..ATTEMPTS {
        let (report, note) = check(store, trust, slots)?;
        // A writer may have gone on meanwhile: then what looks like damage may be progress.
        let now = store.read("checkpoint", MAX_NOTE as u64)?;
        if report.problems.is_empty() || now.as_ref() == Some(&note) {
            return Ok(report);
        }
    }
    Ok(check(store, trust, slots)?.0)
}

/// How often a ledger is checked that changes all the time.
const ATTEMPTS: usize = 4;
/// After so many problems a ledger needs no further ones.
const ENOUGH: usize = 1000;

fn check(
    store: &dyn Store,
    trust: &TlogPolicy,
    slots: Slots,
) -> Result<(FsckReport, Vec<u8>), LedgerError> {
    let note = store
        .read("checkpoint", MAX_NOTE as u64)?
        .ok_or(LedgerError::NoCheckpoint)?;
    let checkpoint = trust.open(&note)?;
    let report = FsckReport {
        checkpoint,
        files: 1,
        notes: Vec::new(),
        problems: Vec::new(),
    };
    let mut checker = Checker {
        store,
        report,
        committed: 0,
    };
    checker.tree();
    match slots {
        Slots::Required => checker.slots()?,
        Slots::Absent => checker.committed = checker.report.checkpoint.size,
    }
    checker.rest()?;
    Ok((checker.report, note))
}

struct Checker<'a> {
    store: &'a dyn Store,
    report: FsckReport,
    /// How many entries the slots hold, published or not.
    committed: u64,
}

impl Checker<'_> {
    fn problem(&mut self, key: impl Into<String>, what: impl Into<String>) {
        self.report.problems.push(Problem {
            key: key.into(),
            what: what.into(),
        });
    }

    fn note(&mut self, key: impl Into<String>, what: impl Into<String>) {
        self.report.notes.push(Problem {
            key: key.into(),
            what: what.into(),
        });
    }

    fn read(&mut self, key: &str, limit: u64) -> Option<Vec<u8>> {
        self.report.files += 1;
        match self.store.read(key, limit) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.problem(key, root_cause(&error));
                None
            }
        }
    }

    /// Rebuilds every tile from the bundles.
    fn tree(&mut self) {
        let size = self.report.checkpoint.size;
        let mut entries = RootBuilder::default();
        let mut tiles = RootBuilder::default();
        let mut levels: Vec<Vec<Hash>> = Vec::new();
        let mut differences = Vec::new();
        for index in 0..size.div_ceil(WIDTH) {
            if self.report.problems.len() >= ENOUGH {
                self.problem("tile", "and more: the rest was not checked");
                return;
            }
            let width = Tile::width_in(Row::Entries, index, size);
            let bundle = Tile {
                row: Row::Entries,
                index,
                width,
            };
            let stored = self.lowest_tile(index, width);
            let hashes = self.bundle(bundle);
            for hash in &stored {
                tiles.push(*hash);
            }
            let differing = hashes
                .iter()
                .zip(&stored)
                .position(|(ours, theirs)| ours != theirs);
            differences.extend(differing.map(|at| (bundle, at)));
            for hash in hashes {
                entries.push(hash);
                self.push(&mut levels, 0, hash, entries.size());
            }
        }
        for (level, hashes) in (1..).zip(levels.iter().skip(1)) {
            if !hashes.is_empty() {
                let total = size.checked_shr(8 * u32::from(level)).unwrap_or(0);
                let width = hashes.len() as u64;
                let tile = Tile {
                    row: Row::Hashes { level },
                    index: total / WIDTH,
                    width,
                };
                self.tile(tile, hashes);
            }
        }
        self.judge(&differences, &entries, &tiles);
    }

    /// Where entries and lowest tiles disagree, the side that leads to the signed root is right.
    fn judge(&mut self, differences: &[(Tile, usize)], entries: &RootBuilder, tiles: &RootBuilder) {
        let (size, signed) = (self.report.checkpoint.size, self.report.checkpoint.root);
        let tiles_are_right = tiles.size() == size && tiles.root() == signed;
        for (bundle, at) in differences {
            let first = bundle.index * WIDTH + *at as u64;
            if tiles_are_right {
                let what = format!("entry {first} is not the one that was logged");
                self.problem(bundle.key(), what);
            } else {
                let tile = Tile {
                    row: Row::Hashes { level: 0 },
                    ..*bundle
                };
                let what = format!("hash {first} (byte {}) is not that of the entry", at * 32);
                self.problem(tile.key(), what);
            }
        }
        if !tiles_are_right && entries.size() == size && entries.root() != signed {
            let what = format!(
                "signs root {signed}; the entries have root {}",
                entries.root()
            );
            self.problem("checkpoint", what);
        }
    }

    /// The hashes that the lowest tile states; none if it is damaged.
    fn lowest_tile(&mut self, index: u64, width: u64) -> Vec<Hash> {
        let key = Tile {
            row: Row::Hashes { level: 0 },
            index,
            width,
        }
        .key();
        let Some(bytes) = self.read(&key, MAX_TILE) else {
            self.problem(key, "is missing");
            return Vec::new();
        };
        tile::parse_hashes(&bytes, width).unwrap_or_else(|| {
            self.problem(
                key,
                format!("has {} bytes, not {}", bytes.len(), width * 32),
            );
            Vec::new()
        })
    }

    /// The leaf hashes of a bundle; none if it is damaged.
    fn bundle(&mut self, tile: Tile) -> Vec<Hash> {
        let key = tile.key();
        let Some(bytes) = self.read(&key, MAX_BUNDLE) else {
            self.problem(key, "is missing");
            return Vec::new();
        };
        match tile::parse_bundle(&bytes, tile.width) {
            Ok(entries) => entries.into_iter().map(leaf_hash).collect(),
            Err(error) => {
                self.problem(key, error.to_string());
                Vec::new()
            }
        }
    }

    /// Adds a hash to a level, and checks the tile that it completes. Levels are at most eight.
    fn push(&mut self, levels: &mut Vec<Vec<Hash>>, level: u8, hash: Hash, size: u64) {
        let row = usize::from(level);
        if levels.len() == row {
            levels.push(Vec::new());
        }
        let Some(hashes) = levels.get_mut(row) else {
            return;
        };
        hashes.push(hash);
        if (hashes.len() as u64) < WIDTH {
            return;
        }
        let full = std::mem::take(hashes);
        let index = (size >> (8 * u32::from(level))) / WIDTH - 1;
        if level > 0 {
            let tile = Tile {
                row: Row::Hashes { level },
                index,
                width: WIDTH,
            };
            self.tile(tile, &full);
        }
        self.push(levels, level + 1, tile::subtree_hash(&full), size);
    }

    /// Compares a tile with what the entries imply.
    fn tile(&mut self, tile: Tile, hashes: &[Hash]) {
        let key = tile.key();
        let expected = tile::encode_hashes(hashes);
        match self.read(&key, MAX_TILE) {
            None => self.problem(key, "is missing"),
            Some(bytes) => {
                if let Some(at) = first_difference(&expected, &bytes) {
                    let first = tile.index * WIDTH + at as u64 / 32;
                    let what =
                        format!("byte {at} is wrong: hash {first} is not that of the entries");
                    self.problem(key, what);
                }
            }
        }
    }

    /// Everything else that lies in the ledger: older partial tiles, blobs, and what is unknown.
    fn rest(&mut self) -> Result<(), LedgerError> {
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
        Ok(())
    }

    fn blob(&mut self, key: &str) {
        let Some(bytes) = self.read(key, MAX_BLOB) else {
            return;
        };
        let digest = Sha256::of(&bytes);
        if super::blob_key(&digest) != key {
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

fn is_temporary(key: &str) -> bool {
    key.rsplit('/')
        .next()
        .is_some_and(|name| name.starts_with(TEMPORARY_PREFIX))
}

/// Where two byte strings first differ.
fn first_difference(expected: &[u8], found: &[u8]) -> Option<usize> {
    let common = expected
        .iter()
        .zip(found)
        .take_while(|(a, b)| a == b)
        .count();
    (common < expected.len().max(found.len())).then_some(common)
}

fn root_cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
