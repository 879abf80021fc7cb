//! The report for GitLab: code quality (the subset of Code Climate's format that GitLab reads).

use serde_json::{Value, json};

use super::ReportDocument;
use crate::finding::{Finding, Severity};

/// The list.
pub fn render(document: &ReportDocument) -> Value {
    let told = document
        .findings
        .iter()
        .filter(|finding| finding.severity > Severity::Note);
    let told: Vec<&Finding> = told.collect();
    let prints = super::fingerprints(&told);
    let entries = told.into_iter().zip(prints).map(|(finding, print)| {
        let severity = match finding.severity {
            Severity::Fail => "blocker",
            Severity::Inconclusive => "critical",
            _ => "minor",
        };
        let place = super::place(finding, &document.artifact);
        json!({
            "description": super::sentence(finding),
            "check_name": finding.rule.id(),
            "fingerprint": print,
            "severity": severity,
            "location": { "path": place, "lines": { "begin": 1 } },
        })
    });
    Value::Array(entries.collect())
}
