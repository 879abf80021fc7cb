//! Signatures that are attached to a manifest in a registry: Sigstore bundles as cosign 3 stores them (sigstore/cosign,
//! `specs/BUNDLE_SPEC.md`), found by the referrers interface or by the tag that stands in for it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::manifest::{Descriptor, Index, MAX_MANIFEST, name, parse, spelled};
use super::registry::Registry;
use crate::bundle::{Bundle, MEDIA_TYPE};
use crate::digest::{Digest, Sha256};
use crate::envelope::{Envelope, IN_TOTO};
use crate::json::{self, JsonError};
use crate::key::{PublicKey, Signer};
use crate::sigstore::KeylessTrust;
use crate::source::SourceError;
use crate::statement::STATEMENT;

/// The most bundles of one manifest that are looked at, and the largest of them.
const MAX_REFERRERS: usize = 64;
pub const MAX_BUNDLE: u64 = 16 * 1024 * 1024;

/// What OCI calls a configuration that is none: `{}`.
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// What cosign says when it signs an image.
const COSIGN_SIGN: &str = "https://sigstore.dev/cosign/sign/v1";

/// A bundle that refers to a manifest.
pub struct Attached {
    pub bytes: Vec<u8>,
}

fn unusable(error: &dyn std::error::Error) -> SourceError {
    SourceError::Unusable(error.to_string())
}

