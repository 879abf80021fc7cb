//! What lies there: obstacles, faults, what was left out, and how files differ from a list.

use std::collections::{BTreeMap, HashSet};

use schemars::JsonSchema;
use serde::Serialize;

use super::{ArtifactEvidence, Report};
use crate::artifact::hash::FaultKind;
use crate::artifact::manifest::Difference;
use crate::artifact::{Checked, FileFault, Obstacle, ObstacleKind, Unsealed};
use crate::disk::Unmeasured;
use crate::finding::{Finding, Rule, Severity};
use crate::path::ArtifactPath;

pub(super) fn check_artifact(report: &mut Report, artifact: &ArtifactEvidence) {
    report.files = artifact.manifest.files().len();
    report.bytes = artifact.manifest.bytes();
    report.artifact = artifact.digest();
    report.checked = checked_files(artifact);
    report.findings.extend(receipt_finding(&report.checked));
    report.findings.extend(sealed_finding(&report.checked));
    report
        .findings
        .extend(unsealed_findings(&artifact.unsealed));
    for obstacle in &artifact.obstacles {
        report.add(obstacle_finding(obstacle));
    }
    for fault in &artifact.faults {
        report.add(fault_finding(fault));
    }
    for path in &artifact.not_covered {
        let message = "is left out: not hashed, not signed, not recorded";
        report.add(
            Finding::new(Rule::ArtifactNotCovered, Severity::Note, message).at(path.to_string()),
        );
    }
    if report.files == 0 && artifact.faults.is_empty() {
        let message = "there is no file to check";
        report.add(Finding::new(Rule::ArtifactEmpty, Severity::Fail, message));
    }
}

/// Files that were checked alike.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct CheckedFiles {
    /// `full`: all of each was read. `receipt`: this host had read them before, and by what the kernel says they are
    /// unchanged since. `fs-verity`: the kernel keeps a digest of each, and lets nobody change them.
    pub how: Checked,
    pub files: usize,
    pub bytes: u64,
    /// Which ones; left out where all files were checked alike.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
}

/// How each file of `artifact` was checked.
pub fn checked_files(artifact: &ArtifactEvidence) -> Vec<CheckedFiles> {
    let mut all: BTreeMap<Checked, CheckedFiles> = BTreeMap::new();
    let files = artifact.manifest.files();
    let first = files.first().map(|file| file.checked);
    let are_alike = files.iter().all(|file| Some(file.checked) == first);
    for file in files {
        let same = all.entry(file.checked).or_insert_with(|| CheckedFiles {
            how: file.checked,
            files: 0,
            bytes: 0,
            paths: Vec::new(),
        });
        same.files += 1;
        same.bytes = same.bytes.saturating_add(file.size);
        if !are_alike {
            same.paths.push(file.path.to_string());
        }
    }
    all.into_values().collect()
}

/// That files were not read.
pub fn receipt_finding(checked: &[CheckedFiles]) -> Option<Finding> {
    let all: usize = checked.iter().map(|same| same.files).sum();
    let unread = checked.iter().find(|same| same.how == Checked::Receipt)?;
    let message = format!(
        "{} of {all} files were not read: this host read them before, and its kernel knows of no change since",
        unread.files
    );
    let finding = Finding::new(Rule::ArtifactReceipt, Severity::Note, message);
    Some(finding.hint("`--rehash always` reads every file"))
}

/// That files were measured by their kernel.
fn sealed_finding(checked: &[CheckedFiles]) -> Option<Finding> {
    let sealed = checked.iter().find(|same| same.how == Checked::FsVerity)?;
    let all: usize = checked.iter().map(|same| same.files).sum();
    let message = format!(
        "{} of {all} files were not read: their kernel keeps a digest of each (fs-verity), and lets nobody change them",
        sealed.files
    );
    Some(Finding::new(
        Rule::ArtifactFsVerity,
        Severity::Note,
        message,
    ))
}

/// Why files were read that might have been measured.
fn unsealed_findings(unsealed: &BTreeMap<Unsealed, usize>) -> impl Iterator<Item = Finding> {
    unsealed.iter().map(|(why, files)| {
        let (why, hint) = match why {
            Unsealed::Unmeasured(Unmeasured::Off) => (
                "fs-verity is not on for them",
                "`weighbridge seal PATH` puts them under fs-verity",
            ),
            Unsealed::Unmeasured(Unmeasured::Unsupported) => (
                "their file system has no fs-verity, or none that counts",
                "ext4 has it after `tune2fs -O verity`, F2FS after `mkfs.f2fs -O verity`, Btrfs always",
            ),
            Unsealed::Unmeasured(Unmeasured::Kind) => (
                "the digest that their kernel keeps is not of SHA-256",
                "copy them, and seal the copies with `weighbridge seal PATH`",
            ),
            Unsealed::Unknown => (
                "nobody who counts says what content has the digest that their kernel keeps",
                "`weighbridge seal PATH` verifies them once on this host; `weighbridge sign --fs-verity` says it to all",
            ),
            _ => ("their kernel does not say", "the system log may say why"),
        };
        let message = format!("not measured by their kernel: {files}; {why}");
        Finding::new(Rule::ArtifactFsVerity, Severity::Note, message).hint(hint)
    })
}

