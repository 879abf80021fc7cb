//! `hash`: the manifest of a tree or file, and `--check` against one.

use std::num::NonZero;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::context::{self, ReadRequest};
use super::engine;
use super::failure::Failure;
use super::output::Output;
use super::receipts;
use super::{Global, Outcome, values};
#[cfg(feature = "http")]
use super::{acquire, verify_source};
use crate::artifact::manifest::{self, Difference};
use crate::artifact::parts::Part;
use crate::artifact::{Artifact, Exclusions, Known, Manifest, Names, StatCache, Symlinks};
use crate::digest::Algorithm;
use crate::disk::{self, Access, Existing};
use crate::gate;
use crate::path::ArtifactPath;
use crate::report::text::count;
use crate::report::{HashDocument, HashPart};
use crate::sha256::Choice;

/// Print the digests of a file or of every file in a directory
///
/// The output is what `sha256sum` prints, sorted by path; SHA-256 over it is the artifact digest
/// of a directory. Links and special files are refused, and no file is left out.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  weighbridge hash ./model                          equals find | sort | xargs sha256sum
  weighbridge hash ./model > SHA256SUMS
  weighbridge hash --check SHA256SUMS ./model       changed, missing and added files fail
  weighbridge hash -a sha256,blake3 --json ./model  both digests from one read pass
  weighbridge hash --resume ./model                 goes on where it was interrupted
  weighbridge hash s3://bucket/model/               reads the objects where they are, and keeps nothing
  weighbridge hash --part 1/1 --out part1.json ./model   what one of several machines does; `manifest merge` joins it")]
pub(super) struct HashArgs {
    /// File or directory; or a source as `acquire` has it, `s3://BUCKET/PREFIX/` for one, which is read where it is
    path: PathBuf,
    /// Digests to compute in one read pass; the text output shows the first
    #[arg(
        long,
        short,
        value_parser = values::word::<Algorithm>(values::ALGORITHMS),
        value_delimiter = ',',
        value_name = "NAMES",
        default_value = "sha256"
    )]
    algorithm: Vec<Algorithm>,
    /// Compare with this list instead of printing one
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
    /// Leave out what `sign` and `gate` leave out, so that the digest is the one in the ledger
    #[arg(long)]
    covered: bool,
    /// Hash one part of the files, as 3/16: every machine that sees the same files knows which are its own
    #[arg(long, value_name = "K/N", requires = "out", conflicts_with = "check")]
    part: Option<Part>,
    /// With --part: where to write what it came to
    #[arg(long, value_name = "FILE", requires = "part")]
    out: Option<PathBuf>,
    /// Go on where an earlier run of this host with --resume was interrupted: files that it had hashed and that have not changed
    /// since, as far as its kernel knows, are not read again
    #[arg(long)]
    resume: bool,
    /// Read large files past the page cache (`O_DIRECT`), where the file system can: what others have in it stays there
    #[arg(long)]
    direct: bool,
    /// Threads to hash with
    #[arg(long, short, value_name = "N")]
    jobs: Option<NonZero<usize>>,
    /// Of a source: how many files or parts of files are read at once; unless given, 8. Each holds 8 MiB at most
    #[cfg(feature = "http")]
    #[arg(long, value_name = "N", conflicts_with_all = ["covered", "part", "resume", "jobs"])]
    connections: Option<NonZero<usize>>,
    /// What to compute SHA-256 with: auto, avx512, avx2, sha-ni, portable; `weighbridge debug engine` says what auto is here
    #[arg(long, value_name = "NAME", value_parser = engine::parse)]
    pub(super) engine: Option<Choice>,
}

/// The largest list that is read: some ten million files.
const MAX_LIST: u64 = 1 << 30;

