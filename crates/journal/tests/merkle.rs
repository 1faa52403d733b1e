//! The tree against the definitions of RFC 6962, written down as they stand there.

use journal::merkle::{
    Frontier, Hash, Nodes, ProofError, consistency_proof, empty_root, inclusion_proof, leaf_hash, node_hash,
    verify_consistency, verify_inclusion,
};
use std::collections::HashMap;
use std::convert::Infallible;
use std::ops::Range;

/// Leaves of the largest tree here: a full tile and then some.
const LEAVES: u64 = 300;

/// RFC 6962 §2.1, remembering what it has hashed.
#[derive(Default)]
struct Naive {
    hashes: HashMap<Range<u64>, Hash>,
}

impl Naive {
    /// MTH(D[range]).
    fn root(&mut self, range: Range<u64>) -> Hash {
        if let Some(hash) = self.hashes.get(&range) {
            return *hash;
        }
        let hash = match range.end - range.start {
            0 => empty_root(),
            1 => leaf(range.start),
            width => {
                let middle = range.start + half(width);
                node_hash(&self.root(range.start..middle), &self.root(middle..range.end))
            }
        };
        self.hashes.insert(range, hash);
        hash
    }
    /// PATH(m, D[range]).
    fn path(&mut self, m: u64, range: Range<u64>) -> Vec<Hash> {
        let width = range.end - range.start;
        if width <= 1 {
            return Vec::new();
        }
        let middle = range.start + half(width);
        let (mut path, sibling) = if m < half(width) {
            (self.path(m, range.start..middle), self.root(middle..range.end))
        } else {
            (
                self.path(m - half(width), middle..range.end),
                self.root(range.start..middle),
            )
        };
        path.push(sibling);
        path
    }
    /// SUBPROOF(m, D[range], known).
    fn subproof(&mut self, m: u64, range: Range<u64>, known: bool) -> Vec<Hash> {
        let width = range.end - range.start;
        if m == width {
            return if known { Vec::new() } else { vec![self.root(range)] };
        }
        let middle = range.start + half(width);
        let (mut proof, sibling) = if m <= half(width) {
            (
                self.subproof(m, range.start..middle, known),
                self.root(middle..range.end),
            )
        } else {
            (
                self.subproof(m - half(width), middle..range.end, false),
                self.root(range.start..middle),
            )
        };
        proof.push(sibling);
        proof
    }
}

/// The largest power of two smaller than `width`.
fn half(width: u64) -> u64 {
    width.next_power_of_two() / 2
}

fn leaf(index: u64) -> Hash {
    leaf_hash(&index.to_be_bytes())
}

/// Perfect subtrees of a tree, by level.
struct Tree(Vec<Vec<Hash>>);

impl Tree {
    fn of(size: u64) -> Tree {
        let mut levels = vec![(0..size).map(leaf).collect::<Vec<_>>()];
        while let Some(below) = levels.last().filter(|level| level.len() > 1) {
            levels.push(
                below
                    .as_chunks()
                    .0
                    .iter()
                    .map(|[left, right]| node_hash(left, right))
                    .collect(),
            );
        }
        Tree(levels)
    }
}

impl Nodes for Tree {
    type Error = Infallible;
    fn node(&self, level: u8, index: u64) -> Result<Option<Hash>, Infallible> {
        Ok(self
            .0
            .get(usize::from(level))
            .and_then(|level| level.get(index as usize))
            .copied())
    }
}

#[test]
fn a_growing_tree_has_the_root_of_its_leaves() {
    let mut naive = Naive::default();
    let mut frontier = Frontier::new();
    for size in 0..LEAVES {
        assert_eq!(frontier.root(), naive.root(0..size), "{size}");
        let again = Frontier::from_parts(frontier.size(), frontier.roots().to_vec());
        assert_eq!(again.as_ref(), Some(&frontier));
        frontier.append(leaf(size));
    }
    assert_eq!(
        Frontier::from_parts(3, vec![leaf(0)]),
        None,
        "three leaves have two perfect subtrees"
    );
    assert_eq!(
        Frontier::from_parts(u64::MAX, vec![leaf(0); 64]),
        None,
        "no journal is that long"
    );
}

#[test]
fn every_leaf_of_every_tree_has_the_path_that_the_rfc_defines_and_it_holds() {
    let (tree, mut naive) = (Tree::of(LEAVES), Naive::default());
    for size in 1..=LEAVES {
        let root = naive.root(0..size);
        for index in 0..size {
            let Ok(proof) = inclusion_proof(&tree, index, size);
            assert_eq!(proof, Some(naive.path(index, 0..size)), "{index} of {size}");
            let proof = proof.unwrap_or_default();
            assert_eq!(
                verify_inclusion(index, size, &leaf(index), &proof, &root),
                Ok(()),
                "{index} of {size}"
            );
        }
        assert_eq!(inclusion_proof(&tree, size, size), Ok(None));
    }
    assert_eq!(
        inclusion_proof(&tree, 0, LEAVES + 1),
        Ok(None),
        "the tree is not that large"
    );
}

