//! JSON from outside, read strictly, and canonical JSON (RFC 8785) for what we sign.
//! Verifiers work on the received bytes; nothing here re-serialises them.

use std::collections::HashSet;
use std::fmt;

use serde::Serialize;
use serde::de::{self, Deserialize, DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};

/// Why a JSON document was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    #[error("document of {size} bytes is larger than the limit of {limit}")]
    TooLarge { size: usize, limit: usize },
    #[error("starts with a byte order mark (RFC 8259 §8.1)")]
    ByteOrderMark,
    #[error("is not a JSON object")]
    NotObject,
    #[error(transparent)]
    Malformed(#[from] serde_json::Error),
}

impl JsonError {
    /// Does the document hold a name that the type does not know: a field, or a word in its place?
    ///
    /// serde has no type for that; its own words for it (`de::Error::unknown_field`, `unknown_variant`) are what there is.
    pub fn is_unknown_name(&self) -> bool {
        let JsonError::Malformed(error) = self else {
            return false;
        };
        let text = error.to_string();
        text.starts_with("unknown field") || text.starts_with("unknown variant")
    }
}

/// Parses `bytes` as one JSON object of type `T`.
///
/// Refused: anything but an object (a list could stand for one), more than `limit` bytes, a byte order mark, trailing content, more than 127 levels,
/// an object that names a key twice (readers disagree on which one counts), and an object with
/// more than [`MAX_KEYS`] keys.
pub fn parse<T: DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, JsonError> {
    if bytes.len() > limit {
        return Err(JsonError::TooLarge {
            size: bytes.len(),
            limit,
        });
    }
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err(JsonError::ByteOrderMark);
    }
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(JsonError::NotObject);
    }
    let _: DistinctKeys = serde_json::from_slice(bytes)?;
    Ok(serde_json::from_slice(bytes)?)
}

/// `value` in canonical form: sorted keys, no white space (RFC 8785).
pub fn canonical<T: Serialize>(value: &T) -> Result<Vec<u8>, JsonError> {
    Ok(serde_json_canonicalizer::to_vec(value)?)
}

/// The most keys that one object may have. Our largest has about thirty.
pub const MAX_KEYS: usize = 4096;

/// A document whose objects name no key twice. Holds nothing, so costs no memory but the keys of
/// the objects that are open.
struct DistinctKeys;

impl<'de> Deserialize<'de> for DistinctKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<DistinctKeys, D::Error> {
        deserializer.deserialize_any(DistinctKeysVisitor)
    }
}

struct DistinctKeysVisitor;

impl<'de> Visitor<'de> for DistinctKeysVisitor {
    type Value = DistinctKeys;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<DistinctKeys, A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            let _: DistinctKeys = map.next_value()?;
            if seen.len() == MAX_KEYS {
                return Err(de::Error::custom(format_args!("more than {MAX_KEYS} keys")));
            }
            if let Some(twice) = seen.replace(key) {
                return Err(de::Error::custom(format_args!(
                    "key {twice:?} appears twice"
                )));
            }
        }
        Ok(DistinctKeys)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<DistinctKeys, A::Error> {
        while seq.next_element::<DistinctKeys>()?.is_some() {}
        Ok(DistinctKeys)
    }

    fn visit_bool<E>(self, _: bool) -> Result<DistinctKeys, E> {
        Ok(DistinctKeys)
    }

    fn visit_i64<E>(self, _: i64) -> Result<DistinctKeys, E> {
        Ok(DistinctKeys)
    }

    fn visit_u64<E>(self, _: u64) -> Result<DistinctKeys, E> {
        Ok(DistinctKeys)
    }

    fn visit_f64<E>(self, _: f64) -> Result<DistinctKeys, E> {
        Ok(DistinctKeys)
    }

    fn visit_str<E>(self, _: &str) -> Result<DistinctKeys, E> {
        Ok(DistinctKeys)
    }

    fn visit_unit<E>(self) -> Result<DistinctKeys, E> {
        Ok(DistinctKeys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn read(text: &str) -> Result<Value, JsonError> {
        parse(text.as_bytes(), 1 << 20)
    }

    #[test]
    fn duplicate_keys_are_refused_at_any_depth() {
        assert!(read(r#"{"a":1,"b":{"a":1}}"#).is_ok());
        for twice in [r#"{"a":1,"a":1}"#, r#"{"c":[{"b":{"a":1,"\u0061":2}}]}"#] {
            assert!(
                read(twice)
                    .unwrap_err()
                    .to_string()
                    .contains("appears twice"),
                "{twice}"
            );
        }
    }

    #[test]
    fn depth_size_keys_and_trailing_content_are_bounded() {
        let nested = |depth| {
            read(&format!(
                "{{\"a\":{}{}}}",
                "[".repeat(depth),
                "]".repeat(depth)
            ))
        };
        assert!(nested(100).is_ok());
        assert!(nested(100_000).is_err());
        assert!(matches!(read("[]"), Err(JsonError::NotObject)));
        assert!(read("{} {}").is_err());
        assert!(read("\u{feff}{}").is_err());
        assert!(parse::<Value>(b"{ }", 2).is_err());
        let keys: Vec<_> = (0..=MAX_KEYS).map(|n| format!("\"{n}\":0")).collect();
        assert!(read(&format!("{{{}}}", keys.join(","))).is_err());
    }

    #[test]
    fn canonical_sorts_and_compacts() {
        let value: Value = serde_json::from_str(r#"{ "b": [1, 2], "a": "é\u000f" }"#).unwrap();
        assert_eq!(
            canonical(&value).unwrap(),
            "{\"a\":\"é\\u000f\",\"b\":[1,2]}".as_bytes()
        );
    }
}
