//! Files: opens that cannot leave a directory, durable writes, locks.
//! The only module that writes files. Knows nothing of what it writes.
//!
//! A durable write is: write an unnamed or temporary file → fsync it → link or rename it to its
//! name → fsync the directory. After it returns, the content survives power loss; before that,
//! the old content, or nothing, is there.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::path::ArtifactPath;

/// A file operation that failed, with the path it failed on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    #[error("cannot open {}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot lock {}", path.display())]
    Lock { path: PathBuf, source: io::Error },
    #[error("{} exists already", path.display())]
    Exists { path: PathBuf },
    #[error("{} is not a regular file", path.display())]
    NotRegular { path: PathBuf },
    #[error("{} has {size} bytes, more than the limit of {limit}", path.display())]
    TooLarge {
        path: PathBuf,
        size: u64,
        limit: u64,
    },
}

impl DiskError {
    /// Did the operation fail because the path does not exist?
    pub fn is_not_found(&self) -> bool {
        match self {
            DiskError::Open { source, .. } | DiskError::Read { source, .. } => {
                source.kind() == io::ErrorKind::NotFound
            }
            _ => false,
        }
    }
}

/// What a write does when the name is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Fail with [`DiskError::Exists`]; the file that is there is not touched.
    Refuse,
    /// Put the new content in its place in one step.
    Replace,
}

/// Who may read a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody whom the process's umask allows.
    Shared,
    /// The owner only: private keys.
    Private,
}

/// An opened directory. What is opened through it lies beneath it, whatever links say.
#[derive(Debug)]
pub struct Directory {
    fd: OwnedFd,
    path: PathBuf,
}

impl Directory {
    /// Opens a directory by a path the user gave.
    pub fn open(path: &Path) -> Result<Directory, DiskError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::openat(CWD, path, flags, Mode::empty()) {
            Ok(fd) => Ok(Directory {
                fd,
                path: path.into(),
            }),
            Err(errno) => Err(open_error(path, errno)),
        }
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the regular file at `path` for reading; follows no link. A FIFO does not block.
    pub fn open_file(&self, path: &ArtifactPath) -> Result<File, DiskError> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        match open_beneath(&self.fd, path.as_str(), flags) {
            Ok(fd) => Ok(File::from(fd)),
            Err(errno) => Err(open_error(&self.path.join(path.as_str()), errno)),
        }
    }

    /// Opens the directory at `path`; follows no link.
    pub fn open_directory(&self, path: &ArtifactPath) -> Result<Directory, DiskError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let full = self.path.join(path.as_str());
        match open_beneath(&self.fd, path.as_str(), flags) {
            Ok(fd) => Ok(Directory { fd, path: full }),
            Err(errno) => Err(open_error(&full, errno)),
        }
    }

    /// The names in the directory and what they are, without `.` and `..`, in no order.
    pub fn entries(&self) -> Result<Vec<(Vec<u8>, Stat)>, DiskError> {
        let error = |errno: Errno| DiskError::Read {
            path: self.path.clone(),
            source: errno.into(),
        };
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd).map_err(error)? {
            let entry = entry.map_err(error)?;
            if matches!(entry.file_name().to_bytes(), b"." | b"..") {
                continue;
            }
            match rustix::fs::statat(&self.fd, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => names.push((entry.file_name().to_bytes().into(), stat)),
                // Removed since the directory was read: it is not there.
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(error(errno)),
            }
        }
        Ok(names)
    }

    /// What the link at `path` leads to, if that lies beneath this directory.
    pub fn stat_through_link(&self, path: &ArtifactPath) -> Result<Stat, DiskError> {
        let error = |errno| open_error(&self.path.join(path.as_str()), errno);
        let fd = open_link_beneath(&self.fd, path.as_str(), OFlags::PATH).map_err(error)?;
        rustix::fs::fstat(fd).map_err(error)
    }

    /// Opens the regular file that the link at `path` leads to, if it lies beneath this directory.
    pub fn open_file_through_link(&self, path: &ArtifactPath) -> Result<File, DiskError> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        match open_link_beneath(&self.fd, path.as_str(), flags) {
            Ok(fd) => Ok(File::from(fd)),
            Err(errno) => Err(open_error(&self.path.join(path.as_str()), errno)),
        }
    }
}

