//! A copy of a tree that nobody else writes to: what is verified there is what is used.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use super::{Directory, DiskError};
use crate::path::ArtifactPath;

/// How the content of a file comes into the copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Materialised {
    /// It shares the blocks until one of the two is written to.
    Reflink,
    /// It was copied.
    Copy,
    /// It is the same file under another name: whoever may write to the one writes to the other.
    Hardlink,
}

impl Materialised {
    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Materialised::Reflink => "reflinks",
            Materialised::Copy => "copies",
            Materialised::Hardlink => "hard links",
        }
    }
}

/// Puts the first `size` bytes of `source` at `path` beneath `root`, which is this process's alone: by a reflink where the file system
/// can, else by a copy; by a hard link if `link` says so.
pub fn materialise(
    root: &Directory,
    path: &ArtifactPath,
    (source, size): (File, u64),
    link: bool,
) -> Result<Materialised, DiskError> {
    let whole = root.path().join(path.as_str());
    let failed = |source: io::Error| DiskError::Write {
        path: whole.clone(),
        source,
    };
    let fail = |errno: Errno| failed(errno.into());
    if let Some(parent) = whole.parent() {
        make_directories(root, parent).map_err(fail)?;
    }
    if link {
        use std::os::fd::AsRawFd;
        let descriptor = format!("/proc/self/fd/{}", source.as_raw_fd());
        rustix::fs::linkat(CWD, descriptor, CWD, &whole, AtFlags::SYMLINK_FOLLOW).map_err(fail)?;
        return Ok(Materialised::Hardlink);
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = rustix::fs::open(&whole, flags, Mode::from_raw_mode(0o400)).map_err(fail)?;
    if rustix::fs::ioctl_ficlone(&target, &source).is_ok() {
        return Ok(Materialised::Reflink);
    }
    let mut target = File::from(target);
    // One that grows meanwhile does not fill the disk.
    let mut source = source.take(size);
    let mut buffer = vec![0; 1 << 20];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(Materialised::Copy),
            Ok(count) => target
                .write_all(buffer.get(..count).unwrap_or_default())
                .map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

fn make_directories(root: &Directory, parent: &Path) -> Result<(), Errno> {
    let mut at = PathBuf::from(root.path());
    let below = parent.strip_prefix(root.path()).unwrap_or(Path::new(""));
    for part in below.components() {
        at.push(part);
        match rustix::fs::mkdir(&at, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Who may do what in a tree of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TreeAccess {
    /// Its owner may change it; nobody else sees it.
    Owner,
    /// Its owner may read it.
    OwnerReads,
    /// Everybody may read it, its owner add to it.
    EverybodyReads,
}

/// Grants `access` to the tree at `root`, following no link.
pub fn set_access(root: &Path, access: TreeAccess) -> Result<(), DiskError> {
    let (directories, files) = match access {
        TreeAccess::Owner => (0o700, None),
        TreeAccess::OwnerReads => (0o500, None),
        TreeAccess::EverybodyReads => (0o755, Some(0o444)),
    };
    let fail = |path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| DiskError::Write { path, source }
    };
    let set = |path: &Path, mode| {
        let set = rustix::fs::chmod(path, Mode::from_raw_mode(mode));
        set.map_err(io::Error::from).map_err(fail(path))
    };
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        set(&directory, directories)?;
        for entry in std::fs::read_dir(&directory).map_err(fail(&directory))? {
            let entry = entry.map_err(fail(&directory))?;
            let kind = entry.file_type().map_err(fail(&directory))?;
            if kind.is_dir() {
                pending.push(entry.path());
            } else if let (true, Some(mode)) = (kind.is_file(), files) {
                set(&entry.path(), mode)?;
            }
        }
    }
    Ok(())
}
