//! Signing checkpoints of durable sizes, and keeping them: in the database, and in a file outside the
//! data directory that convicts whoever rewrites and signs again.

use crate::engine::Engine;
use crate::head::Head;
use crate::shared::Shared;
use crate::store::Signed;
use crate::{StoreError, schema};
use journal::checkpoint::Checkpoint;
use rusqlite::{Connection, OptionalExtension};
use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

/// How much of the end of the checkpoints file is read to find the newest: many notes' worth.
const TAIL_BYTES: u64 = 64 * 1024;

/// Signs the size that the last commit made durable; a size that was signed before is not signed again.
/// Says besides whether the file outside has it.
pub(crate) fn sign(
    engine: &mut Engine,
    shared: &Shared,
) -> Result<(Signed, Result<(), StoreError>), StoreError> {
    let signed = match stored_at(&engine.connection, engine.head.frontier.size())? {
        Some(note) => Signed {
            checkpoint: present(&engine.head, shared),
            note,
        },
        None => sign_into(&engine.connection, &engine.head, shared)?,
    };
    engine.signed = signed.checkpoint.size;
    let outside = copy_outside(engine, shared)?;
    Ok((signed, outside))
}

/// Signs a head that is durable and stores the checkpoint, in the commit that is under way, if any.
pub(crate) fn sign_into(
    connection: &Connection,
    durable: &Head,
    shared: &Shared,
) -> Result<Signed, StoreError> {
    let signer = shared.signer.as_ref().ok_or_else(|| {
        StoreError::Refused("checkpoints cannot be signed without the log's key".to_owned())
    })?;
    let checkpoint = present(durable, shared);
    let note = checkpoint
        .sign(signer)
        .map_err(|e| StoreError::Refused(e.to_string()))?;
    connection
        .prepare_cached("INSERT INTO checkpoints(size, root, note, roots) VALUES (?1, ?2, ?3, ?4)")?
        .execute((
            checkpoint.size,
            checkpoint.root,
            &note,
            durable.frontier.roots().concat(),
        ))?;
    Ok(Signed { checkpoint, note })
}

/// Appends to the file outside what it does not have yet. `Err` inside is that file's fault.
pub(crate) fn copy_outside(
    engine: &mut Engine,
    shared: &Shared,
) -> Result<Result<(), StoreError>, StoreError> {
    let Some(path) = &shared.checkpoints else {
        return Ok(Ok(()));
    };
    let missing = missing_outside(engine)?;
    let Some((newest, _)) = missing.last() else {
        return Ok(Ok(()));
    };
    let result = append(path, &missing).map_err(|error| unavailable(path, &error));
    if result.is_ok() {
        engine.outside = *newest;
    }
    Ok(result)
}

fn present(head: &Head, shared: &Shared) -> Checkpoint {
    Checkpoint {
        origin: shared.origin.clone(),
        size: head.frontier.size(),
        root: head.frontier.root(),
    }
}

/// The newest stored checkpoint.
pub(crate) fn latest(connection: &Connection, shared: &Shared) -> Result<Option<Signed>, StoreError> {
    let note: Option<String> = connection
        .prepare_cached("SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()?;
    note.map(|note| match Checkpoint::open(&note, &shared.verifier) {
        Ok(checkpoint) => Ok(Signed { checkpoint, note }),
        Err(error) => Err(StoreError::Corrupt {
            finding: format!("the newest stored checkpoint: {error}"),
        }),
    })
    .transpose()
}

/// Moves the write-ahead log into the database and empties it. `false` when a reader is in the way.
/// Waits for nobody: a verification in the background may read for long.
pub(crate) fn empty_wal(connection: &Connection) -> bool {
    let empty = || {
        connection.busy_timeout(Duration::ZERO)?;
        let busy: bool = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        connection.busy_timeout(schema::BUSY_TIMEOUT)?;
        Ok::<_, rusqlite::Error>(!busy)
    };
    empty().unwrap_or_else(|error| {
        tracing::warn!(%error, "the write-ahead log could not be emptied yet");
        false
    })
}

/// The newest note of a checkpoints file; `None` when there is none.
pub(crate) fn newest_outside(path: &Path) -> Result<Option<String>, StoreError> {
    let mut file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unavailable(path, &error)),
    };
    let read = || {
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error: std::io::Error| unavailable(path, &error))?;
    Ok(notes(&String::from_utf8_lossy(&bytes)).pop())
}

