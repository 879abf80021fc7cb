//! Hashes the files of an artifact: one read pass each, in parallel, in bounded memory.
//! A file that changes while it is read is a fault, never a digest.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::blake3_split::{SEGMENT, hash_split};
use super::file_state::States;
use super::format::{Format, HEAD};
use super::lanes::{self, Lanes, Most};
use super::manifest::{Checked, Digests, Manifest, ManifestFile};
use super::seals::Seals;
use super::stat_cache::StatCache;
use super::walk::{Artifact, FoundFile};
use crate::digest::Algorithm;
use crate::disk::{self, DiskError, Writers};
use crate::path::ArtifactPath;
use crate::sha256::{Choice, Engine};

/// What to compute, with how many threads, and whom to tell.
#[derive(Clone, Copy)]
pub struct Hashing<'a> {
    /// In the order in which the manifest keeps them; not empty.
    pub algorithms: &'a [Algorithm],
    /// Threads; each holds at most sixteen buffers of [`BUFFER`] bytes.
    pub jobs: NonZero<usize>,
    pub progress: &'a dyn Progress,
    /// Where the caller accepts that files are not read.
    pub known: Known<'a>,
    /// What SHA-256 is computed with.
    pub engine: Choice,
    /// Read large files past the page cache, where that can be.
    pub direct: bool,
}

/// What is known of files without reading them.
#[derive(Clone, Copy, Default)]
pub struct Known<'a> {
    /// Receipts of earlier hashing, and where new ones go.
    pub receipts: Option<&'a StatCache>,
    /// What contents are known by the digests that the kernel keeps of files.
    pub seals: Option<&'a Seals>,
    /// Where it is kept which files were read, and in which state.
    pub states: Option<&'a States>,
}

impl<'a> Known<'a> {
    /// Every file is read.
    pub const NOTHING: Known<'static> = Known {
        receipts: None,
        seals: None,
        states: None,
    };

    /// With these receipts alone.
    pub fn by(receipts: Option<&'a StatCache>) -> Known<'a> {
        Known {
            receipts,
            ..Known::NOTHING
        }
    }
}

/// Hears how far the hashing is. Called from several threads.
pub trait Progress: Sync {
    /// Before the first byte: how much there is.
    fn start(&self, files: usize, bytes: u64);
    /// After each piece read.
    fn advance(&self, bytes: u64);
}

/// Tells nobody.
pub struct NoProgress;

impl Progress for NoProgress {
    fn start(&self, _: usize, _: u64) {}
    fn advance(&self, _: u64) {}
}

/// A file that has no digest.
#[derive(Debug)]
pub struct FileFault {
    pub path: ArtifactPath,
    pub kind: FaultKind,
}

/// Why.
#[derive(Debug)]
#[non_exhaustive]
pub enum FaultKind {
    /// It cannot be opened or read.
    Unreadable(io::Error),
    /// Its size, times or identity changed between listing and the last byte.
    Changed,
    /// It became a link, or something else that is not a file, after it was listed.
    NotRegular,
}

/// Hashes every one of `files`, which a walk found. Faults are collected, in path order; the manifest has the rest.
pub fn hash(
    artifact: &Artifact,
    mut files: Vec<FoundFile>,
    mut hashing: Hashing<'_>,
) -> (Manifest, Vec<FileFault>) {
    let Known {
        receipts,
        seals,
        states,
    } = hashing.known;
    hashing.known = Known {
        states,
        receipts: receipts.filter(|receipts| receipts.is_of(hashing.algorithms)),
        seals: seals.filter(|seals| seals.is_of(hashing.algorithms)),
    };
    hashing.progress.start(files.len(), bytes(files.iter()));
    let results = Results::new(hashing.algorithms, files.len());
    // What a kernel says counts for more than a receipt: then each file is opened first.
    let is_opened = hashing.known.seals.is_some();
    if !is_opened {
        take_known(&mut files, hashing, &results);
    }
    let is_read = |file: &FoundFile| is_opened || file.receipt.is_none();
    let (split, whole) = schedule(&files, hashing, is_read);
    if let Some(receipts) = hashing.known.receipts
        && split.len() + whole.len() > 0
    {
        receipts.settle(&artifact.directory);
    }
    for index in split {
        if let Some(file) = at(&files, index) {
            results.put(index, hash_split(artifact, file, hashing));
        }
    }
    hash_whole(artifact, &files, &whole, hashing, &results);
    drop(whole);
    results.into_manifest(artifact.single_file().is_some(), files, hashing.algorithms)
}

