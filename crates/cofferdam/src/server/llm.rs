//! The model gateway over HTTP: OpenAI's API at `/v1`, Anthropic's at `/anthropic/v1`, at the listener and at the doors of
//! guests. Who calls is told by the key, which is a session's; at the door of a guest by the door.
//!
//! It decides nothing: [`gate::llm::Llm`] does. Every answer has the shape of the protocol that is spoken.

use super::routes::Shared;
use super::{check_host, read, router};
use crate::app::App;
use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequestParts as _, Path};
use axum::response::{IntoResponse as _, Response};
use futures_util::{StreamExt as _, stream};
use gate::BoxFuture;
use gate::egress::{Inside, Prefixed};
use gate::llm::{Ask, Body as Answered, Protocol, REQUEST_BYTES_MAX, Reply};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::watch;

/// What the paths of this surface begin with.
const PREFIXES: [&str; 2] = ["/v1/", "/anthropic/v1/"];
/// How long a guest may take for the head of its next request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// Whose door a request came in by, where that says it.
#[derive(Clone, Debug)]
struct InSession(String);

/// `POST` of any of the protocols.
pub async fn call(app: Shared, head: Parts, body: Body, protocol: Protocol) -> Response {
    match called(&app, head, body, protocol).await {
        Ok(response) => response,
        Err(reply) => answer(reply, None),
    }
}

async fn called(app: &App, head: Parts, body: Body, protocol: Protocol) -> Result<Response, Reply> {
    let session = session(app, &head, protocol)?;
    let said = head.headers.get(header::CONTENT_LENGTH);
    let length = said.and_then(|length| length.to_str().ok()?.parse().ok());
    let _room = app
        .llm
        .room(protocol, length.unwrap_or(REQUEST_BYTES_MAX))
        .await?;
    let body = read(body, length.unwrap_or(REQUEST_BYTES_MAX).min(REQUEST_BYTES_MAX)).await;
    let body = body.map_err(|error| {
        app.llm
            .refusal(protocol, error.status().as_u16(), "malformed", error.detail())
    })?;
    let headers = head
        .headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())));
    let (here, gone) = watch::channel(());
    let ask = Ask {
        session,
        protocol,
        headers: headers.collect(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        body: body.into(),
        gone,
    };
    Ok(answer(app.llm.call(ask).await, Some(here)))
}

/// `GET /v1/models` and `GET /anthropic/v1/models`: what the session may call, in the shape of the protocol.
pub async fn models(app: Shared, head: Parts, protocol: Protocol) -> Response {
    let session = match session(&app, &head, protocol) {
        Ok(session) => session,
        Err(reply) => return answer(reply, None),
    };
    let listed = app.llm.list(&session).into_iter();
    let data: Vec<Value> = listed.map(|listed| shown(protocol, &listed.name)).collect();
    let body = match protocol {
        Protocol::Messages | Protocol::CountTokens => {
            let id = |at: Option<&Value>| at.and_then(|one| one.get("id")).cloned().unwrap_or_default();
            json!({ "first_id": id(data.first()), "last_id": id(data.last()), "has_more": false, "data": data })
        }
        Protocol::Chat | Protocol::Responses | Protocol::Embeddings | Protocol::Converse => {
            json!({ "object": "list", "data": data })
        }
    };
    Json(body).into_response()
}

/// `GET /v1/models/{id}` and `GET /anthropic/v1/models/{id}`: one of those.
pub async fn model(app: Shared, mut head: Parts, protocol: Protocol) -> Response {
    let session = match session(&app, &head, protocol) {
        Ok(session) => session,
        Err(reply) => return answer(reply, None),
    };
    let Ok(Path(id)) = Path::<String>::from_request_parts(&mut head, &()).await else {
        return answer(
            app.llm.refusal(protocol, 400, "malformed", "the name is no text"),
            None,
        );
    };
    match app.llm.list(&session).iter().any(|listed| listed.name == id) {
        true => Json(shown(protocol, &id)).into_response(),
        // Also what others may call: whoever may not learns nothing of it.
        false => {
            let what = format!("there is no model `{}` here", assay::redact::line(&id, 128));
            answer(app.llm.refusal(protocol, 404, "model_not_found", &what), None)
        }
    }
}

