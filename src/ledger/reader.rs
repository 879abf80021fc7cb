//! Reading a ledger: entries and proofs, each checked against the signed checkpoint before it is
//! handed out. Writes nothing.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use super::LedgerError;
use super::proof::TlogProof;
use super::store::Store;
use super::tile::{self, MAX_BUNDLE, MAX_TILE, Row, Tile, WIDTH};
use crate::checkpoint::Checkpoint;
use crate::merkle::{self, Hash, Node, Nodes, RootBuilder, leaf_hash};
use crate::note::MAX_NOTE;
use crate::tlog_mirror::{Interval, Package};
use crate::tlog_policy::TlogPolicy;

/// A tile, or the full one in its place, and its bytes.
type Found = (Tile, Arc<Vec<u8>>);

/// A ledger at one checkpoint, that is trusted.
pub struct Log<'a> {
    store: &'a dyn Store,
    /// Tiles that were read: a proof asks the same few for most of its hashes.
    tiles: Mutex<HashMap<Tile, Found>>,
    /// Tiles that came from the cache of the store, or went there.
    kept: Mutex<HashSet<Tile>>,
    note: Vec<u8>,
    checkpoint: Checkpoint,
}

impl<'a> Log<'a> {
    /// Opens the ledger at its newest checkpoint, which `trust` must accept.
    pub fn open(store: &'a dyn Store, trust: &TlogPolicy) -> Result<Log<'a>, LedgerError> {
        let note = store
            .read("checkpoint", MAX_NOTE as u64)?
            .ok_or(LedgerError::NoCheckpoint)?;
        let checkpoint = trust.open(&note)?;
        Ok(Log::at(store, checkpoint, note))
    }

    /// The ledger at a checkpoint that the caller knows to be the log's.
    pub(super) fn at(store: &'a dyn Store, checkpoint: Checkpoint, note: Vec<u8>) -> Log<'a> {
        Log {
            store,
            tiles: Mutex::default(),
            kept: Mutex::default(),
            note,
            checkpoint,
        }
    }

    /// The ledger at its newest checkpoint, whoever signed it: for what this program wrote itself.
    /// `None` if there is none.
    pub(super) fn open_unverified(store: &'a dyn Store) -> Result<Option<Log<'a>>, LedgerError> {
        let Some(note) = store.read("checkpoint", MAX_NOTE as u64)? else {
            return Ok(None);
        };
        let text = crate::note::Note::parse(&note)?.text;
        let checkpoint = Checkpoint::parse(text)?;
        Ok(Some(Log::at(store, checkpoint, note)))
    }

    /// Size and root.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Where it lies.
    pub fn store(&self) -> &'a dyn Store {
        self.store
    }

    /// The signed note.
    pub fn note(&self) -> &[u8] {
        &self.note
    }

    /// Entry `index` and the proof that it is in the log. The proof was verified.
    pub fn entry(&self, index: u64) -> Result<(Vec<u8>, TlogProof), LedgerError> {
        self.judged(self.prove(index))
    }

    fn prove(&self, index: u64) -> Result<(Vec<u8>, TlogProof), LedgerError> {
        let size = self.checkpoint.size;
        if index >= size {
            return Err(LedgerError::Outside { index, size });
        }
        let (key, entries) = self.bundle(index / WIDTH)?;
        let position = usize::try_from(index % WIDTH).unwrap_or(usize::MAX);
        let entry = entries.into_iter().nth(position);
        let entry = entry.ok_or_else(|| LedgerError::damaged(&key, "an entry is missing"))?;
        let hashes = merkle::inclusion_proof(&mut &*self, index, size)?;
        let root = self.checkpoint.root;
        merkle::verify_inclusion(&hashes, index, size, leaf_hash(&entry), root).map_err(|_| {
            let what = format!("entry {index} and the tiles do not lead to the signed root");
            LedgerError::damaged(key, what)
        })?;
        Ok((
            entry,
            TlogProof {
                index,
                extra: None,
                hashes,
                checkpoint: self.note.clone(),
            },
        ))
    }

    /// The proof that this log at `old` entries is a prefix of what it is now, and the root at
    /// `old`. The proof was verified.
    pub fn consistency(&self, old: u64) -> Result<(Vec<Hash>, Hash), LedgerError> {
        self.judged(self.prove_consistency(old))
    }

    fn prove_consistency(&self, old: u64) -> Result<(Vec<Hash>, Hash), LedgerError> {
        let size = self.checkpoint.size;
        if old > size {
            return Err(LedgerError::Outside { index: old, size });
        }
        let root = merkle::range_hash(&mut &*self, 0, old)?;
        let hashes = merkle::consistency_proof(&mut &*self, old, size)?;
        merkle::verify_consistency(&hashes, old, root, size, self.checkpoint.root)
            .map_err(|error| LedgerError::damaged("tile", error.to_string()))?;
        Ok((hashes, root))
    }

    /// Calls `visit` with every entry in order, then checks that they hash to the signed root.
    /// Until this returns, nothing that was visited is known to be in the log.
    pub fn scan(&self, visit: impl FnMut(u64, &[u8])) -> Result<(), LedgerError> {
        self.scan_from(0, visit)
    }

    /// The same, visiting entries from `first` on. What is before the bundle of `first` is not read:
    /// its hash comes from the tiles, and the signed root vouches for it.
    pub fn scan_from(&self, first: u64, visit: impl FnMut(u64, &[u8])) -> Result<(), LedgerError> {
        self.judged(self.visit_from(first, visit))
    }

    fn visit_from(&self, first: u64, mut visit: impl FnMut(u64, &[u8])) -> Result<(), LedgerError> {
        let skipped = first.min(self.checkpoint.size) / WIDTH;
        let subtrees = merkle::subtree_hashes(&mut &*self, skipped * WIDTH)?;
        let builder = RootBuilder::from_parts(skipped * WIDTH, subtrees);
        let mut builder =
            builder.ok_or_else(|| LedgerError::damaged("tile", "the tree has a gap"))?;
        for bundle in skipped..self.checkpoint.size.div_ceil(WIDTH) {
            for entry in self.bundle(bundle)?.1 {
                if builder.size() >= first {
                    visit(builder.size(), &entry);
                }
                builder.push(leaf_hash(&entry));
            }
        }
        if builder.root() != self.checkpoint.root {
            let what = format!(
                "the {} entries have root {}, the checkpoint says {}",
                builder.size(),
                builder.root(),
                self.checkpoint.root
            );
            return Err(LedgerError::damaged("tile/entries", what));
        }
        Ok(())
    }

    /// The hash of leaf `index`, as the lowest tile has it.
    pub(super) fn leaf(&self, index: u64) -> Result<Hash, LedgerError> {
        let size = self.checkpoint.size;
        if index >= size {
            return Err(LedgerError::Outside { index, size });
        }
        self.judged((&mut &*self).node(Node { level: 0, index }))
    }

    /// The entries of a bundle. They are not known to be in the log.
    pub(super) fn entries(&self, bundle: u64) -> Result<Vec<Vec<u8>>, LedgerError> {
        Ok(self.judged(self.bundle(bundle))?.1)
    }

    /// The entries that a mirror is sent for `interval`, and the proof that they are in the log
    /// (C2SP tlog-mirror). The mirror verifies it; here it is not.
    pub fn package(&self, interval: &Interval) -> Result<Package, LedgerError> {
        let size = self.checkpoint.size;
        let entries = self.entries(interval.begin / WIDTH)?.into_iter();
        let count = |from: u64, to: u64| usize::try_from(to - from).unwrap_or(usize::MAX);
        let entries = entries
            .skip(count(interval.begin, interval.start))
            .take(count(interval.start, interval.end));
        Ok(Package {
            entries: entries.collect(),
            proof: self.judged(merkle::subtree_proof(
                &mut &*self,
                interval.begin,
                interval.end,
                size,
            ))?,
        })
    }

    /// The bytes of a tile that the checkpoint implies. They are not known to be right.
    pub(super) fn tile(&self, tile: Tile) -> Result<Vec<u8>, LedgerError> {
        let read = self.read(tile.row, tile.index, tile.width, MAX_TILE);
        let (found, mut bytes) = self.judged(read)?;
        if found.width != tile.width {
            bytes.truncate(usize::try_from(tile.width * 32).unwrap_or(usize::MAX));
        }
        Ok(bytes)
    }

    /// The key and the entries of a bundle.
    fn bundle(&self, index: u64) -> Result<(String, Vec<Vec<u8>>), LedgerError> {
        let width = Tile::width_in(Row::Entries, index, self.checkpoint.size);
        let (tile, bytes) = self.read(Row::Entries, index, width, MAX_BUNDLE)?;
        let entries = tile::parse_bundle(&bytes, tile.width)
            .map_err(|error| LedgerError::damaged(tile.key(), error.to_string()))?;
        let wanted = usize::try_from(width).unwrap_or(usize::MAX);
        Ok((
            tile.key(),
            entries.into_iter().take(wanted).map(Vec::from).collect(),
        ))
    }

    /// Reads a tile of hashes, once.
    fn cached(&self, row: Row, index: u64, width: u64) -> Result<Found, LedgerError> {
        let tile = Tile { row, index, width };
        let mut tiles = self.tiles.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = tiles.get(&tile) {
            return Ok(known.clone());
        }
        drop(tiles);
        let (found, bytes) = self.read(row, index, width, MAX_TILE)?;
        let found = (found, Arc::new(bytes));
        tiles = self.tiles.lock().unwrap_or_else(PoisonError::into_inner);
        if tiles.len() >= TILES_IN_MEMORY {
            tiles.clear();
        }
        tiles.insert(tile, found.clone());
        Ok(found)
    }

    /// Reads a tile, or the full one where a partial one was removed because the full one exists.
    fn read(
        &self,
        row: Row,
        index: u64,
        width: u64,
        limit: u64,
    ) -> Result<(Tile, Vec<u8>), LedgerError> {
        let tile = Tile { row, index, width };
        let full = Tile {
            width: WIDTH,
            ..tile
        };
        let cache = self.store.tiles();
        if let Some(bytes) = cache.and_then(|cache| cache.get(&full, limit)) {
            self.keep(full);
            return Ok((full, bytes));
        }
        let found = match self.store.read(&tile.key(), limit)? {
            Some(bytes) => (tile, bytes),
            None if width < WIDTH => {
                let bytes = self.store.read(&full.key(), limit)?;
                (full, bytes.ok_or_else(|| missing(&tile))?)
            }
            None => return Err(missing(&tile)),
        };
        if let Some(cache) = cache.filter(|_| found.0 == full && is_sound(&found)) {
            cache.put(&full, &found.1);
            self.keep(full);
        }
        Ok(found)
    }

    fn keep(&self, tile: Tile) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert(tile);
    }

    fn judged<T>(&self, result: Result<T, LedgerError>) -> Result<T, LedgerError> {
        if let Err(LedgerError::Damaged { .. }) = &result {
            self.distrust();
        }
        result
    }

    /// What was read is not the log's: it is not kept on this machine either. For callers that find that
    /// out themselves.
    pub fn distrust(&self) {
        if let Some(cache) = self.store.tiles() {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            for tile in kept.drain() {
                cache.drop(&tile);
            }
            let mut tiles = self.tiles.lock().unwrap_or_else(PoisonError::into_inner);
            tiles.clear();
        }
    }
}

/// Is it worth keeping: of its form, and not large?
fn is_sound((tile, bytes): &(Tile, Vec<u8>)) -> bool {
    let formed = match tile.row {
        Row::Hashes { .. } => bytes.len() as u64 == MAX_TILE,
        Row::Entries => tile::parse_bundle(bytes, tile.width).is_ok(),
    };
    formed && bytes.len() <= LARGEST_KEPT
}

/// The largest bundle that is kept on this machine.
const LARGEST_KEPT: usize = 1 << 20;

fn missing(tile: &Tile) -> LedgerError {
    LedgerError::damaged(tile.key(), "is missing")
}

/// How many tiles of hashes are kept: two megabytes.
const TILES_IN_MEMORY: usize = 256;

impl Nodes for &Log<'_> {
    type Error = LedgerError;

    /// The hash of a complete subtree, from the tile that holds it or its descendants.
    fn node(&mut self, node: Node) -> Result<Hash, LedgerError> {
        let level = u8::try_from(node.level / 8).unwrap_or(u8::MAX);
        let first = node.index << (node.level % 8);
        let count = 1 << (node.level % 8);
        let row = Row::Hashes { level };
        let width = Tile::width_in(row, first / WIDTH, self.checkpoint.size);
        let (tile, bytes) = self.cached(row, first / WIDTH, width)?;
        let hashes = tile::parse_hashes(&bytes, tile.width).ok_or_else(|| {
            let what = format!("has {} bytes, not {}", bytes.len(), tile.width * 32);
            LedgerError::damaged(tile.key(), what)
        })?;
        let start = usize::try_from(first % WIDTH).unwrap_or(usize::MAX);
        let hashes = hashes.get(start..start.saturating_add(count));
        let hashes = hashes.ok_or_else(|| LedgerError::damaged(tile.key(), "is too short"))?;
        Ok(tile::subtree_hash(hashes))
    }
}
