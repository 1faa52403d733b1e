//! The stop set: what a stop covers, whom it cuts, and how it is lifted.

use super::*;
use crate::{Environment, Place};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Wake, Waker};

fn subject(agents: &[&str], session: &str) -> Subject {
    Subject {
        agents: agents.iter().map(|name| member(name, "acme/sre/ops")).collect(),
        session: session.to_owned(),
        doing: None,
    }
}

fn member(name: &str, place: &str) -> Member {
    Member {
        name: name.to_owned(),
        place: Place::parse(place).unwrap(),
    }
}

/// Somebody who does something.
fn does(verb: &str, resource: &str, network: bool) -> Subject {
    let doing = Doing {
        verb: verb.to_owned(),
        resource: resource.to_owned(),
        environment: Environment::production(),
        network,
    };
    Subject {
        doing: Some(doing),
        ..subject(&["a"], "ses-1")
    }
}

/// The same in another environment.
fn there(environment: &str) -> Subject {
    let mut subject = does("git.log", "r/a", false);
    if let Some(doing) = &mut subject.doing {
        doing.environment = Environment::new(environment).unwrap();
    }
    subject
}

fn scope(text: &str) -> StopScope {
    StopScope::parse(text).unwrap()
}

fn stop(scope: StopScope) -> Stop {
    Stop {
        scope,
        reason: "drill".to_owned(),
        by: "person:alice".to_owned(),
        at: crate::Reach::Everywhere,
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
        ("an organization",                   scope("org:acme"), subject(&["a"], "ses-1"),     true),
        ("another organization",              scope("org:acm"), subject(&["a"], "ses-1"),      false),
        ("a team",                            scope("team:acme/sre"), subject(&["a"], ""),     true),
        ("a team of that name elsewhere",     scope("team:zoo/sre"), subject(&["a"], ""),      false),
        ("a project",                         scope("project:acme/sre/ops"), subject(&["a"], ""), true),
        ("another project",                   scope("project:acme/sre/op"), subject(&["a"], ""), false),
        ("nobody is in no area",              scope("org:acme"), subject(&[], "ses-1"),        false),
        ("a tool",                            scope("tool:git.log"), does("git.log", "r", false), true),
        ("another tool",                      scope("tool:git.log"), does("git.logs", "r", false), false),
        ("tools",                             scope("tool:git.*"), does("git.propose", "r", false), true),
        ("a tool, and a session as a whole",  scope("tool:*"),  subject(&["a"], "ses-1"),      false),
        ("a capability",                      scope("capability:git.*:r/a"), does("git.log", "r/a", false), true),
        ("another resource",                  scope("capability:git.*:r/a"), does("git.log", "r/ab", false), false),
        ("another environment",               scope("capability:git.*:r/a:dev"), does("git.log", "r/a", false), false),
        ("production",                        scope("capability:git.*:r/a:production"), there("prod-eu"), true),
        ("no production",                     scope("capability:git.*:r/a:production"), there("staging"), false),
        ("one production",                    scope("capability:git.*:r/a:prod-us"), there("prod-eu"), false),
        ("another verb",                      scope("capability:git.*:r/a"), does("db.read", "r/a", false), false),
        ("the network",                       scope("network"), does("http.get", "r", true),   true),
        ("what stays at home",                scope("network"), does("git.log", "r", false),   false),
        ("the network, and a session",        scope("network"), subject(&["a"], "ses-1"),      false),
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
fn an_agent_that_delegated_is_covered_where_it_belongs() {
    let chain = Subject {
        agents: vec![member("a", "acme/sre/ops"), member("b", "zoo/keepers/night")],
        ..subject(&[], "ses-1")
    };
    for (text, covered) in [
        ("org:acme", true),
        ("org:zoo", true),
        ("team:zoo/sre", false),
        ("team:acme/keepers", false),
    ] {
        assert_eq!(scope(text).covers(&chain), covered, "{text}");
    }
}

#[test]
fn landing_is_told_once_the_flight_is_gone() {
    let stops = StopSet::new();
    let flight = stops.register(7, &subject(&["a"], "ses-1")).unwrap();
    let landing = stops.landing(7).unwrap();
    let other = stops.register(8, &subject(&["b"], "ses-2")).unwrap();
    assert_eq!(stops.raise(stop(agent("a"))).1.cancelled, [7]);
    assert!(flight.is_cancelled() && !other.is_cancelled() && !landing.is_cancelled());
    assert_eq!(stops.in_flight(&agent("a")), [7]);
    stops.landed(7);
    assert!(landing.is_cancelled());
    assert!(stops.landing(7).is_none() && stops.in_flight(&agent("a")).is_empty());
    assert_eq!(stops.in_flight(&StopScope::All), [8]);
}

#[test]
fn a_flight_knows_the_stop_that_cut_it() {
    let stops = StopSet::new();
    let flight = stops.register(1, &does("git.log", "r", false)).unwrap();
    assert_eq!(flight.stop(), None);
    // What ends the session counts more than what ends the action, whichever came first.
    for (text, told) in [
        ("tool:git.*", "tool:git.*"),
        ("network", "tool:git.*"),
        ("agent:a", "agent:a"),
        ("tool:git.log", "agent:a"),
        ("all", "agent:a"),
    ] {
        stops.raise(stop(scope(text)));
        assert_eq!(flight.stop().unwrap().scope.to_string(), told, "after {text}");
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
    assert_eq!(stops.standing(&agent("a")), Upheld::default());
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
