//! When files are read that this host has read before: what a user asks for, and what a policy allows.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};

use super::span::Span;

/// When a file is read again. The later one reads less: of two, the smaller is the stricter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rehash {
    /// Always.
    Always,
    /// If its kernel does not vouch for it by fs-verity.
    Unsealed,
    /// If it has changed as far as the kernel tells, or was last read longer ago than this.
    MaxAge(Span),
    /// If it has changed as far as the kernel tells.
    IfChanged,
}

impl FromStr for Rehash {
    type Err = String;

    fn from_str(text: &str) -> Result<Rehash, String> {
        match text {
            "always" => Ok(Rehash::Always),
            "unsealed" => Ok(Rehash::Unsealed),
            "if-changed" => Ok(Rehash::IfChanged),
            _ => match text.strip_prefix("max-age=") {
                Some(age) => age.parse().map(Rehash::MaxAge),
                None => Err(format!(
                    "{text:?} is none of always, unsealed, if-changed and max-age=24h"
                )),
            },
        }
    }
}

impl fmt::Display for Rehash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rehash::Always => f.write_str("always"),
            Rehash::Unsealed => f.write_str("unsealed"),
            Rehash::IfChanged => f.write_str("if-changed"),
            Rehash::MaxAge(age) => write!(f, "max-age={age}"),
        }
    }
}

impl<'de> Deserialize<'de> for Rehash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Rehash, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Rehash {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Rehash".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^(always|unsealed|if-changed|max-age=[0-9]+[dhm])$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stricter_of_two() {
        let all = [
            "always",
            "unsealed",
            "max-age=30m",
            "max-age=24h",
            "max-age=90d",
            "if-changed",
        ];
        let all = all.map(|text| text.parse::<Rehash>().unwrap());
        assert!(all.is_sorted());
        for one in all {
            assert_eq!(one.to_string().parse(), Ok(one));
        }
        for wrong in [
            "",
            "never",
            "max-age",
            "max-age=",
            "max-age=0d",
            "max-age=1y",
        ] {
            assert!(wrong.parse::<Rehash>().is_err(), "{wrong}");
        }
    }
}
