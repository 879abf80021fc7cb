//! Receipts of earlier hashing: which digests a file had when it was last read, and which names a directory, for as long as nothing
//! about it has changed that the kernel keeps track of. A convenience for those who ask again; no evidence.
//!
//! A file is known by device, inode, size, mode, and the times of its last change, in nanoseconds. The time
//! of the last status change (ctime) is the kernel's: no program sets it back, so a file that was changed
//! and given its old mtime is read again. What changed within [`RACY`] of being read is not kept: the clock
//! of a file system may be that coarse. Whoever keeps a file mapped and writes to it is seen, because the
//! pages of the file system are written out before anything is read ([`StatCache::settle`]): after that the
//! kernel hears of the next write; whoever has it open for writing leaves no receipt at all. Not seen is who writes to the disk beneath, and who sets the machine's
//! clock to the nanosecond.
//!
//! The receipts of one artifact are a file of fixed-size records, and of directories ([`super::listings`]), with a keyed hash over all
//! of it; the key is this host's, and is kept apart. A file that is not of this key is as good as none.

use std::collections::{HashMap, HashSet};
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::Stat;

use super::file_state::{Inode, STATE, State};
use super::format::Format;
use super::listings::{self, Listings};
use super::manifest::Line;
use crate::digest::{Algorithm, DigestBytes, labels};
use crate::disk::Directory;
use crate::path::ArtifactPath;
use crate::time::Timestamp;

/// The longest time for which a file system may give two changes the same time.
pub const RACY: i64 = 2_000;

/// The largest file of receipts: more than two million files with a SHA-256 each.
pub const MAX_RECEIPTS: u64 = 256 * 1024 * 1024;

/// The key of this host.
#[derive(Clone, Copy)]
pub struct HostKey(pub [u8; 32]);

/// The receipts of one artifact: those that were read, and those of this run.
pub struct StatCache {
    algorithms: Vec<Algorithm>,
    /// Records in the order of their inodes, from `start` on.
    known: Vec<u8>,
    start: usize,
    listings: Listings,
    /// What somebody else says that the files have; a receipt that says otherwise is not used.
    stated: Option<(Algorithm, Stated)>,
    /// No receipt is older, in milliseconds.
    max_age: Option<i64>,

    kept: Mutex<Kept>,
    used: AtomicUsize,
    /// Behind the one that was found last.
    next: AtomicUsize,
    /// When the oldest one that was used was read.
    oldest: AtomicI64,
    /// The file system could not be written out: whoever has a file mapped would not be seen.
    is_unsettled: AtomicBool,
    /// When this run began.
    began: Timestamp,
    /// The file system of the artifact: what is mounted within it may be of any kind.
    device: Option<u64>,
}

/// What will be written.
#[derive(Default)]
struct Kept {
    /// The listing is done, and the following are all that are of use.
    is_taken: bool,
    /// Places of those that were used.
    used: Vec<u32>,
    /// New records, in no order.
    fresh: Vec<u8>,
    /// Directories whose listings were used.
    listed: HashSet<Inode>,
    /// New listings.
    fresh_listings: Vec<u8>,
}

type Stated = HashMap<ArtifactPath, DigestBytes>;

/// Where a receipt is among those that were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiptPlace(NonZero<u32>);

/// What a receipt says.
pub(super) struct Receipt<'a> {
    state: State,
    /// When the run began in which the file was read.
    read: i64,
    pub(super) format: Format,
    pub(super) digests: &'a [u8],
}

/// Bytes of a record before its digests: the state, when it was read, and its format.
const FIXED: usize = STATE + 8 + 1;
const MAGIC: &[u8; 16] = b"weighbridge\0\0\0\0\x04";
/// Bytes that say how many records there are.
const COUNT: usize = 4;
const MAC: usize = 32;

