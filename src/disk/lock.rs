//! Locks between processes.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags};

use super::DiskError;

/// How long a writer waits for the others.
const LOCK_PATIENCE: Duration = Duration::from_secs(120);

/// A lock between processes, held until dropped.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the open file holds the lock")] File);

impl Lock {
    /// Waits until no other process holds the lock file at `path`, then holds it.
    pub fn acquire(path: &Path) -> Result<Lock, DiskError> {
        let error = |source| DiskError::Lock {
            path: path.into(),
            source,
        };
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, path, flags, Mode::from_raw_mode(0o666))
            .map_err(|errno| error(errno.into()))?;
        let file = File::from(fd);
        let patience = Instant::now() + LOCK_PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock(file)),
                Err(TryLockError::WouldBlock) if Instant::now() < patience => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(TryLockError::WouldBlock) => {
                    let message = "another process has held it for two minutes";
                    return Err(error(io::Error::new(io::ErrorKind::TimedOut, message)));
                }
                Err(TryLockError::Error(source)) => return Err(error(source)),
            }
        }
    }
}
