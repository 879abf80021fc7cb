//! A snapshot in the cache of a Hugging Face client: a tree of links into the repository's blobs, and from
//! there perhaps into blobs that repositories share. Each link is read, must be exactly of that form, and is
//! followed by hand: what is opened is the blob, and nothing else.
//!
//! ```text
//! hub/models--ORG--NAME/snapshots/COMMIT/PATH → ../../blobs/ETAG        one ../ more for each directory
//! hub/models--ORG--NAME/blobs/ETAG            → ../../blobs/XX/HASH     if hub/blobs has its marker
//! ```
//!
//! The names of blobs are claims of whoever may write to the cache: nobody takes them for digests here.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::disk::{Directory, DiskError};
use crate::path::ArtifactPath;

/// The cache that a snapshot is part of.
#[derive(Debug)]
pub struct HubCache {
    /// `hub/models--ORG--NAME`
    repository: Directory,
    /// `hub`, if it has shared blobs.
    shared: Option<Directory>,
    /// `models`, `datasets` or `spaces`.
    pub kind: String,
    /// `ORG/NAME`
    pub name: String,
    pub commit: String,
    /// The path by which it was reached says so too: who may write to a cache can make one snapshot a link to
    /// another.
    pub named: bool,
}

/// The file in `hub/blobs` by which clients know the store.
const MARKER: &str = "blobs/.huggingface-shared-blobs";

impl HubCache {
    /// The cache around `path`, if it is a snapshot by its name.
    pub fn around(path: &Path) -> Option<HubCache> {
        let real = std::fs::canonicalize(path).ok()?;
        let commit = real.file_name()?.to_str()?.to_owned();
        let snapshots = real.parent()?;
        let repository = snapshots.parent()?;
        let is_commit = commit.len() == 40
            && commit
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        if !is_commit || snapshots.file_name()?.to_str()? != "snapshots" {
            return None;
        }
        let mut parts = repository.file_name()?.to_str()?.split("--");
        let kind = parts.next()?.to_owned();
        let name = parts.collect::<Vec<_>>().join("/");
        if !["models", "datasets", "spaces"].contains(&kind.as_str()) || name.is_empty() {
            return None;
        }
        let given = std::path::absolute(path).ok()?;
        let last = |path: &Path| {
            let parts: Vec<_> = path.components().rev().take(3).collect();
            parts
                .iter()
                .map(|part| part.as_os_str().to_owned())
                .collect::<Vec<_>>()
        };
        let named = last(&given) == last(&real);
        let hub: PathBuf = repository.parent()?.into();
        let marker = ArtifactPath::new(MARKER).ok()?;
        let shared = Directory::open(&hub).ok();
        Some(HubCache {
            repository: Directory::open(repository).ok()?,
            shared: shared.filter(|hub| hub.open_file(&marker).is_ok()),
            kind,
            name,
            commit,
            named,
        })
    }

    /// Opens the blob that the link at `path` in the snapshot leads to, in one or two steps.
    pub(super) fn open(&self, snapshot: &Directory, path: &ArtifactPath) -> Result<File, HubError> {
        let target = snapshot.read_link(path)?;
        let depth = path.as_str().matches('/').count();
        let up = "../".repeat(2 + depth);
        let name = target
            .strip_prefix(&up)
            .and_then(|rest| rest.strip_prefix("blobs/"));
        let name = name.filter(|name| is_plain(name)).ok_or(HubError::Form)?;
        let blob = ArtifactPath::new(&format!("blobs/{name}")).map_err(|_| HubError::Form)?;
        let further = match self.repository.read_link(&blob) {
            Ok(further) => further,
            // It is no link, as most are.
            Err(DiskError::Open { source, .. })
                if source.kind() == std::io::ErrorKind::InvalidInput =>
            {
                return Ok(self.repository.open_file(&blob)?);
            }
            Err(error) => return Err(error.into()),
        };
        let shared = self.shared.as_ref().ok_or(HubError::Form)?;
        let place = further.strip_prefix("../../").and_then(|rest| {
            let (directory, name) = rest.strip_prefix("blobs/")?.split_once('/')?;
            (directory.len() == 2 && is_plain(directory) && is_plain(name)).then_some(rest)
        });
        let place = place.ok_or(HubError::Form)?;
        let blob = ArtifactPath::new(place).map_err(|_| HubError::Form)?;
        Ok(shared.open_file(&blob)?)
    }
}

/// Why a link of a snapshot is not followed.
#[derive(Debug, thiserror::Error)]
pub(super) enum HubError {
    #[error("it does not lead to a blob of its repository in the cache")]
    Form,
    #[error(transparent)]
    Disk(#[from] DiskError),
}

fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && !name.starts_with('.')
}
