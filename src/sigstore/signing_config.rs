//! Signing configurations (sigstore/protobuf-specs, SigningConfig v0.2): which services sign keyless
//! signatures, and how many of each kind. Text in, addresses out.

use serde::Deserialize;

use crate::json::{self, JsonError};
use crate::time::Timestamp;

/// The largest configuration.
const MAX_CONFIG: usize = 1024 * 1024;

/// The services to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Services {
    /// The certificate authority.
    pub authority: String,
    /// Transparency logs.
    pub logs: Vec<LogService>,
    /// Timestamp authorities: the whole address.
    pub timestamp_authorities: Vec<String>,
}

/// A transparency log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogService {
    pub url: String,
    /// Rekor 1 or 2.
    pub version: u32,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    #[error("is malformed: {0}")]
    Json(#[from] JsonError),
    #[error("has media type {0:?}, not that of a signing configuration v0.2")]
    MediaType(String),
    #[error("names no {0} that is valid now and of a version that is spoken here")]
    Nobody(&'static str),
    #[error("asks for {asked} of {what}, and names {found}")]
    Few {
        what: &'static str,
        asked: usize,
        found: usize,
    },
    #[error("asks for a choice of {0:?}, which is not known")]
    Selector(String),
}

const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.signingconfig.v0.2+json";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    media_type: String,
    #[serde(default)]
    ca_urls: Vec<Service>,
    #[serde(default)]
    rekor_tlog_urls: Vec<Service>,
    rekor_tlog_config: Option<Choice>,
    #[serde(default)]
    tsa_urls: Vec<Service>,
    tsa_config: Option<Choice>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Service {
    url: String,
    major_api_version: u32,
    #[serde(default)]
    valid_for: Validity,
    #[serde(default)]
    operator: String,
}

#[derive(Clone, Default, Deserialize)]
struct Validity {
    start: Option<String>,
    end: Option<String>,
}

#[derive(Deserialize)]
struct Choice {
    selector: String,
    #[serde(default)]
    count: usize,
}

/// The services that `bytes` names for `now`: a signing configuration, or one in a ClientTrustConfig.
pub fn parse(bytes: &[u8], now: Timestamp) -> Result<Services, ConfigError> {
    let value: serde_json::Value = json::parse(bytes, MAX_CONFIG)?;
    let config = value.get("signingConfig").unwrap_or(&value);
    let raw: Raw = serde_json::from_value(config.clone()).map_err(JsonError::from)?;
    if raw.media_type != MEDIA_TYPE {
        return Err(ConfigError::MediaType(raw.media_type));
    }
    let authority = usable(raw.ca_urls, &[1], now)
        .into_iter()
        .next()
        .ok_or(ConfigError::Nobody("certificate authority"))?;
    let logs = usable(raw.rekor_tlog_urls, &[2, 1], now);
    let logs = choose("transparency logs", logs, raw.rekor_tlog_config.as_ref())?;
    let stamps = usable(raw.tsa_urls, &[1], now);
    let stamps = choose("timestamp authorities", stamps, raw.tsa_config.as_ref())?;
    Ok(Services {
        authority: authority.url,
        logs: logs
            .into_iter()
            .map(|log| LogService {
                url: log.url,
                version: log.major_api_version,
            })
            .collect(),
        timestamp_authorities: stamps.into_iter().map(|one| one.url).collect(),
    })
}

/// Those that are valid now, of the first of `versions` that there is, one of each operator.
fn usable(services: Vec<Service>, versions: &[u32], now: Timestamp) -> Vec<Service> {
    let is_valid = |service: &Service| {
        let time = |text: &Option<String>| text.as_ref().map(|text| text.parse::<Timestamp>());
        let started = match time(&service.valid_for.start) {
            Some(Ok(start)) => start <= now,
            Some(Err(_)) => false,
            None => true,
        };
        let ended = match time(&service.valid_for.end) {
            Some(Ok(end)) => end < now,
            Some(Err(_)) => true,
            None => false,
        };
        started && !ended
    };
    let valid: Vec<Service> = services.into_iter().filter(is_valid).collect();
    let Some(version) = versions
        .iter()
        .find(|version| valid.iter().any(|one| one.major_api_version == **version))
    else {
        return Vec::new();
    };
    let mut chosen: Vec<Service> = Vec::new();
    for service in valid {
        let known = chosen
            .iter()
            .any(|one| !one.operator.is_empty() && one.operator == service.operator);
        if service.major_api_version == *version && !known {
            chosen.push(service);
        }
    }
    chosen
}

fn choose(
    what: &'static str,
    mut services: Vec<Service>,
    choice: Option<&Choice>,
) -> Result<Vec<Service>, ConfigError> {
    // Without a word on it, the service is not asked: a private instance may not run it.
    let Some(choice) = choice else {
        return Ok(Vec::new());
    };
    let asked = match choice.selector.as_str() {
        "ANY" => 1,
        "ALL" => services.len().max(1),
        "EXACT" => choice.count.max(1),
        other => return Err(ConfigError::Selector(other.into())),
    };
    if services.len() < asked {
        let found = services.len();
        return Err(ConfigError::Few { what, asked, found });
    }
    services.truncate(asked);
    Ok(services)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(more: &str) -> Result<Services, ConfigError> {
        let text = format!(
            r#"{{"mediaType":"{MEDIA_TYPE}","caUrls":[
              {{"url":"https://old","majorApiVersion":1,"validFor":{{"start":"2020-01-01T00:00:00Z","end":"2021-01-01T00:00:00Z"}},"operator":"a"}},
              {{"url":"https://ca","majorApiVersion":1,"validFor":{{"start":"2020-01-01T00:00:00Z"}},"operator":"a"}}],
              "rekorTlogUrls":[
              {{"url":"https://one","majorApiVersion":1,"validFor":{{"start":"2020-01-01T00:00:00Z"}},"operator":"a"}},
              {{"url":"https://two","majorApiVersion":2,"validFor":{{"start":"2020-01-01T00:00:00Z"}},"operator":"a"}},
              {{"url":"https://late","majorApiVersion":2,"validFor":{{"start":"2090-01-01T00:00:00Z"}},"operator":"b"}}]{more}}}"#
        );
        parse(text.as_bytes(), "2026-11-28T00:00:00Z".parse().unwrap())
    }

    #[test]
    fn the_services_of_now() {
        let services = config(r#","rekorTlogConfig":{"selector":"ANY"}"#).unwrap();
        assert_eq!(services.authority, "https://ca");
        let log = LogService {
            url: "https://two".into(),
            version: 2,
        };
        assert_eq!(services.logs, [log]);
        assert!(services.timestamp_authorities.is_empty());
    }

    #[test]
    fn what_cannot_be_met() {
        for more in [
            r#","rekorTlogConfig":{"selector":"EXACT","count":2}"#,
            r#","tsaConfig":{"selector":"ANY"}"#,
            r#","tsaConfig":{"selector":"SOME"}"#,
        ] {
            assert!(config(more).is_err(), "{more}");
        }
    }
}
