//! Private keys in PEM: PKCS#8 (RFC 5958), plain or encrypted with PBES2 (RFC 8018), and SEC1
//! (RFC 5915) for EC keys. Text in, text out: the caller reads and writes the file.

use pkcs8::pkcs5::pbes2::{Kdf, Parameters};
use pkcs8::pkcs5::{EncryptionScheme, scrypt};
use pkcs8::{
    DecodePrivateKey, EncodePrivateKey, EncryptedPrivateKeyInfoRef, LineEnding, PrivateKeyInfoRef,
    SecretDocument,
};
use zeroize::Zeroizing;

use super::{KeyAlgorithm, KeyError, Passphrase, PrivateKey, key_algorithm};

const PLAIN: &str = "PRIVATE KEY";
const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";
const SEC1: &str = "EC PRIVATE KEY";

/// The label and content of the first PEM block that can hold a key. `openssl ecparam -genkey`
/// writes another block before the key.
pub(super) fn first_block(text: &str) -> Option<(&str, Zeroizing<Vec<u8>>)> {
    let mut rest = text;
    loop {
        let start = rest.find("-----BEGIN ")?;
        let block = rest.get(start..)?;
        let label = block.strip_prefix("-----BEGIN ")?.split_once("-----")?.0;
        if label != "EC PARAMETERS" {
            let end_line = format!("-----END {label}-----");
            let end = block.find(&end_line)? + end_line.len();
            let (_, der) = pkcs8::der::pem::decode_vec(block.get(..end)?.as_bytes()).ok()?;
            return Some((label, Zeroizing::new(der)));
        }
        rest = block.get(label.len()..)?;
    }
}

/// Does `pem` need a passphrase?
pub fn is_encrypted(pem: &str) -> bool {
    first_block(pem).is_some_and(|(label, _)| label == ENCRYPTED)
}

/// Reads a private key.
pub fn private_key_from_pem(
    pem: &str,
    passphrase: Option<&Passphrase>,
) -> Result<PrivateKey, KeyError> {
    let (label, der) = first_block(pem).ok_or(KeyError::NotPrivate)?;
    match label {
        PLAIN => from_pkcs8(&der),
        ENCRYPTED => {
            let passphrase = passphrase.ok_or(KeyError::Encrypted)?;
            from_pkcs8(decrypt(&der, passphrase)?.as_bytes())
        }
        SEC1 => from_sec1(&der),
        _ => Err(KeyError::NotPrivate),
    }
}

/// Writes a private key as PKCS#8, encrypted if there is a passphrase.
///
/// Ed25519 is written as version 1, without the public key, which is what OpenSSL 3.0 reads.
pub fn private_key_to_pem(
    key: &PrivateKey,
    passphrase: Option<&Passphrase>,
) -> Result<Zeroizing<String>, KeyError> {
    let der = match key {
        PrivateKey::Ed25519(key) => ed25519_dalek::pkcs8::KeypairBytes {
            secret_key: key.to_bytes(),
            public_key: None,
        }
        .to_pkcs8_der(),
        PrivateKey::P256(key) => key.to_pkcs8_der(),
        PrivateKey::P384(key) => key.to_pkcs8_der(),
        PrivateKey::P521(key) => key.to_pkcs8_der(),
    }
    .map_err(|_| KeyError::Damaged)?;
    let pem = match passphrase {
        Some(passphrase) => encrypt(&der, passphrase)?.to_pem(ENCRYPTED, LineEnding::LF),
        None => der.to_pem(PLAIN, LineEnding::LF),
    };
    pem.map_err(|_| KeyError::Damaged)
}

fn from_pkcs8(der: &[u8]) -> Result<PrivateKey, KeyError> {
    let info = PrivateKeyInfoRef::try_from(der).map_err(|_| KeyError::Damaged)?;
    let key = match key_algorithm(&info.algorithm)? {
        KeyAlgorithm::Ed25519 => ed25519_dalek::SigningKey::from_pkcs8_der(der)
            .map(|key| PrivateKey::Ed25519(Box::new(key))),
        KeyAlgorithm::P256 => p256::ecdsa::SigningKey::from_pkcs8_der(der).map(PrivateKey::P256),
        KeyAlgorithm::P384 => p384::ecdsa::SigningKey::from_pkcs8_der(der).map(PrivateKey::P384),
        KeyAlgorithm::P521 => {
            p521::ecdsa::SigningKey::from_pkcs8_der(der).map(|key| PrivateKey::P521(Box::new(key)))
        }
    };
    key.map_err(|_| KeyError::Damaged)
}

