//! Selectors of one rule, compiled: the cheap tests that come before any condition.

use super::{Match, RuleOutcome};
use crate::action::PRODUCTION;
use crate::{Action, Chain, Effect, Environment, Pattern, PrincipalKind};

/// Most patterns in one selector.
const PATTERNS_MAX: usize = 256;

/// A compiled [`Match`]. `None` matches everything.
#[derive(Debug)]
pub(super) struct Selectors {
    pub(super) verbs: Option<Vec<Pattern>>,
    resources: Option<Vec<Pattern>>,
    effects: Option<Vec<Effect>>,
    environments: Option<Vec<String>>,
    pub(super) agents: Option<Vec<Pattern>>,
    /// Forbids or asks, and so reaches further than it says: `agents` looks at every link of the chain
    /// and not only at the one that acts, and `production` is every environment that counts as one.
    restricts: bool,
}

impl Selectors {
    pub(super) fn compile(matching: &Match, outcome: RuleOutcome) -> Result<Selectors, String> {
        Ok(Selectors {
            verbs: patterns("verbs", matching.verbs.as_deref())?,
            resources: patterns("resources", matching.resources.as_deref())?,
            effects: matching.effects.clone(),
            environments: environments(matching.environments.as_deref())?,
            agents: patterns("agents", matching.agents.as_deref())?,
            restricts: outcome != RuleOutcome::Permit,
        })
    }

    /// Whether every selector covers the action of `chain`.
    pub(super) fn cover(&self, chain: &Chain, action: &Action) -> bool {
        self.mismatch(chain, action).is_none()
    }

    /// The first selector that does not cover it, and what it looks at.
    pub(super) fn mismatch(&self, chain: &Chain, action: &Action) -> Option<Mismatch<'_>> {
        let covered = |patterns: &Option<Vec<Pattern>>, text: &str| {
            patterns
                .as_ref()
                .is_none_or(|patterns| patterns.iter().any(|p| p.covers(text)))
        };
        if self
            .effects
            .as_ref()
            .is_some_and(|effects| !effects.contains(&action.effect()))
        {
            return Some(Mismatch::Effect(self.effects.as_deref().unwrap_or_default()));
        }
        if !covered(&self.verbs, action.verb().as_str()) {
            return Some(Mismatch::Pattern(
                "verb",
                self.verbs.as_deref().unwrap_or_default(),
            ));
        }
        let environment = action.environment();
        let within = |name: &String| {
            name == environment.as_str()
                || self.restricts && name == PRODUCTION && environment.is_production()
        };
        if self
            .environments
            .as_ref()
            .is_some_and(|names| !names.iter().any(within))
        {
            return Some(Mismatch::Environment(
                self.environments.as_deref().unwrap_or_default(),
            ));
        }
        if !covered(&self.resources, action.resource()) {
            return Some(Mismatch::Pattern(
                "resource",
                self.resources.as_deref().unwrap_or_default(),
            ));
        }
        let depth = if self.restricts { chain.links.len() } else { 1 };
        let agents = self.agents.as_deref()?;
        (!self.name_any(chain, depth)).then_some(Mismatch::Pattern("agent", agents))
    }

    /// Whether `agents` names the one that acts.
    pub(super) fn name_actor(&self, chain: &Chain) -> bool {
        self.name_any(chain, 1)
    }

    /// Whether `agents` names one of the last `depth` links.
    fn name_any(&self, chain: &Chain, depth: usize) -> bool {
        let Some(agents) = self.agents.as_deref() else {
            return true;
        };
        let mut names = chain.links.iter().rev().take(depth).map(|link| &link.principal);
        names.any(|p| p.kind == PrincipalKind::Agent && agents.iter().any(|pattern| pattern.covers(&p.name)))
    }
}

/// Why a rule does not reach an action.
pub(super) enum Mismatch<'a> {
    Effect(&'a [Effect]),
    Environment(&'a [String]),
    Pattern(&'static str, &'a [Pattern]),
}

impl std::fmt::Display for Mismatch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (what, listed): (_, Vec<&str>) = match self {
            Mismatch::Effect(effects) => ("effect", effects.iter().map(|e| e.as_str()).collect()),
            Mismatch::Environment(names) => ("environment", names.iter().map(String::as_str).collect()),
            Mismatch::Pattern(what, patterns) => (*what, patterns.iter().map(Pattern::as_str).collect()),
        };
        if listed.is_empty() {
            return write!(f, "its list of {what}s is empty");
        }
        write!(f, "{what} is not one of {}", listed.join(", "))
    }
}

fn patterns(selector: &str, texts: Option<&[String]>) -> Result<Option<Vec<Pattern>>, String> {
    let Some(texts) = texts else { return Ok(None) };
    if texts.len() > PATTERNS_MAX {
        return Err(format!("more than {PATTERNS_MAX} entries in `{selector}`"));
    }
    let compile = |text: &String| {
        Pattern::new(text)
            .ok_or_else(|| format!("`{text}` in `{selector}` is not a pattern: `*` may only stand last"))
    };
    texts.iter().map(compile).collect::<Result<_, _>>().map(Some)
}

fn environments(names: Option<&[String]>) -> Result<Option<Vec<String>>, String> {
    let Some(names) = names else { return Ok(None) };
    for name in names {
        Environment::new(name).map_err(|error| format!("{error} in `environments`"))?;
    }
    Ok(Some(names.to_vec()))
}
