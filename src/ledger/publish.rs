//! Publishing: the tiles that the committed entries imply, then the signed checkpoint over them.
//! Any number of publishers may run: they derive the same bytes, and sign only what is committed.

use super::LedgerError;
use super::chain::STATE;
use super::head::Head;
use super::reader::Log;
use super::store::{Created, DirectoryStore, Store};
use super::tile::Tile;
use crate::checkpoint::Checkpoint;
use crate::cosignature::LogSigner;
use crate::note::MAX_NOTE;
use crate::time::Timestamp;
use crate::tlog_policy::TlogPolicy;

/// The key of the checkpoint.
pub(super) const CHECKPOINT: &str = "checkpoint";

/// Asks witnesses to cosign a checkpoint before it is published.
pub trait Cosigners: Sync {
    /// The note of `log`, which is not published yet, with the cosignatures that could be had;
    /// `previous` is the size of the checkpoint before. An error keeps it from being published.
    fn cosign(&self, log: &Log<'_>, previous: u64) -> Result<String, LedgerError>;
}

/// Who publishes.
#[derive(Clone, Copy)]
pub struct Publisher<'a> {
    pub signer: &'a LogSigner,
    pub cosigners: Option<&'a dyn Cosigners>,
    /// The time of this machine.
    pub clock: &'a (dyn Fn() -> Timestamp + Sync),
}

/// Puts `note` in the place of the checkpoint `expected`, if that is still there. In a directory no
/// writer comes between.
pub fn replace_checkpoint(
    store: &dyn Store,
    expected: &[u8],
    note: &[u8],
) -> Result<bool, LedgerError> {
    let _lock = store.directory().map(DirectoryStore::lock).transpose()?;
    if store.read(CHECKPOINT, MAX_NOTE as u64)?.as_deref() != Some(expected) {
        return Ok(false);
    }
    store.replace(CHECKPOINT, note)?;
    Ok(true)
}

/// Reads the newest checkpoint, which `trust` must accept.
pub(super) fn newest(
    store: &dyn Store,
    trust: &TlogPolicy,
) -> Result<(Checkpoint, Vec<u8>), LedgerError> {
    let note = store
        .read(CHECKPOINT, MAX_NOTE as u64)?
        .ok_or(LedgerError::NoCheckpoint)?;
    Ok((trust.open(&note)?, note))
}

/// Publishes what `head` has. Returns the checkpoint that covers it, which may be another
/// publisher's, and its note.
pub(super) fn publish(
    store: &dyn Store,
    publisher: &Publisher<'_>,
    trust: &TlogPolicy,
    head: &mut Head,
) -> Result<(Checkpoint, Vec<u8>), LedgerError> {
    let others = match store.directory() {
        Some(_) => Others::LockedOut,
        None => Others::MayPublish,
    };
    publish_with(store, publisher, trust, head, others)
}

/// The same over a checkpoint that cannot be read.
pub(super) fn publish_over(
    store: &dyn Store,
    publisher: &Publisher<'_>,
    trust: &TlogPolicy,
    head: &mut Head,
) -> Result<(Checkpoint, Vec<u8>), LedgerError> {
    publish_with(store, publisher, trust, head, Others::LockedOut)
}

/// Other publishers of the same log.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Others {
    /// Writers take turns, or the checkpoint is no use to them.
    LockedOut,
    MayPublish,
}

fn publish_with(
    store: &dyn Store,
    publisher: &Publisher<'_>,
    trust: &TlogPolicy,
    head: &mut Head,
    others: Others,
) -> Result<(Checkpoint, Vec<u8>), LedgerError> {
    let edge = head
        .edge
        .as_mut()
        .ok_or_else(|| LedgerError::damaged("tile", "the tree was not read"))?;
    let complete = edge.take_complete();
    write_tiles(store, &complete)?;
    write_tiles(store, &edge.partial())?;
    let checkpoint = Checkpoint {
        origin: publisher.signer.origin().into(),
        size: edge.size(),
        root: edge.root()?,
    };
    // A clock that was set back does not make the log contradict itself.
    let previous = store.read(CHECKPOINT, MAX_NOTE as u64)?.unwrap_or_default();
    let now = (publisher.clock)();
    let mut note = publisher.signer.sign_after(&previous, &checkpoint, now)?;
    if let Some(cosigners) = publisher.cosigners {
        let log = Log::at(store, checkpoint.clone(), note.clone().into_bytes());
        let before = trust.open(&previous);
        let before = before.map_or(0, |checkpoint| checkpoint.size);
        let cosigned = cosigners.cosign(&log, before);
        note = match cosigned {
            Ok(note) => note,
            // A witness that knows a larger tree does not cosign this one; whoever published that one
            // has published this.
            Err(error) => {
                return match newest(store, trust) {
                    Ok((there, note))
                        if others == Others::MayPublish && there.size >= checkpoint.size =>
                    {
                        Ok((there, note))
                    }
                    _ => Err(error),
                };
            }
        };
    }
    // On a bucket another publisher may be further, and a slower one may put an older checkpoint
    // over a newer one: whoever sees that puts the newer one back.
    for _ in 0..ATTEMPTS {
        if others == Others::MayPublish {
            let (there, note) = newest(store, trust)?;
            if there.size > checkpoint.size {
                return Ok((there, note));
            }
        }
        store.replace(CHECKPOINT, note.as_bytes())?;
        if others == Others::LockedOut || newest(store, trust)?.0.size >= checkpoint.size {
            break;
        }
    }
    // Published. What follows only saves work and space: if it fails, nothing is lost.
    let state = head.chain.text(publisher.signer.origin());
    if let Ok(state) = publisher.signer.sign_text(&state) {
        _ = store.replace(STATE, state.as_bytes());
    }
    if store.directory().is_some() {
        drop_replaced(store, &complete);
    }
    Ok((checkpoint, note.into_bytes()))
}

/// How often a checkpoint is put back that a slower publisher replaced.
const ATTEMPTS: usize = 5;

/// Creates tiles, or makes sure that those that are there are the same.
pub(super) fn write_tiles(store: &dyn Store, tiles: &[(Tile, Vec<u8>)]) -> Result<(), LedgerError> {
    let items: Vec<(String, Vec<u8>)> = tiles
        .iter()
        .map(|(tile, bytes)| (tile.key(), bytes.clone()))
        .collect();
    let created = store.create_all(&items)?;
    for ((key, bytes), created) in items.into_iter().zip(created) {
        if created == Created::New {
            continue;
        }
        match store.read(&key, bytes.len() as u64) {
            Ok(Some(there)) if there == bytes => {}
            Ok(_) => {
                let what = "is not what the committed entries imply: a fork, or damage";
                return Err(LedgerError::damaged(key, what));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Removes the partial forms of tiles that are complete (C2SP tlog-tiles: may be deleted).
pub(super) fn drop_replaced(store: &dyn Store, complete: &[(Tile, Vec<u8>)]) {
    for (tile, _) in complete {
        let directory = tile.partial_directory();
        for key in store.list(&format!("{directory}/")).unwrap_or_default() {
            _ = store.remove(&key);
        }
        _ = store.remove(&directory);
    }
}

/// The tree and the checkpoint of a log without entries.
pub(super) fn empty(origin: &str) -> Checkpoint {
    Checkpoint {
        origin: origin.into(),
        size: 0,
        root: crate::merkle::empty_root(),
    }
}
