//! Signing keyless: who the token says, certified for a moment, logged and stamped; verified before it is
//! written.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;
use zeroize::Zeroizing;

use super::failure::Failure;
use super::keys;
use super::output::Output;
use super::{context, trust};
use crate::disk;
use crate::sigstore::signing_config::{self, Services};
use crate::sigstore::trust::{Instance, MAX_TRUST_ROOT, signing_config};
use crate::sigstore::{KeylessVerifier, Proof};

/// Where the identity token comes from, and which instance certifies and logs.
#[derive(Args, Clone, Default)]
pub(super) struct KeylessArgs {
    /// Read the OpenID Connect identity token from this file descriptor
    #[arg(
        long,
        value_name = "N",
        requires = "keyless",
        help_heading = "Signing keyless"
    )]
    pub(super) identity_token_fd: Option<u32>,
    /// The services to ask, as a signing configuration or a ClientTrustConfig; unless given, the public ones
    #[arg(
        long,
        value_name = "FILE",
        requires = "keyless",
        help_heading = "Signing keyless"
    )]
    pub(super) signing_config: Option<PathBuf>,
    /// The trust root to verify what they answer with; unless given, that in the configuration, or the
    /// public one
    #[arg(
        long = "trusted-root",
        value_name = "FILE",
        requires = "keyless",
        help_heading = "Signing keyless"
    )]
    pub(super) trusted_root: Option<PathBuf>,
}

/// Everything that it takes, gathered before anything is hashed.
#[cfg_attr(
    not(feature = "http"),
    expect(dead_code, reason = "signing takes the network")
)]
pub(super) struct Keyless {
    token: Zeroizing<String>,
    services: Services,
    verifier: std::sync::Arc<dyn KeylessVerifier>,
}

impl KeylessArgs {
    /// Finds the token, in the descriptor or in the CI's environment, and reads the configuration.
    pub(super) fn open(&self, given: Option<&str>, instance: Instance) -> Result<Keyless, Failure> {
        let config = match &self.signing_config {
            Some(path) => disk::read(path, MAX_TRUST_ROOT)?,
            None => signing_config(instance)
                .map_err(|error| Failure::error(error.to_string()))?
                .into(),
        };
        let place = self
            .signing_config
            .as_ref()
            .map_or("the public signing configuration".into(), |path| {
                path.display().to_string()
            });
        let services = signing_config::parse(&config, context::now())
            .map_err(|error| Failure::error(format!("{place} {error}")))?;
        let own = self.signing_config.as_deref().filter(|_| {
            serde_json::from_slice::<Value>(&config)
                .is_ok_and(|value| value.get("trustedRoot").is_some())
        });
        let root = self.trusted_root.as_deref().or(own);
        let verifier = trust::root(root, instance)?;
        let token = match (given, self.identity_token_fd) {
            (Some(token), _) => token.to_owned(),
            (None, Some(number)) => keys::from_descriptor(number)?.0.trim().to_owned(),
            (None, None) => ambient()?,
        };
        Ok(Keyless {
            token: Zeroizing::new(token),
            services,
            verifier,
        })
    }
}

/// The token that the CI gives: GitLab and others in a variable, GitHub by a request.
#[cfg(feature = "http")]
fn ambient() -> Result<String, Failure> {
    use super::context::variable;
    if let Some(token) = variable("SIGSTORE_ID_TOKEN") {
        return Ok(token);
    }
    let url = variable("ACTIONS_ID_TOKEN_REQUEST_URL");
    let token = variable("ACTIONS_ID_TOKEN_REQUEST_TOKEN");
    if let (Some(url), Some(token)) = (url, token) {
        return crate::client::sigstore::github_token(&url, &token)
            .map_err(|error| Failure::error(crate::gate::cause(&error)));
    }
    Err(Failure::error("there is no identity token").hint(
        "pass --identity-token-fd N, set SIGSTORE_ID_TOKEN (GitLab: id_tokens with aud sigstore), or in \
         GitHub Actions give the job the permission id-token: write",
    ))
}

#[cfg(feature = "http")]
impl Keyless {
    /// Signs `payload` and returns the bundle, verified, and what it proves.
    pub(super) fn sign(
        &self,
        payload: Vec<u8>,
        output: &Output,
    ) -> Result<(Vec<u8>, Proof), Failure> {
        use serde_json::json;

        use crate::bundle::{self, MEDIA_TYPE};
        use crate::client::{sigstore, timestamp};
        use crate::envelope::{Envelope, IN_TOTO};
        use crate::key::{KeyAlgorithm, PrivateKey};
        use crate::sigstore::{Ask, Subject};
        let fail = |error: sigstore::SigningError| Failure::error(crate::gate::cause(&error));
        let key = PrivateKey::generate(KeyAlgorithm::P256)
            .map_err(|error| Failure::because("cannot make a key", &error))?;
        let certificate =
            sigstore::certificate(&self.services.authority, &self.token, &key).map_err(fail)?;
        let envelope = Envelope::sign(payload, IN_TOTO, &key, "")
            .map_err(|error| Failure::error(error.to_string()))?;
        // The key has signed what it was made for.
        drop(key);
        let signature = envelope.signatures.first().map(|one| one.sig.as_slice());
        let signature = signature.unwrap_or_default();
        let mut stamps = Vec::new();
        for url in &self.services.timestamp_authorities {
            let request = super::timestamp::new_request(signature)?;
            let token = timestamp::ask(url, &request)
                .map_err(|error| Failure::error(crate::gate::cause(&error)))?;
            stamps.push(json!({ "signedTimestamp": data_encoding::BASE64.encode(&token) }));
        }
        let mut entries = Vec::new();
        for log in &self.services.logs {
            entries.push(sigstore::log(log, &envelope, &certificate).map_err(fail)?);
        }
        let bundle = json!({
            "mediaType": MEDIA_TYPE,
            "verificationMaterial": {
                "certificate": { "rawBytes": data_encoding::BASE64.encode(certificate.der()) },
                "tlogEntries": entries,
                "timestampVerificationData": { "rfc3161Timestamps": stamps },
            },
            "dsseEnvelope": envelope,
        });
        let bytes = serde_json::to_vec(&bundle).map_err(crate::json::JsonError::from)?;
        bundle::Bundle::parse(&bytes).map_err(|error| Failure::error(error.to_string()))?;
        let digest = crate::oms::first_subject(&envelope.payload)
            .ok_or_else(|| Failure::error("the statement has no subject"))?;
        let ask = Ask {
            log: !self.services.logs.is_empty(),
            ..Ask::ALL
        };
        let proof = self
            .verifier
            .prove_subject(&bytes, &Subject::Digest(digest), ask)
            .map_err(|error| {
                Failure::refused(vec![format!(
                    "what the services answered does not verify under the trust root: {error}"
                )])
            })?;
        output.say(format!(
            "signed as {}, for whom {} vouches",
            proof.identity, proof.issuer
        ));
        Ok((bytes, proof))
    }
}

#[cfg(not(feature = "http"))]
fn ambient() -> Result<String, Failure> {
    Err(Failure::error(
        "this program was built without the feature http",
    ))
}

#[cfg(not(feature = "http"))]
impl Keyless {
    /// Signing keyless takes the network.
    pub(super) fn sign(&self, _: Vec<u8>, _: &Output) -> Result<(Vec<u8>, Proof), Failure> {
        Err(Failure::error(
            "this program was built without the feature http",
        ))
    }
}
