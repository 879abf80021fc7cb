//! Group commit in one process: while one batch is made durable, the entries of other threads gather
//! into the next. Knows no storage: a [`Writer`] does the work.

use std::collections::VecDeque;
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Scope;
use std::time::{Duration, Instant};

use super::LedgerError;
use super::append::{Appended, Level, Recovery, check_sizes};
use super::commit::MAX_BATCH;
use super::writer::Writer;

/// How many entries may wait; an append that finds more waits for room.
pub const MAX_PENDING: usize = 16 * MAX_BATCH;
/// How many bytes of entries may wait.
pub const MAX_PENDING_BYTES: usize = 256 << 20;
/// How long an append waits for room.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long those who were answered are waited for, at most.
const COME_BACK: Duration = Duration::from_millis(10);

/// Batches the appends of many threads.
pub struct Sequencer {
    queue: Arc<Queue>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    /// There is something to do, or nothing more will come.
    work: Condvar,
    /// There is room again.
    room: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Request>,
    entries: usize,
    bytes: usize,
    closed: bool,
}

type Answer = Result<Appended, Arc<LedgerError>>;

struct Request {
    entries: Vec<Vec<u8>>,
    bytes: usize,
    answer: SyncSender<Answer>,
}

impl Sequencer {
    /// Starts a thread that appends by `writer` until this is dropped, and acknowledges at `level`.
    pub fn start<'scope, 'env: 'scope>(
        scope: &'scope Scope<'scope, 'env>,
        writer: Writer<'env>,
        level: Level,
    ) -> Sequencer {
        let queue = Arc::new(Queue::default());
        let own = queue.clone();
        scope.spawn(move || {
            let _closer = Closer(&own);
            work(&own, writer, level);
        });
        Sequencer { queue }
    }

    /// Appends 1 to 1,024 entries. Returns when they are acknowledged; waits while too many others
    /// wait. Call it from as many threads as there are.
    pub fn append(&self, entries: Vec<Vec<u8>>) -> Answer {
        check_sizes(&entries)?;
        let bytes = entries.iter().map(Vec::len).sum();
        let (answer, answered) = mpsc::sync_channel(1);
        let mut state = self.queue.lock();
        while state.entries + entries.len() > MAX_PENDING || state.bytes + bytes > MAX_PENDING_BYTES
        {
            if state.closed {
                break;
            }
            let (guard, waited) = self
                .queue
                .room
                .wait_timeout(state, PATIENCE)
                .unwrap_or_else(PoisonError::into_inner);
            state = guard;
            if waited.timed_out() {
                return Err(Arc::new(LedgerError::Busy));
            }
        }
        if state.closed {
            return Err(Arc::new(LedgerError::Stopped));
        }
        state.entries += entries.len();
        state.bytes += bytes;
        state.waiting.push_back(Request {
            entries,
            bytes,
            answer,
        });
        drop(state);
        self.queue.work.notify_one();
        answered
            .recv()
            .unwrap_or_else(|_| Err(Arc::new(LedgerError::Stopped)))
    }
}

impl Drop for Sequencer {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.lock().closed = true;
        self.work.notify_all();
        self.room.notify_all();
    }

    /// The requests of the next batch; none if nothing more will come.
    ///
    /// `last` were answered just now. They often come back at once: for a short while they are waited
    /// for, because else those that wait already and those that come back would take turns in batches of
    /// half the size.
    fn take(&self, last: usize, patience: Duration) -> Vec<Request> {
        let mut state = self.lock();
        if last > 1 {
            let goal = state.waiting.len() + last;
            let missing = |state: &mut State| state.waiting.len() < goal && !state.closed;
            let waited = self.work.wait_timeout_while(state, patience, missing);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        while state.waiting.is_empty() && !state.closed {
            state = self
                .work
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let (mut batch, mut count) = (Vec::new(), 0);
        while let Some(request) = state.waiting.pop_front() {
            if count + request.entries.len() > MAX_BATCH {
                state.waiting.push_front(request);
                break;
            }
            count += request.entries.len();
            state.entries -= request.entries.len();
            state.bytes -= request.bytes;
            batch.push(request);
        }
        drop(state);
        self.room.notify_all();
        batch
    }
}

/// When the thread ends, however it does, nobody waits for it any longer.
struct Closer<'a>(&'a Queue);

impl Drop for Closer<'_> {
    fn drop(&mut self) {
        self.0.close();
        self.0.lock().waiting.clear();
    }
}

