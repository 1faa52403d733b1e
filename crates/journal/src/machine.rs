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

impl IllegalEvent {
    fn of(machine: &'static str, state: impl std::fmt::Debug, event: impl std::fmt::Debug) -> IllegalEvent {
        let lower = |text: String| text.to_lowercase();
        IllegalEvent {
            machine,
            state: lower(format!("{state:?}")),
            event: lower(format!("{event:?}")),
        }
    }
}

impl Session {
    /// The only place a session changes state.
    pub fn after(self, event: SessionEvent) -> Result<Session, IllegalEvent> {
        use {Session as S, SessionEvent as E};
        Ok(match (self, event) {
            (S::Created, E::Queue) => S::Queued,
            (S::Queued, E::Start) => S::Running,
            // A restart found it interrupted, or what it waited for came: a worker takes it up again.
            (S::Running | S::Waiting, E::Queue) => S::Queued,
            (S::Running, E::Wait) => S::Waiting,
            (S::Waiting, E::Resume) => S::Running,
            (S::Running, E::Complete) => S::Completed,
            (S::Running, E::Fail) => S::Failed,
            (S::Created | S::Queued | S::Running | S::Waiting, E::Cancel) => S::Cancelled,
            // A follow-up runs again, but by way of the queue: workers take sessions from nowhere else.
            (S::Completed | S::Failed, E::Retry) => S::Queued,
            (state, event) => return Err(IllegalEvent::of("a session", state, event)),
        })
    }
    /// Whether nothing but a retry can follow. After a cancellation, not even that.
    pub fn is_final(self) -> bool {
        matches!(self, Session::Completed | Session::Failed | Session::Cancelled)
    }
}

impl Call {
    /// The only place a call changes state.
    pub fn after(self, event: CallEvent) -> Result<Call, IllegalEvent> {
        use {Call as C, CallEvent as E};
        Ok(match (self, event) {
            (C::Proposed | C::Parked, E::Permit) => C::Permitted,
            (C::Proposed | C::Parked, E::Deny) => C::Denied,
            (C::Proposed | C::Parked, E::Park) => C::Parked,
            (C::Permitted, E::Settle) => C::Settled,
            (C::Permitted, E::Interrupt) => C::Uncertain,
            // A person says what happened, or the outcome comes late after all.
            (C::Uncertain, E::Settle) => C::Settled,
            // Whether it may be repeated is the caller's to know: parked calls always, uncertain ones when
            // idempotent, settled ones when nothing was started, denied ones when their session is retried.
            (C::Parked | C::Uncertain | C::Settled | C::Denied, E::Retry) => C::Proposed,
            (state, event) => return Err(IllegalEvent::of("a call", state, event)),
        })
    }
}

impl Approval {
    /// The only place an approval changes state.
    pub fn after(self, event: ApprovalEvent) -> Result<Approval, IllegalEvent> {
        use {Approval as A, ApprovalEvent as E};
        Ok(match (self, event) {
            (A::Pending, E::Approve) => A::Approved,
            (A::Approved, E::Spend) => A::Spent,
            // Until it is spent, an approval can be withdrawn.
            (A::Pending | A::Approved, E::Deny) => A::Denied,
            (A::Pending | A::Approved, E::Expire) => A::Expired,
            (A::Pending | A::Approved, E::Cancel) => A::Cancelled,
            (state, event) => return Err(IllegalEvent::of("an approval", state, event)),
        })
    }
}
