//! Approvals: what waits for a person, and the person's verdict.

use super::call::{Answer, Call, ok};
use super::problem::ApiError;
use super::sessions::stated;
use gate::{Role, Verdict};
use policy::WaiverScope;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    limit: Option<usize>,
}

/// `GET /api/v1/approvals?limit=`: pending ones first, then the newest. Without their actions.
pub async fn list(call: Call) -> Answer {
    let query: List = call.query()?;
    ok(&call.app.gate.approvals(query.limit.unwrap_or(100).min(1000))?)
}

/// `GET /api/v1/approvals/{id}`: one, with the exact action, for those who decide or audit.
pub async fn show(call: Call) -> Answer {
    let id = call.parameter("id");
    let found = call.app.gate.approval(id)?;
    let mut approval = found.ok_or_else(|| ApiError::not_found(format!("approval `{id}`")))?;
    if !call.has_role(&[Role::Admin, Role::Approver, Role::Auditor]) {
        // Arguments may hold what only those who decide about them have to see.
        approval.action = None;
    }
    ok(&approval)
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
}

async fn decide(call: Call, verdict: Verdict) -> Answer {
    let body: Decision = call.json()?;
    let reason = stated(&body.reason, "")?;
    if verdict == Verdict::Deny && body.scope.is_some() {
        return Err(ApiError::malformed("/scope", "only an approval has a scope"));
    }
    let approval = call
        .app
        .gate
        .decide_in_scope(&call.caller, call.parameter("id"), verdict, &reason, body.scope)
        .await?;
    call.app.runtime.wake();
    ok(&approval)
}

/// `GET /api/v1/waivers?limit=`: those that hold first, then the newest.
pub async fn waivers(call: Call) -> Answer {
    let query: List = call.query()?;
    ok(&call.app.gate.waivers(query.limit.unwrap_or(100).min(1000))?)
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
