//! Commit slots: the batch of entries that one writer committed, in the order of the log.
//!
//!
//! ```text
//! weighbridge.dev/commit/v1
//! sequence <decimal>
//! first <decimal>          index of the batch's first entry
//! count <decimal>          1 to 1024
//! previous <64 hex digits> SHA-256 of the slot before, of nothing for the first
//! nonce <32 hex digits>    tells two attempts at the same slot apart
//!
//! <entry bundle>
//! ```
//! A slot is never deleted. One that does not parse, is larger than a slot can be, names another sequence number or another slot
//! before it, or does not begin where the log ended, is void: it adds nothing, and the next one
//! counts. Which slots are void follows from the slots alone, read from the first: see `chain`.

use std::fmt::Write;

use data_encoding::HEXLOWER;

use super::store::{Store, StoreError};
use super::tile::{self, MAX_ENTRY};
use crate::checkpoint::decimal;
use crate::digest::Sha256;

/// The most entries in one batch.
pub const MAX_BATCH: usize = 1024;
/// The largest slot.
pub const MAX_COMMIT: u64 = MAX_BATCH as u64 * (MAX_ENTRY as u64 + 2) + 1024;
const HEADER: &str = "weighbridge.dev/commit/v1";

/// A batch of entries and its place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    pub sequence: u64,
    pub first: u64,
    pub previous: Sha256,
    pub nonce: [u8; 16],
    /// Each of 1 to 65,535 bytes.
    pub entries: Vec<Vec<u8>>,
}

/// The key of slot `sequence`.
pub fn key(sequence: u64) -> String {
    format!("_commit/{sequence:020}")
}

/// The bytes of slot `sequence`, or what stands for them if they are more than a slot can be: a slot
/// that is too large is void like any other that does not parse, and nobody needs to read all of it.
pub fn read(store: &dyn Store, sequence: u64) -> Result<Option<Vec<u8>>, StoreError> {
    judge(sequence, store.read(&key(sequence), MAX_COMMIT))
}

/// The same for the `count` slots from `sequence` on, as far as there are any.
pub fn read_ahead(
    store: &dyn Store,
    sequence: u64,
    count: u64,
) -> Result<Vec<Vec<u8>>, StoreError> {
    let sequences = sequence..sequence.saturating_add(count);
    let keys: Vec<String> = sequences.clone().map(key).collect();
    let answers = store.read_all(&keys, MAX_COMMIT);
    let mut slots = Vec::new();
    for (sequence, answer) in sequences.zip(answers) {
        match judge(sequence, answer)? {
            Some(slot) => slots.push(slot),
            None => break,
        }
    }
    Ok(slots)
}

fn judge(
    sequence: u64,
    answer: Result<Option<Vec<u8>>, StoreError>,
) -> Result<Option<Vec<u8>>, StoreError> {
    match answer {
        Err(error) if error.is_too_large() => Ok(Some(
            format!("weighbridge.dev/oversized/v1\n{sequence}\n").into_bytes(),
        )),
        answer => answer,
    }
}

impl Commit {
    /// The size of the log after this batch.
    pub fn end(&self) -> u64 {
        self.first.saturating_add(self.entries.len() as u64)
    }

    /// The slot's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut head = String::new();
        // Writing to a string cannot fail.
        _ = write!(
            head,
            "{HEADER}\nsequence {}\nfirst {}\ncount {}\nprevious {}\nnonce {}\n\n",
            self.sequence,
            self.first,
            self.entries.len(),
            self.previous,
            HEXLOWER.encode(&self.nonce),
        );
        let mut bytes = head.into_bytes();
        for entry in &self.entries {
            // Longer entries were refused before they came here.
            _ = tile::encode_entry(&mut bytes, entry);
        }
        bytes
    }

    /// Reads a slot; `None` means that it is void.
    pub fn parse(bytes: &[u8], sequence: u64) -> Option<Commit> {
        let blank = bytes
            .windows(2)
            .take(256)
            .position(|pair| pair == b"\n\n")?;
        let (head, rest) = bytes.split_at_checked(blank)?;
        let bundle = rest.get(2..)?;
        let mut lines = std::str::from_utf8(head).ok()?.split('\n');
        if lines.next()? != HEADER {
            return None;
        }
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let named = decimal(field("sequence")?)?;
        let first = decimal(field("first")?)?;
        let count = decimal(field("count")?)?;
        let previous = field("previous")?.parse().ok()?;
        let nonce = HEXLOWER
            .decode(field("nonce")?.as_bytes())
            .ok()?
            .try_into()
            .ok()?;
        if lines.next().is_some() || named != sequence || !(1..=MAX_BATCH as u64).contains(&count) {
            return None;
        }
        first.checked_add(count)?;
        let entries = tile::parse_bundle(bundle, count).ok()?;
        if entries.iter().any(|entry| entry.is_empty()) {
            return None;
        }
        let entries = entries.into_iter().map(Vec::from).collect();
        Some(Commit {
            sequence,
            first,
            previous,
            nonce,
            entries,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling() {
        let entries = vec![b"a".to_vec(), vec![0, 10, 10]];
        let commit = Commit {
            sequence: 7,
            first: 300,
            previous: Sha256::of(b"before"),
            nonce: [5; 16],
            entries,
        };
        let bytes = commit.encode();
        assert_eq!(Commit::parse(&bytes, 7).as_ref(), Some(&commit));
        assert_eq!(Commit::parse(&bytes, 8), None);
        assert_eq!(Commit::parse(&[bytes.as_slice(), b"x"].concat(), 7), None);
        for length in 0..bytes.len() {
            assert_eq!(Commit::parse(&bytes[..length], 7), None, "{length}");
        }
        // Entries aside, every flipped bit of the slot makes it void or another batch.
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(Commit::parse(&flipped, 7).as_ref(), Some(&commit), "{bit}");
        }
    }
}
