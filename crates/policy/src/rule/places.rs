//! The places that the policies of a set are for, and of which agents each speaks.

use super::PolicyDocument;
use super::index::Rule;
use crate::rego::Module;
use crate::{Branch, Mode, Pattern, Principal, PrincipalKind, RuleId, RuleOutcome};
use std::collections::{BTreeMap, BTreeSet};

/// Which places there are, widest first, and whose policy is for which.
#[derive(Debug)]
pub(super) struct Places {
    all: Vec<Branch>,
    of_policies: BTreeMap<String, usize>,
}

/// A place with policies that permit something, and whom.
#[derive(Debug)]
pub(crate) struct Speaking {
    /// Its number in the set.
    pub(crate) at: usize,
    pub(crate) place: Branch,
    /// Of the policies that permit.
    pub(crate) mode: Mode,
    /// Patterns of agents' names; `None` for everybody.
    agents: Option<Vec<Pattern>>,
}

impl Speaking {
    /// Whether it speaks of `principal`.
    pub(crate) fn names(&self, principal: &Principal) -> bool {
        let named = |agents: &Vec<Pattern>| agents.iter().any(|pattern| pattern.covers(&principal.name));
        principal.kind == PrincipalKind::Agent && self.agents.as_ref().is_none_or(named)
    }
}

impl Places {
    pub(super) fn of(documents: &[(String, PolicyDocument)]) -> Places {
        let used: BTreeSet<&Branch> = documents.iter().map(|(_, document)| &document.place).collect();
        let all: Vec<Branch> = used.into_iter().cloned().collect();
        let at = |(name, document): &(String, PolicyDocument)| {
            let at = all.binary_search(&document.place).ok()?;
            Some((name.clone(), at))
        };
        let of_policies = documents.iter().filter_map(at).collect();
        Places { all, of_policies }
    }

    /// The number of the place of `policy`.
    pub(super) fn number(&self, policy: &str) -> usize {
        self.of_policies.get(policy).copied().unwrap_or_default()
    }

    pub(super) fn get(&self, at: usize) -> Option<&Branch> {
        self.all.get(at)
    }

    /// Of the policy that `rule` stands in.
    pub(super) fn of_rule(&self, rule: &RuleId) -> Option<&Branch> {
        let (policy, _) = rule.0.strip_prefix("policy/")?.rsplit_once('#')?;
        self.all.get(*self.of_policies.get(policy)?)
    }

    /// The places that permit anything, widest first; those that are observed apart.
    pub(super) fn speaking(&self, rules: &[Rule], modules: &[(Mode, Module)]) -> Vec<Speaking> {
        let mut found: BTreeMap<(usize, bool), Option<BTreeSet<Pattern>>> = BTreeMap::new();
        let mut speak = |at: usize, mode: Mode, agents: Option<&[Pattern]>| {
            let known = found
                .entry((at, mode.is_enforced()))
                .or_insert_with(|| Some(BTreeSet::new()));
            match (agents, known.as_mut()) {
                (None, _) => *known = None,
                (Some(agents), Some(known)) => known.extend(agents.iter().cloned()),
                (Some(_), None) => {}
            }
        };
        let permits = |rule: &&Rule| rule.outcome == RuleOutcome::Permit && !rule.built_in;
        for rule in rules.iter().filter(permits) {
            speak(rule.place, rule.mode, rule.agents());
        }
        for (mode, module) in modules.iter().filter(|(_, module)| module.permits()) {
            speak(module.place, *mode, None);
        }
        let speaking = found.into_iter().filter_map(|((at, enforced), agents)| {
            let mode = if enforced { Mode::Enforce } else { Mode::Observe };
            let place = self.all.get(at)?.clone();
            let agents = agents.map(|agents| agents.into_iter().collect());
            Some(Speaking {
                at,
                place,
                mode,
                agents,
            })
        });
        speaking.collect()
    }
}
