//! Lists what lies in an artifact. Nothing is skipped silently: what is not a plain file comes
//! back as an [`Obstacle`], what was left out on purpose as an exclusion that was met.

use std::borrow::Cow;
use std::fs::File;
use std::io;

use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::hub_cache::{HubCache, HubError};
use super::stat_cache::{ReceiptPlace, StatCache};
use crate::disk::{self, Directory, DiskError};
use crate::path::{ArtifactPath, PathError};

/// An opened artifact.
#[derive(Debug)]
pub struct Artifact {
    /// The tree itself, or the directory that holds the single file.
    pub(super) directory: Directory,
    /// The name of the single file.
    file: Option<ArtifactPath>,
    /// The cache that the tree is a snapshot of.
    hub: Option<HubCache>,
    path: PathBuf,
}

impl Artifact {
    /// Opens the file or directory at `path`. A directory may be reached through a link, since the
    /// user named it; a single file may not.
    pub fn open(path: &Path) -> Result<Artifact, ArtifactError> {
        let error = |source| {
            ArtifactError::Disk(DiskError::Open {
                path: path.into(),
                source,
            })
        };
        if std::fs::metadata(path).map_err(error)?.is_dir() {
            let directory = Directory::open(path)?;
            return Ok(Artifact {
                directory,
                file: None,
                hub: HubCache::around(path),
                path: path.into(),
            });
        }
        if std::fs::symlink_metadata(path).map_err(error)?.is_symlink() {
            return Err(ArtifactError::Link { path: path.into() });
        }
        if !std::fs::metadata(path).map_err(error)?.is_file() {
            return Err(ArtifactError::Special { path: path.into() });
        }
        let name = path
            .file_name()
            .ok_or_else(|| error(io::ErrorKind::InvalidInput.into()))?;
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let file = ArtifactPath::from_bytes(name.as_encoded_bytes())?;
        Ok(Artifact {
            directory: Directory::open(parent)?,
            file: Some(file),
            hub: None,
            path: path.into(),
        })
    }

    /// The cache of a hub's client that it is a snapshot of.
    pub fn hub(&self) -> Option<&HubCache> {
        self.hub.as_ref()
    }

    /// The content of a file of at most `limit` bytes, of whatever layout.
    pub fn content(&self, path: &ArtifactPath, limit: u64) -> Result<Vec<u8>, DiskError> {
        let file = self.open_file(path)?;
        disk::read_open(file, &self.path.join(path.as_str()), limit)
    }

    /// Opens a file of whatever layout.
    pub fn open_file(&self, path: &ArtifactPath) -> Result<File, DiskError> {
        match &self.hub {
            Some(_) => self
                .open_through_link(path)
                .or_else(|_| self.directory.open_file(path)),
            None => self.directory.open_file(path),
        }
    }

    /// Opens a file that was found.
    pub fn open_found(&self, found: &FoundFile) -> Result<File, DiskError> {
        if found.through_link {
            self.open_through_link(&found.path)
        } else {
            self.directory.open_file(&found.path)
        }
    }

    /// Opens a file that was found behind a link.
    pub(super) fn open_through_link(&self, path: &ArtifactPath) -> Result<File, DiskError> {
        match &self.hub {
            None => self.directory.open_file_through_link(path),
            Some(hub) => hub
                .open(&self.directory, path)
                .map_err(|error| match error {
                    HubError::Disk(error) => error,
                    HubError::Form => DiskError::Open {
                        path: self.path.join(path.as_str()),
                        source: Errno::LOOP.into(),
                    },
                }),
        }
    }

