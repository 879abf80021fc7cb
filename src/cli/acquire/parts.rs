//! Files that stay at their source, read in parts: several parts at once, of one file as well as of many, while each file is
//! hashed from its first byte to its last. No more is held than a part for each connection.

use std::num::NonZero;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::download::{ATTEMPTS, Failed, Seen, is_another, stream, too_large};
use crate::artifact::Progress;
use crate::digest::Algorithm;
use crate::gate::cause;
use crate::path::ArtifactPath;
use crate::source::published::PublishedFile;
use crate::source::{Channel, SourceError};

/// Bytes of a part: what a store sends in a second or less by one connection.
const PART: u64 = 8 * 1024 * 1024;

/// No store is asked for more at once.
const MOST: usize = 1024;

/// How files are read.
pub(super) struct Parts<'a> {
    pub(super) channel: &'a dyn Channel,
    /// What to compute beside the digests that it takes to compare each file with what is published.
    pub(super) algorithms: &'a [Algorithm],
    pub(super) connections: NonZero<usize>,
    /// No file may be larger.
    pub(super) most: u64,
    pub(super) progress: &'a dyn Progress,
}

/// A file that was read: its size and its digests, in the order of [`Parts::algorithms`].
pub(super) type Read = (ArtifactPath, u64, Vec<u8>);

/// A file, and how far it is.
struct Reading<'a> {
    path: &'a ArtifactPath,
    file: &'a PublishedFile,
    /// Known beforehand, if it is read in parts.
    size: Option<u64>,
    state: Mutex<State>,
    /// Something has happened to the state.
    changed: Condvar,
}

struct State {
    /// As far as it was hashed.
    hashed: u64,
    /// From its first part to its last.
    seen: Option<Seen>,
    result: Option<Result<Read, Failed>>,
}

/// What is next: of which file, from where and up to where; up to nowhere, if the file is read as a whole.
#[derive(Clone, Copy)]
struct Task {
    file: usize,
    from: u64,
    to: Option<u64>,
}

