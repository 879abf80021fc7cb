//! `hash`: the manifest of a tree or file, and `--check` against one.

use std::num::NonZero;
use std::path::{Path, PathBuf};

use super::context::{self, ReadRequest};
use super::engine;
use super::failure::Failure;
use super::output::Output;
use super::{Outcome, values};
use crate::artifact::manifest::{self, Difference};
use crate::artifact::{Artifact, Exclusions, Manifest, Names, Symlinks};
use crate::digest::Algorithm;
use crate::disk;
use crate::gate;
use crate::report::HashDocument;
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
  weighbridge hash -a sha256,blake3 --json ./model  both digests from one read pass")]
pub(super) struct HashArgs {
    /// File or directory
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
    /// Threads to hash with
    #[arg(long, short, value_name = "N")]
    jobs: Option<NonZero<usize>>,
    /// What to compute SHA-256 with: auto, avx512, avx2, sha-ni, portable; `weighbridge debug engine` says what auto is here
    #[arg(long, value_name = "NAME", value_parser = engine::parse)]
    pub(super) engine: Option<Choice>,
}

/// The largest list that is read: some ten million files.
const MAX_LIST: u64 = 1 << 30;

pub(super) fn run(args: &HashArgs, output: &Output) -> Outcome {
    let artifact = Artifact::open(&args.path)?;
    let mut exclusions = if args.covered {
        gate::exclusions(&artifact, &gate::default_signature(&artifact))
    } else {
        Exclusions::none()
    };
    let list = args
        .check
        .as_ref()
        .map(|list| read_list(list, args, &artifact))
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
        receipts: None,
    };
    let evidence = context::read(&artifact, &request, output)?;
    context::complete(&args.path, &evidence)?;
    for path in &evidence.not_covered {
        output.say(format!("{path} is left out"));
    }
    let manifest = &evidence.manifest;
    let algorithm = algorithms.first().copied().unwrap_or(Algorithm::Sha256);
    match list {
        Some(list) => report(&list, manifest, algorithm, output),
        None => print(args, manifest, algorithm, output),
    }
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
    artifact: &Artifact,
) -> Result<Vec<manifest::Line>, Failure> {
    let text = disk::read(path, MAX_LIST)?;
    let algorithm = args.algorithm.first().copied().unwrap_or(Algorithm::Sha256);
    let lines = manifest::parse(&text, algorithm)
        .map_err(|error| Failure::because(path.display(), &error))?;
    if let (Some(file), [line]) = (artifact.single_file(), lines.as_slice()) {
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

fn print(args: &HashArgs, manifest: &Manifest, algorithm: Algorithm, output: &Output) -> Outcome {
    if output.json {
        output.document(&HashDocument::new(
            args.path.display().to_string(),
            manifest,
        ))?;
    } else if let (true, Some(file)) = (manifest.is_single_file(), manifest.files().first()) {
        // As `sha256sum FILE` does: the path as it was given.
        let bytes = manifest.digest(file, algorithm).unwrap_or_default();
        let hex = data_encoding::HEXLOWER.encode(bytes);
        output.lines(std::iter::once(format!("{hex}  {}\n", args.path.display())))?;
    } else {
        output.lines(manifest.lines(algorithm))?;
        if let Ok(digest) = manifest.artifact_digest() {
            output.say(format!("artifact digest {digest}"));
        }
    }
    Ok(0)
}
