//! "May this be used?" Evidence, a policy and the time go in, a report comes out.
//! Touches nothing: no file, no clock, no network, no environment.
//!
//! Order of checks: what lies there → signature → who signed → files → ledger → records. Each
//! check reports a finding, also when it passes.

use crate::artifact::manifest::{Difference, Line, compare};
use crate::artifact::{
    ArtifactDigest, FileFault, Manifest, Obstacle, ObstacleKind, hash::FaultKind,
};
use crate::checkpoint::Checkpoint;
use crate::digest::{Algorithm, Sha256};
use crate::envelope::{Envelope, IN_TOTO};
use crate::finding::{Finding, Rule, Severity};
use crate::key::PublicKey;
use crate::ledger::TlogProof;
use crate::ledger::tile::MAX_ENTRY;
use crate::oms::{OmsBundle, OmsError};
use crate::path::ArtifactPath;
use crate::policy::{Identity, Policy, RequiredRecord};
use crate::statement::{Statement, StatementError};
use crate::time::Timestamp;

/// What was found where the artifact lies.
#[derive(Debug)]
pub struct ArtifactEvidence {
    pub manifest: Manifest,
    pub obstacles: Vec<Obstacle>,
    pub faults: Vec<FileFault>,
    /// Paths that were left out.
    pub not_covered: Vec<ArtifactPath>,
}

/// What was found where the signature should be.
#[derive(Debug)]
pub enum SignatureEvidence {
    /// There is no such file.
    Missing { path: String },
    /// It cannot be read.
    Unreadable { path: String, why: String },
    /// The file's digest, and what it says.
    Bundle {
        sha256: Sha256,
        bundle: Box<Result<OmsBundle, OmsError>>,
    },
}

/// What the ledger says about the artifact.
#[derive(Debug)]
pub enum LedgerEvidence {
    /// It cannot be read, or its checkpoint is not signed by the trusted key.
    Unusable { rule: Rule, why: String },
    /// Entries about this artifact digest, each with its proof, and whether they are known to be
    /// all: a full replica was scanned up to the checkpoint.
    Records {
        entries: Vec<LedgerEntry>,
        complete: Option<Checkpoint>,
        earlier: Option<Earlier>,
    },
}

/// One entry with its proof.
#[derive(Debug)]
pub struct LedgerEntry {
    pub bytes: Vec<u8>,
    pub proof: TlogProof,
}

/// A recorded manifest that shows what this artifact was before: explains, decides nothing.
#[derive(Debug)]
pub struct Earlier {
    pub index: u64,
    pub lines: Vec<Line>,
}

/// A record that counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedRecord {
    pub index: u64,
    pub kind: crate::statement::Kind,
    pub signer: String,
    pub time: Timestamp,
}

/// Everything that was checked, in order.
#[derive(Debug, Default)]
pub struct Report {
    pub findings: Vec<Finding>,
    pub artifact: Option<ArtifactDigest>,
    pub files: usize,
    pub bytes: u64,
    /// Who made the signature: the identity's name.
    pub signer: Option<String>,
    pub records: Vec<AcceptedRecord>,
}

impl Report {
    fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// What follows from the findings.
    pub fn verdict(&self) -> crate::finding::Verdict {
        crate::finding::verdict(&self.findings, self.files)
    }
}

/// The whole policy: artifact, signature, identity, ledger and records.
pub fn verify(
    artifact: &ArtifactEvidence,
    signature: &SignatureEvidence,
    ledger: &LedgerEvidence,
    policy: &Policy,
    now: Timestamp,
) -> Report {
    let mut report = Report::default();
    check_artifact(&mut report, artifact);
    let keys = policy
        .identities
        .iter()
        .map(|identity| (identity.name.as_str(), &identity.key));
    let signed = check_signature(&mut report, artifact, signature, &keys.collect::<Vec<_>>());
    if let Some(key) = signed
        && let Some(identity) = policy
            .identities
            .iter()
            .find(|identity| identity.key == key)
    {
        check_signer(&mut report, identity, policy, now);
    }
    check_ledger(&mut report, artifact, ledger, policy, now);
    report
}

/// The signature alone: is it over these files, by one of `keys`?
pub fn verify_signature(
    artifact: &ArtifactEvidence,
    signature: &SignatureEvidence,
    keys: &[(&str, &PublicKey)],
) -> Report {
    let mut report = Report::default();
    check_artifact(&mut report, artifact);
    check_signature(&mut report, artifact, signature, keys);
    report
}

