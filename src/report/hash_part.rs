//! What one machine found of an artifact that several hash, and how what all found becomes one manifest.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifact::manifest::{Manifest, ManifestError};
use crate::artifact::parts::{MAX_PARTS, listing};
use crate::digest::{self, Algorithm, DigestError, Sha256};
use crate::path::{ArtifactPath, PathError};

/// The `schema` of a [`HashPart`].
const SCHEMA: &str = "https://weighbridge.dev/hash-part/v1";

/// The digests of some files of an artifact. Nothing vouches for them but who keeps the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HashPart {
    /// Always `https://weighbridge.dev/hash-part/v1`.
    pub schema: String,
    /// As it was given.
    pub path: String,
    /// Which of the parts this is, from 1 on.
    pub part: u32,
    /// How many parts there are.
    pub parts: u32,
    /// Is the artifact a single file?
    pub is_single_file: bool,
    /// How many files all parts have together.
    pub all_files: u64,
    /// SHA-256 over a line `<size><two spaces><path>` of every file of all parts, in byte order of the path: parts that differ
    /// in it are of different artifacts.
    pub listing: Sha256,
    /// By what the files were hashed.
    pub algorithms: Vec<Algorithm>,
    /// The files of this part, in byte order of their path.
    pub files: Vec<PartFile>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PartFile {
    pub path: String,
    /// In bytes.
    pub size: u64,
    /// In the order of the algorithms, in lower-case hexadecimal.
    pub digests: Vec<String>,
}

/// Why parts do not make a whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    #[error("not the JSON of a part")]
    Json(#[from] serde_json::Error),
    #[error("its schema is {found}, expected {SCHEMA}")]
    Schema { found: String },
    #[error("it says that it is part {part} of {parts}")]
    Number { part: u32, parts: u32 },
    #[error("the path {0:?} of its artifact has a control character")]
    Called(String),
    #[error("it has digests by no algorithm, or by one twice")]
    Algorithms,
    #[error("there is no part")]
    None,
    #[error("{count} of {parts} parts missing, the first is {first}/{parts}")]
    Missing {
        first: u32,
        count: usize,
        parts: u32,
    },
    #[error("part {part} is there twice")]
    Twice { part: u32 },
    #[error(
        "part {part} is of another artifact, or of another state of it, than part {first}: {what} differ"
    )]
    Different {
        part: u32,
        first: u32,
        what: &'static str,
    },
    #[error("part {part}: {path:?}: {source}")]
    Path {
        part: u32,
        path: String,
        source: PathError,
    },
    #[error("part {part}: {path:?}: {source}")]
    Digest {
        part: u32,
        path: String,
        source: DigestError,
    },
    #[error("part {part}: {path:?} has {found} digests, expected {expected}")]
    Digests {
        part: u32,
        path: String,
        found: usize,
        expected: usize,
    },
    #[error("the files of all parts are not those that every part lists")]
    Listing,
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

impl MergeError {
    /// Do the parts contradict each other, rather than that one cannot be had?
    pub fn is_contradiction(&self) -> bool {
        matches!(
            self,
            MergeError::Different { .. } | MergeError::Listing | MergeError::Manifest(_)
        )
    }
}

impl HashPart {
    /// The part of which `manifest` has the digests.
    pub fn new(
        path: String,
        (part, parts): (u32, u32),
        (all_files, listing): (u64, Sha256),
        manifest: &Manifest,
    ) -> HashPart {
        let file = |file: &crate::artifact::ManifestFile| PartFile {
            path: file.path.as_str().into(),
            size: file.size,
            digests: manifest
                .digests(file)
                .iter()
                .map(digest::Digest::hex)
                .collect(),
        };
        HashPart {
            schema: SCHEMA.into(),
            path,
            part,
            parts,
            is_single_file: manifest.is_single_file(),
            all_files,
            listing,
            algorithms: manifest.algorithms().into(),
            files: manifest.files().iter().map(file).collect(),
        }
    }

