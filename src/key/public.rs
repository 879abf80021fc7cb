//! Public keys: read, named, and asked whether a signature is theirs.

use ml_dsa::MlDsa65;
use std::borrow::Cow;

use p256::ecdsa::signature::hazmat::PrehashVerifier;
use p256::ecdsa::signature::{MultipartVerifier, Verifier};
use pkcs8::LineEnding;
use pkcs8::spki::{DecodePublicKey, EncodePublicKey, SubjectPublicKeyInfoRef};

use super::{Hash, KeyAlgorithm, KeyError, file, key_algorithm, openssh};
use crate::digest::Sha256;

/// A public key.
#[derive(Clone, Debug, PartialEq)]
pub enum PublicKey {
    Ed25519(ed25519_dalek::VerifyingKey),
    P256(p256::ecdsa::VerifyingKey),
    P384(p384::ecdsa::VerifyingKey),
    P521(p521::ecdsa::VerifyingKey),
    MlDsa65(Box<ml_dsa::VerifyingKey<MlDsa65>>),
    /// Both must have signed.
    Hybrid(Box<(ed25519_dalek::VerifyingKey, ml_dsa::VerifyingKey<MlDsa65>)>),
}

impl PublicKey {
    /// Reads a SubjectPublicKeyInfo in PEM, or the two of a hybrid key, or OpenSSH's line; text around the
    /// blocks is ignored, as OpenSSL does.
    pub fn from_pem(pem: &str) -> Result<PublicKey, KeyError> {
        if let Some(key) = openssh::public_from_line(pem) {
            return key;
        }
        let mut keys = Vec::new();
        for (label, der) in file::blocks(pem)? {
            if label != PUBLIC {
                return Err(KeyError::NotPublic);
            }
            keys.push(PublicKey::from_spki(&der)?);
        }
        match <[PublicKey; 2]>::try_from(keys) {
            Ok([PublicKey::Ed25519(classical), PublicKey::MlDsa65(quantum)]) => {
                Ok(PublicKey::Hybrid(Box::new((classical, *quantum))))
            }
            Ok(_) => Err(KeyError::Several),
            Err(keys) => match <[PublicKey; 1]>::try_from(keys) {
                Ok([only]) => Ok(only),
                Err(keys) if keys.is_empty() => Err(KeyError::NotPublic),
                Err(_) => Err(KeyError::Several),
            },
        }
    }

    /// Reads a SubjectPublicKeyInfo in DER (RFC 5280 §4.1.2.7).
    pub fn from_spki(der: &[u8]) -> Result<PublicKey, KeyError> {
        let info = SubjectPublicKeyInfoRef::try_from(der).map_err(|_| KeyError::Damaged)?;
        let algorithm = key_algorithm(&info.algorithm)?;
        let key = match algorithm {
            KeyAlgorithm::Ed25519 => {
                ed25519_dalek::VerifyingKey::from_public_key_der(der).map(PublicKey::Ed25519)
            }
            KeyAlgorithm::P256 => {
                p256::ecdsa::VerifyingKey::from_public_key_der(der).map(PublicKey::P256)
            }
            KeyAlgorithm::P384 => {
                p384::ecdsa::VerifyingKey::from_public_key_der(der).map(PublicKey::P384)
            }
            KeyAlgorithm::P521 => {
                p521::ecdsa::VerifyingKey::from_public_key_der(der).map(PublicKey::P521)
            }
            KeyAlgorithm::MlDsa65 | KeyAlgorithm::Hybrid => {
                ml_dsa::VerifyingKey::from_public_key_der(der)
                    .map(|key| PublicKey::MlDsa65(Box::new(key)))
            }
        };
        key.map_err(|_| KeyError::Damaged)
    }

