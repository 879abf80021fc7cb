//! Signed notes and their keys (C2SP signed-note v1.0.0). Bytes in, bytes out.
//! Knows the types of keys that sign checkpoints, and not what the text says: what a cosignature
//! signs is `cosignature`'s business.

use std::fmt;
use std::sync::Arc;

use data_encoding::{BASE64, HEXLOWER};
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use ml_dsa::MlDsa44;
use sha2::{Digest, Sha256};

/// Why a note or a key is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoteError {
    #[error("is not a signed note: {0}")]
    Malformed(&'static str),
    #[error("is not a verifier key `<name>+<key id>+<key>`: {0}")]
    Key(&'static str),
    #[error("has no signature by {0}")]
    NoSignature(String),
    #[error("has a wrong signature by {0}")]
    BadSignature(String),
    #[error("cannot be cosigned: {0}")]
    Cosign(&'static str),
}

/// What a key signs, and how: the signature types of signed-note that checkpoints use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureType {
    /// 0x01: Ed25519 over the text of the note.
    Ed25519,
    /// 0x04: Ed25519 over time and text (tlog-cosignature).
    CosignatureV1,
    /// 0x06: ML-DSA-44 over name, time, origin, size and root (tlog-cosignature).
    MlDsa44,
}

impl SignatureType {
    /// The byte that stands for it in key ids and verifier keys.
    pub fn identifier(self) -> u8 {
        match self {
            SignatureType::Ed25519 => 0x01,
            SignatureType::CosignatureV1 => 0x04,
            SignatureType::MlDsa44 => 0x06,
        }
    }

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            SignatureType::Ed25519 => "ed25519",
            SignatureType::CosignatureV1 => "cosignature/v1",
            SignatureType::MlDsa44 => "ml-dsa-44",
        }
    }
}

/// A key that signs notes under a name: a "verifier key", or vkey.
#[derive(Clone)]
pub struct NoteKey {
    name: String,
    id: u32,
    signature_type: SignatureType,
    public: Vec<u8>,
    verifier: Verifier,
}

#[derive(Clone)]
enum Verifier {
    Ed25519(VerifyingKey),
    /// With its expanded matrix: 30 KiB.
    MlDsa44(Arc<ml_dsa::VerifyingKey<MlDsa44>>),
}

/// The largest note that is read: a checkpoint with dozens of post-quantum cosignatures.
pub const MAX_NOTE: usize = 1 << 20;
const MAX_SIGNATURES: usize = 128;
/// An ML-DSA-44 cosignature has one byte for the length of a name.
const MAX_NAME: usize = 255;
/// Bytes of an ML-DSA-44 public key.
pub const ML_DSA_44_PUBLIC: usize = 1312;

impl NoteKey {
    /// The key of `name` that signs the text of notes (0x01).
    pub fn new(name: &str, key: VerifyingKey) -> Result<NoteKey, NoteError> {
        NoteKey::with_type(name, SignatureType::Ed25519, key.as_bytes())
    }

    /// The key of `name` that signs notes in the way of `signature_type`.
    pub fn with_type(
        name: &str,
        signature_type: SignatureType,
        public: &[u8],
    ) -> Result<NoteKey, NoteError> {
        if !is_name(name) {
            return Err(NoteError::Key(
                "the name is empty, or holds white space or a plus sign",
            ));
        }
        if name.len() > MAX_NAME {
            return Err(NoteError::Key("the name is longer than 255 bytes"));
        }
        let verifier = match signature_type {
            SignatureType::Ed25519 | SignatureType::CosignatureV1 => <[u8; 32]>::try_from(public)
                .ok()
                .and_then(|public| VerifyingKey::from_bytes(&public).ok())
                .filter(|public| !public.is_weak())
                .map(Verifier::Ed25519)
                .ok_or(NoteError::Key("not an Ed25519 public key"))?,
            SignatureType::MlDsa44 => {
                let encoded = ml_dsa::EncodedVerifyingKey::<MlDsa44>::try_from(public)
                    .map_err(|_| NoteError::Key("not an ML-DSA-44 public key"))?;
                Verifier::MlDsa44(Arc::new(ml_dsa::VerifyingKey::decode(&encoded)))
            }
        };
        Ok(NoteKey {
            name: name.into(),
            id: key_id(name, signature_type, public),
            signature_type,
            public: public.into(),
            verifier,
        })
    }

