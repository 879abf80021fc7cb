//! The payload of an OMS v1.0 signature (ossf/model-signing-spec §5), as JSON.

use serde::{Deserialize, Serialize};

use crate::bundle::Opaque;
use crate::digest::Sha256;
use crate::statement::StatementType;

pub(super) const PREDICATE: &str = "https://model_signing/signature/v1.0";

/// Enough to tell another format from a malformed one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Outline {
    #[serde(default)]
    pub(super) predicate_type: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct OmsStatement {
    #[serde(rename = "_type")]
    pub(super) statement_type: StatementType,
    pub(super) subject: Vec<Subject>,
    pub(super) predicate_type: String,
    pub(super) predicate: Predicate,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Subject {
    pub(super) name: String,
    pub(super) digest: SubjectDigest,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SubjectDigest {
    pub(super) sha256: Sha256,
}

/// Unknown fields are ignored here, as model_signing does: they are signed, and change nothing of
/// what the known ones say.
#[derive(Serialize, Deserialize)]
pub(super) struct Predicate {
    pub(super) serialization: Serialization,
    pub(super) resources: Vec<Resource>,
}

/// An unknown field could change how the resources were made: refused.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Serialization {
    pub(super) method: String,
    pub(super) hash_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) shard_size: Option<Opaque>,
    #[serde(default)]
    pub(super) allow_symlinks: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) ignore_paths: Vec<String>,
}

/// Unknown fields must be ignored (spec §5.2.1).
#[derive(Serialize, Deserialize)]
pub(super) struct Resource {
    pub(super) name: String,
    pub(super) algorithm: String,
    pub(super) digest: String,
}
