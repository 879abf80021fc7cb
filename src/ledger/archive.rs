//! A whole log in one file: a tar archive (POSIX.1-1988 ustar) with the keys of the log in a fixed
//! order, so that one log gives one file to the byte, and `tar -x` gives a log that any tlog tool
//! reads.
//!
//! 1. `checkpoint`
//! 2. for each bundle in order: `tile/entries/…`, then the blobs that its records name and that no
//!    earlier one named (`blob/…`)
//! 3. the tiles: `tile/0/…`, `tile/1/…` and so on
//!
//! Written while it is verified, and read into a directory that gets its name when everything in it
//! was verified. Commit slots are not part of it: a copy is for reading.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::edge::Edge;
use super::fsck::{Problem, Slots, fsck};
use super::mirror::{Blobs, Mirrored, mirror, named_blobs};
use super::publish::CHECKPOINT;
use super::reader::Log;
use super::store::{DirectoryStore, Store, StoreError};
use super::tile::{self, MAX_BUNDLE, Row, Tile, WIDTH};
use super::{LedgerError, MAX_BLOB, MemoryError, blob, blob_key};
use crate::checkpoint::Checkpoint;
use crate::digest::Sha256;
use crate::disk::{self, DiskError, Growing};
use crate::note::MAX_NOTE;
use crate::tlog_policy::TlogPolicy;

/// Why a log cannot be exported or imported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is not the archive of a log: {what}", path.display())]
    Malformed { path: PathBuf, what: String },
    #[error("what {} holds is not sound: {}: {}", path.display(), problem.key, problem.what)]
    Unsound { path: PathBuf, problem: Problem },
}

impl From<StoreError> for ArchiveError {
    fn from(error: StoreError) -> ArchiveError {
        ArchiveError::Ledger(error.into())
    }
}

/// Writes `log` to the file `path`, which appears when all of it was verified.
pub fn export(log: &Log<'_>, path: &Path, blobs: Blobs) -> Result<Checkpoint, ArchiveError> {
    let store = log.store();
    let size = log.checkpoint().size;
    let mut file = Growing::create(path)?;
    member(&mut file, CHECKPOINT, log.note())?;
    let mut edge = Edge::default();
    // What the entries imply: tiles that say otherwise are not written.
    let mut implied = HashMap::new();
    let mut named = HashSet::new();
    for index in 0..size.div_ceil(WIDTH) {
        let entries = log.entries(index)?;
        let mut bundle = Vec::new();
        for entry in &entries {
            // They were read from a bundle.
            _ = tile::encode_entry(&mut bundle, entry);
        }
        edge.extend(&entries)?;
        let complete = edge.take_complete().into_iter();
        implied.extend(complete.map(|(tile, bytes)| (tile, Sha256::of(&bytes))));
        let width = Tile::width_in(Row::Entries, index, size);
        let row = Row::Entries;
        member(&mut file, &Tile { row, index, width }.key(), &bundle)?;
        for digest in entries.iter().flat_map(|entry| named_blobs(entry)) {
            if blobs == Blobs::Copied && named.insert(digest) {
                member(&mut file, &blob_key(&digest), &blob(store, &digest)?)?;
            }
        }
    }
    let partial = edge.partial().into_iter();
    implied.extend(partial.map(|(tile, bytes)| (tile, Sha256::of(&bytes))));
    let root = edge.root()?;
    if root != log.checkpoint().root {
        log.distrust();
        let what = format!("the {size} entries have root {root}, which nobody signed");
        return Err(LedgerError::damaged("tile/entries", what).into());
    }
    for tile in tiles(size) {
        let bytes = log.tile(tile)?;
        if implied.get(&tile) != Some(&Sha256::of(&bytes)) {
            log.distrust();
            let what = "is not what the entries imply";
            return Err(LedgerError::damaged(tile.key(), what).into());
        }
        member(&mut file, &tile.key(), &bytes)?;
    }
    // The end of an archive: two empty blocks.
    file.write(&[0; 2 * BLOCK])?;
    file.finish()?;
    Ok(log.checkpoint().clone())
}

