//! RFC 6962 / RFC 9162 Merkle tree: hashes, a growing tree, inclusion and consistency proofs.
//!
//! Never stores a tree: a [`Frontier`] is its right edge, and proofs ask [`Nodes`] for the rest.

use sha2::{Digest, Sha256};

/// SHA-256.
pub type Hash = [u8; 32];

/// Most leaves a tree may have: as many as JSON can number without loss.
pub const SIZE_MAX: u64 = 1 << 53;

/// `SHA-256(0x00 ‖ leaf)`.
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    Sha256::new()
        .chain_update([0x00])
        .chain_update(leaf)
        .finalize()
        .into()
}
/// `SHA-256(0x01 ‖ left ‖ right)`.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new()
        .chain_update([0x01])
        .chain_update(left)
        .chain_update(right)
        .finalize()
        .into()
}
/// Root of the empty tree: `SHA-256("")`.
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// The right edge of a tree: all that is needed to append and to know the root. At most 64 hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// Roots of the perfect subtrees, largest first.
    roots: Vec<Hash>,
}

impl Frontier {
    /// Of an empty tree.
    pub fn new() -> Frontier {
        Frontier::default()
    }
    /// From what [`Frontier::roots`] gave; `None` when the number of hashes does not fit the size,
    /// or the size is above [`SIZE_MAX`].
    pub fn from_parts(size: u64, roots: Vec<Hash>) -> Option<Frontier> {
        (size <= SIZE_MAX && roots.len() == size.count_ones() as usize).then_some(Frontier { size, roots })
    }
    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }
    /// Roots of the perfect subtrees, largest first.
    pub fn roots(&self) -> &[Hash] {
        &self.roots
    }
    /// Appends one leaf's hash.
    pub fn append(&mut self, leaf: Hash) {
        let mut node = leaf;
        // Every trailing one bit of the size is a perfect subtree as large as what `node` roots by now.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.roots.pop() {
                node = node_hash(&left, &node);
            }
        }
        self.roots.push(node);
        self.size += 1;
    }
    /// The tree's root.
    pub fn root(&self) -> Hash {
        join(&self.roots).unwrap_or_else(empty_root)
    }
}

/// Where proofs get hashes from: the root of the perfect subtree of 2^level leaves at `index`.
/// Levels that are not stored may be computed by the implementor from lower ones.
pub trait Nodes {
    /// What reading can fail with.
    type Error;
    /// `None` when the tree is too small to have that node.
    fn node(&self, level: u8, index: u64) -> Result<Option<Hash>, Self::Error>;
}

/// The audit path of leaf `index` in the tree of `size` leaves; `Ok(None)` when there is no such leaf.
pub fn inclusion_proof<N: Nodes>(nodes: &N, index: u64, size: u64) -> Result<Option<Vec<Hash>>, N::Error> {
    if index >= size {
        return Ok(None);
    }
    let (mut start, mut end) = (0, size);
    let mut path = Vec::new();
    while end - start > 1 {
        let middle = start + split(end - start);
        let sibling = if index < middle {
            let right = subtree(nodes, middle, end)?;
            end = middle;
            right
        } else {
            let left = subtree(nodes, start, middle)?;
            start = middle;
            left
        };
        let Some(sibling) = sibling else { return Ok(None) };
        path.push(sibling);
    }
    path.reverse();
    Ok(Some(path))
}
/// The proof that the tree of `old` leaves is a prefix of the one of `new`. `Ok(None)` when there is
/// no such proof: `old` is zero (anything extends nothing), larger than `new`, or `new` is not there.
pub fn consistency_proof<N: Nodes>(nodes: &N, old: u64, new: u64) -> Result<Option<Vec<Hash>>, N::Error> {
    if old == 0 || old > new {
        return Ok(None);
    }
    let (mut start, mut end) = (0, new);
    let mut path = Vec::new();
    // Down to the subtree that ends where the old tree ends.
    while end != old {
        let middle = start + split(end - start);
        let sibling = if old <= middle {
            let right = subtree(nodes, middle, end)?;
            end = middle;
            right
        } else {
            let left = subtree(nodes, start, middle)?;
            start = middle;
            left
        };
        let Some(sibling) = sibling else { return Ok(None) };
        path.push(sibling);
    }
    // The verifier knows that subtree only when it is the whole old tree.
    if start != 0 {
        let Some(own) = subtree(nodes, start, end)? else {
            return Ok(None);
        };
        path.push(own);
    }
    path.reverse();
    Ok(Some(path))
}