fn check_artifact(report: &mut Report, artifact: &ArtifactEvidence) {
    report.files = artifact.manifest.files().len();
    report.bytes = artifact.manifest.bytes();
    report.artifact = artifact.manifest.artifact_digest().ok();
    for obstacle in &artifact.obstacles {
        report.add(obstacle_finding(obstacle));
    }
    for fault in &artifact.faults {
        report.add(fault_finding(fault));
    }
    for path in &artifact.not_covered {
        let message = "is left out: not hashed, not signed, not recorded";
        report.add(
            Finding::new(Rule::ArtifactNotCovered, Severity::Note, message).at(path.to_string()),
        );
    }
    if report.files == 0 && artifact.faults.is_empty() {
        let message = "there is no file to check";
        report.add(Finding::new(Rule::ArtifactEmpty, Severity::Fail, message));
    }
}

/// What an obstacle means: a link or special file is refused, a directory that cannot be read is
/// not known to be good.
pub fn obstacle_finding(obstacle: &Obstacle) -> Finding {
    let (rule, severity, message, hint) = match &obstacle.kind {
        ObstacleKind::Link(why) => (
            Rule::ArtifactSymlink,
            Severity::Fail,
            format!("is a symbolic link: {why}"),
            "replace the link by the file it should be",
        ),
        ObstacleKind::Special(what) => (
            Rule::ArtifactSpecial,
            Severity::Fail,
            format!("is {what}, not a regular file"),
            "remove it; an artifact holds regular files only",
        ),
        ObstacleKind::Name(error) => (
            Rule::ArtifactName,
            Severity::Fail,
            error.to_string(),
            "rename the file; names are UTF-8 without line breaks and backslashes",
        ),
        ObstacleKind::Unreadable(why) => (
            Rule::ArtifactUnreadable,
            Severity::Inconclusive,
            format!("cannot be read: {why}"),
            "run as a user who may read it",
        ),
    };
    Finding::new(rule, severity, message)
        .at(obstacle.location.clone())
        .hint(hint)
}

/// What a file without a digest means.
pub fn fault_finding(fault: &FileFault) -> Finding {
    let (rule, severity, message, hint) = match &fault.kind {
        FaultKind::Unreadable(error) => (
            Rule::ArtifactUnreadable,
            Severity::Inconclusive,
            format!("cannot be read: {error}"),
            "run as a user who may read it",
        ),
        FaultKind::Changed => (
            Rule::ArtifactUnstable,
            Severity::Inconclusive,
            "changed while it was being hashed".into(),
            "wait until nothing writes to the artifact, then try again",
        ),
        FaultKind::NotRegular => (
            Rule::ArtifactSymlink,
            Severity::Fail,
            "is no longer a regular file".into(),
            "replace it by the file it should be",
        ),
    };
    Finding::new(rule, severity, message)
        .at(fault.path.to_string())
        .hint(hint)
}

/// Checks the signature and the files it covers. Returns the key that made it.
fn check_signature(
    report: &mut Report,
    artifact: &ArtifactEvidence,
    signature: &SignatureEvidence,
    keys: &[(&str, &PublicKey)],
) -> Option<PublicKey> {
    let bundle = match signature {
        SignatureEvidence::Missing { path } => {
            let message = format!("there is no signature at {path}");
            report.add(
                Finding::new(Rule::SignatureMissing, Severity::Fail, message)
                    .hint("sign it with `weighbridge sign`, or name the file with --signature"),
            );
            return None;
        }
        SignatureEvidence::Unreadable { path, why } => {
            let message = format!("the signature {path} cannot be read: {why}");
            report.add(Finding::new(
                Rule::SignatureMissing,
                Severity::Inconclusive,
                message,
            ));
            return None;
        }
        SignatureEvidence::Bundle { bundle, .. } => match &**bundle {
            Ok(bundle) => bundle,
            Err(error @ OmsError::Unsupported(_)) => {
                let severity = Severity::Inconclusive;
                report.add(Finding::new(
                    Rule::SignatureUnsupported,
                    severity,
                    error.to_string(),
                ));
                return None;
            }
            Err(error) => {
                report.add(
                    Finding::new(Rule::SignatureFormat, Severity::Fail, error.to_string())
                        .hint("get the signature file again from where it is published"),
                );
                return None;
            }
        },
    };
    let signer = keys.iter().find(|(_, key)| bundle.signed_by(key));
    let Some((name, key)) = signer else {
        let message = "the signature is not by any trusted key, or what it signs was altered";
        report.add(Finding::new(Rule::SignatureKey, Severity::Fail, message).hint(trusted(keys)));
        return None;
    };
    report.signer = Some((*name).into());
    let message = format!(
        "signed by {name} ({}, key {})",
        key.algorithm().name(),
        key.key_id()
    );
    report.add(Finding::new(Rule::SignatureKey, Severity::Pass, message));
    if bundle.hint_contradicts(key) {
        let message = "the bundle's key hint names another key; the hint is not signed";
        report.add(Finding::new(
            Rule::SignatureHint,
            Severity::Warning,
            message,
        ));
    }
    let message = format!("signed as {:?} with root {}", bundle.name, bundle.root);
    report.add(Finding::new(
        Rule::SignatureStatement,
        Severity::Pass,
        message,
    ));
    if bundle.unsorted {
        let message = "the signed files are not in the order the specification asks for";
        report.add(Finding::new(
            Rule::SignatureStatement,
            Severity::Note,
            message,
        ));
    }
    check_files(report, artifact, bundle);
    Some((*key).clone())
}

