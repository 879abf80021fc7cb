//! `verify-event`: an artifact was verified somewhere, with what result (EN 304 223 5.4.2-1, 5.4.2-4, 5.2.1-3.1).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::predicate::{DocumentReference, Predicate, header, predicate};
use super::{Subject, Text};
use crate::digest::Sha256;

predicate! {
    /// The predicate of a `verify-event` record.
    pub struct VerifyEvent {
        /// Where, as the organisation calls it. No path of a machine.
        pub system: Text,
        /// The ledger that it was judged by.
        pub ledger_head: LedgerHead,
        pub result: EventResult,
        /// What was otherwise than it should be.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schemars(length(max = 64))]
        pub deviations: Vec<Text>,
        /// The full report.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub report: Option<DocumentReference>,
    }
}

/// A checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LedgerHead {
    #[serde(deserialize_with = "super::predicate::exact")]
    #[schemars(range(max = 9_007_199_254_740_991_u64))]
    pub size: u64,
    /// Its root hash.
    pub root: Sha256,
}

/// What was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EventResult {
    Pass,
    Fail,
    Inconclusive,
}

impl Predicate for VerifyEvent {
    const PROVISIONS: &'static [&'static str] =
        &["5.2.1-2", "5.2.1-3.1", "5.2.3-1", "5.4.2-1", "5.4.2-4"];
    const EXAMPLE: &'static str = r#"{
  "system": "cluster-a, namespace speech",
  "ledger_head": { "size": 1042, "root": "5a9f86b26b4a1b9f6bd1b9eb2a3a4a6e8f6a0f3f0b0a9a3f5f8a0c0d6f4d8b11" },
  "result": "fail",
  "deviations": ["model.safetensors was changed"],
  "report": { "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08" }
}"#;

    header!(attachments);

    fn check(&self, _: &Subject) -> Result<(), &'static str> {
        if self.result == EventResult::Pass && !self.deviations.is_empty() {
            return Err("says pass, and names deviations");
        }
        Ok(())
    }
}
