//! `manifest`: what is done with digests that were computed elsewhere.

use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::output::Output;
use super::{Outcome, hash};
use crate::disk;
use crate::report::HashPart;
use crate::report::hash_part::merge;

/// Put together what several machines hashed
#[derive(clap::Args)]
pub(super) struct ManifestArgs {
    #[command(subcommand)]
    verb: ManifestVerb,
}

#[derive(clap::Subcommand)]
enum ManifestVerb {
    Merge(MergeArgs),
}

/// Print what `hash` prints of an artifact, from the parts that `hash --part` wrote
///
/// Every part must be there once, all must be of the same list of files and sizes, and together they must hold every file of
/// that list. That the digests are true is the word of whoever could write the parts.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  weighbridge manifest merge part1.json
  weighbridge manifest merge --json part*.json
  weighbridge manifest merge part*.json > SHA256SUMS")]
struct MergeArgs {
    /// What `hash --part` wrote
    #[arg(required = true, value_name = "PART")]
    parts: Vec<PathBuf>,
}

/// The largest part that is read: some million files.
const MAX_PART: u64 = 1 << 30;

pub(super) fn run(args: &ManifestArgs, output: &Output) -> Outcome {
    let ManifestVerb::Merge(args) = &args.verb;
    let mut parts = Vec::new();
    for path in &args.parts {
        let bytes = disk::read(path, MAX_PART)?;
        let part = HashPart::parse(&bytes);
        parts.push(part.map_err(|error| {
            Failure::because(path.display(), &error).hint("`weighbridge hash --part` writes it")
        })?);
    }
    let (path, manifest) = merge(parts).map_err(|error| {
        if error.is_contradiction() {
            return Failure::refused(vec![error.to_string()])
                .hint("hash every part again, while nothing writes to the artifact");
        }
        Failure::error(error.to_string()).hint("name every part once")
    })?;
    hash::print(Path::new(&path), &manifest, output)
}
