//! Downloads files, several at once: each is hashed as it comes, kept aside until it is whole and found to be
//! what the source publishes, and taken up where an earlier run stopped.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use super::aside::Aside;
use super::parts::Read;
use crate::artifact::Progress;
use crate::digest::{Algorithm, Hasher, Sha256};
use crate::disk::{Directory, DiskError, Partial};
use crate::gate::cause;
use crate::git::snapshot::MAX_SMALL;
use crate::parallel;
use crate::path::ArtifactPath;
use crate::source::published::{PublishedFile, Wrong};
use crate::source::{Channel, SourceError};

/// Where from, and where to.
pub(super) struct Download<'a> {
    pub(super) channel: &'a dyn Channel,
    /// The tree that the files become.
    pub(super) target: &'a Directory,
    pub(super) aside: &'a Aside,
    pub(super) connections: NonZero<usize>,
    /// No file may be larger.
    pub(super) most: u64,
    pub(super) progress: &'a dyn Progress,
}

/// A file that came, with the digest of what came.
pub(super) type Came = (ArtifactPath, u64, Sha256);

/// Why a file did not.
#[derive(Debug)]
pub(super) enum Failed {
    /// It is not what the source publishes.
    Refused(String),
    /// It could not be had.
    Error(String),
}

const PIECE: usize = 256 * 1024;
pub(super) const ATTEMPTS: u32 = 5;

/// The bytes that a source says its files have: whatever it says.
pub(super) fn total<'a>(files: impl Iterator<Item = &'a PublishedFile>) -> u64 {
    let sizes = files.filter_map(|file| file.size);
    sizes.fold(0, u64::saturating_add)
}

