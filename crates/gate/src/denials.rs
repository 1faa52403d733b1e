//! Refusals on their way into the journal: each with its reason, and repeats counted, so that denials
//! cannot fill the disk.
//!
//! The first denial is an entry. The same again in the same session (step, action, code) within a
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
/// Different denials of one session that are told apart at a time; more are counted beside the newest, as
/// `others`.
const DISTINCT_MAX: usize = 64;

/// What makes two denials the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    session: String,
    step: String,
    action: [u8; 32],
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
    /// The entry of the first; `None` while it is being written, and when it could not be.
    of: Option<u64>,
    /// It could not be: the next one is written instead.
    failed: bool,
    counted: Counted,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counted {
    /// The same again.
    repeats: u64,
    /// Different ones, past those that are told apart.
    others: u64,
}

/// A count that is due.
#[derive(Clone, Debug)]
pub(crate) struct Repeats {
    key: Key,
    began: Duration,
    agent: String,
    of: u64,
    counted: Counted,
}

impl Denials {
    /// Counts a repeat, or says that this one has to be written and opens its window.
    fn is_first(&self, key: &Key, agent: &str, now: Duration) -> bool {
        let mut windows = lock(&self.windows);
        let known = windows.get_mut(key);
        // Counts of a window that was never written go on in the next one.
        let counted = known.as_ref().map(|window| window.counted).unwrap_or_default();
        if let Some(window) = known.filter(|window| !window.failed && !window.is_over(now)) {
            window.counted.repeats += 1;
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
            window.counted.others += 1;
            return false;
        }
        windows.insert(
            key.clone(),
            Window {
                began: now,
                agent: agent.to_owned(),
                of: None,
                failed: false,
                counted,
            },
        );
        true
    }

    /// The first one of `key` was written, or could not be.
    fn wrote(&self, key: &Key, of: Option<u64>) {
        let mut windows = lock(&self.windows);
        match (of, windows.get_mut(key)) {
            (Some(_), Some(window)) => window.of = of,
            (None, Some(window)) if window.counted != Counted::default() => window.failed = true,
            (None, _) => drop(windows.remove(key)),
            (Some(_), None) => {}
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
            if let Some(of) = window
                .of
                .filter(|_| window.counted != Counted::default() && which(key, window))
            {
                let (key, agent) = (key.clone(), window.agent.clone());
                taken.push(Repeats {
                    key,
                    began: window.began,
                    agent,
                    of,
                    counted: std::mem::take(&mut window.counted),
                });
            }
            stays(window) || window.counted != Counted::default()
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
            counted,
        } in counts
        {
            let window = windows.entry(key).or_insert(Window {
                began,
                agent,
                of: Some(of),
                failed: false,
                counted: Counted::default(),
            });
            window.counted.repeats += counted.repeats;
            window.counted.others += counted.others;
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
            step: seen.step.clone(),
            action: *action.digest(),
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
        let mut body = json!({ "of": self.of, "count": self.counted.repeats });
        if let (Some(body), 1..) = (body.as_object_mut(), self.counted.others) {
            body.insert("others".to_owned(), json!(self.counted.others));
        }
        let entry = sessions::entry(tx, kind::ACTION_DENIED_AGAIN, &self.key.session, &by, body)?;
        tx.append(entry).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(step: usize) -> Key {
        Key {
            session: "ses-1".to_owned(),
            step: step.to_string(),
            action: [0; 32],
            code: "no_rule".to_owned(),
        }
    }

    fn counts(taken: Vec<Repeats>) -> Vec<(u64, u64, u64)> {
        let counts = |taken: Repeats| (taken.of, taken.counted.repeats, taken.counted.others);
        taken.into_iter().map(counts).collect()
    }

    #[test]
    fn counts_of_a_denial_that_could_not_be_written_are_kept_for_the_next() {
        let denials = Denials::default();
        let (start, later) = (Duration::ZERO, WINDOW * 2);
        assert!(denials.is_first(&key(1), "a", start));
        assert!(
            !denials.is_first(&key(1), "a", start),
            "while it is being written"
        );
        assert_eq!(counts(denials.take_ended(later)), []);
        denials.wrote(&key(1), None);
        assert_eq!(counts(denials.take_all()), []);
        assert!(denials.is_first(&key(1), "a", later), "it is written instead");
        denials.wrote(&key(1), Some(7));
        assert_eq!(counts(denials.take_all()), [(7, 1, 0)]);
        assert_eq!(counts(denials.take_all()), []);
    }

    #[test]
    fn what_is_not_told_apart_is_counted_apart() {
        let denials = Denials::default();
        for step in 0..DISTINCT_MAX {
            assert!(denials.is_first(&key(step), "a", Duration::ZERO));
            denials.wrote(&key(step), Some(step as u64));
        }
        assert!(!denials.is_first(&key(0), "a", Duration::ZERO));
        for step in DISTINCT_MAX..DISTINCT_MAX + 5 {
            assert!(!denials.is_first(&key(step), "a", Duration::ZERO));
        }
        let taken = counts(denials.take_all());
        let sums = taken.iter().fold((0, 0), |sums, (_, repeats, others)| {
            (sums.0 + repeats, sums.1 + others)
        });
        assert_eq!(sums, (1, 5), "{taken:?}");
    }
}
