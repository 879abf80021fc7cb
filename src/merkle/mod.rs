//! Merkle trees of RFC 6962 §2.1: hashes, proofs and their verification (RFC 9162 §2.1.3, §2.1.4).
//! Nothing is stored here: hashes of complete subtrees come from a function the caller gives.

mod subtree;

use sha2::{Digest, Sha256 as Sha2};

use crate::digest::Sha256;

pub use subtree::{is_subtree, subtree_proof, verify_subtree};

/// Hash of a node of the tree.
pub type Hash = Sha256;

/// The hash of a leaf: SHA-256(0x00 ‖ entry).
pub fn leaf_hash(entry: &[u8]) -> Hash {
    let mut hasher = Sha2::new();
    hasher.update([0]);
    hasher.update(entry);
    Sha256(hasher.finalize().into())
}

/// The hash of an inner node: SHA-256(0x01 ‖ left ‖ right).
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut hasher = Sha2::new();
    hasher.update([1]);
    hasher.update(left.0);
    hasher.update(right.0);
    Sha256(hasher.finalize().into())
}

/// The root of the tree without leaves: SHA-256 of nothing.
pub fn empty_root() -> Hash {
    Sha256::of(b"")
}

/// A proof does not show what it claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    #[error("leaf index {index} is outside the tree of size {size}")]
    Index { index: u64, size: u64 },
    #[error("the proof has {found} hashes, not {expected}")]
    Length { found: usize, expected: usize },
    #[error("the proof leads to another root")]
    Root,
    #[error("a tree of size {old} cannot precede one of size {new}")]
    Order { old: u64, new: u64 },
}

/// A complete subtree: the 2^`level` leaves that start at `index` · 2^`level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    pub level: u32,
    pub index: u64,
}

/// Looks up the hashes of complete subtrees.
pub trait Nodes {
    /// Why a hash cannot be had.
    type Error;
    /// The hash of `node`, which lies wholly inside the tree.
    fn node(&mut self, node: Node) -> Result<Hash, Self::Error>;
}

/// The hash of the leaves `begin..end`, where `begin..end` is a subtree of an RFC 6962 tree.
/// The empty range gives [`empty_root`].
pub fn range_hash<N: Nodes>(nodes: &mut N, begin: u64, end: u64) -> Result<Hash, N::Error> {
    let mut stack = Vec::new();
    for node in complete_subtrees(begin, end) {
        stack.push(nodes.node(node)?);
    }
    Ok(fold(&stack))
}

/// The hashes of the complete subtrees of the tree of `size` leaves, largest first.
pub fn subtree_hashes<N: Nodes>(nodes: &mut N, size: u64) -> Result<Vec<Hash>, N::Error> {
    let subtrees = complete_subtrees(0, size).into_iter();
    subtrees.map(|node| nodes.node(node)).collect()
}

/// Joins the hashes of the complete subtrees of a tree, largest first, into its root.
pub fn fold(subtrees: &[Hash]) -> Hash {
    let joined = subtrees
        .iter()
        .rev()
        .copied()
        .reduce(|right, left| node_hash(&left, &right));
    joined.unwrap_or_else(empty_root)
}

/// The complete subtrees that `begin..end` consists of, from left to right.
fn complete_subtrees(mut begin: u64, end: u64) -> Vec<Node> {
    let mut nodes = Vec::new();
    while begin < end {
        let level = (end - begin).ilog2();
        nodes.push(Node {
            level,
            index: begin >> level,
        });
        begin += 1 << level;
    }
    nodes
}

/// The largest power of two smaller than `size`, which is at least 2.
fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

