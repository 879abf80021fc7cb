//! Times in signed data: RFC 3339, UTC, spelled one way. Knows no clock.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An instant with millisecond precision, written `2026-11-25T09:30:00.000Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(DateTime<Utc>);

/// The text is not a time in the one spelling we accept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "time {0:?} is not RFC 3339 in UTC, as in 2026-11-25T09:30:00Z or 2026-11-25T09:30:00.000Z"
)]
pub struct TimeError(String);

impl Timestamp {
    /// Milliseconds since 1970-01-01T00:00:00Z; out of range gives `None`.
    pub fn from_millis(millis: i64) -> Option<Timestamp> {
        DateTime::from_timestamp_millis(millis).map(Timestamp)
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub fn millis(self) -> i64 {
        self.0.timestamp_millis()
    }

    /// Whole seconds since 1970-01-01T00:00:00Z; out of range gives `None`.
    pub fn from_seconds(seconds: u64) -> Option<Timestamp> {
        let seconds = i64::try_from(seconds).ok()?;
        DateTime::from_timestamp(seconds, 0).map(Timestamp)
    }

    /// Whole seconds since 1970-01-01T00:00:00Z; 0 for a time before it.
    pub fn seconds(self) -> u64 {
        u64::try_from(self.0.timestamp()).unwrap_or_default()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

impl FromStr for Timestamp {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Timestamp, TimeError> {
        let error = || TimeError(text.chars().take(64).collect());
        let parsed: DateTime<Utc> = DateTime::parse_from_rfc3339(text)
            .map_err(|_| error())?
            .with_timezone(&Utc);
        // Writing it back must give the same text: one instant, one spelling.
        let seconds = parsed.to_rfc3339_opts(SecondsFormat::Secs, true);
        let millis = parsed.to_rfc3339_opts(SecondsFormat::Millis, true);
        // A leap second is the same instant as the second after it.
        if parsed.timestamp_subsec_nanos() >= 1_000_000_000 {
            return Err(error());
        }
        if text == millis || (text == seconds && parsed.timestamp_subsec_nanos() == 0) {
            Ok(Timestamp(parsed))
        } else {
            Err(error())
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl schemars::JsonSchema for Timestamp {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "RFC 3339 in UTC, in seconds or milliseconds",
            "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{3})?Z$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling() {
        for good in [
            "2026-11-25T09:30:00Z",
            "2026-11-25T09:30:00.000Z",
            "2026-11-25T09:30:00.120Z",
        ] {
            assert!(good.parse::<Timestamp>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "2026-11-25",
            "2026-11-25T09:30:00",
            "2026-11-25T09:30:00+00:00",
            "2026-11-25t09:30:00z",
            "2026-11-25T10:30:00+01:00",
            "2026-11-25 09:30:00Z",
            "2026-11-25T09:30:00.1Z",
            "2026-11-25T09:30:00.123456Z",
            "2026-02-30T00:00:00Z",
            "2026-11-25T09:30:60Z",
            "2026-11-25T09:30:60.000Z",
        ] {
            assert!(bad.parse::<Timestamp>().is_err(), "{bad}");
        }
    }

    #[test]
    fn prints_milliseconds() {
        let time: Timestamp = "2026-11-25T09:30:00Z".parse().unwrap();
        assert_eq!(time.to_string(), "2026-11-25T09:30:00.000Z");
    }
}
