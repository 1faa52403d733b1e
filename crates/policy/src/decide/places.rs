//! What places leave of what others permit: rights are the intersection down the path.
//!
//! A place *speaks* of an agent when a policy of it permits that agent anything: by a rule with outcome
//! `permit` whose `agents` name it, or by a module with a `permit`. A place that speaks leaves the agent what
//! it permits or asks about, and nothing else, whatever other places on the path permit. A place that does
//! not speak leaves everything. Each agent of a chain is held to the places on its own path; where the agent
//! that acts is in the same place, what the place says of that one counts.
//!
//! Reads need no rule, so no place withholds one; rules that forbid or ask count wherever they stand.

use super::Denial;
use crate::rego::Module;
use crate::rule::{Facts, Rule};
use crate::{Action, Branch, Chain, Context, Mode, PolicySet, RuleOutcome};

/// The widest place that speaks of an agent of the chain and does not leave it the action. `favours` are the
/// places that were found to; `by_name`, a policy of the platform itself gives it to the one that acts.
pub(super) fn withholding<'p>(
    chain: &Chain,
    action: &Action,
    context: &Context,
    policies: &'p PolicySet,
    counts: fn(Mode) -> bool,
    (favours, by_name): (&[usize], bool),
) -> Result<Option<&'p Branch>, Denial> {
    let last = chain.links.len().saturating_sub(1);
    for speaking in policies
        .speaking()
        .iter()
        .filter(|speaking| counts(speaking.mode))
    {
        if favours.contains(&speaking.at) {
            continue;
        }
        for (at, link) in chain.links.iter().enumerate() {
            let held = speaking.place.holds(link, true) && speaking.names(&link.principal);
            if !held || at == last && by_name {
                continue;
            }
            let left = at != last && {
                let above = Chain {
                    cause: chain.cause.clone(),
                    links: chain.links.iter().take(at + 1).cloned().collect(),
                };
                favoured(&above, action, context, policies, counts, speaking.at)?
            };
            if !left {
                return Ok(Some(&speaking.place));
            }
        }
    }
    Ok(None)
}

/// Whether `rule` is in favour of what it matches, on account of the last agent of `chain`.
fn opts_in(rule: &Rule, chain: &Chain, facts: &Facts<'_>) -> Result<bool, String> {
    match rule.outcome {
        RuleOutcome::Permit => Ok(true),
        RuleOutcome::RequireApproval => Ok(rule.opts_in && rule.is_of_actor(chain, facts)?),
        RuleOutcome::Deny => Ok(false),
    }
}

/// Whether the place at `at` leaves the action to the last agent of `chain`.
fn favoured(
    chain: &Chain,
    action: &Action,
    context: &Context,
    policies: &PolicySet,
    counts: fn(Mode) -> bool,
    at: usize,
) -> Result<bool, Denial> {
    let facts: Facts<'_> = policies.facts(chain, action, context);
    let here = |rule: &&Rule| rule.place == at && counts(rule.mode);
    for rule in policies.reaching(chain, action).filter(here) {
        let unevaluable = |what| Denial::Unevaluable(rule.id.clone(), what);
        let holds = |rule: &Rule| Ok(rule.holds(&facts)? && opts_in(rule, chain, &facts)?);
        if holds(rule).map_err(unevaluable)? {
            return Ok(true);
        }
    }
    let here = |(mode, module): &&(Mode, Module)| {
        module.place == at && counts(*mode) && policies.is_of_actor(module.place, chain)
    };
    for (_, module) in policies.modules().iter().filter(here) {
        let unevaluable = |what| Denial::Unevaluable(module.id.clone(), what);
        let found = module.findings(&facts).map_err(unevaluable)?;
        if found.permit || found.asks.iter().any(|asking| asking.opts_in) {
            return Ok(true);
        }
    }
    Ok(false)
}