/// Puts what receipts say, and forgets those that say nothing.
fn take_known(files: &mut [FoundFile], hashing: Hashing<'_>, results: &Results) {
    let Some(receipts) = hashing.known.receipts else {
        for file in files {
            file.receipt = None;
        }
        return;
    };
    let mut filled = results.filled();
    let mut unread = 0_u64;
    let places: Vec<_> = files.iter().filter_map(|file| file.receipt).collect();
    let mut marked = files
        .iter_mut()
        .zip(0..)
        .filter(|(file, _)| file.receipt.is_some());
    receipts.take(places.into_iter(), |receipt| {
        let Some((file, index)) = marked.next() else {
            return;
        };
        match receipt {
            Some(receipt) => {
                let whole = (receipt.format, Checked::Receipt);
                filled.put(index, receipt.digests, whole);
                unread = unread.saturating_add(file.size);
            }
            None => file.receipt = None,
        }
    });
    hashing.progress.advance(unread);
}

/// What is known of a file: its digests one after the other, what kind of file it is, and how that was found.
pub(super) type Whole = (Box<[u8]>, Format, Checked);
pub(super) type Outcome = Result<Whole, FaultKind>;

/// What each file came to, by its place in the list; filled by several threads.
pub(super) struct Results(Mutex<Filled>);

struct Filled {
    digests: Digests,
    /// What kind of file each is, and how it was checked.
    about: Vec<Option<(Format, Checked)>>,
    faults: BTreeMap<u32, FaultKind>,
}

impl Filled {
    fn put(&mut self, index: u32, digests: &[u8], about: (Format, Checked)) {
        self.digests.put(index, digests);
        let place = usize::try_from(index).ok();
        if let Some(slot) = place.and_then(|place| self.about.get_mut(place)) {
            *slot = Some(about);
        }
    }
}

impl Results {
    fn new(algorithms: &[Algorithm], files: usize) -> Results {
        Results(Mutex::new(Filled {
            digests: Digests::new(algorithms, files),
            about: vec![None; files],
            faults: BTreeMap::new(),
        }))
    }

    pub(super) fn put(&self, index: u32, outcome: Outcome) {
        let mut filled = self.filled();
        match outcome {
            Ok((digests, format, checked)) => filled.put(index, &digests, (format, checked)),
            Err(kind) => _ = filled.faults.insert(index, kind),
        }
    }

    /// Nobody panics while holding this.
    fn filled(&self) -> MutexGuard<'_, Filled> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn into_manifest(
        self,
        single: bool,
        files: Vec<FoundFile>,
        algorithms: &[Algorithm],
    ) -> (Manifest, Vec<FileFault>) {
        let filled = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        let Filled {
            digests,
            about,
            faults: mut kinds,
        } = filled;
        let mut faults = Vec::new();
        // In place: the list of files becomes that of the manifest.
        let files = files.into_iter().zip(0..).filter_map(|(file, at)| {
            let FoundFile { path, size, .. } = file;
            let place = usize::try_from(at).ok();
            let about = place.and_then(|place| about.get(place).copied().flatten());
            if let (Some((format, checked)), None) = (about, kinds.get(&at)) {
                return Some(ManifestFile {
                    path,
                    size,
                    format: Some(format),
                    checked,
                    at,
                });
            }
            // A worker that did not reach a file cannot have hashed it.
            let kind = kinds
                .remove(&at)
                .unwrap_or_else(|| FaultKind::Unreadable(io::Error::other("was not reached")));
            faults.push(FileFault { path, kind });
            None
        });
        let files = files.collect();
        (Manifest::new(algorithms, single, files, digests), faults)
    }
}

