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

use super::LedgerError;
use super::commit::{self, Chain, Commit, MAX_BATCH, MAX_COMMIT};
use super::store::{Created, DirectoryStore, Store};
use super::tile::{self, MAX_BUNDLE, MAX_ENTRY, MAX_TILE, Row, Tile, WIDTH};
use crate::checkpoint::Checkpoint;
use crate::cosignature::LogSigner;
use crate::digest::Sha256;
use crate::merkle::{self, Hash, Node, Nodes, leaf_hash};
use crate::note::MAX_NOTE;
use crate::time::Timestamp;

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

/// Makes an empty ledger of the log that `signer` signs for. One that is there is left alone.
pub fn create(
    store: &DirectoryStore,
    signer: &LogSigner,
    now: Timestamp,
) -> Result<Created, LedgerError> {
    let _lock = store.lock()?;
    let checkpoint = Checkpoint {
        origin: signer.origin().into(),
        size: 0,
        root: merkle::empty_root(),
    };
    // A log that lost its checkpoint must not be started anew: it would be a fork of itself.
    if !store.exists("checkpoint")?
        && let Some(left) = ["tile/", "_commit/"].iter().find_map(|prefix| {
            store
                .list(prefix)
                .map(|keys| keys.into_iter().next())
                .transpose()
        })
    {
        let what = format!("is missing, and {} is there; restore it from a copy", left?);
        return Err(LedgerError::damaged("checkpoint", what));
    }
    let signed = signer.sign(&checkpoint, now)?;
    Ok(store.create("checkpoint", signed.as_bytes())?)
}

/// Appends `entries`, which are durable and published when this returns.
pub fn append(
    store: &DirectoryStore,
    signer: &LogSigner,
    entries: &[Vec<u8>],
    now: Timestamp,
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
    let mut publisher = Publisher::open(store, signer, now)?;
    let published = publisher.size;
    publisher.replay()?;
    let recovered = publisher.size - published;

    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).map_err(|error| LedgerError::Random(error.to_string()))?;
    let Chain {
        next: sequence,
        size: first,
        last: previous,
    } = publisher.chain.clone();
    let commit = Commit {
        sequence,
        first,
        previous,
        nonce,
        entries: entries.into(),
    };
    let (slot, bytes) = (commit::key(sequence), commit.encode());
    if store.create(&slot, &bytes)? == Created::Exists {
        // The lock is held, so whoever wrote it does not respect the lock.
        return Err(LedgerError::damaged(
            slot,
            "was written by somebody without the lock",
        ));
    }
    // From here on the batch is part of the log, whatever happens to this writer.
    publisher.chain.advance(&bytes);
    let published = publisher
        .extend(&commit.entries)
        .and_then(|()| publisher.publish());
    let checkpoint = published.map_err(|source| LedgerError::NotPublished {
        first,
        source: Box::new(source),
    })?;
    Ok(Appended {
        first,
        checkpoint,
        recovered,
    })
}

/// The right edge of the tree: for each level the hashes of the last, incomplete tile, and the
/// bytes of the last, incomplete bundle. All that is needed to go on.
struct Publisher<'a> {
    store: &'a DirectoryStore,
    signer: &'a LogSigner,
    now: Timestamp,
    size: u64,
    chain: Chain,
    levels: Vec<Vec<Hash>>,
    bundle: Vec<u8>,
    /// Directories of partial tiles that a full one has replaced.
    obsolete: Vec<String>,
}

impl<'a> Publisher<'a> {
    /// Reads the right edge of the published log and makes sure that it has the signed root.
    fn open(
        store: &'a DirectoryStore,
        signer: &'a LogSigner,
        now: Timestamp,
    ) -> Result<Publisher<'a>, LedgerError> {
        let note = store
            .read("checkpoint", MAX_NOTE as u64)?
            .ok_or(LedgerError::NoCheckpoint)?;
        let checkpoint = signer.trust().open(&note)?;
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
            signer,
            now,
            size,
            chain: settled(store, size)?,
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

