//! How fast an agent may act, whichever door it comes in by: a token bucket of each, by its ring (S3-K6). In memory and
//! before anything is decided, so that what is over it costs neither a decision nor a transaction.
//!
//! Invariants:
//! - **No action fills a bucket.** A ring is the agent's and not the action's: it changes with its document, its trust and an
//!   elevation alone. A bucket of another ring begins with what was left, never with more than that ring lets.
//! - **What was refused counts**, or guessing would be free.

use crate::gate::lock;
use crate::{AgentAuthority, Gate, elevations, trust};
use policy::trust::{Origin, Tier};
use policy::{Autonomy, Rate, Ring};
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;
use store::{Reader, StoreError};

/// Agents that are told apart (S3-K6). A bucket that is full again is as good as none, and all are after two idle seconds; while there
/// are this many that are not, others wait.
const BUCKETS_MAX: usize = 100_000;
/// Parts of an action: one second times one action a second gives a thousand in a thousand milliseconds.
const PARTS: u64 = 1000;
/// When to try again where no bucket is free.
const BUSY_MS: i64 = 1000;

/// Those of all agents, by name.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    agents: Mutex<HashMap<String, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// In parts.
    left: u64,
    /// When that was so, in milliseconds by the monotonic clock.
    at: u128,
    /// What it holds at most, in parts.
    most: u64,
    /// Parts in a millisecond.
    earns: u64,
}

/// How fast an agent may act, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Pace {
    /// By the highest level that it has anywhere, under its trust of now.
    pub ring: Ring,
    /// That of the ring, unless its document says another.
    #[serde(flatten)]
    pub rate: Rate,
    /// How many actions it could take right now.
    pub left: u32,
}

impl Buckets {
    /// Takes one action of `agent`, or says in how many milliseconds there is one.
    pub fn take(&self, agent: &str, rate: Rate, now: Duration) -> Result<(), i64> {
        let mut agents = lock(&self.agents);
        if !agents.contains_key(agent) {
            if agents.len() >= BUCKETS_MAX {
                agents.retain(|_, bucket| !bucket.is_full(now));
            }
            if agents.len() >= BUCKETS_MAX {
                return Err(BUSY_MS);
            }
        }
        let bucket = agents
            .entry(agent.to_owned())
            .or_insert_with(|| Bucket::full(rate, now));
        *bucket = bucket.at(rate, now);
        if let Some(left) = bucket.left.checked_sub(PARTS) {
            bucket.left = left;
            return Ok(());
        }
        let lacking = PARTS - bucket.left;
        Err(i64::try_from(lacking.div_ceil(bucket.earns.max(1))).unwrap_or(i64::MAX))
    }

    /// How many actions `agent` could take now.
    pub fn left(&self, agent: &str, rate: Rate, now: Duration) -> u32 {
        let agents = lock(&self.agents);
        let bucket = agents
            .get(agent)
            .map_or(Bucket::full(rate, now), |bucket| bucket.at(rate, now));
        u32::try_from(bucket.left / PARTS).unwrap_or(u32::MAX)
    }
}

impl Bucket {
    fn full(rate: Rate, now: Duration) -> Bucket {
        let most = u64::from(rate.burst) * PARTS;
        Bucket {
            left: most,
            at: now.as_millis(),
            most,
            // In a second, so many times a thousand parts: in a millisecond, so many parts.
            earns: u64::from(rate.per_second),
        }
    }

    /// As it is at `now` under `rate`: earned at the rate of then, held to the most of now.
    fn at(self, rate: Rate, now: Duration) -> Bucket {
        let since = u64::try_from(now.as_millis().saturating_sub(self.at)).unwrap_or(u64::MAX);
        let earned = self.left.saturating_add(since.saturating_mul(self.earns));
        let full = Bucket::full(rate, now);
        Bucket {
            left: earned.min(self.most).min(full.most),
            ..full
        }
    }

