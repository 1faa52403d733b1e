//! Approvals: durable, bound to the exact action, single-use, expiring to denial.

use crate::{Caller, Gate};
use policy::{Principal, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An approval as shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each name is the documentation of its value")]
pub struct ApprovalView {
    /// `apr-57`.
    pub id: String,
    pub state: journal::machine::Approval,
    pub session: String,
    pub step: String,
    pub agent: String,
    pub cause: Principal,
    pub verb: String,
    pub resource: String,
    pub effect: policy::Effect,
    pub environment: String,
    pub reason: String,
    pub rule: Option<String>,
    pub approvers: Vec<policy::Approver>,
    pub requested: Timestamp,
    pub expires: Timestamp,
    pub decided_by: Option<Principal>,
    pub decided_at: Option<Timestamp>,
    pub decision_reason: Option<String>,
    /// The whole action as it will run; filled by [`Gate::approval`] unless erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Value>,
}

/// What a person says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Approve,
    /// No.
    Deny,
}

/// Why a verdict does not count.
#[derive(Debug, thiserror::Error)]
pub enum ApproveError {
    /// There is none of that id.
    #[error("no approval `{0}`")]
    Unknown(String),
    /// Whoever caused it.
    #[error("{0} caused this action and cannot decide about it")]
    OwnCause(Principal),
    /// Not a person.
    #[error("only a person decides; {0} is none")]
    NotAPerson(Principal),
    /// Not among the approvers, or without the role.
    #[error("{0} is not an approver of this action")]
    NotAnApprover(Principal),
    /// Already decided, spent, expired or cancelled.
    #[error(transparent)]
    Illegal(#[from] journal::machine::IllegalEvent),
    /// Not recorded.
    #[error(transparent)]
    Store(#[from] store::StoreError),
}

impl Gate {
    /// Pending ones first, then the newest, up to `limit`.
    pub fn approvals(&self, limit: usize) -> Result<Vec<ApprovalView>, store::StoreError> {
        let _ = limit;
        todo!()
    }
    /// One, with its action.
    pub fn approval(&self, id: &str) -> Result<Option<ApprovalView>, store::StoreError> {
        let _ = id;
        todo!()
    }
    /// A person decides. The same verdict by the same person again changes nothing and is no error.
    pub async fn decide_approval(
        &self,
        caller: &Caller,
        id: &str,
        verdict: Verdict,
        reason: &str,
    ) -> Result<ApprovalView, ApproveError> {
        let _ = (caller, id, verdict, reason);
        todo!()
    }
    /// Turns every pending approval past its time into a denial; returns them. Called by a timer.
    pub async fn expire_approvals(&self) -> Result<Vec<ApprovalView>, store::StoreError> {
        todo!()
    }
}
