//! Entries as server-sent events: history, then live, by sequence, without gap or duplicate.
//!
//! INVARIANT (no gap, no duplicate): a stream holds one number, the next sequence it wants. It reads
//! committed entries from there, and only when there are none it waits for a commit that it began to
//! watch before it read. Nothing is buffered between reading and sending, so a slow reader costs one
//! page of memory and never loses an entry.

use super::call::Call;
use super::places::entry_spots;
use super::problem::ApiError;
use crate::app::App;
use crate::identity;
use crate::tls::Shown;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use gate::{Caller, Role};
use http::HeaderMap;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use store::{Store, StoreError, Stored};
use tokio::sync::watch;

/// Entries read at once.
const PAGE: usize = 100;
/// A comment is sent this often when nothing happens, so that intermediaries keep the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Whoever was identified by a certificate is looked at this often when nothing happens.
const LOOK: Duration = Duration::from_secs(1);

/// What to follow.
#[derive(Clone, Debug)]
pub enum Follow {
    /// One session; ends with an `end` event when the session is final, unless `past_end`.
    Session {
        /// Which.
        id: String,
        /// Go on: it may be retried.
        past_end: bool,
    },
    /// The whole journal, or those whose kind is `kind` or begins with `kind.`; never ends by itself.
    Journal {
        /// `action.permitted`, or `action` for all of them.
        kind: Option<String>,
        /// Wherever they are; otherwise those where the caller has one of `roles`.
        whole: bool,
        /// See `whole`.
        roles: &'static [Role],
    },
}

impl Follow {
    fn wants(&self, app: &App, caller: &Caller, stored: &Stored) -> Result<bool, StoreError> {
        let Follow::Journal { kind, whole, roles } = self else {
            return Ok(true);
        };
        if kind
            .as_deref()
            .is_some_and(|kind| !is_of(&stored.entry.kind, kind))
        {
            return Ok(false);
        }
        let spots = if *whole {
            Vec::new()
        } else {
            entry_spots(app, &stored.entry)?
        };
        Ok(spots.iter().all(|spot| caller.holds(roles, spot)))
    }
}

/// The sequence after the one in `Last-Event-ID`.
///
/// # Errors
/// 400 when it is not a sequence.
pub fn resume_after(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let last = value
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok());
    last.and_then(|n| n.checked_add(1))
        .map(Some)
        .ok_or_else(|| ApiError::malformed("Last-Event-ID", "it has to be the sequence of an entry"))
}

/// The stream for whoever calls, from sequence `from` on. It ends when their token or certificate does.
pub fn events(call: &Call, follow: Follow, from: u64) -> Response {
    let Call { app, caller, .. } = call;
    let store = app.gate.store().clone();
    let tail = Tail {
        shown: call.shown.clone().filter(|_| caller.certificate().is_some()),
        committed: store.committed(),
        draining: app.draining.clone(),
        app: Arc::clone(app),
        caller: caller.clone(),
        store,
        follow,
        next: from,
        page: VecDeque::new(),
        over: false,
    };
    let events = stream::unfold(tail, |mut tail| async move {
        let event = tail.event().await?;
        Some((Ok::<Event, Infallible>(event), tail))
    });
    Sse::new(events)
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
        .into_response()
}

struct Tail {
    app: Arc<App>,
    caller: Caller,
    /// What identified the caller, or their token is bound to.
    shown: Option<Arc<Shown>>,
    store: Store,
    follow: Follow,
    /// The next sequence wanted.
    next: u64,
    page: VecDeque<Stored>,
    committed: watch::Receiver<u64>,
    draining: watch::Receiver<bool>,
    over: bool,
}

