//! Coming in and going out: where people may log in, and the end of a login.

use super::call::{Answer, Call, json, nothing, typed};
use super::exchange::Bare;
use super::problem::ApiError;
use crate::app::App;
use crate::identity::ProviderSpec;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

/// Longest request to log in, in bytes.
const LOGIN_BYTES_MAX: usize = 4 * 1024;
/// Logins that are judged at once, since anybody may ask for one.
pub(super) const AT_ONCE_MAX: usize = 8;

/// `GET /api/v1/login`: the providers, by name, with what a client needs to send a person there. Whoever can
/// reach us may read that, as anybody may read it at the provider: no roles, groups or claims.
pub fn providers(app: &App) -> Response {
    let shown: Vec<Value> = app
        .configuration
        .providers()
        .iter()
        .map(|(name, spec)| match spec {
            ProviderSpec::Oidc(spec) => json!({
                "type": "oidc", "name": name, "issuer": spec.issuer, "client_id": spec.client(),
                "scopes": spec.scopes, "resource": spec.resource, "redirect_ports": spec.redirect_ports,
            }),
            ProviderSpec::Ldap(_) => json!({"type": "ldap", "name": name}),
        })
        .collect();
    json(StatusCode::OK, &json!({ "providers": shown })).unwrap_or_else(IntoResponse::into_response)
}

/// Who says that they are whom.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    provider: String,
    name: String,
    password: String,
}

/// `POST /api/v1/login`: 200 with `token` and, this once, `secret`, for a name and a password of a directory.
pub async fn login(bare: Bare) -> Answer {
    let Ok(_slot) = bare.app.doors.logging_in.try_acquire() else {
        return Err(ApiError::overloaded(
            "others are logging in; try again when they have",
        ));
    };
    let Login {
        provider,
        name,
        password,
    } = typed(policy::canonical::parse(&bare.body, LOGIN_BYTES_MAX)?)?;
    let password = secrets::Secret::new(password.into_bytes());
    let app = &bare.app;
    let (view, secret) = app.identity.login(app, &provider, &name, &password).await?;
    let text = std::str::from_utf8(secret.expose()).map_err(|error| ApiError::internal(&error))?;
    json(StatusCode::OK, &json!({"token": view, "secret": text}))
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
