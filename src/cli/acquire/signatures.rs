//! Signatures that a directory carries: OMS bundles where publishers put them, by the identities of the policy.

use std::num::NonZero;

use crate::artifact::{Artifact, Exclusions, Known, Names, Symlinks};
use crate::cli::context::{self, Config, ReadRequest};
use crate::cli::failure::Failure;
use crate::cli::keyring;
use crate::cli::output::Output;
use crate::digest::{Algorithm, Sha256};
use crate::finding::{Rule, Severity, Verdict};
use crate::gate;
use crate::path::ArtifactPath;
use crate::source::published::Assurance;
use crate::statement::acquire::{AuthenticationMethod, AuthenticationResult};
use crate::verify::{ArtifactEvidence, SignatureEvidence, verify_signature_by};

/// Where they are: as `model_signing` puts them (IBM Granite), Kaggle, NVIDIA NGC, and others.
const PLACES: [&str; 6] = [
    "model.sig",
    ".kaggle/signing.json",
    "result.sigstore",
    "model.sigstore",
    "model.sigstore.json",
    "claims.jsonl",
];

/// Verifies every bundle that `artifact` carries. One by somebody whom the policy trusts must be of these files; then
/// it is how they are known.
pub(super) fn verified(
    (artifact, found): (&Artifact, &ArtifactEvidence),
    jobs: Option<NonZero<usize>>,
    config: &Config,
    output: &Output,
) -> Result<Option<Assurance>, Failure> {
    let now = context::now();
    let policy = keyring::policy(config, now)?;
    let mut assurance = None;
    for place in PLACES {
        let path = artifact.path().join(place);
        if path.symlink_metadata().is_err() {
            continue;
        }
        let signature = gate::read_signature(&path);
        let SignatureEvidence::Bundle { sha256, bundle } = &signature else {
            return Err(Failure::error(format!(
                "{place} is there, and cannot be read"
            )));
        };
        if let Err(error) = &**bundle {
            output.warn(format!(
                "{place} is no signature that is understood: {error}"
            ));
            continue;
        }
        let (sha256, by) = (sha256.get(), ArtifactPath::new(place).ok());
        let mut algorithms = gate::algorithms(&signature);
        if !algorithms.contains(&Algorithm::Sha256) {
            algorithms.push(Algorithm::Sha256);
        }
        let request = ReadRequest {
            exclusions: &Exclusions::standard(by.clone()),
            algorithms: &algorithms,
            symlinks: Symlinks::Refuse,
            names: Names::Any,
            jobs,
            known: Known::NOTHING,
            direct: false,
        };
        let evidence = context::read(artifact, &request, output)?;
        let report = verify_signature_by(&evidence, &signature, &policy, now);
        // Files that it leaves out are recorded, and are not vouched for by it.
        let left_out = report
            .findings
            .iter()
            .find(|one| one.rule == Rule::SignatureCoverage);
        if let Some(left_out) = left_out.filter(|_| report.verdict() == Verdict::Pass) {
            let at = left_out.location.as_deref().unwrap_or("a file");
            output.warn(format!("{place} does not cover {at}: it is not counted"));
            continue;
        }
        if report.verdict() == Verdict::Pass {
            same(found, &evidence, by.as_ref())?;
            let name = report.signers.first().cloned().unwrap_or_default();
            output.say(format!("{place} is by {name}, over these files"));
            assurance = assurance.or(Some(by_bundle(name, sha256)));
            continue;
        }
        let wrong = report
            .findings
            .iter()
            .filter(|one| one.severity == Severity::Fail);
        let lines: Vec<String> = wrong
            .map(|one| {
                let at = one.location.as_deref().unwrap_or(place);
                format!("{at} {} ({})", one.message, one.rule.id())
            })
            .collect();
        // By somebody who is trusted, and not over these files: they were changed.
        if report.verdict() == Verdict::Inconclusive {
            return Err(Failure::error(format!("{place} could not be verified")));
        }
        if !report.signers.is_empty() {
            return Err(Failure::refused(lines).hint("nothing is recorded"));
        }
        output.warn(format!(
            "{place} is by nobody whom the policy trusts: {}",
            lines.first().cloned().unwrap_or_default()
        ));
    }
    Ok(assurance)
}

/// What was verified must be what is recorded: it was read twice.
fn same(
    found: &ArtifactEvidence,
    verified: &ArtifactEvidence,
    signature: Option<&ArtifactPath>,
) -> Result<(), Failure> {
    let of = |evidence: &ArtifactEvidence, path: &ArtifactPath| {
        let file = evidence.manifest.file(path.as_str())?;
        let digest = evidence.manifest.digest(file, Algorithm::Sha256)?;
        Some(digest.to_vec())
    };
    let files = found.manifest.files().iter();
    let mut files = files.filter(|file| Some(&file.path) != signature);
    match files.find(|file| of(found, &file.path) != of(verified, &file.path)) {
        None => Ok(()),
        Some(file) => Err(Failure::error(format!(
            "{} changes while it is read",
            file.path
        ))),
    }
}

fn by_bundle(name: String, sha256: Sha256) -> Assurance {
    Assurance {
        method: AuthenticationMethod::Oms,
        result: AuthenticationResult::Verified,
        publisher_identity: Some(name),
        signature: Some(sha256),
        ..Assurance::default()
    }
}
