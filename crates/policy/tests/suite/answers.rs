//! What an approval and a waiver answer: the questions that were put when they were given, and no others.

use crate::common::{action, chain, context, policies, told};
use policy::{Effect, Level, PolicySet, decide};
use serde_json::json;
use sha2::{Digest as _, Sha256};

#[test]
fn an_approval_answers_what_was_asked_then_and_nothing_that_is_asked_since() {
    let (a, b) = ("policy/p#a", "policy/p#b");
    // What a module asks is known by the digest of its words.
    let of_module = |words: &str| {
        format!(
            "policy/p#rego: {}",
            policy::canonical::hex(&Sha256::digest(words))
        )
    };
    let (large, odd) = (&*of_module("large"), &*of_module("odd"));
    let rule =
        |name: &str| json!({"name": name, "outcome": "require_approval", "reason": format!("{name} asks")});
    let when_tainted = json!({"name": "b", "outcome": "require_approval", "when": "taint.secrets"});
    let permit = json!({"name": "c", "outcome": "permit"});
    let module = |asks: &[&str]| {
        let asks = asks
            .iter()
            .map(|ask| format!("require_approval contains \"{ask}\"\n"));
        format!("package p\n{}", asks.collect::<String>())
    };
    let (clean, secrets) = (
        policy::Taints::NONE,
        policy::Taints::of(&[policy::Taint::Secrets]),
    );
    #[rustfmt::skip]
    let table = [
        // asked then        rules now                          a module's asks      labels    what comes of it
        (vec![a],         json!([rule("a")]),                &[][..],             clean,    "permit by policy/p#a, approved by apr-9"),
        (vec![a, b],      json!([rule("a"), rule("b")]),     &[],                 clean,    "permit by policy/p#a, approved by apr-9"),
        (vec![a, b],      json!([rule("b")]),                &[],                 clean,    "permit by policy/p#b, approved by apr-9"),
        (vec![a],         json!([rule("a"), rule("b")]),     &[],                 clean,    "ask by policy/p#a"),
        (vec![a],         json!([rule("b")]),                &[],                 clean,    "ask by policy/p#b"),
        (vec![a],         json!([rule("a"), when_tainted]),  &[],                 clean,    "permit by policy/p#a, approved by apr-9"),
        (vec![a],         json!([rule("a"), when_tainted]),  &[],                 secrets,  "ask by policy/p#a"),
        // What the level asked is answered by anybody's word; a rule's question is not answered by that.
        (vec![],          json!([rule("a")]),                &[],                 clean,    "ask by policy/p#a"),
        (vec![a],         json!([permit]),                   &[],                 clean,    "permit by policy/p#c, approved by apr-9"),
        (vec![],          json!([permit]),                   &[],                 clean,    "permit by policy/p#c, approved by apr-9"),
        // A module is one name for several questions.
        (vec![large],     json!([]),                         &["large"],          clean,    "permit by policy/p#rego, approved by apr-9"),
        (vec![large],     json!([]),                         &["large", "odd"],   clean,    "ask by policy/p#rego"),
        (vec![large, odd], json!([]),                        &["odd", "large"],   clean,    "permit by policy/p#rego, approved by apr-9"),
    ];
    for (asked, rules, asks, taint, expected) in table {
        for waiver in [false, true] {
            let document = json!({"rules": rules, "rego": (!asks.is_empty()).then(|| module(asks))});
            let document: policy::PolicyDocument = serde_json::from_value(document).unwrap();
            let policies = PolicySet::load(&[("p".to_owned(), document)]).unwrap();
            let approval = policy::Approved {
                id: "apr-9".to_owned(),
                by: vec!["alice".to_owned()],
                questions: asked.iter().map(|&question| question.to_owned()).collect(),
                asked: Vec::new(),
                waiver: waiver.then_some(policy::Waived {
                    scope: policy::WaiverScope::Session,
                    taint,
                }),
            };
            let context = policy::Context {
                approval: Some(approval),
                taint,
                ..context()
            };
            let merge = action("git.merge", "repository/x", json!({}), "staging", Effect::Write);
            let told = told(&decide(&chain(Level::L2, &["*:*"]), merge, &context, &policies));
            match waiver {
                false => assert_eq!(told, expected, "{asked:?} {rules} {asks:?}"),
                // Level L2 asks each time, whatever is waived.
                true => assert!(told.starts_with("ask"), "{told}"),
            }
        }
    }
}

#[test]
fn a_waiver_answers_what_was_asked_then_and_nothing_that_is_asked_since() {
    let rule = |name: &str| json!({"name": name, "outcome": "require_approval", "waivable": ["session"]});
    for (rules, expected) in [
        (json!([rule("a")]), "permit by policy/p#a"),
        (json!([rule("a"), rule("b")]), "ask by policy/p#a"),
        (json!([rule("b")]), "ask by policy/p#b"),
    ] {
        let waived = policy::Approved {
            id: "wvr-9".to_owned(),
            by: vec!["alice".to_owned()],
            questions: vec!["policy/p#a".to_owned()],
            asked: Vec::new(),
            waiver: Some(policy::Waived {
                scope: policy::WaiverScope::Session,
                taint: policy::Taints::NONE,
            }),
        };
        let context = policy::Context {
            approval: Some(waived),
            ..context()
        };
        let merge = action("git.merge", "repository/x", json!({}), "staging", Effect::Write);
        let decision = decide(
            &chain(Level::L4, &["*:*"]),
            merge,
            &context,
            &policies(rules.clone()),
        );
        assert_eq!(told(&decision), expected, "{rules}");
    }
}

