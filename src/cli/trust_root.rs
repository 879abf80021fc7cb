//! `trust-root`: a trust root out of a TUF repository: from its server, or from a copy of it, for machines
//! without a network.

use std::path::{Component, Path, PathBuf};

use clap::Args;

use super::failure::Failure;
use super::history::state_directory;
use super::output::Output;
use super::{Global, Outcome, context};
use crate::digest::Sha256;
use crate::disk::{self, Access, DiskError, Existing};
use crate::gate::cause;
use crate::sigstore::trust::verifier;
use crate::sigstore::tuf::{self, MAX_METADATA, TufError, Versions};

/// Take a Sigstore trust root out of a TUF repository, or out of a copy of it
///
/// A copy is a directory with the repository's metadata and targets, as a mirror has them: with it, nothing is
/// asked of the network. Everything is verified from the root that is pinned, and must be current. What was
/// seen from this root before is remembered: nothing older is accepted.
#[derive(Args)]
#[command(after_help = "Examples:
  weighbridge trust-root --copy mirror --root root.json --out trusted_root.json
  weighbridge trust-root --url https://tuf-repo-cdn.sigstore.dev --root root.json --out trusted_root.json
  weighbridge verify --trusted-root trusted_root.json --certificate-identity me@example.com \\
      --certificate-oidc-issuer https://accounts.google.com ./model")]
pub(super) struct TrustRootArgs {
    /// The copy: a directory with timestamp.json, N.root.json, targets/ and the rest
    #[arg(
        long,
        value_name = "DIR",
        conflicts_with = "url",
        required_unless_present = "url"
    )]
    copy: Option<PathBuf>,
    /// The repository's server, which is asked
    #[arg(long, value_name = "URL")]
    url: Option<String>,
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

pub(super) fn run(args: &TrustRootArgs, global: &Global, output: &Output) -> Outcome {
    let plain = Path::new(&args.target)
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    if !plain || args.target.is_empty() {
        return Err(Failure::error(format!("{:?} is no target", args.target)));
    }
    let root = disk::read(&args.root, MAX_METADATA)?;
    let now = context::now();
    let (place, proved) = match (&args.copy, &args.url) {
        (Some(copy), _) => {
            let mut read = |name: &str, limit: u64| from_copy(&copy.join(name), limit);
            let proved = tuf::target(&root, &args.target, now, &mut read);
            (copy.display().to_string(), proved)
        }
        (None, Some(url)) => {
            let mut read = |name: &str, limit: u64| from_server(url, name, limit);
            let proved = tuf::target(&root, &args.target, now, &mut read);
            (crate::path::display(url), proved)
        }
        (None, None) => return Err(Failure::error("neither --copy nor --url was given")),
    };
    let proved = proved.map_err(|error| {
        let text = format!("{place}: {}", cause(&error));
        match error {
            TufError::Pinned(_) => {
                Failure::error(text).hint("name a root of the repository with --root")
            }
            TufError::Metadata { .. } | TufError::Differs { .. } => Failure::refused(vec![text]),
            _ => Failure::error(text),
        }
    })?;
    if args.target == "trusted_root.json" {
        verifier(&proved.bytes)
            .map_err(|error| Failure::error(format!("{}: {error}", args.target)))?;
    }
    let memory = memory(&root, global);
    match &memory {
        Some(memory) => goes_on(memory, &proved.versions, &place)?,
        None if global.no_memory => {}
        None => {
            output.warn("what was seen is not remembered: neither HOME nor XDG_STATE_HOME is set");
        }
    }
    disk::write(&args.out, &proved.bytes, Existing::Replace, Access::Shared)?;
    if let Some(memory) = &memory
        && let Err(error) = remember(memory, &proved.versions)
    {
        output.warn(format!(
            "what was seen is not remembered: {}",
            cause(&error)
        ));
    }
    if output.json {
        output.document(&serde_json::json!({
            "target": args.target,
            "sha256": Sha256::of(&proved.bytes).to_string(),
            "versions": proved.versions,
        }))?;
    } else {
        output.say(format!(
            "wrote {}, proved by version {} of the root",
            args.out.display(),
            proved.versions.root
        ));
    }
    Ok(0)
}

fn from_copy(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, String> {
    match disk::read(path, limit) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error @ DiskError::TooLarge { .. }) => Err(error.to_string()),
        Err(error) => Err(cause(&error)),
    }
}

#[cfg(feature = "http")]
fn from_server(base: &str, name: &str, limit: u64) -> Result<Option<Vec<u8>>, String> {
    use crate::client::http::{HttpError, Request, send};
    let answer = send(Request {
        url: &format!("{}/{name}", base.trim_end_matches('/')),
        body: None,
        headers: Vec::new(),
        secrets: Vec::new(),
        limit,
        timeout: std::time::Duration::from_secs(30),
    });
    match answer {
        Ok(bytes) => Ok(Some(bytes)),
        // A bucket whose list is not public says the one of what is not there.
        Err(HttpError::Status {
            status: 403 | 404, ..
        }) => Ok(None),
        Err(error) => Err(cause(&error)),
    }
}

#[cfg(not(feature = "http"))]
fn from_server(_: &str, _: &str, _: u64) -> Result<Option<Vec<u8>>, String> {
    Err("this program was built without the feature http".into())
}

/// Where the versions that were seen are kept, for each root that is pinned.
fn memory(root: &[u8], global: &Global) -> Option<PathBuf> {
    if global.no_memory {
        return None;
    }
    let state = global.state_dir.clone().or_else(state_directory)?;
    let name = format!("{}.json", Sha256::of(root));
    Some(state.join("tuf").join(name))
}

/// Refuses what is older than what was seen.
fn goes_on(memory: &Path, now: &Versions, place: &str) -> Result<(), Failure> {
    let bytes = match disk::read_no_link(memory, 4096) {
        Ok(bytes) => bytes,
        Err(error) if error.is_not_found() => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let seen: Versions = crate::json::parse(&bytes, 4096)
        .map_err(|error| Failure::because(memory.display(), &error))?;
    match now.rolled_back(&seen) {
        None => Ok(()),
        Some(why) => Err(Failure::refused(vec![format!("{place}: {why}")])
            .hint("get a newer copy; to look at an older one on purpose use --no-memory")),
    }
}

fn remember(memory: &Path, versions: &Versions) -> Result<(), DiskError> {
    if let Some(directory) = memory.parent() {
        disk::create_directory(directory)?;
    }
    let text = serde_json::json!(versions).to_string();
    disk::write(memory, text.as_bytes(), Existing::Replace, Access::Shared)
}
