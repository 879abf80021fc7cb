//! Requests to AWS and what speaks like it, signed by Signature Version 4 (AWS Identity and Access Management, "Signing
//! AWS API requests").

use zeroize::Zeroizing;

use crate::digest::Sha256;
use crate::time::Timestamp;

/// Who asks, and in which region.
#[derive(Clone)]
pub struct AwsKeys {
    pub access_key_id: String,
    pub secret_access_key: Zeroizing<String>,
    pub session_token: Option<String>,
    pub region: String,
}

/// What is signed of a request.
pub struct Request<'a> {
    pub service: &'a str,
    pub method: &'a str,
    /// As it is sent: encoded once.
    pub path: &'a str,
    /// As it is sent: each name and value encoded, in the order of their names.
    pub query: &'a str,
    /// In lower case; `host` must be among them, and is not returned.
    pub headers: Vec<(&'static str, String)>,
    /// Of the body.
    pub payload: Sha256,
}

impl AwsKeys {
    /// The headers of a request, with its signature among them.
    pub fn sign(&self, request: &Request<'_>, now: Timestamp) -> Vec<(&'static str, String)> {
        // 2026-11-28T09:30:00.000Z as 20261128T093000Z
        let time: String = now
            .to_string()
            .split('.')
            .next()
            .unwrap_or_default()
            .chars()
            .filter(|c| !"-:".contains(*c))
            .collect::<String>()
            + "Z";
        let day: String = time.chars().take(8).collect();
        let mut signed = request.headers.clone();
        signed.push(("x-amz-date", time.clone()));
        if let Some(token) = &self.session_token {
            signed.push(("x-amz-security-token", token.clone()));
        }
        signed.sort_unstable_by_key(|(name, _)| *name);
        let names: Vec<&str> = signed.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let lines = signed
            .iter()
            .fold(String::new(), |mut lines, (name, value)| {
                lines.extend([name, ":", value.trim(), "\n"]);
                lines
            });
        let Request {
            service,
            method,
            path,
            query,
            payload,
            ..
        } = request;
        let canonical = format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{payload}");
        let scope = format!("{day}/{}/{service}/aws4_request", self.region);
        let text = format!(
            "AWS4-HMAC-SHA256\n{time}\n{scope}\n{}",
            Sha256::of(canonical.as_bytes())
        );
        let secret = Zeroizing::new(format!("AWS4{}", *self.secret_access_key));
        let key = [day.as_str(), &self.region, service, "aws4_request"]
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
