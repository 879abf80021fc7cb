//! A repository on disk, as far as it takes to know what its checked-out commit says: HEAD, refs, loose objects, packs
//! with their indexes (gitrepository-layout, gitformat-pack, index version 2). No git is run, no configuration heeded; every object is
//! hashed, so it does not matter who wrote the files.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use flate2::read::ZlibDecoder;

use super::pack::{Base, Packed, apply, object as packed_object};
use super::{GitError, Kind, MAX_OBJECT, ObjectId, Pointer};
use crate::disk::{self, DiskError};

/// The objects of a checkout, and what is checked out.
pub struct Repository {
    /// Of this checkout.
    directory: PathBuf,
    /// What all checkouts of the repository share.
    common: PathBuf,
    packs: Vec<Pack>,
}

struct Pack {
    index: File,
    content: File,
    size: u64,
    count: u32,
}

/// Why a repository cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepositoryError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Git(#[from] GitError),
    #[error("{0}")]
    Unusable(String),
    #[error("object {0} is not there; a partial clone lacks what it did not need yet")]
    Missing(ObjectId),
    #[error("a pack cannot be read")]
    Read(#[from] std::io::Error),
}

/// Small files of git's own.
const MAX_FILE: u64 = 64 * 1024 * 1024;

/// The most packs; git gathers them long before.
const MAX_PACKS: usize = 10_000;

/// The longest chain of deltas; git makes 50, or 4,095 where it is told to.
const MAX_CHAIN: usize = 4096;

/// What the deltas of a chain take together.
const MAX_DELTAS: usize = 256 * 1024 * 1024;

fn unusable<T>(why: impl Into<String>) -> Result<T, RepositoryError> {
    Err(RepositoryError::Unusable(why.into()))
}

fn text(path: &Path) -> Result<String, DiskError> {
    let bytes = disk::read(path, MAX_FILE)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A file, and not something that never answers.
fn open(path: &Path) -> std::io::Result<File> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("it is no file"));
    }
    File::open(path)
}

impl Repository {
    /// The repository that `checkout` is of; none if there is no `.git`.
    pub fn open(checkout: &Path) -> Result<Option<Repository>, RepositoryError> {
        let git = checkout.join(".git");
        let metadata = match git.symlink_metadata() {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // Of further checkouts, and of submodules, it is a file.
        let directory = if metadata.is_dir() {
            git
        } else if metadata.is_file() {
            let link = text(&git)?;
            let link = link.strip_prefix("gitdir:").map(str::trim);
            let Some(link) = link.filter(|link| !link.is_empty()) else {
                return unusable(format!("{} is no link to a repository", git.display()));
            };
            checkout.join(link)
        } else {
            return unusable(format!(
                "{} is neither a directory nor a file",
                git.display()
            ));
        };
        let common = match text(&directory.join("commondir")) {
            Ok(common) => directory.join(common.trim()),
            Err(error) if error.is_not_found() => directory.clone(),
            Err(error) => return Err(error.into()),
        };
        let mut repository = Repository {
            directory,
            common,
            packs: Vec::new(),
        };
        if repository
            .setting("extensions", "objectformat")
            .is_some_and(|it| it != "sha1")
        {
            return unusable("its objects are named by SHA-256, which is not read");
        }
        repository.find_packs()?;
        Ok(Some(repository))
    }

    fn find_packs(&mut self) -> Result<(), RepositoryError> {
        let place = self.common.join("objects/pack");
        let Ok(entries) = std::fs::read_dir(&place) else {
            return Ok(());
        };
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_none_or(|ending| ending != "idx") {
                continue;
            }
            if self.packs.len() >= MAX_PACKS {
                return unusable(format!("it has more than {MAX_PACKS} packs"));
            }
            let index = open(&path)?;
            let content = open(&path.with_extension("pack"))?;
            let mut head = [0; 8];
            index.read_exact_at(&mut head, 0)?;
            if head != *b"\xfftOc\0\0\0\x02" {
                return unusable(format!("{} is no index of version 2", path.display()));
            }
            let size = content.metadata()?.len();
            let mut pack = Pack {
                index,
                content,
                size,
                count: 0,
            };
            pack.count = pack.fan(255)?;
            self.packs.push(pack);
        }
        Ok(())
    }

