//! Keys: signing and verifying with Ed25519 (RFC 8032) and ECDSA on P-256, P-384 and P-521
//! (FIPS 186-5). Bytes in, bytes out; key files are in `file`. Knows no envelope.

mod file;

use std::fmt;

use ed25519_dalek::Signer as _;
use p256::ecdsa::signature::Verifier;
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use pkcs8::spki::{DecodePublicKey, EncodePublicKey, SubjectPublicKeyInfoRef};
use pkcs8::{LineEnding, ObjectIdentifier};
use sha2::Digest;
use zeroize::Zeroizing;

use crate::digest::Sha256;

pub use file::{is_encrypted, private_key_from_pem, private_key_to_pem};

/// The key types we sign and verify with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyAlgorithm {
    /// ECDSA on P-256 with SHA-256; OMS tools verify it.
    P256,
    /// ECDSA on P-384 with SHA-384; OMS tools verify it.
    P384,
    /// ECDSA on P-521 with SHA-512; OMS tools verify it.
    P521,
    /// Ed25519 over the message itself; strict verification.
    Ed25519,
}

impl KeyAlgorithm {
    /// Every key type, the default first.
    pub const ALL: [KeyAlgorithm; 4] = [
        KeyAlgorithm::P256,
        KeyAlgorithm::P384,
        KeyAlgorithm::P521,
        KeyAlgorithm::Ed25519,
    ];

    /// The name on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            KeyAlgorithm::P256 => "p256",
            KeyAlgorithm::P384 => "p384",
            KeyAlgorithm::P521 => "p521",
            KeyAlgorithm::Ed25519 => "ed25519",
        }
    }
}

/// The hashes that ECDSA and RSA signatures are made over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    /// The digest of `message`.
    pub(crate) fn of(self, message: &[u8]) -> Vec<u8> {
        match self {
            Hash::Sha256 => sha2::Sha256::digest(message).to_vec(),
            Hash::Sha384 => sha2::Sha384::digest(message).to_vec(),
            Hash::Sha512 => sha2::Sha512::digest(message).to_vec(),
        }
    }
}

/// A passphrase; wiped from memory when dropped.
#[derive(Clone)]
pub struct Passphrase(pub Zeroizing<String>);

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    #[error("is not a PEM file with a private key (PKCS#8, or SEC1 for EC keys)")]
    NotPrivate,
    #[error("is not a PEM file with a public key (`-----BEGIN PUBLIC KEY-----`)")]
    NotPublic,
    #[error("holds a key of type {0}; supported are Ed25519 and EC keys on P-256, P-384 and P-521")]
    Unsupported(String),
    #[error("holds a damaged key")]
    Damaged,
    #[error("is encrypted, and no passphrase was given")]
    Encrypted,
    #[error("cannot be decrypted: wrong passphrase, or the file is damaged")]
    Passphrase,
    #[error("asks for a key derivation of more than {0}")]
    Cost(&'static str),
    #[error("no random numbers from the system: {0}")]
    Random(String),
}

/// Somebody who signs: a key in memory, in a token, behind a service.
pub trait Signer {
    /// The public half.
    fn public(&self) -> PublicKey;

    /// The signature over `message`, as [`PublicKey::verify`] reads it.
    fn signature(&self, message: &[u8]) -> Result<Vec<u8>, SignerError>;
}

/// Why there is no signature.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SignerError(pub String);

impl Signer for PrivateKey {
    fn public(&self) -> PublicKey {
        PrivateKey::public(self)
    }

    fn signature(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        Ok(self.sign(message))
    }
}

/// A private key.
pub enum PrivateKey {
    Ed25519(Box<ed25519_dalek::SigningKey>),
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
    P521(Box<p521::ecdsa::SigningKey>),
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.public().key_id())
    }
}

