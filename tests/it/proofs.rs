//! Every inclusion and every consistency proof of every tree of up to 1,200 entries, against a tree by
//! another author.

use std::convert::Infallible;

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use weighbridge::digest::Sha256;
use weighbridge::merkle::{
    Hash, Node, Nodes, consistency_proof, inclusion_proof, leaf_hash, node_hash, range_hash,
    verify_consistency, verify_inclusion,
};

const MOST: u64 = 1200;

/// The hashes of all complete subtrees.
#[derive(Clone)]
struct Table(Vec<Vec<Hash>>);

impl Table {
    fn new() -> Table {
        let leaves = (0..MOST)
            .map(|index| leaf_hash(&index.to_be_bytes()))
            .collect();
        let mut levels: Vec<Vec<Hash>> = vec![leaves];
        while levels.last().unwrap().len() > 1 {
            let (pairs, _) = levels.last().unwrap().as_chunks::<2>();
            levels.push(
                pairs
                    .iter()
                    .map(|[left, right]| node_hash(left, right))
                    .collect(),
            );
        }
        Table(levels)
    }
}

impl Nodes for Table {
    type Error = Infallible;

    fn node(&mut self, node: Node) -> Result<Hash, Infallible> {
        Ok(self.0[usize::try_from(node.level).unwrap()][usize::try_from(node.index).unwrap()])
    }
}

fn bytes(proof: &[Hash]) -> Vec<u8> {
    proof.iter().flat_map(|hash| hash.0).collect()
}

#[test]
fn every_proof_up_to_1200() {
    let table = Table::new();
    let roots: Vec<Hash> = (0..=MOST)
        .map(|size| range_hash(&mut table.clone(), 0, size).unwrap_or_else(|never| match never {}))
        .collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    std::thread::scope(|scope| {
        for first in 0..threads {
            let (mut table, roots) = (table.clone(), &roots);
            scope.spawn(move || {
                let mut oracle = MemoryBackedTree::<sha2::Sha256, [u8; 8]>::new();
                for size in 1..=MOST {
                    oracle.push((size - 1).to_be_bytes());
                    if size % threads == first {
                        check(&mut table, roots, &oracle, size);
                    }
                }
            });
        }
    });
}

fn check(
    table: &mut Table,
    roots: &[Hash],
    oracle: &MemoryBackedTree<sha2::Sha256, [u8; 8]>,
    size: u64,
) {
    let number = |number: u64| usize::try_from(number).unwrap();
    let root = roots[number(size)];
    // The other author's tree hashes anew for each proof: it is asked where trees are special, and
    // here and there.
    let asked = size < 40 || size.is_multiple_of(97) || (size & (size - 1)) < 2 || size == MOST;
    if asked {
        assert_eq!(root.0[..], oracle.root().as_bytes()[..]);
    }
    let other = Sha256::of(b"another");
    for index in 0..size {
        let Ok(proof) = inclusion_proof(table, index, size);
        let leaf = table.0[0][number(index)];
        verify_inclusion(&proof, index, size, leaf, root).unwrap();
        assert!(verify_inclusion(&proof, index, size, other, root).is_err());
        let beside = (index + 1) % size;
        assert!(beside == index || verify_inclusion(&proof, beside, size, leaf, root).is_err());
        if asked && index % 7 == size % 7 {
            let theirs = oracle.prove_inclusion(number(index));
            assert_eq!(bytes(&proof), theirs.as_bytes(), "{index} in {size}");
        }
    }
    for old in 1..size {
        let Ok(proof) = consistency_proof(table, old, size);
        let before = roots[number(old)];
        verify_consistency(&proof, old, before, size, root).unwrap();
        assert!(verify_consistency(&proof, old, other, size, root).is_err());
        assert!(verify_consistency(&proof, old, before, size, other).is_err());
        if asked && old % 7 == size % 7 {
            let theirs = oracle.prove_consistency(number(size - old));
            assert_eq!(bytes(&proof), theirs.as_bytes(), "{old} to {size}");
        }
    }
}
