//! Hashes the files of an artifact: one read pass each, in parallel, in bounded memory.
//! A file that changes while it is read is a fault, never a digest.

use std::fs::File;
use std::io::{self, Read};
use std::num::NonZero;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root,
};
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::format::{self, Format, HEAD};
use super::manifest::{Manifest, ManifestFile};
use super::stat_cache::StatCache;
use super::walk::{Artifact, FoundFile, Walk};
use crate::digest::{Algorithm, Hasher};
use crate::disk::{self, DiskError};
use crate::path::ArtifactPath;

/// What to compute, with how many threads, and whom to tell.
#[derive(Clone, Copy)]
pub struct Hashing<'a> {
    /// In the order in which the manifest keeps them; not empty.
    pub algorithms: &'a [Algorithm],
    /// Threads; each holds one buffer of [`BUFFER`] bytes.
    pub jobs: NonZero<usize>,
    pub progress: &'a dyn Progress,
    /// Receipts of earlier hashing, where the caller accepts them, and where new ones go.
    pub receipts: Option<&'a StatCache>,
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

/// Hashes every file of `walk`. Faults are collected, in path order; the manifest has the rest.
pub fn hash(artifact: &Artifact, walk: &Walk, hashing: Hashing<'_>) -> (Manifest, Vec<FileFault>) {
    hashing.progress.start(walk.files.len(), walk.bytes());
    let mut results: Vec<Option<Outcome>> = Vec::new();
    results.resize_with(walk.files.len(), || None);

    let (split, whole): (Vec<usize>, Vec<usize>) = schedule(&walk.files)
        .into_iter()
        .partition(|&index| splits(&walk.files, index, hashing.algorithms));
    for index in split {
        if let (Some(file), Some(slot)) = (walk.files.get(index), results.get_mut(index)) {
            *slot = Some(hash_split(artifact, file, hashing));
        }
    }
    for (index, outcome) in hash_whole(artifact, &walk.files, &whole, hashing) {
        if let Some(slot) = results.get_mut(index) {
            *slot = Some(outcome);
        }
    }

    let mut faults = Vec::new();
    let mut files = Vec::with_capacity(walk.files.len());
    for (file, outcome) in walk.files.iter().zip(results) {
        match outcome {
            Some(Ok((digests, format))) => {
                files.push(ManifestFile {
                    path: file.path.clone(),
                    size: file.size,
                    format: Some(format),
                    digests,
                });
            }
            Some(Err(kind)) => faults.push(FileFault {
                path: file.path.clone(),
                kind,
            }),
            // A worker that did not reach a file cannot have hashed it.
            None => {
                let kind = FaultKind::Unreadable(io::Error::other("was not reached"));
                faults.push(FileFault {
                    path: file.path.clone(),
                    kind,
                });
            }
        }
    }
    (
        Manifest::new(hashing.algorithms, artifact.single_file().is_some(), files),
        faults,
    )
}

type Outcome = Result<(Box<[u8]>, Format), FaultKind>;

/// Bytes read at a time: stays in the second-level cache while it is hashed.
pub const BUFFER: usize = 64 * 1024;

/// From this size on a file is scheduled by size, and the kernel is asked to read ahead.
const LARGE: u64 = 4 * 1024 * 1024;

/// The order of work: large files first, largest first, so that none is left over at the end;
/// small ones in the order of the walk.
fn schedule(files: &[FoundFile]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..files.len()).collect();
    let size = |index: usize| files.get(index).map_or(0, |file| file.size);
    order.sort_by_key(|&index| {
        let size = size(index);
        std::cmp::Reverse(if size >= LARGE { size } else { 0 })
    });
    order
}

/// Only BLAKE3 alone can be computed by several threads in one file; worth it for large files.
fn splits(files: &[FoundFile], index: usize, algorithms: &[Algorithm]) -> bool {
    let large = files.get(index).is_some_and(|file| file.size > 2 * SEGMENT);
    large && matches!(algorithms, [Algorithm::Blake3])
}