/// A rule without a name is known by its text: its number is another rule's once one above it comes or goes.
#[test]
fn the_question_of_a_rule_without_a_name_stays_its_own_when_rules_move() {
    let ask = |reason: &str| json!({"outcome": "require_approval", "reason": reason});
    let of = |verbs: &str| json!({"outcome": "permit", "match": {"verbs": [verbs]}});
    let merge = || action("git.merge", "repository/x", json!({}), "staging", Effect::Write);
    let weigh = |rules: &serde_json::Value, given: Option<policy::Approved>| {
        let context = policy::Context {
            approval: given,
            ..context()
        };
        decide(
            &chain(Level::L4, &["*:*"]),
            merge(),
            &context,
            &policies(rules.clone()),
        )
    };
    let given = |rules: &serde_json::Value| match weigh(rules, None) {
        policy::Decision::RequireApproval(request) => policy::Approved {
            id: "apr-9".to_owned(),
            by: vec!["alice".to_owned()],
            questions: request.questions,
            ..policy::Approved::default()
        },
        other => panic!("{}", told(&other)),
    };
    let then = json!([of("git.tag"), ask("is it safe")]);
    #[rustfmt::skip]
    let table = [
        ("as it was",                   then.clone(),                                          "permit by policy/p#rule-2, approved by apr-9"),
        ("another took its number",     json!([of("git.tag"), ask("is it paid for")]),         "ask by policy/p#rule-2"),
        ("it moved, and all else is",   json!([ask("is it safe")]),                            "permit by policy/p#rule-1, approved by apr-9"),
        ("one more asks above it",      json!([of("x"), ask("is it paid for"), ask("is it safe")]), "ask by policy/p#rule-2"),
        ("it became another",           json!([of("git.tag"), {"outcome": "require_approval", "reason": "is it safe", "match": {"effects": ["write"]}}]), "ask by policy/p#rule-2"),
    ];
    for (name, now, expected) in table {
        assert_eq!(told(&weigh(&now, Some(given(&then)))), expected, "{name}");
    }
}

/// What asks nobody in particular, a rule without approvers or a level, asks a person: no outside system's word
/// that answered something else is enough.
#[test]
fn the_word_of_an_outside_system_is_no_persons() {
    let by = |name: &str, approvers: serde_json::Value| json!({"name": name, "outcome": "require_approval", "approvers": approvers});
    let permit = json!({"name": "c", "outcome": "permit"});
    let (asks_t, asks_anybody) = (by("a", json!(["webhook:t"])), by("b", json!([])));
    let told_by = |rules: &serde_json::Value, level: Level, by: &[&str]| {
        let approval = policy::Approved {
            id: "apr-9".to_owned(),
            by: by.iter().map(|&name| name.to_owned()).collect(),
            questions: vec!["policy/p#a".to_owned(), "policy/p#b".to_owned()],
            ..policy::Approved::default()
        };
        let context = policy::Context {
            approval: Some(approval),
            ..context()
        };
        let merge = action("git.merge", "repository/x", json!({}), "staging", Effect::Write);
        told(&decide(
            &chain(level, &["*:*"]),
            merge,
            &context,
            &policies(rules.clone()),
        ))
    };
    let yes = "permit by policy/p#a, approved by apr-9";
    #[rustfmt::skip]
    let table = [
        ("as it was asked",                       json!([asks_t]),               Level::L4, &["webhook:t"][..],     yes),
        ("a rule that asks anybody too",          json!([asks_t, asks_anybody]), Level::L4, &["webhook:t"],         "ask by policy/p#a"),
        ("and a person said yes",                 json!([asks_t, asks_anybody]), Level::L4, &["webhook:t", "bob"],  yes),
        ("a rule that asks anybody alone",        json!([asks_anybody]),         Level::L4, &["webhook:t"],         "ask by policy/p#b"),
        ("what the level asks",                   json!([permit]),               Level::L2, &["webhook:t"],         "ask: level L2 asks for each write action"),
        ("what the level asks, and a person",     json!([permit]),               Level::L2, &["bob"],               "permit by policy/p#c, approved by apr-9"),
        ("what the level asks beside the rule",   json!([asks_t]),               Level::L2, &["webhook:t"],         "ask by policy/p#a"),
        ("and a person said yes to both",         json!([asks_t]),               Level::L2, &["webhook:t", "bob"],  yes),
    ];
    for (name, rules, level, by, expected) in table {
        assert_eq!(told_by(&rules, level, by), expected, "{name}");
    }
}
