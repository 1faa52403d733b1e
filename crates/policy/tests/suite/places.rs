//! Policies of places: what a place leaves of what others permit, and that no policy at any place widens
//! what others leave.

use crate::common;
use policy::{
    Branch, Chain, Decision, Effect, Level, Mode, Place, PolicyDocument, PolicySet, RuleId, decide,
};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Agents with their places.
type Agents<'a> = &'a [(&'a str, Option<&'a str>)];

/// One document a place, named after it, with these rules.
fn set(documents: &[(&str, Value)]) -> PolicySet {
    let named = |(at, (place, rules)): (usize, &(&str, Value))| {
        let document: PolicyDocument = serde_json::from_value(json!({ "rules": rules })).unwrap();
        let place = Branch::parse(place).unwrap();
        (format!("p{at}"), PolicyDocument { place, ..document })
    };
    PolicySet::load(&documents.iter().enumerate().map(named).collect::<Vec<_>>()).unwrap()
}

/// Agents with their places, the one that acts last.
fn chain(agents: &[(&str, Option<&str>)]) -> Chain {
    let link = |(name, place): &(&str, Option<&str>)| {
        let mut link = common::link(policy::Principal::agent(name), Level::L4, &["*:*"]);
        link.place = place.map(|place| Place::parse(place).unwrap());
        link
    };
    Chain {
        cause: policy::Principal::person("alice"),
        links: agents.iter().map(link).collect(),
    }
}

fn found(agents: &[(&str, Option<&str>)], policies: &PolicySet, verb: &str, effect: Effect) -> String {
    let action = common::action(verb, "repository/a", json!({}), "staging", effect);
    common::told(&decide(&chain(agents), action, &common::context(), policies))
}

const TRIAGE: &[(&str, Option<&str>)] = &[("triage", Some("acme/sre/ops"))];

#[test]
fn rights_are_the_intersection_down_the_path() {
    let permit = |verb: &str| json!([{ "name": "yes", "match": { "verbs": [verb] }, "outcome": "permit" }]);
    let of = |agents: &str, verb: &str| json!([{ "name": "yes", "match": { "verbs": [verb], "agents": [agents] }, "outcome": "permit" }]);
    let no = || json!([{ "name": "no", "match": { "verbs": ["git.merge"] }, "outcome": "deny" }]);
    let ask =
        || json!([{ "name": "ask", "match": { "verbs": ["git.merge"] }, "outcome": "require_approval" }]);
    let by = |rule: &str| format!("permit by policy/{rule}");
    let withheld = |place: &str| {
        format!("deny withheld: the policies of {place} permit other things and leave this to nobody below")
    };
    let none = "deny no_rule: no rule permits it: without one only reads are permitted".to_owned();
    #[rustfmt::skip]
    let table = [
        ("one place permits, the others say nothing", vec![("acme/sre", permit("git.merge"))], by("p0#yes")),
        ("a policy of another team",              vec![("acme/dev", permit("git.merge"))], none.clone()),
        ("a policy of this agent",                vec![("acme/sre/ops/triage", permit("git.merge"))], by("p0#yes")),
        ("a policy of another agent",             vec![("acme/sre/ops/other", permit("git.merge"))], none.clone()),
        ("every place permits",                   vec![("acme", permit("git.*")), ("acme/sre/ops", permit("git.merge"))], by("p0#yes")),
        ("the organization leaves other things",  vec![("acme", permit("git.push")), ("acme/sre", permit("git.merge"))], withheld("acme")),
        ("the team leaves other things",          vec![("acme", permit("git.merge")), ("acme/sre", permit("git.push"))], withheld("acme/sre")),
        ("everywhere leaves other things",        vec![("everywhere", permit("git.push")), ("acme/sre", permit("git.merge"))], withheld("everywhere")),
        ("everywhere speaks of somebody else",    vec![("everywhere", of("other", "git.push")), ("acme/sre", permit("git.merge"))], by("p1#yes")),
        ("two places withhold: the wider is told",vec![("acme", permit("git.push")), ("acme/sre", permit("git.push")), ("acme/sre/ops", permit("git.merge"))], withheld("acme")),
        ("nobody permits it at all",              vec![("acme", permit("git.push")), ("acme/sre", permit("git.tag"))], none),
        ("a parent forbids",                      vec![("acme", no()), ("acme/sre", permit("git.merge"))], "deny forbidden: rule `policy/p0#no` forbids it".to_owned()),
        ("a child forbids",                       vec![("acme", permit("git.merge")), ("acme/sre", no())], "deny forbidden: rule `policy/p1#no` forbids it".to_owned()),
        ("a parent asks",                         vec![("acme", ask()), ("acme/sre", permit("git.merge"))], "ask by policy/p0#ask".to_owned()),
        ("a child asks",                          vec![("acme", permit("git.merge")), ("acme/sre", ask())], "ask by policy/p1#ask".to_owned()),
        ("asking leaves it",                      vec![("acme", json!([ask()[0], permit("git.push")[0]])), ("acme/sre", permit("git.merge"))], "ask by policy/p0#ask".to_owned()),
        ("a place that only asks leaves the rest",vec![("acme", json!([{ "name": "ask", "match": { "verbs": ["git.tag"] }, "outcome": "require_approval" }])), ("acme/sre", permit("git.merge"))], by("p1#yes")),
    ];
    for (name, documents, expected) in table {
        assert_eq!(
            found(TRIAGE, &set(&documents), "git.merge", Effect::Write),
            expected,
            "{name}"
        );
    }
}

