//! `oms`: the command line of model_signing 1.1.1 and of its main branch, flag for flag, so that
//! a script or an operator that calls it can call us. Output is as there; exit codes are 0, 1, and 2 for what
//! could not be checked.

mod sign;
mod verify;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{ArgAction, Args, Subcommand};

use super::Outcome;
use super::context::{self, ReadRequest};
use super::failure::Failure;
use super::output::Output;
use crate::artifact::{Artifact, Exclusions, Known, Names, Symlinks};
use crate::digest::Algorithm;
use crate::oms::DEFAULT_IGNORED;
use crate::path::ArtifactPath;
use crate::verify::ArtifactEvidence;

/// Sign and verify as model_signing does, with its own flags
#[derive(Args)]
#[command(after_help = "Examples:
  weighbridge oms sign key --private_key key.pem --signature model.sig ./model
  weighbridge oms verify key --public_key key.pub.pem --signature model.sig ./model
  weighbridge oms verify certificate --certificate_chain ca.pem --signature model.sig ./model
  weighbridge oms verify sigstore --identity me@example.com \\
      --identity_provider https://accounts.google.com --signature model.sig ./model

Flags are accepted with underscores and with hyphens. Nothing here asks the network but signing keyless.")]
pub(super) struct OmsArgs {
    /// Accepted for compatibility; has no effect
    #[arg(
        long,
        alias = "log_level",
        global = true,
        value_name = "LEVEL",
        hide = true
    )]
    log_level: Option<String>,
    #[command(subcommand)]
    verb: OmsVerb,
}

#[derive(Subcommand)]
enum OmsVerb {
    /// Sign a model
    Sign {
        #[command(subcommand)]
        method: Box<sign::SignMethod>,
    },
    /// Verify the signature of a model
    Verify {
        #[command(subcommand)]
        method: Box<verify::VerifyMethod>,
    },
    /// Print the root digest of a model: what a signature over it is about
    Digest(DigestArgs),
}

#[derive(Args)]
struct DigestArgs {
    #[command(flatten)]
    model: ModelArgs,
}

/// Where no method is named, the peer takes this one.
const DEFAULT_METHOD: &str = "sigstore";

const METHODS: [&str; 8] = [
    "key",
    "certificate",
    DEFAULT_METHOD,
    "pkcs11-key",
    "pkcs11_key",
    "pkcs11-certificate",
    "pkcs11_certificate",
    "help",
];

/// The arguments, with the method that the peer takes where none is named.
pub(super) fn with_method(arguments: Vec<OsString>) -> Vec<OsString> {
    let is = |argument: &OsString, words: &[&str]| {
        argument.to_str().is_some_and(|text| words.contains(&text))
    };
    // The verb is what comes first, but for flags and their values.
    let mut oms = 1;
    while let Some(argument) = arguments.get(oms) {
        if is(argument, &["--config", "--state-dir"]) {
            oms += 2;
        } else if argument.to_string_lossy().starts_with('-') {
            oms += 1;
        } else {
            break;
        }
    }
    if !arguments.get(oms).is_some_and(|one| is(one, &["oms"])) {
        return arguments;
    }
    let verb = arguments
        .iter()
        .enumerate()
        .skip(oms + 1)
        .find(|(_, one)| is(one, &["sign", "verify", "digest", "help"]));
    let Some((at, _)) = verb.filter(|(_, one)| is(one, &["sign", "verify"])) else {
        return arguments;
    };
    let named = arguments
        .get(at + 1)
        .is_none_or(|next| is(next, &METHODS) || is(next, &["-h", "--help"]));
    if named {
        return arguments;
    }
    let mut all = arguments;
    all.insert(at + 1, DEFAULT_METHOD.into());
    all
}

#[derive(Args)]
struct ModelArgs {
    /// The model: a file or a directory
    model_path: PathBuf,
    /// Leave out this path; relative to the working directory, may be repeated
    #[arg(long = "ignore-paths", alias = "ignore_paths", value_name = "PATH")]
    ignore_paths: Vec<PathBuf>,
    /// Leave out .git, .gitattributes, .github and .gitignore at the top of the model (default)
    #[arg(
        long = "ignore-git-paths",
        alias = "ignore_git_paths",
        action = ArgAction::SetTrue,
        overrides_with = "no_ignore_git_paths"
    )]
    ignore_git_paths: bool,
    /// Sign or verify git's files too
    #[arg(
        long = "no-ignore-git-paths",
        aliases = ["no_ignore_git_paths", "no-ignore_git_paths"],
        action = ArgAction::SetTrue,
        overrides_with = "ignore_git_paths"
    )]
    no_ignore_git_paths: bool,
    /// Follow symbolic links to files inside the model
    #[arg(long = "allow-symlinks", alias = "allow_symlinks")]
    allow_symlinks: bool,
}

pub(super) fn run(args: &OmsArgs, output: &Output) -> Outcome {
    match &args.verb {
        OmsVerb::Sign { method } => sign::run(method, output),
        OmsVerb::Verify { method } => verify::run(method, output),
        OmsVerb::Digest(args) => digest(&args.model, output),
    }
}

fn digest(model: &ModelArgs, output: &Output) -> Outcome {
    let artifact = Artifact::open(&model.model_path)?;
    let ignored = model.ignored(&artifact, Path::new("model.sig"));
    let (_, root) = sign::statement(model, &artifact, &ignored, output)?;
    if output.json {
        output.document(&serde_json::json!({ "root": root.to_string() }))?;
    } else {
        output.data(&format!("sha256:{root}\n"))?;
    }
    Ok(0)
}

impl ModelArgs {
    fn symlinks(&self) -> Symlinks {
        if self.allow_symlinks {
            Symlinks::FollowInside
        } else {
            Symlinks::Refuse
        }
    }

    /// What is left out, by the path inside the model. Paths outside it are dropped, as the peer
    /// does.
    fn ignored(&self, artifact: &Artifact, signature: &Path) -> Vec<ArtifactPath> {
        let git = DEFAULT_IGNORED.iter().filter(|_| !self.no_ignore_git_paths);
        let git = git.filter_map(|path| ArtifactPath::new(path).ok());
        let own = self
            .ignore_paths
            .iter()
            .map(PathBuf::as_path)
            .chain([signature]);
        let mut ignored: Vec<ArtifactPath> = match artifact.single_file() {
            Some(_) => Vec::new(),
            None => git
                .chain(own.filter_map(|path| artifact.locate(path)))
                .collect(),
        };
        ignored.sort_unstable();
        ignored.dedup();
        ignored
    }

    fn read(
        &self,
        artifact: &Artifact,
        ignored: &[ArtifactPath],
        algorithms: &[Algorithm],
        output: &Output,
    ) -> Result<ArtifactEvidence, Failure> {
        let mut exclusions = Exclusions::none();
        for path in ignored {
            exclusions.add(path.clone());
        }
        let request = ReadRequest {
            exclusions: &exclusions,
            algorithms,
            symlinks: self.symlinks(),
            names: Names::Any,
            jobs: None,
            known: Known::NOTHING,
            direct: false,
        };
        context::read(artifact, &request, output)
    }
}
