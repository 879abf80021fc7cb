//! `sign`: an OMS bundle over an artifact, and with `--record` a release in the ledger.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::context::Config;
use super::failure::Failure;
use super::keys::{self, PassphraseArgs};
use super::log_access::Acknowledgement;
use super::output::Output;
use super::receipt;
use super::record::Recorder;
use super::target::TargetArgs;
use super::timestamp::{self, AuthorityArgs};
use super::{Global, Outcome, trust, values};
use crate::artifact::Artifact;
use crate::bundle::{Bundle, MAX_BUNDLE};
use crate::digest::{Algorithm, Sha256};
use crate::disk::{self, Access, DiskError, Existing};
use crate::key::Signer;
use crate::oms::{self, SignOptions, SigningMaterial};
use crate::report::text::count;
use crate::statement::release::SignatureReference;
use crate::verify::ArtifactEvidence;
use crate::x509::Certificate;

/// Sign an artifact with an OMS bundle that model_signing verifies too
///
/// The signature is written to model.sig inside a directory, or to FILE.sig beside a file. With
/// --record the release is also recorded in the ledger; the index of its entry is printed once it
/// is durable.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  weighbridge sign ./model
  weighbridge sign --record ./model
    weighbridge sign --key key.pem --signature model.sig ./model    without a policy file
  weighbridge sign --key key.pem --certificate chain.pem ./model  for whoever trusts the root of the chain")]
pub(super) struct SignArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// The private key, in PEM; unless given, the one that the policy names
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The certificate of the key, in PEM, with those between it and a root behind it: whoever trusts the
    /// root can verify, without knowing the key
    #[arg(long, value_name = "FILE", conflicts_with = "record")]
    certificate: Option<PathBuf>,
    /// Ask the timestamp authority at this address to vouch for the time
    #[arg(long, value_name = "URL")]
    timestamp_url: Option<String>,
    #[command(flatten)]
    authorities: AuthorityArgs,
    /// What the files are hashed with; model_signing's command line verifies sha256 only
    #[arg(long, value_parser = values::word::<Algorithm>(&["sha256", "blake2b", "blake3"]), default_value = "sha256", value_name = "NAME")]
    algorithm: Algorithm,
    /// Record the release in the ledger as well
    #[arg(long)]
    record: bool,
    /// Write the receipt of the record to this file, and the record beside it
    #[arg(long, value_name = "FILE", requires = "record")]
    receipt: Option<PathBuf>,
    #[command(flatten)]
    acknowledgement: Acknowledgement,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

pub(super) fn run(args: &SignArgs, global: &Global, output: &Output) -> Outcome {
    let config = if args.record {
        Some(Config::load(global)?)
    } else {
        Config::find(global)?
    };
    let target = args.target.open()?;
    let artifact = &target.artifact;
    if let Some(config) = &config {
        config.keep_out_of(artifact)?;
    }
    let signature = &target.signature;

    // Keys first: a wrong passphrase should not cost the time to hash.
    let mut reader = args.passphrase.reader();
    let key_path = args.key.clone().or_else(|| {
        let config = config.as_ref()?;
        Some(config.resolve(&config.policy.signing.as_ref()?.key))
    });
    let hint = "name one with --key, or make a set-up with `weighbridge init`";
    let key_path = keys::required(key_path, "signing key", hint)?;
    keys::keep_out_of(artifact, &key_path)?;
    let key = reader.private(&key_path, output)?;
    let how = How {
        signer: &key,
        chain: chain(args, &key)?,
        timestamp: match &args.timestamp_url {
            Some(url) => Some((url, args.authorities.read(config.as_ref())?)),
            None => None,
        },
        algorithm: args.algorithm,
    };
    replaceable(signature)?;
    if let Some(receipt) = &args.receipt {
        receipt::writable(receipt, artifact)?;
    }
    let recorder = match (&config, args.record) {
        (Some(config), true) => Some(Recorder::open(
            (global, config),
            &key,
            None,
            args.acknowledgement,
            &mut reader,
            output,
        )?),
        _ => None,
    };

    if let (Some(recorder), Some(_)) = (&recorder, &args.receipt) {
        recorder.can_write_receipt()?;
    }

    let evidence = target.read_complete(&how.algorithms(), output)?;
    let signed = write_signature(artifact, &evidence, signature, &how, output)?;
    let Some(recorder) = recorder else {
        if output.json {
            output.document(&json!({ "signature": signature.display().to_string(), "root": signed.root.to_string() }))?;
        }
        return Ok(0);
    };
    let reference = SignatureReference {
        sha256: signed.bundle,
        key_id: key.public().key_id(),
    };
    let release = recorder.release(&evidence, Some(reference));
    let recorded = recorder.append(artifact, &evidence, release, Some(signed.root), output)?;
    if output.json {
        output.document(&json!({
            "signature": signature.display().to_string(),
            "root": signed.root.to_string(),
            "index": recorded.index,
        }))?;
    } else {
        output.data(&format!("{}\n", recorded.index))?;
    }
    if let Some(receipt) = &args.receipt {
        recorder.write_receipt(recorded.index, receipt, output)?;
    }
    Ok(0)
}

