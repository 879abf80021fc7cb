//! Signatures on checkpoints (C2SP tlog-cosignature v1.1.0): by a log and by witnesses.
//! Bytes in, bytes out; the time is an argument. Whom to trust is `tlog_policy`'s business.

use ed25519_dalek::{Signer, SigningKey};
use ml_dsa::MlDsa44;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::checkpoint::Checkpoint;
use crate::note::{self, Note, NoteError, NoteKey, SignatureType};
use crate::time::Timestamp;

/// What `key` signed in the note of `checkpoint`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signed {
    /// Nothing.
    Not,
    /// The checkpoint, without saying when.
    Untimed,
    /// The checkpoint, as the largest tree that the signer knew at this POSIX time in seconds.
    At(u64),
}

/// What `key` signed in `note`, whose text is `checkpoint`. A wrong signature by `key` spoils the
/// note; of several right ones the newest counts.
pub fn verify(
    note: &Note<'_>,
    checkpoint: &Checkpoint,
    key: &NoteKey,
) -> Result<Signed, NoteError> {
    let mut signed = Signed::Not;
    for signature in note.signatures_by(key) {
        let wrong = || NoteError::BadSignature(key.name().into());
        let found = match key.signature_type() {
            SignatureType::Ed25519 => key
                .signed(note.text.as_bytes(), &signature.bytes)
                .then_some(Signed::Untimed),
            SignatureType::CosignatureV1 => timed(&signature.bytes)
                .filter(|(time, bytes)| {
                    key.signed(cosignature_v1(note.text, *time).as_bytes(), bytes)
                })
                .map(|(time, _)| Signed::At(time)),
            SignatureType::MlDsa44 => timed(&signature.bytes)
                .filter(|(time, bytes)| {
                    cosigned_message(key.name(), checkpoint, *time)
                        .is_some_and(|message| key.signed(&message, bytes))
                })
                .map(|(time, _)| match time {
                    // Time 0 says nothing of the largest tree.
                    0 => Signed::Untimed,
                    time => Signed::At(time),
                }),
        };
        signed = match (signed, found.ok_or_else(wrong)?) {
            (Signed::At(old), Signed::At(new)) => Signed::At(old.max(new)),
            (Signed::At(old), _) => Signed::At(old),
            (_, found) => found,
        };
    }
    Ok(signed)
}

/// Takes a `timestamped_signature` apart. Times are at most 2^63 - 1.
fn timed(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (time, signature) = bytes.split_at_checked(8)?;
    let time = u64::from_be_bytes(time.try_into().ok()?);
    (i64::try_from(time).is_ok()).then_some((time, signature))
}

/// What a cosignature/v1 signs: the time and the whole text.
fn cosignature_v1(text: &str, time: u64) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

/// What an ML-DSA-44 cosignature of a whole tree signs: the structure `cosigned_message`.
/// `None` if a name does not fit into it.
fn cosigned_message(name: &str, checkpoint: &Checkpoint, time: u64) -> Option<Vec<u8>> {
    let mut message = b"subtree/v1\n\0".to_vec();
    for (name, then) in [(name, time), (&checkpoint.origin, 0)] {
        message.push(u8::try_from(name.len()).ok().filter(|length| *length > 0)?);
        message.extend(name.as_bytes());
        // The time follows the cosigner's name; the start of the tree, 0, the log's origin.
        message.extend(then.to_be_bytes());
    }
    message.extend(checkpoint.size.to_be_bytes());
    message.extend(checkpoint.root.0);
    Some(message)
}

/// A secret for one purpose that follows from an Ed25519 key.
fn derived(domain: &str, key: &SigningKey) -> Zeroizing<[u8; 32]> {
    let mut hasher = Sha256::new();
    hasher.update(domain);
    hasher.update([0]);
    hasher.update(Zeroizing::new(key.to_bytes()));
    Zeroizing::new(hasher.finalize().into())
}

/// An ML-DSA-44 key that follows from an Ed25519 key, expanded once: that takes longer than signing.
struct PostQuantum {
    key: ml_dsa::ExpandedSigningKey<MlDsa44>,
    verifier: NoteKey,
}

impl PostQuantum {
    /// The seed is a hash of `domain` and the Ed25519 seed, so that one key file suffices. Whoever
    /// finds the Ed25519 scalar from its public key, as a quantum computer might, learns half of a
    /// hash of that seed, and nothing of this one.
    fn derive(domain: &str, name: &str, key: &SigningKey) -> Result<PostQuantum, NoteError> {
        let seed = Zeroizing::new(ml_dsa::Seed::from(*derived(domain, key)));
        let key = ml_dsa::ExpandedSigningKey::<MlDsa44>::from_seed(&seed);
        let public = key.verifying_key().encode();
        let verifier = NoteKey::with_type(name, SignatureType::MlDsa44, &public)?;
        Ok(PostQuantum { key, verifier })
    }

