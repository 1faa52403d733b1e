//! How much an agent may do: actions per session and per minute. To ask for an approval is to act.
//!
//! Actions per session are counted by the session's row and checked in the commit. Actions per minute
//! are a sliding window in memory, made again from the journal's last minute at start.

use crate::gate::lock;
use journal::kind;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use store::clock::SharedClock;
use store::{Store, StoreError};

/// The window, in milliseconds.
const WINDOW_MS: i64 = 60_000;
/// Entries read at a time when the last minute is read again.
const READ_AT_ONCE: usize = 512;

/// When each agent was permitted something, or asked for an approval, within the last minute, in milliseconds by the monotonic
/// clock. What was before its start is negative.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    windows: Mutex<HashMap<String, VecDeque<i64>>>,
}

/// A place in an agent's window. Given back when dropped, unless it was kept.
#[derive(Debug)]
pub(crate) struct Place {
    rates: Arc<Rates>,
    agent: String,
    at: i64,
    kept: bool,
}

impl Rates {
    /// From the permits and the requests for approval of the journal's last minute.
    pub(crate) fn load(store: &Store, clock: &SharedClock) -> Result<Rates, StoreError> {
        let (now, mono) = (clock.now(), mono_ms(clock));
        let mut windows: HashMap<String, VecDeque<i64>> = HashMap::new();
        store.read(|reader| {
            let mut end = reader.size()?;
            while end > 0 {
                let start = end.saturating_sub(READ_AT_ONCE as u64);
                let entries = reader.entries(start, (end - start) as usize)?;
                for stored in entries.iter().rev() {
                    let age = now.since_ms(stored.entry.timestamp);
                    if age >= WINDOW_MS {
                        return Ok(());
                    }
                    if matches!(
                        stored.entry.kind.as_str(),
                        kind::ACTION_PERMITTED | kind::APPROVAL_REQUESTED
                    ) && let Some(agent) = stored.entry.actor.strip_prefix("agent:")
                    {
                        windows
                            .entry(agent.to_owned())
                            .or_default()
                            .push_front(mono - age.max(0));
                    }
                }
                end = start;
            }
            Ok(())
        })?;
        Ok(Rates {
            windows: Mutex::new(windows),
        })
    }

    /// A place for one more action now, or how many milliseconds it takes until there is one.
    pub(crate) fn place(
        self: &Arc<Self>,
        agent: &str,
        limit: u32,
        clock: &SharedClock,
    ) -> Result<Place, i64> {
        let at = mono_ms(clock);
        let mut windows = lock(&self.windows);
        let window = windows.entry(agent.to_owned()).or_default();
        while window.front().is_some_and(|&first| at - first >= WINDOW_MS) {
            window.pop_front();
        }
        if window.len() >= limit as usize {
            return Err(window.front().map_or(WINDOW_MS, |first| first + WINDOW_MS - at));
        }
        window.push_back(at);
        drop(windows);
        Ok(Place {
            rates: Arc::clone(self),
            agent: agent.to_owned(),
            at,
            kept: false,
        })
    }

    /// How many places are taken now.
    pub(crate) fn taken(&self, agent: &str, clock: &SharedClock) -> usize {
        let at = mono_ms(clock);
        let windows = lock(&self.windows);
        windows.get(agent).map_or(0, |window| {
            window.iter().filter(|&&place| at - place < WINDOW_MS).count()
        })
    }
}

impl Place {
    /// The action was permitted: the place is taken for a minute.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        if let Some(window) = lock(&self.rates.windows).get_mut(&self.agent)
            && let Some(index) = window.iter().rposition(|&at| at == self.at)
        {
            window.remove(index);
        }
    }
}

fn mono_ms(clock: &SharedClock) -> i64 {
    i64::try_from(clock.monotonic().as_millis()).unwrap_or(i64::MAX)
}