#[test]
fn reads_are_withheld_by_nobody_and_places_forbid_them() {
    let documents = [
        (
            "acme",
            json!([{ "name": "yes", "match": { "verbs": ["git.push"] }, "outcome": "permit" }]),
        ),
        (
            "acme/sre",
            json!([{ "name": "no", "match": { "verbs": ["git.blame"] }, "outcome": "deny" }]),
        ),
    ];
    let policies = set(&documents);
    assert_eq!(
        found(TRIAGE, &policies, "git.log", Effect::Read),
        "permit granted by toolset/all"
    );
    assert_eq!(
        found(TRIAGE, &policies, "git.blame", Effect::Read),
        "deny forbidden: rule `policy/p1#no` forbids it"
    );
    assert_eq!(
        policies
            .place_of(&RuleId("policy/p1#no".to_owned()))
            .unwrap()
            .to_string(),
        "acme/sre"
    );
    assert_eq!(policies.place_of(&RuleId("policy/p7#no".to_owned())), None);
}

/// Delegating to an agent of another place is no way around one's own.
#[test]
fn every_agent_of_the_chain_is_held_to_its_own_places() {
    let permit = |verb: &str| json!([{ "name": "yes", "match": { "verbs": [verb] }, "outcome": "permit" }]);
    let no = json!([{ "name": "no", "match": { "verbs": ["git.merge"] }, "outcome": "deny" }]);
    let two = &[("lead", Some("acme/dev/web")), ("triage", Some("acme/sre/ops"))];
    let unknown = &[("lead", None), ("triage", Some("acme/sre/ops"))];
    let lost = &[("triage", None)];
    let withheld =
        "deny withheld: the policies of acme/dev permit other things and leave this to nobody below";
    let none = "deny no_rule: no rule permits it: without one only reads are permitted";
    let forbidden = "deny forbidden: rule `policy/p0#no` forbids it";
    #[rustfmt::skip]
    let table: Vec<(&str, Agents, _, &str)> = vec![
        ("its own team says nothing",        two, vec![("acme/sre", permit("git.merge"))], "permit by policy/p0#yes"),
        ("its own team leaves other things", two, vec![("acme/dev", permit("git.push")), ("acme/sre", permit("git.merge"))], withheld),
        ("its own team leaves this too",     two, vec![("acme/dev", permit("git.*")), ("acme/sre", permit("git.merge"))], "permit by policy/p1#yes"),
        ("only its own team permits",        two, vec![("acme/dev", permit("git.merge"))], none),
        ("its own team forbids",             two, vec![("acme/dev", no.clone()), ("acme/sre", permit("git.merge"))], forbidden),
        ("nobody knows where it belongs",    unknown, vec![("other", no.clone()), ("acme/sre", permit("git.merge"))], forbidden),
        ("nobody knows where the actor is",  lost, vec![("acme/sre", permit("git.merge"))], none),
    ];
    for (name, agents, documents, expected) in table {
        assert_eq!(
            found(agents, &set(&documents), "git.merge", Effect::Write),
            expected,
            "{name}"
        );
    }
}

