//! What an upstream's answer means when it is not the answer that was asked for.

use crate::json::{Kind as JsonKind, Tape, View};
use crate::protocol::Protocol;
use crate::usage::owned;

/// An answer that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamFault {
    /// What it means.
    pub kind: FaultKind,
    /// The vendor's code or type, where it gave one. Comes from outside, cut to 128 characters.
    pub code: Option<String>,
    /// The vendor's text. Comes from outside, cut to 1,024 characters; it may quote the prompt, or a part of a key.
    pub message: Option<String>,
}

/// The kinds of [`UpstreamFault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// Too many requests or tokens for now (429).
    RateLimited,
    /// The account has no money or quota left: waiting does not help.
    QuotaExhausted,
    /// The vendor has too much to do (503, 529).
    Overloaded,
    /// The vendor failed (5xx).
    ServerError,
    /// The vendor took too long (408, 504).
    Timeout,
    /// The input and the answer do not fit the context window.
    ContextTooLong,
    /// A filter of the vendor refused.
    ContentPolicy,
    /// The key is not taken (401).
    Authentication,
    /// The key may not do this (403).
    Permission,
    /// No such model or path (404).
    NotFound,
    /// The body is larger than the vendor takes (413).
    TooLarge,
    /// The vendor finds the request wrong (4xx).
    BadRequest,
    /// A redirect or another status that no API of a model answers with.
    UnexpectedStatus,
    /// A status of success, and an error in the body.
    ErrorInSuccess,
    /// A status of success, and another kind of content than was asked for: a proxy's page, mostly.
    WrongContentType,
    /// A status of success, and a body that cannot be read.
    Unreadable,
}

impl FaultKind {
    /// Whether the same upstream may do better later.
    pub fn retry(self) -> bool {
        use FaultKind::{
            ErrorInSuccess, Overloaded, RateLimited, ServerError, Timeout, Unreadable, WrongContentType,
        };
        matches!(
            self,
            RateLimited | Overloaded | ServerError | Timeout | ErrorInSuccess | WrongContentType | Unreadable
        )
    }

    /// Whether another upstream may do better: the fault is of the upstream or of our account there, not of the
    /// request. A longer context window elsewhere may help too.
    pub fn fall_back(self) -> bool {
        !matches!(
            self,
            FaultKind::BadRequest | FaultKind::TooLarge | FaultKind::ContentPolicy
        )
    }

    /// For records.
    pub fn as_str(self) -> &'static str {
        match self {
            FaultKind::RateLimited => "rate_limited",
            FaultKind::QuotaExhausted => "quota_exhausted",
            FaultKind::Overloaded => "overloaded",
            FaultKind::ServerError => "server_error",
            FaultKind::Timeout => "timeout",
            FaultKind::ContextTooLong => "context_too_long",
            FaultKind::ContentPolicy => "content_policy",
            FaultKind::Authentication => "authentication",
            FaultKind::Permission => "permission",
            FaultKind::NotFound => "not_found",
            FaultKind::TooLarge => "too_large",
            FaultKind::BadRequest => "bad_request",
            FaultKind::UnexpectedStatus => "unexpected_status",
            FaultKind::ErrorInSuccess => "error_in_success",
            FaultKind::WrongContentType => "wrong_content_type",
            FaultKind::Unreadable => "unreadable",
        }
    }
}

/// Reads an answer; `None` says that it is what was asked for. Of a stream that was asked for (`stream`) and came, only the
/// status and the content type are looked at, and `body` is not read: [`crate::scan::Scan`] reads it.
pub fn fault_of(
    protocol: Protocol,
    stream: bool,
    status: u16,
    content_type: Option<&str>,
    body: &[u8],
) -> Option<UpstreamFault> {
    let kind = content_type.unwrap_or_default();
    let kind = kind
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let success = (200..300).contains(&status);
    let streams = match protocol {
        Protocol::Converse => "application/vnd.amazon.eventstream",
        _ => "text/event-stream",
    };
    if success && stream && kind == streams {
        return None;
    }
    let text = std::str::from_utf8(body).ok();
    let parsed = text.and_then(|text| Some((text, Tape::parse(text, crate::Limits::default().depth).ok()?)));
    let root = parsed.as_ref().map(|(text, tape)| tape.root(text));
    let told = root.and_then(told);
    if !success {
        // Amazon has nothing but a message; its code is in a header.
        let told = told.unwrap_or_else(|| Told {
            message: root.and_then(|root| owned(root.some("message").or_else(|| root.some("Message")))),
            ..Told::default()
        });
        let kind = by_status(status, &told);
        return Some(told.fault(kind));
    }
    if let Some(told) = told {
        // Its words say more than its status does.
        let kind = by_words(&told).unwrap_or(FaultKind::ErrorInSuccess);
        return Some(told.fault(kind));
    }
    let fault = |kind| Some(Told::default().fault(kind));
    // A list of servers leaves the content type out, or says `text/plain`; the body says what it is.
    match root {
        _ if stream => fault(FaultKind::WrongContentType),
        None if kind.contains("json") || kind.is_empty() => fault(FaultKind::Unreadable),
        None => fault(FaultKind::WrongContentType),
        Some(root) if is_answer(protocol, root) => None,
        Some(_) => fault(FaultKind::Unreadable),
    }
}

