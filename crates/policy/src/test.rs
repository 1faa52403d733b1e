//! What the unit tests of this crate share: one agent, one action, one moment. Never compiled otherwise.

use crate::{
    Action, Autonomy, Capability, Chain, Context, Effect, Environment, Grant, Idempotence, Level, Link,
    Principal, SessionFacts, Taints, Timestamp, Verb,
};
use serde_json::json;

/// `agent:triage`, which may ask for everything, at `level`.
pub(crate) fn chain(level: Level) -> Chain {
    let capability = Capability::parse("*:*").unwrap();
    let grant = Grant {
        capability,
        from: "toolset/all".to_owned(),
        until: None,
    };
    let autonomy = Autonomy {
        default: level,
        ..Autonomy::default()
    };
    let link = Link::new(Principal::agent("triage"), vec![grant], autonomy);
    Chain {
        cause: Principal::person("alice"),
        links: vec![link],
    }
}

/// An action on `repository/patient` with one argument.
pub(crate) fn action(verb: &str, effect: Effect, environment: &str) -> Action {
    let (verb, environment) = (Verb::new(verb).unwrap(), Environment::new(environment).unwrap());
    Action::new(
        verb,
        "repository/patient",
        json!({"x": 1}),
        environment,
        effect,
        Idempotence::Once,
    )
    .unwrap()
}

/// In session `ses-1`, untainted, with enough trust for every level.
pub(crate) fn context() -> Context {
    let session = SessionFacts {
        id: "ses-1".to_owned(),
        version: 1,
        actions: 3,
    };
    Context {
        now: Timestamp::from_ms(1_000),
        taint: Taints::NONE,
        trust: 900,
        session,
        approval: None,
    }
}
