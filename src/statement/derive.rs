//! `derive`: an artifact was made from others: trained, fine-tuned, converted (EN 304 223 5.1.2-3, 5.2.1-1, 5.2.4-1,
//! 5.2.4-2: what data was used for).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::acquire::ManifestReference;
use super::text::Text;
use super::{Actor, SubjectDigest, TimeSource};
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

impl Derive {
    /// What its types do not say.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        if self.inputs.is_empty() || self.inputs.len() > 128 {
            return Err("has no input, or more than 128");
        }
        if self
            .inputs
            .iter()
            .any(|one| one.digest.artifact().is_none())
        {
            return Err("has an input with neither or both of dirHash1 and sha256");
        }
        Ok(())
    }
}
