//! `verify`: is the signature over exactly these files, by a trusted key? No ledger, no policy
//! rules.

use super::context::{self, Config};
use super::failure::Failure;
use super::output::Output;
use super::receipts::FastArgs;
use super::target::TargetArgs;
use super::trust::TrustArgs;
#[cfg(feature = "http")]
use super::verify_source;
use super::{Global, Outcome, catalogue};
use crate::artifact::Names;
use crate::credential::{Clock, Credential};
use crate::gate;
use crate::policy::Policy;
use crate::time::Timestamp;
use crate::timestamp::Authorities;
use crate::verify::{
    ArtifactEvidence, Report, SignatureEvidence, Trusted, verify_signature, verify_signature_by,
};
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
  weighbridge verify --key release.pub.pem --catalogue models
  weighbridge verify --rehash if-changed ./model             reads what has changed since this host last read it
  weighbridge verify --fast ./model                          reads no file that is sealed (`weighbridge seal`)
  weighbridge verify --source --offline ./gpt2               is it still what was acquired?
    weighbridge verify --source=hf:openai-community/gpt2@main ./gpt2
  weighbridge verify --source s3://bucket/model              in the place where it is

  weighbridge verify --certificate-chain ca.pem --certificate-name release@example.com ./model
  weighbridge verify --certificate-identity me@example.com \\
      --certificate-oidc-issuer https://accounts.google.com ./model")]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// The directory holds many artifacts: verify each directory that has a signature in it, and refuse those
    /// that have files and none
    #[arg(long)]
    catalogue: bool,
    /// Ask nobody who signed: compare the files with what their source publishes. Without a name, with the source
    /// that an acquire record of these files names, or that the cache they are in belongs to
    #[cfg(feature = "http")]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "", value_name = "SOURCE", conflicts_with = "catalogue")]
    source: Option<String>,
    /// With --source: touch no network, and use the evidence that was recorded when it was acquired
    #[cfg(feature = "http")]
    #[arg(long, requires = "source")]
    offline: bool,
    #[cfg(feature = "http")]
    #[command(flatten)]
    checks: super::acquire::CheckArgs,

    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    fast: FastArgs,
}

pub(super) const NOT_CHECKED: &[&str] = &[
    "ledger and records",
    "policy rules and roles",
    "what the files contain",
];

pub(super) fn run(args: &VerifyArgs, global: &Global, output: &Output) -> Outcome {
    #[cfg(feature = "http")]
    if let Some(source) = &args.source {
        if args.fast.is_fast() {
            return Err(Failure::error(
                "--fast asks what was signed or sealed, and --source asks for neither: leave one out",
            ));
        }
        if !args.trust.is_empty() {
            return Err(Failure::error(
                "--source is about no signature: leave out whose counts",
            ));
        }
        return verify_source::run(
            (&args.target, args.offline),
            (source, &args.checks, args.fast.rehash()),
            global,
            output,
        );
    }
    #[cfg(feature = "http")]
    if args.checks.is_given() {
        return Err(Failure::error(
            "--checksums, --minisign-key and --openpgp-key are about what a source publishes: add --source",
        ));
    }

    let trustees = Trustees::of(&args.trust, global)?;
    let config = trustees.config.as_ref();
    let reuse = args.fast.reuse(config, global, output);
    if args.catalogue {
        let policy = config.map(Config::summary);
        let (path, jobs) = (&args.target.path, args.target.jobs);
        let name = args.target.signature_name()?;
        return catalogue::verify(
            (path, &name),
            (jobs, reuse),
            policy.as_ref(),
            &|evidence, signature| trustees.judge(evidence, signature),
            output,
        );
    }
    let target = args.target.open()?;
    if let Some(config) = config {
        config.keep_out_of(&target.artifact)?;
    }
    let signature = gate::read_signature(&target.signature);
    let reuse = reuse.stated_by(&signature);
    let evidence = target.read(&gate::algorithms(&signature), Names::Any, reuse, output)?;
    let report = trustees.judge(&evidence, &signature);
    // This process ends now: to free a million paths one by one would be for nothing.
    std::mem::forget((evidence, signature));
    target.report("verify", report, config, NOT_CHECKED, output)
}

/// Whose signature counts: those whom flags name, or else the policy.
pub(super) struct Trustees {
    everybody: Vec<(String, Credential)>,
    authorities: Vec<Certificate>,
    pub(super) config: Option<Config>,
    policy: Option<Policy>,
    now: Timestamp,
}

impl Trustees {
    pub(super) fn of(trust: &TrustArgs, global: &Global) -> Result<Trustees, Failure> {
        let config = if trust.is_empty() {
            Some(Config::load(global)?)
        } else {
            None
        };
        let authorities = trust.timestamp_authorities()?;
        let policy = config.as_ref().map(|config| {
            let mut policy = config.policy.clone();
            policy.timestamp_authorities.extend(authorities.clone());
            policy
        });
        Ok(Trustees {
            everybody: trust.credentials()?,
            authorities,
            config,
            policy,
            now: context::now(),
        })
    }

    /// What follows from `signature` over what was read.
    pub(super) fn judge(
        &self,
        evidence: &ArtifactEvidence,
        signature: &SignatureEvidence,
    ) -> Report {
        if let Some(policy) = &self.policy {
            return verify_signature_by(evidence, signature, policy, self.now);
        }
        let everybody = self.everybody.iter();
        let trusted: Vec<Trusted<'_>> = everybody
            .map(|(name, credential)| Trusted { name, credential })
            .collect();
        let clock = Clock {
            now: self.now,
            authorities: Authorities {
                anchors: &self.authorities,
                withdrawn: &[],
            },
        };
        verify_signature(evidence, signature, &trusted, clock)
    }
}