    /// The name of the file, if the artifact is a single one.
    pub fn single_file(&self) -> Option<&ArtifactPath> {
        self.file.as_ref()
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The last component of its real path: what a statement calls it.
    pub fn name(&self) -> String {
        if let Some(hub) = self.hub.as_ref().filter(|hub| hub.named) {
            return hub.name.clone();
        }
        let real = std::fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        real.file_name()
            .map_or_else(|| "/".into(), |name| name.to_string_lossy().into_owned())
    }

    /// The tree itself, or the directory that holds the single file.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Where `path` lies in the artifact, if it does.
    pub fn locate(&self, path: &Path) -> Option<ArtifactPath> {
        if self.file.is_some() {
            return None;
        }
        let root = std::fs::canonicalize(&self.path).ok()?;
        // The file itself may not exist yet, and may be a link: only its directory is resolved.
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let real = std::fs::canonicalize(parent).ok()?.join(path.file_name()?);
        ArtifactPath::new(real.strip_prefix(&root).ok()?.to_str()?).ok()
    }
}

/// Why a path cannot be opened as an artifact.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArtifactError {
    #[error("{} is a symbolic link", path.display())]
    Link { path: PathBuf },
    #[error("{} is neither a regular file nor a directory", path.display())]
    Special { path: PathBuf },
    #[error(transparent)]
    Name(#[from] PathError),
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Paths that are left out, each with everything beneath it.
#[derive(Clone, Debug, Default)]
pub struct Exclusions(Vec<ArtifactPath>);

impl Exclusions {
    /// Nothing is left out.
    pub fn none() -> Exclusions {
        Exclusions::default()
    }

    /// What sign, verify, record and gate leave out: the signature itself, git's own directory and
    /// the bookkeeping of a hub client. Each one that is met is reported.
    pub fn standard(signature: Option<ArtifactPath>) -> Exclusions {
        let fixed = [".git", ".cache/huggingface"]
            .into_iter()
            .filter_map(|path| ArtifactPath::new(path).ok());
        Exclusions(fixed.chain(signature).collect())
    }

    /// Leaves out `path` too.
    pub fn add(&mut self, path: ArtifactPath) {
        self.0.push(path);
    }

    /// Is `path` one of them, or beneath one?
    pub fn contains(&self, path: &ArtifactPath) -> bool {
        self.0
            .iter()
            .any(|excluded| path.is_within(excluded.as_str()))
    }
}

/// What a walk does with symbolic links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Symlinks {
    /// Each one is an obstacle.
    Refuse,
    /// A link to a file inside the artifact stands for that file, as OMS's `allow_symlinks` has
    /// it. A link to a directory is not descended into, and a link out is an obstacle.
    FollowInside,
}

/// Which file names a walk takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// Those that have an unambiguous line in a manifest.
    Printable,
    /// All in UTF-8, as OMS has it.
    Any,
}

/// A regular file that a walk found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundFile {
    pub path: ArtifactPath,
    pub size: u64,
    /// Reached through a link that the caller allowed.
    pub through_link: bool,
    /// Of an earlier hashing, if it is unchanged since.
    pub(super) receipt: Option<ReceiptPlace>,
}

impl FoundFile {
    /// What is behind the first `stem` bytes of the path.
    fn name(&self, stem: usize) -> Option<&[u8]> {
        self.path.as_str().as_bytes().get(stem..)
    }

    #[cfg(test)]
    pub(super) fn of(path: ArtifactPath, size: u64) -> FoundFile {
        FoundFile {
            path,
            size,
            through_link: false,
            receipt: None,
        }
    }

    fn new(
        path: ArtifactPath,
        stat: &Stat,
        through_link: bool,
        receipts: Option<&StatCache>,
    ) -> FoundFile {
        FoundFile {
            receipt: receipts.and_then(|receipts| receipts.find(&path, stat)),
            size: u64::try_from(stat.st_size).unwrap_or(0),
            path,
            through_link,
        }
    }
}

/// Something in the tree that is not a plain readable file with a plain name.
#[derive(Clone, Debug)]
pub struct Obstacle {
    /// Where it is, with control characters escaped.
    pub location: String,
    pub kind: ObstacleKind,
}

