//! Where a ledger's bytes lie. The one primitive that writers coordinate by is `create`: it fails
//! if the key is taken, and is durable when it returns.

pub mod cache;
mod directory;
#[cfg(feature = "http")]
pub mod http;
pub mod location;
#[cfg(feature = "http")]
pub mod object;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod probe;
#[cfg(any(feature = "http", feature = "postgres"))]
mod runtime;

use crate::disk::DiskError;

pub use cache::{Cached, TileCache};
pub use directory::DirectoryStore;
pub use location::Location;

/// A flat map from keys (relative paths with `/`) to bytes.
pub trait Store: Send + Sync {
    /// The bytes under `key`, or `None` if there are none. More than `limit` bytes is an error.
    fn read(&self, key: &str, limit: u64) -> Result<Option<Vec<u8>>, StoreError>;
    /// The same for several keys, each with its own answer.
    fn read_all(&self, keys: &[String], limit: u64) -> Vec<Result<Option<Vec<u8>>, StoreError>> {
        keys.iter().map(|key| self.read(key, limit)).collect()
    }
    /// Is there something under `key`?
    fn exists(&self, key: &str) -> Result<bool, StoreError>;
    /// Stores `bytes` under `key` durably, unless the key is taken.
    ///
    /// Where an answer can be lost on the way, `Exists` may be said of one's own bytes: who needs to
    /// know reads them back.
    fn create(&self, key: &str, bytes: &[u8]) -> Result<Created, StoreError>;
    /// The same for several keys, in any order; what each did. After an error some may be stored.
    fn create_all(&self, items: &[(String, Vec<u8>)]) -> Result<Vec<Created>, StoreError> {
        let create = |(key, bytes): &(String, Vec<u8>)| self.create(key, bytes);
        items.iter().map(create).collect()
    }
    /// Stores `bytes` under `key` durably and in one step, whatever was there.
    fn replace(&self, key: &str, bytes: &[u8]) -> Result<(), StoreError>;
    /// Removes `key`; it may be absent.
    fn remove(&self, key: &str) -> Result<(), StoreError>;
    /// All keys that begin with `prefix`, sorted.
    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError>;
    /// Where this is, for messages: a path or an address, without secrets.
    fn place(&self) -> String;
    /// The directory, where the store is one: its writers take turns by a lock and share an inbox.
    fn directory(&self) -> Option<&DirectoryStore> {
        None
    }
    /// The store that holds what this one does not: a database holds the slots alone.
    fn beneath(&self) -> Option<&dyn Store> {
        None
    }
    /// Where full tiles are kept on this machine, if the store is far away.
    fn tiles(&self) -> Option<&TileCache> {
        self.beneath().and_then(|beneath| beneath.tiles())
    }
}

/// What [`Store::create`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// The key was free, and holds the bytes now.
    New,
    /// The key was taken, and holds what it held.
    Exists,
}

/// Why a store failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("{place}: no answer to {operation}: {what}")]
    Unanswered {
        place: String,
        operation: &'static str,
        what: String,
    },
    #[error("cannot {operation} {key:?} in {place}: {why}")]
    Remote {
        place: String,
        operation: &'static str,
        key: String,
        why: String,
    },
    #[error("{key:?} in {place} has {size} bytes or more, and the limit is {limit}")]
    TooLarge {
        place: String,
        key: String,
        size: u64,
        limit: u64,
    },
    #[error("{place} is read over HTTP and cannot be written; write where it is stored")]
    ReadOnly { place: String },
    #[error(
        "{place} is read over HTTP, which lists nothing: `fsck` and writers need the directory or bucket itself"
    )]
    NoList { place: String },
    #[error("{text:?} is no ledger: {why}")]
    Location { text: String, why: String },
    #[error("{place} cannot be written: {what}")]
    NotWritable { place: String, what: String },
    #[error("{place} is no place for a ledger: {what}")]
    Unsound { place: String, what: String },
    #[error("cannot make requests: {0}")]
    Runtime(String),
}

impl StoreError {
    /// Was there more than the limit allows?
    pub fn is_too_large(&self) -> bool {
        matches!(
            self,
            StoreError::TooLarge { .. } | StoreError::Disk(DiskError::TooLarge { .. })
        )
    }

    /// May the operation have taken effect although it failed, so that doing it again is right?
    /// Not so on a disk: after a failed fsync, a second one proves nothing.
    pub fn is_ambiguous(&self) -> bool {
        matches!(
            self,
            StoreError::Unanswered { .. } | StoreError::Remote { .. }
        )
    }
}

#[cfg(feature = "http")]
impl StoreError {
    fn remote(store: &dyn Store, operation: &'static str, key: &str, why: String) -> StoreError {
        StoreError::Remote {
            place: store.place(),
            operation,
            key: key.into(),
            why,
        }
    }

    fn too_large(store: &dyn Store, key: &str, size: u64, limit: u64) -> StoreError {
        StoreError::TooLarge {
            place: store.place(),
            key: key.into(),
            size,
            limit,
        }
    }
}
