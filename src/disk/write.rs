//! Durable writes.
//!
//! A durable write is: write an unnamed or temporary file → fsync it → link or rename it to its
//! name → fsync the directory. After it returns, the content survives power loss; before that,
//! the old content, or nothing, is there.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use super::{Access, Directory, DiskError, Existing};
use crate::path::ArtifactPath;

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

/// Gives `bytes` the name `path`, which must be free, in one step but not durably: for what may be
/// lost in a crash.
pub fn deposit(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let error = |source: io::Error| DiskError::Write {
        path: path.into(),
        source,
    };
    let (directory, name) = open_parent(path)?;
    let mut temporary = Temporary::create(&directory, Mode::from_raw_mode(0o666)).map_err(error)?;
    temporary.file.write_all(bytes).map_err(error)?;
    match temporary.link(name) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => Err(DiskError::Exists { path: path.into() }),
        Err(errno) => Err(error(errno.into())),
    }
}

/// A file that is written piece by piece, and has its name only when it is whole and durable.
pub struct Growing {
    file: io::BufWriter<File>,
    directory: OwnedFd,
    temporary: String,
    path: std::path::PathBuf,
}

impl Growing {
    /// Begins a file that will be called `path`, in the place of whatever is there.
    pub fn create(path: &Path) -> Result<Growing, DiskError> {
        let error = |source: io::Error| DiskError::Write {
            path: path.into(),
            source,
        };
        let (directory, _) = open_parent(path)?;
        let temporary = temporary_name().map_err(error)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o666);
        let fd = rustix::fs::openat(&directory, &temporary, flags, mode)
            .map_err(|errno| error(errno.into()))?;
        Ok(Growing {
            file: io::BufWriter::with_capacity(1 << 20, File::from(fd)),
            directory,
            temporary,
            path: path.into(),
        })
    }

    /// Appends `bytes`.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        let path = &self.path;
        self.file
            .write_all(bytes)
            .map_err(|source| DiskError::Write {
                path: path.clone(),
                source,
            })
    }

    /// Makes the file durable, and gives it its name.
    pub fn finish(mut self) -> Result<(), DiskError> {
        let error = |source: io::Error| DiskError::Write {
            path: self.path.clone(),
            source,
        };
        self.file.flush().map_err(error)?;
        self.file.get_ref().sync_all().map_err(error)?;
        let (_, name) = open_parent(&self.path)?;
        rustix::fs::renameat(&self.directory, &self.temporary, &self.directory, name)
            .and_then(|()| rustix::fs::fsync(&self.directory))
            .map_err(|errno| error(errno.into()))
    }
}

impl Drop for Growing {
    fn drop(&mut self) {
        // After `finish` there is nothing of this name.
        _ = rustix::fs::unlinkat(&self.directory, &self.temporary, AtFlags::empty());
    }
}

/// A file that is received piece by piece, perhaps in several runs, under a name of its own until it is
/// whole. What is there of it is not durable, and is to be hashed before it is relied on.
pub struct Partial {
    file: File,
    path: std::path::PathBuf,
    have: u64,
}

