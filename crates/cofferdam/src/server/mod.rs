//! The HTTP server: routes, authentication, views. It holds no logic of its own: a handler calls
//! the gate, the runtime or triage and turns the answer into JSON.
//!
//! Invariants:
//! - **One place decides who may call**: [`authorize`], from the table in [`routes`], and for things at a place
//!   in the tree of tenancy [`places`].
//! - **Authenticated before read**: nothing of a body is looked at before the token, but where a body is
//!   itself what authenticates: at [`exchange`] and [`login`], and of an approver's answer in [`hooks`].
//! - **Never a 5xx for what a caller sent**, and never a crash: a panic is a 500 and is counted.

mod agents;
mod approvals;
mod audit;
mod bundles;
pub mod call;
mod documents;
mod egress;
mod exchange;
mod explain;
mod handshakes;
mod hooks;
mod incidents;
mod keys;
mod listen;
pub mod llm;
mod login;
pub mod metrics;
mod money;
mod places;
mod policies;
pub mod problem;
mod redacted;
pub mod routes;
mod sessions;
mod status;
mod stops;
mod stream;
mod svid;
mod tasks;
mod tokens;
mod trust;

pub(crate) use exchange::PATH as REDEEM_PATH;
pub(crate) use listen::serve;

use crate::app::{App, organizations};
use crate::identity::{self, TOKEN_BYTES_MAX, is_foreign};
use crate::tls::Shown;
use axum::Router;
use axum::body::{Body, BodyDataStream};
use axum::extract::{Path, RawPathParams, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use bytes::Bytes;
use call::Call;
use futures_util::StreamExt as _;
use gate::{Caller, Unidentified};
use http::{HeaderMap, StatusCode, header};
use places::Scope;
use problem::ApiError;
use routes::{Handler, ROUTES, Route, Shared};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use store::{Health, StoreError};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Largest body of any request, in bytes.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// How long the body of a request may take to arrive, and the head of its answer to be made.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Most of a refused body that is let in and thrown away, in bytes.
const DISCARD_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How long that may take.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

/// How many strangers are judged at once at the doors that take no token. Each organization has its own, or those
/// who knock at one would keep everybody from the others.
pub struct Doors {
    /// Logins.
    pub logging_in: Semaphore,
    /// Redemptions of delegations.
    pub redeeming: Semaphore,
    /// Answers of outside systems that approve.
    pub answering: Semaphore,
}

impl Default for Doors {
    fn default() -> Doors {
        Doors {
            logging_in: Semaphore::new(login::AT_ONCE_MAX),
            redeeming: Semaphore::new(exchange::AT_ONCE_MAX),
            answering: Semaphore::new(hooks::AT_ONCE_MAX),
        }
    }
}

/// The router that the table describes.
pub fn router(app: Shared) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
        router = router.route(route.path, method(route));
    }
    router
        .fallback(|State(app): State<Shared>, uri: http::Uri| async move {
            let of_models = llm::no_path(&app, uri.path());
            of_models.unwrap_or_else(|| ApiError::not_found("such path").into_response())
        })
        .method_not_allowed_fallback(|| async {
            ApiError::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "this path has other methods",
            )
        })
        .with_state(app)
}

/// The same for every organization: the platform's own at the root, each other below its name. That an
/// organization is served here is no secret; nothing of what is in it is shown without its own token.
pub fn router_of_all(own: &Shared) -> Router {
    let nobody = |Path((name, _)): Path<(String, String)>| async move {
        ApiError::not_found(format!("organization `{}` here", organization_shown(&name)))
    };
    let unknown = format!("{}/{{name}}/{{*path}}", organizations::PREFIX);
    let all = router(Arc::clone(own)).route(&unknown, axum::routing::any(nobody));
    own.organizations
        .iter()
        .fold(all, |all, (name, served)| match served {
            Ok(app) => all.nest(&organizations::path(name), router(Arc::clone(app))),
            Err(_) => all,
        })
}

/// Nothing but a name is repeated.
fn organization_shown(name: &str) -> &str {
    if organizations::is_name(name) { name } else { "…" }
}

fn method(route: &'static Route) -> MethodRouter<Shared> {
    let filter = match route.method {
        "POST" => MethodFilter::POST,
        "DELETE" => MethodFilter::DELETE,
        _ => MethodFilter::GET,
    };
    on(
        filter,
        move |State(app): State<Shared>, parameters: RawPathParams, request: Request| async move {
            if let Handler::Surface(_, surface) = &route.handler {
                let (head, body) = request.into_parts();
                let response = surface(app.clone(), head, body).await;
                app.metrics.answered(route.method, route.path, response.status());
                return response;
            }
            let response = finish(
                &app,
                tokio::spawn(answer(app.clone(), route, parameters, request)),
            )
            .await;
            app.metrics.answered(route.method, route.path, response.status());
            response
        },
    )
}