impl Parts<'_> {
    /// Reads `files`; what came of each.
    pub(super) fn read(
        &self,
        files: &[(&ArtifactPath, &PublishedFile)],
    ) -> Vec<Result<Read, Failed>> {
        let readings: Vec<Reading<'_>> = files
            .iter()
            .map(|(path, file)| self.reading(path, file))
            .collect();
        let next = Mutex::new(Task {
            file: 0,
            from: 0,
            to: None,
        });
        thread::scope(|scope| {
            let parts = |reading: &Reading<'_>| reading.size.map_or(1, |size| size.div_ceil(PART));
            let parts = readings.iter().map(parts).fold(0, u64::saturating_add);
            let parts = usize::try_from(parts).unwrap_or(usize::MAX);
            for _ in 0..self.connections.get().min(parts).min(MOST) {
                scope.spawn(|| {
                    let mut buffer = Vec::new();
                    while let Some((reading, task)) = take(&readings, &next) {
                        self.work(reading, task, &mut buffer);
                    }
                });
            }
        });
        let not_reached = || Failed::Error("a file was not reached".into());
        let results = readings.into_iter().map(|reading| {
            let state = reading.state.into_inner();
            let state = state.unwrap_or_else(PoisonError::into_inner);
            state.result.unwrap_or_else(|| Err(not_reached()))
        });
        results.collect()
    }

    /// In parts, where the source sends such, and says which version they are of.
    fn reading<'f>(&self, path: &'f ArtifactPath, file: &'f PublishedFile) -> Reading<'f> {
        let has_parts = self.channel.has_parts() && file.validator.is_some();
        let size = file.size.filter(|size| has_parts && *size > PART);
        let result = match size {
            Some(size) if size > self.most => Some(too_large(path, size, self.most)),
            _ if file.size.is_none() && self.algorithms.contains(&Algorithm::GitSha1) => Some(
                format!("{path}: git's name begins with a size, and its source does not say that"),
            ),
            _ => None,
        };
        let result = result.map(|why| Err(Failed::Error(why)));
        Reading {
            path,
            file,
            size,
            state: Mutex::new(State {
                hashed: 0,
                seen: None,
                result,
            }),
            changed: Condvar::new(),
        }
    }

    fn work(&self, reading: &Reading<'_>, task: Task, buffer: &mut Vec<u8>) {
        if reading.state().result.is_some() {
            return;
        }
        let Some(to) = task.to else {
            let (path, file) = (reading.path, reading.file);
            let how = (self.algorithms, self.most, self.progress);
            let result = stream(self.channel, path, file, how);
            reading.state().result = Some(result);
            return;
        };
        let _guard = Abandoned(reading);
        let came = self.part(reading, (task.from, to), buffer);
        let mut state = reading.state();
        // Whoever has what is before it took that before, and does not wait for this.
        while came.is_ok() && state.hashed != task.from && state.result.is_none() {
            let waited = reading.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        match (came, &state.result) {
            (_, Some(_)) => {}
            (Err(failed), None) => state.result = Some(Err(failed)),
            (Ok(()), None) => {
                let begun = || Seen::with(reading.file, self.algorithms);
                state.seen.get_or_insert_with(begun).see(buffer);
                state.hashed = to;
                if reading.size == Some(to)
                    && let Some(seen) = state.seen.take()
                {
                    let result = seen.digests(to, reading.file, self.algorithms);
                    let result = result.map(|digests| (reading.path.clone(), to, digests));
                    let refused = |why| Failed::Refused(format!("{} {why}", reading.path));
                    state.result = Some(result.map_err(refused));
                }
            }
        }
        reading.changed.notify_all();
    }

    /// Fetches a part into `buffer`; what was cut off is taken up.
    fn part(
        &self,
        reading: &Reading<'_>,
        (from, to): (u64, u64),
        buffer: &mut Vec<u8>,
    ) -> Result<(), Failed> {
        let (path, file) = (reading.path, reading.file);
        let length = usize::try_from(to - from).unwrap_or(usize::MAX);
        buffer.clear();
        let (mut attempt, mut had) = (0, 0);
        loop {
            attempt += 1;
            let result = self.attempt(reading, (from, to), buffer);
            if buffer.len() >= had + PIECE {
                // Who goes on is not given up; who sends a byte at a time is.
                (attempt, had) = (1, buffer.len());
            }
            match result {
                Ok(()) if buffer.len() == length => return Ok(()),
                Ok(()) if attempt >= ATTEMPTS => {
                    let have = from + buffer.len() as u64;
                    let size = file.size.unwrap_or_default();
                    let message = format!("{path} ends after {have} of {size} bytes");
                    return Err(Failed::Error(message));
                }
                Err(Stop::Failed(failed)) => return Err(failed),
                Err(Stop::Network(error)) if attempt >= ATTEMPTS || !error.may_pass() => {
                    return Err(Failed::Error(format!("{path}: {}", cause(&error))));
                }
                Ok(()) | Err(Stop::Network(_)) => {
                    thread::sleep(Duration::from_millis(200 << attempt));
                }
            }
        }
    }

    fn attempt(
        &self,
        reading: &Reading<'_>,
        (from, to): (u64, u64),
        buffer: &mut Vec<u8>,
    ) -> Result<(), Stop> {
        let (path, file) = (reading.path, reading.file);
        let start = from + buffer.len() as u64;
        let mut content = self.channel.open_part(path, file, (start, to))?;
        let fail = |why: &str| Err(Stop::Failed(Failed::Error(format!("{path} {why}"))));
        if is_another(file, content.validator.as_deref()) {
            return fail("is changed at its source while it is read");
        }
        if content.size.is_some() && content.size != file.size {
            return fail("has another size than was listed");
        }
        if start > 0 && !content.is_rest {
            return fail("comes whole, where a part of it was asked for");
        }
        let mut rest = usize::try_from(to - start).unwrap_or(usize::MAX);
        while rest > 0 {
            let have = buffer.len();
            // Grows with what comes, whatever was promised.
            buffer.resize(have + rest.min(PIECE), 0);
            let read = content.read(buffer.get_mut(have..).unwrap_or_default());
            let count = *read.as_ref().unwrap_or(&0);
            buffer.truncate(have + count);
            if read? == 0 {
                break;
            }
            rest -= count;
            self.progress.advance(count as u64);
        }
        Ok(())
    }
}

const PIECE: usize = 256 * 1024;

enum Stop {
    Network(SourceError),
    Failed(Failed),
}

impl From<SourceError> for Stop {
    fn from(error: SourceError) -> Stop {
        Stop::Network(error)
    }
}

impl Reading<'_> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever waits for a thread that panics would wait for ever.
struct Abandoned<'a, 'f>(&'a Reading<'f>);

impl Drop for Abandoned<'_, '_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let failed = || Err(Failed::Error("a part was not read to its end".into()));
            self.0.state().result.get_or_insert_with(failed);
            self.0.changed.notify_all();
        }
    }
}

