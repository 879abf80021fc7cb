//! `gate`: may this artifact be used? The whole policy, offline.

use std::num::NonZero;
use std::path::PathBuf;

use super::context::{self, Config, ReadRequest};
use super::output::Output;
use super::{Global, Outcome};
use crate::artifact::{Artifact, Names, Symlinks};
use crate::gate;
use crate::report::{ReportDocument, text};
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
    /// File or directory
    path: PathBuf,
    /// The signature; unless given, model.sig in the directory, or FILE.sig beside the file
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    /// Judge by this receipt instead of the ledger; the record lies beside it as .dsse
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
    /// Threads to hash with
    #[arg(long, short, value_name = "N")]
    jobs: Option<NonZero<usize>>,
}

const NOT_CHECKED: &[&str] = &[
    "what the files contain",
    "revocation",
    "witnesses, and whether the ledger was rolled back",
];

pub(super) fn run(args: &GateArgs, global: &Global, output: &Output) -> Outcome {
    let config = Config::load(global)?;
    let artifact = Artifact::open(&args.path)?;
    config.keep_out_of(&artifact)?;
    let path = args
        .signature
        .clone()
        .unwrap_or_else(|| gate::default_signature(&artifact));
    let signature = gate::read_signature(&path);
    let exclusions = gate::exclusions(&artifact, &path);
    let request = ReadRequest {
        exclusions: &exclusions,
        algorithms: &gate::algorithms(&signature),
        symlinks: Symlinks::Refuse,
        names: Names::Printable,
        jobs: args.jobs,
    };
    let evidence = context::read(&artifact, &request, output)?;
    let digest = evidence.digest();
    let ledger = if let Some(receipt) = &args.receipt {
        gate::read_receipt(receipt)
    } else {
        let key = &config.policy.log.key;
        gate::read_ledger(&config.ledger(), key, digest, &signature)
    };
    let now = context::now();
    let report = verify(&evidence, &signature, &ledger, &config.policy, now);
    let policy = Some(config.summary());
    let path = args.path.display().to_string();
    let document = ReportDocument::new("gate", path, report, policy, NOT_CHECKED, now);
    if output.json {
        output.document(&document)?;
    } else {
        output.data(&text::render(&document))?;
    }
    Ok(document.exit_code)
}
