//! Proofs that a part of a tree is part of it (draft-ietf-plants-merkle-tree-certs, section 4): what a
//! consistency proof is to a prefix. C2SP tlog-mirror and tlog-witness use them.

use super::{Hash, Nodes, ProofError, node_hash, range_hash, split};

/// Is `begin..end` a subtree (draft-ietf-plants-merkle-tree-certs, section 4.1): not empty, and begun at
/// a multiple of the smallest power of two that is not smaller than it is long?
pub fn is_subtree(begin: u64, end: u64) -> bool {
    let length = end.checked_sub(begin).filter(|length| *length > 0);
    let span = length.and_then(u64::checked_next_power_of_two);
    span.is_some_and(|span| begin.is_multiple_of(span))
}

/// One step from the root of a tree down to a subtree: where the other half lies, and whose it is.
#[derive(Clone, Copy)]
enum Step {
    /// Right of the subtree.
    Right,
    /// Left of it.
    Left,
    /// Left, and part of it: the subtree begins there and ends in the right half.
    Within,
}

/// The steps from the tree of `size` leaves down to the end of the subtree `begin..end`, which lies in
/// it; and the range that is reached: the subtree itself, or its right end.
fn descent(begin: u64, end: u64, size: u64) -> (Vec<(Step, u64, u64)>, u64, u64) {
    let mut steps = Vec::new();
    let (mut low, mut high) = (0, size);
    let mut from = begin;
    while (low, high) != (from, end) {
        let middle = low + split(high - low);
        if end <= middle {
            steps.push((Step::Right, middle, high));
            high = middle;
        } else {
            let step = if middle <= from {
                Step::Left
            } else {
                Step::Within
            };
            steps.push((step, low, middle));
            low = middle;
            from = from.max(middle);
        }
    }
    (steps, low, high)
}

/// The proof that the subtree `begin..end` is part of the tree of `size` leaves
/// (draft-ietf-plants-merkle-tree-certs, section 4.4). Empty where it is none.
pub fn subtree_proof<N: Nodes>(
    nodes: &mut N,
    begin: u64,
    end: u64,
    size: u64,
) -> Result<Vec<Hash>, N::Error> {
    let mut proof = Vec::new();
    if !is_subtree(begin, end) || end > size {
        return Ok(proof);
    }
    let (steps, low, high) = descent(begin, end, size);
    if low != begin {
        proof.push(range_hash(nodes, low, high)?);
    }
    for (_, low, high) in steps.into_iter().rev() {
        proof.push(range_hash(nodes, low, high)?);
    }
    Ok(proof)
}

/// Does `proof` show that the subtree `begin..end` with `hash` is part of the tree of `size` leaves with
/// `root`?
pub fn verify_subtree(
    proof: &[Hash],
    (begin, end): (u64, u64),
    hash: Hash,
    size: u64,
    root: Hash,
) -> Result<(), ProofError> {
    if !is_subtree(begin, end) || end > size {
        return Err(ProofError::Index { index: end, size });
    }
    let (steps, low, _) = descent(begin, end, size);
    let expected = steps.len() + usize::from(low != begin);
    let length = ProofError::Length {
        found: proof.len(),
        expected,
    };
    if proof.len() != expected {
        return Err(length);
    }
    let mut rest = proof.iter();
    let first = if low == begin {
        Some(&hash)
    } else {
        rest.next()
    };
    let &first = first.ok_or(length)?;
    let (mut of_subtree, mut of_tree) = (first, first);
    for ((step, _, _), other) in steps.into_iter().rev().zip(rest) {
        match step {
            Step::Right => of_tree = node_hash(&of_tree, other),
            Step::Left => of_tree = node_hash(other, &of_tree),
            Step::Within => {
                of_subtree = node_hash(other, &of_subtree);
                of_tree = node_hash(other, &of_tree);
            }
        }
    }
    if of_subtree == hash && of_tree == root {
        Ok(())
    } else {
        Err(ProofError::Root)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Naive, leaf, naive};
    use super::super::{Node, RootBuilder, consistency_proof, inclusion_proof, leaf_hash};
    use super::*;
    use crate::digest::Sha256;
    use std::convert::Infallible;
    use std::fmt::Write;

    /// A tree whose leaves are their index, in one byte.
    struct Bytes;

    impl Nodes for Bytes {
        type Error = Infallible;
        fn node(&mut self, node: Node) -> Result<Hash, Infallible> {
            let size = 1 << node.level;
            let mut builder = RootBuilder::default();
            for index in node.index * size..(node.index + 1) * size {
                builder.push(leaf_hash(&[u8::try_from(index).unwrap()]));
            }
            Ok(builder.root())
        }
    }

    /// The digests over every valid subtree and its proof in trees of up to 130 leaves that
    /// draft-ietf-plants-merkle-tree-certs publishes, appendix "Subtree Test Vectors".
    #[test]
    fn subtree_vectors_of_the_draft() {
        let mut leaves = Bytes;
        let (mut hashes, mut proofs) = (String::new(), String::new());
        for size in 0..=130 {
            for end in 1..=size {
                for begin in (0..end).filter(|begin| is_subtree(*begin, end)) {
                    let Ok(hash) = range_hash(&mut leaves, begin, end);
                    if end == size {
                        _ = writeln!(hashes, "[{begin}, {end}) {hash}");
                    }
                    let Ok(proof) = subtree_proof(&mut leaves, begin, end, size);
                    _ = write!(proofs, "[{begin}, {end}) {size}");
                    for hash in &proof {
                        _ = write!(proofs, " {hash}");
                    }
                    proofs.push('\n');
                    let Ok(root) = range_hash(&mut leaves, 0, size);
                    assert_eq!(
                        verify_subtree(&proof, (begin, end), hash, size, root),
                        Ok(())
                    );
                }
            }
        }
        let of = |text: &str| Sha256::of(text.as_bytes()).to_string();
        assert_eq!(
            of(&hashes),
            "94a95384a8c69acea9b50d035a58285b3a777cb7a724005faa5e1f1e1190007f"
        );
        assert_eq!(
            of(&proofs),
            "c586ebbb73a5621baf2140095d87dde934e3b6503a562a1a5215b8209edd083d"
        );
    }

    /// A subtree from 0 is an older tree, whose proof RFC 6962 gives; one leaf is an inclusion proof.
    #[test]
    fn every_subtree_proof_up_to_40() {
        for size in 1..=40 {
            let root = naive(0, size);
            for begin in 0..size {
                for end in begin + 1..=size {
                    let Ok(proof) = subtree_proof(&mut Naive, begin, end, size);
                    let hash = naive(begin, end);
                    let verified = verify_subtree(&proof, (begin, end), hash, size, root);
                    if !is_subtree(begin, end) {
                        assert!(verified.is_err());
                        continue;
                    }
                    assert_eq!(verified, Ok(()), "{begin}..{end} of {size}");
                    assert!(verify_subtree(&proof, (begin, end), leaf(99), size, root).is_err());
                    assert!(verify_subtree(&proof, (begin, end), hash, size, leaf(99)).is_err());
                    if begin == 0 {
                        assert_eq!(consistency_proof(&mut Naive, end, size), Ok(proof));
                    } else if end == begin + 1 {
                        assert_eq!(inclusion_proof(&mut Naive, begin, size), Ok(proof));
                    }
                }
            }
        }
        assert!(!is_subtree(0, u64::MAX) && !is_subtree(4, 4));
        assert!(is_subtree(8, 13) && !is_subtree(4, 9) && !is_subtree(5, 4));
    }
}
