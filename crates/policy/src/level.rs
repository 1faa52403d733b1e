//! Autonomy: how far a principal may go alone. A level only ever takes away: none permits what no rule
//! does.

use crate::Environment;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
}

impl Autonomy {
    /// The level that holds in `environment`: L4 is never held in production.
    pub fn at(&self, environment: &Environment) -> Level {
        let level = self
            .environments
            .get(environment.as_str())
            .copied()
            .unwrap_or(self.default);
        if environment.is_production() {
            level.min(Level::L3)
        } else {
            level
        }
    }
}
