//! A ledger of 100 records: what an append costs, durable and published, and what a proof costs.

use std::time::Duration;

use divan::Bencher;
use divan::counter::ItemsCount;
use tempfile::TempDir;
use weighbridge::cosignature::LogSigner;
use weighbridge::ledger::{DirectoryStore, Log, append, create};
use weighbridge::time::Timestamp;
use weighbridge::tlog_policy::TlogPolicy;

fn main() {
    divan::main();
}

/// Each append to a ledger of its own, so that all of them do the same work.
#[divan::bench(args = [1, 256], sample_count = 40, sample_size = 1, max_time = Duration::from_secs(20))]
fn append_batch(bencher: Bencher, count: u32) {
    let entries: Vec<Vec<u8>> = (100..100 + count).map(entry).collect();
    bencher
        .counter(ItemsCount::new(count))
        .with_inputs(ledger)
        .bench_local_refs(|(_scratch, store)| {
            append(store, &signer(), &entries, now()).expect("a sound ledger")
        });
}

/// The checkpoint's signature, the entry, and its proof made and verified.
#[divan::bench]
fn open_and_read_entry(bencher: Bencher) {
    let (_scratch, store) = ledger();
    let verifier = verifier();
    bencher.bench_local(|| {
        let log = Log::open(&store, &verifier).expect("a sound ledger");
        log.entry(divan::black_box(41)).expect("a sound ledger")
    });
}

/// What a receipt costs its reader, who has no ledger.
#[divan::bench]
fn verify_receipt(bencher: Bencher) {
    let (_scratch, store) = ledger();
    let verifier = verifier();
    let log = Log::open(&store, &verifier).expect("a sound ledger");
    let (entry, receipt) = log.entry(41).expect("a sound ledger");
    bencher.bench_local(|| {
        receipt
            .verify(divan::black_box(&entry), &verifier)
            .expect("a sound receipt")
    });
}

const ORIGIN: &str = "bench.example/log";

fn signer() -> LogSigner {
    let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    LogSigner::new(ORIGIN, key).expect("a name")
}

fn now() -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000).expect("in range")
}

fn verifier() -> TlogPolicy {
    signer().trust()
}

/// As large as a signed record is.
fn entry(number: u32) -> Vec<u8> {
    let mut entry = vec![b'.'; 2048];
    entry.extend_from_slice(&number.to_be_bytes());
    entry
}

fn ledger() -> (TempDir, DirectoryStore) {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let store = DirectoryStore::new(scratch.path());
    create(&store, &signer(), now()).expect("a new ledger");
    let entries: Vec<Vec<u8>> = (0..100).map(entry).collect();
    append(&store, &signer(), &entries, now()).expect("a new ledger");
    (scratch, store)
}
