//! Reads and hashes several files in turn on one thread, so that SHA-256 goes over all of them at once; a file that ends makes
//! room for the next.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::Stat;

use super::ahead::{Ahead, OVERLAPPED, Piece, TOGETHER};
use super::format::{self, Format, HEAD};
use super::hash::{
    BUFFER, FaultKind, Hashing, LARGE, Outcome, Results, Whole, head, is_kept, note, open,
    read_some, unchanged,
};
use super::manifest::Checked;
use super::walk::{Artifact, FoundFile};
use crate::digest::{Algorithm, Hasher};
use crate::disk;
use crate::sha256::{BLOCK, Engine, LANES, State, Stream, padding};

/// How a thread begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// With so many files at once.
    Together(usize),
    /// With one alone, which would take longer than everything else; then with so many.
    Alone(usize),
}

/// How many threads there are, and how each begins, for files of `sizes`, the largest first.
pub(super) fn crew(
    sizes: impl Iterator<Item = u64> + Clone,
    jobs: usize,
    engine: &Engine,
    most: Most,
) -> Vec<Start> {
    let (count, total) = sizes
        .clone()
        .fold((0_usize, 0_u64), |(count, total), size| {
            (count + 1, total.saturating_add(size))
        });
    let (mut rest, mut free, mut alone) = (total, jobs.clamp(1, count.max(1)), 0);
    // One stream against all lanes of the other threads.
    let advantage = engine.speed(most.together).over(engine.speed(1));
    for size in sizes {
        let others = free.saturating_sub(1);
        let without = rest.saturating_sub(size);
        if others == 0 || as_float(size) * as_float(others as u64) * advantage <= as_float(without)
        {
            break;
        }
        (rest, free, alone) = (without, others, alone + 1);
    }
    let files = count.saturating_sub(alone);
    let lanes = |threads: usize| files.div_ceil(threads.max(1)).clamp(1, most.together);
    // Full lanes on fewer threads, if that saves processor time, are worth a little of the user's.
    let of = |threads: usize| engine.speed(lanes(threads)).over(engine.speed(lanes(free)));
    let fewer = (1..free).find(|threads| {
        let all = of(*threads) * as_float(*threads as u64);
        of(*threads) >= SAVES && all >= ENOUGH * as_float(free as u64)
    });
    let together = fewer.unwrap_or(free);
    let each = lanes(together).min(most.open / (together + alone)).max(1);
    let alone = (0..alone).map(|_| Start::Alone(each));
    alone
        .chain((0..together).map(|_| Start::Together(each)))
        .collect()
}

/// Does each thread of `crew` hash one file at a time, and is there a core for each that would have nothing to do?
pub(super) fn leaves_cores(crew: &[Start], jobs: usize) -> bool {
    let is_single = |start: &Start| matches!(start, Start::Together(1) | Start::Alone(1));
    crew.len() <= jobs / 2 && crew.iter().all(is_single)
}

/// How many files at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Most {
    /// On one thread.
    together: usize,
    /// Open in the whole process.
    open: usize,
}

impl Most {
    /// As many as are worth it, and as this process may open.
    pub(super) fn of(hashing: Hashing<'_>, engine: &Engine) -> Most {
        let gains = engine.speed(LANES).over(engine.speed(1)) > WORTH;
        let open = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let open = open.and_then(|open| usize::try_from(open).ok());
        Most {
            together: match gains && hashing.algorithms.contains(&Algorithm::Sha256) {
                true if hashing.direct => TOGETHER,
                true => LANES,
                false => 1,
            },
            // The rest is for whatever else is open.
            open: open.map_or(usize::MAX, |open| open / 2),
        }
    }
}

/// From so much gain on, several files are read in turn.
const WORTH: f64 = 1.1;

/// From so much more speed of each thread on, fewer are taken.
const SAVES: f64 = 1.25;

/// How much of the speed of all threads will do, for the processor time that fewer save.
const ENOUGH: f64 = 0.8;

#[expect(clippy::cast_precision_loss, reason = "to compare durations")]
const fn as_float(number: u64) -> f64 {
    number as f64
}