fn trusted(keys: &[(&str, &PublicKey)]) -> String {
    let names: Vec<&str> = keys.iter().map(|(name, _)| *name).collect();
    format!(
        "trusted is: {}; restore the original, or trust its signer in the policy",
        names.join(", ")
    )
}

/// Compares the files with what was signed: a closed world.
fn check_files(report: &mut Report, artifact: &ArtifactEvidence, bundle: &OmsBundle) {
    let manifest = &artifact.manifest;
    let lines = bundle.lines(manifest);
    let mut wrong = 0;
    for difference in compare(&lines, manifest, bundle.algorithm) {
        let finding = match difference {
            Difference::Added { path } if bundle.ignores(&path) => {
                let message = "is outside the signature";
                report.add(
                    Finding::new(Rule::SignatureCoverage, Severity::Note, message)
                        .at(path.to_string()),
                );
                continue;
            }
            difference => difference_finding(&difference, artifact, "signed"),
        };
        let Some(finding) = finding else { continue };
        wrong += 1;
        report.add(finding);
    }
    if wrong == 0
        && !lines.is_empty()
        && artifact.faults.is_empty()
        && artifact.obstacles.is_empty()
    {
        let message = format!("all {} signed files are as they were signed", lines.len());
        report.add(Finding::new(Rule::ArtifactFiles, Severity::Pass, message));
    }
}

/// A difference as a finding, unless the file was reported already as unreadable or a link.
fn difference_finding(
    difference: &Difference,
    artifact: &ArtifactEvidence,
    what: &str,
) -> Option<Finding> {
    Some(match difference {
        Difference::Changed {
            path,
            expected,
            found,
        } => {
            let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
            let message = format!(
                "was changed: {what} {}, found {}",
                hex(expected),
                hex(found)
            );
            Finding::new(Rule::ArtifactChanged, Severity::Fail, message)
                .at(path.to_string())
                .hint("restore the file from where it was published, or sign the new version")
        }
        Difference::Missing { path } => {
            let reported = artifact.faults.iter().any(|fault| fault.path == *path)
                || artifact.obstacles.iter().any(|obstacle| {
                    obstacle.location == path.to_string()
                        || matches!(obstacle.kind, ObstacleKind::Unreadable(_))
                            && path.is_within(&obstacle.location)
                });
            if reported {
                return None;
            }
            Finding::new(
                Rule::ArtifactMissing,
                Severity::Fail,
                format!("is {what} and missing"),
            )
            .at(path.to_string())
            .hint("restore the file from where it was published")
        }
        Difference::Added { path } => Finding::new(
            Rule::ArtifactAdded,
            Severity::Fail,
            format!("was added: it is not {what}"),
        )
        .at(path.to_string())
        .hint("remove the file, or sign the new version"),
    })
}

fn check_signer(report: &mut Report, identity: &Identity, policy: &Policy, now: Timestamp) {
    let name = &identity.name;
    if identity.is_expired(now) {
        let expired = identity
            .expires
            .map(|time| time.to_string())
            .unwrap_or_default();
        let message = format!("identity {name} expired at {expired}");
        report.add(Finding::new(Rule::IdentityRole, Severity::Fail, message));
        return;
    }
    let roles = &policy.gate.signature_roles;
    if let Some(role) = identity.role_among(roles) {
        let message = format!("{name} may sign as {}", role.name());
        report.add(Finding::new(Rule::IdentityRole, Severity::Pass, message));
    } else {
        let wanted: Vec<&str> = roles.iter().map(|role| role.name()).collect();
        let message = format!("{name} has none of the roles {}", wanted.join(", "));
        report.add(
            Finding::new(Rule::IdentityRole, Severity::Fail, message)
                .hint("have it signed by somebody in one of these roles"),
        );
    }
}

fn check_ledger(
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
        let roles: Vec<&str> = required.roles.iter().map(|role| role.name()).collect();
        let digest = report.artifact.map(|digest| digest.to_string());
        let message = format!(
            "{} has no {} record by {} for {}",
            policy.log.key.name(),
            kind.name(),
            roles.join(" or "),
            digest.unwrap_or_else(|| "an artifact without a digest".into()),
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
