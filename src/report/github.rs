//! The report for GitHub Actions: annotations as workflow commands, a summary in Markdown, and outputs for later steps.

use std::fmt::Write;

use super::ReportDocument;
use super::text::count;
use crate::finding::{Finding, Severity};

/// GitHub shows ten of a kind for a step.
const MOST: usize = 10;

/// The lines that are printed.
pub fn annotations(document: &ReportDocument) -> String {
    let mut out = String::new();
    for (word, severities) in [
        ("error", &[Severity::Fail, Severity::Inconclusive][..]),
        ("warning", &[Severity::Warning][..]),
    ] {
        let told = document
            .findings
            .iter()
            .filter(|finding| severities.contains(&finding.severity));
        for finding in told.take(MOST) {
            _ = writeln!(
                out,
                "::{word} file={},line=1,title={}::{}",
                property(&super::place(finding, &document.artifact)),
                property(finding.rule.id()),
                data(&super::sentence(finding)),
            );
        }
    }
    out
}

/// What `$GITHUB_STEP_SUMMARY` gets.
pub fn summary(document: &ReportDocument) -> String {
    let mut out = String::new();
    let answer = super::answer(document);
    _ = writeln!(
        out,
        "### Weighbridge: {answer} `{}`\n\n{}, {} bytes, `{}`\n",
        document.artifact.path.replace(['`', '\n'], "'"),
        count(document.artifact.files, "file"),
        document.artifact.bytes,
        document.artifact.digest.as_deref().unwrap_or("no digest"),
    );
    out.push_str("| | rule | where | what |\n|---|---|---|---|\n");
    let mut findings: Vec<&Finding> = document.findings.iter().collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    for finding in findings.iter().take(100) {
        let mark = match finding.severity {
            Severity::Fail => "❌",
            Severity::Inconclusive => "❔",
            Severity::Warning => "⚠️",
            Severity::Pass => "✅",
            Severity::Note => "",
        };
        _ = writeln!(
            out,
            "| {mark} | `{}` | {} | {} |",
            finding.rule.id(),
            cell(finding.location.as_deref().unwrap_or_default()),
            cell(&super::sentence(finding)),
        );
    }
    if !document.not_checked.is_empty() {
        _ = writeln!(
            out,
            "\nNot checked: {}",
            cell(&document.not_checked.join("; "))
        );
    }
    out
}

/// What `$GITHUB_OUTPUT` gets.
pub fn outputs(document: &ReportDocument) -> String {
    let verdict = serde_json::to_value(document.verdict).unwrap_or_default();
    format!(
        "verdict={}\nexit-code={}\ndigest={}\n",
        verdict.as_str().unwrap_or_default(),
        document.exit_code,
        document.artifact.digest.as_deref().unwrap_or_default(),
    )
}

fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// Text in a cell of a table: no mark-up, no link, no end of the cell.
fn cell(text: &str) -> String {
    let mut out = String::new();
    for letter in crate::path::display(text).chars() {
        match letter {
            // What would become a link, or a mention.
            '@' => out.push_str("&#64;"),
            ':' => out.push_str("&#58;"),
            '.' => out.push_str("&#46;"),
            letter => {
                if r"\`*_{}[]<>()#+-!|~&".contains(letter) {
                    out.push('\\');
                }
                out.push(letter);
            }
        }
    }
    out
}
