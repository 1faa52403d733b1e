//! The time by which whatever ends is over: approvals, waivers, tokens, delegations, identities. It never goes back, whatever is done to the machine's clock
//! and however often the process starts, and it never decides anything but that.
//!
//! Within a process the monotonic clock tells what passed. A start continues where the journal's last
//! entry stood: when the clock had gone back by then, what entries tell of the time since is added to
//! what the clock said before. What passes between the last entry and a start with a wrong clock is not known.

use crate::gate::lock;
use crate::rows::{self, body, decode};
use journal::kind;
use policy::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::Mutex;
use std::time::Duration;
use store::clock::SharedClock;
use store::{Applied, Corrupt, Projection, Reader, Rows, Store, StoreError};

/// Name of the projection.
const CLOCK: &str = "clock";
/// Key of its only row.
const JUMP: &str = "jump";

/// The latest time that was seen, by the machine's clock, and when that was, by the monotonic one.
#[derive(Debug)]
pub(crate) struct Deadlines {
    clock: SharedClockHeld,
    latest: Mutex<(Timestamp, Duration)>,
}

/// A clock, which has nothing to show.
struct SharedClockHeld(SharedClock);

impl std::fmt::Debug for SharedClockHeld {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("clock")
    }
}

impl Deadlines {
    /// From the later of now and what the journal's last entry tells.
    pub(crate) fn load(store: &Store, clock: &SharedClock) -> Result<Deadlines, StoreError> {
        let last = store.read(|reader| {
            let last = match reader.size()?.checked_sub(1) {
                Some(last) => reader.entry(last)?.map(|stored| stored.entry.timestamp),
                None => None,
            };
            let jump: Option<Jump> = reader.row(CLOCK, JUMP)?.map(decode).transpose()?;
            Ok(match jump {
                Some(jump) => last.map(|last| jump.time_at(last)),
                None => last,
            })
        })?;
        let now = clock.now();
        Ok(Deadlines::from(
            clock.clone(),
            last.map_or(now, |last| last.max(now)),
        ))
    }

    fn from(clock: SharedClock, latest: Timestamp) -> Deadlines {
        Deadlines {
            latest: Mutex::new((latest, clock.monotonic())),
            clock: SharedClockHeld(clock),
        }
    }

    /// The later of the clock's time and the latest time seen before, with what passed since.
    pub(crate) fn now(&self) -> Timestamp {
        let mut latest = lock(&self.latest);
        let (wall, passed) = (self.clock.0.now(), self.clock.0.monotonic());
        let since = passed.saturating_sub(latest.1).as_millis();
        let reckoned = latest.0.plus_ms(i64::try_from(since).unwrap_or(i64::MAX));
        if wall <= reckoned {
            // Counted from where it was: fractions of a millisecond add up.
            return reckoned;
        }
        *latest = (wall, passed);
        wall
    }
}

/// The last time that the clock went back.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Jump {
    /// What time it was.
    time: Timestamp,
    /// What the clock said from then on.
    clock: Timestamp,
}

impl Jump {
    /// What time it is when the clock says `clock`, some time after the jump. Until it says what it said
    /// before, what it went on by is added; from then on it is right again.
    fn time_at(&self, clock: Timestamp) -> Timestamp {
        if clock >= self.time {
            return clock;
        }
        self.time.plus_ms(clock.since_ms(self.clock).max(0))
    }
}

/// How late it was when the clock last went back; no entry before that bears a later time.
pub(crate) fn went_back_from(reader: &Reader<'_>) -> Result<Option<Timestamp>, StoreError> {
    let jump = reader.row(CLOCK, JUMP)?.map(decode::<Jump>).transpose()?;
    Ok(jump.map(|jump| jump.time))
}

#[derive(Deserialize)]
struct Body {
    from: Timestamp,
    to: Timestamp,
}

/// One row, [`JUMP`]: a [`Jump`], once there was one.
pub(crate) struct ClockJumps;

impl Projection for ClockJumps {
    fn name(&self) -> &'static str {
        CLOCK
    }

    fn kinds(&self) -> &'static [&'static str] {
        &[kind::CLOCK_JUMPED]
    }

    fn apply(&self, applied: &Applied<'_>, rows: &mut dyn Rows) -> Result<(), Corrupt> {
        let Body { from, to } = body(applied.entry)?;
        let before: Option<Jump> = rows::get(rows, JUMP)?;
        let time = before.map_or(from, |jump| jump.time_at(from));
        rows::put(rows, JUMP, &Jump { time, clock: to })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asking_often_does_not_slow_the_time_down() {
        let clock = testkit::ManualClock::new();
        let start = store::clock::Clock::now(&*clock);
        let deadlines = Deadlines::from(clock.clone(), start);
        clock.set(start.plus_ms(-3_600_000));
        for _ in 0..10_000 {
            clock.advance(Duration::from_micros(900));
            deadlines.now();
        }
        assert_eq!(deadlines.now().since_ms(start), 9_000);
    }
}
