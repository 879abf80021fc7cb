//! Private keys: made from the system's random numbers, wiped when dropped.

use std::fmt;

use ed25519_dalek::Signer;
use ml_dsa::MlDsa65;
use zeroize::Zeroizing;

use super::{KeyAlgorithm, KeyError, PublicKey};

/// A private key.
pub enum PrivateKey {
    Ed25519(Box<ed25519_dalek::SigningKey>),
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
    P521(Box<p521::ecdsa::SigningKey>),
    MlDsa65(Box<ml_dsa::SigningKey<MlDsa65>>),
    Hybrid(Box<(ed25519_dalek::SigningKey, ml_dsa::SigningKey<MlDsa65>)>),
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
                KeyAlgorithm::Ed25519 => Some(PrivateKey::Ed25519(Box::new(new_ed25519()?))),
                KeyAlgorithm::P256 => p256::ecdsa::SigningKey::from_slice(&*random::<32>(0xff)?)
                    .ok()
                    .map(PrivateKey::P256),
                KeyAlgorithm::P384 => p384::ecdsa::SigningKey::from_slice(&*random::<48>(0xff)?)
                    .ok()
                    .map(PrivateKey::P384),
                KeyAlgorithm::P521 => p521::ecdsa::SigningKey::from_slice(&*random::<66>(0x01)?)
                    .ok()
                    .map(|key| PrivateKey::P521(Box::new(key))),
                KeyAlgorithm::MlDsa65 => Some(PrivateKey::MlDsa65(Box::new(new_ml_dsa()?))),
                KeyAlgorithm::Hybrid => {
                    let both = (new_ed25519()?, new_ml_dsa()?);
                    Some(PrivateKey::Hybrid(Box::new(both)))
                }
            };
            if let Some(key) = key {
                return Ok(key);
            }
        }
    }

    /// The signature over `message`, or for a hybrid key that of each half: 64 bytes for Ed25519, 3,309
    /// for ML-DSA-65, ASN.1 DER for ECDSA with the hash of the curve. Deterministic (RFC 8032, RFC 6979,
    /// FIPS 204 §3.4).
    pub fn signatures(&self, message: &[u8]) -> Vec<Vec<u8>> {
        let one = match self {
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
            PrivateKey::MlDsa65(key) => key.sign(message).encode().to_vec(),
            PrivateKey::Hybrid(both) => {
                let (classical, quantum) = &**both;
                return vec![
                    classical.sign(message).to_bytes().into(),
                    quantum.sign(message).encode().to_vec(),
                ];
            }
        };
        vec![one]
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        let quantum = |key: &ml_dsa::SigningKey<MlDsa65>| key.expanded_key().verifying_key();
        match self {
            PrivateKey::Ed25519(key) => PublicKey::Ed25519(key.verifying_key()),
            PrivateKey::P256(key) => PublicKey::P256(*key.verifying_key()),
            PrivateKey::P384(key) => PublicKey::P384(*key.verifying_key()),
            PrivateKey::P521(key) => PublicKey::P521(*key.verifying_key()),
            PrivateKey::MlDsa65(key) => PublicKey::MlDsa65(Box::new(quantum(key))),
            PrivateKey::Hybrid(both) => {
                PublicKey::Hybrid(Box::new((both.0.verifying_key(), quantum(&both.1))))
            }
        }
    }
}

fn new_ed25519() -> Result<ed25519_dalek::SigningKey, KeyError> {
    Ok(ed25519_dalek::SigningKey::from_bytes(&*random::<32>(0xff)?))
}

fn new_ml_dsa() -> Result<ml_dsa::SigningKey<MlDsa65>, KeyError> {
    let seed = Zeroizing::new(ml_dsa::Seed::from(*random::<32>(0xff)?));
    Ok(ml_dsa::SigningKey::from_seed(&seed))
}

fn random<const N: usize>(first: u8) -> Result<Zeroizing<[u8; N]>, KeyError> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(&mut *bytes).map_err(|error| KeyError::Random(error.to_string()))?;
    if let Some(byte) = bytes.first_mut() {
        *byte &= first;
    }
    Ok(bytes)
}
