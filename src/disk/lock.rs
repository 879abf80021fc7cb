//! Locks between processes.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags};

use super::DiskError;

/// How long a writer waits for the others.
const PATIENCE: Duration = Duration::from_secs(120);

/// A lock between processes, held until dropped.
#[derive(Debug)]
pub struct Lock(File);

impl Lock {
    /// Holds the lock file at `path`, unless another process does.
    pub fn try_acquire(path: &Path) -> Result<Option<Lock>, DiskError> {
        Lock::try_with(path, open)
    }

    fn try_with(
        path: &Path,
        open: fn(&Path) -> Result<File, DiskError>,
    ) -> Result<Option<Lock>, DiskError> {
        let file = open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(failed(path, source)),
        }
    }

    /// Is what is held still what lies at `path`? Whoever removes a lock file with what it guards leaves a lock
    /// on nothing to those who had it open.
    pub fn is_at(&self, path: &Path) -> bool {
        let held = rustix::fs::fstat(&self.0);
        let there = rustix::fs::lstat(path);
        let same =
            |a: rustix::fs::Stat, b: rustix::fs::Stat| (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino);
        matches!((held, there), (Ok(held), Ok(there)) if same(held, there))
    }

    /// Waits until no other process holds the lock file at `path`, then holds it.
    pub fn acquire(path: &Path) -> Result<Lock, DiskError> {
        Lock::acquire_with(path, open)
    }

    /// The same with a directory itself, where a lock file would be in the way.
    pub fn acquire_directory(path: &Path) -> Result<Lock, DiskError> {
        Lock::acquire_with(path, |path| {
            File::open(path).map_err(|source| failed(path, source))
        })
    }

    fn acquire_with(
        path: &Path,
        open: fn(&Path) -> Result<File, DiskError>,
    ) -> Result<Lock, DiskError> {
        if let Some(lock) = Lock::try_with(path, open)? {
            return Ok(lock);
        }
        // The kernel wakes one waiter when the lock is free, but knows no time limit. A thread that
        // waits in vain ends with the process.
        let file = open(path)?;
        let (sender, receiver) = mpsc::sync_channel(1);
        std::thread::Builder::new()
            .name("lock".into())
            .spawn(move || _ = sender.send(file.lock().map(|()| file)))
            .map_err(|source| failed(path, source))?;
        match receiver.recv_timeout(PATIENCE) {
            Ok(Ok(file)) => Ok(Lock(file)),
            Ok(Err(source)) => Err(failed(path, source)),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                let message = "another process has held it for two minutes";
                Err(failed(
                    path,
                    io::Error::new(io::ErrorKind::TimedOut, message),
                ))
            }
        }
    }
}

fn open(path: &Path) -> Result<File, DiskError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::from_raw_mode(0o666))
        .map(File::from)
        .map_err(|errno| failed(path, errno.into()))
}

fn failed(path: &Path, source: io::Error) -> DiskError {
    DiskError::Lock {
        path: path.into(),
        source,
    }
}
