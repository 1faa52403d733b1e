//! How often passwords may be guessed: per name and overall. Counted before the directory is asked, so that
//! many at once are not more than one after another.

use crate::server::problem::ApiError;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Failures of one name.
const OF_A_NAME_MAX: u32 = 5;
/// Within so long.
const OF_A_NAME: Duration = Duration::from_secs(15 * 60);
/// Failures of anybody.
const OF_ALL_MAX: u32 = 60;
/// Within so long.
const OF_ALL: Duration = Duration::from_secs(60);

/// Failures from a moment on.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    since: Duration,
    failures: u32,
}

impl Window {
    /// One more at `now`, unless there are too many: then how long to wait.
    fn take(&mut self, now: Duration, length: Duration, most: u32) -> Result<(), Duration> {
        if now.saturating_sub(self.since) >= length {
            *self = Window {
                since: now,
                failures: 0,
            };
        }
        if self.failures >= most {
            return Err((self.since + length).saturating_sub(now));
        }
        self.failures += 1;
        Ok(())
    }
}

#[derive(Debug, Default)]
struct State {
    all: Window,
    names: HashMap<(String, String), Window>,
}

/// Failed logins of late.
#[derive(Debug, Default)]
pub(super) struct Attempts(Mutex<State>);

/// One that has begun.
#[derive(Debug)]
pub(super) struct Attempt((String, String));

impl Attempts {
    /// Counts a login as failed until it is known not to be.
    pub fn begin(&self, provider: &str, name: &str, now: Duration) -> Result<Attempt, ApiError> {
        let mut state = self.state();
        // Those that are over are forgotten, so there are never more than fail in that time.
        state
            .names
            .retain(|_, window| now.saturating_sub(window.since) < OF_A_NAME);
        // A directory takes no notice of case, and what is longer than any name is one name.
        let short: String = name.chars().take(super::ldap::TYPED_BYTES_MAX).collect();
        let key = (provider.to_owned(), short.to_lowercase());
        let told = |what: &str, wait: Duration| {
            let minutes = wait.as_secs() / 60 + 1;
            ApiError::overloaded(format!(
                "too many logins failed {what}; try again in {minutes} minutes"
            ))
        };
        state
            .all
            .take(now, OF_ALL, OF_ALL_MAX)
            .map_err(|wait| told("here", wait))?;
        let taken = match state.names.get_mut(&key) {
            Some(window) => window.take(now, OF_A_NAME, OF_A_NAME_MAX),
            None => {
                let first = Window {
                    since: now,
                    failures: 1,
                };
                state.names.insert(key.clone(), first);
                Ok(())
            }
        };
        match taken {
            Ok(()) => Ok(Attempt(key)),
            Err(wait) => {
                // It asked the directory nothing, so it keeps nobody else out.
                state.all.failures -= 1;
                Err(told("under this name", wait))
            }
        }
    }

    /// It was the right password, so what failed before was a slip.
    pub fn succeeded(&self, attempt: Attempt) {
        let mut state = self.state();
        state.names.remove(&attempt.0);
        state.all.failures = state.all.failures.saturating_sub(1);
    }

    /// Nobody said whether it was.
    pub fn unanswered(&self, attempt: Attempt) {
        let mut state = self.state();
        if let Some(window) = state.names.get_mut(&attempt.0) {
            window.failures = window.failures.saturating_sub(1);
        }
        state.all.failures = state.all.failures.saturating_sub(1);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_are_few_per_name_and_overall() {
        let attempts = Attempts::default();
        let at = Duration::from_secs;
        let fail = |name: &str, now| attempts.begin("staff", name, now).is_ok();
        for guess in 0..5 {
            assert!(fail("alice", at(1000 + guess)));
        }
        assert!(!fail("alice", at(1010)), "the sixth");
        assert!(!fail("ALICE", at(1010)), "who is the same person");
        assert!(fail("bob", at(1010)), "who is not");
        assert!(
            attempts.begin("other", "alice", at(1010)).is_ok(),
            "nor is she elsewhere"
        );
        assert!(!fail("alice", at(1899)));
        assert!(fail("alice", at(1900)), "a quarter of an hour later");
        let right = attempts.begin("staff", "alice", at(1901)).unwrap();
        attempts.succeeded(right);
        for guess in 0..5 {
            assert!(fail("alice", at(1902 + guess)), "her slips are forgotten");
        }
        for _ in 0..100 {
            let asked = attempts.begin("staff", "carol", at(1910)).unwrap();
            attempts.unanswered(asked);
        }
        let mut strangers = 0;
        while fail(&format!("stranger-{strangers}"), at(3000)) {
            strangers += 1;
        }
        assert_eq!(strangers, OF_ALL_MAX);
        assert!(fail("dave", at(3060)), "a minute later");
        assert!(attempts.state().names.len() <= 61, "what is over is forgotten");
    }
}
