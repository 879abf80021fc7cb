//! A mirror (C2SP tlog-mirror): takes the entries of logs over HTTP, serves them as tiles, and cosigns a
//! checkpoint once it has durably stored all that the checkpoint covers. Does not offer `sign-subtree`,
//! which is optional, and is no witness: its cosignature says that the entries are here.
//!
//! The copy of a log is a ledger in `<sha256 of the origin>` in its directory, which it serves under that
//! name: `checkpoint`, with the log's signatures and its own, and `tile/…`. What it was shown of the log
//! beyond that is in `<sha256 of the origin>.pending`.

use std::collections::HashMap;
use std::future::Future;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{self, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::connections::{self, Limits};
use super::witness::{answer_of, checkpoint_body};
use crate::checkpoint::Checkpoint;
use crate::cosignature::{self, Signed, WitnessSigner};
use crate::digest::Sha256;
use crate::ledger::tile::{MAX_BUNDLE, Tile};
use crate::ledger::upload::{Shown, Taken, Upload};
use crate::ledger::{LedgerError, Store};
use crate::note::{Note, NoteError, NoteKey};
use crate::time::Timestamp;
use crate::tlog_mirror::{Header, INFO_CONTENT_TYPE, Info, Package, ReadError, intervals};
use crate::witness::{self, AddCheckpoint, Verdict};

/// A mirror with its copies.
#[derive(Debug)]
pub struct Mirror {
    signer: WitnessSigner,
    logs: Vec<NoteKey>,
    directory: PathBuf,
    clock: fn() -> Timestamp,
    /// For each log, by the hash of its origin, an entry before which none is missing.
    next: Mutex<HashMap<String, u64>>,
}

/// Why a mirror can answer nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MirrorError {
    #[error("the copy in {place}: {source}")]
    Ledger {
        place: String,
        source: Box<LedgerError>,
    },
    #[error(transparent)]
    Store(Box<LedgerError>),
    #[error("{place}: its checkpoint is not one that this mirror cosigned")]
    Damaged { place: String },
    #[error("the checkpoint {0}")]
    Cosign(#[from] NoteError),
}

/// What a mirror says to an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Uploaded {
    /// 200: the mirror's cosignature lines on the checkpoint that it has all entries of.
    Cosigned(String),
    /// 202: this far.
    Partly(Info),
    /// 400
    BadRequest(String),
    /// 404
    UnknownLog,
    /// 409: it stands here.
    Conflict(Info),
    /// 422
    Unprocessable(&'static str),
}

/// An upload of 32 packages over a slow line.
const UPLOAD_TIME: Duration = Duration::from_secs(300);
/// How long an upload may take beyond what [`MIN_RATE`] allows.
const PAUSE: Duration = Duration::from_secs(10);
/// Bytes a millisecond that an upload has at least.
const MIN_RATE: u64 = 16;
/// Requests that are worked on at a time; the rest is told to come again.
const MAX_REQUESTS: usize = 64;
/// Uploads at a time: each has up to five times a bundle of 16 MiB in memory.
const MAX_UPLOADS: usize = 8;
/// A tile that waits to be sent is in memory; and after an upload of many entries their tiles are
/// computed before it is answered.
const LIMITS: Limits = Limits {
    connections: 64,
    silence: Duration::from_secs(120),
};
/// How many entries may be uploaded again.
const MAX_EXCESS: u64 = 8192;
/// The most bytes of one request, however they are compressed.
const MAX_UPLOAD: u64 = 64 * MAX_BUNDLE;

impl Mirror {
    /// The mirror that `signer` signs for, of the logs with these keys, with its copies in `directory`.
    pub fn open(
        signer: WitnessSigner,
        logs: Vec<NoteKey>,
        directory: &Path,
        clock: fn() -> Timestamp,
    ) -> Result<Mirror, MirrorError> {
        let mirror = Mirror {
            signer,
            logs,
            directory: directory.into(),
            clock,
            next: Mutex::default(),
        };
        // A copy that cannot be read is better found now than at the first request.
        for log in &mirror.logs {
            let copy = mirror.copy(log.name());
            copy.newest()
                .map_err(|source| MirrorError::in_copy(&copy, source))?;
            let copied = copy.copied();
            let copied = copied.map_err(|source| MirrorError::in_copy(&copy, source))?;
            mirror.signed_at(&copy, copied.as_ref())?;
        }
        Ok(mirror)
    }

    /// Its verifier keys.
    pub fn keys(&self) -> [&NoteKey; 2] {
        self.signer.keys()
    }

    /// The copy of the log `origin`.
    fn copy(&self, origin: &str) -> Upload {
        let copy = self.directory.join(hash(origin));
        Upload::new(&copy, &copy.with_extension("pending"))
    }

    /// Answers `add-checkpoint` with this body: like a witness, but without cosignatures.
    pub fn add_checkpoint(&self, body: &[u8]) -> Result<Verdict, MirrorError> {
        let Ok(request) = AddCheckpoint::parse(body) else {
            return Ok(Verdict::BadRequest("the request is malformed"));
        };
        // What no state could change is answered without waiting for the lock.
        let first = witness::judge(&request, None, &self.logs);
        if matches!(first.status(), 400 | 403 | 404) {
            return Ok(first);
        }
        let origin = Note::parse(&request.checkpoint)
            .ok()
            .and_then(|note| Checkpoint::parse(note.text).ok());
        let Some(checkpoint) = origin else {
            return Ok(first);
        };
        let copy = self.copy(&checkpoint.origin);
        let verdict = copy.pend(&request, &self.logs);
        verdict.map_err(|source| MirrorError::in_copy(&copy, source))
    }

    /// Answers `add-entries` with the body that `from` gives, as it comes.
    pub fn add_entries(&self, from: &mut dyn Read) -> Result<Uploaded, MirrorError> {
        let header = match Header::read(from) {
            Ok(header) => header,
            Err(error) => return Ok(Uploaded::BadRequest(error.to_string())),
        };
        let log = self
            .logs
            .iter()
            .find(|log| log.name().as_bytes() == header.origin);
        let Some(log) = log else {
            return Ok(Uploaded::UnknownLog);
        };
        if header.start > header.end {
            return Ok(Uploaded::BadRequest("it ends before it starts".into()));
        }
        let copy = self.copy(log.name());
        self.upload(&copy, log.name(), &header, from)
            .map_err(|error| match error {
                MirrorError::Store(source) => MirrorError::in_copy(&copy, *source),
                error => error,
            })
    }

    fn upload(
        &self,
        copy: &Upload,
        origin: &str,
        header: &Header,
        from: &mut dyn Read,
    ) -> Result<Uploaded, MirrorError> {
        let Some((pending, _)) = copy.newest()? else {
            return Ok(Uploaded::Unprocessable(
                "no checkpoint of this log was added",
            ));
        };
        let copied = copy.copied()?.map_or(0, |(copied, _)| copied.size);
        let next = self.next(copy, origin, copied)?;
        let target = copy.known(header.end)?;
        let target = target.filter(|(target, _)| target.size >= copied);
        let Some(target) = target else {
            return Ok(Uploaded::Conflict(at(pending.size, next)));
        };
        let (start, end) = (header.start, header.end);
        if start > next || end.min(next).saturating_sub(start) > MAX_EXCESS {
            return Ok(Uploaded::Conflict(at(end, next)));
        }
        let mut taken = 0;
        let mut all = true;
        for interval in intervals(start, end) {
            let package = match Package::read(from, &interval) {
                Ok(Some(package)) => package,
                Err(ReadError::Malformed(why)) if taken == 0 => {
                    return Ok(Uploaded::BadRequest(why.into()));
                }
                Ok(None) | Err(_) => {
                    all = false;
                    break;
                }
            };
            match copy.take(&interval, package, &target.0)? {
                Taken::Stored => taken += 1,
                Taken::Unproved => {
                    return Ok(Uploaded::Unprocessable(
                        "the entries are not shown to be in the tree",
                    ));
                }
                Taken::TooEarly => {
                    let next = self.next(copy, origin, copied)?;
                    return Ok(Uploaded::Conflict(at(end, next)));
                }
            }
        }
        let next = self.next(copy, origin, copied)?;
        if !all && taken == 0 {
            return Ok(Uploaded::BadRequest("there is no whole package".into()));
        }
        if !all || next < end {
            return Ok(Uploaded::Partly(at(end, next)));
        }
        let cosign = |target: &Shown, before: Option<&Shown>| -> Result<String, MirrorError> {
            // A clock that was set back does not make this mirror contradict itself.
            let before = self.signed_at(copy, before)?;
            let time = (self.clock)().seconds().max(before);
            Ok(self.signer.cosign(Note::parse(&target.1)?.text, time)?)
        };
        match copy.complete(&target, &self.keys(), cosign)? {
            Some(lines) => Ok(Uploaded::Cosigned(lines)),
            None => Ok(Uploaded::Conflict(at(pending.size, next))),
        }
    }

    /// The first entry that `copy` does not have.
    fn next(&self, copy: &Upload, origin: &str, copied: u64) -> Result<u64, MirrorError> {
        let origin = hash(origin);
        let known = || self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let from = known().get(&origin).copied().unwrap_or(0).max(copied);
        let next = copy.next(from)?;
        known().insert(origin, next);
        Ok(next)
    }

    /// When this mirror cosigned the checkpoint of its copy. One without its signature is an error.
    fn signed_at(&self, copy: &Upload, copied: Option<&Shown>) -> Result<u64, MirrorError> {
        let Some((checkpoint, note)) = copied else {
            return Ok(0);
        };
        let [key, _] = self.signer.keys();
        match cosignature::verify(&Note::parse(note)?, checkpoint, key) {
            Ok(Signed::At(time)) => Ok(time),
            _ => Err(MirrorError::Damaged {
                place: copy.store().place(),
            }),
        }
    }

    /// What is served under the hash of an origin: its checkpoint, and its tiles.
    pub fn read(&self, origin: &str, key: &str) -> Result<Option<Vec<u8>>, MirrorError> {
        let known = |log: &&NoteKey| hash(log.name()) == origin;
        let Some(log) = self.logs.iter().find(known) else {
            return Ok(None);
        };
        if key != "checkpoint" && Tile::parse(key).is_none() {
            return Ok(None);
        }
        let copy = self.copy(log.name());
        let read = copy.store().read(key, MAX_BUNDLE);
        read.map_err(|source| MirrorError::in_copy(&copy, source.into()))
    }
}

impl From<LedgerError> for MirrorError {
    fn from(source: LedgerError) -> MirrorError {
        MirrorError::Store(Box::new(source))
    }
}

impl MirrorError {
    fn in_copy(copy: &Upload, source: LedgerError) -> MirrorError {
        MirrorError::Ledger {
            place: copy.store().place(),
            source: Box::new(source),
        }
    }
}

fn at(size: u64, next: u64) -> Info {
    Info {
        size,
        next,
        ticket: Vec::new(),
    }
}

/// How a log is named in the addresses of its copy.
fn hash(origin: &str) -> String {
    Sha256::of(origin.as_bytes()).to_string()
}

struct Serving {
    mirror: Mirror,
    requests: AtomicUsize,
    uploads: AtomicUsize,
    reads: AtomicUsize,
    /// Where a copy that cannot be read or written is told.
    alarm: Box<dyn Fn(&MirrorError) + Send + Sync>,
}

/// Serves `mirror` on `listener` until `stop` is ready. `alarm` is told what went wrong here, which no
/// client is told.
pub async fn serve(
    listener: tokio::net::TcpListener,
    mirror: Mirror,
    alarm: impl Fn(&MirrorError) + Send + Sync + 'static,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let serving = Arc::new(Serving {
        mirror,
        requests: AtomicUsize::new(0),
        uploads: AtomicUsize::new(0),
        reads: AtomicUsize::new(0),
        alarm: Box::new(alarm),
    });
    let router = Router::new()
        .route("/add-checkpoint", post(add_checkpoint))
        .route("/add-entries", post(add_entries))
        .route("/{origin}/{*key}", get(read))
        .with_state(serving);
    connections::serve(listener, LIMITS, router, stop).await
}

