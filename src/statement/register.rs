//! `register`: an asset, whose it is, and how it is protected (EN 304 223 5.2.1-1, 5.2.1-2, 5.1.3-1.2).

use super::acquire::{Asset, ManifestReference};
use super::custodian_approve::Confidentiality;
use super::derive::Input;
use super::predicate::{Predicate, header, predicate};
use super::{Subject, Text};

predicate! {
    /// The predicate of a `register` record.
    pub struct Register {
        /// What kind of artifact it is.
        pub asset: Asset,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub version: Option<Text>,
        /// SPDX licence expression.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub licence: Option<Text>,
        /// The organisation that it belongs to. Never a person.
        pub owner: Text,
        /// The organisation, or the part of one, that controls its data.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub custodian: Option<Text>,
        pub confidentiality: Confidentiality,
        /// What of it is used: text, vision, audio, a component.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schemars(length(max = 64))]
        pub modalities_used: Vec<Text>,
        /// What of it is not used, and was taken out: it must not come back.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schemars(length(max = 64))]
        pub modalities_unused: Vec<Text>,
        /// What it needs to work.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schemars(length(max = 64))]
        pub dependencies: Vec<Input>,
        /// The manifest, as a blob of the ledger.
        pub manifest: ManifestReference,
    }
}

impl Predicate for Register {
    const PROVISIONS: &'static [&'static str] = &[
        "5.1.2-1",
        "5.1.2-3",
        "5.1.2-6",
        "5.1.3-1.2",
        "5.2.1-1",
        "5.2.1-2",
        "5.2.1-4.2",
        "5.2.4-1",
    ];
    const EXAMPLE: &'static str = r#"{
  "asset": "model",
  "version": "4.0",
  "licence": "Apache-2.0",
  "owner": "Speech team",
  "custodian": "Records office",
  "confidentiality": "internal",
  "modalities_used": ["audio"],
  "modalities_unused": ["text"],
  "dependencies": [
    { "name": "tokenizer", "digest": { "sha256": "c3ab8ff13720e8ad9047dd39466b3c8974e592c2fa383d4a3960714caef0c4f2" }, "role": "tokenizer" }
  ]
}"#;

    header!(attachments);

    fn manifest(&self) -> Option<&ManifestReference> {
        Some(&self.manifest)
    }

    fn check(&self, _: &Subject) -> Result<(), &'static str> {
        let broken = |one: &Input| one.digest.artifact().is_none();
        if self.dependencies.iter().any(broken) {
            return Err("has a dependency with neither or both of dirHash1 and sha256");
        }
        if self
            .modalities_used
            .iter()
            .any(|one| self.modalities_unused.contains(one))
        {
            return Err("names a modality as used and as unused");
        }
        Ok(())
    }
}
