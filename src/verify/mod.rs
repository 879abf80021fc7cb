//! "May this be used?" Evidence, a policy and the time go in, a report comes out.
//! Touches nothing: no file, no clock, no network, no environment.
//!
//! Order of checks: what lies there → signature → who signed → files → ledger → records. Each
//! check reports a finding, also when it passes.

mod artifact;
mod input;
mod keyring;
mod lineage;
mod recall;
mod records;
mod required;
mod rules;
mod signature;
mod signers;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::artifact::manifest::{Line, ManifestFile};
use crate::artifact::{ArtifactDigest, FileFault, Manifest, Obstacle, ObstacleKind, Unsealed};
use crate::checkpoint::Checkpoint;
use crate::credential::{Clock, Credential};
use crate::digest::{Algorithm, Sha256};
use crate::finding::{Finding, Rule};
use crate::ledger::TlogProof;
use crate::oms::{OmsBundle, OmsError, OmsModel};
use crate::path::ArtifactPath;
use crate::policy::{Identity, Policy};
use crate::statement::source_pattern::SourcePattern;
use crate::time::Timestamp;
use crate::timestamp::Authorities;

use artifact::check_artifact;
pub use artifact::{CheckedFiles, checked_files, fault_finding, obstacle_finding, receipt_finding};
pub use keyring::{Keyring, Taken, is_about_a_key};
pub use recall::may_recall;
pub use records::{authorised, may_mean_anything, signers_of, speaks};
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
    /// How many files were read because their kernel does not vouch for them, where that was asked.
    pub unsealed: BTreeMap<Unsealed, usize>,
}

impl ArtifactEvidence {
    /// Plain files that were all read.
    pub fn whole(manifest: Manifest, not_covered: Vec<ArtifactPath>) -> ArtifactEvidence {
        ArtifactEvidence {
            manifest,
            obstacles: Vec::new(),
            faults: Vec::new(),
            not_covered,
            unsealed: BTreeMap::new(),
        }
    }

    /// The artifact digest; there is none if anything could not be read.
    pub fn digest(&self) -> Option<ArtifactDigest> {
        let unreadable = |obstacle: &Obstacle| matches!(obstacle.kind, ObstacleKind::Unreadable(_));
        if !self.faults.is_empty() || self.obstacles.iter().any(unreadable) {
            return None;
        }
        self.manifest.artifact_digest().ok()
    }

    /// The file with this SHA-256, if one has it.
    pub fn file_with(&self, sha256: &Sha256) -> Option<&ArtifactPath> {
        let mut files = self.manifest.files().iter();
        let has = |file: &&ManifestFile| {
            self.manifest.digest(file, Algorithm::Sha256) == Some(sha256.0.as_slice())
        };
        Some(&files.find(has)?.path)
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
        sha256: FileDigest,
        bundle: Box<Result<OmsBundle, OmsError>>,
    },
}

/// The SHA-256 of a file that was read; computed once somebody asks.
pub struct FileDigest(LazyLock<Sha256, Box<dyn FnOnce() -> Sha256 + Send + Sync>>);

impl FileDigest {
    /// Of a file of these bytes.
    pub fn of(bytes: Vec<u8>) -> FileDigest {
        FileDigest(LazyLock::new(Box::new(move || Sha256::of(&bytes))))
    }

    /// The digest.
    pub fn get(&self) -> Sha256 {
        *self.0
    }
}

impl std::fmt::Debug for FileDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.get())
    }
}

/// What the ledger says about the artifact.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one of it")]
pub enum LedgerEvidence {
    /// It cannot be read, or its checkpoint is not signed by the trusted key.
    Unusable { rule: Rule, why: String },
    /// It contradicts what it showed before.
    Contradicts { why: String },
    /// Entries about this artifact digest, each with its proof, and whether they are known to be
    /// all: a full replica was scanned up to the checkpoint.
    Records {
        entries: Vec<LedgerEntry>,
        /// Entries about keys, in the log's order; a receipt has none.
        keys: Vec<LedgerEntry>,
        /// Entries that may take back the artifact, what it was made from, a key or a record; a receipt has none.
        recalls: Vec<LedgerEntry>,
        /// Entries about what it was made from.
        lineage: Vec<LedgerEntry>,
        /// Where the items of datasets among these are from.
        items: Vec<ItemSources>,
        complete: Option<Checkpoint>,
        /// These were looked up in an index that this host made of all entries up to there.
        by_index: bool,
        /// When a quorum of the witnesses vouched for this as the newest that there was.
        vouched: Option<Timestamp>,
        earlier: Option<Earlier>,
    },
}

