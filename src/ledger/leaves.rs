//! The lowest row of a log: bundles and the hashes of their entries, checked on all cores. Reads only.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::fsck::{Problem, root_cause};
use super::store::Store;
use super::tile::{self, MAX_BUNDLE, MAX_TILE, Row, Tile, WIDTH};
use crate::merkle::{Hash, RootBuilder, leaf_hash};

/// What one bundle and its tile hold.
#[derive(Debug, Default)]
pub(super) struct Leaves {
    pub(super) entries: Side,
    pub(super) tile: Side,
    /// The first byte of the tile that is not that of the entries.
    pub(super) difference: Option<usize>,
    pub(super) problems: Vec<Problem>,
}

/// The hashes of one bundle, or of one tile.
#[derive(Debug, Default)]
pub(super) enum Side {
    /// It cannot be read.
    #[default]
    Damaged,
    /// All 256 together.
    Full(Hash),
    /// Each of fewer.
    Partial(Vec<Hash>),
}

impl Side {
    fn new(hashes: Vec<Hash>) -> Side {
        if hashes.len() as u64 == WIDTH {
            Side::Full(tile::subtree_hash(&hashes))
        } else {
            Side::Partial(hashes)
        }
    }

    /// Adds the hashes to a tree. What is missing makes it too small, which is seen.
    pub(super) fn add_to(&self, tree: &mut RootBuilder) {
        match self {
            Side::Damaged => {}
            Side::Full(hash) => _ = tree.push_subtree(8, *hash),
            Side::Partial(hashes) => hashes.iter().for_each(|hash| tree.push(*hash)),
        }
    }
}

/// Reads the bundles and tiles of `range` in a log of `size` entries.
pub(super) fn check(store: &dyn Store, range: Range<u64>, size: u64) -> Vec<Leaves> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let indices: Vec<u64> = range.collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(index) = indices.get(place) else {
                return done;
            };
            done.push((place, leaves(store, *index, size)));
        }
    };
    let mut found: Vec<Leaves> = Vec::new();
    found.resize_with(indices.len(), Leaves::default);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (1..cores.min(indices.len()))
            .map(|_| scope.spawn(work))
            .collect();
        let mut all = work();
        for thread in threads {
            // A thread of ours that panics is a defect; its bundles count as damaged.
            all.extend(thread.join().unwrap_or_default());
        }
        for (place, leaves) in all {
            if let Some(slot) = found.get_mut(place) {
                *slot = leaves;
            }
        }
    });
    found
}

fn leaves(store: &dyn Store, index: u64, size: u64) -> Leaves {
    let width = Tile::width_in(Row::Entries, index, size);
    let mut leaves = Leaves::default();
    let lowest = Tile {
        row: Row::Hashes { level: 0 },
        index,
        width,
    };
    let bundle = Tile {
        row: Row::Entries,
        ..lowest
    };
    let stored = leaves.read(store, &lowest, MAX_TILE).and_then(|bytes| {
        let hashes = tile::parse_hashes(&bytes, width);
        if hashes.is_none() {
            let what = format!("has {} bytes, not {}", bytes.len(), width * 32);
            leaves.problem(&lowest, what);
        }
        Some((hashes?, bytes))
    });
    let entries =
        leaves.read(store, &bundle, MAX_BUNDLE).and_then(|bytes| {
            match tile::parse_bundle(&bytes, width) {
                Ok(entries) => Some(entries.into_iter().map(leaf_hash).collect::<Vec<Hash>>()),
                Err(error) => {
                    leaves.problem(&bundle, error.to_string());
                    None
                }
            }
        });
    if let (Some((_, stored)), Some(entries)) = (&stored, &entries) {
        let ours = entries.iter().flat_map(|hash| &hash.0);
        leaves.difference = ours.zip(stored).position(|(ours, theirs)| ours != theirs);
    }
    leaves.tile = stored.map_or(Side::Damaged, |(hashes, _)| Side::new(hashes));
    leaves.entries = entries.map_or(Side::Damaged, Side::new);
    leaves
}

impl Leaves {
    fn problem(&mut self, tile: &Tile, what: String) {
        self.problems.push(Problem {
            key: tile.key(),
            what,
        });
    }

    fn read(&mut self, store: &dyn Store, tile: &Tile, limit: u64) -> Option<Vec<u8>> {
        match store.read(&tile.key(), limit) {
            Ok(Some(bytes)) => return Some(bytes),
            Ok(None) => self.problem(tile, "is missing".into()),
            Err(error) => {
                self.problem(tile, root_cause(&error));
                self.problem(tile, "is missing".into());
            }
        }
        None
    }
}
