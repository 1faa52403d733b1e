//! Every door of the API and who may call it: the one table that both builds the router and is the
//! golden text of rights. A route that is not here does not exist; a role that is not here is refused.

use super::call::{Answer, Call};
use super::exchange::{self, Bare};
use super::{
    agents, approvals, audit, documents, explain, hooks, incidents, policies, sessions, status, stops, tasks,
    tokens, trust,
};
use crate::app::App;
use axum::response::Response;
use gate::{BoxFuture, Role};
use std::sync::Arc;

/// What answers an authenticated call.
pub type Guarded = fn(Call) -> BoxFuture<'static, Answer>;

/// What answers a call that proves itself.
pub type Proved = fn(Bare) -> BoxFuture<'static, Answer>;

/// How a request to a route is answered.
pub enum Handler {
    /// Without a token. Sees no caller, no body and no query, and gives nothing away.
    Open(fn(&App) -> Response),
    /// Without a token, by a delegation and a proof that its key is held.
    Proved(Proved),
    /// With a token that has one of these roles.
    Guarded(&'static [Role], Guarded),
}

/// One route.
pub struct Route {
    /// `GET`, `POST`, `DELETE`.
    pub method: &'static str,
    /// In axum's notation: `/api/v1/tasks/{id}`.
    pub path: &'static str,
    /// Who may call it, and what answers.
    pub handler: Handler,
}

impl Route {
    /// Whether it goes on when the journal was found altered: reading for diagnosis does, and pulling a
    /// stop. Whoever calls was identified before the finding, so what they may change is in doubt.
    #[must_use]
    pub fn outlives_the_journal(&self) -> bool {
        matches!(
            (self.method, self.path),
            ("GET", _) | ("POST", "/api/v1/audit/verify" | "/api/v1/stops")
        )
    }
}

const ADMIN: &[Role] = &[Role::Admin];
const APPROVE: &[Role] = &[Role::Admin, Role::Approver];
const AUDIT: &[Role] = &[Role::Admin, Role::Auditor];
const CONFIG: &[Role] = &[Role::Admin, Role::Operator, Role::Approver, Role::Auditor];
const OPERATE: &[Role] = &[Role::Admin, Role::Operator];
const READ: &[Role] = &[
    Role::Admin,
    Role::Operator,
    Role::Approver,
    Role::Auditor,
    Role::Viewer,
];
const TRIGGER: &[Role] = &[Role::Trigger];
/// Agents that redeemed a delegation, each about itself, as well.
const EVERYBODY: &[Role] = &[
    Role::Admin,
    Role::Operator,
    Role::Approver,
    Role::Auditor,
    Role::Viewer,
    Role::Agent,
];
const EXPLAIN: &[Role] = &[
    Role::Admin,
    Role::Operator,
    Role::Approver,
    Role::Auditor,
    Role::Agent,
];
const SUBMIT: &[Role] = &[Role::Admin, Role::Operator, Role::Agent];

macro_rules! open {
    ($method:literal, $path:literal, $handler:path) => {
        Route {
            method: $method,
            path: $path,
            handler: Handler::Open($handler),
        }
    };
}
macro_rules! route {
    ($method:literal, $path:literal, $roles:ident, $handler:path) => {
        Route {
            method: $method,
            path: $path,
            handler: Handler::Guarded($roles, |call| Box::pin($handler(call))),
        }
    };
}

/// The table.
#[rustfmt::skip]
pub static ROUTES: &[Route] = &[
    open!("GET", "/healthz", status::alive),
    open!("GET", "/readyz", status::ready),
    route!("GET", "/metrics", READ, status::metrics),
    route!("GET", "/api/v1/health", READ, status::health),

    route!("POST", "/hooks/alertmanager", TRIGGER, hooks::alertmanager),

    route!("POST", "/api/v1/tasks", SUBMIT, tasks::submit),
    route!("GET", "/api/v1/tasks/{id}", EVERYBODY, tasks::show),

    route!("GET", "/api/v1/sessions", READ, sessions::list),
    route!("GET", "/api/v1/sessions/{id}", READ, sessions::show),
    route!("GET", "/api/v1/sessions/{id}/output", READ, sessions::output),
    route!("GET", "/api/v1/sessions/{id}/events", READ, sessions::events),
    route!("POST", "/api/v1/sessions/{id}/cancel", OPERATE, sessions::cancel),
    route!("POST", "/api/v1/sessions/{id}/resolve", OPERATE, sessions::resolve),

    route!("GET", "/api/v1/incidents", READ, incidents::list),
    route!("GET", "/api/v1/incidents/{id}", READ, incidents::show),

    route!("GET", "/api/v1/approvals", READ, approvals::list),
    route!("GET", "/api/v1/approvals/{id}", READ, approvals::show),
    route!("POST", "/api/v1/approvals/{id}/approve", APPROVE, approvals::approve),
    route!("POST", "/api/v1/approvals/{id}/deny", APPROVE, approvals::deny),
    route!("GET", "/api/v1/waivers", READ, approvals::waivers),
    route!("POST", "/api/v1/waivers/{id}/revoke", APPROVE, approvals::revoke_waiver),

    route!("GET", "/api/v1/documents", CONFIG, documents::list),
    route!("POST", "/api/v1/documents", ADMIN, documents::apply),
    route!("GET", "/api/v1/documents/{kind}", CONFIG, documents::of_kind),
    route!("GET", "/api/v1/documents/{kind}/{name}", CONFIG, documents::show),
    route!("DELETE", "/api/v1/documents/{kind}/{name}", ADMIN, documents::delete),

    route!("GET", "/api/v1/tokens", AUDIT, tokens::list),
    route!("POST", "/api/v1/tokens", ADMIN, tokens::create),
    route!("DELETE", "/api/v1/tokens/{id}", ADMIN, tokens::revoke),

    route!("GET", "/api/v1/stops", READ, stops::list),
    route!("POST", "/api/v1/stops", OPERATE, stops::raise),
    route!("DELETE", "/api/v1/stops", OPERATE, stops::lift),
    route!("POST", "/api/v1/stops/drill", OPERATE, stops::drill),

    route!("GET", "/api/v1/trust", READ, trust::list),
    route!("GET", "/api/v1/trust/{agent}", READ, trust::show),
    route!("GET", "/api/v1/trust/{agent}/history", READ, trust::history),
    route!("GET", "/api/v1/trust/{agent}/equation", READ, trust::equation),
    route!("POST", "/api/v1/trust/{agent}/promote", OPERATE, trust::promote),

    route!("POST", "/api/v1/explain", EXPLAIN, explain::explain),

    route!("POST", "/api/v1/policies/simulate", CONFIG, policies::simulate),
    route!("GET", "/api/v1/policies/suggestions", CONFIG, policies::suggestions),

    route!("GET", "/api/v1/whoami", EVERYBODY, agents::whoami),
    Route { method: "POST", path: exchange::PATH, handler: Handler::Proved(|bare| Box::pin(exchange::redeem(bare))) },
    route!("GET", "/api/v1/agents", READ, agents::list),
    route!("POST", "/api/v1/agents", ADMIN, agents::create),
    route!("GET", "/api/v1/agents/{name}", CONFIG, agents::show),
    route!("POST", "/api/v1/agents/{name}/suspend", OPERATE, agents::suspend),
    route!("POST", "/api/v1/agents/{name}/resume", OPERATE, agents::resume),
    route!("POST", "/api/v1/agents/{name}/revoke", ADMIN, agents::revoke),
    route!("POST", "/api/v1/agents/{name}/rotate", ADMIN, agents::rotate),
    route!("GET", "/api/v1/delegations", READ, agents::delegations),
    route!("POST", "/api/v1/delegations", OPERATE, agents::delegate),
    route!("POST", "/api/v1/delegations/{id}/revoke", OPERATE, agents::revoke_delegation),

    route!("GET", "/api/v1/audit/entries", AUDIT, audit::entries),
    route!("GET", "/api/v1/audit/entries/{sequence}", AUDIT, audit::entry),
    route!("GET", "/api/v1/audit/events", AUDIT, audit::events),
    route!("GET", "/api/v1/audit/checkpoint", AUDIT, audit::checkpoint),
    route!("GET", "/api/v1/audit/proofs/inclusion", AUDIT, audit::inclusion),
    route!("GET", "/api/v1/audit/proofs/consistency", AUDIT, audit::consistency),
    route!("POST", "/api/v1/audit/verify", AUDIT, audit::verify),
];

/// The name of a role, as tokens and the golden text have it.
#[must_use]
pub fn role_name(role: Role) -> &'static str {
    match role {
        Role::Admin => "admin",
        Role::Operator => "operator",
        Role::Approver => "approver",
        Role::Auditor => "auditor",
        Role::Viewer => "viewer",
        Role::Trigger => "trigger",
        Role::Agent => "agent",
    }
}

/// Every route with who may call it, one a line.
#[must_use]
pub fn table() -> String {
    ROUTES
        .iter()
        .map(|route| {
            let who = match &route.handler {
                Handler::Open(_) => "anyone".to_owned(),
                Handler::Proved(_) => "whoever holds a delegation".to_owned(),
                Handler::Guarded(roles, _) => {
                    roles.iter().map(|r| role_name(*r)).collect::<Vec<_>>().join(" ")
                }
            };
            format!("{:<7}{:<40}{who}\n", route.method, route.path)
        })
        .collect()
}

/// Kept so that the type of a shared application is written once.
pub type Shared = Arc<App>;
