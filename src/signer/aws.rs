//! Keys in AWS KMS: `awskms://[ENDPOINT]/KEY`, where KEY is a key id, an ARN or `alias/NAME`, as cosign names
//! them. Requests are signed by Signature Version 4 (AWS Identity and Access Management, "Signing AWS API
//! requests"). The digest goes there, so that a message may have any size.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Remote, digest, failed};
use crate::client::http;
use crate::client::sigv4::{self, AwsKeys};
use crate::digest::{Sha256, decode_base64};
use crate::json;
use crate::key::{KeyAlgorithm, PublicKey, Signer, SignerError};
use crate::time::Timestamp;

/// Who asks, and where.
pub struct Account {
    pub keys: AwsKeys,
    /// `https://kms.REGION.amazonaws.com`, unless the URI names another.
    pub endpoint: Option<String>,
    pub now: fn() -> Timestamp,
}

const MAX_ANSWER: u64 = 1024 * 1024;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PublicKeyAnswer {
    public_key: String,
    key_spec: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SignAnswer {
    signature: String,
}

/// The key that `reference` names.
pub fn open(mut account: Account, reference: &str) -> Result<Box<dyn Signer>, SignerError> {
    let rest = reference.strip_prefix("awskms://").unwrap_or_default();
    let (endpoint, key) = rest
        .split_once('/')
        .filter(|(_, key)| !key.is_empty())
        .ok_or_else(|| SignerError(format!("{reference:?} is not awskms://[ENDPOINT]/KEY")))?;
    // arn:aws:kms:REGION:ACCOUNT:key/ID
    let mut arn = key.split(':');
    if arn.next() == Some("arn")
        && let Some(region) = arn.nth(2)
    {
        account.keys.region = region.into();
    }
    if !endpoint.is_empty() {
        account.endpoint = Some(format!("https://{endpoint}"));
    }
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if account.keys.region.is_empty() || !account.keys.region.chars().all(plain) {
        return Err(SignerError(format!(
            "{:?} is no region of AWS",
            account.keys.region
        )));
    }

    let answer: PublicKeyAnswer = account.ask("GetPublicKey", &json!({ "KeyId": key }))?;
    let public = decode_base64(&answer.public_key)
        .and_then(|der| PublicKey::from_spki(&der).ok())
        .ok_or_else(|| {
            SignerError(format!(
                "the key {key} is of type {}; ECC_NIST_P256, ECC_NIST_P384 and ECC_NIST_P521 are used",
                answer.key_spec.unwrap_or_default()
            ))
        })?;
    let algorithm = public.algorithm();
    let name = match algorithm {
        KeyAlgorithm::P256 => "ECDSA_SHA_256",
        KeyAlgorithm::P384 => "ECDSA_SHA_384",
        KeyAlgorithm::P521 => "ECDSA_SHA_512",
        other => {
            return Err(SignerError(format!(
                "the key {key} is of type {}, which is not used with KMS",
                other.name()
            )));
        }
    };
    let key = key.to_owned();
    let sign = move |message: &[u8]| {
        let digest =
            digest(algorithm, message).ok_or_else(|| SignerError("the key cannot sign".into()))?;
        let question = json!({
            "KeyId": key,
            "Message": data_encoding::BASE64.encode(&digest),
            "MessageType": "DIGEST",
            "SigningAlgorithm": name,
        });
        let answer: SignAnswer = account.ask("Sign", &question)?;
        decode_base64(&answer.signature).ok_or_else(|| SignerError("KMS gives no signature".into()))
    };
    Ok(Box::new(Remote { public, sign }))
}

impl Account {
    fn ask<T: serde::de::DeserializeOwned>(
        &self,
        action: &str,
        question: &Value,
    ) -> Result<T, SignerError> {
        let region = &self.keys.region;
        let url = self.endpoint.clone().unwrap_or_else(|| {
            let of_china = if region.starts_with("cn-") { ".cn" } else { "" };
            format!("https://kms.{region}.amazonaws.com{of_china}")
        });
        let (url, host) = address(&url).ok_or_else(|| {
            let shown = http::shown(&url);
            SignerError(format!(
                "{shown} is no address of a service: https://HOST[:PORT] is"
            ))
        })?;
        let body = question.to_string().into_bytes();
        let target = format!("TrentService.{action}");
        let signed = vec![
            ("content-type", "application/x-amz-json-1.1".to_owned()),
            ("host", host),
            ("x-amz-target", target),
        ];
        let headers = self.keys.sign(
            &sigv4::Request {
                service: "kms",
                method: "POST",
                path: "/",
                query: "",
                headers: signed,
                payload: Sha256::of(&body),
            },
            (self.now)(),
        );
        let secrets = self.keys.session_token.as_deref().into_iter().collect();

        let body = http::send(http::Request {
            url: &url,
            body: Some(body),
            headers,
            secrets,
            limit: MAX_ANSWER,
            timeout: Duration::from_secs(30),
        })
        .map_err(|error| failed("KMS", &crate::gate::cause(&error)))?;
        let limit = usize::try_from(MAX_ANSWER).unwrap_or(usize::MAX);
        json::parse(&body, limit).map_err(|error| failed("the answer of KMS is malformed", &error))
    }
}

/// What is asked, and the host as it is sent and signed. The service has no path.
fn address(endpoint: &str) -> Option<(String, String)> {
    let url = reqwest::Url::parse(endpoint).ok()?;
    let plain = ["http", "https"].contains(&url.scheme())
        && url.path() == "/"
        && url.query().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    let host = url.host_str().filter(|_| plain)?;
    let host = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    Some((url.to_string(), host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_is_what_is_sent() {
        for (endpoint, host) in [
            ("https://KMS.example:443", "kms.example"),
            ("http://LOCALHOST:18999/", "localhost:18999"),
            ("http://[::1]:1", "[::1]:1"),
        ] {
            let (url, found) = address(endpoint).unwrap();
            assert_eq!(found, host);
            assert!(url.ends_with(&format!("//{host}/")), "{url}");
        }
        for endpoint in [
            "https://a/path",
            "https://me@a",
            "ftp://a",
            "a",
            "https://a/?x",
        ] {
            assert_eq!(address(endpoint), None);
        }
    }
}
