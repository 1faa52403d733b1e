//! `http.get` and `http.request`, over the checked client.
//!
//! `http.get` succeeds whenever an answer came, whatever its status: that a service answers 500 is an
//! observation. `http.request` succeeds with a status below 400; from 400 on the other side refused,
//! which is a failure. 502 and 504 come from something in between, so what a request that must not be
//! repeated did is then uncertain, as it is when no answer came at all.

use super::address::{Prefix, parse_url, resource};
pub use super::client::{Client, Exchange, SendError};
use super::report::{action, argument, cancelled, ended, failure, put, success, text};
use super::schema;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gate::egress::meaning;
use gate::{BoxFuture, Tool, ToolError};
use policy::{Action, Effect, Environment, Idempotence, InFlight, Outcome, Settlement, Verb};
use reqwest::{Method, Url};
use serde_json::{Value, json};
use std::sync::Arc;

/// Largest body of an answer that is kept, in bytes.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Largest JSON body that is also given parsed, in bytes.
const JSON_BYTES_MAX: usize = 256 * 1024;
/// Largest body of a request, in characters.
const REQUEST_CHARS_MAX: u64 = 64 * 1024;
/// Headers that an agent may set. None of them carries authority or changes where a request goes.
const HEADERS_SENT: [&str; 6] = [
    "accept",
    "content-type",
    "idempotency-key",
    "if-match",
    "if-none-match",
    "range",
];
/// Headers of an answer that are shown.
const HEADERS_SHOWN: [&str; 7] = [
    "content-length",
    "content-type",
    "date",
    "etag",
    "last-modified",
    "location",
    "retry-after",
];

/// One URL that may be reached, and by which client.
pub(crate) struct Allowed {
    pub(crate) prefix: Prefix,
    pub(crate) client: Arc<Client>,
}

/// `http.get` or `http.request`.
pub(crate) struct Http {
    verb: Verb,
    environment: Environment,
    allowed: Arc<Vec<Allowed>>,
    any_method: bool,
}

impl Http {
    /// `http.get` alone, or `http.request` with `any_method`.
    pub(crate) fn new(
        verb: Verb,
        environment: Environment,
        allowed: Arc<Vec<Allowed>>,
        any_method: bool,
    ) -> Http {
        Http {
            verb,
            environment,
            allowed,
            any_method,
        }
    }

    fn client(&self, url: &Url) -> Option<&Client> {
        self.allowed
            .iter()
            .find(|a| a.prefix.covers(url))
            .map(|a| &*a.client)
    }

    fn action(&self, arguments: &Value) -> Result<Action, ToolError> {
        schema::check(&self.schema(), arguments)?;
        let url =
            parse_url(text(arguments, "url").unwrap_or_default()).map_err(|what| argument("/url", &what))?;
        if self.client(&url).is_none() {
            return Err(argument(
                "/url",
                &format!("`{}` is not among what this toolset allows", resource(&url)),
            ));
        }
        headers(arguments)?;
        let (effect, idempotence) = meaning(text(arguments, "method").unwrap_or("GET"));
        if effect == Effect::Read && text(arguments, "body").is_some() {
            return Err(argument("/body", "does not belong to a request that only reads"));
        }
        let mut exact = arguments.clone();
        if let Some(exact) = exact.as_object_mut() {
            exact.insert("url".to_owned(), json!(url.as_str()));
        }
        action(
            &self.verb,
            &resource(&url),
            exact,
            &self.environment,
            effect,
            idempotence,
        )
    }

    async fn act(&self, flight: &InFlight) -> Settlement {
        let arguments = flight.action().arguments();
        let Ok(url) = parse_url(text(arguments, "url").unwrap_or_default()) else {
            return failure("malformed", "the URL cannot be read", Value::Null);
        };
        let (Some(client), Ok(headers)) = (self.client(&url), headers(arguments)) else {
            return failure("refused", "the URL is no longer allowed", Value::Null);
        };
        let method =
            Method::from_bytes(text(arguments, "method").unwrap_or("GET").as_bytes()).unwrap_or(Method::GET);
        let body = text(arguments, "body").map(|body| body.as_bytes().to_vec());
        let cancel = flight.cancel();
        tokio::select! {
            answer = client.send(method, &url, &headers, body, BODY_BYTES_MAX) => self.settle(flight.action(), answer),
            () = cancel.cancelled() => cancelled(flight.action().effect()),
        }
    }

