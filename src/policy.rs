//! The policy file `weighbridge.toml`, version 1: which log, which identities, what a gate asks for.
//! Text in, policy out; opens no file and knows no clock.
//!
//! Nothing that is required has a default: a setting that is left out is an error, never a wider
//! policy. What may be left out only tightens it: an expiry, further identities and records. A rule
//! that could never be met is an error too.

use std::fmt::Write;

use serde::Deserialize;

use crate::digest::Sha256;
use crate::key::{KeyError, PublicKey};
use crate::ledger::{Location, StoreError};
use crate::note::{NoteError, NoteKey};
use crate::statement::{Kind, Role, Text, TextError};
use crate::time::Timestamp;
use crate::tlog_policy::TlogPolicy;

/// A valid policy.
#[derive(Clone, Debug)]
pub struct Policy {
    pub log: LogTrust,
    pub identities: Vec<Identity>,
    pub gate: GateRules,
    pub signing: Option<Signing>,
}

/// The log that records must be in.
#[derive(Clone, Debug)]
pub struct LogTrust {
    /// Its keys, whose name is the log's origin, and its witnesses.
    pub trust: TlogPolicy,
    /// The file that this was read from, if it was one of its own.
    pub trust_file: Option<String>,
    /// Where the ledger is; a path is relative to the policy file.
    pub path: Location,
    /// The database that holds its slots, if not the ledger itself: a URL without a password.
    pub slots: Option<String>,
    /// Addresses of witnesses in `trust` that are mirrors: they are sent the entries.
    pub mirrors: Vec<String>,
    /// What `ledger prune` may remove.
    pub prune: Vec<Prune>,
}

/// What may be removed from a ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Prune {
    /// Blobs that no record names.
    Blobs,
    /// Partial tiles that a full tile has replaced.
    Partials,
}

/// A key and what it may speak for.
#[derive(Clone, Debug)]
pub struct Identity {
    pub name: Text,
    pub roles: Vec<Role>,
    pub key: PublicKey,
    /// From this moment on it no longer counts.
    pub expires: Option<Timestamp>,
}

/// What a gate asks for.
#[derive(Clone, Debug)]
pub struct GateRules {
    /// An OMS signature by an identity that has one of these roles.
    pub signature_roles: Vec<Role>,
    /// A record of each of these kinds.
    pub records: Vec<RequiredRecord>,
}

/// A record that must be in the ledger about exactly this artifact.
#[derive(Clone, Debug)]
pub struct RequiredRecord {
    pub kind: Kind,
    /// Signed by an identity that has one of these roles.
    pub roles: Vec<Role>,
}

