//! Records: in-toto Statements v1 about an artifact, one file per kind. What is claimed, by whom,
//! when. Knows no signature and no log.
//!
//! Reading is strict: an unknown field, digest or spelling is refused, since a verifier that
//! skips what it does not know can be told half the truth.

pub mod acquire;
pub mod derive;
pub mod items;
pub mod key;
pub mod release;
mod text;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::artifact::ArtifactDigest;
use crate::digest::Sha256;
use crate::json::{self, JsonError};
use crate::time::Timestamp;

pub use acquire::Acquire;
pub use derive::Derive;
pub use key::KeyRecord;

pub use release::Release;
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

/// The claim.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "predicateType", content = "predicate")]
pub enum Record {
    #[serde(rename = "https://weighbridge.dev/acquire/v1")]
    Acquire(Box<Acquire>),
    #[serde(rename = "https://weighbridge.dev/derive/v1")]
    Derive(Box<Derive>),
    #[serde(rename = "https://weighbridge.dev/key/v1")]
    Key(Box<KeyRecord>),
    #[serde(rename = "https://weighbridge.dev/release/v1")]
    Release(Box<Release>),
}

/// The kinds of record that this version knows.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Where it was obtained, how and when, and how that was authenticated.
    Acquire,
    /// What it was made from, and how.
    Derive,
    /// Whose a key is, what replaces it, that it no longer counts.
    Key,
    /// The developer publishes it under this digest.
    Release,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 4] = [Kind::Acquire, Kind::Derive, Kind::Key, Kind::Release];

    /// The name on the command line and in policies.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Acquire => "acquire",
            Kind::Derive => "derive",
            Kind::Key => "key",
            Kind::Release => "release",
        }
    }

    /// The roles that may sign it (EN 304 223, §3 of our reference: who is responsible for what).
    pub const fn permitted(self) -> &'static [Role] {
        match self {
            Kind::Acquire => &[Role::Developer, Role::Operator, Role::Custodian],
            // Of his own key everybody may say that it no longer counts; what else, `verify::keyring` knows.
            Kind::Key => &[
                Role::Admin,
                Role::Developer,
                Role::Operator,
                Role::Custodian,
                Role::Tester,
                Role::Auditor,
            ],
            Kind::Derive | Kind::Release => &[Role::Developer],
        }
    }

    /// The predicate type in a statement.
    pub const fn predicate_type(self) -> &'static str {
        match self {
            Kind::Acquire => "https://weighbridge.dev/acquire/v1",
            Kind::Derive => "https://weighbridge.dev/derive/v1",
            Kind::Key => "https://weighbridge.dev/key/v1",
            Kind::Release => "https://weighbridge.dev/release/v1",
        }
    }
}

/// What a key may speak for (EN 304 223 clause 4; two of our own for keys that only report, and one for
/// keys that speak of keys).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Creates or adapts the artifact.
    Developer,
    /// Deploys or maintains it.
    Operator,
    /// Controls permissions and integrity of data.
    Custodian,
    /// Reports tests.
    Tester,
    /// Reports audits.
    Auditor,
    /// Says whose the keys are.
    Admin,
}

impl Role {
    /// The name on the command line and in policies.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Developer => "developer",
            Role::Operator => "operator",
            Role::Custodian => "custodian",
            Role::Tester => "tester",
            Role::Auditor => "auditor",
            Role::Admin => "admin",
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

impl Record {
    /// Which kind it is.
    pub fn kind(&self) -> Kind {
        match self {
            Record::Acquire(_) => Kind::Acquire,
            Record::Derive(_) => Kind::Derive,
            Record::Key(_) => Kind::Key,
            Record::Release(_) => Kind::Release,
        }
    }

    /// When it was written, as the actor says.
    pub fn time(&self) -> Timestamp {
        match self {
            Record::Acquire(record) => record.time,
            Record::Derive(record) => record.time,
            Record::Key(record) => record.time,
            Record::Release(record) => record.time,
        }
    }

    /// The log that it is for.
    pub fn log(&self) -> &str {
        match self {
            Record::Acquire(record) => record.log.as_str(),
            Record::Derive(record) => record.log.as_str(),
            Record::Key(record) => record.log.as_str(),
            Record::Release(record) => record.log.as_str(),
        }
    }

    /// The manifest of the artifact that it is about, if it is about one.
    pub fn manifest(&self) -> Option<&acquire::ManifestReference> {
        match self {
            Record::Acquire(record) => Some(&record.manifest),
            Record::Derive(record) => Some(&record.manifest),
            Record::Key(_) => None,
            Record::Release(record) => Some(&record.manifest),
        }
    }

    /// The blobs of the ledger that it names.
    pub fn blobs(&self) -> Vec<Sha256> {
        let attachments = match self {
            Record::Acquire(record) => record.attachments.as_slice(),
            Record::Derive(_) | Record::Key(_) | Record::Release(_) => &[],
        };
        let attached = attachments.iter().map(|one| one.sha256);
        let manifest = self.manifest().map(|manifest| manifest.sha256);
        manifest.into_iter().chain(attached).collect()
    }

    /// Who wrote it.
    pub fn actor(&self) -> &Actor {
        match self {
            Record::Acquire(record) => &record.actor,
            Record::Derive(record) => &record.actor,
            Record::Key(record) => &record.actor,
            Record::Release(record) => &record.actor,
        }
    }
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
        let kind = Kind::ALL
            .into_iter()
            .find(|kind| kind.predicate_type() == outline.predicate_type);
        match kind {
            Some(Kind::Acquire) => {
                Statement::typed(payload, |predicate| Record::Acquire(Box::new(predicate)))
            }
            Some(Kind::Derive) => {
                let statement =
                    Statement::typed(payload, |predicate| Record::Derive(Box::new(predicate)))?;
                if let Record::Derive(record) = &statement.record {
                    record.check().map_err(StatementError::Record)?;
                }
                Ok(statement)
            }
            Some(Kind::Key) => {
                let statement =
                    Statement::typed(payload, |predicate| Record::Key(Box::new(predicate)))?;
                let [subject] = &statement.subject;
                if let Record::Key(record) = &statement.record {
                    record
                        .check(subject.digest.sha256.as_ref())
                        .map_err(StatementError::Record)?;
                }
                Ok(statement)
            }
            Some(Kind::Release) => {
                Statement::typed(payload, |predicate| Record::Release(Box::new(predicate)))
            }
            None => Err(StatementError::UnknownKind {
                subject: outline.digests(),
                predicate_type: outline.predicate_type,
            }),
        }
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

    /// The artifact it is about; none if it is about a key.
    pub fn artifact(&self) -> Option<ArtifactDigest> {
        let [subject] = &self.subject;
        self.record.manifest()?;
        subject.digest.artifact()
    }
}
