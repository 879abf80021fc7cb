//! What a directory says of its own files: lists of digests, descriptions in Croissant, the files of DVC, the metadata of
//! `MLflow`. What is strong is compared; what is weak is compared and proves nothing; what is said is a claim.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::artifact::checksum_list;
use crate::digest::{Algorithm, Digest, Sha256, decode};
use crate::disk;
use crate::git::snapshot::acceptable_path;
use crate::path::ArtifactPath;
use crate::source::SourceError;
use crate::source::https::{LIST, LISTS};
use crate::source::published::{Evidence, Expected, Published, PublishedFile};
use crate::statement::Text;
use crate::statement::acquire::{Claim, PublishedDigest};

/// Files that say something are small.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// The most claims.
const MAX_CLAIMS: usize = 64;

/// The most files of DVC that are looked at, and directories that are looked through for them.
const MAX_DVC: usize = 10_000;
const MAX_DIRECTORIES: usize = 100_000;

fn read(path: &Path) -> Result<Option<Vec<u8>>, SourceError> {
    match disk::read_no_link(path, MAX_FILE) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(SourceError::Unusable(crate::gate::cause(&error))),
    }
}

/// What is in the directory, as far as it says.
pub(super) fn published(mut published: Published, root: &Path) -> Result<Published, SourceError> {
    published.is_open = true;
    let mut by = Vec::new();
    for name in LISTS {
        if let Some(bytes) = read(&root.join(name))?
            && let Some(files) = of_list(&bytes, name)?
        {
            agree(&mut published.files, files, name)?;
            published.assurance.digest = Text::new(name).ok().map(|read_from| PublishedDigest {
                digest: Sha256::of(&bytes),
                read_from,
            });
            published.evidence.push(Evidence {
                name: LIST,
                media_type: "text/plain",
                bytes,
            });
            by.push(name.to_owned());
        }
    }
    for name in ["croissant.json", "metadata.json"] {
        if let Some(bytes) = read(&root.join(name))?
            && let Some(files) = of_croissant(&bytes)
        {
            agree(&mut published.files, files, name)?;
            by.push(name.to_owned());
        }
    }
    by.extend(of_dvc(root, &mut published.files)?);
    published.name = if by.is_empty() {
        "a directory that says nothing of its files".into()
    } else {
        by.truncate(10);
        format!("what {} say", by.join(", "))
    };
    Ok(published)
}

type Files = BTreeMap<ArtifactPath, PublishedFile>;

/// Every file that a list names.
fn of_list(bytes: &[u8], name: &str) -> Result<Option<Files>, SourceError> {
    let mut files = Files::new();
    if !checksum_list::is_list(bytes) {
        return Ok(None);
    }
    let entries = checksum_list::entries(bytes).ok_or_else(|| {
        SourceError::Unusable(format!(
            "{name} has a line that is not understood: nothing is passed over"
        ))
    })?;
    for (path, digest) in entries {
        let path = ArtifactPath::new(path.strip_prefix("./").unwrap_or(path)).ok();
        let Some(path) = path.filter(|path| acceptable_path(path).is_ok()) else {
            return Err(SourceError::Contradiction(vec![format!(
                "{name} names a file that no artifact may have"
            )]));
        };
        let file = PublishedFile::new(Expected::Digest(digest), String::new());
        if files.insert(path.clone(), file).is_some() {
            return Err(SourceError::Contradiction(vec![format!(
                "{name} names {path} twice"
            )]));
        }
    }
    Ok((!files.is_empty()).then_some(files))
}

/// Puts together what is said of files: of one that is named twice, both must say the same where they say the same kind of
/// thing, and all of it is compared.
fn agree(all: &mut Files, more: Files, name: &str) -> Result<(), SourceError> {
    for (path, file) in more {
        let Some(there) = all.get_mut(&path) else {
            all.insert(path, file);
            continue;
        };
        let said = |one: &PublishedFile| match &one.expected {
            Expected::Digest(digest) => Some(digest.clone()),
            _ => None,
        };
        match (said(there), said(&file)) {
            (Some(a), Some(b)) if a.algorithm == b.algorithm && a != b => {
                return Err(SourceError::Contradiction(vec![format!(
                    "{path}: {name} says {} {}, and another says {}",
                    b.algorithm.title(),
                    b.hex(),
                    a.hex()
                )]));
            }
            (Some(_), Some(b)) => there.claims.push(b),
            (None, Some(_)) => there.expected = file.expected,
            (_, None) => {}
        }
        there.claims.extend(file.claims);
        there.size = there.size.or(file.size);
    }
    Ok(())
}

