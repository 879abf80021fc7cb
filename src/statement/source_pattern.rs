//! Patterns of source addresses: a domain with all beneath it, the beginning of an address, or an address with `*` for
//! any run of characters. Bytes are compared as they stand, but for the case of scheme and server.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Which sources are meant.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(transparent)]
pub struct SourcePattern(#[schemars(length(min = 1, max = 1024))] String);

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no source: a domain such as example.com, the beginning of an address such as https://example.com/forum/, \
     or an address with * for any characters"
)]
pub struct PatternError(String);

impl FromStr for SourcePattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<SourcePattern, PatternError> {
        let wrong = || PatternError(crate::path::display(text));
        if text.is_empty() || text.len() > 1024 || text.chars().any(char::is_control) {
            return Err(wrong());
        }
        if is_address(text) {
            // All of everything is a mistake, not a pattern.
            let says_something = text.bytes().any(|byte| byte.is_ascii_alphanumeric());
            return says_something
                .then(|| SourcePattern(lower(text)))
                .ok_or_else(wrong);
        }
        let domain = text.trim_end_matches('.');
        let domain = domain.strip_prefix("*.").unwrap_or(domain);
        let is_domain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if domain.is_empty() || !domain.bytes().all(is_domain) {
            return Err(wrong());
        }
        Ok(SourcePattern(domain.to_ascii_lowercase()))
    }
}

impl SourcePattern {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Is `uri` one of those that are meant?
    pub fn matches(&self, uri: &str) -> bool {
        let pattern = self.0.as_str();
        if !is_address(pattern) {
            return host(uri).is_some_and(|host| {
                let above = host.trim_end_matches('.').strip_suffix(pattern);
                above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
            });
        }
        let uri = lower(uri);
        if pattern.contains('*') {
            return fits(pattern, &uri);
        }
        uri.strip_prefix(pattern).is_some_and(|rest| {
            // Of a server alone, not of another whose name goes on.
            let is_server = pattern
                .split_once("://")
                .is_some_and(|(_, rest)| !rest.contains('/'));
            !is_server || rest.is_empty() || rest.starts_with(['/', ':', '?', '#'])
        })
    }
}

fn is_address(text: &str) -> bool {
    // `example.com:443` is neither an address nor a domain.
    text.split_once(':')
        .is_some_and(|(scheme, rest)| rest.starts_with("//") || !scheme.contains('.'))
}

/// Does the whole `text` fit `pattern`, in which `*` is any run of characters? In time that grows with both lengths.
fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// An address with its scheme and server in lower case, which is how they are compared.
fn lower(uri: &str) -> String {
    let Some((scheme, rest)) = uri.split_once("://") else {
        return uri.to_owned();
    };
    let (server, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    format!(
        "{}://{}{path}",
        scheme.to_ascii_lowercase(),
        server.to_ascii_lowercase()
    )
}

/// The host in a source URI, in lower case: `hf:org/name` has none.
pub fn host(source: &str) -> Option<String> {
    let (_, rest) = source.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    let host = match host.strip_prefix('[') {
        Some(address) => address.split(']').next()?,
        None => host.split(':').next()?,
    };
    (!host.is_empty()).then(|| host.to_ascii_lowercase())
}

impl fmt::Display for SourcePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::path::display(&self.0))
    }
}

impl Serialize for SourcePattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SourcePattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SourcePattern, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for (source, expected) in [
            ("https://Example.org:443/a", Some("example.org")),
            ("s3://bucket/key", Some("bucket")),
            ("https://[::1]:8080/x", Some("::1")),
            ("hf:org/name", None),
            ("https:///x", None),
        ] {
            assert_eq!(host(source).as_deref(), expected, "{source}");
        }
    }

    #[test]
    fn what_patterns_mean() {
        for (pattern, yes, no) in [
            (
                "example.com",
                &[
                    "https://example.com/a",
                    "http://a.EXAMPLE.com.:8/",
                    "git+https://example.com/x",
                ][..],
                &[
                    "https://badexample.com/",
                    "https://example.com.org/",
                    "hf:example.com/x",
                ][..],
            ),
            (
                "*.example.com",
                &["https://example.com/"],
                &["https://example.org/"],
            ),
            (
                "https://example.com",
                &[
                    "https://example.com/a",
                    "HTTPS://Example.com:8/",
                    "https://example.com",
                ],
                &["https://example.community/", "http://example.com/"],
            ),
            (
                "https://example.com/forum/",
                &["https://example.com/forum/1"],
                &["https://example.com/Forum/1", "https://example.com/forums"],
            ),
            (
                "https://*/acme/*",
                &["https://hub/acme/x", "https://a/b/acme/"],
                &["https://hub/acme", "http://hub/acme/x"],
            ),
            ("oci://*:v1", &["oci://r/m:v1"], &["oci://r/m:v10"]),
            (
                "pkg:pypi/silero-vad@",
                &["pkg:pypi/silero-vad@6.2"],
                &["pkg:pypi/silero"],
            ),
        ] {
            let parsed: SourcePattern = pattern.parse().unwrap();
            for uri in yes {
                assert!(parsed.matches(uri), "{pattern} {uri}");
            }
            for uri in no {
                assert!(!parsed.matches(uri), "{pattern} {uri}");
            }
        }
        for wrong in ["", "*", "*.*", "a b", "*://*", "x\ny", "a.example:443"] {
            assert!(wrong.parse::<SourcePattern>().is_err(), "{wrong}");
        }
    }
}
