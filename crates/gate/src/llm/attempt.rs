//! One try at one model: what it can cost, the gate, the wire, and what came of it. Each is an action of its own.

use super::reply::Reply;
use super::settle::{Account, Ended};
use super::spec::{Model, Provider, VERB, resource};
use super::spoken::Spoken;
use super::stream::Relay;
use super::{Ask, Body, Llm, Models, cache};
use crate::egress::answer::Refused;
use crate::{Proposal, Refusal};
use bytes::{Bytes, BytesMut};
use policy::budget::Amounts;
use policy::{Action, Effect, Idempotence, InFlight, Taints, Verb};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use std::time::Duration;
use wire::upstream::{FaultKind, UpstreamFault, fault_of};
use wire::{Change, Protocol, Request, Rewrite};

/// The largest request whose text is kept whole beside the entry, in bytes; of a larger one its digest is.
const KEPT_BYTES_MAX: usize = 160 * 1024;
/// Largest answer that is no stream, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Largest error of an upstream that is read, in bytes.
const ERROR_BYTES_MAX: usize = 256 * 1024;
/// The version of Anthropic's API that is asked for where a client says none.
const ANTHROPIC_VERSION: &str = "2023-06-01";

/// How a try ended.
pub(super) enum Tried {
    /// There is an answer, or a stream has begun.
    Answered(Reply),
    /// The gate said no, or the request is wrong: nobody else is asked.
    Refused(Refused),
    /// The upstream failed.
    Failed {
        refused: Refused,
        /// Whether the same may do better.
        again: bool,
        /// When, as it says.
        after: Option<Duration>,
        /// Whether another may.
        elsewhere: bool,
    },
}

/// What is sent, and what it can cost.
struct Outgoing {
    body: Vec<u8>,
    changes: Vec<Change>,
    most: Amounts,
    /// The cap on output tokens in force, of all answers together.
    cap: u64,
}

/// A call of `model` without anything of it: for asking whether there may be one.
pub(super) fn bare(model: &Model) -> Option<Action> {
    action(model, json!({}))
}

fn action(model: &Model, arguments: Value) -> Option<Action> {
    let verb = Verb::new(VERB).ok()?;
    let (name, environment) = (resource(&model.name), model.environment.clone());
    let action = Action::new(
        verb,
        &name,
        arguments,
        environment,
        Effect::Read,
        Idempotence::Idempotent,
    );
    // What an answer says was made of what the session holds already.
    Some(action.ok()?.at_most(Taints::NONE))
}

impl Llm {
    /// A name that means nothing: recorded, as what the session's agent holds no grant for.
    pub(super) async fn unknown(&self, ask: &Ask, name: &str) -> Refused {
        let shown: String = name
            .chars()
            .filter(|c| !c.is_control() && *c != '*')
            .take(128)
            .collect();
        let what = format!("there is no model `{shown}` here");
        let made = Verb::new(VERB).and_then(|verb| {
            let environment = policy::Environment::production();
            Action::new(
                verb,
                &resource(&shown),
                json!({}),
                environment,
                Effect::Read,
                Idempotence::Idempotent,
            )
        });
        let Ok(action) = made else {
            return Refused::new(404, "model_not_found", what);
        };
        let refused = self
            .unlisted(ask, action, &what, "a Model or Route document of that name")
            .await;
        match refused.code {
            "not_granted" => Refused {
                status: 404,
                code: "model_not_found",
                ..refused
            },
            _ => refused,
        }
    }

    /// What is refused of `model` before the gate is asked whether it may be: each reason is an action of its own, or the
    /// second would count as a repeat of the first.
    async fn not_bounded(&self, ask: &Ask, model: &Model, why: &str, remedy: &str) -> Refused {
        match action(model, json!({ "refused": why })) {
            Some(action) => self.unlisted(ask, action, why, remedy).await,
            None => Refused::new(403, "not_granted", why),
        }
    }

    async fn unlisted(&self, ask: &Ask, action: Action, why: &str, remedy: &str) -> Refused {
        let step = self.steps.take(&ask.session, &action);
        let proposal = Proposal {
            session: ask.session.clone(),
            step: step.clone(),
            action: action.clone(),
        };
        let refusal = Box::pin(self.gate.refuse_unlisted(proposal, why, remedy)).await;
        let refused = self.known(&ask.session, &refusal, &action, step);
        match refused.code {
            "not_granted" => Refused {
                message: why.to_owned(),
                ..refused
            }
            .remedied(remedy),
            _ => refused,
        }
    }

