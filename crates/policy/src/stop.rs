//! Stops, in memory: read by every admission and by every spending of a permit.
//!
//! Nothing here waits, and nothing here is durable: a stop works first and is recorded second.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::task::{Context, Poll, Waker};

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
pub struct Standing {
    /// The number of the stop in force; `None` when there is none.
    pub number: Option<u64>,
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
            board.stops.insert(scope.clone(), Raised { number, stop });
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
        reached.iter().for_each(|(_, cancel)| cancel.turn());
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
    pub fn standing(&self, scope: &StopScope) -> Standing {
        let board = self.read();
        let of_scope = board.unrecorded.iter().filter(|(_, stop)| stop.scope == *scope);
        Standing {
            number: board.stops.get(scope).map(|raised| raised.number),
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
            return Err(Stopped { stop: stop.clone() });
        }
        let cancel = Cancel::default();
        board.flights.insert(
            permit,
            Flight {
                subject: subject.clone(),
                cancel: cancel.clone(),
            },
        );
        Ok(cancel)
    }
    /// A flight ended.
    pub(crate) fn landed(&self, permit: u64) {
        self.write().flights.remove(&permit);
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

impl StopScope {
    /// Whether `subject` is within this scope.
    pub fn covers(&self, subject: &Subject) -> bool {
        match self {
            StopScope::All => true,
            StopScope::Agent(name) => subject.agents.contains(name),
            StopScope::Session(id) => subject.session == *id,
        }
    }
}

impl Board {
    /// The scopes are ordered from the widest to the narrowest.
    fn covering(&self, subject: &Subject) -> Option<&Stop> {
        let mut stops = self.stops.values().map(|raised| &raised.stop);
        stops.find(|stop| stop.scope.covers(subject))
    }
}

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
    /// Turns it and wakes whoever waits.
    fn turn(&self) {
        self.shared.cancelled.store(true, Ordering::SeqCst);
        let wakers = std::mem::take(&mut self.waiting().wakers);
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    fn subject(agents: &[&str], session: &str) -> Subject {
        Subject {
            agents: agents.iter().map(|&name| name.to_owned()).collect(),
            session: session.to_owned(),
        }
    }

    fn stop(scope: StopScope) -> Stop {
        Stop {
            scope,
            reason: "drill".to_owned(),
            by: "person:alice".to_owned(),
        }
    }

    /// Lifts whatever stands.
    fn lift(stops: &StopSet, scope: &StopScope) -> bool {
        let number = stops.standing(scope).number;
        number.is_some_and(|number| stops.lift(scope, number))
    }

    fn agent(name: &str) -> StopScope {
        StopScope::Agent(name.to_owned())
    }

    fn session(id: &str) -> StopScope {
        StopScope::Session(id.to_owned())
    }

    #[test]
    fn a_stop_covers_its_scope_and_nothing_else() {
        #[rustfmt::skip]
        let table = [
            ("all covers everybody",              StopScope::All,   subject(&["a"], "ses-1"),      true),
            ("all covers who is nobody",          StopScope::All,   subject(&[], ""),              true),
            ("an agent",                          agent("a"),       subject(&["a"], "ses-1"),      true),
            ("an agent that delegated",           agent("a"),       subject(&["a", "b"], "ses-1"), true),
            ("another agent",                     agent("a"),       subject(&["ab"], "ses-1"),     false),
            ("a session",                         session("ses-1"), subject(&["a"], "ses-1"),      true),
            ("another session",                   session("ses-1"), subject(&["a"], "ses-10"),     false),
            ("an action outside every session",   session("ses-1"), subject(&["a"], ""),           false),
        ];
        for (name, scope, subject, covered) in table {
            let stops = StopSet::new();
            assert_eq!(stops.covering(&subject), None, "{name}");
            stops.raise(stop(scope.clone()));
            assert_eq!(stops.covering(&subject).is_some(), covered, "{name}");
            assert_eq!(stops.register(1, &subject).is_err(), covered, "{name}");
            assert!(lift(&stops, &scope), "{name}");
            assert_eq!(stops.covering(&subject), None, "{name}");
        }
    }

    #[test]
    fn the_widest_stop_is_named_and_the_epoch_grows() {
        let stops = StopSet::new();
        stops.raise(stop(session("ses-1")));
        stops.raise(stop(agent("a")));
        assert_eq!(
            stops.covering(&subject(&["a"], "ses-1")).map(|s| s.scope),
            Some(agent("a"))
        );
        stops.raise(stop(StopScope::All));
        assert_eq!(
            stops.covering(&subject(&["a"], "ses-1")).map(|s| s.scope),
            Some(StopScope::All)
        );
        stops.raise(Stop {
            reason: "again".to_owned(),
            ..stop(StopScope::All)
        });
        assert_eq!(
            stops.list().iter().map(|s| s.reason.as_str()).collect::<Vec<_>>(),
            ["again", "drill", "drill"]
        );
        assert_eq!(stops.epoch(), 4);
        assert!(!lift(&stops, &agent("b")));
        assert_eq!(stops.epoch(), 4);
        assert!(lift(&stops, &StopScope::All));
        assert_eq!(stops.epoch(), 5);
    }

    #[test]
    fn lifting_ends_the_stop_that_was_seen_and_no_later_one() {
        let stops = StopSet::new();
        let (first, _) = stops.raise(stop(StopScope::All));
        let (second, _) = stops.raise(stop(StopScope::All));
        let owed = |stops: &StopSet| -> Vec<u64> {
            let standing = stops.standing(&StopScope::All);
            standing
                .unrecorded
                .into_iter()
                .map(|(number, _)| number)
                .collect()
        };
        assert_eq!(owed(&stops), [first, second]);
        assert!(!stops.lift(&StopScope::All, first), "it was replaced");
        assert_eq!(stops.epoch(), 2);
        assert!(stops.recorded(first) && !stops.recorded(first));
        assert!(!stops.is_unrecorded(first) && stops.is_unrecorded(second));
        assert_eq!(owed(&stops), [second]);
        assert_eq!(stops.standing(&StopScope::All).number, Some(second));
        assert_eq!(stops.standing(&agent("a")), Standing::default());
        assert!(stops.lift(&StopScope::All, second));
        assert_eq!(stops.covering(&subject(&["a"], "")), None);
    }

    #[test]
    fn raising_cancels_the_flights_it_covers_and_names_them() {
        let stops = StopSet::new();
        let first = stops.register(7, &subject(&["a"], "ses-1")).unwrap();
        let second = stops.register(9, &subject(&["b", "a"], "ses-2")).unwrap();
        let other = stops.register(8, &subject(&["b"], "ses-3")).unwrap();
        let landed = stops.register(6, &subject(&["a"], "ses-4")).unwrap();
        stops.landed(6);
        assert_eq!(stops.raise(stop(agent("a"))).1.cancelled, [7, 9]);
        let turned = [&first, &second, &other, &landed].map(Cancel::is_cancelled);
        assert_eq!(turned, [true, true, false, false]);
        stops.landed(7);
        stops.landed(9);
        assert_eq!(stops.raise(stop(agent("a"))).1.cancelled, Vec::<u64>::new());
    }

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Bell(AtomicUsize);
    impl Wake for Bell {
        fn wake(self: Arc<Bell>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn everyone_who_waits_is_woken_once_and_who_gave_up_is_not() {
        let stops = StopSet::new();
        let cancel = stops.register(1, &subject(&["a"], "")).unwrap();
        let (waits, gives_up) = (Arc::new(Bell::default()), Arc::new(Bell::default()));
        let poll = |future: &mut Cancelled, bell: &Arc<Bell>| {
            Pin::new(future).poll(&mut Context::from_waker(&Waker::from(Arc::clone(bell))))
        };
        let mut waiting = cancel.cancelled();
        assert!(poll(&mut waiting, &waits).is_pending());
        assert!(poll(&mut waiting, &waits).is_pending());
        let mut dropped = cancel.cancelled();
        assert!(poll(&mut dropped, &gives_up).is_pending());
        drop(dropped);
        stops.raise(stop(StopScope::All));
        assert_eq!(waits.0.load(Ordering::SeqCst), 1);
        assert_eq!(gives_up.0.load(Ordering::SeqCst), 0);
        assert!(poll(&mut waiting, &waits).is_ready());
        assert!(
            poll(&mut cancel.cancelled(), &gives_up).is_ready(),
            "one who comes late does not wait"
        );
    }

    /// Parks the thread until the future is ready.
    fn wait(mut future: Cancelled) {
        struct Unpark(std::thread::Thread);
        impl Wake for Unpark {
            fn wake(self: Arc<Unpark>) {
                self.0.unpark();
            }
        }
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        while Pin::new(&mut future)
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
        {
            std::thread::park();
        }
    }

    #[test]
    fn no_flight_outruns_a_stop() {
        for round in 0..200 {
            let stops = Arc::new(StopSet::new());
            let pilots: Vec<_> = (0..4)
                .map(|pilot| {
                    let stops = Arc::clone(&stops);
                    std::thread::spawn(move || {
                        let permit = round * 4 + pilot;
                        match stops.register(permit, &subject(&["a"], "ses-1")) {
                            // Registered before the stop: it must be cancelled, or this never returns.
                            Ok(cancel) => {
                                wait(cancel.cancelled());
                                Some(permit)
                            }
                            Err(_) => None,
                        }
                    })
                })
                .collect();
            let reached = stops.raise(stop(agent("a"))).1.cancelled;
            let mut flew: Vec<_> = pilots
                .into_iter()
                .filter_map(|pilot| pilot.join().unwrap())
                .collect();
            flew.sort_unstable();
            assert_eq!(flew, reached);
        }
    }

    #[test]
    fn a_thread_that_died_under_the_lock_opens_nothing() {
        let stops = Arc::new(StopSet::new());
        stops.raise(stop(StopScope::All));
        let poisoner = Arc::clone(&stops);
        let died = std::thread::spawn(move || {
            let _board = poisoner.board.write().unwrap();
            panic!("on purpose");
        });
        assert!(died.join().is_err());
        assert!(stops.board.is_poisoned());
        assert!(stops.covering(&subject(&["a"], "")).is_some());
        assert!(stops.register(1, &subject(&["a"], "")).is_err());
        assert!(lift(&stops, &StopScope::All));
    }
}
