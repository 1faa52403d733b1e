//! Autonomy: how far a principal may go alone. A level only ever takes away: none permits what no rule
//! does.

use crate::Environment;
use crate::action::PRODUCTION;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Formatter;

mod foreign;
mod ring;

pub use ring::{Rate, Ring};

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
    /// What a person lends it for a while, anywhere but in production. Nothing that a document can say.
    #[serde(skip)]
    pub lent: Option<Level>,
}

impl Autonomy {
    /// Whether trust does not lower the level in `environment`.
    pub fn is_sandbox(&self, environment: &Environment) -> bool {
        !environment.is_production() && self.sandboxes.contains(environment.as_str())
    }

    /// The same with no level below `to` anywhere but in production, where each stays as it is.
    #[must_use]
    pub fn raised(&self, to: Level) -> Autonomy {
        Autonomy {
            lent: Some(to),
            ..self.clone()
        }
    }

    /// Whether [`Autonomy::raised`] changes anything.
    pub fn is_below(&self, to: Level) -> bool {
        let named = self.environments.iter();
        let mut listed =
            named.filter(|(name, _)| Environment::new(name).is_ok_and(|named| !named.is_production()));
        self.default < to || listed.any(|(_, level)| *level < to)
    }

    /// The highest level that it has anywhere when trust leaves no more than `trusted` of it.
    pub fn highest(&self, trusted: Level) -> Level {
        let named = self.environments.keys().chain(&self.sandboxes);
        let named = named.filter_map(|name| Environment::new(name).ok());
        let left = named.map(|environment| match self.is_sandbox(&environment) {
            true => self.at(&environment),
            false => self.at(&environment).min(trusted),
        });
        let elsewhere = self.default.max(self.lent.unwrap_or_default());
        left.fold(elsewhere.min(trusted), Level::max)
    }

    /// The level that holds in `environment`. An unlisted one that is production under another name
    /// has no more than is said for `production`, and L4 is never held in any production.
    pub fn at(&self, environment: &Environment) -> Level {
        let listed = |name: &str| self.environments.get(name).copied();
        if !environment.is_production() {
            let own = listed(environment.as_str()).unwrap_or(self.default);
            return own.max(self.lent.unwrap_or_default());
        }
        let production = listed(PRODUCTION).map_or(self.default, |level| level.min(self.default));
        listed(environment.as_str()).unwrap_or(production).min(Level::L3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NAMES: [&str; 6] = ["production", "prod-eu", "staging", "dev", "test", "anything"];

    fn level() -> impl Strategy<Value = Level> {
        prop::sample::select(vec![Level::L0, Level::L1, Level::L2, Level::L3, Level::L4])
    }

    fn autonomy() -> impl Strategy<Value = Autonomy> {
        let name = || prop::sample::select(NAMES.to_vec()).prop_map(str::to_owned);
        let environments = prop::collection::btree_map(name(), level(), 0..5);
        let sandboxes = prop::collection::btree_set(name(), 0..3);
        (level(), environments, sandboxes).prop_map(|(default, environments, sandboxes)| Autonomy {
            default,
            environments,
            sandboxes,
            lent: None,
        })
    }

    proptest! {
        /// By a naive count over every environment there is, listed or not.
        #[test]
        fn what_is_raised_is_raised_everywhere_but_in_production(before in autonomy(), to in level()) {
            let after = before.raised(to);
            for name in NAMES.into_iter().chain(["local", "unlisted"]) {
                let environment = Environment::new(name).unwrap();
                let expected = match environment.is_production() {
                    true => before.at(&environment),
                    false => before.at(&environment).max(to),
                };
                prop_assert_eq!(after.at(&environment), expected, "{}", name);
                prop_assert_eq!(after.is_sandbox(&environment), before.is_sandbox(&environment));
            }
            prop_assert_eq!(&after.raised(to), &after);
            let outside = NAMES.into_iter().chain(["local"]).map(|name| Environment::new(name).unwrap());
            let lower = outside.filter(|environment| before.at(environment) < after.at(environment));
            prop_assert_eq!(before.is_below(to), lower.count() > 0);
        }

        #[test]
        fn the_highest_level_is_that_of_some_environment_and_no_other_has_more(autonomy in autonomy(), trusted in level()) {
            let at = |name: &str| {
                let environment = Environment::new(name).unwrap();
                match autonomy.is_sandbox(&environment) {
                    true => autonomy.at(&environment),
                    false => autonomy.at(&environment).min(trusted),
                }
            };
            let levels: Vec<Level> = NAMES.into_iter().chain(["local", "unlisted"]).map(at).collect();
            prop_assert_eq!(autonomy.highest(trusted), levels.into_iter().max().unwrap());
        }
    }
}
