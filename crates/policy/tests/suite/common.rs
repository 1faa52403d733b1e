//! What the tests of decisions share: one agent on whose chain everything else is varied.

use policy::{
    Action, Autonomy, Basis, Capability, Chain, Context, Decision, Effect, Environment, Grant, Idempotence,
    Level, Link, PolicyDocument, PolicySet, Principal, SessionFacts, Timestamp, Verb,
};
use serde_json::{Value, json};

pub fn link(principal: Principal, level: Level, capabilities: &[&str]) -> Link {
    let grant = |text: &&str| Grant {
        capability: Capability::parse(text).unwrap(),
        from: "toolset/all".to_owned(),
        until: None,
    };
    let autonomy = Autonomy {
        default: level,
        ..Autonomy::default()
    };
    Link::new(principal, capabilities.iter().map(grant).collect(), autonomy)
}

/// `agent:triage` on alice's account, with these capabilities.
pub fn chain(level: Level, capabilities: &[&str]) -> Chain {
    Chain {
        cause: Principal::person("alice"),
        links: vec![link(Principal::agent("triage"), level, capabilities)],
    }
}

pub fn action(verb: &str, resource: &str, arguments: Value, environment: &str, effect: Effect) -> Action {
    let (verb, environment) = (Verb::new(verb).unwrap(), Environment::new(environment).unwrap());
    Action::new(verb, resource, arguments, environment, effect, Idempotence::Once).unwrap()
}

pub fn context() -> Context {
    let session = SessionFacts {
        id: "ses-7".to_owned(),
        version: 1,
        actions: 3,
    };
    Context {
        now: Timestamp::from_ms(1_700_000_000_000),
        taint: policy::Taints::NONE,
        // Enough for every level: what less trust leaves of one has tests of its own.
        trust: 900,
        session,
        approval: None,
    }
}

/// A set of one document `p` with these rules, given as JSON.
pub fn policies(rules: Value) -> PolicySet {
    let document: PolicyDocument = serde_json::from_value(json!({ "rules": rules })).unwrap();
    PolicySet::load(&[("p".to_owned(), document)]).unwrap()
}

/// The decision with its reason, in one line.
pub fn told(decision: &Decision) -> String {
    match decision {
        Decision::Permit(ruling) => {
            let basis = match ruling.basis() {
                Basis::Rule(rule) => format!("by {rule}"),
                Basis::Grant(giver) => format!("granted by {giver}"),
            };
            let approval = ruling
                .approval()
                .map(|id| format!(", approved by {id}"))
                .unwrap_or_default();
            format!("permit {basis}{approval}")
        }
        Decision::RequireApproval(request) => match &request.rule {
            Some(rule) => format!("ask by {rule}"),
            None => format!("ask: {}", request.reason),
        },
        Decision::Deny(denied) => format!("deny {}: {}", denied.denial.code(), denied.denial.reason()),
    }
}
