//! What the ledger says: is each required record there, by somebody who may sign it?

use std::collections::{HashMap, HashSet};

use super::artifact::{Reported, difference_finding};
use super::keyring::log_of;
use super::recall::{Recalls, may_recall};
use super::required::{require, says_no};
use super::{
    AcceptedRecord, ArtifactEvidence, Earlier, LedgerEntry, LedgerEvidence, Report,
    SignatureEvidence,
};
use crate::artifact::ArtifactDigest;
use crate::artifact::manifest::compare;
use crate::bundle::MAX_SIGNATURES;
use crate::digest::{Algorithm, Sha256};
use crate::envelope::{Envelope, IN_TOTO};
use crate::finding::{Finding, Rule, Severity};
use crate::key::PublicKey;
use crate::ledger::tile::MAX_ENTRY;
use crate::policy::{Identity, Policy};
use crate::statement::acquire::AuthenticationResult;
use crate::statement::{Kind, Record, Role, Statement, StatementError, predicate_type};
use crate::time::Timestamp;
use crate::x509::WithdrawnBy;

pub(super) fn check_ledger(
    report: &mut Report,
    artifact: &ArtifactEvidence,
    ledger: &LedgerEvidence,
    (policy, recalls): (&Policy, &Recalls),
    now: Timestamp,
) -> Vec<Judged> {
    let mut judged = Vec::new();
    let (entries, complete, earlier, by_index) = match ledger {
        LedgerEvidence::Contradicts { why } => {
            report.add(
                Finding::new(Rule::LedgerRemembered, Severity::Fail, why.clone()).hint(
                    "keep both checkpoints as evidence, and ask who runs the log; if an older \
                     copy was restored on purpose, remove what is remembered of it",
                ),
            );
            return judged;
        }
        LedgerEvidence::Unusable { rule, why } => {
            report.add(
                Finding::new(*rule, Severity::Inconclusive, why.clone()).hint(
                    "run `weighbridge ledger fsck`, and get the ledger again if it is damaged",
                ),
            );
            return judged;
        }
        LedgerEvidence::Records {
            entries,
            complete,
            earlier,
            by_index,
            ..
        } => (entries, complete, earlier, by_index),
    };
    if let Some(checkpoint) = complete {
        let entries = if *by_index {
            "looked up in the index that this host made of all"
        } else {
            "read and hashed to its root were all"
        };
        let message = format!(
            "the checkpoint of {} is signed by its log; {entries} {} entries",
            checkpoint.origin, checkpoint.size
        );
        report.add(Finding::new(
            Rule::LedgerConsistent,
            Severity::Pass,
            message,
        ));
    } else {
        let message = "judged by a receipt: what the log recorded later is not known";
        report.add(Finding::new(
            Rule::LedgerConsistent,
            Severity::Note,
            message,
        ));
    }
    let withdrawn = withdrawn(recalls, entries);
    let mut heard = HashSet::new();
    for entry in entries {
        match judge(entry, (report.artifact, complete.is_some()), policy, now) {
            // Said once, however often it was appended: the first counts.
            Ok(record) if !heard.insert(record.payload) => {}
            Ok(record) => match taken_back(&record, &withdrawn) {
                None => judged.push(record),
                Some(by) => {
                    let kind = record.statement.record.kind().name();
                    let message = format!("does not count: {kind} was taken back by record {by}");
                    let finding = Finding::new(Rule::RecordIgnored, Severity::Warning, message);
                    report.add(finding.at(format!("record {}", record.index)));
                }
            },
            Err(Some(finding)) => report.add(finding.at(format!("record {}", entry.proof.index))),
            Err(None) => {}
        }
    }
    report.findings.extend(recalls.findings.iter().cloned());
    for required in &policy.gate.records {
        require(report, required, &judged, policy, now);
    }
    if report.records.is_empty()
        && let Some(earlier) = earlier
    {
        explain(report, artifact, earlier);
    }
    judged
}

/// By what is signed in them, the records that were taken back: by which, and in which role.
type TakenBack = HashMap<Sha256, Vec<(u64, Role)>>;

fn withdrawn(recalls: &Recalls, entries: &[LedgerEntry]) -> TakenBack {
    let mut all = TakenBack::new();
    for entry in entries {
        let by = recalls.records.get(&entry.proof.index);
        let envelope = by.and_then(|_| Envelope::parse(&entry.bytes, MAX_ENTRY).ok());
        if let (Some(by), Some(envelope)) = (by, envelope) {
            let payload = Sha256::of(&envelope.payload);
            all.entry(payload).or_default().extend(by);
        }
    }
    all
}

