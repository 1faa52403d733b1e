//! Sessions, as far as admission must know them, and their machine driven live.

use crate::Gate;
use journal::machine::{Session, SessionEvent};
use policy::{Principal, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What to start.
#[derive(Clone, Debug, PartialEq)]
pub struct NewSession {
    /// Which agent.
    pub agent: String,
    /// On whose account.
    pub cause: Principal,
    /// Incident or task.
    pub correlation: Option<String>,
    /// What it works on: goes into a payload.
    pub input: Value,
    /// Shown in lists; redacted by the caller; at most 200 characters.
    pub title: String,
    /// The id given by whoever caused it; the same one twice gives the same session.
    pub idempotency_key: Option<String>,
}

/// A session as shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each name is the documentation of its value")]
pub struct SessionView {
    /// `ses-42`, where 42 is the sequence of its first entry.
    pub id: String,
    pub agent: String,
    pub cause: Principal,
    pub correlation: Option<String>,
    pub title: String,
    pub state: Session,
    /// Why it waits or failed.
    pub reason: Option<String>,
    pub created: Timestamp,
    pub updated: Timestamp,
    /// Time spent waiting for people, in milliseconds; the wait that goes on is not in it.
    pub waited_ms: i64,
    pub taint: bool,
    pub actions: u64,
    pub version: u64,
    /// Sequence of the entry whose payload `output` holds the result.
    pub output: Option<u64>,
}

/// Why not.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// There is none of that id.
    #[error("no session `{0}`")]
    Unknown(String),
    /// There is no such agent.
    #[error("no agent `{0}`")]
    UnknownAgent(String),
    /// Its state does not allow that.
    #[error(transparent)]
    Illegal(#[from] journal::machine::IllegalEvent),
    /// Not recorded.
    #[error(transparent)]
    Store(#[from] store::StoreError),
}

impl Gate {
    /// Creates and queues; durable when it returns. The bool says whether it is new.
    pub async fn create_session(&self, new: NewSession) -> Result<(SessionView, bool), SessionError> {
        let _ = new;
        todo!()
    }
    /// Drives the machine. `body` is merged into the entry's; `output` becomes a payload.
    pub async fn session_event(
        &self,
        session: &str,
        by: &Principal,
        event: SessionEvent,
        reason: Option<String>,
        output: Option<Value>,
    ) -> Result<SessionView, SessionError> {
        let _ = (session, by, event, reason, output);
        todo!()
    }
    /// Adds a `session.noted` entry: progress that is no action.
    pub async fn note(&self, session: &str, by: &Principal, body: Value) -> Result<u64, SessionError> {
        let _ = (session, by, body);
        todo!()
    }
    /// One session.
    pub fn session(&self, id: &str) -> Result<SessionView, SessionError> {
        let _ = id;
        todo!()
    }
    /// The newest first, up to `limit`; in one state if given.
    pub fn sessions(&self, state: Option<Session>, limit: usize) -> Result<Vec<SessionView>, SessionError> {
        let _ = (state, limit);
        todo!()
    }
    /// Its input, unless erased.
    pub fn session_input(&self, id: &str) -> Result<Option<Value>, SessionError> {
        let _ = id;
        todo!()
    }
    /// Its output, if it has one and it was not erased.
    pub fn session_output(&self, id: &str) -> Result<Option<Value>, SessionError> {
        let _ = id;
        todo!()
    }
}
