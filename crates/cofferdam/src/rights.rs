//! Rights as a golden text: every role on whose behalf an agent may act, every level, every verb of the
//! built-in tools, every environment, as the gate weighs them. What routes each role may call is the golden text
//! of routes. `UPDATE_GOLDEN=1` writes it anew.

use crate::config::{compile, from_text, unsupplied};
use gate::{Role, Spot};
use policy::{
    Action, Autonomy, Capability, Chain, Context, Effect, Environment, Grant, Idempotence, Level, Link,
    PolicySet, Principal, RuleOutcome, SessionFacts, Taints, Timestamp, Verb, tell,
};
use serde_json::json;
use std::collections::BTreeSet;
use std::fmt::Write;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/rights.txt");
const ROLES: [Role; 5] = [
    Role::Admin,
    Role::Operator,
    Role::Approver,
    Role::Auditor,
    Role::Viewer,
];
const LEVELS: [Level; 5] = [Level::L0, Level::L1, Level::L2, Level::L3, Level::L4];
const ENVIRONMENTS: [&str; 4] = ["production", "staging", "development", "none"];
/// Every verb with each effect that it can have.
const VERBS: [(&str, Effect); 20] = [
    ("channel.post", Effect::Write),
    ("exec.eval", Effect::Destructive),
    ("exec.run", Effect::Read),
    ("exec.run", Effect::Write),
    ("exec.run", Effect::Destructive),
    ("git.blame", Effect::Read),
    ("git.diff", Effect::Read),
    ("git.log", Effect::Read),
    ("git.propose", Effect::Write),
    ("git.show", Effect::Read),
    ("http.get", Effect::Read),
    ("http.request", Effect::Read),
    ("http.request", Effect::Write),
    ("http.request", Effect::Destructive),
    ("incidents.search", Effect::Read),
    ("prometheus.alerts", Effect::Read),
    ("prometheus.query", Effect::Read),
    ("prometheus.query_range", Effect::Read),
    ("prometheus.rules", Effect::Read),
    // A verb of no tool: what is not built in is weighed alike.
    ("another.verb", Effect::Destructive),
];

const TOOLS: &str = "
apiVersion: cofferdam.dev/v1
kind: Toolset
metadata: { name: all }
spec:
  environment: staging
  tools:
    - { type: http, allow: ['http://127.0.0.1:8080/'], private: true, write: true }
    - { type: prometheus, url: 'http://127.0.0.1:9090/' }
    - { type: git, name: shop, path: /srv/shop, propose: true }
    - { type: incidents }
    - { type: exec, workspace: /srv/shop, commands: [{ program: /usr/bin/ls, effect: read }] }
---
apiVersion: cofferdam.dev/v1
kind: Agent
metadata: { name: agent }
spec: { sponsor: alice, toolsets: [all], runbook: { steps: [{ name: one, tool: git.log }] } }
";

#[test]
fn every_verb_of_the_built_in_tools_has_its_rows() {
    let documents = from_text("t.yaml", TOOLS)
        .map_err(|problems| problems.render())
        .unwrap();
    let compiled = compile(&documents, 1, &unsupplied());
    let compiled = compiled.map_err(|problems| problems.render()).unwrap();
    let mut built_in: BTreeSet<String> = compiled.agents["agent"].1.keys().cloned().collect();
    let (_, notifier, _) = ops::channel::authority();
    let told = notifier.grants.iter().map(|grant| grant.capability.to_string());
    built_in.extend(told.filter_map(|text| text.split(':').next().map(str::to_owned)));
    let rows: BTreeSet<String> = VERBS.iter().map(|(verb, _)| (*verb).to_owned()).collect();
    let missing: Vec<_> = built_in.difference(&rows).collect();
    assert!(missing.is_empty(), "verbs without a row: {missing:?}");
    let other: Vec<_> = rows.difference(&built_in).collect();
    assert_eq!(other, ["another.verb"], "rows of verbs that are not built in");
}

#[test]
fn every_role_of_a_person_and_every_level_has_its_rows() {
    let people = Role::ALL.into_iter().filter(|role| *role != Role::Trigger);
    assert!(people.eq(ROLES), "what triggers send is nobody's authority");
    let levels = policy::trust::Tier::ALL.map(policy::trust::Tier::level);
    assert_eq!(levels, LEVELS);
    // Production, what is well-known not to be, and what has no name of either kind.
    let counts = ENVIRONMENTS.map(|name| Environment::new(name).unwrap().is_production());
    assert!(counts.contains(&true) && counts.contains(&false));
}

#[test]
fn rights_are_those_of_the_golden_text() {
    let found = matrix();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(GOLDEN, &found).unwrap();
    }
    let golden = std::fs::read_to_string(GOLDEN).unwrap();
    let rows = golden.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(
        rows,
        1 + ROLES.len() * VERBS.len(),
        "a heading and one row for each combination"
    );
    for (golden, found) in golden.lines().zip(found.lines()) {
        assert_eq!(
            found, golden,
            "found, then golden; UPDATE_GOLDEN=1 accepts what was found"
        );
    }
}

fn matrix() -> String {
    let mut text = "\
# An agent that is granted everything and fully trusted, under a rule that permits everything, on behalf of a person with
# one role. In each column the levels L0 to L4: `+` permitted, `?` a person is asked, `-` denied.
"
    .to_owned();
    writeln!(
        text,
        "{:<9} {:<23} {:<12}{}",
        "role",
        "verb",
        "effect",
        ENVIRONMENTS.map(|name| format!("{name:<12}")).concat().trim_end()
    )
    .unwrap();
    let everything =
        serde_json::from_value(json!({ "rules": [{ "name": "all", "outcome": "permit" }] })).unwrap();
    let policies = PolicySet::load(&[("all".to_owned(), everything)]).unwrap();
    for role in ROLES {
        for (verb, effect) in VERBS {
            let cells = ENVIRONMENTS.map(|environment| {
                let cell: String = LEVELS
                    .map(|level| sign(role, level, verb, effect, environment, &policies))
                    .into_iter()
                    .collect();
                format!("{cell:<12}")
            });
            let row = format!(
                "{:<9} {verb:<23} {:<12}{}",
                role.as_str(),
                effect.as_str(),
                cells.concat()
            );
            writeln!(text, "{}", row.trim_end()).unwrap();
        }
    }
    text
}

fn sign(
    role: Role,
    level: Level,
    verb: &str,
    effect: Effect,
    environment: &str,
    policies: &PolicySet,
) -> char {
    let environment = Environment::new(environment).unwrap();
    let autonomy = Autonomy {
        default: level,
        ..Autonomy::default()
    };
    let everything = Grant {
        capability: Capability::parse("*:*").unwrap(),
        from: "toolset/all".to_owned(),
        until: None,
    };
    let chain = Chain {
        cause: Principal::person("alice"),
        links: vec![
            gate::lent("alice", &[role.into()], &[Spot::Root]),
            Link::new(Principal::agent("agent"), vec![everything], autonomy),
        ],
    };
    let context = Context {
        now: Timestamp::from_ms(0),
        taint: Taints::NONE,
        trust: 1000,
        session: SessionFacts::default(),
        approval: None,
    };
    let verb = Verb::new(verb).unwrap();
    let action = Action::new(verb, "thing/a", json!({}), environment, effect, Idempotence::Once).unwrap();
    match tell(&chain, &action, &context, policies).outcome {
        RuleOutcome::Permit => '+',
        RuleOutcome::RequireApproval => '?',
        RuleOutcome::Deny => '-',
    }
}
