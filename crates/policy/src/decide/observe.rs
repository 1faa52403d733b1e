//! What policies that are only observed would have said. It makes no [`Ruling`](crate::Ruling), so
//! nothing can come of it.

use super::{Verdict, weigh};
use crate::{Action, Chain, Context, Mode, PolicySet, RuleId, RuleOutcome};
use serde::{Deserialize, Serialize};

/// What the decision would have been, and who would have made it so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// `permit`, `deny` or `require_approval`: of the whole decision, had the policies counted.
    pub outcome: String,
    /// Each rule or module of an observed policy that had something to say: thresholds first, then rules, then
    /// modules, each in order of id.
    pub said: Vec<Said>,
}

/// What one rule or module said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// Which.
    pub rule: RuleId,
    /// `permit`, `deny`, `require_approval`, or `unevaluable`, which denies.
    pub outcome: String,
    /// In its words; empty when it has none.
    pub reason: String,
}

/// Weighs `action` as if the policies that are only observed counted; `None` when none of them has
/// anything to say of it.
pub fn observe(chain: &Chain, action: &Action, context: &Context, policies: &PolicySet) -> Option<Observed> {
    if !policies.observes() {
        return None;
    }
    let said = said(chain, action, context, policies);
    if said.is_empty() {
        return None;
    }
    let outcome = match weigh(chain, action, context, policies, |_| true) {
        Ok(Verdict::Permit { .. }) => RuleOutcome::Permit,
        Ok(Verdict::Ask { .. }) => RuleOutcome::RequireApproval,
        Err(_) => RuleOutcome::Deny,
    };
    Some(Observed {
        outcome: outcome.as_str().to_owned(),
        said,
    })
}

fn said(chain: &Chain, action: &Action, context: &Context, policies: &PolicySet) -> Vec<Said> {
    let facts = policies.facts(chain, action, context);
    let mut all = Vec::new();
    let mut say = |rule: &RuleId, outcome: &str, reason: &str| {
        all.push(Said {
            rule: rule.clone(),
            outcome: outcome.to_owned(),
            reason: reason.to_owned(),
        });
    };
    for thresholds in policies.thresholds_for(chain) {
        let missing = thresholds.shortfall(chain, action, context.trust);
        if let Some(shortfall) = missing.filter(|_| thresholds.mode == Mode::Observe) {
            say(&thresholds.id, RuleOutcome::Deny.as_str(), &shortfall.reason());
        }
    }
    for rule in policies
        .reaching(chain, action)
        .filter(|rule| rule.mode == Mode::Observe)
    {
        match rule.holds(&facts) {
            Ok(true) => say(&rule.id, rule.outcome.as_str(), &rule.reason),
            Ok(false) => {}
            Err(what) => say(&rule.id, UNEVALUABLE, &what),
        }
    }
    for (_, module) in policies
        .modules()
        .iter()
        .filter(|(mode, module)| *mode == Mode::Observe && policies.is_of_any(module.place, chain))
    {
        match module.findings(&facts) {
            Ok(found) => {
                for reason in &found.deny {
                    say(&module.id, RuleOutcome::Deny.as_str(), reason);
                }
                for ask in &found.asks {
                    say(&module.id, RuleOutcome::RequireApproval.as_str(), &ask.reason);
                }
                if found.permit {
                    say(&module.id, RuleOutcome::Permit.as_str(), "");
                }
            }
            Err(what) => say(&module.id, UNEVALUABLE, &what),
        }
    }
    all
}

const UNEVALUABLE: &str = "unevaluable";