fn at(files: &[FoundFile], index: u32) -> Option<&FoundFile> {
    files.get(usize::try_from(index).ok()?)
}

/// The bytes in all of them; what no disk can hold counts as the most there is.
fn bytes<'a>(files: impl Iterator<Item = &'a FoundFile>) -> u64 {
    files.fold(0, |total, file| total.saturating_add(file.size))
}

/// Bytes read at a time: stays in the second-level cache while it is hashed.
pub const BUFFER: usize = 64 * 1024;

/// From this size on a file is scheduled by size, and the kernel is asked to read ahead.
pub(super) const LARGE: u64 = 4 * 1024 * 1024;

/// The order of work: large files first, largest first, so that none is left over at the end; small ones in the order of the
/// walk. Those before it are each hashed by all threads: only BLAKE3 alone can be, and it is worth it for large files.
fn schedule(
    files: &[FoundFile],
    hashing: Hashing<'_>,
    is_read: impl Fn(&FoundFile) -> bool,
) -> (Vec<u32>, Vec<u32>) {
    let size = |index: u32| at(files, index).map_or(0, |file| file.size);
    // No list is longer than that: its names alone would take the memory of a large machine.
    let count = u32::try_from(files.len()).unwrap_or(u32::MAX);
    let is_read = |index: &u32| at(files, *index).is_some_and(&is_read);
    let mut order: Vec<u32> = (0..count).filter(is_read).collect();
    order.sort_by_key(|&index| {
        let size = size(index);
        std::cmp::Reverse(if size >= LARGE { size } else { 0 })
    });
    let is_blake3 = matches!(hashing.algorithms, [Algorithm::Blake3]) && !hashing.direct;
    let splits = |index: &u32| is_blake3 && size(*index) > 2 * SEGMENT;
    let first = order
        .iter()
        .position(|index| !splits(index))
        .unwrap_or(order.len());
    let whole = order.split_off(first);
    (order, whole)
}

/// Hashes the files that `order` lists, each by one thread, several by each.
fn hash_whole(
    artifact: &Artifact,
    files: &[FoundFile],
    order: &[u32],
    mut hashing: Hashing<'_>,
    results: &Results,
) {
    let listed = || order.iter().filter_map(|index| at(files, *index));
    // Small files are read as ever, and more of them at once.
    hashing.direct &= listed().any(|file| file.size >= LARGE);
    let engine = engine(hashing.engine, bytes(listed()));
    let most = Most::of(hashing, engine);
    let crew = lanes::crew(
        listed().map(|file| file.size),
        hashing.jobs.get(),
        engine,
        most,
    );
    let next = AtomicUsize::new(0);
    let take = || {
        let index = *order.get(next.fetch_add(1, Ordering::Relaxed))?;
        Some((index, at(files, index)?))
    };
    let overlapped = lanes::leaves_cores(&crew, hashing.jobs.get());
    let into = (overlapped, results);
    let work = |start| Lanes::new(artifact, hashing, engine, &take, into).run(start);
    if let [start] = crew.as_slice() {
        return work(*start);
    }
    // A worker that panics leaves its files without an outcome, which is a fault.
    thread::scope(|scope| {
        let work = &work;
        let workers: Vec<_> = crew
            .iter()
            .map(|start| scope.spawn(move || work(*start)))
            .collect();
        for worker in workers {
            _ = worker.join();
        }
    });
}

/// Below this, to measure which kernel is fastest would cost more than it saves.
const WORTH_MEASURING: u64 = 256 * 1024;

