//! The narrowest rules that would have permitted what no rule permitted, from denials in the journal. Only
//! suggests: a person applies them, and nothing here can.
//!
//! Nothing is suggested against a rule that forbids, a level, a stop, a bound or an identity, nor against a
//! place that withholds; nor what would itself withhold something that is asked about today. Patterns are exact, until [`WILDCARD_FROM`] resources share a prefix; that is then told.

use crate::Gate;
use crate::replay::{Past, each_decision};
use policy::{
    Branch, Effect, Level, Match, PolicyDocument, PolicySet, Principal, RuleOutcome, RuleSpec, Stages,
    Timestamp,
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use store::StoreError;

/// From how many different resources on, below one path, the path stands for them.
pub(crate) const WILDCARD_FROM: usize = 8;

/// What would have been enough.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Suggestions {
    /// Denials that were looked at.
    pub denials: u64,
    /// One for each agent and place that has to permit it.
    pub policies: Vec<Suggested>,
    /// Grants that were missing: what a toolset or a delegation would have to give.
    pub grants: Vec<Missing>,
    /// Denials that nothing is suggested for, by code.
    pub left_out: BTreeMap<String, u64>,
}

/// A policy that permits exactly what was denied.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Suggested {
    /// A name that no policy has.
    pub name: String,
    /// For which agent.
    pub agent: String,
    /// Whose policies have to permit it.
    pub place: Branch,
    /// Whether no place permits the agent anything yet: from then on this one withholds from it, and from what it
    /// passes on, whatever it neither permits nor asks about.
    pub first: bool,
    /// How many denials each rule covers, and where a wildcard stands for more than was denied; in the order
    /// of the rules.
    pub rules: Vec<Covering>,
    /// `spec` of a `Policy`.
    pub document: PolicyDocument,
}

/// What a rule covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Covering {
    /// Denials.
    pub denials: u64,
    /// Prefixes that stand for many resources, and for how many.
    pub wildcards: Vec<(String, usize)>,
}

/// A grant that was missing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Missing {
    /// Who lacked it.
    pub principal: String,
    /// `git.merge:repository/shop:staging`.
    pub capability: String,
    /// How many denials it would have prevented.
    pub denials: u64,
}

type Alike = (String, String, Effect, String);

impl Gate {
    /// What would have permitted the denials since `since`, of `agent` or of all.
    pub fn suggestions(&self, since: Timestamp, agent: Option<&str>) -> Result<Suggestions, StoreError> {
        let authority = self.authority.load_full();
        let mut found = Suggestions::default();
        let mut unruled: BTreeMap<Alike, BTreeMap<String, u64>> = BTreeMap::new();
        let mut ungranted: BTreeMap<(String, String), u64> = BTreeMap::new();
        self.store.read(|reader| {
            each_decision(reader, since, |past| {
                if past.outcome != "deny" || agent.is_some_and(|agent| agent != past.agent) {
                    return Ok(());
                }
                found.denials += 1;
                let resource = past.resource.clone();
                match (past.code.as_deref(), ungranted_of(&past)) {
                    (Some("no_rule"), _) if is_suggestible(&past) => {
                        let alike = (past.agent, past.verb, past.effect, past.environment);
                        *unruled.entry(alike).or_default().entry(resource).or_default() += 1;
                    }
                    (Some("not_granted"), Some(missing)) => *ungranted.entry(missing).or_default() += 1,
                    (code, _) => {
                        let code = code.unwrap_or("unknown").to_owned();
                        *found.left_out.entry(code).or_default() += 1;
                    }
                }
                Ok(())
            })
        })?;
        let grant = |((principal, capability), denials)| Missing {
            principal,
            capability,
            denials,
        };
        found.grants = ungranted.into_iter().map(grant).collect();
        let place = |agent: &str| authority.agents.get(agent).map(|held| held.place.clone());
        found.policies = suggested(unruled, &authority.policies, place, &mut found.left_out);
        let documents = self.documents()?;
        let mut taken: BTreeSet<String> = documents.into_iter().map(|document| document.name).collect();
        for policy in &mut found.policies {
            policy.name = free_name(&policy.agent, &mut taken);
        }
        Ok(found)
    }
}

/// L4 is never held in production, and a name with a star in it would be a pattern.
fn is_suggestible(past: &Past) -> bool {
    let production = policy::Environment::new(&past.environment).is_ok_and(|place| place.is_production());
    let held = production && past.level == Level::L4;
    !held && !past.resource.contains('*')
}

/// Who lacked which grant.
fn ungranted_of(past: &Past) -> Option<(String, String)> {
    let principal = past.first_without_grant()?.to_owned();
    let Past {
        verb,
        resource,
        environment,
        ..
    } = past;
    Some((principal, format!("{verb}:{resource}:{environment}")))
}

