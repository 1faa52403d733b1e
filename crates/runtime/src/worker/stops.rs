//! What the workers hold open, for stops: sessions that run are ended; those that are queued or wait are
//! fenced, since nothing is taken up that a stop covers, and go on when it is lifted.

use super::{Runtime, platform};
use gate::{BoxFuture, SessionError, SessionView, Stoppable};
use journal::machine::{Session, SessionEvent};
use policy::{Stop, Stopped};
use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

/// Sessions that run. Each is ended by the task that runs it, once the action in flight is cut; one
/// without a task at once.
pub(super) struct Sessions(pub(super) Weak<Runtime>);

/// Sessions that are queued, and those that wait for a person.
pub(super) struct Queue(pub(super) Weak<Runtime>);

impl Stoppable for Sessions {
    fn name(&self) -> &'static str {
        "sessions"
    }

    fn stop<'a>(&'a self, stop: &'a Stop) -> BoxFuture<'a, Vec<String>> {
        Box::pin(async move {
            match self.0.upgrade() {
                Some(runtime) if !stop.scope.is_of_actions() => runtime.end_covered(stop).await,
                _ => Vec::new(),
            }
        })
    }

    fn open(&self, stop: &Stop) -> Vec<String> {
        let covered = |runtime: Arc<Runtime>| runtime.running_under(stop).into_iter().collect();
        self.0.upgrade().map(covered).unwrap_or_default()
    }
}

impl Stoppable for Queue {
    fn name(&self) -> &'static str {
        "queue"
    }

    fn stop<'a>(&'a self, stop: &'a Stop) -> BoxFuture<'a, Vec<String>> {
        Box::pin(async move {
            match self.0.upgrade() {
                Some(runtime) if !stop.scope.is_of_actions() => runtime.fence(stop),
                _ => Vec::new(),
            }
        })
    }

    fn open(&self, stop: &Stop) -> Vec<String> {
        let Some(runtime) = self.0.upgrade() else {
            return Vec::new();
        };
        let ready: Vec<String> = runtime.state().ready.iter().cloned().collect();
        ready
            .into_iter()
            .filter(|id| runtime.is_under(stop, id))
            .collect()
    }
}

impl Runtime {
    /// Why this session has to end: a stop covers it, or did while it ran.
    pub(super) fn stopped_by(&self, session: &SessionView) -> Option<String> {
        let said = |stop| Stopped { stop }.to_string();
        let cut = self.state().cut.get(&session.id).cloned();
        cut.or_else(|| self.gate.stop_over(session)).map(said)
    }

    /// Whether nothing may be taken up of this session now.
    pub(super) fn is_fenced(&self, session: &SessionView) -> bool {
        session.state != Session::Running && self.gate.stop_over(session).is_some()
    }

    async fn end_covered(&self, stop: &Stop) -> Vec<String> {
        let mut landed = self.running.subscribe();
        let recorded = self.sessions(Session::Running).unwrap_or_else(|error| {
            tracing::warn!(%error, "sessions under a stop are fenced, and cannot be read");
            Vec::new()
        });
        let recorded = recorded
            .into_iter()
            .filter(|session| self.gate.is_within(&stop.scope, session));
        let mut covered: BTreeSet<String> = recorded.map(|session| session.id).collect();
        covered.extend(self.running_under(stop));
        let mut idle = Vec::new();
        {
            // Marked, so that lifting the stop soon does not let one of them go on.
            let mut state = self.state();
            for id in &covered {
                state.cut.insert(id.clone(), stop.clone());
                if !state.running.contains(id) {
                    idle.push(id.clone());
                }
            }
        }
        let reason = Stopped { stop: stop.clone() }.to_string();
        for id in idle {
            self.end_idle(&id, &reason).await;
        }
        let runs = |id: &String| self.state().running.contains(id);
        while covered.iter().any(runs) && landed.changed().await.is_ok() {}
        covered.into_iter().collect()
    }

    /// Ends a session that has no task. What cannot be recorded now is ended when it is taken up again.
    async fn end_idle(&self, id: &str, reason: &str) {
        let by = platform();
        let ended = self
            .gate
            .session_event(id, &by, SessionEvent::Cancel, Some(reason.to_owned()), None)
            .await;
        match ended {
            Ok(session) => {
                self.forget(id);
                self.tell(super::Finished {
                    session,
                    output: None,
                    partial: true,
                });
            }
            Err(SessionError::Store(error)) => {
                tracing::warn!(session = id, %error, "stopped session not ended yet");
            }
            // It ended by itself.
            Err(_) => self.forget(id),
        }
    }

    fn fence(&self, stop: &Stop) -> Vec<String> {
        let mut names = Vec::new();
        for state in [Session::Queued, Session::Waiting] {
            let sessions = self.sessions(state).unwrap_or_else(|error| {
                tracing::warn!(%error, "queued sessions under a stop are fenced, and cannot be named");
                Vec::new()
            });
            let covered = sessions
                .into_iter()
                .filter(|session| self.gate.is_within(&stop.scope, session));
            names.extend(covered.map(|session| session.id));
        }
        let mut state = self.state();
        state.ready.retain(|id| !names.contains(id));
        names.retain(|id| !state.running.contains(id));
        names
    }

    /// Sessions that have a task and are covered.
    fn running_under(&self, stop: &Stop) -> BTreeSet<String> {
        let running = self.state().running.clone();
        running.into_iter().filter(|id| self.is_under(stop, id)).collect()
    }

    fn is_under(&self, stop: &Stop, id: &str) -> bool {
        let session = self.gate.session(id);
        session.is_ok_and(|session| self.gate.is_within(&stop.scope, &session))
    }
}
