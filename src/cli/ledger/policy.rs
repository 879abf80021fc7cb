//! `ledger policy`: the trust in force, as a tlog-policy file.

use std::path::Path;

use serde_json::json;

use crate::cli::Outcome;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::disk;
use crate::tlog_policy::{MAX_TLOG_POLICY, TlogPolicy};

/// The tlog-policy in the file at `path`.
pub(super) fn read(path: &Path) -> Result<TlogPolicy, Failure> {
    let bytes = disk::read(path, MAX_TLOG_POLICY as u64)?;
    TlogPolicy::parse(&bytes).map_err(|error| {
        Failure::because(path.display(), &error)
            .hint("the file is a C2SP tlog-policy; `weighbridge ledger policy` prints one")
    })
}

pub(super) fn run(trust: &TlogPolicy, output: &Output) -> Outcome {
    if output.json {
        output.document(&json!({
            "logs": trust.logs().map(ToString::to_string).collect::<Vec<_>>(),
            "witnesses": trust.witnesses().iter().map(|witness| json!({
                "name": witness.name(),
                "key": witness.key.to_string(),
                "url": witness.url(),
            })).collect::<Vec<_>>(),
            "policy": trust.to_string(),
        }))?;
    } else {
        output.bytes(&trust.encode())?;
    }
    Ok(0)
}