    /// What the client is told, with the entry of it; its step may be used again.
    fn known(&self, session: &str, refusal: &Refusal, action: &Action, step: String) -> Refused {
        let known = self.gate.call(session, &step).ok().flatten();
        self.steps.refused(session, action, step);
        Refused::of(refusal).recorded(known.map(|call| call.first))
    }

    /// One try.
    pub(super) async fn attempt(
        self: &Arc<Self>,
        ask: &Ask,
        spoken: &Spoken<'_>,
        models: &Models,
        model: &Arc<Model>,
        cache: Option<Duration>,
    ) -> Tried {
        let outgoing = match self.outgoing(ask, &spoken.request, models, model).await {
            Ok(outgoing) => outgoing,
            Err(refused) => return Tried::Refused(refused),
        };
        let kept = self.kept(ask, spoken, model, &outgoing.body, cache);
        if let Some((_, Some(body))) = &kept {
            return self.again(ask, spoken, model, outgoing, body.clone()).await;
        }
        // INVARIANT (waiting holds nothing): before the gate is asked, so that nothing is reserved meanwhile.
        let project = self.project(&ask.session);
        let place = match self
            .queues
            .enter(&model.name, model.concurrent, &project, model.timeout)
            .await
        {
            Ok(place) => place,
            Err(refused) => return Tried::Refused(refused),
        };
        let arguments = arguments(spoken, model, &outgoing);
        let Some(action) = action(model, arguments).map(|action| action.costing(outgoing.most)) else {
            return Tried::Refused(Refused::new(400, "malformed", "the request makes no action"));
        };
        let flight = match self.admit(ask, action).await {
            Ok(flight) => flight,
            Err(refused) => return Tried::Refused(refused),
        };
        let account = Account::new(self, model, spoken.request.protocol(), outgoing.most).holding(place);
        let tried = self.fly(ask, spoken, (model, outgoing), flight, account).await;
        if let (
            Some((key, None)),
            Tried::Answered(Reply {
                status: 200,
                body: Body::Whole(body),
                ..
            }),
        ) = (&kept, &tried)
        {
            self.cache.put(*key, body);
        }
        tried
    }

    /// The key of an answer that may be given again, and the answer if there is one.
    fn kept(
        &self,
        ask: &Ask,
        spoken: &Spoken<'_>,
        model: &Model,
        body: &[u8],
        ttl: Option<Duration>,
    ) -> Option<(cache::Key, Option<Bytes>)> {
        let ttl = ttl.filter(|_| spoken.request.cacheable() && !spoken.request.stream())?;
        let opts_out = |(name, value): &(String, String)| {
            name == "cache-control" && (value.contains("no-cache") || value.contains("no-store"))
        };
        if ask.headers.iter().any(opts_out) {
            return None;
        }
        let view = self.gate.session(&ask.session).ok()?;
        let authority = self.gate.authority();
        let organization = authority.agents.get(&view.agent)?.place.organization.clone();
        // What the client speaks is part of what it gets.
        let client = spoken
            .translation
            .as_ref()
            .map_or("", |translation| translation.client.name());
        let key = cache::key(&organization, &format!("{}/{client}", model.name), body);
        Some((key, self.cache.get(&key, ttl)))
    }

    /// An answer that is given again. It is an action like any other, that costs nothing.
    async fn again(
        self: &Arc<Self>,
        ask: &Ask,
        spoken: &Spoken<'_>,
        model: &Arc<Model>,
        outgoing: Outgoing,
        body: Bytes,
    ) -> Tried {
        let free = Amounts {
            turns: 1,
            ..Amounts::default()
        };
        let outgoing = Outgoing {
            most: free,
            ..outgoing
        };
        let Some(action) =
            action(model, arguments(spoken, model, &outgoing)).map(|action| action.costing(free))
        else {
            return Tried::Refused(Refused::new(400, "malformed", "the request makes no action"));
        };
        match self.admit(ask, action).await {
            Err(refused) => Tried::Refused(refused),
            Ok(flight) => {
                let entry = flight.entry();
                let account = Account::new(self, model, spoken.request.protocol(), free);
                drop(account.hand_over(flight, Ended::again()));
                Tried::Answered(Reply {
                    status: 200,
                    headers: vec![
                        ("content-type".to_owned(), "application/json".to_owned()),
                        ("cofferdam-entry".to_owned(), entry.to_string()),
                        ("cofferdam-cache".to_owned(), "hit".to_owned()),
                    ],
                    body: Body::Whole(body),
                })
            }
        }
    }

