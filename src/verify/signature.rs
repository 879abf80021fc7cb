//! The signature: is there one, by whom, over what, and are the files those that were signed?

use super::artifact::{Reported, difference_finding};
use super::{ArtifactEvidence, Report, SignatureEvidence, Trusted};
use crate::artifact::manifest::{Difference, compare};
use crate::credential::{Clock, Refusal, Signer, Stage, Stamped};
use crate::finding::{Finding, Rule, Severity};
use crate::key::KeyAlgorithm;
use crate::oms::{OmsBundle, OmsError, OmsModel};
use crate::time::Timestamp;

/// A good signature.
pub(super) struct Signed {
    /// Which of those who are trusted made it.
    pub(super) by: usize,
    /// Under which names he is trusted, too.
    pub(super) also: Vec<usize>,
    /// When it existed, by somebody trusted.
    pub(super) at: Option<Timestamp>,
    /// What it is made with.
    pub(super) algorithm: KeyAlgorithm,
}

/// Checks the signature and the files it covers.
pub(super) fn check_signature(
    report: &mut Report,
    artifact: &ArtifactEvidence,
    signature: &SignatureEvidence,
    trusted: &[Trusted<'_>],
    clock: Clock<'_>,
    doubtful: &dyn Fn(&Signed) -> bool,
) -> Vec<Signed> {
    let Some(bundle) = bundle(report, signature) else {
        return Vec::new();
    };
    let signed = signers(report, bundle, trusted, clock, doubtful);
    if signed.is_empty() {
        return signed;
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
            return signed;
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
    signed
}

/// The bundle, if there is one that can be read.
fn bundle<'a>(report: &mut Report, signature: &'a SignatureEvidence) -> Option<&'a OmsBundle> {
    let finding = match signature {
        SignatureEvidence::Missing { path } => {
            let message = format!("there is no signature at {path}");
            Finding::new(Rule::SignatureMissing, Severity::Fail, message)
                .hint("sign it with `weighbridge sign`, or name the file with --signature")
        }
        SignatureEvidence::Unreadable { path, why } => {
            let message = format!("the signature {path} cannot be read: {why}");
            Finding::new(Rule::SignatureMissing, Severity::Inconclusive, message)
        }
        SignatureEvidence::Bundle { bundle, .. } => match &**bundle {
            Ok(bundle) => return Some(bundle),
            Err(error @ OmsError::Unsupported(_)) => Finding::new(
                Rule::SignatureUnsupported,
                Severity::Inconclusive,
                error.to_string(),
            ),
            Err(error) => Finding::new(Rule::SignatureFormat, Severity::Fail, error.to_string())
                .hint("get the signature file again from where it is published"),
        },
    };
    report.add(finding);
    None
}

/// Who of those who are trusted signed. One signature is one person's, however many names the policy has for
/// him: the first of those who are not doubtful.
fn signers(
    report: &mut Report,
    bundle: &OmsBundle,
    trusted: &[Trusted<'_>],
    clock: Clock<'_>,
    doubtful: &dyn Fn(&Signed) -> bool,
) -> Vec<Signed> {
    let mut refusals: Vec<Refusal> = Vec::new();
    let mut admitted: Vec<(Signed, Signer)> = Vec::new();
    let stamped = Stamped::new(bundle, clock);
    for (by, one) in trusted.iter().enumerate() {
        match one.credential.admit(&stamped) {
            Ok(signer) => {
                let signed = Signed {
                    by,
                    also: Vec::new(),
                    at: signer.signed_at,
                    algorithm: signer.algorithm,
                };
                admitted.push((signed, signer));
            }
            Err(refusal) => refusals.push(refusal),
        }
    }
    admitted.sort_by_key(|(signed, _)| doubtful(signed));
    let mut all: Vec<Signed> = Vec::new();
    let mut accounted = std::collections::BTreeMap::new();
    for (signed, signer) in admitted {
        let taken = signer.signatures.iter().find_map(|at| accounted.get(at));
        if let Some((first, signatures)) = taken {
            let same: bool = *signatures == signer.signatures;
            let first: Option<&mut Signed> = all.get_mut(*first);
            if let Some(first) = first.filter(|_| same && !doubtful(&signed)) {
                first.also.push(signed.by);
            }
            continue;
        }
        let name = trusted.get(signed.by).map_or("", |one| one.name);
        report.signers.push(name.into());
        let message = format!("signed by {name} ({})", signer.description);
        report.add(Finding::new(Rule::SignatureKey, Severity::Pass, message));
        for finding in signer.findings {
            report.add(finding);
        }
        let signatures = signer.signatures;
        let place = all.len();
        accounted.extend(
            signatures
                .iter()
                .map(|at| (*at, (place, signatures.clone()))),
        );
        all.push(signed);
    }
    if all.is_empty() {
        refused(report, refusals, trusted);
    } else if accounted.len() < bundle.signatures() {
        let message = format!(
            "{} of the {} signatures are by nobody who is trusted, or are repeated",
            bundle.signatures() - accounted.len(),
            bundle.signatures()
        );
        report.add(Finding::new(
            Rule::SignatureOthers,
            Severity::Warning,
            message,
        ));
    }
    all
}

/// Says why nobody's signature counts.
fn refused(report: &mut Report, refusals: Vec<Refusal>, trusted: &[Trusted<'_>]) {
    // Of several, the one that came farthest is about him whose signature this is meant to be.
    let farthest = refusals.iter().map(|refusal| refusal.stage).max();
    let told = refusals
        .into_iter()
        .find(|refusal| Some(refusal.stage) == farthest);
    let Some(Refusal {
        stage,
        mut finding,
        others,
    }) = told
    else {
        report.add(Finding::new(
            Rule::SignatureKey,
            Severity::Fail,
            "nobody is trusted",
        ));
        return;
    };
    if finding.hint.is_none() || stage < Stage::Signer {
        finding = finding.hint(hint(trusted));
    }
    report.add(finding);
    for other in others {
        report.add(other);
    }
}

fn hint(trusted: &[Trusted<'_>]) -> String {
    let names: Vec<String> = trusted
        .iter()
        .map(|one| format!("{} ({})", one.name, one.credential))
        .collect();
    format!(
        "trusted is: {}; restore the original, or trust its signer in the policy",
        names.join(", ")
    )
}

/// Compares the files with what was signed: a closed world.
pub(super) fn check_files(report: &mut Report, artifact: &ArtifactEvidence, model: &OmsModel) {
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
