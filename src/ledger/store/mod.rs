//! Where a ledger's bytes lie. The one primitive that writers coordinate by is `create`: it fails
//! if the key is taken, and is durable when it returns.

mod directory;

use crate::disk::DiskError;

pub use directory::DirectoryStore;

/// A flat map from keys (relative paths with `/`) to bytes.
pub trait Store: Send + Sync {
    /// The bytes under `key`, or `None` if there are none. More than `limit` bytes is an error.
    fn read(&self, key: &str, limit: u64) -> Result<Option<Vec<u8>>, StoreError>;
    /// Is there something under `key`?
    fn exists(&self, key: &str) -> Result<bool, StoreError>;
    /// Stores `bytes` under `key` durably, unless the key is taken.
    ///
    /// Where an answer can be lost on the way, `Exists` may be said of one's own bytes: who needs to
    /// know reads them back.
    fn create(&self, key: &str, bytes: &[u8]) -> Result<Created, StoreError>;
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
}

impl StoreError {
    /// May the operation have taken effect although it failed, so that doing it again is right?
    /// Not so on a disk: after a failed fsync, a second one proves nothing.
    pub fn is_ambiguous(&self) -> bool {
        match self {
            StoreError::Disk(_) => false,
            StoreError::Unanswered { .. } => true,
        }
    }
}
