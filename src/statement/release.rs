//! `release`: the developer publishes an artifact under this digest (EN 304 223 5.2.4-1,
//! 5.2.4-1.2).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::acquire::ManifestReference;
use super::predicate::{Predicate, header};
use super::text::{SourceUri, Text};
use super::{Actor, TimeSource};
use crate::digest::Sha256;
use crate::time::Timestamp;

/// The predicate of a `release` record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// When the record was written.
    pub time: Timestamp,
    pub time_source: TimeSource,
    pub actor: Actor,
    /// The origin of the log that the record is for; in another log it does not count.
    pub log: Text,
    /// The version, as the developer calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<Text>,
    /// SPDX licence expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub licence: Option<Text>,
    /// Where the list of hashes is published for those who receive the artifact.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash_list_uri: Option<SourceUri>,
    /// Until when security updates are made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub support_until: Option<Timestamp>,
    /// The OMS signature over the same content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<SignatureReference>,
    /// The manifest, as a blob of the ledger.
    pub manifest: ManifestReference,
}

/// An OMS bundle, by digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignatureReference {
    /// SHA-256 of the bundle file.
    pub sha256: Sha256,
    /// SHA-256 of the SubjectPublicKeyInfo of the key that signed it.
    pub key_id: Sha256,
}

impl Predicate for Release {
    const PROVISIONS: &'static [&'static str] = &[
        "5.1.4-5",
        "5.2.2-4",
        "5.2.4-1",
        "5.2.4-1.1",
        "5.2.4-1.2",
        "5.2.5-3",
        "5.3.1-2",
        "5.3.1-2.1",
        "5.4.1-1",
        "5.4.1-1.1",
        "5.4.1-3",
    ];
    const EXAMPLE: &'static str = r#"{
  "version": "1.2",
  "licence": "Apache-2.0",
  "hash_list_uri": "https://example.org/model/SHA256SUMS",
  "support_until": "2031-01-01T00:00:00.000Z"
}"#;

    header!();

    fn manifest(&self) -> Option<&ManifestReference> {
        Some(&self.manifest)
    }
}
