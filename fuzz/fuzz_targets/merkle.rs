//! Merkle proofs against the definition (RFC 6962 §2.1), read as it is written: a proof is good
//! under the root that the definition computes from it, and under nothing else. Any tree size.
//!
//! Input: two numbers of 8 bytes, little-endian, and the hashes of a proof.

#![no_main]

use std::convert::Infallible;

use libfuzzer_sys::fuzz_target;
use weighbridge::digest::Sha256;
use weighbridge::merkle::{
    Hash, Node, Nodes, RootBuilder, consistency_proof, empty_root, inclusion_proof, leaf_hash,
    range_hash, verify_consistency, verify_inclusion,
};

fuzz_target!(|data: &[u8]| {
    let Some((first, rest)) = data.split_first_chunk() else {
        return;
    };
    let Some((second, rest)) = rest.split_first_chunk() else {
        return;
    };
    let (first, second) = (u64::from_le_bytes(*first), u64::from_le_bytes(*second));
    let hashes: Vec<Hash> = rest
        .as_chunks()
        .0
        .iter()
        .map(|hash| Sha256(*hash))
        .collect();

    inclusion(&hashes, first, second);
    consistency(&hashes, first, second);
    small_tree(first % 40, second % 40, rest);
});

/// The proof as it came, and as long as it must be.
fn inclusion(hashes: &[Hash], index: u64, size: u64) {
    let leaf = leaf_hash(b"leaf");
    let other = leaf_hash(b"other");
    let naive = root_of(hashes, index, size, leaf);
    let root = naive.unwrap_or(other);
    let verified = verify_inclusion(hashes, index, size, leaf, root);
    assert_eq!(verified.is_ok(), naive.is_some());

    let longest = filled(hashes, 65);
    let proofs = (0..=64).map(|length| &longest[..length]);
    let good = proofs.filter_map(|proof| Some((root_of(proof, index, size, leaf)?, proof)));
    let good: Vec<_> = good.collect();
    assert_eq!(good.len(), usize::from(index < size), "one length is right");
    for (root, proof) in good {
        let verify = |proof: &[Hash], index, leaf, root| {
            verify_inclusion(proof, index, size, leaf, root).is_ok()
        };
        assert!(verify(proof, index, leaf, root));
        assert!(!verify(proof, index, other, root));
        assert!(!verify(proof, index, leaf, other));
        // Twins change places unseen.
        assert!(!verify(proof, index ^ 1, leaf, root) || proof.first() == Some(&leaf));
        assert!(!verify(&longest[..=proof.len()], index, leaf, root));
        for wrong in changed(proof) {
            assert!(!verify(&wrong, index, leaf, root));
        }
    }
}

fn consistency(hashes: &[Hash], old: u64, new: u64) {
    let start = leaf_hash(b"old root");
    let other = leaf_hash(b"other");
    let naive = roots_of(hashes, old, new, start);
    let (old_root, new_root) = naive.unwrap_or((start, other));
    let verified = verify_consistency(hashes, old, old_root, new, new_root);
    assert_eq!(verified.is_ok(), naive.is_some());

    // One more than the tree has levels: the proof may begin with the old tree's last part.
    let longest = filled(hashes, 66);
    let proofs = (0..=65).map(|length| &longest[..length]);
    let good = proofs.filter_map(|proof| Some((roots_of(proof, old, new, start)?, proof)));
    let good: Vec<_> = good.collect();
    assert_eq!(good.len(), usize::from(old <= new), "one length is right");
    for ((old_root, new_root), proof) in good {
        let verify = |proof: &[Hash], old_root, new_root| {
            verify_consistency(proof, old, old_root, new, new_root).is_ok()
        };
        assert!(verify(proof, old_root, new_root));
        assert!(!verify(proof, other, new_root));
        // Every tree grows out of the empty one.
        assert_eq!(verify(proof, old_root, other), old == 0 && new > 0);
        assert!(!verify(&longest[..=proof.len()], old_root, new_root));
        for wrong in changed(proof) {
            assert!(!verify(&wrong, old_root, new_root));
        }
    }
}

