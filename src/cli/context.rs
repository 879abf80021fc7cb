//! What verbs share: the policy file, the clock, and reading an artifact.

use std::num::NonZero;
use std::path::{Path, PathBuf};

use super::Global;
use super::failure::{Failure, FailureKind};
use super::output::Output;
use super::progress::{self, Bar};
use crate::artifact::parts::Part;
use crate::artifact::{Artifact, Exclusions, Hashing, Known, Names, Symlinks};
use crate::digest::{Algorithm, Sha256};
use crate::disk;
use crate::finding::{Finding, Severity};
use crate::gate::{self, Reading, read_artifact};
#[cfg(feature = "postgres")]
use crate::ledger::store::postgres::SlotsInPostgres;
use crate::ledger::store::{Cached, TileCache, location, probe};
use crate::ledger::{Location, Store, StoreError};
use crate::policy::{MAX_POLICY, Policy};
use crate::report::document::{FileSummary, PolicySummary};
use crate::signer;
use crate::time::Timestamp;
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
    /// Whose gate `policy` has, if not its own.
    profile: Option<String>,
    trust_sha256: Option<Sha256>,
    /// What else it names: anchors, lists, trust roots.
    files: Vec<(String, Sha256)>,
}

/// The largest file that a policy names.
const MAX_NAMED: u64 = crate::x509::revocation::MAX_CRL as u64;

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
        let mut files = Vec::new();
        let mut read = |name: &str| {
            let bytes =
                disk::read(&beside(path, name), MAX_NAMED).map_err(|error| gate::cause(&error))?;
            files.push((name.to_owned(), Sha256::of(&bytes)));
            Ok(bytes)
        };
        let policy = Policy::parse_with(text, &mut read).map_err(|error| {
            Failure::error(format!(
                "{}: {}",
                path.display(),
                error.to_string().trim_end()
            ))
            .hint("the policy was not applied; correct it and try again")
        })?;
        let mut trust_sha256 = None;
        if let Some(trust) = &policy.log.trust_file {
            let read = files.iter().position(|(name, _)| name == trust);
            trust_sha256 = read.map(|index| files.remove(index).1);
        }
        Ok(Some(Config {
            profile: None,
            files,
            path: path.clone(),
            sha256: Sha256::of(&bytes),
            policy,
            trust_sha256,
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
        // A key can be somewhere else than in a file.
        if signer::means(path).is_some() {
            return PathBuf::from(path);
        }
        beside(&self.path, path)
    }

    /// Where the ledger is.
    pub(super) fn location(&self) -> Location {
        let path = self.policy.log.path.clone();
        path.relative_to(self.path.parent())
    }

    /// The same, with the gate of a profile.
    pub(super) fn in_profile(mut self, name: &str) -> Result<Config, Failure> {
        let known: Vec<String> = self.policy.profiles.keys().cloned().collect();
        let path = self.path.display().to_string();
        self.policy = self.policy.in_profile(name).ok_or_else(|| {
            let name = crate::path::display(name);
            Failure::error(format!("{path} has no profile {name:?}")).hint(if known.is_empty() {
                format!("add [profile.{name}.gate], which says what is otherwise than in [gate]")
            } else {
                format!("there are: {}", known.join(", "))
            })
        })?;
        self.profile = Some(name.to_owned());
        Ok(self)
    }

    pub(super) fn summary(&self) -> PolicySummary {
        PolicySummary {
            path: self.path.display().to_string(),
            profile: self.profile.clone(),
            sha256: self.sha256,
            trust_sha256: self.trust_sha256,
            files: self
                .files
                .iter()
                .map(|(path, sha256)| FileSummary {
                    path: path.clone(),
                    sha256: *sha256,
                })
                .collect(),
        }
    }

    /// An artifact that holds the ledger or the keys would change with every record, and publish
    /// the keys.
    pub(super) fn keep_out_of(&self, artifact: &Artifact) -> Result<(), Failure> {
        let mut own = vec![self.path.clone()];
        own.extend(self.location().directory().map(Path::to_path_buf));
        let trust = self.policy.log.trust_file.iter();
        own.extend(trust.map(|trust| self.resolve(trust)));
        if let Some(signing) = &self.policy.signing {
            if signer::means(&signing.key).is_none() {
                own.push(self.resolve(&signing.key));
            }

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

/// `path`, relative to the directory of `file`.
fn beside(file: &Path, path: &str) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.join(path),
        _ => PathBuf::from(path),
    }
}

/// The ledger that the policy names.
pub(super) fn store(config: &Config) -> Result<Box<dyn Store>, Failure> {
    let log = &config.policy.log;
    open(
        &config.location(),
        log.slots.as_deref(),
        log.trust.log().name(),
    )
}

/// The ledger at `location`, with its slots in the database at `slots` if it has them there.
pub(super) fn open(
    location: &Location,
    slots: Option<&str>,
    origin: &str,
) -> Result<Box<dyn Store>, Failure> {
    let mut store = location::open(location, options()).map_err(store_failure)?;
    if location.directory().is_none()
        && let Some(cache) = cache_directory()
    {
        // Of this log, wherever it is read: its tiles are the same everywhere.
        let cache = cache.join(Sha256::of(origin.as_bytes()).to_string());
        store = Box::new(Cached::new(store, TileCache::new(&cache.join("tiles"))));
    }
    match slots {
        None => Ok(store),
        Some(slots) => with_slots(store, slots, origin),
    }
}

#[cfg(feature = "postgres")]
fn with_slots(store: Box<dyn Store>, slots: &str, origin: &str) -> Result<Box<dyn Store>, Failure> {
    Ok(Box::new(slots_in_postgres(store, slots, origin)?))
}

/// The composite itself, for making its table.
#[cfg(feature = "postgres")]
fn slots_in_postgres(
    store: Box<dyn Store>,
    slots: &str,
    origin: &str,
) -> Result<SlotsInPostgres, Failure> {
    let options: Vec<_> = options().collect();
    SlotsInPostgres::new(store, slots, origin, &options).map_err(store_failure)
}

#[cfg(not(feature = "postgres"))]
fn with_slots(_: Box<dyn Store>, _: &str, _: &str) -> Result<Box<dyn Store>, Failure> {
    Err(Failure::error(
        "slots in a database: this program was built without the feature postgres",
    ))
}

/// The ledger that the policy names, made ready for its first checkpoint: a database gets its
/// table, and what is no directory is put to the test.
pub(super) fn new_store(config: &Config) -> Result<Box<dyn Store>, Failure> {
    let store = store(config)?;
    #[cfg(feature = "postgres")]
    if let Some(slots) = &config.policy.log.slots {
        let rest = location::open(&config.location(), options()).map_err(store_failure)?;
        let origin = config.policy.log.trust.log().name();
        slots_in_postgres(rest, slots, origin)?.create_table()?;
    }
    if store.directory().is_none() {
        probe::require(&*store).map_err(store_failure)?;
    }
    Ok(store)
}

/// What stores are told of the environment: credentials, endpoints and regions by the names that
/// each service's own tools use.
fn options() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// An error of a store, with what to do about it.
pub(super) fn store_failure(error: StoreError) -> Failure {
    let hint = match &error {
        StoreError::Location { .. } => {
            "a ledger is a path, s3://bucket/prefix, gs://…, az://… or https://…; \
             credentials come from AWS_…, GOOGLE_…, AZURE_… in the environment"
        }
        StoreError::Unsound { .. } => {
            "use another store, or keep the slots in a database (log.slots); \
             `weighbridge ledger probe` shows all that was asked"
        }
        StoreError::NotWritable { .. } => {
            "check bucket, endpoint and credentials: AWS_…, GOOGLE_…, AZURE_… in the environment"
        }
        _ => return error.into(),
    };
    Failure::from(error).hint(hint)
}

/// How an artifact is read for signing and recording.
#[derive(Clone, Copy)]
pub(super) struct ReadRequest<'a> {
    pub(super) exclusions: &'a Exclusions,
    pub(super) algorithms: &'a [Algorithm],
    pub(super) symlinks: Symlinks,
    pub(super) names: Names,
    pub(super) jobs: Option<NonZero<usize>>,
    pub(super) known: Known<'a>,
    /// Past the page cache.
    pub(super) direct: bool,
}

/// Lists and hashes an artifact with a progress bar.
pub(super) fn read(
    artifact: &Artifact,
    request: &ReadRequest<'_>,
    output: &Output,
) -> Result<ArtifactEvidence, Failure> {
    let bar = Bar::new(output);
    let evidence = read_artifact(artifact, request.exclusions, reading(request, &bar));
    bar.finish();
    Ok(evidence?)
}

/// Lists an artifact, and hashes a part of it, as [`gate::read_part`] does.
pub(super) fn read_part(
    artifact: &Artifact,
    request: &ReadRequest<'_>,
    part: Part,
    output: &Output,
) -> Result<(ArtifactEvidence, u64, Sha256), Failure> {
    let bar = Bar::new(output);
    let read = gate::read_part(artifact, request.exclusions, reading(request, &bar), part);
    bar.finish();
    Ok(read?)
}

fn reading<'a>(request: &ReadRequest<'a>, bar: &'a Bar) -> Reading<'a> {
    Reading {
        hashing: Hashing {
            direct: request.direct,
            ..progress::hashing(
                request.algorithms,
                progress::jobs(request.jobs),
                request.known,
                bar,
            )
        },
        symlinks: request.symlinks,
        names: request.names,
    }
}

/// Refuses an artifact that is not wholly readable plain files: what signing and hashing need.
pub(super) fn complete(path: &Path, evidence: &ArtifactEvidence) -> Result<(), Failure> {
    complete_or_empty(path, evidence)?;
    if evidence.manifest.files().is_empty() {
        return Err(Failure::refused(vec![format!(
            "{} holds no file",
            path.display()
        )]));
    }
    Ok(())
}

/// The same, and nothing at all will do.
pub(super) fn complete_or_empty(path: &Path, evidence: &ArtifactEvidence) -> Result<(), Failure> {
    let obstacles = evidence.obstacles.iter().map(obstacle_finding);
    let findings: Vec<Finding> = obstacles
        .chain(evidence.faults.iter().map(fault_finding))
        .collect();
    let Some(worst) = findings.iter().max_by_key(|finding| finding.severity) else {
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
    Err(Failure {
        kind,
        lines,
        hint,
        done: None,
    })
}

/// Where programs of this user keep what can be made again (XDG Base Directory Specification).
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that looks for the cache"
)]
pub(super) fn cache_directory() -> Option<PathBuf> {
    let absolute = |path: &PathBuf| path.is_absolute();
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(absolute);
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    Some(
        cache
            .or_else(|| home().filter(absolute))?
            .join("weighbridge"),
    )
}

/// What an environment variable says; empty is as good as not there.
#[expect(
    clippy::disallowed_methods,
    reason = "where services and CIs tell who asks"
)]
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
