//! Receipts of earlier hashing: which digests a file had when it was last read, for as long as nothing about
//! it has changed that the kernel keeps track of. A convenience for those who sign again; no evidence.
//!
//! A file is known by device, inode, size, mode, and the times of its last change, in nanoseconds. The time
//! of the last status change (ctime) is the kernel's: no program sets it back, so a file that was changed
//! and given its old mtime is read again. What changed within [`RACY`] of being read is not kept: the clock
//! of a file system may be that coarse. Not seen is who keeps a file mapped for writing and writes to it
//! without the kernel noticing, who writes to the disk beneath, and who sets the machine's clock to the
//! nanosecond.
//!
//! The receipts of one artifact are a file of fixed-size records with a keyed hash over all of it; the key
//! is this host's, and is kept apart. A file that is not of this key is as good as none.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::Stat;

use super::manifest::Line;
use crate::digest::Algorithm;
use crate::path::ArtifactPath;
use crate::time::Timestamp;

/// The longest time for which a file system may give two changes the same time.
pub const RACY: i64 = 2_000;

/// The largest file of receipts: two million files with a SHA-256 each.
pub const MAX_RECEIPTS: u64 = 256 * 1024 * 1024;

/// The key of this host.
#[derive(Clone, Copy)]
pub struct HostKey(pub [u8; 32]);

/// The receipts of one artifact: those that were read, and those of this run.
pub struct StatCache {
    algorithms: Vec<Algorithm>,
    known: HashMap<Inode, Receipt>,
    /// What somebody else says that the files have; a receipt that says otherwise is not used.
    stated: Option<(Algorithm, Stated)>,

    fresh: Mutex<HashMap<Inode, Receipt>>,
    used: AtomicUsize,
    /// When this run began.
    began: Timestamp,
    /// The file system of the artifact: what is mounted within it may be of any kind.
    device: Option<u64>,
}

type Inode = (u64, u64);
type Stated = HashMap<ArtifactPath, Box<[u8]>>;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Receipt {
    state: State,
    digests: Box<[u8]>,
}

/// What the kernel says of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    device: u64,
    inode: u64,
    size: u64,
    mode: u64,
    modified: (i64, u64),
    changed: (i64, u64),
}

/// Bytes of a state in the file.
const STATE: usize = 8 * 8;
const MAGIC: &[u8; 16] = b"weighbridge\0\0\0\0\x01";
const MAC: usize = 32;

impl State {
    #[expect(
        clippy::cast_sign_loss,
        clippy::unnecessary_cast,
        reason = "the fields of stat differ in width and sign among platforms; all bits are kept"
    )]
    fn of(stat: &Stat) -> State {
        State {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            size: stat.st_size as u64,
            mode: u64::from(stat.st_mode as u32),
            modified: (stat.st_mtime as i64, stat.st_mtime_nsec as u64),
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as u64),
        }
    }

    /// Can everybody write to it?
    fn is_open(&self) -> bool {
        self.mode & 0o002 != 0
    }

    fn inode(&self) -> Inode {
        (self.device, self.inode)
    }

    /// Was it at rest before `began`, by a clock that may have been set back meanwhile?
    fn rested(&self, began: Timestamp) -> bool {
        let before = (began.millis() - RACY).div_euclid(1000);
        self.modified.0 < before && self.changed.0 < before
    }

    fn write(&self, out: &mut Vec<u8>) {
        for number in [self.device, self.inode, self.size, self.mode] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for (seconds, nanos) in [self.modified, self.changed] {
            out.extend_from_slice(&seconds.to_le_bytes());
            out.extend_from_slice(&nanos.to_le_bytes());
        }
    }

    fn read(bytes: &[u8; STATE]) -> State {
        let mut numbers = bytes.chunks_exact(8).map(|chunk| {
            let mut number = [0; 8];
            number.copy_from_slice(chunk);
            number
        });
        let mut next = || numbers.next().unwrap_or_default();
        State {
            device: u64::from_le_bytes(next()),
            inode: u64::from_le_bytes(next()),
            size: u64::from_le_bytes(next()),
            mode: u64::from_le_bytes(next()),
            modified: (i64::from_le_bytes(next()), u64::from_le_bytes(next())),
            changed: (i64::from_le_bytes(next()), u64::from_le_bytes(next())),
        }
    }
}

