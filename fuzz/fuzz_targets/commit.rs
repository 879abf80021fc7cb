//! Commit slots: a slot has one spelling, and is good under its own number only.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weighbridge::ledger::commit::{Commit, MAX_BATCH};
use weighbridge::ledger::tile::MAX_ENTRY;

fuzz_target!(|data: &[u8]| {
    let named = sequence(data);
    let Some(commit) = Commit::parse(data, named.unwrap_or(0)) else {
        return;
    };
    assert_eq!(Some(commit.sequence), named);
    assert_eq!(commit.encode(), data);
    assert!((1..=MAX_BATCH).contains(&commit.entries.len()));
    assert!(
        commit
            .entries
            .iter()
            .all(|entry| (1..=MAX_ENTRY).contains(&entry.len()))
    );
    assert_eq!(commit.end() - commit.first, commit.entries.len() as u64);
    assert_eq!(Commit::parse(data, commit.sequence ^ 1), None);
    assert_eq!(
        Commit::parse(&[data, b"\0"].concat(), commit.sequence),
        None
    );
});

/// The number in the second line.
fn sequence(data: &[u8]) -> Option<u64> {
    let line = data.split(|&byte| byte == b'\n').nth(1)?;
    let number = line.strip_prefix(b"sequence ")?;
    std::str::from_utf8(number).ok()?.parse().ok()
}
