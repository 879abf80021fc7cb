//! Opening the key that signs, wherever it is: a file, a token, an agent, a service.

use std::path::{Path, PathBuf};

#[cfg(feature = "http")]
use zeroize::Zeroizing;

use super::context::variable;
use super::failure::Failure;
use super::keys::{self, KeyReader};
use super::output::Output;
use crate::artifact::Artifact;
use crate::key::{Signer, SignerError};
use crate::signer::{self, Means};

/// The signer that `reference` names: the path of a private key, or a URI.
pub(super) fn open(
    reference: &Path,
    artifact: Option<&Artifact>,
    reader: &mut KeyReader<'_>,
    output: &Output,
) -> Result<Box<dyn Signer>, Failure> {
    let text = reference.to_str().unwrap_or_default();
    let opened = match signer::means(text) {
        None => {
            if let Some(artifact) = artifact {
                keys::keep_out_of(artifact, reference)?;
            }
            return Ok(Box::new(reader.private(reference, output)?));
        }
        Some(Means::Pkcs11) => return pkcs11(text, reader, output),
        Some(Means::Agent) => agent(text),
        Some(Means::Plugin) => signer::plugin::open(text),
        Some(Means::AwsKms) => aws(text),
        Some(Means::Vault) => vault(text),
    };
    opened.map_err(|error| failure(text, &error))
}

fn failure(reference: &str, error: &SignerError) -> Failure {
    // A PIN, a password can be in a URI.
    let shown = if let Some(rest) = reference.strip_prefix("pkcs11:") {
        let parts = rest.split(['?', '&', ';']);
        let names = |part: &&str| part.starts_with("token=") || part.starts_with("object=");
        let shown: Vec<&str> = parts.filter(names).collect();
        format!("pkcs11:{}", shown.join(";"))
    } else {
        reference.split('?').next().unwrap_or_default().to_owned()
    };
    Failure::error(format!("{}: {error}", crate::path::display(&shown))).hint(
        "a key is a file, pkcs11:…, ssh-agent:…, awskms://…, hashivault://…, openbao://…, or NAME://… \
         where sigstore-kms-NAME is on the path",
    )
}

/// Is this a URI, and not the path of a file?
pub(super) fn is_uri(reference: &Path) -> bool {
    reference.to_str().and_then(signer::means).is_some()
}

#[cfg(feature = "pkcs11")]
pub(super) fn pkcs11(
    text: &str,
    reader: &mut KeyReader<'_>,
    output: &Output,
) -> Result<Box<dyn Signer>, Failure> {
    let uri = signer::pkcs11_uri::Pkcs11Uri::parse(text)
        .map_err(|error| failure(text, &SignerError(error.to_string())))?;
    if uri.pin_value.is_some() {
        output.warn(
            "the PIN is in the command line, which others can read; use pin-source, or set WEIGHBRIDGE_PIN",
        );
    }
    // Nobody is asked for the PIN of a token that is not there.
    let mut missing = None;
    let pin = || {
        let pin = match &uri.pin_source {
            Some(source) => keys::pin_from(source),
            None => reader.pin(),
        };
        pin.map_err(|error| {
            missing = Some(error);
            SignerError("no PIN was given".into())
        })
    };
    let opened = signer::pkcs11::open(&uri, pin);
    opened.map_err(|error| missing.unwrap_or_else(|| failure(text, &error)))
}

#[cfg(not(feature = "pkcs11"))]
pub(super) fn pkcs11(
    text: &str,
    _: &mut KeyReader<'_>,
    _: &Output,
) -> Result<Box<dyn Signer>, Failure> {
    let why = "this program was built without the feature pkcs11";
    Err(failure(text, &SignerError(why.into())))
}

fn agent(text: &str) -> Result<Box<dyn Signer>, SignerError> {
    let socket = variable("SSH_AUTH_SOCK")
        .ok_or_else(|| SignerError("there is no agent: SSH_AUTH_SOCK is not set".into()))?;
    let name = text.strip_prefix("ssh-agent:").unwrap_or_default();
    signer::agent::open(&PathBuf::from(socket), name)
}

#[cfg(feature = "http")]
fn aws(text: &str) -> Result<Box<dyn Signer>, SignerError> {
    let missing = |name: &str| SignerError(format!("{name} is not set"));
    let account = signer::aws::Account {
        keys: crate::client::sigv4::AwsKeys {
            access_key_id: variable("AWS_ACCESS_KEY_ID")
                .ok_or_else(|| missing("AWS_ACCESS_KEY_ID"))?,
            secret_access_key: Zeroizing::new(
                variable("AWS_SECRET_ACCESS_KEY")
                    .ok_or_else(|| missing("AWS_SECRET_ACCESS_KEY"))?,
            ),
            session_token: variable("AWS_SESSION_TOKEN"),
            region: variable("AWS_REGION")
                .or_else(|| variable("AWS_DEFAULT_REGION"))
                .unwrap_or_else(|| "us-east-1".into()),
        },
        endpoint: variable("AWS_ENDPOINT_URL_KMS").or_else(|| variable("AWS_ENDPOINT_URL")),
        now: super::context::now,
    };
    signer::aws::open(account, text)
}

#[cfg(feature = "http")]
fn vault(text: &str) -> Result<Box<dyn Signer>, SignerError> {
    let (scheme, name) = text.split_once("://").unwrap_or_default();
    let prefix = if scheme == "openbao" { "BAO" } else { "VAULT" };
    let either = |what: &str| {
        variable(&format!("{prefix}_{what}")).or_else(|| variable(&format!("VAULT_{what}")))
    };
    let missing = |what: &str| SignerError(format!("{prefix}_{what} is not set"));
    let vault = signer::vault::Vault {
        address: either("ADDR").ok_or_else(|| missing("ADDR"))?,
        token: Zeroizing::new(either("TOKEN").ok_or_else(|| missing("TOKEN"))?),
        namespace: either("NAMESPACE"),
        mount: variable("TRANSIT_SECRET_ENGINE_PATH").unwrap_or_else(|| "transit".into()),
    };
    signer::vault::open(vault, name)
}

#[cfg(not(feature = "http"))]
fn aws(_: &str) -> Result<Box<dyn Signer>, SignerError> {
    Err(SignerError(
        "this program was built without the feature http".into(),
    ))
}

#[cfg(not(feature = "http"))]
fn vault(_: &str) -> Result<Box<dyn Signer>, SignerError> {
    Err(SignerError(
        "this program was built without the feature http".into(),
    ))
}