impl PrivateKey {
    /// A new key from the system's random numbers.
    pub fn generate(algorithm: KeyAlgorithm) -> Result<PrivateKey, KeyError> {
        // A number outside the range of scalars is as rare as it is useless: draw again.
        loop {
            let key = match algorithm {
                KeyAlgorithm::Ed25519 => {
                    let seed = random::<32>(0xff)?;
                    Some(PrivateKey::Ed25519(Box::new(
                        ed25519_dalek::SigningKey::from_bytes(&seed),
                    )))
                }
                KeyAlgorithm::P256 => p256::ecdsa::SigningKey::from_slice(&*random::<32>(0xff)?)
                    .ok()
                    .map(PrivateKey::P256),
                KeyAlgorithm::P384 => p384::ecdsa::SigningKey::from_slice(&*random::<48>(0xff)?)
                    .ok()
                    .map(PrivateKey::P384),
                KeyAlgorithm::P521 => p521::ecdsa::SigningKey::from_slice(&*random::<66>(0x01)?)
                    .ok()
                    .map(|key| PrivateKey::P521(Box::new(key))),
            };
            if let Some(key) = key {
                return Ok(key);
            }
        }
    }

    /// The signature over `message`: 64 bytes for Ed25519, ASN.1 DER for ECDSA with the hash of
    /// the curve. Deterministic (RFC 8032, RFC 6979).
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            PrivateKey::Ed25519(key) => key.sign(message).to_bytes().into(),
            PrivateKey::P256(key) => {
                let signature: p256::ecdsa::DerSignature = key.sign(message);
                signature.as_bytes().into()
            }
            PrivateKey::P384(key) => {
                let signature: p384::ecdsa::DerSignature = key.sign(message);
                signature.as_bytes().into()
            }
            PrivateKey::P521(key) => {
                let signature: p521::ecdsa::DerSignature = key.sign(message);
                signature.as_bytes().into()
            }
        }
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        match self {
            PrivateKey::Ed25519(key) => PublicKey::Ed25519(key.verifying_key()),
            PrivateKey::P256(key) => PublicKey::P256(*key.verifying_key()),
            PrivateKey::P384(key) => PublicKey::P384(*key.verifying_key()),
            PrivateKey::P521(key) => PublicKey::P521(*key.verifying_key()),
        }
    }
}

fn random<const N: usize>(first: u8) -> Result<Zeroizing<[u8; N]>, KeyError> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(&mut *bytes).map_err(|error| KeyError::Random(error.to_string()))?;
    if let Some(byte) = bytes.first_mut() {
        *byte &= first;
    }
    Ok(bytes)
}

/// A public key.
#[derive(Clone, Debug, PartialEq)]
pub enum PublicKey {
    Ed25519(ed25519_dalek::VerifyingKey),
    P256(p256::ecdsa::VerifyingKey),
    P384(p384::ecdsa::VerifyingKey),
    P521(p521::ecdsa::VerifyingKey),
}

const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");

