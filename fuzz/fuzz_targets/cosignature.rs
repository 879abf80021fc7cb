//! Cosignature lines and keys of all types: nothing but the published note is ever accepted.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use weighbridge::checkpoint::Checkpoint;
use weighbridge::cosignature::{Signed, verify};
use weighbridge::note::{Note, NoteKey};
use weighbridge::tlog_policy::TlogPolicy;

const GOOD: &str = include_str!("../seeds/cosignature/good");

static TRUST: LazyLock<TlogPolicy> = LazyLock::new(|| {
    TlogPolicy::parse(include_bytes!("../seeds/tlog_policy/vectors")).expect("a policy")
});

fuzz_target!(|data: &[u8]| {
    let Ok(note) = Note::parse(data) else {
        return;
    };
    let Ok(checkpoint) = Checkpoint::parse(note.text) else {
        return;
    };
    let published = GOOD
        .split_once("\n\n")
        .and_then(|(text, _)| Checkpoint::parse(&format!("{text}\n")).ok());
    let keys = TRUST
        .logs()
        .chain(TRUST.witnesses().iter().map(|one| &one.key));
    for key in keys {
        let kept = note.with_signatures(&[key], "");
        match verify(&note, &checkpoint, key) {
            Ok(Signed::Not) => assert_eq!(kept, format!("{}\n", note.text)),
            // Nobody has these keys: what verifies is a seed's checkpoint.
            Ok(_) => assert!(checkpoint.origin == published.as_ref().expect("a seed").origin),
            Err(_) => assert!(kept.len() > note.text.len() + 1),
        }
    }
    let vkeys: Vec<NoteKey> = note
        .text
        .lines()
        .filter_map(|line| NoteKey::parse(line).ok())
        .collect();
    for key in vkeys {
        assert!(note.text.contains(&key.to_string()));
    }
});
