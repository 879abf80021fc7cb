//! Strings in records: bounded, printable, and free of secrets.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

/// Text for people: 1 to 1,024 bytes, no control characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Text(#[schemars(length(min = 1, max = 1024))] String);

/// Where something was obtained: an absolute URI (RFC 3986) of at most 2,048 bytes, without
/// credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SourceUri(
    #[schemars(length(max = 2048), regex(pattern = r"^[A-Za-z][A-Za-z0-9+.-]*:.+$"))] String,
);

/// Why a string may not stand in a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    #[error("is empty")]
    Empty,
    #[error("has {size} bytes, more than {limit}")]
    TooLong { size: usize, limit: usize },
    #[error("holds a control character or a line break")]
    Control,
    #[error("is not an absolute URI such as https://example.org/model or pkg:pypi/name@1.0")]
    NotUri,
    #[error("holds credentials before the host; records are public, leave them out")]
    Credentials,
    #[error("holds a secret in its query ({0}); records are public, leave it out")]
    SecretInQuery(String),
}

impl Text {
    /// Takes a string.
    pub fn new(text: impl Into<String>) -> Result<Text, TextError> {
        let text = text.into();
        check(&text, 1024)?;
        if text.contains("://") {
            no_secrets(&text)?;
        }
        Ok(Text(text))
    }

    /// The string.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl SourceUri {
    /// Takes a URI.
    pub fn new(uri: impl Into<String>) -> Result<SourceUri, TextError> {
        let uri = uri.into();
        check(&uri, 2048)?;
        let (scheme, rest) = uri.split_once(':').ok_or(TextError::NotUri)?;
        let mut letters = scheme.chars();
        let scheme_is_good = letters.next().is_some_and(|c| c.is_ascii_alphabetic())
            && letters.all(|c| c.is_ascii_alphanumeric() || "+.-".contains(c));
        if !scheme_is_good || rest.is_empty() || rest.contains(' ') {
            return Err(TextError::NotUri);
        }
        no_secrets(&uri)?;
        Ok(SourceUri(uri))
    }

    /// The URI.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Refuses credentials before a host, and parameters whose name says that they carry a secret, in
/// the query or the fragment of any URI in `text`.
fn no_secrets(text: &str) -> Result<(), TextError> {
    for (at, _) in text.match_indices('@') {
        let before = text.get(..at).unwrap_or_default();
        let start = before
            .rfind(['/', '\\', '?', '#', '=', '&', ' '])
            .map_or(0, |found| found + 1);
        let (head, user) = before.split_at(start);
        // `hf:name@revision`: what begins the text is a scheme.
        let user = if start == 0 {
            user.split_once(':').map_or(user, |(_, rest)| rest)
        } else {
            user
        };
        // `ssh://git@host/…` names an account that everybody shares, `name@1.0` a version; a colon
        // adds a password, and before the host of another scheme any user is a credential.
        let host_follows = head.ends_with("//") && !head.ends_with("ssh://");
        if user.contains(':') || host_follows {
            return Err(TextError::Credentials);
        }
    }
    let parameters = text.split(['?', '#', '&', ';']).skip(1);
    for name in parameters
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, _)| decode(name))
    {
        if SECRETS.iter().any(|secret| name.contains(secret)) {
            return Err(TextError::SecretInQuery(name));
        }
    }
    Ok(())
}

/// A parameter's name without percent-encoding, in lower case.
fn decode(name: &str) -> String {
    let mut parts = name.split('%');
    let mut out = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let hex = part
            .get(..2)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (hex, part.get(2..)) {
            (Some(byte), Some(rest)) => {
                out.push(byte);
                out.extend_from_slice(rest.as_bytes());
            }
            _ => out.extend_from_slice(part.as_bytes()),
        }
    }
    String::from_utf8_lossy(&out).to_ascii_lowercase()
}

/// What the names of parameters contain by which presigned and tokenised URLs carry a secret.
const SECRETS: [&str; 10] = [
    "token",
    "secret",
    "sig",
    "passw",
    "pwd",
    "key",
    "jwt",
    "credential",
    "auth",
    "session",
];

fn check(text: &str, limit: usize) -> Result<(), TextError> {
    if text.is_empty() {
        return Err(TextError::Empty);
    }
    if text.len() > limit {
        return Err(TextError::TooLong {
            size: text.len(),
            limit,
        });
    }
    if text.chars().any(char::is_control) {
        return Err(TextError::Control);
    }
    Ok(())
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::path::display(&self.0))
    }
}

impl fmt::Display for SourceUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::path::display(&self.0))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
        Text::new(String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for SourceUri {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SourceUri, D::Error> {
        SourceUri::new(String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_without_secrets() {
        for good in [
            "https://example.org/model?download=true",
            "pkg:pypi/silero-vad@6.2.3",
            "hf:org/name@0123",
            "pkg:npm/%40scope/name@1.0?checksum=sha256:00",
            "ssh://git@example.org/repo",
            "hf:gpt2@main",
            "s3://bucket/key",
            "file:///srv/m",
        ] {
            assert!(SourceUri::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "model",
            "/srv/model",
            "1http://a",
            "https:",
            "https://a b",
            "https://user:secret@example.org/",
            "https://token@example.org/",
            "ssh://git:secret@example.org/",
            "https://e.org/m?X-Amz-Signature=1",
            "https://e.org/m?a=1&sig=abc",
            "https://e.org/m?access_token=1",
            "https://e.org/\u{7}",
        ] {
            assert!(SourceUri::new(bad).is_err(), "{bad}");
        }
    }
}
