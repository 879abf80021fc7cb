//! The proving, by the crate sigstore-verify. No type of it, nor of the crates under it, gets out.
//!
//! It reads the clock once: a log's time must not be in the future.

use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;
use sigstore_trust_root::{SigstoreInstance, TrustedRoot};
use sigstore_verify::types::{Artifact, Bundle, DerPublicKey, Sha256Hash};
use sigstore_verify::{
    Error, PublicKeyVerificationPolicy, VerificationPolicy, VerificationResult, Verifier,
};

use super::trust::Instance;
use super::{Ask, CLAIMS, KeylessError, KeylessVerifier, Proof, Subject, duplicates};
use crate::bundle::MAX_BUNDLE;
use crate::digest::Sha256;
use crate::json;
use crate::time::Timestamp;

/// The most bytes of certificates, proofs and timestamps.
const MAX_MATERIAL: usize = 1024 * 1024;

/// A bundle without what is signed, which can be large.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outline<'a> {
    #[serde(default)]
    media_type: Option<String>,
    #[serde(borrow)]
    verification_material: Option<&'a RawValue>,
    #[serde(default, rename = "dsseEnvelope")]
    _dsse_envelope: IgnoredAny,
    #[serde(default, rename = "messageSignature")]
    _message_signature: IgnoredAny,
}

/// A trust root, made ready.
struct Native {
    verifier: Verifier,
    /// The ids of its logs, in base64 as bundles have them.
    logs: Vec<String>,
}

pub(super) fn verifier(bytes: &[u8]) -> Result<Arc<dyn KeylessVerifier>, KeylessError> {
    let limit = usize::try_from(super::trust::MAX_TRUST_ROOT).unwrap_or(usize::MAX);
    let value: Value =
        json::parse(bytes, limit).map_err(|error| KeylessError::Root(error.to_string()))?;
    // A ClientTrustConfig holds a trust root beside what signing takes.
    let root = value.get("trustedRoot").unwrap_or(&value);
    let known = |text: &str| text.starts_with("application/vnd.dev.sigstore.trustedroot");
    if !root
        .get("mediaType")
        .and_then(Value::as_str)
        .is_some_and(known)
    {
        let what = "it is neither a trusted_root.json nor a ClientTrustConfig";
        return Err(KeylessError::Root(what.into()));
    }
    ready(&root.to_string())
}

pub(super) fn public(instance: Instance) -> Result<Arc<dyn KeylessVerifier>, KeylessError> {
    let instance = match instance {
        Instance::Production => SigstoreInstance::PublicGood,
        Instance::Staging => SigstoreInstance::Staging,
    };
    ready(instance.embedded_trusted_root_json())
}

pub(super) fn signing_config(instance: Instance) -> Result<&'static str, KeylessError> {
    let instance = match instance {
        Instance::Production => SigstoreInstance::PublicGood,
        Instance::Staging => SigstoreInstance::Staging,
    };
    instance
        .embedded_signing_config_json()
        .ok_or_else(|| KeylessError::Root("it has no signing configuration".into()))
}

fn ready(json: &str) -> Result<Arc<dyn KeylessVerifier>, KeylessError> {
    let unusable = |error: String| KeylessError::Root(error);
    let root = TrustedRoot::from_json(json).map_err(|error| unusable(error.to_string()))?;
    let logs = root.tlogs.iter();
    let logs = logs.map(|log| data_encoding::BASE64.encode(log.log_id.key_id.as_bytes()));
    let logs = logs.collect();
    let verifier = Verifier::new(&root).map_err(|error| unusable(error.to_string()))?;
    Ok(Arc::new(Native { verifier, logs }))
}

impl KeylessVerifier for Native {
    fn prove(&self, bundle: &[u8], digest: Sha256, ask: Ask) -> Result<Proof, KeylessError> {
        self.prove_subject(bundle, &Subject::Digest(digest), ask)
    }

    fn prove_subject(
        &self,
        bundle: &[u8],
        subject: &Subject<'_>,
        ask: Ask,
    ) -> Result<Proof, KeylessError> {
        let bundle = self.read(bundle)?;
        let mut policy = VerificationPolicy::any_identity();
        if !ask.log {
            policy = policy.skip_tlog_unsafe();
        }
        if !ask.certificate_log {
            policy = policy.skip_sct();
        }
        let result = self
            .verifier
            .verify(artifact(subject), &bundle, &policy)
            .map_err(refusal)?;
        // What was asked for was done, or this is no proof.
        let done = result.certificate_verified()
            && (result.tlog_verified() || !ask.log)
            && (result.sct_verified() || !ask.certificate_log)
            && !result.verified_timestamps().is_empty();
        if !done {
            return Err(KeylessError::Bundle("it was not wholly verified".into()));
        }
        Ok(proof(&bundle, &result))
    }

