//! `quarantine`, `revoke` and `release-quarantine`: something must not be used, or may be used again (EN 304 223 5.2.2-5,
//! 5.4.1-1.1). What was made from it is meant as well.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kind::Record;
use super::predicate::{Predicate, RecordReference, header, predicate};
use super::source_pattern::SourcePattern;
use super::{Subject, Text};
use crate::digest::Sha256;
use crate::time::Timestamp;

predicate! {
    /// The predicate of a `quarantine` record: until it is released, what is meant must not be used.
    pub struct Quarantine {
        /// What is meant. The subject names it too: an artifact or a key by its digest, a source by SHA-256 of its
        /// pattern, a record by SHA-256 of its entry.
        pub scope: Scope,
        pub reason: RecallReason,
        /// The reason in words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub explanation: Option<Text>,
    }
}

predicate! {
    /// The predicate of a `revoke` record: what is meant must not be used any more. Nothing takes that back.
    pub struct Revoke {
        /// What is meant, as in `quarantine`.
        pub scope: Scope,
        pub reason: RecallReason,
        /// The reason in words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub explanation: Option<Text>,
    }
}

predicate! {
    /// The predicate of a `release-quarantine` record. Its subject is that of the quarantine.
    pub struct ReleaseQuarantine {
        /// The quarantine that is over.
        pub releases: RecordReference,
        /// Why.
        pub explanation: Text,
    }
}

/// What is meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "of", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Scope {
    /// The artifact that is the subject.
    Artifact {},
    /// Every artifact that was acquired from there.
    Source { pattern: SourcePattern },
    /// Every signature and record by the key that is the subject.
    Key {
        /// As of when; unless given, as of this record.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<Timestamp>,
    },
    /// The record that is the subject: it no longer counts.
    Record {
        #[serde(deserialize_with = "super::predicate::exact")]
        #[schemars(range(max = 9_007_199_254_740_991_u64))]
        index: u64,
    },
}

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RecallReason {
    PoisonedSource,
    Tampering,
    Vulnerability,
    Licence,
    KeyCompromise,
    PrivacyRequest,
    Other,
}

impl RecallReason {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            RecallReason::PoisonedSource => "poisoned source",
            RecallReason::Tampering => "tampering",
            RecallReason::Vulnerability => "vulnerability",
            RecallReason::Licence => "licence",
            RecallReason::KeyCompromise => "key compromise",
            RecallReason::PrivacyRequest => "privacy request",
            RecallReason::Other => "other",
        }
    }
}

impl Scope {
    fn check(&self, subject: &Subject, time: Timestamp) -> Result<(), &'static str> {
        match self {
            Scope::Source { pattern } => {
                let named = Some(Sha256::of(pattern.as_str().as_bytes()));
                if subject.digest.sha256 == named {
                    Ok(())
                } else {
                    Err("is about a source, and its subject is not SHA-256 of the pattern")
                }
            }
            Scope::Key { since } if since.is_some_and(|since| since > time) => {
                Err("is about a key, ahead of time")
            }
            Scope::Key { .. } | Scope::Record { .. } if subject.digest.sha256.is_none() => {
                Err("is about a key or a record, which a sha256 names")
            }
            Scope::Artifact {} | Scope::Key { .. } | Scope::Record { .. } => Ok(()),
        }
    }
}

impl Record {
    /// What is meant by a record that takes something back.
    pub fn scope(&self) -> Option<&Scope> {
        match self {
            Record::Quarantine(one) => Some(&one.scope),
            Record::Revoke(one) => Some(&one.scope),
            _ => None,
        }
    }
}

const EXAMPLE: &str = r#"{
  "scope": { "of": "source", "pattern": "https://forum.example.com/" },
  "reason": "poisoned-source",
  "explanation": "accounts there were taken over on 3 March"
}"#;

impl Predicate for Quarantine {
    const PROVISIONS: &'static [&'static str] = &["5.1.3-2", "5.2.2-5", "5.4.1-1.1"];
    const EXAMPLE: &'static str = EXAMPLE;

    header!(attachments);

    fn check(&self, subject: &Subject) -> Result<(), &'static str> {
        self.scope.check(subject, self.time)
    }
}

impl Predicate for Revoke {
    const PROVISIONS: &'static [&'static str] = &["5.1.3-2", "5.2.2-5", "5.4.1-1.1"];
    const EXAMPLE: &'static str = EXAMPLE;

    header!(attachments);

    fn check(&self, subject: &Subject) -> Result<(), &'static str> {
        self.scope.check(subject, self.time)
    }
}

impl Predicate for ReleaseQuarantine {
    const PROVISIONS: &'static [&'static str] = &["5.2.2-5"];
    const EXAMPLE: &'static str = r#"{
  "releases": { "index": 17, "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08" },
  "explanation": "the accounts were not used before 3 March"
}"#;

    header!(attachments);
}