/// The files of one thread.
pub(super) struct Lanes<'a, Take> {
    artifact: &'a Artifact,
    hashing: Hashing<'a>,
    engine: &'a Engine,
    /// Gives the next file, until there is none.
    take: &'a Take,
    /// What is computed beside SHA-256, in its order.
    others: Vec<Algorithm>,
    with_sha256: bool,
    /// Another thread reads what this one hashes.
    overlapped: bool,
    results: &'a Results,
}

impl<'a, Take: Fn() -> Option<(u32, &'a FoundFile)>> Lanes<'a, Take> {
    pub(super) fn new(
        artifact: &'a Artifact,
        hashing: Hashing<'a>,
        engine: &'a Engine,
        take: &'a Take,
        (overlapped, results): (bool, &'a Results),
    ) -> Lanes<'a, Take> {
        let all = hashing.algorithms.iter().copied();
        Lanes {
            artifact,
            hashing,
            engine,
            take,
            others: all.filter(|one| *one != Algorithm::Sha256).collect(),
            with_sha256: hashing.algorithms.contains(&Algorithm::Sha256),
            overlapped,
            results,
        }
    }

    /// Hashes files until there are no more.
    pub(super) fn run(&self, start: Start) {
        let mut lanes: Vec<Lane<'a>> = Vec::new();
        // Buffers of files that ended.
        let mut spare: Vec<Box<[u8]>> = Vec::new();
        let (mut most, then) = match start {
            Start::Together(lanes) => (lanes, lanes),
            Start::Alone(lanes) => (1, lanes),
        };
        loop {
            while lanes.len() < most
                && let Some(lane) = self.next(&mut spare)
            {
                lanes.push(lane);
            }
            let before = lanes.len();
            lanes = self.advance(lanes, &mut spare);
            if before == 0 {
                return;
            }
            if lanes.is_empty() {
                most = then;
            }
        }
    }

    /// The next file that has to be read.
    fn next(&self, spare: &mut Vec<Box<[u8]>>) -> Option<Lane<'a>> {
        loop {
            let (index, found) = (self.take)()?;
            match self.begin(index, found, spare) {
                Ok(Begun::Reading(lane)) => return Some(lane),
                Ok(Begun::Known(outcome)) => self.results.put(index, outcome),
                Err(kind) => self.results.put(index, Err(kind)),
            }
        }
    }

    fn begin(
        &self,
        index: u32,
        found: &'a FoundFile,
        spare: &mut Vec<Box<[u8]>>,
    ) -> Result<Begun<'a>, FaultKind> {
        let (file, before) = open(self.artifact, found)?;
        let file = Arc::new(file);
        if let Some(known) = self.known(&file, found, &before)? {
            self.hashing.progress.advance(found.size);
            let outcome = unchanged(&file, &before).map(|()| known);
            return Ok(Begun::Known(outcome));
        }
        let is_kept = is_kept(&file, &before, self.hashing);
        let is_large = found.size >= LARGE;
        let ahead = if self.hashing.direct && is_large {
            Ahead::past_cache(&file)
        } else if self.overlapped && found.size >= OVERLAPPED {
            Ahead::through_cache(&file)
        } else {
            None
        };
        if ahead.is_none() && is_large {
            disk::read_ahead(&file);
        }
        let buffer = spare.pop();
        Ok(Begun::Reading(Lane {
            index,
            found,
            file,
            ahead,
            piece: None,
            before,
            is_kept,
            state: State::default(),
            others: Hasher::new(&self.others, found.size),
            buffer: buffer.unwrap_or_else(|| vec![0; BUFFER + 2 * BLOCK].into()),
            start: 0,
            end: 0,
            read: 0,
            format: Format::Empty,
            is_padded: false,
        }))
    }

    /// What is known of an open file, where files may be sealed: by its kernel, or else by a receipt.
    fn known(
        &self,
        file: &File,
        found: &FoundFile,
        stat: &Stat,
    ) -> Result<Option<Whole>, FaultKind> {
        let Some(seals) = self.hashing.known.seals else {
            return Ok(None);
        };
        if let Some(digests) = seals.find(file) {
            let format = format_of(file, found)?;
            return Ok(Some((digests.into(), format, Checked::FsVerity)));
        }
        let mut known = None;
        if let Some(receipts) = self.hashing.known.receipts {
            let place = receipts.find(&found.path, stat);
            receipts.take(place.into_iter(), |receipt| {
                known = receipt.map(|one| (one.digests.into(), one.format, Checked::Receipt));
            });
        }
        Ok(known)
    }

    /// Reads where something is missing, hashes what all have, and keeps those that are not at their end.
    fn advance(&self, lanes: Vec<Lane<'a>>, spare: &mut Vec<Box<[u8]>>) -> Vec<Lane<'a>> {
        let mut good = Vec::with_capacity(lanes.len());
        for mut lane in lanes {
            match lane.fill(self.hashing) {
                Ok(()) => good.push(lane),
                Err(kind) => {
                    self.results.put(lane.index, Err(kind));
                    spare.push(lane.buffer);
                }
            }
        }
        let blocks = good.iter().map(|lane| (lane.end - lane.start) / BLOCK);
        let blocks = blocks.min().unwrap_or(0);
        if self.with_sha256 {
            let mut streams: Vec<Stream<'_>> = good.iter_mut().map(Lane::stream).collect();
            self.engine.compress(&mut streams, blocks);
        }
        let mut going = Vec::with_capacity(good.len());
        for mut lane in good {
            lane.start += blocks * BLOCK;
            if lane.is_padded && lane.start == lane.end {
                let (index, outcome, buffer) = self.finish(lane);
                self.results.put(index, outcome);
                spare.push(buffer);
            } else {
                going.push(lane);
            }
        }
        going
    }

    fn finish(&self, lane: Lane<'a>) -> (u32, Outcome, Box<[u8]>) {
        let sha256 = lane.state.digest();
        let others = lane.others.finish();
        let mut rest = others.as_slice();
        let mut digests = Vec::with_capacity(others.len() + sha256.len());
        for algorithm in self.hashing.algorithms {
            if *algorithm == Algorithm::Sha256 {
                digests.extend_from_slice(&sha256);
            } else {
                let (own, later) = rest.split_at(algorithm.length().min(rest.len()));
                digests.extend_from_slice(own);
                rest = later;
            }
        }
        // Behind them the digests of parts that were to be kept.
        digests.extend_from_slice(rest);
        let outcome = unchanged(&lane.file, &lane.before).map(|()| {
            let how = (self.hashing, lane.is_kept);
            note(&lane.before, lane.format, &digests, how);
            (digests.into(), lane.format, Checked::Full)
        });
        (lane.index, outcome, lane.buffer)
    }
}

