//! Witnessing (C2SP tlog-witness): the request `add-checkpoint`, and what a witness answers to it.
//! Bytes in, decision out; opens no connection, keeps no state, signs nothing and knows no clock.

use std::fmt::Write;

use data_encoding::BASE64;

use crate::checkpoint::{Checkpoint, decimal};
use crate::cosignature::{self, Signed};
use crate::digest::{Sha256, decode_base64};
use crate::merkle::{self, Hash};
use crate::note::{Note, NoteKey};

/// A checkpoint for a witness, and the proof that the tree which the witness knows is a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// The size that the witness is thought to know.
    pub old: u64,
    pub proof: Vec<Hash>,
    /// The signed note, verbatim.
    pub checkpoint: Vec<u8>,
}

/// The request is not in the form of the specification.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the request is malformed: {0}")]
pub struct MalformedRequest(&'static str);

/// The largest request: 64 proof lines, and a checkpoint that dozens of keys signed.
pub const MAX_REQUEST: usize = 256 << 10;
/// The content type of the size that a witness names in a conflict.
pub const SIZE_CONTENT_TYPE: &str = "text/x.tlog.size";
const MAX_PROOF_LINES: usize = 63;

impl AddCheckpoint {
    /// The body of the request.
    pub fn encode(&self) -> Vec<u8> {
        let mut head = format!("old {}\n", self.old);
        for hash in &self.proof {
            // Writing to a string cannot fail.
            _ = writeln!(head, "{}", BASE64.encode(&hash.0));
        }
        head.push('\n');
        [head.as_bytes(), &self.checkpoint].concat()
    }

    /// Reads the body of a request; verifies nothing.
    pub fn parse(body: &[u8]) -> Result<AddCheckpoint, MalformedRequest> {
        let malformed = MalformedRequest;
        if body.len() > MAX_REQUEST {
            return Err(malformed("larger than 256 KiB"));
        }
        let text = std::str::from_utf8(body).map_err(|_| malformed("not UTF-8"))?;
        let (head, checkpoint) = text.split_once("\n\n").ok_or(malformed("no empty line"))?;
        let mut lines = head.split('\n');
        let old = lines
            .next()
            .and_then(|line| line.strip_prefix("old "))
            .and_then(decimal)
            .ok_or(malformed("the first line is not `old <size>`"))?;
        let mut proof = Vec::new();
        for line in lines {
            if proof.len() == MAX_PROOF_LINES {
                return Err(malformed("more than 63 proof lines"));
            }
            let hash = decode_base64(line).and_then(|hash| hash.try_into().ok());
            proof.push(Sha256(
                hash.ok_or(malformed("a proof line is not 32 bytes in base64"))?,
            ));
        }
        Ok(AddCheckpoint {
            old,
            proof,
            checkpoint: checkpoint.into(),
        })
    }
}

/// The newest tree of a log that a witness cosigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub size: u64,
    pub root: Hash,
}

/// What a witness answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// 200: cosign it, once this is the tree that the witness knows.
    Cosign(Accepted),
    /// 400
    BadRequest(&'static str),
    /// 403
    Forbidden(String),
    /// 404
    UnknownLog(String),
    /// 409: the witness knows the tree of this size.
    Conflict(u64),
    /// 422: it contradicts the tree that the witness knows, or itself.
    Unprocessable(&'static str),
}

/// A checkpoint that may be cosigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    pub checkpoint: Checkpoint,
    /// The note with the signatures of trusted log keys and no others.
    pub note: String,
}

impl Verdict {
    /// The HTTP status of the answer.
    pub fn status(&self) -> u16 {
        match self {
            Verdict::Cosign(_) => 200,
            Verdict::BadRequest(_) => 400,
            Verdict::Forbidden(_) => 403,
            Verdict::UnknownLog(_) => 404,
            Verdict::Conflict(_) => 409,
            Verdict::Unprocessable(_) => 422,
        }
    }