    /// Where the agent of a session belongs: who waits, waits in turn with others.
    fn project(&self, session: &str) -> String {
        let view = self.gate.session(session).ok();
        let authority = self.gate.authority();
        let held = view.and_then(|view| {
            authority
                .agents
                .get(&view.agent)
                .map(|held| held.place.to_string())
        });
        held.unwrap_or_default()
    }

    async fn admit(&self, ask: &Ask, action: Action) -> Result<InFlight, Refused> {
        let step = self.steps.take(&ask.session, &action);
        let proposal = Proposal {
            session: ask.session.clone(),
            step: step.clone(),
            action: action.clone(),
        };
        let refusal = match Box::pin(self.gate.admit(proposal)).await {
            Ok(permit) => match permit.spend(self.gate.stop_set()) {
                Ok(flight) => return Ok(flight),
                Err(stopped) => Refusal::Stopped(stopped),
            },
            Err(refusal) => refusal,
        };
        Err(self.known(&ask.session, &refusal, &action, step))
    }

    /// What would be sent, unless it may not be or nobody knows what it could cost.
    async fn outgoing(
        &self,
        ask: &Ask,
        request: &Request,
        models: &Models,
        model: &Model,
    ) -> Result<Outgoing, Refused> {
        let view = self.gate.session(&ask.session);
        let view = view.map_err(|error| Refused::new(503, "unrecorded", error.to_string()))?;
        let subject = self.gate.session_subject(&view);
        let agents = subject.agents.iter().map(|member| member.name.as_str());
        if let Some(why) = models.keeps(model, agents, view.taint) {
            let remedy = "a model that runs on premises, or another `sensitivity` of the agent";
            return Err(self.not_bounded(ask, model, &why, remedy).await);
        }
        let Some(price) = &model.price else {
            let why = format!(
                "model `{}` has no price, so that nobody knows what it could cost",
                model.name
            );
            return Err(self
                .not_bounded(
                    ask,
                    model,
                    &why,
                    "give the Model `price.input` and `price.output`",
                )
                .await);
        };
        let bound = request.bound();
        let cap = bound.output_cap.unwrap_or(model.output);
        let protocol = request.protocol();
        let free = protocol == Protocol::CountTokens;
        let writes = !matches!(protocol, Protocol::Embeddings | Protocol::CountTokens);
        if writes && cap == 0 {
            let why = format!("nobody knows how long answers of model `{}` can be", model.name);
            return Err(self
                .not_bounded(
                    ask,
                    model,
                    &why,
                    "set an output cap, or give the Model `outputTokens`",
                )
                .await);
        }
        let most = match price.most(&bound, cap, model.context) {
            Ok(_) if free => (0, 0),
            Ok(most) => most,
            Err(unbounded) => {
                let place = if unbounded.place.is_empty() {
                    "the request"
                } else {
                    &unbounded.place
                };
                let why = format!("{}: {} has no ceiling price", place, unbounded.what);
                return Err(self.not_bounded(ask, model, &why, unbounded.remedy).await);
            }
        };
        let (body, changes) = request.rewrite(&Rewrite {
            model: Some(&model.upstream),
            output_cap: writes.then_some(cap),
            older_cap: matches!(
                model.provider,
                Provider::Compatible | Provider::Mistral | Provider::Gemini
            ),
            ask_usage: request.stream(),
        });
        Ok(Outgoing {
            body,
            changes,
            cap: cap
                .max(bound.thinking_budget.unwrap_or_default())
                .saturating_mul(bound.choices.max(1)),
            most: Amounts {
                micros: most.0,
                tokens: most.1,
                turns: 1,
                calls: 0,
            },
        })
    }