/// One system call that refuses every way out (Linux 5.6): `..`, absolute paths and links.
#[cfg(target_os = "linux")]
fn open_beneath(root: &OwnedFd, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    use rustix::fs::ResolveFlags;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
        // Old kernels, and container runtimes whose filter does not know the call.
        Err(Errno::NOSYS | Errno::PERM) => open_step_by_step(root, path, flags),
        result => result,
    }
}

#[cfg(not(target_os = "linux"))]
fn open_beneath(root: &OwnedFd, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    open_step_by_step(root, path, flags)
}

/// Opens each component relative to the one before, following no link. `path` holds no `..`.
fn open_step_by_step(root: &OwnedFd, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let step = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let (parents, name) = path.rsplit_once('/').unwrap_or(("", path));
    let mut directory: Option<OwnedFd> = None;
    for component in parents.split('/').filter(|component| !component.is_empty()) {
        let parent = directory.as_ref().unwrap_or(root);
        directory = Some(rustix::fs::openat(parent, component, step, Mode::empty())?);
    }
    let parent = directory.as_ref().unwrap_or(root);
    rustix::fs::openat(parent, name, flags | OFlags::NOFOLLOW, Mode::empty())
}

#[cfg(target_os = "linux")]
fn open_link_beneath(root: &OwnedFd, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    use rustix::fs::ResolveFlags;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

/// Without `openat2` there is no race-free way to follow a link and stay beneath a directory.
#[cfg(not(target_os = "linux"))]
fn open_link_beneath(_: &OwnedFd, _: &str, _: OFlags) -> Result<OwnedFd, Errno> {
    Err(Errno::NOTSUP)
}

fn open_error(path: &Path, errno: Errno) -> DiskError {
    DiskError::Open {
        path: path.into(),
        source: errno.into(),
    }
}

/// What kind of file `stat` describes.
pub fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// The whole content of a regular file of at most `limit` bytes.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, DiskError> {
    read_with(path, limit, OFlags::empty())
}

/// The same, and a link is an error.
pub fn read_no_link(path: &Path, limit: u64) -> Result<Vec<u8>, DiskError> {
    read_with(path, limit, OFlags::NOFOLLOW)
}

fn read_with(path: &Path, limit: u64, more: OFlags) -> Result<Vec<u8>, DiskError> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC | more;
    let fd = rustix::fs::openat(CWD, path, flags, Mode::empty());
    let file = File::from(fd.map_err(|errno| open_error(path, errno))?);
    read_open(file, path, limit)
}

/// The rest of an open regular file of at most `limit` bytes.
pub fn read_open(file: File, path: &Path, limit: u64) -> Result<Vec<u8>, DiskError> {
    let error = |source| DiskError::Read {
        path: path.into(),
        source,
    };
    let metadata = file.metadata().map_err(error)?;
    if !metadata.is_file() {
        return Err(DiskError::NotRegular { path: path.into() });
    }
    let mut bytes = Vec::new();
    if metadata.len() <= limit {
        file.take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(error)?;
    }
    // A file may have grown since its size was asked.
    let size = metadata.len().max(bytes.len() as u64);
    if size > limit {
        return Err(DiskError::TooLarge {
            path: path.into(),
            size,
            limit,
        });
    }
    Ok(bytes)
}

/// Writes `bytes` to `path` durably; see the head of this module.
pub fn write(
    path: &Path,
    bytes: &[u8],
    existing: Existing,
    access: Access,
) -> Result<(), DiskError> {
    let error = |source: io::Error| DiskError::Write {
        path: path.into(),
        source,
    };
    let (directory, name) = open_parent(path)?;
    if existing == Existing::Refuse
        && rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    {
        return Err(DiskError::Exists { path: path.into() });
    }
    let mode = match access {
        Access::Shared => Mode::from_raw_mode(0o666),
        Access::Private => Mode::from_raw_mode(0o600),
    };
    let mut temporary = Temporary::create(&directory, mode).map_err(error)?;
    temporary.file.write_all(bytes).map_err(error)?;
    temporary.file.sync_all().map_err(error)?;
    let named = match existing {
        Existing::Refuse => temporary.link(name),
        Existing::Replace => temporary.replace(name),
    };
    match named {
        Ok(()) => {}
        Err(Errno::EXIST) => return Err(DiskError::Exists { path: path.into() }),
        Err(errno) => return Err(error(errno.into())),
    }
    rustix::fs::fsync(&directory).map_err(|errno| error(errno.into()))
}

