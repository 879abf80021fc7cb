//! `ledger checkpoint`: the signed checkpoint, and who signed it.

use serde_json::json;

use crate::cli::Outcome;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cosignature::Signed;
use crate::ledger::Log;
use crate::time::Timestamp;
use crate::tlog_policy::{Opened, TlogPolicy};

pub(super) fn run(log: &Log<'_>, trust: &TlogPolicy, output: &Output) -> Outcome {
    let opened = trust
        .examine(log.note())
        .map_err(|error| Failure::error(error.to_string()))?;
    let checkpoint = log.checkpoint();
    if output.json {
        output.document(&json!({
            "origin": checkpoint.origin,
            "size": checkpoint.size,
            "root": checkpoint.root.to_string(),
            "signatures": signatures(&opened),
            "vouched": opened.vouched.map(time),
            "note": String::from_utf8_lossy(log.note()),
        }))?;
        return Ok(0);
    }
    output.data(&String::from_utf8_lossy(log.note()))?;
    for (key, signed) in &opened.logs {
        let at = match signed {
            Signed::At(seconds) => format!(", {}", time(*seconds)),
            Signed::Not | Signed::Untimed => String::new(),
        };
        let kind = key.signature_type().name();
        output.say(format!("signed by the log, {kind}{at}"));
    }
    for (witness, seconds) in &opened.witnesses {
        let (name, kind) = (witness.name(), witness.key.signature_type().name());
        let name = crate::path::display(&name);
        output.say(format!("cosigned by {name}, {kind}, {}", time(*seconds)));
    }
    for witness in &opened.missing {
        let name = witness.name();
        output.say(format!("not cosigned by {}", crate::path::display(&name)));
    }
    Ok(0)
}

/// Everybody whose right signature the checkpoint carries.
fn signatures(opened: &Opened<'_>) -> Vec<serde_json::Value> {
    let logs = opened.logs.iter().map(|(key, signed)| {
        let at = match signed {
            Signed::At(seconds) => Some(time(*seconds)),
            Signed::Not | Signed::Untimed => None,
        };
        json!({
            "by": "log",
            "name": key.name(),
            "type": key.signature_type().name(),
            "time": at,
        })
    });
    let witnesses = opened.witnesses.iter().map(|(witness, seconds)| {
        json!({
            "by": "witness",
            "name": witness.name(),
            "type": witness.key.signature_type().name(),
            "time": time(*seconds),
        })
    });
    logs.chain(witnesses).collect()
}

/// A POSIX time, as elsewhere in reports.
fn time(seconds: u64) -> String {
    match Timestamp::from_seconds(seconds) {
        Some(time) => time.to_string(),
        None => format!("second {seconds}"),
    }
}
