//! `oms sign`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use zeroize::Zeroizing;

use super::ModelArgs;
use crate::artifact::Artifact;
use crate::cli::Outcome;
use crate::cli::context;
use crate::cli::failure::Failure;
use crate::cli::keyless::KeylessArgs;
use crate::cli::keys::{self, PassphraseArgs};
use crate::cli::output::Output;
use crate::cli::{signers, trust};
use crate::digest::{Algorithm, Sha256};
use crate::disk::{self, Access, Existing};
use crate::key::{Passphrase, PrivateKey, Signer};
use crate::oms::{self, SignOptions, SigningMaterial};
use crate::path::ArtifactPath;
use crate::sigstore::trust::Instance;
use crate::x509::Certificate;

#[derive(Subcommand)]
pub(super) enum SignMethod {
    /// With a private key: EC on P-256, P-384 or P-521 (model_signing verifies these), or Ed25519
    Key(SignKeyArgs),
    /// With the private key of a certificate
    Certificate(SignCertificateArgs),
    /// Keyless: as whoever the identity token is about. Asks the network
    Sigstore(SignSigstoreArgs),
    /// With a key in a token (PKCS #11)
    #[command(name = "pkcs11-key", alias = "pkcs11_key")]
    Pkcs11Key(SignPkcs11KeyArgs),
    /// With a key in a token, and its certificate
    #[command(name = "pkcs11-certificate", alias = "pkcs11_certificate")]
    Pkcs11Certificate(SignPkcs11CertificateArgs),
}

#[derive(Args)]
struct Common {
    #[command(flatten)]
    model: ModelArgs,
    /// Where to write the signature
    #[arg(long, value_name = "FILE", default_value = "model.sig")]
    signature: PathBuf,
}

#[derive(Args)]
struct KeyFile {
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
pub(super) struct SignKeyArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    key: KeyFile,
}

#[derive(Args)]
struct Certificates {
    /// The certificate of the key, in PEM
    #[arg(
        long = "signing-certificate",
        alias = "signing_certificate",
        value_name = "FILE"
    )]
    signing_certificate: PathBuf,
    /// Certificates between it and a root, in PEM; may be repeated
    #[arg(
        long = "certificate-chain",
        alias = "certificate_chain",
        value_name = "FILE"
    )]
    certificate_chain: Vec<PathBuf>,
}

#[derive(Args)]
pub(super) struct SignCertificateArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    key: KeyFile,
    #[command(flatten)]
    certificates: Certificates,
}

#[derive(Args)]
pub(super) struct SignSigstoreArgs {
    #[command(flatten)]
    common: Common,
    /// Use the public staging instance
    #[arg(
        long = "use-staging",
        alias = "use_staging",
        conflicts_with = "trust_config"
    )]
    use_staging: bool,
    /// The instance to use: a ClientTrustConfig
    #[arg(long = "trust-config", alias = "trust_config", value_name = "FILE")]
    trust_config: Option<PathBuf>,
    /// Take the identity token of the CI (default if no token is given)
    #[arg(
        long = "use-ambient-credentials",
        alias = "use_ambient_credentials",
        conflicts_with = "identity_token"
    )]
    use_ambient_credentials: bool,
    /// The identity token; other users of this machine can see it
    #[arg(
        long = "identity-token",
        alias = "identity_token",
        value_name = "TOKEN"
    )]
    identity_token: Option<String>,
    /// Accepted for compatibility: there is no interactive login here
    #[arg(long = "oauth-force-oob", alias = "oauth_force_oob", hide = true)]
    oauth_force_oob: bool,
    /// Accepted for compatibility: there is no interactive login here
    #[arg(long = "client-id", alias = "client_id", hide = true)]
    client_id: Option<String>,
    /// Accepted for compatibility: there is no interactive login here
    #[arg(long = "client-secret", alias = "client_secret", hide = true)]
    client_secret: Option<String>,
}

#[derive(Args)]
struct Token {
    /// The key, as RFC 7512 names it, with module-path and perhaps pin-value or pin-source
    #[arg(long = "pkcs11-uri", alias = "pkcs11_uri", value_name = "URI")]
    pkcs11_uri: String,
}

#[derive(Args)]
pub(super) struct SignPkcs11KeyArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    token: Token,
}

#[derive(Args)]
pub(super) struct SignPkcs11CertificateArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    token: Token,
    #[command(flatten)]
    certificates: Certificates,
}

