//! What the workers hold open, for stops: sessions that run are ended; those that are queued or wait are
//! fenced, since nothing is taken up that a stop covers, and go on when it is lifted.

use super::{Runtime, platform};
use gate::{BoxFuture, SessionError, SessionView, Stood, Stoppable};
use journal::machine::{Session, SessionEvent};
use policy::{Stop, Stopped};
use std::collections::BTreeSet;
use std::sync::Weak;

/// Sessions that run. Each is ended by the task that runs it, once the action in flight is cut; one
/// without a task at once.
pub(super) struct Sessions(pub(super) Weak<Runtime>);

/// Sessions that are queued, and those that wait for a person.
pub(super) struct Queue(pub(super) Weak<Runtime>);

impl Stoppable for Sessions {
    fn name(&self) -> &'static str {
        "sessions"
    }

    fn stop<'a>(&'a self, stop: &'a Stop) -> BoxFuture<'a, Stood> {
        Box::pin(async move {
            match self.0.upgrade() {
                Some(runtime) if !stop.scope.is_of_actions() => runtime.end_covered(stop).await,
                _ => Stood::default(),
            }
        })
    }

    fn open(&self, stop: &Stop) -> Vec<String> {
        let Some(runtime) = self.0.upgrade() else {
            return Vec::new();
        };
        let (covered, unknown) = runtime.running_under(stop);
        covered.into_iter().chain(unknown).collect()
    }
}

impl Stoppable for Queue {
    fn name(&self) -> &'static str {
        "queue"
    }

    fn stop<'a>(&'a self, stop: &'a Stop) -> BoxFuture<'a, Stood> {
        Box::pin(async move {
            match self.0.upgrade() {
                Some(runtime) if !stop.scope.is_of_actions() => runtime.fence(stop),
                _ => Stood::default(),
            }
        })
    }

    fn open(&self, stop: &Stop) -> Vec<String> {
        let Some(runtime) = self.0.upgrade() else {
            return Vec::new();
        };
        let ready: Vec<String> = runtime.state().ready.iter().cloned().collect();
        let (covered, unknown) = runtime.covered(stop, ready);
        covered.into_iter().chain(unknown).collect()
    }
}

impl Runtime {
    /// Why this session has to end: a stop covers it, or did while it ran.
    pub(super) fn stopped_by(&self, session: &SessionView) -> Option<String> {
        let said = |stop| Stopped::from(stop).to_string();
        let cut = self.state().cut.get(&session.id).cloned();
        cut.or_else(|| self.gate.stop_over(session)).map(said)
    }

    /// Whether nothing may be taken up of this session now.
    pub(super) fn is_fenced(&self, session: &SessionView) -> bool {
        session.state != Session::Running && self.gate.stop_over(session).is_some()
    }

    async fn end_covered(&self, stop: &Stop) -> Stood {
        let mut landed = self.running.subscribe();
        let (mut covered, mut unknown) = self.recorded(stop, Session::Running);
        let (running, undetermined) = self.running_under(stop);
        covered.extend(running);
        unknown.extend(undetermined);
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
        let reason = Stopped::from(stop.clone()).to_string();
        for id in idle {
            self.end_idle(&id, &reason).await;
        }
        let runs = |id: &String| self.state().running.contains(id);
        while covered.iter().any(runs) && landed.changed().await.is_ok() {}
        Stood {
            names: covered.into_iter().collect(),
            unknown,
        }
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

    fn fence(&self, stop: &Stop) -> Stood {
        let (mut names, mut unknown) = (Vec::new(), Vec::new());
        for state in [Session::Queued, Session::Waiting] {
            let (covered, undetermined) = self.recorded(stop, state);
            names.extend(covered);
            unknown.extend(undetermined);
        }
        let mut state = self.state();
        state.ready.retain(|id| !names.contains(id));
        names.retain(|id| !state.running.contains(id));
        Stood { names, unknown }
    }

    /// Sessions that are recorded in `state` and covered, and what could not be found out. What that is of
    /// is fenced all the same: nothing is admitted that a stop covers, or whose record cannot be read.
    fn recorded(&self, stop: &Stop, state: Session) -> (BTreeSet<String>, Vec<String>) {
        match self.sessions(state) {
            Ok(sessions) => self.sorted(
                stop,
                sessions
                    .into_iter()
                    .map(|session| (session.id.clone(), Ok(session))),
            ),
            Err(error) => {
                let unknown = format!("those that are recorded as {state:?} cannot be named: {error}");
                (BTreeSet::new(), vec![unknown])
            }
        }
    }

    /// Sessions that have a task and are covered, and what could not be found out.
    fn running_under(&self, stop: &Stop) -> (BTreeSet<String>, Vec<String>) {
        let running = self.state().running.clone();
        self.covered(stop, running)
    }

    fn covered(&self, stop: &Stop, ids: impl IntoIterator<Item = String>) -> (BTreeSet<String>, Vec<String>) {
        let read = ids.into_iter().map(|id| {
            let session = self.gate.session(&id);
            (id, session)
        });
        self.sorted(stop, read)
    }

    fn sorted(
        &self,
        stop: &Stop,
        sessions: impl Iterator<Item = (String, Result<SessionView, SessionError>)>,
    ) -> (BTreeSet<String>, Vec<String>) {
        let (mut covered, mut unknown) = (BTreeSet::new(), Vec::new());
        for (id, session) in sessions {
            let within = session.and_then(|session| Ok(self.gate.is_within(&stop.scope, &session)?));
            match within {
                Ok(true) => drop(covered.insert(id)),
                Ok(false) => {}
                Err(error) => unknown.push(format!("{id}: {error}")),
            }
        }
        (covered, unknown)
    }
}
