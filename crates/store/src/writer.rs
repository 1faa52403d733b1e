//! The one thread that writes: takes what is waiting, commits it together, answers after the commit.
//!
//! After an error of the medium the connection is closed and everybody of that commit hears
//! [`StoreError::Unavailable`]; the database is opened again and its tail verified before anything is
//! acknowledged, on the next write or by itself once a second.

use crate::copier::Copier;
use crate::engine::{Checks, Engine, Outcome};
use crate::shared::Shared;
use crate::store::Health;
use crate::{Signed, StoreError, Tx, Written, replace, signing};
use journal::Entry;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// Closures that may wait or be under way at once.
pub(crate) const WAITING_MAX: usize = 1024;
/// Closures in one commit.
const BATCH_CLOSURES_MAX: usize = 512;
/// Bytes in one commit, after which no further closure is taken.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Shortest time between two attempts to open the database again.
const RETRY_AFTER: Duration = Duration::from_millis(250);
/// How often an unavailable database is tried without being asked.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// What the thread is asked.
pub(crate) enum Order {
    Write(Box<dyn Job>),
    Sign(Box<dyn FnOnce(Result<Signed, StoreError>) + Send>),
    Rebuild(Sender<Result<Vec<String>, StoreError>>),
    Replace(Sender<Result<u64, StoreError>>),
    Close(oneshot::Sender<Result<(), StoreError>>),
}

/// A closure with the one who waits for its answer.
pub(crate) trait Job: Send {
    /// Runs the closure once; `false` when it refused.
    fn run(&mut self, tx: &mut Tx<'_>) -> bool;
    /// Answers. `Err(None)` gives back what the closure said.
    fn answer(self: Box<Self>, outcome: Result<Option<u64>, Option<StoreError>>);
}

/// A closure of `Store::write`.
pub(crate) struct Typed<T, E, F> {
    pub(crate) closure: Option<F>,
    pub(crate) returned: Option<Result<T, E>>,
    pub(crate) reply: oneshot::Sender<Result<Written<T>, E>>,
    pub(crate) _permit: OwnedSemaphorePermit,
}

impl<T, E, F> Job for Typed<T, E, F>
where
    T: Send,
    E: From<StoreError> + Send,
    F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send,
{
    fn run(&mut self, tx: &mut Tx<'_>) -> bool {
        if let Some(closure) = self.closure.take() {
            self.returned = Some(closure(tx));
        }
        matches!(self.returned, Some(Ok(_)))
    }

    fn answer(self: Box<Self>, outcome: Result<Option<u64>, Option<StoreError>>) {
        let answer = match (outcome, self.returned) {
            (Ok(first), Some(Ok(value))) => Ok(Written { value, first }),
            (Err(None), Some(Err(error))) => Err(error),
            (Err(Some(error)), _) => Err(E::from(error)),
            _ => Err(E::from(StoreError::Refused(
                "the closure gave no answer".to_owned(),
            ))),
        };
        // Whoever asked may be gone; what was written stays.
        drop(self.reply.send(answer));
    }
}

/// The thread's state.
pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) orders: Receiver<Order>,
    /// Dropped first: the last connection that closes empties the log.
    pub(crate) copier: Option<Copier>,
    /// `None` while unavailable or corrupt.
    pub(crate) engine: Option<Engine>,
    /// Held as long as the thread may write.
    pub(crate) lock: Option<File>,
    /// When opening was tried last.
    pub(crate) tried: Duration,
}

