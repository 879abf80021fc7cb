//! Appending to a ledger in a directory: commit → derive → sign → publish.
//!
//! 1. Under the writers' lock, finish what a crashed writer committed and did not publish.
//! 2. Commit: put the batch into the next slot. From here on it is part of the log.
//! 3. Derive: write the tiles and bundles that the new size implies. They follow from the slots
//!    alone, so that doing it twice writes the same bytes.
//! 4. Sign the checkpoint, and publish it by an atomic rename.
//!
//! Every write is durable before the next begins. Killed before step 2 ends, the batch is wholly
//! absent; killed after, the next writer publishes it.

use ed25519_dalek::SigningKey;

use super::LedgerError;
use super::commit::{self, Commit, MAX_BATCH, MAX_COMMIT};
use super::store::{Created, DirectoryStore, Store};
use super::tile::{self, MAX_BUNDLE, MAX_ENTRY, MAX_TILE, Row, Tile, WIDTH};
use crate::checkpoint::Checkpoint;
use crate::merkle::{self, Hash, Node, Nodes, leaf_hash};
use crate::note::{self, MAX_NOTE, NoteKey};

/// What an append did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// The index of the first new entry; the others follow it.
    pub first: u64,
    /// The checkpoint that covers them, published.
    pub checkpoint: Checkpoint,
    /// Entries of a writer that crashed after committing them, which were published now.
    pub recovered: u64,
}

/// Makes an empty ledger with the origin and key of `key`. One that is there is left alone.
pub fn create(
    store: &DirectoryStore,
    origin: &str,
    key: &SigningKey,
) -> Result<Created, LedgerError> {
    let _lock = store.lock()?;
    let checkpoint = Checkpoint {
        origin: origin.into(),
        size: 0,
        root: merkle::empty_root(),
    };
    let signed = note::sign(&checkpoint.to_string(), origin, key)?;
    Ok(store.create("checkpoint", signed.as_bytes())?)
}

/// Appends `entries`, which are durable and published when this returns.
pub fn append(
    store: &DirectoryStore,
    origin: &str,
    key: &SigningKey,
    entries: &[Vec<u8>],
) -> Result<Appended, LedgerError> {
    if entries.is_empty() || entries.len() > MAX_BATCH {
        return Err(LedgerError::BatchSize {
            count: entries.len(),
        });
    }
    if let Some(entry) = entries
        .iter()
        .find(|entry| !(1..=MAX_ENTRY).contains(&entry.len()))
    {
        return Err(LedgerError::EntrySize { size: entry.len() });
    }
    let _lock = store.lock()?;
    store.sweep()?;
    let mut publisher = Publisher::open(store, origin, key)?;
    let published = publisher.size;
    let sequence = publisher.replay()?;
    let recovered = publisher.size - published;

    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).map_err(|error| LedgerError::Random(error.to_string()))?;
    let commit = Commit {
        sequence,
        first: publisher.size,
        nonce,
        entries: entries.into(),
    };
    let slot = commit::key(sequence);
    if store.create(&slot, &commit.encode())? == Created::Exists {
        // The lock is held, so whoever wrote it does not respect the lock.
        return Err(LedgerError::damaged(
            slot,
            "was written by somebody without the lock",
        ));
    }
    publisher.extend(&commit.entries)?;
    let checkpoint = publisher.publish()?;
    Ok(Appended {
        first: commit.first,
        checkpoint,
        recovered,
    })
}

/// The right edge of the tree: for each level the hashes of the last, incomplete tile, and the
/// bytes of the last, incomplete bundle. All that is needed to go on.
struct Publisher<'a> {
    store: &'a DirectoryStore,
    origin: &'a str,
    key: &'a SigningKey,
    size: u64,
    levels: Vec<Vec<Hash>>,
    bundle: Vec<u8>,
    /// Directories of partial tiles that a full one has replaced.
    obsolete: Vec<String>,
}

