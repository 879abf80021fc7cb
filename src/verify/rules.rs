//! The rules of the policy on where an artifact is from, what it is made of, how large it is, how old the ledger is; and
//! what a justification excuses.

use super::recall::Recalls;
use super::records::Judged;
use super::{ArtifactEvidence, LedgerEvidence, Report};
use crate::artifact::format::claimed;
use crate::finding::{Finding, Rule, Severity};
use crate::policy::Policy;
use crate::policy::rules::{MinimumAuthentication, SourceRule, permits_licence};
use crate::statement::acquire::{Acquire, AuthenticationMethod, AuthenticationResult};
use crate::statement::{Record, SourceUri};
use crate::time::Timestamp;

/// How many files are named in one finding.
const NAMED: usize = 5;

pub(super) fn check(
    report: &mut Report,
    artifact: &ArtifactEvidence,
    (ledger, judged): (&LedgerEvidence, &[Judged]),
    (policy, recalls): (&Policy, &Recalls),
    now: Timestamp,
) {
    formats(report, artifact, policy);
    size(report, policy);
    // What a ledger says that cannot be read is not known: that is said already.
    let LedgerEvidence::Records { .. } = ledger else {
        return;
    };
    if let Some(rule) = &policy.gate.sources {
        sources(report, rule, judged, (ledger, recalls));
    }
    licences(report, judged, policy);
    modalities(report, artifact, judged, policy);
    age(report, ledger, policy, now);
}

fn fail(rule: Rule, message: impl Into<String>) -> Finding {
    Finding::new(rule, Severity::Fail, message)
}

fn pass(rule: Rule, message: impl Into<String>) -> Finding {
    Finding::new(rule, Severity::Pass, message)
}

/// Every address that an acquisition was from.
fn addresses(acquire: &Acquire) -> impl Iterator<Item = &str> {
    let http = acquire.authentication.http.as_ref();
    let elsewhere = http.into_iter().flat_map(|http| {
        http.final_uri
            .iter()
            .chain(&http.redirects)
            .map(SourceUri::as_str)
    });
    std::iter::once(acquire.source_uri.as_str()).chain(elsewhere)
}

fn sources(
    report: &mut Report,
    rule: &SourceRule,
    judged: &[Judged],
    (ledger, recalls): (&LedgerEvidence, &Recalls),
) {
    // The newest is how these bytes are known.
    let acquired = judged
        .iter()
        .rev()
        .find_map(|one| match &one.statement.record {
            Record::Acquire(acquire) => Some((one.index, acquire)),
            _ => None,
        });
    if let Some(finding) = denied(report, rule, (ledger, recalls)) {
        report.add(finding);
        return;
    }
    let Some((index, acquire)) = acquired else {
        report.add(
            fail(
                Rule::SourceUnknown,
                "no acquire record says where it is from, and the policy asks for that",
            )
            .hint("acquire it with `weighbridge acquire SOURCE`, or add `weighbridge record acquire --source URI PATH`"),
        );
        return;
    };
    let place = format!("record {index}");
    if !rule.allow.is_empty() {
        let stranger =
            addresses(acquire).find(|uri| !rule.allow.iter().any(|pattern| pattern.matches(uri)));
        if let Some(uri) = stranger {
            let message = format!(
                "it is from {}, which is none of the sources that the policy allows",
                crate::path::display(uri)
            );
            report.add(
                fail(Rule::SourceDenied, message)
                    .at(place)
                    .hint("take it from a source that is allowed, or have the policy changed"),
            );
            return;
        }
    }
    let source = &acquire.source_uri;
    report.add(pass(Rule::SourceDenied, format!("it is from {source}")).at(place.clone()));
    report.add(authenticated(rule.authentication, acquire).at(place));
}