    /// The commit that is checked out, and the branch, if it is one.
    pub fn head(&self) -> Result<(ObjectId, Option<String>), RepositoryError> {
        let mut name = text(&self.directory.join("HEAD"))?.trim().to_owned();
        let mut branch = None;
        for _ in 0..5 {
            if let Some(id) = ObjectId::parse(&name) {
                return Ok((id, branch));
            }
            let Some(target) = name.strip_prefix("ref:").map(str::trim) else {
                return unusable("HEAD is neither a commit nor a branch");
            };
            let is_plain = target.starts_with("refs/")
                && !target
                    .split('/')
                    .any(|part| matches!(part, "" | "." | ".."));
            if !is_plain {
                return unusable("HEAD is not a branch of this repository");
            }
            branch = branch.or_else(|| target.strip_prefix("refs/heads/").map(str::to_owned));
            name = match text(&self.common.join(target)) {
                Ok(text) => text.trim().to_owned(),
                Err(error) if error.is_not_found() => self.packed_ref(target)?,
                Err(error) => return Err(error.into()),
            };
        }
        unusable("HEAD leads to no commit")
    }

    fn packed_ref(&self, name: &str) -> Result<String, RepositoryError> {
        let all = match text(&self.common.join("packed-refs")) {
            Ok(all) => all,
            Err(error) if error.is_not_found() => String::new(),
            Err(error) => return Err(error.into()),
        };
        let found = all.lines().find_map(|line| {
            let (id, of) = line.split_once(' ')?;
            (of == name).then(|| id.to_owned())
        });
        match found {
            Some(id) => Ok(id),
            None => unusable(format!("{} has no commit yet", crate::path::display(name))),
        }
    }

    /// Where it was cloned from, without a name or password.
    pub fn remote(&self) -> Option<String> {
        let url = self.setting("remote \"origin\"", "url")?;
        without_credentials(&url)
    }

