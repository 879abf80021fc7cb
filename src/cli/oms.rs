//! `oms`: the command line of model_signing 1.1.1 and of its main branch, flag for flag, so that
//! a script or an operator that calls it can call us. Output is as there; exit codes are 0, 1, and 2 for what
//! could not be checked.

use std::path::{Path, PathBuf};

use clap::{ArgAction, Args, Subcommand};
use zeroize::Zeroizing;

use super::Outcome;
use super::context::{self, ReadRequest};
use super::failure::Failure;
use super::keys::{self, PassphraseArgs};
use super::output::Output;
use crate::artifact::{Artifact, Exclusions, Names, Symlinks};
use crate::digest::Algorithm;
use crate::disk::{self, Access, Existing};
use crate::finding::{Finding, Rule, Severity};
use crate::gate;
use crate::key::Passphrase;
use crate::oms::{self, DEFAULT_IGNORED, SignOptions};
use crate::path::ArtifactPath;
use crate::verify::{ArtifactEvidence, SignatureEvidence, verify_signature};

/// Sign and verify as model_signing does, with its own flags
#[derive(Args)]
#[command(after_help = "Examples:
  weighbridge oms sign key --private_key key.pem --signature model.sig ./model
  weighbridge oms verify key --public_key key.pub.pem --signature model.sig ./model

Flags are accepted with underscores and with hyphens.")]
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
        method: SignMethod,
    },
    /// Verify the signature of a model
    Verify {
        #[command(subcommand)]
        method: VerifyMethod,
    },
}

#[derive(Subcommand)]
enum SignMethod {
    /// With a private key: EC on P-256, P-384 or P-521 (model_signing verifies these), or Ed25519
    Key(SignKeyArgs),
}

#[derive(Subcommand)]
enum VerifyMethod {
    /// With a public key
    Key(VerifyKeyArgs),
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

#[derive(Args)]
struct SignKeyArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Where to write the signature
    #[arg(long, value_name = "FILE", default_value = "model.sig")]
    signature: PathBuf,
    /// The private key, in PEM
    #[arg(long = "private-key", alias = "private_key", value_name = "FILE")]
    private_key: PathBuf,
    /// The key's passphrase; other users of this machine can see it, prefer WEIGHBRIDGE_PASSPHRASE
    #[arg(long, value_name = "TEXT")]
    password: Option<String>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

#[derive(Args)]
struct VerifyKeyArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// The signature
    #[arg(long, value_name = "FILE")]
    signature: PathBuf,
    /// The public key, in PEM
    #[arg(long = "public-key", alias = "public_key", value_name = "FILE")]
    public_key: PathBuf,
    /// Accept files that were not signed
    #[arg(
        long = "ignore-unsigned-files",
        alias = "ignore_unsigned_files",
        action = ArgAction::SetTrue,
        overrides_with = "no_ignore_unsigned_files"
    )]
    ignore_unsigned_files: bool,
    /// Refuse files that were not signed (default)
    #[arg(
        long = "no-ignore-unsigned-files",
        aliases = ["no_ignore_unsigned_files", "no-ignore_unsigned_files"],
        action = ArgAction::SetTrue,
        overrides_with = "ignore_unsigned_files"
    )]
    no_ignore_unsigned_files: bool,
}

pub(super) fn run(args: &OmsArgs, output: &Output) -> Outcome {
    match &args.verb {
        OmsVerb::Sign {
            method: SignMethod::Key(args),
        } => sign(args, output),
        OmsVerb::Verify {
            method: VerifyMethod::Key(args),
        } => verify(args, output),
    }
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
        };
        context::read(artifact, &request, output)
    }
}

fn sign(args: &SignKeyArgs, output: &Output) -> Outcome {
    let artifact = Artifact::open(&args.model.model_path)?;
    let ignored = args.model.ignored(&artifact, &args.signature);
    let password = args
        .password
        .clone()
        .map(|text| Passphrase(Zeroizing::new(text)));
    if password.is_some() {
        output.warn("--password is visible to other users of this machine");
    }
    keys::keep_out_of(&artifact, &args.private_key)?;
    super::sign::replaceable(&args.signature)?;
    let mut reader = args.passphrase.reader().with(password);
    let key = reader.private(&args.private_key, output)?;
    let evidence = args
        .model
        .read(&artifact, &ignored, &[Algorithm::Sha256], output)?;
    context::complete(&args.model.model_path, &evidence)?;
    let options = SignOptions {
        name: artifact.name(),
        ignored: ignored.iter().map(|path| path.as_str().into()).collect(),
        allow_symlinks: args.model.allow_symlinks,
    };
    let (bytes, root) = oms::sign(&evidence.manifest, options, &key)
        .map_err(|error| Failure::refused(vec![error.to_string()]))?;
    disk::write(&args.signature, &bytes, Existing::Replace, Access::Shared)?;
    if output.json {
        let signature = args.signature.display().to_string();
        output
            .document(&serde_json::json!({ "signature": signature, "root": root.to_string() }))?;
    } else {
        output.data("Signing succeeded\n")?;
    }
    Ok(0)
}

fn verify(args: &VerifyKeyArgs, output: &Output) -> Outcome {
    let key = keys::public(&args.public_key)?;
    let artifact = Artifact::open(&args.model.model_path)?;
    let signature = gate::read_signature(&args.signature);
    let mut ignored = args.model.ignored(&artifact, &args.signature);
    if let SignatureEvidence::Bundle { bundle, .. } = &signature
        && let Ok(bundle) = &**bundle
        && let Ok(model) = &bundle.model
    {
        let recorded = model
            .ignored
            .iter()
            .filter_map(|path| ArtifactPath::new(path).ok());
        ignored.extend(recorded);
    }
    let algorithms = gate::algorithms(&signature);
    let evidence = args.model.read(&artifact, &ignored, &algorithms, output)?;
    let name = args.public_key.display().to_string();
    let mut report = verify_signature(&evidence, &signature, &[(&name, &key)]);
    if args.model.no_ignore_git_paths {
        // Asked to verify git's files: one that is not signed is an added file.
        for finding in &mut report.findings {
            if finding.rule == Rule::SignatureCoverage {
                finding.rule = Rule::ArtifactAdded;
                finding.severity = Severity::Fail;
                finding.message = "was added: it is not signed".into();
            }
        }
    }
    if args.ignore_unsigned_files {
        for finding in &mut report.findings {
            if finding.rule == Rule::ArtifactAdded {
                finding.severity = Severity::Warning;
            }
        }
    }
    let code = crate::report::document::exit_code(report.verdict());
    if output.json {
        output.document(&report.findings)?;
        return Ok(code);
    }
    for finding in &report.findings {
        if matches!(finding.severity, Severity::Warning | Severity::Note) {
            output.say(line(finding));
        }
    }
    if code == 0 {
        output.data("Verification succeeded\n")?;
        return Ok(0);
    }
    let wrong = report
        .findings
        .iter()
        .filter(|finding| finding.severity >= Severity::Inconclusive);
    let wrong: Vec<String> = wrong.map(line).collect();
    let message = format!("Verification failed with error: {}", wrong.join("; "));
    output.say(crate::path::display(&message));
    Ok(code)
}

fn line(finding: &Finding) -> String {
    match &finding.location {
        Some(location) => format!("{location}: {} ({})", finding.message, finding.rule.id()),
        None => format!("{} ({})", finding.message, finding.rule.id()),
    }
}