/// Whether a log may be taken in.
pub type Accept<'a> = dyn Fn(&Log<'_>) -> Result<(), MemoryError> + 'a;

/// Reads the archive `path` into the directory `target`, if `accept` has nothing against it. If there is
/// a log already, it must be an older copy of this one, and is brought forward.
pub fn import(
    path: &Path,
    target: &Path,
    trust: &TlogPolicy,
    accept: &Accept<'_>,
) -> Result<Mirrored, ArchiveError> {
    // A name of its own: two imports at once do not meet before the end.
    let mut nonce = [0; 8];
    getrandom::fill(&mut nonce).map_err(|error| LedgerError::Random(error.to_string()))?;
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(format!(
        ".importing-{}",
        data_encoding::HEXLOWER.encode(&nonce)
    ));
    let staging = target.with_file_name(name);
    let result = import_by(path, target, &staging, trust, accept);
    let cleared = disk::remove_tree(&staging);
    let mirrored = result?;
    cleared?;
    Ok(mirrored)
}

fn import_by(
    path: &Path,
    target: &Path,
    staging: &Path,
    trust: &TlogPolicy,
    accept: &Accept<'_>,
) -> Result<Mirrored, ArchiveError> {
    let store = DirectoryStore::new(staging);
    let checkpoint = unpack(path, &store, trust)?;
    let report = fsck(&store, trust, Slots::Absent)?;
    if let Some(problem) = report.problems.into_iter().next() {
        let path = path.into();
        return Err(ArchiveError::Unsound { path, problem });
    }
    let log = Log::open(&store, trust)?;
    accept(&log)?;
    if target.symlink_metadata().is_err() {
        disk::rename(staging, target)?;
        return Ok(Mirrored {
            from: 0,
            to: checkpoint.size,
            missing_blobs: 0,
        });
    }
    Ok(mirror(&log, &DirectoryStore::new(target), Blobs::Copied)?)
}

/// Puts the members into `store`: those that the checkpoint implies, each once, in their order.
fn unpack(
    path: &Path,
    store: &DirectoryStore,
    trust: &TlogPolicy,
) -> Result<Checkpoint, ArchiveError> {
    let malformed = |what: String| ArchiveError::Malformed {
        path: path.into(),
        what,
    };
    let file = std::fs::File::open(path).map_err(|source| ArchiveError::Read {
        path: path.into(),
        source,
    })?;
    let mut archive = Archive {
        path,
        file: io::BufReader::with_capacity(1 << 20, file),
    };
    let note = match archive.next(MAX_NOTE as u64)? {
        Some((key, note)) if key == CHECKPOINT => note,
        _ => return Err(malformed("it does not begin with a checkpoint".into())),
    };
    let checkpoint = trust.open(&note).map_err(LedgerError::from)?;
    let size = checkpoint.size;
    let bundles = (0..size.div_ceil(WIDTH)).map(|index| Tile {
        row: Row::Entries,
        index,
        width: Tile::width_in(Row::Entries, index, size),
    });
    let mut expected = bundles.chain(tiles(size));
    let mut next = expected.next();
    while let Some((key, bytes)) = archive.next(MAX_BLOB.max(MAX_BUNDLE))? {
        if next.is_some_and(|tile| tile.key() == key) {
            next = expected.next();
        } else if !key.starts_with("blob/") || blob_key(&Sha256::of(&bytes)) != key {
            let wanted = next.map_or("the end".into(), |tile| tile.key());
            return Err(malformed(format!(
                "it holds {key:?} where {wanted} was expected"
            )));
        }
        if store.create(&key, &bytes)? == super::Created::Exists {
            return Err(malformed(format!("it holds {key:?} twice")));
        }
    }
    if let Some(tile) = next {
        return Err(malformed(format!("{} is missing", tile.key())));
    }
    store.create(CHECKPOINT, &note)?;
    Ok(checkpoint)
}

/// The tiles of a log of `size` entries, lowest row first.
fn tiles(size: u64) -> impl Iterator<Item = Tile> {
    (0..8_u8).flat_map(move |level| {
        let row = Row::Hashes { level };
        let total = size.checked_shr(8 * u32::from(level)).unwrap_or(0);
        (0..total.div_ceil(WIDTH)).map(move |index| Tile {
            row,
            index,
            width: Tile::width_in(row, index, size),
        })
    })
}

