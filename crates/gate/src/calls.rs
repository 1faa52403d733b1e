//! Calls: the steps of sessions, each one action, as recorded. What replay reads instead of acting.

use crate::Gate;
use journal::machine::Call;
use policy::{Outcome, Principal};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A call as recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each name is the documentation of its value")]
pub struct CallView {
    pub session: String,
    /// Unique in the session and the same when it runs again: `steps/2`, `steps/4/0/steps/1`.
    pub step: String,
    pub state: Call,
    pub verb: String,
    pub resource: String,
    pub effect: policy::Effect,
    pub environment: String,
    pub idempotence: policy::Idempotence,
    /// `permit`, `deny`, `require_approval`.
    pub decision: String,
    pub reason: String,
    pub rule: Option<String>,
    pub remedy: Option<String>,
    pub approval: Option<String>,
    /// Sequence of the newest permit.
    pub permit: Option<u64>,
    /// Sequence of the entry whose payload `result` holds the result.
    pub settled: Option<u64>,
    pub outcome: Option<Outcome>,
    pub summary: Option<String>,
}

/// How a person resolves an uncertain call.
#[derive(Clone, Debug, PartialEq)]
pub enum Resolution {
    /// It was done; this is its result.
    Done(Value),
    /// It was not done; it may be proposed again.
    NotDone,
}

/// Why not.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// No such call, or it is not uncertain.
    #[error("session `{session}` has no uncertain call{}", step.as_ref().map(|s| format!(" at `{s}`")).unwrap_or_default())]
    NotUncertain {
        /// Session.
        session: String,
        /// Step.
        step: Option<String>,
    },
    /// Not recorded.
    #[error(transparent)]
    Store(#[from] store::StoreError),
}

impl Gate {
    /// One call.
    pub fn call(&self, session: &str, step: &str) -> Result<Option<CallView>, store::StoreError> {
        let _ = (session, step);
        todo!()
    }
    /// All calls of a session, in the order in which they were first proposed.
    pub fn calls(&self, session: &str) -> Result<Vec<CallView>, store::StoreError> {
        let _ = session;
        todo!()
    }
    /// The recorded result of a settled call, unless erased.
    pub fn call_result(&self, call: &CallView) -> Result<Option<Value>, store::StoreError> {
        let _ = call;
        todo!()
    }
    /// After a crash: every call that is permitted and has no outcome becomes `uncertain`. Called once,
    /// before anything runs.
    pub async fn mark_uncertain(&self) -> Result<Vec<CallView>, store::StoreError> {
        todo!()
    }
    /// A person says what became of an uncertain call (`step` may be left out when there is only one).
    pub async fn resolve(
        &self,
        session: &str,
        step: Option<&str>,
        by: &Principal,
        resolution: Resolution,
        reason: &str,
    ) -> Result<CallView, ResolveError> {
        let _ = (session, step, by, resolution, reason);
        todo!()
    }
}
