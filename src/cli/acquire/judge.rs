//! Is what lies on disk what a commit says? What was found, in findings and in lines.

use crate::artifact::Artifact;
use crate::finding::{Finding, Rule, Severity};
use crate::git::snapshot::{MAX_SMALL, Mismatch, Snapshot};
use crate::path::ArtifactPath;
use crate::verify::ArtifactEvidence;

/// How a directory compares with a commit.
pub(in crate::cli) struct Verification {
    pub(in crate::cli) findings: Vec<Finding>,
    pub(in crate::cli) missing: Vec<ArtifactPath>,
}

/// Compares every file with what the commit names.
pub(in crate::cli) fn judge(
    artifact: &Artifact,
    evidence: &ArtifactEvidence,
    snapshot: &Snapshot,
) -> Verification {
    let mut read = |path: &ArtifactPath| {
        artifact
            .content(path, MAX_SMALL)
            .map_err(|error| error.to_string())
    };
    let (bound, wrong) = snapshot.compare(&evidence.manifest, &evidence.faults, &mut read);
    let mut findings = Vec::new();
    let mut missing = Vec::new();
    for mismatch in wrong {
        let (rule, path, severity, message) = match mismatch {
            Mismatch::Changed {
                path,
                found,
                expected,
                blob,
            } => {
                let published = match expected {
                    Some(expected) => format!("and {expected} is published"),
                    None => format!("and is not the git blob {blob} that is published"),
                };
                let message = format!("has SHA-256 {found}, {published}");
                (Rule::ArtifactChanged, path, Severity::Fail, message)
            }
            Mismatch::PointerOnly { path } => (
                Rule::ArtifactChanged,
                path,
                Severity::Fail,
                "is the pointer of git-lfs, not the file that it points to".to_owned(),
            ),
            Mismatch::Missing { path } => {
                missing.push(path.clone());
                (
                    Rule::ArtifactMissing,
                    path,
                    Severity::Fail,
                    "is missing: the commit has it".to_owned(),
                )
            }
            Mismatch::Added { path } => (
                Rule::ArtifactAdded,
                path,
                Severity::Fail,
                "was added: the commit does not have it".to_owned(),
            ),
            Mismatch::Unreadable { path, why } => {
                (Rule::ArtifactUnreadable, path, Severity::Inconclusive, why)
            }
        };
        findings.push(Finding::new(rule, severity, message).at(path.to_string()));
    }
    if findings.is_empty() {
        let message = format!(
            "all {} files are those of commit {}",
            bound.len(),
            snapshot.commit
        );
        findings.push(Finding::new(Rule::SourceFiles, Severity::Pass, message));
    }
    Verification { findings, missing }
}

/// What is wrong, a line each; missing files are not, if they can still be fetched.
pub(in crate::cli) fn wrong_lines(verification: &Verification, may_fetch: bool) -> Vec<String> {
    let wrong = |finding: &&Finding| {
        finding.severity > Severity::Warning
            && !(may_fetch && finding.rule == Rule::ArtifactMissing)
    };
    let mut lines: Vec<String> = verification
        .findings
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
