//! The client of a witness (C2SP tlog-witness): asks for cosignatures on a checkpoint. Bounded in
//! size and time; believes no witness without its signature. A mirror is a witness that is sent the entries as
//! well: see `mirror`. Which ones are, the caller says: a log may be private.

use std::io::Read;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::mirror;
use crate::checkpoint::{Checkpoint, CheckpointError, decimal};
use crate::cosignature::{self, Signed};
use crate::ledger::Log;
use crate::note::{Note, NoteKey};
use crate::tlog_policy::{TlogPolicy, Witness};
use crate::witness::{AddCheckpoint, SIZE_CONTENT_TYPE};

/// Why a witness did not cosign.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WitnessError {
    #[error("the policy names no address for it")]
    NoUrl,
    #[error("cannot be reached")]
    Request(#[source] reqwest::Error),
    #[error("its answer cannot be read")]
    Body(#[source] std::io::Error),
    #[error("answers {status}: {body}")]
    Status { status: u16, body: String },
    #[error("answers 409 without the size that it knows: it knows another tree")]
    Conflict,
    #[error("knows a tree of {known} entries, this checkpoint has {size}")]
    Ahead { known: u64, size: u64 },
    #[error("knows a tree of another size each time it is asked ({known} entries now)")]
    Moving { known: u64 },
    #[error("its answer is larger than {MAX_ANSWER} bytes, or not text")]
    TooLarge,
    #[error("its answer holds no cosignature by its key")]
    NoCosignature,
    #[error("its answer is wrong: {0}")]
    Wrong(#[from] CheckpointError),
    #[error("no proof from {old} entries on: {why}")]
    Proof { old: u64, why: String },
    #[error("the time for it is up")]
    TimedOut,
}

/// What a witness answered.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// Signature lines; nothing is verified yet.
    Cosignatures(String),
    /// It knows a tree of this size.
    Conflict(u64),
}

/// A checkpoint with the cosignatures that were gathered.
#[derive(Debug)]
pub struct Gathered {
    /// The note: the log's signatures, then the witnesses'.
    pub note: Vec<u8>,
    /// The witnesses, by their names in the policy, that cosigned now.
    pub signed: Vec<String>,
    /// Those that did not, and why.
    pub missing: Vec<(String, WitnessError)>,
}

const MAX_ANSWER: u64 = 64 << 10;

/// One client for all: witnesses are asked again and again, over connections that stay open.
pub(super) fn client() -> Result<reqwest::blocking::Client, WitnessError> {
    static CLIENT: OnceLock<reqwest::blocking::Client> = OnceLock::new();
    if let Some(client) = CLIENT.get() {
        return Ok(client.clone());
    }
    // Whoever embeds the library may have chosen a provider already; then that one serves.
    _ = rustls::crypto::ring::default_provider().install_default();
    // The specification knows no redirect, and a witness that sends us elsewhere is not it.
    let client = reqwest::blocking::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("weighbridge/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(WitnessError::request)?;
    Ok(CLIENT.get_or_init(|| client).clone())
}

/// Asks the witness at the submission prefix `url`, within `limit`.
pub fn add_checkpoint(
    url: &str,
    request: &AddCheckpoint,
    limit: Duration,
) -> Result<Answer, WitnessError> {
    let response = client()?
        .post(format!("{}/add-checkpoint", url.trim_end_matches('/')))
        .timeout(limit)
        .body(request.encode())
        .send()
        .map_err(WitnessError::request)?;
    let (status, kind, body) = read_answer(response)?;
    match status {
        200 => Ok(Answer::Cosignatures(body)),
        // Some witnesses answer 409 to a root that contradicts theirs, without a size: asking again
        // would not help.
        409 => body
            .strip_suffix('\n')
            .filter(|_| kind.as_deref() == Some(SIZE_CONTENT_TYPE))
            .and_then(decimal)
            .map(Answer::Conflict)
            .ok_or(WitnessError::Conflict),
        status => Err(WitnessError::status(status, &body)),
    }
}

/// The status, the content type and the text of an answer.
pub(super) fn read_answer(
    response: reqwest::blocking::Response,
) -> Result<(u16, Option<String>, String), WitnessError> {
    let status = response.status().as_u16();
    let kind = response.headers().get(reqwest::header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).map(str::to_owned);
    let mut bytes = Vec::new();
    response
        .take(MAX_ANSWER + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| match source.kind() {
            std::io::ErrorKind::TimedOut => WitnessError::TimedOut,
            _ => WitnessError::Body(source),
        })?;
    if bytes.len() as u64 > MAX_ANSWER {
        return Err(WitnessError::TooLarge);
    }
    let body = String::from_utf8(bytes).map_err(|_| WitnessError::TooLarge)?;
    Ok((status, kind, body))
}

/// Asks all witnesses of `trust` for cosignatures on the checkpoint of `log`, at the same time and within
/// `limit`.
///
/// `expected` is the size that they are thought to know: that of the checkpoint before. One that
/// names another size is asked once more. Those at the addresses `mirrors` are sent the entries that they
/// lack.
/// What is missing is an answer, not an error: whether it suffices, `trust` says.
pub fn gather(
    trust: &TlogPolicy,
    log: &Log<'_>,
    expected: u64,
    mirrors: &[String],
    limit: Duration,
) -> Result<Gathered, CheckpointError> {
    let note = log.note();
    let trust_in_log = trust.without_quorum();
    let checkpoint = trust_in_log.open(note)?;
    let parsed = Note::parse(note)?;
    let logs: Vec<&NoteKey> = trust.logs().collect();
    // Witnesses limit what they read: other witnesses' signatures are no business of theirs.
    let bare = parsed.with_signatures(&logs, "");
    // A mirror serves what it is sent: readers of the copy ask for the log's second signature too.
    let own = trust.witnesses().iter().map(|witness| &witness.key);
    let own = own.filter(|key| key.name() == checkpoint.origin);
    let both: Vec<&NoteKey> = logs.iter().copied().chain(own).collect();
    let for_mirrors = parsed.with_signatures(&both, "");
    let ask = Ask {
        log,
        bare: &bare,
        for_mirrors: &for_mirrors,
        expected: expected.min(checkpoint.size),
        mirrors,
        until: Instant::now() + limit,
    };
    // The log's own second key may stand in the policy as a witness. It signed already.
    let others: Vec<&Witness> = trust
        .witnesses()
        .iter()
        .filter(|witness| witness.key.name() != checkpoint.origin)
        .collect();
    // Witnesses behind one address are asked once: a witness may have a key of each type.
    let mut urls: Vec<&str> = others.iter().filter_map(|witness| witness.url()).collect();
    urls.sort_unstable();
    urls.dedup();
    let answers: Vec<(&str, Result<String, WitnessError>)> = std::thread::scope(|scope| {
        let started: Vec<_> = urls
            .into_iter()
            .map(|url| (url, scope.spawn(|| ask.witness(url))))
            .collect();
        let joined = started
            .into_iter()
            .map(|(url, thread)| (url, thread.join().unwrap_or(Err(WitnessError::TimedOut))));
        joined.collect()
    });
    let (mut lines, mut signed, mut missing) = (String::new(), Vec::new(), Vec::new());
    let mut replaced = Vec::new();
    for witness in others {
        let answer = answers
            .iter()
            .find(|(url, _)| witness.url() == Some(*url))
            .map(|(_, answer)| answer);
        let found = match answer {
            None => Err(WitnessError::NoUrl),
            Some(Err(error)) => Err(error.again()),
            Some(Ok(answer)) => cosignature_in(answer, &bare, &checkpoint, &witness.key),
        };
        match found {
            Ok(line) => {
                lines.push_str(&line);
                signed.push(witness.name());
                replaced.push(&witness.key);
            }
            Err(error) => {
                missing.push((witness.name(), error));
            }
        }
    }
    Ok(Gathered {
        // What others signed before is worth as much as it was, also if this policy does not ask for it.
        note: parsed.replacing(&replaced, &lines).into_bytes(),
        signed,
        missing,
    })
}

struct Ask<'a> {
    log: &'a Log<'a>,
    bare: &'a str,
    for_mirrors: &'a str,
    expected: u64,
    mirrors: &'a [String],
    until: Instant,
}

impl Ask<'_> {
    fn witness(&self, url: &str) -> Result<String, WitnessError> {
        let size = self.log.checkpoint().size;
        let lines = match self.once(url, self.expected)? {
            Answer::Cosignatures(lines) => lines,
            Answer::Conflict(known) if known > size => {
                return Err(WitnessError::Ahead { known, size });
            }
            Answer::Conflict(known) => match self.once(url, known)? {
                Answer::Cosignatures(lines) => lines,
                Answer::Conflict(known) => return Err(WitnessError::Moving { known }),
            },
        };
        if !self.is_mirror(url) {
            return Ok(lines);
        }
        // It may be a witness too, under another name.
        Ok(lines + &mirror::upload(url, self.log, self.expected, self.until)?)
    }

    fn is_mirror(&self, url: &str) -> bool {
        let same = |mirror: &String| mirror.trim_end_matches('/') == url.trim_end_matches('/');
        self.mirrors.iter().any(same)
    }

    fn once(&self, url: &str, old: u64) -> Result<Answer, WitnessError> {
        let proof = if old == 0 || old == self.log.checkpoint().size {
            Vec::new()
        } else {
            let proof = self.log.consistency(old);
            let proof = proof.map_err(|error| WitnessError::Proof {
                old,
                why: crate::gate::cause(&error),
            })?;
            proof.0
        };
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(WitnessError::TimedOut);
        }
        let request = AddCheckpoint {
            old,
            proof,
            checkpoint: if self.is_mirror(url) {
                self.for_mirrors.into()
            } else {
                self.bare.into()
            },
        };
        add_checkpoint(url, &request, left)
    }
}

