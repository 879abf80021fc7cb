//! `supplier-assess`: whether who supplies an artifact keeps to the rules (EN 304 223 5.1.2-7, 5.2.2-6).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::predicate::{DocumentReference, Predicate, header, predicate};
use super::{Subject, Text};
use crate::time::Timestamp;

predicate! {
    /// The predicate of a `supplier-assess` record.
    pub struct SupplierAssess {
        /// The organisation.
        pub supplier: Text,
        /// Does it keep to EN 304 223?
        pub adheres: Answer,
        /// What it wrote or signed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub document: Option<DocumentReference>,
        /// From when on the assessment no longer counts.
        pub review_by: Timestamp,
    }
}

/// An answer. That it is not known is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    Yes,
    No,
    Unknown,
}

impl Predicate for SupplierAssess {
    const PROVISIONS: &'static [&'static str] = &["5.1.2-7", "5.1.3-3", "5.2.2-6"];
    const EXAMPLE: &'static str = r#"{
  "supplier": "Example Models Ltd",
  "adheres": "yes",
  "document": { "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "uri": "https://example.org/adherence.pdf" },
  "review_by": "2030-01-01T00:00:00.000Z"
}"#;

    header!(attachments);

    fn expires(&self) -> Option<Timestamp> {
        Some(self.review_by)
    }

    fn check(&self, _: &Subject) -> Result<(), &'static str> {
        super::predicate::ends_later(self.time, self.review_by)
    }
}
