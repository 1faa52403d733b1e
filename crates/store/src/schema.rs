//! The database: how it is opened and what tables it has.
//!
//! Connections never share a page cache and never map the file. A commit is one fsync of the
//! write-ahead log (`synchronous=FULL`). What is deleted or replaced is overwritten (`secure_delete`),
//! because erasing has to destroy.

use crate::{StoreError, seal};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use std::path::Path;

/// Name of the database in the data directory.
pub(crate) const DATABASE: &str = "journal.db";

/// Numbered migrations: `user_version` is how many were applied. Append only, never edit.
const MIGRATIONS: &[&str] = &["
CREATE TABLE meta(name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE entries(
    seq INTEGER PRIMARY KEY, leaf BLOB NOT NULL, hash BLOB NOT NULL, session TEXT, kind TEXT NOT NULL
) STRICT;
CREATE INDEX entries_of_session ON entries(session, seq) WHERE session IS NOT NULL;
-- NULL key and ciphertext: erased.
CREATE TABLE payloads(
    seq INTEGER NOT NULL REFERENCES entries(seq) DEFERRABLE INITIALLY DEFERRED,
    name TEXT NOT NULL, retention TEXT NOT NULL, wrapped_key BLOB, ciphertext BLOB, UNIQUE(seq, name)
) STRICT;
-- Roots of the perfect subtrees of 2^level leaves, from level 8 on.
CREATE TABLE nodes(
    level INTEGER NOT NULL, position INTEGER NOT NULL, hash BLOB NOT NULL, PRIMARY KEY(level, position)
) STRICT, WITHOUT ROWID;
CREATE TABLE head(
    id INTEGER PRIMARY KEY CHECK (id = 1), size INTEGER NOT NULL, roots BLOB NOT NULL,
    last_ms INTEGER NOT NULL, seal BLOB NOT NULL
) STRICT;
CREATE TABLE checkpoints(
    size INTEGER PRIMARY KEY, root BLOB NOT NULL, note TEXT NOT NULL, roots BLOB NOT NULL
) STRICT;
CREATE TABLE rows(
    projection TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY(projection, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE row_index(
    projection TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, key TEXT NOT NULL,
    PRIMARY KEY(projection, name, value, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE row_text_ids(
    id INTEGER PRIMARY KEY, projection TEXT NOT NULL, key TEXT NOT NULL, UNIQUE(projection, key)
) STRICT;
CREATE VIRTUAL TABLE row_text USING fts5(text, tokenize = 'unicode61');
INSERT INTO row_text(row_text, rank) VALUES('secure-delete', 1);
CREATE TABLE digests(
    projection TEXT PRIMARY KEY, nonce BLOB NOT NULL, masked BLOB NOT NULL, rows INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
"];

/// Opens for writing and brings the schema up to date.
pub(crate) fn open_writer(
    path: &Path,
    vfs: Option<&str>,
    synchronous: &str,
) -> Result<Connection, StoreError> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = connect(path, flags, vfs)?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(StoreError::Unavailable {
            reason: format!("the database stays in journal mode `{mode}`"),
        });
    }
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "secure_delete", true)?;
    // Pages that one commit after another writes, the head's and the ends of the tables', are copied to
    // the database once for all of them; what a start has to read of the log takes it 20 ms.
    connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES_MAX)?;
    // A long read makes the log grow; afterwards it gives the space back.
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES_KEPT_MAX)?;
    migrate(&mut connection)?;
    Ok(connection)
}

/// Opens for copying the write-ahead log beside a writer of this process.
pub(crate) fn open_copier(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = connect(path, flags, None)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    Ok(connection)
}

/// Opens for reading beside a writer of this process.
pub(crate) fn open_reader(path: &Path, vfs: Option<&str>) -> Result<Connection, StoreError> {
    connect(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        vfs,
    )
}

/// Opens for reading a directory that is not ours: a running process's, or a copy. Without a
/// write-ahead log there is nothing beside the file, and it is read as immutable: nothing is written.
pub(crate) fn open_foreign(path: &Path, vfs: Option<&str>) -> Result<Connection, StoreError> {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    if vfs.is_some() || Path::new(&wal).exists() {
        return open_reader(path, vfs);
    }
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let mut uri = String::from("file:");
    for byte in std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()) {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                uri.push(char::from(*byte))
            }
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri.push_str("?immutable=1");
    connect(Path::new(&uri), flags, None)
}

/// A database in memory with the same tables, for folding again.
pub(crate) fn open_in_memory() -> Result<Connection, StoreError> {
    let mut connection = Connection::open_in_memory()?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    migrate(&mut connection)?;
    Ok(connection)
}

/// The same for no more than `bytes_max`: what does not fit is [`StoreError::Unavailable`].
pub(crate) fn open_in_little_memory(bytes_max: u64) -> Result<Connection, StoreError> {
    let connection = open_in_memory()?;
    let page: u64 = connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    connection.pragma_update(None, "max_page_count", bytes_max / page.max(1))?;
    Ok(connection)
}

/// A database with the same tables that is gone with its connection, for folding again what may be larger
/// than memory: a file in `directory`, which loses its name at once; without one, a file that SQLite makes
/// and unlinks where the system keeps such files.
pub(crate) fn open_scratch(directory: Option<&Path>) -> Result<Connection, StoreError> {
    let mut connection = match directory {
        Some(directory) => scratch_in(directory)?,
        None => Connection::open("")?,
    };
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    connection.pragma_update(None, "cache_size", -SCRATCH_CACHE_KIB)?;
    connection.pragma_update(None, "mmap_size", 0)?;
    // Nothing of it is ever read again, nor taken back.
    connection.pragma_update(None, "journal_mode", "OFF")?;
    connection.pragma_update(None, "synchronous", "OFF")?;
    migrate(&mut connection)?;
    Ok(connection)
}

/// Whether what is folded again, which is at most as large as `source`, leaves enough of the disk to write entries.
pub(crate) fn has_room(directory: &Path, source: &Connection) -> Result<bool, StoreError> {
    let pragma = |name: &str| source.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, u64>(0));
    let needed = pragma("page_count")?.saturating_mul(pragma("page_size")?);
    let disk = rustix::fs::statvfs(directory).map_err(|error| StoreError::Unavailable {
        reason: format!("`{}`: {error}", directory.display()),
    })?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    Ok(free > needed.saturating_add(ROOM_KEPT))
}

