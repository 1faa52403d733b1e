//! Approvals: durable, bound to the exact action, single-use, expiring to denial.

mod projection;

pub(crate) use projection::Approvals;

use crate::gate::platform;
use crate::record::short;
use crate::rows::{self, decode};
use crate::{Caller, Gate, Role, sessions};
use journal::kind;
use journal::machine::{Approval, ApprovalEvent, IllegalEvent};
use policy::{Principal, PrincipalKind, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use store::{Erasable, StoreError, Tx};

/// Name of the projection.
pub(crate) const APPROVALS: &str = "approvals";

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
    /// When several rules asked: whoever decides is in every list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub each_of: Vec<Vec<policy::Approver>>,
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
    pub fn approvals(&self, limit: usize) -> Result<Vec<ApprovalView>, StoreError> {
        self.store.read(|reader| {
            let mut shown = Vec::new();
            for row in reader.find(APPROVALS, "state", "pending")? {
                shown.push(decode::<ApprovalView>(row.value)?);
            }
            shown.sort_by_key(|view| std::cmp::Reverse(rows::number(&view.id)));
            shown.truncate(limit);
            let decided = |view: &ApprovalView| view.state != Approval::Pending;
            let rest = limit - shown.len();
            shown.extend(rows::newest(reader, APPROVALS, rest, decided)?);
            Ok(shown)
        })
    }

    /// One, with its action.
    pub fn approval(&self, id: &str) -> Result<Option<ApprovalView>, StoreError> {
        self.store.read(|reader| {
            let Some(value) = reader.row(APPROVALS, id)? else {
                return Ok(None);
            };
            let mut view: ApprovalView = decode(value)?;
            if let Erasable::Present(action) = reader.payload(rows::number(id), "action")? {
                view.action = Some(action);
            }
            Ok(Some(view))
        })
    }

    /// A person decides. The same verdict by the same person again changes nothing and is no error.
    /// A denial also withdraws an approval that is not spent yet.
    pub async fn decide_approval(
        &self,
        caller: &Caller,
        id: &str,
        verdict: Verdict,
        reason: &str,
    ) -> Result<ApprovalView, ApproveError> {
        let (caller, id, reason) = (caller.clone(), id.to_owned(), short(reason));
        let deadlines = Arc::clone(&self.deadlines);
        let write = move |tx: &mut Tx<'_>| {
            let view = row(tx, &id)?.ok_or_else(|| ApproveError::Unknown(id.clone()))?;
            may_decide(&caller, &view)?;
            if view.is_over(deadlines.now()) {
                // Recorded here and now, so the refusal is the answer of a commit and not its rollback.
                decided(tx, kind::APPROVAL_EXPIRED, &view, &platform(), late(&view))?;
                return Ok(Approval::Expired.after(verdict.event()).map(|_| view));
            }
            if said_before(&caller, verdict, &view) {
                return Ok(Ok(view));
            }
            view.state.after(verdict.event())?;
            decided(tx, verdict.kind(), &view, &caller.principal, &reason)?;
            Ok(Ok(row(tx, &id)?.unwrap_or(view)))
        };
        let written = self
            .store
            .write::<Result<ApprovalView, IllegalEvent>, ApproveError, _>(write)
            .await?;
        Ok(written.value?)
    }

    /// Turns every open approval past its time into a denial; returns them. Called by a timer. Also
    /// records counts of repeated denials whose minute is over, and permits of unacknowledged commits.
    pub async fn expire_approvals(&self) -> Result<Vec<ApprovalView>, StoreError> {
        self.settle_doubts().await?;
        self.record_repeats(self.denials.take_ended(self.clock.monotonic()))
            .await?;
        let now = self.deadlines.now();
        let over = self.store.read(|reader| {
            let mut over = Vec::new();
            for state in ["pending", "approved"] {
                for row in reader.find(APPROVALS, "state", state)? {
                    over.extend(Some(decode::<ApprovalView>(row.value)?).filter(|view| view.is_over(now)));
                }
            }
            Ok(over)
        })?;
        if over.is_empty() {
            return Ok(over);
        }
        let write = move |tx: &mut Tx<'_>| {
            let mut expired = Vec::with_capacity(over.len());
            for view in over {
                expired.extend(expire(tx, &view.id, now)?);
            }
            Ok(expired)
        };
        self.store
            .write::<_, StoreError, _>(write)
            .await
            .map(|written| written.value)
    }
}

impl Verdict {
    fn event(self) -> ApprovalEvent {
        match self {
            Verdict::Approve => ApprovalEvent::Approve,
            Verdict::Deny => ApprovalEvent::Deny,
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Verdict::Approve => kind::APPROVAL_APPROVED,
            Verdict::Deny => kind::APPROVAL_DENIED,
        }
    }
}

