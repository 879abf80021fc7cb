//! The records that the policy asks for: is each there, by enough of those who may, new enough, and does it say what it must?

use std::collections::BTreeSet;

use super::records::Judged;
use super::{AcceptedRecord, Report};
use crate::finding::{Finding, Rule, Severity};
use crate::policy::{Condition, Policy, RequiredRecord};
use crate::statement::acquire::AuthenticationResult;
use crate::statement::dataset_check::Outcome;
use crate::statement::supplier_assess::Answer;
use crate::statement::verify_event::EventResult;
use crate::statement::{Kind, Record};
use crate::time::Timestamp;

pub(super) fn require(
    report: &mut Report,
    required: &RequiredRecord,
    judged: &[Judged],
    policy: &Policy,
    now: Timestamp,
) {
    let kind = required.kind;
    let Some(digest) = report.artifact else {
        let message = format!(
            "{} records cannot be looked up: the artifact has no digest",
            kind.name()
        );
        let finding = Finding::new(Rule::RecordMissing, Severity::Inconclusive, message);
        report.add(finding);
        return;
    };
    // The newest first.
    let of_kind = judged.iter().rev().filter(|judged| {
        let record = &judged.statement.record;
        record.kind() == kind && required.roles.contains(&record.actor().role)
    });
    let (mut good, mut short): (Vec<&Judged>, Vec<String>) = (Vec::new(), Vec::new());
    let mut bad = None;
    let mut heard = BTreeSet::new();
    for one in of_kind {
        let record = &one.statement.record;
        // Of each the newest word: what he said before it is no longer what he says.
        if !heard.insert(one.identity.name.as_str()) {
            continue;
        }
        if says_no(record) {
            if good.is_empty() {
                bad = bad.or(Some(one));
            }
            continue;
        }
        match objection(required, record, now) {
            None => good.push(one),
            Some(why) => short.push(format!("record {} {why}", one.index)),
        }
    }
    if let Some(one) = bad {
        let message = format!(
            "{} by {}, dated {}, says that it failed, and nothing newer says that it passed",
            kind.name(),
            one.identity.name,
            one.statement.record.time()
        );
        report.add(
            Finding::new(Rule::RecordNegative, Severity::Fail, message)
                .at(format!("record {}", one.index))
                .hint("do not use it, or have it checked again and that recorded"),
        );
        return;
    }
    let names: BTreeSet<&str> = good.iter().map(|one| one.identity.name.as_str()).collect();
    if names.len() < required.count {
        let roles: Vec<&str> = required.roles.iter().map(|role| role.name()).collect();
        let mut message = format!(
            "{} has no {} record by {} for {digest}",
            policy.log.trust.log().name(),
            kind.name(),
            roles.join(" or "),
        );
        if required.count > 1 {
            let names: Vec<&str> = names.into_iter().collect();
            message = format!(
                "{} of {} different identities have recorded {} as {} for {digest}{}{}",
                names.len(),
                required.count,
                kind.name(),
                roles.join(" or "),
                if names.is_empty() { "" } else { ": " },
                names.join(", ")
            );
        }
        short.truncate(3);
        if !short.is_empty() {
            message.push_str(" that says what is asked for: ");
            message.push_str(&short.join("; "));
        }
        let hint = format!(
            "if these bytes are right, add it with `{}`",
            command(required)
        );
        report.add(Finding::new(Rule::RecordMissing, Severity::Fail, message).hint(hint));
        return;
    }
    let mut seen = BTreeSet::new();
    good.retain(|one| seen.insert(one.identity.name.as_str()));
    for one in good.into_iter().take(required.count) {
        accept(report, one);
    }
}

fn accept(report: &mut Report, one: &Judged) {
    let record = &one.statement.record;
    let (name, role) = (&one.identity.name, record.actor().role.name());
    let mut message = format!(
        "{} by {name} as {role}, dated {}, proved by inclusion",
        record.kind().name(),
        record.time()
    );
    if let Some(end) = record.expires() {
        message = format!("{message}; until {end}");
    }
    let location = format!("record {}", one.index);
    report.add(Finding::new(Rule::RecordPresent, Severity::Pass, message).at(location.clone()));
    if let Record::Acquire(acquire) = record
        && acquire.authentication.result != AuthenticationResult::Verified
    {
        let message = "the source was not authenticated when this was acquired";
        report.add(Finding::new(Rule::RecordPresent, Severity::Warning, message).at(location));
    }
    report.records.push(AcceptedRecord {
        index: one.index,
        kind: record.kind(),
        signer: one.identity.name.to_string(),
        time: record.time(),
        signature: match record {
            Record::Release(release) => release.signature.as_ref().map(|named| named.sha256),
            _ => None,
        },
    });
}

/// Why `record` is not what is asked for.
fn objection(required: &RequiredRecord, record: &Record, now: Timestamp) -> Option<String> {
    if let Some(most) = required.max_age
        && most.is_past(record.time(), now)
    {
        return Some(format!(
            "is dated {}, which is more than {most} ago",
            record.time()
        ));
    }
    let mut conditions = required.conditions.iter();
    conditions.find_map(|condition| condition.check(record).err())
}

/// Does it say that something failed? Then it is no evidence that it did not.
pub(super) fn says_no(record: &Record) -> bool {
    match record {
        Record::TestResult(one) => one.result == Outcome::Failed,
        Record::ScanResult(one) => one.result == Outcome::Failed,
        Record::DatasetCheck(one) => {
            let mut all = one.checks.all().iter();
            all.any(|check| check.result == Outcome::Failed)
        }
        Record::SupplierAssess(one) => one.adheres == Answer::No,
        Record::VerifyEvent(one) => one.result != EventResult::Pass,
        _ => false,
    }
}

/// What adds a record that is asked for. `PATH` stands for the artifact.
fn command(required: &RequiredRecord) -> String {
    let kind = required.kind;
    let name = kind.name();
    let role = match required.roles.as_slice() {
        [only] => format!(" --role {}", only.name()),
        _ => String::new(),
    };
    if kind == Kind::Release {
        return format!("weighbridge record release{role} PATH");
    }
    if kind == Kind::Acquire {
        return "weighbridge record acquire --source URI PATH".into();
    }
    let mut flags = String::new();
    for flag in required.conditions.iter().filter_map(Condition::flag) {
        flags.push(' ');
        flags.push_str(&flag);
    }
    format!("weighbridge record {name}{flags}{role} --from {name}.json PATH")
}