/// Which of the sources that matter the items of a dataset are from.
#[derive(Debug)]
pub struct ItemSources {
    /// The record that has the items.
    pub index: u64,
    /// The dataset.
    pub artifact: Option<ArtifactDigest>,
    /// The patterns that one of them fits at least; or why they cannot be read.
    pub matched: Result<Vec<SourcePattern>, String>,
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
    /// How each file was checked.
    pub checked: Vec<CheckedFiles>,
    /// Who signed: the identities' names, that of the first signature first.
    pub signers: Vec<String>,
    pub records: Vec<AcceptedRecord>,
    /// What expressions of the policy are given; nothing, where there is none and nobody asked.
    pub input: serde_json::Value,
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
    judge(artifact, signature, ledger, (policy, now), false)
}

/// The same, with what expressions are given, whether the policy has any or not.
pub fn verify_with_input(
    artifact: &ArtifactEvidence,
    signature: &SignatureEvidence,
    ledger: &LedgerEvidence,
    policy: &Policy,
    now: Timestamp,
) -> Report {
    judge(artifact, signature, ledger, (policy, now), true)
}

fn judge(
    artifact: &ArtifactEvidence,
    signature: &SignatureEvidence,
    ledger: &LedgerEvidence,
    (policy, now): (&Policy, Timestamp),
    asks_for_input: bool,
) -> Report {
    let mut report = Report::default();
    check_artifact(&mut report, artifact);
    let (mut keyring, about_keys) = keyring::of(policy, ledger, now);
    let recalls = recall::of(artifact, ledger, keyring.policy(), now);
    // What was said of keys in the end: it does not decide whose word on keys, or on recalls, counts.
    for withdrawn in &recalls.keys {
        keyring.recall(withdrawn);
    }
    let policy = keyring.policy();
    let identities = signers::in_order(policy, now);
    let signed = signed_by(&mut report, artifact, signature, &identities, policy, now);
    if !signed.is_empty() {
        signers::check(&mut report, &signed, &identities, policy, now);
    }
    let judged = check_ledger(&mut report, artifact, ledger, (policy, &recalls), now);
    report.findings.extend(about_keys);
    let rules = (policy, &recalls);
    rules::check(&mut report, artifact, (ledger, &judged), rules, now);
    if asks_for_input || !policy.gate.expressions.is_empty() {
        let found = (judged.as_slice(), &recalls);
        report.input = input::input(&report, artifact, found, policy, now);
        rules::expressions(&mut report, ledger, policy);
    }
    check_recorded_signature(&mut report, signature);
    rules::excuse(&mut report, &judged, policy, now);
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
    check_signature(&mut report, artifact, signature, trusted, clock, &|_| false);
    report
}

/// The signature alone: is it over these files, by one of the policy's identities that still counts?
pub fn verify_signature_by(
    artifact: &ArtifactEvidence,
    signature: &SignatureEvidence,
    policy: &Policy,
    now: Timestamp,
) -> Report {
    let mut report = Report::default();
    check_artifact(&mut report, artifact);
    let identities = signers::in_order(policy, now);
    let signed = signed_by(&mut report, artifact, signature, &identities, policy, now);
    signers::check_doubts(&mut report, &signed, &identities, policy, now);
    report
}

fn signed_by(
    report: &mut Report,
    artifact: &ArtifactEvidence,
    signature: &SignatureEvidence,
    identities: &[&Identity],
    policy: &Policy,
    now: Timestamp,
) -> Vec<Signed> {
    let trusted = identities.iter().map(|identity| Trusted {
        name: identity.name.as_str(),
        credential: &identity.credential,
    });
    let trusted: Vec<Trusted<'_>> = trusted.collect();
    let clock = Clock {
        now,
        authorities: Authorities {
            anchors: &policy.timestamp_authorities,
            withdrawn: &policy.revoked,
        },
    };
    let doubtful = |signed: &Signed| {
        identities
            .get(signed.by)
            .is_some_and(|identity| signers::doubt(identity, signed, policy, now).is_some())
    };
    check_signature(report, artifact, signature, &trusted, clock, &doubtful)
}

/// Are the files of `artifact` those that `model` lists? Says nothing of who signed.
pub fn verify_files(artifact: &ArtifactEvidence, model: &OmsModel) -> Report {
    let mut report = Report::default();
    check_artifact(&mut report, artifact);
    signature::check_files(&mut report, artifact, model);
    report
}