/// An older signature may be replaced; any other file is somebody's.
pub(super) fn replaceable(signature: &Path) -> Result<(), Failure> {
    let refuse = || {
        Failure::error(format!(
            "{} is there and is not a signature",
            signature.display()
        ))
        .hint("name another file with --signature, or remove it")
    };
    match disk::read(signature, MAX_BUNDLE as u64) {
        Ok(bytes) => Bundle::parse(&bytes).map(|_| ()).map_err(|_| refuse()),
        Err(error) if error.is_not_found() => Ok(()),
        Err(DiskError::TooLarge { .. } | DiskError::NotRegular { .. }) => Err(refuse()),
        Err(error) => Err(error.into()),
    }
}

/// The certificates that go into the bundle, that of `signer` first.
fn chain(args: &SignArgs, signer: &dyn Signer) -> Result<Vec<Certificate>, Failure> {
    let Some(path) = &args.certificate else {
        return Ok(Vec::new());
    };
    let chain = trust::certificates(path)?;
    trust::belongs(signer, &chain, path)?;
    Ok(chain)
}

/// Who signs, and how the bundle names him.
struct How<'a> {
    signer: &'a dyn Signer,
    /// None: by his key.
    chain: Vec<Certificate>,
    timestamp: Option<(&'a String, Vec<Certificate>)>,
    algorithm: Algorithm,
}

impl How<'_> {
    fn algorithms(&self) -> Vec<Algorithm> {
        let mut all = vec![Algorithm::Sha256, self.algorithm];
        all.dedup();
        all
    }
}

struct Signed {
    root: Sha256,
    bundle: Sha256,
}

fn write_signature(
    artifact: &Artifact,
    evidence: &ArtifactEvidence,
    path: &Path,
    how: &How<'_>,
    output: &Output,
) -> Result<Signed, Failure> {
    let mut ignored: Vec<String> = oms::DEFAULT_IGNORED
        .iter()
        .map(|&path| path.into())
        .collect();
    let left_out = evidence
        .not_covered
        .iter()
        .map(|path| path.as_str().to_owned());
    let own = artifact.locate(path).map(|path| path.as_str().to_owned());
    for path in left_out.chain(own) {
        if !ignored.contains(&path) {
            ignored.push(path);
        }
    }
    ignored.sort_unstable();
    if artifact.single_file().is_some() {
        ignored.clear();
    }
    let outside = evidence
        .manifest
        .files()
        .iter()
        .filter(|file| ignored.iter().any(|ignored| file.path.is_within(ignored)));
    for file in outside {
        output.say(format!(
            "{} is outside the signature (OMS leaves it out)",
            file.path
        ));
    }
    let options = SignOptions {
        algorithm: how.algorithm,
        name: artifact.name(),
        ignored,
        allow_symlinks: false,
    };
    let refused = |error: oms::OmsError| Failure::refused(vec![error.to_string()]);
    let (payload, root) = oms::statement(&evidence.manifest, options).map_err(refused)?;
    let material = if how.chain.is_empty() {
        SigningMaterial::Key
    } else {
        SigningMaterial::Certificates(&how.chain)
    };
    let mut bundle = oms::sign(payload, how.signer, &material).map_err(refused)?;
    if let Some((url, authorities)) = &how.timestamp {
        bundle = timestamp::stamped(bundle, url, authorities, output)?;
    }
    let bytes = bundle.to_json()?;
    disk::write(path, &bytes, Existing::Replace, Access::Shared)?;
    output.say(format!(
        "signed {}, {} bytes: {}",
        count(evidence.manifest.files().len(), "file"),
        evidence.manifest.bytes(),
        path.display()
    ));
    Ok(Signed {
        root,
        bundle: Sha256::of(&bytes),
    })
}
