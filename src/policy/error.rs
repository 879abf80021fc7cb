//! Why a policy is refused.

use crate::key::KeyError;
use crate::ledger::StoreError;
use crate::note::NoteError;
use crate::statement::{Kind, Role, TextError};

/// Why a policy is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    #[error("{0}")]
    Toml(#[from] toml::de::Error),
    #[error("version {0} is not known; this program reads version 1")]
    Version(i64),
    #[error("log.path {0}")]
    LogPath(#[from] StoreError),
    #[error(
        "log.slots holds a password, and this file is no place for one; set PGPASSWORD instead"
    )]
    SlotsPassword,
    #[error("log.key {0}")]
    LogKey(#[from] NoteError),
    #[error("the trust policy of the log: {0}")]
    Trust(String),
    #[error("[log] lists {0:?} as a mirror, and no witness in its trust has that address")]
    Mirror(String),
    #[error("[log] needs exactly one of key, trust and trust_file")]
    TrustTwice,
    #[error("the trust policy names logs of several origins, and [log] is one log")]
    Origins,
    #[error("identity {name:?}: its public key {source}")]
    Key { name: String, source: KeyError },
    #[error(
        "identity {name:?} needs exactly one of public_key, certificate and keyless: how its signatures \
         are known"
    )]
    Credential { name: String },
    #[error("identity {name:?}: {why}")]
    Identity { name: String, why: String },
    #[error("[timestamps] {0}")]
    Timestamps(String),
    #[error("identity {name:?}: its name {source}")]
    Name { name: String, source: TextError },
    #[error("identity {name:?} has no role")]
    NoRole { name: String },
    #[error("two identities have the {what} {name:?}")]
    Twice { what: &'static str, name: String },
    #[error("there is no identity: nothing could ever be accepted")]
    NoIdentity,
    #[error("{rule} {why}")]
    Rule { rule: String, why: String },
    #[error("line {line}: {source}{shown}")]
    At {
        line: usize,
        /// The line itself, on one of its own; nothing, if it may hold a secret.
        shown: String,
        source: Box<PolicyError>,
    },
    #[error("{rule} is about keys, not about an artifact")]
    NoArtifact { rule: String },
    #[error("{rule} names no role: it could never be met")]
    NoRoles { rule: String },
    #[error("{rule} asks for role {role}, which no identity has: it could never be met", role = role.name())]
    RoleWithoutIdentity { rule: String, role: Role },
    #[error("{rule}: role {role} may not sign {kind}", role = role.name(), kind = kind.name())]
    RoleNotPermitted {
        rule: String,
        role: Role,
        kind: Kind,
    },
    #[error(
        "gate.signature asks for {threshold} signatures, and {able} identities have its roles: it could never be met"
    )]
    Threshold { threshold: usize, able: usize },
    #[error(
        "gate.signature asks for {needed} signatures by different identities, which these cannot give: nobody counts twice, a bundle has at most 16 signatures and one certificate, and a keyless one stands alone"
    )]
    Together { needed: usize },
    #[error("[algorithms] names {0:?}, which is no kind of key")]
    Algorithm(String),
    #[error(
        "[signing] key has {attribute}: a policy holds no secret, and names no program that would be run; use pin-source and module-name"
    )]
    SigningKey { attribute: &'static str },
    #[error("[algorithms] allows nothing")]
    NoAlgorithm,
    #[error("[algorithms] has a deadline for {0}, which it does not allow")]
    DeadlineOfNothing(String),
    #[error("gate.records names no record: the gate asks for a ledger record")]
    NoRecords,
    #[error(
        "gate.closed_world = false is not supported: an added file can be code that a loader runs"
    )]
    OpenWorld,
}

impl PolicyError {
    /// What in the policy it is about, by its keys: `gate.records[1]`.
    pub(super) fn place(&self) -> Option<String> {
        Some(match self {
            PolicyError::Rule { rule, .. }
            | PolicyError::NoArtifact { rule }
            | PolicyError::NoRoles { rule }
            | PolicyError::RoleWithoutIdentity { rule, .. }
            | PolicyError::RoleNotPermitted { rule, .. } => rule.clone(),
            PolicyError::Version(_) => "version".into(),
            PolicyError::LogPath(_) => "log.path".into(),
            PolicyError::SlotsPassword => "log.slots".into(),
            PolicyError::LogKey(_) => "log.key".into(),
            PolicyError::Mirror(_) => "log.mirrors".into(),
            PolicyError::Trust(_) | PolicyError::TrustTwice | PolicyError::Origins => "log".into(),
            PolicyError::Key { name, .. }
            | PolicyError::Credential { name }
            | PolicyError::Identity { name, .. }
            | PolicyError::Name { name, .. }
            | PolicyError::NoRole { name } => format!("identity[{name}]"),
            PolicyError::Timestamps(_) => "timestamps".into(),
            PolicyError::Threshold { .. } | PolicyError::Together { .. } => "gate.signature".into(),
            PolicyError::Algorithm(_)
            | PolicyError::NoAlgorithm
            | PolicyError::DeadlineOfNothing(_) => "algorithms".into(),
            PolicyError::SigningKey { .. } => "signing.key".into(),
            PolicyError::NoRecords => "gate.records".into(),
            PolicyError::OpenWorld => "gate.closed_world".into(),
            PolicyError::Twice { .. }
            | PolicyError::NoIdentity
            | PolicyError::Toml(_)
            | PolicyError::At { .. } => return None,
        })
    }

    /// May what it is about hold a secret?
    pub(super) fn is_about_a_secret(&self) -> bool {
        matches!(
            self,
            PolicyError::SlotsPassword | PolicyError::SigningKey { .. }
        )
    }
}
