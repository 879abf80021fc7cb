//! JSON from outside, read strictly, and canonical JSON (RFC 8785) for what we sign.
//! Verifiers work on the received bytes; nothing here re-serialises them.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::Serialize;
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

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
    #[error("is not UTF-8 (RFC 8259 §8.1): {0}")]
    NotUtf8(#[from] std::str::Utf8Error),
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
pub fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8], limit: usize) -> Result<T, JsonError> {
    Document::new(bytes, limit)?.read()
}

/// A type that finds by itself, at every depth, what is named twice: each of its objects refuses names that it does not know, so that
/// serde sees all of them, or looks at these through [`Names`] and [`Value`].
pub trait Distinct {}

/// The same for types that find by themselves what is named twice: in one pass.
pub fn parse_distinct<'a, T: Deserialize<'a> + Distinct>(
    bytes: &'a [u8],
    limit: usize,
) -> Result<T, JsonError> {
    Ok(serde_json::from_str(object(bytes, limit)?)?)
}

/// One JSON object that is well-formed as [`parse`] has it; to read it as more than one type.
#[derive(Clone, Copy)]
pub struct Document<'a>(&'a str);

impl<'a> Document<'a> {
    /// Checks `bytes`.
    pub fn new(bytes: &'a [u8], limit: usize) -> Result<Document<'a>, JsonError> {
        let text = object(bytes, limit)?;
        let mut deserializer = serde_json::Deserializer::from_str(text);
        DistinctKeys(&mut Vec::new()).deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(Document(text))
    }

    /// What it says, as a `T`.
    pub fn read<T: Deserialize<'a>>(self) -> Result<T, JsonError> {
        Ok(serde_json::from_str(self.0)?)
    }
}

/// The text of `bytes`, if it may be one object.
fn object(bytes: &[u8], limit: usize) -> Result<&str, JsonError> {
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
    Ok(std::str::from_utf8(bytes)?)
}

/// A value of whatever kind whose objects name no key twice; it takes no memory.
#[derive(Clone, Copy, Debug)]
pub struct Value;

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        DistinctKeys(&mut Vec::new()).deserialize(deserializer)?;
        Ok(Value)
    }
}

/// The names of an object that its type does not know.
#[derive(Default)]
pub struct Names<'de> {
    few: Vec<Cow<'de, str>>,
    many: HashSet<Cow<'de, str>>,
}

impl<'de> Names<'de> {
    /// Reads the value of a name that is not known. An error, if the name was there before, or if there are more than
    /// [`MAX_KEYS`].
    pub fn skip<A: MapAccess<'de>>(
        &mut self,
        name: Cow<'de, str>,
        map: &mut A,
    ) -> Result<(), A::Error> {
        if self.few.contains(&name) || self.many.contains(&name) {
            return Err(twice(&name));
        }
        if self.few.len() < FEW {
            self.few.push(name);
        } else if self.many.len() < MAX_KEYS - FEW {
            self.many.insert(name);
        } else {
            return Err(de::Error::custom(format_args!("more than {MAX_KEYS} keys")));
        }
        let Value = map.next_value()?;
        Ok(())
    }
}

fn twice<E: de::Error>(key: &str) -> E {
    E::custom(format_args!("key {key:?} appears twice"))
}

/// `value` in canonical form: sorted keys, no white space (RFC 8785).
pub fn canonical<T: Serialize>(value: &T) -> Result<Vec<u8>, JsonError> {
    Ok(serde_json_canonicalizer::to_vec(value)?)
}

/// The most keys that one object may have. Our largest has about thirty.
pub const MAX_KEYS: usize = 4096;

/// From so many keys on, those of an object are looked up instead of compared one by one.
const FEW: usize = 16;

/// A value whose objects name no key twice. Holds the keys of the objects that are open.
struct DistinctKeys<'k, 'de>(&'k mut Vec<Cow<'de, str>>);

impl<'de> DeserializeSeed<'de> for DistinctKeys<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for DistinctKeys<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let open = self.0;
        let (start, mut many) = (open.len(), HashSet::new());
        while let Some(Key(key)) = map.next_key()? {
            let own = open.get(start..).unwrap_or_default();
            let count = own.len() + many.len();
            let is_there = own.contains(&key) || many.contains(&key);
            if is_there {
                return Err(twice(&key));
            }
            if count == MAX_KEYS {
                return Err(de::Error::custom(format_args!("more than {MAX_KEYS} keys")));
            }
            if count < FEW {
                open.push(key);
            } else {
                many.insert(key);
            }
            map.next_value_seed(DistinctKeys(open))?;
        }
        open.truncate(start);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(DistinctKeys(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Text; or a value of another kind, which says nothing.
pub struct Text<'de>(pub Option<Cow<'de, str>>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text<'de>, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any JSON value")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Some(Cow::Borrowed(text))))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Some(Cow::Owned(text.into()))))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Text<'de>, A::Error> {
                DistinctKeys(&mut Vec::new()).visit_map(map)?;
                Ok(Text(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Text<'de>, A::Error> {
                DistinctKeys(&mut Vec::new()).visit_seq(seq)?;
                Ok(Text(None))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Text<'de>, E> {
                Ok(Text(None))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Text<'de>, E> {
                Ok(Text(None))
            }

            fn visit_u64<E>(self, _: u64) -> Result<Text<'de>, E> {
                Ok(Text(None))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Text<'de>, E> {
                Ok(Text(None))
            }

            fn visit_unit<E>(self) -> Result<Text<'de>, E> {
                Ok(Text(None))
            }
        }
        deserializer.deserialize_any(TextVisitor)
    }
}

/// A key, not copied where it stands in the document as it is.
pub struct Key<'de>(pub Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Key<'de>, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(key)))
            }

            fn visit_str<E>(self, key: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(key.into())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value as AnyValue;

    fn read(text: &str) -> Result<AnyValue, JsonError> {
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
        assert!(parse::<AnyValue>(b"{ }", 2).is_err());
        for count in [FEW - 1, FEW, FEW + 1, 3 * FEW] {
            let mut keys: Vec<_> = (0..count)
                .map(|n| format!("\"{n}\":{{\"{n}\":0}}"))
                .collect();
            assert!(read(&format!("{{{}}}", keys.join(","))).is_ok());
            for again in [0, FEW / 2, count - 1] {
                keys.push(format!("\"{again}\":1"));
                let error = read(&format!("{{{}}}", keys.join(","))).unwrap_err();
                assert!(
                    error.to_string().contains("appears twice"),
                    "{count} {again}"
                );
                keys.pop();
            }
        }
        let keys: Vec<_> = (0..=MAX_KEYS).map(|n| format!("\"{n}\":0")).collect();
        assert!(read(&format!("{{{}}}", keys.join(","))).is_err());
    }

    #[test]
    fn canonical_sorts_and_compacts() {
        let value: AnyValue = serde_json::from_str(r#"{ "b": [1, 2], "a": "é\u000f" }"#).unwrap();
        assert_eq!(
            canonical(&value).unwrap(),
            "{\"a\":\"é\\u000f\",\"b\":[1,2]}".as_bytes()
        );
    }
}
