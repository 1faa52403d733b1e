//! What the linter finds, each with its place, and what it leaves alone.

use policy::{PolicyDocument, PolicySet, lint};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn findings(document: Value) -> Vec<String> {
    let document: PolicyDocument = serde_json::from_value(document).unwrap();
    let documents = [("p".to_owned(), document)];
    PolicySet::load(&documents).unwrap();
    let environments = BTreeSet::from(["production".to_owned(), "staging".to_owned()]);
    let found = lint(&documents, Some(&environments));
    found
        .iter()
        .map(|found| format!("{} {}", found.rule, found.code))
        .collect()
}

#[test]
fn what_is_probably_not_meant_is_found() {
    let bounded = json!({"resources": ["repository/a"], "environments": ["staging"]});
    let rule = |name: &str, outcome: &str, matching: Value| json!({"name": name, "outcome": outcome, "match": matching});
    #[rustfmt::skip]
    let table: [(&str, Value, &[&str]); 30] = [
        // what the row shows                     rules                                                        findings
        ("nothing",                               json!([rule("a", "permit", bounded.clone())]),               &[]),
        ("a permit without a resource",           json!([rule("a", "permit", json!({"environments": ["staging"]}))]), &["policy/p#a no_resource"]),
        ("a permit on every resource",            json!([rule("a", "permit", json!({"environments": ["staging"], "resources": ["*"]}))]), &["policy/p#a no_resource"]),
        ("a permit without an environment",       json!([rule("a", "permit", json!({"resources": ["x"]}))]),   &["policy/p#a no_environment"]),
        ("an unknown environment",                json!([rule("a", "deny", json!({"environments": ["stagign"]}))]), &["policy/p#a unknown_environment"]),
        ("an empty list",                         json!([rule("a", "deny", json!({"verbs": []}))]),            &["policy/p#a matches_nothing"]),
        ("a condition that never holds",          json!([{"name": "a", "outcome": "deny", "when": "false"}]),  &["policy/p#a matches_nothing"]),
        ("a deny that forbids all of a permit",   json!([rule("a", "permit", bounded.clone()), rule("b", "deny", json!({"resources": ["repository/*"]}))]), &["policy/p#a shadowed"]),
        ("a deny with a condition",               json!([rule("a", "permit", bounded.clone()), {"name": "b", "outcome": "deny", "when": "taint"}]), &[]),
        ("a deny of something else",              json!([rule("a", "permit", bounded.clone()), rule("b", "deny", json!({"resources": ["repository/b"]}))]), &[]),
        ("a deny of one effect",                  json!([rule("a", "permit", bounded.clone()), rule("b", "deny", json!({"effects": ["destructive"]}))]), &[]),
        ("the same permit twice",                 json!([rule("a", "permit", bounded.clone()), rule("b", "permit", bounded.clone())]), &["policy/p#b shadowed"]),
        ("a wider permit after a narrow one",     json!([rule("a", "permit", json!({"verbs": ["git.log"], "resources": ["repository/a"], "environments": ["staging"]})), rule("b", "permit", bounded.clone())]), &["policy/p#a shadowed"]),
        ("one person in two stages",              json!([{"name": "a", "match": {"verbs": ["git.*"]}, "outcome": "require_approval", "approvers": [{"any": ["person:bob"]}, {"any": ["person:bob"]}]}]), &["policy/p#a unanswerable"]),
        ("one outside system in two stages",      json!([{"name": "a", "match": {"verbs": ["git.*"]}, "outcome": "require_approval", "approvers": [{"any": ["webhook:t"]}, {"any": ["webhook:t"]}, "bob"]}]), &["policy/p#a unanswerable"]),
        ("an outside system alone",               json!([{"name": "a", "match": {"verbs": ["git.*"]}, "outcome": "require_approval", "approvers": ["webhook:t"]}]), &["policy/p#a webhook_alone"]),
        ("an outside system or a person",         json!([{"name": "a", "match": {"verbs": ["git.*"]}, "outcome": "require_approval", "approvers": ["bob", "webhook:t"]}]), &["policy/p#a webhook_alone"]),
        ("an outside system once time is over",   json!([{"name": "a", "match": {"verbs": ["git.*"]}, "outcome": "require_approval", "approvers": [{"any": ["bob"], "escalate_after_seconds": 60}, "webhook:t"]}]), &["policy/p#a webhook_alone"]),
        ("an outside system and a person",        json!([{"name": "a", "match": {"verbs": ["git.*"]}, "outcome": "require_approval", "approvers": [{"webhook": "t"}, "bob"]}]), &[]),
        ("two of an outside system and a person", json!([{"name": "a", "match": {"verbs": ["git.*"]}, "outcome": "require_approval", "approvers": [{"any": ["webhook:t", "bob"], "count": 2}]}]), &[]),
        ("an outside system alone in staging",    json!([{"name": "a", "match": {"environments": ["staging"]}, "outcome": "require_approval", "approvers": ["webhook:t"]}]), &[]),
        ("an outside system alone about reads",   json!([{"name": "a", "match": {"effects": ["read"]}, "outcome": "require_approval", "approvers": ["webhook:t"]}]), &[]),
        ("two of a team",                         json!([{"name": "a", "match": {"verbs": ["git.*"]}, "outcome": "require_approval", "approvers": [{"team": "sre", "count": 2}]}]), &[]),
        ("an ask that a deny forbids",            json!([rule("a", "require_approval", json!({"verbs": ["git.*"]})), rule("b", "deny", json!({}))]), &["policy/p#a shadowed"]),
        ("an ask about all writes",               json!([rule("a", "require_approval", json!({"effects": ["write", "destructive"]}))]), &["policy/p#a asks_to_tell"]),
        ("an ask about every channel",            json!([rule("a", "require_approval", json!({"verbs": ["channel.*"], "resources": ["channel/*"]}))]), &["policy/p#a asks_to_tell"]),
        ("an ask about all writes of an agent",   json!([rule("a", "require_approval", json!({"effects": ["write"], "agents": ["triage"]}))]), &[]),
        ("an ask about all writes in staging",    json!([rule("a", "require_approval", json!({"effects": ["write"], "environments": ["staging"]}))]), &[]),
        ("an ask about what destroys",            json!([rule("a", "require_approval", json!({"effects": ["destructive"]}))]), &[]),
        ("an ask with a condition",               json!([{"name": "a", "outcome": "require_approval", "when": "taint"}]), &[]),
    ];
    for (name, rules, expected) in table {
        assert_eq!(findings(json!({ "rules": rules })), expected, "{name}");
    }
}

#[test]
fn a_module_that_reads_what_is_never_there_is_found() {
    #[rustfmt::skip]
    let table: [(&str, &[&str]); 5] = [
        // condition                                         findings
        ("input.action.verb == \"x\"",                        &[]),
        ("input.action.verbs == \"x\"",                       &["policy/p#rego unknown_input"]),
        ("input.sessoin.id == \"x\"",                         &["policy/p#rego unknown_input"]),
        ("input.action.arguments.anything == \"x\"",          &[]),
        ("input.trust > 1 # as input.truts was",              &[]),
    ];
    for (condition, expected) in table {
        let module = format!("package p\ndeny contains \"x\" if {condition}\n");
        assert_eq!(findings(json!({ "rego": module })), expected, "{condition}");
    }
}

#[test]
fn a_policy_that_is_observed_shadows_nothing() {
    let found = findings(json!({"mode": "observe", "rules": [
        {"name": "a", "outcome": "require_approval"}, {"name": "b", "outcome": "deny"},
    ]}));
    assert!(found.is_empty(), "{found:?}");
}
