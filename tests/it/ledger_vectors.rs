//! Logs that other programs wrote: good ones are read, damaged ones refused for what is wrong.

use std::path::Path;

use weighbridge::ledger::fsck::{FsckReport, Slots, fsck};
use weighbridge::ledger::{DirectoryStore, LedgerError, Log, TlogProof};
use weighbridge::merkle::verify_consistency;
use weighbridge::note::NoteKey;
use weighbridge::tlog_policy::TlogPolicy;

use crate::support::{copy_tree, fixture};

fn key() -> TlogPolicy {
    let keys = std::fs::read_to_string(fixture("vectors/tlog/vkeys.txt")).unwrap();
    let key = keys
        .lines()
        .find_map(|line| line.strip_prefix("log-ed25519 "))
        .unwrap();
    TlogPolicy::of_log(NoteKey::parse(key).unwrap())
}

/// Checks a copy of the log that holds nothing but the log.
fn check(directory: &Path, key: &TlogPolicy) -> Result<FsckReport, LedgerError> {
    let scratch = tempfile::tempdir().unwrap();
    let copy = scratch.path().join("log");
    copy_tree(directory, &copy);
    for entry in std::fs::read_dir(&copy).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && path.file_name().unwrap() != "checkpoint" {
            std::fs::remove_file(path).unwrap();
        }
    }
    fsck(&DirectoryStore::new(&copy), key, Slots::Absent)
}

#[test]
fn good_logs_are_read_and_proved() {
    for (name, size) in [
        ("good", 300),
        ("good-empty", 0),
        ("good-edge-entries", 3),
        ("good-grease", 0),
    ] {
        let directory = fixture("vectors/tlog").join(name);
        let report = check(&directory, &key()).unwrap();
        assert!(report.problems.is_empty(), "{name}: {:?}", report.problems);
        let store = DirectoryStore::new(&directory);
        let log = Log::open(&store, &key()).unwrap();
        let found = log.checkpoint().size;
        assert!(found == size || name == "good-grease", "{name}: {found}");
        let mut scanned = 0;
        log.scan(|_, _| scanned += 1).unwrap();
        assert_eq!(scanned, found);
        for index in 0..found {
            let (entry, proof) = log.entry(index).unwrap();
            proof.verify(&entry, &key()).unwrap();
        }
    }
}

#[test]
fn tessera_wrote_a_log_that_we_read() {
    let directory = fixture("vectors/tlog/tessera-testdata");
    let expect = std::fs::read_to_string(directory.join("expect.txt")).unwrap();
    let vkey = expect
        .split_whitespace()
        .find(|word| word.matches('+').count() >= 2)
        .unwrap();
    let key = NoteKey::parse(vkey.trim_matches(['`', '.', ','])).unwrap();
    let key = TlogPolicy::of_log(key);
    let report = check(&directory, &key).unwrap();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    assert_eq!(report.checkpoint.size, 15);
    // Each older checkpoint is a prefix of the newest.
    let store = DirectoryStore::new(&directory);
    let log = Log::open(&store, &key).unwrap();
    for size in 0..=15 {
        let note = std::fs::read(directory.join(format!("checkpoint.{size}"))).unwrap();
        let old = key.open(&note).unwrap();
        assert_eq!(old.size, size);
        let (proof, root) = log.consistency(size).unwrap();
        assert_eq!(root, old.root);
        verify_consistency(&proof, size, old.root, 15, log.checkpoint().root).unwrap();
    }
}

#[test]
fn older_checkpoints_are_consistent() {
    let directory = fixture("vectors/tlog/good");
    let store = DirectoryStore::new(&directory);
    let log = Log::open(&store, &key()).unwrap();
    for size in [0, 1, 255, 256, 257, 300] {
        let note = std::fs::read(directory.join(format!("checkpoint.{size}")));
        let Ok(note) = note else { continue };
        let old = key().open(&note).unwrap();
        assert_eq!(log.consistency(size).unwrap().1, old.root, "{size}");
    }
}

