//! `deploy-approve`: one who may says that these very bytes may run somewhere, until a day (EN 304 223 5.1.2-5, 5.2.3-1,
//! 5.2.5-2). Where several must agree, each writes one of his own.

use super::predicate::{DocumentReference, Predicate, header, predicate};
use super::{Subject, Text};
use crate::digest::Sha256;
use crate::time::Timestamp;

predicate! {
    /// The predicate of a `deploy-approve` record.
    pub struct DeployApprove {
        /// Where it may run: `production`, `staging`.
        pub environment: Text,
        /// The system that it is part of.
        pub system: Text,
        /// SHA-256 of the policy file by which it was judged.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub policy_sha256: Option<Sha256>,
        /// The report of the gate that was looked at.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub report: Option<DocumentReference>,
        /// From when on the approval no longer counts.
        pub expires: Timestamp,
    }
}

impl Predicate for DeployApprove {
    const PROVISIONS: &'static [&'static str] = &["5.1.2-5", "5.2.3-1", "5.2.5-2"];
    const EXAMPLE: &'static str = r#"{
  "environment": "production",
  "system": "support-chat",
  "policy_sha256": "5a9f86b26b4a1b9f6bd1b9eb2a3a4a6e8f6a0f3f0b0a9a3f5f8a0c0d6f4d8b11",
  "report": { "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08" },
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
