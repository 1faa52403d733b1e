//! Opening, health, signing, verifying, rebuilding, exporting.

use crate::clock::SharedClock;
use crate::shared::{Moment, Shared, lock};
use crate::writer::{Job, Order, Typed, WAITING_MAX};
use crate::{Keys, Projection, Reader, StoreError, Tx, Written, export, open, signing, verify};
use journal::checkpoint::Checkpoint;
use journal::verify::Finding;
use serde_json::Value;
use std::future::Future;
use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};

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
    /// Payloads that were decrypted and compared.
    pub payloads: u64,
    /// Projections that were rebuilt and compared.
    pub projections: u64,
    /// Whether payloads and projections were left out, for want of the organization's key.
    pub without_key: bool,
}

/// How soon what is written has to be durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Haste {
    /// As soon as can be: somebody waits for it.
    Now,
    /// With the next commit, within a few hundredths of a second by itself: so that what nobody waits for costs no
    /// commit of its own.
    Soon,
}

/// The store. Cheap to clone; closes when the last clone is dropped.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    /// `None` when opened for reading only.
    orders: Option<Sender<Order>>,
    waiting: Arc<Semaphore>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Store {
    /// Opens, takes the lock of the directory, checks the tail since the last checkpoint, recomputes
    /// what must be right before acting. Blocks. What does not verify is opened as [`Health::Corrupt`].
    pub fn open(options: Options) -> Result<Store, StoreError> {
        let opened = open::open(options)?;
        Ok(Store::from_parts(
            opened.shared,
            Some(opened.orders),
            Some(opened.thread),
        ))
    }
    /// Opens for reading only, also beside a running process, or a copy. Takes no lock, writes nothing
    /// (but SQLite puts an index beside a write-ahead log that it finds without one).
    pub fn open_read_only(options: Options) -> Result<Store, StoreError> {
        Ok(Store::from_parts(open::open_read_only(options)?, None, None))
    }
    /// Runs `closure` on the writer's thread. Resolves after the commit that holds it. An error from
    /// the closure rolls back all it did and comes back as it is. It is sent at the first poll; dropped
    /// after that, the closure still runs.
    pub fn write<T, E, F>(
        &self,
        closure: F,
    ) -> impl Future<Output = Result<Written<T>, E>> + Send + use<T, E, F>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    {
        let written = self.write_then(closure, |written| written);
        async move { written.await? }
    }
    /// The same, with what `after` makes of the answer. It is called on the writer's thread, also when nobody waits any
    /// more: it may not block, and what it makes is dropped then.
    pub fn write_then<T, E, F, A, R>(
        &self,
        closure: F,
        after: A,
    ) -> impl Future<Output = Result<R, StoreError>> + Send + use<T, E, F, A, R>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        A: FnOnce(Result<Written<T>, E>) -> R + Send + 'static,
        R: Send + 'static,
    {
        let (orders, waiting) = (self.inner.orders.clone(), self.inner.waiting.clone());
        async move {
            let orders = orders.ok_or_else(read_only)?;
            let permit = waiting.acquire_owned().await.map_err(|_| StoreError::Closed)?;
            let (reply, answer) = oneshot::channel();
            // Whoever asked may be gone; what was written stays.
            let reply = |written| drop(reply.send(after(written)));
            send(&orders, Haste::Now, Typed::new(closure, reply, permit));
            answer.await.map_err(|_| StoreError::Closed)
        }
    }
    /// Hands `closure` over without waiting: it runs whatever becomes of the caller. `after` is called with the answer
    /// on the writer's thread; it may not block. Where too much waits already, a task of `runtime` hands it over.
    pub fn hand_over<T, E, F, A>(&self, runtime: &Handle, haste: Haste, closure: F, after: A)
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        A: FnOnce(Result<Written<T>, E>) + Send + 'static,
    {
        let Some(orders) = self.inner.orders.clone() else {
            return after(Err(read_only().into()));
        };
        match Arc::clone(&self.inner.waiting).try_acquire_owned() {
            Ok(permit) => send(&orders, haste, Typed::new(closure, after, permit)),
            Err(_) => {
                let waiting = Arc::clone(&self.inner.waiting);
                runtime.spawn(async move {
                    match waiting.acquire_owned().await {
                        Ok(permit) => send(&orders, haste, Typed::new(closure, after, permit)),
                        Err(_) => after(Err(StoreError::Closed.into())),
                    }
                });
            }
        }
    }
    /// A row of a projection as the last commit left it, or the one before, for whoever asks before every action: it
    /// is known without a snapshot most of the time. What is decided by it is compared in the commit.
    pub fn latest(&self, projection: &str, key: &str) -> Result<Option<Arc<Value>>, StoreError> {
        let shared = &*self.inner.shared;
        let Some(number) = shared.number_of(projection) else {
            return Ok(None);
        };
        if let Some(known) = shared.latest(number, key) {
            return Ok(known);
        }
        let moment = shared.changes.moment();
        let text = shared.with_reader(|connection| crate::query::text(connection, projection, key))?;
        let bytes = text.as_ref().map_or(0, String::len);
        let row = text
            .map(|text| crate::query::parse_row(projection, key, &text))
            .transpose()?;
        let value = row.map(|row| Arc::new(row.value));
        shared.was_read(number, key, (value.clone(), bytes), moment);
        Ok(value)
    }
    /// Reads a snapshot; returns quickly, so it may be called from async code.
    pub fn read<T>(
        &self,
        closure: impl FnOnce(&Reader<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let shared = &*self.inner.shared;
        let moment = shared.changes.moment();
        shared.with_reader(|connection| {
            closure(&Reader {
                connection,
                shared,
                moment,
            })
        })
    }
    /// Whether rows of this projection were changed by a commit of this process after `moment`, or may have
    /// been. Reads nothing. Whoever is told of a commit finds its changes here.
    pub fn changed_since(&self, projection: &str, moment: Moment) -> bool {
        let shared = &*self.inner.shared;
        let found = shared.projections.binary_search_by_key(&projection, |p| p.name());
        found.map_or(true, |number| shared.changes.since(number, moment))
    }
    /// Number of committed entries; `changed` on every commit. For live tails.
    pub fn committed(&self) -> tokio::sync::watch::Receiver<u64> {
        self.inner.shared.committed.subscribe()
    }
    /// The data directory. Owners of other files keep them there: the gate its reserve for stops.
    pub fn directory(&self) -> &std::path::Path {
        &self.inner.shared.directory
    }
    /// The name of the log, which its checkpoints are signed under.
    pub fn origin(&self) -> &str {
        &self.inner.shared.origin
    }
    /// The keys of agents; `None` when the organization's keys came from no directory.
    pub fn keyring(&self) -> Option<crate::Keyring> {
        let keys = self.inner.shared.keys_directory.as_deref();
        keys.map(crate::Keyring::below)
    }
    /// How it is.
    pub fn health(&self) -> Health {
        self.inner.shared.health()
    }
    /// Whether large projections are still being compared with their digests after a start. It can be read;
    /// writes wait.
    pub fn is_comparing(&self) -> bool {
        self.inner
            .shared
            .comparing
            .load(std::sync::atomic::Ordering::SeqCst)
    }
    /// Stops taking writes for good: somebody found that what is stored is not what was written. For
    /// the verification in the background.
    pub fn quarantine(&self, finding: String) {
        tracing::error!(%finding, "the journal does not verify");
        self.inner.shared.set_health(Health::Corrupt(finding));
    }
    /// The clock it was opened with.
    pub fn clock(&self) -> SharedClock {
        self.inner.shared.clock.clone()
    }
    /// Signs the present durable size, stores the checkpoint and appends it to the checkpoints file.
    /// The same size is signed once.
    pub fn checkpoint(&self) -> impl Future<Output = Result<Signed, StoreError>> + Send + use<> {
        let orders = self.inner.orders.clone();
        async move {
            let (reply, answer) = oneshot::channel();
            let order = Order::Sign(Box::new(|signed| drop(reply.send(signed))));
            orders
                .ok_or_else(read_only)?
                .send(order)
                .map_err(|_| StoreError::Closed)?;
            answer.await.map_err(|_| StoreError::Closed)?
        }
    }
    /// The newest signed checkpoint.
    pub fn latest_checkpoint(&self) -> Result<Option<Signed>, StoreError> {
        let shared = &*self.inner.shared;
        shared.with_reader(|connection| signing::latest(connection, shared))
    }
    /// The key that verifies checkpoints.
    pub fn verifier(&self) -> journal::note::Verifier {
        self.inner.shared.verifier.clone()
    }
    /// Reads everything: leaves, tree, stored checkpoints, `against` (signed notes kept elsewhere),
    /// payloads, projections. `progress` is told (done, all). Blocks, but not the writer.
    pub fn verify(
        &self,
        against: &[String],
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Result<Verified, Finding>, StoreError> {
        verify::verify(&self.inner.shared, against, progress)
    }
    /// Makes every projection again from the entries, compares, and replaces. Returns the names of
    /// those that were different. Blocks. A corrupt store stays so until it is opened again. Entries that
    /// do not verify are refused with the finding, and nothing is changed.
    pub fn rebuild(&self) -> Result<Vec<String>, StoreError> {
        self.ask(Order::Rebuild)
    }
    /// Replaces the organization's key in its directory and wraps every payload's key anew. Returns
    /// how many. Blocks. The old key opens nothing of this journal afterwards, but it opens copies that
    /// were made before.
    pub fn replace_organization_key(&self) -> Result<u64, StoreError> {
        self.ask(Order::Replace)
    }
    /// Writes `checkpoint`, `log.vkey`, `tile/…` and `tile/entries/…` (C2SP tlog-tiles) below
    /// `directory`, up to a checkpoint that is signed now, or, when opened for reading only, up to the
    /// newest. Blocks.
    pub fn export_tiles(&self, directory: &std::path::Path) -> Result<Signed, StoreError> {
        let signed = match (&self.inner.orders, self.health()) {
            (Some(_), Health::Ready) => {
                self.ask(|reply| Order::Sign(Box::new(move |signed| drop(reply.send(signed)))))?
            }
            _ => self
                .latest_checkpoint()?
                .ok_or_else(|| StoreError::Refused("nothing of this journal was signed yet".to_owned()))?,
        };
        export::export(&self.inner.shared, &signed, directory)?;
        Ok(signed)
    }
    /// Splits the text of a checkpoints file into its signed notes, oldest first; what is no whole note
    /// is left out.
    pub fn notes(text: &str) -> Vec<String> {
        signing::notes(text)
    }
    /// Stops taking writes, finishes those under way, signs a last checkpoint, closes.
    pub fn close(&self) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        let (orders, shared) = (self.inner.orders.clone(), self.inner.shared.clone());
        async move {
            let Some(orders) = orders else {
                shared.close_readers();
                return Ok(());
            };
            let (reply, answer) = oneshot::channel();
            match orders.send(Order::Close(reply)) {
                Ok(()) => answer.await.map_err(|_| StoreError::Closed)?,
                // Closed already.
                Err(_) => Ok(()),
            }
        }
    }

    fn from_parts(
        shared: Arc<Shared>,
        orders: Option<Sender<Order>>,
        thread: Option<JoinHandle<()>>,
    ) -> Store {
        let waiting = Arc::new(Semaphore::new(WAITING_MAX));
        Store {
            inner: Arc::new(Inner {
                shared,
                orders,
                waiting,
                thread: Mutex::new(thread),
            }),
        }
    }

    fn ask<T>(&self, order: impl FnOnce(Sender<Result<T, StoreError>>) -> Order) -> Result<T, StoreError> {
        let orders = self.inner.orders.as_ref().ok_or_else(read_only)?;
        let (reply, answer) = channel();
        orders.send(order(reply)).map_err(|_| StoreError::Closed)?;
        answer.recv().map_err(|_| StoreError::Closed)?
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let Some(orders) = &self.orders else { return };
        // Said explicitly, because a future that was never polled may still hold a sender. Waiting for
        // the thread makes the directory free at once.
        drop(orders.send(Order::Close(oneshot::channel().0)));
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != std::thread::current().id())
            && thread.join().is_err()
        {
            tracing::error!("the journal's writer panicked");
        }
    }
}

fn send<J: Job + 'static>(orders: &Sender<Order>, haste: Haste, job: J) {
    let job: Box<dyn Job> = Box::new(job);
    let order = match haste {
        Haste::Now => Order::Write(job),
        Haste::Soon => Order::Soon(job),
    };
    if let Err(std::sync::mpsc::SendError(Order::Write(job) | Order::Soon(job))) = orders.send(order) {
        job.answer(Err(Some(StoreError::Closed)));
    }
}

fn read_only() -> StoreError {
    StoreError::Refused("the journal was opened for reading only".to_owned())
}
