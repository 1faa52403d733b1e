//! On the wire: what is sent, with the key of the provider, and what the upstream makes of it.

use super::attempt::{Outgoing, Tried};
use super::reply::{Body, Reply};
use super::settle::{Account, Ended};
use super::spec::{Model, Provider};
use super::spoken::Spoken;
use super::stream::Relay;
use super::{Ask, Llm};
use crate::egress::answer::Refused;
use bytes::{Bytes, BytesMut};
use policy::InFlight;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use std::sync::Arc;
use std::time::Duration;
use wire::Protocol;
use wire::upstream::{FaultKind, UpstreamFault, fault_of};

/// Largest answer that is no stream, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Largest error of an upstream that is read, in bytes.
const ERROR_BYTES_MAX: usize = 256 * 1024;
/// The version of Anthropic's API that is asked for where a client says none.
const ANTHROPIC_VERSION: &str = "2023-06-01";

impl Llm {
    /// Sends it. From here on the flight is settled with whatever comes.
    pub(super) async fn fly(
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
        // What was not begun costs nothing.
        if cancel.is_cancelled() || ask.gone.has_changed().is_err() {
            account
                .settle(
                    flight,
                    Ended::unsent("not_sent", "it was over before it was sent"),
                )
                .await;
            let refused = Refused::new(403, "stopped", "it was over before it was sent");
            return Tried::Refused(refused.recorded(Some(entry)));
        }
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
            sent => {
                let (code, what, again, ended) = unanswered(model, sent.map(|sent| sent.map(drop)));
                self.breakers.failed(&model.name);
                account.settle(flight, ended).await;
                return failed(code, what, again);
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
        let passed = passed(headers, flight.entry());
        if is_stream {
            let relay = Relay::new(
                self,
                (ask, spoken),
                model,
                flight,
                account,
                (coming.cap, coming.withhold),
            );
            return relay.begin(coming.response, passed, ask).await;
        }
        let limit = if status == 200 {
            ANSWER_BYTES_MAX
        } else {
            ERROR_BYTES_MAX
        };
        let body = match self.body(ask, model, coming.response, limit, &flight).await {
            Ok(body) => body,
            Err((ended, tried)) => {
                account.settle(flight, ended).await;
                return tried;
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

    /// All of an answer, or how it ended before that.
    async fn body(
        &self,
        ask: &Ask,
        model: &Model,
        response: reqwest::Response,
        limit: usize,
        flight: &InFlight,
    ) -> Result<Bytes, (Ended, Tried)> {
        let (cancel, entry) = (flight.cancel(), Some(flight.entry()));
        let read = tokio::select! {
            biased;
            () = cancel.cancelled() => {
                let refused = Refused::new(403, "stopped", "a stop covers it").recorded(entry);
                return Err((Ended::cut("stopped", "a stop covers it"), Tried::Refused(refused)));
            }
            () = left(ask) => {
                let refused = Refused::new(499, "client_gone", "the client left").recorded(entry);
                return Err((Ended::left(), Tried::Refused(refused)));
            }
            read = tokio::time::timeout(model.timeout, whole(response, limit)) => {
                read.unwrap_or_else(|_| Err("its answer stopped coming".to_owned()))
            }
        };
        read.map_err(|what| {
            let what = format!("the answer of model `{}` broke off: {what}", model.name);
            self.breakers.failed(&model.name);
            let failed = Tried::Failed {
                refused: Refused::new(502, "broken", what.clone()).recorded(entry),
                again: false,
                after: None,
                elsewhere: false,
            };
            (Ended::lost("broken", &what), failed)
        })
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
        let what = format!(
            "model `{}` answered {status} ({})",
            model.name,
            fault.kind.as_str()
        );
        // INVARIANT (the key is the gate's): what a vendor says of our account with it may quote the key, and names who we
        // are; what it says of a request may quote the prompt, so it is in the payload and not in the leaf.
        let of_account = matches!(
            fault.kind,
            FaultKind::Authentication | FaultKind::Permission | FaultKind::QuotaExhausted
        );
        let said = fault.message.as_deref().filter(|_| !of_account);
        let said = said.map(|said| assay::redact::line(said, 300));
        let told = said
            .as_ref()
            .map(|said| format!("{what}: {said}"))
            .unwrap_or_else(|| what.clone());
        match fault.kind {
            kind if kind.retry() || matches!(kind, FaultKind::Authentication | FaultKind::QuotaExhausted) => {
                self.breakers.failed(&model.name);
            }
            _ => self.breakers.well(&model.name),
        }
        // What was answered with success may have been billed, whatever stands in it.
        // So may what a proxy gave up on, or a server that failed on the way. Nobody bills what was refused.
        let ended = match status {
            408 | 499 => Ended::lost(fault.kind.as_str(), &what),
            300..=499 | 503 | 529 => Ended::unsent(fault.kind.as_str(), &what),
            _ => Ended::lost(fault.kind.as_str(), &what),
        };
        let ended = Ended {
            result: serde_json::json!({ "status": status, "said": said }),
            ..ended
        };
        account.settle(flight, ended).await;
        let (status, code) = told_as(fault.kind);
        let seconds = after.map(|after| u32::try_from(after.as_secs()).unwrap_or(u32::MAX));
        Tried::Failed {
            refused: Refused {
                retry_after: seconds.or(fault.kind.retry().then_some(1)),
                ..Refused::new(status, code, told)
            }
            .recorded(entry),
            again: fault.kind.retry(),
            after,
            elsewhere: fault.kind.fall_back(),
        }
    }
}

/// Why there is no answer: a code, in words, whether it may be tried again, and how it is settled.
fn unanswered(
    model: &Model,
    sent: Result<Result<(), reqwest::Error>, tokio::time::error::Elapsed>,
) -> (&'static str, String, bool, Ended) {
    let name = &model.name;
    match sent {
        Ok(Err(error)) if error.is_connect() || error.is_builder() => {
            let what = format!("model `{name}` cannot be reached: {}", client_error(&error));
            let ended = Ended::unsent("not_connected", &what);
            ("not_connected", what, true, ended)
        }
        Ok(sent) => {
            let why = sent.err().map(|error| client_error(&error)).unwrap_or_default();
            let what = format!("model `{name}` gave no answer: {why}");
            let ended = Ended::lost("no_answer", &what);
            ("no_answer", what, true, ended)
        }
        Err(_) => {
            let what = format!(
                "model `{name}` did not answer within {} s",
                model.timeout.as_secs()
            );
            let ended = Ended::lost("too_slow", &what);
            ("too_slow", what, false, ended)
        }
    }
}

/// Status and code for the client. INVARIANT (the key is the gate's): what the upstream thinks of it is no fault of the
/// caller's.
fn told_as(kind: FaultKind) -> (u16, &'static str) {
    match kind {
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
    }
}

/// What the client gets of an upstream's headers.
fn passed(headers: &HeaderMap, entry: u64) -> Vec<(String, String)> {
    let mut passed: Vec<(String, String)> = headers
        .iter()
        .filter(|(name, _)| comes_back(name.as_str()))
        .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())))
        .collect();
    passed.push(("cofferdam-entry".to_owned(), entry.to_string()));
    passed
}

/// Resolves when nobody waits for the answer any more.
pub(super) async fn left(ask: &Ask) {
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
