//! A ledger in a directory: one file per key.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::{Created, Store, StoreError};
use crate::disk::{self, Access, DiskError, Existing, Lock};

/// A ledger in a directory.
#[derive(Debug)]
pub struct DirectoryStore {
    root: PathBuf,
    /// Directories that this store made sure to be durable.
    durable: Mutex<HashSet<PathBuf>>,
}

impl DirectoryStore {
    /// The store in the directory `root`, which need not exist before something is written.
    pub fn new(root: &Path) -> DirectoryStore {
        DirectoryStore {
            root: root.into(),
            durable: Mutex::default(),
        }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Waits for the writers' lock and holds it.
    pub(in crate::ledger) fn lock(&self) -> Result<Lock, StoreError> {
        disk::create_directory(&self.root)?;
        Ok(Lock::acquire(&self.root.join("lock"))?)
    }

    /// Holds the writers' lock, unless another writer does.
    pub(in crate::ledger) fn try_lock(&self) -> Result<Option<Lock>, StoreError> {
        disk::create_directory(&self.root)?;
        Ok(Lock::try_acquire(&self.root.join("lock"))?)
    }

    /// Makes the names in the directory of `key` durable.
    pub(in crate::ledger) fn sync_names(&self, key: &str) -> Result<(), StoreError> {
        Ok(disk::sync_parent(&self.root.join(key))?)
    }

    /// Makes the directory `path` and those above it, up to the ledger, durable: one that exists may
    /// have been made by a writer that was killed before it synced it.
    fn make_durable(&self, path: &Path) -> Result<(), StoreError> {
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        let above = path
            .ancestors()
            .take_while(|above| above.starts_with(&self.root));
        let missing: Vec<&Path> = above
            .take_while(|above| !durable.contains(*above))
            .collect();
        // Known to be durable only when it is, and after those above it.
        for directory in missing.into_iter().rev() {
            disk::create_directory(directory)?;
            disk::sync_parent(directory)?;
            durable.insert(directory.into());
        }
        Ok(())
    }

    /// Removes what a writer that was killed left half-written. Call with the lock held.
    pub(in crate::ledger) fn sweep(&self) -> Result<usize, StoreError> {
        let mut swept = 0;
        for key in self.entries("")?.0 {
            if key.starts_with(disk::TEMPORARY_PREFIX) {
                disk::remove_file(&self.root.join(key))?;
                swept += 1;
            }
        }
        Ok(swept)
    }

    /// The files and the directories directly in the directory `key`.
    fn entries(&self, key: &str) -> Result<(Vec<String>, Vec<String>), StoreError> {
        let path = self.root.join(key);
        let error = |source| DiskError::Read {
            path: path.clone(),
            source,
        };
        let (mut files, mut directories) = (Vec::new(), Vec::new());
        let entries = match std::fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => {
                return Ok((files, directories));
            }
            Err(source) => return Err(error(source).into()),
        };
        for entry in entries {
            let entry = entry.map_err(error)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let child = if key.is_empty() {
                name
            } else {
                format!("{key}/{name}")
            };
            let directory = entry.file_type().map_err(error)?.is_dir();
            if directory {
                directories.push(child);
            } else {
                files.push(child);
            }
        }
        Ok((files, directories))
    }
}

impl Store for DirectoryStore {
    fn read(&self, key: &str, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
        match disk::read_no_link(&self.root.join(key), limit) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn exists(&self, key: &str) -> Result<bool, StoreError> {
        let path = self.root.join(key);
        path.try_exists()
            .map_err(|source| DiskError::Read { path, source }.into())
    }

    fn create(&self, key: &str, bytes: &[u8]) -> Result<Created, StoreError> {
        let path = self.root.join(key);
        if let Some(parent) = path.parent() {
            self.make_durable(parent)?;
        }
        match disk::write(&path, bytes, Existing::Refuse, Access::Shared) {
            Ok(()) => Ok(Created::New),
            Err(DiskError::Exists { .. }) => {
                // Who wrote it may have been killed before it was durable.
                disk::sync_file(&path)?;
                disk::sync_parent(&path)?;
                Ok(Created::Exists)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn replace(&self, key: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.root.join(key);
        if let Some(parent) = path.parent() {
            self.make_durable(parent)?;
        }
        Ok(disk::write(
            &path,
            bytes,
            Existing::Replace,
            Access::Shared,
        )?)
    }

    fn remove(&self, key: &str) -> Result<(), StoreError> {
        let path = self.root.join(key);
        if path.is_dir() {
            return Ok(disk::remove_directory(&path)?);
        }
        Ok(disk::remove_file(&path)?)
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let mut keys = Vec::new();
        let mut pending = vec![String::new()];
        while let Some(directory) = pending.pop() {
            let (files, directories) = self.entries(&directory)?;
            keys.extend(files.into_iter().filter(|key| key.starts_with(prefix)));
            pending.extend(
                directories
                    .into_iter()
                    .filter(|key| key.starts_with(prefix) || prefix.starts_with(key.as_str())),
            );
        }
        keys.sort_unstable();
        Ok(keys)
    }

    fn place(&self) -> String {
        self.root.display().to_string()
    }

    fn directory(&self) -> Option<&DirectoryStore> {
        Some(self)
    }
}
