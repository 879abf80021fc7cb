//! Keys as OpenSSH writes them (openssh/PROTOCOL.key; RFC 5656, RFC 8709): public ones in a line, private ones
//! in a block, encrypted or not.

use data_encoding::BASE64;
use zeroize::Zeroizing;

use ctr::cipher::{KeyIvInit, StreamCipher};

use super::{KeyAlgorithm, KeyError, Passphrase, PrivateKey, PublicKey};

pub(super) const LABEL: &str = "OPENSSH PRIVATE KEY";

/// A length, and that many bytes (RFC 4251 §5).
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(crate) fn number(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    pub(crate) fn string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        self.take(length)
    }
}

/// The public key of a key blob (RFC 8709 §4, RFC 5656 §3.1).
pub(crate) fn public_from_blob(blob: &[u8]) -> Option<PublicKey> {
    let mut reader = Reader(blob);
    let name = reader.string()?;
    let (algorithm, _) = kind(name)?;
    if algorithm != KeyAlgorithm::Ed25519 && Some(reader.string()?) != name.strip_prefix(ECDSA) {
        return None;
    }
    let key = PublicKey::from_bytes(algorithm, reader.string()?).ok();
    key.filter(|_| reader.0.is_empty())
}

const ECDSA: &[u8] = b"ecdsa-sha2-";

/// The type by its name, and the length of its private scalar.
fn kind(name: &[u8]) -> Option<(KeyAlgorithm, usize)> {
    Some(match name {
        b"ssh-ed25519" => (KeyAlgorithm::Ed25519, 32),
        b"ecdsa-sha2-nistp256" => (KeyAlgorithm::P256, 32),
        b"ecdsa-sha2-nistp384" => (KeyAlgorithm::P384, 48),
        b"ecdsa-sha2-nistp521" => (KeyAlgorithm::P521, 66),
        _ => return None,
    })
}

/// A public key in a line: its type, its blob in base64, and perhaps a comment.
pub(super) fn public_from_line(text: &str) -> Option<Result<PublicKey, KeyError>> {
    let mut words = text.split_whitespace();
    let name = words.next()?;
    if !name.starts_with("ssh-") && !name.starts_with("ecdsa-sha2-") {
        return None;
    }
    let blob = BASE64.decode(words.next()?.as_bytes()).ok()?;
    let unsupported = || KeyError::Unsupported(name.chars().take(64).collect());
    // The blob says its type too.
    let same = Reader(&blob).string() == Some(name.as_bytes());
    Some(
        public_from_blob(&blob)
            .filter(|_| same)
            .ok_or_else(unsupported),
    )
}

/// The private key in a block, which may be encrypted.
pub(super) fn private(
    block: &[u8],
    passphrase: Option<&Passphrase>,
) -> Result<PrivateKey, KeyError> {
    let damaged = KeyError::Damaged;
    let rest = block.strip_prefix(b"openssh-key-v1\0").ok_or(damaged)?;
    let mut reader = Reader(rest);
    let mut next = || reader.string().ok_or(KeyError::Damaged);
    let (cipher, kdf, options) = (next()?, next()?, next()?);
    let encrypted = match (cipher, kdf) {
        (b"none", b"none") => false,
        (b"aes256-ctr", b"bcrypt") => true,
        _ => return Err(KeyError::EncryptedSsh),
    };

    if reader.number() != Some(1) {
        return Err(KeyError::Unsupported(
            "several keys in one OpenSSH file".into(),
        ));
    }
    let mut next = || reader.string().ok_or(KeyError::Damaged);
    let (_, section) = (next()?, next()?);
    if !encrypted {
        return read_section(section).ok_or(KeyError::Damaged)?;
    }
    let passphrase = passphrase.ok_or(KeyError::Encrypted)?;
    let section = decrypt(section, options, passphrase)?;
    let mut reader = Reader(&section);
    // Two equal numbers show that the passphrase was right.
    if reader.number() != reader.number() {
        return Err(KeyError::Passphrase);
    }
    read_section(&section).ok_or(KeyError::Damaged)?
}

/// The most rounds of key derivation: `ssh-keygen -a` takes more, and they would take minutes.
const MOST_ROUNDS: u32 = 4096;

/// AES-256 in counter mode under a key by `bcrypt_pbkdf` (PROTOCOL.key §1, §2).
fn decrypt(
    section: &[u8],
    options: &[u8],
    passphrase: &Passphrase,
) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let mut reader = Reader(options);
    let salt = reader.string().ok_or(KeyError::Damaged)?;
    let rounds = reader.number().ok_or(KeyError::Damaged)?;
    if rounds > MOST_ROUNDS {
        return Err(KeyError::Cost("4,096 rounds of bcrypt"));
    }
    let mut derived = Zeroizing::new([0; 32 + 16]);
    bcrypt_pbkdf::bcrypt_pbkdf(passphrase.0.as_bytes(), salt, rounds, &mut *derived)
        .map_err(|_| KeyError::Passphrase)?;
    let (key, nonce) = derived.split_first_chunk::<32>().ok_or(KeyError::Damaged)?;
    let nonce: &[u8; 16] = nonce.try_into().map_err(|_| KeyError::Damaged)?;
    let mut section = Zeroizing::new(section.to_vec());
    let mut cipher = ctr::Ctr128BE::<aes::Aes256>::new(key.into(), nonce.into());
    cipher.apply_keystream(&mut section);
    Ok(section)
}

fn read_section(section: &[u8]) -> Option<Result<PrivateKey, KeyError>> {
    let mut reader = Reader(section);
    // Two equal numbers show that a decryption went well.
    if reader.number()? != reader.number()? {
        return None;
    }
    let name = reader.string()?;
    let Some((algorithm, length)) = kind(name) else {
        let name = String::from_utf8_lossy(name).chars().take(64).collect();
        return Some(Err(KeyError::Unsupported(name)));
    };
    if algorithm == KeyAlgorithm::Ed25519 {
        let public = reader.string()?;
        let seed = Zeroizing::new(<[u8; 32]>::try_from(reader.string()?.get(..32)?).ok()?);
        let key = ed25519_dalek::SigningKey::from_bytes(&seed);
        let fits = key.verifying_key().as_bytes() == public;
        return fits.then(|| Ok(PrivateKey::Ed25519(Box::new(key))));
    }
    let (_, point, number) = (reader.string()?, reader.string()?, reader.string()?);
    // An integer may be shorter than the scalar, or have a zero before it.
    let digits = number.iter().position(|byte| *byte != 0)?;
    let digits = number.get(digits..)?;
    let mut scalar = Zeroizing::new(vec![0; length.checked_sub(digits.len())?]);
    scalar.extend(digits);
    let key = match algorithm {
        KeyAlgorithm::P256 => PrivateKey::P256(p256::ecdsa::SigningKey::from_slice(&scalar).ok()?),
        KeyAlgorithm::P384 => PrivateKey::P384(p384::ecdsa::SigningKey::from_slice(&scalar).ok()?),
        _ => PrivateKey::P521(Box::new(p521::ecdsa::SigningKey::from_slice(&scalar).ok()?)),
    };
    let fits = PublicKey::from_bytes(algorithm, point).ok()? == key.public();
    fits.then_some(Ok(key))
}
