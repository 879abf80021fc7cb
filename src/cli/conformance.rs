//! `verify-bundle` and `sign-bundle`: the command line that the test suite sigstore-conformance speaks to
//! every client. Hidden: it verifies blobs, which is not what this program is for.

use std::path::{Path, PathBuf};

use clap::Args;

use super::failure::Failure;
use super::keyless::KeylessArgs;
use super::output::Output;
use super::{Outcome, trust};
use crate::bundle::MAX_BUNDLE;
use crate::digest::Sha256;
use crate::disk::{self, Access, Existing};
use crate::sigstore::trust::Instance;
use crate::sigstore::{Expect, KeylessError, KeylessTrust, Subject};
use crate::x509::pem_blocks;

/// Verify a Sigstore bundle over a file or a digest (for sigstore-conformance)
#[derive(Args)]
pub(super) struct VerifyBundleArgs {
    /// The bundle
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,
    /// Use the staging instance
    #[arg(long)]
    staging: bool,
    /// Who signed, exactly
    #[arg(
        long,
        value_name = "NAME",
        requires = "certificate_oidc_issuer",
        required_unless_present = "key"
    )]
    certificate_identity: Option<String>,
    /// Who vouches for that, exactly
    #[arg(long, value_name = "URL", requires = "certificate_identity")]
    certificate_oidc_issuer: Option<String>,
    /// The public key, in PEM
    #[arg(long, value_name = "FILE", conflicts_with = "certificate_identity")]
    key: Option<PathBuf>,
    /// The trust root; unless given, that of the public instance
    #[arg(long, value_name = "FILE")]
    trusted_root: Option<PathBuf>,
    /// A file, or sha256: and the digest of one
    #[arg(value_name = "FILE_OR_DIGEST")]
    artifact: PathBuf,
}

/// The largest file that is read.
const MAX_FILE: u64 = 1 << 30;

pub(super) fn verify(args: &VerifyBundleArgs, output: &Output) -> Outcome {
    let bundle = disk::read(&args.bundle, MAX_BUNDLE as u64)?;
    let file;
    let subject = if let Some(digest) = digest(&args.artifact) {
        Subject::Digest(digest)
    } else {
        file = disk::read(&args.artifact, MAX_FILE)?;
        Subject::Bytes(&file)
    };
    let instance = if args.staging {
        Instance::Staging
    } else {
        Instance::Production
    };
    let verifier = trust::root(args.trusted_root.as_deref(), instance)?;
    let result = match (
        &args.key,
        &args.certificate_identity,
        &args.certificate_oidc_issuer,
    ) {
        (Some(key), ..) => verifier.prove_key(&bundle, &subject, &spki(key)?),
        (None, Some(identity), Some(issuer)) => {
            let expect =
                |text: &str| Expect::exact(text).map_err(|error| Failure::error(error.to_string()));
            let trust = KeylessTrust::new(verifier, expect(identity)?, expect(issuer)?);
            let proof = trust.verifier.prove_subject(&bundle, &subject, trust.ask);
            proof.and_then(|proof| trust.admit(&proof).map(|()| proof))
        }
        _ => return Err(Failure::error("neither a key nor an identity was given")),
    };
    match result {
        Ok(_) => {
            output.say(format!("OK: {}", args.artifact.display()));
            Ok(0)
        }
        Err(error @ KeylessError::Root(_)) => Err(Failure::error(error.to_string())),
        Err(error) => Err(Failure::refused(vec![format!(
            "{} ({})",
            error,
            error.rule().id()
        )])),
    }
}

/// A digest, unless there is a file of that name.
fn digest(text: &Path) -> Option<Sha256> {
    if text.exists() {
        return None;
    }
    text.to_str()?.strip_prefix("sha256:")?.parse().ok()
}

fn spki(path: &Path) -> Result<Vec<u8>, Failure> {
    let fail = |why: &str| Failure::error(format!("{} {why}", path.display()));
    let bytes = disk::read(path, 64 * 1024)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| fail("is not a PEM file"))?;
    let blocks = pem_blocks(text, "PUBLIC KEY").map_err(|error| fail(&error.to_string()))?;
    let first = blocks.into_iter().next();
    first.ok_or_else(|| fail("holds no public key"))
}

/// Sign a file as a Sigstore bundle (for sigstore-conformance)
#[derive(Args)]
pub(super) struct SignBundleArgs {
    /// Where to write the bundle
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,
    /// Use the staging instance
    #[arg(long)]
    staging: bool,
    /// The file is an in-toto statement: sign it as such
    #[arg(long)]
    in_toto: bool,
    /// The identity token
    #[arg(long, value_name = "TOKEN")]
    identity_token: String,
    /// The trust root
    #[arg(long, value_name = "FILE")]
    trusted_root: Option<PathBuf>,
    /// The services
    #[arg(long, value_name = "FILE")]
    signing_config: Option<PathBuf>,
    /// A file
    #[arg(value_name = "FILE")]
    artifact: PathBuf,
}

pub(super) fn sign(args: &SignBundleArgs, output: &Output) -> Outcome {
    if !args.in_toto {
        return Err(Failure::error("only in-toto statements are signed")
            .hint("pass --in-toto; this program signs statements over models, not files"));
    }
    let instance = if args.staging {
        Instance::Staging
    } else {
        Instance::Production
    };
    let config = KeylessArgs {
        signing_config: args.signing_config.clone(),
        trusted_root: args.trusted_root.clone(),
        ..Default::default()
    };
    let keyless = config.open(Some(&args.identity_token), instance)?;
    let payload = disk::read(&args.artifact, MAX_BUNDLE as u64)?;
    let (bytes, _) = keyless.sign(payload, output)?;
    disk::write(&args.bundle, &bytes, Existing::Replace, Access::Shared)?;
    Ok(0)
}