impl Download<'_> {
    /// Downloads `files`; what came of each.
    pub(super) fn run(
        &self,
        files: &BTreeMap<&ArtifactPath, &PublishedFile>,
    ) -> Vec<Result<Came, Failed>> {
        let bytes = total(files.values().copied());
        self.progress.start(files.len(), bytes);
        let files: Vec<_> = files.iter().collect();
        parallel::each(&files, self.connections, |(path, file)| {
            self.one(path, file)
        })
    }

    /// Downloads a file that becomes none of the artifact's: it stays among what is kept aside.
    pub(super) fn keep(
        &self,
        path: &ArtifactPath,
        file: &PublishedFile,
    ) -> Result<PathBuf, Failed> {
        self.progress.start(1, file.size.unwrap_or_default());
        self.whole(path, file)?;
        Ok(self.aside.place(path))
    }

    fn one(&self, path: &ArtifactPath, file: &PublishedFile) -> Result<Came, Failed> {
        let (partial, sha256) = self.whole(path, file)?;
        let size = partial.have();
        let finished = partial.finish(self.target, path);
        finished.map_err(|error| Failed::Error(format!("{path}: {}", cause(&error))))?;
        Ok((path.clone(), size, sha256))
    }

    /// The whole file, kept aside still, and what was published.
    fn whole(
        &self,
        path: &ArtifactPath,
        file: &PublishedFile,
    ) -> Result<(Partial, Sha256), Failed> {
        let size = file.size.unwrap_or_default();
        if file.is_by_content() && size > MAX_SMALL {
            return Err(Failed::Error(format!(
                "{path} has {size} bytes and no SHA-256: only smaller ones are kept so"
            )));
        }
        if size > self.most {
            return Err(Failed::Error(too_large(path, size, self.most)));
        }
        let place = self.aside.place(path);
        let failed =
            |error: &dyn std::error::Error| Failed::Error(format!("{path}: {}", cause(error)));
        let mut partial = Partial::open(&place).map_err(|error| failed(&error))?;
        // Of content that nobody knows beforehand, the rest is asked for only of the version that began to come.
        let same = self.aside.is_version(path, file.validator.as_deref());
        if partial.have() > 0 && !file.is_known() && !same {
            partial.restart().map_err(|error| failed(&error))?;
        }
        if let Some(validator) = &file.validator {
            let noted = self.aside.note_version(path, validator);
            noted.map_err(|error| failed(&error))?;
        }
        let mut resumed = partial.have() > 0;
        let sha256 = loop {
            let seen = self.receive(path, file, &mut partial)?;
            match seen.judge(partial.have(), file) {
                Ok(sha256) => break sha256,
                // What an earlier run left may be of another version.
                Err(_) if resumed => {
                    partial.restart().map_err(|error| failed(&error))?;
                    resumed = false;
                }
                Err(why) => return Err(self.reject(partial, path, &why)),
            }
        };
        Ok((partial, sha256))
    }

    /// What is wrong stays for whoever wants to look at it, under a name that says so.
    fn reject(&self, partial: Partial, path: &ArtifactPath, why: &str) -> Failed {
        let place = self.aside.rejected(path);
        let kept = match partial.set_aside(&place) {
            Ok(()) => format!("; what came is kept as {}", place.display()),
            Err(_) => String::new(),
        };
        Failed::Refused(format!("{path} {why}{kept}"))
    }

    /// Receives the rest of a file.
    fn receive(
        &self,
        path: &ArtifactPath,
        file: &PublishedFile,
        partial: &mut Partial,
    ) -> Result<Seen, Failed> {
        let disk_failed = |error: DiskError| Failed::Error(cause(&error));
        let mut attempt = 0;
        loop {
            attempt += 1;
            let result = self.attempt(path, file, partial);
            let have = partial.have();
            match (result, file.size) {
                (Ok(seen), None) => return Ok(seen),
                (Ok(seen), Some(size)) if have == size => return Ok(seen),
                (Ok(_), Some(size)) if have > size => {
                    partial.restart().map_err(disk_failed)?;
                    return Err(Failed::Refused(format!(
                        "{path} has more than the {size} bytes that are published"
                    )));
                }
                (Ok(_), Some(size)) if attempt >= ATTEMPTS => {
                    return Err(Failed::Error(format!(
                        "{path} ends after {have} of {size} bytes"
                    )));
                }
                (Err(Stop::Network(error)), _) if attempt >= ATTEMPTS || !error.may_pass() => {
                    return Err(Failed::Error(format!("{path}: {}", cause(&error))));
                }
                (Err(Stop::Disk(error)), _) => return Err(disk_failed(error)),
                (Err(Stop::TooLarge), _) => {
                    partial.restart().map_err(disk_failed)?;
                    return Err(Failed::Error(too_large(path, have, self.most)));
                }
                (Err(Stop::Changed), _) => {
                    partial.restart().map_err(disk_failed)?;
                    return Err(Failed::Error(format!(
                        "{path} is changed at its source while it is fetched"
                    )));
                }
                (Ok(_) | Err(Stop::Network(_)), _) => {
                    std::thread::sleep(Duration::from_millis(200 << attempt));
                }
            }
        }
    }

    fn attempt(
        &self,
        path: &ArtifactPath,
        file: &PublishedFile,
        partial: &mut Partial,
    ) -> Result<Seen, Stop> {
        // Of unknown size: what is there may be all of it, which only its server knows.
        // And of nobody knows which version, the pieces need not fit together.
        if file.size.is_none() || !(file.is_known() || file.validator.is_some()) {
            partial.restart()?;
        }
        let known = file.size.unwrap_or(u64::MAX);
        let mut seen = Seen::new(file);
        if partial.have() > known {
            partial.restart()?;
        }
        partial.read_back(&mut |piece| seen.see(piece))?;
        if partial.have() < known || known == 0 {
            let from = partial.have();
            let mut content = self
                .channel
                .open(path, file, from, file.validator.as_deref())?;
            if is_another(file, content.validator.as_deref()) {
                return Err(Stop::Changed);
            }
            if from > 0 && !content.is_rest {
                // The whole file comes, not the rest.
                partial.restart()?;
                seen = Seen::new(file);
            }
            let mut buffer = vec![0; PIECE];
            loop {
                let count = content.read(&mut buffer)?;
                let piece = buffer.get(..count).unwrap_or_default();
                if piece.is_empty() {
                    break;
                }
                partial.write(piece)?;
                seen.see(piece);
                self.progress.advance(count as u64);
                if partial.have() > known {
                    break;
                }
                if partial.have() > self.most {
                    return Err(Stop::TooLarge);
                }
            }
        }
        Ok(seen)
    }
}

/// Is what comes another version than was asked about? Of content that nothing else tells, it must say that it is not.
pub(super) fn is_another(file: &PublishedFile, comes: Option<&str>) -> bool {
    match (file.validator.as_deref(), comes) {
        (Some(asked), Some(comes)) => asked != comes,
        (Some(_), None) => !file.is_known(),
        (None, _) => false,
    }
}

pub(super) fn too_large(path: &ArtifactPath, size: u64, most: u64) -> String {
    format!("{path} has {size} bytes or more, and --max-size allows {most}")
}

