//! Verification of everything that is stored: leaves, tree, checkpoints, payloads, projections.
//!
//! One pass over the entries on a connection of its own, in one snapshot, so that the writer goes on.
//! Projections are folded again into a database of its own, by the code that folds them live: a file, so
//! that what a verification takes of memory does not grow with the journal.

use crate::fold::Sums;
use crate::head::{self, Head};
use crate::kept::Kept;
use crate::read::Erasable;
use crate::shared::Shared;
use crate::store::Verified;
use crate::{StoreError, payloads, refold, schema, signing};
use journal::checkpoint::Checkpoint;
use journal::merkle::Hash;
use journal::verify::{Finding, Replay};
use journal::{Entry, kind};
use rusqlite::types::{Type, ValueRef};
use rusqlite::{Connection, Row};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

/// Entries between two reports of progress.
const PROGRESS_EVERY: u64 = 1_000;
/// Most that is folded in memory, in bytes. What is larger waits for space on the disk.
const FOLDED_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// Either what was found wrong first, or what stopped the looking.
enum Stop {
    Found(Finding),
    Failed(StoreError),
}

impl From<Finding> for Stop {
    fn from(finding: Finding) -> Stop {
        Stop::Found(finding)
    }
}

/// What cannot be read because it was altered is found, not merely unavailable: nobody may go on acting.
impl<E: Into<StoreError>> From<E> for Stop {
    fn from(error: E) -> Stop {
        damaged("the database")(error)
    }
}

/// Names what could not be read.
fn damaged<E: Into<StoreError>>(what: impl Into<String>) -> impl FnOnce(E) -> Stop {
    let what = what.into();
    move |error| match error.into() {
        StoreError::Corrupt { finding: reason } => Stop::Found(Finding::Damaged { what, reason }),
        error => Stop::Failed(error),
    }
}

/// See [`crate::Store::verify`].
pub(crate) fn verify(
    shared: &Shared,
    against: &[String],
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Result<Verified, Finding>, StoreError> {
    let key = in_force(shared);
    match look(shared, against, progress) {
        Ok(verified) => Ok(Ok(verified)),
        // What was read in the old key's time does not open with the new one.
        Err(Stop::Found(_)) if in_force(shared) != key => Err(StoreError::Unavailable {
            reason: "the organization's key was replaced meanwhile; verify again".to_owned(),
        }),
        Err(Stop::Found(finding)) => Ok(Err(finding)),
        Err(Stop::Failed(error)) => Err(error),
    }
}

/// Names the organization's key that payloads are opened with.
fn in_force(shared: &Shared) -> Option<String> {
    shared.with_organization_key(|key| key.id().to_owned()).ok()
}

fn look(shared: &Shared, against: &[String], progress: &mut dyn FnMut(u64, u64)) -> Result<Verified, Stop> {
    // Before the snapshot: what the writer signs meanwhile would be ahead of it.
    let outside = match &shared.checkpoints {
        Some(path) => read_outside(path, shared)?,
        None => Vec::new(),
    };
    let source = shared.open_reader()?;
    source.execute_batch("BEGIN DEFERRED")?;
    let mut checkpoints = stored_checkpoints(shared, &source)?;
    for checkpoint in outside.into_iter().chain(given(against, shared)?) {
        checkpoints.entry(checkpoint.size).or_default().push(checkpoint);
    }
    let mut verification = Verification::new(shared, &source, checkpoints)?;
    if let Some(finding) = altered_schema(&source, &verification.again)? {
        return Err(finding.into());
    }
    let in_memory = verification.in_memory;
    let told = |stop| if in_memory { in_little_memory(stop) } else { stop };
    verification.again.execute_batch(ERASURES)?;
    verification.read_entries(progress).map_err(told)?;
    verification.finish().map_err(told)
}

/// Says of a verification that folds in memory what would help it.
fn in_little_memory(stop: Stop) -> Stop {
    match stop {
        Stop::Failed(StoreError::Unavailable { reason }) => Stop::Failed(StoreError::Unavailable {
            reason: format!(
                "{reason}: little space is left on the disk, and a verification takes no more than {} MiB of memory \
                 in its place; free some",
                FOLDED_BYTES_MAX / (1024 * 1024)
            ),
        }),
        other => other,
    }
}

struct Verification<'a> {
    shared: &'a Shared,
    source: &'a Connection,
    /// Where everything is folded again.
    again: Connection,
    in_memory: bool,
    /// Whether payloads and projections can be compared.
    keyed: bool,
    /// By size; what the tree has to be at that size.
    checkpoints: BTreeMap<u64, Vec<Checkpoint>>,
    replay: Replay,
    tree: Head,
    sums: Sums,
    kept: RefCell<Kept>,
    /// The newest entry that tells a projection's digest.
    claims: BTreeMap<String, (u64, String)>,
    commitments: u64,
    /// Decrypted and compared.
    payloads: u64,
}

