//! What every record says beside its own: when, by whom, for which log; and what several kinds have in common.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

use super::acquire::{Attachment, ManifestReference};
use super::text::{SourceUri, Text};
use super::{Actor, Subject};
use crate::digest::Sha256;
use crate::time::Timestamp;

/// A predicate of one kind.
pub(super) trait Predicate {
    /// Those of EN 304 223 that it is evidence for.
    const PROVISIONS: &'static [&'static str];
    /// The body of one in JSON, without what every record has.
    const EXAMPLE: &'static str;

    fn header(&self) -> Header<'_>;

    fn manifest(&self) -> Option<&ManifestReference> {
        None
    }

    fn attachments(&self) -> &[Attachment] {
        &[]
    }

    /// From when on it no longer counts.
    fn expires(&self) -> Option<Timestamp> {
        None
    }

    /// What its types do not say.
    fn check(&self, _: &Subject) -> Result<(), &'static str> {
        Ok(())
    }
}

/// What every record says.
pub(super) struct Header<'a> {
    pub time: Timestamp,
    pub actor: &'a Actor,
    pub log: &'a Text,
}

/// Declares the predicate of a kind, with what every record says before its own.
macro_rules! predicate {
    ($(#[$meta:meta])* pub struct $name:ident { $($own:tt)* }) => {
        $(#[$meta])*
        #[derive(
            Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
        )]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            /// When the record was written.
            pub time: $crate::time::Timestamp,
            pub time_source: $crate::statement::TimeSource,
            pub actor: $crate::statement::Actor,
            /// The origin of the log that the record is for; in another log it does not count.
            pub log: $crate::statement::Text,
            /// The organisation that the actor speaks for, if not his own. Never a person.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub on_behalf_of: Option<$crate::statement::Text>,
            /// Other records that it refers to.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            #[schemars(length(max = 32))]
            pub refs: Vec<$crate::statement::RecordReference>,
            /// Evidence that can be checked again later, as blobs of the ledger.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            #[schemars(length(max = 16))]
            pub attachments: Vec<$crate::statement::acquire::Attachment>,
            $($own)*
        }
    };
}
pub(super) use predicate;

/// The header of a predicate that has it in itself.
macro_rules! header {
    () => {
        fn header(&self) -> $crate::statement::predicate::Header<'_> {
            $crate::statement::predicate::Header {
                time: self.time,
                actor: &self.actor,
                log: &self.log,
            }
        }
    };
    (attachments) => {
        $crate::statement::predicate::header!();

        fn attachments(&self) -> &[$crate::statement::acquire::Attachment] {
            &self.attachments
        }
    };
}
pub(super) use header;

/// Another record of the same log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordReference {
    /// Its index.
    #[serde(deserialize_with = "exact")]
    #[schemars(range(max = 9_007_199_254_740_991_u64))]
    pub index: u64,
    /// SHA-256 of the entry's bytes.
    pub sha256: Sha256,
}

/// A document that was made elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DocumentReference {
    pub sha256: Sha256,
    /// Where it can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<SourceUri>,
}

/// One to 64 of something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct AtLeastOne<T>(#[schemars(length(min = 1, max = 64))] Vec<T>);

impl<T> AtLeastOne<T> {
    /// All of them.
    pub fn all(&self) -> &[T] {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for AtLeastOne<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<AtLeastOne<T>, D::Error> {
        let all = Vec::deserialize(deserializer)?;
        match all.len() {
            1..=64 => Ok(AtLeastOne(all)),
            0 => Err(de::Error::custom("is empty: at least one is needed")),
            count => Err(de::Error::custom(format!(
                "has {count} items, more than 64"
            ))),
        }
    }
}

/// What ended before it began never counted.
pub(super) fn ends_later(time: Timestamp, end: Timestamp) -> Result<(), &'static str> {
    if end > time {
        Ok(())
    } else {
        Err("expires before it was written")
    }
}

/// A number that canonical JSON, whose numbers are doubles, writes as it is (RFC 8785 §3.2.2.3).
pub(super) fn exact<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number = u64::deserialize(deserializer)?;
    if number < 1 << 53 {
        Ok(number)
    } else {
        Err(de::Error::custom("more than 2^53 - 1"))
    }
}

/// The same of a number that may be absent.
pub(super) fn exact_or_absent<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<u64>, D::Error> {
    exact(deserializer).map(Some)
}
