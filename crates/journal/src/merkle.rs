//! RFC 6962 / RFC 9162 Merkle tree: hashes, a growing tree, inclusion and consistency proofs.

/// SHA-256.
pub type Hash = [u8; 32];

/// `SHA-256(0x00 ‖ leaf)`.
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    let _ = leaf;
    todo!()
}
/// `SHA-256(0x01 ‖ left ‖ right)`.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let _ = (left, right);
    todo!()
}
/// Root of the empty tree: `SHA-256("")`.
pub fn empty_root() -> Hash {
    todo!()
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
    /// From what [`Frontier::roots`] gave; `None` when the number of hashes does not fit the size.
    pub fn from_parts(size: u64, roots: Vec<Hash>) -> Option<Frontier> {
        (roots.len() as u32 == size.count_ones()).then_some(Frontier { size, roots })
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
        let _ = leaf;
        todo!()
    }
    /// The tree's root.
    pub fn root(&self) -> Hash {
        todo!()
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
    let _ = (nodes, index, size);
    todo!()
}
/// The proof that the tree of `old` leaves is a prefix of the one of `new`.
pub fn consistency_proof<N: Nodes>(nodes: &N, old: u64, new: u64) -> Result<Option<Vec<Hash>>, N::Error> {
    let _ = (nodes, old, new);
    todo!()
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
pub fn verify_inclusion(index: u64, size: u64, leaf: &Hash, proof: &[Hash], root: &Hash) -> Result<(), ProofError> {
    let _ = (index, size, leaf, proof, root);
    todo!()
}
/// RFC 9162 §2.1.4.2.
pub fn verify_consistency(old: u64, new: u64, old_root: &Hash, new_root: &Hash, proof: &[Hash]) -> Result<(), ProofError> {
    let _ = (old, new, old_root, new_root, proof);
    todo!()
}
