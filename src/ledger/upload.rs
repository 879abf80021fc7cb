//! A copy of a log that others fill (C2SP tlog-mirror). It is bound to a tree first, the pending
//! checkpoint, and takes entries only with the proof that they are in that tree: whoever uploads, and in
//! whatever order, all that is stored is of one log. Once all entries of a pending checkpoint are there,
//! it becomes the checkpoint of the copy.
//!
//! Entries lie in their bundles as soon as they are proved; tiles of hashes follow when the checkpoint
//! does. The newest pending checkpoints lie in a directory of their own, by their sizes.

use std::path::Path;

use super::LedgerError;
use super::edge::Edge;
use super::publish::{CHECKPOINT, drop_replaced, write_tiles};
use super::store::{DirectoryStore, Store};
use super::tile::{self, MAX_BUNDLE, Row, Tile, WIDTH};
use crate::checkpoint::Checkpoint;
use crate::merkle::{self, Hash, RootBuilder, leaf_hash};
use crate::note::{MAX_NOTE, Note, NoteKey};
use crate::tlog_mirror::{Interval, Package};
use crate::witness::{self, AddCheckpoint, Seen, Verdict};

/// A copy of one log.
#[derive(Debug)]
pub struct Upload {
    store: DirectoryStore,
    pending: DirectoryStore,
}

/// A checkpoint and its note.
pub type Shown = (Checkpoint, Vec<u8>);

/// What became of a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Its entries are stored durably.
    Stored,
    /// Its entries are not shown to be in the tree.
    Unproved,
    /// Entries before it are missing.
    TooEarly,
}

const PENDING: &str = "pending-";
/// How many pending checkpoints are remembered, so that an upload to one of them can go on.
const REMEMBERED: usize = 8;

impl Upload {
    /// The copy in the directory `copy`, with what is pending in `pending`; neither need exist.
    pub fn new(copy: &Path, pending: &Path) -> Upload {
        Upload {
            store: DirectoryStore::new(copy),
            pending: DirectoryStore::new(pending),
        }
    }

    /// Where it is.
    pub fn store(&self) -> &DirectoryStore {
        &self.store
    }

    /// Binds the copy to the tree in `request`, if a log in `logs` signed it and it continues the one
    /// before: what a witness answers, and remembers as pending.
    pub fn pend(&self, request: &AddCheckpoint, logs: &[NoteKey]) -> Result<Verdict, LedgerError> {
        let _turn = self.pending.lock()?;
        let pending = self.newest()?;
        let seen = pending.map(|(checkpoint, _)| Seen {
            size: checkpoint.size,
            root: checkpoint.root,
        });
        let verdict = witness::judge(request, seen, logs);
        if let Verdict::Cosign(accepted) = &verdict {
            let key = pending_key(accepted.checkpoint.size);
            self.pending.replace(&key, accepted.note.as_bytes())?;
            for old in self.pending_keys()?.iter().rev().skip(REMEMBERED) {
                self.pending.remove(old)?;
            }
        }
        Ok(verdict)
    }

    /// The pending checkpoints, oldest first.
    fn pending_keys(&self) -> Result<Vec<String>, LedgerError> {
        let mut keys = self.pending.list("")?;
        keys.retain(|key| key.starts_with(PENDING));
        Ok(keys)
    }

    /// The newest tree that the copy is bound to: the newest pending checkpoint, or the copy's own, if
    /// what is pending was lost.
    pub fn newest(&self) -> Result<Option<Shown>, LedgerError> {
        let keys = self.pending_keys()?;
        let newest = keys.last();
        let pending = newest.map_or(Ok(None), |key| shown(&self.pending, key))?;
        let copied = self.copied()?;
        match (pending, copied) {
            (Some(pending), Some(copied)) if pending.0.size == copied.0.size => {
                if pending.0.root != copied.0.root {
                    let what = "contradicts what is pending at the same size";
                    return Err(LedgerError::damaged(CHECKPOINT, what));
                }
                Ok(Some(pending))
            }
            (Some(pending), Some(copied)) if pending.0.size < copied.0.size => Ok(Some(copied)),
            (Some(pending), _) => Ok(Some(pending)),
            (None, copied) => Ok(copied),
        }
    }

