//! Whose keys count: those of the policy, as the `key` records of the ledger changed them, in the log's
//! order. Pure, as everything here.
//!
//! Only an identity that the policy itself makes an `admin` says whose a key is, so that a stolen key can
//! never bring in another; that a key no longer counts, its owner may say too. What is revoked stays so.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use super::LedgerEvidence;
use super::records::{authorised, signed};
use crate::bundle::MAX_SIGNATURES;
use crate::credential::Credential;
use crate::digest::Sha256;
use crate::envelope::{Envelope, IN_TOTO};
use crate::finding::{Finding, Rule, Severity};
use crate::key::PublicKey;
use crate::ledger::tile::MAX_ENTRY;
use crate::policy::{Identity, Policy, Registration};
use crate::statement::key::KeyChange;
use crate::statement::{KeyRecord, Kind, Record, Role, Statement, Text, may_be};
use crate::time::Timestamp;
use crate::x509::{Withdrawn, WithdrawnBy};

/// The policy, with the keys that the ledger added and withdrew.
pub struct Keyring<'a> {
    policy: Cow<'a, Policy>,
    now: Timestamp,
    /// The statements that were taken. Signed once, a statement can be appended by anybody, any number of
    /// times: it is said once.
    taken: HashSet<Sha256>,
    /// Every key that a record by somebody in the policy named, whether that counted or not: it may give itself
    /// up, whatever became of him.
    named: BTreeMap<Sha256, PublicKey>,
    /// Keys that were out of office from a record on: they no longer say since when.
    retired: HashSet<Sha256>,
    /// Whom a stolen key had let in, and who is out with it.
    pub expelled: Vec<Identity>,
}

/// What became of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is no record about a key, by nobody who is trusted, or was taken before.
    Foreign,
    /// It changed whose keys count.
    Counts,
    /// The key that it replaces retires; the new one does not count, for this reason.
    Retires(String),
    /// It does not count, for this reason.
    Ignored(String),
    /// It is by an administrator, and may say anything.
    Unknown(String),
}

/// May `payload` be a statement about a key?
pub fn is_about_a_key(payload: &[u8]) -> bool {
    may_be(payload, &[Kind::Key])
}

