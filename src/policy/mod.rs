//! The policy file `weighbridge.toml`, version 1: which log, which identities, what a gate asks for.
//! Text in, policy out; opens no file and knows no clock.
//!
//! Nothing that is required has a default: a setting that is left out is an error, never a wider
//! policy. What may be left out only tightens it: an expiry, further identities and records. A rule
//! that could never be met is an error too.

mod algorithms;
mod condition;
mod error;
mod expression;
mod gate;
mod identity;
mod line;
pub(crate) mod places;
mod rehash;
mod render;
pub mod rules;
mod span;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::digest::Sha256;
use crate::key::PublicKey;
use crate::ledger::Location;
use crate::note::NoteKey;
use crate::statement::Role;
use crate::time::Timestamp;
use crate::tlog_policy::TlogPolicy;
use crate::x509::{Certificate, Withdrawn, WithdrawnBy};

pub use algorithms::Algorithms;
use algorithms::RawAlgorithms;
pub use condition::Condition;
pub use error::PolicyError;
pub use expression::{Expression, MAX_ITEMS};
use gate::RawGate;
pub use gate::{GateRules, RequiredRecord};
use identity::RawIdentity;
pub use identity::{Identity, Registration};
pub use rehash::Rehash;
pub use render::{NewPolicy, render};
pub use span::Span;

/// A valid policy.
#[derive(Clone, Debug)]
pub struct Policy {
    pub log: LogTrust,
    pub identities: Vec<Identity>,
    /// Anchors of the authorities that may say when a signature was made.
    pub timestamp_authorities: Vec<Certificate>,
    /// Keys and certificates that no longer count.
    pub revoked: Vec<Withdrawn>,
    /// Which signatures count by their kind.
    pub algorithms: Algorithms,
    pub gate: GateRules,
    /// Gates for other places.
    pub profiles: BTreeMap<String, GateRules>,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Prune {
    /// Blobs that no record names.
    Blobs,
    /// Partial tiles that a full tile has replaced.
    Partials,
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

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawPolicy {
    version: i64,
    log: RawLog,
    #[serde(default)]
    identity: Vec<RawIdentity>,
    timestamps: Option<RawTimestamps>,
    #[serde(default)]
    revoked: Vec<RawRevoked>,
    algorithms: Option<RawAlgorithms>,
    gate: RawGate,
    /// Gates for other places, by their names: what one says replaces what `[gate]` says.
    #[serde(default)]
    profile: BTreeMap<String, RawProfile>,
    signing: Option<RawSigning>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawProfile {
    gate: RawGate,
}

#[derive(Deserialize, JsonSchema)]
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

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawTimestamps {
    authorities: Option<String>,
    authorities_file: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawRevoked {
    /// SHA-256 over a certificate, or over a public key's SubjectPublicKeyInfo.
    sha256: Sha256,
    since: Option<Timestamp>,
    /// For people.
    #[serde(rename = "reason")]
    _reason: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawSigning {
    key: String,
    role: Role,
    log_key: Option<String>,
}

/// Reads a file that a policy names, relative to it.
pub type ReadFile<'a> = dyn FnMut(&str) -> Result<Vec<u8>, String> + 'a;

/// The largest policy file.
pub const MAX_POLICY: u64 = 1 << 20;

impl Policy {
    /// Reads a policy that names no other file.
    pub fn parse(text: &str) -> Result<Policy, PolicyError> {
        Policy::parse_with(text, &mut |name| Err(format!("{name} was not read")))
    }

    /// Reads a policy, and by `read` the files that it names: a trust policy, anchors, lists.
    pub fn parse_with(text: &str, read: &mut ReadFile<'_>) -> Result<Policy, PolicyError> {
        Policy::of_text(text, read).map_err(|error| line::pointed_at(text, error))
    }

    fn of_text(text: &str, read: &mut ReadFile<'_>) -> Result<Policy, PolicyError> {
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
            (None, None, Some(name)) => {
                let bytes = read(name).map_err(PolicyError::Trust)?;
                TlogPolicy::parse(&bytes)
                    .map_err(|error| PolicyError::Trust(format!("{name}: {error}")))?
            }
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
        let revoked = raw.revoked.into_iter().map(|raw| Withdrawn {
            digest: raw.sha256,
            since: raw.since,
            by: WithdrawnBy::Policy,
        });
        let revoked: Vec<Withdrawn> = revoked.collect();
        let identities = identity::identities(raw.identity, &revoked, read)?;
        let timestamp_authorities = timestamps(raw.timestamps, read)?;
        let mut profiles = BTreeMap::new();
        for (name, profile) in raw.profile {
            let place = format!("profile.{name}.gate");
            let rules = profile.gate.over(&raw.gate);
            profiles.insert(name, gate::read(&place, rules, &identities, &log.trust)?);
        }
        let gate = gate::read("gate", raw.gate, &identities, &log.trust)?;
        let signing = raw.signing.map(|signing| Signing {
            key: signing.key,
            role: signing.role,
            log_key: signing.log_key,
        });
        if let Some(signing) = &signing {
            for attribute in ["pin-value", "module-path"] {
                if signing.key.starts_with("pkcs11:") && signing.key.contains(attribute) {
                    return Err(PolicyError::SigningKey { attribute });
                }
            }
        }

        Ok(Policy {
            log,
            identities,
            timestamp_authorities,
            revoked,
            algorithms: Algorithms::read(raw.algorithms)?,
            gate,
            profiles,
            signing,
        })
    }

    /// The schema of the file, for editors. What it cannot say, reading the file does.
    pub fn schema() -> schemars::Schema {
        schemars::schema_for!(RawPolicy)
    }

    /// The same, with the gate of the profile `name`.
    #[must_use]
    pub fn in_profile(mut self, name: &str) -> Option<Policy> {
        self.gate = self.profiles.get(name)?.clone();
        Some(self)
    }

    /// The identity whose key has `key_id`.
    pub fn identity(&self, key_id: &Sha256) -> Option<&Identity> {
        self.identities
            .iter()
            .find(|identity| identity.has_key(key_id))
    }

    /// What the policy says of a key that is no longer to count, for what existed at `signed_at`. A hybrid
    /// key goes with either half.
    pub fn withdrawn(&self, key: &PublicKey, signed_at: Option<Timestamp>) -> Option<&Withdrawn> {
        let ids = key.key_ids();
        self.revoked
            .iter()
            .find(|one| ids.contains(&one.digest) && !one.came_after(signed_at))
    }

    /// The same for a record that `key` signed and that is entry `index` of the log.
    pub fn withdrawn_for_record(&self, key: &PublicKey, index: u64) -> Option<&Withdrawn> {
        let ids = key.key_ids();
        self.revoked.iter().find(|one| {
            let older = match one.by {
                WithdrawnBy::Policy => false,
                WithdrawnBy::Record {
                    index: by,
                    older_count,
                } => older_count && index < by,
            };
            ids.contains(&one.digest) && !older
        })
    }
}

fn timestamps(
    raw: Option<RawTimestamps>,
    read: &mut ReadFile<'_>,
) -> Result<Vec<Certificate>, PolicyError> {
    let Some(raw) = raw else {
        return Ok(Vec::new());
    };
    identity::anchors("authorities", raw.authorities, raw.authorities_file, read)
        .map_err(PolicyError::Timestamps)
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
                good.replace("kind = \"release\"", "kind = \"key\""),
                "is about keys",
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
            assert!(error.to_string().contains("log.path"), "{error}");
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