    /// Reads the bare key, without saying what it is of.
    pub(crate) fn from_bytes(algorithm: KeyAlgorithm, bytes: &[u8]) -> Result<PublicKey, KeyError> {
        match algorithm {
            KeyAlgorithm::Ed25519 => {
                let bytes = bytes.try_into().map_err(|_| KeyError::Damaged)?;
                let key = ed25519_dalek::VerifyingKey::from_bytes(&bytes);
                key.map(PublicKey::Ed25519).map_err(|_| KeyError::Damaged)
            }
            KeyAlgorithm::MlDsa65 => {
                let encoded = ml_dsa::EncodedVerifyingKey::<MlDsa65>::try_from(bytes)
                    .map_err(|_| KeyError::Damaged)?;
                let key = ml_dsa::VerifyingKey::decode(&encoded);
                Ok(PublicKey::MlDsa65(Box::new(key)))
            }
            KeyAlgorithm::P256 => p256::ecdsa::VerifyingKey::from_sec1_bytes(bytes)
                .map(PublicKey::P256)
                .map_err(|_| KeyError::Damaged),
            KeyAlgorithm::P384 => p384::ecdsa::VerifyingKey::from_sec1_bytes(bytes)
                .map(PublicKey::P384)
                .map_err(|_| KeyError::Damaged),
            KeyAlgorithm::P521 => p521::ecdsa::VerifyingKey::from_sec1_bytes(bytes)
                .map(PublicKey::P521)
                .map_err(|_| KeyError::Damaged),
            KeyAlgorithm::Hybrid => Err(KeyError::Unsupported(algorithm.name().into())),
        }
    }

    /// The key type.
    pub fn algorithm(&self) -> KeyAlgorithm {
        match self {
            PublicKey::Ed25519(_) => KeyAlgorithm::Ed25519,
            PublicKey::P256(_) => KeyAlgorithm::P256,
            PublicKey::P384(_) => KeyAlgorithm::P384,
            PublicKey::P521(_) => KeyAlgorithm::P521,
            PublicKey::MlDsa65(_) => KeyAlgorithm::MlDsa65,
            PublicKey::Hybrid(_) => KeyAlgorithm::Hybrid,
        }
    }

    /// The SubjectPublicKeyInfo in PEM, byte for byte as OpenSSL writes it; that of each half of a hybrid
    /// key, one after the other.
    pub fn to_pem(&self) -> String {
        let pem = match self {
            PublicKey::Ed25519(key) => key.to_public_key_pem(LineEnding::LF),
            PublicKey::P256(key) => key.to_public_key_pem(LineEnding::LF),
            PublicKey::P384(key) => key.to_public_key_pem(LineEnding::LF),
            PublicKey::P521(key) => key.to_public_key_pem(LineEnding::LF),
            PublicKey::MlDsa65(key) => key.to_public_key_pem(LineEnding::LF),
            PublicKey::Hybrid(both) => {
                let classical = both.0.to_public_key_pem(LineEnding::LF);
                let quantum = both.1.to_public_key_pem(LineEnding::LF);
                classical.and_then(|first| Ok(first + &quantum?))
            }
        };
        // Encoding a key that exists has no way to fail.
        pem.unwrap_or_default()
    }

    /// The SubjectPublicKeyInfo in DER; for a hybrid key, that of each half.
    pub fn to_spki(&self) -> Vec<u8> {
        let der = match self {
            PublicKey::Ed25519(key) => key.to_public_key_der(),
            PublicKey::P256(key) => key.to_public_key_der(),
            PublicKey::P384(key) => key.to_public_key_der(),
            PublicKey::P521(key) => key.to_public_key_der(),
            PublicKey::MlDsa65(key) => key.to_public_key_der(),
            PublicKey::Hybrid(both) => {
                let halves = [both.0.to_public_key_der(), both.1.to_public_key_der()];
                let ders = halves.iter().flatten().map(pkcs8::Document::as_bytes);
                return ders.collect::<Vec<_>>().concat();
            }
        };
        der.map(|der| der.as_bytes().to_vec()).unwrap_or_default()
    }

    /// Our name for the key: SHA-256 over its SubjectPublicKeyInfo in DER.
    pub fn key_id(&self) -> Sha256 {
        Sha256::of(&self.to_spki())
    }

