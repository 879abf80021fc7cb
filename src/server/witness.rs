//! A witness (C2SP tlog-witness): takes checkpoints over HTTP, and cosigns those that continue what
//! it cosigned before. Does not offer `sign-subtree`, which is optional.
//!
//! What it cosigned last for a log is the file `<sha256 of the origin>/checkpoint` in its directory:
//! the note with the log's signatures and its own, which monitors are served. Checking and replacing
//! that file happen under a lock between processes, and the file is durable before the answer
//! leaves. A directory that is put back to an older state makes the witness forget: never restore it
//! from a backup while the key is in use.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{self, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::connections::{self, Limits};
use crate::checkpoint::Checkpoint;
use crate::cosignature::{self, Signed, WitnessSigner};
use crate::digest::Sha256;
use crate::disk::{self, Access, DiskError, Existing, Lock};
use crate::note::{MAX_NOTE, Note, NoteError, NoteKey};
use crate::time::Timestamp;
use crate::witness::{self, AddCheckpoint, MAX_REQUEST, SIZE_CONTENT_TYPE, Seen, Verdict};

/// A witness with its state.
#[derive(Debug)]
pub struct Witness {
    signer: WitnessSigner,
    logs: Vec<NoteKey>,
    directory: PathBuf,
    clock: fn() -> Timestamp,
}

/// Why a witness can answer nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WitnessStateError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("{} is not a checkpoint that this witness cosigned", path.display())]
    Damaged { path: PathBuf },
    #[error("the checkpoint {0}")]
    Cosign(#[from] NoteError),
}

/// What a witness says to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// The cosignature lines. They are of a checkpoint that is durably remembered.
    Cosigned(String),
    Refused(Verdict),
}

/// Within which the body of `add-checkpoint` has to be there.
const BODY_TIME: Duration = Duration::from_secs(10);
const LIMITS: Limits = Limits {
    connections: 512,
    silence: Duration::from_secs(15),
};
/// Requests that are worked on at a time; the rest is told to come again.
const MAX_REQUESTS: usize = 64;

impl Witness {
    /// The witness that `signer` signs for, of the logs with these keys, with its state in
    /// `directory`, which is made if it is not there.
    pub fn open(
        signer: WitnessSigner,
        logs: Vec<NoteKey>,
        directory: &Path,
        clock: fn() -> Timestamp,
    ) -> Result<Witness, WitnessStateError> {
        disk::create_directory(directory)?;
        let witness = Witness {
            signer,
            logs,
            directory: directory.into(),
            clock,
        };
        // A state that cannot be read is better found now than at the first request.
        for log in &witness.logs {
            witness.remembered(&hash(log.name()))?;
        }
        Ok(witness)
    }

    /// Its verifier keys.
    pub fn keys(&self) -> [&NoteKey; 2] {
        self.signer.keys()
    }

    /// Answers the request with this body.
    pub fn add_checkpoint(&self, body: &[u8]) -> Result<Answered, WitnessStateError> {
        let Ok(request) = AddCheckpoint::parse(body) else {
            let verdict = Verdict::BadRequest("the request is malformed");
            return Ok(Answered::Refused(verdict));
        };
        // What no state could change is answered without waiting for the lock.
        let first = witness::judge(&request, None, &self.logs);
        if matches!(first.status(), 400 | 403 | 404) {
            return Ok(Answered::Refused(first));
        }
        let origin = match Note::parse(&request.checkpoint)
            .ok()
            .and_then(|note| Checkpoint::parse(note.text).ok())
        {
            Some(checkpoint) => hash(&checkpoint.origin),
            None => return Ok(Answered::Refused(first)),
        };
        let directory = self.directory.join(&origin);
        disk::create_directory(&directory)?;
        let _turn = Lock::acquire(&directory.join("lock"))?;
        let remembered = self.remembered(&origin)?;
        let seen = remembered.map(|(seen, _)| seen);
        let accepted = match witness::judge(&request, seen, &self.logs) {
            Verdict::Cosign(accepted) => accepted,
            refused => return Ok(Answered::Refused(refused)),
        };
        // A clock that was set back does not make this witness contradict itself.
        let before = remembered.map_or(0, |(_, time)| time);
        let time = (self.clock)().seconds().max(before);
        let parsed = Note::parse(accepted.note.as_bytes())?;
        let lines = self.signer.cosign(parsed.text, time)?;
        let note = accepted.note + &lines;
        // What is written must be readable again: this witness would never come up without it.
        Note::parse(note.as_bytes())?;
        let path = directory.join("checkpoint");
        disk::write(&path, note.as_bytes(), Existing::Replace, Access::Shared)?;
        Ok(Answered::Cosigned(lines))
    }

