//! Copies the write-ahead log into the database beside the writer: what a commit would otherwise do for all before
//! it, and everybody of that commit wait for.
//!
//! Nothing rests on it. It writes what is committed already, in SQLite's own way, and gives way to whoever is faster;
//! what it does not come to, the writer does when the log is long enough.

use crate::schema;
use rusqlite::{Connection, OpenFlags};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Pages of the log that are not copied yet and are worth the two syncs that copying them costs.
const WORTH_PAGES: i64 = 500;
/// Commits after which it is asked how many there are.
const COMMITS_PER_RING: u32 = 16;

/// The thread, which lives as long as this.
#[derive(Debug)]
pub(crate) struct Copier {
    bell: Option<SyncSender<()>>,
    copying: Arc<Mutex<()>>,
    commits: u32,
    thread: Option<JoinHandle<()>>,
}

impl Copier {
    /// For the database at `path`, which the caller writes. Without a thread the writer copies by itself.
    pub(crate) fn start(path: PathBuf) -> Option<Copier> {
        // One ring is enough: whoever is copying looks again afterwards.
        let (bell, rings) = sync_channel(1);
        let copying = Arc::<Mutex<()>>::default();
        let held = Arc::clone(&copying);
        let started = std::thread::Builder::new()
            .name("journal-copier".to_owned())
            .spawn(move || run(&path, &rings, &held));
        match started {
            Ok(thread) => Some(Copier {
                bell: Some(bell),
                copying,
                commits: 0,
                thread: Some(thread),
            }),
            Err(error) => {
                tracing::warn!(%error, "no thread for copying the write-ahead log: commits copy it themselves");
                None
            }
        }
    }

    /// A commit was made.
    pub(crate) fn committed(&mut self) {
        self.commits += 1;
        if self.commits >= COMMITS_PER_RING
            && let Some(bell) = &self.bell
        {
            self.commits = 0;
            // Full: it is rung already.
            drop(bell.try_send(()));
        }
    }

    /// Nothing is copied as long as this is kept.
    pub(crate) fn held(&self) -> MutexGuard<'_, ()> {
        self.copying.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Copier {
    fn drop(&mut self) {
        self.bell = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that copies the write-ahead log panicked");
        }
    }
}

/// Until nobody rings any more.
fn run(path: &std::path::Path, rings: &Receiver<()>, copying: &Mutex<()>) {
    let mut connection = None;
    while rings.recv().is_ok() {
        let held = copying.lock().unwrap_or_else(PoisonError::into_inner);
        let copied = match connection.take() {
            Some(open) => Ok(open),
            None => open(path),
        }
        .and_then(|open| copy(&open).map(|()| open));
        drop(held);
        match copied {
            Ok(open) => connection = Some(open),
            // The writer meets the same, and says so where it matters.
            Err(error) => tracing::debug!(%error, "the write-ahead log is not copied beside the writer"),
        }
    }
}

fn open(path: &std::path::Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(schema::BUSY_TIMEOUT)?;
    // The log is synced before it is copied, and the database after.
    connection.pragma_update(None, "synchronous", "FULL")?;
    Ok(connection)
}

fn copy(connection: &Connection) -> rusqlite::Result<()> {
    let (log, copied) = checkpoint(connection, "NOOP")?;
    if log - copied >= WORTH_PAGES {
        checkpoint(connection, "PASSIVE")?;
    }
    Ok(())
}

/// Pages in the log, and how many of them are copied.
fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<(i64, i64)> {
    connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
        Ok((row.get(1)?, row.get(2)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_committed_is_copied_and_the_log_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.db");
        let writer = schema::open_writer(&path, None, "FULL").unwrap();
        writer.execute_batch("CREATE TABLE filled(text TEXT)").unwrap();
        let mut copier = Copier::start(path).unwrap();
        let mut most = 0;
        for _ in 0..200 {
            let page = "x".repeat(100_000);
            writer.execute("INSERT INTO filled VALUES (?1)", [&page]).unwrap();
            copier.committed();
            let (log, copied) = checkpoint(&writer, "NOOP").unwrap();
            assert!(copied <= log, "{copied} of {log}");
            most = most.max(log);
        }
        // More pages were written than a log ever held, so it began anew, without anybody waiting for a reader.
        assert!(most < 200 * 25, "{most}");
        drop(copier);
        let rows: u32 = writer
            .query_row("SELECT count(*) FROM filled", [], |row| row.get(0))
            .unwrap();
        assert_eq!(rows, 200);
        let sound: String = writer
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(sound, "ok");
    }

    #[test]
    fn nothing_is_copied_while_it_is_held() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.db");
        let writer = schema::open_writer(&path, None, "FULL").unwrap();
        writer.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
        writer.execute_batch("CREATE TABLE filled(text TEXT)").unwrap();
        let mut copier = Copier::start(path).unwrap();
        let copied = || checkpoint(&writer, "NOOP").unwrap().1;
        let fill = |copier: &mut Copier| {
            for _ in 0..COMMITS_PER_RING {
                writer
                    .execute("INSERT INTO filled VALUES (?1)", ["x".repeat(200_000)])
                    .unwrap();
                copier.committed();
            }
        };
        let shared = Arc::clone(&copier.copying);
        let held = shared.lock().unwrap();
        fill(&mut copier);
        assert_eq!(copied(), 0);
        drop(held);
        fill(&mut copier);
        // Ends when the thread does, which ends after what it was rung for.
        drop(copier);
        assert!(copied() > 0);
    }
}
