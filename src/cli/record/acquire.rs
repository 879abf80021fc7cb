//! `record acquire`: the flags, and the record they make.

use std::path::PathBuf;

use super::checksums::{Checked, PublishedList};
use super::recorder::Recorder;
use super::{CommonArgs, flag, text};
use crate::cli::failure::Failure;
use crate::cli::values;
use crate::digest::Sha256;
use crate::disk;
use crate::ledger;
use crate::statement::acquire::{
    Acquire, Asset, Authentication, AuthenticationMethod, AuthenticationResult, EndpointIdentity,
    ManifestReference, Method, PublishedDigest, Retrieved,
};
use crate::statement::{Record, SourceUri, Text, TimeSource};
use crate::time::Timestamp;

/// Record where an artifact was obtained, how, when, and how that was authenticated
#[derive(clap::Args)]
#[command(after_help = "Example:
  weighbridge record acquire --source pkg:pypi/silero-vad@6.2.3 --licence MIT \\
      --checksums SHA256SUMS ./model")]
pub(super) struct AcquireArgs {
    #[command(flatten)]
    pub(super) common: CommonArgs,
    /// Where it was obtained: an absolute URI, without credentials
    #[arg(long, value_name = "URI", required_unless_present_any = ["from", "template"], conflicts_with = "from")]
    source: Option<String>,
    /// What the source calls this exact content: a commit, a version
    #[arg(long, value_name = "TEXT", conflicts_with = "from")]
    revision: Option<String>,
    /// Who publishes it there
    #[arg(long, value_name = "TEXT", conflicts_with = "from")]
    publisher: Option<String>,
    /// Who collected it, if not who records it
    #[arg(long, value_name = "TEXT", conflicts_with = "from")]
    collector: Option<String>,
    /// What kind of artifact it is

    #[arg(long, value_parser = values::word::<Asset>(values::ASSETS), default_value = "model", value_name = "WORD", conflicts_with = "from")]
    asset: Asset,
    /// How it was obtained
    #[arg(long, value_parser = values::word::<Method>(values::METHODS), default_value = "download", value_name = "WORD", conflicts_with = "from")]
    method: Method,
    /// When retrieval began, in RFC 3339; left out, it is recorded as unknown
    #[arg(long, value_name = "TIME", conflicts_with = "from")]
    retrieved_start: Option<Timestamp>,
    /// When retrieval ended; unless given, when it began
    #[arg(
        long,
        value_name = "TIME",
        requires = "retrieved_start",
        conflicts_with = "from"
    )]
    retrieved_end: Option<Timestamp>,
    /// The program that retrieved it
    #[arg(long, value_name = "TEXT", conflicts_with = "from")]
    retriever: Option<String>,
    /// SPDX licence expression
    #[arg(long, value_name = "SPDX", conflicts_with = "from")]
    licence: Option<String>,
    /// Where the terms of use can be read
    #[arg(long, value_name = "TEXT", conflicts_with = "from")]
    terms: Option<String>,
    /// Is the source open to the public?
    #[arg(long, value_name = "BOOL", conflicts_with = "from")]
    public: Option<bool>,
    /// How the source was authenticated
    #[arg(long, value_parser = values::word::<AuthenticationMethod>(values::AUTHENTICATION_METHODS), default_value = "none", value_name = "WORD", conflicts_with = "from")]
    auth_method: AuthenticationMethod,
    /// With what result
    #[arg(long, value_parser = values::word::<AuthenticationResult>(values::AUTHENTICATION_RESULTS), default_value = "not-checked", value_name = "WORD", conflicts_with = "from")]
    auth_result: AuthenticationResult,
    /// The host that was talked to
    #[arg(long, value_name = "HOST", conflicts_with = "from")]
    auth_host: Option<String>,
    /// SHA-256 of the host's certificate in DER
    #[arg(
        long,
        value_name = "HEX",
        requires = "auth_host",
        conflicts_with = "from"
    )]
    auth_cert: Option<Sha256>,
    /// Who the publisher proved to be: a key id, or an OIDC issuer and subject
    #[arg(long, value_name = "TEXT", conflicts_with = "from")]
    publisher_identity: Option<String>,
    /// The name of the credential that was used; never the secret
    #[arg(long, value_name = "TEXT", conflicts_with = "from")]
    credential_ref: Option<String>,
    /// A digest list that the publisher publishes, as `sha256sum` writes it: a file, or an https URL.
    /// Every file of the artifact must be on it; then the record says that this was verified
    #[arg(
        long,
        value_name = "FILE|URL",
        conflicts_with_all = ["from", "auth_method", "auth_result", "auth_host"]
    )]
    pub(super) checksums: Option<String>,
    /// A digest list or other evidence that was checked by other means: its SHA-256 is recorded
    #[arg(long, value_name = "FILE", conflicts_with_all = ["from", "checksums"])]
    published_digest: Option<PathBuf>,
    /// Where the list was read; unless given, its file name or URL
    #[arg(
        long,
        value_name = "TEXT",
        requires = "published_digest",
        conflicts_with_all = ["from", "checksums"]
    )]
    published_at: Option<String>,
}