/// The record that took `record` back, in whichever of its copies. That something failed, only its own role takes back.
fn taken_back(record: &Judged, withdrawn: &TakenBack) -> Option<u64> {
    let said = &record.statement.record;
    let mut all = withdrawn.get(&record.payload)?.iter();
    all.find(|(_, role)| !says_no(said) || *role == said.actor().role)
        .map(|(by, _)| *by)
}

/// A record whose signature, signer and proof are good.
pub(super) struct Judged {
    pub(super) index: u64,
    /// Of what is signed: anybody can append that again, with a signature of his own beside it.
    payload: Sha256,
    pub(super) identity: Identity,
    pub(super) statement: Statement,
}

/// Does this entry count? `Err(None)` means that it is about something else.
///
/// Entries come here because they name the artifact. One that is signed by somebody trusted and
/// cannot be understood may forbid its use: it is not passed over.
fn judge(
    entry: &LedgerEntry,
    (artifact, is_complete): (Option<ArtifactDigest>, bool),
    policy: &Policy,
    now: Timestamp,
) -> Result<Judged, Option<Finding>> {
    let unknown = |message: String| {
        Some(
            Finding::new(Rule::RecordUnknown, Severity::Inconclusive, message)
                .hint("use a newer version of weighbridge, or ask who wrote the record"),
        )
    };
    let ignored = |message: String| {
        Some(Finding::new(
            Rule::RecordIgnored,
            Severity::Warning,
            format!("does not count: {message}"),
        ))
    };
    let envelope = Envelope::parse(&entry.bytes, MAX_ENTRY)
        .map_err(|error| ignored(format!("it is no envelope, and by nobody: {error}")))?;
    if envelope.signatures.len() > MAX_SIGNATURES {
        let count = envelope.signatures.len();
        return Err(ignored(format!("it has {count} signatures")));
    }
    let signers: Vec<&Identity> = policy
        .identities
        .iter()
        .filter(|identity| signed(&envelope, identity))
        .collect();

    let statement = Statement::parse(&envelope.payload);
    let statement = match statement {
        Ok(statement) if envelope.payload_type == IN_TOTO => statement,
        _ if signers.is_empty() => return Err(ignored("it is not by a trusted key".into())),
        Ok(_) => return Err(unknown(format!("is of type {:?}", envelope.payload_type))),
        Err(StatementError::UnknownKind { predicate_type, .. }) => {
            let what = "is of a kind this version does not know";
            return Err(unknown(format!("{what}: {predicate_type:?}")));
        }
        // What takes something back is looked at by itself, where the whole ledger is.
        Err(_) if is_complete && may_recall(&envelope.payload) => return Err(None),
        Err(error) if !may_recall(&envelope.payload) && !error.is_newer() => {
            return Err(ignored(format!("it cannot be understood: {error}")));
        }
        Err(error) => return Err(unknown(format!("cannot be understood: {error}"))),
    };
    if artifact.is_none() || statement.artifact() != artifact {
        return Err(None);
    }
    let record = &statement.record;
    let kind = record.kind().name();
    if let Err(error) = entry.proof.verify(&entry.bytes, &policy.log.trust) {
        return Err(Some(Finding::new(
            Rule::LedgerInclusion,
            Severity::Fail,
            error.to_string(),
        )));
    }
    let place = (entry.proof.index, policy);
    let identity = authorised(&envelope, &statement, place, now).map_err(ignored)?;
    if let Record::Acquire(acquire) = record
        && acquire.authentication.result == AuthenticationResult::Failed
    {
        return Err(ignored(format!(
            "{kind} says that authenticating the source failed"
        )));
    }
    Ok(Judged {
        index: entry.proof.index,
        payload: Sha256::of(&envelope.payload),
        identity: identity.clone(),
        statement,
    })
}