impl<'a> Publisher<'a> {
    /// Reads the right edge of the published log and makes sure that it has the signed root.
    fn open(
        store: &'a DirectoryStore,
        origin: &'a str,
        key: &'a SigningKey,
    ) -> Result<Publisher<'a>, LedgerError> {
        let note = store
            .read("checkpoint", MAX_NOTE as u64)?
            .ok_or(LedgerError::NoCheckpoint)?;
        let checkpoint = Checkpoint::open(&note, &NoteKey::new(origin, key.verifying_key())?)?;
        let size = checkpoint.size;
        let mut levels = Vec::new();
        for level in 0..8_u8 {
            let total = size.checked_shr(8 * u32::from(level)).unwrap_or(0);
            if total == 0 && level > 0 {
                break;
            }
            let tile = Tile {
                row: Row::Hashes { level },
                index: total / WIDTH,
                width: total % WIDTH,
            };
            levels.push(match tile.width {
                0 => Vec::new(),
                width => tile::parse_hashes(&required(store, &tile, MAX_TILE)?, width)
                    .ok_or_else(|| LedgerError::damaged(tile.key(), "has the wrong size"))?,
            });
        }
        let tile = Tile {
            row: Row::Entries,
            index: size / WIDTH,
            width: size % WIDTH,
        };
        let bundle = match tile.width {
            0 => Vec::new(),
            _ => required(store, &tile, MAX_BUNDLE)?,
        };
        let mut publisher = Publisher {
            store,
            origin,
            key,
            size,
            levels,
            bundle,
            obsolete: Vec::new(),
        };
        let root = publisher.root()?;
        if root != checkpoint.root {
            let what = format!("the tiles have root {root}, not {}", checkpoint.root);
            return Err(LedgerError::damaged("checkpoint", what));
        }
        let entries = tile::parse_bundle(&publisher.bundle, tile.width)
            .map_err(|error| LedgerError::damaged(tile.key(), error.to_string()))?;
        let hashes: Vec<Hash> = entries.into_iter().map(leaf_hash).collect();
        if publisher.levels.first() != Some(&hashes) {
            return Err(LedgerError::damaged(
                tile.key(),
                "its entries are not those of the tile",
            ));
        }
        Ok(publisher)
    }

    /// Publishes what was committed after the checkpoint, and returns the next free slot.
    fn replay(&mut self) -> Result<u64, LedgerError> {
        let free = first_free_slot(self.store)?;
        // Back to the slot at which the checkpoint was made. Void slots add nothing.
        let mut pending = Vec::new();
        for sequence in (0..free).rev() {
            let key = commit::key(sequence);
            let bytes = self.store.read(&key, MAX_COMMIT)?;
            let bytes = bytes.ok_or_else(|| LedgerError::damaged(key, "is missing"))?;
            if let Some(commit) = Commit::parse(&bytes, sequence) {
                if commit.end() <= self.size {
                    break;
                }
                pending.push(commit);
            }
        }
        let published = self.size;
        for commit in pending
            .into_iter()
            .rev()
            .filter(|commit| commit.first >= published)
        {
            // A batch that does not begin where the log ends is void.
            if commit.first == self.size {
                self.extend(&commit.entries)?;
            }
        }
        if self.size != published {
            self.publish()?;
        }
        Ok(free)
    }

    /// Writes the tiles and bundles that `entries` complete or change.
    fn extend(&mut self, entries: &[Vec<u8>]) -> Result<(), LedgerError> {
        for entry in entries {
            tile::encode_entry(&mut self.bundle, entry)
                .ok_or(LedgerError::EntrySize { size: entry.len() })?;
            self.size += 1;
            if self.size.is_multiple_of(WIDTH) {
                let bundle = std::mem::take(&mut self.bundle);
                self.put_full(Row::Entries, self.size / WIDTH - 1, &bundle)?;
            }
            self.push(leaf_hash(entry))?;
        }
        for (level, hashes) in (0..).zip(&self.levels) {
            let total = self.size.checked_shr(8 * u32::from(level)).unwrap_or(0);
            self.put_partial(Row::Hashes { level }, total, &tile::encode_hashes(hashes))?;
        }
        self.put_partial(Row::Entries, self.size, &self.bundle)
    }

    fn push(&mut self, leaf: Hash) -> Result<(), LedgerError> {
        let mut hash = leaf;
        for level in 0..8_u8 {
            let row = usize::from(level);
            if self.levels.len() == row {
                self.levels.push(Vec::new());
            }
            let Some(hashes) = self.levels.get_mut(row) else {
                break;
            };
            hashes.push(hash);
            if (hashes.len() as u64) < WIDTH {
                break;
            }
            let full = std::mem::take(hashes);
            hash = tile::subtree_hash(&full);
            let index = (self.size >> (8 * u32::from(level))) / WIDTH - 1;
            self.put_full(Row::Hashes { level }, index, &tile::encode_hashes(&full))?;
        }
        Ok(())
    }

    fn put_full(&mut self, row: Row, index: u64, bytes: &[u8]) -> Result<(), LedgerError> {
        let tile = Tile {
            row,
            index,
            width: WIDTH,
        };
        self.obsolete.push(tile.partial_directory());
        self.put(&tile, bytes)
    }

    fn put_partial(&self, row: Row, total: u64, bytes: &[u8]) -> Result<(), LedgerError> {
        let tile = Tile {
            row,
            index: total / WIDTH,
            width: total % WIDTH,
        };
        if tile.width == 0 {
            Ok(())
        } else {
            self.put(&tile, bytes)
        }
    }

    /// Creates a tile, or makes sure that the one that is there is the same.
    fn put(&self, tile: &Tile, bytes: &[u8]) -> Result<(), LedgerError> {
        let key = tile.key();
        if self.store.create(&key, bytes)? == Created::New {
            return Ok(());
        }
        match self.store.read(&key, bytes.len() as u64)? {
            Some(there) if there == bytes => Ok(()),
            _ => Err(LedgerError::damaged(
                key,
                "is not what the committed entries imply",
            )),
        }
    }

    fn root(&mut self) -> Result<Hash, LedgerError> {
        let size = self.size;
        merkle::range_hash(self, 0, size)
    }

    /// Signs size and root, makes them the newest checkpoint, and drops what they replaced.
    fn publish(&mut self) -> Result<Checkpoint, LedgerError> {
        let root = self.root()?;
        let checkpoint = Checkpoint {
            origin: self.origin.into(),
            size: self.size,
            root,
        };
        let signed = note::sign(&checkpoint.to_string(), self.origin, self.key)?;
        self.store.replace("checkpoint", signed.as_bytes())?;
        for directory in self.obsolete.drain(..) {
            for key in self.store.list(&format!("{directory}/"))? {
                self.store.remove(&key)?;
            }
            self.store.remove(&directory)?;
        }
        Ok(checkpoint)
    }
}

