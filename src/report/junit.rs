//! The report as `JUnit` XML, for test reports of pipelines: a test case for each check.

use std::fmt::Write;

use super::ReportDocument;
use crate::finding::{Finding, Severity};

/// The file.
pub fn render(document: &ReportDocument) -> String {
    let cases: Vec<&Finding> = document
        .findings
        .iter()
        .filter(|finding| finding.severity != Severity::Note)
        .collect();
    let of = |severity| cases.iter().filter(|one| one.severity == severity).count();
    let (failures, errors) = (of(Severity::Fail), of(Severity::Inconclusive));
    let name = escaped(&format!("{} {}", document.command, document.artifact.path));
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    _ = writeln!(
        out,
        "<testsuites name=\"weighbridge\" tests=\"{0}\" failures=\"{failures}\" errors=\"{errors}\">\n\
         <testsuite name=\"{name}\" tests=\"{0}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"0\" time=\"0\" timestamp=\"{1}\">",
        cases.len(),
        // Of the form that its readers know: without a fraction and a zone.
        document
            .checked_at
            .to_string()
            .get(..19)
            .unwrap_or_default(),
    );
    for finding in cases {
        let location = finding
            .location
            .as_deref()
            .unwrap_or(&document.artifact.path);
        _ = write!(
            out,
            "<testcase classname=\"{}\" name=\"{}\" time=\"0\"",
            finding.rule.id(),
            escaped(location)
        );
        let text = escaped(&super::sentence(finding));
        let message = escaped(&finding.message);
        let rule = finding.rule.id();
        _ = match finding.severity {
            Severity::Fail => writeln!(
                out,
                "><failure message=\"{message}\" type=\"{rule}\">{text}</failure></testcase>"
            ),
            Severity::Inconclusive => writeln!(
                out,
                "><error message=\"{message}\" type=\"{rule}\">{text}</error></testcase>"
            ),
            _ => writeln!(out, "><system-out>{text}</system-out></testcase>"),
        };
    }
    out.push_str("</testsuite>\n</testsuites>\n");
    out
}

/// As XML 1.0 has text: what it cannot hold is told.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            letter if letter.is_control() => out.push('\u{fffd}'),
            letter => out.push(letter),
        }
    }
    out
}
