//! `ledger cosign`: gathers cosignatures for the newest checkpoint, and publishes it with them.

use std::time::Duration;

use serde_json::json;

use crate::cli::Outcome;
use crate::cli::context::Config;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::client::witness::gather;
use crate::gate::cause;
use crate::ledger::{Log, replace_checkpoint};
use crate::tlog_policy::TlogPolicy;

/// Ask the witnesses of the policy to cosign the newest checkpoint
#[derive(clap::Args)]
#[command(after_help = "Examples:
  weighbridge ledger --trust trust.policy cosign                …asks the witnesses whose URL it names
  weighbridge ledger --trust trust.policy cosign --timeout 5    …and waits five seconds for them")]
pub(super) struct CosignArgs {
    /// How long to wait for all witnesses together, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 20,
          value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
    /// The witness at this address is a mirror: send it the entries that it lacks. May be repeated; those
    /// that [log] of the policy lists as mirrors are sent them anyway
    #[arg(long = "mirror", value_name = "URL")]
    mirrors: Vec<String>,
}

pub(super) fn run(
    args: &CosignArgs,
    log: &Log<'_>,
    (trust, config): (&TlogPolicy, Option<&Config>),
    output: &Output,
) -> Outcome {
    if trust.witnesses().is_empty() {
        return Err(Failure::error("the policy names no witness")
            .hint("name a tlog-policy with --trust, or as trust in [log]"));
    }
    let mut mirrors = args.mirrors.clone();
    mirrors.extend(
        config
            .into_iter()
            .flat_map(|config| config.policy.log.mirrors.clone()),
    );
    let limit = Duration::from_secs(args.timeout);
    let wrong = |error: &dyn std::error::Error| Failure::error(cause(error));
    let gathered = gather(trust, log, log.checkpoint().size, &mirrors, limit)
        .map_err(|error| wrong(&error))?;
    for (name, error) in &gathered.missing {
        let name = crate::path::display(name);
        output.say(format!("{name} did not cosign: {}", cause(error)));
    }
    let mut published = false;
    let met = trust.open(&gathered.note);
    // A note that readers accept is never replaced by one that they do not.
    if !gathered.signed.is_empty() && (met.is_ok() || trust.open(log.note()).is_err()) {
        // A checkpoint that was published in the meantime is newer than this one.
        if !replace_checkpoint(log.store(), log.note(), &gathered.note)? {
            return Err(Failure::error("the log grew in the meantime").hint("run it again"));
        }
        published = true;
    }
    if output.json {
        output.document(&json!({
            "origin": log.checkpoint().origin,
            "size": log.checkpoint().size,
            "signed": gathered.signed,
            "missing": gathered.missing.iter().map(|(name, error)| json!({
                "name": name,
                "why": cause(error),
            })).collect::<Vec<_>>(),
            "published": published,
            "quorum": met.is_ok(),
        }))?;
    } else {
        output.data(&format!(
            "{} entries of {} cosigned by {}\n",
            log.checkpoint().size,
            log.checkpoint().origin,
            match gathered.signed.as_slice() {
                [] => "no witness".into(),
                names => names.join(", "),
            }
        ))?;
    }
    match met {
        Ok(_) => Ok(0),
        Err(_) if output.json => Ok(2),
        Err(error) => Err(wrong(&error).hint("readers with this policy do not accept the ledger")),
    }
}
