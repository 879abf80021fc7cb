//! `known-good`: a state of a system that can be restored (EN 304 223 5.2.1-3, 5.2.1-3.1, 5.2.2-5).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::derive::Input;
use super::predicate::{AtLeastOne, DocumentReference, Predicate, header, predicate};
use super::{Subject, Text};
use crate::digest::Sha256;
use crate::time::Timestamp;

predicate! {
    /// The predicate of a `known-good` record.
    pub struct KnownGood {
        /// Everything that belongs to the state: model, tokenizer, configuration, prompt, container.
        pub set: AtLeastOne<Input>,
        /// How it is restored.
        pub restore_procedure: DocumentReference,
        /// Where copies are kept, as the organisation calls these places.
        pub locations: AtLeastOne<Text>,
        /// When restoring was practised, and how that went.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub drill: Option<Drill>,
        /// When the copies were verified last.
        pub last_verified: Timestamp,
    }
}

/// Restoring was practised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Drill {
    pub at: Timestamp,
    pub restored: bool,
    /// SHA-256 of the minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Sha256>,
}

impl Predicate for KnownGood {
    const PROVISIONS: &'static [&'static str] = &["5.2.1-3", "5.2.1-3.1", "5.2.2-5"];
    const EXAMPLE: &'static str = r#"{
  "set": [
    { "name": "model", "digest": { "dirHash1": "0b7bd8c64a2d0c3f9a5ad0ad0a09b2a7e5c0a1f2b3c4d5e6f708192a3b4c5d6e" }, "role": "weights" },
    { "name": "prompt.txt", "digest": { "sha256": "c3ab8ff13720e8ad9047dd39466b3c8974e592c2fa383d4a3960714caef0c4f2" }, "role": "system-prompt" }
  ],
  "restore_procedure": { "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08" },
  "locations": ["cold store A", "tape vault"],
  "drill": { "at": "2026-10-01T08:00:00.000Z", "restored": true },
  "last_verified": "2026-11-01T00:00:00.000Z"
}"#;

    header!(attachments);

    fn check(&self, _: &Subject) -> Result<(), &'static str> {
        let broken = |one: &Input| one.digest.artifact().is_none();
        if self.set.all().iter().any(broken) {
            return Err("has a part with neither or both of dirHash1 and sha256");
        }
        if self
            .drill
            .as_ref()
            .is_some_and(|drill| drill.at > self.time)
        {
            return Err("was practised after it was written");
        }
        if self.last_verified > self.time {
            return Err("was verified after it was written");
        }
        Ok(())
    }
}
