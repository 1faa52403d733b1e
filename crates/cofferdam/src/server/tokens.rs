//! Tokens of people and triggers. A secret is told once, to whoever made it.

use super::call::{Answer, Call, json, nothing, ok};
use super::places::{role_spots, token_spots, trigger_spot};
use super::problem::ApiError;
use gate::{NewToken, Role, RoleAt, Spot, Thumbprint};
use http::StatusCode;
use policy::{Principal, PrincipalKind};
use serde::Deserialize;
use serde_json::json;

/// Longest life, in seconds: 10 years.
const LIFE_MAX_SECONDS: u64 = 10 * 366 * 86_400;

/// `GET /api/v1/tokens`: all, the newest first; never a secret.
pub async fn list(call: Call) -> Answer {
    let mut seen = Vec::new();
    for token in call.app.gate.tokens()? {
        if call.sees(&token_spots(&call.app, &token)?) {
            seen.push(token);
        }
    }
    ok(&seen)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    /// `person:alice` or `service:ci`; a name alone is a person. Not needed for a trigger.
    principal: Option<String>,
    #[serde(default)]
    roles: Vec<RoleAt>,
    /// Teams that the person belongs to.
    #[serde(default)]
    groups: Vec<String>,
    /// Makes a token for this trigger and nothing else.
    trigger: Option<String>,
    expires_in_seconds: Option<u64>,
    /// SHA-256 of the client certificate that whoever shows the token has to show too, in hexadecimal.
    certificate: Option<String>,
}

/// `POST /api/v1/tokens`: 201 with `token` and, this once, `secret`.
pub async fn create(call: Call) -> Answer {
    let new: New = call.json()?;
    let (principal, roles) = match (&new.trigger, &new.principal) {
        (Some(trigger), None) if new.roles.is_empty() || new.roles == [Role::Trigger.into()] => (
            Principal::service(&format!("trigger/{trigger}")),
            vec![Role::Trigger.into()],
        ),
        (Some(_), _) => {
            return Err(ApiError::malformed(
                "/trigger",
                "a trigger's token has no principal and no other role",
            ));
        }
        (None, Some(_)) if new.roles.iter().any(|at| at.role == Role::Trigger) => {
            return Err(ApiError::malformed(
                "/roles",
                "name the trigger instead of giving the role `trigger`",
            ));
        }
        (None, Some(text)) => (principal(text)?, new.roles),
        (None, None) => {
            return Err(ApiError::malformed(
                "/principal",
                "say for whom, or for which trigger",
            ));
        }
    };
    if roles.is_empty() {
        return Err(ApiError::malformed(
            "/roles",
            "a token without a role can do nothing; give at least one",
        ));
    }
    let expires = match new.expires_in_seconds {
        Some(seconds) if !(1..=LIFE_MAX_SECONDS).contains(&seconds) => {
            return Err(ApiError::malformed(
                "/expires_in_seconds",
                format!("1 to {LIFE_MAX_SECONDS} seconds"),
            ));
        }
        Some(seconds) => Some(
            call.app
                .gate
                .time()
                .plus_ms(i64::try_from(seconds * 1000).unwrap_or(i64::MAX)),
        ),
        None => None,
    };
    let certificate = certificate(&call, new.certificate.as_deref())?;
    may_give(&call, &principal, &roles, new.trigger.as_deref(), &new.groups)?;
    let token = NewToken {
        principal,
        roles,
        groups: new.groups,
        trigger: new.trigger,
        expires,
    };
    let by = call.caller.principal();
    let (view, secret) = call.app.gate.create_bound_token(by, token, certificate).await?;
    let text = std::str::from_utf8(secret.expose()).map_err(|error| ApiError::internal(&error))?;
    json(StatusCode::CREATED, &json!({"token": view, "secret": text}))
}

