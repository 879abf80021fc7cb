//! Minisign keys and signatures (jedisct1/minisign, "Signature format"; OpenBSD's signify underneath): Ed25519
//! over a file, or over its BLAKE2b-512 digest, with a trusted comment that a second signature covers.
//! Bytes in, answers out.

use data_encoding::BASE64;

use crate::key::{KeyAlgorithm, PublicKey};

/// A public key, with the number by which its signatures name it.
#[derive(Clone, Debug)]
pub struct MinisignKey {
    id: [u8; 8],
    key: PublicKey,
}

/// A signature. That it is one of anybody's is not known yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MinisignSignature {
    id: [u8; 8],
    /// Over the digest, not over the file itself.
    pub is_prehashed: bool,
    signature: [u8; 64],
    comment: String,
    comment_signature: [u8; 64],
}

/// Why text is none, or a signature does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MinisignError {
    #[error("it is no public key of minisign")]
    Key,
    #[error("it is no signature of minisign")]
    Signature,
    #[error("it is by key {found}, and {expected} was named")]
    OtherKey { found: String, expected: String },
    #[error("the signature is not of this content")]
    Content,
    #[error("the trusted comment was changed")]
    Comment,
}

/// The largest key or signature file.
pub const MAX_FILE: usize = 16 * 1024;

impl MinisignKey {
    /// Reads the line of a key, or a file with it.
    pub fn parse(text: &str) -> Result<MinisignKey, MinisignError> {
        if text.len() > MAX_FILE {
            return Err(MinisignError::Key);
        }
        let line = text
            .lines()
            .map(str::trim)
            .find(|line| !line.is_empty() && !line.starts_with("untrusted comment:"))
            .ok_or(MinisignError::Key)?;
        let bytes = BASE64
            .decode(line.as_bytes())
            .map_err(|_| MinisignError::Key)?;
        let (algorithm, rest) = bytes.split_first_chunk::<2>().ok_or(MinisignError::Key)?;
        let (id, key) = rest.split_first_chunk::<8>().ok_or(MinisignError::Key)?;
        if algorithm != b"Ed" || key.len() != 32 {
            return Err(MinisignError::Key);
        }
        let key = PublicKey::from_bytes(KeyAlgorithm::Ed25519, key);
        Ok(MinisignKey {
            id: *id,
            key: key.map_err(|_| MinisignError::Key)?,
        })
    }

    /// As minisign prints it.
    pub fn id(&self) -> String {
        shown(self.id)
    }

    /// Is `signature` by this key, over `content`: a file, or for a prehashed one its BLAKE2b-512 digest? What its
    /// signer says in the trusted comment.
    pub fn verify<'a>(
        &self,
        signature: &'a MinisignSignature,
        content: &[u8],
    ) -> Result<&'a str, MinisignError> {
        if signature.id != self.id {
            return Err(MinisignError::OtherKey {
                found: signature.key_id(),
                expected: self.id(),
            });
        }
        if !self.key.verify(content, &signature.signature) {
            return Err(MinisignError::Content);
        }
        let whole = [&signature.signature[..], signature.comment.as_bytes()].concat();
        if !self.key.verify(&whole, &signature.comment_signature) {
            return Err(MinisignError::Comment);
        }
        Ok(&signature.comment)
    }
}

impl MinisignSignature {
    /// Reads a `.minisig` file.
    pub fn parse(text: &[u8]) -> Result<MinisignSignature, MinisignError> {
        let wrong = || MinisignError::Signature;
        let text = std::str::from_utf8(text).map_err(|_| wrong())?;
        if text.len() > MAX_FILE {
            return Err(wrong());
        }
        let mut lines = text.lines();
        let mut line = || lines.next().ok_or_else(wrong);
        line()?
            .strip_prefix("untrusted comment:")
            .ok_or_else(wrong)?;
        let decode = |line: &str| {
            BASE64
                .decode(line.trim_end().as_bytes())
                .map_err(|_| wrong())
        };
        let bytes = decode(line()?)?;
        let comment = line()?
            .strip_prefix("trusted comment: ")
            .ok_or_else(wrong)?;
        let comment_signature = decode(line()?)?;
        let (algorithm, rest) = bytes.split_first_chunk::<2>().ok_or_else(wrong)?;
        let (id, signature) = rest.split_first_chunk::<8>().ok_or_else(wrong)?;
        let is_prehashed = match algorithm {
            b"ED" => true,
            b"Ed" => false,
            _ => return Err(wrong()),
        };
        Ok(MinisignSignature {
            id: *id,
            is_prehashed,
            signature: signature.try_into().map_err(|_| wrong())?,
            comment: comment.trim_end_matches('\r').into(),
            comment_signature: comment_signature.try_into().map_err(|_| wrong())?,
        })
    }

    /// What its signer says besides, which the second signature covers.
    pub fn comment(&self) -> &str {
        &self.comment
    }

    /// The number of the key that it names.
    pub fn key_id(&self) -> String {
        shown(self.id)
    }
}

/// Minisign shows the number with its last byte first.
fn shown(id: [u8; 8]) -> String {
    format!("{:016X}", u64::from_le_bytes(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key and signature of minisign's own manual are not of one pair; these were made with minisign 0.11.
    #[test]
    fn what_is_no_key_or_signature() {
        for text in ["", "untrusted comment: x\n", "RWQ", "RWQ=", &"A".repeat(56)] {
            assert!(MinisignKey::parse(text).is_err(), "{text}");
        }
        for text in [
            "",
            "untrusted comment: x\n",
            "untrusted comment: x\nRWQ\ntrusted comment: y\nx",
            "x\ny\nz\n",
        ] {
            assert!(MinisignSignature::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
