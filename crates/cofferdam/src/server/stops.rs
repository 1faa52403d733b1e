//! Kill switches.

use super::call::{Answer, Call, ok};
use super::problem::ApiError;
use super::sessions::stated;
use gate::SessionError;
use policy::{Stop, StopScope};
use serde::Deserialize;
use serde_json::{Value, json};

/// `GET /api/v1/stops`: all in force.
pub async fn list(call: Call) -> Answer {
    ok(&call.app.gate.stops().iter().map(view).collect::<Vec<_>>())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raise {
    /// `all`, `agent:NAME`, `session:ID`.
    scope: String,
    #[serde(default)]
    reason: String,
}

/// `POST /api/v1/stops`: stops now. The answer says whether it will survive a restart and which
/// permits in flight it cut; and as `known` whether there is such an agent or session now, for a stop of
/// a misspelt name stops nothing.
pub async fn raise(call: Call) -> Answer {
    let body: Raise = call.json()?;
    let scope = scope(&body.scope)?;
    let reason = stated(&body.reason, "no reason given")?;
    let known = known(&call, &scope);
    let answer = call.app.gate.stop(call.caller.principal(), scope, &reason).await;
    ok(&json!({
        "scope": body.scope, "reason": reason, "known": known, "durable": answer.durable,
        "cancelled": answer.reached.cancelled,
    }))
}

/// Whether there is what `scope` names. When that cannot be read it is taken to be: nothing may delay
/// a stop.
fn known(call: &Call, scope: &StopScope) -> bool {
    match scope {
        StopScope::All => true,
        StopScope::Agent(name) => call.app.gate.authority().agents.contains_key(name),
        StopScope::Session(id) => !matches!(call.app.gate.session(id), Err(SessionError::Unknown(_))),
    }
}

/// `DELETE /api/v1/stops`: ends a stop; durable first, effective second.
pub async fn lift(call: Call) -> Answer {
    // Some clients cannot send a body with DELETE, so the query says the same.
    let body: Raise = if call.body.is_empty() {
        call.query()?
    } else {
        call.json()?
    };
    let reason = stated(&body.reason, "no reason given")?;
    if !call
        .app
        .gate
        .lift(call.caller.principal(), &scope(&body.scope)?, &reason)
        .await?
    {
        return Err(ApiError::not_found(format!("stop `{}`", body.scope)));
    }
    call.app.runtime.wake();
    ok(&json!({"scope": body.scope, "lifted": true}))
}

fn scope(text: &str) -> Result<StopScope, ApiError> {
    match text.split_once(':') {
        None if text == "all" => Ok(StopScope::All),
        Some(("agent", name)) if !name.is_empty() && name.len() <= 128 => {
            Ok(StopScope::Agent(name.to_owned()))
        }
        Some(("session", id)) if !id.is_empty() && id.len() <= 128 => Ok(StopScope::Session(id.to_owned())),
        _ => Err(ApiError::malformed(
            "/scope",
            format!("`{text}` is none of all, agent:NAME, session:ID"),
        )),
    }
}

fn view(stop: &Stop) -> Value {
    let scope = match &stop.scope {
        StopScope::All => "all".to_owned(),
        StopScope::Agent(name) => format!("agent:{name}"),
        StopScope::Session(id) => format!("session:{id}"),
    };
    json!({"scope": scope, "reason": stop.reason, "by": stop.by})
}