/// SEC1 names its curve in an optional field, and no two of our curves have scalars of one length.
fn from_sec1(der: &[u8]) -> Result<PrivateKey, KeyError> {
    if let Ok(key) = p256::SecretKey::from_sec1_der(der) {
        return Ok(PrivateKey::P256(key.into()));
    }
    if let Ok(key) = p384::SecretKey::from_sec1_der(der) {
        return Ok(PrivateKey::P384(key.into()));
    }
    if let Ok(key) = p521::SecretKey::from_sec1_der(der) {
        return Ok(PrivateKey::P521(Box::new(key.into())));
    }
    Err(KeyError::Unsupported(
        "EC, in SEC1, on another curve".into(),
    ))
}

fn decrypt(der: &[u8], passphrase: &Passphrase) -> Result<SecretDocument, KeyError> {
    let info = EncryptedPrivateKeyInfoRef::try_from(der).map_err(|_| KeyError::Damaged)?;
    affordable(&info.encryption_algorithm)?;
    info.decrypt(passphrase.0.as_bytes())
        .map_err(|_| KeyError::Passphrase)
}

/// A key file is input: it must not decide how much memory or time is spent on it.
fn affordable(scheme: &EncryptionScheme) -> Result<(), KeyError> {
    let EncryptionScheme::Pbes2(parameters) = scheme else {
        return Err(KeyError::Unsupported("encrypted with PBES1".into()));
    };
    match &parameters.kdf {
        Kdf::Scrypt(scrypt) => {
            let (n, r) = (scrypt.cost_parameter, u64::from(scrypt.block_size));
            let p = u64::from(scrypt.parallelization);
            // 128 · r · (N + p) bytes, and work in proportion to N · r · p (RFC 7914 §2, §6).
            let memory = n
                .checked_add(p)
                .and_then(|blocks| blocks.checked_mul(r * 128));
            let work = n.checked_mul(r).and_then(|work| work.checked_mul(p));
            if memory.is_some_and(|bytes| bytes <= SCRYPT_MEMORY)
                && work.is_some_and(|work| work <= SCRYPT_WORK)
            {
                return Ok(());
            }
            Err(KeyError::Cost("256 MiB of scrypt, or 2^24 block mixes"))
        }
        Kdf::Pbkdf2(pbkdf2) if pbkdf2.iteration_count <= 20_000_000 => Ok(()),
        _ => Err(KeyError::Cost("20,000,000 rounds of PBKDF2")),
    }
}

const SCRYPT_MEMORY: u64 = 256 * 1024 * 1024;
const SCRYPT_WORK: u64 = 1 << 24;

/// PBES2 with scrypt and AES-256-CBC. N = 2^14, r = 8 is the most that OpenSSL derives by default
/// (32 MiB); p = 5 makes up for it (OWASP Password Storage, scrypt).
fn encrypt(der: &SecretDocument, passphrase: &Passphrase) -> Result<SecretDocument, KeyError> {
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|error| KeyError::Random(error.to_string()))?;
    let (salt, iv) = random.split_at(16);
    let iv = <[u8; 16]>::try_from(iv).map_err(|_| KeyError::Damaged)?;
    let cost = scrypt::Params::new(14, 8, 5).map_err(|_| KeyError::Damaged)?;
    let parameters =
        Parameters::generate_scrypt_aes256cbc(cost, salt, iv).map_err(|_| KeyError::Damaged)?;
    let info = PrivateKeyInfoRef::try_from(der.as_bytes()).map_err(|_| KeyError::Damaged)?;
    info.encrypt_with_params(parameters, passphrase.0.as_bytes())
        .map_err(|_| KeyError::Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passphrase(text: &str) -> Passphrase {
        Passphrase(Zeroizing::new(text.into()))
    }

    #[test]
    fn round_trip_plain_and_encrypted() {
        for algorithm in [
            KeyAlgorithm::P256,
            KeyAlgorithm::P384,
            KeyAlgorithm::P521,
            KeyAlgorithm::Ed25519,
        ] {
            let key = PrivateKey::generate(algorithm).unwrap();
            let plain = private_key_to_pem(&key, None).unwrap();
            assert!(!is_encrypted(&plain));
            assert_eq!(
                private_key_from_pem(&plain, None).unwrap().public(),
                key.public()
            );

            let secret = private_key_to_pem(&key, Some(&passphrase("x"))).unwrap();
            assert!(is_encrypted(&secret));
            let read = private_key_from_pem(&secret, Some(&passphrase("x"))).unwrap();
            assert_eq!(read.public(), key.public());
            let error = private_key_from_pem(&secret, Some(&passphrase("y"))).unwrap_err();
            assert!(matches!(error, KeyError::Passphrase));
            let error = private_key_from_pem(&secret, None).unwrap_err();
            assert!(matches!(error, KeyError::Encrypted));
        }
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "",
            "-----BEGIN ",
            "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n",
        ] {
            assert!(private_key_from_pem(text, None).is_err(), "{text}");
        }
    }
}
