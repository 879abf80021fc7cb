//! `trust-root`: a trust root out of a copy of a TUF repository, for machines without a network.

use std::path::{Component, Path, PathBuf};

use clap::Args;

use super::failure::Failure;
use super::output::Output;
use super::{Outcome, context};
use crate::disk::{self, Access, DiskError, Existing};
use crate::sigstore::trust::verifier;
use crate::sigstore::tuf::{self, MAX_METADATA};

/// Take a Sigstore trust root out of a copy of a TUF repository
///
/// Nothing is asked of the network: the copy is a directory with the repository's metadata and targets, as a
/// mirror has them. Everything is verified from the root that is pinned, and must be current.
#[derive(Args)]
#[command(after_help = "Examples:
  weighbridge trust-root --copy mirror --root root.json --out trusted_root.json
  weighbridge verify --trusted-root trusted_root.json --certificate-identity me@example.com \\
      --certificate-oidc-issuer https://accounts.google.com ./model")]
pub(super) struct TrustRootArgs {
    /// The copy: a directory with timestamp.json, N.root.json, targets/ and the rest
    #[arg(long, value_name = "DIR")]
    copy: PathBuf,
    /// The root that is trusted from the beginning, of whatever version
    #[arg(long, value_name = "FILE")]
    root: PathBuf,
    /// Which target
    #[arg(long, value_name = "NAME", default_value = "trusted_root.json")]
    target: String,
    /// Where to write it; an older one is replaced
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(super) fn run(args: &TrustRootArgs, output: &Output) -> Outcome {
    let plain = Path::new(&args.target)
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    if !plain || args.target.is_empty() {
        return Err(Failure::error(format!("{:?} is no target", args.target)));
    }
    let root = disk::read(&args.root, MAX_METADATA)?;
    let mut read = |name: &str, limit: u64| match disk::read(&args.copy.join(name), limit) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error @ DiskError::TooLarge { .. }) => Err(error.to_string()),
        Err(error) => Err(crate::gate::cause(&error)),
    };
    let proved = tuf::target(&root, &args.target, context::now(), &mut read).map_err(|error| {
        let place = args.copy.display();
        let text = format!("{place}: {}", crate::gate::cause(&error));
        match error {
            tuf::TufError::Metadata { .. } | tuf::TufError::Differs { .. } => {
                Failure::refused(vec![text])
            }
            _ => Failure::error(text),
        }
    })?;
    if args.target == "trusted_root.json" {
        verifier(&proved.bytes)
            .map_err(|error| Failure::error(format!("{}: {error}", args.target)))?;
    }
    disk::write(&args.out, &proved.bytes, Existing::Replace, Access::Shared)?;
    if output.json {
        output.document(&serde_json::json!({
            "target": args.target,
            "sha256": crate::digest::Sha256::of(&proved.bytes).to_string(),
            "root_version": proved.root_version,
        }))?;
    } else {
        output.say(format!(
            "wrote {}, proved by version {} of the root",
            args.out.display(),
            proved.root_version
        ));
    }
    Ok(0)
}
