//! Requests that are seen: in clear text in absolute form, or inside TLS that we opened. Each is an action of its own,
//! goes over a connection of its own to an address that was checked for it, and is written anew.
//!
//! INVARIANT (one request, one connection): whatever two servers might make of a message, there is no second request
//! behind it, and no answer is taken for another's.

use super::answer::Refused;
use super::exchange::{Client, Ended, exchange};
use super::intercept::upstream;
use super::meaning;
use super::opaque::Spoken;
use super::resolve::dial;
use super::rules::{Mode, Rule};
use super::serve;
use super::tunnels::{Cut, Held, What};
use super::visit::{Came, Flight, Visit, action};
use super::wire::{ReadError, Wire};
use assay::head::{Asked, Body, Request};
use assay::link::{parse_url, resource};
use assay::target::Target;
use policy::{Environment, Outcome};
use serde_json::json;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use url::Url;

/// How long a client may take to read the last words.
const PARTING: Duration = Duration::from_secs(2);
/// By which servers and what stands before them are told that a request is another than it says: by method, or by path.
const OVERRIDES: [&str; 6] = [
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
    "x-original-uri",
];

/// Fields that say where a message ends and whom it is for.
const FRAMING: [&str; 4] = ["content-length", "transfer-encoding", "host", "connection"];

/// Where requests of one connection may go.
#[derive(Clone, Debug)]
pub(super) enum Scheme {
    /// `http://`, wherever each says.
    Clear,
    /// `http://`, to the host of the CONNECT.
    Within(Target),
    /// `https://`, to the host of the CONNECT and the SNI.
    Opened(Target),
}

/// Serves the absolute-form requests of a connection.
pub(super) async fn in_clear(visit: Visit, wire: Wire<TcpStream>, first: Request) {
    Box::pin(serve(&visit, wire, Some(first), Scheme::Clear)).await;
}

/// Serves the requests of a client that asked for a tunnel to `target`, where requests in clear text alone are let
/// through: it gets none, and whatever is no such request ends it.
pub(super) async fn connect(visit: Visit, mut wire: Wire<TcpStream>, target: Target, spoken: Spoken) {
    if wire.write(spoken.established()).await.is_ok() {
        Box::pin(serve(&visit, wire, None, Scheme::Within(target))).await;
    }
}

/// Serves requests until the client is done, one of them ends the connection, or it is cut.
pub(super) async fn serve<S: Client>(
    visit: &Visit,
    mut wire: Wire<S>,
    first: Option<Request>,
    scheme: Scheme,
) {
    let mut next = first;
    let cut = Arc::clone(visit.place.cut());
    // Also in the middle of a request: whoever sends a byte now and then would hold it for ever.
    let _aging = Aging::of(&cut, visit.allowed.lifetime());
    loop {
        let request = match next.take() {
            Some(request) => Ok(request),
            None => tokio::select! {
                biased;
                _ = cut.turned() => return,
                request = coming(visit, &mut wire) => request,
            },
        };
        let answered = match request {
            Ok(request) => one(visit, &mut wire, request, &scheme).await,
            Err(error) => match error.refused() {
                Some(refused) => {
                    let refused = match begins_tls(&wire.ahead) {
                        true => Refused::new(400, "tls_in_clear", TLS_IN_CLEAR).remedied(MAKE_IT_TLS),
                        false => refused,
                    };
                    let about = match &scheme {
                        Scheme::Within(target) => target.to_string(),
                        _ => about(&scheme).to_owned(),
                    };
                    let entry = visit.note(&about, &refused).await;
                    Err(refused.recorded(entry))
                }
                None => return,
            },
        };
        match answered {
            Ok(true) => {}
            Ok(false) => return part(&mut wire, None, &cut).await,
            Err(refused) => return part(&mut wire, Some(refused), &cut).await,
        }
    }
}

