//! Whether there is as much trust as policies set for what an action does.

use super::{Context, Denial};
use crate::{Action, Chain, Mode, PolicySet};

/// The trust of the chain reaches every threshold that a policy sets; the strictest of those that it does not
/// reach is told, and of several the first by id.
pub(super) fn trusted(
    chain: &Chain,
    action: &Action,
    context: &Context,
    policies: &PolicySet,
    counts: fn(Mode) -> bool,
) -> Result<(), Denial> {
    let thresholds = policies.thresholds_for(chain).filter(|one| counts(one.mode));
    let missing = thresholds.filter_map(|one| one.shortfall(chain, action, context.trust));
    let strictest = missing.reduce(|a, b| if b.least > a.least { b } else { a });
    strictest.map_or(Ok(()), |shortfall| Err(Denial::BelowThreshold(shortfall)))
}
