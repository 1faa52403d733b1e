//! Denials in words.

use super::Denial;
use crate::RuleId;
use crate::trust::Tier;

impl Denial {
    /// A stable snake_case word for machines: `not_granted`, `forbidden`, `read_only`, `no_rule`, …
    pub fn code(&self) -> &'static str {
        match self {
            Denial::NoAuthority => "no_authority",
            Denial::NotValid(_, validity) => validity.code(),
            Denial::NotGranted(_) => "not_granted",
            Denial::Forbidden(..) => "forbidden",
            Denial::ReadOnly(_) => "read_only",
            Denial::Untrusted(..) => "untrusted",
            Denial::BelowThreshold(_) => "below_threshold",
            Denial::NoRule => "no_rule",
            Denial::Withheld(_) => "withheld",
            Denial::Unevaluable(..) => "unevaluable",
        }
    }

    /// One sentence for a person.
    pub fn reason(&self) -> String {
        match self {
            Denial::NoAuthority => "nobody with authority stands behind this action".to_owned(),
            Denial::NotValid(principal, validity) => format!("{principal} {}", validity.finding()),
            Denial::NotGranted(principal) => format!("{principal} holds no grant that covers this action"),
            Denial::Forbidden(rule, reason) if reason.is_empty() => format!("rule `{rule}` forbids it"),
            Denial::Forbidden(rule, reason) => format!("rule `{rule}` forbids it: {reason}"),
            Denial::ReadOnly(level) => format!("autonomy level {level:?} is read-only here"),
            Denial::Untrusted(trust, level) => {
                let (tier, held) = (Tier::of(*trust), Tier::of(*trust).level());
                format!("trust {trust} is {tier}, which holds level {level:?} at {held:?}: read-only")
            }
            Denial::BelowThreshold(shortfall) => shortfall.reason(),
            Denial::NoRule => "no rule permits it: without one only reads are permitted".to_owned(),
            Denial::Withheld(place) => {
                format!("the policies of {place} permit other things and leave this to nobody below")
            }
            Denial::Unevaluable(rule, what) => format!("rule `{rule}` cannot be evaluated: {what}"),
        }
    }

    /// The rule that decided, if one did.
    pub fn rule(&self) -> Option<&RuleId> {
        match self {
            Denial::Forbidden(rule, _) | Denial::Unevaluable(rule, _) => Some(rule),
            Denial::BelowThreshold(shortfall) => Some(&shortfall.rule),
            Denial::NoAuthority
            | Denial::NotValid(..)
            | Denial::NotGranted(_)
            | Denial::ReadOnly(_)
            | Denial::Untrusted(..)
            | Denial::NoRule
            | Denial::Withheld(_) => None,
        }
    }

    /// One sentence: what would change it.
    pub fn remedy(&self) -> String {
        match self {
            Denial::NoAuthority => "act as a principal that exists and holds grants".to_owned(),
            Denial::NotValid(_, validity) => validity.remedy().to_owned(),
            Denial::NotGranted(principal) => {
                format!("give {principal} a toolset whose grants cover the verb and the resource, and are not expired")
            }
            Denial::Forbidden(rule, _) => {
                format!("change rule `{rule}`, or ask for something it does not cover; no approval overrides it")
            }
            Denial::ReadOnly(_) => {
                "raise the agent's autonomy in this environment to L2 or higher, and let a rule permit the action"
                    .to_owned()
            }
            Denial::Untrusted(..) => format!(
                "it takes tier {}, which begins at {}: `cofferdam trust show` says what is lacking; a tier that was lost is \
                 given back by a person",
                Tier::Standard,
                Tier::Standard.first()
            ),
            Denial::BelowThreshold(shortfall) => format!(
                "it takes a score of {}: `cofferdam trust explain` says what moves it; no approval answers a threshold, \
                 which is changed in `{}`",
                shortfall.least, shortfall.rule
            ),
            Denial::Withheld(place) => {
                format!("add a rule for it to a policy of {place}: every place that permits anything has to permit it")
            }
            Denial::NoRule => "add a rule that permits the action or requires approval for it".to_owned(),
            Denial::Unevaluable(rule, _) => {
                format!("mend the condition of rule `{rule}`: use `has` for what may be missing")
            }
        }
    }
}
