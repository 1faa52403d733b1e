//! Calls, as the fold over their entries. The only place where their rows change, live and in
//! replay, and only by the machine of `journal`.

use super::{CALLS, CallView, RESOLVED, key};
use crate::rows::{self, body, session_of};
use journal::machine::{Call, CallEvent, IllegalEvent};
use journal::{Entry, kind};
use policy::{Idempotence, Outcome, Principal, Taints};
use serde::Deserialize;
use serde_json::Value;
use store::{Applied, Corrupt, Projection, Row, Rows};

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
        let is_resolved = row.value.get("resolved_by").is_some();
        let mut values = vec![("session", session.clone())];
        values.extend(is_resolved.then_some((RESOLVED, session)));
        if let "permitted" | "uncertain" | "parked" = state.as_str() {
            values.push(("state", state));
        }
        values
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
    may_bring: Option<Taints>,
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
        // Of the newest permit; where an entry does not say it, everything.
        may_bring: match (&before, permits) {
            (Some(call), false) => call.may_bring,
            (None, false) => Taints::NONE,
            (_, true) => facts.may_bring.unwrap_or(Taints::ALL),
        },
        summary: before
            .as_ref()
            .and_then(|call| call.summary.clone())
            .filter(|_| !permits),
        resolved_by: before.map(|call| call.resolved_by).unwrap_or_default(),
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
    let nobody = || Corrupt(format!("entry {} is a resolution of nobody", entry.sequence));
    let by = Principal::parse(&entry.actor).ok_or_else(nobody)?;
    end(
        entry,
        &resolved.step,
        resolved.permit,
        CallEvent::Settle,
        rows,
        |call| {
            call.outcome = Some(outcome);
            call.summary = Some(summary.to_owned());
            if !call.resolved_by.contains(&by) {
                call.resolved_by.push(by);
            }
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
