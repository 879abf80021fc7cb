//! Archives that a source publishes in place of files: their members, each with its digest, while the archive is found to
//! be the one that was published. Nothing is unpacked by its own word: links, devices and paths that lead elsewhere are
//! refused.

use std::collections::BTreeMap;
use std::io::{self, Read};

use flate2::read::MultiGzDecoder;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};
use serde::{Deserialize, Serialize};

use super::published::{Compression, Expected, PackedFiles, PublishedFile, Wrong};
use crate::digest::{Algorithm, Digest, Hasher, Sha256};
use crate::git::snapshot::acceptable_path;
use crate::json::{self, JsonError};
use crate::path::ArtifactPath;
use crate::tar::{Archive, EntryKind, TarError};

/// What becomes of the members as they are read.
pub trait Sink {
    /// A member begins.
    fn begin(&mut self, path: &ArtifactPath, size: u64) -> Result<(), ArchiveError>;
    /// A piece of it.
    fn piece(&mut self, piece: &[u8]) -> Result<(), ArchiveError>;
    /// It ends.
    fn end(&mut self) -> Result<(), ArchiveError>;
}

/// Why an archive is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    #[error(transparent)]
    Tar(#[from] TarError),
    #[error("{0}")]
    Member(String),
    #[error("it has {found}, and {expected} is published")]
    Other { found: String, expected: String },
    #[error("it unpacks to more than {0} bytes")]
    Bomb(u64),
    #[error("a member cannot be written")]
    Disk(#[from] crate::disk::DiskError),
}

impl ArchiveError {
    /// Could it not be read or written, and is not wrong?
    pub fn is_trouble(&self) -> bool {
        match self {
            ArchiveError::Disk(_) => true,
            ArchiveError::Tar(TarError::Read(error)) => {
                error.kind() != io::ErrorKind::InvalidData
                    && error.kind() != io::ErrorKind::InvalidInput
            }
            _ => false,
        }
    }
}

const PIECE: usize = 128 * 1024;

/// What an archive may unpack to: as much as the densest gzip does, and something for small ones.
fn most(packed: u64) -> u64 {
    packed.saturating_mul(1100).saturating_add(1 << 30)
}

/// Reads the archive `packed` from `input`, and shows `sink` every file in it, none of which may have more than `largest`
/// bytes.
pub fn read(
    input: &mut dyn Read,
    packed: &PackedFiles,
    largest: u64,
    sink: &mut dyn Sink,
) -> Result<(), ArchiveError> {
    let algorithms = packed.file.algorithms();
    // What has more than it is published to have is another, and is not read to its end.
    let mut input = input.take(packed.file.size.unwrap_or(u64::MAX - 1) + 1);
    let mut input = Hashed {
        input: &mut input,
        hasher: Hasher::new(&algorithms, packed.file.size.unwrap_or_default()),
        size: 0,
    };
    let limit = most(packed.file.size.unwrap_or_default());
    let limit = (limit, largest);
    match packed.compression {
        Compression::None => members(&mut input, limit, sink)?,
        Compression::Gzip => members(MultiGzDecoder::new(&mut input), limit, sink)?,
        Compression::Zstd => {
            members(ZstdFrames::new(&mut input), limit, sink)?;
        }
    }
    // To its end: a digest is of all of it.
    let mut buffer = vec![0; PIECE];
    while input.read(&mut buffer).map_err(TarError::from)? > 0 {}
    match packed.file.check(input.size, &input.hasher.finish(), &[]) {
        Ok(()) => Ok(()),
        Err(Wrong::Content { found, expected }) => Err(ArchiveError::Other { found, expected }),
        Err(_) => Err(ArchiveError::Member("it cannot be compared".into())),
    }
}

fn members(
    input: impl Read,
    (limit, largest): (u64, u64),
    sink: &mut dyn Sink,
) -> Result<(), ArchiveError> {
    let mut archive = Archive::new(input);
    let mut total: u64 = 0;
    let mut buffer = vec![0; PIECE];
    while let Some(entry) = archive.next_entry()? {
        let shown = || crate::path::display(&String::from_utf8_lossy(&entry.path));
        if entry.kind == EntryKind::Directory {
            continue;
        }
        if entry.kind != EntryKind::File {
            return Err(ArchiveError::Member(format!(
                "{} is a link or a special file: nothing that an archive points to is taken",
                shown()
            )));
        }
        let bytes = entry.path.strip_prefix(b"./").unwrap_or(&entry.path);
        let path = ArtifactPath::from_bytes(bytes)
            .map_err(|error| ArchiveError::Member(error.to_string()))?;
        acceptable_path(&path).map_err(|why| ArchiveError::Member(format!("{} {why}", shown())))?;
        // In layers of images these take away what is in layers before: what is left is not what lies here.
        if path
            .as_str()
            .rsplit('/')
            .next()
            .is_some_and(|name| name.starts_with(".wh."))
        {
            return Err(ArchiveError::Member(format!(
                "{path} takes a file of another layer away: such layers are not put together"
            )));
        }
        if entry.size > largest {
            return Err(ArchiveError::Member(format!(
                "{path} has {} bytes, and --max-size allows {largest}",
                entry.size
            )));
        }
        total = total.saturating_add(entry.size);
        if total > limit {
            return Err(ArchiveError::Bomb(limit));
        }
        sink.begin(&path, entry.size)?;
        loop {
            let count = archive.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            sink.piece(buffer.get(..count).unwrap_or_default())?;
        }
        sink.end()?;
    }
    Ok(())
}

/// Frames of zstd one after the other, as pzstd and others write them (RFC 8878 §3): what is behind the first is content,
/// too.
struct ZstdFrames<R: Read> {
    state: Frames<R>,
}

enum Frames<R: Read> {
    Between(R),
    Within(Box<StreamingDecoder<Peeked<R>, FrameDecoder>>),
    Ended,
}

/// A reader, and bytes that were taken from it already.
struct Peeked<R> {
    first: io::Cursor<[u8; 4]>,
    rest: R,
}

impl<R: Read> Read for Peeked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.first.read(buffer)? {
            0 => self.rest.read(buffer),
            count => Ok(count),
        }
    }
}

