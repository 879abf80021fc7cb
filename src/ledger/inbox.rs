//! The inbox of a ledger in a directory: while one process writes, the others leave their entries
//! here, and the writer commits them together with its own.
//!
//! | key | content |
//! |---|---|
//! | `_inbox/<32 hex digits>` | a request: `<count>\n` and an entry bundle |
//! | `_inbox/<32 hex digits>.done` | the answer: the index of each entry, a line each |
//!
//! Nothing here is durable, and nothing here is acknowledged: who asked waits for the answer, or for
//! the writers' lock, and then does it itself.

use data_encoding::HEXLOWER;

use super::LedgerError;
use super::commit::MAX_BATCH;
use super::store::{DirectoryStore, Store};
use super::tile::{self, MAX_ENTRY};
use crate::checkpoint::decimal;
use crate::disk::{self, DiskError};

/// The directory of the inbox.
pub(super) const INBOX: &str = "_inbox";
const DONE: &str = ".done";
/// The largest request.
const MAX_REQUEST: u64 = MAX_BATCH as u64 * (MAX_ENTRY as u64 + 2) + 16;
/// The largest answer.
const MAX_ANSWER: u64 = MAX_BATCH as u64 * 21;
/// How many requests may wait.
pub(super) const MAX_WAITING: usize = 16_384;

/// Entries that a process asks the writer to commit.
#[derive(Debug)]
pub(super) struct Request {
    key: String,
    pub(super) entries: Vec<Vec<u8>>,
}

/// Leaves `entries` in the inbox. Returns the request's key.
pub(super) fn ask(store: &DirectoryStore, entries: &[Vec<u8>]) -> Result<String, LedgerError> {
    let directory = store.root().join(INBOX);
    disk::create_directory(&directory).map_err(super::StoreError::from)?;
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).map_err(|error| LedgerError::Random(error.to_string()))?;
    let key = format!("{INBOX}/{}", HEXLOWER.encode(&nonce));
    let mut bytes = format!("{}\n", entries.len()).into_bytes();
    for entry in entries {
        // Longer entries were refused before they came here.
        _ = tile::encode_entry(&mut bytes, entry);
    }
    disk::deposit(&store.root().join(&key), &bytes).map_err(super::StoreError::from)?;
    Ok(key)
}

/// Takes the answer to the request under `key`, if there is one.
pub(super) fn answer(store: &DirectoryStore, key: &str) -> Result<Option<Vec<u64>>, LedgerError> {
    let done = format!("{key}{DONE}");
    let Some(bytes) = store.read(&done, MAX_ANSWER)? else {
        return Ok(None);
    };
    store.remove(&done)?;
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    let indices: Option<Vec<u64>> = text.lines().map(decimal).collect();
    let indices = indices.filter(|indices| !indices.is_empty());
    Ok(Some(indices.ok_or_else(|| {
        LedgerError::damaged(done, "is not an answer")
    })?))
}

/// Takes a request back that nobody answered.
pub(super) fn withdraw(store: &DirectoryStore, key: &str) -> Result<(), LedgerError> {
    Ok(store.remove(key)?)
}

/// Requests with at most `room` entries together, and whether there are more. What is not a request
/// is removed.
pub(super) fn requests(
    store: &DirectoryStore,
    mut room: usize,
) -> Result<(Vec<Request>, bool), LedgerError> {
    let mut requests = Vec::new();
    for key in store.list(&format!("{INBOX}/"))? {
        if key.ends_with(DONE) || is_temporary(&key) {
            continue;
        }
        let bytes = match store.read(&key, MAX_REQUEST) {
            Ok(Some(bytes)) => bytes,
            Err(super::StoreError::Disk(
                DiskError::TooLarge { .. } | DiskError::NotRegular { .. },
            )) => {
                store.remove(&key)?;
                continue;
            }
            // A request that cannot be read is its own writer's trouble: it does it itself.
            Ok(None) | Err(_) => continue,
        };
        let Some(entries) = parse(&bytes) else {
            store.remove(&key)?;
            continue;
        };
        if entries.len() > room {
            return Ok((requests, true));
        }
        room -= entries.len();
        requests.push(Request { key, entries });
    }
    Ok((requests, false))
}

/// Removes answers that nobody fetched, when there are many. Who still waits for one asks again, and
/// its entries keep the indices that they have.
pub(super) fn sweep(store: &DirectoryStore) -> Result<(), LedgerError> {
    let mut answers = store.list(&format!("{INBOX}/"))?;
    answers.retain(|key| key.ends_with(DONE));
    if answers.len() > MAX_ANSWERS {
        for key in answers {
            store.remove(&key)?;
        }
    }
    Ok(())
}

/// How many answers may lie about.
const MAX_ANSWERS: usize = 1024;

/// How many requests wait.
pub(super) fn waiting(store: &DirectoryStore) -> Result<usize, LedgerError> {
    let keys = store.list(&format!("{INBOX}/"))?;
    Ok(keys.iter().filter(|key| !key.ends_with(DONE)).count())
}

/// Answers `request` and takes it out of the inbox.
pub(super) fn settle(
    store: &DirectoryStore,
    request: &Request,
    indices: &[u64],
) -> Result<(), LedgerError> {
    use std::fmt::Write;
    let mut text = String::new();
    for index in indices {
        // Writing to a string cannot fail.
        _ = writeln!(text, "{index}");
    }
    let done = store.root().join(format!("{}{DONE}", request.key));
    match disk::deposit(&done, text.as_bytes()) {
        Ok(()) | Err(DiskError::Exists { .. }) => {}
        Err(error) => return Err(super::StoreError::from(error).into()),
    }
    Ok(store.remove(&request.key)?)
}

fn is_temporary(key: &str) -> bool {
    key.rsplit('/')
        .next()
        .is_some_and(|name| name.starts_with(disk::TEMPORARY_PREFIX))
}

fn parse(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let newline = bytes.iter().take(8).position(|byte| *byte == b'\n')?;
    let (count, bundle) = bytes.split_at_checked(newline)?;
    let count = decimal(std::str::from_utf8(count).ok()?)?;
    if !(1..=MAX_BATCH as u64).contains(&count) {
        return None;
    }
    let entries = tile::parse_bundle(bundle.get(1..)?, count).ok()?;
    let empty = entries.iter().any(|entry| entry.is_empty());
    (!empty).then(|| entries.into_iter().map(Vec::from).collect())
}
