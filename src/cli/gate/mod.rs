//! `gate`: may this artifact be used? The whole policy, offline.

mod decide;
mod index;
mod reports;

use std::path::PathBuf;

use super::output::Output;
use super::receipts::FastArgs;
use super::target::{self, TargetArgs};
use super::{Global, Outcome, values};
use crate::report::trust;
use crate::time::Timestamp;

pub(super) use decide::{Decision, Question};
use reports::{ReportArgs, ReportSpec};

/// Decide whether an artifact may be used: signature, signer, files, ledger, records, recalls, rules
///
/// Answers allow or deny with reasons, without the network. Fails closed: what could not be
/// checked is not allowed.
#[derive(clap::Args)]
#[command(
    after_help = "Exit codes: 0 allow, 1 deny, 2 inconclusive or could not run.

Examples:
  weighbridge gate ./model
  weighbridge gate --json ./model
  weighbridge gate --explain ./model                     what was proved, layer by layer, and what was not
  weighbridge gate --report sarif=model.sarif --report junit=model.xml ./model
  weighbridge gate --at 2026-11-01 ./model               as it was then, for an audit
  weighbridge gate --fast ./model                         reads no file that this host has sealed (`weighbridge seal`)
  weighbridge gate --rehash max-age=24h ./model          reads no file again that this host read today and nothing changed
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
    /// Say of each layer what was proved, and what was not
    #[arg(long)]
    explain: bool,
    /// Print what the expressions of the policy are given, as JSON, and no verdict; the exit code is that of the verdict
    #[arg(long, conflicts_with_all = ["explain", "report", "vsa"])]
    input_only: bool,
    #[command(flatten)]
    fast: FastArgs,
    #[command(flatten)]
    reports: ReportArgs,
}

pub(super) fn run(args: &GateArgs, global: &Global, output: &Output) -> Outcome {
    let specs = args.reports.specs()?;
    let opened = args.target.open()?;
    let apart = (&opened.artifact, global.config.as_path());
    args.reports.clear(&specs, apart)?;
    // Keys first: a wrong passphrase should not cost the time to hash.
    let signer = args.reports.open(global, output)?;
    let question = Question {
        target: &args.target,
        profile: args.profile.as_deref(),
        at: args.at,
        receipt: args.receipt.as_deref(),
        fast: Some(&args.fast),
        input: args.input_only,
    };
    let decision = question.decide(global, output)?;
    ReportSpec::write_all(&specs, &decision.document, output)?;
    signer.write(&decision)?;
    if args.input_only {
        output.document(&decision.input)?;
    } else if output.json {
        output.document(&decision.document)?;
    } else if args.explain {
        let mut text = target::first_line(&decision.document);
        text.push_str(&trust::render(&decision.document));
        output.data(&text)?;
    } else {
        target::print(&decision.document, output)?;
    }
    Ok(decision.document.exit_code)
}