/// What stands in the way.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ObstacleKind {
    /// A symbolic link, and why it is not followed.
    Link(&'static str),
    /// A FIFO, socket or device.
    Special(&'static str),
    /// A name that is not accepted.
    Name(PathError),
    /// A directory that cannot be read.
    Unreadable(String),
}

/// What a walk found.
#[derive(Debug, Default)]
pub struct Walk {
    /// Regular files, in byte order of their path.
    pub files: Vec<FoundFile>,
    /// What is not a plain file.
    pub obstacles: Vec<Obstacle>,
    /// Exclusions that exist here, and links to directories: content that is not looked at.
    pub not_covered: Vec<ArtifactPath>,
}

impl Walk {
    /// The bytes in all files.
    pub fn bytes(&self) -> u64 {
        self.files
            .iter()
            .fold(0, |total, file| file.size.saturating_add(total))
    }
}

/// Lists `artifact`. Only a root that cannot be read is an error.
pub fn walk(
    artifact: &Artifact,
    exclusions: &Exclusions,
    symlinks: Symlinks,
    names: Names,
) -> Result<Walk, DiskError> {
    walk_with(artifact, exclusions, (symlinks, names), None)
}

/// The same, and looks for the receipt of each file.
pub fn walk_with(
    artifact: &Artifact,
    exclusions: &Exclusions,
    (symlinks, names): (Symlinks, Names),
    receipts: Option<&StatCache>,
) -> Result<Walk, DiskError> {
    let mut walk = Walk::default();
    if let Some(path) = &artifact.file {
        let file = artifact.directory.open_file(path)?;
        let stat = rustix::fs::fstat(&file).map_err(|errno| DiskError::Read {
            path: artifact.path.clone(),
            source: errno.into(),
        })?;
        let found = FoundFile::new(path.clone(), &stat, false, receipts);
        walk.files.push(found);
        return Ok(walk);
    }
    let mut walker = Walker {
        artifact,
        exclusions,
        symlinks,
        names,
        receipts,
        walk,
        pending: Vec::new(),
    };
    walker.list(&artifact.directory, "")?;
    while let Some(path) = walker.pending.pop() {
        let listed = artifact
            .directory
            .open_directory(&path)
            .and_then(|directory| walker.list(&directory, path.as_str()));
        if let Err(error) = listed {
            let kind = ObstacleKind::Unreadable(root_cause(&error));
            walker.walk.obstacles.push(Obstacle {
                location: path.to_string(),
                kind,
            });
        }
    }
    walk = walker.walk;
    if !walk.files.is_sorted_by(|a, b| a.path < b.path) {
        walk.files.sort_by(|a, b| a.path.cmp(&b.path));
    }
    walk.obstacles.sort_by(|a, b| a.location.cmp(&b.location));
    walk.not_covered.sort_unstable();
    Ok(walk)
}

/// What the blob is behind a link of a hub's snapshot.
fn blob(hub: &HubCache, snapshot: &Directory, path: &ArtifactPath) -> Result<Stat, &'static str> {
    let file = hub.open(snapshot, path).map_err(|error| match error {
        HubError::Form => "it does not lead to a blob of its repository in the cache",
        HubError::Disk(_) => "its blob is missing from the cache, or cannot be opened",
    })?;
    match rustix::fs::fstat(&file) {
        Ok(stat) if disk::file_type(&stat) == FileType::RegularFile => Ok(stat),
        Ok(_) => Err("it leads to something that is not a file"),
        Err(_) => Err("its blob cannot be read"),
    }
}

/// The innermost source of an error, as text.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

struct Walker<'a> {
    artifact: &'a Artifact,
    exclusions: &'a Exclusions,
    symlinks: Symlinks,
    names: Names,
    receipts: Option<&'a StatCache>,
    walk: Walk,
    pending: Vec<ArtifactPath>,
}

