//! What is asked of the tables, by readers and by transactions alike.

use crate::engine::CLOCK_BACK_MS_MAX;
use crate::read::Stored;
use crate::{Row, StoreError};
use journal::merkle::{self, Hash, Nodes};
use journal::{Entry, merkle::Frontier};
use policy::Timestamp;
use rusqlite::{Connection, OptionalExtension};
use serde_json::Value;

/// Most words of a search; the rest is ignored.
const WORDS_MAX: usize = 64;

/// Number of entries.
pub(crate) fn size(connection: &Connection) -> Result<u64, StoreError> {
    let size: Option<i64> = connection
        .prepare_cached("SELECT size FROM head WHERE id = 1")?
        .query_row([], |row| row.get(0))
        .optional()?;
    // What is no size lets nobody read anything; the checks of a start name it.
    Ok(size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0))
}

/// One entry.
pub(crate) fn entry(connection: &Connection, sequence: u64) -> Result<Option<Stored>, StoreError> {
    let found: Option<(Vec<u8>, Hash)> = connection
        .prepare_cached("SELECT leaf, hash FROM entries WHERE seq = ?1")?
        .query_row([sequence], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    found
        .map(|(leaf, hash)| stored(sequence, &leaf, hash))
        .transpose()
}

/// Entries from `from` on, in order.
pub(crate) fn entries(connection: &Connection, from: u64, limit: usize) -> Result<Vec<Stored>, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT seq, leaf, hash FROM entries WHERE seq >= ?1 ORDER BY seq LIMIT ?2")?;
    let mut rows = statement.query((from, limit))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(stored(
            row.get(0)?,
            row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?,
            row.get(2)?,
        )?);
    }
    Ok(found)
}

/// When and by whom entries of these kinds were written after the last one that is older than `since`, in
/// order. Reads backwards from the end, and of each entry no more than it has to.
pub(crate) fn acts_since(
    connection: &Connection,
    since: Timestamp,
    kinds: &[&str],
) -> Result<Vec<(Timestamp, String)>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT seq, leaf, kind FROM entries ORDER BY seq DESC")?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let leaf = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
        let unreadable = || StoreError::Corrupt {
            finding: format!("entry {} cannot be read", row.get(0).unwrap_or(-1)),
        };
        let written = timestamp(leaf).ok_or_else(unreadable)?;
        if written < since {
            break;
        }
        if kinds.contains(&row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?) {
            found.push((written, actor(leaf).ok_or_else(unreadable)?));
        }
    }
    found.reverse();
    Ok(found)
}

/// The first entry that is not older than `since`, or the next one. Reads backwards, and past older entries only
/// as far as the clock may have gone back without a word in the log; with `whole`, all of them.
pub(crate) fn first_since(connection: &Connection, since: Timestamp, whole: bool) -> Result<u64, StoreError> {
    let mut statement = connection.prepare_cached("SELECT seq, leaf FROM entries ORDER BY seq DESC")?;
    let mut rows = statement.query([])?;
    let (mut first, floor) = (None, since.plus_ms(-CLOCK_BACK_MS_MAX));
    while let Some(row) = rows.next()? {
        let leaf = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
        let sequence: u64 = row.get(0)?;
        let written = timestamp(leaf).ok_or_else(|| StoreError::Corrupt {
            finding: format!("entry {sequence} cannot be read"),
        })?;
        if written >= since {
            first = Some(sequence);
        } else if written < floor && !whole {
            return Ok(first.unwrap_or(sequence.saturating_add(1)));
        } else {
            first = first.or(Some(sequence.saturating_add(1)));
        }
    }
    Ok(first.unwrap_or(0))
}

/// When an entry was written, by the end of its leaf: `…"2026-11-21T04:27:00.000Z","v":1}`.
fn timestamp(leaf: &[u8]) -> Option<Timestamp> {
    let (_, time) = leaf.strip_suffix(b"\",\"v\":1}")?.split_last_chunk::<24>()?;
    Timestamp::parse(std::str::from_utf8(time).ok()?)
}

