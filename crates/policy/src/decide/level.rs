//! The autonomy level of a chain: what its documents say, and what trust leaves of it.

use super::{Context, Denial};
use crate::trust::Tier;
use crate::{Action, Chain, Effect, Level, Link, PrincipalKind};

/// The level of a chain for one action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Levels {
    /// The lowest of all links, by their documents.
    pub own: Level,
    /// What trust leaves of it.
    pub in_force: Level,
    trust: u16,
}

/// The level that is in force for `action`: the lowest of all links, and no higher than trust lets any of
/// them use. `None` for an empty chain.
pub fn level_in_force(chain: &Chain, action: &Action, context: &Context) -> Option<Level> {
    Levels::of(chain, action, context).map(|levels| levels.in_force)
}

impl Levels {
    /// `None` for an empty chain.
    pub fn of(chain: &Chain, action: &Action, context: &Context) -> Option<Levels> {
        let environment = action.environment();
        let trusted = Tier::of(context.trust).level();
        let own = |link: &Link| link.autonomy.at(environment);
        // Trust is an agent's. A person's level is that of their role, and has no sandboxes that could be named. What was
        // delegated may have a ceiling of trust, which no sandbox lifts.
        let is_agents = |link: &&Link| link.principal.kind == PrincipalKind::Agent;
        let is_delegated = chain.links.iter().filter(is_agents).count() > 1;
        let in_force = |link: &Link| match link.principal.kind {
            PrincipalKind::Person if !is_delegated => own(link),
            _ if link.autonomy.is_sandbox(environment) => own(link),
            _ => own(link).min(trusted),
        };
        Some(Levels {
            own: chain.links.iter().map(own).min()?,
            in_force: chain.links.iter().map(in_force).min()?,
            trust: context.trust,
        })
    }

    /// Refuses what is read-only, and says whose doing that is.
    pub fn allow(&self, effect: Effect) -> Result<(), Denial> {
        match (effect, self.own, self.in_force) {
            (Effect::Read, ..) => Ok(()),
            (_, own @ (Level::L0 | Level::L1), _) => Err(Denial::ReadOnly(own)),
            (_, own, Level::L0 | Level::L1) => Err(Denial::Untrusted(self.trust, own)),
            _ => Ok(()),
        }
    }

    /// `level L2`, and why it is not the document's.
    pub fn told(&self) -> String {
        let (own, level, trust) = (self.own, self.in_force, self.trust);
        match own > level {
            true => format!(
                "trust {trust} is {}, so level {level:?} instead of {own:?}",
                Tier::of(trust)
            ),
            false => format!("level {level:?}"),
        }
    }
}

/// Whether `level` asks a person each time, even where a rule permits. L0 and L1 do not ask: they
/// refuse what is not a read.
pub(crate) fn asks(level: Level, effect: Effect) -> bool {
    match effect {
        Effect::Read => false,
        Effect::Write => level <= Level::L2,
        Effect::Destructive => level <= Level::L3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::{action, chain, context};
    use std::collections::BTreeSet;

    /// Every level with every tier: what is left of it.
    #[test]
    fn a_tier_caps_the_level() {
        let mut text = "tier         L0 L1 L2 L3 L4\n".to_owned();
        for tier in Tier::ALL {
            let left = [Level::L0, Level::L1, Level::L2, Level::L3, Level::L4].map(|level| {
                let context = Context {
                    trust: tier.first(),
                    ..context()
                };
                let action = action("git.push", Effect::Write, "staging");
                format!("{:?}", level_in_force(&chain(level), &action, &context).unwrap())
            });
            text += &format!("{:<13}{}\n", tier.as_str(), left.join(" "));
        }
        assert_eq!(
            text,
            "\
tier         L0 L1 L2 L3 L4
untrusted    L0 L0 L0 L0 L0
probationary L0 L1 L1 L1 L1
standard     L0 L1 L2 L2 L2
trusted      L0 L1 L2 L3 L3
verified     L0 L1 L2 L3 L4
"
        );
    }

    #[test]
    fn a_sandbox_is_not_capped_and_production_is_none() {
        let mut chain = chain(Level::L3);
        let sandboxes = ["test", "production", "prod-eu"].map(str::to_owned);
        chain.links[0].autonomy.sandboxes = BTreeSet::from(sandboxes);
        // On a person's account: theirs is capped by nothing, the agent's as before.
        let anything = crate::Autonomy {
            default: Level::L4,
            ..Default::default()
        };
        let person = Link::new(crate::Principal::person("alice"), Vec::new(), anything);
        chain.links.insert(0, person);
        let context = Context {
            trust: 0,
            ..context()
        };
        for (environment, expected) in [
            ("test", Level::L3),
            ("staging", Level::L0),
            ("production", Level::L0),
            ("prod-eu", Level::L0),
        ] {
            let action = action("git.push", Effect::Write, environment);
            assert_eq!(
                level_in_force(&chain, &action, &context),
                Some(expected),
                "{environment}"
            );
        }
        // What was delegated may have a ceiling of trust, which no sandbox lifts.
        let delegate = chain.links[1].clone();
        chain.links.push(delegate);
        let action = action("git.push", Effect::Write, "test");
        assert_eq!(level_in_force(&chain, &action, &context), Some(Level::L0));
    }

    #[test]
    fn what_trust_refuses_says_so() {
        #[rustfmt::skip]
        let table = [
            (Level::L1, 0, Err(Denial::ReadOnly(Level::L1))),
            (Level::L3, 299, Err(Denial::Untrusted(299, Level::L3))),
            (Level::L2, 499, Err(Denial::Untrusted(499, Level::L2))),
            (Level::L2, 500, Ok(())),
        ];
        for (level, trust, expected) in table {
            let context = Context { trust, ..context() };
            let levels = Levels::of(
                &chain(level),
                &action("git.push", Effect::Write, "production"),
                &context,
            );
            assert_eq!(
                levels.unwrap().allow(Effect::Write),
                expected,
                "{level:?} {trust}"
            );
            assert_eq!(
                levels.unwrap().allow(Effect::Read),
                Ok(()),
                "reads are within every level"
            );
        }
        let denial = Denial::Untrusted(450, Level::L3);
        assert_eq!(
            denial.reason(),
            "trust 450 is probationary, which holds level L3 at L1: read-only"
        );
        assert!(
            denial
                .remedy()
                .starts_with("it takes tier standard, which begins at 500")
        );
    }
}
