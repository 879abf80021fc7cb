//! Receipts: one spelling, and none that proves an entry which the log does not have.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use weighbridge::ledger::TlogProof;
use weighbridge::note::NoteKey;
use weighbridge::tlog_policy::TlogPolicy;

/// The key that signed the checkpoints of the seeds.
static TRUST: LazyLock<TlogPolicy> = LazyLock::new(|| {
    let text = include_str!("../seeds/note/key");
    TlogPolicy::of_log(NoteKey::parse(text).expect("a key"))
});

fuzz_target!(|data: &[u8]| {
    let Ok(proof) = TlogProof::parse(data) else {
        return;
    };
    assert_eq!(proof.encode(), data);
    assert!(proof.hashes.len() <= 64);
    assert!(proof.verify(b"not in the log", &TRUST).is_err());
    assert!(proof.verify(data, &TRUST).is_err());

    // Nobody else signs under this key: what verifies is the record of the seed.
    let record = include_bytes!("../seeds/envelope/acquire");
    if let Ok(checkpoint) = proof.verify(record, &TRUST) {
        assert_eq!((proof.index, checkpoint.size), (1, 2));
    }
});
