//! Digests: names, spellings, and several of them from one pass over the bytes.
//! Bytes in, digests out; opens no file.

use std::fmt;
use std::num::NonZero;
use std::str::FromStr;

use data_encoding::{BASE64, HEXLOWER};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::Digest as _;

use crate::fs_verity::FsVerityHasher;
use crate::pages;
use crate::xet::XetHasher;

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
    /// BLAKE2b, 64 bytes, unkeyed (RFC 7693).
    Blake2b,
    /// What Xet, the store behind Hugging Face, calls the content: a tree of BLAKE3 over its chunks.
    Xet,
    /// What a kernel keeps of the content under fs-verity: SHA-256 over a tree of SHA-256.
    FsVerity,
    /// SHA-256 over the digests of the file's parts: what stands for a file that OMS signed in shards.
    #[serde(skip)]
    #[schemars(skip)]
    Sharded(Sharding),
}

/// How OMS cuts a file into parts that are hashed by themselves (model-signing-spec §6.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sharding {
    pub of: ShardHash,
    /// Bytes of each part but the last.
    pub size: NonZero<u64>,
    /// No file has more parts than this. What comes after them is hashed in one: it is not what was signed,
    /// and who lists tiny parts must not make a large file cost a digest for every byte.
    pub most: u64,
    /// Keep the digest of each part as well: for signing.
    pub keep: bool,
}

/// What each part is hashed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ShardHash {
    Sha256,
    Blake2b,
    Blake3,
}

impl ShardHash {
    /// The digest of a whole file by the same function.
    pub const fn algorithm(self) -> Algorithm {
        match self {
            ShardHash::Sha256 => Algorithm::Sha256,
            ShardHash::Blake2b => Algorithm::Blake2b,
            ShardHash::Blake3 => Algorithm::Blake3,
        }
    }
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
            Algorithm::Blake2b => "blake2b",
            Algorithm::Xet => "xet",
            Algorithm::FsVerity => "fs-verity",
            Algorithm::Sharded(_) => "sharded",
        }
    }

    /// The digest of `bytes`.
    pub fn of(self, bytes: &[u8]) -> Vec<u8> {
        let mut hasher = Hasher::new(&[self], bytes.len() as u64);
        hasher.update(bytes);
        hasher.finish()
    }

    /// The name for people.
    pub const fn title(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "SHA-256",
            Algorithm::Blake3 => "BLAKE3",
            Algorithm::Sha512 => "SHA-512",
            Algorithm::GitSha1 => "git blob",
            Algorithm::Md5 => "MD5",
            Algorithm::Blake2b => "BLAKE2b",
            Algorithm::Xet => "Xet hash",
            Algorithm::FsVerity => "fs-verity digest",
            Algorithm::Sharded(_) => "sharded digest",
        }
    }

    /// Length of the digest in bytes.
    pub const fn length(self) -> usize {
        match self {
            Algorithm::Sha256
            | Algorithm::Blake3
            | Algorithm::Xet
            | Algorithm::FsVerity
            | Algorithm::Sharded(_) => 32,
            Algorithm::Sha512 | Algorithm::Blake2b => 64,
            Algorithm::GitSha1 => 20,
            Algorithm::Md5 => 16,
        }
    }
}

/// What tells these digests from others: their names, and how files are cut that are hashed in parts.
pub fn labels(algorithms: &[Algorithm]) -> String {
    let label = |one: &Algorithm| match one {
        Algorithm::Sharded(Sharding { of, size, most, .. }) => {
            let of = of.algorithm().name();
            format!("{}-{of}-{size}-{most}", one.name())
        }
        whole => whole.name().to_owned(),
    };
    let labels: Vec<String> = algorithms.iter().map(label).collect();
    labels.join(",")
}

