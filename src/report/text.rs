//! The report for a person: the answer in the first line, then what decides it, each with what to
//! do, then everything else that was checked.

use std::fmt::Write;

use super::{ClockSource, ReportDocument};
use crate::finding::{Finding, Severity, Verdict};

/// The most findings of one severity that are printed in full.
const MOST: usize = 20;

/// Colours around the words that carry a verdict; the words alone say it too.
const RED: &str = "\u{1b}[1;31m";
const GREEN: &str = "\u{1b}[1;32m";
const YELLOW: &str = "\u{1b}[1;33m";
const PLAIN: &str = "\u{1b}[0m";

/// `1 file`, `2 files`.
pub fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// The report as text, with colours that the printer strips where they are not wanted.
pub fn render(document: &ReportDocument) -> String {
    let mut out = String::new();
    headline(&mut out, document);
    let order = [
        Severity::Fail,
        Severity::Inconclusive,
        Severity::Warning,
        Severity::Pass,
        Severity::Note,
    ];
    for severity in order {
        let findings: Vec<&Finding> = document
            .findings
            .iter()
            .filter(|finding| finding.severity == severity)
            .collect();
        for finding in findings.iter().take(MOST) {
            line(&mut out, finding);
        }
        if findings.len() > MOST {
            _ = writeln!(
                out,
                "         and {} more; --json lists all",
                findings.len() - MOST
            );
        }
    }
    if let Some(policy) = &document.policy {
        let path = crate::path::display(&policy.path);
        let trust = policy
            .trust_sha256
            .map_or(String::new(), |trust| format!(", trust {trust}"));
        let profile = policy.profile.as_deref().map_or(String::new(), |name| {
            format!(", profile {}", crate::path::display(name))
        });
        _ = writeln!(
            out,
            "  policy: {path}{profile} (sha256 {}{trust})",
            policy.sha256
        );
    }
    if document.clock == ClockSource::Given {
        _ = writeln!(out, "  as of: {}, which was given", document.checked_at);
    }
    if !document.not_checked.is_empty() {
        _ = writeln!(out, "  not checked: {}", document.not_checked.join("; "));
    }
    out
}

fn headline(out: &mut String, document: &ReportDocument) {
    let colour = match document.verdict {
        Verdict::Pass => GREEN,
        Verdict::Fail => RED,
        Verdict::Inconclusive => YELLOW,
    };
    let answer = super::answer(document);
    let artifact = &document.artifact;
    let digest = artifact.digest.as_deref().unwrap_or("no digest");
    let path = crate::path::display(&artifact.path);
    _ = writeln!(
        out,
        "{colour}{answer}{PLAIN} {path} ({}, {} bytes, {digest})",
        count(artifact.files, "file"),
        artifact.bytes
    );
}

fn line(out: &mut String, finding: &Finding) {
    let (colour, word) = match finding.severity {
        Severity::Pass => (GREEN, "pass"),
        Severity::Note => ("", "note"),
        Severity::Warning => (YELLOW, "warning"),
        Severity::Inconclusive => (YELLOW, "unknown"),
        Severity::Fail => (RED, "FAIL"),
    };
    let reset = if colour.is_empty() { "" } else { PLAIN };
    let location = match &finding.location {
        Some(location) => format!("{location} "),
        None => String::new(),
    };
    let message = crate::path::display(&finding.message);
    _ = writeln!(
        out,
        "  {colour}{word:<7}{reset} {:<22} {location}{message}",
        finding.rule.id()
    );
    if let Some(hint) = &finding.hint
        && finding.severity > Severity::Note
    {
        _ = writeln!(out, "          hint: {}", crate::path::display(hint));
    }
}
