//! A score, explained: what each dimension contributes, what limits it, where it is heading.

use super::record::{Noted, Record};
use super::{Dimension, Tier, UNITS_PER_POINT};
use crate::{Level, Timestamp};
use serde::Serialize;

/// Over how many events a trend is told (S3-B9).
const TREND_OVER: usize = 5;
/// What counts as one, in points of the score (S3-B9).
const TREND_SCORE: i64 = 50;
/// What counts as one, in points of a dimension (S3-B10).
const TREND_DIMENSION: i64 = 5;

/// Where something is heading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "each name is the documentation of its value")]
pub enum Trend {
    Rising,
    Steady,
    Falling,
}

/// What a dimension adds to the score.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Contribution {
    /// Which.
    pub dimension: Dimension,
    /// In hundredths.
    pub weight: i64,
    /// 0 to 10,000: hundredths of a point.
    pub value: i64,
    /// Points of the score, whole ones.
    pub points: i64,
    /// Over the last events.
    pub trend: Trend,
}

/// A score with everything that made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Told {
    /// In force.
    pub score: u16,
    /// What is earned; more than is in force when the next tier waits for a person.
    pub earned: u16,
    /// In force.
    pub tier: Tier,
    /// The highest autonomy level that it lets the agent use.
    pub level: Level,
    /// The highest tier that can be in force.
    pub held: Tier,
    /// Since when.
    pub held_since: Timestamp,
    /// In order of weight.
    pub contributions: Vec<Contribution>,
    /// Points that silence took.
    pub silence: i64,
    /// Points that the score can still rise today.
    pub room: i64,
    /// The score it has to reach before it may rise faster again, after something bad.
    pub recovering_to: Option<i64>,
    /// Over the last events.
    pub trend: Trend,
    /// The newest last.
    pub recent: Vec<Noted>,
    /// How many there were.
    pub events: u64,
}

impl Record {
    /// Explains the score at `now`.
    pub fn told(&self, now: Timestamp) -> Told {
        let score = self.score_at(now);
        let tier = Tier::of(score);
        Told {
            score,
            earned: self.earned_at(now),
            tier,
            level: tier.level(),
            held: self.held,
            held_since: self.held_since,
            contributions: self.contributions(),
            silence: self.silence_at(now) / UNITS_PER_POINT,
            room: self.room_at(now) / UNITS_PER_POINT,
            recovering_to: self.recovering_to.map(|units| units / UNITS_PER_POINT),
            trend: trend(
                self.before()
                    .map(|noted| i64::from(score) - i64::from(noted.score)),
                TREND_SCORE,
            ),
            recent: self.recent.clone(),
            events: self.events,
        }
    }

    fn contributions(&self) -> Vec<Contribution> {
        let before = self.before().map(|noted| noted.dimensions);
        let held = self.dimensions.iter().zip(self.weights.weighted()).enumerate();
        held.map(|(at, (units, (dimension, weight)))| Contribution {
            dimension,
            weight,
            value: units * 100 / UNITS_PER_POINT,
            points: units * weight / 10 / UNITS_PER_POINT,
            trend: trend(
                before
                    .and_then(|before| before.get(at).copied())
                    .map(|then| (units - then) / UNITS_PER_POINT),
                TREND_DIMENSION,
            ),
        })
        .collect()
    }

    /// The event before the last few.
    fn before(&self) -> Option<&Noted> {
        self.recent.iter().rev().nth(TREND_OVER)
    }
}

/// Where a score is heading that moved by this many points.
pub(super) fn trend_of_score(moved: i64) -> Trend {
    trend(Some(moved), TREND_SCORE)
}

fn trend(moved: Option<i64>, least: i64) -> Trend {
    match moved {
        Some(moved) if moved >= least => Trend::Rising,
        Some(moved) if moved <= -least => Trend::Falling,
        _ => Trend::Steady,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Event, Origin};
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_ms(ms)
    }

    #[test]
    fn contributions_say_where_the_score_comes_from() {
        let mut record = Record::open(Origin::Sponsored, at(0));
        record.dimensions = [85, 90, 70, 60, 75].map(|points| points * UNITS_PER_POINT);
        record.held = Tier::Verified;
        let told = record.told(at(0));
        assert_eq!(
            (told.score, told.tier, told.level),
            (780, Tier::Trusted, Level::L3),
            "the vector of S3-B2"
        );
        let points: Vec<_> = told
            .contributions
            .iter()
            .map(|one| (one.weight, one.value, one.points))
            .collect();
        assert_eq!(
            points,
            [
                (25, 8500, 212),
                (25, 9000, 225),
                (20, 7000, 140),
                (15, 6000, 90),
                (15, 7500, 112)
            ]
        );
    }

    #[test]
    fn a_trend_is_told_over_the_last_five_events() {
        let mut record = Record::open(Origin::Sponsored, at(0));
        for n in 0..12 {
            record.apply(Event::Done, at(n * 1000), n as u64);
        }
        let told = record.told(at(12_000));
        assert_eq!(told.recent.len(), 10);
        assert_eq!(told.recent.first().map(|noted| noted.entry), Some(2));
        assert_eq!(told.trend, Trend::Steady, "held by what a day allows");
        for n in 12..17 {
            record.apply(Event::Violation, at(n * 1000), n as u64);
        }
        let told = record.told(at(20_000));
        let trends: Vec<_> = told.contributions.iter().map(|one| one.trend).collect();
        use Trend::{Falling, Steady};
        assert_eq!(trends, [Falling, Steady, Steady, Steady, Steady]);
        assert_eq!(told.trend, Falling);
        assert_eq!((told.recovering_to, told.room), (Some(649), 0));
    }
}