    fn line(&self, checkpoint: &Checkpoint, time: u64) -> Result<String, NoteError> {
        let refused = NoteError::Cosign("the origin is empty or longer than 255 bytes");
        let message = cosigned_message(self.verifier.name(), checkpoint, time).ok_or(refused)?;
        let signature = self.key.sign_deterministic(&message, &[]);
        let signature = signature.map_err(|_| NoteError::Cosign("ML-DSA-44 gave no signature"))?;
        let bytes = [&time.to_be_bytes(), signature.encode().as_slice()].concat();
        Ok(self.verifier.line(&bytes))
    }
}

/// Signs the checkpoints of one log: with Ed25519 (0x01), and with ML-DSA-44 (0x06) for when
/// Ed25519 no longer holds.
pub struct LogSigner {
    key: SigningKey,
    verifier: NoteKey,
    post_quantum: Box<PostQuantum>,
}

const LOG_DOMAIN: &str = "weighbridge.dev/log-key/ml-dsa-44/v1";
const WITNESS_DOMAIN: &str = "weighbridge.dev/witness-key/ml-dsa-44/v1";
const MIRROR_DOMAIN: &str = "weighbridge.dev/mirror-key/ml-dsa-44/v1";
const MIRROR_ED25519_DOMAIN: &str = "weighbridge.dev/mirror-key/ed25519/v1";

impl LogSigner {
    /// The signer of the log `origin`.
    pub fn new(origin: &str, key: SigningKey) -> Result<LogSigner, NoteError> {
        let verifier = NoteKey::new(origin, key.verifying_key())?;
        let post_quantum = Box::new(PostQuantum::derive(LOG_DOMAIN, origin, &key)?);
        Ok(LogSigner {
            key,
            verifier,
            post_quantum,
        })
    }

    /// The log.
    pub fn origin(&self) -> &str {
        self.verifier.name()
    }

    /// Its verifier keys: Ed25519, and ML-DSA-44.
    pub fn keys(&self) -> [&NoteKey; 2] {
        [&self.verifier, &self.post_quantum.verifier]
    }

    /// The signed note of another text, by the Ed25519 key alone.
    pub fn sign_text(&self, text: &str) -> Result<String, NoteError> {
        note::sign(text, self.origin(), &self.key)
    }

    /// The signed note of `checkpoint`, whose origin must be this log's.
    pub fn sign(&self, checkpoint: &Checkpoint, now: Timestamp) -> Result<String, NoteError> {
        self.sign_at(checkpoint, now.seconds())
    }

    /// The same, with a time that is not before the one in `previous`, the note that this log
    /// signed last: a clock that was set back does not make the log contradict itself.
    pub fn sign_after(
        &self,
        previous: &[u8],
        checkpoint: &Checkpoint,
        now: Timestamp,
    ) -> Result<String, NoteError> {
        let mut time = now.seconds();
        if let Ok(note) = Note::parse(previous)
            && let Ok(old) = Checkpoint::parse(note.text)
            && let Ok(Signed::At(before)) = verify(&note, &old, &self.post_quantum.verifier)
        {
            time = time.max(before);
        }
        self.sign_at(checkpoint, time)
    }

    fn sign_at(&self, checkpoint: &Checkpoint, time: u64) -> Result<String, NoteError> {
        if checkpoint.origin != self.origin() {
            return Err(NoteError::Cosign("it is of another log"));
        }
        let mut note = note::sign(&checkpoint.to_string(), self.origin(), &self.key)?;
        note.push_str(&self.post_quantum.line(checkpoint, time)?);
        Ok(note)
    }
}

impl std::fmt::Debug for LogSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LogSigner({})", self.verifier)
    }
}

/// Cosigns checkpoints as a witness: with Ed25519 (0x04) and with ML-DSA-44 (0x06).
///
/// The Ed25519 cosignature does not bind the witness's name: a key must serve one witness only, and
/// no log.
pub struct WitnessSigner {
    key: SigningKey,
    verifier: NoteKey,
    post_quantum: Box<PostQuantum>,
}

impl WitnessSigner {
    /// The witness `name`.
    pub fn new(name: &str, key: SigningKey) -> Result<WitnessSigner, NoteError> {
        WitnessSigner::with_domain(name, key, WITNESS_DOMAIN)
    }

    /// The mirror `name`. Both its keys follow from `key` and are of no witness: an Ed25519 cosignature does
    /// not bind the name, and a witness's, under another name, must not say that entries are stored.
    pub fn mirror(name: &str, key: &SigningKey) -> Result<WitnessSigner, NoteError> {
        let own = SigningKey::from_bytes(&derived(MIRROR_ED25519_DOMAIN, key));
        WitnessSigner::with_domain(name, own, MIRROR_DOMAIN)
    }

    fn with_domain(name: &str, key: SigningKey, domain: &str) -> Result<WitnessSigner, NoteError> {
        let public = key.verifying_key();
        let verifier = NoteKey::with_type(name, SignatureType::CosignatureV1, public.as_bytes())?;
        let post_quantum = Box::new(PostQuantum::derive(domain, name, &key)?);
        Ok(WitnessSigner {
            key,
            verifier,
            post_quantum,
        })
    }

    /// The witness.
    pub fn name(&self) -> &str {
        self.verifier.name()
    }