impl<'a> Verification<'a> {
    fn new(
        shared: &'a Shared,
        source: &'a Connection,
        checkpoints: BTreeMap<u64, Vec<Checkpoint>>,
    ) -> Result<Verification<'a>, Stop> {
        // What is left of the disk is for entries. A directory that is not ours is only read.
        let in_memory = !shared.foreign && !schema::has_room(&shared.directory, source)?;
        let again = match (shared.foreign, in_memory) {
            (true, _) => schema::open_scratch(None)?,
            (false, false) => schema::open_scratch(Some(&shared.directory))?,
            (false, true) => {
                tracing::warn!("little space is left, so the verification folds in memory");
                schema::open_in_little_memory(FOLDED_BYTES_MAX)?
            }
        };
        again.execute_batch("BEGIN")?;
        Ok(Verification {
            shared,
            source,
            again,
            in_memory,
            keyed: shared.digest_key.is_some(),
            checkpoints,
            replay: Replay::new(),
            tree: Head::default(),
            sums: Sums::empty(shared.projections.len()),
            kept: RefCell::default(),
            claims: BTreeMap::new(),
            commitments: 0,
            payloads: 0,
        })
    }

    fn read_entries(&mut self, progress: &mut dyn FnMut(u64, u64)) -> Result<(), Stop> {
        let source = self.source;
        let all: u64 = source.query_row("SELECT count(*) FROM entries", [], |row| row.get(0))?;
        let mut statement =
            source.prepare("SELECT seq, leaf, hash, session, kind FROM entries ORDER BY seq")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let sequence = self.replay.size();
            let (leaf, hash) = leaf_at(row, sequence)?;
            let entry = self.replay.leaf(leaf, Some(&hash))?;
            if entry.log != self.shared.origin {
                return Err(Finding::Foreign {
                    sequence,
                    claims: entry.log,
                }
                .into());
            }
            let is = |column: usize, text: Option<&str>| {
                row.get_ref(column)
                    .is_ok_and(|stored| stored.as_str_or_null().is_ok_and(|stored| stored == text))
            };
            if !is(3, entry.session.as_deref()) || !is(4, Some(&entry.kind)) {
                return Err(Finding::Derived {
                    what: format!("the index of entry {sequence}"),
                }
                .into());
            }
            self.tree.append(&self.again, hash)?;
            self.tree.last = Some(entry.timestamp);
            for checkpoint in self.checkpoints.get(&self.replay.size()).into_iter().flatten() {
                self.replay.check(checkpoint)?;
            }
            self.read_entry(entry)?;
            if self.replay.size().is_multiple_of(PROGRESS_EVERY) {
                progress(self.replay.size(), all);
            }
        }
        progress(self.replay.size(), all);
        Ok(())
    }

    fn read_entry(&mut self, entry: Entry) -> Result<(), Stop> {
        for (projection, digest) in &entry.projections {
            self.claims
                .insert(projection.clone(), (entry.sequence, digest.clone()));
        }
        self.commitments += entry.commitments.len() as u64;
        if entry.kind == kind::PAYLOAD_ERASED {
            for (of, name) in erased(&entry) {
                self.mark(SAID, of, &name)?;
            }
        }
        if !self.keyed {
            return Ok(());
        }
        let mut readable = Vec::with_capacity(entry.commitments.len());
        for commitment in &entry.commitments {
            let name = &commitment.name;
            let payload = payloads::get(self.source, self.shared, entry.sequence, name, &entry.commitments)
                .map_err(damaged(format!("payload `{name}` of entry {}", entry.sequence)))?;
            match payload? {
                Erasable::Present(value) => readable.push((name.clone(), value)),
                Erasable::Erased | Erasable::Absent => {
                    self.mark(GONE, entry.sequence, name)?;
                }
            }
        }
        self.payloads += readable.len() as u64;
        let sequence = entry.sequence;
        match refold::apply(
            (&self.again, &self.kept),
            self.shared,
            &self.shared.projections,
            &mut self.sums,
            entry,
            &readable,
        ) {
            Err(StoreError::Corrupt { finding: reason }) => {
                Err(Finding::Unreadable { sequence, reason }.into())
            }
            other => Ok(other?),
        }
    }

    fn finish(self) -> Result<Verified, Stop> {
        let size = self.replay.size();
        for checkpoint in self
            .checkpoints
            .range(size + 1..)
            .flat_map(|(_, checkpoints)| checkpoints)
        {
            self.replay.check(checkpoint)?;
        }
        self.check_derived_from_tree()?;
        let mut projections = 0;
        if self.keyed {
            self.check_erasures()?;
            projections = self.check_projections()?;
        }
        Ok(Verified {
            entries: size,
            root: self.replay.root(),
            checkpoints: self.checkpoints.values().map(|at| at.len() as u64).sum(),
            payloads: self.payloads,
            projections,
            without_key: !self.keyed,
        })
    }

    fn check_derived_from_tree(&self) -> Result<(), Stop> {
        let size = self.replay.size();
        let stored = Head::load(self.source)
            .map_err(damaged("the head of the log"))?
            .map(|stored| stored.head)
            .unwrap_or_default();
        if stored.frontier.size() > size {
            return Err(Finding::Missing { sequence: size }.into());
        }
        if stored != self.tree {
            return Err(derived("the head of the log"));
        }
        let sql = "SELECT level || '/' || position, hash FROM nodes WHERE ?1 = ?1 ORDER BY level, position";
        match first_difference(self.source, &self.again, sql, "")? {
            Some(node) => Err(derived(&format!("node {node} of the tree"))),
            None => Ok(()),
        }
    }

    /// Notes one side of an erasure.
    fn mark(&self, sql: &str, sequence: u64, name: &str) -> Result<(), Stop> {
        self.again.prepare_cached(sql)?.execute((sequence, name))?;
        Ok(())
    }

    /// What is gone was erased by an entry, what was erased is gone, and there is nothing besides.
    fn check_erasures(&self) -> Result<(), Stop> {
        let sql = "SELECT seq, name, gone FROM erasures WHERE gone <> said ORDER BY said, seq, name LIMIT 1";
        let mut statement = self.again.prepare(sql)?;
        let mut odd = statement.query([])?;
        if let Some(row) = odd.next()? {
            let reason = match row.get::<_, bool>(2)? {
                true => "it is gone, and no entry says that it was erased",
                false => "it was erased, and is there again",
            };
            return Err(Stop::Found(Finding::Payload {
                sequence: row.get(0)?,
                name: row.get(1)?,
                reason: reason.to_owned(),
            }));
        }
        let rows: u64 = self
            .source
            .query_row("SELECT count(*) FROM payloads", [], |row| row.get(0))?;
        match rows == self.commitments {
            true => Ok(()),
            false => Err(derived("the table of payloads")),
        }
    }

    fn check_projections(&self) -> Result<u64, Stop> {
        let key = self.shared.digest_key()?;
        let stored = head::digests(self.source, key).map_err(damaged("the state of the projections"))?;
        let mut compared = 0;
        for (projection, sum) in self.shared.projections.iter().zip(&self.sums.sums) {
            let name = projection.name();
            if !stored.contains_key(name) && self.shared.foreign {
                // The program that wrote this journal did not have it.
                continue;
            }
            for (what, sql) in COMPARED {
                let difference = first_difference(self.source, &self.again, sql, name)
                    .map_err(damaged(format!("projection `{name}`")))?;
                if let Some(row) = difference {
                    return Err(derived(&format!("{what} `{row}` of projection `{name}`")));
                }
            }
            if stored.get(name) != Some(sum) {
                return Err(derived(&format!("the digest of projection `{name}`")));
            }
            if let Some((sequence, _)) = self
                .claims
                .get(name)
                .filter(|(_, claim)| *claim != key.show(name, sum))
            {
                return Err(derived(&format!(
                    "the digest of projection `{name}` in entry {sequence}"
                )));
            }
            compared += 1;
        }
        Ok(compared)
    }
}