fn hash_whole(
    artifact: &Artifact,
    files: &[FoundFile],
    order: &[usize],
    hashing: Hashing<'_>,
) -> Vec<(usize, Outcome)> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut buffer = vec![0; BUFFER];
        let mut done = Vec::new();
        while let Some(&index) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Some(file) = files.get(index) {
                done.push((index, hash_file(artifact, file, hashing, &mut buffer)));
            }
        }
        done
    };
    let threads = hashing.jobs.get().min(order.len());
    if threads <= 1 {
        return work();
    }
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        // A worker that panicked leaves its files without an outcome, which is a fault.
        workers
            .into_iter()
            .filter_map(|worker| worker.join().ok())
            .flatten()
            .collect()
    })
}

/// Opens a listed file and makes sure that it is still what was listed.
fn open(artifact: &Artifact, found: &FoundFile) -> Result<(File, Stat), FaultKind> {
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
    if found.size >= LARGE {
        disk::read_ahead(&file);
    }
    Ok((file, stat))
}

fn is_link(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    code == Some(Errno::LOOP.raw_os_error()) || code == Some(Errno::NXIO.raw_os_error())
}

/// Is the file the one that was opened, unmodified?
fn unchanged(file: &File, before: &Stat) -> Result<(), FaultKind> {
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

fn hash_file(
    artifact: &Artifact,
    found: &FoundFile,
    hashing: Hashing<'_>,
    buffer: &mut [u8],
) -> Outcome {
    let (mut file, before) = open(artifact, found)?;
    if let Some(digests) = known(found, &before, hashing) {
        return Ok((digests, format_of(&file, found)?));
    }

    let mut hasher = Hasher::new(hashing.algorithms, found.size);
    let (mut total, mut format) = (0, Format::Empty);
    // An empty file is read once, so that one that only claims to be empty is found out.
    loop {
        let count = read_some(&mut file, buffer)?;
        let piece = buffer.get(..count).unwrap_or_default();
        if total == 0 {
            format = format::identify(found.path.as_str(), head(piece));
        }
        hasher.update(piece);
        total += count as u64;
        hashing.progress.advance(count as u64);
        if count == 0 || total >= found.size {
            break;
        }
    }
    if total != found.size {
        return Err(FaultKind::Changed);
    }
    unchanged(&file, &before)?;
    let digests = hasher.finish();
    note(&before, &digests, hashing);
    Ok((digests.into(), format))
}

fn head(bytes: &[u8]) -> &[u8] {
    bytes.get(..HEAD.min(bytes.len())).unwrap_or_default()
}

/// What kind of file `file` is, which is not read from its start to its end.
fn format_of(file: &File, found: &FoundFile) -> Result<Format, FaultKind> {
    let mut buffer = [0; HEAD];
    let count = file
        .read_at(&mut buffer, 0)
        .map_err(FaultKind::Unreadable)?;
    let head = buffer.get(..count).unwrap_or_default();
    Ok(format::identify(found.path.as_str(), head))
}

/// What is known of the file from an earlier hashing.
fn known(found: &FoundFile, stat: &Stat, hashing: Hashing<'_>) -> Option<Box<[u8]>> {
    let receipts = hashing.receipts?;
    let digests = receipts.digests_of(&found.path, stat, hashing.algorithms)?;
    hashing.progress.advance(found.size);
    Some(digests)
}

fn note(stat: &Stat, digests: &[u8], hashing: Hashing<'_>) {
    if let Some(receipts) = hashing.receipts {
        receipts.note(stat, hashing.algorithms, digests);
    }
}

fn read_some(file: &mut File, buffer: &mut [u8]) -> Result<usize, FaultKind> {
    loop {
        match file.read(buffer) {
            Ok(count) => return Ok(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(FaultKind::Unreadable(error)),
        }
    }
}

/// Bytes of one subtree of BLAKE3 that one thread hashes: a power of two times 1,024.
const SEGMENT: u64 = 16 * 1024 * 1024;

/// BLAKE3 of one large file by all threads: each hashes whole subtrees, which are then merged
/// (BLAKE3 paper §5.1, "multi-threading").
fn hash_split(artifact: &Artifact, found: &FoundFile, hashing: Hashing<'_>) -> Outcome {
    let (file, before) = open(artifact, found)?;
    let format = format_of(&file, found)?;
    if let Some(digests) = known(found, &before, hashing) {
        return Ok((digests, format));
    }
    let segments = found.size.div_ceil(SEGMENT);
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let fault = Mutex::new(None);
    let work = || {
        let mut buffer = vec![0; BUFFER];
        let mut done = Vec::new();
        while !failed.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let start = index as u64 * SEGMENT;
            if start >= found.size {
                break;
            }
            let end = (start + SEGMENT).min(found.size);
            match hash_segment(&file, start, end, hashing, &mut buffer) {
                Ok(value) => done.push((index, value)),
                Err(kind) => {
                    failed.store(true, Ordering::Relaxed);
                    if let Ok(mut fault) = fault.lock() {
                        *fault = Some(kind);
                    }
                }
            }
        }
        done
    };
    let mut values: Vec<(usize, ChainingValue)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..hashing
            .jobs
            .get()
            .min(usize::try_from(segments).unwrap_or(usize::MAX)))
            .map(|_| scope.spawn(work))
            .collect();
        workers
            .into_iter()
            .filter_map(|worker| worker.join().ok())
            .flatten()
            .collect()
    });
    if let Some(kind) = fault.into_inner().ok().flatten() {
        return Err(kind);
    }
    unchanged(&file, &before)?;
    values.sort_unstable_by_key(|(index, _)| *index);
    let values: Vec<ChainingValue> = values.into_iter().map(|(_, value)| value).collect();
    if values.len() as u64 != segments {
        return Err(FaultKind::Unreadable(io::Error::other(
            "was not read to the end",
        )));
    }
    let left = blake3::hazmat::left_subtree_len(found.size);
    let (before_middle, after_middle) = values
        .split_at_checked(usize::try_from(left / SEGMENT).unwrap_or(usize::MAX))
        .ok_or(FaultKind::Changed)?;
    let root = merge_subtrees_root(
        &merge(before_middle, left),
        &merge(after_middle, found.size - left),
        Mode::Hash,
    );
    note(&before, root.as_bytes(), hashing);
    Ok((root.as_bytes().as_slice().into(), format))
}

