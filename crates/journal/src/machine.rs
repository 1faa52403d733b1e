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
    /// A yes, and more are needed.
    Vote,
    /// The time of a stage is over: the next one decides in its place.
    Escalate,
    /// The last yes that was needed.
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
            (A::Pending, E::Vote | E::Escalate) => A::Pending,
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fmt::Debug;

    const SESSIONS: [Session; 7] = [
        Session::Created,
        Session::Queued,
        Session::Running,
        Session::Waiting,
        Session::Completed,
        Session::Failed,
        Session::Cancelled,
    ];
    const SESSION_EVENTS: [SessionEvent; 8] = [
        SessionEvent::Queue,
        SessionEvent::Start,
        SessionEvent::Wait,
        SessionEvent::Resume,
        SessionEvent::Complete,
        SessionEvent::Fail,
        SessionEvent::Cancel,
        SessionEvent::Retry,
    ];
    const CALLS: [Call; 6] = [
        Call::Proposed,
        Call::Parked,
        Call::Permitted,
        Call::Denied,
        Call::Settled,
        Call::Uncertain,
    ];
    const CALL_EVENTS: [CallEvent; 6] = [
        CallEvent::Permit,
        CallEvent::Deny,
        CallEvent::Park,
        CallEvent::Settle,
        CallEvent::Interrupt,
        CallEvent::Retry,
    ];
    const APPROVALS: [Approval; 6] = [
        Approval::Pending,
        Approval::Approved,
        Approval::Denied,
        Approval::Expired,
        Approval::Spent,
        Approval::Cancelled,
    ];
    const APPROVAL_EVENTS: [ApprovalEvent; 7] = [
        ApprovalEvent::Vote,
        ApprovalEvent::Escalate,
        ApprovalEvent::Approve,
        ApprovalEvent::Deny,
        ApprovalEvent::Expire,
        ApprovalEvent::Spend,
        ApprovalEvent::Cancel,
    ];

    fn matrix<S: Copy + Debug, E: Copy + Debug>(
        states: &[S],
        events: &[E],
        after: fn(S, E) -> Result<S, IllegalEvent>,
    ) -> String {
        let row = |first: &str, cells: Vec<String>| {
            let line: String = cells.iter().map(|cell| format!("{cell:<11}")).collect();
            format!("{first:<11}{}\n", line.trim_end())
        };
        let mut text = row("state", events.iter().map(|event| format!("{event:?}")).collect());
        for state in states {
            let cell = |event: &E| after(*state, *event).map_or("-".to_owned(), |next| format!("{next:?}"));
            text += &row(&format!("{state:?}"), events.iter().map(cell).collect());
        }
        text
    }

    #[test]
    fn every_state_of_a_session_meets_every_event() {
        assert_eq!(
            matrix(&SESSIONS, &SESSION_EVENTS, Session::after),
            "\
state      Queue      Start      Wait       Resume     Complete   Fail       Cancel     Retry
Created    Queued     -          -          -          -          -          Cancelled  -
Queued     -          Running    -          -          -          -          Cancelled  -
Running    Queued     -          Waiting    -          Completed  Failed     Cancelled  -
Waiting    Queued     -          -          Running    -          -          Cancelled  -
Completed  -          -          -          -          -          -          -          Queued
Failed     -          -          -          -          -          -          -          Queued
Cancelled  -          -          -          -          -          -          -          -
"
        );
    }

    #[test]
    fn every_state_of_a_call_meets_every_event() {
        assert_eq!(
            matrix(&CALLS, &CALL_EVENTS, Call::after),
            "\
state      Permit     Deny       Park       Settle     Interrupt  Retry
Proposed   Permitted  Denied     Parked     -          -          -
Parked     Permitted  Denied     Parked     -          -          Proposed
Permitted  -          -          -          Settled    Uncertain  -
Denied     -          -          -          -          -          Proposed
Settled    -          -          -          -          -          Proposed
Uncertain  -          -          -          Settled    -          Proposed
"
        );
    }

    #[test]
    fn every_state_of_an_approval_meets_every_event() {
        assert_eq!(
            matrix(&APPROVALS, &APPROVAL_EVENTS, Approval::after),
            "\
state      Vote       Escalate   Approve    Deny       Expire     Spend      Cancel
Pending    Pending    Pending    Approved   Denied     Expired    -          Cancelled
Approved   -          -          -          Denied     Expired    Spent      Cancelled
Denied     -          -          -          -          -          -          -
Expired    -          -          -          -          -          -          -
Spent      -          -          -          -          -          -          -
Cancelled  -          -          -          -          -          -          -
"
        );
    }

    #[test]
    fn a_refusal_names_machine_state_and_event() {
        #[rustfmt::skip]
        let table = [
            (Session::Cancelled.after(SessionEvent::Retry).unwrap_err(),   "`retry` cannot happen to a session that is `cancelled`"),
            (Call::Denied.after(CallEvent::Settle).unwrap_err(),           "`settle` cannot happen to a call that is `denied`"),
            (Approval::Spent.after(ApprovalEvent::Spend).unwrap_err(),     "`spend` cannot happen to an approval that is `spent`"),
        ];
        for (error, expected) in table {
            assert_eq!(error.to_string(), expected);
        }
    }

    proptest! {
        #[test]
        fn a_final_session_moves_only_by_a_retry(events in prop::collection::vec(prop::sample::select(&SESSION_EVENTS), 0..60)) {
            let mut session = Session::Created;
            for event in events {
                let Ok(next) = session.after(event) else { continue };
                if session.is_final() {
                    prop_assert_ne!(session, Session::Cancelled);
                    prop_assert_eq!((event, next), (SessionEvent::Retry, Session::Queued));
                }
                session = next;
            }
        }

        #[test]
        fn a_settled_or_denied_call_moves_only_by_a_retry(events in prop::collection::vec(prop::sample::select(&CALL_EVENTS), 0..60)) {
            let mut call = Call::Proposed;
            let mut permits = 0;
            for event in events {
                let Ok(next) = call.after(event) else { continue };
                if matches!(call, Call::Settled | Call::Denied) {
                    prop_assert_eq!((event, next), (CallEvent::Retry, Call::Proposed));
                }
                // A permit in hand ends in an outcome or in doubt; it is never permitted over.
                permits += i32::from(event == CallEvent::Permit);
                permits -= i32::from(matches!(call, Call::Permitted));
                prop_assert!((0..=1).contains(&permits));
                call = next;
            }
        }

        #[test]
        fn an_approval_is_spent_at_most_once_and_never_leaves_its_end(events in prop::collection::vec(prop::sample::select(&APPROVAL_EVENTS), 0..60)) {
            let mut approval = Approval::Pending;
            let mut spent = 0;
            for event in events {
                let Ok(next) = approval.after(event) else { continue };
                prop_assert!(matches!(approval, Approval::Pending | Approval::Approved));
                spent += i32::from(event == ApprovalEvent::Spend);
                approval = next;
            }
            prop_assert!(spent <= 1);
        }
    }
}
