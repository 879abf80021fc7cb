//! Random schedules on a store in memory: several writers and a reader take turns at every single
//! operation, answers are lost, requests arrive late, and writers are killed between any two steps.
//! Each schedule follows from its seed; a failure names it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Condvar, Mutex};

use weighbridge::checkpoint::Checkpoint;
use weighbridge::cosignature::LogSigner;
use weighbridge::ledger::fsck::{Slots, fsck};
use weighbridge::ledger::{
    Created, LeafIndex, LedgerError, Level, Log, Publisher, Store, StoreError, Writer, create,
};
use weighbridge::merkle::{Hash, RootBuilder, leaf_hash};
use weighbridge::time::Timestamp;

/// How many schedules are run; `WEIGHBRIDGE_SCHEDULES` asks for more, `WEIGHBRIDGE_SEED` for others.
const SCHEDULES: u64 = 1000;

#[test]
fn no_schedule_of_faults_and_crashes_loses_or_forks_anything() {
    let number = |name: &str| std::env::var(name).ok()?.parse().ok();
    let seed = number("WEIGHBRIDGE_SEED").unwrap_or_else(|| {
        let mut bytes = [0; 4];
        getrandom::fill(&mut bytes).unwrap();
        u64::from(u32::from_le_bytes(bytes))
    });
    let schedules = number("WEIGHBRIDGE_SCHEDULES").unwrap_or(SCHEDULES);
    eprintln!("schedules from WEIGHBRIDGE_SEED={seed} on");
    let mut total = Tally::default();
    for seed in seed..seed + schedules {
        let tally = std::panic::catch_unwind(|| schedule(seed));
        let tally = tally.unwrap_or_else(|_| {
            panic!("run it alone: WEIGHBRIDGE_SEED={seed} WEIGHBRIDGE_SCHEDULES=1")
        });
        total.killed += tally.killed;
        total.lost_answers += tally.lost_answers;
        total.late += tally.late;
        total.operations += tally.operations;
    }
    eprintln!("{schedules} schedules: {total:?}");
    // Faults that never happened were not tested.
    let happened = total.killed > schedules / 4 && total.lost_answers > schedules;
    assert!(schedules < 100 || happened && total.late > 0);
}

#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    operations: u64,
    killed: u64,
    lost_answers: u64,
    late: u64,
}

const WRITERS: usize = 3;
const ENTRIES: usize = 6;

fn signer() -> LogSigner {
    LogSigner::new("log", ed25519_dalek::SigningKey::from_bytes(&[9; 32])).unwrap()
}

fn schedule(seed: u64) -> Tally {
    let signer = signer();
    let world = World::new(seed);
    let calm = Process::calm(&world);
    create(&calm, &signer, time(0)).unwrap();
    world.state.lock().unwrap().faults = true;
    let acknowledged: Mutex<BTreeMap<u64, Vec<u8>>> = Mutex::default();
    std::thread::scope(|scope| {
        for thread in 0..WRITERS {
            world.enter(thread);
            let (world, signer, acknowledged) = (&world, &signer, &acknowledged);
            scope.spawn(move || {
                let _leaving = Leaving(world, thread);
                write(world, signer, thread, acknowledged);
            });
        }
        world.enter(WRITERS);
        let (world, signer) = (&world, &signer);
        scope.spawn(move || {
            let _leaving = Leaving(world, WRITERS);
            let store = Process::turns(world, WRITERS);
            for _ in 0..4 {
                // Whatever a reader sees is a whole log.
                let log = Log::open(&store, &signer.trust()).unwrap();
                log.scan(|_, _| {}).unwrap();
            }
        });
    });
    // The last publisher, undisturbed.
    let mut state = world.state.lock().unwrap();
    state.faults = false;
    state.deliver_all();
    drop(state);
    let clock = || time(0);
    let publisher = Publisher {
        signer: &signer,
        cosigners: None,
        clock: &clock,
    };
    Writer::new(&calm, signer.trust(), Some(publisher))
        .publish()
        .unwrap();

    let log = Log::open(&calm, &signer.trust()).unwrap();
    let (mut entries, mut roots, mut builder) = (Vec::new(), Vec::new(), RootBuilder::default());
    log.scan(|_, entry| entries.push(entry.to_vec())).unwrap();
    for entry in &entries {
        roots.push(builder.root());
        builder.push(leaf_hash(entry));
    }
    roots.push(builder.root());
    for (index, entry) in acknowledged.into_inner().unwrap() {
        assert_eq!(
            entries[usize::try_from(index).unwrap()],
            entry,
            "entry {index} was acknowledged"
        );
    }
    let distinct: HashSet<_> = entries.iter().collect();
    assert_eq!(
        distinct.len(),
        WRITERS * ENTRIES,
        "each entry is in the log"
    );
    assert_eq!(
        distinct.len(),
        entries.len(),
        "no entry is in the log twice"
    );
    let state = world.state.lock().unwrap();
    for checkpoint in &state.checkpoints {
        let size = usize::try_from(checkpoint.size).unwrap();
        assert_eq!(checkpoint.root, roots[size], "a fork at size {size}");
    }
    let tally = state.tally;
    drop(state);
    let report = fsck(&calm, &signer.trust(), Slots::Required).unwrap();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    tally
}

