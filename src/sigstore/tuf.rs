//! Trust roots from a copy of a TUF repository (TUF specification 1.0, §5): from a pinned root over its
//! successors to the file that is asked for. Files come from the caller, so that a directory that was carried
//! over is as good as a server, and no code here can ask one; what was seen before is the caller's, too.
//!
//! The proving is sigstore-tuf's, without its client: signatures, thresholds, versions, expiry, digests.

use serde::{Deserialize, Serialize};
use sigstore_tuf::trusted::TrustedMetadataSet;

use crate::digest::Sha256;
use crate::time::Timestamp;

/// The largest file of metadata.
pub const MAX_METADATA: u64 = 16 * 1024 * 1024;

/// The most successors of a pinned root.
const MAX_ROOTS: u64 = 1024;

/// Why there is no trust root.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TufError {
    #[error("{what}: {source}")]
    Metadata {
        what: String,
        source: sigstore_tuf::Error,
    },
    #[error("{0}")]
    File(String),
    #[error("the pinned root: {0}")]
    Pinned(sigstore_tuf::Error),
    #[error("there is no {0}")]
    Missing(String),
    #[error("the repository knows no target {0:?}")]
    Target(String),
    #[error("{name} is not what the repository says: {what}")]
    Differs { name: String, what: &'static str },
    #[error("the time {0} is out of range")]
    Time(Timestamp),
}

/// Reads a file of the copy by its name; `None` if there is none.
pub type ReadCopy<'a> = dyn FnMut(&str, u64) -> Result<Option<Vec<u8>>, String> + 'a;

/// A target that was proved, and the versions of the metadata that it was proved with.
#[derive(Debug, PartialEq, Eq)]
pub struct Proved {
    pub bytes: Vec<u8>,
    pub versions: Versions,
}

/// Versions of a repository's metadata. None ever goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Versions {
    pub root: u64,
    pub timestamp: u64,
    pub snapshot: u64,
    pub targets: u64,
}

impl Versions {
    /// What went back since `seen` (TUF §5.3.5, §5.4.3, §5.5.5).
    pub fn rolled_back(&self, seen: &Versions) -> Option<String> {
        let went_back = |name: &str, now: u64, seen: u64| {
            (now < seen).then(|| format!("{name} is of version {now}, and {seen} was seen before"))
        };
        went_back("the root", self.root, seen.root)
            .or_else(|| went_back("timestamp.json", self.timestamp, seen.timestamp))
            .or_else(|| went_back("snapshot.json", self.snapshot, seen.snapshot))
            .or_else(|| went_back("targets.json", self.targets, seen.targets))
    }
}

/// The target called `name`, as of `now`, starting from the pinned root in `root`.
pub fn target(
    root: &[u8],
    name: &str,
    now: Timestamp,
    read: &mut ReadCopy<'_>,
) -> Result<Proved, TufError> {
    let at = jiff::Timestamp::from_millisecond(now.millis()).map_err(|_| TufError::Time(now))?;
    let fail = |what: &str| {
        let what = what.to_owned();
        move |source| TufError::Metadata { what, source }
    };
    let mut set = TrustedMetadataSet::from_root(root).map_err(TufError::Pinned)?;
    let mut get = |name: &str, limit: u64| read(name, limit).map_err(TufError::File);
    let first = set.root().version;
    for version in (first..)
        .skip(1)
        .take(usize::try_from(MAX_ROOTS).unwrap_or(usize::MAX))
    {
        let file = format!("{version}.root.json");
        let Some(bytes) = get(&file, MAX_METADATA)? else {
            break;
        };
        set.update_root(&bytes).map_err(fail(&file))?;
    }
    set.check_root_expired(at).map_err(fail("the root"))?;
    let needed =
        |name: &str, got: Option<Vec<u8>>| got.ok_or_else(|| TufError::Missing(name.into()));
    let consistent = set.root().consistent_snapshot;
    let versioned = |version: Option<u64>, role: &str| match version {
        Some(version) if consistent => format!("{version}.{role}.json"),
        _ => format!("{role}.json"),
    };
    let bytes = needed("timestamp.json", get("timestamp.json", MAX_METADATA)?)?;
    set.update_timestamp(&bytes, at)
        .map_err(fail("timestamp.json"))?;
    let pinned = set.timestamp().and_then(|stamp| stamp.snapshot_meta());
    let file = versioned(pinned.map(|meta| meta.version), "snapshot");
    let bytes = needed(&file, get(&file, MAX_METADATA)?)?;
    set.update_snapshot(&bytes, at).map_err(fail(&file))?;
    let pinned = set
        .snapshot()
        .and_then(|snapshot| snapshot.meta.get("targets.json"));
    let file = versioned(pinned.map(|meta| meta.version), "targets");
    let bytes = needed(&file, get(&file, MAX_METADATA)?)?;
    let targets = set.update_targets(&bytes, at).map_err(fail(&file))?;
    let targets_version = targets.version;
    let target = targets
        .target(name)
        .ok_or_else(|| TufError::Target(name.into()))?;
    let sha256 = target.hashes.get("sha256").cloned().unwrap_or_default();
    let file = if consistent {
        match name.rsplit_once('/') {
            Some((directory, base)) => format!("targets/{directory}/{sha256}.{base}"),
            None => format!("targets/{sha256}.{name}"),
        }
    } else {
        format!("targets/{name}")
    };
    let length = target.length;
    let bytes = get(&file, length.min(MAX_METADATA))?.ok_or(TufError::Missing(file))?;
    let versions = Versions {
        root: set.root().version,
        timestamp: set.timestamp().map_or(0, |one| one.version),
        snapshot: set.snapshot().map_or(0, |one| one.version),
        targets: targets_version,
    };
    let differs = |what| TufError::Differs {
        name: name.into(),
        what,
    };
    if bytes.len() as u64 != length {
        return Err(differs("its length"));
    }
    if Sha256::of(&bytes).to_string() != sha256 {
        return Err(differs("its SHA-256"));
    }
    Ok(Proved { bytes, versions })
}