/// What is told of denials for which the first permit at any place would withhold what another place asks about.
const WOULD_WITHHOLD: &str = "would_withhold";

/// One policy for each agent and each place that speaks of it. Where none does, the place that the permit stands at
/// begins to, so it stands where the agent is asked about already, or else everywhere.
fn suggested(
    unruled: BTreeMap<Alike, BTreeMap<String, u64>>,
    policies: &PolicySet,
    place: impl Fn(&str) -> Option<policy::Place>,
    left_out: &mut BTreeMap<String, u64>,
) -> Vec<Suggested> {
    let mut by_agent: BTreeMap<String, Vec<(RuleSpec, Covering)>> = BTreeMap::new();
    for ((agent, verb, effect, environment), resources) in unruled {
        let rules = by_agent.entry(agent.clone()).or_default();
        let number = rules.len() + 1;
        rules.push(rule(number, &agent, &verb, effect, &environment, &resources));
    }
    let mut all = Vec::new();
    for (agent, rules) in by_agent {
        let (specs, coverings): (Vec<RuleSpec>, Vec<Covering>) = rules.into_iter().unzip();
        let (principal, belongs) = (Principal::agent(&agent), place(&agent));
        let mut places = policies.speaking_of(&principal, belongs.as_ref());
        let first = places.is_empty();
        if first {
            places = policies.asking_of(&principal, belongs.as_ref());
            match places.len() {
                0 => places.push(Branch::everywhere()),
                1 => {}
                _ => {
                    let denials: u64 = coverings.iter().map(|covering| covering.denials).sum();
                    *left_out.entry(WOULD_WITHHOLD.to_owned()).or_default() += denials;
                    continue;
                }
            }
        }
        for place in places {
            all.push(Suggested {
                name: String::new(),
                agent: agent.clone(),
                first,
                rules: coverings.clone(),
                document: PolicyDocument {
                    rules: specs.clone(),
                    place: place.clone(),
                    ..PolicyDocument::default()
                },
                place,
            });
        }
    }
    all
}

fn rule(
    number: usize,
    agent: &str,
    verb: &str,
    effect: Effect,
    environment: &str,
    resources: &BTreeMap<String, u64>,
) -> (RuleSpec, Covering) {
    let (patterns, wildcards) = patterns(resources.keys());
    let spec = RuleSpec {
        name: Some(format!("suggested-{number}")),
        matching: Match {
            verbs: Some(vec![verb.to_owned()]),
            resources: Some(patterns),
            effects: Some(vec![effect]),
            environments: Some(vec![environment.to_owned()]),
            agents: Some(vec![agent.to_owned()]),
        },
        when: None,
        condition: None,
        outcome: RuleOutcome::Permit,
        reason: String::new(),
        approvers: Stages::default(),
        waivable: Vec::new(),
        expires_after_seconds: None,
        opts_in: true,
    };
    let denials = resources.values().sum();
    (spec, Covering { denials, wildcards })
}

/// `suggested-AGENT`, with a number behind it when that is taken.
fn free_name(agent: &str, taken: &mut BTreeSet<String>) -> String {
    let short: String = agent.chars().take(40).collect();
    let first = format!("suggested-{}", short.trim_end_matches('-'));
    let others = (2_u32..).map(|number| format!("{first}-{number}"));
    let free = std::iter::once(first.clone())
        .chain(others)
        .find(|name| !taken.contains(name));
    let name = free.unwrap_or(first);
    taken.insert(name.clone());
    name
}

/// Exact names; and of many below one path, the path.
fn patterns<'r>(resources: impl Iterator<Item = &'r String>) -> (Vec<String>, Vec<(String, usize)>) {
    let mut by_path: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for resource in resources {
        let path = resource
            .rfind('/')
            .and_then(|at| resource.get(..=at))
            .unwrap_or_default();
        by_path.entry(path).or_default().insert(resource);
    }
    let (mut patterns, mut wildcards) = (Vec::new(), Vec::new());
    for (path, names) in by_path {
        if !path.is_empty() && names.len() >= WILDCARD_FROM {
            patterns.push(format!("{path}*"));
            wildcards.push((format!("{path}*"), names.len()));
        } else {
            patterns.extend(names.into_iter().map(str::to_owned));
        }
    }
    (patterns, wildcards)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stands_for_many_names_and_not_for_few() {
        let names = |path: &str, count: usize| (0..count).map(|n| format!("{path}{n}")).collect::<Vec<_>>();
        #[rustfmt::skip]
        let table = [
            (names("repository/", 7), names("repository/", 7), vec![]),
            (names("repository/", 8), vec!["repository/*".to_owned()], vec![("repository/*".to_owned(), 8)]),
            (names("plain", 9),       names("plain", 9), vec![]),
        ];
        for (resources, expected, wildcards) in table {
            assert_eq!(patterns(resources.iter()), (expected, wildcards));
        }
    }
}
