//! `key`: an administrator says whose a key is, that another replaces it, or that it no longer counts; the
//! last its owner may say too (EN 304 223 5.2.1-2).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::predicate::{Predicate, header};
use super::text::{SourceUri, Text};
use super::{Actor, Role, Subject, TimeSource};
use crate::digest::{Sha256, decode_base64};
use crate::key::PublicKey;
use crate::time::Timestamp;

/// The predicate of a `key` record. The statement's subject is the key: its name is the party's, its
/// `sha256` that of the SubjectPublicKeyInfo; of a hybrid key, of both, one behind the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyRecord {
    /// When the record was written.
    pub time: Timestamp,
    pub time_source: TimeSource,
    pub actor: Actor,
    /// The origin of the log that the record is for; in another log it does not count.
    pub log: Text,
    pub change: KeyChange,
}

/// What becomes of the key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "action", rename_all = "kebab-case", deny_unknown_fields)]
pub enum KeyChange {
    /// It speaks for the party that the subject names.
    Register {
        /// What for. Never `admin`: administrators stand in the policy.
        #[schemars(length(min = 1, max = 8))]
        roles: Vec<Role>,
        public_key: KeyText,
        /// From this moment on it no longer counts.
        #[serde(skip_serializing_if = "Option::is_none")]
        valid_until: Option<Timestamp>,
        /// Where the party can be reached. Never a person.
        #[serde(skip_serializing_if = "Option::is_none")]
        contact: Option<Text>,
        /// Where the party says how vulnerabilities are reported to it.
        #[serde(skip_serializing_if = "Option::is_none")]
        disclosure_policy: Option<SourceUri>,
    },
    /// It speaks for the same party in the same roles as an earlier one, which retires.
    Rotate {
        /// The key id of the earlier one.
        previous: Sha256,
        public_key: KeyText,
        /// When the earlier one retires; unless given, when the record was written.
        #[serde(skip_serializing_if = "Option::is_none")]
        previous_until: Option<Timestamp>,
        #[serde(skip_serializing_if = "Option::is_none")]
        valid_until: Option<Timestamp>,
    },
    /// It no longer counts.
    Revoke {
        /// As of when, if that was before the record: nothing that it signed since counts.
        #[serde(skip_serializing_if = "Option::is_none")]
        since: Option<Timestamp>,
        reason: RevocationReason,
    },
}

/// Why a key no longer counts (after RFC 5280 §5.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RevocationReason {
    /// Somebody else has it, or may have it.
    Compromised,
    /// Nobody has it any more.
    Lost,
    /// The party no longer has the role.
    PrivilegeWithdrawn,
    /// It is no longer used.
    CessationOfOperation,
    Unspecified,
}

/// A public key: its SubjectPublicKeyInfo in base64; of a hybrid key, Ed25519 first and ML-DSA-65 second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyText(#[schemars(length(min = 1, max = 2))] Vec<String>);

impl KeyText {
    /// How `key` is written.
    pub fn new(key: &PublicKey) -> KeyText {
        let parts = match key {
            PublicKey::Hybrid(both) => vec![
                PublicKey::Ed25519(both.0).to_spki(),
                PublicKey::MlDsa65(Box::new(both.1.clone())).to_spki(),
            ],
            key => vec![key.to_spki()],
        };
        let encode = |der: &Vec<u8>| data_encoding::BASE64.encode(der);
        KeyText(parts.iter().map(encode).collect())
    }

    /// The key that is written there.
    pub fn key(&self) -> Option<PublicKey> {
        let one = |text: &String| PublicKey::from_spki(&decode_base64(text)?).ok();
        let key = match self.0.as_slice() {
            [only] => one(only)?,
            [classical, quantum] => match (one(classical)?, one(quantum)?) {
                (PublicKey::Ed25519(classical), PublicKey::MlDsa65(quantum)) => {
                    PublicKey::Hybrid(Box::new((classical, *quantum)))
                }
                _ => return None,
            },
            _ => return None,
        };
        // A key has one spelling.
        (KeyText::new(&key) == *self).then_some(key)
    }
}

impl KeyChange {
    /// As it is written in the record.
    pub const fn name(&self) -> &'static str {
        match self {
            KeyChange::Register { .. } => "register",
            KeyChange::Rotate { .. } => "rotate",
            KeyChange::Revoke { .. } => "revoke",
        }
    }
}

impl KeyRecord {
    /// The key that speaks from now on, if there is one.
    pub fn public_key(&self) -> Option<PublicKey> {
        match &self.change {
            KeyChange::Register { public_key, .. } | KeyChange::Rotate { public_key, .. } => {
                public_key.key()
            }
            KeyChange::Revoke { .. } => None,
        }
    }
}

impl Predicate for KeyRecord {
    const PROVISIONS: &'static [&'static str] = &["5.2.1-2", "5.2.2-4"];
    const EXAMPLE: &'static str = r#"{
  "change": { "action": "revoke", "reason": "compromised" }
}"#;

    header!();

    /// Is it about the key that is its subject, in itself?
    fn check(&self, subject: &Subject) -> Result<(), &'static str> {
        let Some(id) = subject.digest.sha256.as_ref() else {
            return Err("is about a key, whose id is a sha256");
        };
        match &self.change {
            KeyChange::Register { roles, .. } => {
                if roles.is_empty() {
                    return Err("gives the key no role");
                }
                if roles.contains(&Role::Admin) {
                    return Err("makes an administrator: these stand in the policy");
                }
            }
            KeyChange::Rotate { previous, .. } if previous == id => {
                return Err("replaces a key by itself");
            }
            KeyChange::Revoke { since, .. } => {
                return match since {
                    Some(since) if *since > self.time => Err("revokes a key ahead of time"),
                    _ => Ok(()),
                };
            }
            KeyChange::Rotate { .. } => {}
        }
        match self.public_key() {
            None => Err("holds no key that can be read"),
            Some(key) if key.key_id() != *id => Err("holds another key than the one it names"),
            Some(_) => Ok(()),
        }
    }
}
