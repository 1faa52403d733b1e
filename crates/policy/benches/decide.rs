//! How long a decision takes: 100 rules of which 20 reach CEL, and 100 of which all do. The median of
//! the first has a limit, and the run fails above it. Never touches disk or network.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark prints its figures"
)]
#![expect(
    clippy::expect_used,
    reason = "a benchmark that cannot be set up has nothing to measure"
)]

use policy::{
    Action, Autonomy, Capability, Chain, Context, Decision, Effect, Environment, Grant, Idempotence, Level,
    Link, PolicyDocument, PolicySet, Principal, SessionFacts, Timestamp, Verb, decide,
};
use serde_json::json;
use std::time::{Duration, Instant};

/// Decisions that are measured, after as many that are not.
const ROUNDS: usize = 20_000;
/// Limit on the median with 20 of 100 rules reaching CEL.
const MEDIAN_MAX: Duration = Duration::from_micros(10);

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
    let twenty = median("100 rules, 20 reach CEL", &policies(20));
    median("100 rules, 100 reach CEL", &policies(100));
    if twenty > MEDIAN_MAX {
        eprintln!("decide: median {twenty:?} with 20 of 100 rules is above the limit of {MEDIAN_MAX:?}");
        std::process::exit(1);
    }
}

fn median(name: &str, policies: &PolicySet) -> Duration {
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
    let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default();
    println!(
        "decide: {name}: p50 {:?}, p99 {:?}, {ROUNDS} rounds",
        at(50),
        at(99)
    );
    at(50)
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
    let link = Link {
        principal: Principal::agent("triage"),
        grants: vec![grant],
        autonomy,
    };
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
        taint: false,
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
