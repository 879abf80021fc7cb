//! The lowest row of the tree: one bundle beside the tile that states the hashes of its entries.
//! Reads and compares the two; which of them is right is decided above.

use super::{Problem, root_cause};
use crate::ledger::store::Store;
use crate::ledger::tile::{self, MAX_BUNDLE, MAX_TILE, Row, Tile, WIDTH};
use crate::merkle::{Hash, leaf_hash};

/// What a bundle says, and what the lowest tile says. `None` is what cannot be read.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) index: u64,
    /// 8 for a full bundle, that is stood for by the hash of its subtree; 0 for the last, partial
    /// one, that is stood for by the hashes of its entries.
    pub(super) level: u32,
    pub(super) entries: Option<Vec<Hash>>,
    pub(super) tile: Option<Vec<Hash>>,
    pub(super) difference: Option<Difference>,
    pub(super) problems: Vec<Problem>,
}

/// Where a bundle and its lowest tile disagree.
#[derive(Clone, Copy, Debug)]
pub(super) struct Difference {
    index: u64,
    /// The first and the last such entry of the bundle.
    first: usize,
    last: usize,
    /// Where the first such entry begins in the bundle, and where its hash is wrong in the tile.
    entry_byte: usize,
    hash_byte: usize,
    /// Was the tile taken for right?
    tile_counts: bool,
}

/// The entries of a bundle as far as it can be read.
struct Bundle<'a> {
    entries: Vec<&'a [u8]>,
    /// Why it is not a bundle of the wanted width.
    error: Option<tile::BundleError>,
}

impl Pair {
    /// Reads bundle `index` of a log of `size` entries and the tile above it.
    pub(super) fn read(store: &dyn Store, index: u64, size: u64) -> Pair {
        let width = Tile::width_in(Row::Entries, index, size);
        let mut problems = Vec::new();
        let mut problem = |key: &str, what: String| {
            problems.push(Problem {
                key: key.into(),
                what,
            });
        };
        let row = Row::Hashes { level: 0 };
        let key = Tile { row, index, width }.key();
        let stated = read(store, &key, MAX_TILE, &mut problem).and_then(|bytes| {
            let hashes = tile::parse_hashes(&bytes, width);
            if hashes.is_none() {
                let (begin, end) = (index * WIDTH, index * WIDTH + width - 1);
                let (found, wanted) = (bytes.len(), width * 32);
                let what =
                    format!("has {found} bytes, not {wanted}; it is of entries {begin} to {end}");
                problem(&key, what);
            }
            hashes
        });
        let row = Row::Entries;
        let key = Tile { row, index, width }.key();
        let mut difference = None;
        let mut entries = None;
        if let Some(bytes) = read(store, &key, MAX_BUNDLE, &mut problem) {
            let bundle = Bundle::parse(&bytes, width);
            let hashes: Vec<Hash> = bundle
                .entries
                .iter()
                .map(|entry| leaf_hash(entry))
                .collect();
            let found = stated
                .as_deref()
                .and_then(|stated| Difference::find(index, &bundle.entries, &hashes, stated));
            if bundle.error.is_some() {
                problem(&key, bundle.describe(index, width, bytes.len(), found));
            } else {
                difference = found;
                entries = Some(hashes);
            }
        }
        let full = width == WIDTH;
        let shorten = |hashes: Vec<Hash>| {
            if full {
                vec![tile::subtree_hash(&hashes)]
            } else {
                hashes
            }
        };
        // What is equal is hashed once.
        let same = entries.is_some() && entries == stated;
        let entries = entries.map(shorten);
        let tile = if same {
            entries.clone()
        } else {
            stated.map(shorten)
        };
        Pair {
            index,
            level: if full { 8 } else { 0 },
            entries,
            tile,
            difference,
            problems,
        }
    }

    /// Is the tile the right one of the two? `above` is what the next tile says of a full bundle;
    /// of the last, partial one, `leads` tells whether hashes complete the tree to the signed root.
    pub(super) fn tile_counts(&self, above: Option<Hash>, leads: impl Fn(&[Hash]) -> bool) -> bool {
        let (Some(entries), Some(tile)) = (&self.entries, &self.tile) else {
            return self.entries.is_none();
        };
        if self.level == 0 {
            return leads(tile) || !leads(entries);
        }
        above.is_none() || entries.first() != above.as_ref()
    }
}

