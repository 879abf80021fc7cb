//! Signers whose key is elsewhere: in a token, an agent, a service, behind a plugin. One file per way. Each
//! answers as a [`Signer`]; what it signs is verified before it is written, by `envelope`.
//!
//! A key is named by a URI, as cosign spells them.

pub mod agent;
#[cfg(feature = "http")]
pub mod aws;
#[cfg(feature = "pkcs11")]
pub mod pkcs11;
pub mod pkcs11_uri;
pub mod plugin;
#[cfg(feature = "http")]
pub mod vault;

#[cfg(any(feature = "http", feature = "pkcs11"))]
use crate::key::KeyAlgorithm;
use crate::key::{PublicKey, Signer, SignerError};

/// How a key is reached, by the form of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// `pkcs11:…` (RFC 7512).
    Pkcs11,
    /// `awskms://[ENDPOINT]/KEY`.
    AwsKms,
    /// `hashivault://KEY`, `openbao://KEY`: the transit engine.
    Vault,
    /// `ssh-agent:` and what the key is called there.
    Agent,
    /// `NAME://…`: the program `sigstore-kms-NAME`.
    Plugin,
}

/// How the key that `reference` names is reached; `None` if it is the path of a file.
pub fn means(reference: &str) -> Option<Means> {
    if reference.starts_with("pkcs11:") {
        return Some(Means::Pkcs11);
    }
    if reference.starts_with("ssh-agent:") {
        return Some(Means::Agent);
    }
    let (scheme, _) = reference.split_once("://")?;
    match scheme {
        "awskms" => Some(Means::AwsKms),
        "hashivault" | "openbao" => Some(Means::Vault),
        _ if is_name(scheme) => Some(Means::Plugin),
        _ => None,
    }
}

/// A name that can stand in the name of a program.
fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty() && text.len() <= 64 && text.chars().all(plain)
}

fn failed(what: &str, why: &dyn std::fmt::Display) -> SignerError {
    SignerError(format!("{what}: {why}"))
}

/// The digest that an ECDSA key of this kind signs.
#[cfg(any(feature = "http", feature = "pkcs11"))]
fn digest(algorithm: KeyAlgorithm, message: &[u8]) -> Option<Vec<u8>> {
    use crate::key::Hash;
    let hash = match algorithm {
        KeyAlgorithm::P256 => Hash::Sha256,
        KeyAlgorithm::P384 => Hash::Sha384,
        KeyAlgorithm::P521 => Hash::Sha512,
        _ => return None,
    };
    Some(hash.of(message))
}

/// The signature (r, s) of fixed width in ASN.1 DER, as envelopes have it.
#[cfg(feature = "pkcs11")]
fn to_der(algorithm: KeyAlgorithm, raw: &[u8]) -> Option<Vec<u8>> {
    Some(match algorithm {
        KeyAlgorithm::P256 => {
            let signature = p256::ecdsa::Signature::from_slice(raw).ok()?;
            signature.to_der().as_bytes().to_vec()
        }
        KeyAlgorithm::P384 => {
            let signature = p384::ecdsa::Signature::from_slice(raw).ok()?;
            signature.to_der().as_bytes().to_vec()
        }
        KeyAlgorithm::P521 => {
            let signature = p521::ecdsa::Signature::from_slice(raw).ok()?;
            signature.to_der().as_bytes().to_vec()
        }
        _ => return None,
    })
}

/// A signer that makes one signature with the key it was found with.
struct Remote<F: Fn(&[u8]) -> Result<Vec<u8>, SignerError>> {
    public: PublicKey,
    sign: F,
}

impl<F: Fn(&[u8]) -> Result<Vec<u8>, SignerError>> Signer for Remote<F> {
    fn public(&self) -> PublicKey {
        self.public.clone()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<Vec<u8>>, SignerError> {
        Ok(vec![(self.sign)(message)?])
    }
}
