//! Checkpoints (C2SP tlog-checkpoint v1.0.0): size and root of a log at one moment, as the text
//! of a signed note. Knows no store.

use std::fmt;

use data_encoding::BASE64;

use crate::digest::Sha256;
use crate::merkle::Hash;
use crate::note::{Note, NoteError, NoteKey};

/// Size and root of the log `origin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub origin: String,
    pub size: u64,
    pub root: Hash,
}

/// Why a checkpoint is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    #[error("checkpoint {0}")]
    Note(#[from] NoteError),
    #[error("checkpoint is malformed: {0}")]
    Malformed(&'static str),
    #[error("checkpoint is of log {found:?}, not {expected:?}")]
    Origin { found: String, expected: String },
    #[error(
        "checkpoint has too few cosignatures: needed {needed}; signed: {}; missing: {}",
        list(signed),
        list(missing)
    )]
    Quorum {
        /// As the policy has it: `2 of w1, w2, w3`.
        needed: String,
        signed: Vec<String>,
        missing: Vec<String>,
    },
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        "none".into()
    } else {
        names.join(", ")
    }
}

impl Checkpoint {
    /// Opens a checkpoint that `key` must have signed; the key's name is the log's origin.
    pub fn open(note: &[u8], key: &NoteKey) -> Result<Checkpoint, CheckpointError> {
        let note = Note::parse(note)?;
        note.verify(key)?;
        let checkpoint = Checkpoint::parse(note.text)?;
        if checkpoint.origin != key.name() {
            return Err(CheckpointError::Origin {
                found: checkpoint.origin,
                expected: key.name().into(),
            });
        }
        Ok(checkpoint)
    }

    /// Reads the text of a checkpoint. Extension lines are allowed and ignored.
    pub fn parse(text: &str) -> Result<Checkpoint, CheckpointError> {
        let malformed = CheckpointError::Malformed;
        let body = text
            .strip_suffix('\n')
            .ok_or(malformed("no final line break"))?;
        let mut lines = body.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next())
        else {
            return Err(malformed("fewer than three lines"));
        };
        if origin.is_empty() {
            return Err(malformed("empty origin"));
        }
        let size = decimal(size).ok_or(malformed("the size is not a decimal number"))?;
        let root = crate::digest::decode_base64(root).and_then(|root| root.try_into().ok());
        let root = Sha256(root.ok_or(malformed("the root is not 32 bytes in base64"))?);
        if lines.any(str::is_empty) {
            return Err(malformed("empty extension line"));
        }
        Ok(Checkpoint {
            origin: origin.into(),
            size,
            root,
        })
    }
}

/// A decimal number in its one spelling: no sign, no leading zero.
pub fn decimal(text: &str) -> Option<u64> {
    let canonical = text == "0" || !text.starts_with('0');
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if canonical && digits {
        text.parse().ok()
    } else {
        None
    }
}

impl fmt::Display for Checkpoint {
    /// The text that is signed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}\n{}\n{}",
            self.origin,
            self.size,
            BASE64.encode(&self.root.0)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form() {
        let text = "log.example\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n";
        let checkpoint = Checkpoint::parse(text).unwrap();
        assert_eq!(checkpoint.root, crate::merkle::empty_root());
        assert_eq!(checkpoint.to_string(), text);
        assert!(Checkpoint::parse(&format!("{text}extension\n")).is_ok());
        for bad in [
            text.trim_end().to_owned(),
            text.replace("\n0\n", "\n00\n"),
            text.replace("\n0\n", "\n-1\n"),
            text.replace("\n0\n", "\n+1\n"),
            text.replace("\n0\n", "\n18446744073709551616\n"),
            text.replace("FU=", "FU"),
            text.replace("log.example", ""),
            format!("{text}\n"),
        ] {
            assert!(Checkpoint::parse(&bad).is_err(), "{bad:?}");
        }
    }
}
