//! C2SP tlog-tiles: paths and contents of hash tiles and entry bundles.
//!
//! Never touches a file: names and bytes only.

use crate::merkle::Hash;

/// Hashes in a full tile.
pub const TILE_WIDTH: u64 = 256;

/// Path below the log's prefix: `tile/0/x001/067`, `tile/entries/000.p/5`. `level` `None` means entries.
/// `width` 256 means full.
pub fn path(level: Option<u8>, index: u64, width: u16) -> String {
    let mut number = format!("{:03}", index % 1000);
    let mut rest = index / 1000;
    while rest > 0 {
        number = format!("x{:03}/{number}", rest % 1000);
        rest /= 1000;
    }
    let level = level.map_or("entries".to_owned(), |level| level.to_string());
    let full = u64::from(width) >= TILE_WIDTH;
    if full {
        format!("tile/{level}/{number}")
    } else {
        format!("tile/{level}/{number}.p/{width}")
    }
}
/// Concatenated hashes.
pub fn hash_tile(hashes: &[Hash]) -> Vec<u8> {
    hashes.concat()
}
/// Entries, each with a big-endian 16-bit length before it. `None` if one is too long, or there are
/// more than 256.
pub fn entry_bundle<'a>(leaves: impl Iterator<Item = &'a [u8]>) -> Option<Vec<u8>> {
    let mut bundle = Vec::new();
    for (number, leaf) in leaves.enumerate() {
        if number as u64 >= TILE_WIDTH {
            return None;
        }
        bundle.extend_from_slice(&u16::try_from(leaf.len()).ok()?.to_be_bytes());
        bundle.extend_from_slice(leaf);
    }
    Some(bundle)
}
/// Reads an entry bundle; `None` when it is cut short or has more than 256 entries.
pub fn read_entry_bundle(bundle: &[u8]) -> Option<Vec<&[u8]>> {
    let mut leaves = Vec::new();
    let mut rest = bundle;
    while !rest.is_empty() {
        if leaves.len() as u64 >= TILE_WIDTH {
            return None;
        }
        let (length, after) = rest.split_first_chunk::<2>()?;
        let (leaf, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        leaves.push(leaf);
        rest = after;
    }
    Some(leaves)
}
