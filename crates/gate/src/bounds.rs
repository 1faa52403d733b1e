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
/// What counts.
const COUNTED: [&str; 2] = [kind::ACTION_PERMITTED, kind::APPROVAL_REQUESTED];

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
        let since = now.plus_ms(1 - WINDOW_MS);
        let acts = store.read(|reader| reader.acts_since(since, &COUNTED))?;
        let mut windows: HashMap<String, VecDeque<i64>> = HashMap::new();
        for (written, actor) in acts {
            if let Some(agent) = actor.strip_prefix("agent:") {
                let place = mono - now.since_ms(written).max(0);
                windows.entry(agent.to_owned()).or_default().push_back(place);
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use store::{Keys, NewEntry, Options};

    #[tokio::test]
    async fn a_start_counts_what_a_naive_count_of_the_last_minute_does() {
        let directory = tempfile::tempdir().unwrap();
        let clock = testkit::ManualClock::new();
        let origin = "test.local/default";
        let store = Store::open(Options {
            directory: directory.path().join("data"),
            origin: origin.to_owned(),
            keys: Keys::open_or_create(&directory.path().join("keys"), origin).unwrap(),
            projections: Vec::new(),
            clock: clock.clone(),
            checkpoints: None,
            vfs: None,
            synchronous: "OFF",
        })
        .unwrap();
        let kinds = [
            kind::ACTION_PERMITTED,
            kind::ACTION_DENIED,
            kind::APPROVAL_REQUESTED,
            kind::ACTION_SETTLED,
        ];
        let actors = ["agent:a", "agent:b", "service:cofferdam"];
        for n in 0..300_usize {
            let entry = NewEntry::new(kinds[n % 4], actors[n % 7 % 3], serde_json::json!({}));
            store
                .write::<_, StoreError, _>(move |tx| tx.append(entry))
                .await
                .unwrap();
            clock.advance(std::time::Duration::from_millis((n * n % 1_501) as u64));
        }
        let shared: SharedClock = clock.clone();
        let entries = store.read(|reader| reader.entries(0, 1_000)).unwrap();
        let mut seen = 0;
        for _ in 0..130 {
            let rates = Rates::load(&store, &shared).unwrap();
            for agent in ["a", "b"] {
                let counts = |stored: &&store::Stored| {
                    let entry = &stored.entry;
                    let recent = shared.now().since_ms(entry.timestamp) < WINDOW_MS;
                    let counted = [kind::ACTION_PERMITTED, kind::APPROVAL_REQUESTED].contains(&&*entry.kind);
                    recent && counted && entry.actor == format!("agent:{agent}")
                };
                let naive = entries.iter().filter(counts).count();
                assert_eq!(rates.taken(agent, &shared), naive);
                seen += naive;
            }
            clock.advance(std::time::Duration::from_millis(503));
        }
        assert!(seen > 1_000, "{seen}");
        assert_eq!(Rates::load(&store, &shared).unwrap().taken("a", &shared), 0);
    }
}
