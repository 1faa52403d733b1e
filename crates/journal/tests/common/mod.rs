//! A log as the store would hold it, in memory.

mod entry;

pub use entry::{ORIGIN, entry};

use journal::merkle::{Frontier, Hash, Nodes, leaf_hash, node_hash};
use journal::tiles::{self, Tile};
use journal::{checkpoint::Checkpoint, note::Signer};
use std::collections::BTreeMap;
use std::convert::Infallible;

/// The log's key. Its seed is known, so it signs nothing but tests.
pub fn signer() -> Signer {
    Signer::from_seed(ORIGIN, &[7; 32]).unwrap()
}

/// Leaves, and every perfect subtree above them.
pub struct Log {
    pub leaves: Vec<Vec<u8>>,
    levels: Vec<Vec<Hash>>,
}

impl Log {
    pub fn of(leaves: Vec<Vec<u8>>) -> Log {
        let mut levels = vec![leaves.iter().map(|leaf| leaf_hash(leaf)).collect::<Vec<_>>()];
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
        Log { leaves, levels }
    }
    pub fn with_entries(count: u64) -> Log {
        Log::of(
            (0..count)
                .map(|sequence| entry(sequence).to_leaf().unwrap())
                .collect(),
        )
    }
    /// What the log commits to at `size`.
    pub fn checkpoint(&self, size: u64) -> Checkpoint {
        let mut frontier = Frontier::new();
        self.leaves
            .iter()
            .take(size as usize)
            .for_each(|leaf| frontier.append(leaf_hash(leaf)));
        Checkpoint {
            origin: ORIGIN.to_owned(),
            size,
            root: frontier.root(),
        }
    }
    /// All files of an export, by path.
    pub fn export(&self) -> BTreeMap<String, Vec<u8>> {
        let size = self.leaves.len() as u64;
        let content = |tile: Tile| match tile.level {
            Some(_) => tiles::hash_tile(&tile.hashes(self).unwrap().unwrap()),
            None => {
                let range = tile.range();
                let leaves = self.leaves[range.start as usize..range.end as usize].iter();
                tiles::entry_bundle(leaves.map(Vec::as_slice)).unwrap()
            }
        };
        let mut files: BTreeMap<_, _> = tiles::all(size)
            .map(|tile| (tile.path(), content(tile)))
            .collect();
        let note = self.checkpoint(size).sign(&signer()).unwrap();
        files.insert("checkpoint".to_owned(), note.into_bytes());
        files
    }
}

impl Nodes for Log {
    type Error = Infallible;
    fn node(&self, level: u8, index: u64) -> Result<Option<Hash>, Infallible> {
        Ok(self
            .levels
            .get(usize::from(level))
            .and_then(|level| level.get(index as usize))
            .copied())
    }
}
