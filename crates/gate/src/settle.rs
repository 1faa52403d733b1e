//! Outcomes on their way into the journal.
//!
//! An outcome cannot undo what happened. When the journal cannot be written for the moment it waits in
//! memory, alarms, and is tried again; when the journal refuses it for good (altered, closed, or it
//! holds another outcome) it is given up, and counts as unsettled for as long as the process lives.

use crate::calls;
use crate::record::short;
use journal::kind;
use journal::machine::Call;
use policy::{Outcome, Principal, Resources, Sequence, Settle, SettleFuture, Settlement, Taints, Unsettled};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use store::{Haste, NewEntry, Retention, Store, StoreError, Tx, Written};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

/// The first pause before an outcome is tried again; doubled each time.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long [`Settlements::drained`] waits: long enough for a slow disk, short enough for a shutdown.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Where permits send their outcomes.
#[derive(Clone)]
pub(crate) struct Settlements {
    store: Store,
    runtime: Handle,
    counts: Arc<Counts>,
}

#[derive(Debug)]
struct Counts {
    /// Handed over and not yet recorded.
    open: watch::Sender<usize>,
    /// Tried in vain at least once, and not recorded since.
    unsettled: AtomicUsize,
}

/// Whose call it is that a permit is for.
#[derive(Clone, Debug)]
pub(crate) struct CallOf {
    pub session: String,
    pub step: String,
    pub verb: String,
    pub agent: String,
    pub cause: Principal,
    pub correlation: Option<String>,
}

/// One outcome that is owed to the journal.
struct Owed {
    call: CallOf,
    permit: Sequence,
    settlement: Settlement,
}

type Answer = oneshot::Sender<Result<Sequence, Unsettled>>;

/// How often it was tried, as the next pause; and whether it failed.
struct Tries {
    pause: Duration,
    failed: bool,
}

/// What a permit holds in order to be settled.
struct Settler {
    to: Settlements,
    call: CallOf,
}

impl std::fmt::Debug for Settlements {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.counts.fmt(f)
    }
}

impl std::fmt::Debug for Settler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.call.fmt(f)
    }
}

impl Settlements {
    /// Outcomes go straight to the writer's thread; `runtime` has those that have to be tried again.
    pub(crate) fn start(runtime: &Handle, store: Store) -> Settlements {
        let counts = Arc::new(Counts {
            open: watch::Sender::new(0),
            unsettled: AtomicUsize::new(0),
        });
        Settlements {
            store,
            runtime: runtime.clone(),
            counts,
        }
    }

    /// For the permit of `call`.
    pub(crate) fn settler(&self, call: CallOf) -> Box<dyn Settle> {
        let to = self.clone();
        Box::new(Settler { to, call })
    }

    /// How many wait after a failed try, or were refused for good.
    pub(crate) fn unsettled(&self) -> usize {
        self.counts.unsettled.load(Ordering::SeqCst)
    }

    /// Resolves when no outcome is under way, or when it takes too long.
    pub(crate) async fn drained(&self) {
        let mut open = self.counts.open.subscribe();
        if tokio::time::timeout(DRAIN_MAX, open.wait_for(|open| *open == 0))
            .await
            .is_err()
        {
            tracing::error!(
                open = *self.counts.open.borrow(),
                "outcomes are still not recorded"
            );
        }
    }

    /// Records one outcome, however long it takes; gives up only when the journal refuses for good, and then it stays
    /// counted. Never waits: safe in `Drop`, and on the writer's thread.
    fn record(self, owed: Arc<Owed>, haste: Haste, tries: Tries, answer: Option<Answer>) {
        let (store, runtime, what) = (self.store.clone(), self.runtime.clone(), Arc::clone(&owed));
        let write = move |tx: &mut Tx<'_>| settle(tx, &what.call, what.permit, &what.settlement);
        let after = move |written: Result<Written<Sequence>, StoreError>| {
            self.recorded(owed, tries, answer, written.map(|written| written.value));
        };
        store.hand_over(&runtime, haste, write, after);
    }

    fn recorded(
        self,
        owed: Arc<Owed>,
        mut tries: Tries,
        answer: Option<Answer>,
        result: Result<Sequence, StoreError>,
    ) {
        let (permit, session) = (owed.permit, &owed.call.session);
        match result {
            Err(StoreError::Unavailable { reason }) => {
                if !tries.failed {
                    self.counts.unsettled.fetch_add(1, Ordering::SeqCst);
                    tracing::error!(
                        permit,
                        session,
                        reason,
                        "outcome not recorded; it is kept and tried again"
                    );
                }
                tries.failed = true;
                self.runtime.clone().spawn(async move {
                    tokio::time::sleep(tries.pause).await;
                    tries.pause = (tries.pause * 2).min(PAUSE_MAX);
                    self.record(owed, Haste::Now, tries, answer);
                });
            }
            // A result that no entry can carry must not cost the outcome its record.
            Err(StoreError::Refused(reason)) if owed.settlement.result != Value::Null => {
                tracing::warn!(permit, session, reason, "result not recorded");
                let without = Owed {
                    call: owed.call.clone(),
                    permit,
                    settlement: Settlement {
                        result: Value::Null,
                        ..owed.settlement.clone()
                    },
                };
                self.record(Arc::new(without), Haste::Now, tries, answer);
            }
            result => self.counts.concluded(&owed, tries.failed, answer, result),
        }
    }
}

