//! The ledger: a C2SP tlog-tiles log in a store, with the blobs that its entries name.
//! Entries are opaque bytes here; what they say is `statement`'s business.
//!
//! Layout, relative to the ledger:
//!
//! | key | content |
//! |---|---|
//! | `checkpoint` | signed note: size and root (C2SP tlog-checkpoint) |
//! | `tile/<L>/<N>[.p/<W>]` | Merkle hashes (C2SP tlog-tiles) |
//! | `tile/entries/<N>[.p/<W>]` | the entries themselves |
//! | `_commit/<sequence>` | the batch that writer number `sequence` committed |
//! | `blob/sha256/<xx>/<digest>` | manifests and attachments, named by their SHA-256 |
//! | `state` | the slot at which the checkpoint was made, signed; spares reading them all |
//! | `lock` | empty; one writer at a time holds it |
//! | `_inbox/<nonce>` | entries that a process leaves to the one that holds the lock |

mod append;
pub mod archive;
pub mod chain;
pub mod commit;
mod contention;
mod edge;
pub mod facts;
pub mod fsck;
mod head;
mod inbox;
#[cfg(feature = "index")]
pub mod index;
pub mod memory;
pub mod mirror;
pub mod monitor;
pub mod proof;
pub mod prune;
mod publish;
pub mod reader;
mod rebuild;
mod recent;
pub mod sequencer;
pub mod store;
pub mod tile;
pub mod upload;
mod writer;

use crate::checkpoint::CheckpointError;
use crate::digest::Sha256;
use crate::note::NoteError;

pub use append::{Appended, Level, Recovery, append, create};
pub use memory::{Memory, MemoryError};
pub use mirror::named_blobs;
pub use proof::{ProofFileError, TlogProof};
pub use publish::{Cosigners, Publisher, replace_checkpoint};
pub use reader::Log;
pub use rebuild::rebuild;
pub use recent::LeafIndex;
pub use sequencer::Sequencer;
pub use store::{Created, DirectoryStore, Location, Store, StoreError};
pub use writer::Writer;

/// Why a ledger cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the ledger has no checkpoint")]
    NoCheckpoint,
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Note(#[from] NoteError),
    #[error("the ledger is damaged: {key}: {what}")]
    Damaged { key: String, what: String },
    #[error("entry {index} is outside the ledger of size {size}")]
    Outside { index: u64, size: u64 },
    #[error("{what}")]
    Index { what: String },
    #[error(
        "the artifact was made from more than can be followed: {artifacts} artifacts were found, and the limits are 10000 \
         of them and 64 steps"
    )]
    TooDeep { artifacts: usize },
    #[error("an entry of {size} bytes is outside the limits of 1 to 65535")]
    EntrySize { size: usize },
    #[error("a batch of {count} entries is outside the limits of 1 to {max}", max = commit::MAX_BATCH)]
    BatchSize { count: usize },
    #[error("blob {digest} is not in the ledger")]
    NoBlob { digest: Sha256 },
    #[error("committed as entry {first} and not published; the next append publishes it")]
    NotPublished {
        first: u64,
        source: Box<LedgerError>,
    },
    #[error("whether {slot} was committed is not known: {source}; append the same entries again")]
    Unknown { slot: String, source: StoreError },
    #[error("to publish takes the log's key")]
    NoSigner,
    #[error("the sequencer has stopped")]
    Stopped,
    #[error("too many others are writing; try again later")]
    Busy,
    #[error("published as entry {first}, and not witnessed as the policy asks")]
    NotWitnessed {
        first: u64,
        source: Box<LedgerError>,
    },
    #[error("no random numbers from the system: {0}")]
    Random(String),
}

impl LedgerError {
    /// May it work later, without anybody doing something about it?
    pub fn is_temporary(&self) -> bool {
        match self {
            LedgerError::Store(error) => error.is_ambiguous(),
            LedgerError::Unknown { .. } | LedgerError::Busy => true,
            LedgerError::NotPublished { source, .. } | LedgerError::NotWitnessed { source, .. } => {
                source.is_temporary()
            }
            _ => false,
        }
    }

    fn damaged(key: impl Into<String>, what: impl Into<String>) -> LedgerError {
        LedgerError::Damaged {
            key: key.into(),
            what: what.into(),
        }
    }
}

/// The key of the blob with `digest`.
pub fn blob_key(digest: &Sha256) -> String {
    let hex = digest.to_string();
    format!("blob/sha256/{}/{hex}", hex.get(..2).unwrap_or_default())
}

/// The largest blob: the manifest of some millions of files.
pub const MAX_BLOB: u64 = 1 << 30;

/// Stores `bytes` under their digest, durably; a blob that is there already stays as it is.
pub fn put_blob(store: &dyn Store, bytes: &[u8]) -> Result<Sha256, LedgerError> {
    let digest = Sha256::of(bytes);
    if store.create(&blob_key(&digest), bytes)? == Created::Exists {
        // A damaged blob must not be named by a new record.
        blob(store, &digest)?;
    }
    Ok(digest)
}

/// The blob with `digest`; content that does not have that digest is an error.
pub fn blob(store: &dyn Store, digest: &Sha256) -> Result<Vec<u8>, LedgerError> {
    let key = blob_key(digest);
    let bytes = store
        .read(&key, MAX_BLOB)?
        .ok_or(LedgerError::NoBlob { digest: *digest })?;
    if Sha256::of(&bytes) != *digest {
        return Err(LedgerError::damaged(key, "the content has another digest"));
    }
    Ok(bytes)
}
