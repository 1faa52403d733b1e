//! Coming in and going out: where people may log in, and the end of a login.

use super::call::{Answer, Call, json, nothing};
use crate::app::App;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

/// `GET /api/v1/login`: the providers, by name, with what a client needs to send a person there. Whoever can
/// reach us may read that, as anybody may read it at the provider: no roles, groups or claims.
pub fn providers(app: &App) -> Response {
    let shown: Vec<Value> = app
        .configuration
        .providers()
        .iter()
        .map(|(name, spec)| {
            json!({
                "name": name, "issuer": spec.issuer, "client_id": spec.client(), "scopes": spec.scopes,
                "resource": spec.resource, "redirect_ports": spec.redirect_ports,
            })
        })
        .collect();
    json(StatusCode::OK, &json!({ "providers": shown })).unwrap_or_else(IntoResponse::into_response)
}

/// Nothing: the token says it all.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Logout {}

/// `POST /api/v1/logout`: ends the login whose token this is. 409 for a token that somebody made.
pub async fn logout(call: Call) -> Answer {
    let Logout {} = call.json()?;
    call.app.gate.end_login(&call.caller).await?;
    Ok(nothing())
}
