//! Private keys in PEM: PKCS#8 (RFC 5958), plain or encrypted with PBES2 (RFC 8018), and SEC1
//! (RFC 5915) for EC keys. Text in, text out: the caller reads and writes the file.

use der::Decode;
use ml_dsa::MlDsa65;
use pkcs8::pkcs5::pbes2::{Kdf, Parameters};
use pkcs8::pkcs5::{EncryptionScheme, scrypt};
use pkcs8::{
    DecodePrivateKey, EncodePrivateKey, EncryptedPrivateKeyInfoRef, LineEnding, PrivateKeyInfoRef,
    SecretDocument,
};
use zeroize::Zeroizing;

use super::{KeyAlgorithm, KeyError, Passphrase, PrivateKey, key_algorithm, openssh};

const PLAIN: &str = "PRIVATE KEY";
const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";
const SEC1: &str = "EC PRIVATE KEY";
/// What `openssl ecparam -genkey` writes before the key.
const PARAMETERS: &str = "EC PARAMETERS";

/// The most blocks in a file.
const MAX_BLOCKS: usize = 64;

/// A block's label and content.
pub(super) type Block<'a> = (&'a str, Zeroizing<Vec<u8>>);

/// The PEM blocks of a text, those of keys decoded. One that is damaged spoils it all: half of a hybrid key is
/// not the key. What a block's first or last line left behind tells of it, too.
pub(super) fn blocks(text: &str) -> Result<Vec<Block<'_>>, KeyError> {
    let mut blocks = Vec::new();
    let mut rest = text;
    let is_remnant = |text: &str| text.contains("----");
    while let Some(start) = rest.find(BEGIN) {
        if blocks.len() == MAX_BLOCKS {
            return Err(KeyError::Several);
        }
        if rest.get(..start).is_some_and(is_remnant) {
            return Err(KeyError::Damaged);
        }
        let block = rest.get(start..).unwrap_or_default();
        let (read, length) = first_block(block).ok_or(KeyError::Damaged)?;
        blocks.push(read);
        rest = block.get(length..).unwrap_or_default();
    }
    if is_remnant(rest) {
        return Err(KeyError::Damaged);
    }
    Ok(blocks)
}

const BEGIN: &str = "-----BEGIN ";

/// The block at the start of `text`, and its length.
fn first_block(text: &str) -> Option<(Block<'_>, usize)> {
    let label = text.strip_prefix(BEGIN)?.split_once("-----")?.0;
    let end_line = format!("-----END {label}-----");
    let end = text.find(&end_line)? + end_line.len();
    let block = text.get(..end)?;
    // OpenSSH breaks lines where no standard does.
    let der = if label == openssh::LABEL {
        lenient(block)?
    } else if !label.ends_with("KEY") {
        Vec::new()
    } else {
        der::pem::decode_vec(block.as_bytes()).ok()?.1
    };
    Some(((label, Zeroizing::new(der)), end))
}

/// The content of a block whose lines may have any length.
fn lenient(block: &str) -> Option<Vec<u8>> {
    let (_, rest) = block.strip_prefix("-----BEGIN ")?.split_once("-----")?;
    let (body, _) = rest.split_once("-----END")?;
    let body: Zeroizing<String> = Zeroizing::new(body.split_whitespace().collect());
    data_encoding::BASE64.decode(body.as_bytes()).ok()
}

/// Does `pem` need a passphrase?
pub fn is_encrypted(pem: &str) -> bool {
    matches!(private_key_from_pem(pem, None), Err(KeyError::Encrypted))
}

/// What a file holds beside a private key in PKCS#8, and would be lost if that were written anew.
pub fn beside_private_key(pem: &str) -> Option<String> {
    let blocks = blocks(pem).ok()?;
    let kept = [PLAIN, ENCRYPTED, SEC1, PARAMETERS, openssh::LABEL];
    let other = blocks.iter().find(|(label, _)| !kept.contains(label));
    other.map(|(label, _)| (*label).to_owned())
}

/// Reads a private key, or the two halves of a hybrid one. Certificates may stand beside it.
pub fn private_key_from_pem(
    pem: &str,
    passphrase: Option<&Passphrase>,
) -> Result<PrivateKey, KeyError> {
    let mut keys = blocks(pem)?;
    keys.retain(|(label, _)| [PLAIN, ENCRYPTED, SEC1, openssh::LABEL].contains(label));
    match <[Block<'_>; 1]>::try_from(keys) {
        Ok([only]) => from_block(only, passphrase),
        Err(keys) => match <[Block<'_>; 2]>::try_from(keys) {
            Ok([first, second]) => {
                let first = from_block(first, passphrase)?;
                match (first, from_block(second, passphrase)?) {
                    (PrivateKey::Ed25519(classical), PrivateKey::MlDsa65(quantum)) => {
                        Ok(PrivateKey::Hybrid(Box::new((*classical, *quantum))))
                    }
                    _ => Err(KeyError::Several),
                }
            }
            Err(keys) if keys.is_empty() => Err(KeyError::NotPrivate),
            Err(_) => Err(KeyError::Several),
        },
    }
}

