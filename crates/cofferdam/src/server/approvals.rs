//! Approvals: what waits for a person, and the person's verdict.

use super::call::{Answer, Call, ok};
use super::problem::ApiError;
use super::sessions::stated;
use gate::{Role, Verdict};
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
}

async fn decide(call: Call, verdict: Verdict) -> Answer {
    let body: Decision = call.json()?;
    let reason = stated(&body.reason, "")?;
    let approval = call
        .app
        .gate
        .decide_approval(&call.caller, call.parameter("id"), verdict, &reason)
        .await?;
    call.app.runtime.wake();
    ok(&approval)
}
