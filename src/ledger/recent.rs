//! The leaf hashes of the newest entries, and where they are: what makes appending an entry that was
//! just appended no second entry. Bounded; older ones are the index's business.

use std::collections::{HashMap, VecDeque};

use super::LedgerError;
use super::reader::Log;
use crate::merkle::{Hash, leaf_hash};

/// How many entries are remembered.
pub(super) const REMEMBERED: usize = 16_384;

/// Finds entries by their leaf hash, however old they are.
pub trait LeafIndex: Send {
    /// Goes on to the entries that `log` has and the index does not.
    fn follow(&mut self, log: &Log<'_>) -> Result<(), LedgerError>;
    /// The first entry with this leaf hash.
    fn find(&mut self, leaf: &Hash) -> Result<Option<u64>, LedgerError>;
}

/// The newest entries.
#[derive(Debug, Default)]
pub(super) struct Recent {
    places: HashMap<Hash, u64>,
    order: VecDeque<Hash>,
}

impl Recent {
    /// Remembers `entries`, which begin at index `first`.
    pub(super) fn add(&mut self, first: u64, entries: &[Vec<u8>]) {
        for (index, entry) in (first..).zip(entries) {
            let leaf = leaf_hash(entry);
            if self.places.contains_key(&leaf) {
                continue;
            }
            self.places.insert(leaf, index);
            self.order.push_back(leaf);
            if self.order.len() > REMEMBERED
                && let Some(oldest) = self.order.pop_front()
            {
                self.places.remove(&oldest);
            }
        }
    }

    /// Where the entry with this leaf hash is.
    pub(super) fn find(&self, leaf: &Hash) -> Option<u64> {
        self.places.get(leaf).copied()
    }
}

/// Where an entry of a batch is.
pub(super) enum Place {
    /// In the log, at this index.
    There(u64),
    /// Among the new entries of the batch, at this offset.
    New(u64),
}

/// Where each of `entries` is, and those of them that are not in the log, each once. `find` knows older
/// entries than `recent`; its error ends the search.
pub(super) fn locate<E>(
    entries: &[Vec<u8>],
    recent: &Recent,
    mut find: impl FnMut(&Hash) -> Result<Option<u64>, E>,
) -> Result<(Vec<Place>, Vec<Vec<u8>>), E> {
    let mut offsets: HashMap<Hash, u64> = HashMap::new();
    let mut new = Vec::new();
    let mut places = Vec::new();
    for entry in entries {
        let leaf = leaf_hash(entry);
        let there = match recent.find(&leaf) {
            Some(index) => Some(index),
            None => find(&leaf)?,
        };
        places.push(match there {
            Some(index) => Place::There(index),
            None => Place::New(*offsets.entry(leaf).or_insert_with(|| {
                new.push(entry.clone());
                new.len() as u64 - 1
            })),
        });
    }
    Ok((places, new))
}
