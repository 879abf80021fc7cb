//! Mirrors (C2SP tlog-mirror): what ours answers.

use std::convert::Infallible;
use std::path::Path;

use ed25519_dalek::SigningKey;
use weighbridge::checkpoint::Checkpoint;
use weighbridge::cosignature::{LogSigner, WitnessSigner};
use weighbridge::ledger::fsck::{Slots, fsck};
use weighbridge::ledger::{DirectoryStore, Log};
use weighbridge::merkle::{self, Hash, Node, Nodes, RootBuilder, leaf_hash};
use weighbridge::server::mirror::{Mirror, Uploaded};
use weighbridge::server::witness::{Answered, Witness};
use weighbridge::time::Timestamp;
use weighbridge::tlog_mirror::{Header, Info, Package, intervals};
use weighbridge::tlog_policy::TlogPolicy;
use weighbridge::witness::AddCheckpoint;

/// One view of a log: two views of the same origin are a fork.
struct View {
    signer: LogSigner,
    kind: u64,
}

impl Nodes for &View {
    type Error = Infallible;
    fn node(&mut self, node: Node) -> Result<Hash, Infallible> {
        let mut builder = RootBuilder::default();
        for index in node.index << node.level..(node.index + 1) << node.level {
            builder.push(leaf_hash(&self.entry(index)));
        }
        Ok(builder.root())
    }
}

impl View {
    fn new(kind: u64) -> View {
        let signer = LogSigner::new("grow.example", SigningKey::from_bytes(&[9; 32])).unwrap();
        View { signer, kind }
    }

    fn entry(&self, index: u64) -> Vec<u8> {
        format!("{} {index}", self.kind).into()
    }

    fn pend(&self, mirror: &Mirror, old: u64, size: u64) -> u16 {
        let Ok(root) = merkle::range_hash(&mut &*self, 0, size);
        let checkpoint = Checkpoint {
            origin: "grow.example".into(),
            size,
            root,
        };
        let Ok(proof) = merkle::consistency_proof(&mut &*self, old, size);
        let note = self.signer.sign(&checkpoint, at()).unwrap().into();
        let request = AddCheckpoint {
            old,
            proof,
            checkpoint: note,
        };
        mirror.add_checkpoint(&request.encode()).unwrap().status()
    }

    fn upload(&self, start: u64, end: u64, packages: usize) -> Vec<u8> {
        let mut body = header(start, end);
        for interval in intervals(start, end).take(packages) {
            let Ok(proof) = merkle::subtree_proof(&mut &*self, interval.begin, interval.end, end);
            let entries = (interval.start..interval.end)
                .map(|index| self.entry(index))
                .collect();
            body.extend(Package { entries, proof }.encode().unwrap());
        }
        body
    }
}

fn header(start: u64, end: u64) -> Vec<u8> {
    let header = Header {
        origin: "grow.example".into(),
        start,
        end,
        ticket: Vec::new(),
    };
    header.encode().unwrap()
}

fn at() -> Timestamp {
    Timestamp::from_seconds(1_700_000_000).unwrap()
}

fn mirror(directory: &Path) -> Mirror {
    let signer = WitnessSigner::mirror("m.example", &SigningKey::from_bytes(&[8; 32])).unwrap();
    let [log, _] = View::new(0).signer.keys().map(Clone::clone);
    Mirror::open(signer, vec![log], directory, at).unwrap()
}

fn add(mirror: &Mirror, body: &[u8]) -> Uploaded {
    mirror.add_entries(&mut &*body).unwrap()
}

fn info(size: u64, next: u64) -> Info {
    Info {
        size,
        next,
        ticket: Vec::new(),
    }
}

const ALL: usize = usize::MAX;

