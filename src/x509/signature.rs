//! Signatures inside certificates, revocation lists and timestamps: more algorithms than models are
//! signed with, because authorities use them. Nothing weaker than SHA-256, nothing below RSA-2048.

use der::asn1::ObjectIdentifier;
use rsa::pkcs1v15;
use rsa::traits::PublicKeyParts;
use x509_cert::spki::{AlgorithmIdentifierOwned, DecodePublicKey};

use crate::key::{Hash, KeyAlgorithm, PublicKey};

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
            .is_some_and(der::Any::is_null);
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
    if key.n().bit_width_vartime() < 2048 {
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

/// What a bare signature is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawVerdict {
    Valid,
    Invalid,
    /// The key is none of this algorithm, or of a kind that is not accepted.
    Unusable,
}

impl RawVerdict {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            RawVerdict::Valid => "valid",
            RawVerdict::Invalid => "invalid",
            RawVerdict::Unusable => "unusable",
        }
    }
}

/// Verifies a bare signature by the algorithm's name: every primitive that anything here relies on.
/// `None` if there is no such algorithm.
pub fn verify_raw(
    algorithm: &str,
    key: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Option<RawVerdict> {
    let hash = |name: &str| match name {
        "sha256" => Some(Hash::Sha256),
        "sha384" => Some(Hash::Sha384),
        "sha512" => Some(Hash::Sha512),
        _ => None,
    };
    let verdict = |good: bool| {
        if good {
            RawVerdict::Valid
        } else {
            RawVerdict::Invalid
        }
    };
    if let Some(name) = algorithm.strip_prefix("rsa-pkcs1-") {
        return Some(match verify_rsa(hash(name)?, key, message, signature) {
            Ok(()) => RawVerdict::Valid,
            Err(SignatureFault::Invalid) => RawVerdict::Invalid,
            Err(_) => RawVerdict::Unusable,
        });
    }
    if let Some(names) = algorithm.strip_prefix("ecdsa-") {
        let (curve, name) = names.split_once('-')?;
        let hash = hash(name)?;
        let curves = [KeyAlgorithm::P256, KeyAlgorithm::P384, KeyAlgorithm::P521];
        let curve = curves.into_iter().find(|one| one.name() == curve)?;
        let key = PublicKey::from_spki(key);
        return Some(match key.ok().filter(|key| key.algorithm() == curve) {
            Some(key) => verdict(key.verify_ecdsa(hash, message, signature)),
            None => RawVerdict::Unusable,
        });
    }
    let wanted = match algorithm {
        "ed25519" => KeyAlgorithm::Ed25519,
        "ml-dsa-65" => KeyAlgorithm::MlDsa65,
        _ => return None,
    };
    let key = PublicKey::from_spki(key).or_else(|_| PublicKey::from_bytes(wanted, key));
    Some(match key.ok().filter(|key| key.algorithm() == wanted) {
        Some(key) => verdict(key.verify(message, signature)),
        None => RawVerdict::Unusable,
    })
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
