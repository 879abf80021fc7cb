//! The client of a mirror (C2SP tlog-mirror): uploads what the mirror lacks of a log. Bounded in memory,
//! size and time; believes nothing that the mirror says but where to go on.

use std::io::Write;
use std::time::Instant;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::witness::{WitnessError, client, read_answer};
use crate::ledger::Log;
use crate::tlog_mirror::{Header, INFO_CONTENT_TYPE, Info, MAX_PACKAGES, intervals};

/// A request is not made larger than this, unless its first package is.
const MAX_BODY: usize = 16 << 20;
/// How often in a row a mirror may move the start without having taken anything.
const MAX_MOVES: u32 = 4;

/// What a mirror answered.
enum Answer {
    Cosignatures(String),
    /// It took what was sent, and wants to go on from here.
    Taken(Info),
    /// It took nothing, and wants to go on from here.
    Moved(Info),
}

/// Uploads the entries of `log` that the mirror at the submission prefix `url` lacks, of which there are
/// probably `expected`; it has accepted the checkpoint of `log` as pending. Its signature lines; nothing
/// is verified yet.
pub(super) fn upload(
    url: &str,
    log: &Log<'_>,
    expected: u64,
    until: Instant,
) -> Result<String, WitnessError> {
    let size = log.checkpoint().size;
    let mut at = Info {
        size,
        next: expected.min(size),
        ticket: Vec::new(),
    };
    let mut moves = 0;
    loop {
        let answer = send(url, log, &at, until)?;
        let (info, took) = match answer {
            Answer::Cosignatures(lines) => return Ok(lines),
            Answer::Taken(info) => (info, true),
            Answer::Moved(info) => (info, false),
        };
        if info.size > size {
            let known = info.size;
            return Err(WitnessError::Ahead { known, size });
        }
        // One that never comes forward is not asked for ever.
        if took && info.next > at.next {
            moves = 0;
        } else {
            moves += 1;
        }
        if info.size != size || info.next > size || moves >= MAX_MOVES {
            return Err(WitnessError::Moving { known: info.next });
        }
        at = info;
    }
}

fn send(url: &str, log: &Log<'_>, at: &Info, until: Instant) -> Result<Answer, WitnessError> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(WitnessError::TimedOut);
    }
    let body = body(log, at)?;
    let response = client()?
        .post(format!("{}/add-entries", url.trim_end_matches('/')))
        .timeout(left)
        .header("content-type", "application/octet-stream")
        .header("content-encoding", "gzip")
        .body(body)
        .send()
        .map_err(WitnessError::request)?;
    let (status, kind, body) = read_answer(response)?;
    let info = || {
        let info = Info::parse(&body).filter(|_| {
            let kind = kind.as_deref().unwrap_or_default();
            kind.split(';').next().map(str::trim) == Some(INFO_CONTENT_TYPE)
        });
        info.ok_or(WitnessError::Conflict)
    };
    match status {
        200 => Ok(Answer::Cosignatures(body)),
        202 => Ok(Answer::Taken(info()?)),
        409 => Ok(Answer::Moved(info()?)),
        status => {
            // It may be ours that is wrong, and it is read again then.
            log.distrust();
            Err(WitnessError::status(status, &body))
        }
    }
}

/// The request that goes on from `at`, compressed.
fn body(log: &Log<'_>, at: &Info) -> Result<Vec<u8>, WitnessError> {
    let unfit = |why: &str| WitnessError::Proof {
        old: at.next,
        why: why.into(),
    };
    let header = Header {
        origin: log.checkpoint().origin.clone().into_bytes(),
        start: at.next,
        end: at.size,
        ticket: at.ticket.clone(),
    };
    let header = header
        .encode()
        .ok_or_else(|| unfit("the origin is too long"))?;
    let mut body = GzEncoder::new(Vec::new(), Compression::fast());
    let broken = |error: std::io::Error| unfit(&error.to_string());
    body.write_all(&header).map_err(broken)?;
    let mut written = 0;
    for interval in intervals(at.next, at.size).take(MAX_PACKAGES) {
        if written > MAX_BODY {
            break;
        }
        let package = log
            .package(&interval)
            .map_err(|error| WitnessError::Proof {
                old: interval.start,
                why: crate::gate::cause(&error),
            })?;
        let package = package
            .encode()
            .ok_or_else(|| unfit("an entry is too long"))?;
        body.write_all(&package).map_err(broken)?;
        written += package.len();
    }
    body.finish().map_err(broken)
}