impl PublicKey {
    /// Reads a SubjectPublicKeyInfo in PEM; text around the block is ignored, as OpenSSL does.
    pub fn from_pem(pem: &str) -> Result<PublicKey, KeyError> {
        let (label, der) = file::first_block(pem).ok_or(KeyError::NotPublic)?;
        if label != "PUBLIC KEY" {
            return Err(KeyError::NotPublic);
        }
        PublicKey::from_spki(&der)
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
        };
        key.map_err(|_| KeyError::Damaged)
    }

    /// The key type.
    pub fn algorithm(&self) -> KeyAlgorithm {
        match self {
            PublicKey::Ed25519(_) => KeyAlgorithm::Ed25519,
            PublicKey::P256(_) => KeyAlgorithm::P256,
            PublicKey::P384(_) => KeyAlgorithm::P384,
            PublicKey::P521(_) => KeyAlgorithm::P521,
        }
    }

    /// The SubjectPublicKeyInfo in PEM, byte for byte as OpenSSL writes it.
    pub fn to_pem(&self) -> String {
        let pem = match self {
            PublicKey::Ed25519(key) => key.to_public_key_pem(LineEnding::LF),
            PublicKey::P256(key) => key.to_public_key_pem(LineEnding::LF),
            PublicKey::P384(key) => key.to_public_key_pem(LineEnding::LF),
            PublicKey::P521(key) => key.to_public_key_pem(LineEnding::LF),
        };
        // Encoding a key that exists has no way to fail.
        pem.unwrap_or_default()
    }

    /// Our name for the key: SHA-256 over its SubjectPublicKeyInfo in DER.
    pub fn key_id(&self) -> Sha256 {
        let der = match self {
            PublicKey::Ed25519(key) => key.to_public_key_der(),
            PublicKey::P256(key) => key.to_public_key_der(),
            PublicKey::P384(key) => key.to_public_key_der(),
            PublicKey::P521(key) => key.to_public_key_der(),
        };
        Sha256::of(
            der.map(|der| der.as_bytes().to_vec())
                .unwrap_or_default()
                .as_slice(),
        )
    }

    /// OMS's name for the key: SHA-256 over its PEM text.
    pub fn oms_hint(&self) -> Sha256 {
        Sha256::of(self.to_pem().as_bytes())
    }

    /// Is `signature` this key's over `message`? Ed25519 is verified strictly: no weak keys, no
    /// non-canonical points. ECDSA signatures are ASN.1 DER; both values of s are valid.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            PublicKey::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(message, &signature).is_ok()),
            PublicKey::P256(key) => p256::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
            PublicKey::P384(key) => p384::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
            PublicKey::P521(key) => p521::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
        }
    }

    /// Is this a key on one of the NIST curves?
    pub fn is_elliptic(&self) -> bool {
        !matches!(self, PublicKey::Ed25519(_))
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
            PublicKey::Ed25519(_) => false,
            PublicKey::P256(key) => p256::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify_prehash(&digest(32), &signature).is_ok()),
            PublicKey::P384(key) => p384::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify_prehash(&digest(48), &signature).is_ok()),
            PublicKey::P521(key) => p521::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify_prehash(&digest(66), &signature).is_ok()),
        }
    }
}

/// Which of our key types an algorithm identifier names.
fn key_algorithm(identifier: &pkcs8::AlgorithmIdentifierRef<'_>) -> Result<KeyAlgorithm, KeyError> {
    let curve = identifier.parameters_oid().ok();
    match (identifier.oid, curve) {
        (ED25519, _) => Ok(KeyAlgorithm::Ed25519),
        (EC, Some(P256)) => Ok(KeyAlgorithm::P256),
        (EC, Some(P384)) => Ok(KeyAlgorithm::P384),
        (EC, Some(P521)) => Ok(KeyAlgorithm::P521),
        (EC, Some(curve)) => Err(KeyError::Unsupported(format!("EC on curve {curve}"))),
        (oid, _) => Err(KeyError::Unsupported(oid.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_what_it_verifies_and_nothing_else() {
        for algorithm in KeyAlgorithm::ALL {
            let key = PrivateKey::generate(algorithm).unwrap();
            let public = PublicKey::from_pem(&key.public().to_pem()).unwrap();
            assert_eq!(public.algorithm(), algorithm);
            let signature = key.sign(b"message");
            assert!(public.verify(b"message", &signature));
            assert!(!public.verify(b"massage", &signature));
            for bit in 0..signature.len() * 8 {
                let mut flipped = signature.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(
                    !public.verify(b"message", &flipped),
                    "{algorithm:?} bit {bit}"
                );
            }
            assert!(!public.verify(b"message", &[signature.as_slice(), &[0]].concat()));
            let other = PrivateKey::generate(algorithm).unwrap().public();
            assert!(!other.verify(b"message", &signature));
        }
    }

    /// RFC 8032 §7.1, test 2.
    #[test]
    fn rfc_8032_vector() {
        let seed = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
        let mut bytes = [0; 32];
        bytes.copy_from_slice(&data_encoding::HEXLOWER.decode(seed.as_bytes()).unwrap());
        let key = PrivateKey::Ed25519(Box::new(ed25519_dalek::SigningKey::from_bytes(&bytes)));
        assert_eq!(
            data_encoding::HEXLOWER.encode(&key.sign(&[0x72])),
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        );
    }
}
