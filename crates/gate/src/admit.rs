//! The order of the gate. The order of these lines is the security argument.

use crate::Gate;
use policy::{Action, Denial, Explanation, Permit, Stopped};

/// What a session wants to do next.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// `ses-42`; has to be running. Its agent acts, on its cause's account.
    pub session: String,
    /// The step's key, the same when it runs again.
    pub step: String,
    /// What.
    pub action: Action,
}

/// Why there is no permit. Recorded, unless it says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The session or its agent is not there, or does not run. Not recorded.
    #[error("session `{0}` cannot act: {1}")]
    NotActing(String, String),
    /// A stop covers it.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// Policy says no.
    #[error("denied: {}", .0.reason())]
    Denied(Denial),
    /// A bound is reached.
    #[error("bound reached: {what} is limited to {limit}")]
    Bound {
        /// `actions per session`, `actions per minute`.
        what: &'static str,
        /// The limit.
        limit: u32,
        /// When it may be tried again, in milliseconds from now; `None` for never in this session.
        retry_after_ms: Option<i64>,
    },
    /// A person has to decide; the identical action, proposed again, uses the approval.
    #[error("needs approval `{approval}`: {reason}")]
    Parked {
        /// `apr-57`.
        approval: String,
        /// Why.
        reason: String,
    },
    /// A person said no, or nobody said anything in time.
    #[error("approval `{approval}` was {state}{}", reason.as_ref().map(|r| format!(": {r}")).unwrap_or_default())]
    NotApproved {
        /// `apr-57`.
        approval: String,
        /// `denied`, `expired`.
        state: String,
        /// In the words of whoever decided.
        reason: Option<String>,
    },
    /// This very step was permitted before and has an outcome, or one that nobody knows.
    #[error("step `{step}` was already admitted as entry {entry}")]
    AlreadyAdmitted {
        /// Step.
        step: String,
        /// Its permit.
        entry: u64,
    },
    /// No record, no action.
    #[error("no record, no action: {0}")]
    Unrecorded(#[from] store::StoreError),
}

impl Gate {
    /// The gate. Six steps, in this order, whichever door the action came in by.
    pub async fn admit(&self, proposal: Proposal) -> Result<Permit, Refusal> {
        let _ = proposal;
        todo!()
    }
    /// What the gate would say of `action` by `agent`, step by step; records nothing.
    pub fn explain(&self, agent: &str, action: &Action) -> Option<Explanation> {
        let _ = (agent, action);
        todo!()
    }
}
