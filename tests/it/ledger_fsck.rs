//! `fsck` on a ledger of three levels of tiles: it names the file, the first bad byte and the
//! entries, wherever the damage is, and nothing else.

use std::path::PathBuf;

use weighbridge::cosignature::LogSigner;
use weighbridge::ledger::fsck::{FsckReport, Slots, fsck};
use weighbridge::ledger::{DirectoryStore, append, create};
use weighbridge::merkle::leaf_hash;
use weighbridge::time::Timestamp;

/// 257 full bundles and one of 208: more than one tile of level 1.
const SIZE: u64 = 66_000;
/// Two bytes of length and what [`entry`] makes.
const STRIDE: usize = 42;

struct Ledger {
    scratch: tempfile::TempDir,
    store: DirectoryStore,
}

fn signer() -> LogSigner {
    let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    LogSigner::new("test.example/fsck", key).unwrap()
}

fn entry(number: u64) -> Vec<u8> {
    format!("{number:040}").into_bytes()
}

impl Ledger {
    fn of(size: u64, batch: u64) -> Ledger {
        let scratch = tempfile::tempdir().unwrap();
        let store = DirectoryStore::new(scratch.path());
        let now = Timestamp::from_millis(1_800_000_000_000).unwrap();
        create(&store, &signer(), now).unwrap();
        let mut at = 0;
        while at < size {
            let end = size.min(at + batch);
            let entries: Vec<Vec<u8>> = (at..end).map(entry).collect();
            append(&store, &signer(), &entries, now).unwrap();
            at = end;
        }
        Ledger { scratch, store }
    }

    fn path(&self, key: &str) -> PathBuf {
        self.scratch.path().join(key)
    }

    fn fsck(&self, slots: Slots) -> FsckReport {
        fsck(&self.store, &signer().trust(), slots).unwrap()
    }

    /// What is said of the log while the files have other bytes, or are gone.
    fn damaged(&self, damages: &[(&str, Damage)]) -> Vec<String> {
        let originals: Vec<Vec<u8>> = damages
            .iter()
            .map(|(key, damage)| {
                let original = std::fs::read(self.path(key)).unwrap();
                match damage.of(&original) {
                    Some(bytes) => std::fs::write(self.path(key), bytes).unwrap(),
                    None => std::fs::remove_file(self.path(key)).unwrap(),
                }
                original
            })
            .collect();
        let report = self.fsck(Slots::Absent);
        for ((key, _), original) in damages.iter().zip(originals) {
            std::fs::write(self.path(key), original).unwrap();
        }
        lines(&report)
    }
}

fn lines(report: &FsckReport) -> Vec<String> {
    let line =
        |problem: &weighbridge::ledger::fsck::Problem| format!("{}: {}", problem.key, problem.what);
    report.problems.iter().map(line).collect()
}

