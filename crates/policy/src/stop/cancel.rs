//! A handle that tells whoever holds a copy that it is over. It waits for nobody and knows no reason.

use super::Stop;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A handle that turns once, from going on to cancelled.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    shared: Arc<Turn>,
}

#[derive(Debug, Default)]
struct Turn {
    cancelled: AtomicBool,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// What turned it: a stop of more than single actions before one of these.
    stop: Option<Stop>,
    next: u64,
    wakers: BTreeMap<u64, Waker>,
}

impl Cancel {
    /// Whether it has turned.
    pub fn is_cancelled(&self) -> bool {
        self.shared.cancelled.load(Ordering::SeqCst)
    }
    /// Resolves when it turns.
    pub fn cancelled(&self) -> Cancelled {
        Cancelled {
            cancel: self.clone(),
            place: None,
        }
    }
    /// The stop that turned it. Of several one that ends sessions, if there is one.
    pub fn stop(&self) -> Option<Stop> {
        self.waiting().stop.clone()
    }
    /// Turns it and wakes whoever waits.
    pub(super) fn turn(&self, stop: Option<&Stop>) {
        self.shared.cancelled.store(true, Ordering::SeqCst);
        let mut waiting = self.waiting();
        let ends_more = |held: &Stop, new: &&Stop| held.scope.is_of_actions() && !new.scope.is_of_actions();
        if let Some(stop) = stop.filter(|new| waiting.stop.as_ref().is_none_or(|held| ends_more(held, new))) {
            waiting.stop = Some(stop.clone());
        }
        let wakers = std::mem::take(&mut waiting.wakers);
        drop(waiting);
        wakers.into_values().for_each(Waker::wake);
    }
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Cancel::cancelled`].
#[derive(Debug)]
pub struct Cancelled {
    cancel: Cancel,
    /// Where its waker waits, once it was polled.
    place: Option<u64>,
}

impl Future for Cancelled {
    type Output = ();
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let mut waiting = this.cancel.waiting();
        // Read under the lock that `turn` takes after it set the flag: either the flag is seen here,
        // or the waker is seen there.
        if this.cancel.is_cancelled() {
            return Poll::Ready(());
        }
        let place = match this.place {
            Some(place) => place,
            None => {
                waiting.next += 1;
                waiting.next
            }
        };
        waiting.wakers.insert(place, context.waker().clone());
        drop(waiting);
        this.place = Some(place);
        Poll::Pending
    }
}

impl Drop for Cancelled {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            let removed = self.cancel.waiting().wakers.remove(&place);
            drop(removed);
        }
    }
}
