//! State machines as one `match` on (state, event): sessions, calls, approvals.
//!
//! Live execution and replay both come through `after`; a wildcard may only refuse.

use serde::{Deserialize, Serialize};

/// An event that a state does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{event}` cannot happen to {machine} that is `{state}`")]
pub struct IllegalEvent {
    /// `a session`, `a call`, `an approval`.
    pub machine: &'static str,
    /// Where it stood.
    pub state: String,
    /// What came.
    pub event: String,
}

/// Where a session stands (S1-2.16, and cancelled).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each name is the documentation of its value")]
pub enum Session {
    Created,
    Queued,
    Running,
    /// For a person: an approval, an uncertain outcome.
    Waiting,
    Completed,
    Failed,
    Cancelled,
}

/// What happens to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each name is the documentation of its value")]
pub enum SessionEvent {
    Queue,
    Start,
    Wait,
    Resume,
    Complete,
    Fail,
    Cancel,
    Retry,
}

/// Where a call (one action of a session) stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each name is the documentation of its value")]
pub enum Call {
    Proposed,
    /// Waits for an approval.
    Parked,
    Permitted,
    Denied,
    Settled,
    /// The effect may or may not have happened.
    Uncertain,
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each name is the documentation of its value")]
pub enum CallEvent {
    Permit,
    Deny,
    Park,
    Settle,
    /// Settled with `uncertain`, or found without an outcome after a crash.
    Interrupt,
    /// Proposed again: after parking, after `not_started`, or because it is idempotent.
    Retry,
}

/// Where an approval stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each name is the documentation of its value")]
pub enum Approval {
    Pending,
    Approved,
    Denied,
    Expired,
    Spent,
    Cancelled,
}

/// What happens to an approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each name is the documentation of its value")]
pub enum ApprovalEvent {
    Approve,
    Deny,
    Expire,
    Spend,
    Cancel,
}

impl Session {
    /// The only place a session changes state.
    pub fn after(self, event: SessionEvent) -> Result<Session, IllegalEvent> {
        let _ = event;
        todo!()
    }
    /// Whether nothing but a retry can follow.
    pub fn is_final(self) -> bool {
        matches!(self, Session::Completed | Session::Failed | Session::Cancelled)
    }
}

impl Call {
    /// The only place a call changes state.
    pub fn after(self, event: CallEvent) -> Result<Call, IllegalEvent> {
        let _ = event;
        todo!()
    }
}

impl Approval {
    /// The only place an approval changes state.
    pub fn after(self, event: ApprovalEvent) -> Result<Approval, IllegalEvent> {
        let _ = event;
        todo!()
    }
}
