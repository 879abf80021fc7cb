//! `verify`: is the signature over exactly these files, by a trusted key? No ledger, no policy
//! rules.

use std::num::NonZero;
use std::path::PathBuf;

use super::context::{self, Config, ReadRequest};
use super::failure::Failure;
use super::output::Output;
use super::{Global, Outcome, keys};
use crate::artifact::{Artifact, Names, Symlinks};
use crate::gate;
use crate::key::PublicKey;
use crate::report::{ReportDocument, text};
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
    /// File or directory
    path: PathBuf,
    /// The signature; unless given, model.sig in the directory, or FILE.sig beside the file
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    /// A trusted public key, in PEM; may be repeated. Unless given, those of the policy
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
    /// Threads to hash with
    #[arg(long, short, value_name = "N")]
    jobs: Option<NonZero<usize>>,
}

const NOT_CHECKED: &[&str] = &[
    "ledger and records",
    "policy rules and roles",
    "what the files contain",
];

pub(super) fn run(args: &VerifyArgs, global: &Global, output: &Output) -> Outcome {
    let (config, trusted) = trusted(args, global)?;
    let artifact = Artifact::open(&args.path)?;
    let path = args
        .signature
        .clone()
        .unwrap_or_else(|| gate::default_signature(&artifact));
    let signature = gate::read_signature(&path);
    let exclusions = gate::exclusions(&artifact, &path);
    let request = ReadRequest {
        exclusions: &exclusions,
        algorithms: &gate::algorithms(&signature),
        symlinks: Symlinks::Refuse,
        names: Names::Any,
        jobs: args.jobs,
    };
    let evidence = context::read(&artifact, &request, output)?;
    let keys: Vec<(&str, &PublicKey)> = trusted
        .iter()
        .map(|(name, key)| (name.as_str(), key))
        .collect();
    let report = verify_signature(&evidence, &signature, &keys);
    let policy = config.map(|config| config.summary());
    let path = args.path.display().to_string();
    let document = ReportDocument::new("verify", path, report, policy, NOT_CHECKED, context::now());
    if output.json {
        output.document(&document)?;
    } else {
        output.data(&text::render(&document))?;
    }
    Ok(document.exit_code)
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
