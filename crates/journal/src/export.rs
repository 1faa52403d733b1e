//! Verifies a log that was exported as C2SP tlog-tiles: a checkpoint, tiles of hashes, bundles of entries.
//!
//! Never opens a file itself: what is read, and from where, is the caller's.

use crate::checkpoint::Checkpoint;
use crate::merkle::{Frontier, Hash};
use crate::note::{NoteError, Verifier};
use crate::tiles::{self, TILE_WIDTH, Tile};
use crate::verify::{Finding, Replay};
use std::collections::BTreeMap;

/// Where the signed checkpoint lies.
pub const CHECKPOINT_PATH: &str = "checkpoint";

/// Why an export is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A file that the checkpoint's size calls for is not there.
    #[error("`{path}` is missing")]
    Missing {
        /// Below the export's directory.
        path: String,
    },
    /// A file is not of its form.
    #[error("`{path}` is {what}")]
    Malformed {
        /// Below the export's directory.
        path: String,
        /// What it is instead.
        what: &'static str,
    },
    /// The checkpoint is not signed by the key.
    #[error("`checkpoint` is not acceptable")]
    Checkpoint(#[source] NoteError),
    /// A tile does not hold the hashes that the entries lead to.
    #[error("`{path}` does not hold the hashes of the entries")]
    Tile {
        /// Below the export's directory.
        path: String,
    },
    /// An entry is not what it claims to be, or the whole is not what a checkpoint vouches for.
    #[error(transparent)]
    Finding(#[from] Finding),
}

/// Verifies the whole export: the checkpoint's signature, every entry and every tile, and that the log
/// extends each checkpoint of `against`. `read` gives a file's bytes by its path below the export.
pub fn verify_tiles(
    mut read: impl FnMut(&str) -> Option<Vec<u8>>,
    verifier: &Verifier,
    against: &[Checkpoint],
) -> Result<Checkpoint, ExportError> {
    let mut file = |path: String| match read(&path) {
        Some(bytes) => Ok((path, bytes)),
        None => Err(ExportError::Missing { path }),
    };
    let (path, note) = file(CHECKPOINT_PATH.to_owned())?;
    let note = String::from_utf8(note).map_err(|_| ExportError::Malformed {
        path,
        what: "not UTF-8",
    })?;
    let checkpoint = Checkpoint::open(&note, verifier).map_err(ExportError::Checkpoint)?;

    let mut vouched: Vec<&Checkpoint> = against.iter().chain([&checkpoint]).collect();
    vouched.sort_by_key(|vouched| vouched.size);
    let mut vouched = vouched.into_iter().peekable();
    let mut replay = Replay::new();
    let mut uppers = Uppers::default();
    let mut bundle = Vec::new();
    for tile in tiles::all(checkpoint.size) {
        let (path, bytes) = file(tile.path())?;
        match tile.level {
            // The tile with its entries' hashes comes next.
            None => bundle = bytes,
            Some(0) => {
                let (leaves, hashes) = pair(&tile, &bundle, &bytes)?;
                for (leaf, hash) in leaves.into_iter().zip(&hashes) {
                    while let Some(due) = vouched.next_if(|vouched| vouched.size <= replay.size()) {
                        replay.check(due)?;
                    }
                    replay.fold(leaf, Some(hash))?;
                    uppers.push(*hash);
                }
            }
            Some(level) => uppers.check(level, &tile, &bytes, path)?,
        }
    }
    // Those of the log's size, and any that vouch for more than there is.
    vouched.try_for_each(|vouched| replay.check(vouched))?;
    Ok(checkpoint)
}

/// The entries of a bundle and the hashes of the tile at its side.
fn pair<'b>(tile: &Tile, bundle: &'b [u8], hashes: &[u8]) -> Result<(Vec<&'b [u8]>, Vec<Hash>), ExportError> {
    let width = usize::from(tile.width);
    let leaves = tiles::read_entry_bundle(bundle)
        .filter(|leaves| leaves.len() == width)
        .ok_or_else(|| {
            let path = Tile { level: None, ..*tile }.path();
            ExportError::Malformed {
                path,
                what: "not a bundle of as many entries as its name says",
            }
        })?;
    let hashes = tiles::read_hash_tile(hashes)
        .filter(|hashes| hashes.len() == width)
        .ok_or_else(|| ExportError::Malformed {
            path: tile.path(),
            what: "not a tile of as many hashes as its name says",
        })?;
    Ok((leaves, hashes))
}

/// The hashes that tiles above level 0 have to hold, as the entries lead to them. One hash for 256
/// entries, so that a million entries take 128 KiB.
#[derive(Debug, Default)]
struct Uppers {
    /// By level, from 0: the right edge below the next hash of the level above.
    edges: Vec<Frontier>,
    /// By level, from 1: all hashes of the level.
    hashes: BTreeMap<u8, Vec<Hash>>,
}

impl Uppers {
    fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        for level in 0.. {
            if self.edges.len() <= level {
                self.edges.push(Frontier::new());
            }
            let Some(edge) = self.edges.get_mut(level) else {
                return;
            };
            edge.append(hash);
            if edge.size() < TILE_WIDTH {
                return;
            }
            hash = std::mem::take(edge).root();
            self.hashes.entry(level as u8 + 1).or_default().push(hash);
        }
    }
    fn check(&self, level: u8, tile: &Tile, bytes: &[u8], path: String) -> Result<(), ExportError> {
        let range = tile.range();
        let hashes = self
            .hashes
            .get(&level)
            .and_then(|all| all.get(range.start as usize..range.end as usize));
        let holds = hashes.is_some_and(|hashes| tiles::hash_tile(hashes) == bytes);
        if holds {
            Ok(())
        } else {
            Err(ExportError::Tile { path })
        }
    }
}
