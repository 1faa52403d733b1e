//! Stops, in memory: read by every admission and by every spending of a permit.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// What a stop covers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StopScope {
    /// Everything.
    All,
    /// One agent, by name.
    Agent(String),
    /// One session, by id.
    Session(String),
}

/// A kill switch that was pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// What it covers.
    pub scope: StopScope,
    /// Why, in the words of whoever pulled it.
    pub reason: String,
    /// Who pulled it.
    pub by: String,
}

/// What a stop can cover: whose action, in which session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Every agent on the chain.
    pub agents: Vec<String>,
    /// The session, or empty.
    pub session: String,
}

/// Refused because of this stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stopped by {}: {}", stop.by, stop.reason)]
pub struct Stopped {
    /// The stop that covers it.
    pub stop: Stop,
}

/// What a stop reached: subjects of flights it cancelled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// Sequences of permits in flight that were cancelled.
    pub cancelled: Vec<u64>,
}

/// The stops in force. Shared; everything is behind its own lock.
#[derive(Debug, Default)]
pub struct StopSet {
    _private: (),
}

impl StopSet {
    /// With nothing stopped.
    pub fn new() -> StopSet {
        StopSet::default()
    }
    /// Grows with every [`StopSet::raise`] and [`StopSet::lift`].
    pub fn epoch(&self) -> u64 {
        todo!()
    }
    /// The stop that covers `subject`, if any: the widest one.
    pub fn covering(&self, subject: &Subject) -> Option<Stop> {
        let _ = subject;
        todo!()
    }
    /// Stops at once and cancels every registered flight that it covers. A second stop of the same
    /// scope replaces the first.
    pub fn raise(&self, stop: Stop) -> Reached {
        let _ = stop;
        todo!()
    }
    /// Ends the stop of this scope; `false` if there was none.
    pub fn lift(&self, scope: &StopScope) -> bool {
        let _ = scope;
        todo!()
    }
    /// All in force.
    pub fn list(&self) -> Vec<Stop> {
        todo!()
    }
    /// Puts a flight under the set; refuses when it is covered. Unregistered with [`StopSet::landed`].
    pub(crate) fn register(&self, permit: u64, subject: &Subject) -> Result<Cancel, Stopped> {
        let _ = (permit, subject);
        todo!()
    }
    /// A flight ended.
    pub(crate) fn landed(&self, permit: u64) {
        let _ = permit;
    }
}

/// A handle that turns once, from going on to cancelled.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    _shared: Arc<()>,
}

impl Cancel {
    /// Whether it has turned.
    pub fn is_cancelled(&self) -> bool {
        todo!()
    }
    /// Resolves when it turns.
    pub fn cancelled(&self) -> Cancelled {
        Cancelled { _cancel: self.clone() }
    }
}

/// See [`Cancel::cancelled`].
#[derive(Debug)]
pub struct Cancelled {
    _cancel: Cancel,
}

impl Future for Cancelled {
    type Output = ();
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        todo!()
    }
}