/// Files and what happens to them, and what is said.
type Case<'a> = (&'a [(&'a str, Damage)], &'a [&'a str]);

#[derive(Clone, Copy)]
enum Damage {
    /// One bit of the byte.
    Flip(usize),
    Truncate(usize),
    Append,
    Remove,
    /// Another hash at the place.
    Hash(usize, [u8; 32]),
}

impl Damage {
    fn of(self, original: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = original.to_vec();
        match self {
            Damage::Flip(at) => bytes[at] ^= 1,
            Damage::Truncate(length) => bytes.truncate(length),
            Damage::Append => bytes.push(0),
            Damage::Hash(at, hash) => bytes[at * 32..(at + 1) * 32].copy_from_slice(&hash),
            Damage::Remove => return None,
        }
        Some(bytes)
    }
}

#[test]
fn each_damage_is_named_to_the_byte_and_nothing_else_is() {
    let ledger = Ledger::of(SIZE, 1024);
    let report = ledger.fsck(Slots::Required);
    assert_eq!(lines(&report), Vec::<String>::new());
    assert_eq!(report.checkpoint.size, SIZE);

    let bundle = "tile/entries/010: entry 2565 is not the one that was logged (from byte 210)";
    let tile = "tile/0/020: hash 5123 (byte 100) is not that of the entry";
    let cases: &[Case] = &[
        (
            &[("tile/entries/010", Damage::Flip(5 * STRIDE + 9))],
            &[bundle],
        ),
        (&[("tile/0/020", Damage::Flip(100))], &[tile]),
        // Neither all bundles nor all tiles lead to the root: each place is judged by itself.
        (
            &[
                ("tile/entries/010", Damage::Flip(5 * STRIDE + 9)),
                ("tile/0/020", Damage::Flip(100)),
            ],
            &[bundle, tile],
        ),
        (
            &[("tile/1/000", Damage::Flip(33))],
            &[
                "tile/1/000: byte 33 is wrong: hash 1 is not that of the entries; \
               it stands for entries 256 to 511",
            ],
        ),
        (
            &[("tile/2/000.p/1", Damage::Flip(31))],
            &[
                "tile/2/000.p/1: byte 31 is wrong: hash 0 is not that of the entries; \
               it stands for entries 0 to 65535",
            ],
        ),
        (
            &[("tile/1/001.p/1", Damage::Append)],
            &["tile/1/001.p/1: byte 32 is one too many"],
        ),
        (
            &[("tile/1/001.p/1", Damage::Remove)],
            &["tile/1/001.p/1: is missing"],
        ),
        (
            &[("tile/entries/255", Damage::Remove)],
            &["tile/entries/255: is missing"],
        ),
        (
            &[("tile/0/256", Damage::Remove)],
            &["tile/0/256: is missing"],
        ),
        (
            &[("tile/0/256", Damage::Truncate(8000))],
            &["tile/0/256: has 8000 bytes, not 8192; it is of entries 65536 to 65791"],
        ),
        (
            &[("tile/entries/010", Damage::Truncate(100 * STRIDE + 1))],
            &[
                "tile/entries/010: ends in the middle of entry 100 of the bundle \
               (wrong from byte 4200 of 4201): entries 2660 to 2815 are lost",
            ],
        ),
        // A length that lies shifts everything after it: the damage begins there, not at the end.
        (
            &[("tile/entries/010", Damage::Flip(7 * STRIDE))],
            &[
                "tile/entries/010: ends in the middle of entry 8 of the bundle \
               (wrong from byte 294 of 10752): entries 2567 to 2815 are lost",
            ],
        ),
        // The last, partial bundle has no tile above it: the signed root settles it.
        (
            &[("tile/entries/257.p/208", Damage::Flip(2 * STRIDE + 9))],
            &["tile/entries/257.p/208: entry 65794 is not the one that was logged (from byte 84)"],
        ),
        (
            &[
                ("tile/0/257.p/208", Damage::Flip(64)),
                ("tile/entries/010", Damage::Flip(5 * STRIDE + 9)),
            ],
            &[
                bundle,
                "tile/0/257.p/208: hash 65794 (byte 64) is not that of the entry",
            ],
        ),
    ];
    for (damages, expected) in cases {
        let keys: Vec<&str> = damages.iter().map(|(key, _)| *key).collect();
        assert_eq!(ledger.damaged(damages), *expected, "{keys:?}");
    }

    // An entry that was exchanged together with its hash: the level above gives it away.
    let mut forged = entry(2565);
    forged[7] ^= 1;
    let said = ledger.damaged(&[
        ("tile/entries/010", Damage::Flip(5 * STRIDE + 9)),
        ("tile/0/010", Damage::Hash(5, leaf_hash(&forged).0)),
    ]);
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said[0].starts_with("tile/1/000: byte 32"), "{said:?}");
    assert!(said[0].contains("entries 2560 to 2815"), "{said:?}");
    assert!(said[1].starts_with("tile/2/000.p/1: byte "), "{said:?}");
    assert!(said[2].starts_with("checkpoint: signs root"), "{said:?}");
}

#[test]
fn temporaries_in_sub_directories_are_noticed() {
    let ledger = Ledger::of(3, 3);
    let prefix = weighbridge::disk::TEMPORARY_PREFIX;
    for directory in ["", "tile/0/", "tile/entries/000.p/", "_commit/"] {
        let key = format!("{directory}{prefix}7");
        std::fs::write(ledger.path(&key), "half").unwrap();
        let report = ledger.fsck(Slots::Required);
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        let keys: Vec<&str> = report.notes.iter().map(|note| note.key.as_str()).collect();
        assert_eq!(keys, [key.as_str()]);
        std::fs::remove_file(ledger.path(&key)).unwrap();
    }
}

/// A report does not grow with what somebody throws into the directory.
#[test]
fn problems_are_limited() {
    let ledger = Ledger::of(3, 3);
    for number in 0..1100 {
        std::fs::write(ledger.path(&format!("stranger-{number}")), "").unwrap();
    }
    let report = ledger.fsck(Slots::Required);
    assert_eq!(report.problems.len(), 1001);
    assert!(report.problems[1000].what.starts_with("and more"));
}