impl<'a> Receipt<'a> {
    fn parse(record: &'a [u8]) -> Option<Receipt<'a>> {
        let (state, rest) = record.split_first_chunk::<STATE>()?;
        let (read, rest) = rest.split_first_chunk::<8>()?;
        let (format, digests) = rest.split_first()?;
        Some(Receipt {
            state: State::read(state)?,
            read: i64::from_le_bytes(*read),
            format: *Format::ALL.get(usize::from(*format))?,
            digests,
        })
    }
}

/// The inode that a record is about.
fn inode(record: &[u8]) -> Inode {
    let (numbers, _) = record.as_chunks::<8>();
    let number = |at: usize| {
        numbers
            .get(at)
            .map_or(0, |bytes| u64::from_le_bytes(*bytes))
    };
    (number(0), number(1))
}

impl StatCache {
    /// Without any receipt, for hashing with `algorithms` that begins at `began`.
    pub fn new(algorithms: &[Algorithm], began: Timestamp) -> StatCache {
        StatCache {
            algorithms: algorithms.into(),
            known: Vec::new(),
            start: 0,
            listings: Listings::default(),
            stated: None,
            max_age: None,
            kept: Mutex::default(),
            used: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            oldest: AtomicI64::new(i64::MAX),
            is_unsettled: AtomicBool::new(false),
            began,
            device: None,
        }
    }

    /// Takes files on this device alone.
    pub fn stay_on(&mut self, device: u64) {
        self.device = Some(device);
    }

    /// Takes no receipt of a file that was read longer ago than so many milliseconds.
    pub fn forget_after(&mut self, max_age: u64) {
        self.max_age = Some(i64::try_from(max_age).unwrap_or(i64::MAX));
    }

    /// Is it about these digests?
    pub(super) fn is_of(&self, algorithms: &[Algorithm]) -> bool {
        self.algorithms == algorithms
    }

    /// Is this a file of which a receipt says something?
    fn counts(&self, state: &State) -> bool {
        let here = self.device.is_none_or(|device| state.device == device);
        here && !state.is_open() && state.rested(self.began)
    }

    /// May what was read then still be relied on? What is to come was read by another clock.
    fn is_recent(&self, read: i64) -> bool {
        let age = self.began.millis().saturating_sub(read);
        age >= 0 && self.max_age.is_none_or(|max| age <= max)
    }

    /// Takes the receipts in `bytes`, if they are of this host; how many there are.
    pub fn read(&mut self, mut bytes: Vec<u8>, key: &HostKey) -> Option<usize> {
        let head = head(&self.algorithms);
        let (content, mac) = bytes.split_last_chunk::<MAC>()?;
        let keyed = blake3::keyed_hash(&key.0, content);
        // Compares in constant time.
        if keyed != *mac {
            return None;
        }
        let (count, rest) = content
            .strip_prefix(head.as_slice())?
            .split_first_chunk::<COUNT>()?;
        let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
        let (records, listings) = rest.split_at_checked(count.checked_mul(self.record())?)?;
        self.listings = Listings::read(listings)?;
        self.start = head.len() + COUNT;
        let end = self.start + records.len();
        bytes.truncate(end);
        self.known = bytes;
        Some(count)
    }

    /// Uses a receipt only for a file that `lines` list with the very digest.
    pub fn agree_with(&mut self, algorithm: Algorithm, lines: Vec<Line>) {
        let by_path = lines.into_iter().map(|line| (line.path, line.digest));
        self.stated = Some((algorithm, by_path.collect()));
    }

    /// The receipt of the file at `path`, which is in this state, if it was read before.
    pub(super) fn find(&self, path: &ArtifactPath, stat: &Stat) -> Option<ReceiptPlace> {
        let state = State::of(stat);
        if !self.counts(&state) {
            return None;
        }
        // Directories are listed in the order of their inodes, too: it is the next one, mostly.
        let next = self.next.load(Ordering::Relaxed);
        let is_next = |at: usize| Some(inode(self.at(at)?) == state.inode());
        let (mut from, mut to) = match is_next(next) {
            Some(true) => (next, next),
            _ => (0, self.count()),
        };
        while from < to {
            let middle = usize::midpoint(from, to);
            if inode(self.at(middle)?) < state.inode() {
                from = middle + 1;
            } else {
                to = middle;
            }
        }
        let receipt = Receipt::parse(self.at(from)?)?;
        if receipt.state != state || !self.is_recent(receipt.read) || !self.agrees(path, &receipt) {
            return None;
        }
        self.next.store(from + 1, Ordering::Relaxed);
        let place = u32::try_from(from + 1).ok()?;
        NonZero::new(place).map(ReceiptPlace)
    }

