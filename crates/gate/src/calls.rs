//! Calls: the steps of sessions, each one action, as recorded. What replay reads instead of acting.

use crate::Gate;
use crate::gate::platform;
use crate::record::short;
use crate::rows::{self, body, decode, session_of};
use journal::machine::{Call, CallEvent, IllegalEvent};
use journal::{Entry, kind};
use policy::{Action, Idempotence, Outcome, Principal, PrincipalKind};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{Applied, Corrupt, Erasable, NewEntry, Projection, Retention, Row, Rows, StoreError, Tx};

/// Name of the projection.
pub(crate) const CALLS: &str = "calls";

/// A call as recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each name is the documentation of its value")]
pub struct CallView {
    pub session: String,
    /// Unique in the session and the same when it runs again: `steps/2`, `steps/4/0/steps/1`.
    pub step: String,
    pub state: Call,
    /// Sequence of the entry that proposed it first: the order of a session's calls.
    pub first: u64,
    /// How often it was permitted.
    pub attempts: u32,
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
    /// An agent or a service.
    #[error("only a person resolves a call; {0} is none")]
    NotAPerson(Principal),
    /// Not recorded.
    #[error(transparent)]
    Store(#[from] store::StoreError),
}

/// The key of a call's row.
pub(crate) fn key(session: &str, step: &str) -> String {
    format!("{session}/{step}")
}

impl Gate {
    /// One call.
    pub fn call(&self, session: &str, step: &str) -> Result<Option<CallView>, StoreError> {
        self.store
            .read(|reader| reader.row(CALLS, &key(session, step))?.map(decode).transpose())
    }

    /// All calls of a session, in the order in which they were first proposed.
    pub fn calls(&self, session: &str) -> Result<Vec<CallView>, StoreError> {
        let mut calls = self.calls_by("session", session)?;
        calls.sort_by_key(|call| call.first);
        Ok(calls)
    }

    /// The recorded result of a settled call, unless erased.
    pub fn call_result(&self, call: &CallView) -> Result<Option<Value>, StoreError> {
        let Some(settled) = call.settled else {
            return Ok(None);
        };
        match self.store.read(|reader| reader.payload(settled, "result"))? {
            Erasable::Present(result) => Ok(Some(result)),
            Erasable::Erased | Erasable::Absent => Ok(None),
        }
    }

    /// After a crash: every call that is permitted and has no outcome becomes `uncertain`. Called once,
    /// before anything runs.
    pub async fn mark_uncertain(&self) -> Result<Vec<CallView>, StoreError> {
        let open = self.calls_by("state", "permitted")?;
        let mut marked = Vec::with_capacity(open.len());
        for call in open {
            let written = self.store.write::<_, StoreError, _>(move |tx| {
                interrupt(tx, &call)?;
                row(tx, &call.session, &call.step)
            });
            marked.extend(written.await?.value);
        }
        Ok(marked)
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
        if by.kind != PrincipalKind::Person {
            return Err(ResolveError::NotAPerson(by.clone()));
        }
        let (session, step) = (session.to_owned(), step.map(str::to_owned));
        let (by, reason) = (by.clone(), short(reason));
        let write = move |tx: &mut Tx<'_>| {
            let call = the_uncertain(tx, &session, step)?;
            tx.append(resolved(&call, &by, resolution, &reason))?;
            Ok(row(tx, &call.session, &call.step)?.unwrap_or(call))
        };
        self.store
            .write::<_, ResolveError, _>(write)
            .await
            .map(|written| written.value)
    }

    fn calls_by(&self, index: &str, value: &str) -> Result<Vec<CallView>, StoreError> {
        self.store.read(|reader| {
            reader
                .find(CALLS, index, value)?
                .into_iter()
                .map(|row| decode(row.value))
                .collect()
        })
    }
}

impl CallView {
    /// Whether `action` may be proposed at this step although the step was proposed before: after a
    /// refusal, after parking, after an outcome that started nothing, or as the repeat of something
    /// idempotent whose outcome nobody knows. INVARIANT (no silent repeat).
    pub(crate) fn is_open_to(&self, action: &Action) -> bool {
        match self.state {
            Call::Proposed | Call::Parked | Call::Denied => true,
            Call::Permitted => false,
            Call::Settled => self.outcome == Some(Outcome::NotStarted),
            Call::Uncertain => {
                self.idempotence == Idempotence::Idempotent
                    && action.idempotence() == Idempotence::Idempotent
                    && self.verb == action.verb().as_str()
                    && self.resource == action.resource()
            }
        }
    }
}

