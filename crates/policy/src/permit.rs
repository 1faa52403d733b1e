//! Permission as a thing one must hold, and the flight it becomes.

use crate::{Action, Cancel, Ruling, StopSet, Stopped, Subject};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// Position in a log, from 0, without gaps.
pub type Sequence = u64;

/// A ruling whose record is durable. Private fields, no `Clone`, no `Serialize`: it can be neither
/// forged, stored nor spent twice. Whoever acts takes the action from here.
#[derive(Debug)]
pub struct Permit {
    ruling: Ruling,
    subject: Subject,
    account: Account,
}

/// How an action ended. `uncertain` and `not_started` are outcomes too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Done.
    Success,
    /// Tried, and known not to be done or known to be refused by the other side.
    Failure,
    /// Partly done.
    Partial,
    /// Nobody knows whether it was done.
    Uncertain,
    /// Cut off by a stop.
    Cancelled,
    /// The permit was never spent.
    NotStarted,
}

/// What went wrong, in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A stable word for machines.
    #[serde(rename = "type")]
    pub kind: String,
    /// For people; no secrets.
    pub message: String,
}

/// What an action used. Money in micro-units of the currency, integer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Wall time, in milliseconds.
    pub duration_ms: u64,
    /// Model tokens read.
    pub tokens_input: u64,
    /// Model tokens written.
    pub tokens_output: u64,
    /// In micro-units.
    pub cost_micros: u64,
}

/// The outcome of an action, as it is recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Settlement {
    /// How it ended.
    pub outcome: Outcome,
    /// The whole result: goes into an encrypted payload, never into the leaf.
    pub result: Value,
    /// A short, redacted line for the leaf: row counts, status, sizes.
    pub summary: String,
    /// What went wrong.
    pub failure: Option<Failure>,
    /// What it used.
    pub resources: Resources,
    /// Whether the result holds text from outside that a model must not trust.
    pub taints: bool,
}

/// The record of an outcome could not be made durable.
#[derive(Debug, thiserror::Error)]
#[error("outcome of entry {entry} is not recorded: {reason}")]
pub struct Unsettled {
    /// The permit's entry.
    pub entry: Sequence,
    /// Why not.
    pub reason: String,
}

/// Resolves when the outcome is durable, with the sequence of its entry.
pub type SettleFuture = Pin<Box<dyn Future<Output = Result<Sequence, Unsettled>> + Send>>;

/// How outcomes reach the journal. The gate supplies it.
pub trait Settle: Send + Sync + std::fmt::Debug {
    /// Records the outcome of the permit at `entry`.
    fn settle(self: Box<Self>, entry: Sequence, settlement: Settlement) -> SettleFuture;
    /// Dropped without an outcome: only sends a message. `spent` says whether the effect may have begun.
    fn abandoned(self: Box<Self>, entry: Sequence, spent: bool);
}

impl Permit {
    /// Called in one place, by the gate, after the commit that holds `entry` returned.
    pub fn now_durable(ruling: Ruling, entry: Sequence, subject: Subject, settle: Box<dyn Settle>) -> Permit {
        Permit {
            ruling,
            subject,
            account: Account {
                entry,
                settle: Some(settle),
                flight: None,
            },
        }
    }

    /// What may be done.
    pub fn action(&self) -> &Action {
        self.ruling.action()
    }

    /// Where it is recorded.
    pub fn entry(&self) -> Sequence {
        self.account.entry
    }

    /// A move in memory that refuses once a stop covers it. The refused permit settles as not started.
    pub fn spend(self, stops: &Arc<StopSet>) -> Result<InFlight, Stopped> {
        let Permit {
            ruling,
            subject,
            mut account,
        } = self;
        // INVARIANT (no flight outruns a stop): registering checks the stops under the lock that
        // raising one takes, so a flight is either refused here or found and cancelled there.
        let cancel = stops.register(account.entry, &subject)?;
        account.flight = Some(Arc::clone(stops));
        Ok(InFlight {
            ruling,
            cancel,
            account,
        })
    }
}

/// An effect that is under way. Dropped without being settled it is `uncertain`.
#[derive(Debug)]
pub struct InFlight {
    ruling: Ruling,
    cancel: Cancel,
    account: Account,
}

impl InFlight {
    /// Exactly what was judged.
    pub fn action(&self) -> &Action {
        self.ruling.action()
    }
    /// Where the permit is recorded.
    pub fn entry(&self) -> Sequence {
        self.account.entry
    }
    /// The session, or empty.
    pub fn session(&self) -> &str {
        self.ruling.session()
    }
    /// Turns when a stop covers this flight.
    pub fn cancel(&self) -> Cancel {
        self.cancel.clone()
    }
    /// Hands the outcome to the journal; await it to know that it is durable.
    pub fn settle(mut self, settlement: Settlement) -> SettleFuture {
        let entry = self.account.entry;
        match self.account.settle.take() {
            Some(settle) => settle.settle(entry, settlement),
            None => Box::pin(std::future::ready(Err(Unsettled {
                entry,
                reason: "settled before".to_owned(),
            }))),
        }
    }
}

/// Owes the journal one outcome. Dropped while it still owes, it says so once: `not_started` before
/// the permit was spent, `uncertain` after.
#[derive(Debug)]
struct Account {
    entry: Sequence,
    /// Taken when the outcome is handed over.
    settle: Option<Box<dyn Settle>>,
    /// Where the flight is registered, once there is one.
    flight: Option<Arc<StopSet>>,
}

impl Drop for Account {
    fn drop(&mut self) {
        if let Some(stops) = &self.flight {
            stops.landed(self.entry);
        }
        if let Some(settle) = self.settle.take() {
            settle.abandoned(self.entry, self.flight.is_some());
        }
    }
}