fn work(queue: &Queue, mut writer: Writer<'_>, level: Level) {
    let (mut last, mut patience) = (0, Duration::ZERO);
    loop {
        let batch = queue.take(last, patience);
        if batch.is_empty() {
            return;
        }
        let begin = Instant::now();
        last = batch.len();
        let mut entries = Vec::new();
        let mut answers = Vec::new();
        for request in batch {
            answers.push((request.entries.len(), request.answer));
            entries.extend(request.entries);
        }
        let result = writer.append(&entries, level);
        patience = (begin.elapsed() / 8).min(COME_BACK);
        // Who asked may be gone: then nobody reads the answer.
        match result {
            Ok(mut appended) => {
                let mut rest = std::mem::take(&mut appended.indices).into_iter();
                for (count, answer) in answers {
                    let indices = rest.by_ref().take(count).collect();
                    _ = answer.send(Ok(Appended {
                        indices,
                        ..appended.clone()
                    }));
                    appended.recovery = Recovery::default();
                }
            }
            Err(error) => {
                let error = Arc::new(error);
                for (_, answer) in answers {
                    _ = answer.send(Err(error.clone()));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cosignature::LogSigner;
    use crate::ledger::Store;
    use crate::ledger::fsck::{Slots, fsck};
    use crate::ledger::{DirectoryStore, Log, Publisher, create};
    use crate::time::Timestamp;

    #[test]
    fn threads_share_batches_and_each_gets_its_own_index() {
        let scratch = tempfile::tempdir().unwrap();
        let store = DirectoryStore::new(scratch.path());
        let key = ed25519_dalek::SigningKey::from_bytes(&[9; 32]);
        let signer = LogSigner::new("log", key).unwrap();
        let clock = || Timestamp::from_millis(1_700_000_000_000).unwrap();
        create(&store, &signer, clock()).unwrap();
        let publisher = Publisher {
            signer: &signer,
            cosigners: None,
            clock: &clock,
        };
        let writer = Writer::new(&store, signer.trust(), Some(publisher));
        let all = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            let sequencer = Arc::new(Sequencer::start(scope, writer, Level::Published));
            for thread in 0..16 {
                let (sequencer, all) = (sequencer.clone(), &all);
                scope.spawn(move || {
                    for number in 0..20 {
                        // Every fifth entry is everybody's.
                        let entry = match number % 5 {
                            0 => format!("common {number}"),
                            _ => format!("{thread} {number}"),
                        };
                        let entry = entry.into_bytes();
                        let appended = sequencer.append(vec![entry.clone()]).unwrap();
                        let [index] = appended.indices[..] else {
                            panic!("{appended:?}")
                        };
                        assert!(appended.checkpoint.unwrap().size > index);
                        all.lock().unwrap().push((index, entry));
                    }
                });
            }
        });
        let log = Log::open(&store, &signer.trust()).unwrap();
        assert_eq!(log.checkpoint().size, 16 * 16 + 4);
        let mut entries = Vec::new();
        log.scan(|_, entry| entries.push(entry.to_vec())).unwrap();
        for (index, entry) in all.into_inner().unwrap() {
            assert_eq!(entries[usize::try_from(index).unwrap()], entry);
        }
        assert!(store.list("_commit/").unwrap().len() < 320);
        let report = fsck(&store, &signer.trust(), Slots::Required).unwrap();
        assert!(report.problems.is_empty(), "{:?}", report.problems);
    }

    #[test]
    fn a_failure_reaches_who_asked_and_a_stopped_sequencer_says_so() {
        let scratch = tempfile::tempdir().unwrap();
        let store = DirectoryStore::new(scratch.path());
        let key = ed25519_dalek::SigningKey::from_bytes(&[9; 32]);
        let signer = LogSigner::new("log", key).unwrap();
        let queue = std::thread::scope(|scope| {
            let writer = Writer::new(&store, signer.trust(), None);
            let sequencer = Sequencer::start(scope, writer, Level::Committed);
            let error = sequencer.append(vec![vec![1]]).unwrap_err();
            assert!(matches!(*error, LedgerError::NoCheckpoint), "{error}");
            let error = sequencer.append(vec![vec![]]).unwrap_err();
            assert!(
                matches!(*error, LedgerError::EntrySize { size: 0 }),
                "{error}"
            );
            sequencer.queue.clone()
        });
        let late = Sequencer { queue };
        let error = late.append(vec![vec![1]]).unwrap_err();
        assert!(matches!(*error, LedgerError::Stopped), "{error}");
    }
}
