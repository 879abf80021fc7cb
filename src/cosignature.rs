//! Signatures on checkpoints (C2SP tlog-cosignature v1.1): by a log, and by witnesses that saw that it
//! only grew. Bytes in, bytes out; the time is an argument.

use ed25519_dalek::Signer;
use ml_dsa::{ExpandedSigningKey, MlDsa44};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::checkpoint::Checkpoint;
use crate::note::{self, KeyMaterial, Note, NoteError, NoteKey};
use crate::time::Timestamp;

/// What a good signature says about time: seconds since 1970, if the kind of signature has one.
pub type SignedAt = Option<u64>;

/// Does `key` sign `note`, whose text is `checkpoint`? Signatures by other keys are ignored; a wrong
/// one by this key spoils the note. Of several, the newest time counts.
pub fn verify(
    note: &Note<'_>,
    checkpoint: &Checkpoint,
    key: &NoteKey,
) -> Result<SignedAt, NoteError> {
    if let KeyMaterial::Ed25519(_) = key.material() {
        note.verify(key)?;
        return Ok(None);
    }
    let mut newest = None;
    for signature in note.signatures_by(key) {
        let time = verify_timestamped(note, checkpoint, key, signature)
            .ok_or_else(|| NoteError::BadSignature(key.name().into()))?;
        newest = newest.max(Some(time));
    }
    match newest {
        Some(0) => Ok(None),
        Some(time) => Ok(Some(time)),
        None => Err(NoteError::NoSignature(key.name().into())),
    }
}

/// The time of one timestamped signature, if it is good.
fn verify_timestamped(
    note: &Note<'_>,
    checkpoint: &Checkpoint,
    key: &NoteKey,
    signature: &[u8],
) -> Option<u64> {
    let (time, signature) = signature.split_first_chunk::<8>()?;
    let time = u64::from_be_bytes(*time);
    if i64::try_from(time).is_err() {
        return None;
    }
    let good = match key.material() {
        KeyMaterial::Ed25519(_) => false,
        KeyMaterial::CosignatureV1(public) => {
            let signature = ed25519_dalek::Signature::from_slice(signature).ok()?;
            let message = cosignature_v1(time, note.text);
            public.verify_strict(message.as_bytes(), &signature).is_ok()
        }
        KeyMaterial::MlDsa44(public) => {
            let signature = ml_dsa::Signature::<MlDsa44>::try_from(signature).ok()?;
            let message = subtree_v1(key.name(), time, checkpoint)?;
            public.verify_with_context(&message, b"", &signature)
        }
    };
    good.then_some(time)
}