/// Something that the policy denies, if there is any. What is denied is denied for what it was made from, too, and whichever
/// record says so.
fn denied(
    report: &Report,
    rule: &SourceRule,
    (ledger, recalls): (&LedgerEvidence, &Recalls),
) -> Option<Finding> {
    for source in &recalls.lineage.sources {
        let denied = rule
            .deny
            .iter()
            .find(|pattern| source.uris.iter().any(|uri| pattern.matches(uri)));
        if let Some(pattern) = denied {
            let what = if Some(source.artifact) == report.artifact {
                "the artifact".to_owned()
            } else {
                format!("{}, which it was made from,", source.artifact)
            };
            let message = format!("{what} is from {pattern}, which the policy denies");
            return Some(
                fail(Rule::SourceDenied, message)
                    .at(format!("record {}", source.index))
                    .hint("take it from another source, or have the policy changed"),
            );
        }
    }
    let LedgerEvidence::Records { items, .. } = ledger else {
        return None;
    };
    items.iter().find_map(|one| {
        let mut matched = one.matched.as_deref().unwrap_or_default().iter();
        let pattern = matched.find(|pattern| rule.deny.contains(pattern))?;
        let message = format!("items of a dataset are from {pattern}, which the policy denies");
        Some(fail(Rule::SourceDenied, message).at(format!("record {}", one.index)))
    })
}

/// How far it is known who the source is.
fn authenticated(minimum: MinimumAuthentication, acquire: &Acquire) -> Finding {
    let authentication = &acquire.authentication;
    let verified = authentication.result == AuthenticationResult::Verified
        && authentication.method != AuthenticationMethod::None;
    let by_publisher = verified
        && matches!(
            authentication.method,
            AuthenticationMethod::Oms
                | AuthenticationMethod::Sigstore
                | AuthenticationMethod::Gpg
                | AuthenticationMethod::Minisign
                | AuthenticationMethod::Ssh
                | AuthenticationMethod::ChecksumFromPublisher
                | AuthenticationMethod::Contract
        );
    let said = format!(
        "the source was authenticated by {}, with the result {}",
        word(&authentication.method),
        word(&authentication.result)
    );
    match minimum {
        MinimumAuthentication::Publisher if by_publisher => pass(Rule::SourceAuthentication, said),
        MinimumAuthentication::Verified | MinimumAuthentication::NotChecked if verified => {
            pass(Rule::SourceAuthentication, said)
        }
        MinimumAuthentication::NotChecked => {
            Finding::new(Rule::SourceAuthentication, Severity::Warning, said)
        }
        MinimumAuthentication::Publisher => fail(
            Rule::SourceAuthentication,
            format!("{said}; the policy asks for the publisher's own word"),
        )
        .hint("verify a signature or a list of digests of the publisher, and record that"),
        MinimumAuthentication::Verified => fail(
            Rule::SourceAuthentication,
            format!("{said}; the policy asks for more"),
        )
        .hint("acquire it again over https, or with the publisher's signature or list of digests"),
    }
}

