//! Is what lies on disk what was published? What was found, in findings and in lines.

use std::collections::BTreeMap;

use crate::artifact::Artifact;
use crate::finding::{Finding, Rule, Severity};
use crate::git::snapshot::MAX_SMALL;
use crate::path::ArtifactPath;
use crate::report::text::count;
use crate::source::published::{Mismatch, PublishedFile, compare};
use crate::verify::ArtifactEvidence;

/// What an artifact is compared with.
pub(in crate::cli) struct Against<'a> {
    pub(in crate::cli) files: &'a BTreeMap<ArtifactPath, PublishedFile>,
    /// What people call it.
    pub(in crate::cli) name: &'a str,
    /// It says something of some files, and nothing of others.
    pub(in crate::cli) is_open: bool,
}

/// Compares every file with what was published.
///
/// `read` reads a small file.
pub(in crate::cli) fn judge(
    read: &mut dyn FnMut(&ArtifactPath) -> Result<Vec<u8>, String>,
    evidence: &ArtifactEvidence,
    against: &Against<'_>,
) -> Vec<Finding> {
    let Against {
        files,
        name,
        is_open,
    } = *against;
    let mut wrong = compare(files, &evidence.manifest, &evidence.faults, read);
    wrong.retain(|one| !(is_open && matches!(one, Mismatch::Added { .. })));
    let mut findings = Vec::new();
    for mismatch in wrong {
        let (rule, path, severity, message) = match mismatch {
            Mismatch::Changed {
                path,
                found,
                expected,
            } => {
                let message = format!("has {found}, and {expected} is published");
                (Rule::ArtifactChanged, path, Severity::Fail, message)
            }
            Mismatch::PointerOnly { path } => (
                Rule::ArtifactChanged,
                path,
                Severity::Fail,
                "is the pointer of git-lfs, not the file that it points to".to_owned(),
            ),
            Mismatch::Unsigned { path, why } => {
                let message = format!("is not what its publisher signed: {why}");
                (Rule::ArtifactChanged, path, Severity::Fail, message)
            }
            Mismatch::Missing { path } => {
                let message = "is missing: the source has it".to_owned();
                (Rule::ArtifactMissing, path, Severity::Fail, message)
            }
            Mismatch::Added { path } => (
                Rule::ArtifactAdded,
                path,
                Severity::Fail,
                "was added: the source does not have it".to_owned(),
            ),
            Mismatch::Unreadable { path, why } => {
                (Rule::ArtifactUnreadable, path, Severity::Inconclusive, why)
            }
        };
        findings.push(Finding::new(rule, severity, message).at(path.to_string()));
    }
    if findings.is_empty() {
        let all = count(evidence.manifest.files().len(), "file");
        let message = if is_open {
            format!("{} of {all} compared, with {name}", files.len())
        } else {
            format!("{all}: all are those of {name}")
        };
        findings.push(Finding::new(Rule::SourceFiles, Severity::Pass, message));
    }
    findings
}

/// Reads small files of `artifact`.
pub(in crate::cli) fn reader(
    artifact: &Artifact,
) -> impl FnMut(&ArtifactPath) -> Result<Vec<u8>, String> {
    |path| {
        artifact
            .content(path, MAX_SMALL)
            .map_err(|error| error.to_string())
    }
}

/// What is wrong, a line each; missing files are not, if they can still be fetched.
pub(in crate::cli) fn wrong_lines(findings: &[Finding], may_fetch: bool) -> Vec<String> {
    let wrong = |finding: &&Finding| {
        finding.severity > Severity::Warning
            && !(may_fetch && finding.rule == Rule::ArtifactMissing)
    };
    let mut lines: Vec<String> = findings
        .iter()
        .filter(wrong)
        .map(|finding| {
            let place = finding.location.as_deref().unwrap_or_default();
            format!("{place} {} ({})", finding.message, finding.rule.id())
        })
        .collect();
    if lines.len() > 20 {
        let more = lines.len() - 20;
        lines.truncate(20);
        lines.push(format!("and {more} more"));
    }
    lines
}