/// Who wrote an entry, by the start of its leaf: `{"actor":"agent:triage",…`.
fn actor(leaf: &[u8]) -> Option<String> {
    let text = leaf.strip_prefix(b"{\"actor\":\"")?;
    let end = text.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    if text.get(end) == Some(&b'\\') {
        return Entry::from_leaf(leaf).ok().map(|entry| entry.actor);
    }
    Some(std::str::from_utf8(text.get(..end)?).ok()?.to_owned())
}

/// Entries of a session from `from` on, in order.
pub(crate) fn session_entries(
    connection: &Connection,
    session: &str,
    from: u64,
    limit: usize,
) -> Result<Vec<Stored>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT seq, leaf, hash FROM entries WHERE session = ?1 AND seq >= ?2 ORDER BY seq LIMIT ?3",
    )?;
    let mut rows = statement.query((session, from, limit))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(stored(
            row.get(0)?,
            row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?,
            row.get(2)?,
        )?);
    }
    Ok(found)
}

fn stored(sequence: u64, leaf: &[u8], hash: Hash) -> Result<Stored, StoreError> {
    let corrupt = |finding: String| StoreError::Corrupt { finding };
    let entry =
        Entry::from_leaf(leaf).map_err(|e| corrupt(format!("entry {sequence} cannot be read: {e}")))?;
    match entry.sequence == sequence {
        true => Ok(Stored { entry, hash }),
        false => Err(corrupt(format!(
            "entry {sequence} claims to be entry {}",
            entry.sequence
        ))),
    }
}

/// One row of a projection.
pub(crate) fn row(connection: &Connection, projection: &str, key: &str) -> Result<Option<Value>, StoreError> {
    text(connection, projection, key)?
        .map(|text| parse_row(projection, key, &text).map(|row| row.value))
        .transpose()
}

/// The same as it is stored.
pub(crate) fn text(
    connection: &Connection,
    projection: &str,
    key: &str,
) -> Result<Option<String>, StoreError> {
    Ok(connection
        .prepare_cached("SELECT value FROM rows WHERE projection = ?1 AND key = ?2")?
        .query_row((projection, key), |row| row.get(0))
        .optional()?)
}

/// Rows after a key, in order.
pub(crate) fn rows(
    connection: &Connection,
    projection: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<Row>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT key, value FROM rows WHERE projection = ?1 AND (?2 IS NULL OR key > ?2) ORDER BY key LIMIT ?3",
    )?;
    let mut rows = statement.query((projection, after, limit))?;
    collect(projection, &mut rows)
}

/// Rows by index.
pub(crate) fn find(
    connection: &Connection,
    projection: &str,
    index: &str,
    value: &str,
) -> Result<Vec<Row>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT r.key, r.value FROM row_index i JOIN rows r ON r.projection = i.projection AND r.key = i.key
         WHERE i.projection = ?1 AND i.name = ?2 AND i.value = ?3 ORDER BY i.key",
    )?;
    let mut rows = statement.query((projection, index, value))?;
    collect(projection, &mut rows)
}

/// Of the rows by index the last `limit`, by the numbers at the ends of their keys: `apr-9` is before `apr-10`.
/// Reads no more of the others than their keys.
pub(crate) fn find_last(
    connection: &Connection,
    projection: &str,
    (index, value): (&str, &str),
    limit: usize,
) -> Result<Vec<Row>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT key, value FROM rows WHERE projection = ?1 AND key IN (
             SELECT key FROM row_index WHERE projection = ?1 AND name = ?2 AND value = ?3
             ORDER BY length(key) DESC, key DESC LIMIT ?4)",
    )?;
    let mut rows = statement.query((projection, index, value, limit))?;
    collect(projection, &mut rows)
}

