//! Runs sessions: takes queued ones, resumes what a crash interrupted, wakes what waits.
//!
//! A session that waits is a row and nothing more: no task, no memory. What runs is one task per
//! session, as many as there are workers. A session that is taken up again runs its runbook from the
//! start, and what was recorded stands in for what was done.
//!
//! Sessions of agents that are not [installed](Runtime::install) but known to the gate are left alone:
//! others drive them. Those of agents that the gate does not know any more are ended.

mod dispatch;
mod history;
mod run;
mod stops;

use crate::agent::{AgentSpec, GuestTerms};
use gate::{EVERYWHERE, Gate, SessionError, SessionView, Tools};
use journal::machine::{Session, SessionEvent};
use policy::{Principal, Stop, StopScope};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;
use store::StoreError;
use tokio::sync::{Notify, watch};

/// How long [`Runtime::cancel`] waits for what is in flight.
const CANCEL_GRACE: Duration = Duration::from_secs(5);

/// How many sessions run at once.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Default 8.
    pub workers: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { workers: 8 }
    }
}

/// How a session ended, or that it waits; told to [`Watcher`]s after the entry is durable.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// The session. Its state is final, or `Waiting` when it waits for a person.
    pub session: SessionView,
    /// Its output, as far as it got.
    pub output: Option<Value>,
    /// The time box ran out or the run stopped early. A session that waits is not partial.
    pub partial: bool,
}

/// Told about every session that finished or waits. Must be quick, or spawn.
pub trait Watcher: Send + Sync {
    /// `finished` may come twice for one session after a crash, and comes once for each wait.
    fn finished(&self, finished: &Finished);
}

/// What an agent does and by what means. A session keeps the one it started with.
#[derive(Clone)]
struct Kit {
    spec: Arc<AgentSpec>,
    tools: Arc<Tools>,
}

/// What the dispatcher keeps in memory. All of it can be lost: a scan of the store finds it again.
#[derive(Default)]
struct State {
    /// To run next, in order.
    ready: VecDeque<String>,
    /// Which of those are urgent.
    urgent: BTreeSet<String>,
    /// Have a task.
    running: BTreeSet<String>,
    /// To be run again from a point of the monotonic clock on.
    later: BTreeMap<String, Duration>,
    /// Of those, the ones that take no worker's place.
    seated: BTreeSet<String>,
    /// Being cancelled by somebody: what a stop cuts off there is theirs to end.
    cancelling: BTreeSet<String>,
    /// To be ended by a stop, which may have been lifted since.
    cut: BTreeMap<String, Stop>,
    /// What sessions started with.
    kits: BTreeMap<String, Kit>,
}

/// The runtime. Shared as `Arc`.
pub struct Runtime {
    pub(crate) gate: Arc<Gate>,
    settings: Settings,
    agents: RwLock<BTreeMap<String, Kit>>,
    watchers: RwLock<Vec<Arc<dyn Watcher>>>,
    state: Mutex<State>,
    /// Number of sessions that have a task.
    running: watch::Sender<usize>,
    bell: Arc<Notify>,
    draining: AtomicBool,
    /// Whether a drill is under way.
    pub(crate) drilling: AtomicBool,
    /// How often agents were installed.
    installs: AtomicU64,
    /// Milliseconds of the monotonic clock.
    beat: AtomicU64,
}

impl Runtime {
    /// Not running yet.
    pub fn new(gate: Arc<Gate>, settings: Settings) -> Arc<Runtime> {
        let runtime = Arc::new(Runtime {
            gate,
            settings,
            agents: RwLock::default(),
            watchers: RwLock::default(),
            state: Mutex::default(),
            running: watch::Sender::new(0),
            bell: Arc::default(),
            draining: AtomicBool::new(false),
            drilling: AtomicBool::new(false),
            installs: AtomicU64::new(0),
            beat: AtomicU64::new(0),
        });
        let weak = Arc::downgrade(&runtime);
        runtime
            .gate
            .add_stoppable(Arc::new(stops::Sessions(weak.clone())));
        runtime.gate.add_stoppable(Arc::new(stops::Queue(weak)));
        runtime
    }

    /// How an agent that is somebody else's program runs, if it is one.
    pub fn guest_terms(&self, agent: &str) -> Option<GuestTerms> {
        let agents = self.agents.read().unwrap_or_else(PoisonError::into_inner);
        agents.get(agent)?.spec.guest.clone()
    }

    /// The agents and their tools from now on. Sessions that run keep those they started with.
    pub fn install(&self, agents: BTreeMap<String, (Arc<AgentSpec>, Arc<Tools>)>) {
        let kits = agents
            .into_iter()
            .map(|(name, (spec, tools))| (name, Kit { spec, tools }));
        *self.agents.write().unwrap_or_else(PoisonError::into_inner) = kits.collect();
        self.installs.fetch_add(1, Ordering::SeqCst);
        self.wake();
    }

    /// Whether that agent is a guest: no task makes it act.
    pub fn is_guest(&self, agent: &str) -> bool {
        let agents = self.agents.read().unwrap_or_else(PoisonError::into_inner);
        agents.get(agent).is_some_and(|kit| kit.spec.guest.is_some())
    }

    /// Registers who is told about finished sessions.
    pub fn watch(&self, watcher: Arc<dyn Watcher>) {
        self.watchers
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(watcher);
    }