/// What is said where this surface has no path, in the shape of its protocol; `None` of paths that are none of it.
pub fn no_path(app: &App, path: &str) -> Option<Response> {
    let (what, protocol) = match PREFIXES.map(|prefix| path.starts_with(prefix)) {
        [true, _] => (
            "/v1/chat/completions, /v1/responses, /v1/embeddings and /v1/models",
            Protocol::Chat,
        ),
        [_, true] => (
            "/anthropic/v1/messages, its /count_tokens and /anthropic/v1/models",
            Protocol::Messages,
        ),
        _ => return None,
    };
    let what = format!("there is no such path here: this gateway has {what}");
    Some(answer(
        app.llm.refusal(protocol, 404, "no_such_path", &what),
        None,
    ))
}

/// A name that can be called, in the shape of the protocol.
fn shown(protocol: Protocol, name: &str) -> Value {
    match protocol {
        Protocol::Messages | Protocol::CountTokens => {
            json!({ "type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z" })
        }
        Protocol::Chat | Protocol::Responses | Protocol::Embeddings | Protocol::Converse => {
            json!({ "id": name, "object": "model", "created": 0, "owned_by": "cofferdam" })
        }
    }
}

/// The order of these lines is the security argument: names that a page could have pointed at us first, then the door, then
/// the key.
fn session(app: &App, head: &Parts, protocol: Protocol) -> Result<String, Reply> {
    if let Some(InSession(session)) = head.extensions.get() {
        return Ok(session.clone());
    }
    if let Err(error) = check_host(&app.hosts, &head.headers) {
        return Err(app
            .llm
            .refusal(protocol, error.status().as_u16(), "misdirected", error.detail()));
    }
    let known = app.llm.session_of(protocol, key(&head.headers));
    known.inspect_err(|_| app.metrics.unauthenticated())
}

/// The key, as either vendor's clients show it.
fn key(headers: &HeaderMap) -> Option<&str> {
    let bearer = super::bearer(headers);
    bearer.or_else(|| headers.get("x-api-key")?.to_str().ok())
}

/// `here` is held until the answer has gone out, or nobody takes it any more.
fn answer(reply: Reply, here: Option<watch::Sender<()>>) -> Response {
    let body = match reply.body {
        Answered::Whole(bytes) => Body::from(bytes),
        Answered::Stream(receiver) => {
            let pieces = stream::unfold((receiver, here), |(mut receiver, here)| async move {
                let piece = receiver.recv().await?;
                Some((Ok::<_, std::convert::Infallible>(piece), (receiver, here)))
            });
            Body::from_stream(pieces.boxed())
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::BAD_GATEWAY);
    for (name, value) in reply.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The same routes at the doors of guests.
pub struct AtDoors(pub Weak<App>);

impl Inside for AtDoors {
    fn takes(&self, path: &str) -> bool {
        PREFIXES.iter().any(|prefix| path.starts_with(prefix))
    }

    fn serve(&self, session: String, stream: Prefixed) -> BoxFuture<'static, ()> {
        let app = self.0.upgrade();
        Box::pin(async move {
            let Some(app) = app else { return };
            let inner = TowerToHyperService::new(router(app));
            let takes = |path: &str| PREFIXES.iter().any(|prefix| path.starts_with(prefix));
            let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
                // INVARIANT (a guest's door is a door to models, not to the API): whatever comes second on its connection.
                if !takes(request.uri().path()) {
                    *request.uri_mut() = http::Uri::from_static("/v1/none");
                }
                request.extensions_mut().insert(InSession(session.clone()));
                hyper::service::Service::call(&inner, request)
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a guest's connection to models ended early");
            }
        })
    }
}

/// Serves models at the doors of guests of `app`.
pub fn at_doors(app: &Arc<App>) {
    app.egress.serve_inside(Arc::new(AtDoors(Arc::downgrade(app))));
}
