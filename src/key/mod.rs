//! Keys: signing and verifying with Ed25519 (RFC 8032), ECDSA on P-256, P-384 and P-521 (FIPS 186-5) and
//! ML-DSA-65 (FIPS 204), alone or together with Ed25519. Bytes in, bytes out; key files are in `file`.
//! Knows no envelope.

mod file;
pub(crate) mod openssh;
mod private;
mod public;

use std::fmt;

use pkcs8::ObjectIdentifier;
use sha2::Digest;
use zeroize::Zeroizing;

pub use file::{beside_private_key, is_encrypted, private_key_from_pem, private_key_to_pem};
pub use private::PrivateKey;
pub use public::PublicKey;

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
    /// ML-DSA-65 over the message itself, with an empty context: outlives quantum computers.
    MlDsa65,
    /// Ed25519 and ML-DSA-65: two signatures, both of which must be good.
    Hybrid,
}

impl KeyAlgorithm {
    /// Every key type, the default first.
    pub const ALL: [KeyAlgorithm; 6] = [
        KeyAlgorithm::P256,
        KeyAlgorithm::P384,
        KeyAlgorithm::P521,
        KeyAlgorithm::Ed25519,
        KeyAlgorithm::MlDsa65,
        KeyAlgorithm::Hybrid,
    ];

    /// The name on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            KeyAlgorithm::P256 => "p256",
            KeyAlgorithm::P384 => "p384",
            KeyAlgorithm::P521 => "p521",
            KeyAlgorithm::Ed25519 => "ed25519",
            KeyAlgorithm::MlDsa65 => "ml-dsa-65",
            KeyAlgorithm::Hybrid => "hybrid",
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
    #[error(
        "holds a key of type {0}; supported are Ed25519, ML-DSA-65 and EC keys on P-256, P-384 and P-521"
    )]
    Unsupported(String),
    #[error("holds a damaged key")]
    Damaged,
    #[error(
        "holds several keys; one is wanted, or the Ed25519 and the ML-DSA-65 half of a hybrid key, in this order"
    )]
    Several,
    #[error("is encrypted, and no passphrase was given")]
    Encrypted,
    #[error("is an OpenSSH key under another cipher than aes256-ctr")]
    EncryptedSsh,
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

    /// The signatures over `message`: one, or for a hybrid key one of each kind.
    fn sign(&self, message: &[u8]) -> Result<Vec<Vec<u8>>, SignerError>;
}

/// Why there is no signature.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SignerError(pub String);

impl Signer for PrivateKey {
    fn public(&self) -> PublicKey {
        PrivateKey::public(self)
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<Vec<u8>>, SignerError> {
        Ok(self.signatures(message))
    }
}

/// The signatures (r, n-s) for the ECDSA signature (r, s) in DER, on each curve whose n allows it: as valid
/// as the one that is given.
pub(crate) fn ecdsa_twins(der: &[u8]) -> Vec<Vec<u8>> {
    let mut twins = Vec::new();
    if let Ok(signature) = p256::ecdsa::Signature::from_der(der) {
        let (r, s) = signature.split_scalars();
        let twin = p256::ecdsa::Signature::from_scalars(*r, -*s);
        twins.extend(twin.map(|twin| twin.to_der().as_bytes().to_vec()));
    }
    if let Ok(signature) = p384::ecdsa::Signature::from_der(der) {
        let (r, s) = signature.split_scalars();
        let twin = p384::ecdsa::Signature::from_scalars(*r, -*s);
        twins.extend(twin.map(|twin| twin.to_der().as_bytes().to_vec()));
    }
    if let Ok(signature) = p521::ecdsa::Signature::from_der(der) {
        let (r, s) = signature.split_scalars();
        let twin = p521::ecdsa::Signature::from_scalars(*r, -*s);
        twins.extend(twin.map(|twin| twin.to_der().as_bytes().to_vec()));
    }
    twins
}

const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const ML_DSA_65: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.18");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");

/// Which of our key types an algorithm identifier names.
fn key_algorithm(identifier: &pkcs8::AlgorithmIdentifierRef<'_>) -> Result<KeyAlgorithm, KeyError> {
    let curve = identifier.parameters_oid().ok();
    match (identifier.oid, curve) {
        (ED25519, _) => Ok(KeyAlgorithm::Ed25519),
        (ML_DSA_65, _) => Ok(KeyAlgorithm::MlDsa65),
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
            let signatures = key.signatures(b"message");
            let all: Vec<&[u8]> = signatures.iter().map(Vec::as_slice).collect();
            assert!(public.made(&[b"mes", b"sage"], &all).is_some());
            assert!(public.made(&[b"mas", b"sage"], &all).is_none());
            if algorithm == KeyAlgorithm::Hybrid {
                // Each half alone is not enough, nor one of another key.
                let other = PrivateKey::generate(algorithm)
                    .unwrap()
                    .signatures(b"message");
                for half in 0..2 {
                    assert!(public.made(&[b"mes", b"sage"], &all[half..=half]).is_none());
                    let mut mixed = all.clone();
                    mixed[half] = &other[half];
                    assert!(public.made(&[b"mes", b"sage"], &mixed).is_none());
                }
                let swapped = [all[1], all[0]];
                assert_eq!(public.made(&[b"mes", b"sage"], &swapped), Some(vec![1, 0]));
                continue;
            }
            let signature = signatures[0].clone();
            assert!(public.verify(b"message", &signature));
            assert!(!public.verify(b"massage", &signature));
            let step = if algorithm == KeyAlgorithm::MlDsa65 {
                97
            } else {
                1
            };
            for bit in (0..signature.len() * 8).step_by(step) {
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
            data_encoding::HEXLOWER.encode(&key.signatures(&[0x72])[0]),
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        );
    }
}