/// What an Ed25519 cosignature signs.
fn cosignature_v1(time: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

/// What an ML-DSA-44 cosignature of a checkpoint signs: `cosigned_message`, from leaf 0 on.
fn subtree_v1(cosigner: &str, time: u64, checkpoint: &Checkpoint) -> Option<Vec<u8>> {
    let mut message = b"subtree/v1\n\0".to_vec();
    message.push(u8::try_from(cosigner.len()).ok()?);
    message.extend_from_slice(cosigner.as_bytes());
    message.extend_from_slice(&time.to_be_bytes());
    message.push(u8::try_from(checkpoint.origin.len()).ok()?);
    message.extend_from_slice(checkpoint.origin.as_bytes());
    message.extend_from_slice(&0_u64.to_be_bytes());
    message.extend_from_slice(&checkpoint.size.to_be_bytes());
    message.extend_from_slice(&checkpoint.root.0);
    Some(message)
}

/// An ML-DSA-44 key, ready to sign.
struct MlDsaSigner {
    key: Box<ExpandedSigningKey<MlDsa44>>,
    verifier: NoteKey,
}

impl MlDsaSigner {
    /// The key of `name` that belongs to an Ed25519 key: its seed is a hash of the other's seed under
    /// a label of its own. So there is one secret to keep. Who computes the Ed25519 scalar from the
    /// public key, as a quantum computer could, does not learn the seed.
    fn beside(name: &str, key: &ed25519_dalek::SigningKey) -> Result<MlDsaSigner, NoteError> {
        if name.len() > usize::from(u8::MAX) {
            return Err(NoteError::Key("the name is longer than 255 bytes"));
        }
        let mut hasher = Sha256::new();
        hasher.update(b"weighbridge.dev/ml-dsa-44-seed/v1\n");
        hasher.update(Zeroizing::new(key.to_bytes()).as_slice());
        let seed = Zeroizing::new(<[u8; 32]>::from(hasher.finalize()));
        let key = Box::new(ExpandedSigningKey::from_seed(&(*seed).into()));
        let public = KeyMaterial::MlDsa44(Box::new(key.verifying_key()));
        Ok(MlDsaSigner {
            verifier: NoteKey::of(name, public)?,
            key,
        })
    }

    /// The line of the signature on `checkpoint`.
    fn sign(&self, checkpoint: &Checkpoint, time: u64) -> Result<String, NoteError> {
        let message = subtree_v1(self.verifier.name(), time, checkpoint)
            .ok_or(NoteError::Key("the origin is longer than 255 bytes"))?;
        let signature = self
            .key
            .sign_deterministic(&message, b"")
            .map_err(|_| NoteError::Key("ML-DSA-44 does not sign this"))?;
        let signature = [time.to_be_bytes().as_slice(), &signature.encode()].concat();
        Ok(self.verifier.signature_line(&signature))
    }
}

/// Seconds since 1970; earlier times are 1, since 0 would say that there is no time.
fn seconds(now: Timestamp) -> u64 {
    u64::try_from(now.millis() / 1000)
        .unwrap_or_default()
        .max(1)
}

/// Signs the checkpoints of one log, with Ed25519 and ML-DSA-44.
pub struct LogSigner {
    key: ed25519_dalek::SigningKey,
    verifier: NoteKey,
    ml_dsa: MlDsaSigner,
}

impl LogSigner {
    /// The signer of the log `origin`.
    pub fn new(origin: &str, key: ed25519_dalek::SigningKey) -> Result<LogSigner, NoteError> {
        Ok(LogSigner {
            verifier: NoteKey::new(origin, key.verifying_key())?,
            ml_dsa: MlDsaSigner::beside(origin, &key)?,
            key,
        })
    }

    /// The log.
    pub fn origin(&self) -> &str {
        self.verifier.name()
    }

    /// Its Ed25519 key.
    pub fn verifier(&self) -> &NoteKey {
        &self.verifier
    }

    /// Its ML-DSA-44 key.
    pub fn ml_dsa_verifier(&self) -> &NoteKey {
        &self.ml_dsa.verifier
    }

    /// The signed note of another text, by the Ed25519 key alone.
    pub fn sign_text(&self, text: &str) -> Result<String, NoteError> {
        note::sign(text, self.verifier.name(), &self.key)
    }

    /// The signed note of `checkpoint`, whose origin must be this log's.
    pub fn sign(&self, checkpoint: &Checkpoint, now: Timestamp) -> Result<String, NoteError> {
        let note = self.sign_text(&checkpoint.to_string())?;
        Ok(note + &self.ml_dsa.sign(checkpoint, seconds(now))?)
    }
}

/// Cosigns the checkpoints of other people's logs, with Ed25519 and ML-DSA-44.
pub struct WitnessSigner {
    key: ed25519_dalek::SigningKey,
    verifier: NoteKey,
    ml_dsa: MlDsaSigner,
}

impl WitnessSigner {
    /// The signer of the witness `name`.
    pub fn new(name: &str, key: ed25519_dalek::SigningKey) -> Result<WitnessSigner, NoteError> {
        let public = KeyMaterial::CosignatureV1(key.verifying_key());
        Ok(WitnessSigner {
            verifier: NoteKey::of(name, public)?,
            ml_dsa: MlDsaSigner::beside(name, &key)?,
            key,
        })
    }

    /// The keys to trust, Ed25519 first.
    pub fn verifiers(&self) -> [&NoteKey; 2] {
        [&self.verifier, &self.ml_dsa.verifier]
    }

    /// The lines of the cosignatures on `checkpoint`, whose note has the text `text`.
    pub fn cosign(
        &self,
        text: &str,
        checkpoint: &Checkpoint,
        now: Timestamp,
    ) -> Result<String, NoteError> {
        let time = seconds(now);
        let signature = self.key.sign(cosignature_v1(time, text).as_bytes());
        let signature = [time.to_be_bytes().as_slice(), &signature.to_bytes()].concat();
        Ok(self.verifier.signature_line(&signature) + &self.ml_dsa.sign(checkpoint, time)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> ed25519_dalek::SigningKey {
        ed25519_dalek::SigningKey::from_bytes(&[3; 32])
    }

    fn checkpoint(size: u64) -> Checkpoint {
        Checkpoint {
            origin: "log.example".into(),
            size,
            root: crate::digest::Sha256::of(b"root"),
        }
    }

    fn time(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000 + 999).unwrap()
    }

    /// The example of the specification, with the witness key that it names nowhere: its form only.
    #[test]
    fn the_signed_messages_of_the_specification() {
        let text =
            "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
        assert_eq!(
            cosignature_v1(1_679_315_147, text),
            "cosignature/v1\ntime 1679315147\n".to_owned() + text
        );
        let message = subtree_v1("w", 7, &checkpoint(300)).unwrap();
        assert_eq!(&message[..12], b"subtree/v1\n\0");
        assert_eq!(&message[12..14], b"\x01w");
        assert_eq!(message[21], 7);
        assert_eq!(message.len(), 12 + 2 + 8 + 1 + 11 + 16 + 32);
    }

    #[test]
    fn logs_and_witnesses_sign_what_their_keys_verify() {
        let log = LogSigner::new("log.example", key()).unwrap();
        let witness = WitnessSigner::new("w.example/1", key()).unwrap();
        let signed = checkpoint(300);
        let mut note = log.sign(&signed, time(1_700_000_000)).unwrap();
        note += &witness
            .cosign(&signed.to_string(), &signed, time(1_700_000_005))
            .unwrap();
        let parsed = Note::parse(note.as_bytes()).unwrap();
        let at = |key: &NoteKey| verify(&parsed, &signed, key);
        assert_eq!(at(log.verifier()), Ok(None));
        assert_eq!(at(log.ml_dsa_verifier()), Ok(Some(1_700_000_000)));
        for key in witness.verifiers() {
            assert_eq!(at(key), Ok(Some(1_700_000_005)));
            assert_eq!(NoteKey::parse(&key.to_string()).as_ref(), Ok(key));
        }
        // What is signed is this checkpoint, under this name, at this time.
        for key in [log.ml_dsa_verifier(), witness.verifiers()[1]] {
            let other = verify(&parsed, &checkpoint(301), key);
            assert_eq!(other, Err(NoteError::BadSignature(key.name().into())));
        }
        let stranger = WitnessSigner::new("w.example/2", key()).unwrap();
        for key in stranger.verifiers() {
            assert_eq!(at(key), Err(NoteError::NoSignature("w.example/2".into())));
        }
    }

    #[test]
    fn every_bit_of_a_cosignature_counts() {
        let witness = WitnessSigner::new("w", key()).unwrap();
        let signed = checkpoint(1);
        let text = signed.to_string();
        let lines = witness.cosign(&text, &signed, time(1_700_000_000)).unwrap();
        for (line, key) in lines.lines().zip(witness.verifiers()) {
            let (head, body) = line.rsplit_once(' ').unwrap();
            let bytes = crate::digest::decode_base64(body).unwrap();
            // All of the time and of a small signature, a sample of a large one.
            for bit in (32..bytes.len() * 8).step_by(if bytes.len() < 100 { 1 } else { 193 }) {
                let mut bytes = bytes.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                let body = data_encoding::BASE64.encode(&bytes);
                let note = format!("{text}\n{head} {body}\n");
                let parsed = Note::parse(note.as_bytes()).unwrap();
                assert!(
                    verify(&parsed, &signed, key).is_err(),
                    "{} bit {bit}",
                    key.name()
                );
            }
        }
    }
}
