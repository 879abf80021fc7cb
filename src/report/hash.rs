//! The output of `hash --json`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::artifact::Manifest;

/// The digests of every file of an artifact.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct HashDocument {
    /// Always `https://weighbridge.dev/hash/v1`.
    pub schema: String,
    /// As it was given.
    pub path: String,
    /// `dirHash1:…` or `sha256:…`; absent if SHA-256 was not asked for.
    pub digest: Option<String>,
    /// Bytes in all files.
    pub bytes: u64,
    /// In byte order of their path.
    pub files: Vec<HashedFile>,
}

/// One file.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct HashedFile {
    /// Relative to the directory; the file's own name if the artifact is a single file.
    pub path: String,
    /// In bytes.
    pub size: u64,
    /// By algorithm, in lower-case hexadecimal.
    pub digests: BTreeMap<String, String>,
}

impl HashDocument {
    /// The document of `manifest`.
    pub fn new(path: String, manifest: &Manifest) -> HashDocument {
        let digest =
            |digest: crate::digest::Digest| (digest.algorithm.name().to_owned(), digest.hex());
        let files = manifest.files().iter().map(|file| HashedFile {
            path: file.path.as_str().into(),
            size: file.size,
            digests: manifest.digests(file).into_iter().map(digest).collect(),
        });
        HashDocument {
            schema: "https://weighbridge.dev/hash/v1".into(),
            path,
            digest: manifest
                .artifact_digest()
                .ok()
                .map(|digest| digest.to_string()),
            bytes: manifest.bytes(),
            files: files.collect(),
        }
    }
}