    /// Sends it. From here on the flight is settled with whatever comes.
    async fn fly(
        self: &Arc<Self>,
        ask: &Ask,
        spoken: &Spoken<'_>,
        (model, outgoing): (&Arc<Model>, Outgoing),
        flight: InFlight,
        account: Account,
    ) -> Tried {
        let entry = flight.entry();
        let failed = |code, what: String, again| Tried::Failed {
            refused: Refused::new(502, code, what).recorded(Some(entry)),
            again,
            after: None,
            elsewhere: true,
        };
        let sending = match self.sending(ask, (model, spoken.request.protocol()), outgoing.body, &flight) {
            Ok(sending) => sending,
            Err(what) => {
                account.settle(flight, Ended::unsent("not_sent", &what)).await;
                return failed("not_sent", what, false);
            }
        };
        let cancel = flight.cancel();
        let sent = tokio::select! {
            biased;
            () = cancel.cancelled() => {
                account.settle(flight, Ended::cut("stopped", "a stop covers it")).await;
                return Tried::Refused(Refused::new(403, "stopped", "a stop covers it").recorded(Some(entry)));
            }
            () = left(ask) => {
                account.settle(flight, Ended::left()).await;
                return Tried::Refused(Refused::new(499, "client_gone", "the client left").recorded(Some(entry)));
            }
            sent = tokio::time::timeout(model.timeout, sending.send()) => sent,
        };
        let response = match sent {
            Ok(Ok(response)) => response,
            Ok(Err(error)) if error.is_connect() || error.is_builder() => {
                let what = format!(
                    "model `{}` cannot be reached: {}",
                    model.name,
                    client_error(&error)
                );
                self.breakers.failed(&model.name);
                account
                    .settle(flight, Ended::unsent("not_connected", &what))
                    .await;
                return failed("not_connected", what, true);
            }
            Ok(Err(error)) => {
                let what = format!("model `{}` gave no answer: {}", model.name, client_error(&error));
                self.breakers.failed(&model.name);
                account.settle(flight, Ended::lost("no_answer", &what)).await;
                return failed("no_answer", what, true);
            }
            Err(_) => {
                let what = format!(
                    "model `{}` did not answer within {} s",
                    model.name,
                    model.timeout.as_secs()
                );
                self.breakers.failed(&model.name);
                account.settle(flight, Ended::lost("too_slow", &what)).await;
                return failed("too_slow", what, false);
            }
        };
        let request = &spoken.request;
        let coming = Coming {
            stream: request.stream(),
            withhold: request.stream() && !request.wants_usage(),
            cap: outgoing.cap,
            response,
        };
        self.heard((ask, spoken), model, coming, flight, account).await
    }

    fn sending(
        &self,
        ask: &Ask,
        (model, protocol): (&Model, Protocol),
        body: Vec<u8>,
        flight: &InFlight,
    ) -> Result<reqwest::RequestBuilder, String> {
        let client = self.clients.of(model)?;
        let mut url = model.endpoint.clone();
        let path = protocol.path().strip_prefix("/v1").unwrap_or_default();
        url.set_path(&format!("{}{path}", model.endpoint.path().trim_end_matches('/')));
        if ask.query.split('&').any(|part| part == "beta=true") {
            url.set_query(Some("beta=true"));
        }
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        for (name, value) in ask
            .headers
            .iter()
            .filter(|(name, _)| is_passed_on(model.provider, name))
        {
            let (Ok(name), Ok(value)) = (HeaderName::try_from(name.as_str()), HeaderValue::from_str(value))
            else {
                continue;
            };
            headers.append(name, value);
        }
        if model.provider == Provider::Anthropic && !headers.contains_key("anthropic-version") {
            headers.insert("anthropic-version", HeaderValue::from_static(ANTHROPIC_VERSION));
        }
        if let Some(secret) = &model.secret {
            let secret = secrets::lend(flight, secret, &self.private).map_err(|error| error.to_string())?;
            let (name, value) = key(model.provider, secret.expose())?;
            headers.insert(name, value);
        }
        Ok(client.post(url).headers(headers).body(body))
    }

