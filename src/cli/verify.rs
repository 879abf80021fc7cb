//! `verify`: is the signature over exactly these files, by a trusted key? No ledger, no policy
//! rules.

use super::context::{self, Config};
use super::failure::Failure;
use super::output::Output;
use super::target::TargetArgs;
use super::trust::TrustArgs;
use super::{Global, Outcome};
use crate::artifact::Names;
use crate::credential::{Clock, Credential};
use crate::gate;
use crate::verify::{Trusted, verify_signature};
use crate::x509::Certificate;

/// Verify the OMS signature of an artifact, whoever made it
///
/// Every file must be as it was signed, and there must be no other file. The ledger and the rules
/// of the policy are not consulted: that is what `gate` does.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  weighbridge verify ./model                                by the identities in weighbridge.toml
  weighbridge verify --key release.pub.pem ./model
  weighbridge verify --key release.pub.pem --signature model.sig weights.onnx
  weighbridge verify --certificate-chain ca.pem --certificate-name release@example.com ./model
  weighbridge verify --certificate-identity me@example.com \\
      --certificate-oidc-issuer https://accounts.google.com ./model")]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    trust: TrustArgs,
}

const NOT_CHECKED: &[&str] = &[
    "ledger and records",
    "policy rules and roles",
    "what the files contain",
];

pub(super) fn run(args: &VerifyArgs, global: &Global, output: &Output) -> Outcome {
    let (config, trusted, authorities) = trusted(args, global)?;
    let target = args.target.open()?;
    if let Some(config) = &config {
        config.keep_out_of(&target.artifact)?;
    }
    let signature = gate::read_signature(&target.signature);
    let evidence = target.read(&gate::algorithms(&signature), Names::Any, output)?;
    let trusted: Vec<Trusted<'_>> = trusted
        .iter()
        .map(|(name, credential)| Trusted { name, credential })
        .collect();
    let clock = Clock {
        now: context::now(),
        authorities: &authorities,
    };
    let report = verify_signature(&evidence, &signature, &trusted, clock);
    target.report("verify", report, config.as_ref(), NOT_CHECKED, output)
}

type Everybody = Vec<(String, Credential)>;

/// Whose signature counts: those named by flags, else those of the policy.
fn trusted(
    args: &VerifyArgs,
    global: &Global,
) -> Result<(Option<Config>, Everybody, Vec<Certificate>), Failure> {
    let mut authorities = args.trust.timestamp_authorities()?;
    if !args.trust.is_empty() {
        return Ok((None, args.trust.credentials()?, authorities));
    }
    let config = Config::load(global)?;
    let policy = &config.policy;
    let now = context::now();
    let everybody = policy
        .identities
        .iter()
        .filter(|identity| !identity.is_expired(now))
        .filter(|identity| {
            let key = identity.credential.key();
            key.is_none_or(|key| policy.withdrawn(&key.key_id()).is_none())
        })
        .map(|identity| (identity.name.to_string(), identity.credential.clone()))
        .collect();
    authorities.extend(policy.timestamp_authorities.iter().cloned());
    Ok((Some(config), everybody, authorities))
}