/// Which payloads are gone, and which are said to be.
const ERASURES: &str = "CREATE TABLE erasures(
    seq INTEGER NOT NULL, name TEXT NOT NULL, gone INTEGER NOT NULL, said INTEGER NOT NULL, PRIMARY KEY(seq, name)
) STRICT, WITHOUT ROWID";
/// Found erased.
const GONE: &str =
    "INSERT INTO erasures(seq, name, gone, said) VALUES (?1, ?2, 1, 0) ON CONFLICT DO UPDATE SET gone = 1";
/// Said to be erased.
const SAID: &str =
    "INSERT INTO erasures(seq, name, gone, said) VALUES (?1, ?2, 0, 1) ON CONFLICT DO UPDATE SET said = 1";

/// What a projection consists of, in the order in which it is kept, so that nothing is sorted; the first column names the row.
const COMPARED: [(&str, &str); 3] = [
    (
        "row",
        "SELECT key, value FROM rows WHERE projection = ?1 ORDER BY key",
    ),
    (
        "the index of row",
        "SELECT key, name, value FROM row_index WHERE projection = ?1 ORDER BY name, value, key",
    ),
    (
        "the text of row",
        "SELECT i.key, t.text FROM row_text_ids i LEFT JOIN row_text t ON t.rowid = i.id
         WHERE i.projection = ?1 ORDER BY i.key",
    ),
];

