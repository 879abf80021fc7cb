//! Digests: names, spellings, and several of them from one pass over the bytes.
//! Bytes in, digests out; opens no file.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE64, HEXLOWER};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::Digest as _;

/// A SHA-256 digest (FIPS 180-4), spelled as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256(pub [u8; 32]);

impl Sha256 {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Sha256 {
        Sha256(sha2::Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{self}")
    }
}

/// The text is not a digest of the algorithm that was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {digits} lower-case hexadecimal digits")]
pub struct DigestError {
    text: String,
    digits: usize,
}

impl FromStr for Sha256 {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Sha256, DigestError> {
        decode(Algorithm::Sha256, text).map(|bytes| {
            let mut digest = [0; 32];
            digest.copy_from_slice(&bytes);
            Sha256(digest)
        })
    }
}

impl Serialize for Sha256 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Sha256, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl JsonSchema for Sha256 {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Sha256".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "SHA-256 in lower-case hexadecimal",
            "pattern": "^[0-9a-f]{64}$",
        })
    }
}

/// The digests that one read pass can compute.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// SHA-256 (FIPS 180-4).
    Sha256,
    /// BLAKE3, 32 bytes, unkeyed.
    Blake3,
    /// SHA-512 (FIPS 180-4).
    Sha512,
    /// The name git gives the content: SHA-1 over `blob <size>\0` and the bytes. A name, not evidence.
    GitSha1,
    /// MD5, as old download pages print it. A name, not evidence.
    Md5,
}

impl Algorithm {
    /// The name on the command line and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Blake3 => "blake3",
            Algorithm::Sha512 => "sha512",
            Algorithm::GitSha1 => "git-sha1",
            Algorithm::Md5 => "md5",
        }
    }

    /// Length of the digest in bytes.
    pub const fn length(self) -> usize {
        match self {
            Algorithm::Sha256 | Algorithm::Blake3 => 32,
            Algorithm::Sha512 => 64,
            Algorithm::GitSha1 => 20,
            Algorithm::Md5 => 16,
        }
    }
}

/// Decodes the one spelling of a digest: lower-case hexadecimal of the right length.
pub fn decode(algorithm: Algorithm, text: &str) -> Result<Vec<u8>, DigestError> {
    let digits = 2 * algorithm.length();
    let error = || DigestError {
        text: text.chars().take(160).collect(),
        digits,
    };
    if text.len() != digits {
        return Err(error());
    }
    HEXLOWER.decode(text.as_bytes()).map_err(|_| error())
}

/// Decodes base64 (RFC 4648 §4) in its one spelling. The library alone takes pieces that were
/// padded one by one, `AA==AA==`, which other readers refuse.
pub fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let bytes = BASE64.decode(text.as_bytes()).ok()?;
    (BASE64.encode(&bytes) == text).then_some(bytes)
}

/// One digest with its algorithm.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Digest {
    pub algorithm: Algorithm,
    pub bytes: Box<[u8]>,
}

impl Digest {
    /// Lower-case hexadecimal, without the algorithm.
    pub fn hex(&self) -> String {
        HEXLOWER.encode(&self.bytes)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex())
    }
}

/// Computes several digests over the same bytes.
pub struct Hasher(Vec<State>);

enum State {
    Sha256(sha2::Sha256),
    Blake3(Box<blake3::Hasher>),
    Sha512(sha2::Sha512),
    GitSha1(sha1::Sha1),
    Md5(md5::Md5),
}

impl Hasher {
    /// Starts over content of `size` bytes. The size is part of git's digest and of no other.
    pub fn new(algorithms: &[Algorithm], size: u64) -> Hasher {
        let start = |&algorithm: &Algorithm| match algorithm {
            Algorithm::Sha256 => State::Sha256(sha2::Sha256::new()),
            Algorithm::Blake3 => State::Blake3(Box::default()),
            Algorithm::Sha512 => State::Sha512(sha2::Sha512::new()),
            Algorithm::GitSha1 => {
                State::GitSha1(sha1::Sha1::new_with_prefix(format!("blob {size}\0")))
            }
            Algorithm::Md5 => State::Md5(md5::Md5::new()),
        };
        Hasher(algorithms.iter().map(start).collect())
    }

    /// Continues with `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        for state in &mut self.0 {
            match state {
                State::Sha256(state) => state.update(bytes),
                State::Blake3(state) => _ = state.update(bytes),
                State::Sha512(state) => state.update(bytes),
                State::GitSha1(state) => state.update(bytes),
                State::Md5(state) => state.update(bytes),
            }
        }
    }

    /// The digests one after the other, in the order in which they were asked for.
    pub fn finish(self) -> Vec<u8> {
        let mut out = Vec::new();
        for state in self.0 {
            match state {
                State::Sha256(state) => out.extend_from_slice(&state.finalize()),
                State::Blake3(state) => out.extend_from_slice(state.finalize().as_bytes()),
                State::Sha512(state) => out.extend_from_slice(&state.finalize()),
                State::GitSha1(state) => out.extend_from_slice(&state.finalize()),
                State::Md5(state) => out.extend_from_slice(&state.finalize()),
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Algorithm; 5] = [
        Algorithm::Sha256,
        Algorithm::Blake3,
        Algorithm::Sha512,
        Algorithm::GitSha1,
        Algorithm::Md5,
    ];

    /// FIPS 180-4, RFC 1321 and BLAKE3 test vectors for "abc"; git's from `git hash-object`.
    #[test]
    fn published_vectors() {
        let mut hasher = Hasher::new(&ALL, 3);
        hasher.update(b"a");
        hasher.update(b"bc");
        let expected = concat!(
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85",
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a",
            "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
            "f2ba8f84ab5c1bce84a7b441cb1959cfc7093b7f",
            "900150983cd24fb0d6963f7d28e17f72",
        );
        assert_eq!(HEXLOWER.encode(&hasher.finish()), expected);
    }

    #[test]
    fn one_spelling() {
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hex.parse::<Sha256>().unwrap(), Sha256::of(b"abc"));
        for bad in [
            "",
            &hex[..63],
            &hex.to_uppercase(),
            &format!(" {hex}"),
            &format!("{hex}0"),
        ] {
            assert!(bad.parse::<Sha256>().is_err(), "{bad}");
        }
    }
}
