//! Runs sessions: takes queued ones, resumes what a crash interrupted, wakes what waits.

use crate::agent::AgentSpec;
use gate::{Gate, SessionView, Tools};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

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
    /// The session.
    pub session: SessionView,
    /// Its output, as far as it got.
    pub output: Option<Value>,
    /// The time box ran out or the run stopped early.
    pub partial: bool,
}

/// Told about every session that finished. Must be quick, or spawn.
pub trait Watcher: Send + Sync {
    /// `finished` may come twice for one session after a crash.
    fn finished(&self, finished: &Finished);
}

/// The runtime. Shared as `Arc`.
pub struct Runtime {
    _private: (),
}

impl Runtime {
    /// Not running yet.
    pub fn new(gate: Arc<Gate>, settings: Settings) -> Arc<Runtime> {
        let _ = (gate, settings);
        todo!()
    }
    /// The agents and their tools from now on. Sessions that run keep those they started with.
    pub fn install(&self, agents: BTreeMap<String, (Arc<AgentSpec>, Arc<Tools>)>) {
        let _ = agents;
        todo!()
    }
    /// Registers who is told about finished sessions.
    pub fn watch(&self, watcher: Arc<dyn Watcher>) {
        let _ = watcher;
        todo!()
    }
    /// Marks what a crash left uncertain, takes up what was running or queued, and starts working.
    pub async fn start(self: &Arc<Self>) -> Result<(), store::StoreError> {
        todo!()
    }
    /// Something may have changed: a session was queued, an approval decided, a call resolved.
    pub fn wake(&self) {
        todo!()
    }
    /// Cancels one session: no further step, flights cut.
    pub async fn cancel(&self, session: &str, by: &policy::Principal, reason: &str) -> Result<SessionView, gate::SessionError> {
        let _ = (session, by, reason);
        todo!()
    }
    /// Takes no new step and waits until the running ones settled, at most `grace`.
    pub async fn drain(&self, grace: std::time::Duration) {
        let _ = grace;
        todo!()
    }
    /// Last sign of life of the worker loop (monotonic), for `health`.
    pub fn heartbeat(&self) -> std::time::Duration {
        todo!()
    }
}
