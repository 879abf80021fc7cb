//! The items of a dataset, a line of JSON each: where every file is from and when it was retrieved (EN 304 223
//! 5.2.4-2.1). An attachment of an `acquire` record, since a million of them fit into no record.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::{SourceUri, Text};
use crate::digest::Sha256;
use crate::json::{self, JsonError};
use crate::path::ArtifactPath;
use crate::time::Timestamp;

/// What they are called among the attachments of a record.
pub const ITEMS: &str = "dataset-items";

/// Their media type.
pub const MEDIA_TYPE: &str = "application/jsonl";

/// The longest line.
pub const MAX_LINE: usize = 32 * 1024;

/// A file of a dataset, and where it is from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Item {
    #[schemars(with = "String")]
    #[serde(serialize_with = "path", deserialize_with = "to_path")]
    pub path: ArtifactPath,
    pub sha256: Sha256,
    pub size: u64,
    pub url: SourceUri,
    /// Where it came from in the end, if it was sent elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub final_url: Option<SourceUri>,
    /// When; absent if nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retrieved_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<Text>,
}

fn path<S: serde::Serializer>(path: &ArtifactPath, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(path.as_str())
}

fn to_path<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<ArtifactPath, D::Error> {
    let text = String::deserialize(deserializer)?;
    ArtifactPath::new(&text).map_err(serde::de::Error::custom)
}

impl Item {
    /// Reads a line.
    pub fn parse(line: &[u8]) -> Result<Item, JsonError> {
        json::parse(line, MAX_LINE)
    }

    /// Writes its line, with the end of it.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), JsonError> {
        out.extend(json::canonical(self)?);
        out.push(b'\n');
        Ok(())
    }
}

/// Each of the items in `bytes`; what is no item ends them.
pub fn read(bytes: &[u8]) -> impl Iterator<Item = Result<Item, JsonError>> + '_ {
    let lines = bytes.split(|byte| *byte == b'\n');
    lines.filter(|line| !line.is_empty()).map(Item::parse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let item = Item {
            path: ArtifactPath::new("a/b").unwrap(),
            sha256: Sha256::of(b"x"),
            size: 1,
            url: SourceUri::new("https://example.org/b").unwrap(),
            final_url: None,
            retrieved_at: None,
            status: Some(200),
            etag: None,
            last_modified: None,
            licence: None,
        };
        let mut out = Vec::new();
        item.write(&mut out).unwrap();
        item.write(&mut out).unwrap();
        let all: Vec<Item> = read(&out).collect::<Result<_, _>>().unwrap();
        assert_eq!(all, [item.clone(), item]);
        assert!(read(b"{}\n").all(|item| item.is_err()));
        let escaping = String::from_utf8(out).unwrap().replace("a/b", "../b");
        assert!(read(escaping.as_bytes()).all(|item| item.is_err()));
    }
}
