//! What has to be right before anything is acknowledged: the entries since the last checkpoint, the
//! head, and the projections that decide about acting. Cost grows with the tail, not with the log.

use crate::digest::{DigestKey, Sum};
use crate::head::{Head, frontier};
use crate::query::TreeNodes;
use crate::shared::Shared;
use crate::verify::{altered_schema, before_the_first, leaf_at};
use crate::{Projection, StoreError, query, schema, signing};
use journal::checkpoint::Checkpoint;
use journal::merkle::Frontier;
use journal::verify::{Finding, Replay};
use policy::Timestamp;
use rusqlite::{Connection, OptionalExtension};
use std::collections::{BTreeMap, BTreeSet};

/// Compared before anything is written.
const DECISIVE: [&str; 8] = [
    "approvals",
    "bundles",
    "calls",
    "clock",
    "documents",
    "sessions",
    "stops",
    "tokens",
];
/// Larger projections are compared by the writer's thread, so that opening does not wait for them.
const SMALL_ROWS_MAX: u64 = 10_000;

/// Which of the decisive projections.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decisive {
    Small,
    Large,
}

/// Checks entries since the last checkpoint against the head, and the head against the checkpoint
/// outside. Returns the sizes of the newest checkpoints, stored and outside.
pub(crate) fn check(
    connection: &Connection,
    shared: &Shared,
    head: &Head,
) -> Result<Result<(u64, u64), Finding>, StoreError> {
    if let Some(finding) = altered_schema(connection, &schema::open_in_memory()?)? {
        return Ok(Err(finding));
    }
    let (mut replay, signed) = match newest_checkpoint(connection, shared)? {
        Ok(found) => found,
        Err(finding) => return Ok(Err(finding)),
    };
    let before: Option<i64> = connection.query_row("SELECT min(seq) FROM entries", [], |row| row.get(0))?;
    if let Some(stands) = before.filter(|stands| *stands < 0) {
        return Ok(Err(before_the_first(stands)));
    }
    let mut statement =
        connection.prepare("SELECT seq, leaf, hash FROM entries WHERE seq >= ?1 ORDER BY seq")?;
    let mut rows = statement.query([signed])?;
    while let Some(row) = rows.next()? {
        let folded =
            leaf_at(row, replay.size()).and_then(|(leaf, hash)| replay.fold(leaf, Some(&hash)).map(drop));
        if let Err(finding) = folded {
            return Ok(Err(finding));
        }
    }
    if replay.size() < head.frontier.size() {
        return Ok(Err(Finding::Missing {
            sequence: replay.size(),
        }));
    }
    if replay.frontier() != &head.frontier || last_timestamp(connection, head)? != head.last {
        return Ok(Err(Finding::Derived {
            what: "the head of the log".to_owned(),
        }));
    }
    check_outside(connection, shared, head).map(|outside| outside.map(|outside| (signed, outside)))
}

/// When the last entry of `head` was written, by itself: by it is noticed that the clock went back.
fn last_timestamp(connection: &Connection, head: &Head) -> Result<Option<Timestamp>, StoreError> {
    let last = match head.frontier.size().checked_sub(1) {
        Some(last) => query::entry(connection, last)?,
        None => None,
    };
    Ok(last.map(|stored| stored.entry.timestamp))
}

/// Compares the rows of decisive projections with their digests, and their indexes with the rows.
pub(crate) fn check_projections(
    connection: &Connection,
    shared: &Shared,
    digests: &BTreeMap<String, Sum>,
    which: Decisive,
) -> Result<Result<(), Finding>, StoreError> {
    let key = shared.digest_key()?;
    for name in DECISIVE {
        let Some(digest) = digests.get(name) else { continue };
        if (digest.rows <= SMALL_ROWS_MAX) != (which == Decisive::Small) {
            continue;
        }
        if sum_rows(connection, key, name)? != *digest {
            return Ok(Err(Finding::Derived {
                what: format!("projection `{name}`"),
            }));
        }
        let projection = shared.projections.iter().find(|p| p.name() == name);
        if let Some(projection) = projection
            && !is_indexed(connection, projection.as_ref())?
        {
            return Ok(Err(Finding::Derived {
                what: format!("the index of projection `{name}`"),
            }));
        }
    }
    Ok(Ok(()))
}