const BLOCK: usize = 512;

fn padding(length: usize) -> usize {
    length.next_multiple_of(BLOCK) - length
}

/// Appends one file to the archive. Keys are shorter than the 100 bytes that a header holds.
fn member(file: &mut Growing, key: &str, bytes: &[u8]) -> Result<(), DiskError> {
    file.write(&header(key, bytes.len() as u64))?;
    file.write(bytes)?;
    file.write(&vec![0; padding(bytes.len())])
}

/// A ustar header: a regular file of nobody, made in 1970.
fn header(key: &str, size: u64) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(field) = header.get_mut(at..at + bytes.len()) {
            field.copy_from_slice(bytes);
        }
    };
    put(0, key.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    let sum = format!("{sum:06o}\0 ");
    if let Some(field) = header.get_mut(148..156) {
        field.copy_from_slice(sum.as_bytes());
    }
    header
}

struct Archive<'a, R> {
    path: &'a Path,
    file: R,
}

impl<R: Read> Archive<'_, R> {
    /// The next file: its key, and its bytes, of which there are at most `limit`.
    fn next(&mut self, limit: u64) -> Result<Option<(String, Vec<u8>)>, ArchiveError> {
        let mut block = [0; BLOCK];
        self.fill(&mut block)?;
        if block == [0; BLOCK] {
            self.fill(&mut block)?;
            let mut more = [0; 1];
            let after = self
                .file
                .read(&mut more)
                .map_err(|error| self.read(error))?;
            if block != [0; BLOCK] || after != 0 {
                return Err(self.malformed("it goes on after its end"));
            }
            return Ok(None);
        }
        let (name, _) = block.split_at(100);
        let length = name.iter().position(|byte| *byte == 0).unwrap_or(100);
        let key = name
            .get(..length)
            .and_then(|name| std::str::from_utf8(name).ok());
        let key = key.ok_or_else(|| self.malformed("a name is not UTF-8"))?;
        let size = block
            .get(124..135)
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u64::from_str_radix(digits, 8).ok())
            .filter(|size| *size <= limit)
            .ok_or_else(|| self.malformed("a size is malformed or too large"))?;
        // One spelling: what is not written so was not written by an export. It leaves no way out
        // of the directory, since keys are compared before anything is written.
        if block != header(key, size) {
            return Err(self.malformed("a header is not as an export writes it"));
        }
        let key = key.to_owned();
        let mut bytes = Vec::new();
        let read = (&mut self.file).take(size).read_to_end(&mut bytes);
        read.map_err(|error| self.read(error))?;
        if bytes.len() as u64 != size {
            return Err(self.malformed("it ends in the middle of a file"));
        }
        let mut rest = vec![1; padding(bytes.len())];
        self.fill(&mut rest)?;
        if rest.iter().any(|byte| *byte != 0) {
            return Err(self.malformed("there is something between two files"));
        }
        Ok(Some((key, bytes)))
    }

    fn fill(&mut self, block: &mut [u8]) -> Result<(), ArchiveError> {
        match self.file.read_exact(block) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.malformed("it is cut off"))
            }
            Err(error) => Err(self.read(error)),
        }
    }

    fn read(&self, source: io::Error) -> ArchiveError {
        ArchiveError::Read {
            path: self.path.into(),
            source,
        }
    }

    fn malformed(&self, what: &str) -> ArchiveError {
        ArchiveError::Malformed {
            path: self.path.into(),
            what: what.into(),
        }
    }
}

/// Reads an archive from memory, to its end: its files in order. For tests of the parser.
pub fn members(bytes: &[u8], limit: u64) -> Result<Vec<(String, Vec<u8>)>, ArchiveError> {
    let mut archive = Archive {
        path: Path::new("memory"),
        file: bytes,
    };
    let mut members = Vec::new();
    while let Some(member) = archive.next(limit)? {
        members.push(member);
    }
    Ok(members)
}
