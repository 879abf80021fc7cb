//! What contents are known by the digest that a kernel keeps of them under fs-verity: a file that has such a digest need not be
//! read to know its other digests. Unlike a receipt this is sound: the kernel lets nobody change the file, and checks what is
//! read of it.
//!
//! Whose word it is that two digests are of the same content: this host's, which computed both when it sealed the file, in a
//! list with a keyed hash over all of it; or that of whoever signed them side by side.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::sync::{Mutex, PoisonError};

use super::stat_cache::HostKey;
use crate::digest::{Algorithm, labels};
use crate::disk::{self, Unmeasured};

/// The largest list: of two million files with a SHA-256 each, and more.
pub const MAX_SEALS: u64 = 256 * 1024 * 1024;

const MAGIC: &[u8; 16] = b"weighbridge seal";
const MAC: usize = 32;

/// The digest of fs-verity: SHA-256, blocks of 4,096 bytes, no salt.
pub type VerityDigest = [u8; 32];

/// Contents by the digest of fs-verity.
#[derive(Debug)]
pub struct Seals {
    algorithms: Vec<Algorithm>,
    /// The digests of each one after the other; nothing, where two were said to be of one content.
    known: BTreeMap<VerityDigest, Option<Box<[u8]>>>,
    /// How many files were read all the same, by the reason.
    unsealed: Mutex<BTreeMap<Unsealed, usize>>,
}

/// Why a file was read although it need not have been, had it been sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Unsealed {
    /// The kernel has no digest of it.
    Unmeasured(Unmeasured),
    /// Nobody who counts says what content that is.
    Unknown,
}

impl Seals {
    /// Nothing yet, of these digests.
    pub fn of(algorithms: &[Algorithm]) -> Seals {
        Seals {
            algorithms: algorithms.into(),
            known: BTreeMap::new(),
            unsealed: Mutex::default(),
        }
    }

    /// Takes what somebody says of a content: its digests one after the other.
    pub fn add(&mut self, verity: VerityDigest, digests: &[u8]) {
        let length: usize = self.algorithms.iter().map(|one| one.length()).sum();
        if digests.len() != length {
            return;
        }
        match self.known.entry(verity) {
            Entry::Vacant(place) => _ = place.insert(Some(digests.into())),
            // Two contents that have one digest: one of them is a lie.
            Entry::Occupied(mut known) => {
                if known.get().as_deref() != Some(digests) {
                    known.insert(None);
                }
            }
        }
    }

    /// Are they of these digests?
    pub(super) fn is_of(&self, algorithms: &[Algorithm]) -> bool {
        self.algorithms == algorithms
    }

    /// The digests of an open file, if its kernel vouches for its content, and that is known.
    pub(super) fn find(&self, file: &File) -> Option<&[u8]> {
        let found = disk::measure(file)
            .map_err(Unsealed::Unmeasured)
            .and_then(|verity| {
                let known = self.known.get(&verity).and_then(Option::as_deref);
                known.ok_or(Unsealed::Unknown)
            });
        found.map_err(|why| self.note(why)).ok()
    }

    fn note(&self, why: Unsealed) {
        let mut unsealed = self.unsealed.lock().unwrap_or_else(PoisonError::into_inner);
        *unsealed.entry(why).or_default() += 1;
    }

    /// How many files were read all the same, and why.
    pub fn unsealed(&self) -> BTreeMap<Unsealed, usize> {
        let unsealed = self.unsealed.lock().unwrap_or_else(PoisonError::into_inner);
        unsealed.clone()
    }

    /// How many contents are known.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Is none known?
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Takes what a list of this host says; how much that is.
    pub fn read(&mut self, bytes: &[u8], key: &HostKey) -> Option<usize> {
        let (content, mac) = bytes.split_last_chunk::<MAC>()?;
        // Compares in constant time.
        if blake3::keyed_hash(&key.0, content) != *mac {
            return None;
        }
        let records = content.strip_prefix(self.head().as_slice())?;
        let length: usize = self.algorithms.iter().map(|one| one.length()).sum();
        let records = records.chunks_exact(32 + length);
        if !records.remainder().is_empty() {
            return None;
        }
        let count = records.len();
        for record in records {
            let (verity, digests) = record.split_first_chunk::<32>()?;
            self.add(*verity, digests);
        }
        Some(count)
    }

    /// The list, as [`Seals::read`] takes it; `None` if it is too large.
    pub fn write(&self, key: &HostKey) -> Option<Vec<u8>> {
        let mut out = self.head();
        for (verity, digests) in &self.known {
            if let Some(digests) = digests {
                out.extend_from_slice(verity);
                out.extend_from_slice(digests);
            }
        }
        let mac = blake3::keyed_hash(&key.0, &out);
        out.extend_from_slice(mac.as_bytes());
        (out.len() as u64 <= MAX_SEALS).then_some(out)
    }

    fn head(&self) -> Vec<u8> {
        let labels = labels(&self.algorithms);
        [MAGIC.as_slice(), labels.as_bytes(), b"\n"].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: HostKey = HostKey([7; 32]);
    const BOTH: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Blake3];

    fn known(seals: &Seals, verity: VerityDigest) -> Option<&[u8]> {
        seals.known.get(&verity)?.as_deref()
    }

    #[test]
    fn a_list_is_of_its_host_and_its_digests() {
        let mut seals = Seals::of(&BOTH);
        seals.add([1; 32], &[2; 64]);
        seals.add([3; 32], &[4; 64]);
        // Of other digests.
        seals.add([5; 32], &[6; 32]);
        let bytes = seals.write(&KEY).unwrap();
        let mut again = Seals::of(&BOTH);
        assert_eq!(again.read(&bytes, &KEY), Some(2));
        assert_eq!(known(&again, [3; 32]), Some([4; 64].as_slice()));
        assert_eq!(known(&again, [5; 32]), None);
        assert_eq!(Seals::of(&BOTH).read(&bytes, &HostKey([8; 32])), None);
        assert_eq!(Seals::of(&[Algorithm::Sha256]).read(&bytes, &KEY), None);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(Seals::of(&BOTH).read(&changed, &KEY), None, "{at}");
            assert_eq!(Seals::of(&BOTH).read(&bytes[..at], &KEY), None, "{at}");
        }
        // A whole list that was cut, by whoever has the key.
        let cut = &bytes[..bytes.len() - MAC - 1];
        let mac = *blake3::keyed_hash(&KEY.0, cut).as_bytes();
        let cut = [cut, &mac].concat();
        assert_eq!(Seals::of(&BOTH).read(&cut, &KEY), None);
    }

    #[test]
    fn of_two_contents_with_one_digest_none_is_known() {
        let mut seals = Seals::of(&[Algorithm::Sha256]);
        seals.add([1; 32], &[2; 32]);
        seals.add([1; 32], &[2; 32]);
        assert_eq!(known(&seals, [1; 32]), Some([2; 32].as_slice()));
        seals.add([1; 32], &[3; 32]);
        assert_eq!(known(&seals, [1; 32]), None);
        seals.add([1; 32], &[2; 32]);
        assert_eq!(known(&seals, [1; 32]), None);
    }

    /// Where nothing is sealed, that is the reason.
    #[test]
    fn what_is_not_sealed_is_counted() {
        let scratch = tempfile::tempfile().unwrap();
        let seals = Seals::of(&[Algorithm::Sha256]);
        assert_eq!(seals.find(&scratch), None);
        assert_eq!(seals.find(&scratch), None);
        let why: Vec<usize> = seals.unsealed().into_values().collect();
        assert_eq!(why, [2]);
    }
}
