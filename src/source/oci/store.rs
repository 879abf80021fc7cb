//! What holds manifests and blobs on disk: image layouts (OCI image-spec v1.1, "Image Layout"), and the store of Ollama.
//! Names of files are never taken for digests.

use std::fs::File;
use std::path::Path;

use super::manifest::{Descriptor, Index, MAX_MANIFEST, name, parse, parse_digest, spelled};
use super::{LayoutReference, Reference};
use crate::digest::Digest;
use crate::disk::{self, Directory, DiskError};
use crate::path::ArtifactPath;
use crate::source::SourceError;

/// An image layout.
pub struct Layout {
    directory: Directory,
    reference: LayoutReference,
}

/// The models that Ollama has here.
pub struct OllamaStore {
    directory: Directory,
    reference: Reference,
}

fn disk_error(error: &DiskError) -> SourceError {
    SourceError::Unusable(crate::gate::cause(error))
}

fn read(directory: &Directory, path: &str, limit: u64) -> Result<Vec<u8>, SourceError> {
    let path = ArtifactPath::new(path).map_err(|error| SourceError::Unusable(error.to_string()))?;
    let file = directory
        .open_file(&path)
        .map_err(|error| disk_error(&error))?;
    let shown = directory.path().join(path.as_str());
    disk::read_open(file, &shown, limit).map_err(|error| disk_error(&error))
}

fn open(directory: &Directory, path: &str) -> Result<File, SourceError> {
    let path = ArtifactPath::new(path).map_err(|error| SourceError::Unusable(error.to_string()))?;
    directory
        .open_file(&path)
        .map_err(|error| disk_error(&error))
}

/// The manifest must be what it is named by.
fn checked(bytes: Vec<u8>, digest: &Digest) -> Result<Vec<u8>, SourceError> {
    if *digest.bytes == digest.algorithm.of(&bytes) {
        return Ok(bytes);
    }
    Err(SourceError::Contradiction(vec![format!(
        "the manifest {} has digest {}",
        spelled(digest),
        name(&bytes)
    )]))
}

impl Layout {
    /// The layout that `reference` is in.
    pub fn open(reference: &LayoutReference) -> Result<Layout, SourceError> {
        let directory =
            Directory::open(&reference.directory).map_err(|error| disk_error(&error))?;
        Ok(Layout {
            directory,
            reference: reference.clone(),
        })
    }

    /// The manifest of the tag or digest that is asked for; the only one, if none is.
    pub fn manifest(&self) -> Result<Vec<u8>, SourceError> {
        if let Some(digest) = &self.reference.digest {
            return checked(
                read(&self.directory, &blob_path(digest), MAX_MANIFEST)?,
                digest,
            );
        }
        let index = read(&self.directory, "index.json", MAX_MANIFEST)?;
        let index = parse(&index).map_err(|error| SourceError::Unusable(error.to_string()))?;
        let Err(Index { manifests, .. }) = index else {
            return Err(SourceError::Unusable("index.json is no index".into()));
        };
        let wanted = |one: &&Descriptor| {
            let called = one.annotations.get("org.opencontainers.image.ref.name");
            self.reference
                .tag
                .as_ref()
                .is_none_or(|tag| called == Some(tag))
        };
        let found: Vec<_> = manifests.iter().filter(wanted).collect();
        let [one] = found[..] else {
            return Err(SourceError::Unusable(format!(
                "{} of the {} manifests in index.json are meant: name one by its tag or digest",
                found.len(),
                manifests.len()
            )));
        };
        let digest = one
            .digest()
            .map_err(|error| SourceError::Unusable(error.to_string()))?;
        checked(
            read(&self.directory, &blob_path(&digest), MAX_MANIFEST)?,
            &digest,
        )
    }

    /// A manifest by its digest.
    pub fn manifest_by(&self, digest: &Digest) -> Result<Vec<u8>, SourceError> {
        checked(
            read(&self.directory, &blob_path(digest), MAX_MANIFEST)?,
            digest,
        )
    }

    /// A blob, which nobody has compared with its digest yet.
    pub fn blob(&self, digest: &str) -> Result<File, SourceError> {
        open(&self.directory, &blob_path(&known(digest)?))
    }

    /// Where it is, for records.
    pub fn address(&self) -> String {
        let tag = self.reference.tag.as_ref().map(|tag| format!(":{tag}"));
        let directory = std::path::absolute(self.directory.path());
        let directory = directory.unwrap_or_else(|_| self.directory.path().into());
        format!(
            "oci-layout:{}{}",
            directory.display(),
            tag.unwrap_or_default()
        )
    }
}

impl OllamaStore {
    /// The store at `directory`, `~/.ollama/models` for most.
    pub fn open(directory: &Path, reference: &Reference) -> Result<OllamaStore, SourceError> {
        let directory = Directory::open(directory).map_err(|error| disk_error(&error))?;
        Ok(OllamaStore {
            directory,
            reference: reference.clone(),
        })
    }

    /// The manifest: the very bytes that the registry sent.
    pub fn manifest(&self) -> Result<Vec<u8>, SourceError> {
        let Reference {
            host, repository, ..
        } = &self.reference;
        let path = format!("manifests/{host}/{repository}/{}", self.reference.tag());
        let bytes = read(&self.directory, &path, MAX_MANIFEST)?;
        match &self.reference.digest {
            Some(digest) => checked(bytes, digest),
            None => Ok(bytes),
        }
    }

    /// A blob, which nobody has compared with its digest yet.
    pub fn blob(&self, digest: &str) -> Result<File, SourceError> {
        let digest = known(digest)?;
        let path = format!("blobs/{}-{}", digest.algorithm.name(), digest.hex());
        open(&self.directory, &path)
    }
}

fn known(digest: &str) -> Result<Digest, SourceError> {
    parse_digest(digest).ok_or_else(|| {
        let shown = crate::path::display(digest);
        SourceError::Unusable(format!("{shown} is no digest"))
    })
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm.name(), digest.hex())
}