impl StatCache {
    /// Without any receipt, for hashing with `algorithms` that begins at `began`.
    pub fn new(algorithms: &[Algorithm], began: Timestamp) -> StatCache {
        StatCache {
            algorithms: algorithms.into(),
            known: HashMap::new(),
            stated: None,
            fresh: Mutex::default(),
            used: AtomicUsize::new(0),
            began,
            device: None,
        }
    }

    /// Takes files on this device alone.
    pub fn stay_on(&mut self, device: u64) {
        self.device = Some(device);
    }

    /// Is this a file of which a receipt says something?
    fn counts(&self, state: &State, algorithms: &[Algorithm]) -> bool {
        let here = self.device.is_none_or(|device| state.device == device);
        here && !state.is_open() && algorithms == self.algorithms && state.rested(self.began)
    }

    /// Adds the receipts in `bytes`, if they are of this host; how many there are.
    pub fn read(&mut self, bytes: &[u8], key: &HostKey) -> Option<usize> {
        let head = head(&self.algorithms);
        let (content, mac) = bytes.split_last_chunk::<MAC>()?;
        let keyed = blake3::keyed_hash(&key.0, content);
        // Compares in constant time.
        if keyed != *mac {
            return None;
        }
        let records = content.strip_prefix(head.as_slice())?;
        let length = self.digests() + STATE;
        if records.len() % length != 0 {
            return None;
        }
        for record in records.chunks_exact(length) {
            let (state, digests) = record.split_first_chunk::<STATE>()?;
            let state = State::read(state);
            let receipt = Receipt {
                state,
                digests: digests.into(),
            };
            self.known.insert(state.inode(), receipt);
        }
        Some(self.known.len())
    }

    /// Uses a receipt only for a file that `lines` list with the very digest.
    pub fn agree_with(&mut self, algorithm: Algorithm, lines: Vec<Line>) {
        let by_path = lines.into_iter().map(|line| (line.path, line.digest));
        self.stated = Some((algorithm, by_path.collect()));
    }

    /// The digests of the file at `path`, which is open and in this state, if it was read before.
    pub(super) fn digests_of(
        &self,
        path: &ArtifactPath,
        stat: &Stat,
        algorithms: &[Algorithm],
    ) -> Option<Box<[u8]>> {
        let state = State::of(stat);
        let receipt = self.known.get(&state.inode())?;
        if receipt.state != state || !self.counts(&state, algorithms) {
            return None;
        }
        if let Some((algorithm, stated)) = &self.stated {
            let mut start = 0;
            let own = self.algorithms.iter().find_map(|one| {
                let at = start..start + one.length();
                start = at.end;
                (one == algorithm)
                    .then(|| receipt.digests.get(at))
                    .flatten()
            });
            if own? != &**stated.get(path)? {
                return None;
            }
        }
        self.used.fetch_add(1, Ordering::Relaxed);
        self.keep(receipt.clone());
        Some(receipt.digests.clone())
    }

    /// Keeps what was found in the file in this state, if it was at rest.
    pub(super) fn note(&self, stat: &Stat, algorithms: &[Algorithm], digests: &[u8]) {
        let state = State::of(stat);
        if self.counts(&state, algorithms) && digests.len() == self.digests() {
            let digests = digests.into();
            self.keep(Receipt { state, digests });
        }
    }

    fn keep(&self, receipt: Receipt) {
        if let Ok(mut fresh) = self.fresh.lock() {
            fresh.insert(receipt.state.inode(), receipt);
        }
    }

    /// How many files were not read because there was a receipt.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// The receipts of this run, as [`StatCache::read`] takes them; `None` if they are too many.
    pub fn write(&self, key: &HostKey) -> Option<Vec<u8>> {
        let fresh = self.fresh.lock().ok()?;
        let mut receipts: Vec<&Receipt> = fresh.values().collect();
        receipts.sort_unstable_by_key(|receipt| receipt.state.inode());
        let mut out = head(&self.algorithms);
        for receipt in receipts {
            receipt.state.write(&mut out);
            out.extend_from_slice(&receipt.digests);
        }
        let mac = blake3::keyed_hash(&key.0, &out);
        out.extend_from_slice(mac.as_bytes());
        (out.len() as u64 <= MAX_RECEIPTS).then_some(out)
    }