    /// Its verifier keys: Ed25519 (0x04), and ML-DSA-44 (0x06).
    pub fn keys(&self) -> [&NoteKey; 2] {
        [&self.verifier, &self.post_quantum.verifier]
    }

    /// The cosignature lines on the checkpoint with this text. Whether it may be cosigned is decided
    /// before: see `witness`.
    pub fn cosign(&self, text: &str, time: u64) -> Result<String, NoteError> {
        let checkpoint =
            Checkpoint::parse(text).map_err(|_| NoteError::Cosign("it is not a checkpoint"))?;
        // Time 0 would say nothing of the largest tree, which is all that a witness says.
        if time == 0 || i64::try_from(time).is_err() {
            return Err(NoteError::Cosign("the time is out of range"));
        }
        let signature = self.key.sign(cosignature_v1(text, time).as_bytes());
        let bytes = [time.to_be_bytes().as_slice(), &signature.to_bytes()].concat();
        Ok(self.verifier.line(&bytes) + &self.post_quantum.line(&checkpoint, time)?)
    }
}

impl std::fmt::Debug for WitnessSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WitnessSigner({})", self.verifier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(size: u64) -> Checkpoint {
        Checkpoint {
            origin: "log.example".into(),
            size,
            root: crate::merkle::leaf_hash(&size.to_be_bytes()),
        }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_seconds(seconds).unwrap()
    }

    fn times(signer: &LogSigner, note: &str) -> [Signed; 2] {
        let note = Note::parse(note.as_bytes()).unwrap();
        let checkpoint = Checkpoint::parse(note.text).unwrap();
        signer
            .keys()
            .map(|key| verify(&note, &checkpoint, key).unwrap())
    }

    #[test]
    fn a_log_signs_twice_and_its_time_does_not_go_back() {
        let signer = LogSigner::new("log.example", SigningKey::from_bytes(&[7; 32])).unwrap();
        let first = signer.sign(&checkpoint(1), at(2000)).unwrap();
        assert_eq!(times(&signer, &first), [Signed::Untimed, Signed::At(2000)]);
        let later = signer.sign_after(first.as_bytes(), &checkpoint(2), at(1000));
        assert_eq!(times(&signer, &later.unwrap())[1], Signed::At(2000));
        let later = signer.sign_after(first.as_bytes(), &checkpoint(2), at(3000));
        assert_eq!(times(&signer, &later.unwrap())[1], Signed::At(3000));
        // A note that this log did not sign says nothing.
        let other = LogSigner::new("log.example", SigningKey::from_bytes(&[8; 32])).unwrap();
        let later = other.sign_after(first.as_bytes(), &checkpoint(2), at(1000));
        assert_eq!(times(&other, &later.unwrap())[1], Signed::At(1000));
        let foreign = Checkpoint {
            origin: "other".into(),
            ..checkpoint(1)
        };
        assert!(signer.sign(&foreign, at(1)).is_err());
    }

    #[test]
    fn the_post_quantum_key_is_of_its_purpose() {
        let key = || SigningKey::from_bytes(&[7; 32]);
        let log = LogSigner::new("x", key()).unwrap();
        let witness = WitnessSigner::new("x", key()).unwrap();
        assert_ne!(log.keys()[1].public(), witness.keys()[1].public());
        // The keys in people's trust files: another derivation would orphan them.
        let digest = crate::digest::Sha256::of(log.keys()[1].public()).to_string();
        assert_eq!(&digest[..16], "0e1ed91d8d9d9d6c");
    }

    #[test]
    fn a_cosignature_binds_time_size_root_and_name() {
        let witness = WitnessSigner::new("w", SigningKey::from_bytes(&[9; 32])).unwrap();
        let text = checkpoint(5).to_string();
        let lines = witness.cosign(&text, 1_700_000_000).unwrap();
        let signed = |text: &str, lines: &str, key: &NoteKey| {
            let note = format!("{text}\n{lines}");
            let note = Note::parse(note.as_bytes()).unwrap();
            verify(&note, &Checkpoint::parse(text).unwrap(), key)
        };
        for key in witness.keys() {
            assert_eq!(signed(&text, &lines, key), Ok(Signed::At(1_700_000_000)));
            let other = checkpoint(6).to_string();
            assert!(signed(&other, &lines, key).is_err());
        }
        // Only cosignature/v1 covers extension lines.
        let extended = format!("{text}extension\n");
        assert!(signed(&extended, &lines, witness.keys()[0]).is_err());
        assert!(signed(&extended, &lines, witness.keys()[1]).is_ok());
        // The time is in the signature's first byte after the key id.
        let later = witness.cosign(&text, 1_700_000_001).unwrap();
        assert_eq!(
            signed(&text, &(lines + &later), witness.keys()[0]),
            Ok(Signed::At(1_700_000_001))
        );
        assert!(witness.cosign(&text, 0).is_err());
        assert!(witness.cosign(&text, u64::MAX).is_err());
        assert!(witness.cosign("no checkpoint", 1).is_err());
    }
}
