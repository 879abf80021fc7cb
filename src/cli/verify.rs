//! `verify`: is the signature over exactly these files, by a trusted key? No ledger, no policy
//! rules.

use std::path::PathBuf;

use super::context::{self, Config};
use super::failure::Failure;
use super::output::Output;
use super::target::TargetArgs;
use super::{Global, Outcome, keys};
use crate::artifact::Names;
use crate::gate;
use crate::key::PublicKey;
use crate::verify::verify_signature;

/// Verify the OMS signature of an artifact, whoever made it
///
/// Every file must be as it was signed, and there must be no other file. The ledger and the rules
/// of the policy are not consulted: that is what `gate` does.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  weighbridge verify ./model                                by the identities in weighbridge.toml
  weighbridge verify --key release.pub.pem ./model
  weighbridge verify --key release.pub.pem --signature model.sig weights.onnx")]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// A trusted public key, in PEM; may be repeated. Unless given, those of the policy
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
}

const NOT_CHECKED: &[&str] = &[
    "ledger and records",
    "policy rules and roles",
    "what the files contain",
];

pub(super) fn run(args: &VerifyArgs, global: &Global, output: &Output) -> Outcome {
    let (config, trusted) = trusted(args, global)?;
    let target = args.target.open()?;
    if let Some(config) = &config {
        config.keep_out_of(&target.artifact)?;
    }
    let signature = gate::read_signature(&target.signature);
    let evidence = target.read(&gate::algorithms(&signature), Names::Any, output)?;
    let keys: Vec<(&str, &PublicKey)> = trusted
        .iter()
        .map(|(name, key)| (name.as_str(), key))
        .collect();
    let report = verify_signature(&evidence, &signature, &keys);
    target.report("verify", report, config.as_ref(), NOT_CHECKED, output)
}

type Trusted = Vec<(String, PublicKey)>;

fn trusted(args: &VerifyArgs, global: &Global) -> Result<(Option<Config>, Trusted), Failure> {
    if args.key.is_empty() {
        let config = Config::load(global)?;
        let identities = config.policy.identities.iter();
        let now = context::now();
        let keys: Trusted = identities
            .filter(|identity| !identity.is_expired(now))
            .map(|identity| (identity.name.to_string(), identity.key.clone()))
            .collect();
        return Ok((Some(config), keys));
    }
    let read = |path: &PathBuf| Ok((path.display().to_string(), keys::public(path)?));
    Ok((
        None,
        args.key.iter().map(read).collect::<Result<_, Failure>>()?,
    ))
}
