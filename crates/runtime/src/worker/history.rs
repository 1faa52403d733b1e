//! What the journal says of a session's past that rows do not hold.

use gate::Gate;
use journal::{Entry, kind};
use policy::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;
use store::StoreError;

/// Entries read at once.
const PAGE: usize = 256;

/// Read in order, and again from where it ended.
#[derive(Debug, Default)]
pub(super) struct History {
    next: u64,
    started: Option<Timestamp>,
    waiting_since: Option<Timestamp>,
    waited_ms: i64,
    denied: BTreeMap<String, Denied>,
    unproposed: BTreeMap<String, String>,
}

/// The newest denial of a step.
#[derive(Clone, Debug)]
pub(super) struct Denied {
    pub(super) entry: u64,
    code: String,
}

impl Denied {
    /// Stops and bounds are judged as they are now; what policy or a person said stands.
    pub(super) fn stands(&self) -> bool {
        !matches!(self.code.as_str(), "stopped" | "bound" | "rate")
    }
}

impl History {
    /// Reads what was appended since it was last read.
    pub(super) fn read(&mut self, gate: &Gate, session: &str) -> Result<(), StoreError> {
        loop {
            let page = gate
                .store()
                .read(|reader| reader.session_entries(session, self.next, PAGE))?;
            for stored in &page {
                self.next = stored.entry.sequence + 1;
                self.take(&stored.entry);
            }
            if page.len() < PAGE {
                return Ok(());
            }
        }
    }

    /// Time of the run that counts against its time box, in milliseconds: waiting for people does not.
    pub(super) fn elapsed_ms(&self, now: Timestamp) -> i64 {
        self.started
            .map_or(0, |started| now.since_ms(started) - self.waited_ms)
            .max(0)
    }

    /// The newest denial of a step in this run.
    pub(super) fn denied(&self, step: &str) -> Option<&Denied> {
        self.denied.get(step)
    }

    /// Why a step never became an action.
    pub(super) fn unproposed(&self, step: &str) -> Option<&str> {
        self.unproposed.get(step).map(String::as_str)
    }

    fn take(&mut self, entry: &Entry) {
        let text = |key: &str| {
            entry
                .body
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        match entry.kind.as_str() {
            kind::SESSION_QUEUED if text("event") == "retry" => {
                // Another run: its time box and its answers are its own.
                *self = History {
                    next: self.next,
                    ..History::default()
                };
            }
            kind::SESSION_WAITING => self.waiting_since = Some(entry.timestamp),
            kind::SESSION_STARTED | kind::SESSION_RESUMED | kind::SESSION_QUEUED => {
                if let Some(since) = self.waiting_since.take() {
                    self.waited_ms += entry.timestamp.since_ms(since).max(0);
                }
                if entry.kind == kind::SESSION_STARTED {
                    self.started.get_or_insert(entry.timestamp);
                }
            }
            kind::SESSION_NOTED if text("event") == "unproposed" => {
                self.unproposed.insert(text("step"), text("reason"));
            }
            kind::ACTION_DENIED => {
                let denied = Denied {
                    entry: entry.sequence,
                    code: text("code"),
                };
                self.denied.insert(text("step"), denied);
            }
            _ => (),
        }
    }
}
