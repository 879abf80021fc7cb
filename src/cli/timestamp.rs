//! `timestamp`: a trusted authority's word, in a signature, for when it was made.

use std::path::PathBuf;

use clap::Args;

use super::context::{self, Config};
use super::failure::Failure;
use super::output::Output;
use super::{Global, Outcome, signing, trust};
use crate::bundle::{self, Bundle, MAX_BUNDLE};
use crate::disk::{self, Access, Existing};
use crate::time::Timestamp;
use crate::timestamp::{self, Authorities, MAX_TOKEN, Request, Stamp};
use crate::x509::Certificate;

/// Add a trusted timestamp (RFC 3161) to a signature
///
/// A certificate that expires or is revoked later still counts for what was signed before, if an
/// authority that the verifier trusts says when that was. The token is verified before it is written.
#[derive(Args)]
#[command(after_help = "Examples:
  weighbridge timestamp --url http://timestamp.example --authorities tsa.pem model.sig
  weighbridge timestamp --query request.tsq model.sig       for an authority that is asked elsewhere
  weighbridge timestamp --query request.tsq --reply answer.tsr --authorities tsa.pem model.sig")]
pub(super) struct TimestampArgs {
    /// The signature: a bundle
    #[arg(value_name = "SIGNATURE")]
    signature: PathBuf,
    /// Ask the authority at this address
    #[arg(
        long,
        value_name = "URL",
        conflicts_with = "query",
        required_unless_present = "query"
    )]
    url: Option<String>,
    /// Write the request to this file; with --reply, the file with the request that was answered
    #[arg(long, value_name = "FILE")]
    query: Option<PathBuf>,
    /// The answer to the request
    #[arg(long, value_name = "FILE", requires = "query")]
    reply: Option<PathBuf>,
    #[command(flatten)]
    authorities: AuthorityArgs,
}

/// Whose timestamps count.
#[derive(Args, Clone, Default)]
pub(super) struct AuthorityArgs {
    /// Certificates of timestamp authorities, in PEM; unless given, those of the policy
    #[arg(long = "authorities", value_name = "FILE")]
    authorities: Vec<PathBuf>,
}

impl AuthorityArgs {
    /// Was somebody named?
    pub(super) fn is_given(&self) -> bool {
        !self.authorities.is_empty()
    }

    pub(super) fn read(&self, config: Option<&Config>) -> Result<Vec<Certificate>, Failure> {
        let mut all = Vec::new();
        for path in &self.authorities {
            all.extend(trust::certificates(path)?);
        }
        if self.authorities.is_empty()
            && let Some(config) = config
        {
            all.clone_from(&config.policy.timestamp_authorities);
        }
        if all.is_empty() {
            return Err(Failure::error("no timestamp authority is trusted").hint(
                "name its certificate with --authorities, or under [timestamps] in the policy",
            ));
        }
        Ok(all)
    }
}

