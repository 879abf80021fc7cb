//! The directory beside an artifact where files are kept until they are whole: ours alone, and of one run at a
//! time.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::cli::failure::Failure;
use crate::digest::Sha256;
use crate::disk::{self, DiskError, Lock};
use crate::path::ArtifactPath;

/// Held by one run; files in it are what an earlier one left.
pub(super) struct Aside {
    path: PathBuf,
    _lock: Lock,
}

/// By this file a directory is known to be one of these; it is the lock, too.
const MARKER: &str = "weighbridge-partial";

/// What group and others may do.
const OTHERS: u32 = 0o077;

impl Aside {
    /// Beside `target`, which is a plain path: nobody else may have made it, or be in it.
    pub(super) fn open(target: &Path) -> Result<Aside, Failure> {
        let mut name = target.as_os_str().to_owned();
        name.push(".partial");
        let path = PathBuf::from(name);
        let marker = path.join(MARKER);
        if path.symlink_metadata().is_err() {
            disk::create_private_directory(&path)?;
        }
        let metadata = path
            .symlink_metadata()
            .map_err(|error| Failure::because(path.display(), &error))?;
        let me = rustix::process::geteuid().as_raw();
        let alone = metadata.mode() & OTHERS == 0;
        let mine = metadata.is_dir() && metadata.uid() == me && alone;
        // One that is empty was made by a run that came no further.
        let empty = || std::fs::read_dir(&path).is_ok_and(|mut inside| inside.next().is_none());
        if !mine || !(marker.is_file() || empty()) {
            return Err(Failure::error(format!(
                "{} is there, and is not what an earlier run of yours left",
                path.display()
            ))
            .hint("move it away, or name another place"));
        }
        match Lock::try_acquire(&marker)? {
            Some(lock) if lock.is_at(&marker) => Ok(Aside { path, _lock: lock }),
            _ => Err(
                Failure::error(format!("another run is at work on {}", target.display()))
                    .hint("wait until it ends"),
            ),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the file that becomes `path` is kept.
    pub(super) fn place(&self, path: &ArtifactPath) -> PathBuf {
        let name = Sha256::of(path.as_str().as_bytes());
        self.path.join(name.to_string())
    }

    /// Where it is kept if it is not what was published.
    pub(super) fn rejected(&self, path: &ArtifactPath) -> PathBuf {
        let name = Sha256::of(path.as_str().as_bytes());
        self.path.join(format!("rejected-{name}"))
    }

    fn version(&self, path: &ArtifactPath) -> PathBuf {
        let name = Sha256::of(path.as_str().as_bytes());
        self.path.join(format!("version-{name}"))
    }

    /// Did the file that becomes `path` begin to come as this version?
    pub(super) fn is_version(&self, path: &ArtifactPath, validator: Option<&str>) -> bool {
        let noted = disk::read_no_link(&self.version(path), 1024);
        validator.is_some()
            && noted.is_ok_and(|noted| Some(&noted[..]) == validator.map(str::as_bytes))
    }

    /// Notes the version that comes.
    pub(super) fn note_version(
        &self,
        path: &ArtifactPath,
        validator: &str,
    ) -> Result<(), DiskError> {
        let place = self.version(path);
        disk::remove_file(&place)?;
        disk::deposit(&place, validator.as_bytes())
    }

    /// Removes it, and what such runs leave in it. What else is there is somebody's, and stays.
    pub(super) fn remove(self) {
        let Ok(entries) = std::fs::read_dir(&self.path) else {
            return;
        };
        for entry in entries.filter_map(Result::ok) {
            let name = entry.file_name();
            let name = name.to_str().unwrap_or_default();
            let digest = name.strip_prefix("rejected-").unwrap_or(name);
            let digest = digest.strip_prefix("version-").unwrap_or(digest);

            if digest.parse::<Sha256>().is_ok() {
                _ = disk::remove_file(&entry.path());
            }
        }
        _ = disk::remove_file(&self.path.join(MARKER));
        _ = disk::remove_directory(&self.path);
    }
}
