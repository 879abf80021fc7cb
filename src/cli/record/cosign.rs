//! Records that take two signatures: what the first signs is kept in a file, which the second signs and records.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Recorder, SigningArgs, signing_key};
use crate::artifact::ArtifactDigest;
use crate::cli::context::{self, Config};
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::{Global, Outcome, signers};
use crate::disk::{self, Access, Existing};
use crate::envelope::Envelope;
use crate::ledger::tile::MAX_ENTRY;
use crate::statement::{Kind, Statement};

/// For kinds that take two signatures.
#[derive(clap::Args)]
pub(super) struct CosignArgs {
    /// Keep what is signed in this file, for the second signature; nothing is recorded yet
    #[arg(long, value_name = "FILE", conflicts_with = "receipt")]
    pub(super) pending: Option<PathBuf>,
    /// Sign what is in this file as the second, and record it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["pending", "path", "digest", "from"])]
    pub(super) cosign: Option<PathBuf>,
}

impl CosignArgs {
    /// Is it for records of this kind?
    pub(super) fn suits(&self, kind: Kind) -> Result<(), Failure> {
        let name = kind.name();
        match (kind.cosigned_by(), &self.pending) {
            (Some(role), None) => Err(Failure::error(format!(
                "{name} takes the signature of a {} beside this one",
                role.name()
            ))
            .hint(format!(
                "keep it with --pending FILE; then `weighbridge record {name} --cosign FILE --key KEY` signs and records it"
            ))),
            (None, Some(_)) => Err(Failure::error(format!(
                "{name} takes one signature: --pending is for records that take two"
            ))),
            _ => Ok(()),
        }
    }
}

/// Keeps what the first signed.
pub(super) fn first(
    (kind, path): (Kind, &Path),
    entry: &[u8],
    digest: ArtifactDigest,
    output: &Output,
) -> Outcome {
    disk::write(path, entry, Existing::Refuse, Access::Shared)?;
    let (name, shown) = (kind.name(), path.display());
    output.say(format!(
        "{name} of {digest} is signed once and not recorded; to be signed as well and recorded by `weighbridge record \
         {name} --cosign {shown} --key KEY`"
    ));
    if output.json {
        output
            .document(&json!({ "pending": path, "artifact": digest.to_string(), "kind": name }))?;
    }
    Ok(0)
}

/// Signs what the first signed, and records it.
pub(super) fn second(
    (kind, path): (Kind, &Path),
    (config, global): (&Config, &Global),
    signing: &SigningArgs,
    output: &Output,
) -> Outcome {
    let name = kind.name();
    let fail = |error: &dyn std::error::Error| Failure::because(path.display(), error);
    let Some(role) = kind.cosigned_by() else {
        return Err(Failure::error(format!("{name} takes one signature")));
    };
    let bytes = disk::read(path, MAX_ENTRY as u64)?;
    let mut envelope = Envelope::parse(&bytes, MAX_ENTRY).map_err(|error| fail(&error))?;
    let statement = Statement::parse(&envelope.payload).map_err(|error| fail(&error))?;
    if statement.record.kind() != kind {
        let found = statement.record.kind().name();
        return Err(Failure::error(format!(
            "{} is a {found}, not a {name}",
            path.display()
        )));
    }
    let mut reader = signing.passphrase.reader();
    let key_path = signing_key(signing.key.clone(), config)?;
    let key = signers::open(&key_path, None, &mut reader, output)?;
    let given = signing.role.or(Some(role));
    let recorder = Recorder::open(
        (global, config),
        &*key,
        given,
        signing.acknowledgement,
        &mut reader,
        output,
    )?;
    if recorder.actor().role != role {
        return Err(Failure::error(format!(
            "the second signature of a {name} is that of a {}",
            role.name()
        )));
    }
    if signing.receipt.is_some() {
        recorder.can_write_receipt()?;
    }
    // Whoever signs sees what.
    let text = serde_json::to_string_pretty(&statement).unwrap_or_default();
    output.annotate(&format!("{}\n", crate::path::display_lines(&text)));
    let key_id = key.public().key_id().to_string();
    envelope
        .add(&*key, &key_id)
        .map_err(|error| Failure::error(error.to_string()))?;
    recorder.would_count(&envelope, &statement)?;
    let [subject] = &statement.subject;
    let digest = statement.artifact();
    let digest = digest.ok_or_else(|| Failure::error("it is about no artifact"))?;
    output.say(format!(
        "{name} of {} ({digest}), first signed on {}",
        subject.name,
        statement.record.time()
    ));
    if statement
        .record
        .expires()
        .is_some_and(|end| end <= context::now())
    {
        return Err(Failure::error(format!("{name} has expired already")));
    }
    let recorded = recorder.record(envelope.to_json()?, (kind, digest), output)?;
    let document = json!({ "artifact": digest.to_string(), "kind": name });
    recorder.conclude(&recorded, document, signing.receipt.as_deref(), output)
}