/// Rows by words, best first.
pub(crate) fn search(
    connection: &Connection,
    projection: &str,
    words: &str,
    limit: usize,
) -> Result<Vec<Row>, StoreError> {
    let quoted: Vec<String> = words
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .take(WORDS_MAX)
        .map(|word| format!("\"{word}\""))
        .collect();
    if quoted.is_empty() {
        return Ok(Vec::new());
    }
    let mut statement = connection.prepare_cached(
        "SELECT r.key, r.value FROM row_text t JOIN row_text_ids i ON i.id = t.rowid
         JOIN rows r ON r.projection = i.projection AND r.key = i.key
         WHERE row_text MATCH ?1 AND i.projection = ?2 ORDER BY t.rank, r.key LIMIT ?3",
    )?;
    let mut rows = statement.query((quoted.join(" OR "), projection, limit))?;
    collect(projection, &mut rows)
}

fn collect(projection: &str, rows: &mut rusqlite::Rows<'_>) -> Result<Vec<Row>, StoreError> {
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let key: String = row.get(0)?;
        found.push(parse_row(
            projection,
            &key,
            row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?,
        )?);
    }
    Ok(found)
}

/// A row as stored.
pub(crate) fn parse_row(projection: &str, key: &str, text: &str) -> Result<Row, StoreError> {
    match serde_json::from_str(text) {
        Ok(value) => Ok(Row {
            key: key.to_owned(),
            value,
        }),
        Err(_) => Err(StoreError::Corrupt {
            finding: format!("row `{key}` of projection `{projection}` is no JSON"),
        }),
    }
}

/// The tree's nodes: entries below level 8, the table of nodes from there on.
pub(crate) struct TreeNodes<'a> {
    pub(crate) connection: &'a Connection,
    /// Leaves of the tree.
    pub(crate) size: u64,
}

impl Nodes for TreeNodes<'_> {
    type Error = StoreError;

    fn node(&self, level: u8, index: u64) -> Result<Option<Hash>, StoreError> {
        let width = 1_u64.checked_shl(u32::from(level)).unwrap_or(u64::MAX);
        let end = index.checked_add(1).and_then(|next| next.checked_mul(width));
        if end.is_none_or(|end| end > self.size) {
            return Ok(None);
        }
        if level >= 8 {
            let node = self
                .connection
                .prepare_cached("SELECT hash FROM nodes WHERE level = ?1 AND position = ?2")?
                .query_row((level, index), |row| row.get(0))
                .optional()?;
            return node
                .map(Some)
                .ok_or_else(|| missing(format!("node {index} of level {level}")));
        }
        let from = index.saturating_mul(width);
        let mut hashes = self
            .connection
            .prepare_cached("SELECT hash FROM entries WHERE seq >= ?1 AND seq < ?2 ORDER BY seq")?
            .query_map((from, from.saturating_add(width)), |row| row.get(0))?
            .collect::<Result<Vec<Hash>, _>>()?;
        if hashes.len() as u64 != width {
            return Err(missing(format!("an entry from {from} on")));
        }
        while hashes.len() > 1 {
            hashes = hashes
                .as_chunks::<2>()
                .0
                .iter()
                .map(|[left, right]| merkle::node_hash(left, right))
                .collect();
        }
        Ok(hashes.first().copied())
    }
}

impl TreeNodes<'_> {
    /// The right edge of the tree of the first `size` leaves; `None` when there are fewer.
    pub(crate) fn frontier_at(&self, size: u64) -> Result<Option<Frontier>, StoreError> {
        let (mut roots, mut start) = (Vec::new(), 0_u64);
        for level in (0..64_u8).rev().filter(|level| size & (1 << level) != 0) {
            match self.node(level, start >> level)? {
                Some(root) => roots.push(root),
                None => return Ok(None),
            }
            start += 1 << level;
        }
        Ok(Frontier::from_parts(size, roots))
    }
}

fn missing(what: String) -> StoreError {
    StoreError::Corrupt {
        finding: format!("{what} is missing"),
    }
}