impl Nodes for Publisher<'_> {
    type Error = LedgerError;

    /// The complete subtrees of the whole tree all end in the last tile of their level.
    fn node(&mut self, node: Node) -> Result<Hash, LedgerError> {
        let start = usize::try_from((node.index << (node.level % 8)) % WIDTH).unwrap_or(usize::MAX);
        let end = start.saturating_add(1 << (node.level % 8));
        let level = usize::try_from(node.level / 8).unwrap_or(usize::MAX);
        let hashes = self
            .levels
            .get(level)
            .and_then(|hashes| hashes.get(start..end));
        let hashes = hashes.ok_or_else(|| LedgerError::damaged("tile", "the tree has a gap"))?;
        Ok(tile::subtree_hash(hashes))
    }
}

fn required(store: &DirectoryStore, tile: &Tile, limit: u64) -> Result<Vec<u8>, LedgerError> {
    let bytes = store.read(&tile.key(), limit)?;
    bytes.ok_or_else(|| LedgerError::damaged(tile.key(), "is missing"))
}

/// The number of slots in use: they are taken in order and never removed, so that doubling and
/// halving finds the first free one.
fn first_free_slot<S: Store>(store: &S) -> Result<u64, LedgerError> {
    let taken = |sequence: u64| store.exists(&commit::key(sequence));
    let mut bound = 1;
    while taken(bound - 1)? {
        bound *= 2;
    }
    let (mut low, mut high) = (bound / 2, bound - 1);
    while low < high {
        let middle = low + (high - low) / 2;
        if taken(middle)? {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::fsck::fsck;
    use crate::ledger::reader::Log;

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[9; 32])
    }

    fn vkey() -> NoteKey {
        NoteKey::new("log", key().verifying_key()).unwrap()
    }

    fn entry(index: u64) -> Vec<u8> {
        format!("entry {index}").into_bytes()
    }

    #[test]
    fn batches_of_any_size_make_the_same_log() {
        let scratch = tempfile::tempdir().unwrap();
        let mut builder = merkle::RootBuilder::default();
        let store = DirectoryStore::new(&scratch.path().join("ledger"));
        assert_eq!(create(&store, "log", &key()).unwrap(), Created::New);
        assert_eq!(create(&store, "log", &key()).unwrap(), Created::Exists);
        for size in [1, 2, 252, 1, 255, 257, 600, 3] {
            let first = builder.size();
            let entries: Vec<_> = (first..first + size).map(entry).collect();
            for entry in &entries {
                builder.push(leaf_hash(entry));
            }
            let appended = append(&store, "log", &key(), &entries).unwrap();
            assert_eq!((appended.first, appended.recovered), (first, 0));
            assert_eq!(appended.checkpoint.root, builder.root());
            let report = fsck(&store, &vkey()).unwrap();
            assert!(report.problems.is_empty(), "{:?}", report.problems);
        }
        let log = Log::open(&store, &vkey()).unwrap();
        for index in [
            0,
            1,
            255,
            256,
            511,
            512,
            1023,
            1024,
            log.checkpoint().size - 1,
        ] {
            let (bytes, proof) = log.entry(index).unwrap();
            assert_eq!(bytes, entry(index));
            assert_eq!(proof.verify(&bytes, &vkey()).unwrap(), *log.checkpoint());
        }
        for old in [0, 1, 255, 256, 257, 1000, log.checkpoint().size] {
            log.consistency(old).unwrap();
        }
        log.scan(|index, bytes| assert_eq!(bytes, entry(index)))
            .unwrap();
        assert!(log.entry(log.checkpoint().size).is_err());
        assert!(!scratch.path().join("ledger/tile/0/000.p").exists());
    }

    #[test]
    fn a_committed_batch_is_published_by_the_next_writer() {
        let scratch = tempfile::tempdir().unwrap();
        let store = DirectoryStore::new(scratch.path());
        create(&store, "log", &key()).unwrap();
        append(&store, "log", &key(), &[entry(0)]).unwrap();
        // A writer that died right after its commit, one whose slot is void, and one more.
        let commit = |sequence, first, entries| Commit {
            sequence,
            first,
            nonce: [0; 16],
            entries,
        };
        store
            .create(
                &commit::key(1),
                &commit(1, 1, vec![entry(1), entry(2)]).encode(),
            )
            .unwrap();
        store.create(&commit::key(2), b"void").unwrap();
        store
            .create(&commit::key(3), &commit(3, 7, vec![entry(9)]).encode())
            .unwrap();
        store
            .create(&commit::key(4), &commit(4, 3, vec![entry(3)]).encode())
            .unwrap();
        let appended = append(&store, "log", &key(), &[entry(4)]).unwrap();
        assert_eq!((appended.first, appended.recovered), (4, 3));
        let log = Log::open(&store, &vkey()).unwrap();
        log.scan(|index, bytes| assert_eq!(bytes, entry(index)))
            .unwrap();
        assert_eq!(log.checkpoint().size, 5);
    }

    #[test]
    fn limits() {
        let scratch = tempfile::tempdir().unwrap();
        let store = DirectoryStore::new(scratch.path());
        create(&store, "log", &key()).unwrap();
        for bad in [
            vec![],
            vec![vec![]],
            vec![vec![0; MAX_ENTRY + 1]],
            vec![vec![0]; MAX_BATCH + 1],
        ] {
            assert!(append(&store, "log", &key(), &bad).is_err());
        }
        append(&store, "log", &key(), &[vec![0; MAX_ENTRY]]).unwrap();
        assert!(append(&store, "other", &key(), &[vec![1]]).is_err());
        assert!(append(&store, "log", &SigningKey::from_bytes(&[1; 32]), &[vec![1]]).is_err());
    }
}