    /// Reads the text form.
    pub fn parse(text: &str) -> Result<NoteKey, NoteError> {
        // The base64 may itself hold a plus sign: only the first two separate.
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::Key("expected three parts joined by plus signs"));
        };
        let key = crate::digest::decode_base64(key).ok_or(NoteError::Key("not base64"))?;
        let (signature_type, public) = match key.split_first() {
            Some((0x01, public)) => (SignatureType::Ed25519, public),
            Some((0x04, public)) => (SignatureType::CosignatureV1, public),
            Some((0x06, public)) => (SignatureType::MlDsa44, public),
            _ => {
                return Err(NoteError::Key(
                    "only Ed25519 (0x01, 0x04) and ML-DSA-44 (0x06) keys are supported",
                ));
            }
        };
        let parsed = NoteKey::with_type(name, signature_type, public)?;
        if id != HEXLOWER.encode(&parsed.id.to_be_bytes()) {
            return Err(NoteError::Key("the key id does not belong to name and key"));
        }
        Ok(parsed)
    }

    /// Who signs with it; for a log, its origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it signs.
    pub fn signature_type(&self) -> SignatureType {
        self.signature_type
    }

    /// The public key, without name and type.
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// Is `signature` this key's over `message`?
    pub(crate) fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.verifier {
            Verifier::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(message, &signature).is_ok()),
            Verifier::MlDsa44(key) => ml_dsa::Signature::<MlDsa44>::try_from(signature)
                .is_ok_and(|signature| key.verify_with_context(message, &[], &signature)),
        }
    }

    /// The line that carries `signature` by this key.
    pub(crate) fn line(&self, signature: &[u8]) -> String {
        let base64 = BASE64.encode(&[self.id.to_be_bytes().as_slice(), signature].concat());
        format!("\u{2014} {} {base64}\n", self.name)
    }
}

/// Name, type and public key are what a key is.
impl PartialEq for NoteKey {
    fn eq(&self, other: &NoteKey) -> bool {
        (&self.name, self.signature_type, &self.public)
            == (&other.name, other.signature_type, &other.public)
    }
}

impl Eq for NoteKey {}

impl fmt::Debug for NoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NoteKey({self})")
    }
}

impl fmt::Display for NoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[self.signature_type.identifier()], self.public.as_slice()].concat();
        let id = HEXLOWER.encode(&self.id.to_be_bytes());
        write!(f, "{}+{id}+{}", self.name, BASE64.encode(&key))
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c == '+' || c.is_whitespace() || c.is_control())
}

fn key_id(name: &str, signature_type: SignatureType, key: &[u8]) -> u32 {
    let mut hasher = Sha256::new();
    hasher.update(name);
    hasher.update([b'\n', signature_type.identifier()]);
    hasher.update(key);
    let digest: [u8; 32] = hasher.finalize().into();
    let [a, b, c, d, ..] = digest;
    u32::from_be_bytes([a, b, c, d])
}

/// A note taken apart; nothing is verified yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note<'a> {
    /// With its final line break.
    pub text: &'a str,
    signatures: Vec<NoteSignature<'a>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NoteSignature<'a> {
    name: &'a str,
    id: u32,
    /// What follows the key id.
    pub(crate) bytes: Vec<u8>,
    /// The line it was read from, without its line break.
    pub(crate) line: &'a str,
}

