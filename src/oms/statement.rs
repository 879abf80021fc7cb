//! The payload of an OMS v1.0 signature (ossf/model-signing-spec §5), and that of model_signing 0.2, as
//! JSON.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZero;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::bundle::MAX_BUNDLE;
use crate::digest::Sha256;
use crate::json::{self, Distinct, Key, Names, Text};
use crate::statement::StatementType;

/// What model_signing 0.2.0 wrote: the files are the subjects.
pub(super) const DIGESTS: &str = "https://model_signing/Digests/v0.1";
pub(super) const PREDICATE: &str = "https://model_signing/signature/v1.0";

/// Enough to tell another format from a malformed one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Outline {
    #[serde(default)]
    pub(super) predicate_type: String,
}

/// The SHA-256 of the first subject, in whatever statement.
pub fn first_subject(payload: &[u8]) -> Option<Sha256> {
    #[derive(Deserialize)]
    struct Subjects {
        subject: Vec<FirstSubject>,
    }
    #[derive(Deserialize)]
    struct FirstSubject {
        digest: FirstDigest,
    }
    #[derive(Deserialize)]
    struct FirstDigest {
        sha256: Sha256,
    }
    let subjects: Subjects = json::parse(payload, MAX_BUNDLE).ok()?;
    Some(subjects.subject.first()?.digest.sha256)
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct OmsStatement<'a> {
    #[serde(rename = "_type")]
    pub(super) statement_type: StatementType,
    pub(super) subject: Vec<Subject>,
    pub(super) predicate_type: String,
    #[serde(borrow)]
    pub(super) predicate: Predicate<'a>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Subject {
    pub(super) name: String,
    pub(super) digest: SubjectDigest,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SubjectDigest {
    pub(super) sha256: Sha256,
}

impl Distinct for OmsStatement<'_> {}

/// Unknown fields are ignored here, as model_signing does: they are signed, and change nothing of
/// what the known ones say.
#[derive(Serialize)]
pub(super) struct Predicate<'a> {
    pub(super) serialization: Serialization,
    pub(super) resources: Vec<Resource<'a>>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Predicate<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Predicate<'a>, D::Error> {
        struct PredicateVisitor;
        impl<'de> Visitor<'de> for PredicateVisitor {
            type Value = Predicate<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a predicate")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut serialization, mut resources) = (None, None);
                let mut others = Names::default();
                while let Some(Key(key)) = map.next_key()? {
                    match &*key {
                        "serialization" => once(&mut serialization, &mut map, "serialization")?,
                        "resources" => once(&mut resources, &mut map, "resources")?,
                        _ => others.skip(key, &mut map)?,
                    }
                }
                Ok(Predicate {
                    serialization: serialization.ok_or_else(|| missing("serialization"))?,
                    resources: resources.ok_or_else(|| missing("resources"))?,
                })
            }
        }
        deserializer.deserialize_map(PredicateVisitor)
    }
}

/// Reads the value of a field that was not there before.
fn once<'de, T: Deserialize<'de>, A: MapAccess<'de>>(
    place: &mut Option<T>,
    map: &mut A,
    name: &'static str,
) -> Result<(), A::Error> {
    if place.is_some() {
        return Err(de::Error::duplicate_field(name));
    }
    *place = Some(map.next_value()?);
    Ok(())
}

fn missing<E: de::Error>(name: &'static str) -> E {
    E::missing_field(name)
}

/// An unknown field could change how the resources were made: refused.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Serialization {
    pub(super) method: String,
    pub(super) hash_type: String,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "shard_size"
    )]
    pub(super) shard_size: Option<NonZero<u64>>,
    #[serde(default)]
    pub(super) allow_symlinks: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) ignore_paths: Vec<String>,
}

/// Unknown fields must be ignored (spec §5.2.1).
#[derive(Serialize)]
pub(super) struct Resource<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) algorithm: Cow<'a, str>,
    pub(super) digest: Cow<'a, str>,
    /// Ours: what a kernel keeps of the file under fs-verity, as `fsverity` writes it.
    #[serde(rename = "fsVerity", skip_serializing_if = "Option::is_none")]
    pub(super) fs_verity: Option<Cow<'a, str>>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Resource<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Resource<'a>, D::Error> {
        struct ResourceVisitor;
        impl<'de> Visitor<'de> for ResourceVisitor {
            type Value = Resource<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a resource")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut name, mut algorithm, mut digest) = (None, None, None);
                let mut fs_verity = None;
                let mut others = Names::default();
                while let Some(Key(key)) = map.next_key()? {
                    match &*key {
                        "name" => once(&mut name, &mut map, "name")?,
                        "algorithm" => once(&mut algorithm, &mut map, "algorithm")?,
                        "digest" => once(&mut digest, &mut map, "digest")?,
                        "fsVerity" => once(&mut fs_verity, &mut map, "fsVerity")?,
                        _ => others.skip(key, &mut map)?,
                    }
                }
                let text = |found: Option<Key<'de>>, name| {
                    found.map(|Key(text)| text).ok_or_else(|| missing(name))
                };
                Ok(Resource {
                    name: text(name, "name")?,
                    algorithm: text(algorithm, "algorithm")?,
                    digest: text(digest, "digest")?,
                    // Of another kind than ours: ignored, like every name that is not known.
                    fs_verity: fs_verity.and_then(|Text(text)| text),
                })
            }
        }
        deserializer.deserialize_map(ResourceVisitor)
    }
}

