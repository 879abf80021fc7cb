//! Croissant (MLCommons Croissant format specification 1.0 and 1.1): the files of a dataset's description in JSON-LD.
//! What is inside of archives, and sets of files by pattern, are told, and not listed.

use serde_json::Value;

use super::{Entry, List, ListError, MAX_FILES, acceptable, default_path, normal};
use crate::digest::Sha256;
use crate::json;
use crate::path::ArtifactPath;

/// The largest description.
const MAX_DESCRIPTION: usize = 256 * 1024 * 1024;

/// The largest that is kept with the record.
const MAX_KEPT: usize = 16 * 1024 * 1024;

/// A property by its name, with the prefix that descriptions give it or without.
fn get<'a>(value: &'a Value, names: &[&str]) -> Option<&'a Value> {
    names.iter().find_map(|name| {
        value
            .get(name)
            .or_else(|| value.get(format!("cr:{name}")))
            .or_else(|| value.get(format!("sc:{name}")))
    })
}

fn text<'a>(value: &'a Value, names: &[&str]) -> Option<&'a str> {
    let value = get(value, names)?;
    let value = value.get("@value").unwrap_or(value);
    value.as_str().filter(|text| !text.is_empty())
}

fn is(value: &Value, kind: &str) -> bool {
    let matches = |one: &Value| one.as_str().and_then(|it| it.rsplit(':').next()) == Some(kind);
    match value.get("@type") {
        Some(Value::Array(all)) => all.iter().any(matches),
        Some(one) => matches(one),
        None => false,
    }
}

/// Reads a description. Without a SHA-256 that is one, a file is known by nothing: the placeholders that generators
/// write are none, and MD5 is not taken.
pub fn parse(bytes: &[u8]) -> Result<List, ListError> {
    let wrong = |why: String| ListError(why);
    let value: Value = json::parse(bytes, MAX_DESCRIPTION)
        .map_err(|error| wrong(format!("it is no description: {error}")))?;
    if !is(&value, "Dataset") {
        return Err(wrong("it is no description of a dataset".into()));
    }
    let distribution = get(&value, &["distribution"]).and_then(Value::as_array);
    let distribution = distribution.ok_or_else(|| wrong("it names no distribution".into()))?;
    let first = |names: &[&str]| {
        let value = get(&value, names)?;
        let value = value.as_array().map_or(Some(value), |all| all.first())?;
        value
            .as_str()
            .or_else(|| text(value, &["name", "@id", "url"]))
            .map(str::to_owned)
    };
    let mut list = List {
        description: (bytes.len() <= MAX_KEPT).then(|| bytes.to_vec()),

        uri: first(&["url"]).filter(|uri| crate::statement::SourceUri::new(uri.as_str()).is_ok()),
        licence: first(&["license"]),
        publisher: first(&["publisher", "creator"]),
        version: first(&["version"]),
        ..List::default()
    };
    for file in distribution {
        let name = text(file, &["name", "@id"]).unwrap_or("a file");
        if !is(file, "FileObject") {
            list.ignored
                .push(format!("{} (a set of files)", crate::path::display(name)));
            continue;
        }
        if get(file, &["containedIn"]).is_some() {
            list.ignored
                .push(format!("{} (in an archive)", crate::path::display(name)));
            continue;
        }
        if list.entries.len() >= MAX_FILES {
            return Err(wrong(format!("it names more than {MAX_FILES} files")));
        }
        let Some(url) = text(file, &["contentUrl"]) else {
            return Err(wrong(format!(
                "{} has no contentUrl",
                crate::path::display(name)
            )));
        };
        // One beside the description is not fetched: it lies there.
        if !url.contains("://") {
            list.ignored.push(format!(
                "{} (beside the description)",
                crate::path::display(name)
            ));
            continue;
        }
        let named = ArtifactPath::new(name)
            .ok()
            .filter(|path| path.printable().is_ok());
        let path = default_path(url).or(named);
        let path = path.ok_or_else(|| {
            wrong(format!(
                "{}: no file may be called so",
                crate::path::display(name)
            ))
        })?;
        acceptable(url, &path)?;
        let url = normal(url)?;
        let sha256: Option<Sha256> =
            text(file, &["sha256"]).and_then(|hex| hex.to_ascii_lowercase().parse().ok());
        list.entries.push(Entry {
            url,
            path,
            sha256,
            size: text(file, &["contentSize"]).and_then(size),
            retrieved_at: None,
            licence: None,
        });
    }
    if list.entries.is_empty() {
        return Err(wrong("it names no file that could be fetched".into()));
    }
    Ok(list)
}

/// `123 B`; rounded units say no size.
fn size(text: &str) -> Option<u64> {
    let number = text.trim().strip_suffix('B')?.trim_end();
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions() {
        let digest = "a".repeat(64);
        let text = format!(
            r#"{{"@type":"sc:Dataset","name":"d","url":"https://example.org/d","license":"CC0-1.0","creator":{{"@type":"Person","name":"A"}},
            "distribution":[
            {{"@type":"cr:FileObject","@id":"a","contentUrl":"https://example.org/a.csv","sha256":"{digest}","contentSize":"3 B"}},
            {{"@type":"cr:FileObject","@id":"b.csv","contentUrl":"https://example.org/b?x","sha256":"https://github.com/mlcommons/croissant/issues/80","contentSize":"3 KB"}},
            {{"@type":"cr:FileObject","@id":"c","contentUrl":"c.csv","containedIn":{{"@id":"a"}}}},
            {{"@type":"cr:FileSet","@id":"s","includes":"*.csv"}}]}}"#
        );
        let list = parse(text.as_bytes()).unwrap();
        assert_eq!(list.entries.len(), 2);
        assert_eq!(list.entries[0].sha256.unwrap().to_string(), digest);
        assert_eq!(
            (list.entries[0].size, list.entries[1].size),
            (Some(3), None)
        );
        assert_eq!(
            (list.entries[1].path.as_str(), list.entries[1].sha256),
            ("b.csv", None)
        );
        assert_eq!(list.ignored.len(), 2);
        assert_eq!(list.licence.as_deref(), Some("CC0-1.0"));
        assert_eq!(list.publisher.as_deref(), Some("A"));
        for wrong in [
            "",
            "{}",
            r#"{"@type":"sc:Dataset"}"#,
            r#"{"@type":"sc:Dataset","distribution":[]}"#,
        ] {
            assert!(parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
