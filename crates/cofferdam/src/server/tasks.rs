//! Tasks: work that a person or a program gives to an agent, and polls for.
//!
//! A task is a session seen from outside. Its id is the caller's, or `task-N` where `ses-N` is its
//! session; sending the same id twice gives the same session and runs nothing twice.

use super::call::{Answer, Call, json, ok};
use super::problem::ApiError;
use super::svid;
use gate::{NewSession, SessionError, SessionView};
use http::StatusCode;
use journal::machine::Session;
use policy::{Principal, PrincipalKind, Taints};
use serde::Deserialize;
use serde_json::{Value, json};

/// Longest id, in characters (S4-9).
const ID_MAX: usize = 64;
/// What the names of tasks begin with in the journal.
const PREFIX: &str = "task/";
/// Longest title, in characters.
const TITLE_MAX: usize = 200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewTask {
    task_id: Option<String>,
    agent: String,
    #[serde(default)]
    input: Value,
    #[serde(default)]
    title: String,
    /// The delegation to `agent` that it runs under.
    delegation: Option<String>,
    /// The person who sends it says that they wrote all of its text themselves.
    #[serde(default)]
    own_words: bool,
}

/// `POST /api/v1/tasks`: takes a task; 201 when it is new, 200 when this id was sent before.
pub async fn submit(call: Call) -> Answer {
    let mut task: NewTask = call.json()?;
    if let Some((name, _)) = call.app.gate.authority().resolve(&task.agent) {
        task.agent = name.to_owned();
    }
    if let Some(delegation) = call.caller.delegation() {
        let delegation = delegation.to_owned();
        let own = task.delegation.get_or_insert_with(|| delegation.clone());
        if task.agent != call.caller.principal().name || *own != delegation {
            return Err(ApiError::forbidden(
                "an agent gives tasks to itself alone, under the delegation that it redeemed",
            ));
        }
    }
    svid::on_an_account(&call)?;
    if task.input.is_null() {
        return Err(ApiError::malformed(
            "/input",
            "a task needs an `input` that is not null",
        ));
    }
    if gate::is_reserved(&task.agent) {
        let what = format!("`{}` is the platform's own and takes no tasks", task.agent);
        return Err(ApiError::malformed("/agent", what));
    }
    let unknown = || SessionError::UnknownAgent(task.agent.clone()).into();
    call.admit_agent(&task.agent, unknown)?;
    if call.app.runtime.is_guest(&task.agent) {
        let name = &task.agent;
        let what =
            format!("`{name}` is a guest and takes no tasks: `cofferdam run --agent {name}` starts it");
        return Err(ApiError::malformed("/agent", what));
    }
    if let Some(id) = &task.delegation {
        let missing = || SessionError::NotDelegated(id.clone(), "is not there").into();
        call.admit_delegation(id, &task.agent, missing)?;
    }
    let key = task.task_id.as_deref().map(checked_id).transpose()?.map(name_of);
    let new = NewSession {
        agent: task.agent.clone(),
        cause: call.caller.principal().clone(),
        correlation: key.clone(),
        input: task.input.clone(),
        title: title(&task),
        idempotency_key: key,
        urgent: false,
        taint: brought(&task, call.caller.principal()),
    };
    let under = task.delegation.clone();
    let (session, is_new) = call.app.gate.create_session_under(new, under).await?;
    let taken = || ApiError::conflict("this task's id is taken");
    call.admit_agent(&session.agent, taken)?;
    if is_new {
        call.app.runtime.wake();
        return json(StatusCode::CREATED, &view(&call, &session)?);
    }
    if is_another(&call, &session, &task)? {
        let id = task.task_id.unwrap_or_default();
        return Err(ApiError::conflict(format!(
            "task `{id}` was given before with another agent, delegation or input"
        )));
    }
    ok(&view(&call, &session)?)
}

/// Whether the task of that id was another one.
fn is_another(call: &Call, session: &SessionView, task: &NewTask) -> Result<bool, ApiError> {
    let input = call.app.gate.session_input(&session.id)?;
    let same = session.agent == task.agent && session.delegation == task.delegation;
    Ok(!same || input.is_some_and(|was| was != task.input))
}