/// The inclusion proof of leaf `index` in the tree of `size` leaves, leaf sibling first.
pub fn inclusion_proof<N: Nodes>(
    nodes: &mut N,
    index: u64,
    size: u64,
) -> Result<Vec<Hash>, N::Error> {
    let mut proof = Vec::new();
    let (mut begin, mut end) = (0, size);
    while end - begin > 1 {
        let middle = begin + split(end - begin);
        if index < middle {
            proof.push(range_hash(nodes, middle, end)?);
            end = middle;
        } else {
            proof.push(range_hash(nodes, begin, middle)?);
            begin = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// The proof that the tree of `old` leaves is a prefix of the tree of `new` leaves.
pub fn consistency_proof<N: Nodes>(
    nodes: &mut N,
    old: u64,
    new: u64,
) -> Result<Vec<Hash>, N::Error> {
    let mut proof = Vec::new();
    if old == 0 || old >= new {
        return Ok(proof);
    }
    let (mut begin, mut end) = (0, new);
    // SUBPROOF of RFC 6962 §2.1.2; `old` is never left of `begin`.
    loop {
        if old == end {
            if begin != 0 {
                proof.push(range_hash(nodes, begin, end)?);
            }
            break;
        }
        let middle = begin + split(end - begin);
        if old <= middle {
            proof.push(range_hash(nodes, middle, end)?);
            end = middle;
        } else {
            proof.push(range_hash(nodes, begin, middle)?);
            begin = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// Does `proof` show that `leaf` is entry `index` of the tree of `size` leaves with `root`?
pub fn verify_inclusion(
    proof: &[Hash],
    index: u64,
    size: u64,
    leaf: Hash,
    root: Hash,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::Index { index, size });
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = leaf;
    let expected = inclusion_length(index, size);
    if proof.len() != expected {
        return Err(ProofError::Length {
            found: proof.len(),
            expected,
        });
    }
    for sibling in proof {
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last == 0 && hash == root {
        Ok(())
    } else {
        Err(ProofError::Root)
    }
}

/// How many hashes the inclusion proof of `index` in a tree of `size` has.
fn inclusion_length(index: u64, size: u64) -> usize {
    let (mut begin, mut end, mut length) = (0, size, 0);
    while end - begin > 1 {
        let middle = begin + split(end - begin);
        if index < middle {
            end = middle;
        } else {
            begin = middle;
        }
        length += 1;
    }
    length
}

/// Does `proof` show that the tree of `old` leaves is a prefix of the tree of `new` leaves?
pub fn verify_consistency(
    proof: &[Hash],
    old: u64,
    old_root: Hash,
    new: u64,
    new_root: Hash,
) -> Result<(), ProofError> {
    if old > new {
        return Err(ProofError::Order { old, new });
    }
    if old == 0 || old == new {
        let same = if old == 0 {
            old_root == empty_root() && (new > 0 || new_root == old_root)
        } else {
            old_root == new_root
        };
        if !proof.is_empty() {
            return Err(ProofError::Length {
                found: proof.len(),
                expected: 0,
            });
        }
        return if same { Ok(()) } else { Err(ProofError::Root) };
    }
    let mut rest = proof.iter();
    // A complete old tree is itself the first node of the proof.
    let first = if old.is_power_of_two() {
        Some(&old_root)
    } else {
        rest.next()
    };
    let Some(&first) = first else {
        return Err(ProofError::Length {
            found: proof.len(),
            expected: 1,
        });
    };
    let (mut node, mut last) = (old - 1, new - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let (mut from_old, mut from_new) = (first, first);
    for sibling in rest {
        if last == 0 {
            return Err(ProofError::Root);
        }
        if node & 1 == 1 || node == last {
            from_old = node_hash(sibling, &from_old);
            from_new = node_hash(sibling, &from_new);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            from_new = node_hash(&from_new, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last == 0 && from_old == old_root && from_new == new_root {
        Ok(())
    } else {
        Err(ProofError::Root)
    }
}

/// Computes the root of a growing tree in memory that grows with the logarithm of its size.
#[derive(Clone, Debug, Default)]
pub struct RootBuilder {
    size: u64,
    subtrees: Vec<Hash>,
}

impl RootBuilder {
    /// Adds the hash of the next leaf.
    pub fn push(&mut self, leaf: Hash) {
        self.push_subtree(0, leaf);
    }

    /// Adds the hash of the next 2^`level` leaves. The size before is a multiple of 2^`level`.
    pub fn push_subtree(&mut self, level: u32, hash: Hash) {
        let mut hash = hash;
        let mut size = self.size >> level;
        while size & 1 == 1 {
            if let Some(left) = self.subtrees.pop() {
                hash = node_hash(&left, &hash);
            }
            size >>= 1;
        }
        self.subtrees.push(hash);
        self.size += 1 << level;
    }

    /// The complete subtrees that the tree consists of, largest first.
    pub fn subtrees(&self) -> &[Hash] {
        &self.subtrees
    }

    /// A tree of `size` leaves that consists of `subtrees`, if there are as many as there must be.
    pub fn from_parts(size: u64, subtrees: Vec<Hash>) -> Option<RootBuilder> {
        (subtrees.len() as u64 == u64::from(size.count_ones()))
            .then_some(RootBuilder { size, subtrees })
    }

    /// How many leaves were added.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root of the tree so far.
    pub fn root(&self) -> Hash {
        fold(&self.subtrees)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use ct_merkle::HashableLeaf;
    use ct_merkle::mem_backed_tree::MemoryBackedTree;
    use std::convert::Infallible;

    /// The definition of RFC 6962 §2.1, word for word, over leaves that are their own index.
    pub(super) struct Naive;

    pub(super) fn leaf(index: u64) -> Hash {
        leaf_hash(&index.to_be_bytes())
    }

    pub(super) fn naive(begin: u64, end: u64) -> Hash {
        match end - begin {
            0 => empty_root(),
            1 => leaf(begin),
            size => {
                let middle = begin + split(size);
                node_hash(&naive(begin, middle), &naive(middle, end))
            }
        }
    }

    impl Nodes for Naive {
        type Error = Infallible;
        fn node(&mut self, node: Node) -> Result<Hash, Infallible> {
            let size = 1 << node.level;
            Ok(naive(node.index * size, (node.index + 1) * size))
        }
    }

    #[derive(Clone)]
    struct Leaf(u64);
    impl HashableLeaf for Leaf {
        fn hash<H: ct_merkle::digest::Update>(&self, hasher: &mut H) {
            hasher.update(&self.0.to_be_bytes());
        }
    }

    /// The tree of the Certificate Transparency reference implementation, by root for size 0 to 8.
    #[test]
    fn certificate_transparency_roots() {
        let leaves: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let roots = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut builder = RootBuilder::default();
        assert_eq!(builder.root().to_string(), roots[0]);
        for (entry, root) in leaves.iter().zip(&roots[1..]) {
            builder.push(leaf_hash(entry));
            assert_eq!(builder.root().to_string(), *root);
        }
    }

    #[test]
    fn every_inclusion_proof_up_to_70() {
        let mut oracle = MemoryBackedTree::<sha2::Sha256, Leaf>::new();
        for size in 1..=70 {
            oracle.push(Leaf(size - 1));
            let root = naive(0, size);
            assert_eq!(root.0[..], oracle.root().as_bytes()[..]);
            for index in 0..size {
                let Ok(proof) = inclusion_proof(&mut Naive, index, size);
                let theirs = oracle.prove_inclusion(usize::try_from(index).unwrap());
                let ours: Vec<u8> = proof.iter().flat_map(|hash| hash.0).collect();
                assert_eq!(ours, theirs.as_bytes(), "{index} in {size}");
                verify_inclusion(&proof, index, size, leaf(index), root).unwrap();

                let other = leaf(index + 1);
                assert!(verify_inclusion(&proof, index, size, other, root).is_err());
                for wrong in (0..=size).filter(|&wrong| wrong != index) {
                    assert!(verify_inclusion(&proof, wrong, size, leaf(index), root).is_err());
                }
                let mut longer = proof.clone();
                longer.push(root);
                assert!(verify_inclusion(&longer, index, size, leaf(index), root).is_err());
                if let Some((_, shorter)) = proof.split_last() {
                    assert!(verify_inclusion(shorter, index, size, leaf(index), root).is_err());
                }
            }
        }
    }

    #[test]
    fn every_consistency_proof_up_to_70() {
        let mut oracle = MemoryBackedTree::<sha2::Sha256, Leaf>::new();
        for new in 0..=70 {
            if new > 0 {
                oracle.push(Leaf(new - 1));
            }
            for old in 0..=new {
                let Ok(proof) = consistency_proof(&mut Naive, old, new);
                if old > 0 && old < new {
                    let theirs = oracle.prove_consistency(usize::try_from(new - old).unwrap());
                    let ours: Vec<u8> = proof.iter().flat_map(|hash| hash.0).collect();
                    assert_eq!(ours, theirs.as_bytes(), "{old} to {new}");
                }
                let (before, after) = (naive(0, old), naive(0, new));
                verify_consistency(&proof, old, before, new, after).unwrap();
                assert!(verify_consistency(&proof, old, leaf(99), new, after).is_err());
                if old > 0 {
                    assert!(verify_consistency(&proof, old, before, new, leaf(99)).is_err());
                }
                let mut longer = proof.clone();
                longer.push(after);
                assert!(verify_consistency(&longer, old, before, new, after).is_err());
                if let Some((_, shorter)) = proof.split_last() {
                    assert!(verify_consistency(shorter, old, before, new, after).is_err());
                }
            }
        }
        assert!(verify_consistency(&[], 3, naive(0, 3), 2, naive(0, 2)).is_err());
        // Two roots of one size contradict each other, at size 0 too.
        assert!(verify_consistency(&[], 0, empty_root(), 0, leaf(9)).is_err());
    }
}
