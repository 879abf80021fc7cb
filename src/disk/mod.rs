//! Files: opens that cannot leave a directory, durable writes, locks.
//! The only module that writes files. Knows nothing of what it writes.

mod lease;
mod lock;
mod materialise;
mod verity;
mod write;

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::pages;
use crate::path::ArtifactPath;

pub use lease::{Writers, writers};
pub use lock::Lock;
pub use materialise::{Materialised, TreeAccess, materialise, set_access};
pub use verity::{Unmeasured, enable, measure};
pub use write::{
    Growing, Partial, TEMPORARY_PREFIX, create_directory, create_private_directory, deposit,
    remove_directory, remove_file, remove_tree, rename, sync_file, sync_parent, touch, write,
};

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
    /// Did the operation fail because this user may not do it?
    pub fn is_denied(&self) -> bool {
        matches!(
            self,
            DiskError::Open { source, .. } | DiskError::Read { source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied
        )
    }

    /// Did the operation fail because the path does not exist?
    pub fn is_not_found(&self) -> bool {
        match self {
            DiskError::Open { source, .. } | DiskError::Read { source, .. } => {
                // Beneath a file there is nothing either.
                matches!(
                    source.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                )
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

    /// The number of the device that it is on and a name of the file system, if that is one of this machine's
    /// own whose times and inodes the kernel keeps: an image, a network, a program may show any.
    #[cfg(target_os = "linux")]
    pub fn own_file_system(&self) -> Option<(u64, u64)> {
        use rustix::fs::StatVfsMountFlags;
        // linux/magic.h: ext2 to ext4, Btrfs; ZFS. Not tmpfs: it does not hear of writes to mapped pages. Not XFS and F2FS: whoever
        // may write to two files can exchange what is in them with no change of their times (XFS_IOC_SWAPEXT, F2FS_IOC_MOVE_RANGE).
        const OWN: [i64; 3] = [0xef53, 0x9123_683e, 0x2fc1_2fc1];
        let kind = rustix::fs::fstatfs(&self.fd).ok()?.f_type;
        let mount = rustix::fs::fstatvfs(&self.fd).ok()?;
        let device = rustix::fs::fstat(&self.fd).ok()?.st_dev;
        let fixed = mount.f_flag.contains(StatVfsMountFlags::RDONLY);
        (OWN.contains(&kind) && !fixed).then_some((device, mount.f_fsid))
    }

    #[cfg(not(target_os = "linux"))]
    pub fn own_file_system(&self) -> Option<(u64, u64)> {
        None
    }

    /// Writes out what is not on the disk yet of the file system that it is on.
    #[cfg(target_os = "linux")]
    pub fn sync_file_system(&self) -> io::Result<()> {
        rustix::fs::syncfs(&self.fd).map_err(io::Error::from)
    }

    #[cfg(not(target_os = "linux"))]
    pub fn sync_file_system(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
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

    fn error(&self, errno: Errno) -> DiskError {
        DiskError::Read {
            path: self.path.clone(),
            source: errno.into(),
        }
    }

    /// What the kernel says of the directory itself.
    pub fn stat(&self) -> Result<Stat, DiskError> {
        rustix::fs::fstat(&self.fd).map_err(|errno| self.error(errno))
    }

    /// The names in the directory, without `.` and `..`, each with a zero at its end, in the order of their inodes: that is how they
    /// lie on the disk, and in the kernel's memory.
    pub fn names(&self) -> Result<Vec<u8>, DiskError> {
        let error = |errno| self.error(errno);
        let mut names = Vec::new();
        let mut entries = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd).map_err(error)? {
            let entry = entry.map_err(error)?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                entries.push((entry.ino(), names.len()));
                names.extend_from_slice(entry.file_name().to_bytes_with_nul());
            }
        }
        entries.sort_unstable();
        let mut sorted = Vec::with_capacity(names.len());
        for (_, start) in entries {
            let rest = names.get(start..).unwrap_or_default();
            sorted.extend(
                rest.split_inclusive(|byte| *byte == 0)
                    .next()
                    .unwrap_or_default(),
            );
        }
        Ok(sorted)
    }

    /// Shows what is behind each of `names`, which have a zero at their ends; of how many there is nothing.
    pub fn each_of(
        &self,
        names: &[u8],
        mut see: impl FnMut(&[u8], &Stat),
    ) -> Result<usize, DiskError> {
        let (mut rest, mut missing) = (names, 0);
        while let Ok(name) = CStr::from_bytes_until_nul(rest) {
            rest = rest.get(name.count_bytes() + 1..).unwrap_or_default();
            match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => see(name.to_bytes(), &stat),
                // Removed since the directory was read: it is not there.
                Err(Errno::NOENT) => missing += 1,
                Err(errno) => return Err(self.error(errno)),
            }
        }
        Ok(missing)
    }

    /// What the link at `path` says. What is no link is invalid input.
    pub fn read_link(&self, path: &ArtifactPath) -> Result<String, DiskError> {
        let full = self.path.join(path.as_str());
        let error = |errno| open_error(&full, errno);
        let (parents, name) = path
            .as_str()
            .rsplit_once('/')
            .unwrap_or(("", path.as_str()));
        let text = if parents.is_empty() {
            rustix::fs::readlinkat(&self.fd, name, Vec::new())
        } else {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let directory = open_beneath(&self.fd, parents, flags).map_err(error)?;
            rustix::fs::readlinkat(&directory, name, Vec::new())
        };
        let text = text.map_err(error)?;
        text.into_string().map_err(|_| error(Errno::ILSEQ))
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
        // One more, so that the end is found without growing.
        let expected = usize::try_from(metadata.len() + 1).unwrap_or(0);
        let reserved = bytes.try_reserve_exact(expected);
        reserved.map_err(|_| error(io::ErrorKind::OutOfMemory.into()))?;
        pages::in_room_of(&mut bytes);
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

/// Has `file` read past the page cache, or no longer.
#[cfg(target_os = "linux")]
pub fn set_direct(file: &File, direct: bool) -> io::Result<()> {
    let mut flags = rustix::fs::fcntl_getfl(file)?;
    flags.set(OFlags::DIRECT, direct);
    Ok(rustix::fs::fcntl_setfl(file, flags)?)
}

#[cfg(not(target_os = "linux"))]
pub fn set_direct(_: &File, _: bool) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
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

    /// A file that was received goes where it is to go, and nowhere that a link leads.
    #[test]
    fn a_received_file_follows_no_link() {
        let scratch = tempfile::tempdir().unwrap();
        let (root, outside) = (scratch.path().join("root"), scratch.path().join("outside"));
        create_directory(&root).unwrap();
        create_directory(&outside).unwrap();
        std::os::unix::fs::symlink(&outside, root.join("link")).unwrap();
        let root = Directory::open(&root).unwrap();
        let receive = |to: &str| {
            let mut partial = Partial::open(&scratch.path().join("partial")).unwrap();
            partial.restart().unwrap();
            partial.write(b"x").unwrap();
            partial.finish(&root, &ArtifactPath::new(to).unwrap())
        };
        receive("a/b/c").unwrap();
        assert!(matches!(receive("a/b/c"), Err(DiskError::Exists { .. })));
        assert!(receive("link/c").is_err());
        assert!(receive("a/b/c/d").is_err());
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
        assert_eq!(
            std::fs::read(scratch.path().join("root/a/b/c")).unwrap(),
            b"x"
        );
    }
}
