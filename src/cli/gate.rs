//! `gate`: may this artifact be used? The whole policy, offline.

use std::path::PathBuf;

use super::context::{self, Config};
use super::failure::Failure;
use super::history::History;
use super::output::Output;
use super::target::{self, TargetArgs};
use super::{Global, Outcome, values};
use crate::artifact::Names;
use crate::gate;
use crate::ledger::Log;
use crate::report::ClockSource;
use crate::time::Timestamp;
use crate::verify::verify;

/// Decide whether an artifact may be used: signature, signer, files, ledger, records
///
/// Answers allow or deny with reasons, without the network. Fails closed: what could not be
/// checked is not allowed.
#[derive(clap::Args)]
#[command(
    after_help = "Exit codes: 0 allow, 1 deny, 2 inconclusive or could not run.

Examples:
  weighbridge gate ./model
  weighbridge gate --json ./model
  weighbridge gate --at 2026-11-01 ./model               as it was then, for an audit
  weighbridge gate --receipt model.tlog-proof ./model    without a copy of the ledger"
)]
pub(super) struct GateArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Judge by the gate of this profile of the policy
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Judge as of then: what expired since counts, what was recorded since does not. A day means its end
    #[arg(long, value_name = "TIME", value_parser = values::moment)]
    at: Option<Timestamp>,
    /// Judge by this receipt instead of the ledger; the record lies beside it as .dsse
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
}

pub(super) fn run(args: &GateArgs, global: &Global, output: &Output) -> Outcome {
    let mut config = Config::load(global)?;
    if let Some(name) = &args.profile {
        config = config.in_profile(name)?;
    }
    let now = args.at.unwrap_or_else(context::now);
    if now > context::now() {
        return Err(Failure::error(format!("--at {now} is still to come"))
            .hint("a verdict is about what is, or was"));
    }
    let target = args.target.open()?;
    config.keep_out_of(&target.artifact)?;
    let signature = gate::read_signature(&target.signature);
    let evidence = target.read(&gate::algorithms(&signature), Names::Printable, output)?;
    let mut not_checked = vec!["what the files contain, beyond what kind of file each is"];
    let trust = &config.policy.log.trust;
    let origin = trust.log().name();
    if trust
        .witnesses()
        .iter()
        .all(|witness| witness.key.name() == origin)
    {
        not_checked.push("witnesses: the policy names none");
    }
    let history = History::new(global, Some(&config), trust.log(), output);
    if args.receipt.is_some() {
        not_checked
            .push("whether the artifact was recalled, and whether the ledger registered or revoked a key, before or after the receipt");
    }
    if args.receipt.is_some() || !history.is_known() {
        not_checked.push("whether the ledger was rolled back: nothing is remembered of it");
    }
    let mut ledger = if let Some(receipt) = &args.receipt {
        gate::read_receipt(receipt, &config.policy)
    } else {
        let store = context::store(&config)?;
        let check = |log: &Log<'_>| history.check(log);
        let policy = (&config.policy, now);
        gate::read_ledger(&*store, policy, &evidence, &signature, &check)
    };
    let mut clock = ClockSource::Local;
    if args.at.is_some() {
        clock = ClockSource::Given;
        gate::as_of(&mut ledger, now);
        not_checked.push("that the dates of records are true: they are what their signers say");
    }
    let report = verify(&evidence, &signature, &ledger, &config.policy, now);
    let path = args.target.path.display().to_string();
    let named = ("gate", path);
    let document = target::document(named, report, Some(&config), &not_checked, (now, clock));
    target::print(&document, output)
}
