//! `ledger probe`: does a store keep what a ledger's writers build on?

use serde_json::json;

use super::LedgerArgs;
use crate::cli::context::Config;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::{Global, Outcome};
use crate::ledger::store::probe::{Check, Depth, Verdict, probe};

/// Put a store to the test: does it keep what writers of a ledger build on?
///
/// Writes small objects under _probe/ and removes them. Some servers accept conditional writes and
/// ignore the condition; there, two writers at once would fork the log.
#[derive(clap::Args)]
#[command(
    after_help = "Exit codes: 0 sound, 1 not a place for a ledger, 2 could not be tried.

Examples:
  weighbridge ledger probe
  weighbridge ledger probe ./ledger
  weighbridge ledger probe s3://bucket/prefix…    with AWS_ENDPOINT_URL and credentials"
)]
pub(super) struct ProbeArgs {
    /// The store; unless given, the ledger that the policy names
    #[arg(value_name = "LOCATION", conflicts_with = "ledger")]
    location: Option<String>,
}

pub(super) fn run(
    probe_args: &ProbeArgs,
    args: &LedgerArgs,
    global: &Global,
    output: &Output,
) -> Outcome {
    let typed = probe_args.location.as_deref().or(args.ledger.as_deref());
    let config = match typed {
        Some(_) => None,
        None => Some(Config::load(global)?),
    };
    let origin = config.as_ref().map(|config| config.policy.log.trust.log());
    let store = super::store(
        typed,
        args,
        config.as_ref(),
        origin.map_or("weighbridge.probe", |key| key.name()),
    )?;
    let checks = probe(&*store, Depth::Full)?;
    let broken = |check: &Check| check.is_bad() && check.verdict == Verdict::Broken;
    let is_sound = !checks.iter().any(Check::is_bad);
    if output.json {
        let line = |check: &Check| {
            json!({
                "place": check.place,
                "guarantee": check.guarantee.name(),
                "needed": check.guarantee.is_needed(),
                "verdict": check.verdict.name(),
                "seen": check.seen,
            })
        };
        output.document(&json!({
            "place": store.place(),
            "sound": is_sound,
            "checks": checks.iter().map(line).collect::<Vec<_>>(),
        }))?;
    } else {
        let mut place = "";
        let mut lines = Vec::new();
        for check in &checks {
            if check.place != place {
                place = &check.place;
                lines.push(format!("{place}\n"));
            }
            lines.push(format!(
                "  {:<18}{:<9}{}\n",
                check.guarantee.name(),
                check.verdict.name(),
                check.seen
            ));
        }
        output.lines(lines.into_iter())?;
    }
    if is_sound {
        output.say("a ledger can be written there");
        return Ok(0);
    }
    let is_broken = checks.iter().any(broken);
    if output.json {
        return Ok(if is_broken { 1 } else { 2 });
    }
    if is_broken {
        return Err(
            Failure::refused(vec![format!("{} is no place for a ledger", store.place())])
                .hint("use another store, or keep the slots in a database (log.slots)"),
        );
    }
    Err(
        Failure::error(format!("{} could not be tried", store.place()))
            .hint("check address, permissions and credentials"),
    )
}