/// The identity that signed `statement` in `envelope`, if it counts as entry `index` of the policy's log;
/// else why it does not.
pub fn authorised<'a>(
    envelope: &Envelope,
    statement: &Statement,
    (index, policy): (u64, &'a Policy),
    now: Timestamp,
) -> Result<&'a Identity, String> {
    let record = &statement.record;
    let (kind, actor) = (record.kind().name(), record.actor());
    let mut signers = policy
        .identities
        .iter()
        .filter(|identity| signed(envelope, identity))
        .peekable();
    if signers.peek().is_none() {
        return Err(format!("{kind} is not by a trusted key"));
    }
    let identity = signers
        .find(|identity| identity.has_key(&actor.key_id))
        .ok_or_else(|| format!("{kind} names another key than the one that signed"))?;
    let name = &identity.name;
    // A record is for one log. Elsewhere it was copied, by somebody who could not sign it.
    if record.log() != policy.log.trust.log().name() {
        let log = crate::path::display(record.log());
        return Err(format!("{kind} was made for the log {log}"));
    }
    if !identity.roles.contains(&actor.role) || !record.kind().permitted().contains(&actor.role) {
        let role = actor.role.name();
        return Err(format!("{name} may not sign {kind} as {role}"));
    }
    if identity.is_expired(now) {
        return Err(format!("{kind} is by identity {name}, which expired"));
    }
    if let Some(key) = identity.credential.key()
        && let Some(why) = policy.algorithms.objection(key.algorithm(), now)
    {
        return Err(format!("{kind} by {name}: {why}"));
    }
    if let Some(key) = identity.credential.key()
        && let Some(withdrawn) = policy.withdrawn_for_record(key, index)
    {
        return Err(format!(
            "{kind} is by the key of {name}, which was revoked {}",
            withdrawn.by
        ));
    }
    if record.time().millis() > now.millis() + CLOCK_SKEW_MILLIS {
        return Err(format!("{kind} is dated {}, after now", record.time()));
    }
    if let Some(end) = record.expires()
        && end <= now
    {
        return Err(format!("{kind} by {name} expired on {end}"));
    }
    if let Some(role) = record.kind().cosigned_by() {
        let mut others = policy.identities.iter().filter(|other| {
            other.name != identity.name
                && other.roles.contains(&role)
                && signed(envelope, other)
                && !other.is_expired(now)
                && other.credential.key().is_some_and(|key| {
                    policy.withdrawn_for_record(key, index).is_none()
                        && policy.algorithms.objection(key.algorithm(), now).is_none()
                })
        });
        if others.next().is_none() {
            let role = role.name();
            return Err(format!(
                "{kind} by {name} is not signed by a {role} as well"
            ));
        }
    }
    Ok(identity)
}

/// What somebody in the policy says, in office or not.
pub(super) struct Said {
    pub(super) index: u64,
    pub(super) sha256: Sha256,
    /// What he is called.
    pub(super) name: String,
    pub(super) envelope: Envelope,
    pub(super) statement: Statement,
}

impl Said {
    /// What is signed.
    pub(super) fn payload(&self) -> &[u8] {
        &self.envelope.payload
    }
}

/// Why an entry says nothing.
pub(super) enum Unheard {
    /// By nobody who may say it.
    Foreign,
    /// Not in the log.
    Outside(String),
    /// By somebody in the policy, and not understood.
    Unknown(String),
}

/// What `entry` says, if somebody in the policy says it in a role in which he may.
pub(super) fn said(entry: &LedgerEntry, policy: &Policy) -> Result<Said, Unheard> {
    let envelope = Envelope::parse(&entry.bytes, MAX_ENTRY).map_err(|_| Unheard::Foreign)?;
    let index = entry.proof.index;
    if let Err(error) = entry.proof.verify(&entry.bytes, &policy.log.trust) {
        return Err(Unheard::Outside(error.to_string()));
    }
    let statement = match Statement::parse(&envelope.payload) {
        Ok(statement) => statement,
        Err(error) if may_mean_anything(&envelope, policy, index) => {
            let kind = predicate_type(&envelope.payload).unwrap_or_default();
            return Err(Unheard::Unknown(format!("{kind:?}: {error}")));
        }
        Err(_) => return Err(Unheard::Foreign),
    };
    let name = speaker(&envelope, &statement, policy, index).map(|one| one.name.to_string());
    Ok(Said {
        index,
        sha256: Sha256::of(&entry.bytes),
        name: name.ok_or(Unheard::Foreign)?,
        envelope,
        statement,
    })
}

/// Does somebody in the policy make `statement`, in a role in which he may? Whether he is in office is not asked.
pub fn speaks(envelope: &Envelope, statement: &Statement, policy: &Policy, index: u64) -> bool {
    speaker(envelope, statement, policy, index).is_some()
}