/// What an obstacle means: a link or special file is refused, a directory that cannot be read is
/// not known to be good.
pub fn obstacle_finding(obstacle: &Obstacle) -> Finding {
    let (rule, severity, message, hint) = match &obstacle.kind {
        ObstacleKind::Link(why) => (
            Rule::ArtifactSymlink,
            Severity::Fail,
            format!("is a symbolic link: {why}"),
            "replace the link by the file it should be",
        ),
        ObstacleKind::Special(what) => (
            Rule::ArtifactSpecial,
            Severity::Fail,
            format!("is {what}, not a regular file"),
            "remove it; an artifact holds regular files only",
        ),
        ObstacleKind::Name(error) => (
            Rule::ArtifactName,
            Severity::Fail,
            error.to_string(),
            "rename the file; names are UTF-8 without line breaks and backslashes",
        ),
        ObstacleKind::Unreadable(why) => (
            Rule::ArtifactUnreadable,
            Severity::Inconclusive,
            format!("cannot be read: {why}"),
            "run as a user who may read it",
        ),
    };
    Finding::new(rule, severity, message)
        .at(obstacle.location.clone())
        .hint(hint)
}

/// What a file without a digest means.
pub fn fault_finding(fault: &FileFault) -> Finding {
    let (rule, severity, message, hint) = match &fault.kind {
        FaultKind::Unreadable(error) => (
            Rule::ArtifactUnreadable,
            Severity::Inconclusive,
            format!("cannot be read: {error}"),
            "run as a user who may read it",
        ),
        FaultKind::Changed => (
            Rule::ArtifactUnstable,
            Severity::Inconclusive,
            "changed while it was being hashed".into(),
            "wait until nothing writes to the artifact, then try again",
        ),
        FaultKind::NotRegular => (
            Rule::ArtifactSymlink,
            Severity::Fail,
            "is no longer a regular file".into(),
            "replace it by the file it should be",
        ),
    };
    Finding::new(rule, severity, message)
        .at(fault.path.to_string())
        .hint(hint)
}

/// What was reported already: a file that is unreadable or a link is not missing as well.
pub(super) struct Reported<'a> {
    exact: HashSet<String>,
    unreadable: Vec<&'a str>,
}

impl<'a> Reported<'a> {
    pub(super) fn new(artifact: &'a ArtifactEvidence) -> Reported<'a> {
        let faults = artifact.faults.iter().map(|fault| fault.path.to_string());
        let obstacles = artifact
            .obstacles
            .iter()
            .map(|obstacle| obstacle.location.clone());
        let unreadable = artifact
            .obstacles
            .iter()
            .filter_map(|obstacle| match obstacle.kind {
                ObstacleKind::Unreadable(_) | ObstacleKind::Link(_) => {
                    Some(obstacle.location.as_str())
                }
                _ => None,
            });
        // A handful of directories explains everything beneath them; more are not worth the search.
        Reported {
            exact: faults.chain(obstacles).collect(),
            unreadable: unreadable.take(16).collect(),
        }
    }

    fn explains(&self, path: &ArtifactPath) -> bool {
        self.exact.contains(&path.to_string())
            || self
                .unreadable
                .iter()
                .any(|directory| path.is_within(directory))
    }
}

/// A difference as a finding, unless it was reported already.
pub(super) fn difference_finding(
    difference: &Difference,
    reported: &Reported<'_>,
    what: &str,
) -> Option<Finding> {
    Some(match difference {
        Difference::Changed {
            path,
            expected,
            found,
        } => {
            let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
            let message = format!(
                "was changed: {what} {}, found {}",
                hex(expected),
                hex(found)
            );
            Finding::new(Rule::ArtifactChanged, Severity::Fail, message)
                .at(path.to_string())
                .hint("restore the file from where it was published, or sign the new version")
        }
        Difference::Missing { path } if reported.explains(path) => return None,
        Difference::Missing { path } => Finding::new(
            Rule::ArtifactMissing,
            Severity::Fail,
            format!("is {what} and missing"),
        )
        .at(path.to_string())
        .hint("restore the file from where it was published"),
        Difference::Added { path } => {
            let message = format!("was added: it is not {what}");
            Finding::new(Rule::ArtifactAdded, Severity::Fail, message)
                .at(path.to_string())
                .hint("remove the file, or sign the new version")
        }
    })
}
