//! Reports: what was checked, as a document. One file per output format.
//! Data in, text out; prints nothing.

pub mod catalogue;
pub mod document;
pub mod github;
pub mod gitlab;
pub mod hash;
pub mod hash_part;
pub mod junit;
pub mod sarif;
pub mod text;
pub mod trust;
pub mod vsa;

pub use catalogue::CatalogueDocument;
pub use document::{ClockSource, ReportDocument};
pub use hash::HashDocument;
pub use hash_part::HashPart;

use crate::digest::Sha256;
use crate::finding::{Finding, Rule, Verdict};
use document::ArtifactSummary;

/// The answer in a word or two.
fn answer(document: &ReportDocument) -> &'static str {
    let gate = document.command == "gate";
    match (document.verdict, gate) {
        (Verdict::Pass, true) => "allow",
        (Verdict::Pass, false) => "verified",
        (Verdict::Fail, true) => "deny",
        (Verdict::Fail, false) => "refused",
        (Verdict::Inconclusive, true) => "deny (inconclusive)",
        (Verdict::Inconclusive, false) => "inconclusive",
    }
}

/// The file that a finding is about, as a path in the place where the command ran; else the artifact.
fn place(finding: &Finding, artifact: &ArtifactSummary) -> String {
    let path = artifact.path.trim_end_matches('/');
    let is_single = artifact
        .digest
        .as_deref()
        .is_some_and(|digest| digest.starts_with("sha256:"));
    let about_a_file =
        finding.rule.id().starts_with("artifact.") || finding.rule == Rule::FormatDenied;
    match &finding.location {
        Some(location) if about_a_file && !is_single => format!("{path}/{location}"),
        _ => path.to_owned(),
    }
}

/// What tells each from the others, and is the same the next time: by rule and place, and which of those it is.
fn fingerprints(findings: &[&Finding]) -> Vec<String> {
    let mut seen = std::collections::BTreeMap::new();
    let mut prints = Vec::new();
    for finding in findings {
        let location = finding.location.as_deref().unwrap_or_default();
        let number = seen.entry((finding.rule, location)).or_insert(0_usize);
        *number += 1;
        let text = format!("{} {location} {number}", finding.rule.id());
        prints.push(Sha256::of(text.as_bytes()).to_string());
    }
    prints
}

/// Everything that a finding says, in one sentence and what to do.
fn sentence(finding: &Finding) -> String {
    let mut text = match &finding.location {
        Some(location) => format!("{location} {}", finding.message),
        None => finding.message.clone(),
    };
    if let Some(hint) = &finding.hint {
        text.push_str("; ");
        text.push_str(hint);
    }
    crate::path::display(&text)
}
