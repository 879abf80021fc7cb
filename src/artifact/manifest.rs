//! Manifests: the sorted list of an artifact's files with their digests, and the artifact digest.
//!
//! The text form has one line a file, `<sha256 hex><two spaces><path>\n`, in byte order of the
//! path: what `sha256sum` prints. The artifact digest of a tree is SHA-256 over that text, which
//! is in-toto's `dirHash1`; that of a single file is the file's own SHA-256.

use std::collections::BTreeMap;
use std::fmt;

use data_encoding::HEXLOWER;
use sha2::Digest as _;

use super::format::Format;
use crate::digest::{self, Algorithm, Digest, DigestBytes, DigestError, Sha256};
use crate::path::{ArtifactPath, PathError};

/// The files of an artifact. Files are in byte order of their path, and no path appears twice.
#[derive(Clone, Debug)]
pub struct Manifest {
    algorithms: Vec<Algorithm>,
    single: bool,
    files: Vec<ManifestFile>,
    digests: Digests,
}

/// The digests of many files, in one piece: of a million files each allocation counts.
#[derive(Clone, Debug)]
pub(super) struct Digests {
    /// Bytes of each file's, by all algorithms.
    length: usize,
    all: Vec<u8>,
    /// What was kept of the parts of some, by the same places.
    parts: BTreeMap<u32, Box<[u8]>>,
}

impl Digests {
    /// Room for those of so many files.
    pub(super) fn new(algorithms: &[Algorithm], files: usize) -> Digests {
        let length = algorithms.iter().map(|one| one.length()).sum();
        Digests {
            length,
            all: vec![0; files.saturating_mul(length)],
            parts: BTreeMap::new(),
        }
    }

    /// Puts `digests`, one after the other, and parts behind them, at this place.
    pub(super) fn put(&mut self, at: u32, digests: &[u8]) {
        let (own, parts) = digests.split_at(self.length.min(digests.len()));
        let range = self.range(at);
        if let Some(room) = self.all.get_mut(range)
            && room.len() == own.len()
        {
            room.copy_from_slice(own);
        }
        if !parts.is_empty() {
            self.parts.insert(at, parts.into());
        }
    }

    fn range(&self, at: u32) -> std::ops::Range<usize> {
        let start = usize::try_from(at)
            .unwrap_or(usize::MAX)
            .saturating_mul(self.length);
        start..start.saturating_add(self.length)
    }

    fn get(&self, at: u32) -> &[u8] {
        self.all.get(self.range(at)).unwrap_or_default()
    }
}

/// One file of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestFile {
    pub path: ArtifactPath,
    pub size: u64,
    /// What kind of file it is; not known of one that was not read here.
    pub format: Option<Format>,
    pub checked: Checked,
    /// Where its digests are among those of its manifest.
    pub(super) at: u32,
}

/// How the digests of a file were come by.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Serialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Checked {
    /// All of it was read.
    #[default]
    Full,
    /// This host read it before, and by what the kernel says it is unchanged since.
    Receipt,
    /// The kernel keeps a digest of it (fs-verity), and lets nobody change it.
    FsVerity,
}

/// The one number that names an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ArtifactDigest {
    /// SHA-256 of the manifest text of a tree.
    DirHash1(Sha256),
    /// SHA-256 of a single file.
    Sha256(Sha256),
}

impl ArtifactDigest {
    /// The digest name in an in-toto subject.
    pub const fn name(self) -> &'static str {
        match self {
            ArtifactDigest::DirHash1(_) => "dirHash1",
            ArtifactDigest::Sha256(_) => "sha256",
        }
    }

    /// The number itself.
    pub const fn value(self) -> Sha256 {
        match self {
            ArtifactDigest::DirHash1(value) | ArtifactDigest::Sha256(value) => value,
        }
    }
}

impl fmt::Display for ArtifactDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name(), self.value())
    }
}

/// Why there is no manifest, or no artifact digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    #[error("the artifact holds no file")]
    Empty,
    #[error(transparent)]
    Path(#[from] PathError),
    #[error("the manifest has no SHA-256")]
    NoSha256,
    #[error("line {line}: expected `<digest>  <path>`")]
    Line { line: usize },
    #[error("line {line}: {source}")]
    LineDigest { line: usize, source: DigestError },
    #[error("line {line}: {source}")]
    LinePath { line: usize, source: PathError },
    #[error("path {0:?} appears twice")]
    Twice(String),
}