    /// OMS's name for the key: SHA-256 over its PEM text.
    pub fn oms_hint(&self) -> Sha256 {
        Sha256::of(self.to_pem().as_bytes())
    }

    /// Is this a key on one of the NIST curves?
    pub fn is_elliptic(&self) -> bool {
        matches!(
            self,
            PublicKey::P256(_) | PublicKey::P384(_) | PublicKey::P521(_)
        )
    }

    /// Which of `signatures` over `message`, which is these parts one after the other, are this key's: one, or for a hybrid key
    /// one of each half. `None` unless it signed wholly.
    pub fn made(&self, message: &[&[u8]], signatures: &[&[u8]]) -> Option<Vec<usize>> {
        let find = |key: &PublicKey| {
            signatures
                .iter()
                .position(|signature| key.verify_parts(message, signature))
        };
        match self {
            PublicKey::Hybrid(both) => {
                let (classical, quantum) = &**both;
                let classical = find(&PublicKey::Ed25519(*classical))?;
                let quantum = find(&PublicKey::MlDsa65(Box::new(quantum.clone())))?;
                Some(vec![classical, quantum])
            }
            key => find(key).map(|at| vec![at]),
        }
    }

    /// Its key id, and those of its halves: whoever revokes one of them means it.
    pub fn key_ids(&self) -> Vec<Sha256> {
        let mut ids = vec![self.key_id()];
        if let PublicKey::Hybrid(both) = self {
            let (classical, quantum) = &**both;
            ids.push(PublicKey::Ed25519(*classical).key_id());
            ids.push(PublicKey::MlDsa65(Box::new(quantum.clone())).key_id());
        }
        ids
    }

    /// Is `signature` this key's over `message`? Ed25519 is verified strictly: no weak keys, no
    /// non-canonical points. ECDSA signatures are ASN.1 DER; both values of s are valid. No single
    /// signature is a hybrid key's: see [`PublicKey::made`].
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.verify_parts(&[message], signature)
    }

    /// The same over a message that is these parts one after the other.
    pub fn verify_parts(&self, message: &[&[u8]], signature: &[u8]) -> bool {
        match self {
            PublicKey::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(&whole(message), &signature).is_ok()),
            PublicKey::P256(key) => p256::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.multipart_verify(message, &signature).is_ok()),
            PublicKey::P384(key) => p384::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.multipart_verify(message, &signature).is_ok()),
            PublicKey::P521(key) => p521::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.multipart_verify(message, &signature).is_ok()),
            PublicKey::MlDsa65(key) => ml_dsa::Signature::<MlDsa65>::try_from(signature)
                .is_ok_and(|signature| key.verify(&whole(message), &signature).is_ok()),
            PublicKey::Hybrid(_) => false,
        }
    }

    /// Is `signature` this key's ECDSA signature over `message` with `hash`, which authorities choose
    /// apart from the curve? False for other keys.
    pub(crate) fn verify_ecdsa(&self, hash: Hash, message: &[u8], signature: &[u8]) -> bool {
        // A digest shorter than the curve's order is the number that it is (FIPS 186-5 §6.4.2).
        let digest = |length: usize| {
            let digest = hash.of(message);
            let mut number = vec![0; length.saturating_sub(digest.len())];
            number.extend(digest);
            number
        };
        match self {
            PublicKey::P256(key) => p256::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify_prehash(&digest(32), &signature).is_ok()),
            PublicKey::P384(key) => p384::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify_prehash(&digest(48), &signature).is_ok()),
            PublicKey::P521(key) => p521::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify_prehash(&digest(66), &signature).is_ok()),
            PublicKey::Ed25519(_) | PublicKey::MlDsa65(_) | PublicKey::Hybrid(_) => false,
        }
    }
}

/// The parts of a message together; not copied, if there is one.
fn whole<'a>(parts: &[&'a [u8]]) -> Cow<'a, [u8]> {
    match parts {
        [one] => Cow::Borrowed(one),
        parts => Cow::Owned(parts.concat()),
    }
}

const PUBLIC: &str = "PUBLIC KEY";