/// Waits for an answer. What answers is a task of its own: once begun it goes on to its end, although
/// the caller went away, so that nothing is ever half applied. A panic in it is its alone.
async fn finish(app: &App, answering: JoinHandle<Result<Response, ApiError>>) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, answering).await {
        Ok(Ok(answer)) => answer.unwrap_or_else(IntoResponse::into_response),
        Ok(Err(failed)) => {
            app.metrics.panicked();
            ApiError::internal(&failed).into_response()
        }
        Err(_) => ApiError::slow().into_response(),
    }
}

/// One request. The order of these lines is the security argument.
async fn answer(
    app: Shared,
    route: &'static Route,
    parameters: RawPathParams,
    request: Request,
) -> Result<Response, ApiError> {
    let (mut head, body) = request.into_parts();
    let shown = head.extensions.remove::<Arc<Shown>>();
    let judged = match check_host(&app.hosts, &head.headers) {
        Ok(()) => judge(&app, route, &head.headers, shown.as_deref()).await,
        Err(refused) => Err(refused),
    };
    let (caller, Guard(roles, scope, handler)) = match judged {
        Ok(Judged::Admitted(caller, guard)) => (caller, guard),
        Ok(Judged::Answered(response)) => return Ok(response),
        Ok(Judged::Unknown(handler)) => {
            // Anybody may send this, so it is never more than what a redemption can need.
            let bare = exchange::Bare {
                app,
                parameters: named(&parameters),
                headers: head.headers,
                body: read(body, exchange::FORM_BYTES_MAX).await?,
            };
            return handler(bare).await;
        }
        Err(refused) => {
            discard(body.into_data_stream()).await;
            return Err(refused);
        }
    };
    let body = read(body, BODY_BYTES_MAX).await?;
    let parameters = named(&parameters);
    let headers = head.headers;
    let call = Call {
        app,
        caller,
        shown,
        roles,
        parameters,
        uri: head.uri,
        headers,
        body,
    };
    scope.check(&call)?;
    handler(call).await
}

fn named(parameters: &RawPathParams) -> Vec<(String, String)> {
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    parameters.iter().map(owned).collect()
}

/// Who calls, and whether the route may be answered at all.
async fn judge(
    app: &App,
    route: &Route,
    headers: &HeaderMap,
    shown: Option<&Shown>,
) -> Result<Judged, ApiError> {
    match &route.handler {
        Handler::Open(handler) => Ok(Judged::Answered(handler(app))),
        // Surfaces are answered before this.
        Handler::Surface(..) => Err(ApiError::not_found("such path")),
        Handler::Proved(_, handler) => check_journal(app, route).map(|()| Judged::Unknown(*handler)),
        Handler::Guarded(roles, scope, handler) => {
            let caller = authorize(app, roles, headers, shown).await?;
            check_journal(app, route)?;
            Ok(Judged::Admitted(caller, Guard(roles, *scope, *handler)))
        }
    }
}

/// What is known of a request before its body is read.
enum Judged {
    /// Needs no caller and no body.
    Answered(Response),
    /// Is judged by what its body shows.
    Unknown(routes::Proved),
    /// May be read.
    Admitted(Caller, Guard),
}

/// The roles that a route asks for, where they have to hold, and what answers.
struct Guard(&'static [gate::Role], Scope, routes::Guarded);

/// Refuses names that a page in a browser could have pointed at us (DNS rebinding). An address is
/// what such a page cannot fake, and `localhost` is not resolved by any DNS of its choice;
/// the names in `allowed` are those that whoever started us vouches for.
pub(crate) fn check_host(allowed: &[String], headers: &HeaderMap) -> Result<(), ApiError> {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let name = host.and_then(|host| host.parse::<http::uri::Authority>().ok());
    let fits = name.is_some_and(|authority| {
        let name = authority.host();
        name.eq_ignore_ascii_case("localhost")
            || allowed.iter().any(|allowed| name.eq_ignore_ascii_case(allowed))
            || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
    });
    if fits {
        return Ok(());
    }
    Err(ApiError::new(
        StatusCode::MISDIRECTED_REQUEST,
        "misdirected",
        "the Host header has to be `localhost`, an address, or a name that `up --allow-host NAME` was told",
    ))
}

/// Who calls, if it may anywhere; where it has to, [`Scope`] says. The one place where the API decides that.
///
/// A token says who calls, whatever the connection has shown; a client certificate says it where there is none.
async fn authorize(
    app: &App,
    roles: &[gate::Role],
    headers: &HeaderMap,
    shown: Option<&Shown>,
) -> Result<Caller, ApiError> {
    let unauthenticated = |error: ApiError| {
        app.metrics.unauthenticated();
        error
    };
    let caller = match (bearer(headers), shown) {
        (Some(token), shown) => {
            let certificate = shown.map(|shown| &shown.certificate.thumbprint);
            match app.gate.identify_with(token, certificate) {
                Ok(caller) => {
                    if let (Some(_), Some(shown)) = (caller.certificate(), shown) {
                        identity::still_bound(app, shown).map_err(unauthenticated)?;
                    }
                    caller
                }
                Err(Unidentified::NoToken) if is_foreign(token) => {
                    // Nobody is let in whose coming could not be recorded.
                    app.identity.take(app, token).await.map_err(unauthenticated)?
                }
                Err(error) => return Err(unauthenticated(error.into())),
            }
        }
        // What was meant as a token and is none is never passed over.
        (None, Some(shown)) if !headers.contains_key(header::AUTHORIZATION) => {
            identity::take_certificate(app, shown)
                .await
                .map_err(unauthenticated)?
        }
        (None, _) => {
            let detail = match app.tls.as_ref().is_some_and(|tls| tls.asks_clients()) {
                true => "send `Authorization: Bearer TOKEN`, or show a client certificate",
                false => "send `Authorization: Bearer TOKEN`",
            };
            let refused = ApiError::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail);
            return Err(unauthenticated(refused));
        }
    };
    match caller.holds_somewhere(roles) {
        true => Ok(caller),
        false => Err(lacks(roles)),
    }
}