fn engine(choice: Choice, bytes: u64) -> &'static Engine {
    let choice = if bytes < WORTH_MEASURING && choice == Choice::Auto {
        Choice::Portable
    } else {
        choice
    };
    // What the processor does not have, whoever chose it was told; the digests are the same.
    let engine = Engine::shared(choice).or_else(|_| Engine::shared(Choice::Portable));
    engine.unwrap_or_else(|_| unreachable!("the portable kernel is everywhere"))
}

/// Opens a listed file and makes sure that it is still what was listed.
pub(super) fn open(artifact: &Artifact, found: &FoundFile) -> Result<(File, Stat), FaultKind> {
    let file = artifact.open_found(found).map_err(|error| match error {
        DiskError::Open { source, .. } if is_link(&source) => FaultKind::NotRegular,
        DiskError::Open { source, .. } => FaultKind::Unreadable(source),
        other => FaultKind::Unreadable(io::Error::other(other.to_string())),
    })?;
    let stat = rustix::fs::fstat(&file).map_err(|errno| FaultKind::Unreadable(errno.into()))?;
    if disk::file_type(&stat) != FileType::RegularFile {
        return Err(FaultKind::NotRegular);
    }
    if u64::try_from(stat.st_size) != Ok(found.size) {
        return Err(FaultKind::Changed);
    }
    Ok((file, stat))
}

fn is_link(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    code == Some(Errno::LOOP.raw_os_error()) || code == Some(Errno::NXIO.raw_os_error())
}

/// Is the file the one that was opened, unmodified?
pub(super) fn unchanged(file: &File, before: &Stat) -> Result<(), FaultKind> {
    let after = rustix::fs::fstat(file).map_err(|errno| FaultKind::Unreadable(errno.into()))?;
    let key = |stat: &Stat| {
        (
            stat.st_size,
            stat.st_mtime,
            stat.st_mtime_nsec,
            stat.st_ctime,
            stat.st_ctime_nsec,
        )
    };
    // A file unlinked meanwhile changes its ctime and link count, not its content; it is refused
    // all the same: what was hashed is no longer what lies at the path.
    if key(&after) == key(before) {
        Ok(())
    } else {
        Err(FaultKind::Changed)
    }
}

pub(super) fn head(bytes: &[u8]) -> &[u8] {
    bytes.get(..HEAD.min(bytes.len())).unwrap_or_default()
}

/// Is a receipt kept of a file that was opened and not read yet? A call that writes may have begun long ago and put its bytes there
/// any time, and the kernel notes its time when it begins.
pub(super) fn is_kept(file: &File, stat: &Stat, hashing: Hashing<'_>) -> bool {
    let has_no_writer = || match disk::writers(file) {
        Writers::None => true,
        Writers::Some => false,
        // Whoever is root could do anything.
        Writers::Untold => stat.st_uid == 0 && stat.st_mode & 0o022 == 0,
    };
    hashing.known.receipts.is_some() && has_no_writer()
}