/// The row of a call, as of now in this transaction.
pub(crate) fn row(tx: &Tx<'_>, session: &str, step: &str) -> Result<Option<CallView>, StoreError> {
    tx.row(CALLS, &key(session, step))?.map(decode).transpose()
}

/// Records that nobody knows what became of a permitted call.
fn interrupt(tx: &mut Tx<'_>, call: &CallView) -> Result<u64, StoreError> {
    let body = json!({
        "permit": call.permit, "step": call.step, "verb": call.verb, "outcome": Outcome::Uncertain,
        "summary": "interrupted before its outcome was recorded",
        "resources": policy::Resources::default(), "taints": false,
    });
    tx.append(NewEntry::new(kind::ACTION_SETTLED, platform(), body).session(&call.session))
}

fn the_uncertain(tx: &Tx<'_>, session: &str, step: Option<String>) -> Result<CallView, ResolveError> {
    let mut uncertain = Vec::new();
    for found in tx.find(CALLS, "session", session)? {
        let call: CallView = decode(found.value)?;
        if call.state == Call::Uncertain && step.as_ref().is_none_or(|step| *step == call.step) {
            uncertain.push(call);
        }
    }
    match (uncertain.pop(), uncertain.is_empty()) {
        (Some(call), true) => Ok(call),
        _ => Err(ResolveError::NotUncertain {
            session: session.to_owned(),
            step,
        }),
    }
}

fn resolved(call: &CallView, by: &Principal, resolution: Resolution, reason: &str) -> NewEntry {
    let (word, result) = match resolution {
        Resolution::Done(result) => ("done", Some(result)),
        Resolution::NotDone => ("not_done", None),
    };
    let body = json!({ "step": call.step, "permit": call.permit, "resolution": word, "reason": reason });
    let entry = NewEntry::new(kind::ACTION_RESOLVED, by, body).session(&call.session);
    match result {
        Some(result) => entry.payload("result", Retention::Action, result),
        None => entry,
    }
}

/// The body of `action.settled`, as far as it is read back.
#[derive(Deserialize)]
struct Settled {
    permit: u64,
    step: String,
    outcome: Outcome,
    summary: String,
}

/// The body of `action.resolved`.
#[derive(Deserialize)]
struct Resolved {
    permit: u64,
    step: String,
    resolution: String,
}

/// Rows are [`CallView`]s by `SESSION/STEP`.
pub(crate) struct Calls;

impl Projection for Calls {
    fn name(&self) -> &'static str {
        CALLS
    }

    fn kinds(&self) -> &'static [&'static str] {
        &[
            kind::ACTION_PERMITTED,
            kind::ACTION_DENIED,
            kind::ACTION_SETTLED,
            kind::ACTION_RESOLVED,
            kind::APPROVAL_REQUESTED,
        ]
    }

    fn apply(&self, applied: &Applied<'_>, rows: &mut dyn Rows) -> Result<(), Corrupt> {
        let entry = applied.entry;
        match entry.kind.as_str() {
            kind::ACTION_PERMITTED => judge(entry, body(entry)?, CallEvent::Permit, rows),
            kind::ACTION_DENIED => judge(entry, body(entry)?, CallEvent::Deny, rows),
            kind::APPROVAL_REQUESTED => judge(entry, body(entry)?, CallEvent::Park, rows),
            kind::ACTION_SETTLED => settle(entry, body(entry)?, rows),
            kind::ACTION_RESOLVED => resolve(entry, body(entry)?, rows),
            other => Err(Corrupt(format!(
                "entry {} of kind `{other}` is none of a call",
                entry.sequence
            ))),
        }
    }

    fn index(&self, row: &Row) -> Vec<(&'static str, String)> {
        let text = |name: &str| {
            row.value
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let (session, state) = (text("session"), text("state"));
        // Only states that somebody looks for: what is over would make the index grow for ever.
        match state.as_str() {
            "permitted" | "uncertain" | "parked" => vec![("session", session), ("state", state)],
            _ => vec![("session", session)],
        }
    }
}

/// What the bodies of all three judgements have in common: `action.permitted`, `action.denied` and
/// `approval.requested`.
#[derive(Deserialize)]
struct Facts {
    step: String,
    verb: String,
    resource: String,
    environment: String,
    effect: policy::Effect,
    idempotence: Idempotence,
    reason: String,
    rule: Option<String>,
    remedy: Option<String>,
    approval: Option<String>,
}

