//! What directories held when they were listed: each goes with the state in which the directory was. Whoever adds, removes or
//! renames an entry changes its times (POSIX.1-2024, `open`, `unlink`, `rename`), and the time of its status change is the kernel's.

use std::collections::HashMap;

use super::file_state::{Inode, STATE, State};

/// A directory, and the names in it.
pub(super) struct Listing<'a> {
    pub(super) state: State,
    /// When the run began in which it was listed.
    pub(super) read: i64,
    /// Each with a zero at its end.
    pub(super) names: &'a [u8],
    /// All of this as it is written.
    pub(super) record: &'a [u8],
}

impl<'a> Listing<'a> {
    /// The first of those in `bytes`: its state, when it was listed and the length of its names in eight and four bytes, and the names.
    fn first(bytes: &'a [u8]) -> Option<Listing<'a>> {
        let (state, rest) = bytes.split_first_chunk::<STATE>()?;
        let (read, rest) = rest.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let names = rest.get(..usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        Some(Listing {
            state: State::read(state)?,
            read: i64::from_le_bytes(*read),
            names,
            record: bytes.get(..STATE + 8 + 4 + names.len())?,
        })
    }
}

/// Listings one after the other.
#[derive(Default)]
pub(super) struct Listings {
    bytes: Vec<u8>,
    starts: HashMap<Inode, usize>,
}

impl Listings {
    /// Those that `bytes` are made of, to the last byte.
    pub(super) fn read(bytes: &[u8]) -> Option<Listings> {
        let mut starts = HashMap::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let first = Listing::first(rest)?;
            starts.insert(first.state.inode(), bytes.len() - rest.len());
            rest = rest.get(first.record.len()..)?;
        }
        let bytes = bytes.into();
        Some(Listings { bytes, starts })
    }

    /// How many directories there are.
    pub(super) fn count(&self) -> usize {
        self.starts.len()
    }

    pub(super) fn inodes(&self) -> impl Iterator<Item = Inode> {
        self.starts.keys().copied()
    }

    pub(super) fn of(&self, inode: Inode) -> Option<Listing<'_>> {
        Listing::first(self.bytes.get(*self.starts.get(&inode)?..)?)
    }
}