pub(super) fn run(args: &TimestampArgs, global: &Global, output: &Output) -> Outcome {
    let bytes = disk::read(&args.signature, MAX_BUNDLE as u64)?;
    let bundle = Bundle::parse(&bytes)
        .map_err(|error| Failure::error(format!("{} {error}", args.signature.display())))?;
    if !bundle.verification_material.tlog_entries.is_empty() {
        return Err(Failure::error(format!(
            "{} was signed keyless: its log and its authority have said when",
            args.signature.display()
        )));
    }
    let message = signature(&bundle);
    if let (Some(query), None) = (&args.query, &args.reply) {
        let request = new_request(&message)?;
        disk::write(query, &request.der, Existing::Refuse, Access::Shared)?;
        output.say(format!(
            "wrote the request {}; ask the authority, and come back with --reply",
            query.display()
        ));
        return Ok(0);
    }
    let config = Config::find(global)?;
    let anchors = args.authorities.read(config.as_ref())?;
    let authorities = Authorities {
        anchors: &anchors,
        withdrawn: config.as_ref().map_or(&[], |config| &config.policy.revoked),
    };
    let (token, stamp) = match (&args.url, &args.query, &args.reply) {
        (Some(url), ..) => obtain(url, &message, authorities)?,
        (None, Some(query), Some(reply)) => {
            let query_bytes = disk::read(query, MAX_TOKEN as u64)?;
            let request = Request::parse(&query_bytes, &message).ok_or_else(|| {
                Failure::error(format!(
                    "{} is not a request for this signature",
                    query.display()
                ))
            })?;
            let token = disk::read(reply, MAX_TOKEN as u64)?;
            let stamp = accept(&token, &message, &request, authorities, context::now())
                .map_err(|error| refused(&reply.display(), &error))?;
            (token, stamp)
        }
        _ => {
            return Err(Failure::error(
                "neither an authority nor its answer was given",
            ));
        }
    };
    // Others may have signed while the authority was asked.
    let _lock = signing::lock(&args.signature)?;
    let bytes = disk::read(&args.signature, MAX_BUNDLE as u64)?;
    let now_there = Bundle::parse(&bytes).map(|bundle| signature(&bundle));
    if now_there.ok().as_ref() != Some(&message) {
        return Err(Failure::error(format!(
            "{} was replaced meanwhile",
            args.signature.display()
        )));
    }
    let stamped = bundle::with_timestamp(&bytes, &token)?;
    disk::write(&args.signature, &stamped, Existing::Replace, Access::Shared)?;
    if output.json {
        output.document(&serde_json::json!({
            "signature": args.signature.display().to_string(),
            "time": stamp.time.to_string(),
            "accuracy_millis": stamp.accuracy_millis,
            "authority": stamp.authority,
        }))?;
    } else {
        output.say(format!(
            "{} was made before {}, by {}",
            args.signature.display(),
            stamp.latest(),
            stamp.authority
        ));
        output.say("a release that was recorded with this signature before names another file: record it again");
    }
    Ok(0)
}

fn signature(bundle: &Bundle) -> Vec<u8> {
    let first = bundle.dsse_envelope.signatures.first();
    first.map(|one| one.sig.clone()).unwrap_or_default()
}

pub(super) fn new_request(message: &[u8]) -> Result<Request, Failure> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)
        .map_err(|error| Failure::error(format!("no random numbers: {error}")))?;
    Ok(timestamp::request(message, random))
}

fn accept(
    token: &[u8],
    message: &[u8],
    request: &Request,
    authorities: Authorities<'_>,
    now: Timestamp,
) -> Result<Stamp, timestamp::TimestampError> {
    timestamp::verify_response(token, message, request, authorities, now)
}

fn refused(place: &dyn std::fmt::Display, error: &timestamp::TimestampError) -> Failure {
    Failure::refused(vec![format!(
        "the timestamp of {place} does not count: {error}"
    )])
}

/// A timestamp over `message` by the authority at `url`, verified.
#[cfg(feature = "http")]
pub(super) fn obtain(
    url: &str,
    message: &[u8],
    authorities: Authorities<'_>,
) -> Result<(Vec<u8>, Stamp), Failure> {
    let request = new_request(message)?;
    let token = crate::client::timestamp::ask(url, &request)
        .map_err(|error| Failure::error(crate::gate::cause(&error)))?;
    let stamp = accept(&token, message, &request, authorities, context::now())
        .map_err(|error| refused(&crate::client::http::shown(url), &error))?;
    Ok((token, stamp))
}

/// Asking takes the network.
#[cfg(not(feature = "http"))]
pub(super) fn obtain(_: &str, _: &[u8], _: Authorities<'_>) -> Result<(Vec<u8>, Stamp), Failure> {
    Err(
        Failure::error("this program was built without the feature http")
            .hint("write the request with --query, and come back with --reply"),
    )
}

/// The same bundle with a timestamp of the authority at `url` over its signature.
pub(super) fn stamped(
    bundle: &Bundle,
    url: &str,
    authorities: Authorities<'_>,
    output: &Output,
) -> Result<Vec<u8>, Failure> {
    let (token, stamp) = obtain(url, &signature(bundle), authorities)?;
    output.say(format!("timestamp {} by {}", stamp.time, stamp.authority));
    Ok(bundle::with_timestamp(&bundle.to_json()?, &token)?)
}
