//! Policy documents: what is read, what is refused and by which name, and what their digest covers.

use crate::common::{action, chain, context, told};
use policy::{Approver, Effect, Level, PolicyDocument, PolicySet, RuleOutcome, Stages, decide};
use serde_json::{Value, json};

fn document(rules: Value) -> PolicyDocument {
    serde_json::from_value(json!({ "rules": rules })).unwrap()
}

#[test]
fn what_cannot_be_honoured_is_refused_at_load_by_name() {
    #[rustfmt::skip]
    let table = [
        (json!([{"outcome": "permit", "when": "true", "condition": "true"}]),
         "rule `policy/p#rule-1`: has both `when` and `condition`: use one"),
        (json!([{"outcome": "permit"}, {"outcome": "deny", "when": "oops"}]),
         "rule `policy/p#rule-2`: `oops` is not known: use one of action, agent, agents, cause, session, trust, taint, now"),
        (json!([{"name": "a", "outcome": "permit"}, {"name": "a", "outcome": "deny"}]),
         "rule `policy/p#a`: another rule of this policy has the same name"),
        (json!([{"name": "rule-2", "outcome": "permit"}, {"outcome": "deny"}]),
         "rule `policy/p#rule-2`: another rule of this policy has the same name"),
        (json!([{"name": "", "outcome": "permit"}]),
         "rule `policy/p#`: name is empty or longer than 128 bytes"),
        (json!([{"outcome": "permit", "match": {"verbs": ["*.log"]}}]),
         "rule `policy/p#rule-1`: `*.log` in `verbs` is not a pattern: `*` may only stand last"),
        (json!([{"outcome": "permit", "match": {"resources": [""]}}]),
         "rule `policy/p#rule-1`: `` in `resources` is not a pattern: `*` may only stand last"),
        (json!([{"outcome": "deny", "match": {"environments": ["prod*"]}}]),
         "rule `policy/p#rule-1`: `prod*` is not an environment: use 1 to 64 of a-z, 0-9, `_`, `-` in `environments`"),
        (json!([{"outcome": "permit", "match": {"agents": vec!["a"; 257]}}]),
         "rule `policy/p#rule-1`: more than 256 entries in `agents`"),
        (json!([{"outcome": "permit", "approvers": ["sre"]}]),
         "rule `policy/p#rule-1`: only a rule that requires approval has `approvers`, `waivable`, `expires_after_seconds` or `opts_in`"),
        (json!([{"outcome": "require_approval", "expires_after_seconds": 0}]),
         "rule `policy/p#rule-1`: expires_after_seconds `0` is not from 1 to 2592000"),
        (json!([{"outcome": "permit", "reason": "x".repeat(1025)}]),
         "rule `policy/p#rule-1`: reason is longer than 1024 bytes"),
    ];
    for (rules, expected) in table {
        let error = PolicySet::load(&[("p".to_owned(), document(rules))]).expect_err(expected);
        assert_eq!(error.to_string(), expected);
    }
    let twice = [
        ("p".to_owned(), document(json!([]))),
        ("p".to_owned(), document(json!([]))),
    ];
    assert_eq!(
        PolicySet::load(&twice).expect_err("twice").to_string(),
        "rule `policy/p`: policy name `p` is used twice, empty or too long"
    );
}

#[test]
fn the_index_of_the_refused_rule_finds_its_line() {
    let rules = json!([{"outcome": "deny"}, {"outcome": "deny"}, {"outcome": "deny", "when": "("}]);
    assert_eq!(
        PolicySet::load(&[("p".to_owned(), document(rules))])
            .expect_err("refused")
            .index,
        2
    );
}

#[test]
fn fields_of_a_rule_are_read_strictly() {
    #[rustfmt::skip]
    let table = [
        (json!({"outcome": "allow"}), Ok(RuleOutcome::Permit)),
        (json!({"action": "deny"}), Ok(RuleOutcome::Deny)),
        (json!({"action": "warn"}), Err("`warn` is not supported, since it decides nothing: every action is recorded; use permit, deny or require_approval")),
        (json!({"action": "log"}), Err("`log` is not supported, since it decides nothing: every action is recorded; use permit, deny or require_approval")),
        (json!({"outcome": "Permit"}), Err("`Permit` is not an outcome: use permit, deny or require_approval")),
        (json!({"outcome": "deny", "action": "permit"}), Err("duplicate field `outcome`")),
        (json!({}), Err("missing field `outcome`")),
        (json!({"outcome": "deny", "unless": "taint"}), Err("unknown field `unless`, expected one of")),
        (json!({"outcome": "deny", "match": {"verb": "x"}}), Err("unknown field `verb`, expected one of")),
        (json!({"outcome": "deny", "match": {"effects": ["mutate"]}}), Err("unknown variant `mutate`")),
    ];
    for (rule, expected) in table {
        let read = serde_json::from_value::<PolicyDocument>(json!({"rules": [rule]}));
        match (read, expected) {
            (Ok(document), Ok(outcome)) => assert_eq!(document.rules[0].outcome, outcome),
            (Err(error), Err(text)) => assert!(error.to_string().starts_with(text), "{error}"),
            (read, expected) => panic!("{read:?} is not {expected:?}"),
        }
    }
}

