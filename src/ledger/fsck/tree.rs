//! The part of the check that rebuilds every tile from the bundles. Several threads read and hash
//! bundles; memory holds one bundle a thread and the right edge of the tree, whatever the size.

use std::num::NonZero;
use std::thread;

use super::leaves::{Difference, Pair};
use super::{Checker, ENOUGH};
use crate::ledger::tile::{self, MAX_TILE, Row, Tile, WIDTH};
use crate::merkle::{Hash, RootBuilder};

/// Which one counts where a bundle and its lowest tile disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Entries,
    /// The one that the tile above, or the signed root, confirms.
    Confirmed,
}

/// What one pass over the tree found.
struct Pass {
    side: Side,
    /// The root that the entries have, where all of them can be read.
    entries: Option<RootBuilder>,
    /// The root of what was taken for right, where nothing is lost on both sides.
    chosen: Option<RootBuilder>,
    /// Level 1 and above: the hashes of the last, incomplete tile.
    levels: Vec<Vec<Option<Hash>>>,
    differences: Vec<Difference>,
}

impl Checker<'_> {
    /// Rebuilds every tile. If the entries lead to the signed root, whatever disagrees with them is
    /// wrong. If not, a second pass finds out at each place whether bundle or tile is.
    pub(super) fn tree(&mut self) {
        let (files, problems) = (self.report.files, self.report.problems.len());
        let signed = self.report.checkpoint.root;
        let mut pass = self.pass(Side::Entries);
        if root(pass.entries.as_ref()) != Some(signed) && !self.is_enough(&pass) {
            self.report.files = files;
            self.report.problems.truncate(problems);
            pass = self.pass(Side::Confirmed);
        }
        let enough = self.is_enough(&pass);
        let chosen = root(pass.chosen.as_ref());
        let proved = chosen == Some(signed) && !enough;
        for difference in &pass.differences {
            let (key, what) = difference.describe(proved, self.report.checkpoint.size);
            self.problem(key, what);
        }
        if proved || enough {
            return;
        }
        let what = match (root(pass.entries.as_ref()), chosen) {
            (Some(found), _) => format!("signs root {signed}; the entries have root {found}"),
            (None, Some(found)) => format!("signs root {signed}; the tiles have root {found}"),
            // A part is lost on both sides, as was reported.
            (None, None) => return,
        };
        self.problem("checkpoint", what);
    }

    fn is_enough(&self, pass: &Pass) -> bool {
        self.report.problems.len() + pass.differences.len() >= ENOUGH
    }

    /// Goes over the bundles that one tile of level 1 stands for at a time.
    fn pass(&mut self, side: Side) -> Pass {
        let size = self.report.checkpoint.size;
        let mut pass = Pass {
            side,
            entries: Some(RootBuilder::default()),
            chosen: Some(RootBuilder::default()),
            levels: Vec::new(),
            differences: Vec::new(),
        };
        let bundles = size.div_ceil(WIDTH);
        let mut first = 0;
        while first < bundles {
            if self.is_enough(&pass) {
                self.problem("tile", "and more: the rest was not checked");
                return pass;
            }
            let end = bundles.min(first.saturating_add(WIDTH));
            let pairs = self.pairs(first, end);
            let above = self.tile_above(first / WIDTH, &pairs, side);
            for (pair, above) in pairs
                .into_iter()
                .zip(above.into_iter().map(Some).chain(std::iter::repeat(None)))
            {
                self.add(&mut pass, pair, above);
            }
            first = end;
        }
        for (level, hashes) in (1..).zip(&pass.levels) {
            if !hashes.is_empty() {
                let total = size.checked_shr(8 * u32::from(level)).unwrap_or(0);
                self.tile(level, total / WIDTH, hashes);
            }
        }
        pass
    }

    /// Reads the bundles `first..end` and their lowest tiles, each thread its share.
    fn pairs(&self, first: u64, end: u64) -> Vec<Pair> {
        let (store, size) = (self.store, self.report.checkpoint.size);
        let threads = thread::available_parallelism().map_or(1, NonZero::get) as u64;
        let share = (end - first).div_ceil(threads.min(MAX_THREADS)).max(1);
        let read = |begin: u64| -> Vec<Pair> {
            let end = end.min(begin.saturating_add(share));
            (begin..end)
                .map(|index| Pair::read(store, index, size))
                .collect()
        };
        let mut begins = (first..end).step_by(usize::try_from(share).unwrap_or(usize::MAX));
        thread::scope(|scope| {
            let own = begins.next();
            let others: Vec<_> = begins
                .map(|begin| scope.spawn(move || read(begin)))
                .collect();
            let mut pairs = own.map(read).unwrap_or_default();
            for other in others {
                match other.join() {
                    Ok(more) => pairs.extend(more),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            pairs
        })
    }

    /// What the tile of level 1 above the pairs says, where it has to settle something.
    fn tile_above(&self, index: u64, pairs: &[Pair], side: Side) -> Vec<Hash> {
        if side == Side::Entries || pairs.iter().all(|pair| pair.difference.is_none()) {
            return Vec::new();
        }
        let row = Row::Hashes { level: 1 };
        let width = Tile::width_in(row, index, self.report.checkpoint.size);
        let key = Tile { row, index, width }.key();
        // One that cannot be read is reported when it is compared.
        let bytes = self.store.read(&key, MAX_TILE).ok().flatten();
        bytes
            .and_then(|bytes| tile::parse_hashes(&bytes, width))
            .unwrap_or_default()
    }

    /// Adds a bundle to the tree.
    fn add(&mut self, pass: &mut Pass, mut pair: Pair, above: Option<Hash>) {
        self.report.files += 2;
        for problem in pair.problems.drain(..) {
            self.problem(problem.key, problem.what);
        }
        let tile_counts = match pass.side {
            Side::Entries => false,
            Side::Confirmed => pair.tile_counts(above, |hashes| {
                let mut with = pass.chosen.clone();
                extend(&mut with, Some(hashes), pair.level);
                root(with.as_ref()) == Some(self.report.checkpoint.root)
            }),
        };
        let chosen = match pass.side {
            Side::Entries => pair.entries.as_ref(),
            Side::Confirmed if tile_counts => pair.tile.as_ref(),
            Side::Confirmed => pair.entries.as_ref().or(pair.tile.as_ref()),
        };
        extend(&mut pass.entries, pair.entries.as_deref(), pair.level);
        extend(&mut pass.chosen, chosen.map(Vec::as_slice), pair.level);
        let decided = |difference: Difference| difference.decided(tile_counts);
        pass.differences.extend(pair.difference.map(decided));
        if pair.level > 0 {
            let hash = chosen.and_then(|hashes| hashes.first()).copied();
            self.push(&mut pass.levels, 1, hash, pair.index + 1);
        }
    }

    /// Adds a hash to a level, and checks the tile that it completes. Levels are at most eight.
    /// `number` is how many hashes the level has with this one.
    fn push(
        &mut self,
        levels: &mut Vec<Vec<Option<Hash>>>,
        level: u8,
        hash: Option<Hash>,
        number: u64,
    ) {
        let row = usize::from(level) - 1;
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
        self.tile(level, number / WIDTH - 1, &full);
        let known: Option<Vec<Hash>> = full.into_iter().collect();
        let hash = known.map(|hashes| tile::subtree_hash(&hashes));
        self.push(levels, level + 1, hash, number / WIDTH);
    }

    /// Compares a tile with what lies below it; where that is lost, there is nothing to compare.
    fn tile(&mut self, level: u8, index: u64, hashes: &[Option<Hash>]) {
        let width = hashes.len() as u64;
        let row = Row::Hashes { level };
        let key = Tile { row, index, width }.key();
        let problems = self.report.problems.len();
        let Some(bytes) = self.read(&key, MAX_TILE) else {
            if self.report.problems.len() == problems {
                self.problem(key, "is missing");
            }
            return;
        };
        let (stored, odd) = bytes.as_chunks::<32>();
        let mut wrong = (0..)
            .zip(hashes)
            .filter(|&(at, hash)| match (stored.get(at), hash) {
                (Some(stored), Some(hash)) => *stored != hash.0,
                (Some(_), None) => false,
                (None, _) => true,
            })
            .map(|(at, _)| at);
        let Some(first) = wrong.next() else {
            if bytes.len() as u64 > width * 32 {
                self.problem(key, format!("byte {} is one too many", width * 32));
            }
            return;
        };
        let last = wrong.last().unwrap_or(first);
        let theirs = stored.get(first).map_or(odd, <[u8; 32]>::as_slice);
        let ours = hashes.get(first).copied().flatten();
        let equal = ours.map_or(theirs.len(), |hash| {
            hash.0
                .iter()
                .zip(theirs)
                .take_while(|(a, b)| a == b)
                .count()
        });
        let leaves = 1_u64.checked_shl(8 * u32::from(level)).unwrap_or(u64::MAX);
        let begin = index * WIDTH + first as u64;
        let end = (index * WIDTH + last as u64 + 1).saturating_mul(leaves);
        let what = format!(
            "byte {} is wrong: hash {begin} is not that of the entries; it stands for entries {} to {}",
            first * 32 + equal,
            begin.saturating_mul(leaves),
            end.min(self.report.checkpoint.size).saturating_sub(1),
        );
        self.problem(key, what);
    }
}

/// More do not help on a disk, and each holds a bundle.
const MAX_THREADS: u64 = 8;

fn root(builder: Option<&RootBuilder>) -> Option<Hash> {
    builder.map(RootBuilder::root)
}

/// Adds hashes of complete subtrees of `level`. What is lost makes the root unknown.
fn extend(builder: &mut Option<RootBuilder>, hashes: Option<&[Hash]>, level: u32) {
    match (builder.as_mut(), hashes) {
        (Some(tree), Some(hashes)) => {
            for hash in hashes {
                tree.push_subtree(level, *hash);
            }
        }
        _ => *builder = None,
    }
}
