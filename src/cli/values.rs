//! The words that flags take, as the library spells them.

use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde::de::DeserializeOwned;

use crate::key::KeyAlgorithm;
use crate::time::{TimeError, Timestamp};

pub(super) const ALGORITHMS: &[&str] = &[
    "sha256",
    "blake3",
    "blake2b",
    "sha512",
    "git-sha1",
    "md5",
    "xet",
    "fs-verity",
];
pub(super) const ROLES: &[&str] = &[
    "developer",
    "operator",
    "custodian",
    "tester",
    "auditor",
    "admin",
];
/// Those that a record can give.
pub(super) const GIVEN_ROLES: &[&str] =
    &["developer", "operator", "custodian", "tester", "auditor"];
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
pub(super) const RELATIONS: &[&str] = &[
    "trained-on",
    "fine-tuned",
    "distilled",
    "merged",
    "quantized",
    "adapter-of",
    "converted",
    "evaluated-on",
    "selected",
];
pub(super) const RECALL_REASONS: &[&str] = &[
    "poisoned-source",
    "tampering",
    "vulnerability",
    "licence",
    "key-compromise",
    "privacy-request",
    "other",
];
pub(super) const ZONES: &[&str] = &["train", "dev", "prod"];
pub(super) const AUTHENTICATION_METHODS: &[&str] = &[
    "tls",
    "tls-pinned",
    "oms",
    "sigstore",
    "gpg",
    "minisign",
    "ssh",
    "checksum-from-publisher",
    "api-credential",
    "contract",
    "none",
];
pub(super) const LEVELS: &[&str] = &["committed", "published", "witnessed"];
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

/// Takes a number within limits.
pub(super) fn number(
    least: usize,
    most: usize,
) -> impl Fn(&str) -> Result<usize, String> + Clone + Send + Sync + 'static {
    move |text| match text.parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("expected a number from {least} to {most}")),
    }
}

/// Takes a time like `500ms`, `30s`, `5m` or `2h`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let number = text
        .strip_suffix(unit)
        .and_then(|number| number.parse::<u32>().ok());
    let (number, millis) = match (number, unit) {
        (Some(number), "ms") => (number, 1),
        (Some(number), "s") => (number, 1000),
        (Some(number), "m") => (number, 60_000),
        (Some(number), "h") => (number, 3_600_000),
        _ => return Err("expected a number and a unit, as in 500ms, 30s, 5m or 2h".into()),
    };
    if number == 0 {
        return Err("expected more than nothing".into());
    }
    Ok(Duration::from_millis(u64::from(number) * millis))
}

/// Takes a time in RFC 3339, or a day, which means its end.
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    let whole = if text.len() == 10 {
        format!("{text}T23:59:59.999Z")
    } else {
        text.to_owned()
    };
    whole.parse().map_err(|error: TimeError| error.to_string())
}
