//! `notice`: users were told of a change before it was made (EN 304 223 5.2.3-4, 5.3.1-2.2, 5.4.1-1).

use super::predicate::{AtLeastOne, Predicate, header, predicate};
use super::{Subject, SubjectDigest, Text};
use crate::time::Timestamp;

predicate! {
    /// The predicate of a `notice` record. Its subject is what comes.
    pub struct Notice {
        /// Who was told.
        pub audience: Text,
        /// What changes.
        pub change: Text,
        /// What is replaced.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub replaces: Option<SubjectDigest>,
        pub sent_at: Timestamp,
        /// When the change is made.
        pub effective_at: Timestamp,
        /// How they were told.
        pub channel: Text,
        /// In which forms it can be read: plain text, easy language, WCAG 2.1 AA.
        pub forms: AtLeastOne<Text>,
    }
}

impl Predicate for Notice {
    const PROVISIONS: &'static [&'static str] = &[
        "5.1.3-2",
        "5.2.3-4",
        "5.3.1-1",
        "5.3.1-2",
        "5.3.1-2.2",
        "5.3.1-3",
        "5.4.1-1",
        "5.4.1-3",
    ];
    const EXAMPLE: &'static str = r#"{
  "audience": "customers of support-chat",
  "change": "answers come from version 4, which no longer gives medical advice",
  "replaces": { "dirHash1": "0b7bd8c64a2d0c3f9a5ad0ad0a09b2a7e5c0a1f2b3c4d5e6f708192a3b4c5d6e" },
  "sent_at": "2026-10-01T08:00:00.000Z",
  "effective_at": "2026-11-15T08:00:00.000Z",
  "channel": "release notes and mail",
  "forms": ["plain text", "WCAG 2.1 AA"]
}"#;

    header!(attachments);

    fn check(&self, _: &Subject) -> Result<(), &'static str> {
        if self.sent_at > self.time {
            return Err("was sent after it was written");
        }
        let broken = |one: &SubjectDigest| one.artifact().is_none();
        if self.replaces.as_ref().is_some_and(broken) {
            return Err("replaces something with neither or both of dirHash1 and sha256");
        }
        Ok(())
    }
}