/// Why a proof does not hold.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ProofError {
    /// The index or the sizes cannot belong together.
    #[error("index or sizes do not fit")]
    Range,
    /// Too few or too many hashes.
    #[error("proof has {got} hashes, {want} are needed")]
    Length {
        /// In the proof.
        got: usize,
        /// Needed.
        want: usize,
    },
    /// The computed root is another.
    #[error("proof leads to another root")]
    Root,
}

/// RFC 9162 §2.1.3.2.
pub fn verify_inclusion(
    index: u64,
    size: u64,
    leaf: &Hash,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::Range);
    }
    let (inner, border) = path_length(index, size);
    require_length(proof, inner + border)?;
    let mut walk = Walk {
        node: index,
        last: size - 1,
    };
    let mut hash = *leaf;
    for sibling in proof {
        hash = if walk.is_right() {
            node_hash(sibling, &hash)
        } else {
            node_hash(&hash, sibling)
        };
        walk.up();
    }
    if walk.last == 0 && hash == *root {
        Ok(())
    } else {
        Err(ProofError::Root)
    }
}
/// RFC 9162 §2.1.4.2. An `old` of zero is refused: anything is consistent with nothing.
pub fn verify_consistency(
    old: u64,
    new: u64,
    old_root: &Hash,
    new_root: &Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    if old == 0 || old > new {
        return Err(ProofError::Range);
    }
    if old == new {
        require_length(proof, 0)?;
        return if old_root == new_root {
            Ok(())
        } else {
            Err(ProofError::Root)
        };
    }
    let (inner, border) = path_length(old - 1, new);
    // The old tree's last perfect subtree is where both walks start. The proof names its root,
    // unless it is the whole old tree.
    let skipped = old.trailing_zeros();
    let named = usize::from(!old.is_power_of_two());
    require_length(proof, named + inner - skipped as usize + border)?;
    let (seed, siblings) = match proof.split_first() {
        Some((first, rest)) if named == 1 => (first, rest),
        _ => (old_root, proof),
    };
    let mut walk = Walk {
        node: (old - 1) >> skipped,
        last: (new - 1) >> skipped,
    };
    let (mut old_hash, mut new_hash) = (*seed, *seed);
    for sibling in siblings {
        if walk.is_right() {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        walk.up();
    }
    let holds = walk.last == 0 && old_hash == *old_root && new_hash == *new_root;
    if holds { Ok(()) } else { Err(ProofError::Root) }
}

/// A node and the last node of its level, on the way up: RFC 9162's `fn` and `sn`.
struct Walk {
    node: u64,
    last: u64,
}

impl Walk {
    /// Whether the next sibling stands to the left. Passes the levels where a node has no sibling.
    fn is_right(&mut self) -> bool {
        if self.node & 1 == 1 {
            return true;
        }
        if self.node != self.last {
            return false;
        }
        let alone = if self.node == 0 {
            0
        } else {
            self.node.trailing_zeros()
        };
        self.node >>= alone;
        self.last >>= alone;
        true
    }
    fn up(&mut self) {
        self.node >>= 1;
        self.last >>= 1;
    }
}

/// Siblings on the way up from leaf `index` of `size`: those below the point where its path meets
/// the tree's right edge, and those along that edge.
fn path_length(index: u64, size: u64) -> (usize, usize) {
    let inner = u64::BITS - (index ^ (size - 1)).leading_zeros();
    let border = index.checked_shr(inner).unwrap_or(0).count_ones();
    (inner as usize, border as usize)
}

fn require_length(proof: &[Hash], want: usize) -> Result<(), ProofError> {
    if proof.len() == want {
        Ok(())
    } else {
        Err(ProofError::Length {
            got: proof.len(),
            want,
        })
    }
}

/// The largest power of two below `width`, which is at least 2.
fn split(width: u64) -> u64 {
    1 << (width - 1).ilog2()
}

/// Root over the leaves `start..end`, where `start` is a multiple of a power of two that is at
/// least the width.
fn subtree<N: Nodes>(nodes: &N, start: u64, end: u64) -> Result<Option<Hash>, N::Error> {
    let mut pieces = Vec::new();
    let mut at = start;
    while at < end {
        let level = (end - at).ilog2();
        match nodes.node(level as u8, at >> level)? {
            Some(piece) => pieces.push(piece),
            None => return Ok(None),
        }
        at += 1 << level;
    }
    Ok(join(&pieces))
}

/// One root over perfect subtrees, largest first.
fn join(roots: &[Hash]) -> Option<Hash> {
    roots
        .iter()
        .rev()
        .copied()
        .reduce(|right, left| node_hash(&left, &right))
}