impl ApprovalView {
    /// Whether it is still open but its time is over: it counts as expired even before that is recorded.
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        matches!(self.state, Approval::Pending | Approval::Approved) && now >= self.expires
    }

    /// As a decision weighs it.
    pub(crate) fn given(&self) -> policy::Approved {
        policy::Approved {
            id: self.id.clone(),
            by: self
                .decided_by
                .as_ref()
                .map(|by| by.name.clone())
                .unwrap_or_default(),
            asked: match self.each_of.is_empty() {
                true => vec![self.approvers.clone()],
                false => self.each_of.clone(),
            },
        }
    }

    /// Where it stands at `now`.
    pub(crate) fn state_at(&self, now: Timestamp) -> Approval {
        if self.is_over(now) {
            Approval::Expired
        } else {
            self.state
        }
    }
}

/// INVARIANT (nobody approves what they caused), and only persons whom the rule names decide.
fn may_decide(caller: &Caller, view: &ApprovalView) -> Result<(), ApproveError> {
    let principal = &caller.principal;
    if principal.kind != PrincipalKind::Person {
        return Err(ApproveError::NotAPerson(principal.clone()));
    }
    if *principal == view.cause {
        return Err(ApproveError::OwnCause(principal.clone()));
    }
    let has = |role: &Role| caller.roles.contains(role);
    let named = |approver: &policy::Approver| match approver.0.as_str() {
        "approver" => has(&Role::Approver),
        "admin" => has(&Role::Admin),
        name => name == principal.name,
    };
    let mut lists = view.each_of.iter().chain([&view.approvers]);
    let listed = lists.all(|list| list.is_empty() || list.iter().any(named));
    if listed && (has(&Role::Approver) || has(&Role::Admin)) {
        Ok(())
    } else {
        Err(ApproveError::NotAnApprover(principal.clone()))
    }
}

fn said_before(caller: &Caller, verdict: Verdict, view: &ApprovalView) -> bool {
    let same = match verdict {
        Verdict::Approve => matches!(view.state, Approval::Approved | Approval::Spent),
        Verdict::Deny => view.state == Approval::Denied,
    };
    same && view.decided_by.as_ref() == Some(&caller.principal)
}

/// The row of an approval, as of now in this transaction.
pub(crate) fn row(tx: &Tx<'_>, id: &str) -> Result<Option<ApprovalView>, StoreError> {
    tx.row(APPROVALS, id)?.map(decode).transpose()
}

/// All approvals of a session, as of now in this transaction.
pub(crate) fn of(tx: &Tx<'_>, session: &str) -> Result<Vec<ApprovalView>, StoreError> {
    tx.find(APPROVALS, "session", session)?
        .into_iter()
        .map(|row| decode(row.value))
        .collect()
}

/// Records that an open approval's time is over; `None` when it is not, or not any more.
pub(crate) fn expire(tx: &mut Tx<'_>, id: &str, now: Timestamp) -> Result<Option<ApprovalView>, StoreError> {
    let Some(view) = row(tx, id)?.filter(|view| view.is_over(now)) else {
        return Ok(None);
    };
    decided(tx, kind::APPROVAL_EXPIRED, &view, &platform(), late(&view))?;
    row(tx, id)
}

/// Cancels one approval, if it is still open.
pub(crate) fn cancel(tx: &mut Tx<'_>, view: &ApprovalView, reason: &str) -> Result<(), StoreError> {
    if view.state.after(ApprovalEvent::Cancel).is_ok() {
        decided(tx, kind::APPROVAL_CANCELLED, view, &platform(), reason)?;
    }
    Ok(())
}

/// Cancels every open approval of a session.
pub(crate) fn cancel_open(tx: &mut Tx<'_>, session: &str, reason: &str) -> Result<(), StoreError> {
    of(tx, session)?
        .iter()
        .try_for_each(|view| cancel(tx, view, reason))
}

/// Why an approval whose time is over does not count.
pub(crate) fn late(view: &ApprovalView) -> &'static str {
    match view.state {
        Approval::Approved => "it was approved, but not used in time",
        _ => "nobody decided in time",
    }
}

fn decided(
    tx: &mut Tx<'_>,
    kind: &'static str,
    view: &ApprovalView,
    by: &Principal,
    reason: &str,
) -> Result<u64, StoreError> {
    let body = json!({ "approval": view.id, "reason": reason });
    let entry = sessions::entry(tx, kind, &view.session, by, body)?;
    tx.append(entry)
}
