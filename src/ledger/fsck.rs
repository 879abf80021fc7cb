//! Checks a whole ledger from its entries: every tile, every bundle, every commit slot, every
//! blob, byte for byte, and the signature of the checkpoint. Changes nothing.

use super::chain::{Chain, MAX_STATE, STATE};
use super::commit::{self, Commit, MAX_COMMIT};
use super::leaves::{self, Side};
use super::store::Store;
use super::tile::{self, MAX_BUNDLE, MAX_TILE, Row, Tile, WIDTH};
use super::{LedgerError, MAX_BLOB};
use crate::checkpoint::Checkpoint;
use crate::digest::Sha256;
use crate::disk::TEMPORARY_PREFIX;
use crate::merkle::{Hash, RootBuilder};
use crate::note::{MAX_NOTE, NoteKey};
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

/// The entries beneath a hash.
fn beneath(row: Row, hash: u64) -> String {
    let level = match row {
        Row::Entries => 0,
        Row::Hashes { level } => 8 * u32::from(level),
    };
    let first = hash.checked_shl(level).unwrap_or(u64::MAX);
    let last = first.saturating_add(1_u64.checked_shl(level).unwrap_or(u64::MAX) - 1);
    format!("{first} to {last}")
}

/// How many bundles are read before they are put together: what bounds the memory.
const WINDOW: usize = 512;
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
        log: trust.log(),
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
    /// Who signs the state.
    log: &'a NoteKey,
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

    /// Rebuilds every tile from the bundles: the leaves on all cores, what is above them in order.
    fn tree(&mut self) {
        let size = self.report.checkpoint.size;
        let mut entries = RootBuilder::default();
        let mut tiles = RootBuilder::default();
        let mut levels: Vec<Vec<Hash>> = vec![Vec::new()];
        let mut differences = Vec::new();
        let bundles = size.div_ceil(WIDTH);
        let mut gap = false;
        for first in (0..bundles).step_by(WINDOW) {
            if self.report.problems.len() >= ENOUGH {
                self.problem("tile", "and more: the rest was not checked");
                return;
            }
            let end = bundles.min(first + WINDOW as u64);
            for (index, leaves) in (first..end).zip(leaves::check(self.store, first..end, size)) {
                self.report.files += 2;
                self.report.problems.extend(leaves.problems);
                let bundle = Tile {
                    row: Row::Entries,
                    index,
                    width: Tile::width_in(Row::Entries, index, size),
                };
                differences.extend(leaves.difference.map(|at| (bundle, at)));
                leaves.tile.add_to(&mut tiles);
                // What is above a damaged bundle is checked by its tile, if that can be read.
                let above = match (&leaves.entries, &leaves.tile) {
                    (Side::Full(hash), _) | (Side::Damaged, Side::Full(hash)) => Some(*hash),
                    _ => None,
                };
                match above {
                    Some(hash) if !gap => self.push(&mut levels, 1, hash, (index + 1) * WIDTH),
                    None if bundle.width == WIDTH => gap = true,
                    _ => {}
                }
                leaves.entries.add_to(&mut entries);
            }
        }
        for (level, hashes) in (1..).zip(levels.iter().skip(1)) {
            if !hashes.is_empty() && !gap {
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
            let first = bundle.index * WIDTH + *at as u64 / 32;
            if tiles_are_right {
                let what = format!("entry {first} is not the one that was logged");
                self.problem(bundle.key(), what);
            } else {
                let tile = Tile {
                    row: Row::Hashes { level: 0 },
                    ..*bundle
                };
                let what = format!("hash {first} (byte {at}) is not that of entry {first}");
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
                    let hash = tile.index * WIDTH + at as u64 / 32;
                    let what = format!(
                        "byte {at} is wrong: hash {hash} is not that of entries {}",
                        beneath(tile.row, hash)
                    );
                    self.problem(key, what);
                }
            }
        }
    }

    /// Compares the commit slots with the entries, in order.
    fn slots(&mut self) -> Result<(), LedgerError> {
        let size = self.report.checkpoint.size;
        let state = self.state();
        let mut state_is_right = state.is_none() || state == Some(Chain::start());
        let mut chain = Chain::start();
        let mut void = Vec::new();
        let keys = self.store.list("_commit/")?;
        for key in keys.iter().filter(|key| !is_temporary(key)) {
            if *key != commit::key(chain.next) {
                self.problem(key, format!("expected {}", commit::key(chain.next)));
                break;
            }
            let bytes = self.read(key, MAX_COMMIT).unwrap_or_default();
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
        let chain = Chain::open(&bytes??, self.log);
        if chain.is_none() {
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

    /// Everything else that lies in the ledger: older partial tiles, blobs, and what is unknown.
    fn rest(&mut self) -> Result<(), LedgerError> {
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

pub(super) fn root_cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