/// The leaf and hash in a row of `seq, leaf, hash` that has to be that of entry `expected`.
pub(crate) fn leaf_at<'r>(row: &'r Row<'_>, expected: u64) -> Result<(&'r [u8], Hash), Finding> {
    let unreadable = |error: &dyn std::fmt::Display| Finding::Unreadable {
        sequence: expected,
        reason: error.to_string(),
    };
    let stands: i64 = row.get(0).map_err(|e| unreadable(&e))?;
    match u64::try_from(stands) {
        Ok(sequence) if sequence == expected => (),
        Ok(_) => return Err(Finding::Missing { sequence: expected }),
        Err(_) => return Err(before_the_first(stands)),
    }
    let leaf = row.get_ref(1).map_err(|e| unreadable(&e))?;
    let leaf = leaf.as_blob().map_err(|e| unreadable(&e))?;
    let hash = row.get(2).map_err(|_| Finding::Altered { sequence: expected })?;
    Ok((leaf, hash))
}

/// An entry where none can be.
pub(crate) fn before_the_first(stands: i64) -> Finding {
    Finding::Damaged {
        what: format!("entry {stands}"),
        reason: "no entry stands before entry 0".to_owned(),
    }
}

/// What of the schema is not as this program makes it; `new` is a database that it just made. A trigger
/// would change rows under the writer's hands, after everything was compared.
pub(crate) fn altered_schema(stored: &Connection, new: &Connection) -> Result<Option<Finding>, StoreError> {
    let sql = "SELECT type || ' `' || name || '`', sql FROM sqlite_schema WHERE ?1 = ?1 ORDER BY 1";
    let difference = first_difference(stored, new, sql, "")?;
    Ok(difference.map(|what| Finding::Damaged {
        what: "the schema of the database".to_owned(),
        reason: format!("{what} is another"),
    }))
}