impl Writer {
    /// Until closed, or until nobody is left to ask.
    pub(crate) fn run(mut self) {
        self.finish_opening();
        let mut next = None;
        loop {
            let order = match next.take() {
                Some(order) => order,
                None => match self.wait() {
                    Ok(order) => order,
                    Err(RecvTimeoutError::Timeout) => {
                        self.empty();
                        self.recover();
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => break self.shut(None),
                },
            };
            match order {
                Order::Write(job) => next = self.write(job),
                Order::Sign(reply) => reply(self.sign()),
                Order::Rebuild(reply) => drop(reply.send(self.rebuild())),
                Order::Replace(reply) => drop(reply.send(self.with_engine(replace::replace))),
                Order::Close(reply) => break self.shut(Some(reply)),
            }
        }
    }

    /// What opening left out, before the first order: until then nothing is admitted.
    fn finish_opening(&mut self) {
        let checked = self
            .engine
            .as_ref()
            .map(|engine| engine.check_large(&self.shared));
        if let Some(Err(error)) = checked {
            self.fail(error);
        }
        self.shared.comparing.store(false, Ordering::SeqCst);
    }

    fn wait(&self) -> Result<Order, RecvTimeoutError> {
        match self.shared.health() {
            Health::Unavailable(_) => self.orders.recv_timeout(PROBE_EVERY),
            // Somebody copied or read when what was erased should have left the log.
            Health::Ready if self.engine.as_ref().is_some_and(|engine| engine.wal_holds_erased) => {
                self.orders.recv_timeout(PROBE_EVERY)
            }
            Health::Ready | Health::Corrupt(_) => {
                self.orders.recv().map_err(|_| RecvTimeoutError::Disconnected)
            }
        }
    }

    /// One commit: `first` and whatever else is waiting. Returns an order that was none of its own.
    fn write(&mut self, first: Box<dyn Job>) -> Option<Order> {
        if let Err(error) = self.ready() {
            first.answer(Err(Some(error)));
            return None;
        }
        let mut done: Vec<(Box<dyn Job>, Outcome)> = Vec::new();
        let mut next = None;
        let signed = self.engine.as_ref().map_or(0, |engine| engine.signed);
        let result = match &mut self.engine {
            Some(engine) => commit(engine, &self.shared, &self.orders, first, &mut done, &mut next),
            None => Err((StoreError::Closed, Some(first))),
        };
        match result {
            Ok(spent) => {
                for (job, outcome) in done {
                    job.answer(match outcome {
                        Outcome::Kept(first) => Ok(first),
                        Outcome::Refused => Err(None),
                        Outcome::Undone(error) => Err(Some(error)),
                    });
                }
                drop(spent);
                if let Some(copier) = &mut self.copier {
                    copier.committed();
                }
                self.copy_outside(signed);
            }
            Err((error, job)) => {
                let error = self.fail(error);
                // Even refusals: they may rest on what an earlier closure of this commit wrote.
                for job in done.into_iter().map(|(job, _)| job).chain(job) {
                    job.answer(Err(Some(error.clone())));
                }
            }
        }
        next
    }

    /// Whether something can be written now; tries to open again when it is time.
    fn ready(&mut self) -> Result<(), StoreError> {
        if self.engine.is_none() {
            self.recover();
        }
        match self.shared.health() {
            Health::Ready => Ok(()),
            Health::Unavailable(reason) => Err(StoreError::Unavailable { reason }),
            Health::Corrupt(finding) => Err(StoreError::Corrupt { finding }),
        }
    }

    /// Tries again to empty the log of what was erased.
    fn empty(&mut self) {
        if let Some(engine) = self.engine.as_mut().filter(|engine| engine.wal_holds_erased) {
            engine.wal_holds_erased = !signing::empty_wal(&engine.connection);
        }
    }

    fn recover(&mut self) {
        let Health::Unavailable(reason) = self.shared.health() else {
            return;
        };
        let now = self.shared.clock.monotonic();
        if now.saturating_sub(self.tried) < RETRY_AFTER {
            return;
        }
        self.tried = now;
        match Engine::reopen(&self.shared, Checks::All) {
            Ok(Ok(mut engine)) => match engine.record_recovery(&self.shared, &reason) {
                Ok(()) => {
                    tracing::info!(
                        size = engine.head.frontier.size(),
                        "the journal can be written again"
                    );
                    self.engine = Some(engine);
                    self.shared.set_health(Health::Ready);
                }
                Err(error) => drop(self.fail(error)),
            },
            Ok(Err(finding)) => drop(self.fail(StoreError::Corrupt {
                finding: finding.to_string(),
            })),
            Err(error) => drop(self.fail(error)),
        }
    }

    /// Closes the connection and says why. Nothing is acknowledged until it was opened again.
    fn fail(&mut self, error: StoreError) -> StoreError {
        self.engine = None;
        self.tried = self.shared.clock.monotonic();
        tracing::error!(%error, "the journal refuses writes");
        match &error {
            StoreError::Corrupt { finding } => self.shared.set_health(Health::Corrupt(finding.clone())),
            other => {
                let reason = match other {
                    StoreError::Unavailable { reason } => reason.clone(),
                    other => other.to_string(),
                };
                self.shared.set_health(Health::Unavailable(reason));
            }
        }
        error
    }

    fn with_engine<T>(
        &mut self,
        f: impl FnOnce(&mut Engine, &Shared) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.ready()?;
        let result = match &mut self.engine {
            Some(engine) => f(engine, &self.shared),
            None => Err(StoreError::Closed),
        };
        match result {
            Err(error @ (StoreError::Unavailable { .. } | StoreError::Corrupt { .. })) => {
                Err(self.fail(error))
            }
            other => other,
        }
    }

    fn rebuild(&mut self) -> Result<Vec<String>, StoreError> {
        if let Health::Corrupt(_) = self.shared.health() {
            // The projections may be what is wrong. Acting stays stopped until the next start has
            // checked everything again.
            let mut engine = Engine::reopen(&self.shared, Checks::EntriesOnly)?.map_err(|finding| {
                StoreError::Corrupt {
                    finding: finding.to_string(),
                }
            })?;
            return engine.rebuild(&self.shared, true);
        }
        self.with_engine(|engine, shared| engine.rebuild(shared, false))
    }

    /// A file outside that cannot be written fails this call, but not the journal.
    fn sign(&mut self) -> Result<Signed, StoreError> {
        let (signed, outside) = self.with_engine(signing::sign)?;
        outside.map(|()| signed)
    }

    /// A checkpoint that this commit stored goes outside as well. What fails is made up for with the next.
    fn copy_outside(&mut self, signed_before: u64) {
        let Some(engine) = self
            .engine
            .as_mut()
            .filter(|engine| engine.signed > signed_before)
        else {
            return;
        };
        if let Err(error) | Ok(Err(error)) = signing::copy_outside(engine, &self.shared) {
            tracing::warn!(%error, "a checkpoint could not be kept outside");
        }
    }

    fn shut(mut self, reply: Option<oneshot::Sender<Result<(), StoreError>>>) {
        let signed = match (&self.engine, &self.shared.signer) {
            (Some(_), Some(_)) => self.sign().map(drop),
            _ => Ok(()),
        };
        self.shared.close_readers();
        self.copier = None;
        self.engine = None;
        self.lock = None;
        if let Err(error) = &signed {
            tracing::warn!(%error, "no last checkpoint could be signed");
        }
        if let Some(reply) = reply {
            drop(reply.send(signed));
        }
    }
}

type Failed = (StoreError, Option<Box<dyn Job>>);

/// Runs `first` and all that waits, and commits. Gives back what can be freed. On failure the job that was running comes back.
fn commit(
    engine: &mut Engine,
    shared: &Shared,
    orders: &Receiver<Order>,
    first: Box<dyn Job>,
    done: &mut Vec<(Box<dyn Job>, Outcome)>,
    next: &mut Option<Order>,
) -> Result<Vec<Entry>, Failed> {
    let mut batch = match engine.begin(shared) {
        Ok(batch) => batch,
        Err(error) => return Err((error, Some(first))),
    };
    let mut job = first;
    loop {
        match batch.run(&mut |tx| job.run(tx)) {
            Ok(outcome) => done.push((job, outcome)),
            Err(error) => return Err((error, Some(job))),
        }
        if done.len() >= BATCH_CLOSURES_MAX || batch.bytes >= BATCH_BYTES_MAX {
            break;
        }
        match orders.try_recv() {
            Ok(Order::Write(waiting)) => job = waiting,
            Ok(other) => {
                *next = Some(other);
                break;
            }
            Err(_) => break,
        }
    }
    batch.commit().map_err(|error| (error, None))
}
