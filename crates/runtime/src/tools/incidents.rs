//! `incidents.search`: what happened before that looked like this.

use super::report::{action, failure, success, text};
use super::schema;
use super::{IncidentSearch, Similar};
use gate::{BoxFuture, Tool, ToolError};
use policy::{Action, Effect, Environment, Idempotence, InFlight, Settlement, Taints, Verb};
use serde_json::{Value, json};
use std::sync::Arc;

/// The resource of every search.
pub(crate) const RESOURCE: &str = "incidents";
/// Most incidents in one answer.
const LIMIT_MAX: u64 = 20;
/// How many unless asked otherwise.
const LIMIT: u64 = 5;

/// `incidents.search`.
pub(crate) struct Search {
    verb: Verb,
    environment: Environment,
    incidents: Arc<dyn IncidentSearch>,
}

impl Search {
    pub(crate) fn new(verb: Verb, environment: Environment, incidents: Arc<dyn IncidentSearch>) -> Search {
        Search {
            verb,
            environment,
            incidents,
        }
    }

    fn act(&self, flight: &InFlight) -> Settlement {
        let arguments = flight.action().arguments();
        let words = text(arguments, "words").unwrap_or_default();
        let limit = arguments
            .get("limit")
            .and_then(Value::as_u64)
            .unwrap_or(LIMIT)
            .min(LIMIT_MAX);
        let limit = usize::try_from(limit).unwrap_or(1);
        let asking = &flight.actor().name;
        match self
            .incidents
            .similar(asking, words, text(arguments, "not"), limit)
        {
            Ok(Similar { incidents, taint }) => {
                let summary = format!("{} similar incidents", incidents.len());
                let found = success(json!({"incidents": incidents}), &summary, true);
                // INVARIANT (labels stay with what they are of): a summary is as good as what it was made from.
                let taints = found.taints.and(taint);
                Settlement { taints, ..found }
            }
            Err(reason) => failure("search", &reason, Value::Null),
        }
    }
}

impl Tool for Search {
    fn verb(&self) -> &Verb {
        &self.verb
    }
    fn description(&self) -> &str {
        "Finds earlier incidents that hold these words, best first, with how they were resolved."
    }
    fn schema(&self) -> Value {
        json!({
            "type": "object", "additionalProperties": false, "required": ["words"],
            "properties": {
                "words": {"type": "string", "maxLength": 1000},
                "not": {"type": "string", "maxLength": 64},
                "limit": {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX},
            },
        })
    }
    fn propose<'a>(&'a self, arguments: &'a Value) -> BoxFuture<'a, Result<Action, ToolError>> {
        Box::pin(async move {
            schema::check(&self.schema(), arguments)?;
            let (effect, idempotence) = (Effect::Read, Idempotence::Idempotent);
            action(
                &self.verb,
                RESOURCE,
                arguments.clone(),
                &self.environment,
                effect,
                idempotence,
            )
            .map(|action| action.local().at_most(Taints::ALL))
        })
    }
    fn run<'a>(&'a self, flight: &'a InFlight) -> BoxFuture<'a, Settlement> {
        Box::pin(async move { self.act(flight) })
    }
}
