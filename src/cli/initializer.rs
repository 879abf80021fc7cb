//! `initializer`: fetches models and gates them before a pod starts, called as `KServe` calls a storage initializer.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::acquire::{self, Source};
use super::copies;
use super::failure::Failure;
use super::gate::{Decision, Question};
use super::output::Output;
use super::record::parse_digest;
use super::target::{self, TargetArgs};
use super::{Global, Outcome};
use crate::artifact::{Artifact, ArtifactDigest, Names, Symlinks, walk};
use crate::bundle::MAX_BUNDLE;
use crate::disk::{self, Lock, TreeAccess};
use crate::gate;
use crate::report::text::render;

/// Fetch models and gate them before a pod starts, as `KServe` calls a storage initializer
///
/// Each SRC is fetched, verified against what its source publishes, and judged by the whole policy in a hidden directory of
/// its DEST; what passes is moved to DEST, and what does not never lies there. Nothing is recorded. What an earlier run
/// left at DEST is verified again, and not fetched again; what else lies there goes.
#[derive(clap::Args)]
#[command(
    after_help = "SRC is one of KServe's addresses (hf://ORG/NAME[:REVISION], s3://BUCKET/PREFIX, https://HOST/FILE, oci://…, file:///…, a path, as
of a volume that is mounted at /mnt/pvc), `verified+` before any of them, or one that `acquire` takes. Archives are not unpacked.
Of an https source, FILE.sig is fetched too, if it is there.

VERIFICATION_DIGEST, if it is set and there is one SRC, is the digest that `weighbridge gate` must come to: sha256:HEX of a
file, dirHash1:HEX of a directory.

Exit codes: 0 every SRC passed, 1 refused, 2 could not be checked; all but 0 keep the pod from starting.

Examples:
  weighbridge initializer hf://acme/model:v1 /mnt/models
  weighbridge initializer --profile production s3://bucket/base /mnt/models s3://bucket/adapter /mnt/adapters"
)]
pub(super) struct InitializerArgs {
    /// What, and where it goes, in turn
    #[arg(required = true, num_args = 2.., value_names = ["SRC", "DEST"])]
    pairs: Vec<String>,
    /// Judge by the gate of this profile of the policy
    #[arg(long, value_name = "NAME", env = "WEIGHBRIDGE_PROFILE")]
    profile: Option<String>,
    /// The digest that the one SRC must have
    #[arg(
        long,
        value_name = "sha256:HEX|dirHash1:HEX",
        env = "VERIFICATION_DIGEST",
        value_parser = digest
    )]
    digest: Option<Wanted>,
}

/// What a variable of the environment says; empty is as good as not there.
#[derive(Clone)]
struct Wanted(Option<ArtifactDigest>);

fn digest(text: &str) -> Result<Wanted, String> {
    if text.is_empty() {
        return Ok(Wanted(None));
    }
    let known = parse_digest(text).map(|digest| Wanted(Some(digest)));
    known.ok_or_else(|| {
        let text = crate::path::display(text);
        format!("{text:?} is neither sha256:HEX, of a file, nor dirHash1:HEX, of a directory")
    })
}

impl InitializerArgs {
    fn digest(&self) -> Option<ArtifactDigest> {
        self.digest.as_ref()?.0
    }

    fn profile(&self) -> Option<&str> {
        self.profile.as_deref().filter(|name| !name.is_empty())
    }
}

/// Where a model is, as `KServe` says it.
enum From {
    Elsewhere(Source),
    Here(PathBuf),
}

impl From {
    fn parse(text: &str) -> Result<From, Failure> {
        let text = text.strip_prefix("verified+").unwrap_or(text);
        if let Some(path) = text.strip_prefix("file://") {
            return Ok(From::Here(path.into()));
        }
        if text.starts_with('/') {
            return Ok(From::Here(text.into()));
        }
        let source = match text.strip_prefix("hf://") {
            Some(rest) if !rest.contains('@') => {
                format!("hf:{}", rest.replacen(':', "@", 1))
            }
            _ => text.to_owned(),
        };
        match source.parse() {
            Ok(Source::Directory(path)) => Ok(From::Here(path)),
            Ok(source) => Ok(From::Elsewhere(source)),
            Err(why) => Err(Failure::error(why).hint(
                "hf://, s3://, https://, oci://, file:// and paths can be verified; for what is elsewhere, fetch it to a volume first",
            )),
        }
    }
}

/// Where it is fetched to and judged, beneath DEST: on the same file system, and nowhere that a server looks.
const STAGE: &str = ".weighbridge-initializer";

