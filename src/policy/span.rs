//! Times that a policy gives as a number and a unit.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};

use crate::time::Timestamp;

/// So long: `90d`, `24h`, `30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    millis: i64,
}

impl Span {
    /// So many days.
    pub const fn days(days: u16) -> Span {
        Span {
            millis: days as i64 * 86_400_000,
        }
    }

    /// In milliseconds.
    pub fn millis(self) -> u64 {
        self.millis.unsigned_abs()
    }

    /// Is `then` longer ago than that?
    pub fn is_past(self, then: Timestamp, now: Timestamp) -> bool {
        now.millis().saturating_sub(then.millis()) > self.millis
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Span, String> {
        let wrong = || format!("{text:?} is no time such as 90d, 24h or 30m");
        let unit = match text.chars().last() {
            Some('d') => 86_400_000,
            Some('h') => 3_600_000,
            Some('m') => 60_000,
            _ => return Err(wrong()),
        };
        let number = text.get(..text.len() - 1).unwrap_or_default();
        let number: u32 = number.parse().map_err(|_| wrong())?;
        if number == 0 || number > 40_000 {
            return Err(wrong());
        }
        Ok(Span {
            millis: i64::from(number) * unit,
        })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = self.millis / 60_000;
        match (minutes % 1440, minutes % 60) {
            (0, _) => write!(f, "{}d", minutes / 1440),
            (_, 0) => write!(f, "{}h", minutes / 60),
            _ => write!(f, "{minutes}m"),
        }
    }
}

impl JsonSchema for Span {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^[1-9][0-9]{0,4}[dhm]$",
            "description": "days, hours or minutes: 90d, 24h, 30m",
        })
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        for text in ["90d", "1h", "36h", "30m"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        for wrong in ["", "d", "0d", "-1d", "1w", "1", "1.5h", "99999d"] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong}");
        }
        let at = |millis| Timestamp::from_millis(millis).unwrap();
        let hour: Span = "1h".parse().unwrap();
        assert!(!hour.is_past(at(0), at(3_600_000)) && hour.is_past(at(0), at(3_600_001)));
    }
}
