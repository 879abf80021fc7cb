//! `dataset-revise`: a dataset is a new version of another (EN 304 223 5.2.1-2; CISA AI Data Security BP3).

use super::acquire::ManifestReference;
use super::predicate::{Predicate, header, predicate};
use super::{Subject, SubjectDigest, Text};

predicate! {
    /// The predicate of a `dataset-revise` record.
    pub struct DatasetRevise {
        /// What it was made from.
        pub parent: SubjectDigest,
        /// What is different, and why.
        pub change: Text,
        /// The organisation that changed it. Never a person.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub author: Option<Text>,
        /// The manifest, as a blob of the ledger.
        pub manifest: ManifestReference,
    }
}

impl Predicate for DatasetRevise {
    const PROVISIONS: &'static [&'static str] = &["5.2.1-2"];
    const EXAMPLE: &'static str = r#"{
  "parent": { "dirHash1": "0b7bd8c64a2d0c3f9a5ad0ad0a09b2a7e5c0a1f2b3c4d5e6f708192a3b4c5d6e" },
  "change": "removed 31 documents with personal data",
  "author": "Data team"
}"#;

    header!(attachments);

    fn manifest(&self) -> Option<&ManifestReference> {
        Some(&self.manifest)
    }

    fn check(&self, subject: &Subject) -> Result<(), &'static str> {
        match self.parent.artifact() {
            None => Err("has a parent with neither or both of dirHash1 and sha256"),
            Some(parent) if Some(parent) == subject.digest.artifact() => {
                Err("has itself as its parent")
            }
            Some(_) => Ok(()),
        }
    }
}