    fn is_full(self, now: Duration) -> bool {
        let rate = Rate {
            per_second: u32::try_from(self.earns).unwrap_or(u32::MAX),
            burst: u32::try_from(self.most / PARTS).unwrap_or(u32::MAX),
        };
        self.at(rate, now).left == self.most
    }
}

impl Gate {
    /// How fast `agent` may act now; `None` when it is not configured.
    pub fn pace(&self, agent: &str) -> Result<Option<Pace>, StoreError> {
        let authority = self.authority.load_full();
        let Some(held) = authority.agents.get(agent) else {
            return Ok(None);
        };
        let now = self.deadlines.now();
        let read = |reader: &Reader<'_>| {
            let trust = trust::least_read(reader, &authority, &[agent.to_owned()], now)?;
            Ok::<_, StoreError>((trust, elevations::active(reader, agent, now)?))
        };
        let (trust, elevation) = self.store.read(read)?;
        let elevation = elevation.filter(|elevation| elevation.holds_with(trust));
        let raised = elevation.map_or_else(|| held.autonomy.clone(), |view| held.autonomy.raised(view.to));
        let (ring, rate) = pace_of(held, &raised, trust);
        let left = self.buckets.left(agent, rate, self.clock.monotonic());
        Ok(Some(Pace { ring, rate, left }))
    }
}