impl<'a> Note<'a> {
    /// Takes a note apart at its last blank line.
    pub fn parse(bytes: &'a [u8]) -> Result<Note<'a>, NoteError> {
        if bytes.len() > MAX_NOTE {
            return Err(NoteError::Malformed("larger than 1 MiB"));
        }
        let note = std::str::from_utf8(bytes).map_err(|_| NoteError::Malformed("not UTF-8"))?;
        if note.contains(|c: char| c < ' ' && c != '\n') {
            return Err(NoteError::Malformed("holds a control character"));
        }
        let blank = note
            .rfind("\n\n")
            .ok_or(NoteError::Malformed("no blank line"))?;
        let (text, lines) = note.split_at(blank + 1);
        let lines = lines
            .strip_prefix('\n')
            .and_then(|lines| lines.strip_suffix('\n'))
            .ok_or(NoteError::Malformed("does not end in a line break"))?;
        let mut signatures = Vec::new();
        for line in lines.split('\n') {
            if signatures.len() == MAX_SIGNATURES {
                return Err(NoteError::Malformed("more than 128 signatures"));
            }
            signatures.push(signature(line).ok_or(NoteError::Malformed("bad signature line"))?);
        }
        Ok(Note { text, signatures })
    }

    /// Does `key`, which signs the text of notes (0x01), sign this one? Signatures by other keys
    /// are ignored; a wrong one by this key spoils the note.
    pub fn verify(&self, key: &NoteKey) -> Result<(), NoteError> {
        if key.signature_type != SignatureType::Ed25519 {
            return Err(NoteError::Key("it signs checkpoints, not notes"));
        }
        let mut signed = false;
        for signature in self.signatures_by(key) {
            if !key.signed(self.text.as_bytes(), &signature.bytes) {
                return Err(NoteError::BadSignature(key.name.clone()));
            }
            signed = true;
        }
        if signed {
            Ok(())
        } else {
            Err(NoteError::NoSignature(key.name.clone()))
        }
    }

    /// The signatures that name and key id say are by `key`.
    pub(crate) fn signatures_by(&self, key: &NoteKey) -> impl Iterator<Item = &NoteSignature<'a>> {
        self.signatures
            .iter()
            .filter(|signature| signature.is_by(key))
    }

    /// This note with the first signature line by each of `keys`, in their order, followed by `more` lines.
    /// One a key: whoever repeats a valid line must not make a note that is too long to be read.
    pub fn with_signatures(&self, keys: &[&NoteKey], more: &str) -> String {
        let first = |key: &&NoteKey| self.signatures.iter().position(|one| one.is_by(key));
        let mut kept: Vec<usize> = keys.iter().filter_map(first).collect();
        kept.sort_unstable();
        kept.dedup();
        let kept = kept
            .into_iter()
            .filter_map(|place| self.signatures.get(place));
        self.with(kept, more)
    }

    /// This note without those of its signature lines that are by `keys`, followed by `more` lines.
    pub fn replacing(&self, keys: &[&NoteKey], more: &str) -> String {
        let by = |one: &&NoteSignature<'_>| keys.iter().any(|key| one.is_by(key));
        self.with(self.signatures.iter().filter(|one| !by(one)), more)
    }

    fn with<'b>(&self, kept: impl Iterator<Item = &'b NoteSignature<'b>>, more: &str) -> String {
        let mut note = format!("{}\n", self.text);
        for signature in kept {
            note.push_str(signature.line);
            note.push('\n');
        }
        note.push_str(more);
        note
    }
}

impl NoteSignature<'_> {
    /// Does it say that it is by `key`?
    fn is_by(&self, key: &NoteKey) -> bool {
        self.name == key.name && self.id == key.id
    }
}

fn signature(line: &str) -> Option<NoteSignature<'_>> {
    let (name, base64) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
    let bytes = crate::digest::decode_base64(base64)?;
    let (id, bytes) = bytes.split_at_checked(4)?;
    let id = u32::from_be_bytes(id.try_into().ok()?);
    (is_name(name) && !bytes.is_empty()).then(|| NoteSignature {
        name,
        id,
        bytes: bytes.into(),
        line,
    })
}