    /// A setting of the repository's own file; nothing that it includes is read.
    fn setting(&self, section: &str, name: &str) -> Option<String> {
        let all = text(&self.common.join("config")).ok()?;
        let mut here = false;
        let mut found = None;
        for line in all.lines().map(str::trim) {
            if let Some(head) = line.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
                here = head.eq_ignore_ascii_case(section);
            } else if here
                && let Some((key, value)) = line.split_once('=')
                && key.trim().eq_ignore_ascii_case(name)
            {
                found = Some(value.trim().trim_matches('"').to_owned());
            }
        }
        found
    }

    /// An object, which hashes to its id.
    pub fn object(&self, kind: Kind, id: ObjectId) -> Result<Vec<u8>, RepositoryError> {
        let (found, content) = self.find(id)?;
        if found != kind || ObjectId::of(kind, &content)? != id {
            return Err(GitError::Missing {
                kind: kind.name(),
                id,
            }
            .into());
        }
        Ok(content)
    }

    /// The pointer of git-lfs that the blob `id` is, if it is here and is one.
    pub fn pointer(&self, id: ObjectId) -> Option<Pointer> {
        let content = match self.loose(id, Pointer::MAX) {
            Ok(Some((Kind::Blob, content))) => content,
            Ok(Some(_)) | Err(_) => return None,
            Ok(None) => {
                let (pack, at) = self.place(id).ok().flatten()?;
                let (kind, content) = pack.unpack(at, Pointer::MAX).ok()?;
                (kind == Kind::Blob).then_some(content)?
            }
        };
        let pointer = Pointer::parse(&content)?;
        (pointer.id().ok()? == id).then_some(pointer)
    }

    fn find(&self, id: ObjectId) -> Result<(Kind, Vec<u8>), RepositoryError> {
        if let Some(found) = self.loose(id, MAX_OBJECT)? {
            return Ok(found);
        }
        let (pack, at) = self.place(id)?.ok_or(RepositoryError::Missing(id))?;
        pack.unpack(at, MAX_OBJECT)
    }

    /// One in a file of its own: `KIND SIZE\0` and the content, compressed.
    fn loose(&self, id: ObjectId, most: usize) -> Result<Option<(Kind, Vec<u8>)>, RepositoryError> {
        let name = id.to_string();
        let (directory, rest) = name.split_at(2);
        let path = self.common.join("objects").join(directory).join(rest);
        let file = match open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut bytes = Vec::new();
        let limit = most as u64 + 64;
        ZlibDecoder::new(file).take(limit).read_to_end(&mut bytes)?;
        let damaged = GitError::Missing { kind: "object", id };
        let end = bytes.iter().position(|byte| *byte == 0);
        let head = end.and_then(|end| std::str::from_utf8(bytes.get(..end)?).ok());
        let head = head.unwrap_or_default().to_owned();
        let Some((kind, size)) = head.split_once(' ') else {
            return Err(damaged.into());
        };
        let kind = [Kind::Commit, Kind::Tree, Kind::Blob, Kind::Tag]
            .into_iter()
            .find(|one| one.name() == kind);
        let content = bytes.split_off(end.unwrap_or_default() + 1);
        match (kind, size.parse::<usize>()) {
            (Some(kind), Ok(size)) if size == content.len() && size <= most => {
                Ok(Some((kind, content)))
            }
            _ => Err(damaged.into()),
        }
    }

    /// The pack with an object, and where in it.
    fn place(&self, id: ObjectId) -> Result<Option<(&Pack, u64)>, RepositoryError> {
        for pack in &self.packs {
            if let Some(at) = pack.offset(id)? {
                return Ok(Some((pack, at)));
            }
        }
        Ok(None)
    }
}

impl Pack {
    /// The object at `at`, from what it is made of.
    fn unpack(&self, at: u64, most: usize) -> Result<(Kind, Vec<u8>), RepositoryError> {
        // From the object back to what it is made of; then forth again.
        let mut deltas: Vec<Vec<u8>> = Vec::new();
        let mut passed = BTreeSet::new();
        let mut at = at;
        let (kind, mut content) = loop {
            let bytes: usize = deltas.iter().map(Vec::len).sum();
            if deltas.len() > MAX_CHAIN || bytes > MAX_DELTAS || !passed.insert(at) {
                return Err(GitError::Limit {
                    what: "the length of a chain of deltas",
                    limit: MAX_CHAIN,
                }
                .into());
            }
            match self.object(at, most)? {
                Packed::Whole(kind, content) => break (kind, content),
                Packed::Delta(Base::Offset(base), delta) => {
                    deltas.push(delta);
                    at = base as u64;
                }
                Packed::Delta(Base::Id(id), delta) => {
                    deltas.push(delta);
                    // In a pack on disk the base is in the same pack.
                    let base = self.offset(id)?;
                    at = base.ok_or(RepositoryError::Missing(id))?;
                }
            }
        };
        while let Some(delta) = deltas.pop() {
            content = apply(&content, &delta, most)?;
        }
        Ok((kind, content))
    }

    /// How many objects have a first byte up to `byte`.
    fn fan(&self, byte: u8) -> Result<u32, RepositoryError> {
        let mut number = [0; 4];
        self.index
            .read_exact_at(&mut number, 8 + 4 * u64::from(byte))?;
        Ok(u32::from_be_bytes(number))
    }

