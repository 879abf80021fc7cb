//! Signatures on checkpoints (C2SP tlog-cosignature): by a log and by witnesses.
//! Bytes in, bytes out; the time is an argument.

use ed25519_dalek::SigningKey;

use crate::checkpoint::Checkpoint;
use crate::note::{self, NoteError, NoteKey};
use crate::time::Timestamp;
use crate::tlog_policy::TlogPolicy;

/// Signs the checkpoints of one log.
#[derive(Debug)]
pub struct LogSigner {
    key: SigningKey,
    verifier: NoteKey,
}

impl LogSigner {
    /// The signer of the log `origin`.
    pub fn new(origin: &str, key: SigningKey) -> Result<LogSigner, NoteError> {
        let verifier = NoteKey::new(origin, key.verifying_key())?;
        Ok(LogSigner { key, verifier })
    }

    /// The log.
    pub fn origin(&self) -> &str {
        self.verifier.name()
    }

    /// Trusts exactly the checkpoints that this signs.
    pub fn trust(&self) -> TlogPolicy {
        TlogPolicy::of_log(self.verifier.clone())
    }

    /// The signed note of another text, by the Ed25519 key alone.
    pub fn sign_text(&self, text: &str) -> Result<String, NoteError> {
        note::sign(text, self.verifier.name(), &self.key)
    }

    /// The signed note of `checkpoint`, whose origin must be this log's.
    pub fn sign(&self, checkpoint: &Checkpoint, now: Timestamp) -> Result<String, NoteError> {
        _ = now;
        note::sign(&checkpoint.to_string(), self.verifier.name(), &self.key)
    }
}