/// Each answer that the specification asks for, in the order of an upload that is cut, goes on after a
/// restart, and overtakes itself.
#[test]
fn answers_of_the_specification() {
    let scratch = tempfile::tempdir().unwrap();
    let mirror = || mirror(scratch.path());
    let (good, fork) = (View::new(0), View::new(1));
    // Nothing is known yet.
    let first = mirror();
    let other = Header {
        origin: "other.example".into(),
        start: 0,
        end: 0,
        ticket: Vec::new(),
    };
    assert_eq!(add(&first, &other.encode().unwrap()), Uploaded::UnknownLog);
    let unknown = add(&first, &good.upload(0, 700, ALL));
    assert!(matches!(unknown, Uploaded::Unprocessable(_)));
    assert!(matches!(add(&first, b"\0\x01"), Uploaded::BadRequest(_)));
    // It is bound to one view before it takes entries, and cosigns nothing by that.
    assert_eq!(good.pend(&first, 0, 700), 200);
    assert_eq!(good.pend(&first, 0, 700), 409);
    assert_eq!(fork.pend(&first, 700, 900), 422);
    let hash = weighbridge::digest::Sha256::of(b"grow.example").to_string();
    assert_eq!(first.read(&hash, "checkpoint").unwrap(), None);
    // Not this size; not from there.
    let conflict = |size, next| Uploaded::Conflict(info(size, next));
    assert_eq!(add(&first, &good.upload(0, 600, ALL)), conflict(700, 0));
    assert_eq!(add(&first, &good.upload(256, 700, ALL)), conflict(700, 0));
    assert_eq!(add(&first, &good.upload(700, 700, ALL)), conflict(700, 0));
    // Entries of the other view, a wrong proof, an entry too few.
    let refused = |body: &[u8]| matches!(add(&first, body), Uploaded::Unprocessable(_));
    assert!(refused(&fork.upload(0, 700, ALL)));
    let mut wrong = good.upload(0, 700, 1);
    *wrong.last_mut().unwrap() ^= 1;
    assert!(refused(&wrong));
    let mut wrong = good.upload(0, 700, 1);
    let place = header(0, 700).len() + 2;
    wrong[place] ^= 1;
    assert!(refused(&wrong));
    assert_eq!(add(&first, &header(700, 700)), conflict(700, 0));
    // Cut before the first package is whole: nothing.
    let body = good.upload(0, 700, 1);
    for length in [header(0, 700).len(), body.len() - 1] {
        let cut = add(&first, &body[..length]);
        assert!(matches!(cut, Uploaded::BadRequest(_)), "{cut:?}");
    }
    // Cut in the second: the first is kept, across a restart.
    let body = good.upload(0, 700, 2);
    assert_eq!(
        add(&first, &body[..body.len() - 1]),
        Uploaded::Partly(info(700, 256))
    );
    drop(first);
    let second = mirror();
    assert_eq!(add(&second, &header(700, 700)), conflict(700, 256));
    // The log grows, and an upload to the size before goes on.
    assert_eq!(good.pend(&second, 700, 1000), 200);
    assert_eq!(
        add(&second, &good.upload(256, 700, 1)),
        Uploaded::Partly(info(700, 512))
    );
    let cosigned = add(&second, &good.upload(512, 700, ALL));
    let Uploaded::Cosigned(lines) = cosigned else {
        panic!("{cosigned:?}");
    };
    assert_eq!(lines.lines().count(), 2, "{lines}");
    // From the middle of a bundle; entries that it has are skipped.
    let third = mirror();
    assert_eq!(add(&third, &header(1000, 1000)), conflict(1000, 700));
    let cosigned = add(&third, &good.upload(650, 1000, ALL));
    assert!(matches!(cosigned, Uploaded::Cosigned(_)), "{cosigned:?}");
    // Again, and the copy does not go back.
    let again = add(&third, &good.upload(1000, 1000, ALL));
    assert!(matches!(again, Uploaded::Cosigned(_)), "{again:?}");
    assert_eq!(
        add(&third, &good.upload(512, 700, ALL)),
        conflict(1000, 1000)
    );
    // What it serves is the log, under both signatures; nothing else is served.
    let store = DirectoryStore::new(&scratch.path().join(&hash));
    let trust = policy(&good, &third);
    let log = Log::open(&store, &trust).unwrap();
    assert_eq!(log.checkpoint().size, 1000);
    let checked = fsck(&store, &trust, Slots::Absent).unwrap();
    assert!(checked.problems.is_empty(), "{:?}", checked.problems);
    assert_eq!(log.entry(999).unwrap().0, good.entry(999));
    assert!(
        third
            .read(&hash, "tile/entries/003.p/232")
            .unwrap()
            .is_some()
    );
    assert!(third.read(&hash, "tile/0/000").unwrap().is_some());
    let pending = format!("../{hash}.pending/pending-00000000000000001000");
    assert!(scratch.path().join(&hash).join(&pending).exists());
    for key in [pending.as_str(), "../x", "lock", "tile/../checkpoint"] {
        assert_eq!(third.read(&hash, key).unwrap(), None, "{key}");
    }
    assert_eq!(
        third
            .read(&format!("{hash}.pending"), "pending-00000000000000001000")
            .unwrap(),
        None
    );
}