/// The next part, in the order of the files and of their bytes; of a file that has come to its end, none.
fn take<'a, 'f>(
    readings: &'a [Reading<'f>],
    next: &Mutex<Task>,
) -> Option<(&'a Reading<'f>, Task)> {
    let mut next = next.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let Task { file, from, .. } = *next;
        let reading = readings.get(file)?;
        let to = reading.size.map(|size| size.min(from.saturating_add(PART)));
        let is_last = to == reading.size;
        *next = Task {
            file: if is_last { file + 1 } else { file },
            from: to.filter(|_| !is_last).unwrap_or(0),
            to: None,
        };
        if reading.state().result.is_none() {
            return Some((reading, Task { file, from, to }));
        }
        (next.file, next.from) = (file + 1, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use super::*;
    use crate::artifact::NoProgress;
    use crate::source::Content;
    use crate::source::published::{Expected, Published};

    /// Claims sizes that no server of ours would, and is never to be asked for the content.
    struct Claims;

    impl Channel for Claims {
        fn published(&self) -> Result<Published, SourceError> {
            Err(SourceError::Unusable("it is not asked".into()))
        }

        fn open(
            &self,
            _: &ArtifactPath,
            _: &PublishedFile,
            _: u64,
            _: Option<&str>,
        ) -> Result<Content, SourceError> {
            Err(SourceError::Unusable("it was asked".into()))
        }

        fn has_parts(&self) -> bool {
            true
        }
    }

    /// A size of 10^19 bytes has a million million parts: none of them is looked for.
    #[test]
    fn what_is_too_large_is_over_at_once() {
        let path = ArtifactPath::new("f").unwrap();
        let file = PublishedFile {
            size: Some(u64::MAX),
            validator: Some("\"v\"".into()),
            ..PublishedFile::new(Expected::Unknown, "f".into())
        };
        let parts = |most| Parts {
            channel: &Claims,
            algorithms: &[Algorithm::Sha256],
            connections: NonZero::new(3).unwrap(),
            most,
            progress: &NoProgress,
        };
        for (most, why) in [(1 << 41, "--max-size"), (u64::MAX, "it was asked")] {
            let results = parts(most).read(&[(&path, &file), (&path, &file)]);
            assert_eq!(results.len(), 2);
            for result in results {
                let Err(Failed::Error(text)) = result else {
                    panic!("{result:?}");
                };
                assert!(text.contains(why), "{text}");
            }
        }
    }

    /// Sends bytes, and says of them what it is told to.
    struct Sends {
        bytes: Vec<u8>,
        size: Option<u64>,
        is_rest: bool,
        validator: &'static str,
    }

    impl Channel for Sends {
        fn published(&self) -> Result<Published, SourceError> {
            Err(SourceError::Unusable("it is not asked".into()))
        }

        fn open(
            &self,
            path: &ArtifactPath,
            file: &PublishedFile,
            from: u64,
            _: Option<&str>,
        ) -> Result<Content, SourceError> {
            self.open_part(path, file, (from, self.bytes.len() as u64))
        }

        fn has_parts(&self) -> bool {
            true
        }

        fn open_part(
            &self,
            _: &ArtifactPath,
            _: &PublishedFile,
            (from, to): (u64, u64),
        ) -> Result<Content, SourceError> {
            let range = usize::try_from(from).unwrap()..usize::try_from(to).unwrap();
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&self.bytes[range]).unwrap();
            file.rewind().unwrap();
            let mut content = Content::of_file(file, 0);
            content.size = self.size;
            content.is_rest = self.is_rest;
            content.validator = Some(self.validator.into());
            Ok(content)
        }
    }

    fn read(sends: &Sends, algorithm: Algorithm, size: Option<u64>) -> Result<Vec<u8>, String> {
        let path = ArtifactPath::new("f").unwrap();
        let file = PublishedFile {
            size,
            validator: Some("\"v\"".into()),
            ..PublishedFile::new(Expected::Unknown, "f".into())
        };
        let parts = Parts {
            channel: sends,
            algorithms: &[algorithm],
            connections: NonZero::new(3).unwrap(),
            most: u64::MAX,
            progress: &NoProgress,
        };
        match parts.read(&[(&path, &file)]).pop().unwrap() {
            Ok((_, _, digests)) => Ok(digests),
            Err(Failed::Error(text) | Failed::Refused(text)) => Err(text),
        }
    }

    /// A server that answers for another file, or with another part, than was asked for.
    #[test]
    fn parts_are_of_what_was_listed() {
        let size = 2 * PART + 1;
        let bytes: Vec<u8> = (0..size).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let digest = crate::digest::Sha256::of(&bytes).0.to_vec();
        let mut sends = Sends {
            bytes,
            size: Some(size),
            is_rest: true,
            validator: "\"v\"",
        };
        let sha256 = |sends: &Sends| read(sends, Algorithm::Sha256, Some(size));
        assert_eq!(sha256(&sends), Ok(digest.clone()));
        sends.size = None;
        assert_eq!(sha256(&sends), Ok(digest));
        let refused = |sends: &Sends, why: &str| {
            let text = sha256(sends).unwrap_err();
            assert!(text.contains(why), "{text}");
        };
        sends.size = Some(size + 1);
        refused(&sends, "another size");
        sends.size = Some(size);
        sends.is_rest = false;
        refused(&sends, "comes whole");
        sends.is_rest = true;
        sends.validator = "\"w\"";
        refused(&sends, "is changed");
    }

    /// Nobody knows how git's name begins before all of it is there.
    #[test]
    fn git_wants_the_size_first() {
        let sends = Sends {
            bytes: b"content".to_vec(),
            size: None,
            is_rest: true,
            validator: "\"v\"",
        };
        let of = |size| read(&sends, Algorithm::GitSha1, size);
        assert_eq!(of(Some(7)), Ok(Algorithm::GitSha1.of(b"content")));
        assert!(of(None).unwrap_err().contains("begins with a size"));
    }
}