/// What fsck says of each damaged log: the file and the fault.
const DAMAGED: &[(&str, &str)] = &[
    (
        "bundle-bit-flip",
        "tile/entries/000: entry 100 is not the one that was logged",
    ),
    (
        "bundle-swapped",
        "tile/entries/000: entry 100 is not the one that was logged",
    ),
    (
        "bundle-trailing",
        "tile/entries/000: has 4 bytes after its last entry",
    ),
    (
        "bundle-truncated",
        "tile/entries/001.p/44: ends in the middle of entry 43",
    ),
    (
        "checkpoint-bad-signature",
        "wrong signature by ledger.example/vectors",
    ),
    (
        "checkpoint-leading-zero",
        "the size is not a decimal number",
    ),
    (
        "checkpoint-other-key",
        "no signature by ledger.example/vectors",
    ),
    ("checkpoint-wrong-origin", "checkpoint is of log"),
    ("checkpoint-wrong-root", "signs root"),
    ("rewritten-partial", "history was rewritten"),
    (
        "tile-bit-flip",
        "tile/0/000: hash 100 (byte 3205) is not that of the entry",
    ),
    ("tile-level1-bit-flip", "tile/1/000.p/1: byte 9 is wrong"),
    ("tile-missing", "tile/0/000: is missing"),
    (
        "tile-truncated",
        "tile/0/001.p/44: has 1376 bytes, not 1408",
    ),
];

/// Sound in themselves; to see what is wrong takes a witness, or a checkpoint that was kept.
const SOUND: &[&str] = &[
    "checkpoint-bad-cosignature",
    "checkpoint-no-witness",
    "forked-ahead",
    "forked-same-size",
    "rolled-back",
];

#[test]
fn damaged_logs_are_refused_for_what_is_wrong() {
    let mut seen = 0;
    for entry in std::fs::read_dir(fixture("vectors/tlog/bad")).unwrap() {
        let directory = entry.unwrap().path();
        let name = directory.file_name().unwrap().to_str().unwrap().to_owned();
        let said = match check(&directory, &key()) {
            Ok(report) => report
                .problems
                .iter()
                .map(|problem| format!("{}: {}", problem.key, problem.what))
                .collect::<Vec<_>>()
                .join("\n"),
            Err(error) => weighbridge::gate::cause(&error),
        };
        seen += 1;
        if said.is_empty() {
            assert!(
                SOUND.iter().any(|sound| name.starts_with(sound)),
                "{name} passed"
            );
            continue;
        }
        let expected = DAMAGED.iter().find(|(damaged, _)| *damaged == name);
        let expected = expected.unwrap_or_else(|| panic!("{name} is not in the list: {said}"));
        assert!(said.contains(expected.1), "{name}: {said}");
    }
    assert_eq!(seen, 19);
}

/// Whoever kept a checkpoint sees a fork and a rollback.
#[test]
fn forks_and_rollbacks_contradict_a_kept_checkpoint() {
    for name in ["forked-ahead", "forked-same-size", "rolled-back"] {
        let directory = fixture("vectors/tlog/bad").join(name);
        let kept = std::fs::read(directory.join("trusted-checkpoint")).unwrap();
        let kept = key().open(&kept).unwrap();
        let store = DirectoryStore::new(&directory);
        let log = Log::open(&store, &key()).unwrap();
        match log.consistency(kept.size) {
            Ok((_, root)) => assert_ne!(root, kept.root, "{name}"),
            Err(LedgerError::Outside { .. }) => assert_eq!(name, "rolled-back"),
            Err(error) => panic!("{name}: {error}"),
        }
    }
}

#[test]
fn proofs_of_others_verify_and_bad_ones_do_not() {
    let directory = fixture("vectors/tlog/proofs");
    let read = |name: String| std::fs::read(directory.join(name)).unwrap();
    let entry = |index: &str| read(format!("{index}.entry"));
    let (mut good, mut bad) = (0, 0);
    for file in std::fs::read_dir(&directory).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let Some(stem) = name.strip_suffix(".tlog-proof") else {
            continue;
        };
        let bytes = read(name.clone());
        let verify =
            |entry: &[u8]| TlogProof::parse(&bytes).and_then(|proof| proof.verify(entry, &key()));
        if stem.contains(".bad") {
            assert!(verify(&entry("7")).is_err(), "{name}");
            bad += 1;
        } else {
            assert_eq!(verify(&entry(stem)).unwrap().size, 300);
            assert_eq!(TlogProof::parse(&bytes).unwrap().encode(), bytes);
            assert!(verify(b"another entry").is_err(), "{name}");
            good += 1;
        }
    }
    assert_eq!((good, bad), (5, 7));
}