fn policy(log: &View, mirror: &Mirror) -> TlogPolicy {
    let [log, _] = log.signer.keys();
    let [ed25519, ml_dsa] = mirror.keys();
    let text = format!(
        "log {log}\nwitness a {ed25519}\nwitness b {ml_dsa}\ngroup both all a b\nquorum both\n"
    );
    TlogPolicy::parse(text.as_bytes()).unwrap()
}

/// Only the newest eight sizes can be uploaded to; what is damaged is not taken for nothing.
#[test]
fn what_a_mirror_remembers() {
    let scratch = tempfile::tempdir().unwrap();
    let log = View::new(0);
    let one = mirror(scratch.path());
    for size in 1..=10 {
        assert_eq!(log.pend(&one, size - 1, size), 200);
    }
    let old = add(&one, &log.upload(0, 2, ALL));
    assert_eq!(old, Uploaded::Conflict(info(10, 0)));
    for size in 3..=10 {
        let cosigned = add(&one, &log.upload(size - 1, size, ALL));
        if size == 3 {
            assert_eq!(cosigned, Uploaded::Conflict(info(3, 0)));
            let all = add(&one, &log.upload(0, 3, ALL));
            assert!(matches!(all, Uploaded::Cosigned(_)), "{all:?}");
        } else {
            assert!(matches!(cosigned, Uploaded::Cosigned(_)), "{size}");
        }
    }
    let hash = weighbridge::digest::Sha256::of(b"grow.example").to_string();
    let copy = scratch.path().join(hash);
    // An entry that was changed on the disk is found before anything is signed over it.
    assert_eq!(log.pend(&one, 10, 12), 200);
    assert_eq!(
        add(&one, &log.upload(10, 12, 0)),
        Uploaded::BadRequest("there is no whole package".into())
    );
    let bundle = copy.join("tile/entries/000.p/10");
    let good = std::fs::read(&bundle).unwrap();
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    std::fs::write(&bundle, bad).unwrap();
    assert!(matches!(
        add(&one, &log.upload(10, 12, ALL)),
        Uploaded::Unprocessable(_)
    ));
    std::fs::write(&bundle, good).unwrap();
    assert!(matches!(
        add(&one, &log.upload(10, 12, ALL)),
        Uploaded::Cosigned(_)
    ));
    // A checkpoint that it did not sign is not its own.
    let signer = WitnessSigner::mirror("m.example", &SigningKey::from_bytes(&[7; 32])).unwrap();
    let [key, _] = View::new(0).signer.keys().map(Clone::clone);
    let error = Mirror::open(signer, vec![key], scratch.path(), at).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("not one that this mirror cosigned")
    );
}