/// Every bundle that refers to the manifest `subject`.
pub fn read(registry: &Registry, subject: &str) -> Result<Vec<Attached>, SourceError> {
    let Some((index, _)) = registry.referrers(subject)? else {
        return Ok(Vec::new());
    };
    let Err(index) = parse(&index).map_err(|error| unusable(&error))? else {
        // Somebody's image has the tag.
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    let is_bundle = |one: &&Descriptor| {
        one.artifact_type
            .as_deref()
            .is_some_and(|kind| kind.starts_with("application/vnd.dev.sigstore.bundle"))
    };
    for descriptor in index.manifests.iter().filter(is_bundle).take(MAX_REFERRERS) {
        // Everybody may attach something: what is wrong with it is no reason to see nothing of the rest.
        match bundle_of(registry, descriptor) {
            Ok(Some(one)) => found.push(one),
            Ok(None) | Err(SourceError::Unusable(_) | SourceError::Contradiction(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

fn bundle_of(
    registry: &Registry,
    descriptor: &Descriptor,
) -> Result<Option<Attached>, SourceError> {
    let digest = descriptor.digest().map_err(|error| unusable(&error))?;
    let manifest = registry.manifest(&spelled(&digest))?;
    let Ok(manifest) = parse(&manifest.bytes).map_err(|error| unusable(&error))? else {
        return Ok(None);
    };
    let Some(layer) = manifest.layers.first() else {
        return Ok(None);
    };
    let layer = layer.digest().map_err(|error| unusable(&error))?;
    let bytes = registry.small_blob(&layer, MAX_BUNDLE)?;
    // What is no bundle is nobody's evidence.
    let is_bundle = Bundle::parse(&bytes).is_ok();
    Ok(is_bundle.then_some(Attached { bytes }))
}

/// Who must have signed a manifest.
pub enum ImageSigner {
    Key(Box<PublicKey>),
    /// Whoever logged in.
    Keyless(Box<KeylessTrust>),
}

impl ImageSigner {
    /// Whose signature over the manifest with the digest `subject` this is, if it is by whom must have made it. A statement of
    /// another kind about it, that it failed a test for one, is no signature.
    pub fn made(&self, bundle: &[u8], subject: &Digest) -> Option<String> {
        let parsed = Bundle::parse(bundle).ok()?;
        let envelope = &parsed.dsse_envelope;
        if envelope.payload_type != IN_TOTO || !is_about(&envelope.payload, subject)? {
            return None;
        }
        match self {
            ImageSigner::Key(key) => envelope
                .signed_by(key)
                .then(|| format!("key {}", key.key_id())),
            ImageSigner::Keyless(trust) => {
                let bytes = <[u8; 32]>::try_from(&*subject.bytes).ok()?;
                let proof = trust.verify(bundle, Sha256(bytes)).ok()?;
                Some(format!("{} by {}", proof.identity, proof.issuer))
            }
        }
    }
}

/// Does a statement say what cosign says of an image that it signs, of this one?
fn is_about(statement: &[u8], subject: &Digest) -> Option<bool> {
    let limit = usize::try_from(MAX_BUNDLE).unwrap_or(usize::MAX);
    let statement: Value = json::parse(statement, limit).ok()?;
    let is_it = |one: &Value| {
        let digest = one
            .get("digest")
            .and_then(|all| all.get(subject.algorithm.name()));
        digest.and_then(Value::as_str) == Some(subject.hex().as_str())
    };
    let subjects = statement.get("subject")?.as_array()?;
    let is_signature = statement.get("predicateType")?.as_str()? == COSIGN_SIGN;
    let is_statement = statement.get("_type")?.as_str()? == STATEMENT;
    Some(is_statement && is_signature && subjects.iter().any(is_it))
}

/// What cosign states of an image that it signs: `cosign verify` takes it.
pub fn image_statement(manifest: &Digest) -> Result<Vec<u8>, JsonError> {
    let digests = BTreeMap::from([(manifest.algorithm.name(), manifest.hex())]);
    json::canonical(&json!({
        "_type": STATEMENT,
        "subject": [{ "digest": digests }],
        "predicateType": COSIGN_SIGN,
        "predicate": {},
    }))
}

/// That statement, signed by `key`.
pub fn image_signature(
    manifest: &Digest,
    key: &dyn Signer,
) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let envelope = Envelope::sign(image_statement(manifest)?, IN_TOTO, key, "")?;
    let hint = data_encoding::BASE64.encode(&key.public().oms_hint().0);
    Ok(Bundle::with_key_hint(envelope, hint).to_json()?)
}

/// Attaches `bundle` to the manifest that `subject` describes; `at` is when, in RFC 3339. The digest of the manifest that holds it.
pub fn attach(
    registry: &Registry,
    subject: &Subject<'_>,
    bundle: &[u8],
    at: &str,
) -> Result<String, SourceError> {
    registry.put_blob(b"{}")?;
    registry.put_blob(bundle)?;
    let predicate = predicate_type(bundle);
    let annotations = json!({
        "dev.sigstore.bundle.content": "dsse-envelope",
        "dev.sigstore.bundle.predicateType": predicate,
        "org.opencontainers.image.created": at,
    });
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": MEDIA_TYPE,
        "config": {
            "mediaType": EMPTY,
            "digest": format!("sha256:{}", Sha256::of(b"{}")),
            "size": 2,
        },
        "layers": [{
            "mediaType": MEDIA_TYPE,
            "digest": format!("sha256:{}", Sha256::of(bundle)),
            "size": bundle.len(),
        }],
        "subject": {
            "mediaType": subject.media_type,
            "digest": subject.digest,
            "size": subject.size,
        },
        "annotations": annotations,
    });
    let bytes = json::canonical(&manifest).map_err(|error| unusable(&error))?;
    let digest = name(&bytes);
    let is_listed = registry.put_manifest(&digest, MANIFEST, &bytes)?;
    // Some say that they list it and have no list (ECR): only the list itself proves it.
    let listed = match registry.referrers(subject.digest)? {
        Some((index, false)) if is_listed => in_index(&index, &digest),
        Some((_, false)) => true,
        _ => false,
    };
    if !listed {
        let descriptor = json!({
            "mediaType": MANIFEST,
            "digest": digest,
            "size": bytes.len(),
            "artifactType": MEDIA_TYPE,
            "annotations": annotations,
        });
        list(registry, subject.digest, descriptor)?;
    }
    Ok(digest)
}

/// A manifest that is referred to.
pub struct Subject<'a> {
    pub media_type: &'a str,
    pub digest: &'a str,
    pub size: usize,
}

fn in_index(index: &[u8], digest: &str) -> bool {
    matches!(parse(index), Ok(Err(Index { manifests, .. }))
        if manifests.iter().any(|one| one.digest == digest))
}

/// Adds to the list that stands in for the interface, as its clients must (distribution-spec, "Referrers Tag Schema").
fn list(registry: &Registry, subject: &str, descriptor: Value) -> Result<(), SourceError> {
    let tag = subject.replacen(':', "-", 1);
    let mut manifests = Vec::new();
    if let Some((bytes, true)) = registry.referrers(subject)? {
        let index: Value = serde_json::from_slice(&bytes).map_err(|error| unusable(&error))?;
        let there = index.get("manifests").and_then(Value::as_array);
        let there = there.ok_or_else(|| {
            SourceError::Unusable(format!(
                "the tag {tag} is an image, not a list: nothing is attached"
            ))
        })?;
        manifests.extend(there.iter().cloned());
    }
    let same = |one: &Value| one.get("digest") == descriptor.get("digest");
    if !manifests.iter().any(same) {
        manifests.push(descriptor);
    }
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
    let bytes = serde_json::to_vec(&index).map_err(|error| unusable(&error))?;
    if bytes.len() as u64 > MAX_MANIFEST {
        return Err(SourceError::Unusable(format!(
            "the list {tag} would be too large"
        )));
    }
    registry.put_manifest(&tag, INDEX, &bytes)?;
    Ok(())
}

/// What the statement in a bundle is for.
fn predicate_type(bundle: &[u8]) -> String {
    let payload = Bundle::parse(bundle).map(|bundle| bundle.dsse_envelope.payload);
    let statement: Option<Value> = payload
        .ok()
        .and_then(|payload| serde_json::from_slice(&payload).ok());
    let kind = statement
        .as_ref()
        .and_then(|it| it.get("predicateType")?.as_str());
    kind.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{KeyAlgorithm, PrivateKey};
    use crate::source::oci::manifest::parse_digest;

    /// Only a signature is one: a statement that says something else of the manifest is not.
    #[test]
    fn other_statements() {
        let key = PrivateKey::generate(KeyAlgorithm::P256).unwrap();
        let subject = parse_digest(&name(b"manifest")).unwrap();
        let good = image_signature(&subject, &key).unwrap();
        let signer = ImageSigner::Key(Box::new(key.public()));
        assert!(signer.made(&good, &subject).is_some());
        let another = parse_digest(&name(b"x")).unwrap();
        assert_eq!(signer.made(&good, &another), None);
        let statement = json!({
            "_type": STATEMENT,
            "subject": [{ "digest": { "sha256": subject.hex() } }],
            "predicateType": "https://slsa.dev/verification_summary/v1",
            "predicate": { "verificationResult": "FAILED" },
        });
        let payload = json::canonical(&statement).unwrap();
        let envelope = Envelope::sign(payload, IN_TOTO, &key, "").unwrap();
        let other = Bundle::with_key_hint(envelope, String::new())
            .to_json()
            .unwrap();
        assert_eq!(signer.made(&other, &subject), None);
    }
}