/// A file that was opened.
#[expect(clippy::large_enum_variant, reason = "it is taken apart at once")]
enum Begun<'a> {
    Reading(Lane<'a>),
    /// Its kernel vouches for it.
    Known(Outcome),
}

/// What kind of file it is, by its first bytes.
fn format_of(file: &File, found: &FoundFile) -> Result<Format, FaultKind> {
    let mut buffer = [0; HEAD];
    let mut end = 0;
    loop {
        let room = buffer.get_mut(end..).unwrap_or_default();
        match file.read_at(room, end as u64) {
            Ok(0) => break,
            Ok(count) => end += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(FaultKind::Unreadable(error)),
        }
    }
    let head = buffer.get(..end).unwrap_or_default();
    Ok(format::identify(found.path.as_str(), head))
}

/// A file that is being read.
struct Lane<'a> {
    index: u32,
    found: &'a FoundFile,
    file: Arc<File>,
    /// Who reads it, if that is somebody else.
    ahead: Option<Ahead>,
    /// What of that is hashed, from `start` on, if it is not in the buffer.
    piece: Option<Piece>,
    before: Stat,
    /// A receipt will be.
    is_kept: bool,
    state: State,
    others: Hasher,
    /// What was read and not hashed yet is from `start` to `end`; there is room for the padding behind what is read at once.
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// How much was read.
    read: u64,
    format: Format,
    is_padded: bool,
}

