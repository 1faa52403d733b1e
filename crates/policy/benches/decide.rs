//! How long a decision takes: 100 rules of which 20 reach CEL, and 100 of which all do. The median of
//! the first has a goal. Never touches disk or network.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(
    clippy::expect_used,
    reason = "a benchmark that cannot be set up has nothing to measure"
)]

#[path = "../../cofferdam/benches/platform/figure.rs"]
mod figure;

use figure::figure;
use policy::{
    Action, Autonomy, Capability, Chain, Context, Decision, Effect, Environment, Grant, Idempotence, Level,
    Link, PolicyDocument, PolicySet, Principal, SessionFacts, Timestamp, Verb, decide,
};
use serde_json::json;
use std::ops::RangeBounds;
use std::time::Instant;

/// Decisions that are measured, after as many that are not.
const ROUNDS: usize = 20_000;
/// Goal for the median with 20 of 100 rules reaching CEL, in microseconds.
const MEDIAN_MAX: f64 = 10.0;

/// One in ten loops, which costs as much as ten that do not.
const CONDITIONS: [&str; 10] = [
    "action.environment == 'production' && action.arguments.branch.startsWith('release/')",
    "trust < 300 || action.arguments.files.exists(f, f.endsWith('.tf'))",
    "action.resource in ['repository/billing', 'repository/identity'] && taint",
    "has(action.arguments.force) && action.arguments.force == true",
    "session.actions > 500 && action.arguments.title.matches('^(revert|hotfix)')",
    "action.arguments.title.matches('(?i)password|secret')",
    "cause == 'service:trigger/alerts' && action.arguments.lines.removed > 100",
    "action.arguments.lines.added + action.arguments.lines.removed > 1000",
    "agent != 'triage' || !action.resource.startsWith('repository/')",
    "action.environment in ['production', 'canary'] && trust < 700",
];

fn main() {
    median(
        "decide, 20 of 100 rules reach CEL, p50",
        &policies(20),
        ..=MEDIAN_MAX,
    );
    median("decide, 100 of 100 rules reach CEL, p50", &policies(100), ..);
}

fn median(name: &str, policies: &PolicySet, goal: impl RangeBounds<f64>) {
    let (chain, context, action) = (chain(), context(), action());
    let mut times = Vec::with_capacity(ROUNDS);
    for round in 0..2 * ROUNDS {
        let action = action.clone();
        let start = Instant::now();
        let decision = decide(&chain, action, &context, policies);
        let took = start.elapsed();
        assert!(
            matches!(decision, Decision::Permit(_)),
            "the benchmark measures a permit"
        );
        if round >= ROUNDS {
            times.push(took);
        }
    }
    times.sort_unstable();
    let at = |share: usize| {
        let time = times.get(times.len() * share / 100).copied();
        time.unwrap_or_default().as_secs_f64() * 1e6
    };
    let beside = format!("p99 {:.1} µs, {ROUNDS} rounds", at(99));
    figure(name, at(50), "µs", goal, &beside);
}

fn policies(reaching: usize) -> PolicySet {
    let rules: Vec<_> = (0..100)
        .map(|n| {
            let verb = if n < reaching {
                "git.propose".to_owned()
            } else {
                format!("tool{n}.write")
            };
            let condition = CONDITIONS.get(n % CONDITIONS.len()).expect("in range");
            json!({"name": format!("r{n}"), "match": {"verbs": [verb]}, "when": condition, "outcome": "deny"})
        })
        .chain([json!({"name": "permit", "match": {"verbs": ["git.*"]}, "outcome": "permit"})])
        .collect();
    let document: PolicyDocument = serde_json::from_value(json!({ "rules": rules })).expect("a document");
    PolicySet::load(&[("bench".to_owned(), document)]).expect("it loads")
}

fn chain() -> Chain {
    let grant = Grant {
        capability: Capability::parse("git.*:repository/*").expect("a capability"),
        from: "toolset/git".to_owned(),
        until: None,
    };
    let autonomy = Autonomy {
        default: Level::L3,
        ..Autonomy::default()
    };
    let link = Link::new(Principal::agent("triage"), vec![grant], autonomy);
    Chain {
        cause: Principal::person("alice"),
        links: vec![link],
    }
}

fn context() -> Context {
    let session = SessionFacts {
        id: "ses-42".to_owned(),
        version: 3,
        actions: 17,
    };
    Context {
        now: Timestamp::from_ms(1_700_000_000_000),
        taint: policy::Taints::NONE,
        trust: 500,
        session,
        approval: None,
    }
}

fn action() -> Action {
    let arguments = json!({
        "branch": "fix/latency",
        "title": "Revert the deploy that doubled latency",
        "body": "The deploy of 3f2a8c1 at 12:03 correlates with the alert. This reverts it.",
        "files": ["src/server.rs", "src/config.rs", "deploy/service.yaml"],
        "commit": "3f2a8c1d9e0b4a5c6d7e8f9012345678deadbeef",
        "lines": {"added": 12, "removed": 40},
    });
    let environment = Environment::new("staging").expect("an environment");
    let verb = Verb::new("git.propose").expect("a verb");
    Action::new(
        verb,
        "repository/patient",
        arguments,
        environment,
        Effect::Write,
        Idempotence::Once,
    )
    .expect("an action")
}
