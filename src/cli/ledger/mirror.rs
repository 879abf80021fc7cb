//! `ledger mirror`, `export` and `import`: verified copies of a log.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use crate::cli::failure::Failure;
use crate::cli::history::History;
use crate::cli::output::Output;
use crate::cli::{Outcome, values};
use crate::gate::cause;
use crate::ledger::archive::{self, ArchiveError};
use crate::ledger::mirror::{Blobs, Mirrored, mirror};
use crate::ledger::{DirectoryStore, Log, MemoryError, Store};
use crate::report::text::count;
use crate::tlog_policy::TlogPolicy;

/// Copy a log into a directory, verified, and bring the copy forward
#[derive(clap::Args)]
#[command(after_help = "Examples:
  weighbridge ledger mirror copy
  weighbridge ledger --ledger ledger --trust log.policy mirror copy
  weighbridge ledger mirror copy --every 30s    until it is stopped")]
pub(super) struct MirrorArgs {
    /// The directory of the copy
    directory: PathBuf,
    /// Leave out the manifests that records name
    #[arg(long)]
    no_blobs: bool,
    /// Go on, and look for new entries this often
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    every: Option<Duration>,
}

/// Write a whole log into one file, verified while it is written
#[derive(clap::Args)]
#[command(after_help = "Examples:
  weighbridge ledger export log.tar
  tar -tf log.tar")]
pub(super) struct ExportArgs {
    /// The file
    file: PathBuf,
    /// Leave out the manifests that records name
    #[arg(long)]
    no_blobs: bool,
}

/// Read a log from a file that an export wrote, and verify all of it
#[derive(clap::Args)]
#[command(after_help = "Examples:
  weighbridge ledger export log.tar; weighbridge ledger --trust log.policy import log.tar imported")]
pub(super) struct ImportArgs {
    /// The file
    file: PathBuf,
    /// The directory of the copy; an older one is brought forward
    directory: PathBuf,
}

fn blobs(left_out: bool) -> Blobs {
    if left_out {
        Blobs::LeftOut
    } else {
        Blobs::Copied
    }
}

pub(super) fn mirror_to(
    args: &MirrorArgs,
    source: &dyn Store,
    trust: &TlogPolicy,
    history: &History<'_>,
    output: &Output,
) -> Outcome {
    let target = DirectoryStore::new(&args.directory);
    loop {
        let copied = Log::open(source, trust)
            .map_err(MemoryError::from)
            .and_then(|log| {
                history.check(&log)?;
                mirror(&log, &target, blobs(args.no_blobs))
            });
        match copied {
            Ok(mirrored) => {
                if args.every.is_none() || mirrored.from != mirrored.to {
                    report(&args.directory.display().to_string(), mirrored, output)?;
                }
            }
            // What cannot be reached now can be reached later.
            Err(MemoryError::Ledger(error)) if args.every.is_some() && error.is_temporary() => {
                output.warn(format!("{}; tries again", cause(&error)));
            }
            Err(error) => return Err(refused(&error)),
        }
        match args.every {
            Some(every) => std::thread::sleep(every),
            None => return Ok(0),
        }
    }
}

pub(super) fn export(args: &ExportArgs, log: &Log<'_>, output: &Output) -> Outcome {
    let checkpoint =
        archive::export(log, &args.file, blobs(args.no_blobs)).map_err(|error| failure(&error))?;
    let (size, root) = (checkpoint.size, checkpoint.root);
    if output.json {
        output.document(&json!({
            "file": args.file.display().to_string(),
            "origin": checkpoint.origin,
            "size": size,
            "root": root.to_string(),
        }))?;
    } else {
        let file = args.file.display();
        output.data(&format!(
            "{file}: {} at {size} entries, root {root}\n",
            checkpoint.origin
        ))?;
    }
    Ok(0)
}

/// An import needs no ledger but the one in the file.
pub(super) fn import(
    args: &ImportArgs,
    trust: &TlogPolicy,
    history: &History<'_>,
    output: &Output,
) -> Outcome {
    let accept = |log: &Log<'_>| history.check(log);
    let mirrored = archive::import(&args.file, &args.directory, trust, &accept)
        .map_err(|error| failure(&error))?;
    report(&args.directory.display().to_string(), mirrored, output)?;
    Ok(0)
}

fn report(place: &str, mirrored: Mirrored, output: &Output) -> Result<(), Failure> {
    let Mirrored {
        from,
        to,
        missing_blobs,
    } = mirrored;
    if output.json {
        return output.document(&json!({
            "directory": place,
            "from": from,
            "to": to,
            "missing_blobs": missing_blobs,
        }));
    }
    if missing_blobs > 0 {
        let missing = count(usize::try_from(missing_blobs).unwrap_or(0), "manifest");
        output.warn(format!("{missing} that records name are not in the source"));
    }
    output.data(&format!("{place}: {from} -> {to} entries, verified\n"))
}

fn refused(error: &MemoryError) -> Failure {
    if error.is_contradiction() {
        return Failure::refused(vec![cause(error)])
            .hint("the copy was left as it is; keep both checkpoints as evidence");
    }
    Failure::error(cause(error))
}

fn failure(error: &ArchiveError) -> Failure {
    match error {
        ArchiveError::Memory(error) => refused(error),
        ArchiveError::Malformed { .. } | ArchiveError::Unsound { .. } => {
            Failure::refused(vec![cause(error)])
        }
        error => Failure::error(cause(error)),
    }
}
