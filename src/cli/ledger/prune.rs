//! `ledger prune`: removes what the policy says may go.

use serde_json::json;

use crate::cli::Outcome;
use crate::cli::context::Config;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::ledger::Log;
use crate::ledger::prune::{Prunable, prunable};
use crate::report::text::count;

/// Remove blobs that no record names, or partial tiles that a full one replaced
///
/// Only where the policy says so: `prune = ["blobs", "partials"]` in [log]. The log itself is never
/// pruned. A record that is being written right now may need the blob that it stored a moment ago:
/// prune while nobody records.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  weighbridge ledger prune          what would go
  weighbridge ledger prune --yes    and it goes")]
pub(super) struct PruneArgs {
    /// Remove them; unless given, they are only listed
    #[arg(long)]
    yes: bool,
}

pub(super) fn run(
    args: &PruneArgs,
    log: &Log<'_>,
    config: Option<&Config>,
    output: &Output,
) -> Outcome {
    let allowed = config.map(|config| config.policy.log.prune.as_slice());
    let allowed = allowed
        .filter(|allowed| !allowed.is_empty())
        .ok_or_else(|| {
            Failure::error("the policy allows nothing to be pruned")
                .hint("say prune = [\"blobs\"] or [\"partials\"] in [log], or both")
        })?;
    let mut keys = Vec::new();
    for what in allowed {
        let what = match what {
            crate::policy::Prune::Blobs => Prunable::Blobs,
            crate::policy::Prune::Partials => Prunable::Partials,
        };
        keys.extend(prunable(log, what)?);
    }
    if args.yes {
        for key in &keys {
            log.store().remove(key)?;
        }
    }
    if output.json {
        output.document(&json!({ "removed": args.yes, "keys": keys }))?;
    } else {
        output.lines(keys.iter().map(|key| format!("{key}\n")))?;
    }
    let number = count(keys.len(), "file");
    output.say(if args.yes {
        format!("removed {number}")
    } else {
        format!("{number} would go; add --yes")
    });
    Ok(0)
}