impl<'a> Walker<'a> {
    fn list(&mut self, directory: &Directory, prefix: &str) -> Result<(), DiskError> {
        let parent = match prefix {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        let stem = parent.len();
        let (files, directories) = (self.walk.files.len(), self.pending.len());
        let (obstacles, not_covered) = (self.walk.obstacles.len(), self.walk.not_covered.len());
        let names = self.content(directory)?;
        let missing = directory.each_of(&names, |name, stat| self.entry(&parent, name, stat))?;
        if missing > 0 && matches!(names, Cow::Borrowed(_)) {
            // What has not changed has lost nothing: it would be listed otherwise now, as where the key of an encrypted directory
            // has come or gone.
            self.walk.files.truncate(files);
            self.pending.truncate(directories);
            self.walk.obstacles.truncate(obstacles);
            self.walk.not_covered.truncate(not_covered);
            let names = self.listed(directory)?;
            directory.each_of(&names, |name, stat| self.entry(&parent, name, stat))?;
        }
        // Each directory by itself, the first to be listed last: most trees are in order then, and need not be sorted.
        let own = self.walk.files.get_mut(files..).unwrap_or_default();
        own.sort_unstable_by(|a, b| a.name(stem).cmp(&b.name(stem)));
        let own = self.pending.get_mut(directories..).unwrap_or_default();
        own.sort_unstable_by(|a, b| b.cmp(a));
        Ok(())
    }

    /// What is in a directory: as it was when it was listed before, if it is unchanged since.
    fn content(&self, directory: &Directory) -> Result<Cow<'a, [u8]>, DiskError> {
        if let Some(receipts) = self.receipts
            && let Some(names) = receipts.listing(&directory.stat()?)
        {
            return Ok(Cow::Borrowed(names));
        }
        self.listed(directory).map(Cow::Owned)
    }

    /// What is in a directory now.
    fn listed(&self, directory: &Directory) -> Result<Vec<u8>, DiskError> {
        let Some(receipts) = self.receipts else {
            return directory.names();
        };
        let before = directory.stat()?;
        let names = directory.names()?;
        receipts.note_listing(&before, &names);
        Ok(names)
    }

    fn entry(&mut self, parent: &str, name: &[u8], stat: &Stat) {
        let is_printable = self.names == Names::Printable;
        let path = match ArtifactPath::beneath(parent, name, is_printable) {
            Ok(path) => path,
            Err(error) => {
                let full = [parent.as_bytes(), name].concat();
                return self.obstacle(&full, ObstacleKind::Name(error));
            }
        };
        let kind = disk::file_type(stat);
        // A link or a special file is one under any name.
        let ordinary = matches!(kind, FileType::RegularFile | FileType::Directory);
        if ordinary && self.exclusions.contains(&path) {
            return self.walk.not_covered.push(path);
        }
        match kind {
            FileType::RegularFile => self.found(path, stat, false),
            FileType::Directory => self.pending.push(path),
            FileType::Symlink => self.link(path),
            FileType::Fifo => self.special(&path, "a FIFO"),
            FileType::Socket => self.special(&path, "a socket"),
            FileType::CharacterDevice | FileType::BlockDevice => self.special(&path, "a device"),
            FileType::Unknown => self.special(&path, "of an unknown type"),
        }
    }

    fn special(&mut self, path: &ArtifactPath, what: &'static str) {
        self.obstacle(path.as_str().as_bytes(), ObstacleKind::Special(what));
    }

    fn found(&mut self, path: ArtifactPath, stat: &Stat, through_link: bool) {
        let file = FoundFile::new(path, stat, through_link, self.receipts);
        self.walk.files.push(file);
    }

    fn link(&mut self, path: ArtifactPath) {
        if let Some(hub) = &self.artifact.hub {
            return match blob(hub, &self.artifact.directory, &path) {
                Ok(stat) => self.found(path, &stat, true),
                Err(why) => self.obstacle(path.as_str().as_bytes(), ObstacleKind::Link(why)),
            };
        }
        let why = match self.symlinks {
            Symlinks::Refuse => "links are not followed",
            Symlinks::FollowInside => match self.artifact.directory.stat_through_link(&path) {
                Ok(stat) => match disk::file_type(&stat) {
                    FileType::RegularFile => return self.found(path, &stat, true),
                    FileType::Directory => {
                        self.walk.not_covered.push(path);
                        return;
                    }
                    _ => "it leads to something that is not a file",
                },
                Err(_) => "it is broken, a loop, or leads out of the artifact",
            },
        };
        self.obstacle(path.as_str().as_bytes(), ObstacleKind::Link(why));
    }

    fn obstacle(&mut self, location: &[u8], kind: ObstacleKind) {
        let location = match std::str::from_utf8(location) {
            Ok(text) => crate::path::display(text),
            Err(_) => location.escape_ascii().to_string(),
        };
        self.walk.obstacles.push(Obstacle { location, kind });
    }
}
