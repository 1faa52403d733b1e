//! The one place that reads clocks. Everything else is handed a [`Clock`].

use policy::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// What time it is.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Wall clock: for records. May jump.
    fn now(&self) -> Timestamp;
    /// Time since some fixed point; never goes back. For durations and time-outs.
    fn monotonic(&self) -> Duration;
}

/// Shared clock.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: std::time::Instant,
}

impl SystemClock {
    /// Starts the monotonic clock at zero.
    #[expect(
        clippy::disallowed_methods,
        reason = "this module is the one that reads clocks"
    )]
    pub fn shared() -> SharedClock {
        Arc::new(SystemClock {
            start: std::time::Instant::now(),
        })
    }
}

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this module is the one that reads clocks"
    )]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp::from_ms(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}
