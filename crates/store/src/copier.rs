//! Copies the write-ahead log to the database beside the writer, so that a commit which finds the log full has little
//! left to copy: twenty milliseconds of it would be those of everybody who waits for that commit.
//!
//! It decides nothing: SQLite lets one connection copy while another appends, and what was not copied stays in the log.
//! The writer empties the log, as before, when it is full.

use crate::StoreError;
use crate::schema;
use crate::shared::Shared;
use rusqlite::Connection;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

/// Commits after which the log is copied.
const COMMITS: u32 = 32;

/// The thread that copies, as long as this is kept.
pub(crate) struct Copier {
    commits: u32,
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Copier {
    /// Starts it for the journal of `shared`. Without it the writer copies all by itself.
    ///
    /// A file system of its own (tests that lose power) gets none: there, the order of writes is to be the same each time.
    pub(crate) fn start(shared: &Shared) -> Option<Copier> {
        if shared.vfs.is_some() {
            return None;
        }
        let database = shared.database();
        let begun = schema::open_copier(&database).and_then(|connection| {
            let (wake, wanted) = sync_channel(1);
            let thread = std::thread::Builder::new().name("journal-copier".to_owned());
            let started = thread.spawn(move || copy(&connection, &wanted));
            let thread = started.map_err(|error| StoreError::Unavailable {
                reason: format!("no thread to copy the log: {error}"),
            })?;
            Ok(Copier {
                commits: 0,
                wake: Some(wake),
                thread: Some(thread),
            })
        });
        begun
            .inspect_err(|error| tracing::warn!(%error, "the log is copied by whoever writes"))
            .ok()
    }

    /// Counts one commit.
    pub(crate) fn committed(&mut self) {
        self.commits += 1;
        if self.commits < COMMITS {
            return;
        }
        self.commits = 0;
        // It copies already, or is gone: then the writer does.
        if let Some(Err(TrySendError::Disconnected(()))) = self.wake.as_ref().map(|wake| wake.try_send(())) {
            self.wake = None;
        }
    }
}

impl Drop for Copier {
    fn drop(&mut self) {
        drop(self.wake.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn copy(connection: &Connection, wanted: &Receiver<()>) {
    while wanted.recv().is_ok() {
        // Somebody else may be copying; what failed is tried again by the next.
        if let Err(error) = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
            tracing::warn!(%error, "the log could not be copied beside the writer");
        }
    }
}
