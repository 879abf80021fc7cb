//! `ledger witness`: runs a witness until it is told to stop.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::policy;
use crate::cli::failure::Failure;
use crate::cli::keys::PassphraseArgs;
use crate::cli::output::Output;
use crate::cli::{Outcome, context};
use crate::cosignature::WitnessSigner;
use crate::gate::cause;
use crate::server::witness::{Witness, serve};

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
    /// The address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR")]
    listen: SocketAddr,
    /// The witness's private key, Ed25519
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The witness's name, as in w1.example
    #[arg(long, value_name = "NAME")]
    name: String,
    /// Where it remembers what it cosigned
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

pub(super) fn run(args: &WitnessArgs, trust: &[PathBuf], output: &Output) -> Outcome {
    let mut logs = Vec::new();
    for file in trust {
        logs.extend(policy::read(file)?.logs().cloned());
    }
    if logs.is_empty() {
        return Err(Failure::error("the witness knows no log")
            .hint("name a tlog-policy that lists logs with --trust"));
    }
    let key = args.passphrase.reader().log(&args.key, output)?;
    let public = key.verifying_key();
    if logs.iter().any(|log| log.public() == public.as_bytes()) {
        return Err(Failure::error("the witness's key is that of a log")
            .hint("an Ed25519 cosignature does not say whose it is: a witness needs its own key"));
    }
    let signer =
        WitnessSigner::new(&args.name, *key).map_err(|error| Failure::because("--name", &error))?;
    let witness = Witness::open(signer, logs, &args.state, context::now)
        .map_err(|error| Failure::error(cause(&error)))?;
    let [ed25519, ml_dsa] = witness.keys().map(ToString::to_string);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::because("cannot start", &error))?;
    runtime.block_on(async {
        let fail = |error| Failure::because(format!("cannot listen on {}", args.listen), &error);
        let mut terminate = signal(SignalKind::terminate()).map_err(fail)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(fail)?;
        let listener = tokio::net::TcpListener::bind(args.listen)
            .await
            .map_err(fail)?;
        let address = listener.local_addr().map_err(fail)?;
        if output.json {
            output.document(
                &json!({ "keys": [ed25519, ml_dsa], "url": format!("http://{address}") }),
            )?;
        } else {
            output.data(&format!("{ed25519}\n{ml_dsa}\nhttp://{address}\n"))?;
        }
        let stop = async move {
            std::future::poll_fn(|context| {
                match (terminate.poll_recv(context), interrupt.poll_recv(context)) {
                    (std::task::Poll::Pending, std::task::Poll::Pending) => {
                        std::task::Poll::Pending
                    }
                    _ => std::task::Poll::Ready(()),
                }
            })
            .await;
        };
        // Told on standard error whatever --quiet says: a witness that cannot remember is down.
        let alarm = {
            let output = output.clone();
            move |error: &crate::server::witness::WitnessStateError| output.warn(cause(error))
        };
        serve(listener, witness, alarm, stop).await.map_err(fail)
    })?;
    output.say("stopped");
    Ok(0)
}
