//! Every decision for level × effect × environment × grant × rule × approval, as a golden text: a
//! change of rights is a diff that a reviewer sees. `UPDATE_GOLDEN=1` writes it anew.

use crate::common;
use policy::{Effect, Level, PolicySet, decide, explain};
use serde_json::json;
use std::fmt::Write;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/decisions.txt");
const LEVELS: [Level; 5] = [Level::L0, Level::L1, Level::L2, Level::L3, Level::L4];
const EFFECTS: [Effect; 3] = [Effect::Read, Effect::Write, Effect::Destructive];
const RULES: [&str; 5] = ["none", "permit", "require_approval", "deny", "broken"];

#[test]
fn decisions_are_those_of_the_golden_text() {
    let found = matrix();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(GOLDEN, &found).unwrap();
    }
    let golden = std::fs::read_to_string(GOLDEN).unwrap();
    let rows = LEVELS.len() * EFFECTS.len() * 2 * 2 * RULES.len() * 2;
    assert_eq!(
        golden.lines().count(),
        rows + 1,
        "one row for each combination and a heading"
    );
    for (golden, found) in golden.lines().zip(found.lines()) {
        assert_eq!(
            found, golden,
            "found, then golden; UPDATE_GOLDEN=1 accepts what was found"
        );
    }
}

fn matrix() -> String {
    let mut text = "level effect      environment grant rule             approval  decision\n".to_owned();
    for level in LEVELS {
        for effect in EFFECTS {
            for environment in ["production", "staging"] {
                for granted in [true, false] {
                    for rule in RULES {
                        for approved in [false, true] {
                            row(&mut text, level, effect, environment, granted, rule, approved);
                        }
                    }
                }
            }
        }
    }
    text
}

fn row(
    text: &mut String,
    level: Level,
    effect: Effect,
    environment: &str,
    granted: bool,
    rule: &str,
    approved: bool,
) {
    let capabilities: &[&str] = if granted {
        &["git.*:repository/*"]
    } else {
        &["git.*:other/*"]
    };
    let chain = common::chain(level, capabilities);
    let action = common::action("git.merge", "repository/patient", json!({}), environment, effect);
    let mut context = common::context();
    context.approval = approved.then(|| policy::Approved {
        id: "apr-9".to_owned(),
        by: vec!["alice".to_owned()],
        questions: vec!["policy/p#only".to_owned()],
        asked: Vec::new(),
        waiver: None,
    });
    let policies = policies(rule);
    // The explanation of a decision can never say something else than the decision.
    let explained = explain(&chain, &action, &context, &policies);
    let told = common::told(&decide(&chain, action, &context, &policies));
    let outcome = told
        .split([' ', ':'])
        .next()
        .unwrap()
        .replace("ask", "require_approval");
    assert_eq!(explained.outcome, outcome, "{told}");
    let (effect, granted) = (effect.as_str(), if granted { "yes" } else { "no" });
    let approval = if approved { "apr-9" } else { "none" };
    writeln!(
        text,
        "{level:?}    {effect:<11} {environment:<11} {granted:<5} {rule:<16} {approval:<9} {told}"
    )
    .unwrap();
}

fn policies(rule: &str) -> PolicySet {
    match rule {
        "none" => PolicySet::empty(),
        "broken" => common::policies(json!([
            {"name": "fine", "outcome": "permit"},
            {"name": "broken", "outcome": "permit", "when": "action.arguments.missing == 1"},
        ])),
        outcome => common::policies(json!([{"name": "only", "outcome": outcome, "reason": "because"}])),
    }
}
