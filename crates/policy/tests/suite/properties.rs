//! Decisions against a naive interpreter that knows neither index nor CEL, and the laws that hold for
//! every set of rules: order never matters, what forbids never widens.

use crate::common;
use policy::{
    Action, Chain, Context, Decision, Effect, Level, Match, PolicyDocument, PolicySet, Principal,
    PrincipalKind, RuleOutcome, RuleSpec, decide,
};
use proptest::prelude::*;
use serde_json::json;

/// A condition that the naive interpreter understands.
#[derive(Clone, Debug)]
enum Condition {
    Absent,
    Always(bool),
    Tainted,
    TrustBelow(u16),
    Environment(&'static str),
    Argument(&'static str, i64),
    Not(Box<Condition>),
    Both(Box<Condition>, Box<Condition>),
    Either(Box<Condition>, Box<Condition>),
}

/// One rule in a form that both sides can read.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    policy: usize,
    name: usize,
    outcome: RuleOutcome,
    verbs: Option<Vec<&'static str>>,
    resources: Option<Vec<&'static str>>,
    effects: Option<Vec<Effect>>,
    environments: Option<Vec<&'static str>>,
    agents: Option<Vec<&'static str>>,
    condition: Condition,
    expires: Option<u32>,
}

#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) rules: Vec<Rule>,
    links: Vec<(&'static str, Level, bool)>,
    verb: &'static str,
    resource: &'static str,
    environment: &'static str,
    effect: Effect,
    argument: Option<i64>,
    taint: bool,
    trust: u16,
    approved: bool,
}

impl Condition {
    fn cel(&self) -> String {
        match self {
            Condition::Absent => String::new(),
            Condition::Always(truth) => truth.to_string(),
            Condition::Tainted => "taint".to_owned(),
            Condition::TrustBelow(limit) => format!("trust < {limit}"),
            Condition::Environment(name) => format!("action.environment == '{name}'"),
            Condition::Argument(name, value) => format!("action.arguments.{name} == {value}"),
            Condition::Not(inner) => format!("!({})", inner.cel()),
            Condition::Both(a, b) => format!("({}) && ({})", a.cel(), b.cel()),
            Condition::Either(a, b) => format!("({}) || ({})", a.cel(), b.cel()),
        }
    }