/// Counts a request as long as it lives.
struct Counted(Arc<Serving>, fn(&Serving) -> &AtomicUsize);

impl Counted {
    /// `None` if there are `most` already.
    fn of(
        serving: &Arc<Serving>,
        counter: fn(&Serving) -> &AtomicUsize,
        most: usize,
    ) -> Option<Counted> {
        let counted = Counted(Arc::clone(serving), counter);
        let before = counter(serving).fetch_add(1, Ordering::Relaxed);
        (before < most).then_some(counted)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.1)(&self.0).fetch_sub(1, Ordering::Relaxed);
    }
}

async fn add_checkpoint(State(serving): State<Arc<Serving>>, body: Body) -> Response {
    let Some(counted) = Counted::of(&serving, |serving| &serving.requests, MAX_REQUESTS) else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let body = match checkpoint_body(body).await {
        Ok(body) => body,
        Err(status) => return status.into_response(),
    };
    let answered = tokio::task::spawn_blocking(move || {
        let serving = &counted.0;
        let answered = serving.mirror.add_checkpoint(&body);
        answered.inspect_err(|error| (serving.alarm)(error))
    });
    match answered.await {
        // What it says with its cosignature it says when it has the entries.
        Ok(Ok(Verdict::Cosign(_))) => ().into_response(),
        Ok(Ok(verdict)) => answer_of(&verdict),
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn add_entries(
    State(serving): State<Arc<Serving>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Some(counted) = Counted::of(&serving, |serving| &serving.uploads, MAX_UPLOADS) else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let encoding = headers.get(header::CONTENT_ENCODING);
    let gzip = match encoding.map(axum::http::HeaderValue::as_bytes) {
        None => false,
        Some(encoding) if encoding.eq_ignore_ascii_case(b"identity") => false,
        Some(encoding) if encoding.eq_ignore_ascii_case(b"gzip") => true,
        Some(_) => {
            let accepted = [(header::ACCEPT_ENCODING, "gzip")];
            return (StatusCode::UNSUPPORTED_MEDIA_TYPE, accepted).into_response();
        }
    };
    let runtime = tokio::runtime::Handle::current();
    let now = tokio::time::Instant::now();
    let answered = tokio::task::spawn_blocking(move || {
        let serving = &counted.0;
        let body = Streamed {
            body,
            chunk: Bytes::new(),
            begun: now,
            received: 0,
            runtime,
        };
        let answered = if gzip {
            let mut plain = flate2::read::MultiGzDecoder::new(body).take(MAX_UPLOAD);
            serving.mirror.add_entries(&mut plain)
        } else {
            serving.mirror.add_entries(&mut body.take(MAX_UPLOAD))
        };
        answered.inspect_err(|error| (serving.alarm)(error))
    });
    let answer = match answered.await {
        Ok(Ok(Uploaded::Cosigned(lines))) => lines.into_response(),
        Ok(Ok(Uploaded::Partly(info))) => told(StatusCode::ACCEPTED, &info),
        Ok(Ok(Uploaded::Conflict(info))) => told(StatusCode::CONFLICT, &info),
        Ok(Ok(Uploaded::BadRequest(why))) => {
            (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response()
        }
        Ok(Ok(Uploaded::UnknownLog)) => StatusCode::NOT_FOUND.into_response(),
        Ok(Ok(Uploaded::Unprocessable(why))) => {
            (StatusCode::UNPROCESSABLE_ENTITY, format!("{why}\n")).into_response()
        }
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    };
    ([(header::ACCEPT_ENCODING, "gzip")], answer).into_response()
}

fn told(status: StatusCode, info: &Info) -> Response {
    let kind = [(header::CONTENT_TYPE, INFO_CONTENT_TYPE)];
    (status, kind, info.encode()).into_response()
}

async fn read(
    State(serving): State<Arc<Serving>>,
    extract::Path((origin, key)): extract::Path<(String, String)>,
) -> Response {
    let Some(counted) = Counted::of(&serving, |serving| &serving.reads, MAX_REQUESTS) else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let kind = match key.as_str() {
        "checkpoint" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    };
    let read = tokio::task::spawn_blocking(move || {
        let serving = &counted.0;
        let read = serving.mirror.read(&origin, &key);
        read.inspect_err(|error| (serving.alarm)(error))
    });
    match read.await {
        Ok(Ok(Some(bytes))) => ([(header::CONTENT_TYPE, kind)], bytes).into_response(),
        Ok(Ok(None)) => StatusCode::NOT_FOUND.into_response(),
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The body of a request, read by a thread that may wait for it.
struct Streamed {
    body: Body,
    chunk: Bytes,
    begun: tokio::time::Instant,
    received: u64,
    runtime: tokio::runtime::Handle,
}

impl Read for Streamed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            // Whoever is slower than this leaves the place to others.
            let allowed = PAUSE + Duration::from_millis(self.received / MIN_RATE);
            let until = self.begun + allowed.min(UPLOAD_TIME);
            let body = &mut self.body;
            let frame =
                std::future::poll_fn(move |context| Pin::new(&mut *body).poll_frame(context));
            let frame = self
                .runtime
                .block_on(async { tokio::time::timeout_at(until, frame).await });
            match frame {
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        self.received += data.len() as u64;
                        self.chunk = data;
                    }
                }
                Ok(Some(Err(error))) => return Err(io::Error::other(error)),
                Ok(None) => return Ok(0),
                Err(_) => return Err(io::ErrorKind::TimedOut.into()),
            }
        }
        let part = self.chunk.split_to(self.chunk.len().min(buffer.len()));
        let (written, _) = buffer.split_at_mut(part.len());
        written.copy_from_slice(&part);
        Ok(part.len())
    }
}
