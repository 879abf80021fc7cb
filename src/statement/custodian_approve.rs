//! `custodian-approve`: what data, or a model, may be used for, by whoever controls it (EN 304 223 5.1.2-1.1, 5.1.2-5,
//! 5.2.1-4).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::predicate::{AtLeastOne, Predicate, header, predicate};
use super::{Subject, Text};
use crate::time::Timestamp;

predicate! {
    /// The predicate of a `custodian-approve` record.
    pub struct CustodianApprove {
        /// How sensitive it is.
        pub classification: Confidentiality,
        /// What it may be used for.
        pub permitted_uses: AtLeastOne<Text>,
        /// What must be in place where it is used.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schemars(length(max = 64))]
        pub required_controls: Vec<Text>,
        /// Until when it may be kept.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub retention_until: Option<Timestamp>,
        /// From when on the approval no longer counts.
        pub expires: Timestamp,
    }
}

/// How sensitive something is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Confidentiality {
    Public,
    Internal,
    Confidential,
    Restricted,
}

impl Predicate for CustodianApprove {
    const PROVISIONS: &'static [&'static str] = &["5.1.2-1.1", "5.1.2-5", "5.1.4-4", "5.2.1-4"];
    const EXAMPLE: &'static str = r#"{
  "classification": "internal",
  "permitted_uses": ["training", "evaluation"],
  "required_controls": ["training network without a way out"],
  "retention_until": "2031-01-01T00:00:00.000Z",
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
