//! The record of one agent: a fold over its events, and the score that it gives at a point in time.
//!
//! INVARIANT (silence is counted once): what silence costs is time since it was last counted, one unit a
//! millisecond, so that it is the same however often somebody looks in between.

use super::promotion::Evidence;
use super::{
    GOOD_REPAYS, Origin, QUARANTINED, RECOVERY_MAX, RISE_MAX, SCORE_MAX, SILENCE_FLOOR, TIER_MS, Tier,
    UNITS_PER_POINT, Weights,
};
use crate::Timestamp;
use serde::{Deserialize, Serialize};

/// Events that are kept to be shown (S3-B9).
const RECENT_MAX: usize = 10;
/// One hour, in milliseconds: how finely rises are remembered.
const HOUR_MS: i64 = 60 * 60 * 1000;
/// A day, in the hours of the clock in which rises are counted: what rose yesterday at this time counts no longer.
const RISE_HOURS: i64 = 24;

/// What moves trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// An action succeeded.
    Done,
    /// An action failed. Not a bad event: the world fails too.
    Failed,
    /// It asked for what it may not do.
    Violation,
    /// It ran into a bound.
    Exceeded,
    /// It kept asking for what was denied.
    Repeated,
    /// A person approved what it proposed.
    Approved,
    /// A person refused what it proposed.
    Refused,
    /// It behaved oddly; how severely, in hundredths. Costs as many points (S3-B7).
    Anomaly(u8),
    /// A stop was pulled on it.
    Quarantined,
    /// A person vouched for it.
    Promoted(Tier),
}

/// An event as it is kept to be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    /// When.
    pub at: Timestamp,
    /// Sequence of the entry that says so.
    pub entry: u64,
    /// What.
    pub event: Event,
    /// The score that was left, in force.
    pub score: u16,
    /// The dimensions that were left, in units.
    pub dimensions: [i64; 5],
}

/// What is known of one agent. Amounts are in units.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Where it came from.
    pub origin: Origin,
    /// When its record begins.
    pub opened: Timestamp,
    /// 0 to 100 points each, in the order of [`Dimension::ALL`](super::Dimension::ALL).
    pub dimensions: [i64; 5],
    /// How much each counts, as a person tuned it.
    #[serde(default, skip_serializing_if = "Weights::are_default")]
    pub weights: Weights,
    /// What silence took and nothing has given back yet.
    pub silence: i64,
    /// Until when silence is counted.
    pub counted: Timestamp,
    /// The highest tier that is in force, whatever the score: what is earned above it waits for a person.
    pub held: Tier,
    /// Since when.
    pub held_since: Timestamp,
    /// What it was worth before the last bad event, until it is again.
    pub recovering_to: Option<i64>,
    /// The last bad event.
    pub bad: Option<Timestamp>,
    /// By hour since 1970, what it rose in the last day.
    pub rises: Vec<(i64, i64)>,
    /// What happened since the tier is held.
    pub evidence: Evidence,
    /// The newest last.
    pub recent: Vec<Noted>,
    /// How many events there were.
    pub events: u64,
}

impl Event {
    /// Whether the score recovers slowly after it, and a tier can be lost by it.
    pub fn is_bad(self) -> bool {
        matches!(self, Event::Violation | Event::Anomaly(_) | Event::Quarantined)
    }

    /// Whether it gives back what silence took.
    pub fn is_good(self) -> bool {
        matches!(self, Event::Done | Event::Approved)
    }

    /// Where it draws each dimension, in points, in the order of [`Dimension::ALL`](super::Dimension::ALL).
    fn draws(self) -> [Option<i64>; 5] {
        const GOOD: Option<i64> = Some(100);
        const BAD: Option<i64> = Some(0);
        match self {
            Event::Done => [GOOD, GOOD, GOOD, GOOD, None],
            Event::Failed => [None, None, BAD, None, None],
            Event::Violation => [BAD, None, None, None, None],
            Event::Exceeded | Event::Repeated => [None, None, None, BAD, None],
            Event::Approved => [None, None, None, None, GOOD],
            Event::Refused => [None, None, None, None, BAD],
            Event::Anomaly(_) | Event::Quarantined | Event::Promoted(_) => [None; 5],
        }
    }

