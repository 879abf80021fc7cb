//! What is trusted about logs (C2SP tlog-policy): their keys, their witnesses, and how many of them
//! must agree. Text in, decision out; opens no file and knows no clock.

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::note::NoteKey;

/// The logs that are trusted, and what a checkpoint of theirs must carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlogPolicy {
    log: NoteKey,
}

impl TlogPolicy {
    /// Trusts the log of `key`, without witnesses.
    pub fn of_log(key: NoteKey) -> TlogPolicy {
        TlogPolicy { log: key }
    }

    /// The key of the log.
    pub fn log(&self) -> &NoteKey {
        &self.log
    }

    /// Opens a checkpoint, which must carry every signature that this policy asks for.
    pub fn open(&self, note: &[u8]) -> Result<Checkpoint, CheckpointError> {
        Checkpoint::open(note, &self.log)
    }
}