pub(super) fn run(args: &HashArgs, global: &Global, output: &Output) -> Outcome {
    #[cfg(feature = "http")]
    match verify_source::remote(&args.path)? {
        // What is not there is not there, whatever its name looks like.
        None | Some(acquire::Source::Directory(_)) => {}
        Some(source) => return at_source(args, &source, output),
    }
    #[cfg(feature = "http")]
    if args.connections.is_some() {
        return Err(Failure::error(
            "--connections is for a source, and this is on this machine: --jobs says how many threads hash",
        ));
    }
    let artifact = Artifact::open(&args.path)?;
    let mut exclusions = if args.covered {
        gate::exclusions(&artifact, &gate::default_signature(&artifact))
    } else {
        Exclusions::none()
    };
    let list = args
        .check
        .as_ref()
        .map(|list| read_list(list, args, artifact.single_file()))
        .transpose()?;
    if let Some(inside) = args.check.as_ref().and_then(|list| artifact.locate(list)) {
        output.say(format!("{inside} is the list itself, and not checked"));
        exclusions.add(inside);
    }
    let algorithms = distinct(&args.algorithm);
    let request = ReadRequest {
        exclusions: &exclusions,
        algorithms: &algorithms,
        symlinks: Symlinks::Refuse,
        names: Names::Printable,
        jobs: args.jobs,
        known: Known::NOTHING,
        direct: args.direct,
    };
    if args.resume {
        receipts::resume(
            (&artifact, args.part),
            &algorithms,
            global,
            output,
            |receipts| {
                let request = ReadRequest {
                    known: Known::by(receipts),
                    ..request
                };
                hash(args, &artifact, &request, list, output)
            },
        )?
    } else {
        hash(args, &artifact, &request, list, output)?
    }
}

/// The same of a source: every byte is read there, and none is kept here.
#[cfg(feature = "http")]
fn at_source(args: &HashArgs, source: &acquire::Source, output: &Output) -> Outcome {
    let here_only = [
        ("--covered", args.covered),
        ("--part", args.part.is_some()),
        ("--resume", args.resume),
        ("--direct", args.direct),
        ("--engine", args.engine.is_some()),
        ("--jobs", args.jobs.is_some()),
    ];
    if let Some((option, _)) = here_only.iter().find(|(_, given)| *given) {
        let message = format!("{option} is for what is on this machine, not for {source}");
        return Err(Failure::error(message));
    }
    if acquire::is_offline(false) {
        return Err(Failure::error(format!(
            "{source} is elsewhere, and HF_HUB_OFFLINE forbids to ask for it"
        )));
    }
    let name = args.path.file_name().unwrap_or(args.path.as_os_str());
    let channel = source.channel(Path::new(name), &acquire::CheckArgs::default(), false)?;
    let mut published = acquire::ask(&*channel, source)?;
    for note in channel.notes() {
        output.warn(note);
    }
    acquire::list_archives(&*channel, &mut published)?;
    let algorithms = distinct(&args.algorithm);
    let (usual, most) = acquire::DEFAULTS;
    let limits = (args.connections.unwrap_or(usual), most);
    let manifest = acquire::read_all(&*channel, &published, &algorithms, limits, output)?;
    if manifest.files().is_empty() {
        return Err(Failure::refused(vec![format!("{source} holds no file")]));
    }
    let Some(path) = &args.check else {
        return print(&args.path, &manifest, output);
    };
    let single = manifest
        .files()
        .first()
        .filter(|_| manifest.is_single_file());
    let list = read_list(path, args, single.map(|file| &file.path))?;
    let algorithm = algorithms.first().copied().unwrap_or(Algorithm::Sha256);
    report(&list, &manifest, algorithm, output)
}

/// The inner result is the answer: that the artifact is not as a list says ends the work as well as that it is.
fn hash(
    args: &HashArgs,
    artifact: &Artifact,
    request: &ReadRequest<'_>,
    list: Option<Vec<manifest::Line>>,
    output: &Output,
) -> Result<Outcome, Failure> {
    if let (Some(part), Some(out)) = (args.part, &args.out) {
        return hash_part(args, artifact, request, (part, out), output).map(Ok);
    }
    let evidence = context::read(artifact, request, output)?;
    context::complete(&args.path, &evidence)?;
    say_resumed(request, output);
    for path in &evidence.not_covered {
        output.say(format!("{path} is left out"));
    }
    let manifest = &evidence.manifest;
    let algorithm = manifest.algorithms().first().copied();
    let algorithm = algorithm.unwrap_or(Algorithm::Sha256);
    match list {
        Some(list) => Ok(report(&list, manifest, algorithm, output)),
        None => print(&args.path, manifest, output).map(Ok),
    }
}

fn say_resumed(request: &ReadRequest<'_>, output: &Output) {
    let unread = request.known.receipts.map_or(0, StatCache::used);
    if unread > 0 {
        output.say(format!("{} not read again", count(unread, "file")));
    }
}