/// A statement of model_signing 0.2.0. It has no root digest, and says nothing about how it was made.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DigestsStatement {
    #[serde(rename = "_type")]
    pub(super) _statement_type: StatementType,
    pub(super) subject: Vec<FileSubject>,
    #[serde(rename = "predicateType")]
    pub(super) _predicate_type: String,
    #[serde(rename = "predicate")]
    pub(super) _predicate: Unused,
}

/// `{"unused": …}`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Unused {
    #[serde(rename = "unused")]
    _unused: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileSubject {
    pub(super) name: String,
    pub(super) digest: SubjectDigest,
    pub(super) annotations: Annotations,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Annotations {
    pub(super) actual_hash_algorithm: String,
}

/// model_signing writes a floating-point number: one that is whole, and that such a number can hold
/// exactly.
fn shard_size<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<NonZero<u64>>, D::Error> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "whole and in range"
    )]
    fn whole(number: f64) -> Option<u64> {
        let most = (1_u64 << 53) as f64;
        (number.fract() == 0.0 && (1.0..=most).contains(&number)).then_some(number as u64)
    }
    let number = serde_json::Number::deserialize(deserializer)?;
    let size = number.as_u64().or_else(|| number.as_f64().and_then(whole));
    let size = size.and_then(NonZero::new);
    size.map(Some)
        .ok_or_else(|| de::Error::custom("the shard size is not a whole number of bytes from 1 on"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1 << 20;

    fn statement(resource: &str, predicate: &str) -> String {
        format!(
            r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"name":"m","digest":{{"sha256":"{}"}}}}],"predicateType":"{PREDICATE}","predicate":{{"serialization":{{"method":"files","hash_type":"sha256"}},"resources":[{{"name":"a","algorithm":"sha256","digest":"00"{resource}}}]{predicate}}}}}"#,
            "0".repeat(64)
        )
    }

    fn read(text: &str) -> Result<OmsStatement<'_>, json::JsonError> {
        json::parse_distinct(text.as_bytes(), LIMIT)
    }

    #[test]
    fn what_is_not_known_is_passed_over_and_named_once() {
        let many: Vec<String> = (0..40)
            .map(|n| format!(r#","{n}":{{"{n}":[1]}}"#))
            .collect();
        let many = many.concat();
        for (resource, predicate) in [
            ("", ""),
            (r#","size":1"#, r#","more":[{"a":{"a":1}}]"#),
            (&*many, &*many),
        ] {
            let text = statement(resource, predicate);
            let read = read(&text).unwrap();
            assert_eq!(read.predicate.resources[0].name, "a");
            assert!(json::parse::<serde_json::Value>(text.as_bytes(), LIMIT).is_ok());
        }
        let last = format!(r#"{many},"39":0"#);
        for (resource, predicate) in [
            (r#","name":"b""#, ""),
            (r#","digest":"01""#, ""),
            (r#","x":1,"x":1"#, ""),
            (r#","x":1,"\u0078":1"#, ""),
            (r#","x":{"y":1,"y":2}"#, ""),
            (r#","fsVerity":"a","fsVerity":"a""#, ""),
            (r#","fsVerity":{"y":1,"y":2}"#, ""),
            ("", r#","resources":[]"#),
            ("", r#","x":1,"x":1"#),
            ("", r#","x":[{"y":1,"y":2}]"#),
            (&*last, ""),
            ("", &*last),
        ] {
            let text = statement(resource, predicate);
            assert!(read(&text).is_err(), "{text}");
            assert!(json::parse::<serde_json::Value>(text.as_bytes(), LIMIT).is_err());
        }
        let lacking = statement("", "").replace(r#""algorithm":"sha256","#, "");
        assert!(read(&lacking).is_err());
    }

    #[test]
    fn what_kernels_keep_is_text_or_nothing() {
        for (field, expected) in [
            ("", None),
            (r#","fsVerity":"sha256:00""#, Some("sha256:00")),
            (r#","fsVerity":"\u0061""#, Some("a")),
            (r#","fsVerity":null"#, None),
            (r#","fsVerity":1.5"#, None),
            (r#","fsVerity":-1"#, None),
            (r#","fsVerity":true"#, None),
            (r#","fsVerity":["sha256:00"]"#, None),
            (r#","fsVerity":{"a":"b"}"#, None),
        ] {
            let text = statement(field, "");
            let read = read(&text).unwrap();
            assert_eq!(read.predicate.resources[0].fs_verity.as_deref(), expected);
        }
    }
}