/// Says the last words to a client that may not read them, and does not wait for it when there is a reason to end.
async fn part<S: Client>(wire: &mut Wire<S>, refused: Option<Refused>, cut: &Cut) {
    let words = async {
        if let Some(refused) = refused {
            let _ = wire.write(&refused.http()).await;
        }
        let _ = tokio::io::AsyncWriteExt::shutdown(&mut wire.stream).await;
    };
    tokio::select! {
        biased;
        () = words => {}
        _ = cut.turned() => {}
        () = tokio::time::sleep(PARTING) => {}
    }
}

/// Cuts a connection when its time is over, unless it is dropped before.
struct Aging(AbortHandle);

impl Aging {
    fn of(cut: &Arc<Cut>, lifetime: Duration) -> Aging {
        let cut = Arc::clone(cut);
        let aging = tokio::spawn(async move {
            tokio::time::sleep(lifetime).await;
            cut.turn("its time is over");
        });
        Aging(aging.abort_handle())
    }
}

impl Drop for Aging {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Whether a record of TLS stands there: a handshake, which begins with a number that no method does (RFC 8446, 5.1).
fn begins_tls(ahead: &[u8]) -> bool {
    ahead.first() == Some(&0x16)
}

const TLS_IN_CLEAR: &str = "the client begins TLS, and this host is let through in clear text alone";
const MAKE_IT_TLS: &str = "use http://, or a rule without clearText: a tunnel, or one with inspect";

fn about(scheme: &Scheme) -> &'static str {
    match scheme {
        Scheme::Clear | Scheme::Within(_) => "a request in clear text",
        Scheme::Opened(_) => "a request in TLS",
    }
}

/// The next head: it may be long in coming, and has to come quickly once it does.
async fn coming<S: Client>(visit: &Visit, wire: &mut Wire<S>) -> Result<Request, ReadError> {
    if wire.ahead.is_empty() {
        let idle = tokio::time::timeout(visit.allowed.idle(), wire.more());
        idle.await.unwrap_or(Err(ReadError::Ended))?;
    }
    if begins_tls(&wire.ahead) {
        return Err(ReadError::Malformed(TLS_IN_CLEAR.to_owned()));
    }
    serve::request(wire, visit.egress.head_time).await
}

/// The URL that a request is for, as it will be sent; or why it is for none.
fn url(request: &Request, scheme: &Scheme) -> Result<Url, Refused> {
    let text = match (&request.asked, scheme) {
        (Asked::Absolute(target, path), Scheme::Clear) => format!("http://{target}{path}"),
        (Asked::Origin(path), Scheme::Opened(target) | Scheme::Within(target)) => {
            let is_opened = matches!(scheme, Scheme::Opened(_));
            // INVARIANT (no fronting): the host that is asked is the one that was connected to.
            if !request
                .host
                .as_ref()
                .is_some_and(|host| is_to(host, target, is_opened))
            {
                let said = request
                    .host
                    .as_ref()
                    .map_or("nobody".to_owned(), Target::to_string);
                let what = format!("domain fronting: the request is to {said}, its connection to {target}");
                return Err(Refused::new(403, "domain_fronting", what));
            }
            format!("{}://{target}{path}", if is_opened { "https" } else { "http" })
        }
        (Asked::Origin(_), Scheme::Clear) => {
            return Err(Refused::new(
                400,
                "malformed",
                "this is a proxy: use http://HOST/PATH in full",
            ));
        }
        (Asked::Absolute(..) | Asked::Connect(_), Scheme::Opened(_) | Scheme::Within(_))
        | (Asked::Connect(_), Scheme::Clear) => {
            return Err(Refused::new(
                400,
                "malformed",
                "a request within a connection names a path",
            ));
        }
    };
    parse_url(&text).map_err(|what| Refused::new(400, "malformed", format!("the URL {what}")))
}

/// Whether a `Host` is `target`. One without a port was read as if it came in TLS, and is for 80 where it did not.
fn is_to(host: &Target, target: &Target, is_opened: bool) -> bool {
    let is_unsaid = !is_opened && (host.port, target.port) == (443, 80);
    host == target || host.host == target.host && is_unsaid
}