impl Manifest {
    pub(super) fn new(
        algorithms: &[Algorithm],
        single: bool,
        files: Vec<ManifestFile>,
        digests: Digests,
    ) -> Manifest {
        Manifest {
            algorithms: algorithms.into(),
            single,
            files,
            digests,
        }
    }

    /// A tree whose files have these sizes and SHA-256, by whoever read them.
    pub fn of_digests(files: impl IntoIterator<Item = (ArtifactPath, u64, Sha256)>) -> Manifest {
        Manifest::of_sha256(files.into_iter().collect(), false)
    }

    /// One file that has this size and SHA-256, by whoever read it.
    pub fn of_file(file: (ArtifactPath, u64, Sha256)) -> Manifest {
        Manifest::of_sha256(vec![file], true)
    }

    fn of_sha256(mut files: Vec<(ArtifactPath, u64, Sha256)>, single: bool) -> Manifest {
        files.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let files = files.into_iter();
        let files = files.map(|(path, size, sha256)| (path, size, sha256.0));
        Manifest::of_sorted(&[Algorithm::Sha256], single, files.collect())
    }

    /// Files in byte order of their path, with the digests of each one after the other, by whoever read them.
    pub fn of_files(
        algorithms: &[Algorithm],
        single: bool,
        files: Vec<(ArtifactPath, u64, Vec<u8>)>,
    ) -> Result<Manifest, ManifestError> {
        let twice = files.windows(2).find_map(|pair| match pair {
            [one, next] if one.0 >= next.0 => Some(next.0.to_string()),
            _ => None,
        });
        match twice {
            Some(path) => Err(ManifestError::Twice(path)),
            None => Ok(Manifest::of_sorted(algorithms, single, files)),
        }
    }

    fn of_sorted<D: AsRef<[u8]>>(
        algorithms: &[Algorithm],
        single: bool,
        files: Vec<(ArtifactPath, u64, D)>,
    ) -> Manifest {
        let mut digests = Digests::new(algorithms, files.len());
        let files = files.into_iter().zip(0..).map(|((path, size, own), at)| {
            digests.put(at, own.as_ref());
            ManifestFile {
                path,
                size,
                format: None,
                checked: Checked::Full,
                at,
            }
        });
        let files = files.collect();
        Manifest::new(algorithms, single, files, digests)
    }

    /// The same, with files that `other` has checked as they were there.
    #[must_use]
    pub fn checked_as(mut self, other: &Manifest) -> Manifest {
        for file in &mut self.files {
            if let Some(same) = other.file(file.path.as_str()) {
                file.checked = same.checked;
            }
        }
        self
    }

    /// The same without the file at `path`.
    #[must_use]
    pub fn without(&self, path: Option<&ArtifactPath>) -> Manifest {
        let mut rest = self.clone();
        rest.files.retain(|file| Some(&file.path) != path);
        rest
    }

    /// The digests that each file has.
    pub fn algorithms(&self) -> &[Algorithm] {
        &self.algorithms
    }

    /// Is the artifact a single file?
    pub fn is_single_file(&self) -> bool {
        self.single
    }

    /// The files, in byte order of their path.
    pub fn files(&self) -> &[ManifestFile] {
        &self.files
    }

    /// The file at `path`.
    pub fn file(&self, path: &str) -> Option<&ManifestFile> {
        let index = self
            .files
            .binary_search_by(|file| file.path.as_str().cmp(path))
            .ok()?;
        self.files.get(index)
    }

    /// The bytes in all files.
    pub fn bytes(&self) -> u64 {
        self.files
            .iter()
            .fold(0, |total, file| file.size.saturating_add(total))
    }

    /// The digest of `file` by `algorithm`, if this manifest has it.
    pub fn digest(&self, file: &ManifestFile, algorithm: Algorithm) -> Option<&[u8]> {
        let mut start = 0;
        let own = self.digests.get(file.at);
        for &present in &self.algorithms {
            let end = start + present.length();
            if present == algorithm {
                return own.get(start..end);
            }
            start = end;
        }
        None
    }

