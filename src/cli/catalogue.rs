//! A directory of many artifacts, each with a signature of its own: all signed or verified in one run, with
//! one summary.

use std::collections::VecDeque;
use std::fmt::Write;
use std::num::NonZero;
use std::path::{Path, PathBuf};

use super::engine;
use super::failure::Failure;
use super::output::Output;
use super::receipts::Reuse;
use super::{context, progress};
use crate::artifact::{Artifact, Hashing, Known, Names, Progress, Symlinks};
use crate::digest::Algorithm;
use crate::finding::{Severity, Verdict};
use crate::gate::{self, Reading};
use crate::parallel;
use crate::report::catalogue::CATALOGUE;
use crate::report::document::{PolicySummary, exit_code};
use crate::report::text::{count, render};
use crate::report::{CatalogueDocument, ClockSource, ReportDocument};
use crate::verify::{ArtifactEvidence, Report, SignatureEvidence};

/// How deep artifacts may lie, and how many directories are looked into.
const MAX_DEPTH: usize = 16;
const MAX_DIRECTORIES: usize = 1_000_000;

/// What lies in a catalogue.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Directories with a signature in them.
    pub(super) signed: Vec<PathBuf>,
    /// Directories with files of their own and no signature above them.
    pub(super) unsigned: Vec<PathBuf>,
    /// Files that belong to no artifact.
    pub(super) strays: Vec<PathBuf>,
    /// Links among them: what they lead to could be used as an artifact, and was not looked at.
    pub(super) links: Vec<PathBuf>,
}

/// Finds the artifacts under `root`: directories with a file called `signature`. Links are not followed.
pub(super) fn find(root: &Path, signature: &Path) -> Result<Found, Failure> {
    let mut found = Found::default();
    let mut queue = VecDeque::from([(root.to_owned(), 0)]);
    let mut looked = 0;
    while let Some((directory, depth)) = queue.pop_front() {
        looked += 1;
        if looked > MAX_DIRECTORIES || depth > MAX_DEPTH {
            return Err(Failure::error(format!(
                "{} holds more than {MAX_DIRECTORIES} directories, or they lie deeper than {MAX_DEPTH}",
                root.display()
            )));
        }
        let fail = |error: &std::io::Error| Failure::because(directory.display(), error);
        let mut inside = Vec::new();
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&directory).map_err(|error| fail(&error))? {
            let entry = entry.map_err(|error| fail(&error))?;
            let kind = entry.file_type().map_err(|error| fail(&error))?;
            if kind.is_dir() {
                inside.push(entry.path());
            } else {
                files.push(entry.path());
            }
        }
        inside.sort_unstable();
        files.sort_unstable();
        if depth > 0 && directory.join(signature).symlink_metadata().is_ok() {
            found.signed.push(directory);
        } else if depth > 0 && !files.is_empty() {
            found.unsigned.push(directory);
        } else {
            let (links, files): (Vec<PathBuf>, Vec<PathBuf>) =
                files.into_iter().partition(|path| path.is_symlink());
            found.links.extend(links);
            found.strays.extend(files);

            queue.extend(inside.into_iter().map(|path| (path, depth + 1)));
        }
    }
    found.signed.sort_unstable();
    found.unsigned.sort_unstable();
    Ok(found)
}

/// All of them.
struct Unwatched;

impl Progress for Unwatched {
    fn start(&self, _: usize, _: u64) {}
    fn advance(&self, _: u64) {}
}

/// Reads the artifact at `path` by one thread.
pub(super) fn read(
    artifact: &Artifact,
    signature: &Path,
    algorithms: &[Algorithm],
    names: Names,
    known: Known<'_>,
) -> Result<ArtifactEvidence, Failure> {
    let hashing = Hashing {
        algorithms,
        jobs: NonZero::<usize>::MIN,
        progress: &Unwatched,
        known,
        engine: engine::chosen(),
        direct: false,
    };
    let reading = Reading {
        hashing,
        symlinks: Symlinks::Refuse,
        names,
    };
    let exclusions = gate::exclusions(artifact, signature);
    Ok(gate::read_artifact(artifact, &exclusions, reading)?)
}