/// The lines by `key` in what a witness answered, if they are right.
fn cosignature_in(
    answer: &str,
    bare: &str,
    checkpoint: &Checkpoint,
    key: &NoteKey,
) -> Result<String, WitnessError> {
    let note = format!("{bare}{answer}");
    let parsed = Note::parse(note.as_bytes()).map_err(CheckpointError::from)?;
    match cosignature::verify(&parsed, checkpoint, key).map_err(CheckpointError::from)? {
        Signed::At(_) => {}
        Signed::Not | Signed::Untimed => return Err(WitnessError::NoCosignature),
    }
    let text = format!("{}\n", parsed.text);
    let only = parsed.with_signatures(&[key], "");
    Ok(only.strip_prefix(&text).unwrap_or_default().into())
}

impl WitnessError {
    pub(super) fn request(source: reqwest::Error) -> WitnessError {
        if source.is_timeout() {
            WitnessError::TimedOut
        } else {
            WitnessError::Request(source.without_url())
        }
    }

    pub(super) fn status(status: u16, body: &str) -> WitnessError {
        let body: String = body.chars().take(200).collect();
        let body = crate::path::display(body.trim_end());
        WitnessError::Status { status, body }
    }

    /// The same for a second key behind the same address.
    fn again(&self) -> WitnessError {
        match self {
            WitnessError::Conflict => WitnessError::Conflict,
            WitnessError::TimedOut => WitnessError::TimedOut,
            WitnessError::Ahead { known, size } => WitnessError::Ahead {
                known: *known,
                size: *size,
            },
            WitnessError::Moving { known } => WitnessError::Moving { known: *known },
            other => WitnessError::Status {
                status: match other {
                    WitnessError::Status { status, .. } => *status,
                    _ => 0,
                },
                body: match other {
                    WitnessError::Status { body, .. } => body.clone(),
                    other => crate::gate::cause(other),
                },
            },
        }
    }
}
