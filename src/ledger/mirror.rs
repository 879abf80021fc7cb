//! Copying a log, verified on the way (any C2SP tlog-tiles log, from any store). Only what the new
//! checkpoint implies is fetched; tiles are written before the checkpoint, so that an interrupted
//! copy is an older copy, and goes on where it stopped.

use super::edge::Edge;
use super::memory::goes_on;
use super::publish::{CHECKPOINT, drop_replaced, write_tiles};
use super::reader::Log;
use super::store::{DirectoryStore, Store};
use super::tile::WIDTH;
use super::{LedgerError, MemoryError, blob, blob_key, put_blob};
use crate::digest::Sha256;
use crate::envelope::Envelope;
use crate::ledger::tile::MAX_ENTRY;
use crate::statement::Statement;

/// What a copy did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mirrored {
    /// How many entries there were before.
    pub from: u64,
    /// How many there are now.
    pub to: u64,
    /// Blobs that records name and the source does not have.
    pub missing_blobs: u64,
}

/// Are the manifests copied that records name?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blobs {
    Copied,
    LeftOut,
}

/// How many bundles are verified and written at a time.
const CHUNK: u64 = 16;

/// Brings the copy in `target` to the checkpoint of `log`, which must go on from the copy.
pub fn mirror(
    log: &Log<'_>,
    target: &DirectoryStore,
    blobs: Blobs,
) -> Result<Mirrored, MemoryError> {
    let _lock = target.lock().map_err(LedgerError::from)?;
    let source = log.store();
    let checkpoint = log.checkpoint();
    // What lies here was verified when it came, under the trust of that time.
    let kept = Log::open_unverified(target)?;
    let mut edge = match &kept {
        Some(kept) => {
            goes_on(log, kept.note(), &target.root().join(CHECKPOINT))?;
            Edge::read(target, kept.checkpoint())?
        }
        None => Edge::default(),
    };
    let from = edge.size();
    let mut missing_blobs = 0;
    let mut replaced = Vec::new();
    while edge.size() < checkpoint.size {
        let end = checkpoint.size.min((edge.size() / WIDTH + CHUNK) * WIDTH);
        let mut entries = Vec::new();
        for bundle in edge.size() / WIDTH..end.div_ceil(WIDTH) {
            let skip = edge.size().saturating_sub(bundle * WIDTH);
            let skip = usize::try_from(skip).unwrap_or(usize::MAX);
            entries.extend(log.entries(bundle)?.into_iter().skip(skip));
        }
        edge.extend(&entries)?;
        // The log proves that its tree of this size is part of what it signed.
        let (_, root) = log.consistency(edge.size())?;
        if edge.size() != end || edge.root()? != root {
            log.distrust();
            let what = format!("the entries up to {end} do not lead to the signed root");
            return Err(LedgerError::damaged("tile/entries", what).into());
        }
        if blobs == Blobs::Copied {
            for entry in &entries {
                missing_blobs += copy_blobs(source, target, entry)?;
            }
        }
        let complete = edge.take_complete();
        write_tiles(target, &complete)?;
        replaced.extend(complete.into_iter().map(|(tile, _)| (tile, Vec::new())));
    }
    write_tiles(target, &edge.partial())?;
    target
        .replace(CHECKPOINT, log.note())
        .map_err(LedgerError::from)?;
    drop_replaced(target, &replaced);
    Ok(Mirrored {
        from,
        to: checkpoint.size,
        missing_blobs,
    })
}

/// Copies the blobs that `entry` names; how many the source does not have.
fn copy_blobs(source: &dyn Store, target: &dyn Store, entry: &[u8]) -> Result<u64, LedgerError> {
    let mut missing = 0;
    for digest in named_blobs(entry) {
        if target.exists(&blob_key(&digest))? {
            continue;
        }
        match blob(source, &digest) {
            Ok(bytes) => _ = put_blob(target, &bytes)?,
            Err(LedgerError::NoBlob { .. }) => missing += 1,
            Err(error) => return Err(error),
        }
    }
    Ok(missing)
}

/// The digests of the blobs that the record in `entry` names: its manifest, and what is attached to it.
pub fn named_blobs(entry: &[u8]) -> Vec<Sha256> {
    let envelope = Envelope::parse(entry, MAX_ENTRY).ok();
    let statement = envelope.and_then(|envelope| Statement::parse(&envelope.payload).ok());
    statement.map_or(Vec::new(), |statement| statement.record.blobs())
}