    /// The newest checkpoint of the log with this hash of its origin, as it was cosigned.
    pub fn checkpoint(&self, origin: &str) -> Result<Option<Vec<u8>>, WitnessStateError> {
        let known = |log: &NoteKey| hash(log.name()) == origin;
        if !self.logs.iter().any(known) {
            return Ok(None);
        }
        match disk::read(&self.path(origin), MAX_NOTE as u64) {
            Ok(note) => Ok(Some(note)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn path(&self, origin: &str) -> PathBuf {
        self.directory.join(origin).join("checkpoint")
    }

    /// The tree that was cosigned last, and when. A file without our signature is an error: to take
    /// it for no tree would be to forget.
    fn remembered(&self, origin: &str) -> Result<Option<(Seen, u64)>, WitnessStateError> {
        let path = self.path(origin);
        let bytes = match disk::read(&path, MAX_NOTE as u64) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let [key, _] = self.signer.keys();
        let read = |bytes: &[u8]| {
            let note = Note::parse(bytes).ok()?;
            let checkpoint = Checkpoint::parse(note.text).ok()?;
            let Ok(Signed::At(time)) = cosignature::verify(&note, &checkpoint, key) else {
                return None;
            };
            let seen = Seen {
                size: checkpoint.size,
                root: checkpoint.root,
            };
            (hash(&checkpoint.origin) == origin).then_some((seen, time))
        };
        match read(&bytes) {
            Some(remembered) => Ok(Some(remembered)),
            None => Err(WitnessStateError::Damaged { path }),
        }
    }
}

/// How a log is named in the address of its checkpoint.
fn hash(origin: &str) -> String {
    Sha256::of(origin.as_bytes()).to_string()
}

struct Serving {
    witness: Witness,
    requests: AtomicUsize,
    /// Where a state that cannot be read or written is told.
    alarm: Box<dyn Fn(&WitnessStateError) + Send + Sync>,
}

/// Serves `witness` on `listener` until `stop` is ready. `alarm` is told what went wrong here, which
/// no client is told.
pub async fn serve(
    listener: tokio::net::TcpListener,
    witness: Witness,
    alarm: impl Fn(&WitnessStateError) + Send + Sync + 'static,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let serving = Arc::new(Serving {
        witness,
        requests: AtomicUsize::new(0),
        alarm: Box::new(alarm),
    });
    let router = Router::new()
        .route("/add-checkpoint", post(add_checkpoint))
        .route("/{origin}/checkpoint", get(checkpoint))
        .with_state(serving);
    connections::serve(listener, LIMITS, router, stop).await
}

/// Counts a request as long as it lives.
struct Counted(Arc<Serving>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn add_checkpoint(State(serving): State<Arc<Serving>>, body: Body) -> Response {
    let busy = serving.requests.fetch_add(1, Ordering::Relaxed) >= MAX_REQUESTS;
    let counted = Counted(serving);
    if busy {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let body = match checkpoint_body(body).await {
        Ok(body) => body,
        Err(status) => return status.into_response(),
    };
    let answered = tokio::task::spawn_blocking(move || {
        let answered = counted.0.witness.add_checkpoint(&body);
        answered.inspect_err(|error| (counted.0.alarm)(error))
    });
    match answered.await {
        Ok(Ok(Answered::Cosigned(lines))) => lines.into_response(),
        Ok(Ok(Answered::Refused(verdict))) => answer_of(&verdict),
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The body of `add-checkpoint`, or what is answered instead.
pub(super) async fn checkpoint_body(body: Body) -> Result<Bytes, StatusCode> {
    let read = axum::body::to_bytes(body, MAX_REQUEST);
    match tokio::time::timeout(BODY_TIME, read).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
    }
}

/// An answer that is no cosignature.
pub(super) fn answer_of(verdict: &Verdict) -> Response {
    let status = StatusCode::from_u16(verdict.status());
    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = verdict.body();
    match verdict {
        Verdict::Conflict(_) => {
            (status, [(header::CONTENT_TYPE, SIZE_CONTENT_TYPE)], body).into_response()
        }
        _ => (status, body).into_response(),
    }
}

async fn checkpoint(
    State(serving): State<Arc<Serving>>,
    extract::Path(origin): extract::Path<String>,
) -> Response {
    let read = tokio::task::spawn_blocking(move || serving.witness.checkpoint(&origin));
    match read.await {
        Ok(Ok(Some(note))) => {
            let kind = "text/plain; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], note).into_response()
        }
        Ok(Ok(None)) => StatusCode::NOT_FOUND.into_response(),
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
