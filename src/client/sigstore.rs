//! Signing keyless: a certificate of a key that lives for a moment (Fulcio), a place in a transparency log
//! (Rekor 1 or 2), a timestamp. One request each. Everything that comes back is verified by the caller, with
//! the trust root, before it is written.

use std::time::Duration;

use data_encoding::{BASE64, HEXLOWER};
use der::asn1::BitString;
use der::{AnyRef, Encode, Tag};
use serde::Deserialize;
use serde_json::{Value, json};

use super::http::{self, HttpError};
use crate::digest::{Sha256, decode_base64};
use crate::envelope::Envelope;
use crate::json::{self, JsonError};
use crate::key::{PrivateKey, Signer, SignerError};
use crate::sigstore::signing_config::LogService;
use crate::x509::{Certificate, CertificateError};

/// Why there is no signature.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SigningError {
    #[error("{what}")]
    Http {
        what: &'static str,
        source: HttpError,
    },
    #[error("the answer of {what} is malformed: {source}")]
    Json {
        what: &'static str,
        source: JsonError,
    },
    #[error("the answer of {what} is malformed: {why}")]
    Answer {
        what: &'static str,
        why: &'static str,
    },
    #[error("the certificate that was issued {0}")]
    Certificate(#[from] CertificateError),
    #[error("the request for a certificate cannot be made: {0}")]
    Request(der::Error),
    #[error("{0}")]
    Signer(#[from] SignerError),
    #[error("the log speaks version {0}, which is not spoken here")]
    Version(u32),
}

const TIMEOUT: Duration = Duration::from_secs(60);
const MAX_ANSWER: u64 = 16 * 1024 * 1024;

fn post(
    what: &'static str,
    url: &str,
    secrets: Vec<&str>,
    body: &Value,
) -> Result<Value, SigningError> {
    let headers = vec![
        ("content-type", "application/json".to_owned()),
        ("accept", "application/json".to_owned()),
    ];
    let answer = http::send(http::Request {
        url,
        body: Some(body.to_string().into_bytes()),
        headers,
        secrets,
        limit: MAX_ANSWER,
        timeout: TIMEOUT,
    })
    .map_err(|source| SigningError::Http { what, source })?;
    let limit = usize::try_from(MAX_ANSWER).unwrap_or(usize::MAX);
    json::parse(&answer, limit).map_err(|source| SigningError::Json { what, source })
}

const FULCIO: &str = "the certificate authority";
const REKOR: &str = "the transparency log";

/// A certificate of `key` for whom `token` is about, in DER.
pub fn certificate(
    authority: &str,
    token: &str,
    key: &PrivateKey,
) -> Result<Certificate, SigningError> {
    let url = format!("{}/api/v2/signingCert", authority.trim_end_matches('/'));
    let request = pem("CERTIFICATE REQUEST", &request(key)?);
    let body = json!({
        "credentials": { "oidcIdentityToken": token },
        "certificateSigningRequest": BASE64.encode(request.as_bytes()),
    });
    let answer = post(FULCIO, &url, vec![token], &body)?;
    let kinds = [
        "signedCertificateEmbeddedSct",
        "signedCertificateDetachedSct",
    ];
    let text = kinds
        .iter()
        .find_map(|kind| {
            answer
                .pointer(&format!("/{kind}/chain/certificates/0"))?
                .as_str()
        })
        .ok_or(SigningError::Answer {
            what: FULCIO,
            why: "it holds no certificate",
        })?;
    let leaf = Certificate::from_pem(text)?.into_iter().next();
    let leaf = leaf.ok_or(CertificateError::None)?;
    if leaf.public_key().ok() != Some(key.public()) {
        return Err(SigningError::Answer {
            what: FULCIO,
            why: "the certificate is of another key",
        });
    }
    Ok(leaf)
}

/// A certification request (RFC 2986) without a name: the authority takes that from the token.
fn request(key: &PrivateKey) -> Result<Vec<u8>, SigningError> {
    let sequence = |parts: &[&[u8]]| {
        let content = parts.concat();
        AnyRef::new(Tag::Sequence, &content)
            .and_then(|any| any.to_der())
            .map_err(SigningError::Request)
    };
    // version 0, no subject, the key, no attributes
    let info = sequence(&[
        &[0x02, 0x01, 0x00],
        &[0x30, 0x00],
        &key.public().to_spki(),
        &[0xa0, 0x00],
    ])?;
    let signature = key.sign(&info)?.into_iter().next().unwrap_or_default();
    let signature = BitString::from_bytes(&signature)
        .and_then(|bits| bits.to_der())
        .map_err(SigningError::Request)?;
    // ecdsa-with-SHA256
    let algorithm = [
        0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02,
    ];
    sequence(&[&info, &algorithm, &signature])
}

fn pem(label: &str, der: &[u8]) -> String {
    der::pem::encode_string(label, der::pem::LineEnding::LF, der).unwrap_or_default()
}

/// Puts the signature of `envelope` into a log. The entry as bundles have it.
pub fn log(
    service: &LogService,
    envelope: &Envelope,
    certificate: &Certificate,
) -> Result<Value, SigningError> {
    match service.version {
        2 => log_v2(&service.url, envelope, certificate),
        1 => log_v1(&service.url, envelope, certificate),
        other => Err(SigningError::Version(other)),
    }
}

fn log_v2(
    url: &str,
    envelope: &Envelope,
    certificate: &Certificate,
) -> Result<Value, SigningError> {
    let signature = envelope.signatures.first().map(|one| one.sig.as_slice());
    let body = json!({ "hashedRekordRequestV002": {
        "digest": BASE64.encode(&Sha256::of(&envelope.message()).0),
        "signature": {
            "content": BASE64.encode(signature.unwrap_or_default()),
            "verifier": {
                "x509Certificate": { "rawBytes": BASE64.encode(certificate.der()) },
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
            },
        },
    } });
    let url = format!("{}/api/v2/log/entries", url.trim_end_matches('/'));
    let mut entry = post(REKOR, &url, Vec::new(), &body)?;
    let Some(fields) = entry.as_object_mut() else {
        return Err(SigningError::Answer {
            what: REKOR,
            why: "it is no entry",
        });
    };
    // What this version of the log does not say at all.
    fields.retain(|_, value| !value.is_null());
    if fields.get("integratedTime").and_then(Value::as_str) == Some("0") {
        fields.remove("integratedTime");
    }
    Ok(entry)
}

/// An entry as version 1 answers it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EntryV1 {
    body: String,
    integrated_time: u64,
    #[serde(rename = "logID")]
    log_id: String,
    log_index: u64,
    verification: VerificationV1,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VerificationV1 {
    inclusion_proof: ProofV1,
    signed_entry_timestamp: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProofV1 {
    checkpoint: String,
    hashes: Vec<String>,
    log_index: u64,
    root_hash: String,
    tree_size: u64,
}

fn log_v1(
    url: &str,
    envelope: &Envelope,
    certificate: &Certificate,
) -> Result<Value, SigningError> {
    let malformed = |why| SigningError::Answer { what: REKOR, why };
    let envelope = serde_json::to_string(envelope).map_err(|source| SigningError::Json {
        what: REKOR,
        source: source.into(),
    })?;
    let certificate = pem("CERTIFICATE", certificate.der());
    let body = json!({
        "apiVersion": "0.0.1",
        "kind": "dsse",
        "spec": { "proposedContent": {
            "envelope": envelope,
            "verifiers": [BASE64.encode(certificate.as_bytes())],
        } },
    });
    let url = format!("{}/api/v1/log/entries", url.trim_end_matches('/'));
    let answer = post(REKOR, &url, Vec::new(), &body)?;
    let entries = answer.as_object().filter(|entries| entries.len() == 1);
    let entry = entries
        .and_then(|entries| entries.values().next())
        .ok_or_else(|| malformed("it is no entry"))?;
    let entry: EntryV1 =
        serde_json::from_value(entry.clone()).map_err(|source| SigningError::Json {
            what: REKOR,
            source: source.into(),
        })?;
    let base64 = |hex: &str| {
        let bytes = HEXLOWER.decode(hex.as_bytes());
        bytes
            .map(|bytes| BASE64.encode(&bytes))
            .map_err(|_| malformed("a digest is not hexadecimal"))
    };
    decode_base64(&entry.body).ok_or_else(|| malformed("the entry is not base64"))?;
    let proof = &entry.verification.inclusion_proof;
    let hashes: Vec<String> = proof
        .hashes
        .iter()
        .map(|hex| base64(hex))
        .collect::<Result<_, _>>()?;
    Ok(json!({
        "logIndex": entry.log_index.to_string(),
        "logId": { "keyId": base64(&entry.log_id)? },
        "kindVersion": { "kind": "dsse", "version": "0.0.1" },
        "integratedTime": entry.integrated_time.to_string(),
        "inclusionPromise": {
            "signedEntryTimestamp": entry.verification.signed_entry_timestamp,
        },
        "inclusionProof": {
            "logIndex": proof.log_index.to_string(),
            "rootHash": base64(&proof.root_hash)?,
            "treeSize": proof.tree_size.to_string(),
            "hashes": hashes,
            "checkpoint": { "envelope": proof.checkpoint },
        },
        "canonicalizedBody": entry.body,
    }))
}

/// The identity token of a GitHub Actions job, for the audience of Sigstore.
pub fn github_token(request_url: &str, request_token: &str) -> Result<String, SigningError> {
    let what = "the runner's identity service";
    let separator = if request_url.contains('?') { '&' } else { '?' };
    let answer = http::send(http::Request {
        url: &format!("{request_url}{separator}audience=sigstore"),
        body: None,
        headers: vec![
            ("authorization", format!("bearer {request_token}")),
            ("accept", "application/json".into()),
        ],
        secrets: vec![request_token],
        limit: 1024 * 1024,
        timeout: TIMEOUT,
    })
    .map_err(|source| SigningError::Http { what, source })?;
    let answer: Value =
        json::parse(&answer, 1024 * 1024).map_err(|source| SigningError::Json { what, source })?;
    let token = answer.get("value").and_then(Value::as_str);
    token.map(str::to_owned).ok_or(SigningError::Answer {
        what,
        why: "it holds no token",
    })
}
