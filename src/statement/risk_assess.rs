//! `risk-assess`: what can go wrong with an artifact, and what is done about it (EN 304 223 5.1.2-1, 5.1.2-4, 5.1.3-1,
//! 5.2.3-2.1).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::predicate::{AtLeastOne, DocumentReference, Predicate, header, predicate};
use super::{Subject, Text};
use crate::time::Timestamp;

predicate! {
    /// The predicate of a `risk-assess` record.
    pub struct RiskAssess {
        pub threats: AtLeastOne<Threat>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schemars(length(max = 64))]
        pub mitigations: Vec<Mitigation>,
        /// What is left when all of them are in place.
        pub residual: Level,
        /// From when on the assessment no longer counts.
        pub review_by: Timestamp,
        /// The whole study.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub document: Option<DocumentReference>,
    }
}

/// A way in which it can be attacked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Threat {
    /// An id of MITRE ATLAS, such as `AML.T0010`, or a name of one's own.
    pub id: Text,
    pub likelihood: Level,
    pub impact: Level,
}

/// What is done about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mitigation {
    pub name: Text,
    pub status: MitigationStatus,
}

/// How far that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MitigationStatus {
    Planned,
    InPlace,
    Verified,
    Rejected,
}

/// How much.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    Low,
    Medium,
    High,
    Critical,
}

impl Predicate for RiskAssess {
    const PROVISIONS: &'static [&'static str] = &[
        "5.1.2-1",
        "5.1.2-4",
        "5.1.2-6",
        "5.1.3-1",
        "5.1.3-1.1",
        "5.1.3-1.3",
        "5.1.3-4",
        "5.2.3-2.1",
    ];
    const EXAMPLE: &'static str = r#"{
  "threats": [
    { "id": "AML.T0010", "likelihood": "medium", "impact": "high" }
  ],
  "mitigations": [
    { "name": "verified at every start", "status": "in-place" }
  ],
  "residual": "low",
  "review_by": "2030-01-01T00:00:00.000Z",
  "document": { "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08" }
}"#;

    header!(attachments);

    fn expires(&self) -> Option<Timestamp> {
        Some(self.review_by)
    }

    fn check(&self, _: &Subject) -> Result<(), &'static str> {
        super::predicate::ends_later(self.time, self.review_by)
    }
}
