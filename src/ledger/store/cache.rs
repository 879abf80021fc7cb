//! Tiles that were read from afar, kept on this machine: a full tile never changes. Disposable: what is
//! not there, or damaged, is read again.
//!
//! A tile is kept before it is known to be the log's. Whoever finds that what was read does not lead to
//! the signed root drops what was read from here or put here, so that a wrong tile does not stay.

use std::path::{Path, PathBuf};

use super::{Created, DirectoryStore, Store, StoreError};
use crate::digest::Sha256;
use crate::disk;
use crate::ledger::tile::{Tile, WIDTH};

/// The tiles of one log in a directory, each with its digest before it.
#[derive(Debug)]
pub struct TileCache {
    directory: PathBuf,
}

impl TileCache {
    /// The tiles in this directory, which need not exist.
    pub fn new(directory: &Path) -> TileCache {
        TileCache {
            directory: directory.into(),
        }
    }

    /// The bytes of a full tile, if it is here and whole.
    pub(in crate::ledger) fn get(&self, tile: &Tile, limit: u64) -> Option<Vec<u8>> {
        let path = self.path(tile)?;
        let mut bytes = disk::read_no_link(&path, limit.saturating_add(32)).ok()?;
        let content = bytes.split_off(32.min(bytes.len()));
        if bytes.as_slice() == Sha256::of(&content).0 {
            return Some(content);
        }
        // Torn by a crash, or damaged.
        _ = disk::remove_file(&path);
        None
    }

    /// Keeps a full tile, if it can.
    pub(in crate::ledger) fn put(&self, tile: &Tile, bytes: &[u8]) {
        if let Some(path) = self.path(tile)
            && let Some(parent) = path.parent()
            && disk::create_directory(parent).is_ok()
        {
            _ = disk::deposit(&path, &[&Sha256::of(bytes).0, bytes].concat());
        }
    }

    /// Forgets a tile.
    pub(in crate::ledger) fn drop(&self, tile: &Tile) {
        if let Some(path) = self.path(tile) {
            _ = disk::remove_file(&path);
        }
    }

    fn path(&self, tile: &Tile) -> Option<PathBuf> {
        (tile.width == WIDTH).then(|| self.directory.join(tile.key()))
    }
}

/// A store whose tiles are kept on this machine.
pub struct Cached {
    store: Box<dyn Store>,
    tiles: TileCache,
}

impl Cached {
    /// `store`, with its tiles in `tiles`.
    pub fn new(store: Box<dyn Store>, tiles: TileCache) -> Cached {
        Cached { store, tiles }
    }
}

/// Readers ask `tiles` themselves: only they know whether what they read is the log's.
impl Store for Cached {
    fn read(&self, key: &str, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.read(key, limit)
    }

    fn read_all(&self, keys: &[String], limit: u64) -> Vec<Result<Option<Vec<u8>>, StoreError>> {
        self.store.read_all(keys, limit)
    }

    fn exists(&self, key: &str) -> Result<bool, StoreError> {
        self.store.exists(key)
    }

    fn create(&self, key: &str, bytes: &[u8]) -> Result<Created, StoreError> {
        self.store.create(key, bytes)
    }

    fn create_all(&self, items: &[(String, Vec<u8>)]) -> Result<Vec<Created>, StoreError> {
        self.store.create_all(items)
    }

    fn replace(&self, key: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.store.replace(key, bytes)
    }

    fn remove(&self, key: &str) -> Result<(), StoreError> {
        self.store.remove(key)
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.store.list(prefix)
    }

    fn place(&self) -> String {
        self.store.place()
    }

    fn directory(&self) -> Option<&DirectoryStore> {
        self.store.directory()
    }

    fn beneath(&self) -> Option<&dyn Store> {
        self.store.beneath()
    }

    fn tiles(&self) -> Option<&TileCache> {
        Some(&self.tiles)
    }
}
