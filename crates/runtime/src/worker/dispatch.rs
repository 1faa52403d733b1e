//! Decides which sessions run now.

use super::run::Left;
use super::{Kit, Runtime, State};
use crate::agent::AgentSpec;
use futures_util::FutureExt;
use gate::{SessionError, SessionView, Tools};
use journal::machine::{Session, SessionEvent};
use serde_json::Value;
use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;
use store::StoreError;
use tokio::sync::Notify;
use tokio::time::{Interval, MissedTickBehavior};

/// The longest pause between two turns: what bounds the age of the heartbeat.
const TURN: Duration = Duration::from_secs(1);
/// How often approvals that nobody decided are looked for.
const EXPIRY: Duration = Duration::from_secs(5);
/// The shortest time between two looks at everything that waits.
const LOOK: Duration = Duration::from_millis(250);
/// Most queued sessions that are remembered at once.
const READY_MAX: usize = 256;

/// Turns until the runtime is dropped.
pub(super) async fn dispatch(runtime: Weak<Runtime>, bell: Arc<Notify>) {
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut pace = Pace {
        looks,
        seen: None,
        expired: None,
    };
    loop {
        let Some(strong) = runtime.upgrade() else { return };
        let pause = strong.turn(&mut pace).await;
        // Not held over the pause, so that dropping the last handle ends this task.
        drop(strong);
        // A bell within the pause or before it; how long a turn is late does not matter.
        let _ = tokio::time::timeout(pause, bell.notified()).await;
    }
}

/// When things are due.
struct Pace {
    /// Spares the machine, and is no time that anything is judged by.
    looks: Interval,
    /// Number of entries that were committed then, and how often agents had been installed.
    seen: Option<(u64, u64)>,
    expired: Option<Duration>,
}

impl Runtime {
    /// One turn; gives how long to pause.
    async fn turn(self: &Arc<Self>, pace: &mut Pace) -> Duration {
        self.beat();
        if self.is_draining() {
            return TURN;
        }
        let now = self.gate.store().clock().monotonic();
        let due =
            |last: Option<Duration>, gap: Duration| last.is_none_or(|last| now.saturating_sub(last) >= gap);
        if due(pace.expired, EXPIRY) {
            pace.expired = Some(now);
            if let Err(error) = self.gate.expire_approvals().await {
                tracing::warn!(%error, "approvals not expired");
            }
        }
        let committed = *self.gate.store().committed().borrow();
        let changes = (committed, self.installs.load(Ordering::SeqCst));
        let mut pause = TURN;
        if pace.seen != Some(changes) {
            if pace.looks.tick().now_or_never().is_some() {
                pace.seen = Some(changes);
                if let Err(error) = self.look_at_waiting() {
                    tracing::warn!(%error, "waiting sessions not looked at");
                    pace.seen = None;
                }
                if let Err(error) = self.end_orphans().await {
                    tracing::warn!(%error, "sessions of agents that are gone not ended");
                    pace.seen = None;
                }
            } else {
                pause = LOOK;
            }
        }
        if let Err(error) = self.look_at_queue(now) {
            tracing::warn!(%error, "queue not looked at");
        }
        while self.launch() {}
        pause.min(self.state().pause(now))
    }

    /// Ends the sessions of agents that the gate does not know any more: nobody will ever run them.
    /// Before the first configuration nothing is known of anybody.
    async fn end_orphans(&self) -> Result<(), SessionError> {
        let authority = self.gate.authority();
        if authority.agents.is_empty() {
            return Ok(());
        }
        for state in [Session::Queued, Session::Running, Session::Waiting] {
            for session in self.gate.sessions(Some(state), usize::MAX)? {
                if self.kit(&session).is_some() || authority.agents.contains_key(&session.agent) {
                    continue;
                }
                // Only what runs can fail.
                let first = match state {
                    Session::Queued => Some(SessionEvent::Start),
                    Session::Waiting => Some(SessionEvent::Resume),
                    _ => None,
                };
                if let Some(event) = first {
                    self.drive(&session.id, event, None, None).await?;
                }
                self.give_up(&session.id, "its agent was deleted").await;
            }
        }
        Ok(())
    }

    /// Sessions that wait for something that has come. Reads rows and decrypts nothing.
    fn look_at_waiting(&self) -> Result<(), StoreError> {
        let waiting = self.sessions(Session::Waiting)?;
        if waiting.is_empty() {
            return Ok(());
        }
        let come = self.gate.store().read(|reader| {
            let uncertain = reader.find("calls", "state", "uncertain")?.into_iter();
            let uncertain: BTreeSet<String> =
                uncertain.filter_map(|row| text(&row.value, "session")).collect();
            let mut come = Vec::new();
            for session in &waiting {
                let reason = session.reason.as_deref().unwrap_or_default();
                let ready = match reason.split_once(' ') {
                    Some(("approval", id)) => {
                        let row = reader.row("approvals", id)?;
                        row.and_then(|row| text(&row, "state")).as_deref() != Some("pending")
                    }
                    Some(("uncertain", _)) => !uncertain.contains(&session.id),
                    // Not for us to know what that is.
                    _ => false,
                };
                if ready && self.kit(session).is_some() && !self.is_fenced(session) {
                    come.push(session.id.clone());
                }
            }
            Ok(come)
        })?;
        // Somebody is waiting for these: before the queue.
        let mut state = self.state();
        for id in come.into_iter().rev() {
            state.push(id, true);
        }
        Ok(())
    }