    /// The digests of the parts of `file`, one after the other, if they were to be kept.
    pub fn parts(&self, file: &ManifestFile) -> &[u8] {
        self.digests.parts.get(&file.at).map_or(&[], |parts| parts)
    }

    /// All digests of `file`.
    pub fn digests(&self, file: &ManifestFile) -> Vec<Digest> {
        let digest = |&algorithm: &Algorithm| {
            Some(Digest {
                algorithm,
                bytes: self.digest(file, algorithm)?.into(),
            })
        };
        self.algorithms.iter().filter_map(digest).collect()
    }

    /// The lines of `algorithm`, each with its line end; of SHA-256 for the manifest text.
    pub fn lines(&self, algorithm: Algorithm) -> impl Iterator<Item = String> {
        self.files.iter().map(move |file| {
            let digest = self.digest(file, algorithm).unwrap_or_default();
            format!("{}  {}\n", HEXLOWER.encode(digest), file.path.as_str())
        })
    }

    /// The manifest text: the lines of SHA-256.
    pub fn text(&self) -> String {
        self.lines(Algorithm::Sha256).collect()
    }

    /// The artifact digest.
    pub fn artifact_digest(&self) -> Result<ArtifactDigest, ManifestError> {
        if !self.algorithms.contains(&Algorithm::Sha256) {
            return Err(ManifestError::NoSha256);
        }
        let first = self.files.first().ok_or(ManifestError::Empty)?;
        if self.single {
            let mut value = [0; 32];
            let digest = self.digest(first, Algorithm::Sha256).unwrap_or_default();
            value.copy_from_slice(digest);
            return Ok(ArtifactDigest::Sha256(Sha256(value)));
        }
        for file in &self.files {
            file.path.printable()?;
        }
        let mut hasher = sha2::Sha256::new();
        let mut line = String::new();
        for file in &self.files {
            let digest = self.digest(file, Algorithm::Sha256).unwrap_or_default();
            line.clear();
            HEXLOWER.encode_append(digest, &mut line);
            line.push_str("  ");
            line.push_str(file.path.as_str());
            line.push('\n');
            hasher.update(&line);
        }
        Ok(ArtifactDigest::DirHash1(Sha256(hasher.finalize().into())))
    }
}

/// One line of a manifest text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub digest: DigestBytes,
    pub path: ArtifactPath,
}

/// Reads a manifest text: lines as `sha256sum` prints them, in any order, ` *` allowed as its mark
/// of binary mode. Escaped names, and a path named twice, are refused.
pub fn parse(text: &[u8], algorithm: Algorithm) -> Result<Vec<Line>, ManifestError> {
    let mut lines = Vec::new();
    let digits = 2 * algorithm.length();
    let body = text.strip_suffix(b"\n").unwrap_or(text);
    for (number, raw) in body.split(|&byte| byte == b'\n').enumerate() {
        let line = number + 1;
        let (hex, rest) = raw
            .split_at_checked(digits)
            .ok_or(ManifestError::Line { line })?;
        let name = rest
            .strip_prefix(b"  ")
            .or_else(|| rest.strip_prefix(b" *"))
            .ok_or(ManifestError::Line { line })?;
        let hex = std::str::from_utf8(hex).map_err(|_| ManifestError::Line { line })?;
        let digest = digest::decode(algorithm, hex)
            .map_err(|source| ManifestError::LineDigest { line, source })?;
        // `find . -type f | xargs sha256sum` writes `./` before each path.
        let name = name.strip_prefix(b"./").unwrap_or(name);
        let path = ArtifactPath::from_bytes(name)
            .and_then(|path| path.printable().map(|()| path))
            .map_err(|source| ManifestError::LinePath { line, source })?;
        lines.push(Line { digest, path });
    }
    lines.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    let twice = lines
        .windows(2)
        .find(|pair| matches!(pair, [a, b] if a.path == b.path));
    if let Some([twice, ..]) = twice {
        return Err(ManifestError::Twice(twice.path.as_str().into()));
    }
    Ok(lines)
}

