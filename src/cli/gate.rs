//! `gate`: may this artifact be used? The whole policy, offline.

use std::path::PathBuf;

use super::context::{self, Config};
use super::history::History;
use super::output::Output;
use super::target::TargetArgs;
use super::{Global, Outcome};
use crate::artifact::Names;
use crate::gate;
use crate::ledger::Log;
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
  weighbridge gate --receipt model.tlog-proof ./model    without a copy of the ledger"
)]
pub(super) struct GateArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Judge by this receipt instead of the ledger; the record lies beside it as .dsse
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
}

pub(super) fn run(args: &GateArgs, global: &Global, output: &Output) -> Outcome {
    let config = Config::load(global)?;
    let target = args.target.open()?;
    config.keep_out_of(&target.artifact)?;
    let signature = gate::read_signature(&target.signature);
    let evidence = target.read(&gate::algorithms(&signature), Names::Printable, output)?;
    let mut not_checked = vec![
        "what the files contain",
        "whether the artifact was recalled",
    ];
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
            .push("whether the ledger registered or revoked a key, before or after the receipt");
    }
    if args.receipt.is_some() || !history.is_known() {
        not_checked.push("whether the ledger was rolled back: nothing is remembered of it");
    }
    let now = context::now();
    let ledger = if let Some(receipt) = &args.receipt {
        gate::read_receipt(receipt)
    } else {
        let store = context::store(&config)?;
        let check = |log: &Log<'_>| history.check(log);
        let policy = (&config.policy, now);
        gate::read_ledger(&*store, policy, evidence.digest(), &signature, &check)
    };
    let report = verify(&evidence, &signature, &ledger, &config.policy, now);
    target.report("gate", report, Some(&config), &not_checked, output)
}