impl<R: Read> ZstdFrames<R> {
    fn new(input: R) -> ZstdFrames<R> {
        ZstdFrames {
            state: Frames::Between(input),
        }
    }

    /// Begins with the next frame of content, if there is one.
    fn next(mut input: R) -> io::Result<Frames<R>> {
        loop {
            let mut first = [0; 4];
            let mut have = 0;
            while have < first.len() {
                match input.read(first.get_mut(have..).unwrap_or_default())? {
                    0 if have == 0 => return Ok(Frames::Ended),
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    count => have += count,
                }
            }
            // §3.1.2: frames to be passed over, with their size.
            if u32::from_le_bytes(first) & 0xffff_fff0 == 0x184d_2a50 {
                let mut size = [0; 4];
                input.read_exact(&mut size)?;
                let size = u64::from(u32::from_le_bytes(size));
                if io::copy(&mut input.by_ref().take(size), &mut io::sink())? < size {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                continue;
            }
            let peeked = Peeked {
                first: io::Cursor::new(first),
                rest: input,
            };
            let decoder = StreamingDecoder::new(peeked);
            let wrong = |error| io::Error::new(io::ErrorKind::InvalidData, format!("{error}"));
            return Ok(Frames::Within(Box::new(decoder.map_err(wrong)?)));
        }
    }
}

impl<R: Read> Read for ZstdFrames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match std::mem::replace(&mut self.state, Frames::Ended) {
                Frames::Ended => return Ok(0),
                Frames::Between(input) => self.state = ZstdFrames::next(input)?,
                Frames::Within(mut decoder) => {
                    let count = decoder.read(buffer)?;
                    if count > 0 {
                        self.state = Frames::Within(decoder);
                        return Ok(count);
                    }
                    self.state = Frames::Between(decoder.into_inner().rest);
                }
            }
        }
    }
}

