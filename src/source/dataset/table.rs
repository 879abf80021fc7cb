//! A list as a table (RFC 4180): a line a file, and a first line with the names of the columns.

use super::{Entry, List, ListError, MAX_FILES, acceptable, default_path, normal};
use crate::path::ArtifactPath;

/// What a column says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Column {
    Url,
    Path,
    Sha256,
    Size,
    RetrievedAt,
    Licence,
}

/// The longest line.
const MAX_LINE: usize = 16 * 1024;

fn column(name: &str) -> Option<Column> {
    Some(match name.trim().to_ascii_lowercase().as_str() {
        "url" | "source_url" | "source" | "uri" => Column::Url,
        "path" | "file" | "filename" | "file_name" => Column::Path,
        "sha256" | "checksum_sha256" => Column::Sha256,
        "size" | "bytes" => Column::Size,
        "retrieved_at" | "retrieved" | "fetched_at" | "timestamp" => Column::RetrievedAt,
        "licence" | "license" => Column::Licence,
        _ => return None,
    })
}

/// Reads a table; only the column `url` must be there.
pub fn parse(bytes: &[u8]) -> Result<List, ListError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = csv::ReaderBuilder::new().flexible(false).from_reader(bytes);
    let wrong = |error: csv::Error| ListError(format!("it is no table: {error}"));
    let header = reader.headers().map_err(wrong)?.clone();
    let columns: Vec<Option<Column>> = header.iter().map(column).collect();
    let mut list = List::default();
    for (name, known) in header.iter().zip(&columns) {
        if known.is_none() {
            list.ignored.push(crate::path::display(name));
        }
    }
    for (at, one) in columns.iter().enumerate() {
        if one.is_some() && columns.iter().take(at).any(|other| other == one) {
            return Err(ListError("two of its columns say the same".into()));
        }
    }
    if !columns.contains(&Some(Column::Url)) {
        return Err(ListError(
            "its first line names no column `url`; others are path, sha256, size, retrieved_at, licence".into(),
        ));
    }
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(wrong)? {
        let line = record.position().map_or(0, csv::Position::line);
        if record.as_slice().len() > MAX_LINE {
            return Err(ListError(format!(
                "line {line} is longer than {MAX_LINE} bytes"
            )));
        }
        if list.entries.len() >= MAX_FILES {
            return Err(ListError(format!("it has more than {MAX_FILES} lines")));
        }
        let value = |wanted: Column| {
            let at = columns.iter().position(|one| *one == Some(wanted))?;
            record
                .get(at)
                .map(str::trim)
                .filter(|value| !value.is_empty())
        };
        let entry = entry(value).map_err(|why| ListError(format!("line {line}: {why}")))?;
        list.entries.push(entry);
    }
    if list.entries.is_empty() {
        return Err(ListError("it names no file".into()));
    }
    Ok(list)
}

fn entry<'a>(value: impl Fn(Column) -> Option<&'a str>) -> Result<Entry, String> {
    let url = value(Column::Url).ok_or("it has no url")?;
    let path = match value(Column::Path) {
        Some(path) => ArtifactPath::new(path).map_err(|error| error.to_string())?,
        None => default_path(url)
            .ok_or("its url ends in no file name: a column `path` says what it is called")?,
    };
    acceptable(url, &path).map_err(|error| error.0)?;
    let shown = crate::path::display;
    Ok(Entry {
        url: normal(url).map_err(|error| error.0)?,
        path,
        sha256: value(Column::Sha256)
            .map(|hex| hex.to_ascii_lowercase().parse())
            .transpose()
            .map_err(|error: crate::digest::DigestError| error.to_string())?,
        size: value(Column::Size)
            .map(|text| {
                text.parse()
                    .map_err(|_| format!("{:?} is no size", shown(text)))
            })
            .transpose()?,
        retrieved_at: value(Column::RetrievedAt)
            .map(|text| {
                text.parse()
                    .map_err(|_| format!("{:?} is no time in RFC 3339", shown(text)))
            })
            .transpose()?,
        licence: value(Column::Licence).map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables() {
        let text = "\u{feff}url,Path,sha256,note,retrieved_at\r\n\
            https://example.org/a.txt,,,x,\n\
            \"https://example.org/b?x=1,2\",d/b.txt,,\"a \"\"b\"\"\",2026-01-02T03:04:05Z\n";
        let list = parse(text.as_bytes()).unwrap();
        assert_eq!(list.ignored, ["note"]);
        let paths: Vec<&str> = list.entries.iter().map(|one| one.path.as_str()).collect();
        assert_eq!(paths, ["a.txt", "d/b.txt"]);
        assert!(list.entries[1].retrieved_at.is_some());
        for wrong in [
            "",
            "path\na\n",
            "url\n",
            "url\nhttps://h/\n",
            "url\nhttps://h/a?b\n",
            "url\nfile:///etc/passwd\n",
            "url,path\nhttps://h/a,../b\n",
            "url,path\nhttps://h/a,.git/b\n",
            "url,path\nhttps://h/a\n",
            "url,sha256\nhttps://h/a,00\n",
            "url,url\nhttps://h/a,https://h/a\n",
            "url,retrieved_at\nhttps://h/a,yesterday\n",
            "url\nhttps://h/a?token=x\n",
        ] {
            assert!(parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