impl<'a> Keyring<'a> {
    /// The keys of `policy`, as of `now`.
    pub fn new(policy: &'a Policy, now: Timestamp) -> Keyring<'a> {
        Keyring {
            policy: Cow::Borrowed(policy),
            now,
            taken: HashSet::new(),
            named: BTreeMap::new(),
            retired: HashSet::new(),
            expelled: Vec::new(),
        }
    }

    /// The policy as the records that were taken have changed it.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// How many keys were named so far. A record that does not count may name one all the same.
    pub fn named(&self) -> usize {
        self.named.len()
    }

    /// Takes the entry at `index`; entries come in the log's order.
    pub fn take(&mut self, index: u64, entry: &[u8]) -> Taken {
        let Ok(envelope) = Envelope::parse(entry, MAX_ENTRY) else {
            return Taken::Foreign;
        };
        if envelope.signatures.len() > MAX_SIGNATURES || !is_about_a_key(&envelope.payload) {
            return Taken::Foreign;
        }
        let digest = Sha256::of(&envelope.payload);
        if self.taken.contains(&digest) {
            return Taken::Foreign;
        }
        let statement = match Statement::parse(&envelope.payload) {
            Ok(statement) if envelope.payload_type == IN_TOTO => Ok(statement),
            Ok(_) => Err(format!("is of type {:?}", envelope.payload_type)),
            Err(error) => Err(error.to_string()),
        };
        let statement = match statement {
            Ok(statement) => statement,
            Err(why) => {
                // By whom it is matters: what others signed before is not said by an admin yet.
                let taken = self.misunderstood(&envelope, index, why);
                if matches!(taken, Taken::Unknown(_)) {
                    self.taken.insert(digest);
                }
                return taken;
            }
        };
        // One key is asked, the one that is named: a signature costs more than an entry.
        let key_id = statement.record.actor().key_id;
        let result = match self.signer(&envelope, &key_id).cloned() {
            Some(signer) => self.apply(&envelope, &statement, &signer, index),
            None => match self.named.get(&key_id) {
                Some(key) if envelope.signed_by(key) => {
                    let key = key.clone();
                    self.give_up(&statement, &key, index)
                }
                _ => return Taken::Foreign,
            },
        };
        match result {
            Ok(taken) => {
                self.taken.insert(digest);
                taken
            }
            Err(why) => Taken::Ignored(why),
        }
    }

    /// A key that is nobody's any more says of itself that it no longer counts.
    fn give_up(
        &mut self,
        statement: &Statement,
        key: &PublicKey,
        index: u64,
    ) -> Result<Taken, String> {
        let [subject] = &statement.subject;
        let (Record::Key(record), Some(id)) = (&statement.record, subject.digest.sha256) else {
            return Err("is about no key".into());
        };
        self.for_this_log(record)?;
        match &record.change {
            KeyChange::Revoke { since, .. } if key.key_ids().contains(&id) => {
                let since = since.filter(|_| !self.retired.contains(&id));
                self.revoke((id, Some(key.key_ids())), since, record.time, index);
                Ok(Taken::Counts)
            }
            _ => Err("is by a key that is nobody's".into()),
        }
    }

    fn for_this_log(&self, record: &KeyRecord) -> Result<(), String> {
        if record.log.as_str() == self.policy.log.trust.log().name() {
            return Ok(());
        }
        let log = crate::path::display(record.log.as_str());
        Err(format!("was made for the log {log}"))
    }

    /// The identity with the key `key_id`, if it signed `envelope`.
    fn signer(&self, envelope: &Envelope, key_id: &Sha256) -> Option<&Identity> {
        let mut identities = self.policy.identities.iter();
        let named = identities.find(|identity| identity.has_key(key_id))?;
        signed(envelope, named).then_some(named)
    }

    /// An entry about a key that cannot be read: by an administrator in office, it may forbid anything.
    fn misunderstood(&self, envelope: &Envelope, index: u64, why: String) -> Taken {
        let mut by = self.policy.identities.iter().filter(|identity| {
            let key = identity.credential.key();
            key.is_some_and(|key| self.policy.withdrawn_for_record(key, index).is_none())
                && !identity.is_expired(self.now)
                && signed(envelope, identity)
        });
        let Some(first) = by.next() else {
            return Taken::Foreign;
        };
        if log_of(&envelope.payload).is_some_and(|log| log != self.policy.log.trust.log().name()) {
            return Taken::Ignored("was made for another log".into());
        }
        if [first]
            .into_iter()
            .chain(by)
            .any(|one| one.roles.contains(&Role::Admin))
        {
            Taken::Unknown(why)
        } else {
            Taken::Ignored(why)
        }
    }

    fn apply(
        &mut self,
        envelope: &Envelope,
        statement: &Statement,
        signer: &Identity,
        index: u64,
    ) -> Result<Taken, String> {
        let [subject] = &statement.subject;
        let (Record::Key(record), Some(id)) = (&statement.record, subject.digest.sha256) else {
            return Err("is about no key".into());
        };
        let Some(key) = signer.credential.key() else {
            return Err("is not signed with a key".into());
        };
        if let Some(key) = record.public_key() {
            self.named.insert(id, key);
        }
        match &record.change {
            KeyChange::Revoke { since, .. } => {
                self.may_revoke(record, signer, (key, &id), index)?;
                // Whoever finds a retired key does not rewrite what it did.
                let own = key.key_ids().contains(&id);
                let since = since.filter(|_| !(own && self.retired.contains(&id)));
                let whole = own.then(|| key.key_ids());
                self.revoke((id, whole), since, record.time, index);
                Ok(Taken::Counts)
            }
            KeyChange::Register {
                roles, valid_until, ..
            } => {
                self.may_register(envelope, statement, signer, index)?;
                let party = (subject.name.clone(), roles.clone(), *valid_until);
                self.add(record, party, key, index)?;
                Ok(Taken::Counts)
            }
            KeyChange::Rotate { .. } => {
                self.may_revoke(record, signer, (key, &id), index)?;
                let party = self.retire(record, index)?;
                let added = self
                    .may_register(envelope, statement, signer, index)
                    .and_then(|()| self.add(record, party, key, index));
                Ok(added.map_or_else(Taken::Retires, |()| Taken::Counts))
            }
        }
    }

    /// Who may let a key in: an admin in office, by everything that is asked of a record.
    fn may_register(
        &self,
        envelope: &Envelope,
        statement: &Statement,
        signer: &Identity,
        index: u64,
    ) -> Result<(), String> {
        authorised(envelope, statement, (index, &self.policy), self.now)?;
        if statement.record.actor().role == Role::Admin {
            Ok(())
        } else {
            Err(format!("{} does not speak as admin", signer.name))
        }
    }

    /// Who may say that a key no longer counts. Asked for as little as can be, and never for the time: what
    /// was revoked must not count again because he who said so is no longer in office.
    fn may_revoke(
        &self,
        record: &KeyRecord,
        signer: &Identity,
        (key, id): (&PublicKey, &Sha256),
        index: u64,
    ) -> Result<(), String> {
        let name = &signer.name;
        self.for_this_log(record)?;
        // Of his own key everybody may, whatever became of it since.
        let gives_up = matches!(record.change, KeyChange::Revoke { .. });
        if gives_up && key.key_ids().contains(id) {
            return Ok(());
        }
        if record.actor.role != Role::Admin || !signer.roles.contains(&Role::Admin) {
            return Err(if gives_up {
                format!("{name}, who signed it, is no admin and has another key")
            } else {
                format!("{name} does not speak as admin")
            });
        }
        let by_record = self.policy.withdrawn_for_record(key, index);
        let by_record = by_record.filter(|one| one.by != WithdrawnBy::Policy);
        match by_record {
            Some(withdrawn) => Err(format!(
                "is by the key of {name}, which was revoked {}",
                withdrawn.by
            )),
            None => Ok(()),
        }
    }

    /// A recall says that a key no longer counts: as if a record about it said so.
    pub(super) fn recall(&mut self, withdrawn: &Withdrawn) {
        if let WithdrawnBy::Record { index, older_count } = withdrawn.by {
            let since = withdrawn.since.filter(|_| !older_count);
            let time = withdrawn.since.unwrap_or(self.now);
            self.revoke((withdrawn.digest, None), since, time, index);
        }
    }

    /// A key or certificate no longer counts.
    fn withdraw(&mut self, withdrawn: Withdrawn) {
        // What says nothing more than is known takes no place.
        let order = |one: &Withdrawn| match one.by {
            WithdrawnBy::Policy => (0, false),
            WithdrawnBy::Record { index, older_count } => (index, older_count),
        };
        let (index, older) = order(&withdrawn);
        let known = self.policy.revoked.iter().any(|one| {
            let (known_index, known_older) = order(one);
            one.digest == withdrawn.digest
                && one.since <= withdrawn.since
                && known_index <= index
                && (!known_older || older)
        });
        if known {
            return;
        }
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

    fn revoke(
        &mut self,
        (id, whole): (Sha256, Option<Vec<Sha256>>),
        since: Option<Timestamp>,
        time: Timestamp,
        index: u64,
    ) {
        // Both halves of a hybrid key lay in one file.
        let ids = |key: &PublicKey| {
            let ids = key.key_ids();
            (ids.first() == Some(&id)).then_some(ids)
        };
        let identities = self.policy.identities.iter();
        let known = whole
            .or_else(|| {
                identities
                    .filter_map(|one| one.credential.key())
                    .find_map(ids)
            })
            .or_else(|| self.named.get(&id).and_then(ids));
        // A revocation that is dated ahead is one all the same: nothing may be earlier than that.
        let from = Some(since.unwrap_or(time)).filter(|from| *from <= self.now);
        for digest in known.unwrap_or_else(|| vec![id]) {
            self.withdraw(Withdrawn {
                digest,
                since: from,
                by: WithdrawnBy::Record {
                    index,
                    older_count: since.is_none(),
                },
            });
            self.retired.insert(digest);
        }
        if since.is_some() {
            // Whom somebody else let in with a stolen key is in no longer.
            let by_it = |identity: &Identity| {
                let registered = identity.registered.as_ref();
                registered.is_some_and(|registered| registered.by.contains(&id))
            };
            let identities = &mut self.policy.to_mut().identities;
            self.expelled
                .extend(identities.iter().filter(|one| by_it(one)).cloned());
            identities.retain(|identity| !by_it(identity));
        }
    }

    /// The old key of a rotation retires, whatever becomes of the new one: the party that the new one is of,
    /// its roles, and until when.
    fn retire(
        &mut self,
        record: &KeyRecord,
        index: u64,
    ) -> Result<(Text, Vec<Role>, Option<Timestamp>), String> {
        let KeyChange::Rotate {
            previous,
            previous_until,
            valid_until,
            ..
        } = &record.change
        else {
            return Err("replaces nothing".into());
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
        let new = record.public_key().map_or(Vec::new(), |key| key.key_ids());
        let old = former
            .credential
            .key()
            .map_or(Vec::new(), PublicKey::key_ids);
        if new.iter().any(|id| old.contains(id)) {
            return Err("replaces a key by one that shares a half with it".into());
        }
        // Nobody gains time by a new key.
        let until = [former.expires, *valid_until].into_iter().flatten().min();
        let party = (former.name.clone(), former.roles.clone(), until);
        let since = previous_until.unwrap_or(record.time);
        if since <= self.now || previous_until.is_none() {
            for digest in old {
                self.withdraw(Withdrawn {
                    digest,
                    since: Some(since).filter(|since| *since <= self.now),
                    by: WithdrawnBy::Record {
                        index,
                        older_count: true,
                    },
                });
                if previous_until.is_none() {
                    self.retired.insert(digest);
                }
            }
        }
        Ok(party)
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

/// The log that a statement of any version says to be for.
pub(super) fn log_of(payload: &[u8]) -> Option<String> {
    let value: serde_json::Value = crate::json::parse(payload, MAX_ENTRY).ok()?;
    Some(value.get("predicate")?.get("log")?.as_str()?.to_owned())
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
                Taken::Retires(why) => {
                    counted += 1;
                    let message =
                        format!("retires a key, and the one in its place does not count: {why}");
                    Finding::new(Rule::LedgerKeys, Severity::Warning, message)
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