    /// Marks what a crash left uncertain, takes up what was running or queued, and starts working.
    pub async fn start(self: &Arc<Self>) -> Result<(), StoreError> {
        self.gate.mark_uncertain().await?;
        for session in self.sessions(Session::Running)? {
            if self.kit(&session).is_some() {
                let reason = Some("interrupted by a restart".to_owned());
                self.drive(&session.id, SessionEvent::Queue, reason, None)
                    .await
                    .map_err(unstored)?;
            }
        }
        self.beat();
        tokio::spawn(dispatch::dispatch(Arc::downgrade(self), Arc::clone(&self.bell)));
        Ok(())
    }

    /// Something may have changed: a session was queued, an approval decided, a call resolved.
    pub fn wake(&self) {
        self.bell.notify_one();
    }

    /// Takes this queued session, which was created as urgent, before those that are not. After a restart
    /// the journal's order does the same.
    pub fn expedite(&self, session: &str) {
        let mut state = self.state();
        if !state.running.contains(session) {
            state.ready.retain(|other| other != session);
            let before = state.ready.iter().take_while(|id| state.urgent.contains(*id));
            let place = before.count();
            state.ready.insert(place, session.to_owned());
            state.urgent.insert(session.to_owned());
        }
        drop(state);
        self.wake();
    }

    /// Cancels one session: no further step, flights cut.
    pub async fn cancel(
        &self,
        session: &str,
        by: &Principal,
        reason: &str,
    ) -> Result<SessionView, SessionError> {
        // Asked first, so that a session that is over is not stopped.
        self.gate.session(session)?.state.after(SessionEvent::Cancel)?;
        self.state().cancelling.insert(session.to_owned());
        let cancelled = self.cut(session, by, reason).await;
        self.state().cancelling.remove(session);
        let view = cancelled?;
        self.tell(Finished {
            session: view.clone(),
            output: None,
            partial: true,
        });
        Ok(view)
    }

    /// Stops, ends and, once nothing is in flight any more, lifts the stop.
    async fn cut(&self, session: &str, by: &Principal, reason: &str) -> Result<SessionView, SessionError> {
        let scope = StopScope::Session(session.to_owned());
        self.gate.stop(by, scope.clone(), reason).await;
        let said = Some(reason.to_owned());
        let view = self
            .gate
            .session_event(session, by, SessionEvent::Cancel, said, None)
            .await?;
        self.forget(session);
        let landed = self.running.subscribe();
        if tokio::time::timeout(CANCEL_GRACE, self.landed(landed, session))
            .await
            .is_ok()
        {
            // A session that is over needs no stop; the list of stops is for people to read.
            // Whoever raised it, and where: it lets nothing go.
            let said = "the session is cancelled";
            if let Err(error) = self.gate.lift_own(by, EVERYWHERE, &scope, said).await {
                tracing::warn!(session, %error, "stop of a cancelled session not lifted");
            }
        }
        Ok(view)
    }

    /// Takes no new step and waits until the running ones settled, at most `grace`.
    pub async fn drain(&self, grace: Duration) {
        self.draining.store(true, Ordering::SeqCst);
        self.wake();
        let mut running = self.running.subscribe();
        if tokio::time::timeout(grace, running.wait_for(|count| *count == 0))
            .await
            .is_err()
        {
            tracing::warn!(
                running = *self.running.borrow(),
                "sessions still run after the grace period"
            );
        }
    }

    /// Last sign of life of the worker loop (monotonic), for `health`.
    pub fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.beat.load(Ordering::SeqCst))
    }

    fn beat(&self) {
        let now = self.gate.store().clock().monotonic().as_millis();
        self.beat
            .store(u64::try_from(now).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No step under this lock leaves the data half written.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// What a session works with: what it started with, or what its agent has now.
    fn kit(&self, session: &SessionView) -> Option<Kit> {
        // A guest's has a program of its own.
        if session.guest.is_some() {
            return None;
        }
        if let Some(kit) = self.state().kits.get(&session.id) {
            return Some(kit.clone());
        }
        self.agents
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&session.agent)
            .cloned()
    }

    fn sessions(&self, state: Session) -> Result<Vec<SessionView>, StoreError> {
        self.gate.sessions(Some(state), usize::MAX).map_err(unstored)
    }

    async fn drive(
        &self,
        session: &str,
        event: SessionEvent,
        reason: Option<String>,
        output: Option<Value>,
    ) -> Result<SessionView, SessionError> {
        self.gate
            .session_event(session, &platform(), event, reason, output)
            .await
    }

    pub(crate) fn forget(&self, session: &str) {
        let mut state = self.state();
        state.kits.remove(session);
        state.cut.remove(session);
        state.later.remove(session);
        state.urgent.remove(session);
        state.ready.retain(|other| other != session);
    }

    async fn landed(&self, mut changes: watch::Receiver<usize>, session: &str) {
        while self.state().running.contains(session) && changes.changed().await.is_ok() {}
    }

    fn tell(&self, finished: Finished) {
        let watchers = self
            .watchers
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for watcher in watchers {
            watcher.finished(&finished);
        }
    }
}

/// The platform itself, as the actor of what no agent and no person did.
pub(crate) fn platform() -> Principal {
    Principal::service("cofferdam")
}

fn unstored(error: SessionError) -> StoreError {
    match error {
        SessionError::Store(error) => error,
        other => StoreError::Refused(other.to_string()),
    }
}