/// Whoever repeats a valid signature line, or asks again and again, makes no note that cannot be read.
#[test]
fn nobody_can_make_a_checkpoint_unreadable() {
    let scratch = tempfile::tempdir().unwrap();
    let log = View::new(0);
    let one = mirror(scratch.path());
    assert_eq!(log.pend(&one, 0, 5), 200);
    assert!(matches!(
        add(&one, &log.upload(0, 5, ALL)),
        Uploaded::Cosigned(_)
    ));
    let Ok(root) = merkle::range_hash(&mut &log, 0, 5);
    let checkpoint = Checkpoint {
        origin: "grow.example".into(),
        size: 5,
        root,
    };
    let note = log.signer.sign(&checkpoint, at()).unwrap();
    let line = note
        .lines()
        .find(|line| line.starts_with('\u{2014}'))
        .unwrap();
    for count in [126, 127, 128] {
        let checkpoint = format!("{checkpoint}\n{}", format!("{line}\n").repeat(count));
        let request = AddCheckpoint {
            old: 5,
            proof: Vec::new(),
            checkpoint: checkpoint.into(),
        };
        let verdict = one.add_checkpoint(&request.encode()).unwrap();
        assert_eq!(verdict.status(), 200, "{count}");
        assert!(
            matches!(add(&one, &header(5, 5)), Uploaded::Cosigned(_)),
            "{count}"
        );
        let witness = WitnessSigner::new("w", SigningKey::from_bytes(&[6; 32])).unwrap();
        let logs = log.signer.keys().map(Clone::clone).into();
        let state = scratch.path().join(format!("witness-{count}"));
        let witness = Witness::open(witness, logs, &state, at).unwrap();
        let request = AddCheckpoint { old: 0, ..request };
        let first = witness.add_checkpoint(&request.encode()).unwrap();
        assert!(matches!(first, Answered::Cosigned(_)), "{count}");
        let again = AddCheckpoint { old: 5, ..request };
        let again = witness.add_checkpoint(&again.encode()).unwrap();
        assert!(matches!(again, Answered::Cosigned(_)), "{count}");
    }
    // What is pending is forgotten after eight more, and the copy's own note is gone on from.
    for size in 6..=14 {
        assert_eq!(log.pend(&one, size - 1, size), 200);
    }
    for _ in 0..70 {
        assert!(matches!(add(&one, &header(5, 5)), Uploaded::Cosigned(_)));
    }
    drop(one);
    let store = weighbridge::digest::Sha256::of(b"grow.example").to_string();
    let note = mirror(scratch.path())
        .read(&store, "checkpoint")
        .unwrap()
        .unwrap();
    assert_eq!(
        String::from_utf8(note).unwrap().matches('\u{2014}').count(),
        3
    );
}

/// A copy that lost what was pending is still bound to what it has.
#[test]
fn a_fork_is_refused_also_when_what_was_pending_is_lost() {
    let scratch = tempfile::tempdir().unwrap();
    let (good, fork) = (View::new(0), View::new(1));
    let one = mirror(scratch.path());
    assert_eq!(good.pend(&one, 0, 256), 200);
    assert!(matches!(
        add(&one, &good.upload(0, 256, ALL)),
        Uploaded::Cosigned(_)
    ));
    let hash = weighbridge::digest::Sha256::of(b"grow.example");
    std::fs::remove_dir_all(scratch.path().join(format!("{hash}.pending"))).unwrap();
    // The copy alone can be cosigned again.
    assert!(matches!(
        add(&one, &header(256, 256)),
        Uploaded::Cosigned(_)
    ));
    std::fs::remove_dir_all(scratch.path().join(format!("{hash}.pending"))).unwrap();
    assert_eq!(fork.pend(&one, 0, 600), 409);
    assert_eq!(fork.pend(&one, 256, 600), 422);
    assert_eq!(good.pend(&one, 256, 600), 200);
    assert!(matches!(
        add(&one, &good.upload(256, 600, ALL)),
        Uploaded::Cosigned(_)
    ));
}
