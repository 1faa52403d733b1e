//! What is probably not meant, in policies that load: rules that can never decide, permits without bounds,
//! requests that nobody can answer, names that are never there. It changes no decision.

use crate::{
    Approver, Branch, Effect, Environment, Match, Mode, PolicyDocument, RuleId, RuleOutcome, RuleSpec, Stage,
    Stages,
};
use regex::Regex;
use serde::Serialize;
use std::collections::BTreeSet;

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LintFinding {
    /// Where; `agent/NAME` for what is not of a rule.
    pub rule: RuleId,
    /// A stable snake_case word: `shadowed`, `matches_nothing`, `no_resource`, `no_environment`,
    /// `unanswerable`, `webhook_alone`, `asks_to_tell`, `unknown_environment`, `unknown_input`, `untold`.
    pub code: &'static str,
    /// In words, and what would mend it.
    pub what: String,
}

/// Looks at `documents`, given as `(name, spec)`. `environments` are those that there are, if that is known.
pub fn lint(
    documents: &[(String, PolicyDocument)],
    environments: Option<&BTreeSet<String>>,
) -> Vec<LintFinding> {
    let rules: Vec<Known<'_>> = documents.iter().flat_map(known).collect();
    let mut findings = Vec::new();
    for (at, rule) in rules.iter().enumerate() {
        let mut find = |code, what: String| {
            findings.push(LintFinding {
                rule: rule.id.clone(),
                code,
                what,
            });
        };
        if let Some(why) = matches_nothing(rule.spec) {
            find("matches_nothing", why);
        } else if let Some(other) = rules
            .iter()
            .enumerate()
            .find_map(|(n, other)| (n != at && other.shadows(rule, n < at)).then_some(other))
        {
            find(
                "shadowed",
                format!(
                    "never decides anything: {} {} all that it matches",
                    other.id,
                    other.does()
                ),
            );
        }
        if rule.spec.outcome == RuleOutcome::Permit {
            unbounded(&rule.spec.matching, &mut find);
        }
        if !answerable(&rule.spec.approvers) {
            find(
                "unanswerable",
                "asks for more people than it names, so nobody can ever approve".to_owned(),
            );
        }
        if !rule.spec.approvers.needs_person() && writes_production(&rule.spec.matching) {
            find(
                "webhook_alone",
                "outside systems alone approve what it asks of production: add a stage of people, as in \
                 `approvers: [{webhook: NAME}, {any: [approver]}]`, unless that is meant"
                    .to_owned(),
            );
        }
        if rule.asks_before_telling() {
            find(
                "asks_to_tell",
                "also asks before the platform tells a channel anything, so nobody hears that they are asked: name \
                 verbs, or `agents`"
                    .to_owned(),
            );
        }
        let names = rule.spec.matching.environments.iter().flatten();
        for name in names.filter(|name| environments.is_some_and(|known| !known.contains(*name))) {
            find(
                "unknown_environment",
                format!("environment `{name}` is in no toolset and no agent's autonomy"),
            );
        }
    }
    findings.extend(documents.iter().flat_map(unknown_input));
    findings
}

struct Known<'a> {
    id: RuleId,
    place: &'a Branch,
    mode: Mode,
    spec: &'a RuleSpec,
}

fn known((policy, document): &(String, PolicyDocument)) -> impl Iterator<Item = Known<'_>> {
    document.rules.iter().enumerate().map(move |(index, spec)| {
        let name = spec.name.clone().unwrap_or_else(|| format!("rule-{}", index + 1));
        Known {
            id: RuleId(format!("policy/{policy}#{name}")),
            place: &document.place,
            mode: document.mode,
            spec,
        }
    })
}