/// How a tree differs from what it should be, in byte order of the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    Changed {
        path: ArtifactPath,
        expected: DigestBytes,
        found: Box<[u8]>,
    },
    Missing {
        path: ArtifactPath,
    },
    Added {
        path: ArtifactPath,
    },
}

/// Compares what should be there, sorted by path, with a manifest.
pub fn compare(expected: &[Line], manifest: &Manifest, algorithm: Algorithm) -> Vec<Difference> {
    let mut differences = Vec::new();
    let (mut lines, mut files) = (expected.iter().peekable(), manifest.files.iter().peekable());
    loop {
        let order = match (lines.peek(), files.peek()) {
            (None, None) => return differences,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(line), Some(file)) => line.path.cmp(&file.path),
        };
        let line = if order.is_le() { lines.next() } else { None };
        let file = if order.is_ge() { files.next() } else { None };
        match (line, file) {
            (Some(line), Some(file)) => {
                let found = manifest.digest(file, algorithm).unwrap_or_default();
                if *found != *line.digest {
                    differences.push(Difference::Changed {
                        path: line.path.clone(),
                        expected: line.digest,
                        found: found.into(),
                    });
                }
            }
            (Some(line), None) => differences.push(Difference::Missing {
                path: line.path.clone(),
            }),
            (None, Some(file)) => differences.push(Difference::Added {
                path: file.path.clone(),
            }),
            (None, None) => return differences,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(path: &str, content: &[u8]) -> String {
        format!("{}  {path}\n", Sha256::of(content))
    }

    fn manifest(files: &[(&str, &[u8])]) -> Manifest {
        let file = |(path, content): &(&str, &[u8])| {
            let path = ArtifactPath::new(path).unwrap();
            (path, content.len() as u64, Sha256::of(content))
        };
        Manifest::of_digests(files.iter().map(file))
    }

    /// What was there and what came are one manifest: each file is as it was checked.
    #[test]
    fn files_keep_how_they_were_checked() {
        let named = |name: &str| (ArtifactPath::new(name).unwrap(), 1, Sha256::of(b"x"));
        let mut before = Manifest::of_digests([named("a"), named("c")]);
        before.files[1].checked = Checked::Receipt;
        let all = Manifest::of_digests([named("a"), named("b"), named("c")]).checked_as(&before);
        let checked: Vec<Checked> = all.files.iter().map(|file| file.checked).collect();
        assert_eq!(checked, [Checked::Full, Checked::Full, Checked::Receipt]);
    }

    #[test]
    fn parses_what_sha256sum_prints() {
        let text = line("b", b"1") + &line("a b", b"2").replace("  ", " *");
        let lines = parse(text.as_bytes(), Algorithm::Sha256).unwrap();
        assert_eq!(
            lines
                .iter()
                .map(|line| line.path.as_str())
                .collect::<Vec<_>>(),
            ["a b", "b"]
        );
    }

    #[test]
    fn refuses_what_is_ambiguous() {
        let good = line("a", b"1");
        for bad in [
            String::new(),
            "\n".into(),
            good.clone() + "\n",
            good.clone() + &good,
            good.replace("  a", " a"),
            good.to_uppercase(),
            line("../a", b"1"),
            line("/a", b"1"),
            format!("\\{}", line("a\\nb", b"1")),
            line("a\rb", b"1"),
        ] {
            assert!(parse(bad.as_bytes(), Algorithm::Sha256).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn finds_changed_missing_and_added() {
        let manifest = manifest(&[("a", b"1"), ("c", b"3"), ("d", b"4")]);
        let text = line("a", b"1") + &line("b", b"2") + &line("c", b"x");
        let lines = parse(text.as_bytes(), Algorithm::Sha256).unwrap();
        let found: Vec<String> = compare(&lines, &manifest, Algorithm::Sha256)
            .into_iter()
            .map(|difference| match difference {
                Difference::Changed { path, .. } => format!("changed {path}"),
                Difference::Missing { path } => format!("missing {path}"),
                Difference::Added { path } => format!("added {path}"),
            })
            .collect();
        assert_eq!(found, ["missing b", "changed c", "added d"]);
    }

    #[test]
    fn the_empty_artifact_has_no_digest() {
        assert_eq!(manifest(&[]).artifact_digest(), Err(ManifestError::Empty));
    }
}