/// One writer: appends its entries, and when it is killed, a new process goes on where it stopped.
fn write(
    world: &World,
    signer: &LogSigner,
    thread: usize,
    acknowledged: &Mutex<BTreeMap<u64, Vec<u8>>>,
) {
    let mut pending: Vec<Vec<u8>> = (0..ENTRIES)
        .map(|number| format!("{thread} {number}").into_bytes())
        .collect();
    // One of the writers has no key: the others publish for it.
    let level = if thread == 0 {
        Level::Committed
    } else {
        Level::Published
    };
    while !pending.is_empty() {
        let store = Process::turns(world, thread);
        let clock = || time(world.random(1 << 40));
        let publisher = Publisher {
            signer,
            cosigners: None,
            clock: &clock,
        };
        let publisher = (level == Level::Published).then_some(publisher);
        let writer = Writer::new(&store, signer.trust(), publisher);
        let mut writer = writer.with_index(Box::new(Scanned::default()));
        while !pending.is_empty() {
            let count = usize::try_from(1 + world.random(3))
                .unwrap()
                .min(pending.len());
            match writer.append(&pending[..count], level) {
                Ok(appended) => {
                    let mut acknowledged = acknowledged.lock().unwrap();
                    for (index, entry) in appended.indices.iter().zip(pending.drain(..count)) {
                        let before = acknowledged.insert(*index, entry);
                        assert_eq!(before, None, "index {index} was given twice");
                    }
                }
                Err(LedgerError::Damaged { key, what }) => panic!("{key}: {what}"),
                Err(_) => break,
            }
        }
    }
}

fn time(millis: u64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + i64::try_from(millis).unwrap()).unwrap()
}

/// An index that reads the whole log: slow, and right.
#[derive(Default)]
struct Scanned(HashMap<Hash, u64>);

impl LeafIndex for Scanned {
    fn follow(&mut self, log: &Log<'_>) -> Result<(), LedgerError> {
        self.0.clear();
        log.scan(|index, entry| _ = self.0.insert(leaf_hash(entry), index))
    }

    fn find(&mut self, leaf: &Hash) -> Result<Option<u64>, LedgerError> {
        Ok(self.0.get(leaf).copied())
    }
}

/// What all processes share: the bytes, and whose turn it is.
struct World {
    state: Mutex<Shared>,
    turn: Condvar,
}

struct Shared {
    keys: BTreeMap<String, Vec<u8>>,
    /// Requests that were sent and have not arrived.
    in_flight: Vec<(String, Vec<u8>)>,
    /// Every checkpoint that was ever published.
    checkpoints: Vec<Checkpoint>,
    present: HashSet<usize>,
    waiting: HashSet<usize>,
    chosen: Option<usize>,
    random: u64,
    faults: bool,
    tally: Tally,
}

impl World {
    fn new(seed: u64) -> World {
        World {
            state: Mutex::new(Shared {
                keys: BTreeMap::new(),
                in_flight: Vec::new(),
                checkpoints: Vec::new(),
                present: HashSet::new(),
                waiting: HashSet::new(),
                chosen: None,
                random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
                faults: false,
                tally: Tally::default(),
            }),
            turn: Condvar::new(),
        }
    }

    fn random(&self, limit: u64) -> u64 {
        self.state.lock().unwrap().random(limit)
    }

    fn enter(&self, thread: usize) {
        self.state.lock().unwrap().present.insert(thread);
    }
}

/// When a thread ends, however it does, the others go on.
struct Leaving<'a>(&'a World, usize);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        let Ok(mut state) = self.0.state.lock() else {
            return;
        };
        state.present.remove(&self.1);
        state.choose();
        self.0.turn.notify_all();
    }
}

impl Shared {
    fn random(&mut self, limit: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % limit
    }

    /// When everybody waits, somebody is next.
    fn choose(&mut self) {
        if self.chosen.is_none() && !self.waiting.is_empty() && self.waiting == self.present {
            let mut waiting: Vec<usize> = self.waiting.iter().copied().collect();
            waiting.sort_unstable();
            let next = self.random(waiting.len() as u64);
            self.chosen = Some(waiting[usize::try_from(next).unwrap()]);
        }
    }

