//! How tools make actions and report outcomes.

use gate::ToolError;
use policy::{Action, Effect, Environment, Failure, Idempotence, Outcome, Resources, Settlement, Verb};
use serde_json::Value;

/// Longest line for a leaf, in characters.
const SUMMARY_CHARS_MAX: usize = 200;

/// An action out of checked parts; what the action refuses is an error of the arguments.
pub(crate) fn action(
    verb: &Verb,
    resource: &str,
    arguments: Value,
    environment: &Environment,
    effect: Effect,
    idempotence: Idempotence,
) -> Result<Action, ToolError> {
    Action::new(
        verb.clone(),
        resource,
        arguments,
        environment.clone(),
        effect,
        idempotence,
    )
    .map_err(|error| argument("/", &error.to_string()))
}

/// An error of the argument at `place`.
pub(crate) fn argument(place: &str, what: &str) -> ToolError {
    ToolError::Arguments {
        place: place.to_owned(),
        what: what.to_owned(),
    }
}

/// The text at `key`, or nothing.
pub(crate) fn text<'a>(arguments: &'a Value, key: &str) -> Option<&'a str> {
    arguments.get(key).and_then(Value::as_str)
}

/// Sets a member of an object.
pub(crate) fn put(object: &mut Value, key: &str, value: impl Into<Value>) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value.into());
    }
}

/// Done. `untrusted` when the result holds text from outside.
pub(crate) fn success(result: Value, summary: &str, untrusted: bool) -> Settlement {
    settlement(Outcome::Success, result, summary, None, untrusted)
}

/// Not done, and known not to be.
pub(crate) fn failure(kind: &str, message: &str, result: Value) -> Settlement {
    ended(Outcome::Failure, kind, message, result)
}

/// Ended in `outcome` for a reason. What the other side said may be in `message` and `result`.
pub(crate) fn ended(outcome: Outcome, kind: &str, message: &str, result: Value) -> Settlement {
    let message = line(message);
    let failure = Failure {
        kind: kind.to_owned(),
        message: message.clone(),
    };
    settlement(outcome, result, &message, Some(failure), true)
}

/// Ended without a word from the tool itself.
pub(crate) fn broken(outcome: Outcome, kind: &str, message: &str) -> Settlement {
    Settlement {
        taints: policy::Taints::NONE,
        ..ended(outcome, kind, message, Value::Null)
    }
}

/// Cut off by a stop: a read did nothing; of anything else nobody knows.
pub(crate) fn cancelled(effect: Effect) -> Settlement {
    match effect {
        Effect::Read => ended(Outcome::Cancelled, "cancelled", "cut off by a stop", Value::Null),
        Effect::Write | Effect::Destructive => ended(
            Outcome::Uncertain,
            "cancelled",
            "cut off by a stop after it may have begun",
            Value::Null,
        ),
    }
}

/// One redacted line for a leaf.
pub(crate) fn line(text: &str) -> String {
    let plain: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    assay::redact::redact(&plain, SUMMARY_CHARS_MAX)
}

fn settlement(
    outcome: Outcome,
    result: Value,
    summary: &str,
    failure: Option<Failure>,
    untrusted: bool,
) -> Settlement {
    let summary = line(summary);
    Settlement {
        outcome,
        result,
        summary,
        failure,
        resources: Resources::default(),
        taints: if untrusted {
            policy::Taints::UNTRUSTED
        } else {
            policy::Taints::NONE
        },
    }
}