/// Hashes what is read.
struct Hashed<'a> {
    input: &'a mut dyn Read,
    hasher: Hasher,
    size: u64,
}

impl Read for Hashed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.hasher.update(buffer.get(..count).unwrap_or_default());
        self.size += count as u64;
        Ok(count)
    }
}

/// A file in an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    pub path: String,
    pub size: u64,
    pub sha256: Sha256,
}

/// The members of archives, by the archives' digests: what was found when they were read, kept as evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Members {
    /// Always `https://weighbridge.dev/archive-members/v1`.
    pub schema: String,
    pub archives: BTreeMap<String, Vec<Member>>,
}

/// What they are called among the attachments of a record.
pub const MEMBERS: &str = "archive-members";
const SCHEMA: &str = "https://weighbridge.dev/archive-members/v1";

/// The largest list of members.
const MAX_MEMBERS: usize = 512 * 1024 * 1024;

impl Members {
    /// Of no archive yet.
    pub fn new() -> Members {
        Members {
            schema: SCHEMA.into(),
            archives: BTreeMap::new(),
        }
    }

    /// Reads what was kept.
    pub fn parse(bytes: &[u8]) -> Result<Members, JsonError> {
        json::parse(bytes, MAX_MEMBERS)
    }

    /// As it is kept.
    pub fn to_json(&self) -> Result<Vec<u8>, JsonError> {
        json::canonical(self)
    }

    /// The members of `packed` as files of the artifact, if they are known.
    pub fn of(&self, packed: &PackedFiles) -> Option<Vec<(ArtifactPath, PublishedFile)>> {
        let members = self.archives.get(&packed.file.place)?;
        let file = |member: &Member| {
            let path = ArtifactPath::new(&member.path).ok()?;
            acceptable_path(&path).ok()?;
            let digest = Digest {
                algorithm: Algorithm::Sha256,
                bytes: member.sha256.0.into(),
            };
            let file = PublishedFile {
                size: Some(member.size),
                is_member: true,
                ..PublishedFile::new(Expected::Digest(digest), packed.file.place.clone())
            };
            Some((path, file))
        };
        members.iter().map(file).collect()
    }
}

impl Default for Members {
    fn default() -> Members {
        Members::new()
    }
}

/// Notes every member.
#[derive(Default)]
pub struct Listing {
    pub members: Vec<Member>,
    /// In the archives before, too.
    files: usize,
    paths: usize,
    hasher: Option<Hasher>,
}

/// The most files in all archives of an artifact, and the bytes of all their paths.
const MAX_FILES: usize = 2_000_000;
const MAX_PATHS: usize = 256 * 1024 * 1024;

impl Listing {
    /// The next archive of the same artifact: what it may have is what the others left.
    #[must_use]
    pub fn next(&self) -> Listing {
        Listing {
            files: self.files,
            paths: self.paths,
            ..Listing::default()
        }
    }
}

impl Sink for Listing {
    fn begin(&mut self, path: &ArtifactPath, size: u64) -> Result<(), ArchiveError> {
        self.paths += path.as_str().len();
        self.files += 1;
        if self.files > MAX_FILES || self.paths > MAX_PATHS {
            return Err(ArchiveError::Member(format!(
                "it has more than {MAX_FILES} files, or {MAX_PATHS} bytes of names"
            )));
        }
        self.hasher = Some(Hasher::new(&[Algorithm::Sha256], size));
        self.members.push(Member {
            path: path.as_str().into(),
            size,
            sha256: Sha256([0; 32]),
        });
        Ok(())
    }

    fn piece(&mut self, piece: &[u8]) -> Result<(), ArchiveError> {
        if let Some(hasher) = &mut self.hasher {
            hasher.update(piece);
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), ArchiveError> {
        let digest = self.hasher.take().map(Hasher::finish).unwrap_or_default();
        if let (Some(member), Ok(digest)) = (self.members.last_mut(), digest.try_into()) {
            member.sha256 = Sha256(digest);
        }
        Ok(())
    }
}