    fn deliver_all(&mut self) {
        for (key, bytes) in std::mem::take(&mut self.in_flight) {
            self.keys.entry(key).or_insert(bytes);
        }
    }
}

/// The store as one process sees it, until it is killed.
struct Process<'a> {
    world: &'a World,
    thread: Option<usize>,
    killed: Mutex<bool>,
}

/// What becomes of an operation.
enum Fate {
    Done,
    /// It happens, and nobody hears of it.
    Silent,
    /// It does not happen.
    Refused,
    /// It happens later, when nobody expects it any more.
    Late,
}

impl<'a> Process<'a> {
    fn calm(world: &'a World) -> Process<'a> {
        Process {
            world,
            thread: None,
            killed: Mutex::default(),
        }
    }

    fn turns(world: &'a World, thread: usize) -> Process<'a> {
        Process {
            thread: Some(thread),
            ..Process::calm(world)
        }
    }

    fn unanswered(&self) -> StoreError {
        StoreError::Unanswered {
            place: self.place(),
            operation: "anything",
            what: "a fault of the test".into(),
        }
    }

    fn dead() -> StoreError {
        StoreError::Disk(weighbridge::disk::DiskError::Exists {
            path: "killed".into(),
        })
    }

    /// Waits for its turn, then does `operation`, or not, as fate has it.
    fn operate<T>(
        &self,
        write: Option<(&str, &[u8])>,
        operation: impl FnOnce(&mut Shared) -> T,
    ) -> Result<T, StoreError> {
        let mut state = self.world.state.lock().unwrap();
        let Some(thread) = self.thread else {
            return Ok(operation(&mut state));
        };
        if *self.killed.lock().unwrap() {
            return Err(Self::dead());
        }
        state.waiting.insert(thread);
        state.choose();
        self.world.turn.notify_all();
        while state.chosen != Some(thread) {
            state = self.world.turn.wait(state).unwrap();
        }
        state.chosen = None;
        state.waiting.remove(&thread);
        state.tally.operations += 1;
        let reader = thread == WRITERS;
        if !state.in_flight.is_empty() && state.random(4) == 0 {
            let at = usize::try_from(state.random(1 << 20)).unwrap() % state.in_flight.len();
            let (key, bytes) = state.in_flight.swap_remove(at);
            state.keys.entry(key).or_insert(bytes);
        }
        let mut fate = Fate::Done;
        let mut killed = false;
        if state.faults && !reader {
            fate = match state.random(40) {
                0 => Fate::Silent,
                1 => Fate::Refused,
                2 if write.is_some() => Fate::Late,
                _ => Fate::Done,
            };
            killed = state.random(60) == 0;
        }
        let result = match fate {
            Fate::Done => Ok(operation(&mut state)),
            Fate::Silent => {
                operation(&mut state);
                Err(self.unanswered())
            }
            Fate::Refused => Err(self.unanswered()),
            Fate::Late => {
                state.tally.late += 1;
                if let Some((key, bytes)) = write {
                    state.in_flight.push((key.into(), bytes.into()));
                }
                Err(self.unanswered())
            }
        };
        state.tally.lost_answers += u64::from(result.is_err());
        if killed {
            state.tally.killed += 1;
            *self.killed.lock().unwrap() = true;
            return Err(Self::dead());
        }
        result
    }
}

impl Store for Process<'_> {
    fn read(&self, key: &str, _limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
        self.operate(None, |state| state.keys.get(key).cloned())
    }

    fn exists(&self, key: &str) -> Result<bool, StoreError> {
        self.operate(None, |state| state.keys.contains_key(key))
    }

    fn create(&self, key: &str, bytes: &[u8]) -> Result<Created, StoreError> {
        self.operate(Some((key, bytes)), |state| {
            if state.keys.contains_key(key) {
                return Created::Exists;
            }
            state.keys.insert(key.into(), bytes.into());
            Created::New
        })
    }

    fn replace(&self, key: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.operate(None, |state| {
            assert!(
                ["checkpoint", "state"].contains(&key),
                "{key} is never replaced"
            );
            if key == "checkpoint" {
                let checkpoint = signer().trust().open(bytes).unwrap();
                state.checkpoints.push(checkpoint);
            }
            state.keys.insert(key.into(), bytes.into());
        })
    }

    fn remove(&self, key: &str) -> Result<(), StoreError> {
        panic!("{key} is removed: on a bucket nothing ever is")
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.operate(None, |state| {
            let keys = state.keys.keys().filter(|key| key.starts_with(prefix));
            keys.cloned().collect()
        })
    }

    fn place(&self) -> String {
        "memory".into()
    }
}