/// The client certificate that a token is to be bound to.
fn certificate(call: &Call, text: Option<&str>) -> Result<Option<Thumbprint>, ApiError> {
    let Some(text) = text else { return Ok(None) };
    let wrong = |what: &str| Err(ApiError::malformed("/certificate", what));
    match Thumbprint::parse(text) {
        None => wrong("write the SHA-256 of the certificate: 64 hexadecimal digits"),
        Some(_) if !call.app.tls.as_ref().is_some_and(|tls| tls.asks_clients()) => {
            wrong("clients are not asked for certificates here, so nobody could use the token")
        }
        certificate => Ok(certificate),
    }
}

/// An administrator of a part gives roles that hold there, to people who are nothing elsewhere: a token that
/// ends can end what its person sponsors, and what they said as an approver. Groups, and who approves or
/// administers, rules name by name: those are given at the root alone, or who may make people could answer
/// for them.
fn may_give(
    call: &Call,
    principal: &Principal,
    roles: &[RoleAt],
    trigger: Option<&str>,
    groups: &[String],
) -> Result<(), ApiError> {
    if call.everywhere() {
        return Ok(());
    }
    let decides = |at: &RoleAt| matches!(at.role, Role::Admin | Role::Approver);
    if !groups.is_empty() || roles.iter().any(decides) {
        return Err(ApiError::forbidden(
            "you administer a part of the tree: who approves, who administers and who is in a group is said at the root",
        ));
    }
    within(call, principal)?;
    let spots = match trigger {
        Some(trigger) => vec![trigger_spot(&call.app, trigger)?],
        None => role_spots(roles),
    };
    sponsors_within(call, principal)?;
    match call.sees(&spots) {
        true => Ok(()),
        false => Err(outside()),
    }
}

/// Refuses whoever answers for an agent where the caller is nobody.
fn sponsors_within(call: &Call, principal: &Principal) -> Result<(), ApiError> {
    let elsewhere = |(name, agent): (&String, &std::sync::Arc<gate::AgentAuthority>)| {
        agent.sponsor == principal.name
            && !call
                .caller
                .holds(call.roles, &Spot::Agent(agent.place.clone(), name.clone()))
    };
    match call.app.gate.authority().agents.iter().any(elsewhere) {
        true => Err(outside()),
        false => Ok(()),
    }
}

fn outside() -> ApiError {
    ApiError::forbidden(
        "you administer a part of the tree: give roles that hold in it, to people who sponsor nothing outside",
    )
}

/// Refuses people of whom a token holds, or held, where the caller is nobody.
fn within(call: &Call, principal: &Principal) -> Result<(), ApiError> {
    for view in call.app.gate.tokens()? {
        if view.principal == *principal && !call.sees(&token_spots(&call.app, &view)?) {
            return Err(ApiError::forbidden(
                "you administer a part of the tree, and this name has tokens outside: use another name",
            ));
        }
    }
    Ok(())
}

fn principal(text: &str) -> Result<Principal, ApiError> {
    let full = if text.contains(':') {
        text.to_owned()
    } else {
        format!("person:{text}")
    };
    let fits = |p: &Principal| {
        p.name.len() <= 63
            && p.name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._@-".contains(&b))
            && p.kind != PrincipalKind::Agent
            && !(p.kind == PrincipalKind::Service && p.name == "cofferdam")
    };
    Principal::parse(&full).filter(fits).ok_or_else(|| {
        let what = format!("`{text}` is neither person:NAME nor service:NAME with 1 to 63 of A-Z, a-z, 0-9, `.`, `_`, `@`, `-`");
        ApiError::malformed("/principal", what)
    })
}

/// `DELETE /api/v1/tokens/{id}`: ends a token now.
pub async fn revoke(call: Call) -> Answer {
    if !call.everywhere() {
        // A certificate is revoked as a whole, also what it was elsewhere.
        for view in call.app.gate.revoked_with(call.parameter("id"))? {
            let stands = !view.revoked;
            if stands && !call.sees(&token_spots(&call.app, &view)?) {
                return Err(ApiError::forbidden(
                    "you administer a part of the tree, and what is recorded of this client certificate holds outside: it is revoked at the root",
                ));
            }
            sponsors_within(&call, &view.principal)?;
        }
    }
    call.app
        .gate
        .revoke_token(call.caller.principal(), call.parameter("id"))
        .await?;
    Ok(nothing())
}
