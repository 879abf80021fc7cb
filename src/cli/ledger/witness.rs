//! `ledger witness`: runs a witness until it is told to stop.

use std::path::PathBuf;

use super::cosigner::CosignerArgs;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::{Outcome, context};
use crate::cosignature::WitnessSigner;
use crate::gate::cause;
use crate::server::witness::{Witness, WitnessStateError, serve};

/// Run a witness: cosign the checkpoints of other logs as long as they only grow
///
/// Prints its verifier keys and the address it listens on, then serves add-checkpoint and monitors
/// until SIGTERM or SIGINT. --trust names the tlog-policies whose logs it knows; their quorum does
/// not matter here. The key is an Ed25519 key that signs nothing else. The state directory is what
/// the witness remembers: never put back an older copy of it.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  weighbridge ledger witness --listen 127.0.0.1:7380 --key witness.pem --name w1.example \\
      --state ./witness --trust logs.policy    …serves until it is stopped")]
pub(super) struct WitnessArgs {
    #[command(flatten)]
    cosigner: CosignerArgs,
}

pub(super) fn run(args: &WitnessArgs, trust: &[PathBuf], output: &Output) -> Outcome {
    let (key, logs) = args.cosigner.open(trust, "witness", output)?;
    let signer = WitnessSigner::new(&args.cosigner.name, key)
        .map_err(|error| Failure::because("--name", &error))?;
    let witness = Witness::open(signer, logs, &args.cosigner.state, context::now)
        .map_err(|error| Failure::error(cause(&error)))?;
    let keys = witness.keys().map(Clone::clone);
    // Told on standard error whatever --quiet says: a witness that cannot remember is down.
    let alarm = {
        let output = output.clone();
        move |error: &WitnessStateError| output.warn(cause(error))
    };
    args.cosigner
        .run(keys.each_ref(), output, |listener, stop| {
            serve(listener, witness, alarm, stop)
        })
}
