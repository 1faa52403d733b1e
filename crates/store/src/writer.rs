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
use std::collections::VecDeque;
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
/// How long what has to be durable soon waits for a commit to go with.
const SOON: Duration = Duration::from_millis(2);
/// How many such closures wait, before they go by themselves.
const SOON_MAX: usize = 16;
/// Shortest time between two attempts to open the database again.
const RETRY_AFTER: Duration = Duration::from_millis(250);
/// How often an unavailable database is tried without being asked.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// What the thread is asked.
pub(crate) enum Order {
    Write(Box<dyn Job>),
    /// With the next commit.
    Soon(Box<dyn Job>),
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

/// A closure, and what is done with its answer.
pub(crate) struct Typed<T, E: From<StoreError>, F, A: FnOnce(Result<Written<T>, E>)> {
    closure: Option<F>,
    returned: Option<Result<T, E>>,
    after: Option<A>,
    _permit: OwnedSemaphorePermit,
}

impl<T, E, F, A> Typed<T, E, F, A>
where
    E: From<StoreError>,
    F: FnOnce(&mut Tx<'_>) -> Result<T, E>,
    A: FnOnce(Result<Written<T>, E>),
{
    pub(crate) fn new(closure: F, after: A, permit: OwnedSemaphorePermit) -> Typed<T, E, F, A> {
        Typed {
            closure: Some(closure),
            returned: None,
            after: Some(after),
            _permit: permit,
        }
    }
}

impl<T, E: From<StoreError>, F, A: FnOnce(Result<Written<T>, E>)> Drop for Typed<T, E, F, A> {
    fn drop(&mut self) {
        // Nobody took it any more.
        if let Some(after) = self.after.take() {
            after(Err(StoreError::Closed.into()));
        }
    }
}

impl<T, E, F, A> Job for Typed<T, E, F, A>
where
    T: Send,
    E: From<StoreError> + Send,
    F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send,
    A: FnOnce(Result<Written<T>, E>) + Send,
{
    fn run(&mut self, tx: &mut Tx<'_>) -> bool {
        if let Some(closure) = self.closure.take() {
            self.returned = Some(closure(tx));
        }
        matches!(self.returned, Some(Ok(_)))
    }

    fn answer(mut self: Box<Self>, outcome: Result<Option<u64>, Option<StoreError>>) {
        let answer = match (outcome, self.returned.take()) {
            (Ok(first), Some(Ok(value))) => Ok(Written { value, first }),
            (Err(None), Some(Err(error))) => Err(error),
            (Err(Some(error)), _) => Err(E::from(error)),
            _ => Err(E::from(StoreError::Refused(
                "the closure gave no answer".to_owned(),
            ))),
        };
        if let Some(after) = self.after.take() {
            after(answer);
        }
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
    /// What waits for the next commit.
    pub(crate) soon: VecDeque<Box<dyn Job>>,
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
                    Err(RecvTimeoutError::Timeout) if !self.soon.is_empty() => {
                        next = self.write(None, true);
                        continue;
                    }
                    Err(RecvTimeoutError::Timeout) => {
                        self.empty();
                        self.recover();
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => {
                        self.write(None, false);
                        break self.shut(None);
                    }
                },
            };
            next = match order {
                Order::Write(job) => self.write(Some(job), true),
                Order::Soon(job) => {
                    self.soon.push_back(job);
                    match self.soon.len() >= SOON_MAX {
                        true => self.write(None, true),
                        false => None,
                    }
                }
                Order::Close(reply) => {
                    self.write(None, false);
                    break self.shut(Some(reply));
                }
                other => {
                    // Whatever comes behind them is told what they changed.
                    self.write(None, false);
                    self.obey(other);
                    None
                }
            };
        }
    }

    /// What is no closure.
    fn obey(&mut self, order: Order) {
        match order {
            Order::Sign(reply) => reply(self.sign()),
            Order::Rebuild(reply) => drop(reply.send(self.rebuild())),
            Order::Replace(reply) => drop(reply.send(self.with_engine(replace::replace))),
            Order::Write(_) | Order::Soon(_) | Order::Close(_) => {}
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
            _ if !self.soon.is_empty() => self.orders.recv_timeout(SOON),
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

    /// One commit: what waits for the next one, `last`, and with `more` whatever else is waiting. Returns an order that
    /// was none of its own.
    fn write(&mut self, last: Option<Box<dyn Job>>, more: bool) -> Option<Order> {
        let mut jobs = std::mem::take(&mut self.soon);
        jobs.extend(last);
        if jobs.is_empty() {
            return None;
        }
        if let Err(error) = self.ready() {
            for job in jobs {
                job.answer(Err(Some(error.clone())));
            }
            return None;
        }
        let mut done: Vec<(Box<dyn Job>, Outcome)> = Vec::new();
        let mut next = None;
        let signed = self.engine.as_ref().map_or(0, |engine| engine.signed);
        let result = match &mut self.engine {
            Some(engine) => {
                let orders = more.then_some(&self.orders);
                commit(engine, &self.shared, orders, &mut jobs, &mut done, &mut next)
            }
            None => Err((StoreError::Closed, None)),
        };
        match result {
            Ok(spent) => {
                // Past what fits into one commit.
                self.soon = jobs;
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
                for job in done.into_iter().map(|(job, _)| job).chain(job).chain(jobs) {
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

/// Runs `jobs` and all that waits, and commits. Gives back what can be freed. On failure the job that was running comes
/// back; `jobs` holds those that had not begun.
fn commit(
    engine: &mut Engine,
    shared: &Shared,
    orders: Option<&Receiver<Order>>,
    jobs: &mut VecDeque<Box<dyn Job>>,
    done: &mut Vec<(Box<dyn Job>, Outcome)>,
    next: &mut Option<Order>,
) -> Result<Vec<Entry>, Failed> {
    let mut batch = engine.begin(shared).map_err(|error| (error, None))?;
    loop {
        let mut job = match (jobs.pop_front(), orders) {
            (Some(job), _) => job,
            (None, None) => break,
            (None, Some(orders)) => match orders.try_recv() {
                Ok(Order::Write(waiting) | Order::Soon(waiting)) => waiting,
                Ok(other) => {
                    *next = Some(other);
                    break;
                }
                Err(_) => break,
            },
        };
        match batch.run(&mut |tx| job.run(tx)) {
            Ok(outcome) => done.push((job, outcome)),
            Err(error) => return Err((error, Some(job))),
        }
        if done.len() >= BATCH_CLOSURES_MAX || batch.bytes >= BATCH_BYTES_MAX {
            break;
        }
    }
    batch.commit().map_err(|error| (error, None))
}
