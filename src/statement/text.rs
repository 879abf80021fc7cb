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
        let authority = rest.strip_prefix("//").unwrap_or_default();
        let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
        let ssh = scheme.eq_ignore_ascii_case("ssh") || scheme.eq_ignore_ascii_case("git+ssh");
        // `ssh://git@host/…` names an account that everybody shares; a colon adds a password.
        if let Some((user, _)) = authority.rsplit_once('@')
            && (!ssh || user.contains(':'))
        {
            return Err(TextError::Credentials);
        }
        let query = rest.split_once('?').map_or("", |(_, query)| query);
        for pair in query.split(['&', ';', '#']) {
            let name = pair
                .split('=')
                .next()
                .unwrap_or_default()
                .to_ascii_lowercase();
            if SECRETS
                .iter()
                .any(|secret| name == *secret || name.ends_with(&format!("-{secret}")))
            {
                return Err(TextError::SecretInQuery(name));
            }
        }
        Ok(SourceUri(uri))
    }

    /// The URI.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Query parameters by which presigned and tokenised URLs carry a secret.
const SECRETS: [&str; 12] = [
    "token",
    "access_token",
    "api_key",
    "apikey",
    "key",
    "password",
    "secret",
    "sig",
    "signature",
    "credential",
    "security-token",
    "auth",
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
            "ssh://git@example.org/repo",
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