/// A word of a record, as it is written there.
fn word(value: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

fn formats(report: &mut Report, artifact: &ArtifactEvidence, policy: &Policy) {
    let Some(rule) = &policy.gate.formats else {
        return;
    };
    let files = artifact.manifest.files();
    if files.iter().any(|file| file.format.is_none()) {
        let message = "what kinds of files these are is not known: they were not read here";
        let finding = Finding::new(Rule::FormatDenied, Severity::Inconclusive, message);
        report.add(finding);
        return;
    }
    let refused: Vec<_> = files
        .iter()
        .filter_map(|file| {
            // By what is in it, and by what a loader takes it for.
            let both = [file.format, claimed(file.path.as_str())];
            let mut refused = both.into_iter().flatten().filter(|one| !rule.permits(one));
            Some((file, refused.next()?))
        })
        .collect();
    for (file, format) in refused.iter().take(NAMED) {
        let why = if format.runs_code() {
            ": a loader can be made to run what is in it"
        } else {
            ""
        };
        let message = format!("is in the format {format}, which the policy does not allow{why}");
        report.add(
            fail(Rule::FormatDenied, message)
                .at(file.path.to_string())
                .hint("leave the file out, or convert it; a `justify` record can excuse it where the policy says so"),
        );
    }
    if refused.len() > NAMED {
        let message = format!(
            "{} more files are in formats that are not allowed",
            refused.len() - NAMED
        );
        report.add(fail(Rule::FormatDenied, message));
    }
    if refused.is_empty() {
        let mut names: Vec<&str> = files
            .iter()
            .filter_map(|file| Some(file.format?.name()))
            .collect();
        names.sort_unstable();
        names.dedup();
        let message = format!(
            "all files are in formats that are allowed: {}",
            names.join(", ")
        );
        report.add(pass(Rule::FormatDenied, message));
    }
}

fn licences(report: &mut Report, judged: &[Judged], policy: &Policy) {
    let Some(rule) = &policy.gate.licences else {
        return;
    };
    let licences: Vec<(u64, &str)> = judged
        .iter()
        .filter_map(|one| {
            let licence = match &one.statement.record {
                Record::Acquire(record) => record.licence.as_ref(),
                Record::Release(record) => record.licence.as_ref(),
                Record::Register(record) => record.licence.as_ref(),
                _ => None,
            };
            Some((one.index, licence?.as_str()))
        })
        .collect();
    if licences.is_empty() {
        report.add(
            fail(
                Rule::LicenceUnknown,
                "no record says under which licence it is",
            )
            .hint(
                "record it: `weighbridge record register`, `release` or `acquire` take --licence",
            ),
        );
        return;
    }
    let refused = licences
        .iter()
        .find(|(_, licence)| !permits_licence(rule, licence));
    let finding = if let Some((index, licence)) = refused {
        let licence = crate::path::display(licence);
        fail(
            Rule::LicenceDenied,
            format!("it is under {licence}, which the policy does not allow"),
        )
        .at(format!("record {index}"))
    } else {
        let mut names: Vec<&str> = licences.iter().map(|(_, licence)| *licence).collect();
        names.dedup();
        pass(
            Rule::LicenceDenied,
            format!(
                "it is under {}, which the policy allows",
                names.join(" and ")
            ),
        )
    };
    report.add(finding);
}

fn size(report: &mut Report, policy: &Policy) {
    let Some(rule) = &policy.gate.size else {
        return;
    };
    let (files, bytes) = (report.files as u64, report.bytes);
    let most = |limit: Option<u64>, found: u64, what: &str| {
        let limit = limit.filter(|limit| found > *limit)?;
        Some(format!(
            "it has {found} {what}, and the policy allows {limit}"
        ))
    };
    let wrong =
        most(rule.max_bytes, bytes, "bytes").or_else(|| most(rule.max_files, files, "files"));
    report.add(match wrong {
        Some(why) => fail(Rule::SizeExceeded, why),
        None => pass(
            Rule::SizeExceeded,
            "it is not larger than the policy allows",
        ),
    });
}

fn modalities(
    report: &mut Report,
    artifact: &ArtifactEvidence,
    judged: &[Judged],
    policy: &Policy,
) {
    let Some(rule) = &policy.gate.modalities else {
        return;
    };
    let registered: Vec<_> = judged
        .iter()
        .filter_map(|one| match &one.statement.record {
            Record::Register(record) => Some((one.index, record)),
            _ => None,
        })
        .collect();
    if registered.is_empty() {
        report.add(
            fail(
                Rule::ModalityUnknown,
                "no register record says what of it is used, and the policy asks for that",
            )
            .hint("add it with `weighbridge record register --from register.json PATH`"),
        );
        return;
    }
    for (index, record) in &registered {
        let place = format!("record {index}");
        let mut used = record.modalities_used.iter();
        let stranger = used.find(|one| {
            !rule.allow.is_empty() && !rule.allow.iter().any(|allowed| allowed == one.as_str())
        });
        if let Some(stranger) = stranger {
            let message = format!("it is used for {stranger}, which the policy does not allow");
            report.add(fail(Rule::ModalityRefused, message).at(place));
            return;
        }
        if !rule.refuse_unused {
            continue;
        }
        let back = artifact.manifest.files().iter().find_map(|file| {
            let mut parts = file
                .path
                .as_str()
                .split('/')
                .map(|part| part.split('.').next().unwrap_or(part));
            let part = parts.find(|part| {
                let mut unused = record.modalities_unused.iter();
                unused.any(|one| one.as_str().eq_ignore_ascii_case(part))
            })?;
            Some((file.path.to_string(), part.to_owned()))
        });
        if let Some((path, part)) = back {
            let message = format!("is there, and {part} was registered as unused");
            report.add(
                fail(Rule::ModalityRefused, message)
                    .at(path)
                    .hint("leave it out, or register anew what is used"),
            );
            return;
        }
    }
    report.add(pass(
        Rule::ModalityRefused,
        "nothing is there that is not allowed, or was registered as unused",
    ));
}

fn age(report: &mut Report, ledger: &LedgerEvidence, policy: &Policy, now: Timestamp) {
    let LedgerEvidence::Records {
        vouched, complete, ..
    } = ledger
    else {
        return;
    };
    if complete.is_none() && !policy.gate.receipts {
        let message =
            "the policy takes no receipt for the ledger: what was recorded later is not known";
        report.add(
            Finding::new(Rule::LedgerReceipt, Severity::Inconclusive, message)
                .hint("judge by a copy of the ledger: leave out --receipt"),
        );
    }
    let Some(most) = policy.gate.ledger_max_age else {
        return;
    };
    let finding = match vouched {
        None => Finding::new(
            Rule::LedgerAge,
            Severity::Inconclusive,
            "no quorum of witnesses says when this was the newest of the ledger, and the policy asks for that",
        )
        .hint("name witnesses in the log's trust policy, with a quorum: `weighbridge ledger witness` runs one"),
        Some(then) if most.is_past(*then, now) => Finding::new(
            Rule::LedgerAge,
            Severity::Inconclusive,
            format!("what the ledger shows is of {then}, which is more than {most} ago"),
        )
        .hint("get a newer copy: `weighbridge ledger mirror`"),
        Some(then) => pass(
            Rule::LedgerAge,
            format!("witnesses vouch that this was the newest of the ledger at {then}"),
        ),
    };
    report.add(finding);
}

/// What the policy's own expressions say.
pub(super) fn expressions(report: &mut Report, ledger: &LedgerEvidence, policy: &Policy) {
    // Without a ledger they would be asked about half of what there is.
    let is_known = matches!(ledger, LedgerEvidence::Records { .. });
    for rule in &policy.gate.expressions {
        let answer = if is_known {
            rule.holds(&report.input)
        } else {
            Err("the ledger could not be read".into())
        };
        let finding = match answer {
            Ok(true) => pass(Rule::PolicyExpression, format!("{} is true", rule.id)),
            Ok(false) => fail(
                Rule::PolicyExpression,
                format!("{}: {}", rule.id, rule.message),
            )
            .hint("`weighbridge gate --input-only` prints what the expression was given"),
            Err(why) => Finding::new(
                Rule::PolicyExpression,
                Severity::Inconclusive,
                format!("{} cannot be answered: {why}", rule.id),
            )
            .hint("`weighbridge gate --input-only` prints what the expression was given"),
        };
        report.add(finding);
    }
}

/// What a justification excuses is a warning, for as long as that holds.
pub(super) fn excuse(report: &mut Report, judged: &[Judged], policy: &Policy, now: Timestamp) {
    let Some(rule) = &policy.gate.exceptions else {
        return;
    };
    let justified: Vec<_> = judged
        .iter()
        .filter_map(|one| match &one.statement.record {
            Record::Justify(record) if rule.roles.contains(&record.actor.role) => {
                Some((one, record))
            }
            _ => None,
        })
        .collect();
    let mut used = Vec::new();
    for finding in &mut report.findings {
        if finding.severity != Severity::Fail || !rule.rules.contains(&finding.rule) {
            continue;
        }
        let by = justified.iter().find(|(_, record)| {
            let mut rules = record.rules.all().iter();
            rules.any(|id| id.as_str() == finding.rule.id())
        });
        if let Some((one, record)) = by {
            finding.severity = Severity::Warning;
            finding.message = format!(
                "{}; excused by record {} of {} until {}: {}",
                finding.message, one.index, one.identity.name, record.expires, record.explanation
            );
            finding.hint = None;
            used.push((one.index, record.expires));
        }
    }
    used.dedup();
    for (index, end) in used {
        if !rule.warn_before.is_past(now, end) {
            let message = format!("an exception that this verdict rests on ends on {end}");
            report.add(
                Finding::new(Rule::ExceptionExpiring, Severity::Warning, message)
                    .at(format!("record {index}"))
                    .hint("mend what it excuses, or have it recorded anew"),
            );
        }
    }
}