    /// The body of an answer that is no cosignature.
    pub fn body(&self) -> String {
        match self {
            Verdict::Cosign(_) => String::new(),
            Verdict::BadRequest(why) | Verdict::Unprocessable(why) => format!("{why}\n"),
            Verdict::Forbidden(why) => format!("{why}\n"),
            Verdict::UnknownLog(origin) => format!("the log {origin:?} is not known here\n"),
            Verdict::Conflict(size) => format!("{size}\n"),
        }
    }
}

/// What a witness that trusts the log keys `logs` answers to `request`, if the newest tree of that
/// log which it cosigned is `seen`.
pub fn judge(request: &AddCheckpoint, seen: Option<Seen>, logs: &[NoteKey]) -> Verdict {
    let Ok(note) = Note::parse(&request.checkpoint) else {
        return Verdict::BadRequest("the checkpoint is not a signed note");
    };
    let Ok(checkpoint) = Checkpoint::parse(note.text) else {
        return Verdict::BadRequest("the note is not a checkpoint");
    };
    let keys: Vec<&NoteKey> = logs
        .iter()
        .filter(|key| key.name() == checkpoint.origin)
        .collect();
    if keys.is_empty() {
        return Verdict::UnknownLog(checkpoint.origin);
    }
    let mut signed = false;
    for key in &keys {
        match cosignature::verify(&note, &checkpoint, key) {
            Ok(Signed::Not) => {}
            Ok(_) => signed = true,
            Err(error) => return Verdict::Forbidden(format!("the checkpoint {error}")),
        }
    }
    if !signed {
        return Verdict::Forbidden("the checkpoint is not signed by a key of its log".into());
    }
    if request.old > checkpoint.size {
        return Verdict::BadRequest("the old size is larger than the checkpoint's");
    }
    let known = seen.map_or(0, |seen| seen.size);
    if request.old != known {
        return Verdict::Conflict(known);
    }
    if checkpoint.size == 0 && checkpoint.root != merkle::empty_root() {
        return Verdict::Unprocessable("the root is not that of the empty tree");
    }
    let consistent = match seen {
        // The empty tree is a prefix of every tree: there is nothing to prove.
        _ if known == 0 => request.proof.is_empty(),
        Some(Seen { size, root }) => {
            let new = (checkpoint.size, checkpoint.root);
            merkle::verify_consistency(&request.proof, size, root, new.0, new.1).is_ok()
        }
        None => false,
    };
    if !consistent {
        return Verdict::Unprocessable("the checkpoint is not shown to continue the known tree");
    }
    Verdict::Cosign(Accepted {
        note: note.with_signatures(&keys, ""),
        checkpoint,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cosignature::LogSigner;
    use crate::merkle::RootBuilder;
    use crate::time::Timestamp;
    use ed25519_dalek::SigningKey;

    fn log(seed: u8) -> LogSigner {
        LogSigner::new("log.example", SigningKey::from_bytes(&[seed; 32])).unwrap()
    }

    /// Roots of a log with these many entries.
    fn root(size: u64) -> Hash {
        let mut builder = RootBuilder::default();
        for index in 0..size {
            builder.push(merkle::leaf_hash(&index.to_be_bytes()));
        }
        builder.root()
    }

    fn note(signer: &LogSigner, size: u64, root: Hash) -> Vec<u8> {
        let checkpoint = Checkpoint {
            origin: "log.example".into(),
            size,
            root,
        };
        let now = Timestamp::from_seconds(1_700_000_000).unwrap();
        signer.sign(&checkpoint, now).unwrap().into()
    }

    /// From 1 to 2: the one hash is that of the second leaf.
    fn proof_1_2() -> Vec<Hash> {
        vec![merkle::leaf_hash(&1u64.to_be_bytes())]
    }

    fn answer(old: u64, proof: Vec<Hash>, checkpoint: Vec<u8>, seen: Option<u64>) -> u16 {
        let request = AddCheckpoint {
            old,
            proof,
            checkpoint,
        };
        assert_eq!(AddCheckpoint::parse(&request.encode()), Ok(request.clone()));
        let seen = seen.map(|size| Seen {
            size,
            root: root(size),
        });
        let logs: Vec<NoteKey> = log(7).keys().map(Clone::clone).into();
        judge(&request, seen, &logs).status()
    }

    /// One case for each answer that the specification asks for.
    #[test]
    fn answers_of_the_specification() {
        let good = |size| note(&log(7), size, root(size));
        let none = Vec::new;
        assert_eq!(answer(0, none(), good(5), None), 200);
        assert_eq!(answer(0, none(), good(0), None), 200);
        assert_eq!(answer(0, none(), good(2), Some(0)), 200);
        assert_eq!(answer(1, proof_1_2(), good(2), Some(1)), 200);
        assert_eq!(answer(2, none(), good(2), Some(2)), 200);
        // Another log, another key, a broken signature.
        let other = LogSigner::new("other", SigningKey::from_bytes(&[7; 32])).unwrap();
        let foreign = Checkpoint {
            origin: "other".into(),
            size: 1,
            root: root(1),
        };
        let now = Timestamp::from_seconds(1).unwrap();
        let foreign = other.sign(&foreign, now).unwrap();
        assert_eq!(answer(0, none(), foreign.into(), None), 404);
        assert_eq!(answer(0, none(), note(&log(8), 5, root(5)), None), 403);
        let text = String::from_utf8(good(5)).unwrap();
        assert_eq!(
            answer(0, none(), text.replace("\n5\n", "\n6\n").into(), None),
            403
        );
        // Sizes.
        assert_eq!(answer(6, none(), good(5), Some(6)), 400);
        assert_eq!(answer(0, none(), good(5), Some(3)), 409);
        assert_eq!(answer(3, none(), good(5), None), 409);
        assert_eq!(answer(2, none(), good(5), Some(5)), 409);
        // Proofs and roots.
        assert_eq!(answer(0, proof_1_2(), good(2), None), 422);
        assert_eq!(answer(1, none(), good(2), Some(1)), 422);
        assert_eq!(answer(1, vec![root(1)], good(2), Some(1)), 422);
        assert_eq!(answer(2, none(), note(&log(7), 2, root(3)), Some(2)), 422);
        assert_eq!(answer(2, proof_1_2(), good(2), Some(2)), 422);
        assert_eq!(answer(0, none(), note(&log(7), 0, root(1)), None), 422);
        assert_eq!(answer(0, none(), b"x\n\n".to_vec(), None), 400);
        assert_eq!(
            answer(
                0,
                none(),
                crate::note::sign("x\n", "log.example", &SigningKey::from_bytes(&[7; 32]))
                    .unwrap()
                    .into(),
                None
            ),
            400
        );
    }

    #[test]
    fn malformed_requests() {
        let line = format!("{}\n", BASE64.encode(&[1; 32]));
        for bad in [
            "",
            "old 1\n",
            "old 01\n\nx",
            "old -1\n\nx",
            "old\n\nx",
            "new 1\n\nx",
            "old 1\nAAAA\n\nx",
            "old 1\r\n\nx",
            &format!("old 1\n{}\nx", line.repeat(64)),
        ] {
            assert!(AddCheckpoint::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        let most = format!("old 1\n{}\nx", line.repeat(63));
        assert_eq!(
            AddCheckpoint::parse(most.as_bytes()).unwrap().proof.len(),
            63
        );
        assert!(AddCheckpoint::parse(&vec![b'a'; MAX_REQUEST + 1]).is_err());
    }

    #[test]
    fn only_log_signatures_are_kept() {
        let mut checkpoint = note(&log(7), 5, root(5));
        checkpoint.extend("\u{2014} stranger AAAAAAAA\n".as_bytes());
        let request = AddCheckpoint {
            old: 0,
            proof: Vec::new(),
            checkpoint,
        };
        let logs: Vec<NoteKey> = log(7).keys().map(Clone::clone).into();
        let Verdict::Cosign(accepted) = judge(&request, None, &logs) else {
            panic!("refused");
        };
        assert_eq!(accepted.note.as_bytes(), note(&log(7), 5, root(5)));
    }
}