/// What asks on account of an agent further up permits the one that acts nothing, wherever that one is.
#[test]
fn what_asks_about_another_agent_of_the_chain_opts_in_to_nothing() {
    let none = "deny no_rule: no rule permits it: without one only reads are permitted";
    let two = &[("lead", Some("acme/sre/web")), ("triage", Some("acme/sre/ops"))];
    let three = &[
        ("lead", Some("acme/sre/web")),
        ("mid", Some("acme/dev/x")),
        ("triage", Some("acme/sre/ops")),
    ];
    let when = |condition: &str| json!([{ "name": "ask", "when": condition, "outcome": "require_approval" }]);
    let of = |agent: &str| json!([{ "name": "ask", "match": { "agents": [agent] }, "outcome": "require_approval" }]);
    let permit = |agents: &str, verb: &str| json!({ "name": "yes", "match": { "verbs": [verb], "agents": [agents] }, "outcome": "permit" });
    let rego = |about: &str| {
        let source = format!("package m\nrequire_approval contains \"r\" if input.agent == \"{about}\"");
        let document = PolicyDocument {
            rego: Some(source),
            ..PolicyDocument::default()
        };
        PolicySet::load(&[("p0".to_owned(), document)]).unwrap()
    };
    let withheld =
        "deny withheld: the policies of acme/dev permit other things and leave this to nobody below";
    #[rustfmt::skip]
    let table: Vec<(&str, Agents, PolicySet, &str)> = vec![
        ("a condition about it",        two, set(&[("acme/sre", when("agent == 'triage'"))]), "ask by policy/p0#ask"),
        ("a condition about the other", two, set(&[("acme/sre", when("agent == 'lead'"))]),   none),
        ("everywhere",                  two, set(&[("everywhere", when("agent == 'lead'"))]), none),
        ("about both",                  two, set(&[("acme/sre", when("agent != 'x'"))]),      "ask by policy/p0#ask"),
        ("about the chain",             two, set(&[("acme/sre", when("'lead' in agents"))]),  "ask by policy/p0#ask"),
        ("a selector of it",            two, set(&[("acme/sre", of("triage"))]),              "ask by policy/p0#ask"),
        ("a selector of the other",     two, set(&[("acme/sre", of("lead"))]),                none),
        ("another rule permits",        two, set(&[("acme/sre", json!([of("lead")[0], permit("triage", "git.merge")]))]), "ask by policy/p0#ask"),
        ("a module about it",           two, rego("triage"),                                  "ask by policy/p0#rego"),
        ("a module about the other",    two, rego("lead"),                                    none),
        ("a place leaves it to one in the middle on account of that one", three,
            set(&[("acme/dev", json!([of("mid")[0], permit("mid", "git.push")])), ("acme/sre", json!([permit("triage", "git.merge")]))]), "ask by policy/p0#ask"),
        ("and not on account of another", three,
            set(&[("acme/dev", json!([of("lead")[0], permit("mid", "git.push")])), ("acme/sre", json!([permit("triage", "git.merge")]))]), withheld),
    ];
    for (name, agents, policies, expected) in table {
        assert_eq!(
            found(agents, &policies, "git.merge", Effect::Write),
            expected,
            "{name}"
        );
    }
}

#[test]
fn what_is_built_in_permits_without_withholding_and_is_not_withheld() {
    let permit = |verb: &str| json!({ "name": "yes", "match": { "verbs": [verb] }, "outcome": "permit" });
    let forbid =
        json!({ "name": "no", "match": { "verbs": ["net.connect"] }, "outcome": "deny", "reason": "never" });
    let load = |below: Value, built_in: bool| {
        let document = |rules: Value, place: &str, built_in: bool| PolicyDocument {
            place: Branch::parse(place).unwrap(),
            built_in,
            ..serde_json::from_value(json!({ "rules": rules })).unwrap()
        };
        let everywhere = document(json!([permit("net.connect")]), "everywhere", built_in);
        let below = document(below, "acme/sre", false);
        PolicySet::load(&[("all".to_owned(), everywhere), ("below".to_owned(), below)]).unwrap()
    };
    let agents = &[("triage", Some("acme/sre/ops"))];
    let withheld = |place: &str| {
        format!("deny withheld: the policies of {place} permit other things and leave this to nobody below")
    };
    let merge = || json!([permit("git.merge")]);
    #[rustfmt::skip]
    let table = [
        (merge(),        true,  "git.merge",   "permit by policy/below#yes".to_owned()),
        (merge(),        true,  "net.connect", "permit by policy/all#yes".to_owned()),
        (merge(),        true,  "git.push",    "deny no_rule: no rule permits it: without one only reads are permitted".to_owned()),
        (json!([forbid]), true, "net.connect", "deny forbidden: rule `policy/below#no` forbids it: never".to_owned()),
        // What is no built-in policy speaks of everybody, and is withheld.
        (merge(),        false, "git.merge",   withheld("everywhere")),
        (merge(),        false, "net.connect", withheld("acme/sre")),
    ];
    for (below, built_in, verb, expected) in table {
        let policies = load(below.clone(), built_in);
        assert_eq!(
            found(agents, &policies, verb, Effect::Write),
            expected,
            "{below} {built_in} {verb}"
        );
    }
}

