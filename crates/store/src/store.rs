//! Opening, health, signing, verifying, rebuilding, exporting.

use crate::clock::SharedClock;
use crate::{Keys, Projection, Reader, StoreError, Tx, Written};
use journal::checkpoint::Checkpoint;
use journal::verify::Finding;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

/// How to open.
pub struct Options {
    /// Data directory; made when missing (0700).
    pub directory: PathBuf,
    /// Name of the log and of its key: `cofferdam.local/default`.
    pub origin: String,
    /// The organization's keys.
    pub keys: Keys,
    /// Every projection. A projection that the database does not know yet is built first.
    pub projections: Vec<Arc<dyn Projection>>,
    /// The clock.
    pub clock: SharedClock,
    /// Where signed checkpoints are appended besides the database: a file outside the data directory.
    pub checkpoints: Option<PathBuf>,
    /// Name of an SQLite VFS to use; tests put a faulty one here.
    pub vfs: Option<String>,
    /// `FULL` unless a test wants to see what happens otherwise.
    pub synchronous: &'static str,
}

/// A signed checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// What was signed.
    pub checkpoint: Checkpoint,
    /// The signed note.
    pub note: String,
}

/// How the store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Reads and writes.
    Ready,
    /// Refuses writes; tries again by itself.
    Unavailable(String),
    /// Refuses writes for good: what is stored was altered.
    Corrupt(String),
}

/// What verification found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Entries read.
    pub entries: u64,
    /// Root of all of them.
    pub root: [u8; 32],
    /// Checkpoints that were compared.
    pub checkpoints: u64,
    /// Projections that were rebuilt and compared.
    pub projections: u64,
}

/// The store. Cheap to clone; closes when the last clone is dropped.
#[derive(Clone)]
pub struct Store {
    _private: (),
}

impl Store {
    /// Opens, takes the lock of the directory, checks the tail since the last checkpoint, recomputes
    /// what must be right before acting. Blocks.
    pub fn open(options: Options) -> Result<Store, StoreError> {
        let _ = options;
        todo!()
    }
    /// Opens for reading only, also beside a running process, or a copy. Takes no lock, writes nothing.
    pub fn open_read_only(options: Options) -> Result<Store, StoreError> {
        let _ = options;
        todo!()
    }
    /// Runs `closure` on the writer's thread. Resolves after the commit that holds it. An error from
    /// the closure rolls back all it did and comes back as it is.
    pub fn write<T, E, F>(&self, closure: F) -> impl Future<Output = Result<Written<T>, E>> + Send + use<T, E, F>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    {
        let _ = closure;
        async { todo!() }
    }
    /// Reads a snapshot; returns quickly, so it may be called from async code.
    pub fn read<T>(&self, closure: impl FnOnce(&Reader<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let _ = closure;
        todo!()
    }
    /// Number of committed entries; `changed` on every commit. For live tails.
    pub fn committed(&self) -> tokio::sync::watch::Receiver<u64> {
        todo!()
    }
    /// The data directory. Owners of other files keep them there: the gate its reserve for stops.
    pub fn directory(&self) -> &std::path::Path {
        todo!()
    }
    /// How it is.
    pub fn health(&self) -> Health {
        todo!()
    }
    /// The clock it was opened with.
    pub fn clock(&self) -> SharedClock {
        todo!()
    }
    /// Signs the present durable size, stores the checkpoint and appends it to the checkpoints file.
    /// The same size is signed once.
    pub fn checkpoint(&self) -> impl Future<Output = Result<Signed, StoreError>> + Send + use<> {
        async { todo!() }
    }
    /// The newest signed checkpoint.
    pub fn latest_checkpoint(&self) -> Result<Option<Signed>, StoreError> {
        todo!()
    }
    /// The key that verifies checkpoints.
    pub fn verifier(&self) -> journal::note::Verifier {
        todo!()
    }
    /// Reads everything: leaves, tree, stored checkpoints, `against` (signed notes kept elsewhere),
    /// projections. `progress` is told (done, all). Blocks.
    pub fn verify(&self, against: &[String], progress: &mut dyn FnMut(u64, u64)) -> Result<Result<Verified, Finding>, StoreError> {
        let _ = (against, progress);
        todo!()
    }
    /// Makes every projection again from the entries, compares, and replaces. Returns the names of
    /// those that were different. Blocks.
    pub fn rebuild(&self) -> Result<Vec<String>, StoreError> {
        todo!()
    }
    /// Writes `checkpoint`, `tile/…` and `tile/entries/…` (C2SP tlog-tiles) below `directory`. Blocks.
    pub fn export_tiles(&self, directory: &std::path::Path) -> Result<Signed, StoreError> {
        let _ = directory;
        todo!()
    }
    /// Stops taking writes, finishes those under way, signs a last checkpoint, closes.
    pub fn close(&self) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        async { todo!() }
    }
}
