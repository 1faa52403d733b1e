//! C2SP tlog-tiles: paths and contents of hash tiles and entry bundles.

use crate::merkle::Hash;

/// Hashes in a full tile.
pub const TILE_WIDTH: u64 = 256;

/// Path below the log's prefix: `tile/0/x001/067`, `tile/entries/000.p/5`. `level` `None` means entries.
/// `width` 256 means full.
pub fn path(level: Option<u8>, index: u64, width: u16) -> String {
    let _ = (level, index, width);
    todo!()
}
/// Concatenated hashes.
pub fn hash_tile(hashes: &[Hash]) -> Vec<u8> {
    hashes.concat()
}
/// Entries, each with a big-endian 16-bit length before it. `None` if one is too long.
pub fn entry_bundle<'a>(leaves: impl Iterator<Item = &'a [u8]>) -> Option<Vec<u8>> {
    let _ = leaves;
    todo!()
}
/// Reads an entry bundle; `None` when it is cut short or has more than 256 entries.
pub fn read_entry_bundle(bundle: &[u8]) -> Option<Vec<&[u8]>> {
    let _ = bundle;
    todo!()
}
