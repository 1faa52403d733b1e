//! Money, tokens, calls and turns, and how many of them may be used: pure arithmetic, in whole numbers.
//!
//! A [`Budget`] says how much a branch of the tree may use in a period. What an action may cost at most is a [`Amounts`]
//! that is *reserved* before it begins and *settled* when it is over; who keeps the accounts compares what was spent and
//! what is reserved with the limit, in the transaction that reserves. Nothing here reads a clock.

mod spec;

pub use spec::{BudgetSpec, LimitsSpec, money, quantity};

use crate::{Branch, Timestamp};
use serde::{Deserialize, Serialize};

/// What is counted. Money is in micro-units of the US dollar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Amounts {
    /// Money, in millionths of a US dollar.
    #[serde(skip_serializing_if = "is_zero")]
    pub micros: u64,
    /// Tokens of models, read and written together.
    #[serde(skip_serializing_if = "is_zero")]
    pub tokens: u64,
    /// Actions that are no calls of a model.
    #[serde(skip_serializing_if = "is_zero")]
    pub calls: u64,
    /// Calls of a model.
    #[serde(skip_serializing_if = "is_zero")]
    pub turns: u64,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// One thing that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// See [`Amounts::micros`].
    Money,
    /// See [`Amounts::tokens`].
    Tokens,
    /// See [`Amounts::calls`].
    Calls,
    /// See [`Amounts::turns`].
    Turns,
}

impl Unit {
    /// All of them, in the order in which they are told.
    pub const ALL: [Unit; 4] = [Unit::Money, Unit::Tokens, Unit::Calls, Unit::Turns];

    /// `money`, `tokens`, `calls`, `turns`.
    pub fn as_str(self) -> &'static str {
        match self {
            Unit::Money => "money",
            Unit::Tokens => "tokens",
            Unit::Calls => "calls",
            Unit::Turns => "turns",
        }
    }

    /// `n` of it as a person reads it: `$1.25`, `1200 tokens`.
    pub fn told(self, n: u64) -> String {
        match self {
            Unit::Money => dollars(n),
            unit => format!("{n} {}", unit.as_str()),
        }
    }
}

/// Micro-units as dollars, with as many digits as they need and at least two: `$0.000125`, `$5.00`.
pub fn dollars(micros: u64) -> String {
    let (whole, part) = (micros / 1_000_000, micros % 1_000_000);
    let digits = format!("{part:06}");
    let short = digits.trim_end_matches('0');
    let kept = short.len().max(2);
    format!("${whole}.{}", digits.get(..kept).unwrap_or(&digits))
}

impl Amounts {
    /// How much of `unit`.
    pub fn of(&self, unit: Unit) -> u64 {
        match unit {
            Unit::Money => self.micros,
            Unit::Tokens => self.tokens,
            Unit::Calls => self.calls,
            Unit::Turns => self.turns,
        }
    }

    /// Both together. What cannot be counted any more counts as the most there is, which no limit lets through.
    #[must_use]
    pub fn plus(&self, other: &Amounts) -> Amounts {
        self.each(other, u64::saturating_add)
    }

    /// What is left of it without `other`, at least nothing.
    #[must_use]
    pub fn less(&self, other: &Amounts) -> Amounts {
        self.each(other, u64::saturating_sub)
    }

    /// The lesser of both, of each.
    #[must_use]
    pub fn at_most(&self, other: &Amounts) -> Amounts {
        self.each(other, u64::min)
    }

    fn each(&self, other: &Amounts, by: impl Fn(u64, u64) -> u64) -> Amounts {
        Amounts {
            micros: by(self.micros, other.micros),
            tokens: by(self.tokens, other.tokens),
            calls: by(self.calls, other.calls),
            turns: by(self.turns, other.turns),
        }
    }

    /// Whether there is nothing of anything.
    pub fn is_nothing(&self) -> bool {
        *self == Amounts::default()
    }
}

/// How much of each may be used; what is absent is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ceiling {
    /// See [`Amounts::micros`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub micros: Option<u64>,
    /// See [`Amounts::tokens`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// See [`Amounts::calls`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls: Option<u64>,
    /// See [`Amounts::turns`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turns: Option<u64>,
}

/// A limit that would be passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Of what.
    pub unit: Unit,
    /// The limit.
    pub limit: u64,
    /// What was used and reserved before.
    pub used: u64,
    /// What is wanted.
    pub wanted: u64,
}

impl Ceiling {
    /// The limit of `unit`.
    pub fn of(&self, unit: Unit) -> Option<u64> {
        match unit {
            Unit::Money => self.micros,
            Unit::Tokens => self.tokens,
            Unit::Calls => self.calls,
            Unit::Turns => self.turns,
        }
    }

