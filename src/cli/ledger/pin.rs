//! `ledger pin`: the least checkpoint to accept, to be committed with the code.

use serde_json::json;

use crate::cli::Outcome;
use crate::cli::context::Config;
use crate::cli::failure::Failure;
use crate::cli::history::PIN;
use crate::cli::output::Output;
use crate::disk::{self, Access, Existing};
use crate::ledger::Log;

/// Writes the newest checkpoint, which was found to go on from what was pinned before.
pub(super) fn run(log: &Log<'_>, config: Option<&Config>, output: &Output) -> Outcome {
    let config = config.ok_or_else(|| {
        Failure::error("ledger pin is about the ledger of the policy; --ledger does not apply")
    })?;
    let path = config.resolve(PIN);
    disk::write(&path, log.note(), Existing::Replace, Access::Shared)?;
    let checkpoint = log.checkpoint();
    if output.json {
        output.document(&json!({
            "pin": path.display().to_string(),
            "origin": checkpoint.origin,
            "size": checkpoint.size,
            "root": checkpoint.root.to_string(),
        }))?;
    } else {
        output.data(&format!(
            "{}: {} at {} entries, root {}\n",
            path.display(),
            checkpoint.origin,
            checkpoint.size,
            checkpoint.root
        ))?;
    }
    output.say("commit this file; gate and ledger accept nothing older and nothing else");
    Ok(0)
}