    /// Every dimension after it, before any limit.
    fn moved(self, dimensions: [i64; 5]) -> [i64; 5] {
        match self {
            Event::Anomaly(severity) => {
                // As many points of the score as hundredths: a tenth of that in every dimension.
                let loss = i64::from(severity.min(100)) * UNITS_PER_POINT / 10;
                dimensions.map(|held| (held - loss).max(0))
            }
            Event::Quarantined => {
                dimensions.map(|held| held.min(i64::from(QUARANTINED) * UNITS_PER_POINT / 10))
            }
            _ => {
                let mut moved = dimensions;
                for (held, draw) in moved.iter_mut().zip(self.draws()) {
                    *held = draw.map_or(*held, |points| average(*held, points * UNITS_PER_POINT));
                }
                moved
            }
        }
    }
}

/// The exponential moving average with α = 0.1 (S3-B3), rounded half away from zero.
fn average(held: i64, signal: i64) -> i64 {
    let step = signal - held;
    held + (step + 5 * step.signum()) / 10
}

/// The score of `dimensions`, in units: the weighted sum times ten.
fn total(dimensions: &[i64; 5], weights: &Weights) -> i64 {
    let weighted = dimensions.iter().zip(weights.weighted());
    weighted.map(|(held, (_, weight))| held * weight).sum::<i64>() / 10
}

impl Record {
    /// A new one.
    pub fn open(origin: Origin, at: Timestamp) -> Record {
        let score = origin.score();
        Record {
            origin,
            opened: at,
            dimensions: [i64::from(score) * UNITS_PER_POINT / 10; 5],
            weights: Weights::default(),
            silence: 0,
            counted: at,
            held: Tier::of(score),
            held_since: at,
            recovering_to: None,
            bad: None,
            rises: Vec::new(),
            evidence: Evidence::default(),
            recent: Vec::new(),
            events: 0,
        }
    }

    /// What its dimensions are worth, in units, before silence and the tier.
    fn worth(&self) -> i64 {
        total(&self.dimensions, &self.weights)
    }

    /// Counts the dimensions by other weights from `at` on. What silence took stays taken, the tier is held as
    /// before, and what a bad event has to be recovered from is as far away as before.
    pub fn weigh(&mut self, weights: Weights, at: Timestamp) {
        self.count(at);
        let before = self.worth();
        self.weights = weights;
        let moved = self.worth() - before;
        self.recovering_to = self.recovering_to.map(|target| target + moved);
        self.silence = self.silence_at(at);
    }

    /// The score that it has earned at `now`, whether or not the tier is held for it.
    pub fn earned_at(&self, now: Timestamp) -> u16 {
        if self.origin == Origin::Platform {
            return SCORE_MAX;
        }
        let silence = self.silence_at(now) / UNITS_PER_POINT;
        let points = self.worth() / UNITS_PER_POINT - silence;
        u16::try_from(points.clamp(0, i64::from(SCORE_MAX))).unwrap_or(0)
    }

    /// The score in force at `now`: what it has earned, within the tier that is held.
    pub fn score_at(&self, now: Timestamp) -> u16 {
        self.earned_at(now).min(self.held.last())
    }

    /// What silence costs at `now`, in units.
    pub fn silence_at(&self, now: Timestamp) -> i64 {
        let most = (self.worth() - i64::from(SILENCE_FLOOR) * UNITS_PER_POINT).max(0);
        let passed = now.since_ms(self.counted).max(0);
        self.silence.saturating_add(passed).min(most)
    }

    /// Counts silence up to `now`. Whether and how often it is called makes no difference to any score.
    pub fn count(&mut self, now: Timestamp) {
        self.silence = self.silence_at(now);
        self.counted = self.counted.max(now);
    }

