//! Reports: what was checked, as a document. One file per output format.
//! Data in, text out; prints nothing.

pub mod catalogue;
pub mod document;
pub mod github;
pub mod gitlab;
pub mod hash;
pub mod junit;
pub mod sarif;
pub mod text;
pub mod trust;
pub mod vsa;

pub use catalogue::CatalogueDocument;
pub use document::{ClockSource, ReportDocument};
pub use hash::HashDocument;

use crate::finding::{Finding, Verdict};

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
fn place(finding: &Finding, artifact: &str) -> String {
    let artifact = artifact.trim_end_matches('/');
    match &finding.location {
        Some(location)
            if finding.rule.id().starts_with("artifact.")
                || finding.rule.id() == "format.denied" =>
        {
            if artifact.ends_with(location.as_str()) {
                artifact.to_owned()
            } else {
                format!("{artifact}/{location}")
            }
        }
        _ => artifact.to_owned(),
    }
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
