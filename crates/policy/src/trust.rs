//! Trust: what an agent's record has earned it, from 0 to 1000, as a fold over events.
//!
//! Everything is counted in whole units ([`UNITS_PER_POINT`] to a point), never in floating point, so
//! that the fold and its rebuild give the same number on every machine. Nothing here reads a clock:
//! the time is an argument. Trust only ever takes away: a tier caps the autonomy level that an agent's
//! document gives it, and permits nothing by itself.

use crate::Level;
use serde::{Deserialize, Serialize};

mod anomaly;
mod equation;
mod promotion;
mod record;
mod report;
mod risk;
mod told;
mod topology;
mod weights;

pub use anomaly::{ACTIVITY, Activity, Anomaly, FAILURES, SENSITIVE, Seen, is_sensitive};
pub use equation::{Answer, Band, Equation, Gap, Rubric, Rung, Safeguard, equation, orb};
pub use promotion::{Evidence, Lack, lacks};
pub use record::{Event, Noted, Record};
pub use report::{Course, DayScores, course};
pub use risk::{Component, Echo, RISK_MS, Risk, RiskLevel, RiskPart, Severity, Signal, Signals, concerns};
pub use told::{Contribution, Told, Trend};
pub use topology::{Least, Member, Path, Propagated, Reach, Topology, arriving, propagation, topology};
pub use weights::Weights;

/// Units in one point of a score, and in one point of a dimension. At two points an hour (S3-B6) a
/// millisecond of silence costs exactly one.
pub const UNITS_PER_POINT: i64 = 1_800_000;
/// The best score (S3-B1).
pub const SCORE_MAX: u16 = 1000;
/// Silence takes no score below this (S3-B6).
pub const SILENCE_FLOOR: u16 = 100;
/// What silence costs, in points an hour (S3-B6). One unit a millisecond, by [`UNITS_PER_POINT`].
pub const SILENCE_PER_HOUR: i64 = 2;
/// What one good event gives back of what silence took, in points (S3-B7).
pub const GOOD_REPAYS: i64 = 5;
/// The most that a score rises within 24 hours of the clock, in points (S3-B13).
pub const RISE_MAX: i64 = 50;
/// The same, until a score is again what it was before a bad event (S3-B13).
pub const RECOVERY_MAX: i64 = 10;
/// The score that a quarantine leaves at most (S3-B13).
pub const QUARANTINED: u16 = 300;
/// How long a tier is held before the next, and nothing bad has to have happened: seven days, in
/// milliseconds (S3-B13).
pub const TIER_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// What a score is made of (S3-B2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dimension {
    /// Stays within what policy allows.
    Policy,
    /// Does nothing odd.
    Security,
    /// What it does succeeds.
    Quality,
    /// Stays within its bounds and does not repeat itself.
    Efficiency,
    /// What it proposes is approved.
    Collaboration,
}

impl Dimension {
    /// All, in the order in which values of them stand.
    pub const ALL: [Dimension; 5] = [
        Dimension::Policy,
        Dimension::Security,
        Dimension::Quality,
        Dimension::Efficiency,
        Dimension::Collaboration,
    ];
}

/// How far an agent is trusted (S3-B1). A boundary belongs to the upper tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Below 300.
    Untrusted,
    /// From 300.
    Probationary,
    /// From 500.
    Standard,
    /// From 700.
    Trusted,
    /// From 900.
    Verified,
}

impl Tier {
    /// All, the lowest first.
    pub const ALL: [Tier; 5] = [
        Tier::Untrusted,
        Tier::Probationary,
        Tier::Standard,
        Tier::Trusted,
        Tier::Verified,
    ];

    /// The tier of a score.
    pub fn of(score: u16) -> Tier {
        match score {
            900.. => Tier::Verified,
            700.. => Tier::Trusted,
            500.. => Tier::Standard,
            300.. => Tier::Probationary,
            _ => Tier::Untrusted,
        }
    }

    /// The first score of it.
    pub fn first(self) -> u16 {
        match self {
            Tier::Untrusted => 0,
            Tier::Probationary => 300,
            Tier::Standard => 500,
            Tier::Trusted => 700,
            Tier::Verified => 900,
        }
    }

    /// The last score of it.
    pub fn last(self) -> u16 {
        self.next().map_or(SCORE_MAX, |next| next.first() - 1)
    }

