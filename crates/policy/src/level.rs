//! Autonomy: how far a principal may go alone. A level only ever takes away: none permits what no rule
//! does.

use crate::Environment;
use crate::action::PRODUCTION;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Formatter;

mod foreign;

/// L0 observe, L1 recommend, L2 act with approval each time, L3 act within bounds, L4 unattended. Read as
/// [`Level::parse`] does, so other models' words are levels too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
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

impl<'de> Deserialize<'de> for Level {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Level, D::Error> {
        deserializer.deserialize_str(Word)
    }
}

struct Word;

impl Visitor<'_> for Word {
    type Value = Level;

    fn expecting(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("a level: L0 to L4, or MODEL:WORD of another model")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Level, E> {
        Level::parse(text).map_err(E::custom)
    }
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
