//! How long a decision takes: 100 rules of which 20 reach CEL, 100 of which all do, and 1,000 of which 50 do
//! with 200 grants and a chain of three; and how many there are in a second on two threads. Never touches
//! disk or network.

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
/// Goals with 50 of 1,000 rules reaching CEL, 200 grants and a chain of three, in microseconds.
const LARGE_MEDIAN_MAX: f64 = 50.0;
const LARGE_P99_MAX: f64 = 250.0;
/// Goal for two threads with 20 of 100 rules reaching CEL, in decisions a second.
const RATE_MIN: f64 = 100_000.0;
/// Threads that decide at once.
const THREADS: usize = 2;

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
    "!(agent in ['triage', 'helper']) || !action.resource.startsWith('repository/')",
    "action.environment in ['production', 'canary'] && trust < 700",
];

fn main() {
    median(
        "decide, 20 of 100 rules reach CEL, p50",
        &policies(100, 20),
        &chain(1, 1),
        ..=MEDIAN_MAX,
        ..,
    );
    median(
        "decide, 100 of 100 rules reach CEL, p50",
        &policies(100, 100),
        &chain(1, 1),
        ..,
        ..,
    );
    median(
        "decide, 50 of 1,000 rules reach CEL, 200 grants, chain of 3, p50",
        &policies(1000, 50),
        &chain(3, 200),
        ..=LARGE_MEDIAN_MAX,
        ..=LARGE_P99_MAX,
    );
    rate(&policies(100, 20), &chain(1, 1));
}

/// Decisions a second on [`THREADS`] threads that share the rules.
fn rate(policies: &PolicySet, chain: &Chain) {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let (context, action) = (context(), action());
                for _ in 0..2 * ROUNDS {
                    let decision = decide(chain, action.clone(), &context, policies);
                    assert!(
                        matches!(decision, Decision::Permit(_)),
                        "the benchmark measures a permit"
                    );
                }
            });
        }
    });
    let rate = (THREADS * 2 * ROUNDS) as f64 / start.elapsed().as_secs_f64();
    figure(
        "decide, 20 of 100 rules reach CEL, two threads",
        rate,
        "decisions/s",
        RATE_MIN..,
        "",
    );
}

fn median(
    name: &str,
    policies: &PolicySet,
    chain: &Chain,
    goal: impl RangeBounds<f64>,
    tail: impl RangeBounds<f64>,
) {
    let (context, action) = (context(), action());
    let mut times = Vec::with_capacity(ROUNDS);
    for round in 0..2 * ROUNDS {
        let action = action.clone();
        let start = Instant::now();
        let decision = decide(chain, action, &context, policies);
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
    figure(&name.replace("p50", "p99"), at(99), "µs", tail, "");
}

fn policies(count: usize, reaching: usize) -> PolicySet {
    let rules: Vec<_> = (0..count)
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

/// A chain of `depth` agents, each with `grants` grants of which the last covers the action.
fn chain(depth: usize, grants: usize) -> Chain {
    let grant = |text: &str| Grant {
        capability: Capability::parse(text).expect("a capability"),
        from: "toolset/git".to_owned(),
        until: None,
    };
    let mut held: Vec<Grant> = (1..grants)
        .map(|n| grant(&format!("git.*:elsewhere{n}/*")))
        .collect();
    held.push(grant("git.*:repository/*"));
    let autonomy = Autonomy {
        default: Level::L3,
        ..Autonomy::default()
    };
    let link = |n| {
        let principal = Principal::agent(if n == 0 { "triage" } else { "helper" });
        Link::new(principal, held.clone(), autonomy.clone())
    };
    Chain {
        cause: Principal::person("alice"),
        links: (0..depth).rev().map(link).collect(),
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
        trust: 1000,
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
