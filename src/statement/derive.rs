//! `derive`: an artifact was made from others: trained, fine-tuned, converted (EN 304 223 5.1.2-3, 5.2.1-1, 5.2.4-1,
//! 5.2.4-2: what data was used for).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::acquire::ManifestReference;
use super::predicate::{Predicate, header};
use super::text::Text;
use super::{Actor, Subject, SubjectDigest, TimeSource};
use crate::digest::Sha256;
use crate::time::Timestamp;

/// The predicate of a `derive` record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Derive {
    /// When the record was written.
    pub time: Timestamp,
    pub time_source: TimeSource,
    pub actor: Actor,
    /// The origin of the log that the record is for; in another log it does not count.
    pub log: Text,
    /// How it was made from the inputs.
    pub relation: Relation,
    /// What it was made from.
    #[schemars(length(min = 1, max = 128))]
    pub inputs: Vec<Input>,
    /// The code that made it: a commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<Text>,
    /// SHA-256 of the parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params_sha256: Option<Sha256>,
    /// The run, as whoever runs it calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_id: Option<Text>,
    /// When making it began and ended; absent if nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made: Option<super::acquire::Retrieved>,
    /// Where it was made (EN 304 223 5.2.2-3: tuning happens apart).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment_zone: Option<Zone>,
    /// The manifest, as a blob of the ledger.
    pub manifest: ManifestReference,
}

/// How an artifact was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Relation {
    TrainedOn,
    FineTuned,
    Distilled,
    Merged,
    Quantized,
    AdapterOf,
    Converted,
    EvaluatedOn,
    /// A dataset made from others.
    Selected,
}

/// Where it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Zone {
    Train,
    Dev,
    Prod,
}

/// Something that an artifact was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// For people. Never trusted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Text>,
    /// Exactly one of dirHash1 and sha256.
    pub digest: SubjectDigest,
    /// What it was used as: `training-data`, `base-model`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Text>,
}

impl Predicate for Derive {
    const PROVISIONS: &'static [&'static str] = &[
        "5.1.2-3", "5.2.1-1", "5.2.2-3", "5.2.4-1", "5.2.4-2", "5.4.1-2",
    ];
    const EXAMPLE: &'static str = r#"{
  "relation": "fine-tuned",
  "inputs": [
    { "name": "base", "digest": { "dirHash1": "0b7bd8c64a2d0c3f9a5ad0ad0a09b2a7e5c0a1f2b3c4d5e6f708192a3b4c5d6e" }, "role": "base-model" }
  ],
  "code": "https://example.org/train.git@0123456789abcdef0123456789abcdef01234567",
  "params_sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
  "run_id": "run-1042",
  "made": { "start": "2026-11-01T09:00:00.000Z", "end": "2026-11-02T09:00:00.000Z" },
  "environment_zone": "train"
}"#;

    header!();

    fn manifest(&self) -> Option<&ManifestReference> {
        Some(&self.manifest)
    }

    fn check(&self, _: &Subject) -> Result<(), &'static str> {
        if self.inputs.is_empty() || self.inputs.len() > 128 {
            return Err("has no input, or more than 128");
        }
        let broken = |one: &Input| one.digest.artifact().is_none();
        if self.inputs.iter().any(broken) {
            return Err("has an input with neither or both of dirHash1 and sha256");
        }
        Ok(())
    }
}
