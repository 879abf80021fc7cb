//! `gate`: may this artifact be used? The whole policy, offline.

use std::path::PathBuf;

use super::context::{self, Config};
use super::output::Output;
use super::target::TargetArgs;
use super::{Global, Outcome};
use crate::artifact::Names;
use crate::gate;
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

const NOT_CHECKED: &[&str] = &[
    "what the files contain",
    "revocation",
    "witnesses, and whether the ledger was rolled back",
];

pub(super) fn run(args: &GateArgs, global: &Global, output: &Output) -> Outcome {
    let config = Config::load(global)?;
    let target = args.target.open()?;
    config.keep_out_of(&target.artifact)?;
    let signature = gate::read_signature(&target.signature);
    let evidence = target.read(&gate::algorithms(&signature), Names::Printable, output)?;
    let ledger = if let Some(receipt) = &args.receipt {
        gate::read_receipt(receipt)
    } else {
        let key = &config.policy.log.trust;
        let store = context::store(&config)?;
        gate::read_ledger(&*store, key, evidence.digest(), &signature)
    };
    let now = context::now();
    let report = verify(&evidence, &signature, &ledger, &config.policy, now);
    target.report("gate", report, Some(&config), NOT_CHECKED, output)
}
