//! Records: in-toto Statements v1 about an artifact, one file per kind. What is claimed, by whom,
//! when. Knows no signature and no log.
//!
//! Reading is strict: an unknown field, digest or spelling is refused, since a verifier that
//! skips what it does not know can be told half the truth.

pub mod acquire;
pub mod config_change;
pub mod custodian_approve;
pub mod dataset_check;
pub mod dataset_revise;
pub mod deploy_approve;
pub mod derive;
pub mod dispose;
pub mod items;
pub mod justify;
pub mod key;
mod kind;
pub mod known_good;
pub mod notice;
mod predicate;
pub mod recall;
pub mod register;
pub mod release;
pub mod risk_assess;
mod role;
pub mod scan_result;
pub mod source_address;
pub mod source_pattern;
pub mod supplier_assess;
pub mod test_result;
mod text;
pub mod transfer;
pub mod verify_event;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::artifact::ArtifactDigest;
use crate::digest::Sha256;
use crate::json::{self, JsonError};

pub use acquire::Acquire;
pub use derive::Derive;
pub use key::KeyRecord;
pub use kind::{About, Kind, Record, STANDING, may_be};
pub use predicate::{AtLeastOne, DocumentReference, RecordReference};
pub use recall::Scope;
pub use release::Release;
pub use role::Role;
pub use text::{SourceUri, Text, TextError};

/// The `_type` of a statement.
pub const STATEMENT: &str = "https://in-toto.io/Statement/v1";
/// The largest payload: what fits into a leaf of the ledger as base64, with its signatures.
pub const MAX_PAYLOAD: usize = 48 * 1024;

/// A claim of one kind about one artifact.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    /// Always the in-toto Statement v1.
    #[serde(rename = "_type")]
    pub statement_type: StatementType,
    /// The artifact; exactly one.
    pub subject: [Subject; 1],
    #[serde(flatten)]
    pub record: Record,
}

/// The one statement type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StatementType {
    #[serde(rename = "https://in-toto.io/Statement/v1")]
    V1,
}

/// What the statement is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// For people: the last component of the artifact's path. Never trusted.
    pub name: Text,
    pub digest: SubjectDigest,
}

/// The artifact digest: `dirHash1` for a tree, `sha256` for a file. Exactly one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SubjectDigest {
    /// SHA-256 of the manifest text (in-toto `dirHash1`, Go's dirhash H1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir_hash1: Option<Sha256>,
    /// SHA-256 of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256>,
    /// The root digest of the OMS signature over the same artifact, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oms_root: Option<Sha256>,
}

impl SubjectDigest {
    /// The digests of an artifact.
    pub fn new(artifact: ArtifactDigest, oms_root: Option<Sha256>) -> SubjectDigest {
        match artifact {
            ArtifactDigest::DirHash1(value) => SubjectDigest {
                dir_hash1: Some(value),
                sha256: None,
                oms_root,
            },
            ArtifactDigest::Sha256(value) => SubjectDigest {
                dir_hash1: None,
                sha256: Some(value),
                oms_root,
            },
        }
    }

    /// The artifact digest, if there is exactly one.
    pub fn artifact(&self) -> Option<ArtifactDigest> {
        match (self.dir_hash1, self.sha256) {
            (Some(value), None) => Some(ArtifactDigest::DirHash1(value)),
            (None, Some(value)) => Some(ArtifactDigest::Sha256(value)),
            _ => None,
        }
    }
}

/// Where a time came from. Nothing but a third party's time is more than a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TimeSource {
    /// The clock of the machine that wrote the record.
    Local,
    /// A timestamping authority (RFC 3161).
    Rfc3161,
    /// The log.
    Log,
}

/// Who makes the claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// SHA-256 of the SubjectPublicKeyInfo of the signing key.
    pub key_id: Sha256,
    /// The organisation, as the policy names it. Never a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub party: Option<Text>,
    pub role: Role,
}