fn judge(entry: &Entry, facts: Facts, event: CallEvent, rows: &mut dyn Rows) -> Result<(), Corrupt> {
    let session = session_of(entry)?;
    let key = key(session, &facts.step);
    let before: Option<CallView> = rows::get(rows, &key)?;
    let state = before.as_ref().map_or(Call::Proposed, |call| call.state);
    // A refused repeat says nothing about the first try: whether that happened stays unknown.
    if (state, event) == (Call::Uncertain, CallEvent::Deny) {
        return Ok(());
    }
    let reopened = match state {
        Call::Denied | Call::Settled | Call::Uncertain => {
            state.after(CallEvent::Retry).map_err(illegal(entry))?
        }
        Call::Proposed | Call::Parked | Call::Permitted => state,
    };
    let permits = event == CallEvent::Permit;
    let call = CallView {
        session: session.to_owned(),
        step: facts.step,
        state: reopened.after(event).map_err(illegal(entry))?,
        first: before.as_ref().map_or(entry.sequence, |call| call.first),
        attempts: before.as_ref().map_or(0, |call| call.attempts) + u32::from(permits),
        verb: facts.verb,
        resource: facts.resource,
        effect: facts.effect,
        environment: facts.environment,
        idempotence: facts.idempotence,
        decision: match event {
            CallEvent::Permit => "permit".to_owned(),
            CallEvent::Park => "require_approval".to_owned(),
            _ => "deny".to_owned(),
        },
        reason: facts.reason,
        rule: facts.rule,
        remedy: facts.remedy,
        approval: facts.approval,
        permit: if permits {
            Some(entry.sequence)
        } else {
            before.as_ref().and_then(|call| call.permit)
        },
        settled: before.as_ref().and_then(|call| call.settled).filter(|_| !permits),
        outcome: before.as_ref().and_then(|call| call.outcome).filter(|_| !permits),
        summary: before.and_then(|call| call.summary).filter(|_| !permits),
    };
    rows::put(rows, &key, &call)
}

fn settle(entry: &Entry, settled: Settled, rows: &mut dyn Rows) -> Result<(), Corrupt> {
    let event = match settled.outcome {
        Outcome::Uncertain => CallEvent::Interrupt,
        Outcome::Success | Outcome::Failure | Outcome::Partial | Outcome::Cancelled | Outcome::NotStarted => {
            CallEvent::Settle
        }
    };
    end(entry, &settled.step, settled.permit, event, rows, |call| {
        call.outcome = Some(settled.outcome);
        call.summary = Some(settled.summary.clone());
    })
}

fn resolve(entry: &Entry, resolved: Resolved, rows: &mut dyn Rows) -> Result<(), Corrupt> {
    let (outcome, summary) = match resolved.resolution.as_str() {
        "done" => (Outcome::Success, "resolved by a person: it was done"),
        "not_done" => (Outcome::NotStarted, "resolved by a person: it was not done"),
        other => {
            return Err(Corrupt(format!(
                "entry {}: `{other}` is no resolution",
                entry.sequence
            )));
        }
    };
    end(
        entry,
        &resolved.step,
        resolved.permit,
        CallEvent::Settle,
        rows,
        |call| {
            call.outcome = Some(outcome);
            call.summary = Some(summary.to_owned());
        },
    )
}

/// Applies the end of the permit that the entry names, and of no other.
fn end(
    entry: &Entry,
    step: &str,
    permit: u64,
    event: CallEvent,
    rows: &mut dyn Rows,
    fill: impl FnOnce(&mut CallView),
) -> Result<(), Corrupt> {
    let key = key(session_of(entry)?, step);
    let Some(mut call) = rows::get::<CallView>(rows, &key)?.filter(|call| call.permit == Some(permit)) else {
        return Err(Corrupt(format!(
            "entry {} ends permit {permit}, which `{key}` does not hold",
            entry.sequence
        )));
    };
    call.state = call.state.after(event).map_err(illegal(entry))?;
    call.settled = Some(entry.sequence);
    fill(&mut call);
    rows::put(rows, &key, &call)
}

fn illegal(entry: &Entry) -> impl Fn(IllegalEvent) -> Corrupt {
    let sequence = entry.sequence;
    move |error| Corrupt(format!("entry {sequence}: {error}"))
}
