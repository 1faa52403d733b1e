//! What a promotion takes: time, a record, and evidence (S1-13.3, S3-B13). The person is the gate's to ask.

use super::record::{Event, Record};
use super::{TIER_MS, Tier};
use crate::Timestamp;
use serde::{Deserialize, Serialize};

/// What happened while a tier was held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Actions that succeeded.
    pub done: u64,
    /// Actions that failed.
    pub failed: u64,
    /// Proposals that a person approved.
    pub approved: u64,
    /// Proposals that a person refused.
    pub refused: u64,
}

/// Something that a promotion lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lack {
    /// `tier`, `score`, `time`, `conduct`, `outcomes`, `approvals`.
    pub what: &'static str,
    /// In words: what there is and what it takes.
    pub why: String,
}

/// What a tier takes: outcomes and the share of them that succeeded, proposals decided and the share that
/// was approved.
struct Takes {
    outcomes: u64,
    done_percent: u64,
    decided: u64,
    approved_percent: u64,
}

/// S1-13.3: 90 % agreement, 80 % accepted, 70 % merged as proposed, 95 % success unattended. How many there
/// have to be for a share to mean something is ours.
fn takes(tier: Tier) -> Takes {
    let (outcomes, done_percent, decided, approved_percent) = match tier {
        Tier::Untrusted => (0, 0, 0, 0),
        Tier::Probationary => (10, 90, 0, 0),
        Tier::Standard => (20, 80, 0, 0),
        Tier::Trusted => (50, 80, 5, 70),
        Tier::Verified => (200, 95, 5, 70),
    };
    Takes {
        outcomes,
        done_percent,
        decided,
        approved_percent,
    }
}

impl Evidence {
    /// Counts an event, if it is one of these.
    pub(super) fn count(&mut self, event: Event) {
        match event {
            Event::Done => self.done += 1,
            Event::Failed => self.failed += 1,
            Event::Approved => self.approved += 1,
            Event::Refused => self.refused += 1,
            Event::Violation
            | Event::Exceeded
            | Event::Repeated
            | Event::Anomaly(_)
            | Event::Quarantined
            | Event::Promoted(_) => {}
        }
    }
}

/// What `record` lacks at `now` to be promoted to `tier`; empty when it may be.
pub fn lacks(record: &Record, tier: Tier, now: Timestamp) -> Vec<Lack> {
    let mut lacks = Vec::new();
    let mut lack = |what, why: String| lacks.push(Lack { what, why });
    if record.held.next() != Some(tier) {
        lack(
            "tier",
            format!("it is {}, and tiers are won one by one", record.held),
        );
    }
    let earned = record.earned_at(now);
    if earned < tier.first() {
        lack(
            "score",
            format!("it has earned {earned}, and {tier} begins at {}", tier.first()),
        );
    }
    let held = now.since_ms(record.held_since);
    if held < TIER_MS {
        lack(
            "time",
            format!("it is {} for {} of 7 days", record.held, days(held)),
        );
    }
    if let Some(bad) = record.bad.filter(|bad| now.since_ms(*bad) < TIER_MS) {
        let ago = days(now.since_ms(bad));
        lack("conduct", format!("the last bad event is {ago} of 7 days ago"));
    }
    let takes = takes(tier);
    let Evidence {
        done,
        failed,
        approved,
        refused,
    } = record.evidence;
    share(
        &mut lacks,
        "outcomes",
        "actions succeeded",
        done,
        failed,
        takes.outcomes,
        takes.done_percent,
    );
    share(
        &mut lacks,
        "approvals",
        "proposals were approved",
        approved,
        refused,
        takes.decided,
        takes.approved_percent,
    );
    lacks
}

fn share(lacks: &mut Vec<Lack>, what: &'static str, of: &str, good: u64, bad: u64, least: u64, percent: u64) {
    let all = good + bad;
    if all < least || good * 100 < all * percent {
        let why =
            format!("{good} of {all} {of} while the tier is held; it takes {percent} % of at least {least}");
        lacks.push(Lack { what, why });
    }
}

fn days(ms: i64) -> i64 {
    ms.max(0) / (24 * 60 * 60 * 1000)
}

#[cfg(test)]
mod tests {
    use super::super::Origin;
    use super::*;

    const DAY: i64 = 24 * 60 * 60 * 1000;

    fn told(record: &Record, tier: Tier, now: Timestamp) -> String {
        let lacks = lacks(record, tier, now);
        lacks
            .iter()
            .map(|lack| format!("{}: {}", lack.what, lack.why))
            .collect::<Vec<_>>()
            .join("; ")
    }

    /// A sponsored agent that did well for `days`, and had that many proposals approved and refused.
    fn good(days: i64, done: u32, failed: u32, approved: u32, refused: u32) -> (Record, Timestamp) {
        let mut record = Record::open(Origin::Sponsored, Timestamp::from_ms(0));
        let mut now = Timestamp::from_ms(0);
        for day in 0..days {
            now = Timestamp::from_ms(day * DAY);
            for (event, count) in [
                (Event::Failed, failed),
                (Event::Refused, refused),
                (Event::Approved, approved),
                (Event::Done, done),
            ] {
                for _ in 0..count {
                    record.apply(event, now, 1);
                }
            }
        }
        (record, now)
    }

    #[test]
    fn a_promotion_takes_all_of_it() {
        let fresh = Record::open(Origin::Sponsored, Timestamp::from_ms(0));
        let (well, after_well) = good(9, 30, 1, 2, 0);
        let (refused, after_refused) = good(9, 30, 1, 1, 2);
        let (early, after_early) = good(6, 30, 1, 2, 0);
        let mut bad = well.clone();
        bad.apply(Event::Violation, after_well, 2);
        #[rustfmt::skip]
        let table = [
            ("a new one", fresh, Timestamp::from_ms(DAY),
             "score: it has earned 552, and trusted begins at 700; time: it is standard for 1 of 7 days; \
              outcomes: 0 of 0 actions succeeded while the tier is held; it takes 80 % of at least 50; \
              approvals: 0 of 0 proposals were approved while the tier is held; it takes 70 % of at least 5"),
            ("all is there", well.clone(), after_well, ""),
            ("too early", early, after_early, "time: it is standard for 5 of 7 days"),
            ("a violation", bad.clone(), after_well, "conduct: the last bad event is 0 of 7 days ago"),
            ("refused too often", refused, after_refused,
             "approvals: 9 of 27 proposals were approved while the tier is held; it takes 70 % of at least 5"),
        ];
        for (name, record, now, expected) in table {
            assert_eq!(told(&record, Tier::Trusted, now), expected, "{name}");
        }
        assert_eq!(
            told(&well, Tier::Verified, after_well).split(';').next().unwrap(),
            "tier: it is standard, and tiers are won one by one"
        );
        assert!(
            told(&well, Tier::Standard, after_well).starts_with("tier: "),
            "not downwards"
        );
    }
}
