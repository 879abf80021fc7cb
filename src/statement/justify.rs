//! `justify`: why an artifact is used though a check refuses it; for a while, by somebody who answers for it (EN 304 223
//! 5.2.3-2, 5.2.3-2.1, 5.2.3-2.2).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::predicate::{AtLeastOne, Predicate, header, predicate};
use super::{Subject, Text};
use crate::time::Timestamp;

predicate! {
    /// The predicate of a `justify` record.
    pub struct Justify {
        /// What is missing.
        pub gap: Gap,
        /// The rules of the gate that are excused, by their ids. The policy says which can be.
        pub rules: AtLeastOne<Text>,
        pub reason: Reason,
        /// The reason in words.
        pub explanation: Text,
        /// What else was considered.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schemars(length(max = 64))]
        pub alternatives: Vec<Text>,
        /// Who answers for it: an office or a post. Never a person's name.
        pub accountable: Text,
        /// What users are told of it, in words that they understand.
        pub end_user_summary: Text,
        /// From when on it no longer counts.
        pub expires: Timestamp,
    }
}

/// What is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Gap {
    NoDocumentation,
    NoHash,
    Unsigned,
    UnknownProvenance,
    UnsafeFormat,
    Other,
}

/// Why it is used all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    NoOtherSupplier,
    EvaluationOnly,
    CompensatingControls,
    Legacy,
    Other,
}

impl Predicate for Justify {
    const PROVISIONS: &'static [&'static str] = &["5.2.3-2", "5.2.3-2.1", "5.2.3-2.2"];
    const EXAMPLE: &'static str = r#"{
  "gap": "unsafe-format",
  "rules": ["format.denied"],
  "reason": "no-other-supplier",
  "explanation": "the supplier publishes pickles only; it runs without network and without secrets",
  "alternatives": ["convert to safetensors: the supplier's licence forbids changes"],
  "accountable": "Head of platform",
  "end_user_summary": "The speech model comes in a format that could run code; it is kept apart from your data.",
  "expires": "2030-01-01T00:00:00.000Z"
}"#;

    header!(attachments);

    fn expires(&self) -> Option<Timestamp> {
        Some(self.expires)
    }

    fn check(&self, _: &Subject) -> Result<(), &'static str> {
        super::predicate::ends_later(self.time, self.expires)
    }
}
