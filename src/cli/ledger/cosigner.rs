//! What `ledger witness` and `ledger serve-mirror` have in common: a key that cosigns, the logs that it
//! knows, and a server that runs until it is told to stop.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::policy;
use crate::cli::Outcome;
use crate::cli::failure::Failure;
use crate::cli::keys::PassphraseArgs;
use crate::cli::output::Output;
use crate::disk::{self, Access, DiskError, Existing};
use crate::note::NoteKey;

#[derive(clap::Args)]
pub(super) struct CosignerArgs {
    /// The address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR")]
    listen: SocketAddr,
    /// The private key that cosigns, Ed25519
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The name that it cosigns under, as in w1.example
    #[arg(long, value_name = "NAME")]
    pub(super) name: String,
    /// Where it keeps what it knows of the logs
    #[arg(long, value_name = "DIR")]
    pub(super) state: PathBuf,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

impl CosignerArgs {
    /// The key that cosigns, and the keys of the logs that the policies in `trust` list.
    pub(super) fn open(
        &self,
        trust: &[PathBuf],
        role: &str,
        output: &Output,
    ) -> Result<(SigningKey, Vec<NoteKey>), Failure> {
        let mut logs = Vec::new();
        for file in trust {
            let policy = policy::read(file)?;
            logs.extend(policy.logs().cloned());
            // A log's second key may stand there as a witness: its signature is the log's too.
            let second = policy.witnesses().iter().map(|witness| &witness.key);
            let own = second.filter(|key| policy.logs().any(|log| log.name() == key.name()));
            logs.extend(own.cloned());
        }
        if logs.is_empty() {
            return Err(Failure::error("no log is known")
                .hint("name a tlog-policy that lists logs with --trust"));
        }
        let key = self.passphrase.reader().log(&self.key, output)?;
        let public = key.verifying_key();
        if logs.iter().any(|log| log.public() == public.as_bytes()) {
            return Err(Failure::error("the key is that of a log").hint(
                "an Ed25519 cosignature does not say whose it is: who cosigns needs its own key",
            ));
        }
        self.claim(role)?;
        Ok((*key, logs))
    }

    /// What a witness remembers is no copy of a log, and the other way round.
    fn claim(&self, role: &str) -> Result<(), Failure> {
        disk::create_directory(&self.state)?;
        let path = self.state.join("role");
        let mine = format!("{role}\n").into_bytes();
        let there = match disk::write(&path, &mine, Existing::Refuse, Access::Shared) {
            Err(DiskError::Exists { .. }) => disk::read(&path, 64)?,
            written => written.map(|()| mine.clone())?,
        };
        if there == mine {
            return Ok(());
        }
        let there = String::from_utf8_lossy(&there).trim().to_owned();
        let place = self.state.display();
        Err(Failure::error(format!(
            "{place} is the state of a {there}, not of a {role}"
        ))
        .hint("give each its own directory with --state"))
    }

    /// Prints the verifier keys and the address, and runs `serve` until SIGTERM or SIGINT.
    pub(super) fn run<F>(
        &self,
        keys: [&NoteKey; 2],
        output: &Output,
        serve: impl FnOnce(TcpListener, Stop) -> F,
    ) -> Outcome
    where
        F: Future<Output = std::io::Result<()>>,
    {
        let [ed25519, ml_dsa] = keys.map(ToString::to_string);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::because("cannot start", &error))?;
        let served: Outcome = runtime.block_on(async {
            let fail =
                |error| Failure::because(format!("cannot listen on {}", self.listen), &error);
            let mut terminate = signal(SignalKind::terminate()).map_err(fail)?;
            let mut interrupt = signal(SignalKind::interrupt()).map_err(fail)?;
            let listener = TcpListener::bind(self.listen).await.map_err(fail)?;
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
            serve(listener, Box::pin(stop)).await.map_err(fail)?;
            Ok(0)
        });
        // What still computes is not waited for: it can be killed at any time.
        runtime.shutdown_timeout(Duration::from_secs(1));
        served?;
        output.say("stopped");
        Ok(0)
    }
}

/// Ready when the process was told to stop.
pub(super) type Stop = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;
