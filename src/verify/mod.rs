//! "May this be used?" Evidence, a policy and the time go in, a report comes out.
//! Touches nothing: no file, no clock, no network, no environment.
//!
//! Order of checks: what lies there → signature → who signed → files → ledger → records. Each
//! check reports a finding, also when it passes.

mod artifact;
mod records;
mod signature;

use crate::artifact::manifest::Line;
use crate::artifact::{ArtifactDigest, FileFault, Manifest, Obstacle, ObstacleKind};
use crate::checkpoint::Checkpoint;
use crate::credential::{Clock, Credential};
use crate::digest::Sha256;
use crate::finding::{Finding, Rule, Severity};
use crate::ledger::TlogProof;
use crate::oms::{OmsBundle, OmsError};
use crate::path::ArtifactPath;
use crate::policy::{Identity, Policy};
use crate::time::Timestamp;

use artifact::check_artifact;
pub use artifact::{fault_finding, obstacle_finding};
pub use records::authorised;
use records::{check_ledger, check_recorded_signature};
use signature::{Signed, check_signature};

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

/// Somebody whose signature counts.
#[derive(Clone, Copy)]
pub struct Trusted<'a> {
    pub name: &'a str,
    pub credential: &'a Credential,
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
    let trusted = policy.identities.iter().map(|identity| Trusted {
        name: identity.name.as_str(),
        credential: &identity.credential,
    });
    let trusted: Vec<Trusted<'_>> = trusted.collect();
    let clock = Clock {
        now,
        authorities: &policy.timestamp_authorities,
    };
    if let Some(signed) = check_signature(&mut report, artifact, signature, &trusted, clock)
        && let Some(identity) = policy.identities.get(signed.by)
    {
        check_signer(&mut report, identity, &signed, policy, now);
    }
    check_ledger(&mut report, artifact, ledger, policy, now);
    check_recorded_signature(&mut report, signature);
    report
}

/// The signature alone: is it over these files, by one of `trusted`?
pub fn verify_signature(
    artifact: &ArtifactEvidence,
    signature: &SignatureEvidence,
    trusted: &[Trusted<'_>],
    clock: Clock<'_>,
) -> Report {
    let mut report = Report::default();
    check_artifact(&mut report, artifact);
    check_signature(&mut report, artifact, signature, trusted, clock);
    report
}

fn check_signer(
    report: &mut Report,
    identity: &Identity,
    signed: &Signed,
    policy: &Policy,
    now: Timestamp,
) {
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
    // What was signed before the key was revoked counts, if somebody trusted says that it was before.
    if let Some(key) = identity.credential.key()
        && let Some(withdrawn) = policy.withdrawn(&key.key_id())
        && !signed
            .at
            .is_some_and(|at| withdrawn.since.is_some_and(|since| at < since))
    {
        let since = withdrawn
            .since
            .map_or(String::new(), |since| format!(" as of {since}"));
        let message = format!(
            "the key of {name} was revoked{since}, and no trusted timestamp places the signature before"
        );
        report.add(Finding::new(
            Rule::SignatureRevoked,
            Severity::Fail,
            message,
        ));
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