/// The functions that make proofs, over a tree that is computed as it is defined.
fn small_tree(first: u64, second: u64, entries: &[u8]) {
    let (old, size) = (first.min(second), first.max(second));
    let entry = |number: u64| leaf_hash(&[entries, number.to_le_bytes().as_slice()].concat());
    let mut tree = Tree((0..size).map(entry).collect());
    let mut builder = RootBuilder::default();
    for leaf in &tree.0 {
        builder.push(*leaf);
    }
    let root = root(&tree.0);
    assert_eq!((builder.size(), builder.root()), (size, root));
    assert_eq!(range_hash(&mut tree, 0, size), Ok(root));

    let old_root = tree.part(0, old);
    let Ok(proof) = consistency_proof(&mut tree, old, size);
    assert_eq!(
        verify_consistency(&proof, old, old_root, size, root),
        Ok(())
    );
    if old < size {
        let leaf = entry(old);
        let Ok(proof) = inclusion_proof(&mut tree, old, size);
        assert_eq!(root_of(&proof, old, size, leaf), Some(root));
        assert_eq!(verify_inclusion(&proof, old, size, leaf, root), Ok(()));
    }
}

/// The hashes of the leaves.
struct Tree(Vec<Hash>);

impl Tree {
    fn part(&self, begin: u64, end: u64) -> Hash {
        let position = |number: u64| usize::try_from(number).expect("a small tree");
        root(&self.0[position(begin)..position(end)])
    }
}

impl Nodes for Tree {
    type Error = Infallible;

    fn node(&mut self, node: Node) -> Result<Hash, Infallible> {
        let begin = node.index << node.level;
        Ok(self.part(begin, begin + (1 << node.level)))
    }
}

/// MTH of RFC 6962 §2.1.
fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            parent(&root(left), &root(right))
        }
    }
}

/// The root that a proof by PATH of RFC 6962 §2.1.1 leads to, if it has the right length.
fn root_of(proof: &[Hash], index: u64, size: u64, leaf: Hash) -> Option<Hash> {
    if index >= size {
        return None;
    }
    if size == 1 {
        return proof.is_empty().then_some(leaf);
    }
    let (sibling, rest) = proof.split_last()?;
    let left = left(size);
    Some(if index < left {
        parent(&root_of(rest, index, left, leaf)?, sibling)
    } else {
        parent(sibling, &root_of(rest, index - left, size - left, leaf)?)
    })
}

/// The old and the new root that a proof by PROOF of RFC 6962 §2.1.2 leads to, if it has the right
/// length. `start` is the old root where the proof begins with it unsaid.
fn roots_of(proof: &[Hash], old: u64, new: u64, start: Hash) -> Option<(Hash, Hash)> {
    match old {
        0 if new == 0 => proof.is_empty().then_some((empty_root(), empty_root())),
        0 => proof.is_empty().then_some((empty_root(), start)),
        _ if old > new => None,
        _ => subproof(proof, old, new, Some(start)),
    }
}

/// SUBPROOF; `whole` is there as long as the old tree is a whole subtree on the left edge.
fn subproof(proof: &[Hash], old: u64, new: u64, whole: Option<Hash>) -> Option<(Hash, Hash)> {
    if old == new {
        return match (whole, proof) {
            (Some(hash), []) => Some((hash, hash)),
            (None, [hash]) => Some((*hash, *hash)),
            _ => None,
        };
    }
    let (sibling, rest) = proof.split_last()?;
    let left = left(new);
    Some(if old <= left {
        let (before, after) = subproof(rest, old, left, whole)?;
        (before, parent(&after, sibling))
    } else {
        let (before, after) = subproof(rest, old - left, new - left, None)?;
        (parent(sibling, &before), parent(sibling, &after))
    })
}

/// The largest power of two that is smaller than `size`, which is at least 2.
fn left(size: u64) -> u64 {
    let mut left = 1;
    while left < size - left {
        left *= 2;
    }
    left
}

fn parent(left: &Hash, right: &Hash) -> Hash {
    Sha256::of(&[[1].as_slice(), &left.0, &right.0].concat())
}

/// `length` hashes: those that are there, and others.
fn filled(hashes: &[Hash], length: usize) -> Vec<Hash> {
    let more = (0_u64..).map(|number| leaf_hash(&number.to_le_bytes()));
    hashes.iter().copied().chain(more).take(length).collect()
}

/// The proof with one bit changed in its first, middle or last hash, and without its last.
fn changed(proof: &[Hash]) -> Vec<Vec<Hash>> {
    let Some((_, shorter)) = proof.split_last() else {
        return Vec::new();
    };
    let flipped = [0, proof.len() / 2, proof.len() - 1].map(|position| {
        let mut wrong = proof.to_vec();
        wrong[position].0[position % 32] ^= 1;
        wrong
    });
    [flipped.as_slice(), &[shorter.to_vec()]].concat()
}