/// The files beside a description, by their SHA-256; none if it is no description.
fn of_croissant(bytes: &[u8]) -> Option<Files> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    let distribution = value.get("distribution")?.as_array()?;
    let text = |file: &Value, name: &str| {
        let prefixed = format!("cr:{name}");
        let value = file.get(name).or_else(|| file.get(&prefixed))?;
        value.as_str().map(str::to_owned)
    };
    let mut files = Files::new();
    for file in distribution {
        let digest = text(file, "sha256").and_then(|hex| decode(Algorithm::Sha256, &hex).ok());
        let path = text(file, "contentUrl")
            .and_then(|path| ArtifactPath::new(path.strip_prefix("./").unwrap_or(&path)).ok());
        let path =
            path.filter(|path| acceptable_path(path).is_ok() && !path.as_str().contains("://"));
        if let (Some(path), Some(digest)) = (path, digest) {
            let digest = Digest {
                algorithm: Algorithm::Sha256,
                bytes: digest.into(),
            };
            files.insert(
                path,
                PublishedFile::new(Expected::Digest(digest), String::new()),
            );
        }
    }
    (!files.is_empty()).then_some(files)
}

#[derive(Deserialize)]
struct DvcFile {
    #[serde(default)]
    outs: Vec<DvcOut>,
    /// What the paths are beneath, unless the file's own directory.
    #[serde(default)]
    wdir: String,
}

#[derive(Deserialize)]
struct DvcOut {
    path: String,
    #[serde(default)]
    md5: Option<String>,
    #[serde(default)]
    size: Option<u64>,
    /// Since version 3; before, text was hashed with its line ends changed.
    #[serde(default)]
    hash: Option<String>,
}

