//! What durable appends cost: one writer against the fsyncs that it needs, and 64 threads that share
//! batches. Prints a table; `cargo bench --bench writers`.
#![expect(
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a program that measures and prints; a failure stops it"
)]

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use weighbridge::cosignature::LogSigner;
use weighbridge::ledger::sequencer::Sequencer;
use weighbridge::ledger::{DirectoryStore, Level, Publisher, Writer, create};
use weighbridge::time::Timestamp;

const THREADS: usize = 64;
const RUN: Duration = Duration::from_secs(5);
/// As large as a small signed record.
const ENTRY: usize = 1024;

fn main() {
    // `cargo test --benches` and `cargo bench -- --list` only want to know that this runs.
    if std::env::args().any(|argument| argument == "--test" || argument == "--list") {
        return;
    }
    let scratch = tempfile::tempdir_in("target").expect("a scratch directory");
    let fsyncs = fsyncs(scratch.path());
    let single = single(&scratch.path().join("single"));
    println!(
        "single append: {:.2} ms; its {FSYNCS} fsyncs alone: {:.2} ms; ratio {:.2} (bar: under 3)",
        single * 1e3,
        fsyncs * 1e3,
        single / fsyncs
    );
    let (rate, mut waits) = threads(&scratch.path().join("threads"));
    waits.sort_unstable();
    let at = |part: usize| waits[(waits.len() - 1) * part / 100].as_secs_f64() * 1e3;
    println!(
        "{THREADS} threads, one entry of {ENTRY} bytes each time: {rate:.0} durable appends/s \
         (bar: at least 10,000); p50 {:.1} ms, p99 {:.1} ms",
        at(50),
        at(99)
    );
}

/// Slot, two partial tiles, checkpoint and state: the file, and its directory.
const FSYNCS: usize = 10;

/// How long the fsyncs of one append take, without anything else: a new file each, and its
/// directory.
fn fsyncs(directory: &Path) -> f64 {
    let mut best = f64::MAX;
    for round in 0..50 {
        let begin = Instant::now();
        for number in 0..FSYNCS / 2 {
            let path = directory.join(format!("{round}-{number}"));
            let mut file = File::create_new(path).expect("a new file");
            std::io::Write::write_all(&mut file, &[7; ENTRY]).expect("a new file");
            file.sync_all().expect("a new file");
            let directory = File::open(directory).expect("a directory");
            directory.sync_all().expect("a directory");
        }
        best = best.min(begin.elapsed().as_secs_f64());
    }
    best
}

fn signer() -> LogSigner {
    let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    LogSigner::new("bench.example/log", key).expect("a name")
}

fn now() -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000).expect("in range")
}

fn entry(thread: usize, number: u64) -> Vec<u8> {
    let mut entry = vec![b'.'; ENTRY];
    entry[..8].copy_from_slice(&number.to_be_bytes());
    entry[8..16].copy_from_slice(&(thread as u64).to_be_bytes());
    entry
}

/// The best of 50 appends by one writer that stays.
fn single(path: &Path) -> f64 {
    let (store, signer) = (DirectoryStore::new(path), signer());
    create(&store, &signer, now()).expect("a new ledger");
    let publisher = Publisher {
        signer: &signer,
        cosigners: None,
        clock: &now,
    };
    let mut writer = Writer::new(&store, signer.trust(), Some(publisher));
    let append = |number| {
        let begin = Instant::now();
        let appended = writer.append(&[entry(0, number)], Level::Published);
        appended.expect("a sound ledger");
        begin.elapsed().as_secs_f64()
    };
    (0..50).map(append).fold(f64::MAX, f64::min)
}

fn threads(path: &Path) -> (f64, Vec<Duration>) {
    let (store, signer) = (DirectoryStore::new(path), signer());
    create(&store, &signer, now()).expect("a new ledger");
    let publisher = Publisher {
        signer: &signer,
        cosigners: None,
        clock: &now,
    };
    let writer = Writer::new(&store, signer.trust(), Some(publisher));
    let count = AtomicU64::new(0);
    let begin = Instant::now();
    let waits = std::thread::scope(|scope| {
        let sequencer = Sequencer::start(scope, writer, Level::Published);
        let (sequencer, count) = (&sequencer, &count);
        std::thread::scope(|inner| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| {
                    inner.spawn(move || {
                        let mut waits = Vec::new();
                        while begin.elapsed() < RUN {
                            let number = count.fetch_add(1, Ordering::Relaxed);
                            let asked = Instant::now();
                            let appended = sequencer.append(vec![entry(thread, number)]);
                            appended.expect("a sound ledger");
                            waits.push(asked.elapsed());
                        }
                        waits
                    })
                })
                .collect();
            let waits = threads
                .into_iter()
                .map(|thread| thread.join().expect("a thread"));
            waits.flatten().collect::<Vec<_>>()
        })
    });
    (waits.len() as f64 / begin.elapsed().as_secs_f64(), waits)
}
