//! `dataset-check`: what was looked for in a dataset, and what was taken out (EN 304 223 5.2.1-4.1).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::predicate::{AtLeastOne, DocumentReference, Predicate, header, predicate};
use super::{Subject, SubjectDigest, Text};

predicate! {
    /// The predicate of a `dataset-check` record.
    pub struct DatasetCheck {
        /// One entry for each check.
        pub checks: AtLeastOne<Check>,
        /// What the dataset was before, if the subject is what the check made of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub input: Option<SubjectDigest>,
        /// The full report.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub report: Option<DocumentReference>,
    }
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    pub check: CheckKind,
    /// What made it, and its version.
    pub tool: Text,
    pub result: Outcome,
    /// How many items were taken out.
    #[serde(
        default,
        deserialize_with = "super::predicate::exact_or_absent",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(range(max = 9_007_199_254_740_991_u64))]
    pub removed: Option<u64>,
}

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CheckKind {
    Sanitise,
    Deduplicate,
    PoisonScan,
    PersonalData,
    Licence,
    Other,
}

/// With what result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Outcome {
    Passed,
    Warned,
    Failed,
}

impl Predicate for DatasetCheck {
    const PROVISIONS: &'static [&'static str] = &["5.2.1-4.1"];
    const EXAMPLE: &'static str = r#"{
  "checks": [
    { "check": "deduplicate", "tool": "dedupe 2.1", "result": "PASSED", "removed": 10412 },
    { "check": "personal-data", "tool": "pii-scan 0.9", "result": "WARNED", "removed": 31 }
  ],
  "input": { "dirHash1": "0b7bd8c64a2d0c3f9a5ad0ad0a09b2a7e5c0a1f2b3c4d5e6f708192a3b4c5d6e" },
  "report": { "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08" }
}"#;

    header!(attachments);

    fn check(&self, subject: &Subject) -> Result<(), &'static str> {
        let Some(input) = &self.input else {
            return Ok(());
        };
        match input.artifact() {
            None => Err("has an input with neither or both of dirHash1 and sha256"),
            Some(input) if Some(input) == subject.digest.artifact() => {
                Err("has itself as its input: leave the input out if nothing was changed")
            }
            Some(_) => Ok(()),
        }
    }
}