/// What `sign` and `record` use. A gate does not look at it.
#[derive(Clone, Debug)]
pub struct Signing {
    /// The private key, relative to the policy file.
    pub key: String,
    /// The role it signs in.
    pub role: Role,
    /// The log's private key, relative to the policy file.
    pub log_key: Option<String>,
}

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
    #[error("identity {name:?}: its name {source}")]
    Name { name: String, source: TextError },
    #[error("identity {name:?} has no role")]
    NoRole { name: String },
    #[error("two identities have the {what} {name:?}")]
    Twice { what: &'static str, name: String },
    #[error("there is no identity: nothing could ever be accepted")]
    NoIdentity,
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
    #[error("gate.records names no record: the gate asks for a ledger record")]
    NoRecords,
    #[error(
        "gate.closed_world = false is not supported: an added file can be code that a loader runs"
    )]
    OpenWorld,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPolicy {
    version: i64,
    log: RawLog,
    #[serde(default)]
    identity: Vec<RawIdentity>,
    gate: RawGate,
    signing: Option<RawSigning>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLog {
    key: Option<String>,
    trust: Option<String>,
    trust_file: Option<String>,
    path: String,
    slots: Option<String>,
    #[serde(default)]
    mirrors: Vec<String>,
    #[serde(default)]
    prune: Vec<Prune>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawIdentity {
    name: String,
    roles: Vec<Role>,
    public_key: String,
    expires: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGate {
    signature: RawSignature,
    records: Vec<RawRecord>,
    closed_world: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSignature {
    roles: Vec<Role>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRecord {
    kind: Kind,
    roles: Vec<Role>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSigning {
    key: String,
    role: Role,
    log_key: Option<String>,
}

/// The largest policy file.
pub const MAX_POLICY: u64 = 1 << 20;

impl Policy {
    /// Reads a policy that holds its trust policy itself.
    pub fn parse(text: &str) -> Result<Policy, PolicyError> {
        Policy::parse_with(text, |name| Err(format!("{name} was not read")))
    }

    /// Reads a policy, and by `read` the trust policy that it names.
    pub fn parse_with(
        text: &str,
        read: impl FnOnce(&str) -> Result<TlogPolicy, String>,
    ) -> Result<Policy, PolicyError> {
        let raw: RawPolicy = toml::from_str(text)?;
        if raw.version != 1 {
            return Err(PolicyError::Version(raw.version));
        }
        let RawLog {
            key,
            trust,
            trust_file,
            path,
            slots,
            mirrors,
            prune,
        } = raw.log;
        let trust = match (key, trust, &trust_file) {
            (Some(key), None, None) => TlogPolicy::of_log(NoteKey::parse(&key)?),
            (None, Some(trust), None) => TlogPolicy::parse(trust.as_bytes())
                .map_err(|error| PolicyError::Trust(error.to_string()))?,
            (None, None, Some(name)) => read(name).map_err(PolicyError::Trust)?,
            _ => return Err(PolicyError::TrustTwice),
        };
        if trust.logs().any(|key| key.name() != trust.log().name()) {
            return Err(PolicyError::Origins);
        }
        let log = LogTrust {
            trust,
            trust_file,
            path: Location::parse(&path)?,
            slots: self::slots(slots)?,
            mirrors,
            prune,
        };
        let bare = |url: &str| url.trim_end_matches('/').to_owned();
        let urls: Vec<String> = log
            .trust
            .witnesses()
            .iter()
            .filter_map(|one| one.url().map(bare))
            .collect();
        if let Some(mirror) = log
            .mirrors
            .iter()
            .find(|mirror| !urls.contains(&bare(mirror)))
        {
            return Err(PolicyError::Mirror(mirror.clone()));
        }
        let identities = identities(raw.identity)?;
        let gate = gate(raw.gate, &identities)?;
        let signing = raw.signing.map(|signing| Signing {
            key: signing.key,
            role: signing.role,
            log_key: signing.log_key,
        });
        Ok(Policy {
            log,
            identities,
            gate,
            signing,
        })
    }

    /// The identity whose key has `key_id`.
    pub fn identity(&self, key_id: &Sha256) -> Option<&Identity> {
        self.identities
            .iter()
            .find(|identity| identity.key.key_id() == *key_id)
    }
}

impl Identity {
    /// Has its key expired at `now`?
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// The first of `roles` that it has.
    pub fn role_among(&self, roles: &[Role]) -> Option<Role> {
        self.roles.iter().copied().find(|role| roles.contains(role))
    }
}

fn identities(raw: Vec<RawIdentity>) -> Result<Vec<Identity>, PolicyError> {
    let mut identities: Vec<Identity> = Vec::new();
    for RawIdentity {
        name,
        roles,
        public_key,
        expires,
    } in raw
    {
        if roles.is_empty() {
            return Err(PolicyError::NoRole { name });
        }
        let key = PublicKey::from_pem(&public_key).map_err(|source| PolicyError::Key {
            name: name.clone(),
            source,
        })?;
        let text = Text::new(name.clone()).map_err(|source| PolicyError::Name {
            name: name.clone(),
            source,
        })?;
        if identities.iter().any(|identity| identity.name == text) {
            return Err(PolicyError::Twice { what: "name", name });
        }
        if identities.iter().any(|identity| identity.key == key) {
            return Err(PolicyError::Twice {
                what: "key of",
                name,
            });
        }
        identities.push(Identity {
            name: text,
            roles,
            key,
            expires,
        });
    }
    if identities.is_empty() {
        Err(PolicyError::NoIdentity)
    } else {
        Ok(identities)
    }
}

fn gate(raw: RawGate, identities: &[Identity]) -> Result<GateRules, PolicyError> {
    if !raw.closed_world {
        return Err(PolicyError::OpenWorld);
    }
    satisfiable("gate.signature", &raw.signature.roles, identities)?;
    if raw.records.is_empty() {
        return Err(PolicyError::NoRecords);
    }
    let mut records = Vec::new();
    for RawRecord { kind, roles } in raw.records {
        let rule = format!("gate.records kind {}", kind.name());
        if let Some(&role) = roles.iter().find(|role| !kind.permitted().contains(role)) {
            return Err(PolicyError::RoleNotPermitted { rule, role, kind });
        }
        satisfiable(&rule, &roles, identities)?;
        records.push(RequiredRecord { kind, roles });
    }
    Ok(GateRules {
        signature_roles: raw.signature.roles,
        records,
    })
}

fn satisfiable(rule: &str, roles: &[Role], identities: &[Identity]) -> Result<(), PolicyError> {
    if roles.is_empty() {
        return Err(PolicyError::NoRoles { rule: rule.into() });
    }
    let nobody = roles.iter().find(|role| {
        !identities
            .iter()
            .any(|identity| identity.roles.contains(role))
    });
    match nobody {
        Some(&role) => Err(PolicyError::RoleWithoutIdentity {
            rule: rule.into(),
            role,
        }),
        None => Ok(()),
    }
}

/// A policy is committed and shown; a URL in it must not be a secret.
fn slots(url: Option<String>) -> Result<Option<String>, PolicyError> {
    let holds_password = |url: &String| {
        let address = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
        let user = address.rsplit_once('@').map_or("", |(user, _)| user);
        user.contains(':') || url.contains("password=")
    };
    match url {
        Some(url) if holds_password(&url) => Err(PolicyError::SlotsPassword),
        url => Ok(url),
    }
}

/// What [`render`] writes.
pub struct NewPolicy<'a> {
    pub trust: &'a TlogPolicy,
    pub identity: &'a str,
    pub public_key: &'a PublicKey,
    pub key_path: &'a str,
    pub log_key_path: &'a str,
}

/// The policy file that `init` writes: one identity that signs and records releases.
pub fn render(new: &NewPolicy<'_>) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    _ = write!(
        text,
        r#"# Weighbridge: whom this project trusts, and what `weighbridge gate` asks for.
# This file holds no secret. Commit it, and review its changes like code.
version = 1

# The transparency log that records must be in. The name before the first "+" of a key is its origin.
[log]
path = "ledger"
# Its keys and its witnesses, as a C2SP tlog-policy; `weighbridge ledger policy` prints it for others.
trust = """
{trust}"""

# Who may speak, and in which role: developer, operator, custodian, tester, auditor.
[[identity]]
name = "{identity}"
roles = ["developer"]
public_key = """
{public_key}"""
# expires = "2030-01-01T00:00:00Z"

[gate]
# A signature over every file, by an identity with one of these roles.
signature = {{ roles = ["developer"] }}
# Records about exactly these bytes in the ledger.
records = [
  {{ kind = "release", roles = ["developer"] }},
]
# Files that were added, removed or changed are refused. There is no other choice.
closed_world = true

# What `sign` and `record` use; the gate does not read it.
[signing]
key = "{key_path}"
role = "developer"
log_key = "{log_key_path}"
"#,
        trust = new.trust,
        identity = new.identity,
        public_key = new.public_key.to_pem(),
        key_path = new.key_path,
        log_key_path = new.log_key_path,
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{KeyAlgorithm, PrivateKey};

    fn policy() -> String {
        let log = ed25519_dalek::SigningKey::from_bytes(&[3; 32]);
        let log = crate::cosignature::LogSigner::new("log.example", log).unwrap();
        let key = PrivateKey::generate(KeyAlgorithm::P256).unwrap();
        render(&NewPolicy {
            trust: &log.trust_in_both_keys(),
            identity: "release",
            public_key: &key.public(),
            key_path: "keys/signing.key.pem",
            log_key_path: "keys/log.key.pem",
        })
    }

    #[test]
    fn what_init_writes_is_valid() {
        let policy = Policy::parse(&policy()).unwrap();
        assert_eq!(policy.log.trust.log().name(), "log.example");
        assert_eq!(policy.identities.len(), 1);
    }

    /// Invariant 7, for the policy: no line can be removed and leave a policy that passes more.
    #[test]
    fn no_line_may_go() {
        let text = policy();
        let lines: Vec<&str> = text.lines().collect();
        let needed = lines.iter().position(|line| *line == "[signing]").unwrap();
        for (number, line) in lines[..needed].iter().enumerate() {
            // Each of the log's keys is enough: without one, fewer checkpoints pass, not more.
            if line.trim().is_empty() || line.starts_with('#') || line.starts_with("log ") {
                continue;
            }
            let mut without = lines.clone();
            without.remove(number);
            assert!(
                Policy::parse(&without.join("\n")).is_err(),
                "without {line:?}"
            );
        }
    }

    #[test]
    fn contradictions_are_named() {
        let good = policy();
        let identity = {
            let start = good.find("[[identity]]").unwrap();
            good[start..good.find("[gate]").unwrap()].to_owned()
        };
        for (change, message) in [
            (good.replace("version = 1", "version = 2"), "version 2"),
            (
                good.replace("closed_world = true", "closed_world = false"),
                "closed_world",
            ),
            (good.replace("closed_world", "closed_wrld"), "unknown field"),
            (
                good.replace(
                    "signature = { roles = [\"developer\"] }",
                    "signature = { roles = [] }",
                ),
                "no role",
            ),
            (
                good.replace(
                    "signature = { roles = [\"developer\"] }",
                    "signature = { roles = [\"auditor\"] }",
                ),
                "no identity has",
            ),
            (
                good.replace(
                    "kind = \"release\", roles = [\"developer\"]",
                    "kind = \"release\", roles = [\"operator\"]",
                ),
                "may not sign",
            ),
            (
                good.replace("  { kind = \"release\", roles = [\"developer\"] },\n", ""),
                "names no record",
            ),
            (
                good.replace(
                    "roles = [\"developer\"]\npublic_key",
                    "roles = []\npublic_key",
                ),
                "has no role",
            ),
            (good.replace("BEGIN PUBLIC", "BEGIN PRIVATE"), "public key"),
            (good.clone() + &identity, "two identities"),
            (good.replace("log log.example", "log log.exomple"), "key id"),
        ] {
            let error = Policy::parse(&change).unwrap_err().to_string();
            assert!(error.contains(message), "{message:?} not in {error:?}");
        }
    }

    #[test]
    fn places_are_places_and_hold_no_password() {
        let with = |old: &str, new: &str| Policy::parse(&policy().replace(old, new));
        let path = "path = \"ledger\"";
        let bucket = with(path, "path = \"s3://bucket/ledger\"").unwrap();
        assert_eq!(bucket.log.path.to_string(), "s3://bucket/ledger");
        for wrong in ["", "ftp://host/a", "s3://", "postgres://host/a"] {
            let error = with(path, &format!("path = \"{wrong}\"")).unwrap_err();
            assert!(matches!(error, PolicyError::LogPath(_)), "{error}");
        }
        for (slots, good) in [
            (
                "postgres://weighbridge@db.example:5432/ledgers?sslmode=verify-full",
                true,
            ),
            ("postgres://me:hunter2@db.example/ledgers", false),
            (
                "postgres://db.example/ledgers?user=me&password=hunter2",
                false,
            ),
        ] {
            let parsed = with(path, &format!("{path}\nslots = \"{slots}\""));
            assert_eq!(parsed.is_ok(), good, "{slots}");
            assert!(!format!("{parsed:?}").contains("hunter2"));
        }
    }
}
