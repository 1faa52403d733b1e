//! Odd behaviour, as a fold over what an agent did lately (S0-A16). It finds; it stops nobody.

use crate::Timestamp;
use serde::{Deserialize, Serialize};

/// Name of the rule: a sensitive resource was asked for.
pub const SENSITIVE: &str = "sensitive_access";
/// Name of the rule: many actions failed.
pub const FAILURES: &str = "failures";
/// Name of the rule: far more actions than before.
pub const ACTIVITY: &str = "activity";

const MINUTE_MS: i64 = 60 * 1000;
/// Sensitive access counts for five minutes.
const SENSITIVE_MS: i64 = 5 * MINUTE_MS;
/// Failures count for a quarter of an hour.
const FAILURES_MS: i64 = 15 * MINUTE_MS;
/// More than ten of them are odd.
const FAILURES_MAX: usize = 10;
/// Actions are counted in slots of five minutes.
const SLOT_MS: i64 = 5 * MINUTE_MS;
/// Slots of the hour before, whose mean is compared with.
const SLOTS: i64 = 12;
/// How often the mean is odd.
const TIMES: u64 = 3;
/// Fewer actions in a slot are never odd: an alert that wakes an idle agent is not. Ours.
const ACTIONS_MIN: u64 = 30;

/// Words that make a resource sensitive, where they stand between other signs.
const SENSITIVE_WORDS: [&str; 12] = [
    "credential",
    "credentials",
    "customer",
    "customers",
    "key",
    "keys",
    "password",
    "passwords",
    "pii",
    "secret",
    "secrets",
    "shadow",
];

/// What an agent did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It proposed an action; whether its resource is sensitive.
    Acted {
        /// See [`is_sensitive`].
        sensitive: bool,
    },
    /// An action of its failed.
    Failed,
}

/// What one agent did in the last hour, and what was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    /// The slot of its first action.
    first: Option<i64>,
    /// Actions by slot, the newest last.
    slots: Vec<(i64, u64)>,
    /// The newest failures.
    failures: Vec<Timestamp>,
    /// The newest sensitive access.
    sensitive: Option<Timestamp>,
    /// When each rule last found something.
    found: Vec<(String, Timestamp)>,
}

/// Something odd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Anomaly {
    /// [`SENSITIVE`], [`FAILURES`], [`ACTIVITY`].
    pub rule: &'static str,
    /// In hundredths: what it costs in points (S3-B7). How severe each rule is, is ours.
    pub severity: u8,
    /// In words.
    pub finding: String,
}

/// Whether a resource by its name holds what not everybody may see: one of the words stands in it between
/// signs that are no letters and digits.
pub fn is_sensitive(resource: &str) -> bool {
    resource.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| {
        SENSITIVE_WORDS
            .iter()
            .any(|known| word.eq_ignore_ascii_case(known))
    })
}

impl Activity {
    /// Folds in something that it did.
    pub fn see(&mut self, seen: Seen, at: Timestamp) {
        match seen {
            Seen::Failed => {
                self.failures.push(at);
                let over = self.failures.len().saturating_sub(FAILURES_MAX + 1);
                self.failures.drain(..over);
            }
            Seen::Acted { sensitive } => {
                let slot = slot_of(at);
                self.first.get_or_insert(slot);
                if sensitive {
                    self.sensitive = Some(at);
                }
                match self.slots.last_mut().filter(|(last, _)| *last == slot) {
                    Some((_, actions)) => *actions += 1,
                    None => self.slots.push((slot, 1)),
                }
                self.slots.retain(|(old, _)| slot - old <= SLOTS);
            }
        }
    }

    /// Folds in that `rule` found something, which it then does not find again for as long as it looks back.
    pub fn found(&mut self, rule: &str, at: Timestamp) {
        self.found.retain(|(known, _)| known != rule);
        self.found.push((rule.to_owned(), at));
    }

    /// What is odd at `now` and was not found yet.
    pub fn anomalies(&self, now: Timestamp) -> Vec<Anomaly> {
        let mut anomalies = Vec::new();
        let since = |at: &Timestamp, window: i64| now.since_ms(*at) < window;
        if self.sensitive.is_some_and(|at| since(&at, SENSITIVE_MS))
            && !self.knows(SENSITIVE, SENSITIVE_MS, now)
        {
            anomalies.push(Anomaly {
                rule: SENSITIVE,
                severity: 100,
                finding: "it asked for a sensitive resource within 5 minutes".to_owned(),
            });
        }
        let failures = self.failures.iter().filter(|at| since(at, FAILURES_MS)).count();
        if failures > FAILURES_MAX && !self.knows(FAILURES, FAILURES_MS, now) {
            anomalies.push(Anomaly {
                rule: FAILURES,
                severity: 50,
                finding: format!("more than {FAILURES_MAX} of its actions failed within 15 minutes"),
            });
        }
        if let Some((actions, mean)) = self
            .burst(now)
            .filter(|_| !self.knows(ACTIVITY, SLOTS * SLOT_MS, now))
        {
            anomalies.push(Anomaly {
                rule: ACTIVITY,
                severity: 25,
                finding: format!(
                    "{actions} actions within 5 minutes, more than {TIMES} times the mean of {mean} over the hour before"
                ),
            });
        }
        anomalies
    }

