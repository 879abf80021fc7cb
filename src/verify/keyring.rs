//! Whose keys count: those of the policy, as the `key` records of the ledger changed them, in the log's
//! order. Pure, as everything here.
//!
//! Only an identity that the policy itself makes an `admin` says whose a key is, so that a stolen key can
//! never bring in another; that a key no longer counts, its owner may say too. What is revoked stays so.

use std::borrow::Cow;

use super::LedgerEvidence;
use super::records::{authorised, signed};
use crate::credential::Credential;
use crate::digest::Sha256;
use crate::envelope::{Envelope, IN_TOTO};
use crate::finding::{Finding, Rule, Severity};
use crate::key::PublicKey;
use crate::ledger::tile::MAX_ENTRY;
use crate::policy::{Identity, Policy, Registration};
use crate::statement::key::KeyChange;
use crate::statement::{KeyRecord, Record, Role, Statement, Text, predicate_type};
use crate::time::Timestamp;
use crate::x509::{Withdrawn, WithdrawnBy};

/// The policy, with the keys that the ledger added and withdrew.
pub struct Keyring<'a> {
    policy: Cow<'a, Policy>,
    now: Timestamp,
}

/// What became of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is no record about a key, or by nobody who is trusted.
    Foreign,
    /// It changed whose keys count.
    Counts,
    /// It does not count, for this reason.
    Ignored(String),
    /// It is by an administrator, and may say anything.
    Unknown(String),
}

/// May `payload` be a statement about a key?
pub fn is_about_a_key(payload: &[u8]) -> bool {
    let holds = |what: &[u8]| payload.windows(what.len()).any(|window| window == what);
    // Escapes spell a type in many ways: what has some is read.
    holds(KIND.as_bytes())
        || (payload.contains(&b'\\') && predicate_type(payload).is_some_and(|it| it.contains(KIND)))
}

/// In every version of the type.
const KIND: &str = "weighbridge.dev/key/";