/// A file without a name where the file system can, else one under a temporary name. A process
/// that is killed leaves the first kind nowhere, and the second to be swept.
struct Temporary<'a> {
    file: File,
    directory: &'a OwnedFd,
    name: Option<String>,
}

impl<'a> Temporary<'a> {
    fn create(directory: &'a OwnedFd, mode: Mode) -> Result<Temporary<'a>, io::Error> {
        // Giving an unnamed file a name takes /proc.
        #[cfg(target_os = "linux")]
        if Path::new("/proc/self/fd").is_dir() {
            let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
            match rustix::fs::openat(directory, ".", flags, mode) {
                Ok(fd) => {
                    return Ok(Temporary {
                        file: File::from(fd),
                        directory,
                        name: None,
                    });
                }
                Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        let name = temporary_name()?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(directory, &name, flags, mode)?;
        Ok(Temporary {
            file: File::from(fd),
            directory,
            name: Some(name),
        })
    }

    /// Gives the content the name `name`, which must be free.
    fn link(&mut self, name: &str) -> Result<(), Errno> {
        if let Some(temporary) = &self.name {
            return rustix::fs::linkat(
                self.directory,
                temporary,
                self.directory,
                name,
                AtFlags::empty(),
            );
        }
        let unnamed = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        rustix::fs::linkat(CWD, &unnamed, self.directory, name, AtFlags::SYMLINK_FOLLOW)
    }

    /// Gives the content the name `name`, whatever had it before.
    fn replace(&mut self, name: &str) -> Result<(), Errno> {
        if self.name.is_none() {
            let temporary = temporary_name().map_err(|_| Errno::IO)?;
            self.link(&temporary)?;
            self.name = Some(temporary);
        }
        if let Some(temporary) = &self.name {
            rustix::fs::renameat(self.directory, temporary, self.directory, name)?;
        }
        self.name = None;
        Ok(())
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // Nothing more can be done about a temporary file that cannot be removed.
            _ = rustix::fs::unlinkat(self.directory, name, AtFlags::empty());
        }
    }
}

/// Files whose name starts so are left-overs of a process that was killed.
pub const TEMPORARY_PREFIX: &str = ".weighbridge-tmp-";

fn temporary_name() -> Result<String, io::Error> {
    let mut random = [0; 12];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(format!(
        "{TEMPORARY_PREFIX}{}",
        data_encoding::HEXLOWER.encode(&random)
    ))
}

fn open_parent(path: &Path) -> Result<(OwnedFd, &str), DiskError> {
    let invalid = || DiskError::Write {
        path: path.into(),
        source: io::Error::new(io::ErrorKind::InvalidInput, "not a file name in UTF-8"),
    };
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(invalid)?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rustix::fs::openat(CWD, parent, flags, Mode::empty()) {
        Ok(fd) => Ok((fd, name)),
        Err(errno) => Err(DiskError::Write {
            path: path.into(),
            source: errno.into(),
        }),
    }
}

/// Creates a directory and its missing parents, each durably.
pub fn create_directory(path: &Path) -> Result<(), DiskError> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        create_directory(parent)?;
    }
    let (parent, name) = open_parent(path)?;
    match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o777)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => {
            return Err(DiskError::Write {
                path: path.into(),
                source: errno.into(),
            });
        }
    }
    rustix::fs::fsync(&parent).map_err(|errno| DiskError::Write {
        path: path.into(),
        source: errno.into(),
    })
}

