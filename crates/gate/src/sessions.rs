//! Sessions, as far as admission must know them, and their machine driven live.

use crate::gate::platform;
use crate::record::short;
use crate::rows::{self, body, decode, page, session_of};
use crate::{Gate, approvals};
use journal::machine::{Session, SessionEvent};
use journal::{Entry, kind};
use policy::{Principal, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use store::{Applied, Corrupt, Erasable, NewEntry, Projection, Retention, Row, Rows, StoreError, Tx};

/// Name of the projection.
pub(crate) const SESSIONS: &str = "sessions";
/// The longest title, in characters.
const TITLE_MAX: usize = 200;

/// What to start.
#[derive(Clone, Debug, PartialEq)]
pub struct NewSession {
    /// Which agent.
    pub agent: String,
    /// On whose account.
    pub cause: Principal,
    /// Incident or task.
    pub correlation: Option<String>,
    /// What it works on: goes into a payload.
    pub input: Value,
    /// Shown in lists; redacted by the caller; at most 200 characters.
    pub title: String,
    /// The id given by whoever caused it; the same one twice gives the same session.
    pub idempotency_key: Option<String>,
}

/// A session as shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each name is the documentation of its value")]
pub struct SessionView {
    /// `ses-42`, where 42 is the sequence of its first entry.
    pub id: String,
    pub agent: String,
    pub cause: Principal,
    pub correlation: Option<String>,
    pub title: String,
    pub state: Session,
    /// Why it waits or failed.
    pub reason: Option<String>,
    pub created: Timestamp,
    pub updated: Timestamp,
    /// Time spent waiting for people, in milliseconds; the wait that goes on is not in it.
    pub waited_ms: i64,
    pub taint: bool,
    pub actions: u64,
    pub version: u64,
    /// Sequence of the entry whose payload `output` holds the result.
    pub output: Option<u64>,
}

/// Why not.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// There is none of that id.
    #[error("no session `{0}`")]
    Unknown(String),
    /// There is no such agent.
    #[error("no agent `{0}`")]
    UnknownAgent(String),
    /// Its state does not allow that.
    #[error(transparent)]
    Illegal(#[from] journal::machine::IllegalEvent),
    /// Not recorded.
    #[error(transparent)]
    Store(#[from] store::StoreError),
}

impl Gate {
    /// Creates and queues; durable when it returns. The bool says whether it is new.
    pub async fn create_session(&self, new: NewSession) -> Result<(SessionView, bool), SessionError> {
        if !self.authority.load().agents.contains_key(&new.agent) {
            return Err(SessionError::UnknownAgent(new.agent));
        }
        let write = move |tx: &mut Tx<'_>| {
            if let Some(key) = &new.idempotency_key
                && let Some(found) = tx.find(SESSIONS, "idempotency_key", key)?.into_iter().next()
            {
                return Ok((decode::<SessionRow>(found.value)?.view, false));
            }
            let id = format!("ses-{}", tx.next_sequence());
            tx.append(created(&id, &new))?;
            let queued = json!({ "event": SessionEvent::Queue, "agent": new.agent });
            tx.append(of_session(
                kind::SESSION_QUEUED,
                &id,
                &new.cause,
                &new.correlation,
                &platform(),
                queued,
            ))?;
            row(tx, &id)?
                .map(|row| (row.view, true))
                .ok_or(SessionError::Unknown(id))
        };
        self.store
            .write::<_, SessionError, _>(write)
            .await
            .map(|written| written.value)
    }

    /// Drives the machine. `reason` is shown while it holds; `output` becomes a payload. What ends
    /// a session also ends what it waits for: its open approvals are cancelled with it.
    pub async fn session_event(
        &self,
        session: &str,
        by: &Principal,
        event: SessionEvent,
        reason: Option<String>,
        output: Option<Value>,
    ) -> Result<SessionView, SessionError> {
        self.record_repeats(self.denials.take_session(session)).await?;
        let (id, by) = (session.to_owned(), by.clone());
        let write = move |tx: &mut Tx<'_>| {
            let before = row(tx, &id)?
                .ok_or_else(|| SessionError::Unknown(id.clone()))?
                .view;
            let state = before.state.after(event)?;
            if state.is_final() {
                approvals::cancel_open(tx, &id, "its session ended")?;
            }
            let mut body = json!({ "event": event, "agent": before.agent, "title": before.title });
            if let (Some(reason), Some(body)) = (reason, body.as_object_mut()) {
                body.insert("reason".to_owned(), Value::String(short(&reason)));
            }
            let mut entry = of_session(kind_of(event), &id, &before.cause, &before.correlation, &by, body);
            if let Some(output) = output {
                entry = entry.payload("output", Retention::Action, output);
            }
            tx.append(entry)?;
            row(tx, &id)?.map(|row| row.view).ok_or(SessionError::Unknown(id))
        };
        self.store
            .write::<_, SessionError, _>(write)
            .await
            .map(|written| written.value)
    }

    /// Adds a `session.noted` entry: progress that is no action. `body` is a JSON object, or becomes
    /// the member `note` of one; it is the caller's to redact.
    pub async fn note(&self, session: &str, by: &Principal, body: Value) -> Result<u64, SessionError> {
        let (id, by) = (session.to_owned(), by.clone());
        let body = match body {
            Value::Object(members) => members,
            other => Map::from_iter([("note".to_owned(), other)]),
        };
        let write = move |tx: &mut Tx<'_>| {
            let view = row(tx, &id)?
                .ok_or_else(|| SessionError::Unknown(id.clone()))?
                .view;
            let body = Value::Object(body);
            let entry = of_session(
                kind::SESSION_NOTED,
                &id,
                &view.cause,
                &view.correlation,
                &by,
                body,
            );
            tx.append(entry).map_err(SessionError::Store)
        };
        self.store
            .write::<_, SessionError, _>(write)
            .await
            .map(|written| written.value)
    }

    /// One session.
    pub fn session(&self, id: &str) -> Result<SessionView, SessionError> {
        let row = self
            .store
            .read(|reader| reader.row(SESSIONS, id)?.map(decode::<SessionRow>).transpose())?;
        row.map(|row| row.view)
            .ok_or_else(|| SessionError::Unknown(id.to_owned()))
    }

    /// The newest first, up to `limit`; in one state if given.
    pub fn sessions(&self, state: Option<Session>, limit: usize) -> Result<Vec<SessionView>, SessionError> {
        let rows = self.store.read(|reader| match state {
            Some(state) if !state.is_final() => {
                let found = reader.find(SESSIONS, "state", word(state))?.into_iter();
                let mut rows = found
                    .map(|row| decode(row.value))
                    .collect::<Result<Vec<SessionRow>, _>>()?;
                rows.sort_by_key(|row| std::cmp::Reverse(rows::number(&row.view.id)));
                rows.truncate(limit);
                Ok(rows)
            }
            _ => rows::newest(reader, SESSIONS, limit, |row: &SessionRow| {
                state.is_none_or(|state| state == row.view.state)
            }),
        })?;
        Ok(rows.into_iter().map(|row| row.view).collect())
    }

    /// Its input, unless erased.
    pub fn session_input(&self, id: &str) -> Result<Option<Value>, SessionError> {
        let session = self.session(id)?;
        self.session_payload(rows::number(&session.id), "input")
    }

    /// Its output, if it has one and it was not erased.
    pub fn session_output(&self, id: &str) -> Result<Option<Value>, SessionError> {
        match self.session(id)?.output {
            Some(entry) => self.session_payload(entry, "output"),
            None => Ok(None),
        }
    }

    fn session_payload(&self, entry: u64, name: &str) -> Result<Option<Value>, SessionError> {
        match self.store.read(|reader| reader.payload(entry, name))? {
            Erasable::Present(value) => Ok(Some(value)),
            Erasable::Erased | Erasable::Absent => Ok(None),
        }
    }
}

