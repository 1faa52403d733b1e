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
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;
use store::{StoreError, Tx};

/// How long repeats are counted.
const WINDOW: Duration = Duration::from_secs(60);
/// Different denials of one session that are told apart at a time; more are counted beside the newest, as
/// `others`.
const DISTINCT_MAX: usize = 64;

/// What makes two denials the same. Ordered by session first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    session: String,
    step: String,
    action: [u8; 32],
    code: String,
}

/// Denials of the last minute.
#[derive(Debug, Default)]
pub(crate) struct Denials {
    windows: Mutex<Windows>,
}

#[derive(Debug, Default)]
struct Windows {
    by_key: BTreeMap<Key, Window>,
    /// No window ends before that: until then nobody has to look at all of them.
    ends: Duration,
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
        let known = windows.by_key.get_mut(key);
        // Counts of a window that was never written go on in the next one.
        let counted = known.as_ref().map(|window| window.counted).unwrap_or_default();
        if let Some(window) = known.filter(|window| !window.failed && !window.is_over(now)) {
            window.counted.repeats += 1;
            return false;
        }
        let others = windows.of(&key.session).filter(|(other, _)| *other != key);
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
        let window = Window {
            began: now,
            agent: agent.to_owned(),
            of: None,
            failed: false,
            counted,
        };
        windows.by_key.insert(key.clone(), window);
        true
    }

    /// The first one of `key` was written, or could not be.
    fn wrote(&self, key: &Key, of: Option<u64>) {
        let windows = &mut lock(&self.windows).by_key;
        match (of, windows.get_mut(key)) {
            (Some(_), Some(window)) => window.of = of,
            (None, Some(window)) if window.counted != Counted::default() => window.failed = true,
            (None, _) => drop(windows.remove(key)),
            (Some(_), None) => {}
        }
    }

    /// Counts of `session`; its windows go on counting.
    pub(crate) fn take_session(&self, session: &str) -> Vec<Repeats> {
        let mut windows = lock(&self.windows);
        in_order(windows.of(session).filter_map(|(key, window)| window.take(key)))
    }

    /// Counts whose minute is over.
    pub(crate) fn take_ended(&self, now: Duration) -> Vec<Repeats> {
        let mut windows = lock(&self.windows);
        if now < windows.ends {
            return Vec::new();
        }
        let over = windows
            .by_key
            .iter_mut()
            .filter(|(_, window)| window.is_over(now));
        let taken = in_order(over.filter_map(|(key, window)| window.take(key)));
        windows
            .by_key
            .retain(|_, window| !window.is_over(now) || window.counted != Counted::default());
        let running = windows.by_key.values().filter(|window| !window.is_over(now));
        // One that is opened from now on ends a whole minute from now at the earliest.
        let oldest = running.map(|window| window.began).min().unwrap_or(now);
        windows.ends = oldest.saturating_add(WINDOW);
        taken
    }

    /// All counts.
    pub(crate) fn take_all(&self) -> Vec<Repeats> {
        let mut windows = lock(&self.windows);
        in_order(
            windows
                .by_key
                .iter_mut()
                .filter_map(|(key, window)| window.take(key)),
        )
    }

    /// Counts that could not be written.
    fn put_back(&self, counts: Vec<Repeats>) {
        let mut windows = lock(&self.windows);
        // They may be over already.
        windows.ends = Duration::ZERO;
        for Repeats {
            key,
            began,
            agent,
            of,
            counted,
        } in counts
        {
            let window = windows.by_key.entry(key).or_insert(Window {
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

impl Windows {
    /// Those of one session.
    fn of(&mut self, session: &str) -> impl Iterator<Item = (&Key, &mut Window)> {
        let first = Key {
            session: session.to_owned(),
            step: String::new(),
            action: [0; 32],
            code: String::new(),
        };
        self.by_key
            .range_mut(first..)
            .take_while(move |(key, _)| key.session == session)
    }
}

impl Window {
    /// What was counted since it was taken last, once the first was written.
    fn take(&mut self, key: &Key) -> Option<Repeats> {
        let of = self.of.filter(|_| self.counted != Counted::default())?;
        Some(Repeats {
            key: key.clone(),
            began: self.began,
            agent: self.agent.clone(),
            of,
            counted: std::mem::take(&mut self.counted),
        })
    }

    fn is_over(&self, now: Duration) -> bool {
        now.saturating_sub(self.began) >= WINDOW
    }
}

fn in_order(taken: impl Iterator<Item = Repeats>) -> Vec<Repeats> {
    let mut taken: Vec<_> = taken.collect();
    taken.sort_by_key(|repeats| repeats.of);
    taken
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

    #[test]
    fn windows_end_each_in_its_own_minute() {
        let denials = Denials::default();
        let at = |seconds: u64| Duration::from_secs(seconds);
        // Three windows, opened at 0, 20 and 40 s, each with a repeat and a look around it.
        for (opened, seconds) in [0, 20, 40].into_iter().enumerate() {
            assert_eq!(counts(denials.take_ended(at(seconds))), []);
            assert!(denials.is_first(&key(opened), "a", at(seconds)));
            denials.wrote(&key(opened), Some(opened as u64));
            assert!(!denials.is_first(&key(opened), "a", at(seconds)));
        }
        for (opened, seconds) in [60, 80, 100].into_iter().enumerate() {
            assert_eq!(counts(denials.take_ended(at(seconds - 1))), []);
            let ended = denials.take_ended(at(seconds));
            assert_eq!(counts(ended.clone()), [(opened as u64, 1, 0)]);
            // What could not be written is due again at once.
            denials.put_back(ended);
            assert_eq!(counts(denials.take_ended(at(seconds))), [(opened as u64, 1, 0)]);
        }
        assert!(lock(&denials.windows).by_key.is_empty());
    }

    #[test]
    fn a_session_s_counts_are_its_own() {
        let denials = Denials::default();
        let of = |session: &str| Key {
            session: session.to_owned(),
            ..key(1)
        };
        for (number, session) in ["ses-1", "ses-10", "ses-2", "ses-"].into_iter().enumerate() {
            assert!(denials.is_first(&of(session), "a", Duration::ZERO));
            denials.wrote(&of(session), Some(number as u64));
            assert!(!denials.is_first(&of(session), "a", Duration::ZERO));
        }
        assert_eq!(counts(denials.take_session("ses-1")), [(0, 1, 0)]);
        assert_eq!(counts(denials.take_session("ses-1")), []);
        assert_eq!(counts(denials.take_all()), [(1, 1, 0), (2, 1, 0), (3, 1, 0)]);
    }
}
