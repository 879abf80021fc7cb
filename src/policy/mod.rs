//! The policy file `weighbridge.toml`, version 1: which log, which identities, what a gate asks for.
//! Text in, policy out; opens no file and knows no clock.
//!
//! Nothing that is required has a default: a setting that is left out is an error, never a wider
//! policy. What may be left out only tightens it: an expiry, further identities and records. A rule
//! that could never be met is an error too.

mod algorithms;
mod error;
mod identity;
pub(crate) mod places;
mod render;

use serde::Deserialize;

use crate::bundle::MAX_SIGNATURES;
use crate::credential::Credential;
use crate::digest::Sha256;
use crate::key::PublicKey;
use crate::ledger::Location;
use crate::note::NoteKey;
use crate::statement::{Kind, Role};
use crate::time::Timestamp;
use crate::tlog_policy::TlogPolicy;
use crate::x509::{Certificate, Withdrawn, WithdrawnBy};

pub use algorithms::Algorithms;
use algorithms::RawAlgorithms;
pub use error::PolicyError;
use identity::RawIdentity;
pub use identity::{Identity, Registration};
pub use render::{NewPolicy, render};

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

/// What a gate asks for.
#[derive(Clone, Debug)]
pub struct GateRules {
    /// An OMS signature by an identity that has one of these roles.
    pub signature_roles: Vec<Role>,
    /// How many of them must have signed.
    pub signature_threshold: usize,
    /// Somebody in each of these roles must have signed as well.
    pub countersigned_by: Vec<Role>,
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

#[derive(Deserialize)]
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
struct RawTimestamps {
    authorities: Option<String>,
    authorities_file: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRevoked {
    /// SHA-256 over a certificate, or over a public key's SubjectPublicKeyInfo.
    sha256: Sha256,
    since: Option<Timestamp>,
    /// For people.
    #[serde(rename = "reason")]
    _reason: Option<String>,
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
    threshold: Option<usize>,
    #[serde(default)]
    countersigned_by: Vec<Role>,
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
        let gate = gate(raw.gate, &identities)?;
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
            signing,
        })
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

fn gate(raw: RawGate, identities: &[Identity]) -> Result<GateRules, PolicyError> {
    if !raw.closed_world {
        return Err(PolicyError::OpenWorld);
    }
    satisfiable("gate.signature", &raw.signature.roles, identities)?;
    let signature = &raw.signature;
    let able = identities
        .iter()
        .filter(|identity| identity.role_among(&signature.roles).is_some())
        .count();
    // Whom an admin lets in by the ledger is not known here.
    let open = has_admin(identities);
    let most = if open { MAX_SIGNATURES } else { able };
    let threshold = signature.threshold.unwrap_or(1);
    if !(1..=most).contains(&threshold) {
        return Err(PolicyError::Threshold { threshold, able });
    }
    if !signature.countersigned_by.is_empty() {
        let rule = "gate.signature.countersigned_by";
        satisfiable(rule, &signature.countersigned_by, identities)?;
    }
    let needed = threshold + signature.countersigned_by.len();
    if needed > 1 && !open && !can_sign_together(signature, threshold, identities) {
        return Err(PolicyError::Together { needed });
    }

    if raw.records.is_empty() {
        return Err(PolicyError::NoRecords);
    }
    let mut records = Vec::new();
    for RawRecord { kind, roles } in raw.records {
        let rule = format!("gate.records kind {}", kind.name());
        if kind == Kind::Key {
            return Err(PolicyError::NoArtifact { rule });
        }

        if let Some(&role) = roles.iter().find(|role| !kind.permitted().contains(role)) {
            return Err(PolicyError::RoleNotPermitted { rule, role, kind });
        }
        // Records are signed with keys.
        let keys: Vec<Identity> = identities
            .iter()
            .filter(|identity| identity.credential.key().is_some())
            .cloned()
            .collect();
        satisfiable(&rule, &roles, &keys)?;
        records.push(RequiredRecord { kind, roles });
    }
    Ok(GateRules {
        signature_roles: raw.signature.roles,
        signature_threshold: threshold,
        countersigned_by: raw.signature.countersigned_by,
        records,
    })
}

/// Can identities fill all places of the rule in one bundle? It has signatures of keys, and of one
/// certificate; a keyless signature stands alone.
fn can_sign_together(rule: &RawSignature, threshold: usize, identities: &[Identity]) -> bool {
    let places = threshold + rule.countersigned_by.len();
    if places > MAX_SIGNATURES {
        return false;
    }
    let of_kind = |certificate: bool| {
        identities.iter().filter(move |one| match one.credential {
            Credential::Key(_) => !certificate,
            Credential::Certificate(_) => certificate,
            Credential::Keyless(_) => false,
        })
    };
    let keys: Vec<&Identity> = of_kind(false).collect();
    let certified = of_kind(true).map(Some);
    certified.chain([None]).any(|certified| {
        let people: Vec<&Identity> = keys.iter().copied().chain(certified).collect();
        let fits = |place: usize, person: usize| {
            people
                .get(person)
                .is_some_and(|one| match place.checked_sub(threshold) {
                    None => one.role_among(&rule.roles).is_some(),
                    Some(place) => rule
                        .countersigned_by
                        .get(place)
                        .is_some_and(|role| one.roles.contains(role)),
                })
        };
        places::fill(places, people.len(), &fits)
            .into_iter()
            .all(|filled| filled)
    })
}

fn satisfiable(rule: &str, roles: &[Role], identities: &[Identity]) -> Result<(), PolicyError> {
    if roles.is_empty() {
        return Err(PolicyError::NoRoles { rule: rule.into() });
    }
    if has_admin(identities) {
        return Ok(());
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

/// Can somebody say in the ledger whose further keys are? Records are signed with keys.
fn has_admin(identities: &[Identity]) -> bool {
    identities
        .iter()
        .any(|one| one.roles.contains(&Role::Admin) && one.credential.key().is_some())
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