/// Why bytes are not a statement we can judge.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StatementError {
    #[error("not a statement: {0}")]
    Json(#[from] JsonError),
    #[error("predicate type {predicate_type:?} is not known")]
    UnknownKind {
        predicate_type: String,
        subject: Vec<SubjectDigest>,
    },
    #[error("a statement is about exactly one artifact, not {0}")]
    Subjects(usize),
    #[error("the subject has neither or both of dirHash1 and sha256")]
    Digest,
    #[error("the record {0}")]
    Record(&'static str),
}

impl StatementError {
    /// Does the statement say more than this version knows? Then it may say anything; else it is only wrong.
    pub fn is_newer(&self) -> bool {
        match self {
            StatementError::UnknownKind { .. } => true,
            StatementError::Json(error) => error.is_unknown_name(),
            _ => false,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Typed<P> {
    #[serde(rename = "_type")]
    _statement_type: StatementType,
    subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    _predicate_type: String,
    predicate: P,
}

/// What can be said of a statement of an unknown kind: what it is called, and about which artifact.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outline {
    #[serde(default)]
    predicate_type: String,
    #[serde(default)]
    subject: Vec<OutlineSubject>,
}

#[derive(Deserialize)]
struct OutlineSubject {
    #[serde(default)]
    digest: serde_json::Map<String, serde_json::Value>,
}

/// What kind of claim `payload` says to be, in a statement of any kind.
pub fn predicate_type(payload: &[u8]) -> Option<String> {
    let outline: Outline = json::parse(payload, MAX_PAYLOAD).ok()?;
    Some(outline.predicate_type)
}

/// What a statement of any kind, understood or not, is about.
pub fn subjects(payload: &[u8]) -> Vec<SubjectDigest> {
    let outline: Result<Outline, _> = json::parse(payload, MAX_PAYLOAD);
    outline.map_or(Vec::new(), |outline| outline.digests())
}

impl Outline {
    fn digests(&self) -> Vec<SubjectDigest> {
        let one = |subject: &OutlineSubject| {
            let digest = |name| subject.digest.get(name)?.as_str()?.parse().ok();
            SubjectDigest {
                dir_hash1: digest("dirHash1"),
                sha256: digest("sha256"),
                oms_root: digest("omsRoot"),
            }
        };
        self.subject.iter().map(one).collect()
    }
}

impl Statement {
    /// A statement of `record` about the artifact `name`.
    pub fn new(name: Text, digest: SubjectDigest, record: Record) -> Statement {
        let subject = [Subject { name, digest }];
        Statement {
            statement_type: StatementType::V1,
            subject,
            record,
        }
    }

    /// The canonical form, which is what is signed.
    pub fn to_payload(&self) -> Result<Vec<u8>, JsonError> {
        json::canonical(self)
    }

    /// Reads a payload.
    pub fn parse(payload: &[u8]) -> Result<Statement, StatementError> {
        let outline: Outline = json::parse(payload, MAX_PAYLOAD)?;
        let mut kinds = Kind::ALL.iter();
        let kind = kinds.find(|kind| kind.predicate_type() == outline.predicate_type);
        let Some(&kind) = kind else {
            return Err(StatementError::UnknownKind {
                subject: outline.digests(),
                predicate_type: outline.predicate_type,
            });
        };
        let statement = Statement::of_kind(kind, payload)?;
        let [subject] = &statement.subject;
        let sound = statement.record.check(subject);
        sound.map_err(StatementError::Record)?;
        Ok(statement)
    }

    fn typed<P: DeserializeOwned>(
        payload: &[u8],
        record: impl FnOnce(P) -> Record,
    ) -> Result<Statement, StatementError> {
        let typed: Typed<P> = json::parse(payload, MAX_PAYLOAD)?;
        let count = typed.subject.len();
        let subject: [Subject; 1] = typed
            .subject
            .try_into()
            .map_err(|_| StatementError::Subjects(count))?;
        let [only] = &subject;
        if only.digest.artifact().is_none() {
            return Err(StatementError::Digest);
        }
        let record = record(typed.predicate);
        Ok(Statement {
            statement_type: StatementType::V1,
            subject,
            record,
        })
    }

    /// The artifact it is about; none if it is about a key, a source or another record.
    pub fn artifact(&self) -> Option<ArtifactDigest> {
        let [subject] = &self.subject;
        let is = match self.record.kind().about() {
            About::Content | About::Artifact => true,
            About::Key => false,
            About::Scope => self.record.scope() == Some(&Scope::Artifact {}),
        };
        subject.digest.artifact().filter(|_| is)
    }
}
