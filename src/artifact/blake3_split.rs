//! BLAKE3 of one large file by several threads.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root,
};

use super::format::{self, Format, HEAD};
use super::hash::{BUFFER, FaultKind, Hashing, Outcome, is_kept, note, open, unchanged};
use super::manifest::Checked;
use super::walk::{Artifact, FoundFile};
use crate::disk;

/// Bytes of one subtree of BLAKE3 that one thread hashes: a power of two times 1,024.
pub(super) const SEGMENT: u64 = 16 * 1024 * 1024;

/// BLAKE3 of one large file by all threads: each hashes whole subtrees, which are then merged
/// (BLAKE3 paper §5.1, "multi-threading").
pub(super) fn hash_split(artifact: &Artifact, found: &FoundFile, hashing: Hashing<'_>) -> Outcome {
    let (file, before) = open(artifact, found)?;
    let is_kept = is_kept(&file, &before, hashing);
    disk::read_ahead(&file);
    let format = format_of(&file, found)?;
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
    note(&before, format, root.as_bytes(), (hashing, is_kept));
    Ok((root.as_bytes().as_slice().into(), format, Checked::Full))
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