fn lacks(roles: &[gate::Role]) -> ApiError {
    let needed: Vec<_> = roles.iter().map(|role| role.as_str()).collect();
    ApiError::forbidden(format!("this needs one of the roles: {}", needed.join(", ")))
}

/// Over a journal that was found altered nothing changes any more; see [`Route::outlives_the_journal`].
fn check_journal(app: &App, route: &Route) -> Result<(), ApiError> {
    match app.gate.store().health() {
        Health::Corrupt(finding) if !route.outlives_the_journal() => {
            Err(StoreError::Corrupt { finding }.into())
        }
        Health::Corrupt(_) | Health::Ready | Health::Unavailable(_) => Ok(()),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else {
        return None;
    };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && (1..=TOKEN_BYTES_MAX).contains(&token.len())).then_some(token)
}

/// The whole body, or why not. Never holds more than `most` bytes.
pub(crate) async fn read(body: Body, most: usize) -> Result<Bytes, ApiError> {
    let mut stream = body.into_data_stream();
    let mut bytes = Vec::new();
    let reading = async {
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| ApiError::malformed("body", root_cause(&error)))?;
            if bytes.len() + chunk.len() > most {
                return Err(ApiError::too_large(most));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(())
    };
    let slow = || {
        ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            "timeout",
            "the body took too long to arrive",
        )
    };
    match tokio::time::timeout(REQUEST_TIMEOUT, reading).await {
        Ok(Ok(())) => Ok(bytes.into()),
        Ok(Err(refused)) => {
            discard(stream).await;
            Err(refused)
        }
        Err(_) => Err(slow()),
    }
}

/// Lets a refused body come in, within limits, and throws it away: a client that is cut off while it
/// sends never reads the answer that says why.
async fn discard(mut stream: BodyDataStream) {
    let discarding = async {
        let mut left = DISCARD_BYTES_MAX;
        while let Some(Ok(chunk)) = stream.next().await {
            match left.checked_sub(chunk.len()) {
                Some(less) => left = less,
                None => break,
            }
        }
    };
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, discarding).await;
}

/// The innermost message of an error: what really was wrong.
pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn hosts_are_localhost_or_addresses() {
        let table = [
            ("127.0.0.1:7400", true),
            ("localhost:7400", true),
            ("LocalHost", true),
            ("[::1]:7400", true),
            ("192.168.1.5:7400", true),
            ("Cofferdam.example:7400", true),
            ("evil.cofferdam.example", false),
            ("evil.example:7400", false),
            ("127.0.0.1.evil.example", false),
            ("localhost.evil.example", false),
            ("user@127.0.0.1", true),
            ("", false),
        ];
        for (host, expected) in table {
            let allowed = ["cofferdam.example".to_owned()];
            assert_eq!(
                check_host(&allowed, &headers("host", &[host])).is_ok(),
                expected,
                "{host}"
            );
        }
        assert!(check_host(&[], &HeaderMap::new()).is_err(), "no Host at all");
    }

    #[test]
    fn one_bearer_token_and_nothing_else() {
        let long = format!("Bearer {}", "x".repeat(TOKEN_BYTES_MAX + 1));
        let table: [(&[&str], Option<&str>); 7] = [
            (&["Bearer abc"], Some("abc")),
            (&["bearer abc"], Some("abc")),
            (&["Basic abc"], None),
            (&["Bearer "], None),
            (&["abc"], None),
            (&["Bearer a", "Bearer b"], None),
            (&[&long], None),
        ];
        for (values, expected) in table {
            assert_eq!(bearer(&headers("authorization", values)), expected, "{values:?}");
        }
    }
}