    /// The one above.
    pub fn next(self) -> Option<Tier> {
        Tier::ALL.into_iter().find(|tier| *tier > self)
    }

    /// The highest autonomy level that it lets an agent use.
    pub fn level(self) -> Level {
        match self {
            Tier::Untrusted => Level::L0,
            Tier::Probationary => Level::L1,
            Tier::Standard => Level::L2,
            Tier::Trusted => Level::L3,
            Tier::Verified => Level::L4,
        }
    }

    /// The lowest tier that lets an agent use `level`.
    pub fn for_level(level: Level) -> Tier {
        Tier::ALL
            .into_iter()
            .find(|tier| tier.level() >= level)
            .unwrap_or(Tier::Verified)
    }

    /// As shown and stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Tier::Untrusted => "untrusted",
            Tier::Probationary => "probationary",
            Tier::Standard => "standard",
            Tier::Trusted => "trusted",
            Tier::Verified => "verified",
        }
    }
}

impl std::fmt::Display for Tier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where an agent came from, which gives its first score (S3-B11).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Part of the platform: neither earns nor loses.
    Platform,
    /// Its document names a sponsor, and whoever applied that was identified.
    Sponsored,
    /// Nobody answers for it.
    Unsponsored,
    /// It was found, not registered.
    Shadow,
    /// It was there before trust was recorded.
    #[default]
    Migrated,
    /// Made by an agent that then had this score: seven tenths of it.
    Child(u16),
}

impl Origin {
    /// The first score.
    pub fn score(self) -> u16 {
        match self {
            Origin::Platform => SCORE_MAX,
            Origin::Sponsored => 600,
            Origin::Unsponsored => 450,
            Origin::Shadow => 200,
            Origin::Migrated => 500,
            Origin::Child(parent) => u16::try_from(u32::from(parent.min(SCORE_MAX)) * 7 / 10).unwrap_or(0),
        }
    }
}

/// The lowest of a score and its ceilings: a child's never passes its parent's, nor what was asked for
/// (S3-D7). Applied at every reading.
pub fn under(score: u16, ceilings: impl IntoIterator<Item = u16>) -> u16 {
    ceilings.into_iter().fold(score, u16::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_belong_to_the_upper_tier() {
        #[rustfmt::skip]
        let table = [
            (0, "untrusted", Level::L0),    (299, "untrusted", Level::L0),
            (300, "probationary", Level::L1), (499, "probationary", Level::L1),
            (500, "standard", Level::L2),   (699, "standard", Level::L2),
            (700, "trusted", Level::L3),    (899, "trusted", Level::L3),
            (900, "verified", Level::L4),   (1000, "verified", Level::L4),
        ];
        for (score, tier, level) in table {
            let found = Tier::of(score);
            assert_eq!((found.as_str(), found.level()), (tier, level), "{score}");
            assert!((found.first()..=found.last()).contains(&score), "{score}");
            assert_eq!(Tier::for_level(level), found);
        }
    }

    #[test]
    fn every_score_has_one_level_and_a_higher_one_never_a_lower() {
        let mut before = Level::L0;
        for score in 0..=u16::MAX {
            let (tier, level) = (Tier::of(score), Tier::of(score).level());
            assert!(level >= before, "{score}");
            assert_eq!(Tier::for_level(level), tier, "{score}: one tier, one level");
            before = level;
        }
        let levels: Vec<Level> = Tier::ALL.into_iter().map(Tier::level).collect();
        let all = [Level::L0, Level::L1, Level::L2, Level::L3, Level::L4];
        assert_eq!(levels, all, "every level is somebody's, and none is skipped");
    }

    #[test]
    fn a_first_score_is_by_origin() {
        #[rustfmt::skip]
        let table = [
            (Origin::Platform, 1000), (Origin::Sponsored, 600), (Origin::Unsponsored, 450), (Origin::Shadow, 200),
            (Origin::Migrated, 500), (Origin::Child(600), 420), (Origin::Child(999), 699), (Origin::Child(u16::MAX), 700),
        ];
        for (origin, score) in table {
            assert_eq!(origin.score(), score, "{origin:?}");
        }
    }

    #[test]
    fn a_ceiling_only_takes_away() {
        assert_eq!(under(640, []), 640);
        assert_eq!(under(640, [700, 500]), 500);
        assert_eq!(under(100, [700, 500]), 100);
    }
}
