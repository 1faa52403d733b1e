//! `prometheus.query`, `.query_range`, `.alerts`, `.rules`: reads of one Prometheus.
//!
//! Only the host of the bound URL is reached. Private addresses are, since whoever wrote the URL chose
//! them; metadata services are not.

pub mod answer;

pub use answer::{Answer, ParseError, parse_response};

use super::address::{parse_url, resource};
use super::client::{Client, SendError};
use super::report::{action, argument, cancelled, failure, success, text};
use super::schema;
use gate::{BoxFuture, Tool, ToolError};
use policy::{Action, Effect, Environment, Idempotence, InFlight, Settlement, Timestamp, Verb};
use reqwest::{Method, Url};
use serde_json::{Value, json};
use std::sync::Arc;

/// Longest query, in characters.
const QUERY_CHARS_MAX: u64 = 1500;

/// The server that is asked.
pub(crate) struct Server {
    base: Url,
    resource: String,
    client: Client,
}

impl Server {
    /// At a base URL such as `http://127.0.0.1:9090`.
    pub(crate) fn new(url: &str) -> Result<Server, String> {
        let base = parse_url(url)?;
        if base.query().is_some() || base.fragment().is_some() {
            return Err("is a base URL: leave out query and fragment".to_owned());
        }
        let host = base.host_str().unwrap_or_default();
        let port = base.port_or_known_default().unwrap_or_default();
        let resource = format!("prometheus/{host}:{port}");
        Ok(Server {
            base,
            resource,
            client: Client::new(true),
        })
    }

    /// `prometheus/HOST:PORT`.
    pub(crate) fn resource(&self) -> &str {
        &self.resource
    }
}

/// Which operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Query,
    QueryRange,
    Alerts,
    Rules,
}

impl Operation {
    pub(crate) const ALL: [Operation; 4] = [
        Operation::Query,
        Operation::QueryRange,
        Operation::Alerts,
        Operation::Rules,
    ];

    pub(crate) fn verb(self) -> &'static str {
        match self {
            Operation::Query => "prometheus.query",
            Operation::QueryRange => "prometheus.query_range",
            Operation::Alerts => "prometheus.alerts",
            Operation::Rules => "prometheus.rules",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Operation::Query => "api/v1/query",
            Operation::QueryRange => "api/v1/query_range",
            Operation::Alerts => "api/v1/alerts",
            Operation::Rules => "api/v1/rules",
        }
    }
}

/// One operation on one server.
pub(crate) struct Prometheus {
    verb: Verb,
    environment: Environment,
    server: Arc<Server>,
    operation: Operation,
}

impl Prometheus {
    pub(crate) fn new(
        verb: Verb,
        environment: Environment,
        server: Arc<Server>,
        operation: Operation,
    ) -> Prometheus {
        Prometheus {
            verb,
            environment,
            server,
            operation,
        }
    }

    fn check(&self, arguments: &Value) -> Result<(), ToolError> {
        schema::check(&self.schema(), arguments)?;
        let time = |key: &str| match text(arguments, key) {
            None => Ok(None),
            Some(said) => Timestamp::parse(said)
                .map(Some)
                .ok_or_else(|| argument(&format!("/{key}"), &format!("`{said}` is not an RFC 3339 time"))),
        };
        time("time")?;
        if let (Some(start), Some(end)) = (time("start")?, time("end")?) {
            let step_ms = 1000
                * arguments
                    .get("step_seconds")
                    .and_then(Value::as_i64)
                    .unwrap_or(1)
                    .max(1);
            let span_ms = end.since_ms(start);
            if span_ms < 0 {
                return Err(argument("/end", "lies before `start`"));
            }
            if span_ms / step_ms >= answer::POINTS_MAX as i64 {
                let enough = span_ms / 1000 / answer::POINTS_MAX as i64 + 1;
                let what = format!(
                    "gives more than {} points; use {enough} or more",
                    answer::POINTS_MAX
                );
                return Err(argument("/step_seconds", &what));
            }
        }
        Ok(())
    }

    fn url(&self, arguments: &Value) -> Url {
        let mut url = self.server.base.clone();
        let path = format!("{}/{}", url.path().trim_end_matches('/'), self.operation.path());
        url.set_path(&path);
        let given = arguments.as_object().into_iter().flatten();
        for (key, value) in given {
            let key = if key == "step_seconds" {
                "step"
            } else {
                key.as_str()
            };
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            url.query_pairs_mut().append_pair(key, &value);
        }
        url
    }

    async fn act(&self, flight: &InFlight) -> Settlement {
        let url = self.url(flight.action().arguments());
        let cancel = flight.cancel();
        tokio::select! {
            answer = self.server.client.send(Method::GET, &url, &[], None, answer::BYTES_MAX) => match answer {
                Ok(exchange) => read(&url, &exchange),
                Err(error @ SendError::Refused { .. }) => failure("address_refused", &error.to_string(), Value::Null),
                Err(error @ SendError::NotSent(_)) => failure("not_connected", &error.to_string(), Value::Null),
                Err(error @ SendError::Lost(_)) => failure("no_answer", &error.to_string(), Value::Null),
            },
            () = cancel.cancelled() => cancelled(Effect::Read),
        }
    }
}

fn read(url: &Url, exchange: &super::client::Exchange) -> Settlement {
    if exchange.truncated {
        return failure(
            "too_large",
            &format!("the answer is larger than {} bytes", answer::BYTES_MAX),
            Value::Null,
        );
    }
    match parse_response(&exchange.body) {
        Ok(answer) => success(answer.to_json(), &answer.summary(), true),
        // Prometheus refuses with a status and an envelope that says why.
        Err(error @ ParseError::Refused { .. }) => failure("refused", &error.to_string(), Value::Null),
        Err(error) => {
            let what = format!("{} from {}: {error}", exchange.status, resource(url));
            failure("malformed", &what, Value::Null)
        }
    }
}

impl Tool for Prometheus {
    fn verb(&self) -> &Verb {
        &self.verb
    }
    fn description(&self) -> &str {
        match self.operation {
            Operation::Query => "Evaluates a PromQL expression at one point in time, by default now.",
            Operation::QueryRange => "Evaluates a PromQL expression over a range of time, in steps.",
            Operation::Alerts => "Lists the alerts that are pending or firing.",
            Operation::Rules => "Lists the alerting and recording rules with their health.",
        }
    }
    fn schema(&self) -> Value {
        let query = json!({"type": "string", "minLength": 1, "maxLength": QUERY_CHARS_MAX});
        let time = json!({"type": "string", "maxLength": 40});
        let (properties, required) = match self.operation {
            Operation::Query => (json!({"query": query, "time": time}), json!(["query"])),
            Operation::QueryRange => (
                json!({
                    "query": query, "start": time, "end": time,
                    "step_seconds": {"type": "integer", "minimum": 1, "maximum": 86_400},
                }),
                json!(["query", "start", "end", "step_seconds"]),
            ),
            Operation::Alerts | Operation::Rules => (json!({}), json!([])),
        };
        json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
    }
    fn propose<'a>(&'a self, arguments: &'a Value) -> BoxFuture<'a, Result<Action, ToolError>> {
        Box::pin(async move {
            self.check(arguments)?;
            let (effect, idempotence) = (Effect::Read, Idempotence::Idempotent);
            action(
                &self.verb,
                &self.server.resource,
                arguments.clone(),
                &self.environment,
                effect,
                idempotence,
            )
        })
    }
    fn run<'a>(&'a self, flight: &'a InFlight) -> BoxFuture<'a, Settlement> {
        Box::pin(self.act(flight))
    }
}
