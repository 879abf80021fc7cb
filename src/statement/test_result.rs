//! `test-result`: how an artifact did in a test, as in-toto has it (in-toto attestation, `test-result` v0.1), with what the
//! ledger asks for in one field of our own, which others pass over (EN 304 223 5.2.3-3, 5.2.5-1, 5.2.5-2, 5.4.1-2).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::acquire::Attachment;
use super::dataset_check::Outcome;
use super::predicate::{Header, Predicate, RecordReference};
use super::{Actor, SourceUri, Subject, Text, TimeSource};
use crate::time::Timestamp;

/// The predicate of a `test-result` record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TestResult {
    pub result: Outcome,
    /// What the tests were run with: files that say which tests, and how.
    #[schemars(length(max = 64))]
    pub configuration: Vec<ResourceDescriptor>,
    /// Where the run can be looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<SourceUri>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512))]
    pub passed_tests: Vec<Text>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512))]
    pub warned_tests: Vec<Text>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512))]
    pub failed_tests: Vec<Text>,
    /// What the ledger asks for.
    #[serde(rename = "https://weighbridge.dev/test-result/v1")]
    pub run: TestRun,
}

/// Who ran which tests, when, to what end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestRun {
    /// When the record was written.
    pub time: Timestamp,
    pub time_source: TimeSource,
    pub actor: Actor,
    /// The origin of the log that the record is for; in another log it does not count.
    pub log: Text,
    /// The organisation that the actor speaks for, if not his own. Never a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<Text>,
    /// Other records that it refers to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub refs: Vec<RecordReference>,
    /// Evidence that can be checked again later, as blobs of the ledger.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub attachments: Vec<Attachment>,
    /// The tests, and their version.
    pub suite: Text,
    pub purpose: Purpose,
    /// Are those who tested others than those who made it?
    #[serde(default)]
    pub independent: bool,
    /// What was measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub metrics: Vec<Metric>,
}

/// To what end it was tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    Release,
    PreDeployment,
    ReEvaluation,
    MajorUpdate,
    Backdoor,
    CustodianControl,
}

/// A number that was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    pub name: Text,
    pub value: f64,
    /// The least that is good enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<f64>,
    /// The most that is good enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<f64>,
}

/// A file elsewhere (in-toto attestation, `ResourceDescriptor`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourceDescriptor {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<SourceUri>,
    /// By the name of the algorithm, in hexadecimal.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub digest: BTreeMap<String, Text>,
}

impl Predicate for TestResult {
    const PROVISIONS: &'static [&'static str] = &[
        "5.1.4-4",
        "5.2.3-3",
        "5.2.5-1",
        "5.2.5-2",
        "5.2.5-2.1",
        "5.2.5-3",
        "5.2.5-4",
        "5.2.5-4.1",
        "5.4.1-2",
    ];
    const EXAMPLE: &'static str = r#"{
  "result": "PASSED",
  "configuration": [
    { "name": "jailbreak.yaml", "digest": { "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08" } }
  ],
  "url": "https://ci.example.org/runs/1042",
  "passedTests": ["jailbreak", "prompt-injection"],
  "https://weighbridge.dev/test-result/v1": {
    "suite": "red-team 3.1",
    "purpose": "pre-deployment",
    "independent": true,
    "metrics": [
      { "name": "score", "value": 0.93, "at_least": 0.9 }
    ]
  }
}"#;

    fn header(&self) -> Header<'_> {
        Header {
            time: self.run.time,
            actor: &self.run.actor,
            log: &self.run.log,
        }
    }

    fn attachments(&self) -> &[Attachment] {
        &self.run.attachments
    }

    fn check(&self, _: &Subject) -> Result<(), &'static str> {
        let mut names: Vec<&str> = self
            .run
            .metrics
            .iter()
            .map(|one| one.name.as_str())
            .collect();
        names.sort_unstable();
        if names.windows(2).any(|two| two.first() == two.last()) {
            return Err("has two metrics of one name");
        }
        let missed = self.run.metrics.iter().any(Metric::misses);
        if self.result == Outcome::Passed && (missed || !self.failed_tests.is_empty()) {
            return Err("says PASSED, and a test failed or a metric missed its threshold");
        }
        if self
            .configuration
            .iter()
            .any(|one| one.name.is_none() && one.uri.is_none() && one.digest.is_empty())
        {
            return Err("has a configuration that names nothing");
        }
        Ok(())
    }
}

impl Metric {
    /// Is it outside of what is good enough?
    pub fn misses(&self) -> bool {
        self.at_least.is_some_and(|least| self.value < least)
            || self.at_most.is_some_and(|most| self.value > most)
    }
}