/// One request; whether the connection may go on.
async fn one<S: Client>(
    visit: &Visit,
    wire: &mut Wire<S>,
    request: Request,
    scheme: &Scheme,
) -> Result<bool, Refused> {
    let whose = visit.egress.whose(&visit.session, &visit.agent);
    visit.egress.flood.again(whose, &visit.allowed)?;
    let url = match plain(&request).and_then(|()| url(&request, scheme)) {
        Ok(url) => url,
        Err(refused) => {
            let entry = visit.note(about(scheme), &refused).await;
            return Err(refused.recorded(entry));
        }
    };
    let url = Arc::new(url);
    let rule = match rule(visit, &url, &request)? {
        Ok(rule) => rule,
        Err(why) => return Err(Box::pin(refused(visit, &url, &request, why)).await),
    };
    let limit = match rule.mode {
        Mode::Seen { body_bytes, .. } => body_bytes,
        Mode::Tunnel { .. } => 0,
    };
    if let Body::Length(length) = request.body
        && length > limit
    {
        let what = format!("its body of {length} bytes is larger than {limit}, which the rule lets through");
        let refused = Refused::new(413, "body_too_large", what).by(&rule.id);
        let entry = visit.note(&resource(&url), &refused).await;
        return Err(refused.recorded(entry));
    }
    let made = proposal(&url, &request, &rule.environment)?;
    let flight = Box::pin(visit.admit(made))
        .await
        .map_err(|refused| match refused.rule {
            Some(_) => refused,
            None => refused.by(&rule.id),
        })?;
    let flown = Box::pin(fly(visit, wire, flight, (&url, &request), (&rule, limit))).await;
    visit.place.rests();
    flown
}

/// Refuses what says that it is another request than it is judged as.
fn plain(request: &Request) -> Result<(), Refused> {
    for field in &request.fields {
        // Servers that hand fields on as variables read `_` as `-`.
        let name = field.name.to_ascii_lowercase().replace('_', "-");
        let is_framing = name != field.name.to_ascii_lowercase() && FRAMING.contains(&name.as_str());
        if is_framing || OVERRIDES.contains(&name.as_str()) {
            let what = format!("the field `{}` makes another request of it", field.name);
            return Err(Refused::new(400, "override", what));
        }
    }
    Ok(())
}

/// The rule by which it may be made, or why there is none: by documents as they are now, not as they were when the
/// connection began. It is announced before that is said for good.
fn rule(
    visit: &Visit,
    url: &Arc<Url>,
    request: &Request,
) -> Result<Result<Arc<Rule>, &'static str>, Refused> {
    loop {
        let allowed = visit.egress.allowed_in(&visit.session, &visit.agent);
        let found = allowed.request(url, &request.method);
        if let Ok(rule) = &found {
            let action = Arc::new(proposal(url, request, &rule.environment)?);
            let what = What::Request(Arc::clone(url), request.method.clone());
            let name = format!("{} {} of {}", request.method, resource(url), visit.session);
            let held = Held {
                what,
                address: None,
                action,
                openness: rule.openness(),
            };
            visit.place.begins(name, held);
        }
        if visit.egress.is_current(&visit.session, &visit.agent, &allowed) {
            return Ok(found);
        }
    }
}

/// No rule is of it: that is recorded, and nothing is resolved.
async fn refused(visit: &Visit, url: &Url, request: &Request, why: &str) -> Refused {
    let why = format!("{why}: {} {}", request.method, resource(url));
    match proposal(url, request, &Environment::production()) {
        Ok(action) => visit.refuse(action, &why).await,
        Err(refused) => refused,
    }
}

fn proposal(url: &Url, request: &Request, environment: &Environment) -> Result<policy::Action, Refused> {
    let (effect, idempotence) = meaning(&request.method);
    let verb = match effect {
        policy::Effect::Read => "http.get",
        _ => "http.request",
    };
    let arguments = json!({ "url": url.as_str(), "method": request.method });
    action(
        verb,
        &resource(url),
        arguments,
        environment,
        (effect, idempotence),
    )
}