fn hash_segment(
    file: &File,
    start: u64,
    end: u64,
    hashing: Hashing<'_>,
    buffer: &mut [u8],
) -> Result<ChainingValue, FaultKind> {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(start);
    let mut position = start;
    while position < end {
        let want = usize::try_from(end - position)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let piece = buffer.get_mut(..want).unwrap_or_default();
        match file.read_at(piece, position) {
            Ok(0) => return Err(FaultKind::Changed),
            Ok(count) => {
                hasher.update(piece.get(..count).unwrap_or_default());
                position += count as u64;
                hashing.progress.advance(count as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(FaultKind::Unreadable(error)),
        }
    }
    Ok(hasher.finalize_non_root())
}

/// The chaining value of the subtree over `length` bytes whose segments have `values`.
/// Recursion depth is the logarithm of the number of segments.
fn merge(values: &[ChainingValue], length: u64) -> ChainingValue {
    let left = if values.len() > 1 {
        blake3::hazmat::left_subtree_len(length)
    } else {
        0
    };
    let middle = usize::try_from(left / SEGMENT).unwrap_or(usize::MAX);
    match (values, values.split_at_checked(middle)) {
        (_, Some((before, after))) if !before.is_empty() && !after.is_empty() => {
            merge_subtrees_non_root(
                &merge(before, left),
                &merge(after, length - left),
                Mode::Hash,
            )
        }
        ([first, ..], _) => *first,
        ([], _) => ChainingValue::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
            &found,
            Hashing {
                algorithms,
                jobs,
                progress: &NoProgress,
                receipts: None,
            },
        );
        assert!(faults.is_empty());
        manifest.files()[0].digests.to_vec()
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

    #[test]
    fn one_pass_computes_all() {
        let bytes = vec![7; BUFFER + 13];
        let both = digest_of(&bytes, &[Algorithm::Sha256, Algorithm::Blake3], 1);
        let sha = crate::digest::Sha256::of(&bytes);
        assert_eq!(both, [sha.0, *blake3::hash(&bytes).as_bytes()].concat());
    }
}
