//! What was taken back: revocations, quarantines and disposals, of the artifact, of what it was made from, of where that is
//! from, of keys and of records (EN 304 223 5.2.2-5, 5.5.1-2).
//!
//! To take something back asks for little: somebody in the policy whose role may, in office or not. To release it asks for
//! everything that a record needs. So what was recalled does not come back because he who said so has left.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use super::lineage::Lineage;
use super::records::{Said, Unheard, authorised, said};
use super::{ArtifactEvidence, ItemSources, LedgerEvidence};
use crate::artifact::ArtifactDigest;
use crate::digest::Sha256;

use crate::finding::{Finding, Rule, Severity};
use crate::policy::Policy;
use crate::statement::recall::RecallReason;
use crate::statement::source_pattern::SourcePattern;
use crate::statement::{Kind, Record, Role, Scope, may_be};
use crate::time::Timestamp;
use crate::x509::{Withdrawn, WithdrawnBy};

/// What follows from all of them.
#[derive(Default)]
pub(super) struct Recalls {
    pub(super) findings: Vec<Finding>,
    /// Keys that no longer count.
    pub(super) keys: Vec<Withdrawn>,
    /// Records that no longer count, by which, and in which role that was said.
    pub(super) records: BTreeMap<u64, Vec<(u64, Role)>>,
    pub(super) lineage: Lineage,
}

/// May `payload` be a record that takes something back?
pub fn may_recall(payload: &[u8]) -> bool {
    let kinds = [
        Kind::Quarantine,
        Kind::ReleaseQuarantine,
        Kind::Revoke,
        Kind::Dispose,
    ];
    may_be(payload, &kinds)
}

/// A recall that stands.
struct Standing<'a> {
    one: &'a Said,
    what: &'static str,
    rule: Rule,
    reason: Option<RecallReason>,
}

impl Standing<'_> {
    fn finding(&self, message: &str) -> Finding {
        let statement = &self.one.statement;
        let role = statement.record.actor().role.name();
        let reason = self
            .reason
            .map_or(String::new(), |reason| format!(": {}", reason.name()));
        let message = format!(
            "{message} was {} by {} as {role} on {}{reason}",
            self.what,
            self.one.name,
            statement.record.time()
        );
        let hint = match self.rule {
            Rule::RecallQuarantined => format!(
                "whoever quarantined it can end that: `weighbridge record release-quarantine --explanation WHY {}`",
                self.one.index
            ),
            _ => {
                "do not use it: take another version, or make one without what was recalled".into()
            }
        };
        Finding::new(self.rule, Severity::Fail, message)
            .at(format!("record {}", self.one.index))
            .hint(hint)
    }
}

/// What was taken back, by those whom `policy` trusts.
pub(super) fn of(
    found: &ArtifactEvidence,
    ledger: &LedgerEvidence,
    policy: &Policy,
    now: Timestamp,
) -> Recalls {
    let artifact = found.digest();
    let mut recalls = Recalls::default();
    let LedgerEvidence::Records {
        recalls: entries,
        items,
        complete,
        ..
    } = ledger
    else {
        return recalls;
    };
    recalls.lineage = Lineage::of(artifact, ledger, policy);
    let mut all: Vec<Said> = Vec::new();
    let mut heard = HashSet::new();
    for entry in entries {
        let place = format!("record {}", entry.proof.index);
        match said(entry, policy) {
            // Said once, however often it was appended: a copy of a quarantine is not another one.
                        Ok(one) if !heard.insert(Sha256::of(one.payload())) => {}
            Ok(one) => all.push(one),
            Err(Unheard::Foreign) => {}
            Err(Unheard::Outside(why)) => recalls
                .findings
                .push(Finding::new(Rule::LedgerInclusion, Severity::Fail, why).at(place)),
            Err(Unheard::Unknown(why)) => recalls.findings.push(
                Finding::new(
                    Rule::RecallUnknown,
                    Severity::Inconclusive,
                    format!("takes something back, by somebody who is trusted, and cannot be understood: {why}"),
                )
                .at(place)
                .hint("use a newer version of weighbridge, or ask who wrote the record"),
            ),
        }
    }
    // Whose key was taken back releases nothing: neither another key, nor anything else.
    let every_key = without(policy, all.iter());
    let of_keys = all.iter().filter(|one| is_about_a_key(one));
    let of_keys = of_keys.filter(|one| !is_released(one, &all, &every_key, now));
    let keys_left = without(policy, of_keys);
    let standing: Vec<Standing<'_>> = all
        .iter()
        .filter(|one| {
            let policy = if is_about_a_key(one) {
                &every_key
            } else {
                &keys_left
            };
            !is_released(one, &all, policy, now)
        })
        .filter_map(standing)
        .collect();
    for one in &standing {
        reach(one, found, items, &mut recalls);
    }
    for one in items {
        if let Err(why) = &one.matched {
            recalls.findings.push(
                Finding::new(
                    Rule::RecallUnknown,
                    Severity::Inconclusive,
                    format!("where the items of a dataset are from cannot be read: {why}"),
                )
                .at(format!("record {}", one.index))
                .hint("get the ledger's blobs as well, or ask another copy"),
            );
        }
    }
    let decided = |one: &Finding| one.severity >= Severity::Inconclusive;
    if complete.is_some() && artifact.is_some() && !recalls.findings.iter().any(decided) {
        let others = recalls.lineage.members.len().saturating_sub(1);
        let message = match others {
            0 => "it was not revoked, quarantined or disposed of; the ledger knows nothing that it was made from".into(),
            1 => "neither it nor the one artifact that it was made from was revoked, quarantined or disposed of".into(),
            _ => format!(
                "neither it nor any of the {others} artifacts that it was made from was revoked, quarantined or disposed of"
            ),
        };
        recalls
            .findings
            .push(Finding::new(Rule::RecallRevoked, Severity::Pass, message));
    }
    recalls
}