impl Counts {
    fn concluded(
        &self,
        owed: &Owed,
        failed: bool,
        answer: Option<Answer>,
        result: Result<Sequence, StoreError>,
    ) {
        let permit = owed.permit;
        match (&result, failed) {
            (Ok(_), true) => self.unsettled.fetch_sub(1, Ordering::SeqCst),
            (Err(_), false) => self.unsettled.fetch_add(1, Ordering::SeqCst),
            _ => 0,
        };
        self.open.send_modify(|open| *open -= 1);
        if let Err(error) = &result {
            tracing::error!(permit, session = owed.call.session, %error, "outcome not recorded");
        }
        if let Some(answer) = answer {
            // Whoever settled may have gone; the outcome is recorded all the same.
            let _ = answer.send(result.map_err(|error| Unsettled {
                entry: permit,
                reason: error.to_string(),
            }));
        }
    }
}

impl Settler {
    fn hand_over(self, permit: Sequence, settlement: Settlement, haste: Haste, answer: Option<Answer>) {
        let Settler { to, call } = self;
        to.counts.open.send_modify(|open| *open += 1);
        let owed = Arc::new(Owed {
            call,
            permit,
            settlement,
        });
        let tries = Tries {
            pause: PAUSE_MIN,
            failed: false,
        };
        to.record(owed, haste, tries, answer);
    }

    fn settled(self, entry: Sequence, settlement: Settlement, haste: Haste) -> SettleFuture {
        let (sender, receiver) = oneshot::channel();
        // Handed over at once: a future that nobody awaits must not lose the outcome.
        self.hand_over(entry, settlement, haste, Some(sender));
        let gone = move |_| Unsettled {
            entry,
            reason: "the gate is closed".to_owned(),
        };
        Box::pin(async move { receiver.await.map_err(gone)? })
    }
}

impl Settle for Settler {
    fn settle(self: Box<Self>, entry: Sequence, settlement: Settlement) -> SettleFuture {
        self.settled(entry, settlement, Haste::Now)
    }

    fn settle_soon(self: Box<Self>, entry: Sequence, settlement: Settlement) -> SettleFuture {
        self.settled(entry, settlement, Haste::Soon)
    }

    fn abandoned(self: Box<Self>, entry: Sequence, spent: bool) {
        let (outcome, summary) = match spent {
            true => (Outcome::Uncertain, "dropped without an outcome"),
            false => (Outcome::NotStarted, "the permit was never spent"),
        };
        self.hand_over(entry, nothing(outcome, summary), Haste::Now, None);
    }
}

/// A settlement without a result.
pub(crate) fn nothing(outcome: Outcome, summary: &str) -> Settlement {
    Settlement {
        outcome,
        result: Value::Null,
        summary: summary.to_owned(),
        failure: None,
        resources: Resources::default(),
        taints: policy::Taints::NONE,
    }
}

/// The entry of an outcome. The same again changes nothing: a commit that was not acknowledged may have
/// become durable.
pub(crate) fn settle(
    tx: &mut Tx<'_>,
    of: &CallOf,
    permit: Sequence,
    what: &Settlement,
) -> Result<Sequence, StoreError> {
    let call = calls::row(tx, &of.session, &of.step)?.filter(|call| call.permit == Some(permit));
    match call {
        Some(call) if call.state == Call::Permitted => {
            let uncertain = what.outcome == Outcome::Uncertain;
            // INVARIANT (what may have entered counts as entered): nobody knows what such a call has told.
            let more = if uncertain { call.may_bring } else { Taints::NONE };
            let taints = what.taints.and(more);
            tx.append(entry(of, permit, what, taints))
        }
        Some(call) if call.state == Call::Uncertain && what.outcome != Outcome::Uncertain => {
            tx.append(entry(of, permit, what, what.taints))
        }
        Some(call) if call.outcome == Some(what.outcome) => Ok(call.settled.unwrap_or(permit)),
        _ => Err(StoreError::Refused(format!(
            "permit {permit} of session `{}` has another outcome",
            of.session
        ))),
    }
}

fn entry(of: &CallOf, permit: Sequence, what: &Settlement, taints: Taints) -> NewEntry {
    let mut body = json!({
        "permit": permit, "step": of.step, "verb": of.verb, "outcome": what.outcome,
        "summary": short(&what.summary), "resources": what.resources, "taints": taints,
    });
    if let (Some(failure), Some(body)) = (&what.failure, body.as_object_mut()) {
        let failure = json!({ "type": short(&failure.kind), "message": short(&failure.message) });
        body.insert("failure".to_owned(), failure);
    }
    let mut entry = NewEntry::new(kind::ACTION_SETTLED, Principal::agent(&of.agent), body)
        .session(&of.session)
        .cause(&of.cause)
        .payload("result", Retention::Action, what.result.clone());
    entry.correlation.clone_from(&of.correlation);
    entry
}