#[test]
fn a_document_survives_being_written() {
    let rules = json!([
        {"name": "a", "match": {"verbs": ["git.*"], "effects": ["write"]}, "when": "taint", "outcome": "deny", "reason": "r"},
        {"outcome": "require_approval", "approvers": ["sre"], "expires_after_seconds": 60},
    ]);
    let read = document(rules);
    let again: PolicyDocument = serde_json::from_value(serde_json::to_value(&read).unwrap()).unwrap();
    assert_eq!(again, read);
}

#[test]
fn the_digest_covers_every_rule_and_no_order_of_documents() {
    let named = |name: &str, outcome: &str| (name.to_owned(), document(json!([{ "outcome": outcome }])));
    let digest = |documents: &[(String, PolicyDocument)]| *PolicySet::load(documents).unwrap().digest();
    let (a, b) = (named("a", "permit"), named("b", "deny"));
    assert_eq!(digest(&[a.clone(), b.clone()]), digest(&[b.clone(), a.clone()]));
    assert_ne!(
        digest(&[a.clone(), b.clone()]),
        digest(&[a.clone(), named("b", "permit")])
    );
    assert_ne!(digest(&[a.clone(), b]), digest(&[a, named("c", "deny")]));
    assert_eq!(digest(&[]), *PolicySet::empty().digest());
}

#[test]
fn policies_of_the_source_documents_load_as_they_are() {
    // As in the source document, quotes and all.
    let source = json!({"policies": [{
        "name": "approve-production-deployments",
        "rules": [{
            "condition": "action == 'deploy' and environment == 'production'",
            "action": "require_approval",
            "approvers": ["sre-team@company.com"],
        }, {
            "name": "switched-off", "condition": "true", "action": "deny", "enabled": false,
        }],
    }]});
    let documents = PolicyDocument::from_source_dialect(&source).unwrap();
    assert_eq!(documents.len(), 1);
    assert_eq!(documents[0].0, "approve-production-deployments");
    assert_eq!(
        documents[0].1.rules[0].approvers,
        Stages::any_of(&[Approver("sre-team@company.com".to_owned())])
    );
    let policies = PolicySet::load(&documents).unwrap();
    let decided = |verb: &str, environment: &str| {
        let action = action(verb, "service/shop", json!({}), environment, Effect::Write);
        told(&decide(
            &chain(Level::L3, &["*:*"]),
            action,
            &context(),
            &policies,
        ))
    };
    let no_rule = "deny no_rule: no rule permits it: without one only reads are permitted";
    assert_eq!(
        decided("deploy", "production"),
        "ask by policy/approve-production-deployments#rule-1"
    );
    assert_eq!(decided("deploy", "staging"), no_rule);
    assert_eq!(decided("restart", "production"), no_rule);
}

#[test]
fn what_the_source_dialect_cannot_say_here_is_refused_by_name() {
    let rule = |rule: Value| json!({"policies": [{"name": "p", "rules": [rule]}]});
    #[rustfmt::skip]
    let table = [
        (json!({}), "rule `policies`: document has no list `policies`"),
        (json!([]), "rule `policies`: document has no list `policies`"),
        (json!({"policies": [{"rules": []}]}), "rule `policies`: a policy has no `name`"),
        (json!({"policies": [{"name": "p"}]}), "rule `policies`: policy `p` has no list `rules`"),
        (json!({"policies": [{"name": "p", "rules": [], "default": "allow"}]}), "rule `policies`: field `default` of policy `p` is not supported"),
        (rule(json!("deny")), "rule `policy/p#rule-1`: a rule is not an object"),
        (rule(json!({"action": "deny"})), "rule `policy/p#rule-1`: a rule has no `condition`"),
        (rule(json!({"condition": "true"})), "rule `policy/p#rule-1`: a rule has no `action`"),
        (rule(json!({"condition": true, "action": "deny"})), "rule `policy/p#rule-1`: `condition` is not a text"),
        (rule(json!({"condition": "true", "action": "log", "name": "l"})), "rule `policy/p#l`: `log` is not supported, since it decides nothing: every action is recorded; use permit, deny or require_approval"),
        (rule(json!({"condition": "true", "action": "deny", "priority": 1})), "rule `policy/p#rule-1`: field `priority` is not supported: use name, condition, action, reason, approvers, enabled, description"),
        (rule(json!({"condition": "true", "action": "deny", "limit": "100/hour"})), "rule `policy/p#rule-1`: field `limit` is not supported: use name, condition, action, reason, approvers, enabled, description"),
        (rule(json!({"condition": "true", "action": "deny", "enabled": "no"})), "rule `policy/p#rule-1`: `enabled` is not true or false"),
        (rule(json!({"condition": "true", "action": "require_approval", "approvers": "sre"})), "rule `policy/p#rule-1`: `approvers` is not a list of texts"),
    ];
    for (source, expected) in table {
        let error = PolicyDocument::from_source_dialect(&source).expect_err(expected);
        assert_eq!(error.to_string(), expected);
    }
}