pub(super) fn run(method: &SignMethod, output: &Output) -> Outcome {
    match method {
        SignMethod::Sigstore(args) => sigstore(args, output),
        SignMethod::Pkcs11Key(args) => {
            let artifact = args.common.open()?;
            let signer = args.token.open(output)?;
            let material = SigningMaterial::Key;
            sign(&args.common, &artifact, &*signer, &material, output)
        }
        SignMethod::Pkcs11Certificate(args) => {
            let artifact = args.common.open()?;
            let chain = args.certificates.read()?;
            let signer = args.token.open(output)?;
            trust::belongs(&*signer, &chain, &args.certificates.signing_certificate)?;
            let material = SigningMaterial::Certificates(&chain);
            sign(&args.common, &artifact, &*signer, &material, output)
        }
        SignMethod::Key(args) => {
            let artifact = args.common.open()?;
            let key = args.key.read(&artifact, output)?;
            sign(&args.common, &artifact, &key, &SigningMaterial::Key, output)
        }
        SignMethod::Certificate(args) => {
            let artifact = args.common.open()?;
            let chain = args.certificates.read()?;
            let key = args.key.read(&artifact, output)?;
            trust::belongs(&key, &chain, &args.certificates.signing_certificate)?;
            let material = SigningMaterial::Certificates(&chain);
            sign(&args.common, &artifact, &key, &material, output)
        }
    }
}

impl Token {
    fn open(&self, output: &Output) -> Result<Box<dyn Signer>, Failure> {
        let no_passphrase = PassphraseArgs::default();
        signers::pkcs11(&self.pkcs11_uri, &mut no_passphrase.reader(), output)
    }
}

impl Common {
    fn statement(
        &self,
        artifact: &Artifact,
        output: &Output,
    ) -> Result<(Vec<u8>, Sha256), Failure> {
        let ignored = self.model.ignored(artifact, &self.signature);
        statement(&self.model, artifact, &ignored, output)
    }

    fn open(&self) -> Result<Artifact, Failure> {
        let artifact = Artifact::open(&self.model.model_path)?;
        crate::cli::signing::replaceable(&self.signature)?;
        Ok(artifact)
    }
}

impl KeyFile {
    fn read(&self, artifact: &Artifact, output: &Output) -> Result<PrivateKey, Failure> {
        let password = self.password.clone();
        let password = password.map(|text| Passphrase(Zeroizing::new(text)));
        if password.is_some() {
            output.warn("--password is visible to other users of this machine");
        }
        keys::keep_out_of(artifact, &self.private_key)?;
        let mut reader = self.passphrase.reader().with(password);
        reader.private(&self.private_key, output)
    }
}

impl Certificates {
    fn read(&self) -> Result<Vec<Certificate>, Failure> {
        let mut chain = trust::certificates(&self.signing_certificate)?;
        for path in &self.certificate_chain {
            chain.extend(trust::certificates(path)?);
        }
        Ok(chain)
    }
}

fn sigstore(args: &SignSigstoreArgs, output: &Output) -> Outcome {
    let artifact = args.common.open()?;
    let instance = if args.use_staging {
        Instance::Staging
    } else {
        Instance::Production
    };
    let config = KeylessArgs {
        signing_config: args.trust_config.clone(),
        ..Default::default()
    };
    let keyless = config.open(args.identity_token.as_deref(), instance)?;
    let (payload, root) = args.common.statement(&artifact, output)?;
    let (bytes, _) = keyless.sign(payload, output)?;
    write(&args.common.signature, &bytes)?;
    succeeded(&args.common, root, output)
}

fn sign(
    common: &Common,
    artifact: &Artifact,
    signer: &dyn Signer,
    material: &SigningMaterial<'_>,
    output: &Output,
) -> Outcome {
    let (payload, root) = common.statement(artifact, output)?;
    let bundle =
        oms::sign(payload, signer, material).map_err(|error| Failure::error(error.to_string()))?;
    write(&common.signature, &bundle.to_json()?)?;
    succeeded(common, root, output)
}

/// The statement over a model without what is ignored, and its root digest.
pub(super) fn statement(
    model: &ModelArgs,
    artifact: &Artifact,
    ignored: &[ArtifactPath],
    output: &Output,
) -> Result<(Vec<u8>, Sha256), Failure> {
    let evidence = model.read(artifact, ignored, &[Algorithm::Sha256], output)?;
    context::complete(&model.model_path, &evidence)?;
    let options = SignOptions {
        algorithm: Algorithm::Sha256,
        name: artifact.name(),
        ignored: ignored.iter().map(|path| path.as_str().into()).collect(),
        allow_symlinks: model.allow_symlinks,
    };
    oms::statement(&evidence.manifest, options)
        .map_err(|error| Failure::refused(vec![error.to_string()]))
}

fn succeeded(common: &Common, root: Sha256, output: &Output) -> Outcome {
    if output.json {
        let signature = common.signature.display().to_string();
        output
            .document(&serde_json::json!({ "signature": signature, "root": root.to_string() }))?;
    } else {
        output.data("Signing succeeded\n")?;
    }
    Ok(0)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    Ok(disk::write(path, bytes, Existing::Replace, Access::Shared)?)
}
