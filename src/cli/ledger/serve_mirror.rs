//! `ledger serve-mirror`: holds copies of other logs until it is told to stop.

use std::path::PathBuf;

use super::cosigner::CosignerArgs;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::{Outcome, context};
use crate::cosignature::WitnessSigner;
use crate::gate::cause;
use crate::server::mirror::{Mirror, MirrorError, serve};

/// Run a mirror: hold copies of other logs, which they fill, and cosign what is all there
///
/// Prints its verifier keys and the address it listens on, then takes add-checkpoint and add-entries and
/// serves the copies until SIGTERM or SIGINT. --trust names the tlog-policies whose logs it knows. A log
/// uploads whenever it publishes, if its trust policy lists the mirror as a witness with this address and
/// [log] of its weighbridge.toml lists the address under mirrors. The copy of a log is served, and lies in
/// the state directory, under the SHA-256 of its origin; it can be read by any verb: --ledger
/// http://…/<hash>. The mirror's two keys follow from the key file, and are not those of a witness.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  weighbridge ledger serve-mirror --listen 127.0.0.1:7381 --key mirror.pem --name m1.example \\
      --state ./mirror --trust logs.policy    …serves until it is stopped")]
pub(super) struct ServeMirrorArgs {
    #[command(flatten)]
    cosigner: CosignerArgs,
}

pub(super) fn run(args: &ServeMirrorArgs, trust: &[PathBuf], output: &Output) -> Outcome {
    let (key, logs) = args.cosigner.open(trust, "mirror", output)?;
    let signer = WitnessSigner::mirror(&args.cosigner.name, &key)
        .map_err(|error| Failure::because("--name", &error))?;
    let mirror = Mirror::open(signer, logs, &args.cosigner.state, context::now)
        .map_err(|error| Failure::error(cause(&error)))?;
    let keys = mirror.keys().map(Clone::clone);
    // Told on standard error whatever --quiet says: a mirror that cannot store is down.
    let alarm = {
        let output = output.clone();
        move |error: &MirrorError| output.warn(cause(error))
    };
    args.cosigner
        .run(keys.each_ref(), output, |listener, stop| {
            serve(listener, mirror, alarm, stop)
        })
}