/// What DVC tracks: MD5, which is compared and proves nothing. The names of its files.
fn of_dvc(root: &Path, files: &mut Files) -> Result<Vec<String>, SourceError> {
    let mut found = Vec::new();
    let mut pending = vec![String::new()];
    let (mut seen, mut directories) = (0, 0);
    while let Some(directory) = pending.pop() {
        directories += 1;
        if directories > MAX_DIRECTORIES {
            return Err(SourceError::Unusable(format!(
                "it has more than {MAX_DIRECTORIES} directories that files of DVC could be in"
            )));
        }

        let Ok(entries) = std::fs::read_dir(root.join(&directory)) else {
            continue;
        };
        for entry in entries.filter_map(Result::ok) {
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_directory && name != ".git" && name != ".dvc" {
                pending.push(format!("{directory}{name}/"));
            }
            let is_dvc = Path::new(&name)
                .extension()
                .is_some_and(|ending| ending == "dvc");
            if is_directory || !is_dvc || name == ".dvc" {
                continue;
            }
            seen += 1;
            if seen > MAX_DVC {
                return Err(SourceError::Unusable(format!(
                    "it has more than {MAX_DVC} files of DVC"
                )));
            }
            let place = format!("{directory}{name}");
            let Some(bytes) = read(&root.join(&place))? else {
                continue;
            };
            let file = dvc_file(&bytes, &place)?;
            for out in &file.outs {
                if let Some((path, file)) = claimed(&directory, &file.wdir, out) {
                    agree(files, Files::from([(path, file)]), &place)?;
                }
            }
            found.push(place);
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn dvc_file(bytes: &[u8], place: &str) -> Result<DvcFile, SourceError> {
    let text = String::from_utf8_lossy(bytes);
    serde_saphyr::from_str(&text).map_err(|_| {
        SourceError::Unusable(format!("{} is no file of DVC", crate::path::display(place)))
    })
}

/// Where `path` leads, seen from `base`; nowhere if that is outside.
fn joined(base: &str, path: &str) -> Option<ArtifactPath> {
    let mut parts = Vec::new();
    for part in base.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => _ = parts.pop()?,
            part => parts.push(part),
        }
    }
    ArtifactPath::new(&parts.join("/")).ok()
}

/// A file with the MD5 that DVC has of it; of directories it has another, over a list.
fn claimed(directory: &str, wdir: &str, out: &DvcOut) -> Option<(ArtifactPath, PublishedFile)> {
    if wdir.starts_with('/') || out.path.starts_with('/') {
        return None;
    }
    let path = joined(&format!("{directory}{wdir}"), &out.path)?;
    acceptable_path(&path).ok()?;
    let md5 = out
        .md5
        .as_deref()
        .filter(|_| out.hash.as_deref() == Some("md5"))?;
    let bytes = decode(Algorithm::Md5, md5).ok()?;
    let file = PublishedFile {
        size: out.size,
        claims: vec![Digest {
            algorithm: Algorithm::Md5,
            bytes: bytes.into(),
        }],
        ..PublishedFile::new(Expected::Unknown, String::new())
    };
    Some((path, file))
}

/// What is recorded of the metadata of `MLflow`.
const MLFLOW: [&str; 6] = [
    "run_id",
    "model_id",
    "model_uuid",
    "mlflow_version",
    "utc_time_created",
    "artifact_path",
];

/// What the directory's own files say of it.
pub(super) fn claims(published: &mut Published, root: &Path) -> Result<(), SourceError> {
    let Some(bytes) = read(&root.join("MLmodel"))? else {
        return Ok(());
    };
    let text = String::from_utf8_lossy(&bytes);
    let value: Result<BTreeMap<String, Value>, _> = serde_saphyr::from_str(&text);
    let value =
        value.map_err(|_| SourceError::Unusable("MLmodel is no metadata of MLflow".into()))?;
    for name in MLFLOW {
        let said = match value.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            _ => continue,
        };
        // Where it lay on its author's machine is nobody's matter.
        if said.starts_with('/') || said.contains("file:") || said.contains('\\') {
            continue;
        }
        let named_in = Text::new(format!("MLmodel: {name}"));
        if let (Ok(named_in), Ok(value)) = (named_in, Text::new(said))
            && published.claims.len() < MAX_CLAIMS
        {
            published.claims.push(Claim { named_in, value });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_dvc() {
        let text = "outs:\n- md5: 900150983cd24fb0d6963f7d28e17f72\n  size: 3\n  hash: md5\n  path: a.csv\n\
            - md5: 900150983cd24fb0d6963f7d28e17f72.dir\n  hash: md5\n  path: d\n\
            - md5: 900150983cd24fb0d6963f7d28e17f72\n  path: old.csv\n\
            - md5: 900150983cd24fb0d6963f7d28e17f72\n  hash: md5\n  path: ../x\n";
        let all = dvc_file(text.as_bytes(), "x.dvc").unwrap().outs;
        assert_eq!(all.len(), 4);
        let of = |directory: &str, wdir: &str| -> Vec<String> {
            let found = all.iter().filter_map(|out| claimed(directory, wdir, out));
            found.map(|(path, _)| path.to_string()).collect()
        };
        assert_eq!(of("s/", ""), ["s/a.csv", "x"]);
        assert_eq!(of("", ""), ["a.csv"]);
        assert_eq!(of("s/", "../t"), ["t/a.csv", "x"]);
        assert_eq!(of("s/", "../.."), Vec::<String>::new());
        assert_eq!(of("s/", "/t"), Vec::<String>::new());
        assert!(dvc_file(b"outs: 3", "x.dvc").is_err());
        assert!(dvc_file(b"a: &a [*a, *a]", "x").is_err() || dvc_file(b"a: 1", "x").is_ok());
    }

    #[test]
    fn a_list_that_leads_out() {
        let line = |path: &str| format!("{}  {path}\n", "a".repeat(64));
        assert!(of_list(line("../x").as_bytes(), "SHA256SUMS").is_err());
        assert!(of_list((line("x") + &line("./x")).as_bytes(), "SHA256SUMS").is_err());
        assert_eq!(
            of_list(line("d/x").as_bytes(), "S").unwrap().unwrap().len(),
            1
        );
        assert!(of_list(b"nothing", "S").unwrap().is_none());
    }
}
