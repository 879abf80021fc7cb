//! `record release`: the flags, and the record they make.

use super::recorder::Recorder;
use super::{CommonArgs, flag, text};
use crate::cli::failure::Failure;
use crate::statement::acquire::ManifestReference;
use crate::statement::release::Release;
use crate::statement::{Record, SourceUri, TimeSource};
use crate::time::Timestamp;

/// Record that the developer publishes an artifact under its digest
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  weighbridge record release --version 1.2 --licence MIT ./model"
)]
pub(super) struct ReleaseArgs {
    #[command(flatten)]
    pub(super) common: CommonArgs,
    /// The version, as the developer calls it
    #[arg(long, value_name = "TEXT")]
    version: Option<String>,
    /// SPDX licence expression
    #[arg(long, value_name = "SPDX")]
    licence: Option<String>,
    /// Where the list of hashes is published
    #[arg(long, value_name = "URI")]
    hash_list: Option<String>,
    /// Until when security updates are made
    #[arg(long, value_name = "TIME")]
    support_until: Option<Timestamp>,
}

/// The record of `args` about `manifest`.
pub(super) fn record(
    args: &ReleaseArgs,
    recorder: &Recorder<'_>,
    manifest: ManifestReference,
) -> Result<Record, Failure> {
    let hash_list = args.hash_list.as_deref().map(SourceUri::new);
    Ok(Record::Release(Box::new(Release {
        time: recorder.now(),
        time_source: TimeSource::Local,
        actor: recorder.actor(),
        log: recorder.log(),
        version: text("--version", args.version.as_ref())?,
        licence: text("--licence", args.licence.as_ref())?,
        hash_list_uri: hash_list.map(|uri| flag("--hash-list", uri)).transpose()?,
        support_until: args.support_until,
        signature: None,
        manifest,
    })))
}
