//! Sessions, as the fold over their entries. The only place where their rows change, live and in
//! replay, and only by the machine of `journal`.

use super::{SESSIONS, SessionView, kind_of, word};
use crate::rows::{self, body, page, session_of};
use journal::machine::{Session, SessionEvent};
use journal::{Entry, kind};
use policy::{Principal, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{Applied, Corrupt, Projection, Row, Rows};

/// A session as stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SessionRow {
    #[serde(flatten)]
    pub view: SessionView,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    waiting_since: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Created {
    delegation: Option<String>,
    agent: String,
    title: String,
    idempotency_key: Option<String>,
    #[serde(default)]
    urgent: bool,
    #[serde(default)]
    guest: Option<super::GuestSession>,
    /// Never left out: a session whose input nobody labelled is none.
    taint: policy::Taints,
}

#[derive(Deserialize)]
struct Driven {
    event: SessionEvent,
    reason: Option<String>,
}

#[derive(Deserialize)]
struct Settled {
    taints: policy::Taints,
}

/// Rows are [`SessionRow`]s by id. `version` grows with every change that decisions read.
pub(crate) struct Sessions;

impl Projection for Sessions {
    fn name(&self) -> &'static str {
        SESSIONS
    }

    fn kinds(&self) -> &'static [&'static str] {
        &["session.", kind::ACTION_PERMITTED, kind::ACTION_SETTLED]
    }

    fn apply(&self, applied: &Applied<'_>, rows: &mut dyn Rows) -> Result<(), Corrupt> {
        let entry = applied.entry;
        let id = session_of(entry)?;
        let missing = || {
            Corrupt(format!(
                "entry {} is of session `{id}`, which is not there",
                entry.sequence
            ))
        };
        let row = match entry.kind.as_str() {
            kind::SESSION_CREATED => create(entry, id)?,
            kind::SESSION_NOTED => {
                let mut row: SessionRow = rows::get(rows, id)?.ok_or_else(missing)?;
                row.view.updated = entry.timestamp;
                row
            }
            kind::ACTION_PERMITTED => {
                let mut row: SessionRow = rows::get(rows, id)?.ok_or_else(missing)?;
                row.view.actions += 1;
                row
            }
            kind::ACTION_SETTLED => {
                let mut row: SessionRow = rows::get(rows, id)?.ok_or_else(missing)?;
                let taint = row.view.taint.and(body::<Settled>(entry)?.taints);
                if taint != row.view.taint {
                    row.view.taint = taint;
                    row.view.version += 1;
                }
                row
            }
            _ => drive(entry, rows::get(rows, id)?.ok_or_else(missing)?)?,
        };
        rows::put(rows, id, &row)
    }

    fn index(&self, row: &Row) -> Vec<(&'static str, String)> {
        // Field by field: it is asked with every action.
        let text = |name: &str| row.value.get(name).and_then(Value::as_str).map(str::to_owned);
        let state = row.value.get("state").map(Session::deserialize);
        let (Some(id), Some(agent), Some(Ok(state))) = (text("id"), text("agent"), state) else {
            return Vec::new();
        };
        let mut values = vec![("agent", agent), ("page", page(&id))];
        values.extend(text("idempotency_key").map(|key| ("idempotency_key", key)));
        if !state.is_final() {
            values.push(("state", word(state).to_owned()));
        }
        values
    }
}

fn create(entry: &Entry, id: &str) -> Result<SessionRow, Corrupt> {
    let created: Created = body(entry)?;
    let cause = entry.cause.as_deref().and_then(Principal::parse);
    if rows::number(id) != entry.sequence {
        return Err(Corrupt(format!(
            "entry {} creates session `{id}`, whose number is another",
            entry.sequence
        )));
    }
    Ok(SessionRow {
        view: SessionView {
            id: id.to_owned(),
            agent: created.agent,
            cause: cause
                .ok_or_else(|| Corrupt(format!("entry {}: session without a cause", entry.sequence)))?,
            correlation: entry.correlation.clone(),
            delegation: created.delegation,
            title: created.title,
            state: Session::Created,
            reason: None,
            created: entry.timestamp,
            updated: entry.timestamp,
            waited_ms: 0,
            taint: created.taint,
            actions: 0,
            version: 0,
            urgent: created.urgent,
            guest: created.guest,
            output: None,
        },
        idempotency_key: created.idempotency_key,
        waiting_since: None,
    })
}

fn drive(entry: &Entry, mut row: SessionRow) -> Result<SessionRow, Corrupt> {
    let driven: Driven = body(entry)?;
    if kind_of(driven.event) != entry.kind {
        return Err(Corrupt(format!(
            "entry {}: its event does not fit its kind `{}`",
            entry.sequence, entry.kind
        )));
    }
    row.view.state = row
        .view
        .state
        .after(driven.event)
        .map_err(|e| Corrupt(format!("entry {}: {e}", entry.sequence)))?;
    row.view.version += 1;
    row.view.updated = entry.timestamp;
    row.view.reason = driven.reason;
    if let Some(since) = row.waiting_since.take() {
        row.view.waited_ms += entry.timestamp.since_ms(since).max(0);
    }
    row.waiting_since = (driven.event == SessionEvent::Wait).then_some(entry.timestamp);
    if entry
        .commitments
        .iter()
        .any(|commitment| commitment.name == "output")
    {
        row.view.output = Some(entry.sequence);
    }
    Ok(row)
}