    fn offset(&self, id: ObjectId) -> Result<Option<u64>, RepositoryError> {
        let [first, ..] = id.0;
        let mut low = match first.checked_sub(1) {
            Some(before) => self.fan(before)?,
            None => 0,
        };
        let mut high = self.fan(first)?.min(self.count);
        let names = 8 + 4 * 256;
        while low < high {
            let middle = low + (high - low) / 2;
            let mut found = [0; 20];
            self.index
                .read_exact_at(&mut found, names + 20 * u64::from(middle))?;
            match found.cmp(&id.0) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return self.offset_of(middle).map(Some),
            }
        }
        Ok(None)
    }

    /// Names, sums, offsets of 31 bits, and those that have more.
    fn offset_of(&self, place: u32) -> Result<u64, RepositoryError> {
        let count = u64::from(self.count);
        let offsets = 8 + 4 * 256 + 24 * count;
        let mut number = [0; 4];
        self.index
            .read_exact_at(&mut number, offsets + 4 * u64::from(place))?;
        let number = u32::from_be_bytes(number);
        if number & 0x8000_0000 == 0 {
            return Ok(number.into());
        }
        let mut large = [0; 8];
        let at = offsets + 4 * count + 8 * u64::from(number & 0x7fff_ffff);
        self.index.read_exact_at(&mut large, at)?;
        Ok(u64::from_be_bytes(large))
    }

    /// What stands at `at`: as much of the pack is read as that takes.
    fn object(&self, at: u64, most: usize) -> Result<Packed, RepositoryError> {
        let left = self.size.saturating_sub(at);
        let mut window: u64 = 16 * 1024;
        // What does not shrink grows a little, and has a head.
        let whole = (most as u64).saturating_add(most as u64 / 100 + 4096);
        loop {
            let length = window.min(left);
            let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
            self.content.read_exact_at(&mut bytes, at)?;
            // Its base stands before it, by so many bytes.
            let base = usize::try_from(at).unwrap_or(usize::MAX);
            match packed_object(&bytes, 0, base, most) {
                Ok((object, _)) => return Ok(object),
                Err(_) if length < left && window < whole => window *= 8,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// An address that may be on record: that of a server, without who asks it; `host:path`, as ssh takes it, written as one.
fn without_credentials(url: &str) -> Option<String> {
    let Some((scheme, rest)) = url.split_once("://") else {
        let after = url.rsplit_once('@').map_or(url, |(_, after)| after);
        let (host, path) = after.split_once(':')?;
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
        // One letter is a drive.
        if host.len() < 2 || !host.bytes().all(is_host) || path.starts_with('\\') {
            return None;
        }
        return Some(format!("ssh://git@{host}/{}", path.trim_start_matches('/')));
    };
    if !["http", "https", "ssh", "git"].contains(&scheme) {
        return None;
    }
    let (authority, path) = rest.split_once('/')?;
    let host = authority.rsplit('@').next().unwrap_or_default();
    let user = if scheme == "ssh" { "git@" } else { "" };
    let path = path.split(['?', '#']).next().unwrap_or_default();
    (!host.is_empty()).then(|| format!("{scheme}://{user}{host}/{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remotes_without_secrets() {
        for (url, expected) in [
            ("https://me:secret@host/a/b.git", "https://host/a/b.git"),
            ("git@github.com:a/b.git", "ssh://git@github.com/a/b.git"),
            ("ssh://me@host:22/a", "ssh://git@host:22/a"),
            ("https://host/a", "https://host/a"),
        ] {
            assert_eq!(without_credentials(url).as_deref(), Some(expected));
        }
        for none in [
            "/srv/git/a",
            "file:///home/me/a",
            "C:\\me\\a",
            "../a",
            "sftp://h/home/me",
        ] {
            assert_eq!(without_credentials(none), None, "{none}");
        }
        assert_eq!(
            without_credentials("oauth2:secret@github.com:a/b.git").as_deref(),
            Some("ssh://git@github.com/a/b.git")
        );
    }
}
