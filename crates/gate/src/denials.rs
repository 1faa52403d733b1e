//! Refusals on their way into the journal: each with its reason, and repeats counted, so that denials
//! cannot fill the disk.
//!
//! The first denial is an entry. The same again in the same session (verb, resource, code) within a
//! minute is counted in memory, and the count becomes one `action.denied_again` when the minute is
//! over, when a permit or another event of the session is about to be recorded, or when the gate is
//! flushed. Another denial is no such event, or two in turn would fill the disk after all.

use crate::gate::lock;
use crate::record::{Grounds, entry_with, judged};
use crate::rows::json;
use crate::seen::Seen;
use crate::{Gate, Refusal, calls, sessions};
use journal::kind;
use policy::{Action, Principal};
use serde_json::json;
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;
use store::{StoreError, Tx};

/// How long repeats are counted.
const WINDOW: Duration = Duration::from_secs(60);
/// Different denials of one session that are told apart at a time; more are counted with the newest.
const DISTINCT_MAX: usize = 64;

/// What makes two denials the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    session: String,
    verb: String,
    resource: String,
    code: String,
}

/// Denials of the last minute.
#[derive(Debug, Default)]
pub(crate) struct Denials {
    windows: Mutex<HashMap<Key, Window>>,
}

#[derive(Debug)]
struct Window {
    began: Duration,
    agent: String,
    /// The entry of the first; `None` while it is being written.
    of: Option<u64>,
    repeats: u64,
}

/// A count that is due.
#[derive(Clone, Debug)]
pub(crate) struct Repeats {
    key: Key,
    began: Duration,
    agent: String,
    of: u64,
    count: u64,
}

impl Denials {
    /// Counts a repeat, or says that this one has to be written and opens its window.
    fn is_first(&self, key: &Key, agent: &str, now: Duration) -> bool {
        let mut windows = lock(&self.windows);
        if let Some(window) = windows.get_mut(key).filter(|window| !window.is_over(now)) {
            window.repeats += 1;
            return false;
        }
        let others = windows
            .iter_mut()
            .filter(|(other, _)| other.session == key.session && *other != key);
        let (count, newest) =
            others.fold(
                (0, None::<&mut Window>),
                |(count, newest), (_, window)| match newest {
                    Some(newest) if newest.began > window.began => (count + 1, Some(newest)),
                    _ => (count + 1, Some(window)),
                },
            );
        if let (DISTINCT_MAX.., Some(window)) = (count, newest) {
            window.repeats += 1;
            return false;
        }
        windows.insert(
            key.clone(),
            Window {
                began: now,
                agent: agent.to_owned(),
                of: None,
                repeats: 0,
            },
        );
        true
    }

    /// The first one of `key` was written, or could not be.
    fn wrote(&self, key: &Key, of: Option<u64>) {
        let mut windows = lock(&self.windows);
        match (of, windows.get_mut(key)) {
            (Some(_), Some(window)) => window.of = of,
            (Some(_), None) => {}
            (None, _) => drop(windows.remove(key)),
        }
    }

    /// Counts of `session`; its windows go on counting.
    pub(crate) fn take_session(&self, session: &str) -> Vec<Repeats> {
        self.take(|key, _| key.session == session, |_| true)
    }

    /// Counts whose minute is over.
    pub(crate) fn take_ended(&self, now: Duration) -> Vec<Repeats> {
        self.take(|_, window| window.is_over(now), |window| !window.is_over(now))
    }

    /// All counts.
    pub(crate) fn take_all(&self) -> Vec<Repeats> {
        self.take(|_, _| true, |_| true)
    }

    fn take(&self, which: impl Fn(&Key, &Window) -> bool, stays: impl Fn(&Window) -> bool) -> Vec<Repeats> {
        let mut taken = Vec::new();
        lock(&self.windows).retain(|key, window| {
            if let Some(of) = window.of.filter(|_| window.repeats > 0 && which(key, window)) {
                let (key, agent) = (key.clone(), window.agent.clone());
                taken.push(Repeats {
                    key,
                    began: window.began,
                    agent,
                    of,
                    count: window.repeats,
                });
                window.repeats = 0;
            }
            stays(window)
        });
        taken.sort_by_key(|repeats| repeats.of);
        taken
    }

