//! Every door of the API, who may call it, and where that role has to hold: the one table that both builds
//! the router and is the golden text of rights. A route that is not here does not exist; a role that is not
//! here is refused.

use super::call::{Answer, Call};
use super::exchange::{self, Bare};
use super::places::{self, Scope};
use super::{
    agents, approvals, audit, bundles, documents, egress, explain, handshakes, hooks, incidents, keys, llm,
    login, money, policies, sessions, status, stops, svid, tasks, tokens, trust,
};
use crate::app::App;
use axum::body::Body;
use axum::response::Response;
use gate::llm::Protocol;
use gate::{BoxFuture, Role};
use http::request::Parts;
use std::sync::Arc;

/// What answers an authenticated call.
pub type Guarded = fn(Call) -> BoxFuture<'static, Answer>;

/// What answers a call that proves itself.
pub type Proved = fn(Bare) -> BoxFuture<'static, Answer>;

/// What answers at a surface, from the head on.
pub type Surface = fn(Shared, Parts, Body) -> BoxFuture<'static, Response>;

/// How a request to a route is answered.
pub enum Handler {
    /// Without a token. Sees no caller, no body and no query, and gives nothing away.
    Open(fn(&App) -> Response),
    /// Without a token, by what the body shows: by whom, as the golden text says it.
    Proved(&'static str, Proved),
    /// A surface of its own, which knows its callers by sessions and speaks another protocol: by whom, as the golden text
    /// says it.
    Surface(&'static str, Surface),
    /// With a token that has one of these roles, where the scope says.
    Guarded(&'static [Role], Scope, Guarded),
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
    ($method:literal, $path:literal, $roles:ident, $scope:expr, $handler:path) => {
        Route {
            method: $method,
            path: $path,
            handler: Handler::Guarded($roles, $scope, |call| Box::pin($handler(call))),
        }
    };
}

macro_rules! proved {
    ($path:expr, $who:literal, $handler:path) => {
        Route {
            method: "POST",
            path: $path,
            handler: Handler::Proved($who, |bare| Box::pin($handler(bare))),
        }
    };
}

macro_rules! surface {
    ($method:literal, $path:literal, $handler:expr) => {
        Route {
            method: $method,
            path: $path,
            handler: Handler::Surface("whoever holds the key of a running session", |app, head, body| {
                Box::pin($handler(app, head, body))
            }),
        }
    };
}

const EACH: Scope = Scope::Handler;
const ROOT: Scope = Scope::Root;
const AGENT: Scope = Scope::Thing("agent", "agent", places::agent);
const APPROVAL: Scope = Scope::Thing("approval", "id", places::approval);
const DELEGATION: Scope = Scope::Thing("delegation", "id", places::delegation);
const DOCUMENT: Scope = Scope::Thing("document", "name", places::document);
const ENTRY: Scope = Scope::Thing("entry", "sequence", places::entry);
const INCIDENT: Scope = Scope::Thing("incident", "id", places::incident);
const NAMED: Scope = Scope::Thing("agent", "name", places::agent);
const SESSION: Scope = Scope::Thing("session", "id", places::session);
const TASK: Scope = Scope::Thing("task", "id", places::task);
const TOKEN: Scope = Scope::Thing("token", "id", places::token);
const WAIVER: Scope = Scope::Thing("waiver", "id", places::waiver);

/// The table.
#[rustfmt::skip]
pub static ROUTES: &[Route] = &[
    open!("GET", "/healthz", status::alive),
    open!("GET", "/readyz", status::ready),
    open!("GET", "/.well-known/jwks.json", keys::jwks),
    open!("GET", "/.well-known/spiffe/bundle", svid::bundle),
    route!("GET", "/metrics", READ, ROOT, status::metrics),
    route!("GET", "/api/v1/health", READ, ROOT, status::health),

    route!("POST", "/hooks/alertmanager", TRIGGER, EACH, hooks::alertmanager),
    proved!(hooks::APPROVALS, "whoever signs with the approver key of a channel", hooks::approval),

    route!("POST", "/api/v1/tasks", SUBMIT, EACH, tasks::submit),
    route!("GET", "/api/v1/tasks/{id}", EVERYBODY, TASK, tasks::show),

    route!("GET", "/api/v1/sessions", READ, EACH, sessions::list),
    route!("GET", "/api/v1/sessions/{id}", READ, SESSION, sessions::show),
    route!("GET", "/api/v1/sessions/{id}/output", READ, SESSION, sessions::output),
    route!("GET", "/api/v1/sessions/{id}/events", READ, SESSION, sessions::events),
    route!("POST", "/api/v1/sessions/{id}/cancel", OPERATE, SESSION, sessions::cancel),
    route!("POST", "/api/v1/sessions/{id}/resolve", OPERATE, SESSION, sessions::resolve),
    route!("POST", "/api/v1/sessions/{id}/egress", OPERATE, SESSION, egress::door),

    route!("GET", "/api/v1/incidents", READ, EACH, incidents::list),
    route!("GET", "/api/v1/incidents/{id}", READ, INCIDENT, incidents::show),

    route!("GET", "/api/v1/approvals", READ, EACH, approvals::list),
    route!("GET", "/api/v1/approvals/{id}", READ, APPROVAL, approvals::show),
    route!("POST", "/api/v1/approvals/{id}/approve", APPROVE, APPROVAL, approvals::approve),
    route!("POST", "/api/v1/approvals/{id}/deny", APPROVE, APPROVAL, approvals::deny),
    route!("GET", "/api/v1/waivers", READ, EACH, approvals::waivers),
    route!("POST", "/api/v1/waivers/{id}/revoke", APPROVE, WAIVER, approvals::revoke_waiver),

    route!("GET", "/api/v1/documents", CONFIG, EACH, documents::list),
    route!("POST", "/api/v1/documents", ADMIN, ROOT, documents::apply),
    route!("GET", "/api/v1/documents/{kind}", CONFIG, EACH, documents::of_kind),
    route!("GET", "/api/v1/documents/{kind}/{name}", CONFIG, DOCUMENT, documents::show),
    route!("DELETE", "/api/v1/documents/{kind}/{name}", ADMIN, ROOT, documents::delete),
    route!("GET", "/api/v1/bundles", CONFIG, ROOT, bundles::list),
    route!("DELETE", "/api/v1/bundles/{name}", ADMIN, ROOT, bundles::remove),

    route!("GET", "/api/v1/tokens", AUDIT, EACH, tokens::list),
    route!("POST", "/api/v1/tokens", ADMIN, EACH, tokens::create),
    route!("DELETE", "/api/v1/tokens/{id}", ADMIN, TOKEN, tokens::revoke),

    route!("GET", "/api/v1/stops", READ, EACH, stops::list),
    route!("POST", "/api/v1/stops", OPERATE, EACH, stops::raise),
    route!("DELETE", "/api/v1/stops", OPERATE, EACH, stops::lift),
    route!("POST", "/api/v1/stops/drill", OPERATE, ROOT, stops::drill),

    route!("GET", "/api/v1/trust", READ, EACH, trust::list),
    route!("GET", "/api/v1/trust/{agent}", READ, AGENT, trust::show),
    route!("GET", "/api/v1/trust/{agent}/history", READ, AGENT, trust::history),
    route!("GET", "/api/v1/trust/{agent}/equation", READ, AGENT, trust::equation),
    route!("GET", "/api/v1/trust/{agent}/risk", READ, AGENT, trust::risk),
    route!("GET", "/api/v1/topology", READ, EACH, trust::topology),
    route!("GET", "/api/v1/reports/trust", READ, EACH, trust::report),
    route!("POST", "/api/v1/trust/{agent}/promote", OPERATE, AGENT, trust::promote),

    route!("POST", "/api/v1/explain", EXPLAIN, EACH, explain::explain),
    route!("POST", "/api/v1/policies/simulate", CONFIG, ROOT, policies::simulate),
    route!("GET", "/api/v1/policies/suggestions", CONFIG, ROOT, policies::suggestions),

    route!("POST", "/api/v1/egress/test", CONFIG, EACH, egress::test),
    route!("GET", "/api/v1/egress/authority", READ, ROOT, egress::authority),

    open!("GET", "/api/v1/login", login::providers),
    proved!("/api/v1/login", "whoever has a password of a directory", login::login),
    route!("POST", "/api/v1/logout", READ, EACH, login::logout),
    route!("GET", "/api/v1/whoami", EVERYBODY, EACH, agents::whoami),
    proved!(exchange::PATH, "whoever holds a delegation", exchange::redeem),
    route!("GET", "/api/v1/agents", READ, EACH, agents::list),
    route!("POST", "/api/v1/agents", ADMIN, EACH, agents::create),
    route!("GET", "/api/v1/agents/{name}", CONFIG, NAMED, agents::show),
    route!("POST", "/api/v1/agents/{name}/suspend", OPERATE, NAMED, agents::suspend),
    route!("POST", "/api/v1/agents/{name}/resume", OPERATE, NAMED, agents::resume),
    route!("POST", "/api/v1/agents/{name}/revoke", ADMIN, NAMED, agents::revoke),
    route!("POST", "/api/v1/agents/{name}/rotate", ADMIN, NAMED, agents::rotate),
    route!("POST", "/api/v1/agents/{name}/elevate", OPERATE, NAMED, agents::elevate),
    route!("POST", "/api/v1/agents/{name}/lower", OPERATE, NAMED, agents::lower),
    route!("POST", "/api/v1/agents/{name}/svid", SUBMIT, EACH, svid::issue),
    route!("POST", "/api/v1/handshakes", EVERYBODY, EACH, handshakes::begin),
    route!("POST", "/api/v1/handshakes/{id}", EVERYBODY, EACH, handshakes::judge),
    route!("GET", "/api/v1/delegations", READ, EACH, agents::delegations),
    route!("POST", "/api/v1/delegations", OPERATE, EACH, agents::delegate),
    route!("POST", "/api/v1/delegations/{id}/revoke", OPERATE, DELEGATION, agents::revoke_delegation),

    route!("GET", "/api/v1/models", READ, ROOT, money::models),
    route!("POST", "/api/v1/models/{name}/test", ADMIN, ROOT, money::test),
    route!("GET", "/api/v1/budgets", READ, ROOT, money::budgets),
    route!("GET", "/api/v1/budgets/{name}", READ, ROOT, money::budget),
    route!("POST", "/api/v1/budgets/{name}/raise", ADMIN, ROOT, money::raise),
    route!("GET", "/api/v1/cost", READ, ROOT, money::cost),

    surface!("GET", "/v1/models", |app, head, _| llm::models(app, head, Protocol::Chat)),
    surface!("GET", "/v1/models/{id}", |app, head, _| llm::model(app, head, Protocol::Chat)),
    surface!("POST", "/v1/chat/completions", |app, head, body| llm::call(app, head, body, Protocol::Chat)),
    surface!("POST", "/v1/responses", |app, head, body| llm::call(app, head, body, Protocol::Responses)),
    surface!("POST", "/v1/embeddings", |app, head, body| llm::call(app, head, body, Protocol::Embeddings)),
    surface!("GET", "/anthropic/v1/models", |app, head, _| llm::models(app, head, Protocol::Messages)),
    surface!("GET", "/anthropic/v1/models/{id}", |app, head, _| llm::model(app, head, Protocol::Messages)),
    surface!("POST", "/anthropic/v1/messages", |app, head, body| llm::call(app, head, body, Protocol::Messages)),
    surface!("POST", "/anthropic/v1/messages/count_tokens", |app, head, body| llm::call(app, head, body, Protocol::CountTokens)),

    route!("GET", "/api/v1/audit/entries", AUDIT, EACH, audit::entries),
    route!("GET", "/api/v1/audit/entries/{sequence}", AUDIT, ENTRY, audit::entry),
    route!("GET", "/api/v1/audit/events", AUDIT, EACH, audit::events),
    route!("GET", "/api/v1/audit/checkpoint", AUDIT, ROOT, audit::checkpoint),
    route!("GET", "/api/v1/audit/proofs/inclusion", AUDIT, ROOT, audit::inclusion),
    route!("GET", "/api/v1/audit/proofs/consistency", AUDIT, ROOT, audit::consistency),
    route!("POST", "/api/v1/audit/verify", AUDIT, ROOT, audit::verify),
];

/// Every route with where a role has to hold and which roles do, one a line.
#[must_use]
pub fn table() -> String {
    ROUTES
        .iter()
        .map(|route| {
            let who = match &route.handler {
                Handler::Open(_) => "anyone".to_owned(),
                Handler::Proved(who, _) | Handler::Surface(who, _) => format!("{:<11}{who}", "each"),
                Handler::Guarded(roles, scope, _) => {
                    let roles: Vec<_> = roles.iter().map(|role| role.as_str()).collect();
                    format!("{:<11}{}", scope.as_str(), roles.join(" "))
                }
            };
            format!("{:<7}{:<40}{who}\n", route.method, route.path)
        })
        .collect()
}

/// Kept so that the type of a shared application is written once.
pub type Shared = Arc<App>;
