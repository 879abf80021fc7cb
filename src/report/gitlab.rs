//! The report for GitLab: code quality (the subset of Code Climate's format that GitLab reads).

use serde_json::{Value, json};

use super::ReportDocument;
use crate::digest::Sha256;
use crate::finding::Severity;

/// The list.
pub fn render(document: &ReportDocument) -> Value {
    let told = document
        .findings
        .iter()
        .filter(|finding| finding.severity > Severity::Note);
    let entries = told.map(|finding| {
        let severity = match finding.severity {
            Severity::Fail => "blocker",
            Severity::Inconclusive => "critical",
            _ => "minor",
        };
        let place = super::place(finding, &document.artifact.path);
        let print = format!("{} {place} {:?}", finding.rule.id(), finding.location);
        json!({
            "description": super::sentence(finding),
            "check_name": finding.rule.id(),
            "fingerprint": Sha256::of(print.as_bytes()).to_string(),
            "severity": severity,
            "location": { "path": place, "lines": { "begin": 1 } },
        })
    });
    Value::Array(entries.collect())
}
