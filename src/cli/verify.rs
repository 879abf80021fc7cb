//! `verify`: is the signature over exactly these files, by a trusted key? No ledger, no policy
//! rules.

use super::context::{self, Config};
use super::output::Output;
use super::target::TargetArgs;
use super::trust::TrustArgs;
use super::{Global, Outcome};
use crate::artifact::Names;
use crate::credential::Clock;
use crate::gate;
use crate::timestamp::Authorities;
use crate::verify::{Trusted, verify_signature, verify_signature_by};

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
    let by_flags = !args.trust.is_empty();
    let config = if by_flags {
        None
    } else {
        Some(Config::load(global)?)
    };
    let everybody = args.trust.credentials()?;
    let mut authorities = args.trust.timestamp_authorities()?;
    let target = args.target.open()?;
    if let Some(config) = &config {
        config.keep_out_of(&target.artifact)?;
    }
    let signature = gate::read_signature(&target.signature);
    let evidence = target.read(&gate::algorithms(&signature), Names::Any, output)?;
    let now = context::now();
    let report = if let Some(config) = &config {
        let mut policy = config.policy.clone();
        policy.timestamp_authorities.append(&mut authorities);
        verify_signature_by(&evidence, &signature, &policy, now)
    } else {
        let trusted: Vec<Trusted<'_>> = everybody
            .iter()
            .map(|(name, credential)| Trusted { name, credential })
            .collect();
        let authorities = Authorities {
            anchors: &authorities,
            withdrawn: &[],
        };
        let clock = Clock { now, authorities };
        verify_signature(&evidence, &signature, &trusted, clock)
    };
    target.report("verify", report, config.as_ref(), NOT_CHECKED, output)
}