    /// Counts that could not be written.
    fn put_back(&self, counts: Vec<Repeats>) {
        let mut windows = lock(&self.windows);
        for Repeats {
            key,
            began,
            agent,
            of,
            count,
        } in counts
        {
            let window = windows.entry(key).or_insert(Window {
                began,
                agent,
                of: Some(of),
                repeats: 0,
            });
            window.repeats += count;
        }
    }
}

impl Window {
    fn is_over(&self, now: Duration) -> bool {
        now.saturating_sub(self.began) >= WINDOW
    }
}

/// A refusal that is going to be recorded.
#[derive(Debug)]
pub(crate) struct Refused {
    /// What the caller is told.
    pub refusal: Refusal,
    /// What the journal is told.
    pub grounds: Grounds,
}

impl Gate {
    /// Records that `action` is refused, or counts it, and gives back what the caller is told.
    pub(crate) async fn refuse(&self, seen: &Seen, action: &Action, refused: Refused) -> Refusal {
        match self.record_refusal(seen, action, &refused.grounds).await {
            Ok(()) => refused.refusal,
            // A stop works without its record.
            Err(error) if matches!(refused.refusal, Refusal::Stopped(_)) => {
                tracing::error!(%error, session = seen.session.id, "a refusal by a stop is not recorded");
                refused.refusal
            }
            Err(error) => Refusal::Unrecorded(error),
        }
    }

    async fn record_refusal(
        &self,
        seen: &Seen,
        action: &Action,
        grounds: &Grounds,
    ) -> Result<(), StoreError> {
        let now = self.clock.monotonic();
        self.record_repeats(self.denials.take_ended(now)).await?;
        let key = Key {
            session: seen.session.id.clone(),
            verb: action.verb().as_str().to_owned(),
            resource: action.resource().to_owned(),
            code: grounds.code.clone().unwrap_or_default(),
        };
        if !self.denials.is_first(&key, &seen.session.agent, now) {
            return Ok(());
        }
        let body = json(&judged(seen, action, "deny", grounds.clone()))?;
        let entry = entry_with(kind::ACTION_DENIED, seen, body, "arguments", action)?;
        let (session, step) = (seen.session.id.clone(), seen.step.clone());
        let action = action.clone();
        let write = move |tx: &mut Tx<'_>| match calls::row(tx, &session, &step)? {
            // Admitted meanwhile by somebody else: a denial of the same step would contradict it.
            Some(call) if !call.is_open_to(&action) => Ok(None),
            _ => tx.append(entry).map(Some),
        };
        let written = self.store.write::<_, StoreError, _>(write).await;
        self.denials
            .wrote(&key, written.as_ref().ok().and_then(|written| written.value));
        written.map(drop)
    }

    /// Writes counts of repeated denials, all in one commit; they go on counting when that fails.
    pub(crate) async fn record_repeats(&self, counts: Vec<Repeats>) -> Result<(), StoreError> {
        if counts.is_empty() {
            return Ok(());
        }
        let due = counts.clone();
        let write = move |tx: &mut Tx<'_>| due.iter().try_for_each(|repeats| repeats.record(tx));
        let written = self.store.write::<_, StoreError, _>(write).await;
        if written.is_err() {
            self.denials.put_back(counts);
        }
        written.map(drop)
    }
}

impl Repeats {
    fn record(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let by = Principal::agent(&self.agent);
        let body = json!({ "of": self.of, "count": self.count });
        let entry = sessions::entry(tx, kind::ACTION_DENIED_AGAIN, &self.key.session, &by, body)?;
        tx.append(entry).map(drop)
    }
}
