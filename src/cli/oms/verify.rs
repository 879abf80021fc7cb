//! `oms verify`.

use std::path::PathBuf;

use clap::{ArgAction, Args, Subcommand};

use super::ModelArgs;
use crate::artifact::Artifact;
use crate::cli::Outcome;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::{context, keys, trust};
use crate::credential::{Clock, Credential};
use crate::finding::{Finding, Rule, Severity};
use crate::gate;
use crate::path::ArtifactPath;
use crate::sigstore::trust::Instance;
use crate::sigstore::{Ask, Expect, KeylessTrust};
use crate::timestamp::Authorities;
use crate::verify::{Report, SignatureEvidence, Trusted, verify_signature};
use crate::x509::CertificateTrust;

#[derive(Subcommand)]
pub(super) enum VerifyMethod {
    /// With a public key
    Key(VerifyKeyArgs),
    /// By the authority that certified the signer
    Certificate(VerifyCertificateArgs),
    /// By who logged in to sign
    Sigstore(VerifySigstoreArgs),
}

#[derive(Args)]
struct Common {
    #[command(flatten)]
    model: ModelArgs,
    /// The signature
    #[arg(long, value_name = "FILE")]
    signature: PathBuf,
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

/// What the Kubernetes operator passes to every method.
#[derive(Args)]
struct UnusedTrustConfig {
    /// Accepted for compatibility; has no effect here
    #[arg(
        long = "trust-config",
        alias = "trust_config",
        value_name = "FILE",
        hide = true
    )]
    trust_config: Option<PathBuf>,
}

#[derive(Args)]
pub(super) struct VerifyKeyArgs {
    #[command(flatten)]
    common: Common,
    /// The public key, in PEM
    #[arg(long = "public-key", alias = "public_key", value_name = "FILE")]
    public_key: PathBuf,
    #[command(flatten)]
    unused: UnusedTrustConfig,
}

#[derive(Args)]
pub(super) struct VerifyCertificateArgs {
    #[command(flatten)]
    common: Common,
    /// Certificates to trust, in PEM; may be repeated. There is no default: not everybody on the web
    /// may sign models
    #[arg(
        long = "certificate-chain",
        alias = "certificate_chain",
        value_name = "FILE",
        required = true
    )]
    certificate_chain: Vec<PathBuf>,
    /// Print the fingerprints of the certificates
    #[arg(long = "log-fingerprints", alias = "log_fingerprints")]
    log_fingerprints: bool,
    #[command(flatten)]
    unused: UnusedTrustConfig,
}

#[derive(Args)]
pub(super) struct VerifySigstoreArgs {
    #[command(flatten)]
    common: Common,
    /// Who signed: an address or a URI, exactly
    #[arg(long, value_name = "NAME")]
    identity: String,
    /// Who vouches for that: the OpenID Connect issuer, exactly
    #[arg(
        long = "identity-provider",
        alias = "identity_provider",
        value_name = "URL"
    )]
    identity_provider: String,
    /// The trust root to use: a ClientTrustConfig or a trusted root
    #[arg(long = "trust-config", alias = "trust_config", value_name = "FILE")]
    trust_config: Option<PathBuf>,
    /// Use the public staging instance
    #[arg(
        long = "use-staging",
        alias = "use_staging",
        conflicts_with = "trust_config"
    )]
    use_staging: bool,
}

pub(super) fn run(method: &VerifyMethod, output: &Output) -> Outcome {
    match method {
        VerifyMethod::Key(args) => {
            let key = keys::public(&args.public_key)?;
            let name = args.public_key.display().to_string();
            verify(&args.common, &name, &Credential::Key(Box::new(key)), output)
        }
        VerifyMethod::Certificate(args) => {
            let mut anchors = Vec::new();
            for path in &args.certificate_chain {
                anchors.extend(trust::certificates(path)?);
            }
            if args.log_fingerprints {
                for anchor in &anchors {
                    output.say(format!("{} {}", anchor.fingerprint(), anchor.subject()));
                }
            }
            let trust = CertificateTrust {
                anchors,
                ..Default::default()
            };
            let credential = Credential::Certificate(Box::new(trust));
            verify(&args.common, "a certified signer", &credential, output)
        }
        VerifyMethod::Sigstore(args) => {
            let instance = if args.use_staging {
                Instance::Staging
            } else {
                Instance::Production
            };
            let expect = |text: &str, flag: &str| {
                Expect::exact(text).map_err(|error| Failure::because(flag, &error))
            };
            let trust = KeylessTrust {
                verifier: trust::root(args.trust_config.as_deref(), instance)?,
                identity: expect(&args.identity, "--identity")?,
                issuer: expect(&args.identity_provider, "--identity_provider")?,
                claims: Vec::new(),
                ask: Ask::ALL,
                revoked: Vec::new(),
            };
            let credential = Credential::Keyless(Box::new(trust));
            verify(&args.common, &args.identity, &credential, output)
        }
    }
}

fn verify(common: &Common, name: &str, credential: &Credential, output: &Output) -> Outcome {
    let model = &common.model;
    let artifact = Artifact::open(&model.model_path)?;
    let signature = gate::read_signature(&common.signature);
    let mut ignored = model.ignored(&artifact, &common.signature);
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
    let evidence = model.read(&artifact, &ignored, &algorithms, output)?;
    let trusted = [Trusted { name, credential }];
    let clock = Clock {
        now: context::now(),
        authorities: Authorities {
            anchors: &[],
            withdrawn: &[],
        },
    };
    let mut report = verify_signature(&evidence, &signature, &trusted, clock);
    adjust(&mut report, common);
    answer(&report, output)
}

/// What the flags ask for beyond the bundle.
fn adjust(report: &mut Report, common: &Common) {
    for finding in &mut report.findings {
        // Asked to verify git's files: one that is not signed is an added file.
        if common.model.no_ignore_git_paths && finding.rule == Rule::SignatureCoverage {
            finding.rule = Rule::ArtifactAdded;
            finding.severity = Severity::Fail;
            finding.message = "was added: it is not signed".into();
        }
        // The format has one signature.
        if finding.rule == Rule::SignatureOthers {
            finding.severity = Severity::Fail;
        }
        if common.ignore_unsigned_files && finding.rule == Rule::ArtifactAdded {
            finding.severity = Severity::Warning;
        }
    }
}

fn answer(report: &Report, output: &Output) -> Outcome {
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