    /// Publishes what was committed after the checkpoint.
    fn replay(&mut self) -> Result<(), LedgerError> {
        let published = self.size;
        let mut reached = self.chain.size == published;
        while let Some(bytes) = self.store.read(&commit::key(self.chain.next), MAX_COMMIT)? {
            let commit = self.chain.advance(&bytes);
            if let Some(commit) = commit.filter(|commit| commit.first >= published) {
                if !reached {
                    break;
                }
                self.extend(&commit.entries)?;
            }
            reached |= self.chain.size == published;
        }
        if !reached {
            let what = format!(
                "the slots lead to {} entries, the checkpoint has {published}: slots are missing",
                self.chain.size
            );
            return Err(LedgerError::damaged("_commit", what));
        }
        if self.size != published {
            self.publish()?;
        }
        Ok(())
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
            origin: self.signer.origin().into(),
            size: self.size,
            root,
        };
        let signed = self.signer.sign(&checkpoint, self.now)?;
        self.store.replace("checkpoint", signed.as_bytes())?;
        // Published. What follows only saves work and space: if it fails, nothing is lost.
        _ = self.store.replace(commit::STATE, &self.chain.encode());
        for directory in self.obsolete.drain(..) {
            for key in self
                .store
                .list(&format!("{directory}/"))
                .unwrap_or_default()
            {
                _ = self.store.remove(&key);
            }
            _ = self.store.remove(&directory);
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

/// The chain at which the checkpoint of `size` entries was published, if that is on record and the
/// slot it names is there; else the start of the chain.
fn settled(store: &DirectoryStore, size: u64) -> Result<Chain, LedgerError> {
    let state = store.read(commit::STATE, commit::MAX_STATE)?;
    let Some(chain) = state.and_then(|bytes| Chain::parse(&bytes)) else {
        return Ok(Chain::start());
    };
    let last = match chain.next.checked_sub(1) {
        Some(last) => store
            .read(&commit::key(last), MAX_COMMIT)?
            .unwrap_or_default(),
        None => Vec::new(),
    };
    let current = chain.size == size && Sha256::of(&last) == chain.last;
    Ok(if current { chain } else { Chain::start() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::fsck::{Slots, fsck};
    use crate::ledger::reader::Log;

    fn signer(origin: &str, seed: u8) -> LogSigner {
        LogSigner::new(origin, ed25519_dalek::SigningKey::from_bytes(&[seed; 32])).unwrap()
    }

    fn key() -> LogSigner {
        signer("log", 9)
    }

    fn vkey() -> crate::tlog_policy::TlogPolicy {
        key().trust()
    }

    fn now() -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000).unwrap()
    }

    fn entry(index: u64) -> Vec<u8> {
        format!("entry {index}").into_bytes()
    }

    #[test]
    fn batches_of_any_size_make_the_same_log() {
        let scratch = tempfile::tempdir().unwrap();
        let mut builder = merkle::RootBuilder::default();
        let store = DirectoryStore::new(&scratch.path().join("ledger"));
        assert_eq!(create(&store, &key(), now()).unwrap(), Created::New);
        assert_eq!(create(&store, &key(), now()).unwrap(), Created::Exists);
        for size in [1, 2, 252, 1, 255, 257, 600, 3] {
            let first = builder.size();
            let entries: Vec<_> = (first..first + size).map(entry).collect();
            for entry in &entries {
                builder.push(leaf_hash(entry));
            }
            let appended = append(&store, &key(), &entries, now()).unwrap();
            assert_eq!((appended.first, appended.recovered), (first, 0));
            assert_eq!(appended.checkpoint.root, builder.root());
            let report = fsck(&store, &vkey(), Slots::Required).unwrap();
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
        create(&store, &key(), now()).unwrap();
        append(&store, &key(), &[entry(0)], now()).unwrap();
        // A writer that died right after its commit, slots that are void for each reason, and one
        // more writer that died.
        let mut chain = Chain::parse(&store.read(commit::STATE, 512).unwrap().unwrap()).unwrap();
        let mut put = |commit: &dyn Fn(&Chain) -> Vec<u8>, valid: bool| {
            let bytes = commit(&chain);
            store.create(&commit::key(chain.next), &bytes).unwrap();
            assert_eq!(chain.advance(&bytes).is_some(), valid);
        };
        let batch = |chain: &Chain, first, entries: Vec<Vec<u8>>| {
            let (sequence, previous) = (chain.next, chain.last);
            Commit {
                sequence,
                first,
                previous,
                nonce: [0; 16],
                entries,
            }
            .encode()
        };
        put(&|chain| batch(chain, 1, vec![entry(1), entry(2)]), true);
        put(&|_| b"void".to_vec(), false);
        put(&|chain| batch(chain, 0, vec![entry(9)]), false);
        put(&|chain| batch(chain, 7, vec![entry(9)]), false);
        put(
            &|chain| {
                batch(
                    &Chain {
                        last: Sha256::of(b"x"),
                        ..chain.clone()
                    },
                    3,
                    vec![entry(9)],
                )
            },
            false,
        );
        put(&|chain| batch(chain, 3, vec![entry(3)]), true);
        // Without the state the slots are read from the first, to the same end.
        store.remove(commit::STATE).unwrap();
        let appended = append(&store, &key(), &[entry(4)], now()).unwrap();
        assert_eq!((appended.first, appended.recovered), (4, 3));
        let log = Log::open(&store, &vkey()).unwrap();
        log.scan(|index, bytes| assert_eq!(bytes, entry(index)))
            .unwrap();
        assert_eq!(log.checkpoint().size, 5);
        let report = fsck(&store, &vkey(), Slots::Required).unwrap();
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        assert_eq!(report.notes.len(), 4, "{:?}", report.notes);
    }

    #[test]
    fn a_log_is_not_started_anew_and_not_continued_without_its_slots() {
        let scratch = tempfile::tempdir().unwrap();
        let store = DirectoryStore::new(scratch.path());
        create(&store, &key(), now()).unwrap();
        for index in 0..3 {
            append(&store, &key(), &[entry(index)], now()).unwrap();
        }
        let checkpoint = store.read("checkpoint", 4096).unwrap().unwrap();
        store.remove("checkpoint").unwrap();
        assert!(create(&store, &key(), now()).is_err());
        store.replace("checkpoint", &checkpoint).unwrap();
        let last = store.read(&commit::key(2), 4096).unwrap().unwrap();
        store.remove(&commit::key(2)).unwrap();
        let error = append(&store, &key(), &[entry(3)], now())
            .unwrap_err()
            .to_string();
        assert!(error.contains("slots are missing"), "{error}");
        assert!(
            !fsck(&store, &vkey(), Slots::Required)
                .unwrap()
                .problems
                .is_empty()
        );
        store.create(&commit::key(2), &last).unwrap();
        append(&store, &key(), &[entry(3)], now()).unwrap();
    }

    #[test]
    fn limits() {
        let scratch = tempfile::tempdir().unwrap();
        let store = DirectoryStore::new(scratch.path());
        create(&store, &key(), now()).unwrap();
        for bad in [
            vec![],
            vec![vec![]],
            vec![vec![0; MAX_ENTRY + 1]],
            vec![vec![0]; MAX_BATCH + 1],
        ] {
            assert!(append(&store, &key(), &bad, now()).is_err());
        }
        append(&store, &key(), &[vec![0; MAX_ENTRY]], now()).unwrap();
        assert!(append(&store, &signer("other", 9), &[vec![1]], now()).is_err());
        assert!(append(&store, &signer("log", 1), &[vec![1]], now()).is_err());
    }
}
