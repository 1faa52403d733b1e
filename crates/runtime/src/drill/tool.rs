//! The drill's tool: reads nothing, changes nothing, waits for its cancel handle; and the watch that
//! counts who is in it.

use crate::tools::{action, cancelled, success};
use gate::{BoxFuture, Tool, ToolError};
use policy::{Action, Effect, Environment, Idempotence, InFlight, Settlement, Verb};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use store::clock::SharedClock;
use tokio::sync::watch;

/// Its verb.
pub(super) const VERB: &str = "drill.wait";
/// The only thing it touches.
pub(super) const RESOURCE: &str = "drill/nothing";
/// How long one of those waits that act over and over, in milliseconds.
pub(super) const SHORT_MS: u32 = 10;

/// Who is in an action, and when the last one began.
pub(super) struct Watch {
    clock: SharedClock,
    seen: Mutex<Seen>,
    live: watch::Sender<usize>,
}

#[derive(Default)]
struct Seen {
    sessions: BTreeSet<String>,
    last: Duration,
}

impl Watch {
    pub(super) fn new(clock: SharedClock) -> Watch {
        Watch {
            clock,
            seen: Mutex::default(),
            live: watch::Sender::new(0),
        }
    }

    /// An action began, so its permit was spent.
    fn began(&self, session: &str) {
        let mut seen = self.seen();
        seen.last = seen.last.max(self.clock.monotonic());
        if seen.sessions.insert(session.to_owned()) {
            let live = seen.sessions.len();
            drop(seen);
            self.live.send_modify(|most| *most = live.max(*most));
        }
    }

    /// When the last action began.
    pub(super) fn last(&self) -> Duration {
        self.seen().last
    }

    /// How many sessions came to act.
    pub(super) fn live(&self) -> usize {
        self.seen().sessions.len()
    }

    /// Until that many came to act.
    pub(super) async fn all_live(&self, sessions: usize) {
        let mut live = self.live.subscribe();
        // The sender is this watch's own, so that there is no error.
        let _ = live.wait_for(|live| *live >= sessions).await;
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        // No step under this lock leaves the data half written.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The tool.
pub(super) struct Wait {
    verb: Verb,
    watch: Arc<Watch>,
}

impl Wait {
    pub(super) fn new(verb: Verb, watch: Arc<Watch>) -> Wait {
        Wait { verb, watch }
    }

    async fn wait(&self, flight: &InFlight) -> Settlement {
        self.watch.began(flight.session());
        let cut = flight.cancel().cancelled();
        let ms = flight
            .action()
            .arguments()
            .get("milliseconds")
            .and_then(Value::as_u64);
        let Some(ms @ 1..) = ms else {
            cut.await;
            return cancelled(Effect::Read);
        };
        match tokio::time::timeout(Duration::from_millis(ms), cut).await {
            Ok(()) => cancelled(Effect::Read),
            Err(_) => success(Value::Null, "waited", false),
        }
    }
}

impl Tool for Wait {
    fn verb(&self) -> &Verb {
        &self.verb
    }
    fn description(&self) -> &str {
        "Does nothing until it is cut off, or for so many milliseconds."
    }
    fn schema(&self) -> Value {
        json!({
            "type": "object", "additionalProperties": false,
            "properties": {"milliseconds": {"type": "integer"}}, "required": [],
        })
    }
    fn propose<'a>(&'a self, arguments: &'a Value) -> BoxFuture<'a, Result<Action, ToolError>> {
        Box::pin(async move {
            action(
                &self.verb,
                RESOURCE,
                arguments.clone(),
                &Environment::production(),
                Effect::Read,
                Idempotence::Idempotent,
            )
            .map(Action::local)
        })
    }
    fn run<'a>(&'a self, flight: &'a InFlight) -> BoxFuture<'a, Settlement> {
        Box::pin(self.wait(flight))
    }
}
