//! Requests to a witness: one spelling; and whatever is accepted continues the tree that was known.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use weighbridge::note::NoteKey;
use weighbridge::tlog_policy::TlogPolicy;
use weighbridge::witness::{AddCheckpoint, Seen, Verdict, judge};

static LOGS: LazyLock<Vec<NoteKey>> = LazyLock::new(|| {
    let policy = TlogPolicy::parse(include_bytes!("../seeds/tlog_policy/vectors"));
    policy.expect("a policy").logs().cloned().collect()
});

fuzz_target!(|data: &[u8]| {
    let Ok(request) = AddCheckpoint::parse(data) else {
        return;
    };
    assert_eq!(request.encode(), data);
    if let Verdict::Cosign(accepted) = judge(&request, None, &LOGS) {
        assert!(request.old == 0 && request.proof.is_empty());
        let seen = Seen {
            size: accepted.checkpoint.size,
            root: accepted.checkpoint.root,
        };
        // The same tree again is fine; as the first of a log that is known, it is not.
        let again = AddCheckpoint {
            old: seen.size,
            ..request.clone()
        };
        assert_eq!(judge(&again, Some(seen), &LOGS).status(), 200);
        let stale = judge(&request, Some(seen), &LOGS);
        assert!(seen.size == 0 || stale == Verdict::Conflict(seen.size));
    }
});