    /// `None` when it cannot be evaluated: an argument is missing, and the answer depends on it.
    fn naive(&self, case: &Case) -> Option<bool> {
        match self {
            Condition::Absent => Some(true),
            Condition::Always(truth) => Some(*truth),
            Condition::Tainted => Some(case.taint),
            Condition::TrustBelow(limit) => Some(case.trust < *limit),
            Condition::Environment(name) => Some(case.environment == *name),
            Condition::Argument(_, value) => case.argument.map(|argument| argument == *value),
            Condition::Not(inner) => inner.naive(case).map(|truth| !truth),
            Condition::Both(a, b) => match (a.naive(case), b.naive(case)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Condition::Either(a, b) => match (a.naive(case), b.naive(case)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
        }
    }
}

impl Rule {
    fn id(&self) -> String {
        format!("policy/p{}#r{}", self.policy, self.name)
    }

    fn spec(&self) -> RuleSpec {
        let owned = |list: &Option<Vec<&str>>| {
            list.as_ref()
                .map(|list| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>())
        };
        let asks = self.outcome == RuleOutcome::RequireApproval;
        RuleSpec {
            name: Some(format!("r{}", self.name)),
            matching: Match {
                verbs: owned(&self.verbs),
                resources: owned(&self.resources),
                effects: self.effects.clone(),
                environments: owned(&self.environments),
                agents: owned(&self.agents),
            },
            when: (!matches!(self.condition, Condition::Absent)).then(|| self.condition.cel()),
            condition: None,
            outcome: self.outcome,
            reason: String::new(),
            approvers: policy::Stages::default(),
            waivable: Vec::new(),
            expires_after_seconds: self.expires.filter(|_| asks),
            opts_in: true,
        }
    }

    /// Whether it permits something to an agent further up alone: what its place then leaves to that one has tests of its
    /// own, in `places`.
    fn permits_above(&self, case: &Case) -> bool {
        let mut links = case.links.iter().rev().map(|(name, ..)| self.names(name));
        let actor = links.next().unwrap_or(false);
        self.outcome == RuleOutcome::Permit && !actor && links.any(|named| named)
    }

    /// Whether its `agents` are all, or name this one.
    fn names(&self, agent: &str) -> bool {
        let covers = |pattern: &&str| match pattern.strip_suffix('*') {
            Some(prefix) => agent.starts_with(prefix),
            None => agent == *pattern,
        };
        self.agents.as_ref().is_none_or(|list| list.iter().any(covers))
    }

    /// Whether the selectors cover the case, by looking at each one.
    fn naive_reaches(&self, case: &Case) -> bool {
        let covers = |pattern: &str, text: &str| match pattern.strip_suffix('*') {
            Some(prefix) => text.starts_with(prefix),
            None => text == pattern,
        };
        let one = |list: &Option<Vec<&str>>, text: &str| match list {
            None => true,
            Some(list) => list.iter().any(|pattern| covers(pattern, text)),
        };
        let watched: Vec<_> = match self.outcome {
            RuleOutcome::Permit => case.links.iter().rev().take(1).collect(),
            _ => case.links.iter().collect(),
        };
        one(&self.verbs, case.verb)
            && one(&self.resources, case.resource)
            && self
                .effects
                .as_ref()
                .is_none_or(|list| list.contains(&case.effect))
            && self
                .environments
                .as_ref()
                .is_none_or(|list| list.contains(&case.environment))
            && (self.agents.is_none() || watched.iter().any(|(name, ..)| one(&self.agents, name)))
    }
}

impl Case {
    fn chain(&self) -> Chain {
        let links = self.links.iter().map(|(name, level, granted)| {
            let capabilities: &[&str] = if *granted { &["*:*"] } else { &[] };
            common::link(
                Principal {
                    kind: PrincipalKind::Agent,
                    name: (*name).to_owned(),
                },
                *level,
                capabilities,
            )
        });
        Chain {
            cause: Principal::person("alice"),
            links: links.collect(),
        }
    }

    fn action(&self) -> Action {
        let arguments = self.argument.map_or(json!({}), |value| json!({ "n": value }));
        common::action(self.verb, self.resource, arguments, self.environment, self.effect)
    }

    fn context(&self) -> Context {
        let approval = self.approved.then(|| policy::Approved {
            id: "apr-1".to_owned(),
            by: vec!["alice".to_owned()],
            questions: (0..8)
                .flat_map(|policy| (0..16).map(move |rule| format!("policy/p{policy}#r{rule}")))
                .collect(),
            asked: Vec::new(),
            waiver: None,
        });
        Context {
            taint: if self.taint {
                policy::Taints::UNTRUSTED
            } else {
                policy::Taints::NONE
            },
            trust: self.trust,
            approval,
            ..common::context()
        }
    }

    pub(crate) fn decide(&self, policies: &PolicySet) -> Decision {
        decide(&self.chain(), self.action(), &self.context(), policies)
    }

    /// The decision as the design words it, by looking at every rule in turn.
    fn naive(&self) -> String {
        if let Some((name, ..)) = self.links.iter().find(|(.., granted)| !granted) {
            return format!("deny not_granted agent:{name}");
        }
        let Some(level) = self.links.iter().map(|(_, level, _)| *level).min() else {
            return "deny no_authority".to_owned();
        };
        let production = !matches!(self.environment, "staging" | "dev");
        let level = if production { level.min(Level::L3) } else { level };
        let mut rules: Vec<_> = self
            .rules
            .iter()
            .filter(|rule| rule.naive_reaches(self))
            .collect();
        rules.sort_by_key(|rule| rule.id());
        if let Some(broken) = rules.iter().find(|rule| rule.condition.naive(self).is_none()) {
            return format!("deny unevaluable {}", broken.id());
        }
        let matching = |outcome: RuleOutcome| {
            rules
                .iter()
                .filter(move |rule| rule.outcome == outcome && rule.condition.naive(self) == Some(true))
        };
        if let Some(rule) = matching(RuleOutcome::Deny).next() {
            return format!("deny forbidden {}", rule.id());
        }
        let read = self.effect == Effect::Read;
        if level <= Level::L1 && !read {
            return format!("deny read_only {level:?}");
        }
        let level = match self.trust {
            ..300 => level.min(Level::L0),
            300..500 => level.min(Level::L1),
            500..700 => level.min(Level::L2),
            700..900 => level.min(Level::L3),
            _ => level,
        };
        if level <= Level::L1 && !read {
            return "deny untrusted".to_owned();
        }
        // What asks on account of an agent further up opts in to nothing for the one that acts.
        let actor = self.links.last().map_or("", |(name, ..)| *name);
        let is_favoured = read
            || matching(RuleOutcome::RequireApproval).any(|rule| rule.names(actor))
            || matching(RuleOutcome::Permit).next().is_some();
        if let Some(rule) = matching(RuleOutcome::RequireApproval)
            .next()
            .filter(|_| is_favoured)
        {
            let wait = matching(RuleOutcome::RequireApproval)
                .map(|rule| rule.expires.unwrap_or(600))
                .min()
                .unwrap();
            return match self.approved {
                true => format!("permit {}", rule.id()),
                false => format!("ask {} {wait}", rule.id()),
            };
        }
        let Some(rule) = matching(RuleOutcome::Permit).next() else {
            return if read {
                "permit toolset/all".to_owned()
            } else {
                "deny no_rule".to_owned()
            };
        };
        let alone = match level {
            Level::L4 => true,
            Level::L3 => self.effect != Effect::Destructive,
            _ => read,
        };
        match alone || self.approved {
            true => format!("permit {}", rule.id()),
            false => "ask level 600".to_owned(),
        }
    }
}

/// The decision in the same words as the naive interpreter's.
pub(crate) fn told(decision: &Decision) -> String {
    match decision {
        Decision::Permit(ruling) => match ruling.basis() {
            policy::Basis::Rule(rule) => format!("permit {rule}"),
            policy::Basis::Grant(giver) => format!("permit {giver}"),
        },
        Decision::RequireApproval(request) => {
            let rule = request.rule.as_ref().map_or("level", |rule| rule.0.as_str());
            format!("ask {rule} {}", request.expires_after_ms / 1000)
        }
        Decision::Deny(denied) => match &denied.denial {
            policy::Denial::NotGranted(principal) => format!("deny not_granted {principal}"),
            policy::Denial::ReadOnly(level) => format!("deny read_only {level:?}"),
            denial => match denial.rule() {
                Some(rule) => format!("deny {} {rule}", denial.code()),
                None => format!("deny {}", denial.code()),
            },
        },
    }
}

/// 0 denied, 1 asked, 2 permitted.
pub(crate) fn width(decision: &Decision) -> u8 {
    match decision {
        Decision::Deny(_) => 0,
        Decision::RequireApproval(_) => 1,
        Decision::Permit(_) => 2,
    }
}

pub(crate) fn load(rules: &[Rule]) -> PolicySet {
    PolicySet::load(&documents(rules)).unwrap()
}

pub(crate) fn documents(rules: &[Rule]) -> Vec<(String, PolicyDocument)> {
    let mut documents: Vec<(String, PolicyDocument)> = Vec::new();
    for rule in rules {
        let name = format!("p{}", rule.policy);
        match documents.iter_mut().find(|(known, _)| *known == name) {
            Some((_, document)) => document.rules.push(rule.spec()),
            None => documents.push((
                name,
                PolicyDocument {
                    rules: vec![rule.spec()],
                    ..PolicyDocument::default()
                },
            )),
        }
    }
    documents
}

fn conditions() -> impl Strategy<Value = Condition> {
    let leaf = prop_oneof![
        2 => any::<bool>().prop_map(Condition::Always),
        1 => Just(Condition::Tainted),
        1 => (0..1001_u16).prop_map(Condition::TrustBelow),
        1 => prop::sample::select(vec!["production", "staging"]).prop_map(Condition::Environment),
        1 => (0..3_i64).prop_map(|value| Condition::Argument("n", value)),
    ];
    let tree = leaf.prop_recursive(3, 8, 2, |inner| {
        let pair = (inner.clone(), inner.clone());
        prop_oneof![
            inner.prop_map(|inner| Condition::Not(Box::new(inner))),
            pair.clone()
                .prop_map(|(a, b)| Condition::Both(Box::new(a), Box::new(b))),
            pair.prop_map(|(a, b)| Condition::Either(Box::new(a), Box::new(b))),
        ]
    });
    prop_oneof![1 => Just(Condition::Absent), 2 => tree]
}

fn lists(from: &'static [&'static str]) -> impl Strategy<Value = Option<Vec<&'static str>>> {
    prop::option::weighted(0.5, prop::collection::vec(prop::sample::select(from), 0..3))
}

fn effects() -> impl Strategy<Value = Effect> {
    prop::sample::select(vec![Effect::Read, Effect::Write, Effect::Destructive])
}

fn rules(outcomes: &'static [RuleOutcome]) -> impl Strategy<Value = Vec<Rule>> {
    let rule = (
        (0..3_usize, prop::sample::select(outcomes)),
        lists(&["git.log", "git.merge", "git.*", "*", "http.*", "git.merge*"]),
        lists(&["repository/a", "repository/*", "*"]),
        prop::option::weighted(0.3, prop::collection::vec(effects(), 0..3)),
        lists(&["production", "staging", "dev"]),
        lists(&["triage", "help*", "other"]),
        conditions(),
        prop::option::of(1..1000_u32),
    );
    prop::collection::vec(rule, 0..8).prop_map(|all| {
        let numbered = all.into_iter().enumerate();
        numbered
            .map(
                |(
                    name,
                    ((policy, outcome), verbs, resources, effects, environments, agents, condition, expires),
                )| {
                    Rule {
                        policy,
                        name,
                        outcome,
                        verbs,
                        resources,
                        effects,
                        environments,
                        agents,
                        condition,
                        expires,
                    }
                },
            )
            .collect()
    })
}

const ALL: &[RuleOutcome] = &[
    RuleOutcome::Permit,
    RuleOutcome::Deny,
    RuleOutcome::RequireApproval,
];

pub(crate) fn cases() -> impl Strategy<Value = Case> {
    let level = prop::sample::select(vec![Level::L0, Level::L1, Level::L2, Level::L3, Level::L4]);
    let link = (
        prop::sample::select(vec!["triage", "helper", "other"]),
        level,
        prop::bool::weighted(0.95),
    );
    (
        rules(ALL),
        prop::collection::vec(link, 0..3),
        prop::sample::select(vec!["git.log", "git.merge", "http.get"]),
        prop::sample::select(vec!["repository/a", "repository/b", "other"]),
        prop::sample::select(vec!["production", "staging", "dev"]),
        effects(),
        prop::option::weighted(0.8, 0..3_i64),
        any::<bool>(),
        0..1001_u16,
        prop::bool::weighted(0.2),
    )
        .prop_map(
            |(rules, links, verb, resource, environment, effect, argument, taint, trust, approved)| Case {
                rules,
                links,
                verb,
                resource,
                environment,
                effect,
                argument,
                taint,
                trust,
                approved,
            },
        )
}

proptest! {
    #![proptest_config(crate::proptest_config())]

    #[test]
    fn a_decision_is_what_the_naive_interpreter_says(mut case in cases()) {
        let above: Vec<bool> = case.rules.iter().map(|rule| rule.permits_above(&case)).collect();
        let mut above = above.into_iter();
        case.rules.retain(|_| !above.next().unwrap_or(false));
        prop_assert_eq!(told(&case.decide(&load(&case.rules))), case.naive());
    }

    #[test]
    fn the_order_of_rules_and_documents_never_matters(
        (case, shuffled) in cases().prop_flat_map(|case| {
            let rules = case.rules.clone();
            (Just(case), Just(rules).prop_shuffle())
        }),
    ) {
        let (one, other) = (case.decide(&load(&case.rules)), case.decide(&load(&shuffled)));
        prop_assert_eq!(told(&one), told(&other));
        if let (Decision::RequireApproval(one), Decision::RequireApproval(other)) = (one, other) {
            prop_assert_eq!(one, other);
        }
    }

    #[test]
    fn adding_what_forbids_never_widens(case in cases(), added in rules(&[RuleOutcome::Deny])) {
        let before = width(&case.decide(&load(&case.rules)));
        prop_assert!(width(&case.decide(&with(&case.rules, added))) <= before);
    }

    #[test]
    fn adding_what_asks_never_permits(case in cases(), added in rules(&[RuleOutcome::RequireApproval])) {
        prop_assume!(!case.approved);
        let before = width(&case.decide(&load(&case.rules)));
        prop_assert!(width(&case.decide(&with(&case.rules, added))) <= before.max(1));
    }

    #[test]
    fn adding_a_permit_never_lifts_a_prohibition(case in cases(), added in rules(&[RuleOutcome::Permit])) {
        let before = told(&case.decide(&load(&case.rules)));
        let after = told(&case.decide(&with(&case.rules, added)));
        let kept = !before.starts_with("deny") || after.starts_with("deny") || before == "deny no_rule";
        prop_assert!(kept, "{} became {}", before, after);
    }

    #[test]
    fn an_approval_lifts_no_denial(mut case in cases()) {
        let policies = load(&case.rules);
        case.approved = false;
        let without = told(&case.decide(&policies));
        case.approved = true;
        let with = told(&case.decide(&policies));
        prop_assert_eq!(without.starts_with("deny"), with.starts_with("deny"));
        prop_assert!(!with.starts_with("ask"));
    }

    #[test]
    fn a_longer_chain_never_widens(mut case in cases(), link in (Just("helper"), Just(Level::L4), Just(true))) {
        // A rule that asks may match the new link, and asking is wider than what no rule permits.
        case.rules.retain(|rule| rule.outcome != RuleOutcome::RequireApproval);
        if case.links.is_empty() {
            case.links.push(("triage", Level::L4, true));
        }
        let policies = load(&case.rules);
        let before = width(&case.decide(&policies));
        // In front: permits look at the last link, who acts.
        case.links.insert(0, link);
        prop_assert!(width(&case.decide(&policies)) <= before);
    }
}

/// `rules` and a further document with `added`.
fn with(rules: &[Rule], added: Vec<Rule>) -> PolicySet {
    let added = added.into_iter().map(|rule| Rule { policy: 9, ..rule });
    load(&rules.iter().cloned().chain(added).collect::<Vec<_>>())
}