/// Space that a verification leaves, in bytes.
const ROOM_KEPT: u64 = 256 * 1024 * 1024;

fn scratch_in(directory: &Path) -> Result<Connection, StoreError> {
    let random = seal::random().map_err(|error| StoreError::Unavailable {
        reason: format!("no randomness for the name of a file: {error}"),
    })?;
    let name = policy::canonical::hex(random.get(..8).unwrap_or_default());
    let path = directory.join(format!("{SCRATCH}{name}"));
    let unavailable = |error: std::io::Error| StoreError::Unavailable {
        reason: format!("`{}`: {error}", path.display()),
    };
    let mut file = std::fs::OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::mode(&mut file, 0o600);
    file.write(true)
        .create_new(true)
        .open(&path)
        .map_err(unavailable)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(&path, flags);
    // Whatever becomes of this process, the file goes with it.
    std::fs::remove_file(&path).map_err(unavailable)?;
    Ok(opened?)
}

/// Removes what a process left that died between making such a file and taking its name away.
pub(crate) fn remove_scratch(directory: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(SCRATCH) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// How the names of files begin that a verification folds into.
const SCRATCH: &str = "verification-";
/// What of it is kept in memory, in KiB; negative in SQLite's convention.
const SCRATCH_CACHE_KIB: i64 = 32 * 1024;
/// Pages of 4 KiB after which the write-ahead log is copied to the database.
const LOG_PAGES_MAX: u32 = 4_000;
/// Size that an emptied write-ahead log may keep, in bytes: what it usually grows to.
const LOG_BYTES_KEPT_MAX: u64 = 20 * 1024 * 1024;
/// How long a connection waits for another one: only starts and ends of processes get in each other's way.
pub(crate) const BUSY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);
/// Prepared statements that a connection keeps.
const STATEMENTS_MAX: usize = 48;

fn connect(path: &Path, flags: OpenFlags, vfs: Option<&str>) -> Result<Connection, StoreError> {
    let connection = match vfs {
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs)?,
        None => Connection::open_with_flags(path, flags)?,
    };
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // A plan that looks at what is asked for would be made anew for every question.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "mmap_size", 0)?;
    // KiB, negative by SQLite's convention.
    connection.pragma_update(None, "cache_size", -2048)?;
    Ok(connection)
}

fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let known = MIGRATIONS.len();
    let version: usize = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version > known {
        return Err(StoreError::Refused(format!(
            "the journal has schema version {version}, and this program knows up to {known}; use a newer one"
        )));
    }
    for (number, migration) in MIGRATIONS.iter().enumerate().skip(version) {
        let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "user_version", number + 1)?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_folded_in_memory_is_bounded() {
        let connection = open_in_little_memory(1024 * 1024).unwrap();
        let insert = |number: u32| {
            let sql = "INSERT INTO rows(projection, key, value) VALUES ('p', ?1, ?2)";
            connection.execute(sql, (number, "x".repeat(500)))
        };
        let refused = (0..4_000).find_map(|number| insert(number).err()).unwrap();
        let error = StoreError::from(refused);
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
        let held: u32 = connection
            .query_row("SELECT count(*) FROM rows", [], |row| row.get(0))
            .unwrap();
        assert!((500..2_098).contains(&held), "{held} rows of 500 bytes in 1 MiB");
    }
}
