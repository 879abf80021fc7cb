//! Downloads files, several at once: each is hashed as it comes, kept aside until it is whole and found to be
//! what the source publishes, and taken up where an earlier run stopped.

use std::num::NonZero;
use std::time::Duration;

use super::aside::Aside;
use crate::artifact::Progress;
use crate::cli::catalogue;
use crate::client::fetch::FetchError;
use crate::digest::{Algorithm, Hasher, Sha256};
use crate::disk::{Directory, DiskError, Partial};
use crate::gate::cause;
use crate::git::snapshot::{MAX_SMALL, Snapshot};
use crate::git::{Kind, ObjectId, Pointer};
use crate::path::ArtifactPath;
use crate::source::hub::{Hub, HubError, HubSource, ListedFile};

/// Where from, and where to.
pub(super) struct Download<'a> {
    pub(super) hub: &'a Hub,
    pub(super) source: &'a HubSource,
    pub(super) snapshot: &'a Snapshot,
    /// The tree that the files become.
    pub(super) target: &'a Directory,
    pub(super) aside: &'a Aside,
    pub(super) connections: NonZero<usize>,
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
const ATTEMPTS: u32 = 5;

impl Download<'_> {
    /// Downloads `files`; what came of each.
    pub(super) fn run(&self, files: &[ListedFile]) -> Vec<Result<Came, Failed>> {
        let bytes = files.iter().map(|file| file.size).sum();
        self.progress.start(files.len(), bytes);
        catalogue::each(files, Some(self.connections), |file| self.one(file))
    }

    fn one(&self, file: &ListedFile) -> Result<Came, Failed> {
        let path = &file.path;
        let blob = self.snapshot.files.get(path);
        let expected =
            blob.ok_or_else(|| Failed::Refused(format!("{path} is not in the commit")))?;
        if file.sha256.is_none() && file.size > MAX_SMALL {
            return Err(Failed::Error(format!(
                "{path} has {} bytes and no SHA-256: only smaller ones are kept so",
                file.size
            )));
        }
        let place = self.aside.place(path);
        let failed =
            |error: &dyn std::error::Error| Failed::Error(format!("{path}: {}", cause(error)));
        let mut partial = Partial::open(&place).map_err(|error| failed(&error))?;
        let mut resumed = partial.have() > 0;
        let (sha256, content) = loop {
            let (sha256, content) = self.receive(file, &mut partial)?;
            match check(file, expected.id, sha256, content.as_deref()) {
                Ok(()) => break (sha256, content),
                // What an earlier run left may be of another commit.
                Err(_) if resumed => {
                    partial.restart().map_err(|error| failed(&error))?;
                    resumed = false;
                }
                Err(why) => return Err(self.reject(partial, path, &why)),
            }
        };
        if content.is_some_and(|content| Pointer::parse(&content).is_some()) {
            let why = "came as its pointer, not as the file that it points to";
            return Err(self.reject(partial, path, why));
        }
        partial
            .finish(self.target, path)
            .map_err(|error| failed(&error))?;
        Ok((path.clone(), file.size, sha256))
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

    /// Receives the rest of a file: its SHA-256, and of a small one its content.
    fn receive(
        &self,
        file: &ListedFile,
        partial: &mut Partial,
    ) -> Result<(Sha256, Option<Vec<u8>>), Failed> {
        let path = &file.path;
        let disk_failed = |error: DiskError| Failed::Error(cause(&error));
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.attempt(file, partial) {
                Ok((sha256, content)) if partial.have() == file.size => {
                    return Ok((sha256, content));
                }
                Ok(_) if partial.have() > file.size => {
                    partial.restart().map_err(disk_failed)?;
                    let size = file.size;
                    return Err(Failed::Refused(format!(
                        "{path} has more than the {size} bytes that are published"
                    )));
                }
                Ok(_) if attempt >= ATTEMPTS => {
                    let (have, size) = (partial.have(), file.size);
                    return Err(Failed::Error(format!(
                        "{path} ends after {have} of {size} bytes"
                    )));
                }
                Err(Stop::Network(error)) if attempt >= ATTEMPTS || !may_pass(&error) => {
                    return Err(Failed::Error(format!("{path}: {}", cause(&error))));
                }
                Err(Stop::Disk(error)) => return Err(disk_failed(error)),
                Ok(_) | Err(Stop::Network(_)) => {
                    std::thread::sleep(Duration::from_millis(200 << attempt));
                }
            }
        }
    }

    fn attempt(
        &self,
        file: &ListedFile,
        partial: &mut Partial,
    ) -> Result<(Sha256, Option<Vec<u8>>), Stop> {
        let mut seen = Seen::new(file);
        if partial.have() > file.size {
            partial.restart()?;
        }
        partial.read_back(&mut |piece| seen.see(piece))?;
        if partial.have() < file.size || file.size == 0 {
            let from = partial.have();
            let commit = self.snapshot.commit;
            let mut answer = self.hub.open(self.source, commit, &file.path, from)?;
            if from > 0 && !answer.partial {
                // The whole file comes, not the rest.
                partial.restart()?;
                seen = Seen::new(file);
            }
            let mut buffer = vec![0; PIECE];
            loop {
                let count = answer.read(&mut buffer).map_err(HubError::from)?;
                let piece = buffer.get(..count).unwrap_or_default();
                if piece.is_empty() {
                    break;
                }
                partial.write(piece)?;
                seen.see(piece);
                self.progress.advance(count as u64);
                if partial.have() > file.size {
                    break;
                }
            }
        }
        let Seen { hasher, content } = seen;
        let digest = hasher.finish();
        let sha256 = <[u8; 32]>::try_from(digest.as_slice()).map(Sha256);
        Ok((sha256.unwrap_or(Sha256([0; 32])), content))
    }
}

/// Is this the file of the commit?
fn check(
    file: &ListedFile,
    blob: ObjectId,
    found: Sha256,
    content: Option<&[u8]>,
) -> Result<(), String> {
    if let Some(expected) = file.sha256 {
        if found == expected {
            return Ok(());
        }
        return Err(format!("has SHA-256 {found}, and {expected} is published"));
    }
    let content = content.unwrap_or_default();
    match ObjectId::of(Kind::Blob, content) {
        Ok(id) if id == blob => Ok(()),
        Ok(id) => Err(format!("is git blob {id}, and {blob} is published")),
        Err(error) => Err(error.to_string()),
    }
}

/// What came so far: its digest, and of a small file itself.
struct Seen {
    hasher: Hasher,
    content: Option<Vec<u8>>,
}

impl Seen {
    fn new(file: &ListedFile) -> Seen {
        Seen {
            hasher: Hasher::new(&[Algorithm::Sha256], file.size),
            content: file.sha256.is_none().then(Vec::new),
        }
    }

    fn see(&mut self, piece: &[u8]) {
        self.hasher.update(piece);
        if let Some(content) = &mut self.content {
            content.extend_from_slice(piece);
        }
    }
}

/// Why an attempt ended early.
enum Stop {
    Disk(DiskError),
    Network(HubError),
}

impl From<DiskError> for Stop {
    fn from(error: DiskError) -> Stop {
        Stop::Disk(error)
    }
}

impl From<HubError> for Stop {
    fn from(error: HubError) -> Stop {
        Stop::Network(error)
    }
}

/// Can it be otherwise the next time? What the server answered was asked for often enough.
fn may_pass(error: &HubError) -> bool {
    matches!(error, HubError::Fetch(FetchError::Body { .. }))
}
