//! What the ledger says: is each required record there, by somebody who may sign it?

use super::artifact::difference_finding;
use super::{AcceptedRecord, ArtifactEvidence, Earlier, LedgerEntry, LedgerEvidence, Report};
use crate::artifact::ArtifactDigest;
use crate::artifact::manifest::compare;
use crate::digest::Algorithm;
use crate::envelope::{Envelope, IN_TOTO};
use crate::finding::{Finding, Rule, Severity};
use crate::ledger::tile::MAX_ENTRY;
use crate::policy::{Identity, Policy, RequiredRecord};
use crate::statement::{Statement, StatementError};
use crate::time::Timestamp;

pub(super) fn check_ledger(
    report: &mut Report,
    artifact: &ArtifactEvidence,
    ledger: &LedgerEvidence,
    policy: &Policy,
    now: Timestamp,
) {
    let (entries, complete, earlier) = match ledger {
        LedgerEvidence::Unusable { rule, why } => {
            report.add(
                Finding::new(*rule, Severity::Inconclusive, why.clone()).hint(
                    "run `weighbridge ledger fsck`, and get the ledger again if it is damaged",
                ),
            );
            return;
        }
        LedgerEvidence::Records {
            entries,
            complete,
            earlier,
        } => (entries, complete, earlier),
    };
    if let Some(checkpoint) = complete {
        let message = format!(
            "the checkpoint of {} is signed by its log; all {} entries have its root",
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
    let mut judged = Vec::new();
    for entry in entries {
        match judge(entry, report.artifact, policy, now) {
            Ok(record) => judged.push(record),
            Err(Some(finding)) => report.add(finding.at(format!("record {}", entry.proof.index))),
            Err(None) => {}
        }
    }
    for required in &policy.gate.records {
        require(report, required, &judged, policy);
    }
    if report.records.is_empty()
        && let Some(earlier) = earlier
    {
        explain(report, artifact, earlier);
    }
}

/// A record whose signature, signer and proof are good.
struct Judged {
    index: u64,
    identity: Identity,
    statement: Statement,
}

/// Does this entry count? `Err(None)` means that it is about something else.
fn judge(
    entry: &LedgerEntry,
    artifact: Option<ArtifactDigest>,
    policy: &Policy,
    now: Timestamp,
) -> Result<Judged, Option<Finding>> {
    let ignored = |message: String| {
        Some(Finding::new(
            Rule::RecordIgnored,
            Severity::Warning,
            message,
        ))
    };
    let envelope = Envelope::parse(&entry.bytes, MAX_ENTRY)
        .map_err(|error| ignored(format!("does not count: not an envelope: {error}")))?;
    if envelope.payload_type != IN_TOTO {
        return Err(ignored("does not count: not an in-toto statement".into()));
    }
    let statement = match Statement::parse(&envelope.payload) {
        Ok(statement) => statement,
        Err(StatementError::UnknownKind {
            predicate_type,
            subject,
        }) => {
            let about_this = subject
                .iter()
                .any(|digest| artifact.is_some() && digest.artifact() == artifact);
            // It may well revoke this artifact: what cannot be understood cannot be passed over.
            return Err(about_this.then(|| {
                let message =
                    format!("is of a kind this version does not know: {predicate_type:?}");
                Finding::new(Rule::RecordUnknown, Severity::Inconclusive, message)
                    .hint("use a newer version of weighbridge")
            }));
        }
        Err(error) => return Err(ignored(format!("does not count: {error}"))),
    };
    if artifact.is_none() || statement.artifact() != artifact {
        return Err(None);
    }
    let kind = statement.record.kind().name();
    if let Err(error) = entry.proof.verify(&entry.bytes, &policy.log.key) {
        return Err(Some(Finding::new(
            Rule::LedgerInclusion,
            Severity::Fail,
            error.to_string(),
        )));
    }
    let signer = policy
        .identities
        .iter()
        .find(|identity| envelope.signed_by(&identity.key).is_some());
    let identity =
        signer.ok_or_else(|| ignored(format!("{kind} does not count: not by a trusted key")))?;
    let actor = statement.record.actor();
    if actor.key_id != identity.key.key_id() {
        let message =
            format!("{kind} does not count: it names another key than the one that signed");
        return Err(ignored(message));
    }
    if !identity.roles.contains(&actor.role)
        || !statement.record.kind().permitted().contains(&actor.role)
    {
        let message = format!(
            "{kind} does not count: {} may not sign it as {}",
            identity.name,
            actor.role.name()
        );
        return Err(ignored(message));
    }
    if identity.is_expired(now) {
        return Err(ignored(format!(
            "{kind} does not count: identity {} expired",
            identity.name
        )));
    }
    if statement.record.time().millis() > now.millis() + CLOCK_SKEW_MILLIS {
        let message = format!(
            "{kind} does not count: it is dated {}, after now",
            statement.record.time()
        );
        return Err(ignored(message));
    }
    Ok(Judged {
        index: entry.proof.index,
        identity: identity.clone(),
        statement,
    })
}

/// How far two honest clocks may differ.
const CLOCK_SKEW_MILLIS: i64 = 5 * 60 * 1000;

fn require(report: &mut Report, required: &RequiredRecord, judged: &[Judged], policy: &Policy) {
    let kind = required.kind;
    let matching = judged.iter().rev().find(|judged| {
        judged.statement.record.kind() == kind
            && required
                .roles
                .contains(&judged.statement.record.actor().role)
    });
    let Some(found) = matching else {
        let Some(digest) = report.artifact else {
            let message = format!(
                "{} records cannot be looked up: the artifact has no digest",
                kind.name()
            );
            report.add(Finding::new(
                Rule::RecordMissing,
                Severity::Inconclusive,
                message,
            ));
            return;
        };
        let roles: Vec<&str> = required.roles.iter().map(|role| role.name()).collect();
        let message = format!(
            "{} has no {} record by {} for {digest}",
            policy.log.key.name(),
            kind.name(),
            roles.join(" or "),
        );
        report.add(
            Finding::new(Rule::RecordMissing, Severity::Fail, message).hint(format!(
                "if these bytes are right, add it with `weighbridge record {}`",
                kind.name()
            )),
        );
        return;
    };
    let time = found.statement.record.time();
    let role = found.statement.record.actor().role.name();
    let message = format!(
        "{} by {} as {role}, dated {time}, proved by inclusion",
        kind.name(),
        found.identity.name
    );
    report.add(
        Finding::new(Rule::RecordPresent, Severity::Pass, message)
            .at(format!("record {}", found.index)),
    );
    report.records.push(AcceptedRecord {
        index: found.index,
        kind,
        signer: found.identity.name.to_string(),
        time,
    });
}

/// Names the files by which the artifact differs from what was recorded with the same signature.
fn explain(report: &mut Report, artifact: &ArtifactEvidence, earlier: &Earlier) {
    let what = format!("in the manifest of record {}", earlier.index);
    for difference in compare(&earlier.lines, &artifact.manifest, Algorithm::Sha256) {
        let Some(finding) = difference_finding(&difference, artifact, &what) else {
            continue;
        };
        let known = report
            .findings
            .iter()
            .any(|known| known.rule == finding.rule && known.location == finding.location);
        if !known {
            report.add(finding);
        }
    }
}