    fn digests(&self) -> usize {
        self.algorithms.iter().map(|one| one.length()).sum()
    }
}

/// What the file begins with: it is of these digests and no others.
fn head(algorithms: &[Algorithm]) -> Vec<u8> {
    let names: Vec<&str> = algorithms.iter().map(|one| one.name()).collect();
    [MAGIC.as_slice(), names.join(",").as_bytes(), b"\n"].concat()
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

    #[test]
    fn only_the_same_file_of_the_same_host() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("f");
        std::fs::write(&file, "x").unwrap();
        let before = stat(&file);
        let path = ArtifactPath::new("f").unwrap();
        let first = cache(NOW);
        first.note(&before, &[Algorithm::Sha256], &[1; 32]);
        let bytes = first.write(&KEY).unwrap();
        let read = |bytes: &[u8], key: &HostKey| {
            let mut cache = cache(NOW);
            cache.read(bytes, key).map(|_| cache)
        };
        let look = |stat: &Stat| {
            let cache = read(&bytes, &KEY).unwrap();
            cache.digests_of(&path, stat, &[Algorithm::Sha256])
        };
        assert_eq!(look(&before).as_deref(), Some([1; 32].as_slice()));
        // Another host, or a byte changed anywhere.
        assert!(read(&bytes, &HostKey([8; 32])).is_none());
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(read(&changed, &KEY).is_none(), "{at}");
        }
        assert!(read(&[], &KEY).is_none());
        // The same size and time again: the kernel's own time tells.
        let modified = std::fs::metadata(&file).unwrap().modified().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        std::fs::write(&file, "y").unwrap();
        let open = std::fs::File::options().write(true).open(&file).unwrap();
        open.set_modified(modified).unwrap();
        let after = stat(&file);
        assert_eq!(after.st_mtime_nsec, before.st_mtime_nsec);
        assert_eq!(look(&after), None);
        // Another inode in its place.
        std::fs::rename(&file, scratch.path().join("old")).unwrap();
        std::fs::write(&file, "z").unwrap();
        assert_eq!(look(&stat(&file)), None);
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
            cache.note(&stat, &[Algorithm::Sha256], &[1; 32]);
            assert_eq!(!cache.fresh.lock().unwrap().is_empty(), kept, "{began}");
        }
    }

    #[test]
    fn two_must_say_the_same() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("f");
        std::fs::write(&file, "x").unwrap();
        let stat = stat(&file);
        let path = ArtifactPath::new("f").unwrap();
        let algorithms = [Algorithm::Sha256, Algorithm::Blake3];
        let began = Timestamp::from_millis(NOW).unwrap();
        let first = StatCache::new(&algorithms, began);
        let digests = [[1; 32], [2; 32]].concat();
        first.note(&stat, &algorithms, &digests);
        let bytes = first.write(&KEY).unwrap();
        let line = |name: &str, digest: u8| Line {
            digest: [digest; 32].into(),
            path: ArtifactPath::new(name).unwrap(),
        };
        for (algorithm, line, found) in [
            (Algorithm::Blake3, line("f", 2), true),
            (Algorithm::Sha256, line("f", 1), true),
            (Algorithm::Sha256, line("f", 2), false),
            (Algorithm::Sha256, line("g", 1), false),
            (Algorithm::Blake2b, line("f", 1), false),
        ] {
            let mut cache = StatCache::new(&algorithms, began);
            assert_eq!(cache.read(&bytes, &KEY), Some(1));
            cache.agree_with(algorithm, vec![line]);
            let looked = cache.digests_of(&path, &stat, &algorithms);
            assert_eq!(looked.is_some(), found);
            assert_eq!(cache.used(), usize::from(found));
        }
        // Receipts of other digests are of no use.
        assert_eq!(cache(NOW).read(&bytes, &KEY), None);
    }
}