/// The row of a session, as of now in this transaction.
pub(crate) fn row(tx: &Tx<'_>, id: &str) -> Result<Option<SessionRow>, StoreError> {
    tx.row(SESSIONS, id)?.map(decode).transpose()
}

fn created(id: &str, new: &NewSession) -> NewEntry {
    let mut body = json!({
        "event": "create", "agent": new.agent, "title": assay::redact::line(&new.title, TITLE_MAX),
    });
    if let (Some(key), Some(body)) = (&new.idempotency_key, body.as_object_mut()) {
        body.insert("idempotency_key".to_owned(), Value::String(key.clone()));
    }
    of_session(
        kind::SESSION_CREATED,
        id,
        &new.cause,
        &new.correlation,
        &new.cause,
        body,
    )
    .payload("input", Retention::Intake, new.input.clone())
}

fn of_session(
    kind: &'static str,
    id: &str,
    cause: &Principal,
    correlation: &Option<String>,
    by: &Principal,
    body: Value,
) -> NewEntry {
    let mut entry = NewEntry::new(kind, by, body).session(id).cause(cause);
    entry.correlation.clone_from(correlation);
    entry
}

fn kind_of(event: SessionEvent) -> &'static str {
    match event {
        SessionEvent::Queue | SessionEvent::Retry => kind::SESSION_QUEUED,
        SessionEvent::Start => kind::SESSION_STARTED,
        SessionEvent::Wait => kind::SESSION_WAITING,
        SessionEvent::Resume => kind::SESSION_RESUMED,
        SessionEvent::Complete => kind::SESSION_COMPLETED,
        SessionEvent::Fail => kind::SESSION_FAILED,
        SessionEvent::Cancel => kind::SESSION_CANCELLED,
    }
}

/// The state as rows spell it.
fn word(state: Session) -> &'static str {
    match state {
        Session::Created => "created",
        Session::Queued => "queued",
        Session::Running => "running",
        Session::Waiting => "waiting",
        Session::Completed => "completed",
        Session::Failed => "failed",
        Session::Cancelled => "cancelled",
    }
}

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
    agent: String,
    title: String,
    idempotency_key: Option<String>,
}

#[derive(Deserialize)]
struct Driven {
    event: SessionEvent,
    reason: Option<String>,
}

#[derive(Deserialize)]
struct Settled {
    taints: bool,
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
                if body::<Settled>(entry)?.taints && !row.view.taint {
                    row.view.taint = true;
                    row.view.version += 1;
                }
                row
            }
            _ => drive(entry, rows::get(rows, id)?.ok_or_else(missing)?)?,
        };
        rows::put(rows, id, &row)
    }

    fn index(&self, row: &Row) -> Vec<(&'static str, String)> {
        let Ok(SessionRow {
            view,
            idempotency_key,
            ..
        }) = serde_json::from_value(row.value.clone())
        else {
            return Vec::new();
        };
        let mut values = vec![("agent", view.agent), ("page", page(&view.id))];
        values.extend(idempotency_key.map(|key| ("idempotency_key", key)));
        if !view.state.is_final() {
            values.push(("state", word(view.state).to_owned()));
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
            title: created.title,
            state: Session::Created,
            reason: None,
            created: entry.timestamp,
            updated: entry.timestamp,
            waited_ms: 0,
            taint: false,
            actions: 0,
            version: 0,
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