/// Stored checkpoints by size.
fn stored_checkpoints(shared: &Shared, source: &Connection) -> Result<BTreeMap<u64, Vec<Checkpoint>>, Stop> {
    let mut by_size: BTreeMap<u64, Vec<Checkpoint>> = BTreeMap::new();
    let mut statement = source.prepare("SELECT size, note, root, roots FROM checkpoints ORDER BY size")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let stands: i64 = row.get(0).map_err(damaged("a stored checkpoint"))?;
        let checkpoint = row
            .get_ref(1)?
            .as_str()
            .ok()
            .and_then(|note| Checkpoint::open(note, &shared.verifier).ok());
        match checkpoint {
            Some(checkpoint)
                if u64::try_from(stands) == Ok(checkpoint.size)
                    && row.get_ref(2)?.as_blob() == Ok(checkpoint.root.as_slice())
                    && row
                        .get_ref(3)?
                        .as_blob()
                        .ok()
                        .and_then(|roots| head::frontier(checkpoint.size, roots))
                        .is_some_and(|edge| edge.root() == checkpoint.root) =>
            {
                by_size.entry(checkpoint.size).or_default().push(checkpoint);
            }
            _ => return Err(derived(&format!("the stored checkpoint at {stands}"))),
        }
    }
    Ok(by_size)
}

/// The checkpoints of the file outside. One that is not this log's was put there to be found or to
/// hide another, which is the same to us.
fn read_outside(path: &Path, shared: &Shared) -> Result<Vec<Checkpoint>, Stop> {
    let notes = signing::all_outside(path)?;
    let opened = notes.iter().enumerate().map(|(index, note)| {
        Checkpoint::open(note, &shared.verifier).map_err(|error| {
            Stop::Found(Finding::Damaged {
                what: format!("checkpoint {} in `{}`", index + 1, path.display()),
                reason: error.to_string(),
            })
        })
    });
    opened.collect()
}

/// The checkpoints to compare with; one that is not this log's is the caller's mistake.
fn given(notes: &[String], shared: &Shared) -> Result<Vec<Checkpoint>, StoreError> {
    let opened = notes.iter().map(|note| {
        Checkpoint::open(note, &shared.verifier)
            .map_err(|e| StoreError::Refused(format!("a checkpoint to compare with is not this log's: {e}")))
    });
    opened.collect()
}

fn erased(entry: &Entry) -> Vec<(u64, String)> {
    let of = entry.body.get("of").and_then(Value::as_u64);
    let names = entry.body.get("names").and_then(Value::as_array);
    let names = names.into_iter().flatten().filter_map(Value::as_str);
    of.map(|of| names.map(|name| (of, name.to_owned())).collect())
        .unwrap_or_default()
}

fn derived(what: &str) -> Stop {
    Stop::Found(Finding::Derived {
        what: what.to_owned(),
    })
}

/// Runs a query in both databases; the first column of the first row that is not in both.
fn first_difference(
    one: &Connection,
    other: &Connection,
    sql: &str,
    parameter: &str,
) -> Result<Option<String>, StoreError> {
    let (mut one, mut other) = (one.prepare(sql)?, other.prepare(sql)?);
    let columns = one.column_count();
    let (mut ours, mut theirs) = (one.query([parameter])?, other.query([parameter])?);
    loop {
        match (cells(ours.next()?, columns)?, cells(theirs.next()?, columns)?) {
            (None, None) => return Ok(None),
            (a, b) if a == b => (),
            (a, b) => {
                let names = [a, b]
                    .into_iter()
                    .flatten()
                    .filter_map(|row| row.into_iter().next())
                    .map(|(_, name)| String::from_utf8_lossy(&name).into_owned());
                return Ok(Some(names.min().unwrap_or_default()));
            }
        }
    }
}

/// A value as it is stored: even text that is no text can be compared.
type Cell = (Type, Vec<u8>);

fn cells(row: Option<&Row<'_>>, columns: usize) -> Result<Option<Vec<Cell>>, StoreError> {
    let cells = row.map(|row| (0..columns).map(|column| row.get_ref(column).map(cell)).collect());
    Ok(cells.transpose()?)
}

fn cell(value: ValueRef<'_>) -> Cell {
    let bytes = match value {
        ValueRef::Null => Vec::new(),
        ValueRef::Integer(integer) => integer.to_be_bytes().to_vec(),
        ValueRef::Real(real) => real.to_be_bytes().to_vec(),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.to_vec(),
    };
    (value.data_type(), bytes)
}