/// All notes of a checkpoints file, oldest first.
pub(crate) fn all_outside(path: &Path) -> Result<Vec<String>, StoreError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(notes(&String::from_utf8_lossy(&bytes))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(unavailable(path, &error)),
    }
}

/// Splits a checkpoints file into its notes, oldest first: a paragraph, a blank line, signatures. What is
/// no whole note (the rest of a torn write) is left out; nothing has to stand between two notes.
pub(crate) fn notes(text: &str) -> Vec<String> {
    let (mut notes, mut paragraph, mut body, mut signatures) =
        (Vec::new(), String::new(), String::new(), String::new());
    // One more line, which ends what is last.
    for line in text.lines().chain([""]) {
        if paragraph.is_empty() && !body.is_empty() && is_signature(line) {
            signatures.push_str(line);
            signatures.push('\n');
            continue;
        }
        if !signatures.is_empty() {
            notes.push(format!("{body}\n{signatures}"));
            body.clear();
            signatures.clear();
        }
        if !line.is_empty() {
            paragraph.push_str(line);
            paragraph.push('\n');
        } else if !paragraph.is_empty() {
            body = std::mem::take(&mut paragraph);
        }
    }
    notes
}

/// Whether a line is a whole signature: `— NAME BASE64`, where an Ed25519 signature with the hash of
/// its key has 68 bytes, and other kinds have more.
fn is_signature(line: &str) -> bool {
    let base64 = line
        .strip_prefix("\u{2014} ")
        .and_then(|rest| rest.split_once(' '))
        .map(|(_, base64)| base64);
    base64.is_some_and(|base64| base64.len() >= 92 && base64.len().is_multiple_of(4))
}

/// Every stored checkpoint that the file outside does not have yet.
fn missing_outside(engine: &Engine) -> Result<Vec<(u64, String)>, StoreError> {
    let mut statement = engine
        .connection
        .prepare_cached("SELECT size, note FROM checkpoints WHERE size > ?1 ORDER BY size")?;
    let missing = statement.query_map([engine.outside], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(missing.collect::<Result<_, _>>()?)
}

fn append(path: &Path, notes: &[(u64, String)]) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    let new = file.metadata()?.len() == 0;
    let mut text = String::new();
    if !ends_in_blank_line(&mut file)? {
        text.push_str("\n\n");
    }
    for (_, note) in notes {
        text.push_str(note);
        text.push('\n');
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    // A new file is durable only with its name, and so is a new directory.
    for directory in path.ancestors().skip(1).take(if new { 2 } else { 0 }) {
        let named = if directory == "" {
            Path::new(".")
        } else {
            directory
        };
        std::fs::File::open(named)?.sync_all()?;
    }
    Ok(())
}

fn ends_in_blank_line(file: &mut std::fs::File) -> std::io::Result<bool> {
    if file.metadata()?.len() < 2 {
        return Ok(file.metadata()?.len() == 0);
    }
    let mut end = [0; 2];
    file.seek(SeekFrom::End(-2))?;
    file.read_exact(&mut end)?;
    Ok(end == *b"\n\n")
}

fn stored_at(connection: &Connection, size: u64) -> Result<Option<String>, StoreError> {
    Ok(connection
        .prepare_cached("SELECT note FROM checkpoints WHERE size = ?1")?
        .query_row([size], |row| row.get(0))
        .optional()?)
}

fn unavailable(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Unavailable {
        reason: format!("checkpoints file `{}`: {error}", path.display()),
    }
}