/// Hashes a part, and writes what it came to.
fn hash_part(
    args: &HashArgs,
    artifact: &Artifact,
    request: &ReadRequest<'_>,
    (part, out): (Part, &Path),
    output: &Output,
) -> Outcome {
    let is_itself = artifact.single_file().is_some() && is_same(artifact.path(), out);
    if is_itself || artifact.locate(out).is_some() {
        return Err(Failure::error(format!(
            "{} would be written into the artifact, which the other parts would find changed",
            out.display()
        ))
        .hint("let --out name a file outside of it"));
    }
    let (evidence, all, listing) = context::read_part(artifact, request, part, output)?;
    context::complete_or_empty(&args.path, &evidence)?;
    say_resumed(request, output);
    if all == 0 {
        let empty = format!("{} holds no file", args.path.display());
        return Err(Failure::refused(vec![empty]));
    }
    let path = args.path.display().to_string();
    let numbers = (part.number, part.of);
    let document = HashPart::new(path, numbers, (all, listing), &evidence.manifest);
    let mut bytes =
        serde_json::to_vec(&document).map_err(|error| Failure::because(out.display(), &error))?;
    bytes.push(b'\n');
    disk::write(out, &bytes, Existing::Replace, Access::Shared)?;
    output.say(format!(
        "part {part}: {} of {all}, in {}",
        count(document.files.len(), "file"),
        out.display()
    ));
    Ok(0)
}

/// Is it one file, by whatever paths?
fn is_same(one: &Path, other: &Path) -> bool {
    let file = |path: &Path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.dev(), metadata.ino()))
    };
    file(one).is_some_and(|one| file(other) == Some(one))
}

/// The algorithms in the order in which they were asked for, each once.
fn distinct(asked: &[Algorithm]) -> Vec<Algorithm> {
    let mut algorithms = Vec::new();
    for algorithm in asked {
        if !algorithms.contains(algorithm) {
            algorithms.push(*algorithm);
        }
    }
    algorithms
}

fn read_list(
    path: &Path,
    args: &HashArgs,
    single: Option<&ArtifactPath>,
) -> Result<Vec<manifest::Line>, Failure> {
    let text = disk::read(path, MAX_LIST)?;
    let algorithm = args.algorithm.first().copied().unwrap_or(Algorithm::Sha256);
    let lines = manifest::parse(&text, algorithm)
        .map_err(|error| Failure::because(path.display(), &error))?;
    if let (Some(file), [line]) = (single, lines.as_slice()) {
        return Ok(vec![manifest::Line {
            path: file.clone(),
            ..line.clone()
        }]);
    }
    Ok(lines)
}

fn report(
    list: &[manifest::Line],
    manifest: &Manifest,
    algorithm: Algorithm,
    output: &Output,
) -> Outcome {
    let differences = manifest::compare(list, manifest, algorithm);
    let line = |difference: &Difference| match difference {
        Difference::Changed { path, .. } => format!("{path}: CHANGED\n"),
        Difference::Missing { path } => format!("{path}: MISSING\n"),
        Difference::Added { path } => format!("{path}: ADDED\n"),
    };
    if output.json {
        let lines: Vec<String> = differences
            .iter()
            .map(|one| line(one).trim().into())
            .collect();
        output.document(&serde_json::json!({
            "schema": "https://weighbridge.dev/hash-check/v1",
            "files": manifest.files().len(),
            "differences": lines,
        }))?;
    } else {
        output.lines(differences.iter().map(line))?;
    }
    if output.json && !differences.is_empty() {
        return Ok(1);
    }
    if differences.is_empty() {
        output.say(format!(
            "{} files are as the list says, and no other",
            manifest.files().len()
        ));
        return Ok(0);
    }
    Err(Failure::refused(vec![format!(
        "{} differences from the list",
        differences.len()
    )]))
}

/// Prints `manifest`, of what is called `path`.
pub(super) fn print(path: &Path, manifest: &Manifest, output: &Output) -> Outcome {
    let algorithm = manifest.algorithms().first().copied();
    let algorithm = algorithm.unwrap_or(Algorithm::Sha256);
    if output.json {
        output.document(&HashDocument::new(path.display().to_string(), manifest))?;
    } else if let (true, Some(file)) = (manifest.is_single_file(), manifest.files().first()) {
        // As `sha256sum FILE` does: the path as it was given.
        let bytes = manifest.digest(file, algorithm).unwrap_or_default();
        let hex = data_encoding::HEXLOWER.encode(bytes);
        output.lines(std::iter::once(format!("{hex}  {}\n", path.display())))?;
    } else {
        output.lines(manifest.lines(algorithm))?;
        if let Ok(digest) = manifest.artifact_digest() {
            output.say(format!("artifact digest {digest}"));
        }
    }
    Ok(0)
}