pub(super) fn run(args: &InitializerArgs, global: &Global, output: &Output) -> Outcome {
    let jobs = jobs(args)?;
    // The policy first: a wrong one should not cost the time to fetch.
    super::context::Config::load(global)?;
    let mut documents = Vec::new();
    let mut last = 0;
    for job in &jobs {
        let staged = job.stage(global, output)?;
        let decision = &staged.decision;
        let code = decision.document.exit_code;
        if code == 0 {
            job.hand_over(&staged)?;
            let line = target::first_line(&decision.document);
            output.say(anstream::adapter::strip_str(line.trim_end()).to_string());
        } else if !output.json {
            output.annotate(&render(&decision.document));
        }
        documents.push(json!(decision.document));
        last = code;
        if code != 0 {
            break;
        }
    }
    if output.json {
        output.document(&json!({ "exit_code": last, "verdicts": documents }))?;
    }
    Ok(last)
}

/// What was judged.
struct Staged {
    decision: Decision,
    /// Where it is.
    path: PathBuf,
    _lock: Lock,
}

fn remove(path: &Path) -> Result<(), Failure> {
    if path.symlink_metadata().is_ok_and(|found| found.is_dir()) {
        return Ok(disk::remove_tree(path)?);
    }
    Ok(disk::remove_file(path)?)
}

/// One SRC, and where it goes.
struct Job<'a> {
    args: &'a InitializerArgs,
    from: From,
    dest: PathBuf,
    stage: PathBuf,
}

fn jobs(args: &InitializerArgs) -> Result<Vec<Job<'_>>, Failure> {
    let (pairs, rest) = args.pairs.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(Failure::error(format!(
            "each SRC has its DEST: {} words are no pairs",
            args.pairs.len()
        ))
        .hint("weighbridge initializer SRC DEST [SRC DEST]…"));
    }
    if args.digest().is_some() && pairs.len() > 1 {
        return Err(Failure::error(
            "VERIFICATION_DIGEST is about one SRC, and there are more",
        ));
    }
    let mut jobs: Vec<Job<'_>> = Vec::new();
    for [source, dest] in pairs {
        let from = From::parse(source)?;
        // Nothing is made yet: DEST may lie where nothing may be made.
        let dest = acquire::plain(Path::new(dest))?;
        let mut others = vec![("is DEST of another SRC, or lies in one, or holds one", None)];
        if let From::Here(path) = &from {
            let path = std::fs::canonicalize(path)
                .map_err(|error| Failure::because(path.display(), &error))?;
            others = vec![("is SRC, or lies in it, or holds it", Some(path))];
        }
        others.extend(jobs.iter().map(|job| {
            (
                "is DEST of another SRC, or lies in one, or holds one",
                Some(job.dest.clone()),
            )
        }));
        for (what, other) in others {
            if let Some(other) = other
                && (dest.starts_with(&other) || other.starts_with(&dest))
            {
                return Err(Failure::error(format!("{} {what}", dest.display()))
                    .hint("give each model a directory of its own; what lies in its place already, `weighbridge gate` judges"));
            }
        }
        let stage = dest.join(STAGE);
        jobs.push(Job {
            args,
            from,
            dest,
            stage,
        });
    }
    for job in &jobs {
        disk::create_directory(&job.dest)?;
    }
    Ok(jobs)
}