/// Whether opening leaves the comparison of this one to the writer's thread.
pub(crate) fn is_large(name: &str, sum: &Sum) -> bool {
    DECISIVE.contains(&name) && sum.rows > SMALL_ROWS_MAX
}

/// Whether the index holds what the rows say, and no more.
fn is_indexed(connection: &Connection, projection: &dyn Projection) -> Result<bool, StoreError> {
    let name = projection.name();
    let mut entry = connection
        .prepare("SELECT 1 FROM row_index WHERE projection = ?1 AND name = ?2 AND value = ?3 AND key = ?4")?;
    let mut expected = 0_u64;
    let mut statement = connection.prepare_cached("SELECT key, value FROM rows WHERE projection = ?1")?;
    let mut rows = statement.query([name])?;
    while let Some(row) = rows.next()? {
        let text = |column| row.get_ref(column)?.as_str().map_err(rusqlite::Error::from);
        let row = query::parse_row(name, text(0)?, text(1)?)?;
        let pairs: BTreeSet<_> = projection.index(&row).into_iter().collect();
        expected = expected.saturating_add(pairs.len() as u64);
        for (index, value) in pairs {
            if !entry.exists((name, index, value, &row.key))? {
                return Ok(false);
            }
        }
    }
    let stored: u64 = connection.query_row(
        "SELECT count(*) FROM row_index WHERE projection = ?1",
        [name],
        |row| row.get(0),
    )?;
    Ok(stored == expected)
}

/// The digest of the rows as they are.
pub(crate) fn sum_rows(
    connection: &Connection,
    key: &DigestKey,
    projection: &str,
) -> Result<Sum, StoreError> {
    let mut sum = Sum::default();
    let mut statement = connection.prepare_cached("SELECT key, value FROM rows WHERE projection = ?1")?;
    let mut rows = statement.query([projection])?;
    while let Some(row) = rows.next()? {
        let text = |column| row.get_ref(column)?.as_str().map_err(rusqlite::Error::from);
        sum.add(key, projection, text(0)?, text(1)?);
    }
    Ok(sum)
}

/// Where replay starts: at the newest stored checkpoint, which its signature vouches for.
fn newest_checkpoint(
    connection: &Connection,
    shared: &Shared,
) -> Result<Result<(Replay, u64), Finding>, StoreError> {
    let found: Option<(u64, String, Vec<u8>)> = connection
        .query_row(
            "SELECT size, note, roots FROM checkpoints ORDER BY size DESC LIMIT 1",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .optional()?;
    let Some((size, note, roots)) = found else {
        return Ok(Ok((Replay::resume(Frontier::default(), &shared.origin), 0)));
    };
    let bad = || Finding::Derived {
        what: format!("the stored checkpoint at {size}"),
    };
    let Some(frontier) = frontier(size, &roots) else {
        return Ok(Err(bad()));
    };
    match Checkpoint::open(&note, &shared.verifier) {
        Ok(checkpoint) if checkpoint.size == size && checkpoint.root == frontier.root() => {
            Ok(Ok((Replay::resume(frontier, &shared.origin), size)))
        }
        _ => Ok(Err(bad())),
    }
}

/// Compares the newest checkpoint of the file outside with the tree.
fn check_outside(
    connection: &Connection,
    shared: &Shared,
    head: &Head,
) -> Result<Result<u64, Finding>, StoreError> {
    let Some(path) = &shared.checkpoints else {
        return Ok(Ok(0));
    };
    let Some(note) = signing::newest_outside(path)? else {
        return Ok(Ok(0));
    };
    let checkpoint = match Checkpoint::open(&note, &shared.verifier) {
        Ok(checkpoint) => checkpoint,
        Err(error) => {
            let what = format!(
                "the newest checkpoint in `{}` ({error}); if this is a new journal, move that file away: it",
                path.display()
            );
            return Ok(Err(Finding::Derived { what }));
        }
    };
    let size = head.frontier.size();
    if checkpoint.size > size {
        return Ok(Err(Finding::Truncated {
            size,
            checkpoint: checkpoint.size,
        }));
    }
    match (TreeNodes { connection, size }).frontier_at(checkpoint.size)? {
        Some(frontier) if frontier.root() == checkpoint.root => Ok(Ok(checkpoint.size)),
        _ => Ok(Err(Finding::Rewritten {
            size: checkpoint.size,
        })),
    }
}