impl Partial {
    /// Opens what an earlier run left at `path`, or begins.
    pub fn open(path: &Path) -> Result<Partial, DiskError> {
        let error = |errno: Errno| DiskError::Write {
            path: path.into(),
            source: errno.into(),
        };
        let (directory, name) = open_parent(path)?;
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o666);
        let fd = rustix::fs::openat(&directory, name, flags, mode).map_err(error)?;
        let file = File::from(fd);
        let have = file.metadata().map(|metadata| metadata.len());
        let have = have.map_err(|source| DiskError::Write {
            path: path.into(),
            source,
        })?;
        Ok(Partial {
            file,
            path: path.into(),
            have,
        })
    }

    /// How many bytes are there.
    pub fn have(&self) -> u64 {
        self.have
    }

    fn error(&self, source: io::Error) -> DiskError {
        DiskError::Write {
            path: self.path.clone(),
            source,
        }
    }

    /// Shows what is there to `see`, piece by piece, and goes to its end.
    pub fn read_back(&mut self, see: &mut dyn FnMut(&[u8])) -> Result<(), DiskError> {
        self.file.rewind().map_err(|source| self.error(source))?;
        let mut buffer = vec![0; 1 << 16];
        let mut left = self.have;
        while left > 0 {
            let count = match self.file.read(&mut buffer) {
                Ok(0) => return Err(self.error(io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => count.min(usize::try_from(left).unwrap_or(usize::MAX)),
                Err(source) if source.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(self.error(source)),
            };
            see(buffer.get(..count).unwrap_or_default());
            left -= count as u64;
        }
        let end = self.file.seek(io::SeekFrom::Start(self.have));
        end.map(|_| ()).map_err(|source| self.error(source))
    }

    /// Begins anew.
    pub fn restart(&mut self) -> Result<(), DiskError> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.rewind());
        emptied.map_err(|source| self.error(source))?;
        self.have = 0;
        Ok(())
    }

    /// Appends `bytes`.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        let written = self.file.write_all(bytes);
        written.map_err(|source| self.error(source))?;
        self.have += bytes.len() as u64;
        Ok(())
    }

    /// Gives the file the name `to`, in the place of whatever is there: it is not what was wanted.
    pub fn set_aside(self, to: &Path) -> Result<(), DiskError> {
        let (from_directory, from) = open_parent(&self.path)?;
        let (to_directory, name) = open_parent(to)?;
        rustix::fs::renameat(&from_directory, from, &to_directory, name).map_err(|errno| {
            DiskError::Write {
                path: to.into(),
                source: errno.into(),
            }
        })
    }

    /// Gives the file the name `to` beneath `root`, which must be free, and makes the directories between. No
    /// link is followed there, whoever puts one. As with every download, it is the system's when that is
    /// durable: what is lost is verified and fetched again.
    pub fn finish(self, root: &Directory, to: &ArtifactPath) -> Result<(), DiskError> {
        let path = root.path.join(to.as_str());
        let error = |errno: Errno| DiskError::Write {
            path: path.clone(),
            source: errno.into(),
        };
        let (parents, name) = to.as_str().rsplit_once('/').unwrap_or(("", to.as_str()));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut directory: Option<OwnedFd> = None;
        for part in parents.split('/').filter(|part| !part.is_empty()) {
            let above = directory.as_ref().unwrap_or(&root.fd);
            match rustix::fs::mkdirat(above, part, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(error(errno)),
            }
            let below = rustix::fs::openat(above, part, flags, Mode::empty()).map_err(error)?;
            directory = Some(below);
        }
        let directory = directory.as_ref().unwrap_or(&root.fd);
        let (from_directory, from) = open_parent(&self.path)?;
        let flags = rustix::fs::RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(&from_directory, from, directory, name, flags) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => Err(DiskError::Exists { path }),
            Err(errno) => Err(error(errno)),
        }
    }
}

/// Gives the file or directory `from` the name `to`, which must be free, durably.
pub fn rename(from: &Path, to: &Path) -> Result<(), DiskError> {
    let error = |errno: Errno| DiskError::Write {
        path: to.into(),
        source: errno.into(),
    };
    let (from_parent, from_name) = open_parent(from)?;
    let (to_parent, to_name) = open_parent(to)?;
    let flags = rustix::fs::RenameFlags::NOREPLACE;
    rustix::fs::renameat_with(&from_parent, from_name, &to_parent, to_name, flags)
        .and_then(|()| rustix::fs::fsync(&to_parent))
        .map_err(error)
}

/// Says of the file at `path` that it was used now.
pub fn touch(path: &Path) -> Result<(), DiskError> {
    let now = rustix::fs::Timespec {
        tv_sec: 0,
        tv_nsec: rustix::fs::UTIME_NOW,
    };
    let times = rustix::fs::Timestamps {
        last_access: now,
        last_modification: now,
    };
    let touched = rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW);
    touched.map_err(|errno| DiskError::Write {
        path: path.into(),
        source: errno.into(),
    })
}

/// Removes a directory and all that is in it, following no link.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that removes trees"
)]
pub fn remove_tree(path: &Path) -> Result<(), DiskError> {
    match std::fs::remove_dir_all(path) {
        Ok(()) => Ok(()),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(DiskError::Write {
            path: path.into(),
            source,
        }),
    }
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

/// Creates a directory that is its owner's alone; it must not be there.
pub fn create_private_directory(path: &Path) -> Result<(), DiskError> {
    let (parent, name) = open_parent(path)?;
    let mode = Mode::from_raw_mode(0o700);
    rustix::fs::mkdirat(&parent, name, mode).map_err(|errno| DiskError::Write {
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