impl<'a> Keyring<'a> {
    /// The keys of `policy`, as of `now`.
    pub fn new(policy: &'a Policy, now: Timestamp) -> Keyring<'a> {
        Keyring {
            policy: Cow::Borrowed(policy),
            now,
        }
    }

    /// The policy as the records that were taken have changed it.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Takes the entry at `index`; entries come in the log's order.
    pub fn take(&mut self, index: u64, entry: &[u8]) -> Taken {
        let Ok(envelope) = Envelope::parse(entry, MAX_ENTRY) else {
            return Taken::Foreign;
        };
        if !is_about_a_key(&envelope.payload) {
            return Taken::Foreign;
        }
        let identities = &self.policy.identities;
        let by: Vec<&Identity> = identities
            .iter()
            .filter(|identity| signed(&envelope, identity))
            .collect();
        if by.is_empty() {
            return Taken::Foreign;
        }
        let misunderstood = |why: String| {
            if by.iter().any(|one| one.roles.contains(&Role::Admin)) {
                Taken::Unknown(why)
            } else {
                Taken::Ignored(why)
            }
        };
        let statement = match Statement::parse(&envelope.payload) {
            Ok(_) if envelope.payload_type != IN_TOTO => {
                return misunderstood(format!("is of type {:?}", envelope.payload_type));
            }
            Ok(statement) => statement,
            Err(error) => return misunderstood(error.to_string()),
        };
        let Record::Key(record) = &statement.record else {
            return Taken::Foreign;
        };
        let signer = match authorised(&envelope, &statement, (index, &self.policy), self.now) {
            Ok(identity) => identity.clone(),
            Err(why) => return Taken::Ignored(why),
        };
        let [subject] = &statement.subject;
        let (Some(id), Some(signer_key)) = (subject.digest.sha256, signer.credential.key()) else {
            return Taken::Foreign;
        };
        let done = match &record.change {
            KeyChange::Revoke { since, .. } => {
                if record.actor.role != Role::Admin && !signer_key.key_ids().contains(&id) {
                    let name = &signer.name;
                    let why = format!("{name} is no admin, and the key is not the one that signed");
                    return Taken::Ignored(why);
                }
                self.revoke(id, *since, record.time, index);
                Ok(())
            }
            _ if record.actor.role != Role::Admin => {
                Err(format!("{} does not speak as admin", signer.name))
            }
            KeyChange::Register {
                roles, valid_until, ..
            } => {
                let party = (subject.name.clone(), roles.clone(), *valid_until);
                self.add(record, party, signer_key, index)
            }
            KeyChange::Rotate { previous, .. } => self.rotate(record, previous, signer_key, index),
        };
        match done {
            Ok(()) => Taken::Counts,
            Err(why) => Taken::Ignored(why),
        }
    }

    fn withdraw(&mut self, withdrawn: Withdrawn) {
        let policy = self.policy.to_mut();
        policy.revoked.push(withdrawn);
        for identity in &mut policy.identities {
            match &mut identity.credential {
                Credential::Key(_) => {}
                Credential::Certificate(trust) => trust.revoked.push(withdrawn),
                Credential::Keyless(trust) => trust.revoked.push(withdrawn),
            }
        }
    }

    fn revoke(&mut self, id: Sha256, since: Option<Timestamp>, time: Timestamp, index: u64) {
        self.withdraw(Withdrawn {
            digest: id,
            since: Some(since.unwrap_or(time)),
            by: WithdrawnBy::Record {
                index,
                older_count: since.is_none(),
            },
        });
        if since.is_some() {
            // Whom somebody else let in with a stolen key is in no longer.
            let by_it = |identity: &Identity| {
                let registered = identity.registered.as_ref();
                registered.is_some_and(|registered| registered.by.contains(&id))
            };
            self.policy
                .to_mut()
                .identities
                .retain(|identity| !by_it(identity));
        }
    }

    fn rotate(
        &mut self,
        record: &KeyRecord,
        previous: &Sha256,
        by: &PublicKey,
        index: u64,
    ) -> Result<(), String> {
        let KeyChange::Rotate {
            previous_until,
            valid_until,
            ..
        } = &record.change
        else {
            return Ok(());
        };
        let mut identities = self.policy.identities.iter();
        let Some(former) = identities.find(|identity| identity.has_key(previous)) else {
            return Err(format!("replaces a key that is nobody's: {previous}"));
        };
        if former.roles.contains(&Role::Admin) {
            let name = &former.name;
            return Err(format!(
                "replaces the key of {name}, an admin, whose key stands in the policy"
            ));
        }
        // Nobody gains time by a new key.
        let until = [former.expires, *valid_until].into_iter().flatten().min();
        let party = (former.name.clone(), former.roles.clone(), until);
        self.add(record, party, by, index)?;
        let since = previous_until.unwrap_or(record.time);
        if since <= self.now {
            self.withdraw(Withdrawn {
                digest: *previous,
                since: Some(since),
                by: WithdrawnBy::Record {
                    index,
                    older_count: true,
                },
            });
        }
        Ok(())
    }

    fn add(
        &mut self,
        record: &KeyRecord,
        (name, roles, expires): (Text, Vec<Role>, Option<Timestamp>),
        by: &PublicKey,
        index: u64,
    ) -> Result<(), String> {
        let Some(key) = record.public_key() else {
            return Err("holds no key".into());
        };
        if self.policy.withdrawn(&key, None).is_some() {
            return Err("is about a key that was revoked".into());
        }
        let ids = key.key_ids();
        let same = |identity: &Identity| {
            let known = identity.credential.key();
            known.is_some_and(|known| known.key_ids().iter().any(|id| ids.contains(id)))
        };
        if let Some(known) = self
            .policy
            .identities
            .iter()
            .find(|identity| same(identity) && identity.registered.is_none())
        {
            let name = &known.name;
            return Err(format!(
                "is about the key of {name}, which stands in the policy"
            ));
        }
        let identities = &mut self.policy.to_mut().identities;
        identities.retain(|identity| !same(identity));
        identities.push(Identity {
            name,
            roles,
            credential: Credential::Key(Box::new(key)),
            expires,
            registered: Some(Registration {
                record: index,
                by: by.key_ids(),
            }),
        });
        Ok(())
    }
}

/// The keys of `policy` as `ledger` changed them, and what is to be said of its records about keys.
pub(super) fn of<'a>(
    policy: &'a Policy,
    ledger: &LedgerEvidence,
    now: Timestamp,
) -> (Keyring<'a>, Vec<Finding>) {
    let mut ring = Keyring::new(policy, now);
    let mut findings = Vec::new();
    let LedgerEvidence::Records { keys, .. } = ledger else {
        return (ring, findings);
    };
    let mut counted = 0;
    for entry in keys {
        let index = entry.proof.index;
        let finding = match entry.proof.verify(&entry.bytes, &policy.log.trust) {
            Err(error) => Finding::new(Rule::LedgerInclusion, Severity::Fail, error.to_string()),
            Ok(_) => match ring.take(index, &entry.bytes) {
                Taken::Foreign => continue,
                Taken::Counts => {
                    counted += 1;
                    continue;
                }
                Taken::Ignored(why) => Finding::new(
                    Rule::LedgerKeys,
                    Severity::Warning,
                    format!("does not count: {why}"),
                ),
                Taken::Unknown(why) => Finding::new(
                    Rule::LedgerKeys,
                    Severity::Inconclusive,
                    format!("is about a key, by an admin, and cannot be understood: {why}"),
                )
                .hint("use a newer version of weighbridge, or ask who wrote the record"),
            },
        };
        findings.push(finding.at(format!("record {index}")));
    }
    if counted > 0 {
        let records = if counted == 1 { "record" } else { "records" };
        let message = format!("whose keys count, {counted} {records} in the ledger changed");
        findings.push(Finding::new(Rule::LedgerKeys, Severity::Pass, message));
    }
    (ring, findings)
}
