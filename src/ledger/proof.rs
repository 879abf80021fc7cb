//! Receipts: the tlog-proof file (C2SP tlog-proof) that travels with an artifact and shows,
//! offline, that an entry is in a log. Bytes in, bytes out.
//!
//! It proves inclusion at one moment. It cannot show what the log recorded later.

use std::fmt::Write;

use data_encoding::BASE64;

use crate::checkpoint::{Checkpoint, CheckpointError, decimal};
use crate::digest::Sha256;
use crate::merkle::{self, Hash, ProofError, leaf_hash};
use crate::note::MAX_NOTE;
use crate::tlog_policy::TlogPolicy;

/// An inclusion proof with the checkpoint it leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlogProof {
    pub index: u64,
    /// Free bytes that nothing vouches for. Kept, never used.
    pub extra: Option<Vec<u8>>,
    /// Leaf sibling first.
    pub hashes: Vec<Hash>,
    /// The signed note, verbatim.
    pub checkpoint: Vec<u8>,
}

/// Why a receipt proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofFileError {
    #[error("is not a tlog-proof: {0}")]
    Malformed(&'static str),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("the proof does not show that the entry is in the log: {0}")]
    Proof(#[from] ProofError),
}

const HEADER: &str = "c2sp.org/tlog-proof@v1";
/// The largest receipt.
pub const MAX_PROOF: usize = MAX_NOTE + 8192;

impl TlogProof {
    /// The file's text.
    pub fn encode(&self) -> Vec<u8> {
        let mut head = format!("{HEADER}\n");
        // Writing to a string cannot fail.
        if let Some(extra) = &self.extra {
            _ = writeln!(head, "extra {}", BASE64.encode(extra));
        }
        _ = writeln!(head, "index {}", self.index);
        for hash in &self.hashes {
            _ = writeln!(head, "{}", BASE64.encode(&hash.0));
        }
        head.push('\n');
        [head.as_bytes(), &self.checkpoint].concat()
    }

    /// Reads the file's text; verifies nothing.
    pub fn parse(bytes: &[u8]) -> Result<TlogProof, ProofFileError> {
        let malformed = ProofFileError::Malformed;
        if bytes.len() > MAX_PROOF {
            return Err(malformed("too large"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| malformed("not UTF-8"))?;
        let (head, checkpoint) = text.split_once("\n\n").ok_or(malformed("no blank line"))?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(HEADER) {
            return Err(malformed("the first line is not c2sp.org/tlog-proof@v1"));
        }
        let extra = match lines.peek().and_then(|line| line.strip_prefix("extra ")) {
            Some(extra) => {
                lines.next();
                let extra = crate::digest::decode_base64(extra);
                Some(extra.ok_or(malformed("extra is not base64"))?)
            }
            None => None,
        };
        let index = lines
            .next()
            .and_then(|line| line.strip_prefix("index "))
            .and_then(decimal);
        let index = index.ok_or(malformed("no index"))?;
        let mut hashes = Vec::new();
        for line in lines {
            // A tree of 2^64 leaves has proofs of 64 hashes.
            if hashes.len() == 64 {
                return Err(malformed("more than 64 hashes"));
            }
            let hash = crate::digest::decode_base64(line).and_then(|hash| hash.try_into().ok());
            hashes.push(Sha256(
                hash.ok_or(malformed("a hash is not 32 bytes in base64"))?,
            ));
        }
        Ok(TlogProof {
            index,
            extra,
            hashes,
            checkpoint: checkpoint.into(),
        })
    }

    /// Does this show that `entry` is in a log that `trust` accepts? Returns the checkpoint it is in.
    pub fn verify(&self, entry: &[u8], trust: &TlogPolicy) -> Result<Checkpoint, ProofFileError> {
        let checkpoint = trust.open(&self.checkpoint)?;
        let (size, root) = (checkpoint.size, checkpoint.root);
        merkle::verify_inclusion(&self.hashes, self.index, size, leaf_hash(entry), root)?;
        Ok(checkpoint)
    }
}