#[test]
fn every_tree_extends_every_smaller_one_by_the_proof_that_the_rfc_defines() {
    let (tree, mut naive) = (Tree::of(LEAVES), Naive::default());
    for new in 1..=LEAVES {
        let new_root = naive.root(0..new);
        for old in 1..=new {
            let old_root = naive.root(0..old);
            let Ok(proof) = consistency_proof(&tree, old, new);
            assert_eq!(proof, Some(naive.subproof(old, 0..new, true)), "{old} to {new}");
            let proof = proof.unwrap_or_default();
            assert_eq!(
                verify_consistency(old, new, &old_root, &new_root, &proof),
                Ok(()),
                "{old} to {new}"
            );
        }
    }
    assert_eq!(
        consistency_proof(&tree, 0, 5),
        Ok(None),
        "anything extends nothing"
    );
    assert_eq!(consistency_proof(&tree, 6, 5), Ok(None));
    assert_eq!(
        consistency_proof(&tree, 5, LEAVES + 1),
        Ok(None),
        "the tree is not that large"
    );
}

#[test]
fn a_proof_holds_for_nothing_else() {
    let (tree, mut naive) = (Tree::of(40), Naive::default());
    let root = naive.root(0..21);
    let Ok(proof) = inclusion_proof(&tree, 13, 21);
    let proof = proof.unwrap_or_default();
    let length = |got| Err(ProofError::Length { got, want: 5 });
    let mut bent = proof.clone();
    bent.swap(0, 1);
    #[rustfmt::skip]
    let table = [
        // what the row shows     index size leaf proof                                  expected
        ("it holds",              13,   21,  13,  proof.clone(),                          Ok(())),
        ("another leaf",          13,   21,  12,  proof.clone(),                          Err(ProofError::Root)),
        ("another index",         12,   21,  13,  proof.clone(),                          Err(ProofError::Root)),
        ("a much larger tree",    13,   33,  13,  proof.clone(),                          Err(ProofError::Length { got: 5, want: 6 })),
        ("an index beyond",       21,   21,  13,  proof.clone(),                          Err(ProofError::Range)),
        ("an empty tree",         0,    0,   13,  vec![],                                 Err(ProofError::Range)),
        ("a hash too few",        13,   21,  13,  proof.iter().take(4).copied().collect(), length(4)),
        ("a hash too many",       13,   21,  13,  [proof.clone(), vec![root]].concat(),   length(6)),
        ("swapped hashes",        13,   21,  13,  bent,                                   Err(ProofError::Root)),
        ("the largest numbers",   u64::MAX - 1, u64::MAX, 13, vec![root; 63],             Err(ProofError::Root)),
    ];
    for (name, index, size, of, proof, expected) in table {
        assert_eq!(
            verify_inclusion(index, size, &leaf(of), &proof, &root),
            expected,
            "{name}"
        );
    }
}

#[test]
fn no_history_extends_what_it_does_not_contain() {
    let (tree, mut naive) = (Tree::of(40), Naive::default());
    let (old, new) = (naive.root(0..13), naive.root(0..21));
    let Ok(proof) = consistency_proof(&tree, 13, 21);
    let proof = proof.unwrap_or_default();
    #[rustfmt::skip]
    let table = [
        // what the row shows           old new  old root   new root   proof          expected
        ("it holds",                    13, 21, old,       new,       proof.clone(), Ok(())),
        ("another old root",            13, 21, new,       new,       proof.clone(), Err(ProofError::Root)),
        ("another new root",            13, 21, old,       old,       proof.clone(), Err(ProofError::Root)),
        ("nothing is extended by all",  0,  21, old,       new,       proof.clone(), Err(ProofError::Range)),
        ("a smaller tree",              22, 21, old,       new,       proof.clone(), Err(ProofError::Range)),
        ("equal sizes, other roots",    21, 21, old,       new,       vec![],        Err(ProofError::Root)),
        ("equal sizes with a proof",    21, 21, new,       new,       proof.clone(), Err(ProofError::Length { got: proof.len(), want: 0 })),
        ("no proof",                    13, 21, old,       new,       vec![],        Err(ProofError::Length { got: 0, want: proof.len() })),
        ("the largest numbers",         1 << 63, u64::MAX, old, new,  vec![old],     Err(ProofError::Root)),
    ];
    for (name, old_size, new_size, old, new, proof, expected) in table {
        assert_eq!(
            verify_consistency(old_size, new_size, &old, &new, &proof),
            expected,
            "{name}"
        );
    }
}
