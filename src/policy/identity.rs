//! Who may speak: `[[identity]]` of the policy, with how his signatures are known.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{PolicyError, ReadFile};
use crate::credential::Credential;
use crate::digest::Sha256;
use crate::key::PublicKey;
use crate::sigstore::trust::{Instance, public, verifier};
use crate::sigstore::{Ask, Expect, KeylessTrust, PatternError};
use crate::statement::{Role, Text};
use crate::time::Timestamp;
use crate::x509::{Certificate, CertificateTrust, Crl, Pin, PinError, Withdrawn};

/// Somebody, and what he may speak for.
#[derive(Clone, Debug)]
pub struct Identity {
    pub name: Text,
    pub roles: Vec<Role>,
    pub credential: Credential,
    /// From this moment on he no longer counts.
    pub expires: Option<Timestamp>,
    /// The record in the ledger that made him one; none if he stands in the policy.
    pub registered: Option<Registration>,
}

/// How somebody came to be an identity by a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    pub record: u64,
    /// The ids of the key that signed the record.
    pub by: Vec<Sha256>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawIdentity {
    name: String,
    roles: Vec<Role>,
    public_key: Option<String>,
    certificate: Option<RawCertificate>,
    keyless: Option<RawKeyless>,
    expires: Option<Timestamp>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawCertificate {
    anchors: Option<String>,
    anchors_file: Option<String>,
    fingerprint: Option<Sha256>,
    subject: Option<String>,
    /// An alternative name.
    name: Option<String>,
    #[serde(default)]
    any_subject: bool,
    #[serde(default)]
    revocation_lists: Vec<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawKeyless {
    identity: Option<String>,
    identity_pattern: Option<String>,
    issuer: Option<String>,
    issuer_pattern: Option<String>,
    /// A trusted root or a ClientTrustConfig; unless given, that of the public instance.
    trust_root: Option<String>,
    #[serde(default)]
    claims: BTreeMap<String, String>,
    #[serde(default = "yes")]
    transparency_log: bool,
    #[serde(default = "yes")]
    certificate_log: bool,
}

const fn yes() -> bool {
    true
}

impl Identity {
    /// Has it expired at `now`?
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// The first of `roles` that it has.
    pub fn role_among(&self, roles: &[Role]) -> Option<Role> {
        self.roles.iter().copied().find(|role| roles.contains(role))
    }

    /// Is it the key with `key_id`?
    pub fn has_key(&self, key_id: &Sha256) -> bool {
        let key = self.credential.key();
        key.is_some_and(|key| key.key_id() == *key_id)
    }
}

pub(super) fn identities(
    raw: Vec<RawIdentity>,
    revoked: &[Withdrawn],
    read: &mut ReadFile<'_>,
) -> Result<Vec<Identity>, PolicyError> {
    let mut identities: Vec<Identity> = Vec::new();
    for raw in raw {
        let name = raw.name.clone();
        if raw.roles.is_empty() {
            return Err(PolicyError::NoRole { name });
        }
        let text = Text::new(name.clone()).map_err(|source| PolicyError::Name {
            name: name.clone(),
            source,
        })?;
        if identities.iter().any(|identity| identity.name == text) {
            return Err(PolicyError::Twice { what: "name", name });
        }
        let (roles, expires) = (raw.roles.clone(), raw.expires);
        let credential = credential(raw, revoked, read)?;
        if let Some(key) = credential.key()
            && identities
                .iter()
                .any(|one| one.credential.key() == Some(key))
        {
            return Err(PolicyError::Twice {
                what: "key of",
                name,
            });
        }
        identities.push(Identity {
            name: text,
            roles,
            credential,
            expires,
            registered: None,
        });
    }
    if identities.is_empty() {
        Err(PolicyError::NoIdentity)
    } else {
        Ok(identities)
    }
}

fn credential(
    raw: RawIdentity,
    revoked: &[Withdrawn],
    read: &mut ReadFile<'_>,
) -> Result<Credential, PolicyError> {
    let name = raw.name;
    let fail = |why: String| PolicyError::Identity {
        name: name.clone(),
        why,
    };
    match (raw.public_key, raw.certificate, raw.keyless) {
        (Some(pem), None, None) => {
            let key = PublicKey::from_pem(&pem).map_err(|source| PolicyError::Key {
                name: name.clone(),
                source,
            })?;
            Ok(Credential::Key(Box::new(key)))
        }
        (None, Some(raw), None) => {
            let trust = certificate(raw, revoked, read).map_err(fail)?;
            Ok(Credential::Certificate(Box::new(trust)))
        }
        (None, None, Some(raw)) => {
            let trust = keyless(raw, revoked, read).map_err(fail)?;
            Ok(Credential::Keyless(Box::new(trust)))
        }
        _ => Err(PolicyError::Credential { name }),
    }
}

/// Anchors that stand in the policy or in a file beside it.
pub(super) fn anchors(
    what: &str,
    inline: Option<String>,
    file: Option<String>,
    read: &mut ReadFile<'_>,
) -> Result<Vec<Certificate>, String> {
    let (place, text) = match (inline, file) {
        (Some(text), None) => (what.to_owned(), text),
        (None, Some(file)) => {
            let bytes = read(&file)?;
            let text = String::from_utf8(bytes).map_err(|error| format!("{file}: {error}"))?;
            (file, text)
        }
        _ => return Err(format!("needs exactly one of {what} and {what}_file")),
    };
    Certificate::from_pem(&text).map_err(|error| format!("{place} {error}"))
}

fn certificate(
    raw: RawCertificate,
    revoked: &[Withdrawn],
    read: &mut ReadFile<'_>,
) -> Result<CertificateTrust, String> {
    let empty = |what: &'static str| move |error: PinError| format!("{what} {error}");
    let mut pins: Vec<Pin> = raw.fingerprint.map(Pin::Fingerprint).into_iter().collect();
    if let Some(subject) = &raw.subject {
        pins.push(Pin::subject(subject).map_err(empty("subject"))?);
    }
    if let Some(name) = &raw.name {
        pins.push(Pin::name(name).map_err(empty("name"))?);
    }
    if pins.is_empty() != raw.any_subject {
        return Err(
            "a certificate needs a name, a subject or a fingerprint, or else any_subject = true: \
             everybody whom the authority certifies"
                .into(),
        );
    }
    let mut lists = Vec::new();
    for file in &raw.revocation_lists {
        let bytes = read(file)?;
        lists.extend(Crl::read(&bytes).map_err(|error| format!("{file} {error}"))?);
    }
    Ok(CertificateTrust {
        anchors: anchors("anchors", raw.anchors, raw.anchors_file, read)?,
        pins,
        lists,
        revoked: revoked.to_vec(),
    })
}

fn keyless(
    raw: RawKeyless,
    revoked: &[Withdrawn],
    read: &mut ReadFile<'_>,
) -> Result<KeylessTrust, String> {
    let verifier = match &raw.trust_root {
        None => public(Instance::Production),
        Some(file) => verifier(&read(file)?),
    };
    let expect = |what: &str, exact: Option<String>, pattern: Option<String>| {
        let parsed = match (exact, pattern) {
            (Some(text), None) => Expect::exact(&text),
            (None, Some(text)) => Expect::pattern(&text),
            _ => return Err(format!("needs exactly one of {what} and {what}_pattern")),
        };
        parsed.map_err(|error| format!("{what}: {error}"))
    };
    let claims = raw.claims.iter().map(|(name, value)| {
        let known = crate::sigstore::CLAIMS.contains(&name.as_str());
        if !known {
            let all = crate::sigstore::CLAIMS.join(", ");
            return Err(format!("there is no claim {name:?}; there are: {all}"));
        }
        let value =
            Expect::exact(value).map_err(|error: PatternError| format!("claim {name}: {error}"))?;
        Ok((name.clone(), value))
    });
    let claims = claims.collect::<Result<_, _>>()?;
    Ok(KeylessTrust {
        revoked: revoked.to_vec(),
        verifier: verifier.map_err(|error| error.to_string())?,
        identity: expect("identity", raw.identity, raw.identity_pattern)?,
        issuer: expect("issuer", raw.issuer, raw.issuer_pattern)?,
        claims,
        ask: Ask {
            log: raw.transparency_log,
            certificate_log: raw.certificate_log,
        },
    })
}
