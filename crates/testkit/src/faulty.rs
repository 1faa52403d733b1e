//! A disk in memory that forgets what was not synced, as an SQLite VFS.
//!
//! Every write, truncation, sync and deletion of a named file is a *boundary*. A test counts the
//! boundaries of a run and then repeats it, losing power at each in turn, or refusing there as a full,
//! read-only or failing disk does. It never touches the real file system.
//!
//! What is modelled, after Linux file systems:
//! - a write is visible at once and durable after a sync of its file that succeeded;
//! - at a power loss any subset of the unsynced writes may have reached the disk, torn at sectors;
//! - a file's name is durable with the first sync of the file, its deletion when the directory is
//!   synced: at the deletion if SQLite asks for it, or with the first sync of a new file;
//! - after a failed sync the written data is visible, but no later sync makes it durable: it has to be
//!   written again (what PostgreSQL calls fsyncgate).

mod files;
mod locks;
mod vfs;

pub use files::{Loss, Refusal};

use files::Files;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A disk with its registered VFS. Registered for good: SQLite may still hold it when a test ends.
#[derive(Clone)]
pub struct Disk {
    name: String,
    files: Arc<Mutex<Files>>,
}

impl Disk {
    /// An empty disk.
    pub fn new() -> Disk {
        Disk::with(Files::default())
    }

    /// Name of the VFS.
    pub fn vfs(&self) -> &str {
        &self.name
    }

    /// What the next machine finds if power was lost at boundary `at` of the run so far. As good as
    /// running again until there, because what is on the disk depends on nothing else; not for runs in
    /// which the disk refused something.
    pub fn as_if_power_was_lost_at(&self, at: u64, loss: Loss) -> Disk {
        let survivors = self.files().replay(at, loss).survivors();
        Disk::with(survivors)
    }

    /// Numbers of the boundaries so far that are syncs.
    pub fn sync_boundaries(&self) -> Vec<u64> {
        self.files().sync_boundaries()
    }

    /// Hash of all visible bytes, to tell disks apart.
    pub fn fingerprint(&self) -> u64 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        self.files().fingerprint().hash(&mut hasher);
        hasher.finish()
    }

    /// Boundaries so far.
    pub fn boundaries(&self) -> u64 {
        self.files().boundaries
    }

    /// Syncs so far of files whose name ends in `suffix`: `-wal`, `.db`.
    pub fn syncs(&self, suffix: &str) -> u64 {
        self.files()
            .syncs
            .iter()
            .filter(|(name, _)| name.ends_with(suffix))
            .map(|(_, count)| count)
            .sum()
    }

    /// Loses power at boundary number `at` (from 1): it may or may not happen, nothing after it does.
    pub fn lose_power_at(&self, at: u64, loss: Loss) {
        self.files().power_loss = Some((at, loss));
    }

    /// Loses power now.
    pub fn lose_power(&self, loss: Loss) {
        self.files().lose_power(loss);
    }

    /// Refuses at the boundaries in `range`.
    pub fn refuse_at(&self, range: Range<u64>, refusal: Refusal) {
        self.files().refusal = Some((range, refusal));
    }

    /// Refuses from now on, or no longer.
    pub fn refuse(&self, refusal: Option<Refusal>) {
        let mut files = self.files();
        let from = files.boundaries.saturating_add(1);
        files.refusal = refusal.map(|refusal| (from..u64::MAX, refusal));
    }

    /// Whether power was lost.
    pub fn is_dead(&self) -> bool {
        self.files().dead
    }

    /// The machine starts again: another disk with what was durable.
    pub fn after_power_loss(&self) -> Disk {
        Disk::with(self.files().survivors())
    }

    fn with(files: Files) -> Disk {
        let files = Arc::new(Mutex::new(files));
        Disk {
            name: vfs::register(files.clone()),
            files,
        }
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        lock(&self.files)
    }
}

impl Default for Disk {
    fn default() -> Disk {
        Disk::new()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
