//! Where receipts of earlier hashing are kept: in the user's cache directory, with a key of this host in the
//! state directory.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Global;
use super::context::{self, cache_directory};
use super::history::state_directory;
use crate::artifact::stat_cache::{HostKey, MAX_RECEIPTS};
use crate::artifact::{Artifact, StatCache};
use crate::digest::{Algorithm, Sha256};
use crate::disk::{self, Access, Existing};
use crate::gate::cause;

/// The receipts of one artifact, and the file that they are in.
pub(super) struct Receipts {
    path: PathBuf,
    key: HostKey,
    pub(super) cache: StatCache,
}

/// As many artifacts have receipts; of more, those that were not signed for longest have none.
const MOST: usize = 256;

impl Receipts {
    /// The place for the receipts of `artifact`, none of them read; why, where nothing is kept.
    pub(super) fn of(
        artifact: &Artifact,
        algorithms: &[Algorithm],
        global: &Global,
    ) -> Result<Receipts, String> {
        if global.no_memory {
            return Err("--no-memory was given".into());
        }
        let state = global.state_dir.clone().or_else(state_directory);
        let (Some(state), Some(cache)) = (state, cache_directory()) else {
            return Err("neither HOME nor XDG_CACHE_HOME and XDG_STATE_HOME is set".into());
        };
        let real = std::fs::canonicalize(artifact.path())
            .map_err(|error| format!("{}: {error}", artifact.path().display()))?;
        let names: Vec<&str> = algorithms.iter().map(|one| one.name()).collect();
        let names = names.join(",");
        let place = real.as_os_str().as_encoded_bytes();
        let name = [place, b"\0", names.as_bytes()];
        let name = Sha256::of(&name.concat()).to_string();
        Ok(Receipts {
            path: cache.join("receipts").join(name),
            key: host_key(&state.join("host.key"))?,
            cache: StatCache::new(algorithms, context::now()),
        })
    }

    /// Reads what was kept; how many receipts there are.
    pub(super) fn read(&mut self) -> usize {
        let bytes = disk::read_no_link(&self.path, MAX_RECEIPTS).unwrap_or_default();
        self.cache.read(&bytes, &self.key).unwrap_or_default()
    }

    /// Keeps those of this run. What cannot be kept is read again the next time.
    pub(super) fn write(&self) -> Result<(), String> {
        let bytes = self.cache.write(&self.key);
        let (Some(bytes), Some(directory)) = (bytes, self.path.parent()) else {
            return Err(format!("they are more than {MAX_RECEIPTS} bytes"));
        };
        let written = disk::create_directory(directory)
            .and_then(|()| disk::write(&self.path, &bytes, Existing::Replace, Access::Private));
        written.map_err(|error| cause(&error))?;
        make_room(directory);
        Ok(())
    }
}

/// Removes what was not used for longest.
fn make_room(directory: &Path) {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    let mut files: Vec<(SystemTime, PathBuf)> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.metadata().ok()?.modified().ok()?, entry.path()))
        })
        .collect();
    files.sort_unstable();
    let surplus = files.len().saturating_sub(MOST);
    for (_, path) in files.iter().take(surplus) {
        _ = disk::remove_file(path);
    }
}

/// The key in the file at `path`, made if there is none, and bound to this machine and this user: a copy of
/// both files is worth nothing elsewhere.
fn host_key(path: &Path) -> Result<HostKey, String> {
    let fail = |error: &dyn std::error::Error| format!("{}: {}", path.display(), cause(error));
    if let Err(error) = disk::read_no_link(path, 32)
        && error.is_not_found()
    {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|error| fail(&error))?;
        if let Some(parent) = path.parent() {
            disk::create_directory(parent).map_err(|error| fail(&error))?;
        }
        // Another process may have been faster: its key is the key.
        _ = disk::write(path, &secret, Existing::Refuse, Access::Private);
    }
    let secret = disk::read_no_link(path, 32).map_err(|error| fail(&error))?;
    let metadata = std::fs::metadata(path).map_err(|error| fail(&error))?;
    if secret.len() != 32 || metadata.permissions().mode() & 0o077 != 0 {
        return Err(format!(
            "{} is not a key that only you can read; remove it, and a new one is made",
            path.display()
        ));
    }
    let machine = disk::read(Path::new("/etc/machine-id"), 256).unwrap_or_default();
    let user = metadata.uid().to_le_bytes();
    let all = [secret.as_slice(), &user, &machine].concat();
    Ok(HostKey(blake3::derive_key(
        "weighbridge 2026 receipts of earlier hashing",
        &all,
    )))
}
