//! The right edge of the tree: for each level the hashes of its last, incomplete tile, and the bytes
//! of the last, incomplete bundle. All that is needed to go on, in memory that grows with the
//! logarithm of the log (C2SP tlog-tiles). Reads a store, writes none: what is to be written is
//! handed to the caller.

use super::LedgerError;
use super::store::Store;
use super::tile::{self, MAX_BUNDLE, MAX_TILE, Row, Tile, WIDTH};
use crate::checkpoint::Checkpoint;
use crate::merkle::{self, Hash, Node, Nodes, leaf_hash};

/// The most levels: 256^8 entries are more than a size can say.
const LEVELS: u8 = 8;

/// The right edge of a tree.
#[derive(Debug, Default)]
pub(super) struct Edge {
    size: u64,
    levels: Vec<Vec<Hash>>,
    bundle: Vec<u8>,
    /// Tiles and bundles that are complete and were not handed out yet.
    complete: Vec<(Tile, Vec<u8>)>,
}

impl Edge {
    /// Reads the right edge at `checkpoint`, and makes sure that it has the signed root.
    pub(super) fn read(store: &dyn Store, checkpoint: &Checkpoint) -> Result<Edge, LedgerError> {
        let size = checkpoint.size;
        let mut levels = Vec::new();
        for level in 0..LEVELS {
            let total = size.checked_shr(8 * u32::from(level)).unwrap_or(0);
            if total == 0 && level > 0 {
                break;
            }
            let tile = last(Row::Hashes { level }, total);
            levels.push(match tile.width {
                0 => Vec::new(),
                width => tile::parse_hashes(&required(store, &tile, MAX_TILE)?, width)
                    .ok_or_else(|| LedgerError::damaged(tile.key(), "has the wrong size"))?,
            });
        }
        let tile = last(Row::Entries, size);
        let bundle = match tile.width {
            0 => Vec::new(),
            _ => required(store, &tile, MAX_BUNDLE)?,
        };
        let entries = tile::parse_bundle(&bundle, tile.width)
            .map_err(|error| LedgerError::damaged(tile.key(), error.to_string()))?;
        let leaves: Vec<Hash> = entries.into_iter().map(leaf_hash).collect();
        if levels.first() != Some(&leaves) {
            let what = "its entries are not those of the tile";
            return Err(LedgerError::damaged(tile.key(), what));
        }
        let mut edge = Edge {
            size,
            levels,
            bundle,
            complete: Vec::new(),
        };
        let root = edge.root()?;
        if root != checkpoint.root {
            let what = format!("the tiles have root {root}, not {}", checkpoint.root);
            return Err(LedgerError::damaged("checkpoint", what));
        }
        Ok(edge)
    }

    /// How many entries the tree has.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Adds entries. Tiles that they complete are to be taken with [`Edge::take_complete`].
    pub(super) fn extend(&mut self, entries: &[Vec<u8>]) -> Result<(), LedgerError> {
        for entry in entries {
            tile::encode_entry(&mut self.bundle, entry)
                .ok_or(LedgerError::EntrySize { size: entry.len() })?;
            self.size += 1;
            if self.size.is_multiple_of(WIDTH) {
                let bundle = std::mem::take(&mut self.bundle);
                self.completed(Row::Entries, self.size / WIDTH - 1, bundle);
            }
            self.push(leaf_hash(entry));
        }
        Ok(())
    }

    fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        for level in 0..LEVELS {
            let row = usize::from(level);
            if self.levels.len() == row {
                self.levels.push(Vec::new());
            }
            let Some(hashes) = self.levels.get_mut(row) else {
                break;
            };
            hashes.push(hash);
            if (hashes.len() as u64) < WIDTH {
                break;
            }
            let full = std::mem::take(hashes);
            hash = tile::subtree_hash(&full);
            let index = (self.size >> (8 * u32::from(level))) / WIDTH - 1;
            self.completed(Row::Hashes { level }, index, tile::encode_hashes(&full));
        }
    }

    fn completed(&mut self, row: Row, index: u64, bytes: Vec<u8>) {
        let tile = Tile {
            row,
            index,
            width: WIDTH,
        };
        self.complete.push((tile, bytes));
    }

    /// The tiles and bundles that were completed since this was last asked.
    pub(super) fn take_complete(&mut self) -> Vec<(Tile, Vec<u8>)> {
        std::mem::take(&mut self.complete)
    }

    /// How many of them wait.
    pub(super) fn complete(&self) -> usize {
        self.complete.len()
    }

    /// The incomplete tiles and the incomplete bundle of the tree as it is.
    pub(super) fn partial(&self) -> Vec<(Tile, Vec<u8>)> {
        let mut tiles = Vec::new();
        for (level, hashes) in (0..).zip(&self.levels) {
            let total = self.size.checked_shr(8 * u32::from(level)).unwrap_or(0);
            if !hashes.is_empty() {
                tiles.push((
                    last(Row::Hashes { level }, total),
                    tile::encode_hashes(hashes),
                ));
            }
        }
        if !self.bundle.is_empty() {
            tiles.push((last(Row::Entries, self.size), self.bundle.clone()));
        }
        tiles
    }

    /// The root of the tree.
    pub(super) fn root(&mut self) -> Result<Hash, LedgerError> {
        let size = self.size;
        merkle::range_hash(self, 0, size)
    }
}

impl Nodes for Edge {
    type Error = LedgerError;

    /// The complete subtrees of the whole tree all end in the last tile of their level.
    fn node(&mut self, node: Node) -> Result<Hash, LedgerError> {
        let start = usize::try_from((node.index << (node.level % 8)) % WIDTH).unwrap_or(usize::MAX);
        let end = start.saturating_add(1 << (node.level % 8));
        let level = usize::try_from(node.level / 8).unwrap_or(usize::MAX);
        let hashes = self
            .levels
            .get(level)
            .and_then(|hashes| hashes.get(start..end));
        let hashes = hashes.ok_or_else(|| LedgerError::damaged("tile", "the tree has a gap"))?;
        Ok(tile::subtree_hash(hashes))
    }
}

/// The last tile of a row of `total` hashes or entries; one of width 0 does not exist.
fn last(row: Row, total: u64) -> Tile {
    Tile {
        row,
        index: total / WIDTH,
        width: total % WIDTH,
    }
}

/// A partial tile, or its beginning in the full one that replaced it.
fn required(store: &dyn Store, tile: &Tile, limit: u64) -> Result<Vec<u8>, LedgerError> {
    if let Some(bytes) = store.read(&tile.key(), limit)? {
        return Ok(bytes);
    }
    // Another publisher has gone on since, and dropped what its full tile replaced.
    let full = Tile {
        width: WIDTH,
        ..*tile
    };
    let bytes = store.read(&full.key(), limit)?;
    let bytes = bytes.ok_or_else(|| LedgerError::damaged(tile.key(), "is missing"))?;
    let length = match tile.row {
        Row::Hashes { .. } => usize::try_from(tile.width * 32).unwrap_or(usize::MAX),
        Row::Entries => {
            let entries = tile::parse_bundle(&bytes, WIDTH)
                .map_err(|error| LedgerError::damaged(full.key(), error.to_string()))?;
            let width = usize::try_from(tile.width).unwrap_or(usize::MAX);
            entries
                .iter()
                .take(width)
                .map(|entry| entry.len() + 2)
                .sum()
        }
    };
    let beginning = bytes.get(..length);
    Ok(beginning
        .ok_or_else(|| LedgerError::damaged(full.key(), "is too short"))?
        .to_vec())
}