/// The ring of an agent that is trusted so much, and how fast it may act. `autonomy` is that of its document, or what it was
/// raised to.
pub(crate) fn pace_of(held: &AgentAuthority, autonomy: &Autonomy, trust: u16) -> (Ring, Rate) {
    let ring = match held.trust.origin {
        Origin::Platform => Ring::R0,
        _ => Ring::of(autonomy.highest(Tier::of(trust).level())),
    };
    let (usual, said) = (ring.rate(), held.bounds);
    let rate = match said.actions_per_second {
        Some(own) => Rate {
            per_second: own.get(),
            burst: own.get().saturating_mul(2),
        },
        None => usual,
    };
    let burst = said.burst.map_or(rate.burst, std::num::NonZeroU32::get);
    (ring, Rate { burst, ..rate })
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::Level;

    const START: Duration = Duration::from_secs(7);

    fn quick(buckets: &Buckets, ring: Ring, calls: u32, now: Duration) -> Vec<Result<(), i64>> {
        (0..calls).map(|_| buckets.take("a", ring.rate(), now)).collect()
    }

    #[test]
    fn eleven_quick_calls_in_ring_3_and_the_eleventh_is_refused() {
        let buckets = Buckets::default();
        let taken = quick(&buckets, Ring::R3, 11, START);
        assert!(taken[..10].iter().all(Result::is_ok), "{taken:?}");
        assert_eq!(taken[10], Err(200), "five a second: there is one in 200 ms");
        let at = |ms| START + Duration::from_millis(ms);
        assert_eq!(buckets.take("a", Ring::R3.rate(), at(199)), Err(1));
        assert_eq!(buckets.take("a", Ring::R3.rate(), at(200)), Ok(()));
        assert_eq!(buckets.take("a", Ring::R3.rate(), at(200)), Err(200));
        assert_eq!(
            buckets.take("b", Ring::R3.rate(), at(200)),
            Ok(()),
            "another agent"
        );
        assert_eq!(
            buckets.left("a", Ring::R3.rate(), at(60_000)),
            10,
            "never more than its burst"
        );
    }

    /// Against a naive count: in no stretch of time more than the burst and what was earned in it.
    #[test]
    fn no_stretch_holds_more_than_burst_and_rate() {
        for ring in [Ring::R0, Ring::R1, Ring::R2, Ring::R3] {
            let (buckets, rate) = (Buckets::default(), ring.rate());
            let (mut taken, mut ms) = (Vec::new(), 0_u64);
            for n in 0..3000_u64 {
                ms += n * n % 31;
                if buckets.take("a", rate, Duration::from_millis(ms)).is_ok() {
                    taken.push(ms);
                }
            }
            for (first, since) in taken.iter().enumerate() {
                for (count, until) in taken[first..].iter().enumerate() {
                    let earned = (until - since) * u64::from(rate.per_second) / 1000;
                    assert!(
                        count as u64 <= u64::from(rate.burst) + earned,
                        "{ring} {since} {until}"
                    );
                }
            }
            let least = ms * u64::from(rate.per_second) / 1000;
            assert!(
                taken.len() as u64 >= least.min(2900),
                "{ring}: {} of {least}",
                taken.len()
            );
        }
    }

    #[test]
    fn another_ring_holds_at_once_and_fills_nothing() {
        let buckets = Buckets::default();
        let left = |ring: Ring| buckets.left("a", ring.rate(), START);
        quick(&buckets, Ring::R1, 40, START);
        assert_eq!((left(Ring::R1), left(Ring::R3)), (60, 10));
        quick(&buckets, Ring::R3, 11, START);
        assert_eq!(
            (left(Ring::R3), left(Ring::R1)),
            (0, 0),
            "going up and down is no way to more"
        );
        let later = START + Duration::from_secs(1);
        assert_eq!(buckets.left("a", Ring::R1.rate(), later), 5, "earned in ring 3");
    }

    #[test]
    fn there_are_so_many_buckets_and_idle_ones_make_room() {
        let (buckets, rate) = (Buckets::default(), Ring::R1.rate());
        for n in 0..BUCKETS_MAX {
            assert_eq!(buckets.take(&n.to_string(), rate, START), Ok(()));
        }
        assert_eq!(buckets.take("new", rate, START), Err(BUSY_MS));
        assert_eq!(buckets.take("7", rate, START), Ok(()), "who has one goes on");
        let later = START + Duration::from_secs(2);
        assert_eq!(buckets.take("new", rate, later), Ok(()));
        assert_eq!(lock(&buckets.agents).len(), 1);
    }

    #[test]
    fn a_rate_is_by_level_and_trust_unless_the_document_says_it() {
        let autonomy = |level| Autonomy {
            default: level,
            ..Autonomy::default()
        };
        let held = |level, bounds, origin| AgentAuthority {
            grants: Vec::new(),
            deny: Vec::new(),
            autonomy: autonomy(level),
            bounds,
            sponsor: "alice".to_owned(),
            place: policy::Place::default(),
            trust: crate::TrustTerms {
                origin,
                ..crate::TrustTerms::default()
            },
        };
        let usual = crate::Bounds::default();
        let own = crate::Bounds {
            actions_per_second: 7.try_into().ok(),
            ..usual
        };
        let both = crate::Bounds {
            burst: 9.try_into().ok(),
            ..own
        };
        let (person, platform) = (Origin::default(), Origin::Platform);
        #[rustfmt::skip]
        let table = [
            // level      bounds  origin    trust  raised to     ring      a second, at once
            (Level::L0,   usual,  person,   1000,  None,             Ring::R3, 5, 10),
            (Level::L2,   usual,  person,   1000,  None,             Ring::R2, 20, 40),
            (Level::L2,   usual,  person,   499,   None,             Ring::R3, 5, 10),
            (Level::L4,   usual,  person,   1000,  None,             Ring::R1, 50, 100),
            (Level::L4,   usual,  person,   500,   None,             Ring::R2, 20, 40),
            (Level::L0,   usual,  person,   900,   Some(Level::L3),  Ring::R1, 50, 100),
            (Level::L0,   own,    person,   0,     None,             Ring::R3, 7, 14),
            (Level::L3,   both,   person,   1000,  None,             Ring::R1, 7, 9),
            (Level::L0,   usual,  platform, 1000,  None,             Ring::R0, 100, 200),
        ];
        for (level, bounds, origin, trust, raised, ring, per_second, burst) in table {
            let rate = Rate { per_second, burst };
            let autonomy = autonomy(raised.unwrap_or(level));
            assert_eq!(
                pace_of(&held(level, bounds, origin), &autonomy, trust),
                (ring, rate),
                "{level:?} {trust}"
            );
        }
    }
}
