//! Sessions, as far as admission must know them, and their machine driven live.

mod guest;
mod projection;

pub use guest::{GUEST, GuestSession, Tally};
pub(crate) use projection::{SessionRow, Sessions};

use crate::gate::platform;
use crate::record::short;
use crate::rows::{self, decode};
use crate::{Gate, approvals, delegations};
use journal::machine::{Session, SessionEvent};
use journal::{Entry, kind};
use policy::{Principal, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use store::{Erasable, NewEntry, Reader, Retention, StoreError, Tx};

/// Name of the projection.
pub(crate) const SESSIONS: &str = "sessions";
/// Entries that are read at once.
const PAGE: usize = 1_000;
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
    /// Whether it runs before whatever is not, also after a restart.
    pub urgent: bool,
    /// What enters it with its input and its title.
    pub taint: policy::Taints,
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
    /// The delegation that it runs under: `del-7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegation: Option<String>,
    pub title: String,
    pub state: Session,
    /// Why it waits or failed.
    pub reason: Option<String>,
    pub created: Timestamp,
    pub updated: Timestamp,
    /// Time spent waiting for people, in milliseconds; the wait that goes on is not in it.
    pub waited_ms: i64,
    /// What has entered it.
    pub taint: policy::Taints,
    pub actions: u64,
    pub version: u64,
    /// Runs before whatever is not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub urgent: bool,
    /// Of a program of others that runs behind walls: the platform's own agents leave such a session alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest: Option<GuestSession>,
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
    /// The delegation is not there, not to that agent, or over.
    #[error("delegation `{0}` {1}")]
    NotDelegated(String, &'static str),
    /// What was lent, or to whom, or by whom, does not fit.
    #[error("cannot lend that: {0}")]
    NotLent(&'static str),
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
        self.create_session_under(new, None).await
    }

    /// The same under a delegation to its agent: it may do what was delegated, as long as that holds.
    pub async fn create_session_under(
        &self,
        new: NewSession,
        delegation: Option<String>,
    ) -> Result<(SessionView, bool), SessionError> {
        self.create_with(new, delegation, None).await
    }

    async fn create_with(
        &self,
        new: NewSession,
        delegation: Option<String>,
        guest: Option<GuestSession>,
    ) -> Result<(SessionView, bool), SessionError> {
        let now = self.deadlines.now();
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
            if let Some(delegation) = &delegation {
                delegated(tx, delegation, &new.agent, now)?;
            }
            tx.append(created(&id, &new, delegation.as_deref(), guest.as_ref()))?;
            let queued = json!({ "event": SessionEvent::Queue, "agent": new.agent });
            tx.append(of_session(
                kind::SESSION_QUEUED,
                &id,
                &new.cause,
                &new.correlation,
                &platform(),
                queued,
            ))?;
            if guest.is_some() {
                // Somebody waits for it, and nobody else would start it.
                let started = json!({
                    "event": SessionEvent::Start, "agent": new.agent,
                    "title": assay::redact::line(&new.title, TITLE_MAX),
                });
                tx.append(of_session(
                    kind::SESSION_STARTED,
                    &id,
                    &new.cause,
                    &new.correlation,
                    &platform(),
                    started,
                ))?;
            }
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

/// Every entry of a session, in order.
pub(crate) fn each_entry(
    reader: &Reader<'_>,
    session: &SessionView,
    mut take: impl FnMut(&Entry) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut from = rows::number(&session.id);
    loop {
        let page = reader.session_entries(&session.id, from, PAGE)?;
        for stored in &page {
            take(&stored.entry)?;
            from = stored.entry.sequence + 1;
        }
        if page.len() < PAGE {
            return Ok(());
        }
    }
}

/// The row of a session, as of now in this transaction.
pub(crate) fn row(tx: &Tx<'_>, id: &str) -> Result<Option<SessionRow>, StoreError> {
    let held = tx.held(SESSIONS, id)?;
    held.map(|row| rows::decode_held(&row)).transpose()
}

/// An entry of session `id` by `by`, on the account of whoever caused the session.
pub(crate) fn entry(
    tx: &Tx<'_>,
    kind: &'static str,
    id: &str,
    by: &Principal,
    body: Value,
) -> Result<NewEntry, StoreError> {
    let view = row(tx, id)?
        .ok_or_else(|| StoreError::Refused(format!("no session `{id}`")))?
        .view;
    Ok(of_session(kind, id, &view.cause, &view.correlation, by, body))
}

/// Refuses a delegation that this agent could do nothing with. What is above it is judged by each action.
fn delegated(tx: &Tx<'_>, id: &str, agent: &str, now: Timestamp) -> Result<(), SessionError> {
    let not = |why| SessionError::NotDelegated(id.to_owned(), why);
    let row = delegations::row_now(tx, id)?.ok_or_else(|| not("is not there"))?;
    match () {
        () if row.to != agent => Err(not("is to another agent")),
        () if row.revoked.is_some() => Err(not("was revoked")),
        () if now >= row.until => Err(not("has expired")),
        () => Ok(()),
    }
}

fn created(id: &str, new: &NewSession, delegation: Option<&str>, guest: Option<&GuestSession>) -> NewEntry {
    let mut body = json!({
        "event": "create", "agent": new.agent, "title": assay::redact::line(&new.title, TITLE_MAX),
        "taint": new.taint,
    });
    if let (Some(delegation), Some(body)) = (delegation, body.as_object_mut()) {
        body.insert("delegation".to_owned(), Value::String(delegation.to_owned()));
    }
    if let (Some(guest), Some(body)) = (guest, body.as_object_mut()) {
        body.insert("guest".to_owned(), json!(guest));
    }
    if let (Some(key), Some(body)) = (&new.idempotency_key, body.as_object_mut()) {
        body.insert("idempotency_key".to_owned(), Value::String(key.clone()));
    }
    if let (true, Some(body)) = (new.urgent, body.as_object_mut()) {
        body.insert("urgent".to_owned(), Value::Bool(true));
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