    /// The pending checkpoint of this size, if it is remembered, or else the copy's own.
    pub fn known(&self, size: u64) -> Result<Option<Shown>, LedgerError> {
        match shown(&self.pending, &pending_key(size))? {
            Some(shown) => Ok(Some(shown)),
            None => Ok(self.copied()?.filter(|(copied, _)| copied.size == size)),
        }
    }

    /// The checkpoint of the copy.
    pub fn copied(&self) -> Result<Option<Shown>, LedgerError> {
        shown(&self.store, CHECKPOINT)
    }

    /// The first entry that is not there, if all before `from` are.
    pub fn next(&self, from: u64) -> Result<u64, LedgerError> {
        let mut next = from;
        loop {
            let bundle = next / WIDTH;
            if self.store.exists(&bundle_tile(bundle, WIDTH).key())? {
                next = (bundle + 1).saturating_mul(WIDTH);
                continue;
            }
            let widths = self.widths(bundle)?;
            let most = widths.last().map_or(0, |width| bundle * WIDTH + width);
            return Ok(next.max(most));
        }
    }

    /// The widths of the partial forms of a bundle, smallest first.
    fn widths(&self, bundle: u64) -> Result<Vec<u64>, LedgerError> {
        let directory = bundle_tile(bundle, WIDTH).partial_directory();
        let keys = self.store.list(&format!("{directory}/"))?;
        let tiles = keys.iter().filter_map(|key| Tile::parse(key));
        let mut widths: Vec<u64> = tiles.map(|tile| tile.width).collect();
        widths.sort_unstable();
        Ok(widths)
    }

    /// The first `count` entries of a bundle, if they are there.
    fn entries(&self, bundle: u64, count: u64) -> Result<Option<Vec<Vec<u8>>>, LedgerError> {
        let mut widths = self.widths(bundle)?;
        widths.push(WIDTH);
        for width in widths.into_iter().filter(|width| *width >= count) {
            let tile = bundle_tile(bundle, width);
            let Some(bytes) = self.store.read(&tile.key(), MAX_BUNDLE)? else {
                continue;
            };
            let entries = tile::parse_bundle(&bytes, width)
                .map_err(|error| LedgerError::damaged(tile.key(), error.to_string()))?;
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            return Ok(Some(
                entries.into_iter().take(count).map(Vec::from).collect(),
            ));
        }
        Ok(None)
    }

    /// Stores the entries of `package`, if they are in the tree of `target`.
    pub fn take(
        &self,
        interval: &Interval,
        package: Package,
        target: &Checkpoint,
    ) -> Result<Taken, LedgerError> {
        let bundle = interval.begin / WIDTH;
        let mut entries = match interval.start - interval.begin {
            0 => Vec::new(),
            before => match self.entries(bundle, before)? {
                Some(entries) => entries,
                None => return Ok(Taken::TooEarly),
            },
        };
        entries.extend(package.entries);
        let mut subtree = RootBuilder::default();
        for entry in &entries {
            subtree.push(leaf_hash(entry));
        }
        let place = (interval.begin, interval.end);
        let (size, root) = (target.size, target.root);
        if subtree.size() != interval.end - interval.begin
            || merkle::verify_subtree(&package.proof, place, subtree.root(), size, root).is_err()
        {
            return Ok(Taken::Unproved);
        }
        let full = bundle_tile(bundle, WIDTH).key();
        if subtree.size() < WIDTH && self.store.exists(&full)? {
            return Ok(Taken::Stored);
        }
        let mut bytes = Vec::new();
        for entry in &entries {
            tile::encode_entry(&mut bytes, entry)
                .ok_or(LedgerError::EntrySize { size: entry.len() })?;
        }
        // Whoever stored them before stored the same: they were proved to be in the same log.
        write_tiles(&self.store, &[(bundle_tile(bundle, subtree.size()), bytes)])?;
        Ok(Taken::Stored)
    }

