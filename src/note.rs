//! Signed notes and their keys (C2SP signed-note v1.0.0). Bytes in, bytes out.
//! Does not know what the text says: signatures that depend on it are `cosignature`'s.

use std::fmt;

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
}

/// A key that signs notes under a name: a "verifier key", or vkey.
#[derive(Clone, Debug, PartialEq)]
pub struct NoteKey {
    name: String,
    id: u32,
    key: KeyMaterial,
}

/// What kind of signature a key makes (C2SP signed-note, signature types).
#[derive(Clone, Debug, PartialEq)]
pub enum KeyMaterial {
    /// 0x01: Ed25519 over the text.
    Ed25519(VerifyingKey),
    /// 0x04: Ed25519 over text and time (C2SP tlog-cosignature).
    CosignatureV1(VerifyingKey),
    /// 0x06: ML-DSA-44 over size, root and time (C2SP tlog-cosignature).
    MlDsa44(Box<ml_dsa::VerifyingKey<MlDsa44>>),
}

const ED25519: u8 = 0x01;
const COSIGNATURE_V1: u8 = 0x04;
const ML_DSA_44: u8 = 0x06;
/// The largest note that is read: a checkpoint with dozens of post-quantum cosignatures.
pub const MAX_NOTE: usize = 1 << 20;
const MAX_SIGNATURES: usize = 64;

impl KeyMaterial {
    fn encode(&self) -> Vec<u8> {
        match self {
            KeyMaterial::Ed25519(key) => [&[ED25519], key.as_bytes().as_slice()].concat(),
            KeyMaterial::CosignatureV1(key) => {
                [&[COSIGNATURE_V1], key.as_bytes().as_slice()].concat()
            }
            KeyMaterial::MlDsa44(key) => [&[ML_DSA_44], key.encode().as_slice()].concat(),
        }
    }

    fn parse(bytes: &[u8]) -> Result<KeyMaterial, NoteError> {
        let ed25519 = |bytes: &[u8]| {
            <[u8; 32]>::try_from(bytes)
                .ok()
                .and_then(|key| VerifyingKey::from_bytes(&key).ok())
                .filter(|key| !key.is_weak())
                .ok_or(NoteError::Key("not an Ed25519 public key"))
        };
        match bytes.split_first() {
            Some((&ED25519, key)) => Ok(KeyMaterial::Ed25519(ed25519(key)?)),
            Some((&COSIGNATURE_V1, key)) => Ok(KeyMaterial::CosignatureV1(ed25519(key)?)),
            Some((&ML_DSA_44, key)) => {
                let key = ml_dsa::EncodedVerifyingKey::<MlDsa44>::try_from(key)
                    .map_err(|_| NoteError::Key("not an ML-DSA-44 public key of 1312 bytes"))?;
                let key = ml_dsa::VerifyingKey::decode(&key);
                Ok(KeyMaterial::MlDsa44(Box::new(key)))
            }
            _ => Err(NoteError::Key(
                "the type is none of Ed25519 (0x01), cosignature/v1 (0x04) and ML-DSA-44 (0x06)",
            )),
        }
    }

    /// The type in words.
    pub fn name(&self) -> &'static str {
        match self {
            KeyMaterial::Ed25519(_) => "Ed25519",
            KeyMaterial::CosignatureV1(_) => "Ed25519 cosignature",
            KeyMaterial::MlDsa44(_) => "ML-DSA-44",
        }
    }
}

impl NoteKey {
    /// The Ed25519 key of `name`, which signs whole notes.
    pub fn new(name: &str, key: VerifyingKey) -> Result<NoteKey, NoteError> {
        NoteKey::of(name, KeyMaterial::Ed25519(key))
    }

    /// A key of any kind.
    pub fn of(name: &str, key: KeyMaterial) -> Result<NoteKey, NoteError> {
        if !is_name(name) {
            return Err(NoteError::Key(
                "the name is empty, or holds white space or a plus sign",
            ));
        }
        Ok(NoteKey {
            name: name.into(),
            id: key_id(name, &key.encode()),
            key,
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
        let parsed = NoteKey::of(name, KeyMaterial::parse(&key)?)?;
        if id != HEXLOWER.encode(&parsed.id.to_be_bytes()) {
            return Err(NoteError::Key("the key id does not belong to name and key"));
        }
        Ok(parsed)
    }

    /// Who signs with it; for a log, its origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key itself.
    pub fn material(&self) -> &KeyMaterial {
        &self.key
    }

    /// Do both wrap the same public key, whatever their names and types?
    pub fn is_same_key(&self, other: &NoteKey) -> bool {
        self.key.encode().get(1..) == other.key.encode().get(1..)
    }

    /// The line of a signature by this key.
    pub(crate) fn signature_line(&self, signature: &[u8]) -> String {
        let line = BASE64.encode(&[self.id.to_be_bytes().as_slice(), signature].concat());
        format!("\u{2014} {} {line}\n", self.name)
    }
}

impl fmt::Display for NoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = HEXLOWER.encode(&self.id.to_be_bytes());
        write!(
            f,
            "{}+{id}+{}",
            self.name,
            BASE64.encode(&self.key.encode())
        )
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c == '+' || c.is_whitespace() || c.is_control())
}

/// `key` begins with its type.
fn key_id(name: &str, key: &[u8]) -> u32 {
    let mut hasher = Sha256::new();
    hasher.update(name);
    hasher.update(b"\n");
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
struct NoteSignature<'a> {
    name: &'a str,
    id: u32,
    bytes: Vec<u8>,
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
                return Err(NoteError::Malformed("more than 64 signatures"));
            }
            signatures.push(signature(line).ok_or(NoteError::Malformed("bad signature line"))?);
        }
        Ok(Note { text, signatures })
    }

    /// Does the Ed25519 key `key` sign this note? Signatures by other keys are ignored; a wrong one
    /// by this key spoils the note.
    pub fn verify(&self, key: &NoteKey) -> Result<(), NoteError> {
        let KeyMaterial::Ed25519(public) = &key.key else {
            return Err(NoteError::NoSignature(key.name.clone()));
        };
        let mut signed = false;
        for signature in self.signatures_by(key) {
            let good = ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|bytes| public.verify_strict(self.text.as_bytes(), &bytes).is_ok());
            if !good {
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

    /// The signatures that name and id say are by `key`; none is verified.
    pub(crate) fn signatures_by<'b>(
        &'b self,
        key: &'b NoteKey,
    ) -> impl Iterator<Item = &'b [u8]> + 'b {
        self.signatures
            .iter()
            .filter(|signature| signature.name == key.name && signature.id == key.id)
            .map(|signature| signature.bytes.as_slice())
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
    })
}

/// The note with the one signature of `key` under `name` over `text`, which ends in a line break.
pub fn sign(text: &str, name: &str, key: &SigningKey) -> Result<String, NoteError> {
    if !text.ends_with('\n') {
        return Err(NoteError::Malformed("does not end in a line break"));
    }
    let verifier = NoteKey::new(name, key.verifying_key())?;
    let signature = key.sign(text.as_bytes()).to_bytes();
    Ok(format!("{text}\n{}", verifier.signature_line(&signature)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification.
    const VKEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[7; 32])
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
            good.clone() + &"\u{2014} s AAAAAAAA\n".repeat(64),
        ] {
            assert!(Note::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(Note::parse(&[good.as_bytes(), b"\xff"].concat()).is_err());
        assert!(sign("a", "log", &key()).is_err());
        assert!(sign("a\n", "l g", &key()).is_err());
    }
}
