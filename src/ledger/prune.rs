//! What may be removed from a ledger: blobs that no record names, and partial tiles whose full tile
//! exists (C2SP tlog-tiles allows it). Entries, tiles and slots are never removed.

use std::collections::HashSet;

use super::LedgerError;
use super::mirror::named_blobs;
use super::reader::Log;
use super::tile::{Tile, WIDTH};
use super::{blob_key, commit};
use crate::ledger::chain::Chain;

/// What of it is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prunable {
    /// Blobs that no record names, committed or published.
    Blobs,
    /// Partial tiles that a full tile has replaced.
    Partials,
}

/// The keys that may go. The whole log is read and verified first: a record that cannot be read might
/// name anything.
pub fn prunable(log: &Log<'_>, what: Prunable) -> Result<Vec<String>, LedgerError> {
    let store = log.store();
    match what {
        Prunable::Partials => {
            let keys = store.list("tile/")?;
            let there: HashSet<&str> = keys.iter().map(String::as_str).collect();
            let replaced = |key: &&String| {
                Tile::parse(key).is_some_and(|tile| {
                    let full = Tile {
                        width: WIDTH,
                        ..tile
                    };
                    tile.width < WIDTH && there.contains(full.key().as_str())
                })
            };
            Ok(keys.iter().filter(replaced).cloned().collect())
        }
        Prunable::Blobs => {
            let mut named = HashSet::new();
            log.scan(|_, entry| named.extend(named_blobs(entry).iter().map(blob_key)))?;
            // A writer stores the blob before it commits the record, and commits before it publishes.
            let mut chain = Chain::start();
            while let Some(bytes) = commit::read(store, chain.next)? {
                for entry in chain
                    .advance(&bytes)
                    .map_or(Vec::new(), |slot| slot.entries)
                {
                    named.extend(named_blobs(&entry).iter().map(blob_key));
                }
            }
            let mut keys = store.list("blob/")?;
            keys.retain(|key| !named.contains(key));
            Ok(keys)
        }
    }
}
