//! Labels in conditions, and the rule of two over every combination of what a session has seen.

use crate::common::{action, chain, context, told};
use Taint::{CustomerData, Secrets, Untrusted};
use policy::{Context, Effect, Level, PolicyDocument, PolicySet, Taint, Taints, decide, rule_of_two};
use serde_json::{Value, json};

fn with(taint: &[Taint]) -> Context {
    Context {
        taint: Taints::of(taint),
        ..context()
    }
}

fn load(rules: Value) -> PolicySet {
    let document: PolicyDocument = serde_json::from_value(json!({ "rules": rules })).unwrap();
    PolicySet::load(&[rule_of_two(), ("p".to_owned(), document)]).unwrap()
}

#[test]
fn conditions_ask_for_labels() {
    #[rustfmt::skip]
    let table: [(&str, &[Taint], bool); 16] = [
        // condition                                   labels of the session       holds
        ("taint",                                      &[],                        false),
        ("taint",                                      &[Secrets],                 true),
        ("taint.untrusted",                            &[Secrets],                 false),
        ("taint.untrusted",                            &[Untrusted, Secrets],      true),
        ("taint.secrets || taint.customer_data",       &[CustomerData],            true),
        ("'secrets' in taint",                         &[Secrets],                 true),
        ("'secrets' in taint",                         &[CustomerData],            false),
        ("size(taint) == 2",                           &[Secrets, CustomerData],   true),
        ("taint.size() == 0",                          &[],                        true),
        ("taint.exists(t, t.startsWith('customer'))",  &[CustomerData],            true),
        ("taint.all(t, t == 'secrets')",               &[Secrets],                 true),
        ("!taint && trust > 1",                        &[],                        true),
        ("taint == true",                              &[Untrusted],               true),
        ("'secrets' in action.brings",                 &[Secrets],                 false),
        ("size(action.brings) == 1",                   &[],                        true),
        ("taint.exists(t, t in action.brings)",        &[CustomerData],            true),
    ];
    for (condition, labels, holds) in table {
        let policies = load(json!([
            {"name": "d", "when": condition, "outcome": "deny"}, {"name": "all", "outcome": "permit"},
        ]));
        let read = action("git.log", "repository/a", json!({}), "staging", Effect::Read)
            .bringing(Taints::of(&[CustomerData]));
        let found = told(&decide(
            &chain(Level::L4, &["*:*"]),
            read,
            &with(labels),
            &policies,
        ));
        assert_eq!(
            found.starts_with("deny forbidden"),
            holds,
            "{condition} {labels:?}: {found}"
        );
    }
}

/// What the platform does with an action of a session, for every set of labels, with and without a rule that
/// permits.
#[test]
fn of_three_things_a_session_has_two_without_a_person() {
    let ask = "ask by policy/rule-of-two#";
    let both: [&[Taint]; 3] = [&[Untrusted, Secrets], &[Untrusted, CustomerData], &Taint::ALL];
    let one: [&[Taint]; 5] = [
        &[],
        &[Untrusted],
        &[Secrets],
        &[CustomerData],
        &[Secrets, CustomerData],
    ];
    #[rustfmt::skip]
    let table = [
        // verb          effect                one of the two                       both of them
        ("git.merge",    Effect::Write,        "permit by policy/p#all".to_owned(), format!("{ask}change")),
        ("git.wipe",     Effect::Destructive,  "permit by policy/p#all".to_owned(), format!("{ask}change")),
        ("git.log",      Effect::Read,         "permit by policy/p#all".to_owned(), "permit by policy/p#all".to_owned()),
        ("http.get",     Effect::Read,         "permit by policy/p#all".to_owned(), format!("{ask}tell")),
        ("channel.post", Effect::Write,        "permit by policy/p#all".to_owned(), format!("{ask}change")),
    ];
    let permitting = load(json!([{"name": "all", "outcome": "permit"}]));
    let silent = load(json!([]));
    for (verb, effect, alone, together) in table {
        let decision = |policies: &PolicySet, labels: &[Taint]| {
            let asked = action(verb, "repository/a", json!({}), "staging", effect);
            told(&decide(
                &chain(Level::L4, &["*:*"]),
                asked,
                &with(labels),
                policies,
            ))
        };
        for labels in one {
            assert_eq!(decision(&permitting, labels), alone, "{verb} {labels:?}");
        }
        for labels in both {
            assert_eq!(decision(&permitting, labels), together, "{verb} {labels:?}");
            let silent = decision(&silent, labels);
            // It only restricts: what nothing opts in to stays denied, and nobody is asked.
            let expected = effect == Effect::Read || silent.starts_with("deny no_rule");
            assert!(expected, "{verb} {labels:?}: {silent}");
        }
    }
}

#[test]
fn what_an_action_brings_counts_as_if_it_had_entered() {
    let policies = load(json!([{"name": "all", "outcome": "permit"}]));
    let decision = |labels: &[Taint], brings: &[Taint]| {
        let asked =
            action("db.update", "db/a", json!({}), "staging", Effect::Write).bringing(Taints::of(brings));
        told(&decide(
            &chain(Level::L4, &["*:*"]),
            asked,
            &with(labels),
            &policies,
        ))
    };
    assert_eq!(
        decision(&[Untrusted], &[CustomerData]),
        "ask by policy/rule-of-two#change"
    );
    assert_eq!(
        decision(&[], &[Untrusted, Secrets]),
        "ask by policy/rule-of-two#change"
    );
    assert_eq!(decision(&[Secrets], &[CustomerData]), "permit by policy/p#all");
}
