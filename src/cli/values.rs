//! The words that flags take, as the library spells them.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde::de::DeserializeOwned;

use crate::key::KeyAlgorithm;

pub(super) const ALGORITHMS: &[&str] = &["sha256", "blake3", "sha512", "git-sha1", "md5"];
pub(super) const ROLES: &[&str] = &["developer", "operator", "custodian", "tester", "auditor"];
pub(super) const ASSETS: &[&str] = &[
    "model",
    "adapter",
    "tokenizer",
    "dataset",
    "prompt",
    "config",
];
pub(super) const METHODS: &[&str] = &[
    "download",
    "crawl",
    "api",
    "purchase",
    "user-feedback",
    "synthetic",
    "internal",
];
pub(super) const AUTHENTICATION_METHODS: &[&str] = &[
    "tls",
    "tls-pinned",
    "oms",
    "sigstore",
    "gpg",
    "ssh",
    "checksum-from-publisher",
    "api-credential",
    "contract",
    "none",
];
pub(super) const AUTHENTICATION_RESULTS: &[&str] = &["verified", "failed", "not-checked"];

/// Takes one of `words`, which is how `T` is spelled in JSON.
pub(super) fn word<T: DeserializeOwned + Clone + Send + Sync + 'static>(
    words: &'static [&'static str],
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(words)
        .try_map(|word| serde_json::from_value(serde_json::Value::String(word)))
}

/// Takes the name of a key type.
pub(super) fn key_algorithm() -> impl TypedValueParser<Value = KeyAlgorithm> {
    PossibleValuesParser::new(KeyAlgorithm::ALL.map(KeyAlgorithm::name)).try_map(|word| {
        let mut all = KeyAlgorithm::ALL.into_iter();
        all.find(|algorithm| algorithm.name() == word)
            .ok_or("not a key type")
    })
}
