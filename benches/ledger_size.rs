//! A large ledger on disk: what appending, opening, proving and checking cost as it grows.
//!
//! `cargo bench --bench ledger_size -- 1000000 DIRECTORY` appends entries of about 100 bytes, 1,024
//! at a time, until the ledger in DIRECTORY has that many, then measures. A ledger that is there
//! already goes on from where it stands. Without arguments: 10,240 entries in a scratch directory.
#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use weighbridge::cosignature::LogSigner;
use weighbridge::ledger::fsck::{Slots, fsck};
use weighbridge::ledger::{DirectoryStore, Log, append, create};
use weighbridge::time::Timestamp;

fn main() {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"))
        .collect();
    let size = words
        .first()
        .map_or(10_240, |word| word.parse().expect("a number of entries"));
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let directory = words
        .get(1)
        .map_or_else(|| scratch.path().join("log"), PathBuf::from);
    let store = DirectoryStore::new(&directory);
    grow(&store, size);
    let (bytes, files) = usage(&directory);
    println!(
        "disk: {:.0} bytes an entry, {files} files",
        ratio(bytes, size)
    );
    proofs(&store, size);
    let start = Instant::now();
    let report = fsck(&store, &signer().trust(), Slots::Required).expect("a ledger");
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    let rate = per_second(report.checkpoint.size, start.elapsed());
    println!("fsck: {:.2?}, {rate:.0} entries a second", start.elapsed());
    println!("peak memory: {}", peak_memory());
}

/// Appends until the ledger has `size` entries; says how fast each tenth went.
fn grow(store: &DirectoryStore, size: u64) {
    create(store, &signer(), now()).expect("a ledger");
    let mut at = size_of(store);
    let step = (size / 10).max(BATCH);
    let (mut start, mut since) = (Instant::now(), at);
    while at < size {
        let end = size.min(at + BATCH);
        let entries: Vec<Vec<u8>> = (at..end).map(entry).collect();
        append(store, &signer(), &entries, now()).expect("an append");
        at = end;
        if at - since >= step || at == size {
            let rate = per_second(at - since, start.elapsed());
            println!("append: {at} entries, {rate:.0} a second since {since}");
            (start, since) = (Instant::now(), at);
        }
    }
}

/// The first opening and proof, and then the median and the worst of a thousand proofs.
fn proofs(store: &DirectoryStore, size: u64) {
    let trust = signer().trust();
    let start = Instant::now();
    let log = Log::open(store, &trust).expect("a ledger");
    let opened = start.elapsed();
    log.entry(size / 3).expect("an entry");
    println!(
        "open: {opened:.2?}; with a first proof {:.2?}",
        start.elapsed()
    );
    let mut times: Vec<Duration> = (0..1000)
        .map(|number: u64| {
            let index = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % size;
            let start = Instant::now();
            log.entry(index).expect("an entry");
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    if let (Some(median), Some(worst)) = (times.get(times.len() / 2), times.last()) {
        println!("entry and inclusion: median {median:.2?}, worst {worst:.2?}");
    }
}

const BATCH: u64 = 1024;

fn signer() -> LogSigner {
    let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    LogSigner::new("bench.example/log", key).expect("a name")
}

fn now() -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000).expect("in range")
}

fn entry(number: u64) -> Vec<u8> {
    format!("{number:0100}").into_bytes()
}

fn size_of(store: &DirectoryStore) -> u64 {
    let log = Log::open(store, &signer().trust()).expect("a ledger");
    log.checkpoint().size
}

#[expect(clippy::cast_precision_loss, reason = "printed with few digits")]
fn ratio(of: u64, to: u64) -> f64 {
    of as f64 / to as f64
}

#[expect(clippy::cast_precision_loss, reason = "printed with few digits")]
fn per_second(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

/// Bytes and number of the files beneath `directory`.
fn usage(directory: &Path) -> (u64, u64) {
    let (mut bytes, mut files) = (0, 0);
    for found in std::fs::read_dir(directory).expect("a directory") {
        let found = found.expect("a name");
        let metadata = found.metadata().expect("what it is");
        if metadata.is_dir() {
            let (more, number) = usage(&found.path());
            bytes += more;
            files += number;
        } else {
            bytes += metadata.len();
            files += 1;
        }
    }
    (bytes, files)
}

/// What the kernel counted, where it is Linux.
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or("unknown".into(), |value| value.trim().into())
}