/// The note with the one signature of `key` under `name` over `text`, which ends in a line break.
pub fn sign(text: &str, name: &str, key: &SigningKey) -> Result<String, NoteError> {
    if !text.ends_with('\n') {
        return Err(NoteError::Malformed("does not end in a line break"));
    }
    let line = NoteKey::new(name, key.verifying_key())?.line(&key.sign(text.as_bytes()).to_bytes());
    Ok(format!("{text}\n{line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification.
    const VKEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[7; 32])
    }

    /// A line that is repeated is kept once; what is replaced is replaced each time that it is there.
    #[test]
    fn one_line_a_key() {
        let text = sign("text\n", "a", &key()).unwrap();
        let line = text.lines().last().unwrap();
        let many = format!("{text}{}", format!("{line}\n").repeat(100));
        let note = Note::parse(many.as_bytes()).unwrap();
        let by = NoteKey::new("a", key().verifying_key()).unwrap();
        assert_eq!(note.with_signatures(&[&by, &by], ""), text);
        assert_eq!(note.replacing(&[&by], "more\n"), "text\n\nmore\n");
        let other = NoteKey::new("b", key().verifying_key()).unwrap();
        assert_eq!(note.replacing(&[&other], ""), many);
    }

    #[test]
    fn key_of_the_specification() {
        assert_eq!(NoteKey::parse(VKEY).unwrap().to_string(), VKEY);
        for bad in [
            "",
            "a+b",
            &VKEY.replace("530d903a", "530d903b"),
            &VKEY.replace("example", "exomple"),
            &VKEY.replace("530d903a", "530D903A"),
            &VKEY.replace("+Ae", "+Be"),
            &format!("{VKEY}="),
        ] {
            assert!(NoteKey::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn signs_and_verifies() {
        let note = sign("a\n\nb\n", "log", &key()).unwrap();
        let verifier = NoteKey::new("log", key().verifying_key()).unwrap();
        let parsed = Note::parse(note.as_bytes()).unwrap();
        assert_eq!(parsed.text, "a\n\nb\n");
        assert_eq!(parsed.verify(&verifier), Ok(()));

        let other = NoteKey::new("other", key().verifying_key()).unwrap();
        assert!(matches!(
            parsed.verify(&other),
            Err(NoteError::NoSignature(_))
        ));
        let changed = note.replace("a\n", "c\n");
        let changed = Note::parse(changed.as_bytes()).unwrap();
        assert!(matches!(
            changed.verify(&verifier),
            Err(NoteError::BadSignature(_))
        ));
    }

    #[test]
    fn a_wrong_signature_by_a_known_key_spoils_the_note() {
        let good = sign("a\n", "log", &key()).unwrap();
        let wrong = sign("b\n", "log", &key()).unwrap();
        let both = good.clone() + wrong.split_once("\n\n").unwrap().1;
        let verifier = NoteKey::new("log", key().verifying_key()).unwrap();
        let result = Note::parse(both.as_bytes()).unwrap().verify(&verifier);
        assert!(matches!(result, Err(NoteError::BadSignature(_))));
        let unknown = good.clone() + "\u{2014} stranger AAAAAAAA\n";
        assert_eq!(
            Note::parse(unknown.as_bytes()).unwrap().verify(&verifier),
            Ok(())
        );
    }

    #[test]
    fn malformed_notes_are_refused() {
        let good = sign("a\n", "log", &key()).unwrap();
        for bad in [
            String::new(),
            "a\n".into(),
            "a\n\n".into(),
            good.trim_end().into(),
            good.replace('\u{2014}', "-"),
            good.replace("a\n", "a\r\n"),
            good.clone() + "x\n",
            good.clone() + &"\u{2014} s AAAAAAAA\n".repeat(128),
        ] {
            assert!(Note::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(Note::parse(&[good.as_bytes(), b"\xff"].concat()).is_err());
        assert!(sign("a", "log", &key()).is_err());
        assert!(sign("a\n", "l g", &key()).is_err());
    }
}