fn speaker<'a>(
    envelope: &Envelope,
    statement: &Statement,
    policy: &'a Policy,
    index: u64,
) -> Option<&'a Identity> {
    if envelope.payload_type != IN_TOTO || envelope.signatures.len() > MAX_SIGNATURES {
        return None;
    }
    let (record, actor) = (&statement.record, statement.record.actor());
    let kind = record.kind();
    if record.log() != policy.log.trust.log().name() || !kind.permitted().contains(&actor.role) {
        return None;
    }
    // Who had lost his key by then could be anybody. What is said of it later, or by the policy, is another matter: what was
    // taken back must not come back because he who said so gives up his key.
    let lost = |identity: &Identity| {
        let ids = identity.credential.key().map(PublicKey::key_ids);
        ids.is_some_and(|ids| {
            policy.revoked.iter().any(|one| {
                let before = matches!(one.by, WithdrawnBy::Record { index: by, .. } if by < index);
                before && ids.contains(&one.digest)
            })
        })
    };
    let may = |identity: &&Identity, role: &Role| {
        identity.roles.contains(role) && !lost(identity) && signed(envelope, identity)
    };
    let mut named = policy
        .identities
        .iter()
        .filter(|one| one.has_key(&actor.key_id));
    let identity = named.find(|one| may(one, &actor.role))?;
    if let Some(role) = kind.cosigned_by() {
        let mut others = policy.identities.iter();
        others.find(|one| one.name != identity.name && may(one, &role))?;
    }
    Some(identity)
}

/// May a statement that cannot be read take something back: for this log, by somebody in a role in which he may, whose key
/// was not lost by then?
pub fn may_mean_anything(envelope: &Envelope, policy: &Policy, index: u64) -> bool {
    let log = log_of(&envelope.payload);
    if envelope.signatures.len() > MAX_SIGNATURES
        || log.is_some_and(|log| log != policy.log.trust.log().name())
    {
        return false;
    }
    let may = |identity: &&Identity| {
        let mut roles = identity.roles.iter();
        let key = identity.credential.key();
        roles.any(|role| Kind::Revoke.permitted().contains(role))
            && key.is_some_and(|key| {
                let lost = policy.withdrawn_for_record(key, index);
                lost.is_none_or(|one| one.by == WithdrawnBy::Policy)
            })
    };
    let mut identities = policy.identities.iter().filter(may);
    identities.any(|identity| signed(envelope, identity))
}

/// Who in the policy signed it, each by his place there.
pub fn signers_of(envelope: &Envelope, policy: &Policy) -> Vec<usize> {
    if envelope.signatures.len() > MAX_SIGNATURES {
        return Vec::new();
    }
    let identities = policy.identities.iter().enumerate();
    let signed = identities.filter(|(_, identity)| signed(envelope, identity));
    signed.map(|(place, _)| place).collect()
}

/// Records are signed with keys.
pub(super) fn signed(envelope: &Envelope, identity: &Identity) -> bool {
    let key = identity.credential.key();
    key.is_some_and(|key| envelope.signed_by(key))
}

/// How far two honest clocks may differ.
const CLOCK_SKEW_MILLIS: i64 = 5 * 60 * 1000;

/// A release that names its signature file means that very file.
pub(super) fn check_recorded_signature(report: &mut Report, signature: &SignatureEvidence) {
    let SignatureEvidence::Bundle { sha256, .. } = signature else {
        return;
    };
    let named: Vec<&AcceptedRecord> = report
        .records
        .iter()
        .filter(|record| record.signature.is_some())
        .collect();
    let Some(first) = named.first() else { return };
    let location = format!("record {}", first.index);
    let finding = if named
        .iter()
        .any(|record| record.signature == Some(sha256.get()))
    {
        let message = "the signature file is the one that was recorded";
        Finding::new(Rule::SignatureRecorded, Severity::Pass, message)
    } else {
        let message = "the signature file is not the one that was recorded";
        Finding::new(Rule::SignatureRecorded, Severity::Fail, message)
            .hint("restore it, or record the release again with `weighbridge sign --record`")
    };
    report.add(finding.at(location));
}

/// Names the files by which the artifact differs from what was recorded with the same signature.
fn explain(report: &mut Report, artifact: &ArtifactEvidence, earlier: &Earlier) {
    let what = format!("in the manifest of record {}", earlier.index);
    let reported = Reported::new(artifact);
    let known: HashSet<(Rule, Option<String>)> = report
        .findings
        .iter()
        .map(|finding| (finding.rule, finding.location.clone()))
        .collect();
    for difference in compare(&earlier.lines, &artifact.manifest, Algorithm::Sha256) {
        let Some(finding) = difference_finding(&difference, &reported, &what) else {
            continue;
        };
        if !known.contains(&(finding.rule, finding.location.clone())) {
            report.add(finding);
        }
    }
}