impl Tail {
    async fn event(&mut self) -> Option<Event> {
        loop {
            if self.over {
                return None;
            }
            if !self.still_holds() {
                return Some(self.last(&json!({"error": "the token no longer holds"})));
            }
            if let Some(stored) = self.page.pop_front() {
                self.next = stored.entry.sequence.saturating_add(1);
                return Some(entry_event(&stored));
            }
            // Before reading: a commit between the read and the wait must wake us.
            self.committed.borrow_and_update();
            let ended = self.session_state();
            match self.read() {
                Err(error) => return Some(self.last(&json!({"error": error.to_string()}))),
                Ok(true) => {
                    // One page at a time: others want this thread too, and a token may end meanwhile.
                    tokio::task::yield_now().await;
                    continue;
                }
                Ok(false) => {}
            }
            // The state was read before the entries, so nothing of the session can follow.
            if let Some(state) = ended {
                return Some(self.last(&json!({"state": state})));
            }
            if *self.draining.borrow() {
                return Some(self.last(&json!({"error": "the server is shutting down"})));
            }
            tokio::select! {
                changed = self.committed.changed() => changed.ok()?,
                changed = self.draining.changed() => changed.ok()?,
                // What a certificate names ends by its time, by a mapping that comes in force after its entry,
                // and by a file of authorities: no commit tells of them.
                () = tokio::time::sleep(LOOK), if self.shown.is_some() => {}
            }
        }
    }

    /// Whether what identified the caller does so still.
    fn still_holds(&self) -> bool {
        let mapped = |shown: &Arc<Shown>| match self.caller.is_by_certificate() {
            true => identity::mapped(&self.app, shown).is_ok_and(|(_, new)| new.roles == self.caller.roles()),
            false => identity::still_bound(&self.app, shown).is_ok(),
        };
        self.app.gate.still_holds(&self.caller) && self.shown.as_ref().is_none_or(mapped)
    }

    /// The state of a session that is over and not followed past its end.
    fn session_state(&self) -> Option<journal::machine::Session> {
        let Follow::Session { id, past_end: false } = &self.follow else {
            return None;
        };
        self.app
            .gate
            .session(id)
            .ok()
            .map(|session| session.state)
            .filter(|state| state.is_final())
    }

    /// Reads one page on and keeps what is wanted of it; `false` when nothing is left.
    fn read(&mut self) -> Result<bool, StoreError> {
        let (from, follow) = (self.next, &self.follow);
        let page = self.store.read(|reader| match follow {
            Follow::Session { id, .. } => reader.session_entries(id, from, PAGE),
            Follow::Journal { .. } => reader.entries(from, PAGE),
        })?;
        let Some(last) = page.last() else {
            return Ok(false);
        };
        let next = last.entry.sequence.saturating_add(1);
        let mut wanted = VecDeque::new();
        for stored in page {
            if follow.wants(&self.app, &self.caller, &stored)? {
                wanted.push_back(stored);
            }
        }
        if wanted.is_empty() {
            self.next = next;
        }
        self.page = wanted;
        Ok(true)
    }

    fn last(&mut self, data: &Value) -> Event {
        self.over = true;
        Event::default().event("end").data(data.to_string())
    }
}

/// Whether an entry's kind is `wanted` or below it.
#[must_use]
pub fn is_of(kind: &str, wanted: &str) -> bool {
    kind.strip_prefix(wanted)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || wanted.ends_with('.'))
}

fn entry_event(stored: &Stored) -> Event {
    Event::default()
        .id(stored.entry.sequence.to_string())
        .event("entry")
        .data(view(stored).to_string())
}

/// An entry as the API shows it: its leaf, which holds nothing secret, and its hash.
#[must_use]
pub fn view(stored: &Stored) -> Value {
    let mut view = serde_json::to_value(&stored.entry).unwrap_or_default();
    if let Some(map) = view.as_object_mut() {
        map.insert("hash".into(), policy::canonical::hex(&stored.hash).into());
    }
    view
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_exact_or_a_family() {
        let table = [
            ("action.permitted", "action", true),
            ("action.permitted", "action.", true),
            ("action.permitted", "action.permitted", true),
            ("action.permitted", "act", false),
            ("action.permitted", "approval", false),
            ("action.denied_again", "action.denied", false),
        ];
        for (kind, wanted, expected) in table {
            assert_eq!(is_of(kind, wanted), expected, "{kind} of {wanted}");
        }
    }

    #[test]
    fn a_stream_resumes_after_the_last_event() {
        let table = [
            (None, Ok(None)),
            (Some("41"), Ok(Some(42))),
            (Some("x"), Err(())),
            (Some("18446744073709551615"), Err(())),
        ];
        for (value, expected) in table {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert("last-event-id", value.parse().unwrap());
            }
            assert_eq!(resume_after(&headers).map_err(|_| ()), expected, "{value:?}");
        }
    }
}
