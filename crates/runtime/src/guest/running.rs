//! Guests that run, for stops: each is ended, and the call waits until its last process is dead.

use gate::{BoxFuture, Gate, SessionView, Stood, Stoppable};
use policy::{Principal, Stop};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::{Notify, watch};

/// Most guests that are remembered for a stop.
const CUT_MAX: usize = 1_000;

/// Who drives the sessions of guests.
pub(super) fn platform() -> Principal {
    Principal::service("cofferdam")
}

/// The guests that run, by session.
pub(super) struct Registry {
    gate: Weak<Gate>,
    running: Mutex<BTreeMap<String, Seat>>,
    /// Those whose flight a stop has cut, until whoever raised it asks: they may be dead by then.
    cut: Mutex<Vec<SessionView>>,
    /// How many run.
    count: watch::Sender<usize>,
    driven: watch::Sender<Driven>,
}

/// Guests of which something is to be recorded yet.
#[derive(Debug, Default)]
struct Driven {
    count: usize,
    is_closing: bool,
}

/// One of them. The platform waits for it when it stops.
pub struct Driving(Arc<Registry>);

impl Drop for Driving {
    fn drop(&mut self) {
        self.0.driven.send_modify(|driven| driven.count -= 1);
    }
}

struct Seat {
    session: SessionView,
    cut: Arc<Notify>,
}

/// The place of one guest. Dropped when its last process is dead.
pub(super) struct Place {
    registry: Arc<Registry>,
    session: String,
    cut: Arc<Notify>,
}

impl Place {
    /// Its flight was cut by a stop, which will ask who was.
    pub(super) fn cut(&self) {
        let mut cut = self.registry.lock_cut();
        let seat = self
            .registry
            .seats()
            .get(&self.session)
            .map(|seat| seat.session.clone());
        // Stops that nobody waits for do not ask.
        if cut.len() < CUT_MAX {
            cut.extend(seat);
        }
    }

    /// Returns once it shall end.
    pub(super) async fn wanted(&self) {
        self.cut.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut running = self.registry.seats();
        running.remove(&self.session);
        let left = running.len();
        drop(running);
        self.registry.count.send_replace(left);
    }
}

impl Registry {
    pub(super) fn new(gate: Weak<Gate>) -> Registry {
        Registry {
            gate,
            running: Mutex::default(),
            cut: Mutex::default(),
            count: watch::Sender::new(0),
            driven: watch::Sender::default(),
        }
    }

    pub(super) fn enter(self: &Arc<Self>, session: &SessionView) -> Place {
        let cut = Arc::new(Notify::new());
        let seat = Seat {
            session: session.clone(),
            cut: Arc::clone(&cut),
        };
        let mut running = self.seats();
        running.insert(session.id.clone(), seat);
        let left = running.len();
        drop(running);
        self.count.send_replace(left);
        if self.driven.borrow().is_closing {
            cut.notify_one();
        }
        // A stop that was raised before it was here cut its flight, which its driver watches as well.
        Place {
            registry: Arc::clone(self),
            session: session.id.clone(),
            cut,
        }
    }

    /// For as long as a guest is driven, from its session to its recorded end. `None` once the platform stops.
    pub(super) fn drive(self: &Arc<Self>) -> Option<Driving> {
        let mut is_open = false;
        self.driven.send_modify(|driven| {
            is_open = !driven.is_closing;
            driven.count += usize::from(is_open);
        });
        is_open.then(|| Driving(Arc::clone(self)))
    }

    /// Resolves when the end of each is recorded.
    pub(super) async fn rest(&self) {
        let _ = self.driven.subscribe().wait_for(|driven| driven.count == 0).await;
    }

    /// Ends every one, takes no more, and waits until the end of each is recorded.
    pub(super) async fn drain(&self) {
        let mut driven = self.driven.subscribe();
        self.driven.send_modify(|driven| driven.is_closing = true);
        self.seats().values().for_each(|seat| seat.cut.notify_one());
        let _ = driven.wait_for(|driven| driven.count == 0).await;
    }

    pub(super) fn holds(&self, session: &str) -> bool {
        self.seats().contains_key(session)
    }

    fn seats(&self) -> MutexGuard<'_, BTreeMap<String, Seat>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_cut(&self) -> MutexGuard<'_, Vec<SessionView>> {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that run and those of `cut` that `stop` covers, and what cannot be found out.
    fn covered(&self, stop: &Stop, cut: Vec<SessionView>) -> (BTreeSet<String>, Vec<String>) {
        let running = self.seats();
        let sessions: Vec<SessionView> = running
            .values()
            .map(|seat| seat.session.clone())
            .chain(cut)
            .collect();
        drop(running);
        let (mut covered, mut unknown) = (BTreeSet::new(), Vec::new());
        let Some(gate) = self.gate.upgrade() else {
            return (covered, unknown);
        };
        for session in sessions {
            match gate.is_within(&stop.scope, &session) {
                Ok(true) => drop(covered.insert(session.id)),
                Ok(false) => {}
                Err(error) => unknown.push(format!("whether {} is covered: {error}", session.id)),
            }
        }
        (covered, unknown)
    }
}

impl Stoppable for Registry {
    fn name(&self) -> &'static str {
        "processes"
    }

    fn stop<'a>(&'a self, stop: &'a Stop) -> BoxFuture<'a, Stood> {
        Box::pin(async move {
            let mut left = self.count.subscribe();
            let cut = std::mem::take(&mut *self.lock_cut());
            let (covered, unknown) = self.covered(stop, cut);
            for id in &covered {
                if let Some(seat) = self.seats().get(id) {
                    // Kept until its driver asks, should it not be waiting yet.
                    seat.cut.notify_one();
                }
            }
            while covered.iter().any(|id| self.holds(id)) && left.changed().await.is_ok() {}
            Stood {
                names: covered.into_iter().collect(),
                unknown,
            }
        })
    }

    fn open(&self, stop: &Stop) -> Vec<String> {
        let (covered, unknown) = self.covered(stop, Vec::new());
        covered.into_iter().chain(unknown).collect()
    }
}
