//! C2SP tlog-tiles: paths and contents of hash tiles and entry bundles.
//!
//! Never touches a file: names and bytes only.

use crate::merkle::{Hash, Nodes};

/// Hashes in a full tile.
pub const TILE_WIDTH: u64 = 256;
/// Levels of the tree that one level of tiles spans.
const TILE_HEIGHT: u8 = 8;

/// One tile of hashes, or one bundle of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// `None` is a bundle of entries; level 0 holds the leaves' hashes.
    pub level: Option<u8>,
    /// Position in its level, from 0.
    pub index: u64,
    /// From 1 to 256, which is full.
    pub width: u16,
}

impl Tile {
    /// See [`path`].
    pub fn path(&self) -> String {
        path(self.level, self.index, self.width)
    }
    /// Which leaves a bundle holds, or which hashes of its level a tile.
    pub fn range(&self) -> std::ops::Range<u64> {
        let start = self.index * TILE_WIDTH;
        start..start + u64::from(self.width)
    }
    /// What a tile of hashes holds; `Ok(None)` when the tree is too small to have it.
    pub fn hashes<N: Nodes>(&self, nodes: &N) -> Result<Option<Vec<Hash>>, N::Error> {
        let level = self.level.unwrap_or(0).saturating_mul(TILE_HEIGHT);
        self.range().map(|index| nodes.node(level, index)).collect()
    }
}

/// All tiles and bundles of the tree of `size` leaves, from the leaves upwards. Bundle *n* comes right
/// before the tile with the hashes of its entries.
pub fn all(size: u64) -> impl Iterator<Item = Tile> {
    let in_level = |width: u64| {
        (0..width.div_ceil(TILE_WIDTH))
            .map(move |index| (index, TILE_WIDTH.min(width - index * TILE_WIDTH) as u16))
    };
    let levels = (0..TILE_HEIGHT).map(move |level| (level, size >> (TILE_HEIGHT * level)));
    levels.flat_map(move |(level, hashes)| {
        in_level(hashes).flat_map(move |(index, width)| {
            let bundle = (level == 0).then_some(Tile {
                level: None,
                index,
                width,
            });
            bundle.into_iter().chain([Tile {
                level: Some(level),
                index,
                width,
            }])
        })
    })
}

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
/// Reads a tile of hashes; `None` when it is cut short or has more than 256.
pub fn read_hash_tile(tile: &[u8]) -> Option<Vec<Hash>> {
    let (hashes, rest) = tile.as_chunks::<32>();
    (rest.is_empty() && hashes.len() as u64 <= TILE_WIDTH).then(|| hashes.to_vec())
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths() {
        #[rustfmt::skip]
        let table = [
            // what the row shows            level    index    width expected
            ("an index has three digits",    Some(0), 67,      256, "tile/0/067"),
            ("the index of C2SP's example",  Some(2), 1234067, 256, "tile/2/x001/x234/067"),
            ("a thousand opens a directory", Some(0), 1000,    256, "tile/0/x001/000"),
            ("a partial tile has a width",   Some(1), 5,       17,  "tile/1/005.p/17"),
            ("bundles have no level",        None,    0,       5,   "tile/entries/000.p/5"),
            ("the greatest index",           None,    u64::MAX, 256, "tile/entries/x018/x446/x744/x073/x709/x551/615"),
        ];
        for (name, level, index, width, expected) in table {
            assert_eq!(path(level, index, width), expected, "{name}");
        }
    }

    #[test]
    fn the_tiles_of_a_tree_are_those_of_the_specification() {
        #[rustfmt::skip]
        let table = [
            // size   tiles by level: full, width of the partial one
            (0,      vec![]),
            (1,      vec![(0, 1)]),
            (256,    vec![(1, 0), (0, 1)]),
            (70_000, vec![(273, 112), (1, 17), (0, 1)]),
        ];
        for (size, expected) in table {
            let found: Vec<_> = (0u8..8)
                .map(|level| {
                    let of_level = || all(size).filter(|tile| tile.level == Some(level));
                    let full = of_level().filter(|tile| tile.width == 256).count();
                    (
                        full,
                        of_level()
                            .find(|tile| tile.width < 256)
                            .map_or(0, |tile| tile.width),
                    )
                })
                .take_while(|level| *level != (0, 0))
                .collect();
            assert_eq!(found, expected, "{size}");
            let bundled: u64 = all(size)
                .filter(|tile| tile.level.is_none())
                .map(|tile| u64::from(tile.width))
                .sum();
            assert_eq!(bundled, size);
        }
    }

    #[test]
    fn bundles_that_are_not_whole_are_refused() {
        let full = entry_bundle(std::iter::repeat_n(&b"ab"[..], 256)).unwrap();
        assert_eq!(read_entry_bundle(&full).unwrap().len(), 256);
        #[rustfmt::skip]
        let table: [(&str, Vec<u8>, Option<usize>); 5] = [
            ("nothing",             vec![],                        Some(0)),
            ("an empty entry",      vec![0, 0],                    Some(1)),
            ("half a length",       vec![0],                       None),
            ("cut short",           vec![0, 2, b'a'],              None),
            ("more than 256",       [full, vec![0, 0]].concat(),   None),
        ];
        for (name, bundle, expected) in table {
            assert_eq!(
                read_entry_bundle(&bundle).map(|leaves| leaves.len()),
                expected,
                "{name}"
            );
        }
        assert_eq!(entry_bundle([&[0; 65_536][..]].into_iter()), None);
        assert_eq!(entry_bundle(std::iter::repeat_n(&b""[..], 257)), None);
    }

    proptest! {
        #[test]
        fn a_bundle_reads_back(leaves in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..400), 0..40)) {
            let bundle = entry_bundle(leaves.iter().map(Vec::as_slice)).unwrap();
            prop_assert_eq!(read_entry_bundle(&bundle).unwrap(), leaves);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            if let Some(leaves) = read_entry_bundle(&bytes) {
                prop_assert_eq!(entry_bundle(leaves.into_iter()), Some(bytes));
            }
        }
    }
}
