//! The report as SARIF 2.1.0 (OASIS), for code scanning. A result for everything that is not good, at the file that it is
//! about, else at the artifact; what passed is left out.

use serde_json::{Value, json};

use super::{ClockSource, ReportDocument};
use crate::finding::{Finding, Rule, Severity, Verdict};

/// As many results are shown by the readers that there are.
const MOST: usize = 5_000;

/// The log file.
pub fn render(document: &ReportDocument) -> Value {
    let told: Vec<&Finding> = document
        .findings
        .iter()
        .filter(|finding| finding.severity > Severity::Note)
        .collect();
    let mut used: Vec<Rule> = told.iter().map(|finding| finding.rule).collect();
    used.sort_unstable();
    used.dedup();
    let rules: Vec<Value> = used.iter().map(|rule| self::rule(*rule)).collect();
    let results: Vec<Value> = told
        .iter()
        .take(MOST)
        .zip(super::fingerprints(&told))
        .map(|(finding, print)| {
            let index = used.iter().position(|rule| *rule == finding.rule);
            result(finding, (index.unwrap_or_default(), &print), document)
        })
        .collect();
    let mut notes: Vec<Value> = document
        .not_checked
        .iter()
        .map(|text| {
            json!({ "level": "note", "message": { "text": format!("not checked: {text}") } })
        })
        .collect();
    if told.len() > MOST {
        let more = told.len() - MOST;
        notes.push(json!({ "level": "warning", "message": { "text": format!("{more} more results are left out") } }));
    }
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "weighbridge",
                "version": env!("CARGO_PKG_VERSION"),
                "informationUri": "https://weighbridge.dev",
                "rules": rules,
            } },
            "invocations": [{
                "executionSuccessful": document.verdict != Verdict::Inconclusive,
                "exitCode": document.exit_code,
                "endTimeUtc": (document.clock == ClockSource::Local).then(|| document.checked_at.to_string()),
                "toolExecutionNotifications": notes,
            }],
            "results": results,
            "properties": {
                "verdict": document.verdict,
                "artifact": document.artifact.digest,
                "judgedAsOf": document.checked_at,
            },
        }],
    })
}

fn rule(rule: Rule) -> Value {
    json!({
        "id": rule.id(),
        "shortDescription": { "text": rule.meaning() },
        "help": { "text": format!("{} `weighbridge gate --json` has everything that was checked.", rule.meaning()) },
        "properties": { "security-severity": "8.0", "tags": ["security"] },
    })
}

fn result(finding: &Finding, (index, print): (usize, &str), document: &ReportDocument) -> Value {
    let level = match finding.severity {
        Severity::Fail | Severity::Inconclusive => "error",
        Severity::Warning => "warning",
        Severity::Note | Severity::Pass => "note",
    };
    let place = super::place(finding, &document.artifact);
    json!({
        "ruleId": finding.rule.id(),
        "ruleIndex": index,
        "level": level,
        "message": { "text": super::sentence(finding) },
        "locations": [{ "physicalLocation": {
            "artifactLocation": { "uri": crate::percent::encoded(&place, true) },
            "region": { "startLine": 1 },
        } }],
        "partialFingerprints": { "finding/v1": print },
    })
}