    /// Reads one.
    pub fn parse(bytes: &[u8]) -> Result<HashPart, MergeError> {
        let part: HashPart = serde_json::from_slice(bytes)?;
        if part.schema != SCHEMA {
            return Err(MergeError::Schema { found: part.schema });
        }
        if part.part == 0 || part.part > part.parts || part.parts > MAX_PARTS {
            let HashPart { part, parts, .. } = part;
            return Err(MergeError::Number { part, parts });
        }
        // It is printed as it stands, on the line of a single file.
        if part.path.contains(char::is_control) {
            return Err(MergeError::Called(part.path));
        }
        let different: BTreeSet<&Algorithm> = part.algorithms.iter().collect();
        if different.is_empty() || different.len() != part.algorithms.len() {
            return Err(MergeError::Algorithms);
        }
        Ok(part)
    }

    /// What differs that every part must say alike.
    fn differs(&self, other: &HashPart) -> Option<&'static str> {
        let same = |alike: bool, what| (!alike).then_some(what);
        same(self.parts == other.parts, "numbers of parts")
            .or_else(|| same(self.algorithms == other.algorithms, "algorithms"))
            .or_else(|| same(self.all_files == other.all_files, "numbers of files"))
            .or_else(|| same(self.listing == other.listing, "paths or sizes"))
            .or_else(|| same(self.is_single_file == other.is_single_file, "kinds"))
    }

    fn read(self) -> Result<Vec<(ArtifactPath, u64, Vec<u8>)>, MergeError> {
        let (part, algorithms) = (self.part, self.algorithms);
        let file = |file: PartFile| {
            let PartFile {
                path,
                size,
                digests,
            } = file;
            if digests.len() != algorithms.len() {
                let (found, expected) = (digests.len(), algorithms.len());
                return Err(MergeError::Digests {
                    part,
                    path,
                    found,
                    expected,
                });
            }
            let mut all = Vec::new();
            for (algorithm, text) in algorithms.iter().zip(&digests) {
                let decoded = digest::decode(*algorithm, text);
                let decoded = decoded.map_err(|source| MergeError::Digest {
                    part,
                    path: path.clone(),
                    source,
                })?;
                all.extend_from_slice(&decoded);
            }
            let read =
                ArtifactPath::new(&path).and_then(|path| path.printable().map(|()| path.clone()));
            match read {
                Ok(path) => Ok((path, size, all)),
                Err(source) => Err(MergeError::Path { part, path, source }),
            }
        };
        self.files.into_iter().map(file).collect()
    }
}

/// The manifest of the artifact that all parts are of, and how it was called.
pub fn merge(mut parts: Vec<HashPart>) -> Result<(String, Manifest), MergeError> {
    parts.sort_by_key(|part| part.part);
    let first = parts.first().ok_or(MergeError::None)?;
    let mut there = BTreeSet::new();
    for part in &parts {
        if let Some(what) = part.differs(first) {
            let (part, first) = (part.part, first.part);
            return Err(MergeError::Different { part, first, what });
        }
        if !there.insert(part.part) {
            return Err(MergeError::Twice { part: part.part });
        }
    }
    let mut missing = (1..=first.parts).filter(|number| !there.contains(number));
    if let Some(number) = missing.next() {
        return Err(MergeError::Missing {
            first: number,
            count: 1 + missing.count(),
            parts: first.parts,
        });
    }
    let (path, algorithms) = (first.path.clone(), first.algorithms.clone());
    let (is_single, all_files, listed) = (first.is_single_file, first.all_files, first.listing);
    let read: Result<Vec<_>, MergeError> = parts.into_iter().map(HashPart::read).collect();
    let mut files: Vec<_> = read?.into_iter().flatten().collect();
    files.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let found = listing(files.iter().map(|(path, size, _)| (path.as_str(), *size)));
    let is_one = files.len() == 1;
    if found != listed || files.len() as u64 != all_files || (is_single && !is_one) {
        return Err(MergeError::Listing);
    }
    if files.is_empty() {
        return Err(ManifestError::Empty.into());
    }
    let manifest = Manifest::of_files(&algorithms, is_single, files)?;
    Ok((path, manifest))
}
