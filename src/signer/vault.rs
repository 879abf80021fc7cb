//! Keys in the transit engine of Vault and OpenBao: `hashivault://KEY` and `openbao://KEY`, as cosign names
//! them. Two requests: the key, and a signature over a digest.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Remote, digest, failed};
use crate::client::http;
use crate::digest::decode_base64;
use crate::json;
use crate::key::{KeyAlgorithm, PublicKey, Signer, SignerError};

/// Where the service is, and who asks.
pub struct Vault {
    /// `https://host:8200`
    pub address: String,
    pub token: zeroize::Zeroizing<String>,
    pub namespace: Option<String>,
    /// Where the engine is mounted: `transit`.
    pub mount: String,
}

const MAX_ANSWER: u64 = 1024 * 1024;

#[derive(Deserialize)]
struct KeyAnswer {
    data: KeyData,
}

#[derive(Deserialize)]
struct KeyData {
    latest_version: u64,
    keys: std::collections::BTreeMap<String, KeyVersion>,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct KeyVersion {
    public_key: Option<String>,
}

#[derive(Deserialize)]
struct SignAnswer {
    data: SignData,
}

#[derive(Deserialize)]
struct SignData {
    signature: String,
}

/// The key called `name`: its newest version signs.
pub fn open(vault: Vault, name: &str) -> Result<Box<dyn Signer>, SignerError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || !name.chars().all(plain) || name.starts_with('.') {
        return Err(SignerError(format!("{name:?} is no name of a transit key")));
    }
    let answer: KeyAnswer = vault.ask(&format!("keys/{name}"), None)?;
    let version = answer.data.latest_version;
    let key = answer.data.keys.get(&version.to_string());
    let text = key
        .and_then(|key| key.public_key.as_deref())
        .ok_or_else(|| {
            SignerError(format!(
                "the transit key {name} is of type {} and does not sign",
                answer.data.kind
            ))
        })?;
    let public = public(text).ok_or_else(|| {
        SignerError(format!(
            "the transit key {name} is of type {}; ecdsa-p256, ecdsa-p384, ecdsa-p521 and ed25519 are used",
            answer.data.kind
        ))
    })?;
    let algorithm = public.algorithm();
    let name = name.to_owned();
    let sign = move |message: &[u8]| {
        let input = digest(algorithm, message);
        let hash = match algorithm {
            KeyAlgorithm::P384 => "sha2-384",
            KeyAlgorithm::P521 => "sha2-512",
            _ => "sha2-256",
        };
        let prehashed = input.is_some();
        let input = input.unwrap_or_else(|| message.to_vec());
        let question = json!({
            "input": data_encoding::BASE64.encode(&input),
            "prehashed": prehashed,
            "key_version": version,
            "marshaling_algorithm": "asn1",
        });
        let answer: SignAnswer = vault.ask(&format!("sign/{name}/{hash}"), Some(&question))?;
        // vault:v1:… whatever the product is called.
        let text = answer.data.signature.rsplit(':').next();
        text.and_then(decode_base64)
            .ok_or_else(|| SignerError("the transit engine gives no signature".into()))
    };
    Ok(Box::new(Remote { public, sign }))
}

/// EC keys come in PEM, Ed25519 keys as 32 bytes in base64.
fn public(text: &str) -> Option<PublicKey> {
    if text.contains("-----BEGIN") {
        return PublicKey::from_pem(text).ok();
    }
    let bytes = decode_base64(text.trim())?;
    PublicKey::from_bytes(KeyAlgorithm::Ed25519, &bytes).ok()
}

impl Vault {
    fn ask<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        question: Option<&Value>,
    ) -> Result<T, SignerError> {
        let address = self.address.trim_end_matches('/');
        let url = format!("{address}/v1/{}/{path}", self.mount.trim_matches('/'));
        let mut headers = vec![
            ("x-vault-token", self.token.to_string()),
            ("x-vault-request", "true".into()),
        ];
        if let Some(namespace) = &self.namespace {
            headers.push(("x-vault-namespace", namespace.clone()));
        }
        let body = http::send(http::Request {
            url: &url,
            body: question.map(|question| question.to_string().into_bytes()),
            headers,
            secrets: vec![&self.token],
            limit: MAX_ANSWER,
            timeout: Duration::from_secs(30),
        })
        .map_err(|error| failed("the transit engine", &crate::gate::cause(&error)))?;
        let limit = usize::try_from(MAX_ANSWER).unwrap_or(usize::MAX);
        json::parse(&body, limit)
            .map_err(|error| failed("the transit engine's answer is malformed", &error))
    }
}