    /// Fills up from the queue, what is urgent first and then the oldest, and takes up what should run and does not.
    fn look_at_queue(&self, now: Duration) -> Result<(), StoreError> {
        let mut state = self.state();
        let ripe: Vec<String> = state
            .later
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(id, _)| id.clone())
            .collect();
        for id in ripe {
            state.later.remove(&id);
            state.push(id, true);
        }
        if state.ready.len() >= self.settings.workers.max(1) {
            return Ok(());
        }
        drop(state);
        for wanted in [Session::Running, Session::Queued] {
            let sessions = self.sessions(wanted)?;
            // The newest come first; whoever waits longest is served first.
            let (urgent, others): (Vec<_>, Vec<_>) =
                sessions.into_iter().rev().partition(|session| session.urgent);
            let ours = urgent
                .into_iter()
                .chain(others)
                .filter(|session| self.kit(session).is_some() && !self.is_fenced(session));
            let ours: Vec<SessionView> = ours.take(READY_MAX).collect();
            let mut state = self.state();
            for session in ours {
                if session.urgent && wanted == Session::Queued {
                    state.urgent.insert(session.id.clone());
                }
                state.push(session.id, false);
            }
        }
        Ok(())
    }

    /// Gives the next session its task; `false` when there is none or no room.
    fn launch(self: &Arc<Self>) -> bool {
        let mut state = self.state();
        let busy = state.running.len().saturating_sub(state.seated.len());
        if busy >= self.settings.workers.max(1) || self.is_draining() {
            return false;
        }
        let Some(id) = state.ready.pop_front() else {
            return false;
        };
        state.urgent.remove(&id);
        state.running.insert(id.clone());
        let count = state.running.len();
        drop(state);
        self.running.send_replace(count);
        let runtime = Arc::clone(self);
        tokio::spawn(async move { runtime.run_and_leave(&id).await });
        true
    }

    async fn run_and_leave(&self, id: &str) {
        let left = AssertUnwindSafe(self.run_session(id)).catch_unwind().await;
        let left = match left {
            Ok(left) => left,
            // A defect of ours must not leave a session that nobody runs and nobody ends.
            Err(_) => self.give_up(id, "broke off by a defect of the platform").await,
        };
        self.left(id, left);
    }

    /// Gives a queued session whose agent nobody installed its means and a task's place beside the
    /// workers, for [`Runtime::run_seated`].
    pub(crate) fn seat(&self, id: &str, spec: Arc<AgentSpec>, tools: Arc<Tools>) {
        let mut state = self.state();
        state.kits.insert(id.to_owned(), Kit { spec, tools });
        state.running.insert(id.to_owned());
        state.seated.insert(id.to_owned());
        let count = state.running.len();
        drop(state);
        self.running.send_replace(count);
    }

    /// Runs a seated session until it leaves.
    pub(crate) async fn run_seated(&self, id: &str) {
        self.run_and_leave(id).await;
    }

    fn left(&self, id: &str, left: Left) {
        let now = self.gate.store().clock().monotonic();
        let mut state = self.state();
        state.running.remove(id);
        state.seated.remove(id);
        match left {
            Left::Over => {
                state.kits.remove(id);
                state.cut.remove(id);
            }
            Left::Again(after) => drop(state.later.insert(id.to_owned(), now.saturating_add(after))),
            Left::Waiting | Left::Draining => (),
        }
        let count = state.running.len();
        drop(state);
        self.running.send_replace(count);
        self.wake();
    }
}

impl State {
    /// Puts a session in the queue once, unless it runs or is to run later.
    fn push(&mut self, id: String, first: bool) {
        if self.running.contains(&id) || self.later.contains_key(&id) || self.ready.contains(&id) {
            return;
        }
        if first {
            self.ready.push_front(id);
        } else {
            self.ready.push_back(id);
        }
    }

    /// Until the next session is to be run again.
    fn pause(&self, now: Duration) -> Duration {
        let next = self.later.values().min().map(|at| at.saturating_sub(now));
        next.unwrap_or(TURN).clamp(Duration::from_millis(20), TURN)
    }
}

fn text(row: &Value, key: &str) -> Option<String> {
    row.get(key).and_then(Value::as_str).map(str::to_owned)
}