impl Lane<'_> {
    /// Reads until there is a whole block, and appends the padding to the end of the file.
    fn fill(&mut self, hashing: Hashing<'_>) -> Result<(), FaultKind> {
        if self.is_padded || self.end - self.start >= BLOCK {
            return Ok(());
        }
        self.keep_rest();
        // An empty file is read once, so that one that only claims to be empty is found out.
        loop {
            let count = self.read_more(hashing)?;
            if count == 0 || self.read >= self.found.size {
                break;
            }
            if self.end >= BLOCK {
                return Ok(());
            }
        }
        if self.read != self.found.size {
            return Err(FaultKind::Changed);
        }
        if self.end - self.start >= BLOCK && self.piece.is_some() {
            // The padding comes behind what is left of it then.
            return Ok(());
        }
        self.keep_rest();
        let (padding, size) = padding(self.read);
        let room = self.buffer.get_mut(self.end..self.end + size);
        let padding = padding.get(..size).unwrap_or_default();
        room.unwrap_or_default().copy_from_slice(padding);
        self.end += size;
        self.is_padded = true;
        Ok(())
    }

    /// Moves what was not hashed to the beginning of the buffer.
    fn keep_rest(&mut self) {
        let length = self.end - self.start;
        match self.piece.take() {
            Some(piece) => {
                let rest = piece.filled().get(self.start..self.end);
                let room = self.buffer.get_mut(..length).unwrap_or_default();
                room.copy_from_slice(rest.unwrap_or_default());
                if let Some(ahead) = &self.ahead {
                    ahead.give_back(piece);
                }
            }
            None => self.buffer.copy_within(self.start..self.end, 0),
        }
        (self.start, self.end) = (0, length);
    }

    /// Reads once; how much. What somebody else reads stays where it is, if nothing is left of what was before.
    fn read_more(&mut self, hashing: Hashing<'_>) -> Result<usize, FaultKind> {
        if self.read > 0 && self.read >= self.found.size {
            return Ok(0);
        }
        let piece = match &mut self.ahead {
            Some(ahead) => Some(ahead.next().map_err(FaultKind::Unreadable)?),
            None => None,
        };
        let read = match &piece {
            // All but the last are whole blocks, so that nothing is left before another.
            Some(piece) if self.end == 0 => piece.filled(),
            Some(_) => return Err(FaultKind::Changed),
            None => {
                let room = self.buffer.get_mut(self.end..BUFFER).unwrap_or_default();
                let count = read_some(&mut &*self.file, room)?;
                room.get(..count).unwrap_or_default()
            }
        };
        if self.read == 0 {
            self.format = format::identify(self.found.path.as_str(), head(read));
        }
        self.others.update(read);
        let count = read.len();
        self.read += count as u64;
        self.end += count;
        self.piece = piece;
        hashing.progress.advance(count as u64);
        Ok(count)
    }

    fn stream(&mut self) -> Stream<'_> {
        let memory = match &self.piece {
            Some(piece) => piece.filled(),
            None => &self.buffer,
        };
        Stream {
            state: &mut self.state,
            input: memory.get(self.start..self.end).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sha256::Choice;

    #[test]
    fn threads_have_what_they_can_hash_at_once() {
        let engine = Engine::new(Choice::Portable).unwrap();
        let with = |sizes: &[u64], jobs, open| {
            let together = LANES;
            crew(
                sizes.iter().copied(),
                jobs,
                &engine,
                Most { together, open },
            )
        };
        let crew = |sizes: &[u64], jobs| with(sizes, jobs, usize::MAX);
        // However many threads, no more files are open than may be.
        assert_eq!(with(&[1; 1000], 8, 32), [Start::Together(4); 8]);
        assert_eq!(with(&[1; 1000], 8, 4), [Start::Together(1); 8]);
        assert_eq!(crew(&[], 4), [Start::Together(1)]);
        assert_eq!(crew(&[9], 4), [Start::Together(1)]);
        // One that takes longer than all others is alone from the start.
        assert_eq!(
            crew(&[100, 1, 1, 1], 2),
            [Start::Alone(3), Start::Together(3)]
        );
        assert_eq!(crew(&[100, 90, 1, 1], 3).len(), 3);
        assert_eq!(crew(&[5; 30], 2), [Start::Together(15); 2]);
        assert_eq!(crew(&[1; 1000], 3), [Start::Together(LANES); 3]);
        assert_eq!(crew(&[1; 1000], 1), [Start::Together(LANES)]);
        for (sizes, jobs, leaves) in [
            (&[9][..], 1, false),
            (&[9], 2, true),
            (&[9, 9], 3, false),
            (&[9, 9], 4, true),
            (&[5; 30], 2, false),
        ] {
            let crew = crew(sizes, jobs);
            assert_eq!(leaves_cores(&crew, jobs), leaves, "{crew:?}");
        }
        assert!(!leaves_cores(&[Start::Together(2)], 2));
    }
}
