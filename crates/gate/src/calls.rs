//! Calls: the steps of sessions, each one action, as recorded. What replay reads instead of acting.

mod projection;

pub(crate) use projection::Calls;

use crate::gate::platform;
use crate::record::short;
use crate::rows::{decode, decode_held};
use crate::{Gate, sessions};
use journal::kind;
use journal::machine::Call;
use policy::{Action, Idempotence, Outcome, Principal, PrincipalKind};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{Erasable, NewEntry, Retention, Row, StoreError, Tx};

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
    /// What counts as entered while nobody knows how it ended.
    pub may_bring: policy::Taints,
    /// Who said what became of it: whatever follows rests on their word.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resolved_by: Vec<Principal>,
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

/// Index of the calls that somebody resolved, by session.
pub(crate) const RESOLVED: &str = "resolved";

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
            let entry = resolved(tx, &call, &by, resolution, &reason)?;
            tx.append(entry)?;
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
    let held = tx.held(CALLS, &key(session, step))?;
    held.map(|row| decode_held(&row)).transpose()
}

/// Everybody who resolved one of `calls`, the rows of a session by [`RESOLVED`].
pub(crate) fn resolvers(calls: Vec<Row>) -> Result<Vec<Principal>, StoreError> {
    let mut all = Vec::new();
    for row in calls {
        all.extend(decode::<CallView>(row.value)?.resolved_by);
    }
    Ok(all)
}

/// Records that nobody knows what became of a permitted call.
fn interrupt(tx: &mut Tx<'_>, call: &CallView) -> Result<u64, StoreError> {
    let body = json!({
        "permit": call.permit, "step": call.step, "verb": call.verb, "outcome": Outcome::Uncertain,
        "summary": "interrupted before its outcome was recorded",
        "resources": policy::Resources::default(), "taints": call.may_bring,
    });
    let entry = sessions::entry(tx, kind::ACTION_SETTLED, &call.session, &platform(), body)?;
    tx.append(entry)
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

fn resolved(
    tx: &Tx<'_>,
    call: &CallView,
    by: &Principal,
    resolution: Resolution,
    reason: &str,
) -> Result<NewEntry, StoreError> {
    let (word, result) = match resolution {
        Resolution::Done(result) => ("done", Some(result)),
        Resolution::NotDone => ("not_done", None),
    };
    let body = json!({ "step": call.step, "permit": call.permit, "resolution": word, "reason": reason });
    let entry = sessions::entry(tx, kind::ACTION_RESOLVED, &call.session, by, body)?;
    Ok(match result {
        Some(result) => entry.payload("result", Retention::Action, result),
        None => entry,
    })
}
