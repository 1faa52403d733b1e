//! Circuit breakers: a model that keeps failing is left alone for a while, and then tried by one call.

use super::spec::Model;
use crate::gate::lock;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::clock::SharedClock;

/// Failures in a row after which a model is left alone.
const FAILURES_MAX: u32 = 5;
/// For how long.
const REST: Duration = Duration::from_secs(30);

/// Of all models, by name.
pub(super) struct Breakers {
    clock: SharedClock,
    models: Mutex<HashMap<String, Breaker>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Breaker {
    failures: u32,
    /// Until when it is left alone, by the monotonic clock.
    until: Option<Duration>,
}

impl Breaker {
    fn state(&self, now: Duration) -> &'static str {
        match self.until {
            None => "closed",
            Some(until) if now < until => "open",
            Some(_) => "half_open",
        }
    }
}

impl Breakers {
    pub fn new(clock: SharedClock) -> Breakers {
        Breakers {
            clock,
            models: Mutex::default(),
        }
    }

    /// `closed`, `open` or `half_open`.
    pub fn state(&self, model: &str) -> &'static str {
        let now = self.clock.monotonic();
        lock(&self.models)
            .get(model)
            .map_or("closed", |breaker| breaker.state(now))
    }

    /// The same models, those that are left alone behind the others: they are tried when nothing else answers.
    pub fn well_first<'a>(&self, models: &'a [Arc<Model>]) -> Vec<&'a Arc<Model>> {
        let (ill, mut all): (Vec<_>, Vec<_>) =
            models.iter().partition(|model| self.state(&model.name) == "open");
        all.extend(ill);
        all
    }

    /// It answered, or said that the request is wrong: it is well.
    pub fn well(&self, model: &str) {
        lock(&self.models).remove(model);
    }

    /// It failed.
    pub fn failed(&self, model: &str) {
        let now = self.clock.monotonic();
        let mut models = lock(&self.models);
        let breaker = models.entry(model.to_owned()).or_default();
        let tried = breaker.state(now) == "half_open";
        breaker.failures += 1;
        if tried || breaker.failures >= FAILURES_MAX {
            breaker.until = Some(now + REST);
        }
    }
}
