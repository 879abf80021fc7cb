//! `ledger find` and `ledger index`: look-ups in an index that follows the log.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::summary;
use crate::cli::context;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::{Outcome, values};
use crate::digest::Sha256;
use crate::disk;
use crate::ledger::index::{Index, Query};
use crate::ledger::{Log, Store};
use crate::report::text::count;
use crate::statement::{Kind, Role};
use crate::time::Timestamp;

/// Find the records about something
///
/// Each record that is printed was proved by inclusion; what is not there is not in the log up to the
/// size that is stated.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  weighbridge ledger find --kind release --since 2026-01-01T00:00:00Z
  weighbridge ledger find --role developer --json
  weighbridge ledger find --digest dirHash1:9f86…
  weighbridge ledger find --lineage 9f86…    and what is connected with it")]
pub(super) struct FindArgs {
    /// Named anywhere in the record: an artifact, a manifest, a signature file
    #[arg(long, value_name = "DIGEST", value_parser = digest)]
    digest: Option<Sha256>,
    /// Everything that is connected with this digest through what records name, any depth
    #[arg(long, value_name = "DIGEST", value_parser = digest, exclusive = true)]
    lineage: Option<Sha256>,
    /// Obtained from exactly this source
    #[arg(long, value_name = "URI")]
    source: Option<String>,
    /// Obtained from this host or bucket
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Signed by the key with this id
    #[arg(long, value_name = "KEY ID", value_parser = digest)]
    key: Option<Sha256>,
    #[arg(long, value_parser = values::word::<Kind>(&["acquire", "release"]), value_name = "KIND")]
    kind: Option<Kind>,
    #[arg(long, value_parser = values::word::<Role>(values::ROLES), value_name = "ROLE")]
    role: Option<Role>,
    /// By this identity
    #[arg(long, value_name = "NAME")]
    party: Option<String>,
    /// Not before this time
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Not after this time
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    /// Print no more than this
    #[arg(long, value_name = "N", default_value_t = 1000)]
    limit: usize,
    /// The index; unless given, in the ledger's directory, or in the user's cache
    #[arg(long, value_name = "FILE")]
    index: Option<PathBuf>,
}

/// Bring the index to the newest checkpoint, or build it anew
#[derive(clap::Args)]
#[command(after_help = "Examples:
  weighbridge ledger index
  weighbridge ledger index --rebuild")]
pub(super) struct IndexArgs {
    /// Throw away what is there
    #[arg(long)]
    rebuild: bool,
    /// The index; unless given, in the ledger's directory, or in the user's cache
    #[arg(long, value_name = "FILE")]
    index: Option<PathBuf>,
}

/// A digest, with or without the name of its kind.
fn digest(text: &str) -> Result<Sha256, String> {
    let hex = text.split_once(':').map_or(text, |(_, hex)| hex);
    let hex = hex.to_ascii_lowercase();
    hex.parse()
        .map_err(|_| "expected 64 hexadecimal digits, as `weighbridge hash` prints".into())
}

/// Where the index of the log in `store` lies.
pub(in crate::cli) fn place(store: &dyn Store, origin: &str) -> Result<PathBuf, Failure> {
    if let Some(directory) = store.directory() {
        let path = directory.root().join(NAME);
        let writable = rustix::fs::access(directory.root(), rustix::fs::Access::WRITE_OK).is_ok();
        if writable || path.exists() {
            return Ok(path);
        }
    }
    let cache = context::cache_directory().ok_or_else(|| {
        Failure::error("there is no place for an index").hint("name a file with --index")
    })?;
    let directory = cache.join(Sha256::of(origin.as_bytes()).to_string());
    disk::create_directory(&directory)?;
    Ok(directory.join(NAME))
}

const NAME: &str = "index.sqlite";

fn open(given: Option<&Path>, store: &dyn Store, origin: &str) -> Result<Index, Failure> {
    let path = match given {
        Some(path) => path.to_owned(),
        None => place(store, origin)?,
    };
    Ok(Index::open(&path)?)
}

pub(super) fn index(args: &IndexArgs, log: &Log<'_>, output: &Output) -> Outcome {
    let mut index = open(args.index.as_deref(), log.store(), &log.checkpoint().origin)?;
    if args.rebuild {
        index.rebuild()?;
    }
    let followed = index.follow(log)?;
    if output.json {
        output.document(&json!({
            "from": followed.from,
            "to": followed.to,
            "rebuilt": followed.rebuilt,
        }))?;
    } else {
        let rebuilt = if followed.rebuilt {
            ", built anew: it did not belong to the log"
        } else {
            ""
        };
        output.data(&format!(
            "{} -> {} entries{rebuilt}\n",
            followed.from, followed.to
        ))?;
    }
    Ok(0)
}

pub(super) fn find(args: &FindArgs, log: &Log<'_>, output: &Output) -> Outcome {
    let size = log.checkpoint().size;
    let mut index = open(args.index.as_deref(), log.store(), &log.checkpoint().origin)?;
    let followed = index.follow(log)?;
    if followed.rebuilt {
        output.say("the index did not belong to the log, and was built anew");
    }
    let found = match &args.lineage {
        Some(digest) => index.lineage(digest, args.limit),
        None => index.find(&query(args), args.limit),
    };
    let found = found?;
    let mut lines = Vec::new();
    for entry in &found {
        let (bytes, _) = log.entry(*entry)?;
        lines.push((*entry, summary(&bytes)));
    }
    let number = lines.len();
    super::print(lines, output)?;
    output.say(format!(
        "{} of {size} entries, each proved by inclusion; the index follows a replica that was \
         checked against the signed root{}",
        count(number, "record"),
        if number == args.limit {
            "; there may be more: raise --limit"
        } else {
            ""
        }
    ));
    if number == 0 {
        return Err(Failure::refused(vec![format!(
            "no record of {size} entries is about that"
        )]));
    }
    Ok(0)
}

fn query(args: &FindArgs) -> Query {
    Query {
        digest: args.digest,
        source: args.source.clone(),
        host: args.host.as_ref().map(|host| host.to_ascii_lowercase()),
        key_id: args.key,
        kind: args.kind,
        role: args.role,
        party: args.party.clone(),
        since: args.since,
        until: args.until,
    }
}