/// Makes the name of `path` in its directory durable.
pub fn sync_parent(path: &Path) -> Result<(), DiskError> {
    let error = |errno: Errno| DiskError::Write {
        path: path.into(),
        source: errno.into(),
    };
    if path.file_name().is_none() {
        return Ok(());
    }
    let (parent, _) = open_parent(path)?;
    rustix::fs::fsync(&parent).map_err(error)
}

/// Makes the content of the file at `path` durable.
pub fn sync_file(path: &Path) -> Result<(), DiskError> {
    let error = |errno: Errno| DiskError::Write {
        path: path.into(),
        source: errno.into(),
    };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(error)?;
    rustix::fs::fsync(fd).map_err(error)
}

/// Removes a file; one that is not there is no error.
pub fn remove_file(path: &Path) -> Result<(), DiskError> {
    match rustix::fs::unlinkat(CWD, path, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(DiskError::Write {
            path: path.into(),
            source: errno.into(),
        }),
    }
}

/// Removes an empty directory; one that is not there is no error.
pub fn remove_directory(path: &Path) -> Result<(), DiskError> {
    match rustix::fs::unlinkat(CWD, path, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(DiskError::Write {
            path: path.into(),
            source: errno.into(),
        }),
    }
}

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

/// Tells the kernel that `file` will be read from front to back, so that it reads ahead.
pub fn read_ahead<F: AsFd>(file: F) {
    // Advice only: on file systems that do not take it, reading works as before.
    #[cfg(any(target_os = "linux", target_os = "freebsd"))]
    {
        _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::Sequential);
    }
    #[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
    {
        _ = file;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn refuses_to_overwrite_and_replaces_when_asked() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("f");
        write(&path, b"one", Existing::Refuse, Access::Shared).unwrap();
        let error = write(&path, b"two", Existing::Refuse, Access::Shared).unwrap_err();
        assert!(matches!(error, DiskError::Exists { .. }), "{error}");
        assert_eq!(read(&path, 10).unwrap(), b"one");
        write(&path, b"two", Existing::Replace, Access::Private).unwrap();
        assert_eq!(read(&path, 10).unwrap(), b"two");
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 1);
    }

    #[test]
    fn reads_are_bounded_and_regular() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("f");
        write(&path, b"12345", Existing::Refuse, Access::Shared).unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert!(matches!(
            read(&path, 4).unwrap_err(),
            DiskError::TooLarge { size: 5, .. }
        ));
        assert!(matches!(
            read(scratch.path(), 4).unwrap_err(),
            DiskError::NotRegular { .. }
        ));
        assert!(matches!(
            read(Path::new("/dev/zero"), 4).unwrap_err(),
            DiskError::NotRegular { .. }
        ));
        assert!(
            read(&scratch.path().join("none"), 4)
                .unwrap_err()
                .is_not_found()
        );
    }

    #[test]
    fn no_link_leads_out() {
        let scratch = tempfile::tempdir().unwrap();
        let inside = scratch.path().join("in");
        create_directory(&inside.join("sub")).unwrap();
        for path in [
            scratch.path().join("secret"),
            inside.join("file"),
            inside.join("sub/file"),
        ] {
            write(&path, b"x", Existing::Refuse, Access::Shared).unwrap();
        }
        std::os::unix::fs::symlink("../secret", inside.join("out")).unwrap();
        std::os::unix::fs::symlink("file", inside.join("link")).unwrap();
        std::os::unix::fs::symlink("..", inside.join("up")).unwrap();
        let directory = Directory::open(&inside).unwrap();
        let path = |text| ArtifactPath::new(text).unwrap();
        for open in [open_beneath, open_step_by_step] {
            assert!(open(&directory.fd, "sub/file", OFlags::RDONLY).is_ok());
            for link in ["out", "link", "up/secret"] {
                assert!(open(&directory.fd, link, OFlags::RDONLY).is_err(), "{link}");
            }
        }
        assert!(directory.open_file(&path("sub/file")).is_ok());
        assert!(directory.open_file_through_link(&path("link")).is_ok());
        assert!(directory.open_file_through_link(&path("out")).is_err());
        assert!(
            directory
                .open_file_through_link(&path("up/secret"))
                .is_err()
        );
    }
}