/// Verifies every artifact under `root` by `judge`, and prints one summary.
pub(super) fn verify(
    (root, signature): (&Path, &Path),
    (jobs, reuse): (Option<NonZero<usize>>, Reuse<'_>),
    policy: Option<&PolicySummary>,
    judge: &(dyn Fn(&ArtifactEvidence, &SignatureEvidence) -> Report + Sync),
    output: &Output,
) -> Result<u8, Failure> {
    let found = find(root, signature)?;
    let mut places = found.signed.clone();
    places.extend(found.unsigned.iter().cloned());
    places.sort_unstable();
    if places.is_empty() {
        return Err(Failure::error(format!(
            "{} holds no artifact: no directory with {} in it",
            root.display(),
            signature.display()
        ))
        .hint("name the file with --signature, or leave out --catalogue"));
    }
    let now = context::now();
    let reports = parallel::each(
        &places,
        progress::jobs(jobs),
        |place| -> Result<ReportDocument, Failure> {
            let artifact = Artifact::open(place)?;
            let path = place.join(signature);
            let signature = gate::read_signature(&path);
            let algorithms = gate::algorithms(&signature);
            let reuse = reuse.stated_by(&signature);
            let evidence = reuse.with(&artifact, &algorithms, output, |known| {
                read(&artifact, &path, &algorithms, Names::Any, known)
            })?;
            let report = judge(&evidence, &signature);
            let policy = policy.cloned();
            let path = place.display().to_string();
            Ok(ReportDocument::new(
                "verify",
                path,
                report,
                policy,
                &[],
                (now, ClockSource::Local),
            ))
        },
    );
    let reports: Vec<ReportDocument> = reports.into_iter().collect::<Result<_, _>>()?;
    summarise(reports, &found, output)
}

fn texts(paths: &[PathBuf]) -> Vec<String> {
    paths
        .iter()
        .map(|path| path.display().to_string())
        .collect()
}

fn summarise(reports: Vec<ReportDocument>, found: &Found, output: &Output) -> Result<u8, Failure> {
    let count_of = |verdict| {
        reports
            .iter()
            .filter(|report| report.verdict == verdict)
            .count()
    };
    let (pass, fail) = (count_of(Verdict::Pass), count_of(Verdict::Fail));
    let inconclusive = count_of(Verdict::Inconclusive) + found.links.len();
    let verdict = if fail > 0 {
        Verdict::Fail
    } else if inconclusive > 0 {
        Verdict::Inconclusive
    } else {
        Verdict::Pass
    };
    let summary = CatalogueDocument {
        schema: CATALOGUE.into(),
        verdict,
        artifacts: reports.len(),
        pass,
        fail,
        inconclusive,
        strays: texts(&found.strays),
        links: texts(&found.links),
        reports,
    };
    if output.json {
        output.document(&summary)?;
        return Ok(exit_code(verdict));
    }
    let mut text = String::new();
    _ = writeln!(
        text,
        "{}: {pass} verified, {fail} refused, {inconclusive} inconclusive",
        count(summary.artifacts, "artifact")
    );
    for report in &summary.reports {
        if report.verdict == Verdict::Pass {
            let path = crate::path::display(&report.artifact.path);
            let signers = report.signers.join(", ");
            let digest = report.artifact.digest.as_deref().unwrap_or_default();
            let remarks = report
                .findings
                .iter()
                .filter(|finding| finding.severity == Severity::Warning)
                .count();
            let remarks = match remarks {
                0 => String::new(),
                number => format!(", {}", count(number, "warning")),
            };
            _ = writeln!(text, "verified {path} (by {signers}, {digest}{remarks})");
        } else {
            text.push_str(&render(report));
        }
    }
    for link in &summary.links {
        let link = crate::path::display(link);
        _ = writeln!(
            text,
            "inconclusive {link}: a link is not followed; name what it leads to"
        );
    }
    for stray in &summary.strays {
        let stray = crate::path::display(stray);
        _ = writeln!(text, "not checked: {stray} belongs to no artifact");
    }
    output.data(&text)?;
    Ok(exit_code(verdict))
}