/// Hashes what a source has, and keeps nothing: its size and its digests by `algorithms`, if it is what is published.
pub(super) fn stream(
    channel: &dyn Channel,
    path: &ArtifactPath,
    file: &PublishedFile,
    (algorithms, most, progress): (&[Algorithm], u64, &dyn Progress),
) -> Result<Read, Failed> {
    let failed = |error: SourceError| Failed::Error(format!("{path}: {}", cause(&error)));
    let mut seen = Seen::with(file, algorithms);
    let mut size = 0;
    let mut buffer = vec![0; PIECE];
    let mut attempt = 0;
    'again: loop {
        attempt += 1;
        let opened = channel.open(path, file, size, file.validator.as_deref());
        let mut content = opened.map_err(failed)?;
        if is_another(file, content.validator.as_deref()) {
            let message = format!("{path} is changed at its source while it is read");
            return Err(Failed::Error(message));
        }
        if size > 0 && !content.is_rest {
            (seen, size) = (Seen::with(file, algorithms), 0);
        }
        loop {
            let count = match content.read(&mut buffer) {
                Ok(count) => count,
                // What is not known by its digest must be one version from its start to its end.
                Err(error) if error.may_pass() && attempt < ATTEMPTS => {
                    if !file.is_known() && file.validator.is_none() {
                        (seen, size) = (Seen::with(file, algorithms), 0);
                    }
                    std::thread::sleep(Duration::from_millis(200 << attempt));
                    continue 'again;
                }
                Err(error) => return Err(failed(error)),
            };
            let piece = buffer.get(..count).unwrap_or_default();
            if piece.is_empty() {
                break 'again;
            }
            seen.see(piece);
            size += count as u64;
            progress.advance(count as u64);
            if size > most {
                return Err(Failed::Error(too_large(path, size, most)));
            }
        }
    }
    let digests = seen.digests(size, file, algorithms);
    let digests = digests.map_err(|why| Failed::Refused(format!("{path} {why}")))?;
    Ok((path.clone(), size, digests))
}

/// What came so far: its digests, and of a small file itself.
pub(super) struct Seen {
    /// In this order.
    algorithms: Vec<Algorithm>,
    hasher: Hasher,
    content: Option<Vec<u8>>,
}

impl Seen {
    fn new(file: &PublishedFile) -> Seen {
        Seen::with(file, &[])
    }

    /// To compute `more` as well.
    pub(super) fn with(file: &PublishedFile, more: &[Algorithm]) -> Seen {
        let mut algorithms = file.algorithms();
        for algorithm in more {
            if !algorithms.contains(algorithm) {
                algorithms.push(*algorithm);
            }
        }
        Seen {
            hasher: Hasher::new(&algorithms, file.size.unwrap_or_default()),
            algorithms,
            content: file.is_by_content().then(Vec::new),
        }
    }

    pub(super) fn see(&mut self, piece: &[u8]) {
        self.hasher.update(piece);
        if let Some(content) = &mut self.content {
            content.extend_from_slice(piece);
        }
    }

    /// The SHA-256 of all `size` bytes of it, if it is what was published.
    fn judge(self, size: u64, file: &PublishedFile) -> Result<Sha256, String> {
        let sha256 = self.digests(size, file, &[Algorithm::Sha256])?;
        let sha256 = sha256.first_chunk::<32>();
        sha256
            .map(|sha256| Sha256(*sha256))
            .ok_or_else(|| "has no SHA-256".into())
    }

    /// The digests by `wanted` of all `size` bytes of it, one after the other, if it is what was published.
    pub(super) fn digests(
        self,
        size: u64,
        file: &PublishedFile,
        wanted: &[Algorithm],
    ) -> Result<Vec<u8>, String> {
        let digests = self.hasher.finish();
        let content = self.content.unwrap_or_default();
        match file.check(size, &digests, &content) {
            Ok(()) => {}
            Err(Wrong::Content { found, expected }) => {
                return Err(format!("has {found}, and {expected} is published"));
            }
            Err(Wrong::Pointer) => {
                return Err("came as its pointer, not as the file that it points to".into());
            }
            Err(Wrong::Signature(why)) => {
                return Err(format!("is not what its publisher signed: {why}"));
            }
            Err(Wrong::Odd(why)) => return Err(why),
        }
        let mut all = Vec::new();
        for algorithm in wanted {
            let before = self.algorithms.iter().take_while(|one| *one != algorithm);
            let start: usize = before.map(|one| one.length()).sum();
            let own = digests.get(start..start + algorithm.length());
            all.extend_from_slice(own.ok_or_else(|| format!("has no {}", algorithm.title()))?);
        }
        Ok(all)
    }
}

/// Why an attempt ended early.
enum Stop {
    Disk(DiskError),
    Network(SourceError),
    TooLarge,
    /// It is another version now.
    Changed,
}

impl From<DiskError> for Stop {
    fn from(error: DiskError) -> Stop {
        Stop::Disk(error)
    }
}

impl From<SourceError> for Stop {
    fn from(error: SourceError) -> Stop {
        Stop::Network(error)
    }
}
