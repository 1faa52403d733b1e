//! Certificates of agents, and what others trust them by (S3-I9).

use super::call::{Answer, Call, json};
use super::problem::ApiError;
use crate::app::App;
use axum::Json;
use axum::response::{IntoResponse as _, Response};
use gate::svid::{SVID_SECONDS_MAX, SvidError};
use gate::{AgentError, Role};
use http::StatusCode;
use policy::PrincipalKind;
use serde::Deserialize;

/// `GET /.well-known/spiffe/bundle`: the trust bundle, a JWK Set with the authority's certificate.
pub fn bundle(app: &App) -> Response {
    match app.identity.svids.bundle(app.clock.now()) {
        Ok(bundle) => Json(bundle).into_response(),
        Err(error) => {
            tracing::warn!(%error, "the trust bundle cannot be shown");
            (StatusCode::SERVICE_UNAVAILABLE, "no bundle\n").into_response()
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// How long it holds, 900 unless said otherwise.
    seconds: Option<u32>,
}

/// `POST /api/v1/agents/{name}/svid`: 201 with an X.509-SVID over the agent's present key; for itself, or for whoever operates it.
pub async fn issue(call: Call) -> Answer {
    let body: Wanted = call.json()?;
    let written = call.parameter("name");
    let unknown = || AgentError::Unknown(written.to_owned()).into();
    let agent = call.app.gate.agent(written)?.name;
    let caller = &call.caller;
    if caller.principal().kind == PrincipalKind::Agent && caller.principal().name != agent {
        return Err(unknown());
    }
    call.admit_agent(&agent, unknown)?;
    let seconds = body.seconds.unwrap_or(SVID_SECONDS_MAX);
    let (gate, by) = (&call.app.gate, caller.principal());
    let svid = gate
        .issue_svid(&call.app.identity.svids, by, &agent, seconds)
        .await?;
    json(StatusCode::CREATED, &svid)
}

impl From<SvidError> for ApiError {
    fn from(error: SvidError) -> ApiError {
        match error {
            SvidError::Unknown(name) => ApiError::not_found(format!("agent `{name}`")),
            SvidError::NotActive(..) | SvidError::Changed(_) => ApiError::conflict(error.to_string()),
            SvidError::Seconds => ApiError::malformed("/seconds", error.to_string()),
            SvidError::Nobody(_) => ApiError::forbidden(error.to_string()),
            SvidError::Files { .. } => ApiError::internal(&error),
            SvidError::Store(store) => store.into(),
        }
    }
}

/// Refuses tasks of an agent that shows nothing but who it is.
///
/// # Errors
/// 403.
pub(super) fn on_an_account(call: &Call) -> Result<(), ApiError> {
    match is_alone(call) {
        false => Ok(()),
        true => Err(ApiError::forbidden(
            "a certificate says who an agent is and on nobody's account: it gives itself tasks under a delegation that it \
             redeemed",
        )),
    }
}

/// Whether the caller is an agent that shows nothing but who it is.
pub(super) fn is_alone(call: &Call) -> bool {
    let caller = &call.caller;
    caller.delegation().is_none() && caller.roles().iter().any(|at| at.role == Role::Agent)
}