    /// The names in a directory that is in this state, if it was listed before.
    pub(super) fn listing(&self, stat: &Stat) -> Option<&[u8]> {
        let state = State::of(stat);
        let found = self.listings.of(state.inode())?;
        if found.state != state || !self.counts(&state) || !self.is_recent(found.read) {
            return None;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.listed.insert(state.inode());
        Some(found.names)
    }

    /// Keeps which names are in a directory that was in this state before it was listed, if it was at rest.
    pub(super) fn note_listing(&self, stat: &Stat, names: &[u8]) {
        let state = State::of(stat);
        if self.counts(&state) {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            let read = self.began.millis();
            kept.listed.remove(&state.inode());
            listings::write(&state, read, names, &mut kept.fresh_listings);
        }
    }

    /// Does it say what is stated of the file?
    fn agrees(&self, path: &ArtifactPath, receipt: &Receipt<'_>) -> bool {
        let Some((algorithm, stated)) = &self.stated else {
            return true;
        };
        let mut start = 0;
        let own = self.algorithms.iter().find_map(|one| {
            let at = start..start + one.length();
            start = at.end;
            (one == algorithm)
                .then(|| receipt.digests.get(at))
                .flatten()
        });
        own.is_some() && own == stated.get(path).map(|digest| &**digest)
    }

    /// What the receipts at `places` say that was found, each of which is shown to `see`; they count as used.
    pub(super) fn take(
        &self,
        places: impl Iterator<Item = ReceiptPlace>,
        mut see: impl FnMut(Option<Receipt<'_>>),
    ) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.is_taken = true;
        for place in places {
            let at = place.0.get() - 1;
            let record = usize::try_from(at).ok().and_then(|at| self.at(at));
            let receipt = record.and_then(Receipt::parse);
            if let Some(receipt) = &receipt {
                self.used.fetch_add(1, Ordering::Relaxed);
                self.oldest.fetch_min(receipt.read, Ordering::Relaxed);
                kept.used.push(at);
            }
            see(receipt);
        }
    }

    /// Before any file is read of which a receipt may be kept: pages that somebody has mapped and written to go to the
    /// disk, after which the kernel takes note of the next write.
    pub(super) fn settle(&self, directory: &Directory) {
        if directory.sync_file_system().is_err() {
            self.is_unsettled.store(true, Ordering::Relaxed);
        }
    }

    /// Keeps what was found in the file in this state, if it was at rest.
    pub(super) fn note(&self, stat: &Stat, format: Format, digests: &[u8]) {
        let state = State::of(stat);
        let code = Format::ALL.iter().position(|one| *one == format);
        let code = code.and_then(|code| u8::try_from(code).ok());
        let is_whole = digests.len() == self.digests();
        let (Some(code), true, true) = (code, is_whole, self.counts(&state)) else {
            return;
        };
        if self.is_unsettled.load(Ordering::Relaxed) {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        state.write(&mut kept.fresh);
        let read = self.began.millis().to_le_bytes();
        kept.fresh.extend_from_slice(&read);
        kept.fresh.push(code);
        kept.fresh.extend_from_slice(digests);
    }

    /// How many files were not read because there was a receipt.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// When the first of those was read that were not read now.
    pub fn oldest(&self) -> Option<Timestamp> {
        let oldest = self.oldest.load(Ordering::Relaxed);
        (self.used() > 0)
            .then(|| Timestamp::from_millis(oldest))
            .flatten()
    }

    /// The receipts of this run, as [`StatCache::read`] takes them; `None` if they are too many.
    pub fn write(&self, key: &HostKey) -> Option<Vec<u8>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // Until it is known which are of use, all are: a run may end while it lists.
        let every = 0..u32::try_from(self.count()).unwrap_or(u32::MAX);
        let (used, listed): (Vec<u32>, Vec<Inode>) = if kept.is_taken {
            (kept.used.clone(), kept.listed.iter().copied().collect())
        } else {
            (every.collect(), self.listings.inodes().collect())
        };
        let used = used.into_iter();
        let used = used.filter_map(|at| self.at(usize::try_from(at).ok()?));
        let mut records: Vec<&[u8]> = used.chain(kept.fresh.chunks_exact(self.record())).collect();
        records.sort_unstable_by_key(|record| inode(record));
        // Two names of one file.
        records.dedup_by_key(|record| inode(record));
        let listed = listed.into_iter();
        let listed = listed.filter_map(|inode| Some(self.listings.of(inode)?.record));
        let mut listed: Vec<&[u8]> = listed.chain([kept.fresh_listings.as_slice()]).collect();
        let mut out = head(&self.algorithms);
        let of_listings: usize = listed.iter().map(|one| one.len()).sum();
        let mut size = out.len() + COUNT + records.len() * self.record() + of_listings + MAC;
        if size as u64 > MAX_RECEIPTS {
            // Those of files save more.
            listed.clear();
            size -= of_listings;
        }
        if size as u64 > MAX_RECEIPTS {
            return None;
        }
        out.reserve_exact(size - out.len());
        let count = u32::try_from(records.len()).ok()?;
        out.extend_from_slice(&count.to_le_bytes());
        for record in records.into_iter().chain(listed) {
            out.extend_from_slice(record);
        }
        let mac = blake3::keyed_hash(&key.0, &out);
        out.extend_from_slice(mac.as_bytes());
        Some(out)
    }

    fn at(&self, place: usize) -> Option<&[u8]> {
        let start = place.checked_mul(self.record())?.checked_add(self.start)?;
        self.known.get(start..start.checked_add(self.record())?)
    }

    /// How many receipts were read.
    fn count(&self) -> usize {
        (self.known.len() - self.start) / self.record()
    }

    /// Has this run come to what was read, and to nothing else?
    pub fn is_as_read(&self) -> bool {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = kept.used.len() == self.count() && kept.listed.len() == self.listings.count();
        is_same && kept.fresh.is_empty() && kept.fresh_listings.is_empty() && self.start > 0
    }

    /// Bytes of a record.
    fn record(&self) -> usize {
        FIXED + self.digests()
    }

    fn digests(&self) -> usize {
        self.algorithms.iter().map(|one| one.length()).sum()
    }
}

/// What the file begins with: it is of these digests and no others, by a program that knows these formats.
fn head(algorithms: &[Algorithm]) -> Vec<u8> {
    let formats: Vec<&str> = Format::ALL.iter().map(|one| one.name()).collect();
    let both = [labels(algorithms), formats.join(",")].join("\n");
    [MAGIC.as_slice(), both.as_bytes(), b"\n"].concat()
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests change files")]
mod tests {
    use super::*;

    const KEY: HostKey = HostKey([7; 32]);
    const NOW: i64 = 1_800_000_000_000;

    fn stat(path: &std::path::Path) -> Stat {
        rustix::fs::stat(path).unwrap()
    }

    fn cache(began: i64) -> StatCache {
        StatCache::new(&[Algorithm::Sha256], Timestamp::from_millis(began).unwrap())
    }

    fn path(name: &str) -> ArtifactPath {
        ArtifactPath::new(name).unwrap()
    }

    /// What the receipts in `bytes` say of a file in this state.
    fn look(mut cache: StatCache, bytes: &[u8], stat: &Stat) -> Option<Vec<u8>> {
        cache.read(bytes.into(), &KEY)?;
        let place = cache.find(&path("f"), stat)?;
        let mut digests = None;
        cache.take([place].into_iter(), |receipt| {
            let receipt = receipt.unwrap();
            assert_eq!(receipt.format, Format::Gguf);
            digests = Some(receipt.digests.to_vec());
        });
        assert_eq!(cache.used(), 1);
        digests
    }

    #[test]
    fn only_the_same_file_of_the_same_host() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("f");
        std::fs::write(&file, "x").unwrap();
        let before = stat(&file);
        let first = cache(NOW);
        first.note(&before, Format::Gguf, &[1; 32]);
        first.note_listing(&stat(scratch.path()), b"f\0");
        let bytes = first.write(&KEY).unwrap();
        assert_eq!(look(cache(NOW), &bytes, &before), Some([1; 32].into()));
        // Another host, or a byte changed anywhere.
        assert!(cache(NOW).read(bytes.clone(), &HostKey([8; 32])).is_none());
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(cache(NOW).read(changed, &KEY).is_none(), "{at}");
        }
        assert!(cache(NOW).read(Vec::new(), &KEY).is_none());
        // The same size and time again: the kernel's own time tells.
        let modified = std::fs::metadata(&file).unwrap().modified().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        std::fs::write(&file, "y").unwrap();
        let open = std::fs::File::options().write(true).open(&file).unwrap();
        open.set_modified(modified).unwrap();
        let after = stat(&file);
        assert_eq!(after.st_mtime_nsec, before.st_mtime_nsec);
        assert_eq!(look(cache(NOW), &bytes, &after), None);
        // Another inode in its place.
        std::fs::rename(&file, scratch.path().join("old")).unwrap();
        std::fs::write(&file, "z").unwrap();
        assert_eq!(look(cache(NOW), &bytes, &stat(&file)), None);
    }