    /// What the upstream says.
    async fn heard(
        self: &Arc<Self>,
        (ask, spoken): (&Ask, &Spoken<'_>),
        model: &Arc<Model>,
        coming: Coming,
        flight: InFlight,
        account: Account,
    ) -> Tried {
        let status = coming.response.status().as_u16();
        let headers = coming.response.headers();
        let kind = text(headers, "content-type").map(str::to_owned);
        let after = text(headers, "retry-after")
            .and_then(|text| text.trim().parse().ok())
            .map(Duration::from_secs);
        let is_stream = coming.stream
            && status == 200
            && kind
                .as_deref()
                .is_some_and(|kind| kind.trim_start().starts_with("text/event-stream"));
        let mut passed: Vec<(String, String)> = headers
            .iter()
            .filter(|(name, _)| comes_back(name.as_str()))
            .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())))
            .collect();
        passed.push(("cofferdam-entry".to_owned(), flight.entry().to_string()));
        if is_stream {
            let relay = Relay::new(
                self,
                (ask, spoken),
                model,
                flight,
                account,
                (coming.cap, coming.withhold),
            );
            return relay.begin(coming.response, passed).await;
        }
        let limit = if status == 200 {
            ANSWER_BYTES_MAX
        } else {
            ERROR_BYTES_MAX
        };
        let cancel = flight.cancel();
        let read = tokio::select! {
            biased;
            () = cancel.cancelled() => Err("a stop covers it".to_owned()),
            () = left(ask) => Err("the client left".to_owned()),
            read = tokio::time::timeout(model.timeout, whole(coming.response, limit)) => {
                read.unwrap_or_else(|_| Err("its answer stopped coming".to_owned()))
            }
        };
        let body = match read {
            Ok(body) => body,
            Err(what) => {
                let entry = flight.entry();
                let what = format!("the answer of model `{}` broke off: {what}", model.name);
                self.breakers.failed(&model.name);
                account.settle(flight, Ended::lost("broken", &what)).await;
                let refused = Refused::new(502, "broken", what).recorded(Some(entry));
                return Tried::Failed {
                    refused,
                    again: false,
                    after: None,
                    elsewhere: false,
                };
            }
        };
        match fault_of(
            spoken.request.protocol(),
            coming.stream,
            status,
            kind.as_deref(),
            &body,
        ) {
            Some(fault) => self.faulty(model, (status, after), &fault, flight, account).await,
            None => {
                self.breakers.well(&model.name);
                let entry = flight.entry();
                account.settle_answer(flight, status, &body);
                answered(spoken, status, passed, body, entry)
            }
        }
    }

    /// An answer that is none.
    async fn faulty(
        &self,
        model: &Model,
        (status, after): (u16, Option<Duration>),
        fault: &UpstreamFault,
        flight: InFlight,
        account: Account,
    ) -> Tried {
        let entry = Some(flight.entry());
        let said = fault
            .message
            .as_deref()
            .map(|said| assay::redact::line(said, 300));
        let said = said.map(|said| format!(": {said}")).unwrap_or_default();
        let what = format!(
            "model `{}` answered {status} ({}){said}",
            model.name,
            fault.kind.as_str()
        );
        match fault.kind {
            kind if kind.retry() || matches!(kind, FaultKind::Authentication | FaultKind::QuotaExhausted) => {
                self.breakers.failed(&model.name);
            }
            _ => self.breakers.well(&model.name),
        }
        // What was answered with success may have been billed, whatever stands in it.
        let ended = match status {
            200..=299 => Ended::lost(fault.kind.as_str(), &what),
            _ => Ended::unsent(fault.kind.as_str(), &what),
        };
        account.settle(flight, ended).await;
        // INVARIANT (the key is the gate's): what the upstream thinks of it is no fault of the caller's.
        let (status, code) = match fault.kind {
            FaultKind::Authentication | FaultKind::Permission | FaultKind::QuotaExhausted => {
                (502, "upstream_account")
            }
            FaultKind::RateLimited => (429, "upstream_rate_limited"),
            FaultKind::Overloaded => (529, "upstream_overloaded"),
            FaultKind::ContextTooLong => (400, "context_length_exceeded"),
            FaultKind::ContentPolicy => (400, "content_policy"),
            FaultKind::TooLarge => (413, "upstream_too_large"),
            FaultKind::BadRequest => (400, "upstream_bad_request"),
            FaultKind::NotFound => (502, "upstream_not_found"),
            FaultKind::Timeout => (504, "upstream_timeout"),
            _ => (502, "upstream_failed"),
        };
        let seconds = after.map(|after| u32::try_from(after.as_secs()).unwrap_or(u32::MAX));
        Tried::Failed {
            refused: Refused {
                retry_after: seconds.or(fault.kind.retry().then_some(1)),
                ..Refused::new(status, code, what)
            }
            .recorded(entry),
            again: fault.kind.retry(),
            after,
            elsewhere: fault.kind.fall_back(),
        }
    }
}

/// Resolves when nobody waits for the answer any more.
async fn left(ask: &Ask) {
    let mut gone = ask.gone.clone();
    // Nothing is ever sent: the end of the channel is the word.
    while gone.changed().await.is_ok() {}
}

