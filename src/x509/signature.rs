//! Signatures inside certificates, revocation lists and timestamps: more algorithms than models are
//! signed with, because authorities use them. Nothing weaker than SHA-256, nothing below RSA-2048.

use rsa::pkcs1v15;
use rsa::traits::PublicKeyParts;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::spki::{AlgorithmIdentifierOwned, DecodePublicKey};

use crate::key::{Hash, PublicKey};

/// How a signature was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Ecdsa(Hash),
    RsaPkcs1(Hash),
    /// The key says everything: Ed25519, ML-DSA.
    OfTheKey,
}

/// Why a signature does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFault {
    #[error("it uses an algorithm that is not accepted: {0}")]
    Algorithm(ObjectIdentifier),
    #[error("the signer's key is of a kind or size that is not accepted")]
    Key,
    #[error("the signature does not verify")]
    Invalid,
}

impl Scheme {
    /// The scheme that an algorithm identifier names, with the parameters it must have.
    pub(crate) fn of(identifier: &AlgorithmIdentifierOwned) -> Result<Scheme, SignatureFault> {
        let absent = identifier.parameters.is_none();
        let null = identifier
            .parameters
            .as_ref()
            .is_some_and(x509_cert::der::Any::is_null);
        let unknown = SignatureFault::Algorithm(identifier.oid);
        let scheme = match identifier.oid {
            ECDSA_SHA256 => Scheme::Ecdsa(Hash::Sha256),
            ECDSA_SHA384 => Scheme::Ecdsa(Hash::Sha384),
            ECDSA_SHA512 => Scheme::Ecdsa(Hash::Sha512),
            RSA_SHA256 => Scheme::RsaPkcs1(Hash::Sha256),
            RSA_SHA384 => Scheme::RsaPkcs1(Hash::Sha384),
            RSA_SHA512 => Scheme::RsaPkcs1(Hash::Sha512),
            ED25519 | ML_DSA_44 | ML_DSA_65 => Scheme::OfTheKey,
            _ => return Err(unknown),
        };
        // RFC 4055 §5 wants NULL and lets readers take absence; RFC 5758 §3.2 wants absence.
        let fits = match scheme {
            Scheme::RsaPkcs1(_) => absent || null,
            _ => absent,
        };
        if fits { Ok(scheme) } else { Err(unknown) }
    }

    /// Is `signature` over `message` by the key in `spki`?
    pub(crate) fn verify(
        self,
        spki: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureFault> {
        let good = match self {
            Scheme::RsaPkcs1(hash) => return verify_rsa(hash, spki, message, signature),
            Scheme::Ecdsa(hash) => {
                let key = PublicKey::from_spki(spki).map_err(|_| SignatureFault::Key)?;
                key.verify_ecdsa(hash, message, signature)
            }
            Scheme::OfTheKey => {
                let key = PublicKey::from_spki(spki).map_err(|_| SignatureFault::Key)?;
                if key.is_elliptic() {
                    return Err(SignatureFault::Key);
                }
                key.verify(message, signature)
            }
        };
        good.then_some(()).ok_or(SignatureFault::Invalid)
    }
}

/// RSASSA-PKCS1-v1_5 (RFC 8017 §8.2.2).
pub(crate) fn verify_rsa(
    hash: Hash,
    spki: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), SignatureFault> {
    use rsa::signature::Verifier;
    let key = rsa::PublicKey::from_public_key_der(spki).map_err(|_| SignatureFault::Key)?;
    if key.n_bits_precision() < 2048 {
        return Err(SignatureFault::Key);
    }
    // The one representation of the signature has the length of the modulus (RFC 8017 §8.2.2 step 1).
    if signature.len() != key.size() {
        return Err(SignatureFault::Invalid);
    }
    let signature =
        pkcs1v15::Signature::try_from(signature).map_err(|_| SignatureFault::Invalid)?;
    let result = match hash {
        Hash::Sha256 => {
            pkcs1v15::VerifyingKey::<sha2::Sha256>::new(key).verify(message, &signature)
        }
        Hash::Sha384 => {
            pkcs1v15::VerifyingKey::<sha2::Sha384>::new(key).verify(message, &signature)
        }
        Hash::Sha512 => {
            pkcs1v15::VerifyingKey::<sha2::Sha512>::new(key).verify(message, &signature)
        }
    };
    result.map_err(|_| SignatureFault::Invalid)
}

const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const ECDSA_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.4");
const RSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
const RSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12");
const RSA_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13");
pub(crate) const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const ML_DSA_44: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.17");
const ML_DSA_65: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.18");