    /// Folds in one event, which the entry `entry` tells.
    pub fn apply(&mut self, event: Event, at: Timestamp, entry: u64) {
        self.count(at);
        self.rises.retain(|rise| counts(rise, at));
        let before = self.worth();
        self.repay(event);
        self.limit(event, at);
        let after = self.worth();
        if event.is_bad() {
            self.bad = Some(at);
            self.recovering_to = self.recovering_to.max(Some(before));
        } else if after < before {
            self.give_back(before - after);
        }
        if self.recovering_to.is_some_and(|target| after >= target) {
            self.recovering_to = None;
        }
        self.silence = self.silence_at(at);
        self.evidence.count(event);
        self.hold(event, at);
        self.note(event, at, entry);
    }

    /// What may still be risen at `at`, in units.
    pub fn room_at(&self, at: Timestamp) -> i64 {
        let most = match self.recovering_to {
            Some(_) => RECOVERY_MAX,
            None => RISE_MAX,
        };
        let risen: i64 = self
            .rises
            .iter()
            .filter(|rise| counts(rise, at))
            .map(|(_, units)| units)
            .sum();
        (most * UNITS_PER_POINT - risen).max(0)
    }

    /// A good event gives back some of what silence took. That was earned before, so it is no rise.
    fn repay(&mut self, event: Event) {
        if event.is_good() {
            self.silence = (self.silence - GOOD_REPAYS * UNITS_PER_POINT).max(0);
        }
    }

    /// Moves the dimensions; up only as far as there is room (S3-B13).
    fn limit(&mut self, event: Event, at: Timestamp) {
        let moved = event.moved(self.dimensions);
        let gain = total(&moved, &self.weights) - self.worth();
        let room = self.room_at(at);
        if gain <= room {
            self.rise(at, gain.max(0));
            self.dimensions = moved;
            return;
        }
        let held = self.worth();
        for (now, then) in self.dimensions.iter_mut().zip(moved) {
            // Within i64: a dimension has 180 million units, and room is smaller than that.
            *now += (then - *now) * room / gain;
        }
        let gained = self.worth() - held;
        self.rise(at, gained);
    }

    fn rise(&mut self, at: Timestamp, units: i64) {
        if units <= 0 {
            return;
        }
        match self.rises.last_mut().filter(|(hour, _)| *hour == hour_of(at)) {
            Some((_, risen)) => *risen += units,
            None => self.rises.push((hour_of(at), units)),
        }
    }

    /// What was lost without anything bad can be risen again, or failures of the world would sink an agent.
    fn give_back(&mut self, lost: i64) {
        let mut left = lost;
        for (_, risen) in self.rises.iter_mut().rev() {
            let back = left.min(*risen);
            *risen -= back;
            left -= back;
        }
        self.rises.retain(|(_, risen)| *risen > 0);
    }

    /// A tier is lost at once by what is bad, and won by a person, or below what may write by time.
    fn hold(&mut self, event: Event, at: Timestamp) {
        let earned = Tier::of(self.earned_at(at));
        let next = match event {
            Event::Promoted(tier) => Some(tier),
            _ if event.is_bad() && earned < self.held => Some(earned),
            _ if self.may_leave_untrusted(earned, at) => Some(Tier::Probationary),
            _ => None,
        };
        if let Some(tier) = next {
            self.held = tier;
            self.held_since = at;
            self.evidence = Evidence::default();
        }
    }

    /// The one promotion that needs nobody: it lets an agent write nothing.
    fn may_leave_untrusted(&self, earned: Tier, at: Timestamp) -> bool {
        let quiet = self.bad.is_none_or(|bad| at.since_ms(bad) >= TIER_MS);
        self.held == Tier::Untrusted
            && earned > Tier::Untrusted
            && quiet
            && at.since_ms(self.held_since) >= TIER_MS
    }

    fn note(&mut self, event: Event, at: Timestamp, entry: u64) {
        self.events += 1;
        self.recent.push(Noted {
            at,
            entry,
            event,
            score: self.score_at(at),
            dimensions: self.dimensions,
        });
        let over = self.recent.len().saturating_sub(RECENT_MAX);
        self.recent.drain(..over);
    }
}

/// Whether a rise is of the last day.
fn counts((hour, _): &(i64, i64), at: Timestamp) -> bool {
    hour_of(at) - hour < RISE_HOURS
}

fn hour_of(at: Timestamp) -> i64 {
    at.ms().div_euclid(HOUR_MS)
}

#[cfg(test)]
mod tests;
