//! `ledger publish`: derive, sign and publish what writers committed.

use std::time::Duration;

use serde_json::json;

use crate::checkpoint::Checkpoint;
use crate::cli::context::Config;
use crate::cli::failure::Failure;
use crate::cli::keys::PassphraseArgs;
use crate::cli::log_access::{Acknowledgement, LogAccess, say_recovery};
use crate::cli::output::Output;
use crate::cli::{Global, Outcome, values};
use crate::ledger::Recovery;

/// Publish what writers without the log key committed
///
/// Any number of publishers may run: they derive the same tiles, and sign only what is committed.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  weighbridge ledger publish
  weighbridge ledger publish --every 5s    until it is stopped
  weighbridge ledger publish --rebuild     when the checkpoint was lost or torn")]
pub(super) struct PublishArgs {
    /// Go on, and look for committed entries this often
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    every: Option<Duration>,
    /// Make a lost or torn checkpoint anew from the commit slots, if nothing contradicts them
    #[arg(long, conflicts_with = "every")]
    rebuild: bool,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

pub(super) fn run(
    args: &PublishArgs,
    global: &Global,
    config: &Config,
    output: &Output,
) -> Outcome {
    let mut reader = args.passphrase.reader();
    let log = LogAccess::open(
        (global, config),
        Acknowledgement::PUBLISHED,
        &mut reader,
        output,
    )?;
    if args.rebuild {
        let checkpoint = log.rebuild()?;
        report(&checkpoint, 0, output)?;
        return Ok(0);
    }
    let mut writer = log.writer();
    let Some(every) = args.every else {
        let (checkpoint, recovery) = writer.publish()?;
        log.remember()?;
        report(&checkpoint, recovery.published, output)?;
        return Ok(0);
    };
    loop {
        match writer.publish() {
            Ok((checkpoint, recovery)) => {
                log.remember()?;
                if recovery.published > 0 {
                    report(&checkpoint, recovery.published, output)?;
                }
                let published = 0;
                say_recovery(
                    Recovery {
                        published,
                        ..recovery
                    },
                    output,
                );
            }
            // What cannot be reached now can be reached later; what is damaged stays so.
            Err(error) if error.is_temporary() => {
                output.warn(format!("{error}; tries again"));
            }
            Err(error) => return Err(error.into()),
        }
        std::thread::sleep(every);
    }
}

fn report(checkpoint: &Checkpoint, published: u64, output: &Output) -> Result<(), Failure> {
    if output.json {
        return output.document(&json!({
            "origin": checkpoint.origin,
            "size": checkpoint.size,
            "root": checkpoint.root.to_string(),
            "published": published,
        }));
    }
    output.data(&format!(
        "{} {} {} (+{published})\n",
        checkpoint.origin, checkpoint.size, checkpoint.root
    ))
}