/// Appends a listing to `out`; what is too long is not kept.
pub(super) fn write(state: &State, read: i64, names: &[u8], out: &mut Vec<u8>) {
    if let Ok(length) = u32::try_from(names.len()) {
        state.write(out);
        out.extend_from_slice(&read.to_le_bytes());
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(names);
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests change directories")]
mod tests {
    use super::*;
    use crate::artifact::format::Format;
    use crate::artifact::stat_cache::{HostKey, StatCache};
    use crate::artifact::walk::{
        Artifact, Exclusions, Names, ObstacleKind, Symlinks, walk, walk_with,
    };
    use crate::digest::Algorithm;
    use crate::time::Timestamp;

    const KEY: HostKey = HostKey([7; 32]);

    /// Receipts of a run that begins so many seconds after `start`.
    fn receipts(start: i64, after: i64) -> StatCache {
        let began = Timestamp::from_millis((start + after) * 1000).unwrap();
        StatCache::new(&[Algorithm::Sha256], began)
    }

    /// The paths that a walk finds.
    fn list(artifact: &Artifact, receipts: &StatCache) -> Vec<String> {
        let how = (Symlinks::Refuse, Names::Any);
        let found = walk_with(artifact, &Exclusions::none(), how, Some(receipts)).unwrap();
        let files = found.files.iter().map(|file| file.path.as_str().to_owned());
        files.collect()
    }

    #[test]
    fn a_directory_is_listed_again_once_it_has_changed() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("root");
        std::fs::create_dir_all(root.join("sub")).unwrap();
        for name in ["a", "b", "sub/c", "sub/d"] {
            std::fs::write(root.join(name), name).unwrap();
        }
        let artifact = Artifact::open(&root).unwrap();
        let stat = artifact.directory().stat().unwrap();
        // What is said to be there is shown: nothing was listed.
        let first = receipts(stat.st_ctime, 10);
        first.note_listing(&stat, b"sub\0b\0");
        let bytes = first.write(&KEY).unwrap();
        let later = |after| {
            let mut receipts = receipts(stat.st_ctime, after);
            assert_eq!(receipts.read(bytes.clone(), &KEY), Some(0));
            receipts
        };
        let second = later(20);
        assert_eq!(list(&artifact, &second), ["b", "sub/c", "sub/d"]);
        // The other directory is new.
        assert!(!second.is_as_read());
        let kept = second.write(&KEY).unwrap();
        let mut third = receipts(stat.st_ctime, 30);
        assert_eq!(third.read(kept, &KEY), Some(0));
        assert_eq!(list(&artifact, &third), ["b", "sub/c", "sub/d"]);
        assert!(third.is_as_read());

        let all = ["a", "b", "sub/c", "sub/d"];
        // By a clock that was set back; or longer ago than is asked for.
        assert_eq!(list(&artifact, &later(9)), all);
        let mut old = later(20);
        old.forget_after(9_999);
        assert_eq!(list(&artifact, &old), all);
        // On another device.
        let mut elsewhere = later(20);
        elsewhere.stay_on(stat.st_dev + 1);
        assert_eq!(list(&artifact, &elsewhere), all);
        // Its own times, and the old ones again.
        let modified = std::fs::metadata(&root).unwrap().modified().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        std::fs::write(root.join("e"), "e").unwrap();
        let handle = std::fs::File::open(&root).unwrap();
        handle.set_modified(modified).unwrap();
        assert_eq!(list(&artifact, &later(20)).len(), 5);
    }

    /// Nothing can go without the times of the directory: what is kept is not how it is listed now.
    #[test]
    fn what_lacks_a_name_is_listed_again() {
        let scratch = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            std::fs::write(scratch.path().join(name), name).unwrap();
        }
        let artifact = Artifact::open(scratch.path()).unwrap();
        let stat = artifact.directory().stat().unwrap();
        let first = receipts(stat.st_ctime, 10);
        first.note_listing(&stat, b"b\0gone\0..\0");
        let mut second = receipts(stat.st_ctime, 20);
        second.read(first.write(&KEY).unwrap(), &KEY).unwrap();
        assert_eq!(list(&artifact, &second), ["a", "b"]);
        // And kept as it is now.
        second.take([].into_iter(), |_| {});
        let mut third = receipts(stat.st_ctime, 30);
        third.read(second.write(&KEY).unwrap(), &KEY).unwrap();
        assert_eq!(third.listing(&stat), Some(b"a\0b\0".as_slice()));
    }

    /// A run that goes on where another ended, and ends while it lists.
    #[test]
    fn who_ends_while_listing_loses_nothing() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("a");
        std::fs::write(&path, "a").unwrap();
        let (file, directory) = [&*path, scratch.path()]
            .map(|path| rustix::fs::stat(path).unwrap())
            .into();
        let first = receipts(file.st_ctime, 10);
        first.note(&file, Format::Text, &[1; 32]);
        first.note_listing(&directory, b"a\0");
        let mut second = receipts(file.st_ctime, 20);
        assert_eq!(second.read(first.write(&KEY).unwrap(), &KEY), Some(1));
        let mut third = receipts(file.st_ctime, 30);
        assert_eq!(third.read(second.write(&KEY).unwrap(), &KEY), Some(1));
        assert!(third.listing(&directory).is_some());
        // Once it is known what is there, the rest goes.
        second.take([].into_iter(), |_| {});
        assert_eq!(third.read(second.write(&KEY).unwrap(), &KEY), Some(0));
        assert!(third.listing(&directory).is_none());
    }

    #[test]
    fn what_has_just_changed_is_not_kept() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::write(scratch.path().join("a"), "a").unwrap();
        let artifact = Artifact::open(scratch.path()).unwrap();
        let stat = artifact.directory().stat().unwrap();
        for (after, kept) in [(5, true), (1, false), (-10, false)] {
            let receipts = receipts(stat.st_ctime, after);
            assert_eq!(list(&artifact, &receipts), ["a"]);
            let mut next = self::receipts(stat.st_ctime, 20);
            next.read(receipts.write(&KEY).unwrap(), &KEY).unwrap();
            assert_eq!(next.listing(&stat).is_some(), kept, "{after}");
        }
    }

    /// Everybody may put something there, or set its times.
    #[test]
    fn what_everybody_may_write_to_is_not_kept() {
        use std::os::unix::fs::PermissionsExt;
        let scratch = tempfile::tempdir().unwrap();
        let open = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(scratch.path(), open).unwrap();
        let stat = Artifact::open(scratch.path())
            .unwrap()
            .directory()
            .stat()
            .unwrap();
        let receipts = receipts(stat.st_ctime, 10);
        receipts.note_listing(&stat, b"a\0");
        let mut next = self::receipts(stat.st_ctime, 20);
        next.read(receipts.write(&KEY).unwrap(), &KEY).unwrap();
        assert!(next.listing(&stat).is_none());
    }

    /// Names are what the kernel gave; whatever else they are is no path out.
    #[test]
    fn names_lead_nowhere_else() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("root");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(scratch.path().join("secret"), "s").unwrap();
        let artifact = Artifact::open(&root).unwrap();
        let stat = artifact.directory().stat().unwrap();
        let receipts = receipts(stat.st_ctime, 10);
        receipts.note_listing(&stat, b"../secret\0.\0..\0no end");
        let mut next = self::receipts(stat.st_ctime, 20);
        next.read(receipts.write(&KEY).unwrap(), &KEY).unwrap();
        let how = (Symlinks::Refuse, Names::Any);
        let found = walk_with(&artifact, &Exclusions::none(), how, Some(&next)).unwrap();
        assert!(found.files.is_empty());
        let is_name = |kind: &ObstacleKind| matches!(kind, ObstacleKind::Name(_));
        assert_eq!(found.obstacles.len(), 3);
        assert!(found.obstacles.iter().all(|one| is_name(&one.kind)));
        let plain = walk(&artifact, &Exclusions::none(), how.0, how.1).unwrap();
        assert!(plain.obstacles.is_empty());
    }

    #[test]
    fn only_whole_listings_are_read() {
        let scratch = tempfile::tempdir().unwrap();
        let stat = Artifact::open(scratch.path())
            .unwrap()
            .directory()
            .stat()
            .unwrap();
        let state = State::of(&stat);
        let mut bytes = Vec::new();
        write(&state, 1, b"a\0b\0", &mut bytes);
        let other = State {
            inode: state.inode + 1,
            ..state
        };
        write(&other, 2, b"", &mut bytes);
        let read = Listings::read(&bytes).unwrap();
        assert_eq!(read.count(), 2);
        assert_eq!(read.of(state.inode()).unwrap().names, b"a\0b\0");
        let listing = read.of(other.inode()).unwrap();
        assert_eq!((listing.read, listing.names), (2, b"".as_slice()));
        let first = STATE + 8 + 4 + 4;
        for end in 1..bytes.len() {
            assert_eq!(
                Listings::read(&bytes[..end]).is_some(),
                end == first,
                "{end}"
            );
        }
    }
}
