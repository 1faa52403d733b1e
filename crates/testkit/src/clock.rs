//! A clock that only moves when told.

use policy::Timestamp;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use store::clock::Clock;

/// Wall clock and monotonic clock under a test's control.
#[derive(Debug)]
pub struct ManualClock {
    /// Wall clock, and time since the start.
    now: Mutex<(Timestamp, Duration)>,
}

impl ManualClock {
    /// Stands at 2026-01-01T00:00:00Z.
    pub fn new() -> Arc<ManualClock> {
        ManualClock::at("2026-01-01T00:00:00Z")
    }

    /// Stands at an RFC 3339 time; at the Unix epoch when it is none.
    pub fn at(time: &str) -> Arc<ManualClock> {
        let time = Timestamp::parse(time).unwrap_or_default();
        Arc::new(ManualClock {
            now: Mutex::new((time, Duration::ZERO)),
        })
    }

    /// Moves both clocks on.
    pub fn advance(&self, by: Duration) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        now.0 = now.0.plus_ms(i64::try_from(by.as_millis()).unwrap_or(i64::MAX));
        now.1 = now.1.saturating_add(by);
    }

    /// Sets the wall clock, which may jump; the monotonic clock stays.
    pub fn set(&self, time: Timestamp) {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).0 = time;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    fn monotonic(&self) -> Duration {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}
