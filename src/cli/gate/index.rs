//! The index by which a gate looks up entries of a large ledger. It is this host's own, in the user's cache: one that lies in
//! the ledger's directory may have come with it, and what it does not name would be missed.

use crate::ledger::Log;

#[cfg(feature = "index")]
pub(super) use large::open;

/// There is none.
#[cfg(not(feature = "index"))]
pub(super) fn open(_: &Log<'_>) -> Option<std::convert::Infallible> {
    None
}

#[cfg(feature = "index")]
mod large {
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    use super::Log;
    use crate::cli::context;
    use crate::digest::Sha256;
    use crate::disk;
    use crate::ledger::index::Index;

    /// From so many entries on: fewer are read as fast.
    const LARGE: u64 = 4_096;

    /// The index of `log`, brought up to it; none where it is small, or where there is no place of our own.
    pub(in crate::cli) fn open(log: &Log<'_>) -> Option<Index> {
        if log.checkpoint().size < LARGE {
            return None;
        }
        let origin = Sha256::of(log.checkpoint().origin.as_bytes());
        let directory = context::cache_directory()?.join(origin.to_string());
        if !directory.is_dir() {
            disk::create_directory(directory.parent()?).ok()?;
            disk::create_private_directory(&directory).ok()?;
        }
        if !is_own(&directory) {
            return None;
        }
        // Whatever is wrong with it, everything can be read instead.
        let mut index = Index::open(&directory.join("gate.sqlite")).ok()?;
        index.follow(log).ok()?;
        Some(index)
    }

    /// May nobody else write there?
    fn is_own(directory: &Path) -> bool {
        let Ok(metadata) = directory.symlink_metadata() else {
            return false;
        };
        let own = rustix::process::geteuid().as_raw();
        metadata.is_dir() && metadata.uid() == own && metadata.mode() & 0o022 == 0
    }
}
