//! Sessions: what agents did and do, and the two things that people do to them.

use super::call::{Answer, Call, ok};
use super::problem::ApiError;
use super::redacted::redacted;
use super::stream::{self, Follow};
use gate::{Resolution, Role, SessionView};
use journal::machine::Session;
use serde::Deserialize;
use serde_json::{Value, json};

/// Most sessions in one answer.
const LIST_MAX: usize = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    state: Option<Session>,
    limit: Option<usize>,
}

/// `GET /api/v1/sessions?state=&limit=`: the newest first.
pub async fn list(call: Call) -> Answer {
    let query: List = call.query()?;
    let limit = query.limit.unwrap_or(100).min(LIST_MAX);
    let sessions = call.app.gate.sessions(query.state, call.look(limit))?;
    ok(&call.seen(sessions, limit, |session| &session.agent)?)
}

/// `GET /api/v1/sessions/{id}`: one, with its calls in order as `calls`.
pub async fn show(call: Call) -> Answer {
    let session = call.app.gate.session(call.parameter("id"))?;
    let calls = call.app.gate.calls(&session.id)?;
    let mut view = serde_json::to_value(&session).map_err(|error| ApiError::internal(&error))?;
    if let Some(map) = view.as_object_mut() {
        map.insert("calls".into(), json!(calls));
    }
    ok(&view)
}

/// `GET /api/v1/sessions/{id}/output`: its result, as far as it got. As it is for those who work with it;
/// redacted for those who only look.
pub async fn output(call: Call) -> Answer {
    let session = call.app.gate.session(call.parameter("id"))?;
    let output = call.app.gate.session_output(&session.id)?;
    let output = output.ok_or_else(|| ApiError::not_found(format!("output of session `{}`", session.id)))?;
    ok(&shown(&call, &session.agent, output)?)
}

/// An output as this caller may see it: as it is for those who work with it, redacted for the rest.
pub(super) fn shown(call: &Call, agent: &str, output: Value) -> Result<Value, ApiError> {
    let works = call.has_role(&[Role::Admin, Role::Operator, Role::Approver], agent)?;
    Ok(if works { output } else { redacted(output) })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Events {
    /// First sequence wanted; `Last-Event-ID` wins over it.
    from: Option<u64>,
    /// Whether to go on after the session's end. It may be retried.
    #[serde(default)]
    follow: bool,
}

/// `GET /api/v1/sessions/{id}/events`: its entries as they stand in the journal, then live.
pub async fn events(call: Call) -> Answer {
    let query: Events = call.query()?;
    let session = call.app.gate.session(call.parameter("id"))?;
    let from = stream::resume_after(&call.headers)?.or(query.from).unwrap_or(0);
    Ok(stream::events(
        &call,
        Follow::Session {
            id: session.id,
            past_end: query.follow,
        },
        from,
    ))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cancel {
    #[serde(default)]
    reason: String,
}

/// `POST /api/v1/sessions/{id}/cancel`: no further step.
pub async fn cancel(call: Call) -> Answer {
    let body: Cancel = call.json()?;
    let reason = stated(&body.reason, "cancelled by a person")?;
    let session: SessionView = call
        .app
        .runtime
        .cancel(call.parameter("id"), call.caller.principal(), &reason)
        .await?;
    ok(&session)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resolve {
    step: Option<String>,
    resolution: Resolved,
    /// For `done`: what the call would have given.
    #[serde(default)]
    result: Value,
    #[serde(default)]
    reason: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Resolved {
    Done,
    NotDone,
}

/// `POST /api/v1/sessions/{id}/resolve`: a person says what became of an uncertain call.
pub async fn resolve(call: Call) -> Answer {
    let body: Resolve = call.json()?;
    let reason = stated(&body.reason, "")?;
    if reason.is_empty() {
        return Err(ApiError::malformed(
            "/reason",
            "say how you know what became of it",
        ));
    }
    let resolution = match body.resolution {
        Resolved::Done => Resolution::Done(body.result),
        Resolved::NotDone => Resolution::NotDone,
    };
    let session = call.app.gate.session(call.parameter("id"))?;
    let by = call.caller.principal();
    let resolved = call
        .app
        .gate
        .resolve(&session.id, body.step.as_deref(), by, resolution, &reason)
        .await?;
    call.app.runtime.wake();
    ok(&resolved)
}

/// A reason as it will stand in the journal: one redacted line of at most 500 characters.
///
/// # Errors
/// 400 when it is longer than 4,000 bytes: cutting somebody's words that far would falsify them.
pub fn stated(reason: &str, default: &str) -> Result<String, ApiError> {
    if reason.len() > 4000 {
        return Err(ApiError::malformed("/reason", "a reason has at most 4000 bytes"));
    }
    let line = assay::redact::line(reason, 500);
    Ok(if line.is_empty() { default.to_owned() } else { line })
}
