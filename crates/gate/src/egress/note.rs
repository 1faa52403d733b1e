//! What is no action and has to be known all the same: a head that nobody may read in two ways, a name of TLS that is
//! not the host's, a client that does not trust us. Few of each session a minute; the others are counted.

use super::answer::Refused;
use super::visit::Visit;
use crate::gate::lock;
use policy::Principal;
use serde_json::json;
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;
use store::clock::SharedClock;

/// Notes of one session within [`WINDOW`].
const NOTES_MAX: u32 = 32;
const WINDOW: Duration = Duration::from_secs(60);
/// Sessions that are counted apart.
const SESSIONS_MAX: usize = 4096;

/// Counts notes by session.
#[derive(Debug)]
pub(crate) struct Notes {
    clock: SharedClock,
    windows: Mutex<HashMap<String, Window>>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    began: Duration,
    written: u32,
    left_out: u64,
}

impl Notes {
    pub fn new(clock: SharedClock) -> Notes {
        Notes {
            clock,
            windows: Mutex::default(),
        }
    }

    /// How many were left out before this one, when it may be written.
    fn may_write(&self, session: &str) -> Option<u64> {
        let now = self.clock.monotonic();
        let fresh = Window {
            began: now,
            written: 0,
            left_out: 0,
        };
        let mut windows = lock(&self.windows);
        if windows.len() >= SESSIONS_MAX {
            windows.retain(|_, window| now.saturating_sub(window.began) < WINDOW);
        }
        let window = windows.entry(session.to_owned()).or_insert(fresh);
        if now.saturating_sub(window.began) >= WINDOW {
            window.began = now;
            window.written = 0;
        }
        if window.written >= NOTES_MAX {
            window.left_out += 1;
            return None;
        }
        window.written += 1;
        Some(std::mem::take(&mut window.left_out))
    }
}

impl Visit {
    /// Notes in the session what was refused before it was an action. `about` names no more than the target.
    pub(super) async fn note(&self, about: &str, refused: &Refused) -> Option<u64> {
        let left_out = self.egress.notes.may_write(&self.session)?;
        let what = json!({ "egress": {
            "refused": refused.code, "target": crate::record::short(about),
            "reason": crate::record::short(&refused.message), "rule": refused.rule, "left_out": left_out,
        } });
        let by = Principal::agent(&self.agent);
        match self.egress.gate.note(&self.session, &by, what).await {
            Ok(entry) => Some(entry),
            Err(error) => {
                tracing::warn!(session = self.session, %error, "a refused connection is not noted");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_of_one_session_are_few_and_the_others_are_counted() {
        let clock = testkit::ManualClock::new();
        let notes = Notes::new(clock.clone());
        for _ in 0..NOTES_MAX {
            assert_eq!(notes.may_write("a"), Some(0));
        }
        assert_eq!((notes.may_write("a"), notes.may_write("a")), (None, None));
        assert_eq!(notes.may_write("b"), Some(0));
        clock.advance(WINDOW);
        assert_eq!((notes.may_write("a"), notes.may_write("a")), (Some(2), Some(0)));
    }
}