fn is_answer(protocol: Protocol, root: View) -> bool {
    let key = match protocol {
        Protocol::Chat => "choices",
        Protocol::Responses => "output",
        Protocol::Embeddings => "data",
        Protocol::Messages => "content",
        Protocol::Converse => return root.at(&["output", "message"]).is_some(),
        Protocol::CountTokens => return root.get("input_tokens").and_then(|count| count.whole()).is_some(),
    };
    root.get(key).is_some_and(|list| list.kind() == JsonKind::Array)
}

/// What an error says.
#[derive(Default)]
struct Told {
    kind: Option<String>,
    code: Option<String>,
    message: Option<String>,
}

impl Told {
    fn fault(self, kind: FaultKind) -> UpstreamFault {
        let cut = |text: Option<String>, most: usize| text.map(|text| text.chars().take(most).collect());
        UpstreamFault {
            kind,
            code: cut(self.code.or(self.kind), 128),
            message: cut(self.message, 1024),
        }
    }
}

/// The error in a body: `{"error": {…}}` (OpenAI, Google), `{"type": "error", "error": {…}}` (Anthropic), `{"error": "…"}`
/// (Ollama), `{"object": "error", "message": …}` (older vLLM, Mistral), `{"detail": …}` (FastAPI), a list of one (Google).
fn told(root: View) -> Option<Told> {
    let root = root.items().next().unwrap_or(root);
    if let Some(error) = root.some("error").filter(|error| !error.is("")) {
        return Some(Told {
            kind: owned(error.some("type")).or_else(|| owned(error.some("status"))),
            code: error
                .some("code")
                .map(|code| owned(Some(code)).unwrap_or_else(|| code.raw().to_owned())),
            message: owned(error.some("message")).or_else(|| owned(Some(error))),
        });
    }
    let said = root
        .get("object")
        .or_else(|| root.get("type"))
        .is_some_and(|word| word.is("error"));
    let detail = root.some("detail");
    (said || detail.is_some()).then(|| Told {
        kind: owned(root.some("type")),
        code: owned(root.some("code")),
        message: owned(root.some("message")).or_else(|| detail.map(|detail| detail.raw().to_owned())),
    })
}

fn by_status(status: u16, told: &Told) -> FaultKind {
    let words = by_words(told);
    match (status, words) {
        (400..500, Some(kind)) => kind,
        (401, _) => FaultKind::Authentication,
        (402, _) => FaultKind::QuotaExhausted,
        (403, _) => FaultKind::Permission,
        (404, _) => FaultKind::NotFound,
        (408 | 504, _) => FaultKind::Timeout,
        (413, _) => FaultKind::TooLarge,
        (429, _) => FaultKind::RateLimited,
        (400..500, _) => FaultKind::BadRequest,
        (503 | 529, _) => FaultKind::Overloaded,
        (500.., _) => FaultKind::ServerError,
        _ => FaultKind::UnexpectedStatus,
    }
}

/// What codes, types and well-known sentences say more exactly than a status.
fn by_words(told: &Told) -> Option<FaultKind> {
    const CODES: &[(&str, FaultKind)] = &[
        ("context_length_exceeded", FaultKind::ContextTooLong),
        ("string_above_max_length", FaultKind::ContextTooLong),
        ("content_filter", FaultKind::ContentPolicy),
        ("content_policy_violation", FaultKind::ContentPolicy),
        ("insufficient_quota", FaultKind::QuotaExhausted),
        ("billing_hard_limit_reached", FaultKind::QuotaExhausted),
        ("billing_error", FaultKind::QuotaExhausted),
        ("overloaded_error", FaultKind::Overloaded),
        ("rate_limit_error", FaultKind::RateLimited),
        ("rate_limit_exceeded", FaultKind::RateLimited),
        ("RESOURCE_EXHAUSTED", FaultKind::RateLimited),
        ("UNAVAILABLE", FaultKind::Overloaded),
        ("api_error", FaultKind::ServerError),
        ("server_error", FaultKind::ServerError),
        ("timeout_error", FaultKind::Timeout),
    ];
    // Where the vendor has no code of its own. Only said beside a status of error, or in place of an answer.
    const SENTENCES: &[(&str, FaultKind)] = &[
        ("maximum context length", FaultKind::ContextTooLong),
        ("prompt is too long", FaultKind::ContextTooLong),
        ("exceed context limit", FaultKind::ContextTooLong),
        ("exceeds the maximum number of tokens", FaultKind::ContextTooLong),
        ("input is too long for requested model", FaultKind::ContextTooLong),
        ("content filtering policy", FaultKind::ContentPolicy),
        ("credit balance is too low", FaultKind::QuotaExhausted),
    ];
    let named = [&told.code, &told.kind].into_iter().flatten();
    for word in named {
        if let Some((_, kind)) = CODES.iter().find(|(code, _)| code == word) {
            return Some(*kind);
        }
    }
    let message = told.message.as_deref()?.to_ascii_lowercase();
    SENTENCES
        .iter()
        .find(|(sentence, _)| message.contains(sentence))
        .map(|(_, kind)| *kind)
}