/// The record of `args` about `manifest`, which `checked` says to be on the publisher's list.
pub(super) fn record(
    args: &AcquireArgs,
    recorder: &Recorder<'_>,
    checked: Option<(&PublishedList, Checked)>,
    manifest: ManifestReference,
) -> Result<Record, Failure> {
    let now = recorder.now();
    let retrieved = args.retrieved_start.map(|start| Retrieved {
        start,
        end: args.retrieved_end.unwrap_or(start),
    });
    if retrieved.is_some_and(|retrieved| retrieved.end < retrieved.start) {
        return Err(Failure::error(
            "--retrieved-end is before --retrieved-start",
        ));
    }
    if retrieved.is_some_and(|retrieved| retrieved.end > now) {
        return Err(Failure::error(
            "the artifact was not retrieved in the future: see --retrieved-end",
        ));
    }
    let (list, upstream_digests) = match checked {
        Some((list, checked)) => (Some(list), checked.0),
        None => (None, Vec::new()),
    };
    Ok(Record::Acquire(Box::new(Acquire {
        time: now,
        time_source: TimeSource::Local,
        actor: recorder.actor(),
        log: recorder.log(),
        asset: args.asset,
        source_uri: flag(
            "--source",
            SourceUri::new(args.source.as_deref().unwrap_or_default()),
        )?,
        revision: text("--revision", args.revision.as_ref())?,
        requested_revision: None,
        publisher: text("--publisher", args.publisher.as_ref())?,
        collector: text("--collector", args.collector.as_ref())?,
        method: args.method,
        retrieved,
        retriever: text("--retriever", args.retriever.as_ref())?,
        authentication: authentication(args, now, list)?,
        commit_signature: None,
        claims: Vec::new(),
        upstream_digests,
        licence: text("--licence", args.licence.as_ref())?,
        terms: text("--terms", args.terms.as_ref())?,
        public: args.public,
        dependencies: Vec::new(),
        attachments: Vec::new(),
        manifest,
    })))
}

fn authentication(
    args: &AcquireArgs,
    now: Timestamp,
    list: Option<&PublishedList>,
) -> Result<Authentication, Failure> {
    let claimed = (args.auth_method, args.auth_result);
    if claimed == (AuthenticationMethod::None, AuthenticationResult::Verified) {
        return Err(Failure::error(
            "--auth-result verified needs an --auth-method",
        ));
    }
    let host = text("--auth-host", args.auth_host.as_ref())?;
    let claimed_endpoint = host.map(|host| EndpointIdentity {
        host,
        cert_sha256: args.auth_cert,
        spki_sha256: None,
        issuer: None,
        not_after: None,
    });
    let (method, result, endpoint_identity) = match list {
        Some(list) => (
            AuthenticationMethod::ChecksumFromPublisher,
            AuthenticationResult::Verified,
            list.endpoint.clone(),
        ),
        None => (args.auth_method, args.auth_result, claimed_endpoint),
    };
    Ok(Authentication {
        method,
        result,
        checked_at: now,
        endpoint_identity,
        publisher_identity: text("--publisher-identity", args.publisher_identity.as_ref())?,
        credential_ref: text("--credential-ref", args.credential_ref.as_ref())?,
        signature_digest: None,
        published_digest: published_digest(args, list)?,
        http: None,
    })
}

fn published_digest(
    args: &AcquireArgs,
    list: Option<&PublishedList>,
) -> Result<Option<PublishedDigest>, Failure> {
    let (digest, name) = match (list, &args.published_digest) {
        (Some(list), _) => (list.sha256, list.read_from.clone()),
        (None, Some(path)) => {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            (Sha256::of(&disk::read(path, ledger::MAX_BLOB)?), name)
        }
        (None, None) => return Ok(None),
    };
    let read_from = args.published_at.clone().unwrap_or(name);
    let read_from = flag("--published-at", Text::new(read_from))?;
    Ok(Some(PublishedDigest { digest, read_from }))
}