    fn knows(&self, rule: &str, window: i64, now: Timestamp) -> bool {
        let known = self.found.iter().find(|(known, _)| known == rule);
        known.is_some_and(|(_, at)| now.since_ms(*at) < window)
    }

    /// The actions of the slot of `now`, and the mean before, rounded down, when they are too many.
    fn burst(&self, now: Timestamp) -> Option<(u64, u64)> {
        let slot = slot_of(now);
        let actions = self.slots.iter().find(|(known, _)| *known == slot)?.1;
        let hour = self
            .slots
            .iter()
            .filter(|(known, _)| (slot - SLOTS..slot).contains(known));
        let before: u64 = hour.map(|(_, actions)| actions).sum();
        let slots = SLOTS.unsigned_abs();
        let odd = actions >= ACTIONS_MIN && actions * slots > TIMES * before;
        (odd && self.first.is_some_and(|first| slot - first >= SLOTS)).then(|| (actions, before / slots))
    }
}

fn slot_of(at: Timestamp) -> i64 {
    at.ms().div_euclid(SLOT_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Seen = Seen::Acted { sensitive: false };

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_ms(minutes * MINUTE_MS)
    }

    /// Minute, what, how often.
    type Event = (i64, Seen, usize);

    /// What is found at minute `now` after these events.
    fn check(events: &[Event], now: i64) -> Vec<&'static str> {
        let mut activity = Activity::default();
        for (minute, seen, times) in events {
            (0..*times).for_each(|_| activity.see(*seen, at(*minute)));
        }
        activity
            .anomalies(at(now))
            .iter()
            .map(|anomaly| anomaly.rule)
            .collect()
    }

    #[test]
    fn what_is_odd() {
        let secret = Seen::Acted { sensitive: true };
        #[rustfmt::skip]
        let table: [(&str, &[Event], i64, &[&str]); 12] = [
            ("nothing",                     &[], 0, &[]),
            ("one sensitive access",        &[(0, secret, 1)], 4, &[SENSITIVE]),
            ("not after five minutes",      &[(0, secret, 1)], 5, &[]),
            ("ten failures",                &[(0, Seen::Failed, 10)], 1, &[]),
            ("eleven",                      &[(0, Seen::Failed, 11)], 1, &[FAILURES]),
            ("one of them too long ago",    &[(0, Seen::Failed, 1), (1, Seen::Failed, 10)], 15, &[]),
            ("within the window",           &[(1, Seen::Failed, 1), (2, Seen::Failed, 10)], 15, &[FAILURES]),
            ("more than three times",       &[(0, PLAIN, 120), (60, PLAIN, 31)], 61, &[ACTIVITY]),
            ("just three times",            &[(0, PLAIN, 120), (60, PLAIN, 30)], 61, &[]),
            ("no hour to compare with",     &[(6, PLAIN, 1), (60, PLAIN, 300)], 61, &[]),
            ("an idle agent wakes",         &[(0, PLAIN, 1), (600, PLAIN, 29)], 601, &[]),
            ("an idle agent storms",        &[(0, PLAIN, 1), (600, PLAIN, 30)], 601, &[ACTIVITY]),
        ];
        for (name, events, now, expected) in table {
            assert_eq!(check(events, now), expected, "{name}");
        }
    }

    #[test]
    fn an_anomaly_is_found_once_while_it_lasts() {
        let mut activity = Activity::default();
        activity.see(Seen::Acted { sensitive: true }, at(0));
        assert_eq!(activity.anomalies(at(0)).len(), 1);
        activity.found(SENSITIVE, at(0));
        activity.see(Seen::Acted { sensitive: true }, at(4));
        assert_eq!(activity.anomalies(at(4)), []);
        assert_eq!(
            activity.anomalies(at(6)).len(),
            1,
            "the later access, once the window is over"
        );
    }

    #[test]
    fn sensitive_is_a_word_and_no_part_of_one() {
        #[rustfmt::skip]
        let table = [
            ("secret/shop/db", true), ("file:///etc/shadow", true), ("http://vault/v1/Secrets/x", true), ("db/customers", true),
            ("repository/keyboard", false), ("repository/secretary", false), ("prometheus", false), ("", false),
        ];
        for (resource, expected) in table {
            assert_eq!(is_sensitive(resource), expected, "{resource}");
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut activity = Activity::default();
        for minute in 0..10_000 {
            activity.see(PLAIN, at(minute));
            activity.see(Seen::Failed, at(minute));
        }
        assert!(
            activity.slots.len() <= 13 && activity.failures.len() <= 11,
            "{activity:?}"
        );
    }
}
