//! What verbs share: the policy file, the clock, and reading an artifact.

use std::num::NonZero;
use std::path::{Path, PathBuf};

use super::Global;
use super::failure::{Failure, FailureKind};
use super::output::Output;
use super::progress::{self, Bar};
use crate::artifact::{Artifact, Exclusions, Names, Symlinks};
use crate::digest::{Algorithm, Sha256};
use crate::disk;
use crate::finding::{Finding, Severity};
use crate::gate::{Reading, read_artifact};
use crate::policy::{MAX_POLICY, Policy, PolicyError};
use crate::report::document::PolicySummary;
use crate::time::Timestamp;
use crate::tlog_policy::MAX_TLOG_POLICY;
use crate::verify::{ArtifactEvidence, fault_finding, obstacle_finding};

/// The time of this machine.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the clock"
)]
pub(super) fn now() -> Timestamp {
    let millis = chrono::Utc::now().timestamp_millis();
    Timestamp::from_millis(millis).unwrap_or_else(|| unreachable!("the clock is in range"))
}

/// A policy file that was read.
pub(super) struct Config {
    pub(super) path: PathBuf,
    pub(super) sha256: Sha256,
    pub(super) policy: Policy,
}

impl Config {
    /// Reads the policy file; `None` if there is none.
    pub(super) fn find(global: &Global) -> Result<Option<Config>, Failure> {
        let path = &global.config;
        let bytes = match disk::read(path, MAX_POLICY) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let text = std::str::from_utf8(&bytes)
            .map_err(|error| Failure::because(path.display(), &error))?;
        let wrong = |error: PolicyError| {
            Failure::error(format!(
                "{}: {}",
                path.display(),
                error.to_string().trim_end()
            ))
            .hint("the policy was not applied; correct it and try again")
        };
        let trust = Policy::trust_file(text)
            .map_err(wrong)?
            .map(|trust| disk::read(&beside(path, &trust), MAX_TLOG_POLICY as u64))
            .transpose()?;
        let policy = Policy::parse_with_trust(text, trust.as_deref()).map_err(wrong)?;
        Ok(Some(Config {
            path: path.clone(),
            sha256: Sha256::of(&bytes),
            policy,
        }))
    }

    /// Reads the policy file, which must be there.
    pub(super) fn load(global: &Global) -> Result<Config, Failure> {
        Config::find(global)?.ok_or_else(|| {
            Failure::error(format!(
                "there is no policy file {}",
                global.config.display()
            ))
            .hint("make one with `weighbridge init`, or name one with --config")
        })
    }

    /// A path that the policy names, which is relative to the policy file.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        beside(&self.path, path)
    }

    /// The ledger.
    pub(super) fn ledger(&self) -> PathBuf {
        self.resolve(&self.policy.log.path)
    }

    pub(super) fn summary(&self) -> PolicySummary {
        PolicySummary {
            path: self.path.display().to_string(),
            sha256: self.sha256,
        }
    }

    /// An artifact that holds the ledger or the keys would change with every record, and publish
    /// the keys.
    pub(super) fn keep_out_of(&self, artifact: &Artifact) -> Result<(), Failure> {
        let mut own = vec![self.path.clone(), self.ledger()];
        own.extend(
            self.policy
                .log
                .trust_file
                .iter()
                .map(|file| self.resolve(file)),
        );
        if let Some(signing) = &self.policy.signing {
            own.push(self.resolve(&signing.key));
            own.extend(signing.log_key.iter().map(|key| self.resolve(key)));
        }
        if let Some(path) = own.iter().find(|path| artifact.locate(path).is_some()) {
            let artifact = artifact.path().display();
            let message = format!("{} lies inside the artifact {artifact}", path.display());
            return Err(Failure::error(message)
                .hint("keep policy, keys and ledger in a directory beside the artifact"));
        }
        let real = std::fs::canonicalize(artifact.path()).unwrap_or_default();
        let within =
            |path: &PathBuf| std::fs::canonicalize(path).is_ok_and(|own| real.starts_with(own));
        if let Some(path) = own.iter().find(|path| within(path)) {
            let message = format!(
                "{} is part of {}",
                artifact.path().display(),
                path.display()
            );
            return Err(Failure::error(message).hint("name the model, not what vouches for it"));
        }
        Ok(())
    }
}

/// `path`, where it is relative to the directory of `file`.
fn beside(file: &Path, path: &str) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.join(path),
        _ => PathBuf::from(path),
    }
}

/// How an artifact is read for signing and recording.
pub(super) struct ReadRequest<'a> {
    pub(super) exclusions: &'a Exclusions,
    pub(super) algorithms: &'a [Algorithm],
    pub(super) symlinks: Symlinks,
    pub(super) names: Names,
    pub(super) jobs: Option<NonZero<usize>>,
}

/// Lists and hashes an artifact with a progress bar.
pub(super) fn read(
    artifact: &Artifact,
    request: &ReadRequest<'_>,
    output: &Output,
) -> Result<ArtifactEvidence, Failure> {
    let bar = Bar::new(output);
    let hashing = progress::hashing(request.algorithms, progress::jobs(request.jobs), &bar);
    let reading = Reading {
        hashing,
        symlinks: request.symlinks,
        names: request.names,
    };
    let evidence = read_artifact(artifact, request.exclusions, reading);
    bar.finish();
    Ok(evidence?)
}

/// Refuses an artifact that is not wholly readable plain files: what signing and hashing need.
pub(super) fn complete(path: &Path, evidence: &ArtifactEvidence) -> Result<(), Failure> {
    let obstacles = evidence.obstacles.iter().map(obstacle_finding);
    let findings: Vec<Finding> = obstacles
        .chain(evidence.faults.iter().map(fault_finding))
        .collect();
    let Some(worst) = findings.iter().max_by_key(|finding| finding.severity) else {
        if evidence.manifest.files().is_empty() {
            return Err(Failure::refused(vec![format!(
                "{} holds no file",
                path.display()
            )]));
        }
        return Ok(());
    };
    let hint = worst.hint.clone();
    let kind = match worst.severity {
        Severity::Fail => FailureKind::Refused,
        _ => FailureKind::Error,
    };
    let line = |finding: &Finding| {
        let location = finding.location.as_deref().unwrap_or_default();
        format!(
            "{}: {} ({})",
            path.join(location).display(),
            finding.message,
            finding.rule.id()
        )
    };
    let mut lines: Vec<String> = findings.iter().take(20).map(line).collect();
    if findings.len() > lines.len() {
        lines.push(format!("and {} more", findings.len() - lines.len()));
    }
    Err(Failure { kind, lines, hint })
}
