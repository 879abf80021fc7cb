//! `release`: the developer publishes an artifact under this digest (EN 304 223 5.2.4-1,
//! 5.2.4-1.2).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::acquire::ManifestReference;
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