    /// With `more` of what is limited.
    #[must_use]
    pub fn raised(&self, more: &Amounts) -> Ceiling {
        let with = |limit: Option<u64>, more: u64| limit.map(|limit| limit.saturating_add(more));
        Ceiling {
            micros: with(self.micros, more.micros),
            tokens: with(self.tokens, more.tokens),
            calls: with(self.calls, more.calls),
            turns: with(self.turns, more.turns),
        }
    }

    /// The first limit that `wanted` on top of `used` would pass. Reaching it is not passing it.
    pub fn passed(&self, used: &Amounts, wanted: &Amounts) -> Option<Passed> {
        Unit::ALL.into_iter().find_map(|unit| {
            let (limit, used, wanted) = (self.of(unit)?, used.of(unit), wanted.of(unit));
            let passes = wanted > 0 && used.checked_add(wanted).is_none_or(|all| all > limit);
            passes.then_some(Passed {
                unit,
                limit,
                used,
                wanted,
            })
        })
    }

    /// How much of it is used, of what is used most: 0 to 100 per cent, and more where it was lowered since.
    pub fn percent(&self, used: &Amounts) -> (u64, Unit) {
        let share = |unit: Unit| {
            let limit = u128::from(self.of(unit)?);
            let share = (u128::from(used.of(unit)) * 100)
                .checked_div(limit)
                .unwrap_or(100);
            Some((u64::try_from(share).unwrap_or(u64::MAX), unit))
        };
        let shares = Unit::ALL.into_iter().filter_map(share);
        shares.max_by_key(|(share, _)| *share).unwrap_or((0, Unit::Money))
    }
}

/// How long until it begins anew, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Period {
    /// Every hour.
    Hour,
    /// Every day.
    Day,
    /// Every month.
    Month,
    /// Never: as long as what it is of.
    Run,
}

impl Period {
    /// Which one `at` is in: `2026-11-27T15`, `2026-11-27`, `2026-11`, `run`.
    pub fn key(self, at: Timestamp) -> String {
        let length = match self {
            Period::Hour => 13,
            Period::Day => 10,
            Period::Month => 7,
            Period::Run => return "run".to_owned(),
        };
        at.to_string().chars().take(length).collect()
    }

    /// Milliseconds from `at` until the next begins; `None` when none does.
    pub fn left_ms(self, at: Timestamp) -> Option<i64> {
        const HOUR: i64 = 3_600_000;
        const DAY: i64 = 24 * HOUR;
        let of = |length: i64| length - at.ms().rem_euclid(length);
        match self {
            Period::Hour => Some(of(HOUR)),
            Period::Day => Some(of(DAY)),
            Period::Month => {
                let month = self.key(at);
                // No month has more days.
                let ends = (0..31).map(|days| of(DAY) + days * DAY);
                ends.into_iter().find(|left| self.key(at.plus_ms(*left)) != month)
            }
            Period::Run => None,
        }
    }
}

/// What has an account of its own below a budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Each {
    /// Nothing: all share one.
    #[default]
    All,
    /// Every agent.
    Agent,
    /// Every session.
    Session,
    /// Every incident, or whatever else its sessions have in common; a session without one has its own.
    Incident,
}

/// How much a branch of the tree may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Of its document.
    pub name: String,
    /// Whose it is.
    pub place: Branch,
    /// How long.
    pub per: Period,
    /// What has an account of its own.
    pub each: Each,
    /// How much.
    pub ceiling: Ceiling,
    /// Per cent of it at which somebody is told, in order.
    pub alerts: Vec<u8>,
    /// Per cent from which on one action at a time is let through.
    pub throttle: Option<u8>,
    /// Who is told.
    pub channels: Vec<String>,
}

/// The facts of an action that say which accounts it is on.
#[derive(Clone, Copy, Debug)]
pub struct Spender<'a> {
    /// Every agent of its chain, with its place.
    pub agents: &'a [(String, crate::Place)],
    /// `ses-42`
    pub session: &'a str,
    /// What it is part of.
    pub correlation: Option<&'a str>,
}