    #[test]
    fn each_of_many_is_found() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("f");
        std::fs::write(&file, "x").unwrap();
        let mut one = stat(&file);
        let first = cache(NOW);
        let inodes: Vec<u64> = (0..500).map(|n: u64| (n * 7919) % 100_003 + 2).collect();
        for inode in &inodes {
            one.st_ino = *inode;
            first.note(
                &one,
                Format::Gguf,
                &[u8::try_from(inode % 251).unwrap(); 32],
            );
        }
        let bytes = first.write(&KEY).unwrap();
        for inode in &inodes {
            one.st_ino = *inode;
            let digest = [u8::try_from(inode % 251).unwrap(); 32];
            assert_eq!(look(cache(NOW), &bytes, &one), Some(digest.into()));
        }
        one.st_ino = 1;
        assert_eq!(look(cache(NOW), &bytes, &one), None);
        one.st_ino = u64::MAX;
        assert_eq!(look(cache(NOW), &bytes, &one), None);
    }

    #[test]
    fn what_has_just_changed_is_not_kept() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("f");
        std::fs::write(&file, "x").unwrap();
        let stat = stat(&file);
        let changed = stat.st_ctime * 1000;
        for (began, kept) in [
            (changed + 5_000, true),
            (changed + 1_000, false),
            (changed - 1_000_000, false),
        ] {
            let cache = cache(began);
            cache.note(&stat, Format::Gguf, &[1; 32]);
            let fresh = &cache.kept.lock().unwrap().fresh;
            assert_eq!(!fresh.is_empty(), kept, "{began}");
        }
    }

    #[test]
    fn what_was_read_long_ago_or_is_to_come_does_not_count() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("f");
        std::fs::write(&file, "x").unwrap();
        let stat = stat(&file);
        let first = cache(NOW);
        first.note(&stat, Format::Gguf, &[1; 32]);
        let bytes = first.write(&KEY).unwrap();
        for (now, max_age, found) in [
            (NOW, None, true),
            (NOW + 1_000_000, None, true),
            (NOW - 1, None, false),
            (NOW + 1_000, Some(1_000), true),
            (NOW + 1_001, Some(1_000), false),
            (NOW, Some(0), true),
            (NOW, Some(u64::MAX), true),
        ] {
            let mut later = cache(now);
            if let Some(max_age) = max_age {
                later.forget_after(max_age);
            }
            let seen = look(later, &bytes, &stat);
            assert_eq!(seen.is_some(), found, "{now} {max_age:?}");
        }
        // What is used again is as old as it was.
        let mut again = cache(NOW + 500);
        again.read(bytes, &KEY).unwrap();
        assert!(!again.is_as_read());
        let place = again.find(&path("f"), &stat).unwrap();
        again.take([place].into_iter(), |receipt| assert!(receipt.is_some()));
        assert!(again.is_as_read());
        assert_eq!(again.oldest(), Timestamp::from_millis(NOW));
        let bytes = again.write(&KEY).unwrap();
        let mut last = cache(NOW + 1_200);
        last.forget_after(1_000);
        assert_eq!(look(last, &bytes, &stat), None);
    }

    #[test]
    fn two_must_say_the_same() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("f");
        std::fs::write(&file, "x").unwrap();
        let stat = stat(&file);
        let algorithms = [Algorithm::Sha256, Algorithm::Blake3];
        let began = Timestamp::from_millis(NOW).unwrap();
        let first = StatCache::new(&algorithms, began);
        let digests = [[1; 32], [2; 32]].concat();
        first.note(&stat, Format::Gguf, &digests);
        let bytes = first.write(&KEY).unwrap();
        let line = |name: &str, digest: u8| Line {
            digest: [digest; 32].into(),
            path: path(name),
        };
        for (algorithm, line, found) in [
            (Algorithm::Blake3, line("f", 2), true),
            (Algorithm::Sha256, line("f", 1), true),
            (Algorithm::Sha256, line("f", 2), false),
            (Algorithm::Sha256, line("g", 1), false),
            (Algorithm::Blake2b, line("f", 1), false),
        ] {
            let mut cache = StatCache::new(&algorithms, began);
            assert_eq!(cache.read(bytes.clone(), &KEY), Some(1));
            cache.agree_with(algorithm, vec![line]);
            assert_eq!(cache.find(&path("f"), &stat).is_some(), found);
        }
        // Receipts of other digests are of no use.
        assert_eq!(cache(NOW).read(bytes, &KEY), None);
    }
}