/// `GET /api/v1/tasks/{id}`: where it stands, and its output or why it failed.
pub async fn show(call: Call) -> Answer {
    let id = call.parameter("id");
    let own = |session: &SessionView| match call.caller.delegation() {
        Some(delegation) => {
            session.cause == *call.caller.principal() && session.delegation.as_deref() == Some(delegation)
        }
        None => !svid::is_alone(&call),
    };
    let session = find(&call, id)?
        .filter(own)
        .ok_or_else(|| ApiError::not_found(format!("task `{id}`")))?;
    ok(&view(&call, &session)?)
}

pub(super) fn find(call: &Call, id: &str) -> Result<Option<SessionView>, ApiError> {
    if let Some(number) = id.strip_prefix("task-").filter(|n| is_number(n)) {
        return match call.app.gate.session(&format!("ses-{number}")) {
            Ok(session) if session.correlation.is_none() => Ok(Some(session)),
            Ok(_) | Err(gate::SessionError::Unknown(_)) => Ok(None),
            Err(error) => Err(error.into()),
        };
    }
    if checked_id(id).is_err() {
        return Ok(None);
    }
    let rows = call
        .app
        .gate
        .store()
        .read(|r| r.find("sessions", "idempotency_key", &name_of(id)))?;
    let Some(row) = rows.into_iter().next() else {
        return Ok(None);
    };
    Ok(Some(call.app.gate.session(&row.key)?))
}

/// What a task is called in the journal: an id is the caller's to choose, so by itself it could name an
/// incident.
fn name_of(id: &str) -> String {
    format!("{PREFIX}{id}")
}

/// `[A-Za-z0-9_-]{1,64}` (S4-9), and not of the form that the platform gives.
fn checked_id(id: &str) -> Result<&str, ApiError> {
    let fits = (1..=ID_MAX).contains(&id.len())
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if !fits {
        let what = format!("a task's id is 1 to {ID_MAX} of A-Z, a-z, 0-9, `_` and `-`");
        return Err(ApiError::malformed("/task_id", what));
    }
    if id.strip_prefix("task-").is_some_and(is_number) {
        return Err(ApiError::malformed(
            "/task_id",
            "ids of the form `task-N` are given by the platform",
        ));
    }
    Ok(id)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// What the input brings into the session. Who sends a task is known, and who made its text is not: people
/// and programs pass on what they were sent. So it is untrusted, unless a person says that the words are
/// theirs. The journal holds that they did, in `taint` of `session.created`.
fn brought(task: &NewTask, by: &Principal) -> Taints {
    match by.kind {
        PrincipalKind::Person if task.own_words => Taints::NONE,
        PrincipalKind::Person | PrincipalKind::Agent | PrincipalKind::Service => Taints::UNTRUSTED,
    }
}

/// Titles stand in lists, so they are short and redacted.
fn title(task: &NewTask) -> String {
    let given = if task.title.trim().is_empty() {
        "task"
    } else {
        task.title.trim()
    };
    assay::redact::line(given, TITLE_MAX)
}

fn view(call: &Call, session: &SessionView) -> Result<Value, ApiError> {
    let id = match &session.correlation {
        Some(name) => name.strip_prefix(PREFIX).unwrap_or(name).to_owned(),
        None => session.id.replacen("ses-", "task-", 1),
    };
    let mut view = json!({
        "id": id,
        "session": session.id,
        "agent": session.agent,
        "status": session.state,
        "created": session.created,
        "updated": session.updated,
    });
    if let Some(map) = view.as_object_mut() {
        match session.state {
            Session::Failed | Session::Cancelled => {
                let reason = session
                    .reason
                    .clone()
                    .unwrap_or_else(|| "no reason was recorded".into());
                map.insert("error".into(), json!({"message": reason}));
            }
            Session::Waiting => {
                map.insert("reason".into(), json!(session.reason));
            }
            Session::Created | Session::Queued | Session::Running | Session::Completed => {}
        }
        if session.output.is_some() {
            let output = call.app.gate.session_output(&session.id)?.unwrap_or_default();
            map.insert(
                "output".into(),
                super::sessions::shown(call, &session.agent, output)?,
            );
        }
    }
    Ok(view)
}
