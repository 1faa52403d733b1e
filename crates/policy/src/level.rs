//! Autonomy: how far a principal may go alone. A level only ever takes away: none permits what no rule
//! does.

use crate::Environment;
use crate::action::PRODUCTION;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// L0 observe, L1 recommend, L2 act with approval each time, L3 act within bounds, L4 unattended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Level {
    /// Observe: reads only.
    #[default]
    L0,
    /// Recommend: reads only; its output is advice.
    L1,
    /// Acts, with approval each time.
    L2,
    /// Acts within bounds; what is destructive is asked for each time.
    L3,
    /// Unattended; in production it is held at L3.
    L4,
}

/// The level per environment; what is not named has the default, which is L0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Autonomy {
    /// Where nothing else is said.
    #[serde(default)]
    pub default: Level,
    /// By name of environment.
    #[serde(default)]
    pub environments: BTreeMap<String, Level>,
    /// Environments where trust does not lower the level, because nothing there matters. Production is
    /// never one of them, under whatever name.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub sandboxes: BTreeSet<String>,
}

impl Autonomy {
    /// Whether trust does not lower the level in `environment`.
    pub fn is_sandbox(&self, environment: &Environment) -> bool {
        !environment.is_production() && self.sandboxes.contains(environment.as_str())
    }

    /// The level that holds in `environment`. An unlisted one that is production under another name
    /// has no more than is said for `production`, and L4 is never held in any production.
    pub fn at(&self, environment: &Environment) -> Level {
        let listed = |name: &str| self.environments.get(name).copied();
        if !environment.is_production() {
            return listed(environment.as_str()).unwrap_or(self.default);
        }
        let production = listed(PRODUCTION).map_or(self.default, |level| level.min(self.default));
        listed(environment.as_str()).unwrap_or(production).min(Level::L3)
    }
}
