//! Keys in AWS KMS: `awskms://[ENDPOINT]/KEY`, where KEY is a key id, an ARN or `alias/NAME`, as cosign names
//! them. Requests are signed by Signature Version 4 (AWS Identity and Access Management, "Signing AWS API
//! requests"). The digest goes there, so that a message may have any size.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Remote, digest, failed};
use crate::client::http;
use crate::digest::{Sha256, decode_base64};
use crate::json;
use crate::key::{KeyAlgorithm, PublicKey, Signer, SignerError};
use crate::time::Timestamp;

/// Who asks, and where.
pub struct Account {
    pub access_key_id: String,
    pub secret_access_key: zeroize::Zeroizing<String>,
    pub session_token: Option<String>,
    pub region: String,
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
        account.region = region.into();
    }
    if !endpoint.is_empty() {
        account.endpoint = Some(format!("https://{endpoint}"));
    }
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if account.region.is_empty() || !account.region.chars().all(plain) {
        return Err(SignerError(format!(
            "{:?} is no region of AWS",
            account.region
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
        let region = &self.region;
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
        let headers = self.headers(&host, &target, &body);
        let secrets = self.session_token.as_deref().into_iter().collect();

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

    /// The headers of a request, with its signature among them.
    fn headers(&self, host: &str, target: &str, body: &[u8]) -> Vec<(&'static str, String)> {
        let kind = "application/x-amz-json-1.1";
        // 2026-11-28T09:30:00.000Z as 20261128T093000Z
        let time: String = (self.now)()
            .to_string()
            .split('.')
            .next()
            .unwrap_or_default()
            .chars()
            .filter(|c| !"-:".contains(*c))
            .collect::<String>()
            + "Z";
        let day: String = time.chars().take(8).collect();
        let mut signed = vec![
            ("content-type", kind.to_owned()),
            ("host", host.to_owned()),
            ("x-amz-date", time.clone()),
        ];
        if let Some(token) = &self.session_token {
            signed.push(("x-amz-security-token", token.clone()));
        }
        signed.push(("x-amz-target", target.to_owned()));
        let names: Vec<&str> = signed.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let lines = signed
            .iter()
            .fold(String::new(), |mut lines, (name, value)| {
                lines.extend([name, ":", value.trim(), "\n"]);
                lines
            });
        let request = format!("POST\n/\n\n{lines}\n{names}\n{}", Sha256::of(body));
        let scope = format!("{day}/{}/kms/aws4_request", self.region);
        let text = format!(
            "AWS4-HMAC-SHA256\n{time}\n{scope}\n{}",
            Sha256::of(request.as_bytes())
        );
        let secret = zeroize::Zeroizing::new(format!("AWS4{}", *self.secret_access_key));
        let key = [day.as_str(), &self.region, "kms", "aws4_request"]
            .iter()
            .fold(secret.as_bytes().to_vec(), |key, part| {
                hmac(&key, part.as_bytes())
            });
        let signature = data_encoding::HEXLOWER.encode(&hmac(&key, text.as_bytes()));
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            self.access_key_id
        );
        let mut headers = signed;
        headers.retain(|(name, _)| *name != "host");
        headers.push(("authorization", authorization));
        headers
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

/// HMAC-SHA-256 (RFC 2104).
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = [0_u8; 64];
    let hashed;
    let key = if key.len() > block.len() {
        hashed = Sha256::of(key).0;
        &hashed[..]
    } else {
        key
    };
    for (place, byte) in block.iter_mut().zip(key) {
        *place = *byte;
    }
    let pad = |with: u8| block.iter().map(|byte| byte ^ with).collect::<Vec<u8>>();
    let inner = Sha256::of(&[pad(0x36).as_slice(), message].concat());
    Sha256::of(&[pad(0x5c).as_slice(), &inner.0].concat())
        .0
        .to_vec()
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

    /// RFC 4231 §4.3, test case 2, and §4.7, test case 6: a key longer than a block.
    #[test]
    fn hmac_of_the_specification() {
        let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
        assert_eq!(
            hex(&hmac(b"Jefe", b"what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        let message = b"Test Using Larger Than Block-Size Key - Hash Key First";
        assert_eq!(
            hex(&hmac(&[0xaa; 131], message)),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }
}
