//! What a further policy may do to a decision, in the order deny < require_approval < permit.
//!
//! A policy *widens* a decision when the decision comes out higher with it than without it. It may do so
//! in one case only: nothing said anything before (`no_rule`), and the policy opts in, by a rule or a module
//! that permits or asks. Whatever else was decided, by grants, levels, rules or modules, it can only narrow.
//! A policy that is observed does not change a decision at all.

use crate::properties::{Case, cases, documents, told, width};
use policy::{Decision, Mode, PolicyDocument, PolicySet};
use proptest::prelude::*;

/// Conditions of which some are undefined, some fail and some run too long.
const CONDITIONS: [&str; 10] = [
    "true",
    "false",
    "input.trust < 500",
    "input.taint[_]",
    "input.action.environment == \"production\"",
    "input.action.arguments.n == 1",
    "not input.action.arguments.n",
    "to_number(input.agent) > 1",
    "count(numbers.range(1, 100000000)) > 1",
    "count([1 | some a in numbers.range(1, 300); some b in numbers.range(1, 300); a == b]) > 0",
];

/// A module that answers with some of `deny`, `require_approval` and `permit`.
fn modules(heads: &'static [&'static str]) -> impl Strategy<Value = PolicyDocument> {
    let rule = (prop::sample::select(heads), prop::sample::select(&CONDITIONS));
    prop::collection::vec(rule, 1..4).prop_map(|rules| {
        let rules: String = rules
            .iter()
            .map(|(head, when)| format!("{head} if {when}\n"))
            .collect();
        PolicyDocument {
            rego: Some(format!("package m\n{rules}")),
            ..PolicyDocument::default()
        }
    })
}

const ANY: &[&str] = &[
    "deny contains \"no\"",
    "require_approval contains \"look\"",
    "permit contains \"fine\"",
];
const RESTRICTING: &[&str] = &["deny contains \"no\""];

fn decisions(case: &Case, added: PolicyDocument) -> (Decision, Decision) {
    let mut all = documents(&case.rules);
    let before = PolicySet::load(&all).unwrap();
    all.push(("added".to_owned(), added));
    let after = PolicySet::load(&all).unwrap();
    (case.decide(&before), case.decide(&after))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..crate::proptest_config() })]

    #[test]
    fn a_module_widens_only_where_nothing_was_said(case in cases(), added in modules(ANY)) {
        let (before, after) = decisions(&case, added);
        let widens = width(&after) > width(&before);
        prop_assert!(!widens || told(&before) == "deny no_rule", "{} became {}", told(&before), told(&after));
    }

    #[test]
    fn a_module_that_only_forbids_never_widens(case in cases(), added in modules(RESTRICTING)) {
        let (before, after) = decisions(&case, added);
        prop_assert!(width(&after) <= width(&before), "{} became {}", told(&before), told(&after));
    }

    #[test]
    fn a_policy_of_rules_widens_only_where_nothing_was_said(case in cases(), added in cases()) {
        let rules = documents(&added.rules).into_iter().flat_map(|(_, document)| document.rules);
        let added = PolicyDocument { rules: rules.collect(), ..PolicyDocument::default() };
        let (before, after) = decisions(&case, added);
        let widens = width(&after) > width(&before);
        prop_assert!(!widens || told(&before) == "deny no_rule", "{} became {}", told(&before), told(&after));
    }

    #[test]
    fn what_is_observed_changes_nothing(case in cases(), added in modules(ANY)) {
        let (before, after) = decisions(&case, PolicyDocument { mode: Mode::Observe, ..added });
        prop_assert_eq!(told(&before), told(&after));
    }
}
