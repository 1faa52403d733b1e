//! The door to the network, asked about: what an agent would reach, and a way in for one running session.

use super::call::{Answer, Call, ok};
use super::problem::ApiError;
use journal::machine::Session;
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    agent: String,
    /// `HOST:PORT`
    target: String,
}

/// `POST /api/v1/egress/test`: what would become of a connection, and what every address of the name is. Resolves the
/// name, connects to nothing, records nothing.
pub async fn test(call: Call) -> Answer {
    let question: Question = call.json()?;
    let unknown = || ApiError::malformed("/agent", format!("there is no agent `{}`", question.agent));
    let name = call.app.gate.authority();
    let name = name
        .resolve(&question.agent)
        .map(|(name, _)| name.to_owned())
        .ok_or_else(unknown)?;
    call.admit_agent(&name, unknown)?;
    let Ok(_slot) = call.app.explaining.try_acquire() else {
        return Err(ApiError::overloaded(
            "other questions are being answered; try again when they are",
        ));
    };
    let tested = call.app.egress.test(&name, &question.target).await;
    ok(&tested.ok_or_else(unknown)?)
}

/// `GET /api/v1/egress/authority`: the certificate that inspected connections are signed by, for guests to trust.
pub async fn authority(call: Call) -> Answer {
    let pem = call.app.egress.authority_pem();
    let pem = pem.map_err(|error| ApiError::internal(&error))?;
    ok(&json!({ "pem": pem }))
}

/// `POST /api/v1/sessions/{id}/egress`: a secret that is good for the connections of this running session, until it or
/// the process ends. It is told this once, and noted.
pub async fn door(call: Call) -> Answer {
    let session = call.app.gate.session(call.parameter("id"))?;
    if session.state != Session::Running {
        return Err(ApiError::conflict(format!(
            "session `{}` does not run",
            session.id
        )));
    }
    let Some(address) = call.app.egress_address else {
        return Err(ApiError::conflict(
            "the egress surface has no listener: start with --egress ADDR:PORT",
        ));
    };
    let noted = json!({ "egress": { "secret": "made", "by": call.caller.principal() } });
    call.app
        .gate
        .note(&session.id, call.caller.principal(), noted)
        .await?;
    let secret = call.app.egress.secret_for(&session.id)?;
    let secret = String::from_utf8_lossy(secret.expose()).into_owned();
    ok(&json!({
        "session": session.id, "proxy": format!("http://{}:{secret}@{address}", session.id), "address": address,
    }))
}
