//! How much one agent may ask of the surface before anything is decided: connections at once, and so many a second.
//! In memory; what is over it is counted and noted, and not decided.

use super::answer::Refused;
use super::rules::Allowed;
use crate::gate::lock;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use store::clock::SharedClock;

/// Seconds over which the limit per second is averaged: so many may come at once after a pause.
const BURST_SECONDS: f64 = 10.0;
/// Agents that are told apart.
const AGENTS_MAX: usize = 4096;

/// Of all agents.
#[derive(Debug)]
pub(crate) struct Flood {
    clock: SharedClock,
    agents: Mutex<HashMap<String, Counted>>,
}

#[derive(Clone, Copy, Debug)]
struct Counted {
    open: usize,
    /// What is left to spend, and when that was so, in milliseconds.
    left: f64,
    at: u128,
}

/// A place among the connections of an agent; given back when dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    flood: Arc<Flood>,
    agent: String,
}

impl Flood {
    pub fn new(clock: SharedClock) -> Flood {
        Flood {
            clock,
            agents: Mutex::default(),
        }
    }

    /// One more connection of `agent`.
    pub fn enter(self: &Arc<Self>, agent: &str, allowed: &Allowed) -> Result<Seat, Refused> {
        let mut agents = lock(&self.agents);
        if agents.len() >= AGENTS_MAX {
            agents.retain(|_, counted| counted.open > 0);
        }
        let most = f64::from(allowed.per_second()) * BURST_SECONDS;
        let now = self.clock.monotonic().as_millis();
        let fresh = Counted {
            open: 0,
            left: most,
            at: now,
        };
        let counted = agents.entry(agent.to_owned()).or_insert(fresh);
        counted.spend(allowed, now)?;
        if counted.open >= allowed.connections() {
            let limit = allowed.connections();
            return Err(Refused::new(
                429,
                "connections",
                format!("agent `{agent}` has {limit} connections open, which is its limit"),
            )
            .remedied("close some, or raise limits.connections of its Egress documents"));
        }
        counted.open += 1;
        Ok(Seat {
            flood: Arc::clone(self),
            agent: agent.to_owned(),
        })
    }

    /// One more request over a connection that has its seat.
    pub fn again(&self, agent: &str, allowed: &Allowed) -> Result<(), Refused> {
        let now = self.clock.monotonic().as_millis();
        let mut agents = lock(&self.agents);
        agents
            .get_mut(agent)
            .map_or(Ok(()), |counted| counted.spend(allowed, now))
    }
}

impl Counted {
    fn spend(&mut self, allowed: &Allowed, now: u128) -> Result<(), Refused> {
        let per_second = f64::from(allowed.per_second());
        let since = u32::try_from(now.saturating_sub(self.at)).unwrap_or(u32::MAX);
        let earned = f64::from(since) / 1000.0 * per_second;
        self.left = (self.left + earned).min(per_second * BURST_SECONDS);
        self.at = now;
        if self.left < 1.0 {
            let message = format!(
                "more than {} connections or requests a second",
                allowed.per_second()
            );
            return Err(Refused {
                retry_after: Some(1),
                ..Refused::new(429, "flood", message)
            });
        }
        self.left -= 1.0;
        Ok(())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(counted) = lock(&self.flood.agents).get_mut(&self.agent) {
            counted.open = counted.open.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::spec::Limits;
    use super::*;
    use std::time::Duration;

    #[test]
    fn one_agent_is_limited_and_another_is_not() {
        let clock = testkit::ManualClock::new();
        let flood = Arc::new(Flood::new(clock.clone()));
        let limits = Limits {
            connections: Some(2),
            per_second: Some(1),
            ..Limits::default()
        };
        let allowed = Allowed {
            rules: Vec::new(),
            limits,
        };
        let code = |agent| {
            flood
                .enter(agent, &allowed)
                .map(drop)
                .map_err(|refused| refused.code)
        };
        let seats = [
            flood.enter("a", &allowed).unwrap(),
            flood.enter("a", &allowed).unwrap(),
        ];
        assert_eq!(code("a"), Err("connections"));
        assert_eq!(code("b"), Ok(()));
        drop(seats);
        for _ in 0..7 {
            assert_eq!(code("a"), Ok(()));
        }
        assert_eq!(code("a"), Err("flood"));
        assert_eq!(code("b"), Ok(()));
        clock.advance(Duration::from_secs(1));
        assert_eq!((code("a"), code("a")), (Ok(()), Err("flood")));
    }
}
