//! "May this be used?" Evidence, a policy and the time go in, a report comes out.
//! Touches nothing: no file, no clock, no network, no environment.
//!
//! Order of checks: what lies there → signature → who signed → files → ledger → records. Each
//! check reports a finding, also when it passes.

mod artifact;
mod records;

use crate::artifact::manifest::{Difference, Line, compare};
use crate::artifact::{ArtifactDigest, FileFault, Manifest, Obstacle, ObstacleKind};
use crate::checkpoint::Checkpoint;
use crate::digest::Sha256;
use crate::finding::{Finding, Rule, Severity};
use crate::key::PublicKey;
use crate::ledger::TlogProof;
use crate::oms::{OmsBundle, OmsError, OmsModel};
use crate::path::ArtifactPath;
use crate::policy::{Identity, Policy};
use crate::time::Timestamp;

use artifact::{Reported, check_artifact, difference_finding};
pub use artifact::{fault_finding, obstacle_finding};
pub use records::authorised;
use records::{check_ledger, check_recorded_signature};

/// What was found where the artifact lies.
#[derive(Debug)]
pub struct ArtifactEvidence {
    pub manifest: Manifest,
    pub obstacles: Vec<Obstacle>,
    pub faults: Vec<FileFault>,
    /// Paths that were left out.
    pub not_covered: Vec<ArtifactPath>,
}

impl ArtifactEvidence {
    /// The artifact digest; there is none if anything could not be read.
    pub fn digest(&self) -> Option<ArtifactDigest> {
        let unreadable = |obstacle: &Obstacle| matches!(obstacle.kind, ObstacleKind::Unreadable(_));
        if !self.faults.is_empty() || self.obstacles.iter().any(unreadable) {
            return None;
        }
        self.manifest.artifact_digest().ok()
    }
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
    /// It contradicts what it showed before.
    Contradicts { why: String },
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
    /// SHA-256 of the signature file that a release names.
    pub signature: Option<Sha256>,
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
    check_recorded_signature(&mut report, signature);
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
    // What it says matters only now that it is known who says it.
    let model = match &bundle.model {
        Ok(model) => model,
        Err(error) => {
            let (rule, severity) = match error {
                OmsError::Unsupported(_) => (Rule::SignatureUnsupported, Severity::Inconclusive),
                _ => (Rule::SignatureStatement, Severity::Fail),
            };
            report.add(Finding::new(rule, severity, error.to_string()));
            return Some((*key).clone());
        }
    };
    let message = format!("signed as {:?} with root {}", model.name, model.root);
    report.add(Finding::new(
        Rule::SignatureStatement,
        Severity::Pass,
        message,
    ));
    if model.unsorted {
        let message = "the signed files are not in the order the specification asks for";
        report.add(Finding::new(
            Rule::SignatureStatement,
            Severity::Note,
            message,
        ));
    }
    check_files(report, artifact, model);
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
fn check_files(report: &mut Report, artifact: &ArtifactEvidence, model: &OmsModel) {
    let manifest = &artifact.manifest;
    let Some(lines) = model.lines(manifest) else {
        let message = "the signature is of a single file, and this is a directory";
        report.add(Finding::new(
            Rule::SignatureStatement,
            Severity::Fail,
            message,
        ));
        return;
    };
    let reported = Reported::new(artifact);
    let mut wrong = 0;
    for difference in compare(&lines, manifest, model.algorithm) {
        let finding = match difference {
            // An empty file has no shard.
            Difference::Added { path }
                if model.ignores(&path) || model.leaves_out_empty(manifest, &path) =>
            {
                let message = "is outside the signature";
                report.add(
                    Finding::new(Rule::SignatureCoverage, Severity::Note, message)
                        .at(path.to_string()),
                );
                continue;
            }
            difference => difference_finding(&difference, &reported, "signed"),
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
