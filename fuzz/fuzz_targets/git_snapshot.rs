//! Proofs of git snapshots, and what they are made of: no object is read as another than it is.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weighbridge::git::snapshot::SnapshotProof;
use weighbridge::git::{ObjectId, Pointer, commit, tree};

fuzz_target!(|data: &[u8]| {
    let id = ObjectId([1; 20]);
    if let Ok(entries) = tree(id, data) {
        let length: usize = entries.iter().map(|entry| entry.name.len() + 22).sum();
        assert!(length <= data.len());
    }
    _ = commit(id, data);
    if let Some(pointer) = Pointer::parse(data) {
        assert_eq!(pointer.content().as_bytes(), data);
    }
    let Ok(proof) = SnapshotProof::parse(data) else {
        return;
    };
    let stored = proof.to_json().expect("it came from JSON");
    assert_eq!(
        SnapshotProof::parse(&stored).expect("what is stored can be read"),
        proof
    );
    if let Ok(snapshot) = proof.snapshot() {
        assert_eq!(snapshot.commit, proof.commit_id);
    }
});