    fn prove_key(
        &self,
        bundle: &[u8],
        subject: &Subject<'_>,
        spki: &[u8],
    ) -> Result<Proof, KeylessError> {
        let bundle = self.read(bundle)?;
        let policy = PublicKeyVerificationPolicy::new(DerPublicKey::from_bytes(spki));
        let result = self
            .verifier
            .verify(artifact(subject), &bundle, &policy)
            .map_err(refusal)?;
        Ok(proof(&bundle, &result))
    }
}

impl Native {
    fn read(&self, bytes: &[u8]) -> Result<Bundle, KeylessError> {
        let outline: Outline<'_> = serde_json::from_slice(bytes)
            .map_err(|error| KeylessError::Bundle(format!("it is not JSON: {error}")))?;
        let material = outline.verification_material.map_or("null", RawValue::get);
        if material.len() > MAX_MATERIAL || bytes.len() > MAX_BUNDLE {
            return Err(KeylessError::Bundle(format!(
                "it has more than {MAX_MATERIAL} bytes beside what is signed"
            )));
        }
        let value: Value = json::parse(material.as_bytes(), MAX_MATERIAL)
            .map_err(|error| KeylessError::Bundle(format!("it is malformed: {error}")))?;
        let value = serde_json::json!({
            "mediaType": outline.media_type,
            "verificationMaterial": value,
        });
        duplicates::check(&value)?;
        // The checkpoint says which log it is. A copy that names a log nobody trusts is a contradiction.
        let ids = value
            .pointer("/verificationMaterial/tlogEntries")
            .and_then(Value::as_array);
        let ids = ids.into_iter().flatten();
        for id in ids.filter_map(|entry| entry.pointer("/logId/keyId")?.as_str()) {
            if !self.logs.iter().any(|log| log == id) {
                return Err(KeylessError::Log(format!(
                    "the log {id} is not in the trust root"
                )));
            }
        }
        let text =
            std::str::from_utf8(bytes).map_err(|error| KeylessError::Bundle(error.to_string()))?;
        Bundle::from_json(text).map_err(|error| KeylessError::Bundle(error.to_string()))
    }
}

fn artifact<'a>(subject: &Subject<'a>) -> Artifact<'a> {
    match subject {
        Subject::Digest(digest) => Artifact::from(Sha256Hash::new(digest.0)),
        Subject::Bytes(bytes) => Artifact::from_blob(bytes),
    }
}

fn proof(bundle: &Bundle, result: &VerificationResult) -> Proof {
    let mut times: Vec<Timestamp> = result
        .verified_timestamps()
        .iter()
        .filter_map(|time| Timestamp::from_millis(time.as_millisecond()))
        .collect();
    times.sort_unstable();
    times.dedup();
    Proof {
        identity: result
            .identity()
            .map(|name| name.as_str().to_owned())
            .unwrap_or_default(),
        issuer: result.issuer().unwrap_or_default().into(),
        claims: claims(result),
        times,
        certificate: bundle
            .signing_certificate()
            .map(|certificate| Sha256::of(certificate.as_bytes())),
    }
}

/// The claims of a build, in the order of [`super::CLAIMS`].
fn claims(result: &VerificationResult) -> Vec<(&'static str, String)> {
    let Some(certificate) = result.certificate() else {
        return Vec::new();
    };
    let ci = &certificate.ci_claims;
    let old = &ci.deprecated_github;
    let values = [
        &ci.build_signer_uri,
        &ci.build_signer_digest,
        &ci.runner_environment,
        &ci.source_repository_uri,
        &ci.source_repository_digest,
        &ci.source_repository_ref,
        &ci.source_repository_identifier,
        &ci.source_repository_owner_uri,
        &ci.source_repository_owner_identifier,
        &ci.build_config_uri,
        &ci.build_config_digest,
        &ci.build_trigger,
        &ci.run_invocation_uri,
        &ci.source_repository_visibility_at_signing,
        &ci.deployment_environment,
        &ci.token_subject,
        &old.workflow_trigger,
        &old.workflow_sha,
        &old.workflow_name,
        &old.workflow_repository,
        &old.workflow_ref,
    ];
    CLAIMS
        .into_iter()
        .zip(values)
        .filter_map(|(name, value)| Some((name, value.clone()?)))
        .collect()
}

fn refusal(error: Error) -> KeylessError {
    let text = error.to_string();
    match error {
        Error::SignatureInvalid(why) => KeylessError::Signature(why),
        Error::ArtifactMismatch(why) => KeylessError::Subject(why),
        Error::Certificate(_) => KeylessError::Certificate(text),
        Error::TransparencyLog(_) => KeylessError::Log(text),
        Error::Timestamp(_) => KeylessError::Time(text),
        Error::InvalidTrustRoot(_) | Error::TrustRoot(_) | Error::TrustedCertificate(_) => {
            KeylessError::Root(text)
        }
        _ => KeylessError::Bundle(text),
    }
}
