//! Permission as a thing one must hold, and the flight it becomes.

use crate::{Action, Cancel, Principal, Ruling, StopSet, Stopped, Subject, Taints};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// Position in a log, from 0, without gaps.
pub type Sequence = u64;

/// A ruling whose record is durable. Private fields, no `Clone`, no `Serialize`: it can be neither
/// forged, stored nor spent twice. Whoever acts takes the action from here.
///
/// ```
/// fn spent(permit: policy::Permit, stops: std::sync::Arc<policy::StopSet>) -> String {
///     let verb = serde_json::to_string(permit.action().verb()).unwrap();
///     let _ = permit.spend(&stops);
///     verb
/// }
/// ```
/// What follows differs from this by one step, and does not compile:
///
/// ```compile_fail
/// fn copied(permit: &policy::Permit) -> policy::Permit { permit.clone() }
/// ```
/// ```compile_fail
/// fn stored(permit: &policy::Permit) -> String { serde_json::to_string(permit).unwrap() }
/// ```
/// ```compile_fail
/// fn spent_twice(permit: policy::Permit, stops: std::sync::Arc<policy::StopSet>) {
///     let _ = permit.spend(&stops);
///     let _ = permit.spend(&stops);
/// }
/// ```
/// ```compile_fail
/// fn forged(permit: policy::Permit) -> policy::Permit { policy::Permit { ..permit } }
/// ```
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
    /// What the result brings into the session, beside what its action says that it brings.
    pub taints: Taints,
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
    /// The same where nothing waits for it: it may be recorded a few hundredths of a second later, with something else.
    fn settle_soon(self: Box<Self>, entry: Sequence, settlement: Settlement) -> SettleFuture {
        self.settle(entry, settlement)
    }
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
    /// Who acts.
    pub fn actor(&self) -> &Principal {
        self.ruling.actor()
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
    pub fn settle(self, settlement: Settlement) -> SettleFuture {
        self.settle_by(settlement, |settle, entry, settlement| {
            settle.settle(entry, settlement)
        })
    }
    /// The same where nothing waits for it; see [`Settle::settle_soon`].
    pub fn settle_soon(self, settlement: Settlement) -> SettleFuture {
        self.settle_by(settlement, |settle, entry, settlement| {
            settle.settle_soon(entry, settlement)
        })
    }
    fn settle_by(
        mut self,
        mut settlement: Settlement,
        by: impl FnOnce(Box<dyn Settle>, Sequence, Settlement) -> SettleFuture,
    ) -> SettleFuture {
        // INVARIANT (what an action brings enters the session): whatever its tool says of the result.
        if settlement.outcome != Outcome::NotStarted {
            settlement.taints = settlement.taints.and(self.action().brings());
        }
        let entry = self.account.entry;
        match self.account.settle.take() {
            Some(settle) => by(settle, entry, settlement),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::{action, chain, context};
    use crate::{Decision, Effect, Level, Member, Place, PolicySet, Stop, StopScope, decide};
    use std::sync::Mutex;

    /// Writes down what reached it.
    #[derive(Debug)]
    struct Ledger(Arc<Mutex<Vec<String>>>);

    impl Settle for Ledger {
        fn settle(self: Box<Self>, entry: Sequence, settlement: Settlement) -> SettleFuture {
            self.0
                .lock()
                .unwrap()
                .push(format!("{entry} settled {:?}", settlement.outcome));
            Box::pin(std::future::ready(Ok(entry + 1)))
        }
        fn abandoned(self: Box<Self>, entry: Sequence, spent: bool) {
            self.0
                .lock()
                .unwrap()
                .push(format!("{entry} abandoned, spent: {spent}"));
        }
    }

    fn permit(ledger: &Arc<Mutex<Vec<String>>>) -> Permit {
        let action = action("git.log", Effect::Read, "staging");
        match decide(&chain(Level::L0), action, &context(), &PolicySet::empty()) {
            Decision::Permit(ruling) => {
                let triage = Member {
                    name: "triage".to_owned(),
                    place: Place::default(),
                };
                let subject = Subject {
                    agents: vec![triage],
                    session: "ses-1".to_owned(),
                    doing: None,
                };
                Permit::now_durable(ruling, 41, subject, Box::new(Ledger(Arc::clone(ledger))))
            }
            other => panic!("{other:?}"),
        }
    }

    fn settlement() -> Settlement {
        Settlement {
            outcome: Outcome::Success,
            result: Value::Null,
            summary: String::new(),
            failure: None,
            resources: Resources::default(),
            taints: Taints::NONE,
        }
    }

    fn stop() -> Stop {
        Stop {
            scope: StopScope::All,
            reason: "drill".to_owned(),
            by: "person:alice".to_owned(),
            at: crate::Reach::Everywhere,
        }
    }

    #[test]
    fn every_way_a_permit_ends_reaches_the_journal_once() {
        type Ending = fn(Permit, &Arc<StopSet>);
        #[rustfmt::skip]
        let table: [(&str, Ending, &str); 6] = [
            ("dropped unspent",       |permit, _| drop(permit),                                   "41 abandoned, spent: false"),
            ("refused by a stop",     |permit, stops| { stops.raise(stop()); assert!(permit.spend(stops).is_err()); },
                                                                                                  "41 abandoned, spent: false"),
            ("dropped in flight",     |permit, stops| drop(permit.spend(stops).unwrap()),         "41 abandoned, spent: true"),
            ("settled, not awaited",  |permit, stops| drop(permit.spend(stops).unwrap().settle(settlement())), "41 settled Success"),
            ("settled after a stop",  |permit, stops| {
                let flight = permit.spend(stops).unwrap();
                assert_eq!(stops.raise(stop()).1.cancelled, [41]);
                assert!(flight.cancel().is_cancelled());
                drop(flight.settle(settlement()));
            },                                                                                    "41 settled Success"),
            ("a panic in flight",     |permit, stops| {
                let stops = Arc::clone(stops);
                let thread = std::thread::spawn(move || { let _flight = permit.spend(&stops).unwrap(); panic!("on purpose"); });
                assert!(thread.join().is_err());
            },                                                                                    "41 abandoned, spent: true"),
        ];
        for (name, end, expected) in table {
            let (ledger, stops) = (Arc::new(Mutex::new(Vec::new())), Arc::new(StopSet::new()));
            end(permit(&ledger), &stops);
            assert_eq!(*ledger.lock().unwrap(), [expected], "{name}");
            assert_eq!(
                stops.raise(stop()).1.cancelled,
                Vec::<u64>::new(),
                "{name}: nothing stays registered"
            );
        }
    }

    #[test]
    fn what_flies_is_what_was_judged() {
        let stops = Arc::new(StopSet::new());
        let permit = permit(&Arc::default());
        let judged = permit.action().clone();
        let flight = permit.spend(&stops).unwrap();
        assert_eq!(*flight.action(), judged);
        assert_eq!((flight.entry(), flight.session()), (41, "ses-1"));
    }
}