    fn settle(&self, action: &Action, answer: Result<Exchange, SendError>) -> Settlement {
        let reads = action.effect() == Effect::Read;
        match answer {
            Ok(exchange) => {
                let summary = format!("{} with {} bytes", exchange.status, exchange.body.len());
                let uncertain =
                    action.idempotence() == Idempotence::Once && matches!(exchange.status, 502 | 504);
                let refused = self.any_method && exchange.status >= 400;
                let result = view(&exchange);
                match (uncertain, refused) {
                    (true, _) => ended(
                        Outcome::Uncertain,
                        "no_answer",
                        &format!("{summary}, from in between"),
                        result,
                    ),
                    (false, true) => failure("http_status", &summary, result),
                    (false, false) => success(result, &summary, true),
                }
            }
            Err(error @ SendError::Refused { .. }) => {
                failure("address_refused", &error.to_string(), Value::Null)
            }
            Err(error @ SendError::NotSent(_)) => failure("not_connected", &error.to_string(), Value::Null),
            Err(error @ SendError::Lost(_)) if reads => failure("no_answer", &error.to_string(), Value::Null),
            Err(error @ SendError::Lost(_)) => {
                ended(Outcome::Uncertain, "no_answer", &error.to_string(), Value::Null)
            }
        }
    }
}

impl Tool for Http {
    fn verb(&self) -> &Verb {
        &self.verb
    }
    fn description(&self) -> &str {
        if self.any_method {
            "Sends an HTTP request to an allowed URL. GET and HEAD read; POST, PUT and PATCH write; DELETE destroys."
        } else {
            "Reads an allowed URL. Gives the answer whatever its status is; follows no redirect."
        }
    }
    fn schema(&self) -> Value {
        let header_properties: serde_json::Map<String, Value> = HEADERS_SENT
            .iter()
            .map(|name| ((*name).to_owned(), json!({"type": "string", "maxLength": 1024})))
            .collect();
        let mut properties = json!({
            "url": {"type": "string", "minLength": 1, "maxLength": super::address::URL_BYTES_MAX},
            "headers": {"type": "object", "properties": header_properties, "additionalProperties": false},
        });
        let mut required = vec!["url"];
        if self.any_method {
            let methods = json!(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]);
            put(
                &mut properties,
                "method",
                json!({"type": "string", "enum": methods}),
            );
            put(
                &mut properties,
                "body",
                json!({"type": "string", "maxLength": REQUEST_CHARS_MAX}),
            );
            required.push("method");
        }
        json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
    }
    fn propose<'a>(&'a self, arguments: &'a Value) -> BoxFuture<'a, Result<Action, ToolError>> {
        Box::pin(async move { self.action(arguments) })
    }
    fn run<'a>(&'a self, flight: &'a InFlight) -> BoxFuture<'a, Settlement> {
        Box::pin(self.act(flight))
    }
}

fn headers(arguments: &Value) -> Result<Vec<(String, String)>, ToolError> {
    let Some(given) = arguments.get("headers").and_then(Value::as_object) else {
        return Ok(Vec::new());
    };
    given
        .iter()
        .map(|(name, value)| {
            let value = value.as_str().unwrap_or_default();
            if value.bytes().all(|b| (0x20..0x7f).contains(&b)) {
                Ok((name.clone(), value.to_owned()))
            } else {
                Err(argument(&format!("/headers/{name}"), "is not printable ASCII"))
            }
        })
        .collect()
}

/// The answer as a result: text when the body is UTF-8, else Base64, and JSON beside it when it is that.
fn view(exchange: &Exchange) -> Value {
    let headers: serde_json::Map<String, Value> = exchange
        .headers
        .iter()
        .filter(|(name, _)| HEADERS_SHOWN.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    let (body, base64) = lossless(&exchange.body, exchange.truncated);
    let mut result = json!({
        "status": exchange.status, "headers": headers, "body": body, "base64": base64, "truncated": exchange.truncated,
    });
    if !exchange.truncated
        && let Ok(parsed) = policy::canonical::parse(&exchange.body, JSON_BYTES_MAX)
    {
        put(&mut result, "json", parsed);
    }
    result
}

/// Text as it is, or Base64 and `true`. A character cut in two by the size limit is dropped.
fn lossless(body: &[u8], truncated: bool) -> (String, bool) {
    match std::str::from_utf8(body) {
        Ok(text) => (text.to_owned(), false),
        Err(error) if truncated && error.error_len().is_none() => (
            String::from_utf8_lossy(body.get(..error.valid_up_to()).unwrap_or_default()).into_owned(),
            false,
        ),
        Err(_) => (STANDARD.encode(body), true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_lossless() {
        #[rustfmt::skip]
        let table: [(&str, &[u8], bool, &str, bool); 5] = [
            ("text",              "héllo".as_bytes(), false, "héllo",  false),
            ("binary",            b"\xff\xfe",        false, "//4=",   true),
            ("cut in a character", b"a\xc3",          true,  "a",      false),
            ("half a character",  b"a\xc3",           false, "YcM=",   true),
            ("binary and cut",    b"\xffa",           true,  "/2E=",   true),
        ];
        for (what, body, truncated, text, base64) in table {
            assert_eq!(lossless(body, truncated), (text.to_owned(), base64), "{what}");
        }
    }
}