#[test]
fn a_module_permits_and_forbids_where_its_policy_is_for() {
    let module = |place: &str, rego: &str| PolicyDocument {
        place: Branch::parse(place).unwrap(),
        rego: Some(format!("package m\n{rego}")),
        ..PolicyDocument::default()
    };
    let permit = "permit if input.action.verb == \"git.push\"";
    let deny = "deny contains \"no\" if input.action.verb == \"git.merge\"";
    let below = ("below".to_owned(), module("acme/sre", "permit if true"));
    #[rustfmt::skip]
    let table = [
        ("another team's permit", module("acme/dev", permit), "permit by policy/below#rego"),
        ("the organization's permit withholds", module("acme", permit), "deny withheld: the policies of acme permit other things and leave this to nobody below"),
        ("another team's deny", module("acme/dev", deny), "permit by policy/below#rego"),
        ("the organization's deny", module("acme", deny), "deny forbidden: rule `policy/above#rego` forbids it: no"),
        ("one that is observed", PolicyDocument { mode: Mode::Observe, ..module("acme", permit) }, "permit by policy/below#rego"),
    ];
    for (name, above, expected) in table {
        let policies = PolicySet::load(&[("above".to_owned(), above), below.clone()]).unwrap();
        assert_eq!(
            found(TRIAGE, &policies, "git.merge", Effect::Write),
            expected,
            "{name}"
        );
    }
}

type Placed = (&'static str, &'static str, &'static str, Option<&'static str>);

fn rules() -> impl Strategy<Value = Vec<Placed>> {
    let places = vec![
        "everywhere",
        "acme",
        "acme/sre",
        "acme/sre/ops",
        "acme/sre/ops/triage",
        "acme/dev",
        "other",
    ];
    let rule = (
        prop::sample::select(places),
        prop::sample::select(vec!["permit", "deny", "require_approval", "permit"]),
        prop::sample::select(vec!["git.merge", "git.push", "git.*"]),
        prop::option::weighted(0.3, prop::sample::select(vec!["triage", "lead", "other"])),
    );
    prop::collection::vec(rule, 0..7)
}

fn placed(rules: &[Placed]) -> PolicySet {
    let rule = |(place, outcome, verb, agent): &Placed| {
        let agents = agent.map(|agent| vec![agent]);
        (
            *place,
            json!([{ "name": "r", "match": { "verbs": [verb], "agents": agents }, "outcome": outcome }]),
        )
    };
    set(&rules.iter().map(rule).collect::<Vec<_>>())
}

fn decided(policies: &PolicySet, delegated: bool) -> Decision {
    let both = &[("lead", Some("acme/dev/web")), ("triage", Some("acme/sre/ops"))];
    let chain = if delegated { chain(both) } else { chain(TRIAGE) };
    let action = common::action("git.merge", "repository/a", json!({}), "staging", Effect::Write);
    decide(&chain, action, &common::context(), policies)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..crate::proptest_config() })]

    /// The only thing that a rule adds is what its own place was the one to withhold, or what nobody said
    /// anything about.
    #[test]
    fn a_rule_at_any_place_never_widens_what_other_places_leave(
        rules in rules(), more in rules(), delegated in any::<bool>(),
    ) {
        let Some(added) = more.first() else { return Ok(()) };
        let before = decided(&placed(&rules), delegated);
        let with: Vec<_> = rules.iter().chain([added]).copied().collect();
        let after = decided(&placed(&with), delegated);
        let own = match &before {
            Decision::Deny(denied) => match &denied.denial {
                policy::Denial::NoRule => true,
                policy::Denial::Withheld(place) => place.to_string() == added.0,
                _ => false,
            },
            _ => false,
        };
        let (before_width, after_width) = (crate::properties::width(&before), crate::properties::width(&after));
        prop_assert!(after_width <= before_width || own, "{:?} with {added:?} became {after:?}", before);
    }

    /// What all places say together is never wider than what any place that permits something says alone.
    #[test]
    fn no_place_gets_more_than_each_place_above_and_below_leaves(rules in rules()) {
        let together = crate::properties::width(&decided(&placed(&rules), false));
        for place in ["everywhere", "acme", "acme/sre", "acme/sre/ops", "acme/sre/ops/triage"] {
            let own: Vec<_> = rules.iter().filter(|rule| rule.0 == place).copied().collect();
            let speaks = own.iter().any(|rule| rule.1 == "permit" && matches!(rule.3, None | Some("triage")));
            let alone = crate::properties::width(&decided(&placed(&own), false));
            prop_assert!(!speaks || together <= alone, "{place}: {together} of {alone}");
        }
    }

    /// Removing every policy of one place that permits nothing never narrows.
    #[test]
    fn a_place_that_only_restricts_only_restricts(rules in rules(), delegated in any::<bool>()) {
        let together = decided(&placed(&rules), delegated);
        for place in ["everywhere", "acme", "acme/sre", "acme/dev"] {
            let here = |rule: &&Placed| rule.0 == place;
            if rules.iter().filter(here).any(|rule| rule.1 != "deny") {
                continue;
            }
            let without: Vec<_> = rules.iter().filter(|rule| rule.0 != place).copied().collect();
            let without = decided(&placed(&without), delegated);
            prop_assert!(crate::properties::width(&together) <= crate::properties::width(&without));
        }
    }
}
