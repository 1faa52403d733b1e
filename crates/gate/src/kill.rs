//! A stop that is waited for: until everything that it covers is cancelled or fenced, or a bound has
//! passed. Never undoes a stop: what could not be reached is named, and the stop stands.

use crate::stoppable::{Flights, PendingApprovals, Stood};
use crate::stops::Recorded;
use crate::{Gate, Stoppable};
use policy::{Principal, Reach, Stop, StopScope};
use std::future::Future;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use store::clock::SharedClock;
use tokio::task::JoinSet;

/// How long a stop waits for what it covers, and for its record (S3-K10).
const BOUND: Duration = Duration::from_secs(5);
/// How often the clock is looked at meanwhile. It need not be the one that the pause goes by.
const LOOK: Duration = Duration::from_millis(10);

/// What a kill did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KillAnswer {
    /// Whether it will survive a restart; `false` also when that was not known in time.
    pub durable: bool,
    /// Sequences of permits in flight that were told to stop.
    pub cancelled: Vec<u64>,
    /// What was ended or fenced.
    pub reached: Vec<Held>,
    /// What was not, within the bound, and what could not be found out. The stop stands all the same.
    pub unreached: Vec<Held>,
}

/// Some of what a [`Stoppable`] holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// [`Stoppable::name`].
    pub what: &'static str,
    /// Names of them.
    pub names: Vec<String>,
}

impl Gate {
    /// Registers what holds something open that stops have to end.
    pub fn add_stoppable(&self, stoppable: Arc<dyn Stoppable>) {
        self.stoppables
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(stoppable);
    }

    /// Stops now, and returns when all that the stop covers is cancelled or fenced, or five seconds have
    /// passed. Never fails; says what it could not reach. It is raised at the root.
    pub async fn kill(&self, by: &Principal, scope: StopScope, reason: &str) -> KillAnswer {
        self.kill_at(by, Reach::Everywhere, scope, reason).await
    }

    /// The same by a role that holds at `at` and not at the root: whoever lifts it has theirs there.
    pub async fn kill_at(&self, by: &Principal, at: Reach, scope: StopScope, reason: &str) -> KillAnswer {
        let within = Bound::starting(self.clock.clone());
        // INVARIANT (a stop works first and is recorded second).
        let (stop, number, told) = self.raise(by, at, scope, reason);
        let recording = self.record_stop(number, stop.clone());
        let mut asked = JoinSet::new();
        for stoppable in self.stoppables(&told.cancelled) {
            asked.spawn(ask(stoppable, stop.clone(), within.clone()));
        }
        let mut answer = KillAnswer {
            durable: false,
            cancelled: told.cancelled,
            reached: Vec::new(),
            unreached: Vec::new(),
        };
        while let Some(asked) = asked.join_next().await {
            // Each of them is waited for in a task of its own; this one does not break off.
            let Ok((reached, unreached)) = asked else { continue };
            answer.reached.extend(reached);
            answer.unreached.extend(unreached);
        }
        answer.reached.sort_by_key(|held| held.what);
        answer.unreached.sort_by_key(|held| held.what);
        let recorded = within.wait_for(recording).await;
        answer.durable = recorded.is_some_and(|recorded| recorded.is_ok_and(Recorded::is_durable));
        answer
    }

    fn stoppables(&self, told: &[u64]) -> Vec<Arc<dyn Stoppable>> {
        let registered = self.stoppables.read().unwrap_or_else(PoisonError::into_inner);
        let flights = Flights {
            told: told.to_vec(),
            stops: Arc::clone(&self.stops),
            store: self.store.clone(),
        };
        let approvals = PendingApprovals {
            store: self.store.clone(),
            authority: Arc::clone(&self.authority),
        };
        let own: [Arc<dyn Stoppable>; 2] = [Arc::new(flights), Arc::new(approvals)];
        own.into_iter().chain(registered.iter().cloned()).collect()
    }
}

/// Asks one of them, at most until the bound has passed; it goes on with its work after that.
async fn ask(stoppable: Arc<dyn Stoppable>, stop: Stop, within: Bound) -> (Option<Held>, Option<Held>) {
    let what = stoppable.name();
    let held = |names: Vec<String>| (!names.is_empty()).then_some(Held { what, names });
    let (working, asked) = (Arc::clone(&stoppable), stop.clone());
    let work = tokio::spawn(async move { working.stop(&asked).await });
    let why = match within.wait_for(work).await {
        Some(Ok(Stood { names, unknown })) => return (held(names), held(unknown)),
        Some(Err(_)) => "broke off",
        None => "did not answer in time",
    };
    let open = stoppable.open(&stop);
    if open.is_empty() {
        return (None, held(vec![format!("all of them: {why}")]));
    }
    (None, held(open))
}

/// A point in time by the injected clock.
#[derive(Clone)]
struct Bound {
    clock: SharedClock,
    end: Duration,
}

impl Bound {
    fn starting(clock: SharedClock) -> Bound {
        let end = clock.monotonic().saturating_add(BOUND);
        Bound { clock, end }
    }

    /// What `work` came to; `None` when the bound passed before.
    async fn wait_for<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.passed() => None,
        }
    }

    async fn passed(&self) {
        loop {
            let left = self.end.saturating_sub(self.clock.monotonic());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(LOOK)).await;
        }
    }
}
