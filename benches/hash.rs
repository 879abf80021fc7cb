//! What a user waits for when an artifact is hashed: open, list and read it, from the page cache,
//! with all processors.

#![expect(
    clippy::disallowed_methods,
    reason = "scratch files need not be durable"
)]

use std::fs;
use std::num::NonZero;
use std::path::Path;
use std::thread::available_parallelism;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use weighbridge::artifact::{
    Artifact, Exclusions, Hashing, Known, Manifest, Names, NoProgress, Symlinks, hash, walk,
};
use weighbridge::digest::Algorithm;
use weighbridge::sha256::Choice;

fn main() {
    divan::main();
}

const ALGORITHMS: [&[Algorithm]; 3] = [
    &[Algorithm::Sha256],
    &[Algorithm::Blake3],
    &[Algorithm::Sha256, Algorithm::Blake3],
];

/// One file, as a model's weights are.
#[divan::bench(args = ALGORITHMS, sample_count = 10, sample_size = 1)]
fn file_of_64_mib(bencher: Bencher, algorithms: &[Algorithm]) {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let path = scratch.path().join("weights");
    let content = content(64 << 20);
    fs::write(&path, &content).expect("room for the file");
    bencher
        .counter(BytesCount::of_slice(&content))
        .bench(|| manifest(&path, algorithms));
}

/// A tree, as a dataset or a repository is.
#[divan::bench(args = ALGORITHMS, sample_count = 20, sample_size = 1)]
fn tree_of_2000_files_of_4_kib(bencher: Bencher, algorithms: &[Algorithm]) {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let content = content(4096);
    for directory in 0..20 {
        let directory = scratch.path().join(format!("{directory:02}"));
        fs::create_dir(&directory).expect("a new directory");
        for file in 0..100 {
            fs::write(directory.join(format!("{file:02}")), &content).expect("room for the file");
        }
    }
    bencher
        .counter(ItemsCount::new(2000_u32))
        .bench(|| manifest(scratch.path(), algorithms));
}

fn manifest(path: &Path, algorithms: &[Algorithm]) -> Manifest {
    let artifact = Artifact::open(path).expect("the artifact is there");
    let exclusions = Exclusions::none();
    let walk = walk(&artifact, &exclusions, Symlinks::Refuse, Names::Printable)
        .expect("the artifact can be listed");
    let hashing = Hashing {
        algorithms,
        jobs: available_parallelism().unwrap_or(NonZero::<usize>::MIN),
        progress: &NoProgress,
        known: Known::NOTHING,
        direct: false,
        engine: Choice::Auto,
    };
    let (manifest, faults) = hash(&artifact, walk.files, hashing);
    assert!(faults.is_empty(), "every file has a digest");
    manifest
}

/// Bytes without holes, so that they are really stored and really read.
fn content(size: usize) -> Vec<u8> {
    (0..=u8::MAX).cycle().take(size).collect()
}