impl Known<'_> {
    /// Whether this rule always decides where `other` would. Of two permits that do the same, only the
    /// later one is shadowed.
    fn shadows(&self, other: &Known<'_>, earlier: bool) -> bool {
        let always = self.spec.when.is_none() && self.spec.condition.is_none();
        let stronger = match (self.spec.outcome, other.spec.outcome) {
            (RuleOutcome::Deny, RuleOutcome::Deny) => earlier || !same(self.spec, other.spec),
            (RuleOutcome::Deny, _) => true,
            // Every place that permits anything has to permit it itself.
            (RuleOutcome::Permit, RuleOutcome::Permit) => {
                self.place == other.place && (earlier || !same(self.spec, other.spec))
            }
            _ => false,
        };
        let stronger = stronger && self.place.contains_branch(other.place);
        let enforced = self.mode == Mode::Enforce && other.mode == Mode::Enforce;
        enforced && always && stronger && covers(&self.spec.matching, &other.spec.matching)
    }

    /// Whether it surely asks about what the platform itself does to tell people: `channel.post` on
    /// `channel/NAME`, a write in production, by an agent that belongs nowhere.
    fn asks_before_telling(&self) -> bool {
        let Match {
            verbs,
            resources,
            environments,
            effects,
            agents,
        } = &self.spec.matching;
        let always = self.spec.when.is_none() && self.spec.condition.is_none();
        let asks = self.spec.outcome == RuleOutcome::RequireApproval && self.mode == Mode::Enforce;
        let all = self.place.is_everywhere() && agents.is_none();
        let telling = |name: &str| Some(vec![name.to_owned()]);
        asks && always
            && all
            && patterns(verbs, &telling("channel.post"))
            && patterns(resources, &telling("channel/"))
            && members(environments, &telling("production"))
            && members(effects, &Some(vec![Effect::Write]))
    }

    fn does(&self) -> &'static str {
        match self.spec.outcome {
            RuleOutcome::Deny => "forbids",
            RuleOutcome::Permit => "permits",
            RuleOutcome::RequireApproval => "asks about",
        }
    }
}

fn same(one: &RuleSpec, other: &RuleSpec) -> bool {
    let conditions = |spec: &RuleSpec| (spec.when.clone(), spec.condition.clone());
    one.matching == other.matching && conditions(one) == conditions(other)
}

/// Whether it reaches what is more than a read in production.
fn writes_production(matching: &Match) -> bool {
    let environments = matching.environments.as_deref();
    let production = |name: &String| Environment::new(name).is_ok_and(|name| name.is_production());
    let effects = matching.effects.as_deref();
    environments.is_none_or(|names| names.iter().any(production))
        && effects.is_none_or(|effects| effects.iter().any(|effect| *effect != Effect::Read))
}

/// Whether `outer` matches whatever `inner` matches. Says no where it cannot tell.
fn covers(outer: &Match, inner: &Match) -> bool {
    patterns(&outer.verbs, &inner.verbs)
        && patterns(&outer.resources, &inner.resources)
        && patterns(&outer.agents, &inner.agents)
        && members(&outer.environments, &inner.environments)
        && members(&outer.effects, &inner.effects)
}

fn patterns(outer: &Option<Vec<String>>, inner: &Option<Vec<String>>) -> bool {
    let covers = |wide: &String, narrow: &str| match wide.strip_suffix('*') {
        Some(prefix) => narrow.starts_with(prefix),
        None => wide == narrow,
    };
    match (outer, inner) {
        (None, _) => true,
        (Some(outer), None) => outer.iter().any(|pattern| pattern == "*"),
        (Some(outer), Some(inner)) => inner
            .iter()
            .all(|narrow| outer.iter().any(|wide| covers(wide, narrow))),
    }
}

fn members<T: PartialEq>(outer: &Option<Vec<T>>, inner: &Option<Vec<T>>) -> bool {
    match (outer, inner) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(outer), Some(inner)) => inner.iter().all(|one| outer.contains(one)),
    }
}

