//! A decision as it is told: the outcome, the rule and the reason. It makes no [`Ruling`](crate::Ruling), so
//! nothing can come of it.

use super::{Basis, Verdict, weigh};
use crate::{Action, Chain, Context, Mode, PolicySet, RuleId, RuleOutcome};

/// What [`decide`](crate::decide()) says, without a ruling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// What came of it.
    pub outcome: RuleOutcome,
    /// The rule that decided, if one did.
    pub rule: Option<RuleId>,
    /// Why it is denied, as a word for machines.
    pub code: Option<&'static str>,
    /// In words; empty for a permit.
    pub reason: String,
}

/// Weighs `action` as [`decide`](crate::decide()) does, and only tells what comes of it.
pub fn tell(chain: &Chain, action: &Action, context: &Context, policies: &PolicySet) -> Told {
    match weigh(chain, action, context, policies, Mode::is_enforced) {
        Ok(Verdict::Permit { basis, .. }) => Told {
            outcome: RuleOutcome::Permit,
            rule: match basis {
                Basis::Rule(rule) => Some(rule),
                Basis::Grant(_) => None,
            },
            code: None,
            reason: String::new(),
        },
        Ok(Verdict::Ask { rule, reason, .. }) => Told {
            outcome: RuleOutcome::RequireApproval,
            rule,
            code: None,
            reason,
        },
        Err(denial) => Told {
            outcome: RuleOutcome::Deny,
            rule: denial.rule().cloned(),
            code: Some(denial.code()),
            reason: denial.reason(),
        },
    }
}