/// The answer, in the client's protocol.
fn answered(
    spoken: &Spoken<'_>,
    status: u16,
    headers: Vec<(String, String)>,
    body: Bytes,
    entry: u64,
) -> Tried {
    let told = match &spoken.translation {
        None => Ok(body),
        Some(translation) => translation.answer(spoken.request.protocol(), &body),
    };
    match told {
        Ok(body) => Tried::Answered(Reply {
            status,
            headers,
            body: Body::Whole(body),
        }),
        Err(what) => Tried::Refused(Refused::new(502, "not_translated", what).recorded(Some(entry))),
    }
}

/// An answer on its way.
struct Coming {
    stream: bool,
    withhold: bool,
    cap: u64,
    response: reqwest::Response,
}

/// What the record holds of a call: everything, of one that is not large.
fn arguments(spoken: &Spoken<'_>, model: &Model, outgoing: &Outgoing) -> Value {
    let request = &spoken.request;
    let body = &outgoing.body;
    let sha256: [u8; 32] = Sha256::digest(body).into();
    let changes: Vec<Value> = outgoing
        .changes
        .iter()
        .map(|change| json!({ "at": change.pointer, "from": change.from, "to": change.to }))
        .collect();
    let mut arguments = json!({
        "model": model.upstream, "endpoint": model.endpoint.as_str(), "protocol": request.protocol().name(),
        "stream": request.stream(), "bytes": body.len(), "sha256": policy::canonical::hex(&sha256),
        "changes": changes, "most": outgoing.most,
    });
    if let (Some(translation), Some(members)) = (&spoken.translation, arguments.as_object_mut()) {
        members.insert("translated".to_owned(), translation.told());
    }
    // What goes out is text: it was checked.
    if let (true, Ok(text), Some(members)) = (
        body.len() <= KEPT_BYTES_MAX,
        std::str::from_utf8(body),
        arguments.as_object_mut(),
    ) {
        members.insert("request".to_owned(), text.into());
    }
    arguments
}

fn key(provider: Provider, secret: &[u8]) -> Result<(HeaderName, HeaderValue), String> {
    let none = |_| "the provider's key cannot stand in a header".to_owned();
    let (name, mut value) = match provider {
        Provider::Anthropic => (
            HeaderName::from_static("x-api-key"),
            HeaderValue::from_bytes(secret).map_err(none)?,
        ),
        Provider::Azure => (
            HeaderName::from_static("api-key"),
            HeaderValue::from_bytes(secret).map_err(none)?,
        ),
        Provider::OpenAi | Provider::Gemini | Provider::Mistral | Provider::Compatible => {
            let value = zeroize::Zeroizing::new([b"Bearer ".as_slice(), secret].concat());
            (
                reqwest::header::AUTHORIZATION,
                HeaderValue::from_bytes(&value).map_err(none)?,
            )
        }
    };
    value.set_sensitive(true);
    Ok((name, value))
}

/// Headers of a client that mean something to the provider, and nothing about who asks.
fn is_passed_on(provider: Provider, name: &str) -> bool {
    match provider {
        Provider::Anthropic => matches!(name, "anthropic-version" | "anthropic-beta"),
        _ => name == "openai-beta",
    }
}

/// Headers of an upstream that mean something to the client.
fn comes_back(name: &str) -> bool {
    const PREFIXES: [&str; 3] = ["openai-", "anthropic-", "x-ratelimit-"];
    // Whose account it is, is nobody's business.
    let account = name.contains("organization") || name.contains("project");
    matches!(name, "content-type" | "x-request-id" | "request-id")
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix)) && !account
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

async fn whole(mut response: reqwest::Response, limit: usize) -> Result<Bytes, String> {
    let first = response
        .chunk()
        .await
        .map_err(|error| client_error(&error))?
        .unwrap_or_default();
    let mut rest: Option<BytesMut> = None;
    while let Some(chunk) = response.chunk().await.map_err(|error| client_error(&error))? {
        let all = rest.get_or_insert_with(|| BytesMut::from(first.as_ref()));
        if all.len() + chunk.len() > limit {
            return Err(format!("it is larger than {limit} bytes"));
        }
        all.extend_from_slice(&chunk);
    }
    match rest {
        _ if first.len() > limit => Err(format!("it is larger than {limit} bytes")),
        Some(rest) => Ok(rest.freeze()),
        None => Ok(first),
    }
}

/// What the client says, down to the cause, without the URL.
pub(super) fn client_error(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut next: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(one) = next {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&one.to_string());
        next = one.source();
    }
    if text.is_empty() {
        text.push_str("the connection failed");
    }
    assay::redact::line(&text, 300)
}
