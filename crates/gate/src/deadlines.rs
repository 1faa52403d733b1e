//! The time by which approvals are over. It never goes back while the process lives, whatever is done
//! to the machine's clock, and it never decides anything but that.

use crate::gate::lock;
use policy::Timestamp;
use std::sync::Mutex;
use std::time::Duration;
use store::clock::SharedClock;
use store::{Store, StoreError};

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
    /// From the later of now and the journal's last entry.
    pub(crate) fn load(store: &Store, clock: &SharedClock) -> Result<Deadlines, StoreError> {
        let last = store.read(|reader| match reader.size()?.checked_sub(1) {
            Some(last) => reader.entry(last),
            None => Ok(None),
        })?;
        let now = clock.now();
        let latest = last.map_or(now, |stored| stored.entry.timestamp.max(now));
        Ok(Deadlines {
            clock: SharedClockHeld(clock.clone()),
            latest: Mutex::new((latest, clock.monotonic())),
        })
    }

    /// The later of the clock's time and the latest time seen before, with what passed since.
    pub(crate) fn now(&self) -> Timestamp {
        let mut latest = lock(&self.latest);
        let (wall, passed) = (self.clock.0.now(), self.clock.0.monotonic());
        let since = passed.saturating_sub(latest.1).as_millis();
        let reckoned = latest.0.plus_ms(i64::try_from(since).unwrap_or(i64::MAX));
        *latest = (wall.max(reckoned), passed);
        latest.0
    }
}