impl Job<'_> {
    fn root(&self) -> PathBuf {
        self.stage.join("model")
    }

    /// Brings it to the stage, and has it judged there.
    fn stage(&self, global: &Global, output: &Output) -> Result<Staged, Failure> {
        let lock = self.own_stage()?;
        let root = self.root();
        let path = match &self.from {
            From::Here(path) => {
                disk::remove_tree(&root)?;
                disk::create_private_directory(&root)?;
                self.clear()?;
                copied(path, &root)?
            }
            From::Elsewhere(source) => {
                disk::create_directory(&root)?;
                // What an earlier run handed over is verified again, and not fetched again.
                self.entries(&self.dest, |from, name| {
                    Ok(disk::rename(&from, &root.join(name))?)
                })?;
                acquire::bring(source, &root, output).inspect_err(|failure| {
                    // What lies there is not what the source has now: the next run fetches it anew.
                    if failure.exit_code() == 1 {
                        _ = disk::remove_tree(&root);
                    }
                })?
            }
        };
        if root.join(STAGE).symlink_metadata().is_ok() {
            let line = format!("{}: it holds {STAGE}, which is ours", self.dest.display());
            return Err(Failure::refused(vec![line]));
        }
        let target = TargetArgs {
            path: path.clone(),
            signature: None,
            jobs: None,
        };
        let question = Question {
            target: &target,
            profile: self.args.profile(),
            at: None,
            receipt: None,
            fast: None,
            input: false,
        };
        let mut decision = question.decide(global, output)?;
        if let Some(wanted) = self.args.digest()
            && decision.digest != Some(wanted)
        {
            let found = decision.digest.as_ref().map(ToString::to_string);
            let found = found.unwrap_or_else(|| "what could not be read whole".into());
            let dest = self.dest.display();
            let line = format!("{dest}: expected {wanted}, found {found}");
            return Err(Failure::refused(vec![line])
                .hint("VERIFICATION_DIGEST names another artifact than SRC holds"));
        }
        decision.document.artifact.path = self.dest.display().to_string();
        Ok(Staged {
            decision,
            path,
            _lock: lock,
        })
    }

    /// The stage, which nobody else may have made, and which one run has at a time.
    fn own_stage(&self) -> Result<Lock, Failure> {
        if self.stage.symlink_metadata().is_err() {
            disk::create_private_directory(&self.stage)?;
        }
        let metadata = self
            .stage
            .symlink_metadata()
            .map_err(|error| Failure::because(self.stage.display(), &error))?;
        let me = rustix::process::geteuid().as_raw();
        if !metadata.is_dir() || metadata.uid() != me || metadata.mode() & 0o077 != 0 {
            return Err(Failure::error(format!(
                "{} is there, and is not what an earlier run of yours left",
                self.stage.display()
            ))
            .hint("remove it, or name another DEST"));
        }
        let place = self.stage.join("lock");
        match Lock::try_acquire(&place)? {
            Some(lock) if lock.is_at(&place) => Ok(lock),
            _ => Err(
                Failure::error(format!("another run is at work on {}", self.dest.display()))
                    .hint("give each pod a volume of its own"),
            ),
        }
    }

    /// Removes what an earlier run handed over.
    fn clear(&self) -> Result<(), Failure> {
        self.entries(&self.dest, |path, _| remove(&path))
    }

    /// Moves what was judged, and nothing else, to where the server looks.
    fn hand_over(&self, staged: &Staged) -> Result<(), Failure> {
        let root = self.root();
        let artifact = Artifact::open(&staged.path)?;
        let signature = gate::default_signature(&artifact);
        if artifact.single_file().is_some() {
            disk::set_access(&root, TreeAccess::EverybodyReads)?;
            for from in [&staged.path, &signature] {
                let name = from.file_name().unwrap_or_default();
                if from.symlink_metadata().is_ok() {
                    disk::rename(from, &self.dest.join(name))?;
                }
            }
            return Ok(disk::remove_tree(&self.stage)?);
        }
        let exclusions = gate::exclusions(&artifact, &signature);
        let found = walk(&artifact, &exclusions, Symlinks::Refuse, Names::Printable)?;
        for path in &found.not_covered {
            let path = root.join(path.as_str());
            if path != signature {
                remove(&path)?;
            }
        }
        disk::set_access(&root, TreeAccess::EverybodyReads)?;
        self.entries(&root, |from, name| {
            Ok(disk::rename(&from, &self.dest.join(name))?)
        })?;
        Ok(disk::remove_tree(&self.stage)?)
    }

    /// Everything in `directory` but the stage.
    fn entries(
        &self,
        directory: &Path,
        mut then: impl FnMut(PathBuf, &std::ffi::OsStr) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let fail = |error: &std::io::Error| Failure::because(directory.display(), error);
        let entries = std::fs::read_dir(directory).map_err(|error| fail(&error))?;
        // All of them before any is moved.
        let entries: Result<Vec<_>, _> = entries.collect();
        for entry in entries.map_err(|error| fail(&error))? {
            if entry.path() != self.stage {
                then(entry.path(), &entry.file_name())?;
            }
        }
        Ok(())
    }
}

/// Copies what is here, with its signature, beneath `root`; where it is then.
fn copied(path: &Path, root: &Path) -> Result<PathBuf, Failure> {
    let artifact = Artifact::open(path)?;
    let signature = gate::default_signature(&artifact);
    copies::copy(&artifact, &signature, (root, false), || false)?;
    match disk::read_no_link(&signature, MAX_BUNDLE as u64) {
        Ok(bytes) => {
            let name = signature.file_name().unwrap_or_default();
            disk::deposit(&root.join(name), &bytes)?;
        }
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error.into()),
    }
    Ok(match artifact.single_file() {
        Some(file) => root.join(file.as_str()),
        None => root.to_owned(),
    })
}
