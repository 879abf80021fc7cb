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
        let (Some(state), Some(place)) = (state, cache_directory()) else {
            return Err("neither HOME nor XDG_CACHE_HOME and XDG_STATE_HOME is set".into());
        };
        let (device, file_system) = artifact.directory().own_file_system().ok_or(
            "the artifact is on a file system whose times are not this machine's, or that is mounted read-only",
        )?;
        let mut cache = StatCache::new(algorithms, context::now());
        cache.stay_on(device);
        let real = std::fs::canonicalize(artifact.path())
            .map_err(|error| format!("{}: {error}", artifact.path().display()))?;
        let names: Vec<&str> = algorithms.iter().map(|one| one.name()).collect();
        let names = names.join(",");
        let parts: [&[u8]; 4] = [
            &file_system.to_le_bytes(),
            real.as_os_str().as_encoded_bytes(),
            b"\0",
            names.as_bytes(),
        ];
        let name = Sha256::of(&parts.concat()).to_string();
        Ok(Receipts {
            path: place.join("receipts").join(name),
            key: host_key(&state.join("host.key"))?,
            cache,
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
        if !is_mine(directory) {
            return Err(format!("{} is not yours", directory.display()));
        }
        let written = disk::create_directory(directory)
            .and_then(|()| disk::write(&self.path, &bytes, Existing::Replace, Access::Private));
        written.map_err(|error| cause(&error))?;
        make_room(directory);
        Ok(())
    }
}

/// Removes what was not used for longest: of receipts, in a directory of theirs.
fn make_room(directory: &Path) {
    let own = directory.symlink_metadata().is_ok_and(|it| it.is_dir());
    let Some(entries) = std::fs::read_dir(directory).ok().filter(|_| own) else {
        return;
    };
    let receipt = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.ok()?;
        let is_named = entry.file_name().to_str()?.parse::<Sha256>().is_ok();
        let is_file = entry.file_type().ok()?.is_file();
        let used = entry.metadata().ok()?.modified().ok()?;
        (is_named && is_file).then(|| (used, entry.path()))
    };
    let mut files: Vec<(SystemTime, PathBuf)> = entries.filter_map(receipt).collect();
    files.sort_unstable();
    let surplus = files.len().saturating_sub(MOST);
    for (_, path) in files.iter().take(surplus) {
        _ = disk::remove_file(path);
    }
}

/// Nothing is made in directories of somebody else: he could not use them any more.
fn is_mine(path: &Path) -> bool {
    let me = rustix::process::geteuid().as_raw();
    let there = path.ancestors().find_map(|one| std::fs::metadata(one).ok());
    there.is_some_and(|there| there.uid() == me)
}

/// The key in the file at `path`, made if there is none, and bound to this machine and this user: a copy of
/// both files is worth nothing elsewhere.
fn host_key(path: &Path) -> Result<HostKey, String> {
    let fail = |error: &dyn std::error::Error| format!("{}: {}", path.display(), cause(error));
    if !is_mine(path) {
        return Err(format!("{} is not yours", path.display()));
    }
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
