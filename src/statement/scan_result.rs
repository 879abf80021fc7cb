//! `scan-result`: what a scanner found in an artifact (EN 304 223 5.1.2-4, 5.2.3-1; NIST SP 800-218A PW.4.4).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Text;
use super::dataset_check::Outcome;
use super::predicate::{DocumentReference, Predicate, header, predicate};

predicate! {
    /// The predicate of a `scan-result` record.
    pub struct ScanResult {
        pub scanner: Text,
        pub version: Text,
        /// The version of what it looks for, if that is another.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub database: Option<Text>,
        /// How much it found.
        #[serde(default)]
        pub findings: FindingCounts,
        /// What it says.
        pub result: Outcome,
        /// The full report.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub report: Option<DocumentReference>,
    }
}

/// Findings by severity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FindingCounts {
    #[serde(default)]
    pub critical: u32,
    #[serde(default)]
    pub high: u32,
    #[serde(default)]
    pub medium: u32,
    #[serde(default)]
    pub low: u32,
}

impl Predicate for ScanResult {
    const PROVISIONS: &'static [&'static str] = &["5.1.2-4", "5.2.3-1"];
    const EXAMPLE: &'static str = r#"{
  "scanner": "modelscan",
  "version": "0.8.8",
  "database": "2026-11-01",
  "findings": { "critical": 0, "high": 0, "medium": 1, "low": 0 },
  "result": "WARNED",
  "report": { "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08" }
}"#;

    header!(attachments);

    fn check(&self, _: &super::Subject) -> Result<(), &'static str> {
        if self.result == Outcome::Passed && self.findings.critical > 0 {
            return Err("says PASSED, and has critical findings");
        }
        Ok(())
    }
}
