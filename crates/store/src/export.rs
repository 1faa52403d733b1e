//! Export in C2SP tlog-tiles layout, for verifiers that know nothing of this program.

use crate::StoreError;
use crate::query::TreeNodes;
use crate::shared::Shared;
use crate::store::Signed;
use journal::merkle::Nodes;
use journal::tiles::{self, TILE_WIDTH};
use rusqlite::Connection;
use std::path::Path;

/// Levels of the tree that one level of tiles spans.
const LEVELS_PER_TILE: u8 = 8;

/// Writes tiles, entry bundles, the verifying key and, last, the checkpoint.
pub(crate) fn export(shared: &Shared, signed: &Signed, directory: &Path) -> Result<(), StoreError> {
    let connection = shared.open_reader()?;
    connection.execute_batch("BEGIN DEFERRED")?;
    let size = signed.checkpoint.size;
    let nodes = TreeNodes {
        connection: &connection,
        size,
    };
    let mut level = 0_u8;
    loop {
        let hashes = size >> (u32::from(level) * u32::from(LEVELS_PER_TILE)).min(63);
        if hashes == 0 {
            break;
        }
        for (index, width) in widths(hashes) {
            let tile = (index * TILE_WIDTH..index * TILE_WIDTH + u64::from(width))
                .map(|position| {
                    nodes
                        .node(level * LEVELS_PER_TILE, position)?
                        .ok_or_else(cut_short)
                })
                .collect::<Result<Vec<_>, _>>()?;
            write(
                directory,
                &tiles::path(Some(level), index, width),
                &tiles::hash_tile(&tile),
            )?;
        }
        if hashes < TILE_WIDTH {
            break;
        }
        level += 1;
    }
    for (index, width) in widths(size) {
        let leaves = leaves(&connection, index * TILE_WIDTH, width)?;
        let bundle = tiles::entry_bundle(leaves.iter().map(Vec::as_slice)).ok_or_else(cut_short)?;
        write(directory, &tiles::path(None, index, width), &bundle)?;
    }
    write(
        directory,
        "log.vkey",
        format!("{}\n", shared.verifier.to_vkey()).as_bytes(),
    )?;
    write(directory, "checkpoint", signed.note.as_bytes())
}

/// Index and width of each tile over `count` hashes; the last may be partial.
fn widths(count: u64) -> impl Iterator<Item = (u64, u16)> {
    (0..count.div_ceil(TILE_WIDTH)).map(move |index| {
        let width = (count - index * TILE_WIDTH).min(TILE_WIDTH);
        (index, u16::try_from(width).unwrap_or(u16::MAX))
    })
}

fn leaves(connection: &Connection, from: u64, width: u16) -> Result<Vec<Vec<u8>>, StoreError> {
    let leaves = connection
        .prepare_cached("SELECT leaf FROM entries WHERE seq >= ?1 AND seq < ?2 ORDER BY seq")?
        .query_map((from, from + u64::from(width)), |row| row.get(0))?
        .collect::<Result<Vec<Vec<u8>>, _>>()?;
    match leaves.len() == usize::from(width) {
        true => Ok(leaves),
        false => Err(cut_short()),
    }
}

fn write(directory: &Path, path: &str, bytes: &[u8]) -> Result<(), StoreError> {
    let path = directory.join(path);
    let parent = path.parent().unwrap_or(directory);
    std::fs::create_dir_all(parent)
        .and_then(|()| std::fs::write(&path, bytes))
        .map_err(|e| StoreError::Refused(format!("`{}` cannot be written: {e}", path.display())))
}

fn cut_short() -> StoreError {
    StoreError::Corrupt {
        finding: "the journal has fewer entries than its checkpoint vouches for".to_owned(),
    }
}