/// Decodes the one spelling of a digest: lower-case hexadecimal of the right length.
pub fn decode(algorithm: Algorithm, text: &str) -> Result<DigestBytes, DigestError> {
    let digits = 2 * algorithm.length();
    let mut digest = DigestBytes::default();
    let place = digest.bytes.get_mut(..algorithm.length());
    let read = place
        .filter(|_| text.len() == digits)
        .and_then(|place| HEXLOWER.decode_mut(text.as_bytes(), place).ok());
    match read {
        Some(length) => {
            digest.length = length;
            Ok(digest)
        }
        None => Err(DigestError {
            text: text.chars().take(160).collect(),
            digits,
        }),
    }
}

/// The longest digest.
const LONGEST: usize = 64;

/// A digest of whatever length, kept in its place.
#[derive(Clone, Copy)]
pub struct DigestBytes {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Default for DigestBytes {
    fn default() -> DigestBytes {
        DigestBytes {
            bytes: [0; LONGEST],
            length: 0,
        }
    }
}

impl std::ops::Deref for DigestBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl From<[u8; 32]> for DigestBytes {
    fn from(digest: [u8; 32]) -> DigestBytes {
        let mut bytes = [0; LONGEST];
        if let Some(place) = bytes.first_chunk_mut() {
            *place = digest;
        }
        DigestBytes { bytes, length: 32 }
    }
}

impl From<DigestBytes> for Box<[u8]> {
    fn from(digest: DigestBytes) -> Box<[u8]> {
        (*digest).into()
    }
}

impl PartialEq for DigestBytes {
    fn eq(&self, other: &DigestBytes) -> bool {
        **self == **other
    }
}

impl Eq for DigestBytes {}

impl fmt::Debug for DigestBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(self))
    }
}

/// Decodes base64 (RFC 4648 §4) in its one spelling. The library alone takes pieces that were
/// padded one by one, `AA==AA==`, which other readers refuse.
pub fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let body = text.get(..text.len().saturating_sub(2)).unwrap_or_default();
    if body.contains('=') {
        return None;
    }
    let mut bytes = pages::zeros(BASE64.decode_len(text.len()).ok()?);
    let length = BASE64.decode_mut(text.as_bytes(), &mut bytes).ok()?;
    bytes.truncate(length);
    Some(bytes)
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
    Blake2b(Box<blake2::Blake2b512>),
    Xet(Box<XetHasher>),
    FsVerity(Box<FsVerityHasher>),
    Sharded(Box<Shards>),
}

/// The part that is being hashed, and the digests of those before it.
struct Shards {
    sharding: Sharding,
    digests: sha2::Sha256,
    part: Hasher,
    /// How much the part still takes.
    left: u64,
    /// Is there anything in it?
    begun: bool,
    /// How many parts are done.
    done: u64,
    /// Their digests, if they are wanted.
    kept: Vec<u8>,
}

impl Shards {
    fn new(sharding: Sharding) -> Shards {
        Shards {
            sharding,
            digests: sha2::Sha256::new(),
            part: Shards::part(sharding),
            left: sharding.size.get(),
            begun: false,
            done: 0,
            kept: Vec::new(),
        }
    }

    fn part(sharding: Sharding) -> Hasher {
        Hasher::new(&[sharding.of.algorithm()], 0)
    }

    fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let left = usize::try_from(self.left).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(left.min(bytes.len()));
            self.part.update(now);
            self.begun = true;
            self.left -= now.len() as u64;
            bytes = later;
            if self.left == 0 {
                self.end_part();
            }
        }
    }

    fn end_part(&mut self) {
        let part = std::mem::replace(&mut self.part, Shards::part(self.sharding));
        let digest = part.finish();
        self.digests.update(&digest);
        if self.sharding.keep {
            self.kept.extend_from_slice(&digest);
        }

        self.begun = false;
        self.done += 1;
        self.left = if self.done < self.sharding.most {
            self.sharding.size.get()
        } else {
            u64::MAX
        };
    }

    /// The digest over those of all parts, and what was kept of them.
    fn finish(mut self) -> (sha2::digest::Output<sha2::Sha256>, Vec<u8>) {
        if self.begun {
            self.end_part();
        }
        (self.digests.finalize(), self.kept)
    }
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
            Algorithm::Blake2b => State::Blake2b(Box::default()),
            Algorithm::Xet => State::Xet(Box::default()),
            Algorithm::FsVerity => State::FsVerity(Box::default()),
            Algorithm::Sharded(sharding) => State::Sharded(Box::new(Shards::new(sharding))),
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
                State::Blake2b(state) => state.update(bytes),
                State::Xet(state) => state.update(bytes),
                State::FsVerity(state) => state.update(bytes),
                State::Sharded(state) => state.update(bytes),
            }
        }
    }

    /// The digests one after the other, in the order in which they were asked for; behind them those of parts
    /// that were to be kept.
    pub fn finish(self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut parts = Vec::new();
        for state in self.0 {
            match state {
                State::Sha256(state) => out.extend_from_slice(&state.finalize()),
                State::Blake3(state) => out.extend_from_slice(state.finalize().as_bytes()),
                State::Sha512(state) => out.extend_from_slice(&state.finalize()),
                State::GitSha1(state) => out.extend_from_slice(&state.finalize()),
                State::Md5(state) => out.extend_from_slice(&state.finalize()),
                State::Blake2b(state) => out.extend_from_slice(&state.finalize()),
                State::Xet(state) => out.extend_from_slice(&state.finish()),
                State::FsVerity(state) => out.extend_from_slice(&state.finish()),
                State::Sharded(state) => {
                    let (digest, mut kept) = state.finish();
                    out.extend_from_slice(&digest);
                    parts.append(&mut kept);
                }
            }
        }
        out.append(&mut parts);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Algorithm; 6] = [
        Algorithm::Sha256,
        Algorithm::Blake3,
        Algorithm::Sha512,
        Algorithm::GitSha1,
        Algorithm::Md5,
        Algorithm::Blake2b,
    ];

    /// FIPS 180-4, RFC 1321, RFC 7693 appendix A and BLAKE3 test vectors for "abc"; git's from `git hash-object`.
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
            "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d1",
            "7d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923",
        );
        assert_eq!(HEXLOWER.encode(&hasher.finish()), expected);
    }

    /// However the bytes come, the parts are the same; an empty file has none.
    #[test]
    fn parts_are_cut_by_their_size() {
        let sharded = |size, pieces: &[&[u8]]| {
            let sharding = Sharding {
                of: ShardHash::Sha256,
                size: NonZero::new(size).unwrap(),
                most: 4,
                keep: false,
            };
            let mut hasher = Hasher::new(&[Algorithm::Sharded(sharding)], 0);
            for piece in pieces {
                hasher.update(piece);
            }
            hasher.finish()
        };
        let of = |parts: &[&[u8]]| {
            let digests: Vec<u8> = parts.iter().flat_map(|part| Sha256::of(part).0).collect();
            Sha256::of(&digests).0
        };
        assert_eq!(sharded(3, &[b"abcdefgh"]), of(&[b"abc", b"def", b"gh"]));
        assert_eq!(
            sharded(3, &[b"ab", b"cdef", b"gh"]),
            of(&[b"abc", b"def", b"gh"])
        );
        assert_eq!(sharded(4, &[b"abcdefgh"]), of(&[b"abcd", b"efgh"]));
        assert_eq!(sharded(9, &[b"abcdefgh"]), of(&[b"abcdefgh"]));
        assert_eq!(sharded(3, &[]), of(&[]));
        assert_eq!(sharded(1, &[b"abcd"]), of(&[b"a", b"b", b"c", b"d"]));
        assert_eq!(
            sharded(1, &[b"abcdefgh"]),
            of(&[b"a", b"b", b"c", b"d", b"efgh"])
        );
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