impl Difference {
    fn find(index: u64, entries: &[&[u8]], hashes: &[Hash], stated: &[Hash]) -> Option<Difference> {
        let mut differing = (0..)
            .zip(hashes.iter().zip(stated))
            .filter(|(_, (a, b))| a != b);
        let (first, (ours, theirs)) = differing.next()?;
        let last = differing.last().map_or(first, |(last, _)| last);
        let equal = ours
            .0
            .iter()
            .zip(&theirs.0)
            .take_while(|(a, b)| a == b)
            .count();
        Some(Difference {
            index,
            first,
            last,
            entry_byte: entries
                .iter()
                .take(first)
                .map(|entry| entry.len() + 2)
                .sum(),
            hash_byte: first * 32 + equal,
            tile_counts: false,
        })
    }

    /// The same, and the tile was taken for right, or the bundle was.
    pub(super) fn decided(self, tile_counts: bool) -> Difference {
        Difference {
            tile_counts,
            ..self
        }
    }

    /// The file that is wrong and what is wrong with it. `proved`: does what was taken for right
    /// lead to the signed root?
    pub(super) fn describe(&self, proved: bool, size: u64) -> (String, String) {
        let width = Tile::width_in(Row::Entries, self.index, size);
        let key = |row| {
            Tile {
                row,
                index: self.index,
                width,
            }
            .key()
        };
        let (bundle, tile) = (key(Row::Entries), key(Row::Hashes { level: 0 }));
        let first = self.index * WIDTH + self.first as u64;
        let last = self.index * WIDTH + self.last as u64;
        let affected = if first == last {
            String::new()
        } else {
            format!("; others follow up to {last}")
        };
        let (entry_byte, hash_byte) = (self.entry_byte, self.hash_byte);
        if !proved {
            let what = format!(
                "entry {first} (from byte {entry_byte}) and its hash in {tile} (byte {hash_byte}) \
                 disagree{affected}; neither is proved"
            );
            (bundle, what)
        } else if self.tile_counts {
            let what = format!(
                "entry {first} is not the one that was logged (from byte {entry_byte}){affected}"
            );
            (bundle, what)
        } else {
            let what =
                format!("hash {first} (byte {hash_byte}) is not that of the entry{affected}");
            (tile, what)
        }
    }
}

impl<'a> Bundle<'a> {
    fn parse(bytes: &'a [u8], width: u64) -> Bundle<'a> {
        let error = match tile::parse_bundle(bytes, width) {
            Ok(entries) => {
                return Bundle {
                    entries,
                    error: None,
                };
            }
            Err(error) => error,
        };
        // What can be read still tells where the damage begins.
        let count = match error {
            tile::BundleError::Truncated(number) => number,
            tile::BundleError::Trailing(_) => width,
        };
        let mut entries = Vec::new();
        let mut rest = bytes;
        for _ in 0..count {
            let Some((length, after)) = rest.split_first_chunk::<2>() else {
                break;
            };
            let length = usize::from(u16::from_be_bytes(*length));
            let Some((entry, after)) = after.split_at_checked(length) else {
                break;
            };
            entries.push(entry);
            rest = after;
        }
        Bundle {
            entries,
            error: Some(error),
        }
    }

    /// What is wrong with a bundle that cannot be read as a whole.
    fn describe(&self, index: u64, width: u64, length: usize, found: Option<Difference>) -> String {
        let error = self.error.map_or(String::new(), |error| error.to_string());
        let readable: usize = self.entries.iter().map(|entry| entry.len() + 2).sum();
        let count = self.entries.len();
        // A damaged length makes what follows it wrong before the bundle ends.
        let (byte, entry) =
            found.map_or((readable, count), |found| (found.entry_byte, found.first));
        if entry as u64 >= width {
            return format!("{error} (byte {byte} of {length})");
        }
        let (begin, end) = (index * WIDTH + entry as u64, index * WIDTH + width - 1);
        format!("{error} (wrong from byte {byte} of {length}): entries {begin} to {end} are lost")
    }
}

/// The bytes under `key`; what is missing or cannot be read is reported.
fn read(
    store: &dyn Store,
    key: &str,
    limit: u64,
    problem: &mut impl FnMut(&str, String),
) -> Option<Vec<u8>> {
    match store.read(key, limit) {
        Ok(Some(bytes)) => return Some(bytes),
        Ok(None) => problem(key, "is missing".into()),
        Err(error) => problem(key, root_cause(&error)),
    }
    None
}
