//! Errors in the shape of the protocol that the caller speaks, so that its SDK raises what its user expects.
//!
//! The official SDKs choose the class by the status (401 `AuthenticationError`, 403 `PermissionDeniedError`, 429
//! `RateLimitError`, …) and show the body; `retry-after` and `x-should-retry` are obeyed by all of them.

use crate::json::Json;
use crate::protocol::{Family, Protocol};
use crate::sse;

/// What the caller is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure<'a> {
    /// HTTP status.
    pub status: u16,
    /// A stable reason, for machines.
    pub code: &'a str,
    /// For people: what was refused, why, and what would change it.
    pub message: &'a str,
    /// Where the journal says more.
    pub reference: Option<&'a str>,
    /// In how many seconds it is worth another try; `None` says that waiting does not help, and SDKs are told to
    /// leave it.
    pub retry_after: Option<u64>,
}

/// Headers of the answer beside its status.
pub fn error_headers(failure: &Failure) -> Vec<(&'static str, String)> {
    let mut headers = vec![("content-type", "application/json".to_owned())];
    match failure.retry_after {
        Some(seconds) => headers.push(("retry-after", seconds.to_string())),
        None => headers.push(("x-should-retry", "false".to_owned())),
    }
    headers
}

/// The body of an answer that is an error.
pub fn error_body(family: Family, failure: &Failure) -> Vec<u8> {
    let body = match family {
        Family::OpenAi => Json::object().set("error", openai(failure)),
        Family::Anthropic => anthropic(failure),
        Family::Amazon => Json::object().set("message", failure.message),
    };
    body.to_string().into_bytes()
}

/// The last event of a stream that had begun: nothing comes after it. `sequence` is the number of the event
/// (Responses counts its events from 0).
pub fn error_event(protocol: Protocol, failure: &Failure, sequence: u64) -> Vec<u8> {
    let (name, body) = match protocol {
        Protocol::Chat | Protocol::Embeddings => (None, Json::object().set("error", openai(failure))),
        // The SDK raises where there is an object `error`; the fields beside it are those of the documented event.
        Protocol::Responses => (
            Some("error"),
            Json::object()
                .set("type", "error")
                .set("code", failure.code)
                .set("message", failure.message)
                .set("param", Json::null())
                .set("sequence_number", sequence)
                .set("error", openai(failure)),
        ),
        Protocol::Messages | Protocol::CountTokens | Protocol::Converse => {
            (Some("error"), anthropic(failure))
        }
    };
    let mut out = Vec::new();
    sse::write(name, &body.to_string(), &mut out);
    out
}

fn openai(failure: &Failure) -> Json {
    let kind = match failure.status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    };
    // The SDK shows nothing but the message.
    let message = match failure.reference {
        Some(reference) => format!("{} ({}, see {reference})", failure.message, failure.code),
        None => failure.message.to_owned(),
    };
    Json::object()
        .set("message", message)
        .set("type", kind)
        .set("param", Json::null())
        .set("code", failure.code)
        .maybe("reference", failure.reference)
}

fn anthropic(failure: &Failure) -> Json {
    let kind = match failure.status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        503 | 529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    };
    let error = Json::object()
        .set("type", kind)
        .set("message", failure.message)
        .set("code", failure.code)
        .maybe("reference", failure.reference);
    Json::object()
        .set("type", "error")
        .set("error", error)
        .maybe("request_id", failure.reference)
}