fn standing(one: &Said) -> Option<Standing<'_>> {
    let (what, rule, reason) = match &one.statement.record {
        Record::Revoke(record) => ("revoked", Rule::RecallRevoked, Some(record.reason)),
        Record::Quarantine(record) => ("quarantined", Rule::RecallQuarantined, Some(record.reason)),
        Record::Dispose(_) => ("disposed of", Rule::RecallDisposed, None),
        _ => return None,
    };
    Some(Standing {
        one,
        what,
        rule,
        reason,
    })
}

fn is_about_a_key(one: &Said) -> bool {
    matches!(one.statement.record.scope(), Some(Scope::Key { .. }))
}

/// The key that a recall takes back.
fn withdrawn(one: &Said) -> Option<Withdrawn> {
    let Some(Scope::Key { since }) = one.statement.record.scope() else {
        return None;
    };
    let [subject] = &one.statement.subject;
    Some(Withdrawn {
        digest: subject.digest.sha256?,
        since: Some(since.unwrap_or(one.statement.record.time())),
        by: WithdrawnBy::Record {
            index: one.index,
            older_count: since.is_none(),
        },
    })
}

/// `policy` without the keys that `recalls` take back.
fn without<'a, 'b>(policy: &'a Policy, recalls: impl Iterator<Item = &'b Said>) -> Cow<'a, Policy> {
    let keys: Vec<Withdrawn> = recalls.filter_map(withdrawn).collect();
    if keys.is_empty() {
        return Cow::Borrowed(policy);
    }
    let mut policy = policy.clone();
    policy.revoked.extend(keys);
    Cow::Owned(policy)
}

/// Did somebody who may say that this quarantine is over?
fn is_released(one: &Said, all: &[Said], policy: &Policy, now: Timestamp) -> bool {
    if one.statement.record.kind() != Kind::Quarantine {
        return false;
    }
    all.iter().any(|other| {
        let Record::ReleaseQuarantine(release) = &other.statement.record else {
            return false;
        };
        let is_taken_back = |index: u64| {
            all.iter().any(|one| {
                matches!(one.statement.record.kind(), Kind::Revoke | Kind::Quarantine)
                    && one.statement.record.scope() == Some(&Scope::Record { index })
            })
        };
        if is_taken_back(other.index) {
            return false;
        }
        let ([subject], [released]) = (&one.statement.subject, &other.statement.subject);
        release.releases.index == one.index
            && release.releases.sha256 == one.sha256
            && other.index > one.index
            && subject.digest == released.digest
            && release.actor.role == one.statement.record.actor().role
            && authorised(
                &other.envelope,
                &other.statement,
                (other.index, policy),
                now,
            )
            .is_ok()
    })
}

fn reach(
    standing: &Standing<'_>,
    found: &ArtifactEvidence,
    items: &[ItemSources],
    recalls: &mut Recalls,
) {
    let artifact = found.digest();
    let one = standing.one;
    let [subject] = &one.statement.subject;
    match one.statement.record.scope() {
        Some(Scope::Key { .. }) => recalls.keys.extend(withdrawn(one)),
        Some(Scope::Record { index }) => {
            let role = one.statement.record.actor().role;
            let by = recalls.records.entry(*index).or_default();
            by.push((one.index, role));
        }
        Some(Scope::Source { pattern }) => from_there(standing, pattern, artifact, items, recalls),
        Some(Scope::Artifact {}) | None => {
            let Some(digest) = subject.digest.artifact() else {
                return;
            };
            if artifact.is_some_and(|artifact| artifact.value() == digest.value()) {
                recalls.findings.push(standing.finding("the artifact"));
                return;
            }
            if let Some(file) = found.file_with(&digest.value()) {
                let message = format!("{file}, which is part of it,");
                recalls.findings.push(standing.finding(&message));
                return;
            }
            let may_stay =
                matches!(&one.statement.record, Record::Dispose(record) if record.derived_may_stay);
            if let Some(Some(by)) = recalls.lineage.members.get(&digest.value())
                && !may_stay
            {
                let message = format!("{digest}, which it was made from as record {by} says,");
                recalls.findings.push(standing.finding(&message));
            }
        }
    }
}

/// A source was taken back: is the artifact from there, or anything that it was made from?
fn from_there(
    standing: &Standing<'_>,
    pattern: &SourcePattern,
    artifact: Option<ArtifactDigest>,
    items: &[ItemSources],
    recalls: &mut Recalls,
) {
    let whole = recalls
        .lineage
        .sources
        .iter()
        .filter(|source| source.uris.iter().any(|uri| pattern.matches(uri)));
    let mut found: Vec<(Option<ArtifactDigest>, u64)> =
        whole.map(|one| (Some(one.artifact), one.index)).collect();
    let parts = items
        .iter()
        .filter(|one| one.matched.as_ref().is_ok_and(|all| all.contains(pattern)));
    found.extend(parts.map(|one| (one.artifact, one.index)));
    if let Some((about, index)) = found.first() {
        let what = if *about == artifact {
            "the artifact is".to_owned()
        } else {
            let about = about.map_or("something".into(), |about| about.to_string());
            format!("{about}, which it was made from, is")
        };
        let message = format!("{what} from {pattern} as record {index} says, which");
        recalls.findings.push(standing.finding(&message));
    }
}