/// Sends what was let through, and settles what came of it. Whether the connection may go on.
async fn fly<S: Client>(
    visit: &Visit,
    wire: &mut Wire<S>,
    flight: Flight,
    (url, request): (&Url, &Request),
    (rule, limit): (&Rule, u64),
) -> Result<bool, Refused> {
    let (entry, cancel) = (flight.inner.entry(), flight.inner.cancel());
    let cut = Arc::clone(visit.place.cut());
    let mut told = Told::default();
    let sent = tokio::select! {
        biased;
        why = cut.turned() => Err(Refused::new(403, "cut", why)),
        () = cancel.cancelled() => Err(Refused::new(403, "stopped", "a stop covers it")),
        sent = send(visit, wire, (url, request), (rule, limit), &mut told) => sent,
    };
    let (method, address) = (
        &request.method,
        told.address.map_or("-".to_owned(), |a| a.to_string()),
    );
    let came = match &sent {
        Ok(ended) => {
            let summary = format!(
                "{method} at {address}: {} with {} bytes, {} sent",
                ended.status, ended.back, ended.out
            );
            Came {
                outcome: Outcome::Success,
                code: None,
                summary,
                result: json!({ "address": address, "status": ended.status, "bytesOut": ended.out, "bytesBack": ended.back }),
                told: true,
            }
        }
        Err(refused) => {
            let reads = super::is_read(method);
            let outcome = match refused.code {
                // It was sent, or may have been: nobody knows what the other side did, whoever cut it then.
                _ if told.sent && !reads => Outcome::Uncertain,
                "cut" | "stopped" => Outcome::Cancelled,
                _ => Outcome::Failure,
            };
            Came {
                outcome,
                told: told.sent,
                ..Came::failed(
                    refused.code,
                    format!("{method} at {address}: {}", refused.message),
                )
            }
        }
    };
    visit.settle(flight, came).await;
    match sent {
        Ok(ended) => Ok(ended.goes_on),
        // Half an answer cannot be followed by another.
        Err(_) if told.answered => Ok(false),
        Err(refused) => Err(refused.by(&rule.id).recorded(Some(entry))),
    }
}

/// How far a request came.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub address: Option<IpAddr>,
    pub sent: bool,
    pub answered: bool,
}

async fn send<S: Client>(
    visit: &Visit,
    wire: &mut Wire<S>,
    (url, request): (&Url, &Request),
    (rule, limit): (&Rule, u64),
    told: &mut Told,
) -> Result<Ended, Refused> {
    let target = target_of(url)?;
    let own = visit.egress.own();
    let dialled = dial(
        &visit.egress.asked_for(&visit.session, &visit.agent),
        rule,
        &target,
        &own,
        visit.allowed.connect(),
    )
    .await;
    let (stream, address) = dialled.map_err(|unreached| {
        let (status, code, text) = unreached.told(&target);
        Refused::new(status, code, text)
    })?;
    told.address = Some(address);
    visit.place.reached(address);
    // INVARIANT (bytes are of the connection): what earlier requests of it moved counts.
    let left = visit
        .allowed
        .bytes()
        .saturating_sub(visit.moved.load(Ordering::Relaxed));
    let limits = (limit, left, visit.allowed.idle());
    let exchanged = match url.scheme() {
        "https" => {
            let stream = upstream(&visit.egress, stream, &target, visit.allowed.connect()).await?;
            exchange(wire, stream, (url, request), limits, told).await
        }
        _ => exchange(wire, stream, (url, request), limits, told).await,
    };
    if let Ok(ended) = &exchanged {
        visit.moved.fetch_add(ended.out + ended.back, Ordering::Relaxed);
    }
    exchanged
}

fn target_of(url: &Url) -> Result<Target, Refused> {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or(443);
    Target::parse(&format!("{host}:{port}"))
        .map_err(|error| Refused::new(400, "malformed", error.to_string()))
}