fn matches_nothing(rule: &RuleSpec) -> Option<String> {
    let Match {
        verbs,
        resources,
        effects,
        environments,
        agents,
    } = &rule.matching;
    let empty = [
        ("verbs", verbs.as_ref().map(Vec::len)),
        ("resources", resources.as_ref().map(Vec::len)),
        ("effects", effects.as_ref().map(Vec::len)),
        ("environments", environments.as_ref().map(Vec::len)),
        ("agents", agents.as_ref().map(Vec::len)),
    ];
    let list = empty.into_iter().find(|(_, length)| *length == Some(0));
    let never = rule.when.as_deref().is_some_and(|when| when.trim() == "false");
    match list {
        Some((name, _)) => Some(format!(
            "its list `{name}` is empty, so it matches nothing; leave it out for all"
        )),
        None => never.then(|| "its condition is `false`, so it matches nothing".to_owned()),
    }
}

fn unbounded(matching: &Match, find: &mut impl FnMut(&'static str, String)) {
    let all = |list: &Option<Vec<String>>| list.as_ref().is_none_or(|list| list.iter().any(|one| one == "*"));
    if all(&matching.resources) {
        find(
            "no_resource",
            "permits on every resource; list `resources`".to_owned(),
        );
    }
    if matching.environments.is_none() {
        find(
            "no_environment",
            "permits in every environment, production too; list `environments`".to_owned(),
        );
    }
}

/// Whether people could be enough: a stage of people alone has to name as many as it asks for, and one person
/// is one vote in all stages.
fn answerable(stages: &Stages) -> bool {
    let (mut all, mut asked) = (BTreeSet::new(), 0);
    for stage in stages.as_slice() {
        let Some(named) = people(stage) else { continue };
        let count = usize::try_from(stage.count).unwrap_or(usize::MAX);
        if named.len() < count {
            return false;
        }
        asked += count;
        all.extend(named);
    }
    all.len() >= asked
}

/// The people and outside systems that a stage names; `None` when it may also be answered by others.
fn people(stage: &Stage) -> Option<BTreeSet<&str>> {
    let person =
        |approver: &'_ Approver| approver.0.starts_with(Approver::PERSON) || approver.webhook().is_some();
    let named = stage.any.iter().map(|approver| approver.0.as_str()).collect();
    (!stage.any.is_empty() && stage.any.iter().all(person)).then_some(named)
}

/// Parts of the input that a module reads and that are never there: what rests on them never holds.
fn unknown_input((policy, document): &(String, PolicyDocument)) -> Vec<LintFinding> {
    let Some(source) = &document.rego else {
        return Vec::new();
    };
    let Ok(path) = Regex::new(r"\binput\.([a-z_]+)(?:\.([a-z_]+))?") else {
        return Vec::new();
    };
    let code: Vec<&str> = source
        .lines()
        .map(|line| line.split_once('#').map_or(line, |(code, _)| code))
        .collect();
    let mut unknown = BTreeSet::new();
    for found in path.captures_iter(&code.join("\n")) {
        let part = |n| found.get(n).map(|part| part.as_str());
        let is_known = match (part(1), part(2)) {
            (Some("action"), Some(member)) => ACTION.contains(&member),
            (Some("session"), Some(member)) => SESSION.contains(&member),
            (Some(member), _) => INPUT.contains(&member),
            (None, _) => true,
        };
        if !is_known && let Some(text) = part(0) {
            unknown.insert(text.to_owned());
        }
    }
    let finding = |text: String| LintFinding {
        rule: RuleId(format!("policy/{policy}#{}", crate::rego::MODULE_NAME)),
        code: "unknown_input",
        what: format!("reads `{text}`, which is never there: what rests on it never holds"),
    };
    unknown.into_iter().map(finding).collect()
}

const INPUT: [&str; 8] = [
    "action", "agent", "agents", "cause", "session", "trust", "taint", "now",
];
const ACTION: [&str; 7] = [
    "verb",
    "resource",
    "effect",
    "environment",
    "production",
    "arguments",
    "brings",
];
const SESSION: [&str; 2] = ["id", "actions"];