impl Budget {
    /// The accounts that what `spender` does at `at` is on: none where it does not concern it.
    ///
    /// INVARIANT (delegating is no way around): every agent of the chain counts, not only the one that acts.
    pub fn accounts(&self, spender: &Spender<'_>, at: Timestamp) -> Vec<String> {
        let own = |(name, place): &&(String, crate::Place)| self.place.contains(place, name);
        let mut concerned = spender.agents.iter().filter(own).peekable();
        if concerned.peek().is_none() && !self.place.is_everywhere() {
            return Vec::new();
        }
        let period = self.per.key(at);
        let account = |of: &str| format!("{}/{period}/{of}", self.name);
        match self.each {
            Each::All => vec![account("all")],
            Each::Agent => concerned
                .map(|(name, _)| account(&format!("agent/{name}")))
                .collect(),
            Each::Session => vec![account(&format!("session/{}", spender.session))],
            Each::Incident => {
                let of = spender.correlation.map_or_else(
                    || format!("session/{}", spender.session),
                    |incident| format!("incident/{incident}"),
                );
                vec![account(&of)]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Place;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn money_is_told_to_the_last_digit() {
        #[rustfmt::skip]
        let table = [
            (0, "$0.00"), (1, "$0.000001"), (125, "$0.000125"), (10_000, "$0.01"), (500_000, "$0.50"),
            (5_000_000, "$5.00"), (1_234_567, "$1.234567"),
        ];
        for (micros, told) in table {
            assert_eq!(dollars(micros), told);
        }
    }

    #[test]
    fn a_limit_may_be_reached_and_not_passed() {
        let ceiling = Ceiling {
            micros: Some(100),
            turns: Some(2),
            ..Ceiling::default()
        };
        let amounts = |micros, turns| Amounts {
            micros,
            turns,
            ..Amounts::default()
        };
        #[rustfmt::skip]
        let table = [
            (amounts(0, 0),   amounts(100, 1),      None),
            (amounts(60, 0),  amounts(40, 1),       None),
            (amounts(61, 0),  amounts(40, 1),       Some(Unit::Money)),
            (amounts(0, 2),   amounts(0, 1),        Some(Unit::Turns)),
            (amounts(200, 0), amounts(0, 1),        None),
            (amounts(1, 0),   amounts(u64::MAX, 1), Some(Unit::Money)),
        ];
        for (used, wanted, expected) in table {
            let passed = ceiling.passed(&used, &wanted).map(|passed| passed.unit);
            assert_eq!(passed, expected, "{used:?} {wanted:?}");
        }
        assert_eq!(ceiling.percent(&amounts(75, 1)), (75, Unit::Money));
        assert_eq!(ceiling.percent(&amounts(10, 2)), (100, Unit::Turns));
        let none = Ceiling {
            micros: Some(0),
            ..Ceiling::default()
        };
        assert_eq!(none.percent(&amounts(0, 0)), (100, Unit::Money));
    }

    #[test]
    fn periods_begin_anew_in_utc() {
        #[rustfmt::skip]
        let table = [
            (Period::Hour,  "2026-11-27T15:59:59.999Z", "2026-11-27T15", Some(1)),
            (Period::Day,   "2026-11-27T00:00:00.000Z", "2026-11-27",    Some(24 * 3_600_000)),
            (Period::Month, "2026-12-31T23:00:00.000Z", "2026-12",       Some(3_600_000)),
            (Period::Month, "2028-02-01T00:00:00.000Z", "2028-02",       Some(29 * 24 * 3_600_000)),
            (Period::Run,   "2026-11-27T15:00:00.000Z", "run",           None),
        ];
        for (period, text, key, left) in table {
            assert_eq!(period.key(at(text)), key);
            assert_eq!(period.left_ms(at(text)), left, "{text}");
        }
    }

    #[test]
    fn every_agent_of_the_chain_counts() {
        let agents = [
            ("boss".to_owned(), Place::new("acme", "sre", "ops").unwrap()),
            ("helper".to_owned(), Place::new("acme", "web", "shop").unwrap()),
        ];
        let spender = Spender {
            agents: &agents,
            session: "ses-1",
            correlation: Some("INC-1"),
        };
        let budget = |place: &str, each| Budget {
            name: "b".to_owned(),
            place: Branch::parse(place).unwrap(),
            per: Period::Day,
            each,
            ceiling: Ceiling::default(),
            alerts: Vec::new(),
            throttle: None,
            channels: Vec::new(),
        };
        #[rustfmt::skip]
        let table: [(&str, Each, &[&str]); 8] = [
            ("everywhere",          Each::All,      &["b/2026-11-27/all"]),
            ("acme",                Each::Agent,    &["b/2026-11-27/agent/boss", "b/2026-11-27/agent/helper"]),
            ("acme/sre",            Each::All,      &["b/2026-11-27/all"]),
            ("acme/sre/ops/boss",   Each::Agent,    &["b/2026-11-27/agent/boss"]),
            ("acme/web/shop/other", Each::All,      &[]),
            ("other",               Each::All,      &[]),
            ("acme/web",            Each::Session,  &["b/2026-11-27/session/ses-1"]),
            ("acme",                Each::Incident, &["b/2026-11-27/incident/INC-1"]),
        ];
        for (place, each, expected) in table {
            let found = budget(place, each).accounts(&spender, at("2026-11-27T15:00:00.000Z"));
            assert_eq!(found, expected, "{place} {each:?}");
        }
        let alone = Spender {
            correlation: None,
            ..spender
        };
        let found = budget("acme", Each::Incident).accounts(&alone, at("2026-11-27T15:00:00.000Z"));
        assert_eq!(found, ["b/2026-11-27/session/ses-1"]);
    }
}