pub(super) fn note(
    stat: &Stat,
    format: Format,
    digests: &[u8],
    (hashing, is_kept): (Hashing<'_>, bool),
) {
    if let Some(receipts) = hashing.known.receipts
        && is_kept
    {
        receipts.note(stat, format, digests);
    }
    if let Some(states) = hashing.known.states {
        states.note(stat);
    }
}

pub(super) fn read_some(file: &mut impl Read, buffer: &mut [u8]) -> Result<usize, FaultKind> {
    loop {
        match file.read(buffer) {
            Ok(count) => return Ok(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(FaultKind::Unreadable(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::ahead::OVERLAPPED;
    use crate::artifact::walk::{Exclusions, Names, Symlinks, walk};
    use crate::disk::{Access, Existing};

    fn digest_of(bytes: &[u8], algorithms: &[Algorithm], jobs: usize) -> Vec<u8> {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("f");
        disk::write(&path, bytes, Existing::Refuse, Access::Shared).unwrap();
        let artifact = Artifact::open(&path).unwrap();
        let found = walk(
            &artifact,
            &Exclusions::none(),
            Symlinks::Refuse,
            Names::Printable,
        )
        .unwrap();
        let jobs = NonZero::new(jobs).unwrap();
        let (manifest, faults) = hash(
            &artifact,
            found.files,
            Hashing {
                algorithms,
                jobs,
                progress: &NoProgress,
                known: Known::NOTHING,
                engine: Choice::Auto,
                direct: false,
            },
        );
        assert!(faults.is_empty());
        let digests = manifest.digests(&manifest.files()[0]);
        digests.iter().flat_map(|one| one.bytes.to_vec()).collect()
    }

    #[test]
    fn split_blake3_equals_whole_blake3() {
        let segment = usize::try_from(SEGMENT).unwrap();
        for size in [
            2 * segment + 1,
            3 * segment,
            4 * segment - 7,
            5 * segment + 1025,
        ] {
            let bytes: Vec<u8> = (0..size)
                .map(|n| u8::try_from(n * 31 % 251).unwrap())
                .collect();
            for jobs in [1, 3] {
                let digest = digest_of(&bytes, &[Algorithm::Blake3], jobs);
                assert_eq!(digest, blake3::hash(&bytes).as_bytes());
            }
        }
    }

    /// With a core to spare, somebody else reads.
    #[test]
    fn who_reads_changes_no_digest() {
        let from = usize::try_from(OVERLAPPED).unwrap();
        let bytes: Vec<u8> = (0..from / 8 + 1000)
            .flat_map(|n| (n as u64).to_le_bytes())
            .collect();
        for size in [from - 1, from, from + 1, from + 63, from + 64, from + 4097] {
            let bytes = &bytes[..size];
            let both = digest_of(bytes, &[Algorithm::Sha256, Algorithm::Blake3], 2);
            let sha = crate::digest::Sha256::of(bytes);
            assert!(
                both == [sha.0, *blake3::hash(bytes).as_bytes()].concat(),
                "{size}"
            );
        }
    }

    /// Whoever hashes it: one thread, or all threads.
    #[test]
    fn what_is_open_for_writing_has_no_receipt() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("f");
        let size = usize::try_from(2 * SEGMENT + 1).unwrap();
        disk::write(&path, &vec![7; size], Existing::Refuse, Access::Shared).unwrap();
        let artifact = Artifact::open(&path).unwrap();
        let began = rustix::fs::stat(&path).unwrap().st_ctime + 10;
        let began = crate::time::Timestamp::from_millis(began * 1000).unwrap();
        let key = crate::artifact::stat_cache::HostKey([7; 32]);
        let kept = |algorithm| {
            let algorithms = [algorithm];
            let receipts = StatCache::new(&algorithms, began);
            let how = (Symlinks::Refuse, Names::Printable);
            let found = walk(&artifact, &Exclusions::none(), how.0, how.1).unwrap();
            let hashing = Hashing {
                algorithms: &algorithms,
                jobs: NonZero::new(2).unwrap(),
                progress: &NoProgress,
                known: Known::by(Some(&receipts)),
                engine: Choice::Auto,
                direct: false,
            };
            let (_, faults) = hash(&artifact, found.files, hashing);
            assert!(faults.is_empty());
            let mut next = StatCache::new(&algorithms, began);
            next.read(receipts.write(&key).unwrap(), &key)
        };
        for algorithm in [Algorithm::Sha256, Algorithm::Blake3] {
            let writer = File::options().append(true).open(&path).unwrap();
            assert_eq!(kept(algorithm), Some(0));
            drop(writer);
            assert_eq!(kept(algorithm), Some(1));
        }
    }

    #[test]
    fn one_pass_computes_all() {
        let bytes = vec![7; BUFFER + 13];
        let both = digest_of(&bytes, &[Algorithm::Sha256, Algorithm::Blake3], 1);
        let sha = crate::digest::Sha256::of(&bytes);
        assert_eq!(both, [sha.0, *blake3::hash(&bytes).as_bytes()].concat());
    }
}
