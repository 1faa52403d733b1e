//! Stops, in memory: read by every admission and by every spending of a permit.
//!
//! Nothing here waits, and nothing here is durable: a stop works first and is recorded second.

mod cancel;
mod scope;

pub use cancel::{Cancel, Cancelled};
pub use scope::{Doing, Member, StopScope, Subject};

use crate::Reach;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// A kill switch that was pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// What it covers.
    pub scope: StopScope,
    /// Why, in the words of whoever pulled it.
    pub reason: String,
    /// Who pulled it.
    pub by: String,
    /// Where the role holds by which they did.
    pub at: Reach,
}

/// Refused because of this stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stopped by {}: {}", stop.by, stop.reason)]
pub struct Stopped {
    /// The stop that covers it.
    pub stop: Box<Stop>,
}

impl From<Stop> for Stopped {
    fn from(stop: Stop) -> Stopped {
        Stopped { stop: Box::new(stop) }
    }
}

/// What a stop reached. It is told to flights and not enforced in them: whether a tool that was
/// cancelled ends, its outcome says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// Sequences of permits in flight that were cancelled.
    pub cancelled: Vec<u64>,
}

/// The stops in force and the flights under them. Shared; everything is behind one lock.
#[derive(Debug, Default)]
pub struct StopSet {
    epoch: AtomicU64,
    board: RwLock<Board>,
}

/// The stop of one scope as it stands, and every stop of that scope that nobody recorded yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upheld {
    /// The number of the stop in force; `None` when there is none.
    pub number: Option<u64>,
    /// That stop.
    pub stop: Option<Stop>,
    /// Raised, and not yet [`StopSet::recorded`], in the order in which they were raised.
    pub unrecorded: Vec<(u64, Stop)>,
}

#[derive(Debug, Default)]
struct Board {
    stops: BTreeMap<StopScope, Raised>,
    /// By number: pulled, and on the way into the record.
    unrecorded: BTreeMap<u64, Stop>,
    last: u64,
    flights: BTreeMap<u64, Flight>,
}

/// A stop with its number: two stops of one scope are two stops.
#[derive(Debug)]
struct Raised {
    number: u64,
    stop: Stop,
}

#[derive(Debug)]
struct Flight {
    subject: Subject,
    cancel: Cancel,
    /// Turns when it is over.
    landed: Cancel,
}

impl StopSet {
    /// With nothing stopped.
    pub fn new() -> StopSet {
        StopSet::default()
    }
    /// Grows with every [`StopSet::raise`] and [`StopSet::lift`].
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }
    /// The stop that covers `subject`, if any: the widest one.
    pub fn covering(&self, subject: &Subject) -> Option<Stop> {
        self.read().covering(subject).cloned()
    }
    /// Stops at once and cancels every registered flight that it covers. A second stop of the same
    /// scope replaces the first. The number is this stop's own, for [`StopSet::recorded`] and
    /// [`StopSet::lift`].
    pub fn raise(&self, stop: Stop) -> (u64, Reached) {
        let (number, reached) = {
            let mut board = self.write();
            let scope = stop.scope.clone();
            board.last += 1;
            let number = board.last;
            board.unrecorded.insert(number, stop.clone());
            let raised = Raised {
                number,
                stop: stop.clone(),
            };
            board.stops.insert(scope.clone(), raised);
            self.epoch.fetch_add(1, Ordering::SeqCst);
            let covered = board
                .flights
                .iter()
                .filter(|(_, flight)| scope.covers(&flight.subject));
            let reached: Vec<(u64, Cancel)> = covered
                .map(|(permit, flight)| (*permit, flight.cancel.clone()))
                .collect();
            (number, reached)
        };
        // Wakers are foreign code: they run after the lock is released.
        reached.iter().for_each(|(_, cancel)| cancel.turn(Some(&stop)));
        let cancelled = reached.into_iter().map(|(permit, _)| permit).collect();
        (number, Reached { cancelled })
    }
    /// Says that somebody took care of the record of this stop; `false` if somebody else did before.
    pub fn recorded(&self, number: u64) -> bool {
        self.write().unrecorded.remove(&number).is_some()
    }
    /// Whether nobody took care of the record of this stop yet.
    pub fn is_unrecorded(&self, number: u64) -> bool {
        self.read().unrecorded.contains_key(&number)
    }
    /// What stands of this scope, read at one moment.
    pub fn standing(&self, scope: &StopScope) -> Upheld {
        let board = self.read();
        let of_scope = board.unrecorded.iter().filter(|(_, stop)| stop.scope == *scope);
        let raised = board.stops.get(scope);
        Upheld {
            number: raised.map(|raised| raised.number),
            stop: raised.map(|raised| raised.stop.clone()),
            unrecorded: of_scope.map(|(number, stop)| (*number, stop.clone())).collect(),
        }
    }
    /// Ends the stop of this scope that has this number, and no other: one that was raised meanwhile
    /// stands. `false` if it is not in force.
    pub fn lift(&self, scope: &StopScope, number: u64) -> bool {
        let mut board = self.write();
        let lifted = board
            .stops
            .get(scope)
            .is_some_and(|raised| raised.number == number);
        if lifted {
            board.stops.remove(scope);
            self.epoch.fetch_add(1, Ordering::SeqCst);
        }
        lifted
    }
    /// All in force, the widest first.
    pub fn list(&self) -> Vec<Stop> {
        let board = self.read();
        board.stops.values().map(|raised| raised.stop.clone()).collect()
    }
    /// Puts a flight under the set; refuses when it is covered. Unregistered with [`StopSet::landed`].
    pub(crate) fn register(&self, permit: u64, subject: &Subject) -> Result<Cancel, Stopped> {
        let mut board = self.write();
        if let Some(stop) = board.covering(subject) {
            return Err(Stopped::from(stop.clone()));
        }
        let cancel = Cancel::default();
        board.flights.insert(
            permit,
            Flight {
                subject: subject.clone(),
                cancel: cancel.clone(),
                landed: Cancel::default(),
            },
        );
        Ok(cancel)
    }
    /// A flight ended.
    pub(crate) fn landed(&self, permit: u64) {
        let flight = self.write().flights.remove(&permit);
        if let Some(flight) = flight {
            flight.landed.turn(None);
        }
    }
    /// What turns when the flight of this permit has ended; `None` when it has, or never began.
    pub fn landing(&self, permit: u64) -> Option<Cancel> {
        self.read()
            .flights
            .get(&permit)
            .map(|flight| flight.landed.clone())
    }
    /// The permits in flight that `scope` covers.
    pub fn in_flight(&self, scope: &StopScope) -> Vec<u64> {
        let board = self.read();
        let covered = board
            .flights
            .iter()
            .filter(|(_, flight)| scope.covers(&flight.subject));
        covered.map(|(permit, _)| *permit).collect()
    }

    // A poisoned lock means that a thread died while it held it. No step under the lock can leave a
    // stop half written, so the stops in it still hold; refusing to read them would open the gate.
    fn read(&self) -> RwLockReadGuard<'_, Board> {
        self.board.read().unwrap_or_else(PoisonError::into_inner)
    }
    fn write(&self) -> RwLockWriteGuard<'_, Board> {
        self.board.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Board {
    /// The scopes are ordered from the widest to the narrowest.
    fn covering(&self, subject: &Subject) -> Option<&Stop> {
        let mut stops = self.stops.values().map(|raised| &raised.stop);
        stops.find(|stop| stop.scope.covers(subject))
    }
}

#[cfg(test)]
mod tests;
