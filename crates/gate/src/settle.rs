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
use store::{NewEntry, Retention, Store, StoreError, Tx};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};

/// The first pause before an outcome is tried again; doubled each time.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long [`Settlements::drained`] waits: long enough for a slow disk, short enough for a shutdown.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Where permits send their outcomes.
#[derive(Debug)]
pub(crate) struct Settlements {
    sender: mpsc::UnboundedSender<Owed>,
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

#[derive(Debug)]
struct Owed {
    call: CallOf,
    permit: Sequence,
    settlement: Settlement,
    answer: Option<oneshot::Sender<Result<Sequence, Unsettled>>>,
}

/// What a permit holds in order to be settled.
#[derive(Debug)]
struct Settler {
    sender: mpsc::UnboundedSender<Owed>,
    counts: Arc<Counts>,
    call: CallOf,
}

impl Settlements {
    /// Starts the task that takes outcomes; it ends when the gate and every permit are gone.
    pub(crate) fn start(runtime: &Handle, store: Store) -> Settlements {
        let (sender, mut receiver) = mpsc::unbounded_channel::<Owed>();
        let counts = Arc::new(Counts {
            open: watch::Sender::new(0),
            unsettled: AtomicUsize::new(0),
        });
        let shared = Arc::clone(&counts);
        runtime.spawn(async move {
            while let Some(owed) = receiver.recv().await {
                // Each on its own, so that those that come together share a commit.
                tokio::spawn(record(store.clone(), owed, Arc::clone(&shared)));
            }
        });
        Settlements { sender, counts }
    }

    /// For the permit of `call`.
    pub(crate) fn settler(&self, call: CallOf) -> Box<dyn Settle> {
        Box::new(Settler {
            sender: self.sender.clone(),
            counts: Arc::clone(&self.counts),
            call,
        })
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
}

impl Settler {
    /// A send that never waits: safe in `Drop`.
    fn hand_over(
        self,
        permit: Sequence,
        settlement: Settlement,
        answer: Option<oneshot::Sender<Result<Sequence, Unsettled>>>,
    ) {
        self.counts.open.send_modify(|open| *open += 1);
        if let Err(mpsc::error::SendError(owed)) = self.sender.send(Owed {
            call: self.call,
            permit,
            settlement,
            answer,
        }) {
            // The runtime is gone. After the next start the call is found without an outcome.
            self.counts.open.send_modify(|open| *open -= 1);
            tracing::error!(
                permit,
                session = owed.call.session,
                "outcome lost: the gate is closed"
            );
        }
    }
}

impl Settle for Settler {
    fn settle(self: Box<Self>, entry: Sequence, settlement: Settlement) -> SettleFuture {
        let (sender, receiver) = oneshot::channel();
        // Handed over at once: a future that nobody awaits must not lose the outcome.
        self.hand_over(entry, settlement, Some(sender));
        let gone = move |_| Unsettled {
            entry,
            reason: "the gate is closed".to_owned(),
        };
        Box::pin(async move { receiver.await.map_err(gone)? })
    }

    fn abandoned(self: Box<Self>, entry: Sequence, spent: bool) {
        let (outcome, summary) = match spent {
            true => (Outcome::Uncertain, "dropped without an outcome"),
            false => (Outcome::NotStarted, "the permit was never spent"),
        };
        self.hand_over(entry, nothing(outcome, summary), None);
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

/// Records one outcome, however long it takes; gives up only when the journal refuses for good, and
/// then it stays counted.
async fn record(store: Store, owed: Owed, counts: Arc<Counts>) {
    let Owed {
        call,
        permit,
        mut settlement,
        answer,
    } = owed;
    let mut pause = PAUSE_MIN;
    let mut failed = false;
    let result = loop {
        let (of, what) = (call.clone(), settlement.clone());
        let written = store
            .write::<_, StoreError, _>(move |tx| settle(tx, &of, permit, &what))
            .await;
        match written {
            Err(StoreError::Unavailable { reason }) => {
                if !failed {
                    counts.unsettled.fetch_add(1, Ordering::SeqCst);
                    tracing::error!(
                        permit,
                        session = call.session,
                        reason,
                        "outcome not recorded; it is kept and tried again"
                    );
                }
                failed = true;
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
            // A result that no entry can carry must not cost the outcome its record.
            Err(StoreError::Refused(reason)) if settlement.result != Value::Null => {
                tracing::warn!(permit, session = call.session, reason, "result not recorded");
                settlement = Settlement {
                    result: Value::Null,
                    ..settlement
                };
            }
            other => break other.map(|written| written.value),
        }
    };
    match (&result, failed) {
        (Ok(_), true) => counts.unsettled.fetch_sub(1, Ordering::SeqCst),
        (Err(_), false) => counts.unsettled.fetch_add(1, Ordering::SeqCst),
        _ => 0,
    };
    counts.open.send_modify(|open| *open -= 1);
    if let Err(error) = &result {
        tracing::error!(permit, session = call.session, %error, "outcome not recorded");
    }
    if let Some(answer) = answer {
        // Whoever settled may have gone; the outcome is recorded all the same.
        let _ = answer.send(result.map_err(|error| Unsettled {
            entry: permit,
            reason: error.to_string(),
        }));
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
            tx.append(entry(
                of,
                permit,
                &Settlement {
                    taints,
                    ..what.clone()
                },
            ))
        }
        Some(call) if call.state == Call::Uncertain && what.outcome != Outcome::Uncertain => {
            tx.append(entry(of, permit, what))
        }
        Some(call) if call.outcome == Some(what.outcome) => Ok(call.settled.unwrap_or(permit)),
        _ => Err(StoreError::Refused(format!(
            "permit {permit} of session `{}` has another outcome",
            of.session
        ))),
    }
}

fn entry(of: &CallOf, permit: Sequence, what: &Settlement) -> NewEntry {
    let mut body = json!({
        "permit": permit, "step": of.step, "verb": of.verb, "outcome": what.outcome,
        "summary": short(&what.summary), "resources": what.resources, "taints": what.taints,
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