    /// Makes `target`, all of whose entries are there, the checkpoint of the copy, with the lines by `keys`
    /// that `cosign` gives for it and for the note before. `None` if the copy is larger already.
    pub fn complete<E: From<LedgerError>>(
        &self,
        target: &Shown,
        keys: &[&NoteKey],
        cosign: impl FnOnce(&Shown, Option<&Shown>) -> Result<String, E>,
    ) -> Result<Option<String>, E> {
        let _lock = self.store.lock().map_err(LedgerError::from)?;
        let copied = self.copied()?;
        let size = copied.as_ref().map_or(0, |(copied, _)| copied.size);
        if size > target.0.size {
            return Ok(None);
        }
        let complete = self.derive(copied.as_ref(), &target.0)?;
        let lines = cosign(target, copied.as_ref())?;
        // The copy's own note may be what it goes on from: its lines are replaced, not added to.
        let note = Note::parse(&target.1).map_err(LedgerError::from)?;
        let note = note.replacing(keys, &lines);
        Note::parse(note.as_bytes()).map_err(LedgerError::from)?;
        // That the copy is bound to this tree is durable before it says that it has it. The lock makes the
        // directory, should it have been lost.
        let _turn = self.pending.lock().map_err(LedgerError::from)?;
        let bound = self.pending.sync_names(&pending_key(target.0.size));
        bound.map_err(LedgerError::from)?;
        let replaced = self.store.replace(CHECKPOINT, note.as_bytes());
        replaced.map_err(LedgerError::from)?;
        drop_replaced(&self.store, &complete);
        Ok(Some(lines))
    }

    /// Writes the tiles that lead from the copy to `target`. Those that are complete now.
    fn derive(
        &self,
        copied: Option<&Shown>,
        target: &Checkpoint,
    ) -> Result<Vec<(Tile, Vec<u8>)>, LedgerError> {
        let mut edge = match copied {
            Some((copied, _)) => Edge::read(&self.store, copied)?,
            None => Edge::default(),
        };
        let mut replaced = Vec::new();
        while edge.size() < target.size {
            let bundle = edge.size() / WIDTH;
            let end = target.size.min((bundle + 1) * WIDTH);
            let entries = self.entries(bundle, end - bundle * WIDTH)?;
            let key = bundle_tile(bundle, WIDTH).key();
            let entries = entries.ok_or_else(|| LedgerError::damaged(key, "is missing"))?;
            let skip = usize::try_from(edge.size() % WIDTH).unwrap_or(usize::MAX);
            edge.extend(entries.get(skip..).unwrap_or_default())?;
            let complete = edge.take_complete();
            write_tiles(&self.store, &complete)?;
            replaced.extend(complete.into_iter().map(|(tile, _)| (tile, Vec::new())));
        }
        let root: Hash = edge.root()?;
        if root != target.root {
            let what = format!("the {} entries have root {root}", target.size);
            return Err(LedgerError::damaged(pending_key(target.size), what));
        }
        write_tiles(&self.store, &edge.partial())?;
        Ok(replaced)
    }
}

fn bundle_tile(index: u64, width: u64) -> Tile {
    Tile {
        row: Row::Entries,
        index,
        width,
    }
}

/// Sorted by size.
fn pending_key(size: u64) -> String {
    format!("{PENDING}{size:020}")
}

fn shown(store: &DirectoryStore, key: &str) -> Result<Option<Shown>, LedgerError> {
    let Some(note) = store.read(key, MAX_NOTE as u64)? else {
        return Ok(None);
    };
    let checkpoint = Checkpoint::parse(Note::parse(&note)?.text)?;
    Ok(Some((checkpoint, note)))
}