fn from_block(
    (label, der): (&str, Zeroizing<Vec<u8>>),
    passphrase: Option<&Passphrase>,
) -> Result<PrivateKey, KeyError> {
    match label {
        PLAIN => from_pkcs8(&der),
        ENCRYPTED => {
            let passphrase = passphrase.ok_or(KeyError::Encrypted)?;
            from_pkcs8(decrypt(&der, passphrase)?.as_bytes())
        }
        SEC1 => from_sec1(&der),
        openssh::LABEL => openssh::private(&der, passphrase),
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
    let ed25519 = |key: &ed25519_dalek::SigningKey| {
        ed25519_dalek::pkcs8::KeypairBytes {
            secret_key: key.to_bytes(),
            public_key: None,
        }
        .to_pkcs8_der()
    };
    let der = match key {
        PrivateKey::Hybrid(both) => {
            let mut pem = to_pem(ed25519(&both.0), passphrase)?;
            pem.push_str(&to_pem(both.1.to_pkcs8_der(), passphrase)?);
            return Ok(pem);
        }
        PrivateKey::Ed25519(key) => ed25519(key),
        PrivateKey::MlDsa65(key) => key.to_pkcs8_der(),
        PrivateKey::P256(key) => key.to_pkcs8_der(),
        PrivateKey::P384(key) => key.to_pkcs8_der(),
        PrivateKey::P521(key) => key.to_pkcs8_der(),
    };
    to_pem(der, passphrase)
}

fn to_pem(
    der: pkcs8::Result<SecretDocument>,
    passphrase: Option<&Passphrase>,
) -> Result<Zeroizing<String>, KeyError> {
    let der = der.map_err(|_| KeyError::Damaged)?;
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
        KeyAlgorithm::MlDsa65 | KeyAlgorithm::Hybrid => return ml_dsa_65(&info),
    };
    key.map_err(|_| KeyError::Damaged)
}

/// RFC 9881 §6: the seed, the expanded key, or both, as OpenSSL writes it. Only a seed can be told to be
/// what it should be.
fn ml_dsa_65(info: &PrivateKeyInfoRef<'_>) -> Result<PrivateKey, KeyError> {
    if let Ok(key) = ml_dsa::SigningKey::try_from(info.clone()) {
        return Ok(PrivateKey::MlDsa65(Box::new(key)));
    }
    let content = info.private_key.as_bytes();
    let both = <Both<'_>>::from_der(content)
        .map_err(|_| KeyError::Unsupported("ML-DSA-65 without its seed".into()))?;
    let seed = <[u8; 32]>::try_from(both.seed.as_bytes()).map_err(|_| KeyError::Damaged)?;
    let seed = Zeroizing::new(ml_dsa::Seed::from(seed));
    let key = ml_dsa::SigningKey::<MlDsa65>::from_seed(&seed);
    #[expect(deprecated, reason = "to compare, not to use")]
    let expanded = Zeroizing::new(key.expanded_key().to_expanded());
    if expanded.as_slice() != both.expanded.as_bytes() {
        return Err(KeyError::Damaged);
    }
    Ok(PrivateKey::MlDsa65(Box::new(key)))
}

#[derive(der::Sequence)]
struct Both<'a> {
    seed: &'a der::asn1::OctetStringRef,
    expanded: &'a der::asn1::OctetStringRef,
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
            // RFC 7914 §2: N is a power of 2 and larger than 1.
            if n < 2 || !n.is_power_of_two() || r == 0 || p == 0 {
                return Err(KeyError::Damaged);
            }
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
        for algorithm in KeyAlgorithm::ALL {
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

    /// RFC 7914 §2: N is a power of two above 1. The library does not ask.
    #[test]
    fn scrypt_that_cannot_be() {
        let key = PrivateKey::generate(KeyAlgorithm::P256).unwrap();
        let pem = private_key_to_pem(&key, Some(&passphrase("x"))).unwrap();
        let (label, der) = blocks(&pem).unwrap().remove(0);
        // N = 2^14 as INTEGER
        let at = der
            .windows(4)
            .position(|bytes| bytes == [2, 2, 0x40, 0])
            .unwrap();
        for n in [[0, 1], [0, 0], [0x40, 1], [0x7f, 0xff]] {
            let mut changed = der.clone();
            changed.splice(at + 2..at + 4, n);
            let pem = der::pem::encode_string(label, LineEnding::LF, &changed).unwrap();
            let error = private_key_from_pem(&pem, Some(&passphrase("x"))).unwrap_err();
            assert!(matches!(error, KeyError::Damaged), "{n:?}: {error:?}");
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
