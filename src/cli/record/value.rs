//! What a flag gives for a field, as JSON: texts, times, digests of files, other records.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::derive;
use super::flags::Shape;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::digest::Sha256;
use crate::disk;
use crate::ledger::{Log, MAX_BLOB};
use crate::time::Timestamp;

/// What it takes to read values.
pub(super) struct Reader<'a> {
    pub(super) now: Timestamp,
    /// Where records that are referred to are.
    pub(super) log: &'a dyn Fn(u64) -> Result<Vec<u8>, Failure>,
    pub(super) output: &'a Output,
}

impl Reader<'_> {
    /// What `text` is, as the value of `flag`.
    pub(super) fn read(&self, flag: &str, shape: &Shape, text: &str) -> Result<Value, Failure> {
        let wrong = |expected: &str| {
            let found = crate::path::display(text);
            Failure::error(format!("--{flag} {found}: expected {expected}"))
        };
        match shape {
            Shape::Text | Shape::Word(_) => Ok(text.into()),
            Shape::Bool => match text {
                "true" => Ok(true.into()),
                "false" => Ok(false.into()),
                _ => Err(wrong("true or false")),
            },
            Shape::Integer => text
                .parse::<u64>()
                .map(Value::from)
                .map_err(|_| wrong("a whole number")),
            Shape::Number => {
                let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
                let number = number.and_then(serde_json::Number::from_f64);
                number.map(Value::Number).ok_or_else(|| wrong("a number"))
            }
            Shape::Time => time(text, self.now)
                .map(|time| time.to_string().into())
                .ok_or_else(|| {
                    wrong("a time in RFC 3339 such as 2030-01-01T00:00:00Z, a day, or days from now or ago such as 90d and 30d-ago")
                }),
            Shape::Digest => Ok(digest(text)?.to_string().into()),
            Shape::Document => Ok(json!({ "sha256": digest(text)?.to_string() })),
                        Shape::Resource => {
                let name = Path::new(text).file_name().unwrap_or_default();
                let sha256 = Sha256::of(&disk::read(Path::new(text), MAX_BLOB)?).to_string();
                Ok(json!({ "name": name.to_string_lossy(), "digest": { "sha256": sha256 } }))
            }
            Shape::Artifact => {
                let input = derive::input(flag, text, self.output)?;
                Ok(serde_json::to_value(input.digest).unwrap_or_default())
            }
            Shape::Input => {
                let input = derive::input(flag, text, self.output)?;
                Ok(serde_json::to_value(input).unwrap_or_default())
            }
            Shape::Record => {
                let index = text
                    .parse::<u64>()
                    .map_err(|_| wrong("the index of a record"))?;
                let entry = (self.log)(index)?;
                Ok(json!({ "index": index, "sha256": Sha256::of(&entry).to_string() }))
            }
            Shape::Object(fields) => self.object(flag, fields, text),
        }
    }

    /// `name=value,…`, or the same as JSON.
    fn object(&self, flag: &str, fields: &[(String, Shape)], text: &str) -> Result<Value, Failure> {
        let shown = || crate::path::display(text);
        if text.starts_with('{') {
            return crate::json::parse(text.as_bytes(), 64 * 1024)
                .map_err(|error| Failure::because(format!("--{flag} {}", shown()), &error));
        }
        let mut object = Map::new();
        for part in text.split(',') {
            let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
            let (name, value) = part.split_once('=').ok_or_else(|| {
                Failure::error(format!(
                    "--{flag} {}: expected NAME=VALUE for {}, with commas between; or JSON, if a value holds a comma",
                    shown(),
                    names.join(", ")
                ))
            })?;
            let shape = fields.iter().find(|(known, _)| known == name);
            let (_, shape) = shape.ok_or_else(|| {
                Failure::error(format!(
                    "--{flag} {}: there is no {name:?}; there are: {}",
                    shown(),
                    names.join(", ")
                ))
            })?;
            let value = self.read(flag, shape, value)?;
            if object.insert(name.into(), value).is_some() {
                return Err(Failure::error(format!(
                    "--{flag} {}: {name} twice",
                    shown()
                )));
            }
        }
        Ok(Value::Object(object))
    }
}

/// A time, or some days from now.
pub(super) fn time(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Ok(time) = text.parse() {
        return Some(time);
    }
    if let Ok(day) = format!("{text}T00:00:00.000Z").parse() {
        return Some(day);
    }
    let (text, sign) = match text.strip_suffix("-ago") {
        Some(text) => (text, -1),
        None => (text, 1),
    };
    let days: i64 = text.strip_suffix('d')?.parse().ok()?;
    if !(1..=36_500).contains(&days) {
        return None;
    }
    Timestamp::from_millis(now.millis() + sign * days * 86_400_000)
}

/// A digest, or that of a file.
fn digest(text: &str) -> Result<Sha256, Failure> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    match hex.to_ascii_lowercase().parse() {
        Ok(digest) => Ok(digest),
        Err(_) => Ok(Sha256::of(&disk::read(Path::new(text), MAX_BLOB)?)),
    }
}

/// The entry `index` of `log`.
pub(super) fn entry(log: &Log<'_>, index: u64) -> Result<Vec<u8>, Failure> {
    let size = log.checkpoint().size;
    if index >= size {
        return Err(Failure::error(format!(
            "there is no record {index}: the ledger has {size}"
        )));
    }
    Ok(log.entry(index)?.0)
}
