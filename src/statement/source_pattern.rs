//! Patterns of source addresses: a domain with all beneath it, the beginning of an address, or an address with `*` for
//! any run of characters. Addresses are compared in their one spelling.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::source_address::{canonical, host};

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
            let pattern = address(text);
            // That it is spelled alike once more is what comparing it rests on.
            let is_one = pattern.len() <= 1024 && address(&pattern) == pattern;
            return (says_something && is_one)
                .then_some(SourcePattern(pattern))
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
    /// In its one spelling.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Are all those that `other` means meant by this? Not told of patterns with `*`.
    pub fn covers(&self, other: &SourcePattern) -> bool {
        let of_domain = format!("https://{}/", other.0);
        let one = if is_address(&other.0) {
            &other.0
        } else {
            &of_domain
        };
        // An address of one scheme is not all of a domain.
        (is_address(&other.0) || !is_address(&self.0)) && !one.contains('*') && self.matches(one)
    }

    /// Is `uri` one of those that are meant?
    pub fn matches(&self, uri: &str) -> bool {
        let pattern = self.0.as_str();
        if !is_address(pattern) {
            return host(uri).is_some_and(|host| {
                let above = host.strip_suffix(pattern);
                above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
            });
        }
        let uri = canonical(uri);
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

/// The address with which a pattern begins, in its one spelling: a server alone stays one, with whatever port.
fn address(text: &str) -> String {
    let one = canonical(text);
    let rest = text.split_once("://").map(|(_, rest)| rest);
    let is_server = rest.is_some_and(|rest| !rest.contains(['/', '\\', '?', '#', ':']));
    match one.strip_suffix('/') {
        Some(server) if is_server => server.to_owned(),
        _ => one,
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
    fn what_patterns_mean() {
        for (pattern, yes, no) in [
            (
                "example.com",
                &[
                    "https://example.com/a",
                    "http://a.EXAMPLE.com.:8/",
                    "git+https://example.com/x",
                    "https://example.com\\a",
                    "https://example.com:443/a",
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
                &[
                    "https://example.com/forum/1",
                    "https://example.com:443/forum/1",
                    "https://example.com./forum/1",
                    "https://example.com/a/../forum/1",
                    "https://example.com/%66orum/1",
                    "https://example.com\\forum\\1",
                ],
                &[
                    "https://example.com/Forum/1",
                    "https://example.com/forums",
                    "https://example.com/forum/../1",
                    "https://example.com/forum/%2e%2e/1",
                ],
            ),
            (
                "https://Example.com:443/%66orum/",
                &["https://example.com/forum/1"],
                &["https://example.com:8/forum/1"],
            ),
            (
                "hf:acme/",
                &["hf:acme/x", "https://huggingface.co/acme/x"],
                &["hf:acmes/x", "https://hub.example/acme/x"],
            ),
            ("huggingface.co", &["hf:acme/x"], &["pkg:hf/x"]),
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
