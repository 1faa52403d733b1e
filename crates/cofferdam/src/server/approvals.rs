//! Approvals: what waits for a person, and the person's verdict.

use super::call::{Answer, Call, ok};
use super::problem::ApiError;
use super::sessions::stated;
use gate::{ApprovalView, Role, Verdict};
use http::StatusCode;
use journal::machine::Approval;
use policy::{Timestamp, WaiverScope};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    limit: Option<usize>,
}

/// `GET /api/v1/approvals?limit=`: pending ones first, then the newest. Without their actions.
pub async fn list(call: Call) -> Answer {
    let query: List = call.query()?;
    let limit = query.limit.unwrap_or(100).min(1000);
    let approvals = call.app.gate.approvals(call.look(limit))?;
    let approvals = call.seen(approvals, limit, |approval| &approval.agent)?;
    let now = call.app.gate.time();
    ok(&approvals
        .iter()
        .map(|view| told(view, now))
        .collect::<Result<Vec<_>, _>>()?)
}

/// With its age, and the seconds that are left while it waits.
fn told(view: &ApprovalView, now: Timestamp) -> Result<Value, ApiError> {
    let mut told = serde_json::to_value(view).map_err(|error| ApiError::internal(&error))?;
    if let Some(members) = told.as_object_mut() {
        members.insert(
            "age_seconds".to_owned(),
            json!(now.since_ms(view.requested).max(0) / 1000),
        );
        if view.state == Approval::Pending {
            members.insert(
                "seconds_left".to_owned(),
                json!(view.expires.since_ms(now).max(0) / 1000),
            );
        }
    }
    Ok(told)
}

/// `GET /api/v1/approvals/{id}`: one, with the exact action, for those who decide or audit.
pub async fn show(call: Call) -> Answer {
    let id = call.parameter("id");
    let found = call.app.gate.approval(id)?;
    let mut approval = found.ok_or_else(|| ApiError::not_found(format!("approval `{id}`")))?;
    if !call.has_role(&[Role::Admin, Role::Approver, Role::Auditor], &approval.agent)? {
        // Arguments may hold what only those who decide about them have to see.
        approval.action = None;
    }
    ok(&told(&approval, call.app.gate.time())?)
}

/// `POST /api/v1/approvals/{id}/approve`: let exactly this action proceed, once.
pub async fn approve(call: Call) -> Answer {
    decide(call, Verdict::Approve).await
}

/// `POST /api/v1/approvals/{id}/deny`.
pub async fn deny(call: Call) -> Answer {
    decide(call, Verdict::Deny).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Decision {
    #[serde(default)]
    reason: String,
    /// With a yes: not to be asked again about actions alike, in this session or for this long.
    scope: Option<WaiverScope>,
    /// Of the action that was shown (SHA-256 over its canonical JSON, in hexadecimal): nothing is decided
    /// about another.
    digest: Option<String>,
}

async fn decide(call: Call, verdict: Verdict) -> Answer {
    let body: Decision = call.json()?;
    let reason = stated(&body.reason, "")?;
    if verdict == Verdict::Deny && body.scope.is_some() {
        return Err(ApiError::malformed("/scope", "only an approval has a scope"));
    }
    if let Some(shown) = &body.digest {
        of_the_action(&call, shown)?;
    }
    let approval = call
        .app
        .gate
        .decide_in_scope(&call.caller, call.parameter("id"), verdict, &reason, body.scope)
        .await?;
    call.app.runtime.wake();
    ok(&approval)
}

/// Whether `shown` is the digest of the action that would run. An approval's action never changes, so it
/// still is when the verdict is recorded.
fn of_the_action(call: &Call, shown: &str) -> Result<(), ApiError> {
    let id = call.parameter("id");
    let approval = call.app.gate.approval(id)?;
    let approval = approval.ok_or_else(|| ApiError::not_found(format!("approval `{id}`")))?;
    let action = approval.action.map(|action| policy::canonical::digest(&action));
    match action {
        Some(Ok(digest)) if policy::canonical::hex(&digest) == shown => Ok(()),
        _ => Err(ApiError::new(
            StatusCode::CONFLICT,
            "another_action",
            format!("`digest` is not that of the action of approval `{id}`; look at it again"),
        )),
    }
}

/// `GET /api/v1/waivers?limit=`: those that hold first, then the newest.
pub async fn waivers(call: Call) -> Answer {
    let query: List = call.query()?;
    let limit = query.limit.unwrap_or(100).min(1000);
    let waivers = call.app.gate.waivers(call.look(limit))?;
    ok(&call.seen(waivers, limit, |waiver| &waiver.agent)?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Revocation {
    #[serde(default)]
    reason: String,
}

/// `POST /api/v1/waivers/{id}/revoke`: ask again from now on.
pub async fn revoke_waiver(call: Call) -> Answer {
    let body: Revocation = call.json()?;
    let reason = stated(&body.reason, "")?;
    ok(&call
        .app
        .gate
        .revoke_waiver(&call.caller, call.parameter("id"), &reason)
        .await?)
}
