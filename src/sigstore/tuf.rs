//! Trust roots from a copy of a TUF repository (TUF specification 1.0, §5): from a pinned root over its
//! successors to the file that is asked for. Files come from the caller, so that a directory that was carried
//! over is as good as a server, and no code here can ask one.
//!
//! The proving is sigstore-tuf's, without its client: signatures, thresholds, versions, expiry, digests.

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
    #[error("the copy has no {0}")]
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

/// A target that was proved, and the version of the root that it was proved with.
#[derive(Debug, PartialEq, Eq)]
pub struct Proved {
    pub bytes: Vec<u8>,
    pub root_version: u64,
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
    let mut set = TrustedMetadataSet::from_root(root).map_err(fail("the pinned root"))?;
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
    let root_version = set.root().version;
    Ok(Proved {
        bytes,
        root_version,
    })
}
