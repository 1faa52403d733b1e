//! Stops: effective at once, kept over a restart, and never outrun.

use crate::world::{World, post, read};
use policy::{Outcome, Principal, StopScope};
use std::sync::atomic::{AtomicBool, Ordering};

fn eve() -> Principal {
    Principal::person("eve")
}

#[tokio::test]
async fn a_stop_covers_its_scope_until_it_is_lifted() {
    let world = World::new().await;
    let (one, two) = (world.running("triage").await, world.running("triage").await);
    let other = world.running("reader").await;
    #[rustfmt::skip]
    let table = [
        // scope                              one    two    reader's
        (StopScope::All,                      false, false, false),
        (StopScope::Agent("triage".into()),   false, false, true),
        (StopScope::Session(one.clone()),     false, true,  true),
        (scope("network"),                    false, false, false),
        (scope("org:default"),                false, false, false),
        (scope("team:default/default"),       false, false, false),
        (scope("project:default/default/default"), false, false, false),
        (scope("project:default/default/other"), true, true, true),
        (scope("tool:git.*"),                 false, false, false),
        (scope("tool:channel.*"),             true,  true,  true),
        (scope("capability:git.log:a"),       false, false, false),
        (scope("capability:git.log:b"),       true,  true,  true),
    ];
    let count = table.len();
    for (index, (scope, first, second, third)) in table.into_iter().enumerate() {
        let answer = world.gate.stop(&eve(), scope.clone(), "halt").await;
        assert!(answer.durable);
        for (session, acts) in [(&one, first), (&two, second), (&other, third)] {
            let said = world.check(session, &format!("{index}"), &read("a")).await;
            let expected = if acts {
                "permit"
            } else {
                "stopped by person:eve: halt"
            };
            assert_eq!(said, expected, "{scope:?} {session}");
        }
        assert_eq!(world.gate.stops().len(), 1);
        assert!(
            world
                .gate
                .lift(&eve(), gate::EVERYWHERE, &scope, "over")
                .await
                .unwrap()
        );
        assert!(
            !world
                .gate
                .lift(&eve(), gate::EVERYWHERE, &scope, "over")
                .await
                .unwrap()
        );
    }
    assert_eq!(world.bodies("stop.raised").len(), count);
    assert_eq!(world.bodies("stop.lifted").len(), count);
}

fn scope(text: &str) -> StopScope {
    StopScope::parse(text).unwrap()
}

/// With a policy that asks for another person: neither who raised it nor a program lifts a stop, and the
/// stops that nobody but the platform raised are any person's to lift.
#[tokio::test]
async fn a_stop_is_lifted_by_another_person_where_policy_asks() {
    use crate::world::{agent, authority};
    let asking = serde_json::json!({ "rules": [], "lift": { "another_person": true } });
    let observed = serde_json::json!({ "rules": [], "mode": "observe", "lift": { "another_person": true } });
    let (eve, bob) = (eve(), Principal::person("bob"));
    let (robot, platform) = (Principal::agent("eve"), Principal::service("cofferdam"));
    #[rustfmt::skip]
    let table = [
        (&asking,   &eve,      &bob,   Ok(true)),
        (&asking,   &eve,      &eve,   Err("person:eve raised this stop, and policy `test` lets only another person lift it")),
        (&asking,   &eve,      &robot, Err("policy `test` lets only a person lift a stop; agent:eve is none")),
        (&asking,   &platform, &eve,   Ok(true)),
        (&observed, &eve,      &eve,   Ok(true)),
    ];
    for (rules, raises, lifts, expected) in table {
        let world = World::with(authority(rules, &[("triage", agent(policy::Level::L3))])).await;
        world.gate.kill(raises, StopScope::All, "halt").await;
        let world = world.reopened().await;
        let lifted = world
            .gate
            .lift(lifts, gate::EVERYWHERE, &StopScope::All, "over")
            .await;
        let lifted = lifted.map_err(|error| error.to_string());
        assert_eq!(lifted, expected.map_err(str::to_owned), "{raises} then {lifts}");
        assert_eq!(world.gate.stops().is_empty(), lifted.is_ok());
        assert_eq!(world.bodies("stop.lifted").len(), usize::from(lifted.is_ok()));
        let refused = world.bodies("stop.lift_refused");
        let told = lifted.as_ref().err().map(
            |error| serde_json::json!({ "scope": "all", "reason": error, "raised_by": [raises.to_string()] }),
        );
        assert_eq!(refused, Vec::from_iter(told), "{raises} then {lifts}");
        // What pulled it as a part of something else ends it all the same.
        let own = world
            .gate
            .lift_own(raises, gate::EVERYWHERE, &StopScope::All, "done")
            .await
            .unwrap();
        assert_eq!(own, lifted.is_err());
    }
}

/// Everybody who raised it counts, not the last one alone: nobody gets to lift their own stop because
/// somebody else raised it too.
#[tokio::test]
async fn a_stop_of_several_people_is_each_of_theirs() {
    use crate::world::{agent, authority};
    let asking = serde_json::json!({ "rules": [], "lift": { "another_person": true } });
    let free = serde_json::json!({ "rules": [] });
    let own = |name: &str| {
        Err(format!(
            "person:{name} raised this stop, and policy `test` lets only another person lift it"
        ))
    };
    #[rustfmt::skip]
    let table: [(_, &[&str], _, _, _); 9] = [
        // who raised it, in turn           who lifts it   as their own
        (&asking, &["eve", "bob"],          "eve",         false, own("eve")),
        (&asking, &["eve", "bob"],          "bob",         false, own("bob")),
        (&asking, &["eve", "bob"],          "carol",       false, Ok(true)),
        (&asking, &["eve"],                 "eve",         true,  Ok(true)),
        (&asking, &["eve", "eve"],          "eve",         true,  own("eve")),
        (&asking, &["eve", "bob"],          "eve",         true,  own("eve")),
        (&asking, &["bob", "eve"],          "eve",         true,  own("eve")),
        (&asking, &["bob"],                 "eve",         true,  Ok(true)),
        (&free,   &["eve", "bob"],          "eve",         true,  Ok(true)),
    ];
    for (rules, raise, lifts, is_own, expected) in table {
        for reopens in [false, true] {
            let mut world = World::with(authority(rules, &[("triage", agent(policy::Level::L3))])).await;
            for name in raise {
                world
                    .gate
                    .stop(&Principal::person(name), StopScope::All, "halt")
                    .await;
            }
            if reopens {
                world = world.reopened().await;
            }
            let (by, all) = (Principal::person(lifts), StopScope::All);
            let lifted = match is_own {
                true => world.gate.lift_own(&by, gate::EVERYWHERE, &all, "over").await,
                false => world.gate.lift(&by, gate::EVERYWHERE, &all, "over").await,
            };
            let lifted = lifted.map_err(|error| error.to_string());
            assert_eq!(lifted, expected, "{raise:?} then {lifts}, reopened: {reopens}");
            assert_eq!(
                world.gate.stops().is_empty(),
                lifted.is_ok(),
                "{raise:?} then {lifts}"
            );
            let refused = world.bodies("stop.lift_refused").len();
            assert_eq!(refused, usize::from(lifted.is_err()), "{raise:?} then {lifts}");
            if lifted.is_ok() {
                // Whoever raised the one before has not raised this one.
                world
                    .gate
                    .stop(&Principal::person("zoe"), all.clone(), "halt")
                    .await;
                assert!(
                    world
                        .gate
                        .lift(&eve(), gate::EVERYWHERE, &all, "over")
                        .await
                        .unwrap()
                );
            }
        }
    }
}

/// Whether the platform has stopped the same.
fn above(holds: bool) -> gate::Above {
    gate::Above {
        holds: Box::new(move || holds),
    }
}

/// An organization of a platform: what the platform has stopped as well is the platform's to lift.
#[tokio::test]
async fn what_is_held_above_is_lifted_above_first_and_nothing_else_with_it() {
    let (platform, own) = (Principal::service("cofferdam/platform"), Principal::person("ann"));
    let held =
        Err("the platform has stopped `all` in every organization; it is lifted there first".to_owned());
    #[rustfmt::skip]
    let table = [
        // who raised it, whether it stands above, what comes of a lift from below, and then of one by the platform
        (vec![&platform],       true,  held.clone(), Ok(true)),
        (vec![&platform, &own], true,  held.clone(), Ok(false)),
        (vec![&own, &platform], true,  held.clone(), Ok(false)),
        // It stood when the platform stopped everything, so it was not raised here again.
        (vec![&own],            true,  held,         Ok(false)),
        (vec![&platform],       false, Ok(true),     Ok(false)),
        (vec![&platform, &own], false, Ok(true),     Ok(false)),
        (vec![],                true,  Ok(false),    Ok(false)),
    ];
    for (raisers, holds, below, by_platform) in table {
        for reopens in [false, true] {
            let mut world = World::new().await;
            for by in &raisers {
                world.gate.stop(by, StopScope::All, "fire").await;
            }
            if reopens {
                world = world.reopened().await;
            }
            let (gate, all) = (&world.gate, StopScope::All);
            let said = gate
                .lift_below(&own, gate::EVERYWHERE, &all, "over", above(holds))
                .await;
            assert_eq!(
                said.map_err(|error| error.to_string()),
                below,
                "{raisers:?} {holds}"
            );
            // Raised again by then: whoever lifts the one before has not seen it.
            let said = gate.lift_own_alone(&platform, &all, "over", above(true)).await;
            assert!(matches!(said, Ok(false)), "{raisers:?} {holds}: {said:?}");
            let said = gate.lift_own_alone(&platform, &all, "over", above(false)).await;
            assert_eq!(
                said.map_err(|error| error.to_string()),
                by_platform,
                "{raisers:?} {holds}"
            );
            let stands = !raisers.is_empty() && below != Ok(true) && by_platform != Ok(true);
            assert_eq!(gate.stops().len(), usize::from(stands), "{raisers:?} {holds}");
        }
    }
}

/// That it holds above is asked when what stands here is known: a lift that waited its turn meanwhile is refused.
#[tokio::test]
async fn a_lift_that_waited_while_the_platform_stopped_everything_lifts_nothing() {
    let world = World::new().await;
    let (platform, own) = (Principal::service("cofferdam/platform"), Principal::person("ann"));
    let stands = std::sync::Arc::new(AtomicBool::new(false));
    let lift = |scope: StopScope| {
        let (gate, own, stands) = (world.gate.clone(), own.clone(), stands.clone());
        async move {
            let above = gate::Above {
                holds: Box::new(move || stands.load(Ordering::SeqCst)),
            };
            gate.lift_below(&own, gate::EVERYWHERE, &scope, "over", above)
                .await
        }
    };
    let (mut lifts, all) = (Vec::new(), StopScope::All);
    for _ in 0..20 {
        lifts.push(tokio::spawn(lift(all.clone())));
    }
    tokio::task::yield_now().await;
    // The platform stops itself first, and then its organizations.
    stands.store(true, Ordering::SeqCst);
    let raised = world.gate.stop(&platform, all.clone(), "fire").await;
    assert!(raised.durable);
    for one in lifts {
        assert_ne!(one.await.unwrap().ok(), Some(true));
    }
    assert_eq!(world.gate.stops().len(), 1, "it stands");
}

/// What was raised by a role at a place is lifted by a role there, whoever raised it again at another.
#[tokio::test]
async fn a_stop_is_lifted_where_its_raisers_have_their_roles() {
    use policy::Reach;
    let at = |text: &str| match text {
        "/" => Reach::Everywhere,
        text => Reach::parse(text).unwrap(),
    };
    let above = |place: &str| {
        Err(format!(
            "this stop was raised at {place}, and your role does not hold there"
        ))
    };
    const TRIAGE: &str = "default/default/default/triage";
    type Places = &'static [&'static str];
    #[rustfmt::skip]
    let table: [(Places, Places, Result<bool, String>); 8] = [
        (&["/"],                   &["/"],                  Ok(true)),
        (&["/"],                   &["default"],            above("the root")),
        (&["default"],             &["/"],                  Ok(true)),
        (&["default"],             &["default"],            Ok(true)),
        (&["default"],             &[TRIAGE],               above("default")),
        (&[TRIAGE],                &["default/default"],    Ok(true)),
        (&["default", "/"],        &["default"],            above("the root")),
        (&["/", "default"],        &["default"],            above("the root")),
    ];
    for (raise, reaches, expected) in table {
        // In memory and the journal, and as a restart finds it.
        for restarts in [false, true] {
            let mut world = World::new().await;
            for place in raise {
                let scope = scope("agent:triage");
                drop(world.gate.stop_at(&eve(), at(place), scope, "halt").await);
            }
            if restarts {
                world = world.reopened().await;
            }
            let held = world.gate.raised_at(&scope("agent:triage")).unwrap().unwrap();
            let told = if raise.contains(&"/") {
                "the root"
            } else {
                raise[0]
            };
            assert_eq!(held.to_string(), told);
            let reaches: Vec<Reach> = reaches.iter().map(|text| at(text)).collect();
            let bob = Principal::person("bob");
            let lifted = world
                .gate
                .lift(&bob, &reaches, &scope("agent:triage"), "over")
                .await;
            let lifted = lifted.map_err(|error| error.to_string());
            assert_eq!(
                lifted, expected,
                "{raise:?} then {reaches:?}, restarted: {restarts}"
            );
            assert_eq!(world.gate.stops().is_empty(), lifted.is_ok());
            let refused = world.bodies("stop.lift_refused").len();
            assert_eq!(
                refused,
                usize::from(lifted.is_err()),
                "{raise:?} then {reaches:?}"
            );
        }
    }
}

/// As when another process over the same journal raised it: what memory does not hold the commit finds.
#[tokio::test]
async fn a_stop_that_only_the_journal_holds_refuses_in_the_commit() {
    #[rustfmt::skip]
    let scopes = [
        "all", "network", "org:default", "team:default/default", "project:default/default/default", "tool:git.*",
        "tool:git.log", "capability:git.*:*", "agent:triage",
    ];
    for text in scopes {
        let world = World::new().await;
        let session = world.running("triage").await;
        let body = serde_json::json!({ "scope": text, "reason": "halt" });
        let raise = move |tx: &mut store::Tx<'_>| tx.append(store::NewEntry::new("stop.raised", eve(), body));
        let write = world.gate.store().write::<_, store::StoreError, _>(raise);
        write.await.unwrap();
        assert!(world.gate.stops().is_empty());
        assert_eq!(
            world.check(&session, "a", &read("a")).await,
            "stopped by person:eve: halt",
            "{text}"
        );
        let local = world.check(&session, "b", &post("x").local()).await;
        let is_spared = ["network", "tool:git.*", "tool:git.log", "capability:git.*:*"].contains(&text);
        assert_eq!(local == "permit", is_spared, "{text}: {local}");
    }
}

/// What is refused says by which kind of stop: a session goes on after one of single actions.
#[tokio::test]
async fn a_denial_tells_a_stop_of_actions_from_one_of_sessions() {
    let world = World::new().await;
    let session = world.running("triage").await;
    for (text, code) in [("tool:git.*", "action_stopped"), ("agent:triage", "stopped")] {
        world.gate.stop(&eve(), scope(text), "halt").await;
        assert!(world.admit(&session, text, &read("a")).await.is_err());
        let denied = world.bodies("action.denied");
        assert_eq!(denied.last().unwrap()["code"], code, "{text}");
        world
            .gate
            .lift(&eve(), gate::EVERYWHERE, &scope(text), "over")
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_stop_cuts_what_is_in_flight_and_what_is_permitted() {
    let world = World::new().await;
    let session = world.running("triage").await;
    let flight = world
        .admit(&session, "a", &post("x"))
        .await
        .unwrap()
        .spend(world.gate.stop_set())
        .unwrap();
    let permit = world.admit(&session, "b", &post("y")).await.unwrap();
    let answer = world.gate.stop(&eve(), StopScope::All, "halt").await;
    assert_eq!(answer.reached.cancelled, [flight.entry()]);
    assert!(flight.cancel().is_cancelled());
    assert!(permit.spend(world.gate.stop_set()).is_err());
    drop(flight);
    world.gate.flush().await.unwrap();
    let outcome = |step| world.gate.call(&session, step).unwrap().unwrap().outcome;
    assert_eq!(outcome("a"), Some(Outcome::Uncertain));
    assert_eq!(outcome("b"), Some(Outcome::NotStarted));
}

#[tokio::test]
async fn a_stop_survives_a_restart() {
    let world = World::new().await;
    let session = world.running("triage").await;
    world
        .gate
        .stop(&eve(), StopScope::Agent("triage".into()), "halt")
        .await;
    world.gate.stop(&eve(), StopScope::All, "all").await;
    world
        .gate
        .lift(&eve(), gate::EVERYWHERE, &StopScope::All, "but")
        .await
        .unwrap();
    let world = world.reopened().await;
    assert_eq!(world.gate.stops().len(), 1);
    assert_eq!(
        world.check(&session, "a", &read("a")).await,
        "stopped by person:eve: halt"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_starts_after_a_stop_returned() {
    let world = World::new().await;
    let stopped = std::sync::Arc::new(AtomicBool::new(false));
    let mut set = tokio::task::JoinSet::new();
    for worker in 0..8 {
        let session = world.running("triage").await;
        let (gate, stopped) = (world.gate.clone(), stopped.clone());
        set.spawn(async move {
            let mut started = 0;
            for step in 0..1000 {
                let before = stopped.load(Ordering::SeqCst);
                let proposal = gate::Proposal {
                    session: session.clone(),
                    step: format!("{step}"),
                    action: read("a"),
                };
                let Ok(permit) = gate.admit(proposal).await else {
                    break;
                };
                assert!(!before, "worker {worker}: admitted after the stop had returned");
                let before = stopped.load(Ordering::SeqCst);
                let Ok(flight) = permit.spend(gate.stop_set()) else {
                    break;
                };
                assert!(!before, "worker {worker}: spent after the stop had returned");
                started += 1;
                flight
                    .settle(crate::world::done(serde_json::json!(1)))
                    .await
                    .unwrap();
            }
            started
        });
    }
    // Some way in, by count and not by time.
    let mut committed = world.gate.store().committed();
    let begun = *committed.borrow();
    committed.wait_for(|size| *size >= begun + 60).await.unwrap();
    world
        .gate
        .stop(&eve(), StopScope::Agent("triage".into()), "halt")
        .await;
    stopped.store(true, Ordering::SeqCst);
    let started: usize = set.join_all().await.into_iter().sum();
    assert!(started > 0);
    world.gate.flush().await.unwrap();
    // After the stop's entry no permit stands that started anything.
    let entries = world.entries();
    let raised = entries
        .iter()
        .position(|entry| entry.kind == "stop.raised")
        .unwrap();
    for entry in &entries[raised..] {
        assert_ne!(entry.kind, "action.permitted", "entry {}", entry.sequence);
    }
}

#[tokio::test]
async fn the_reserve_is_made_in_full_at_the_start() {
    let world = World::new().await;
    let file = world.directory.path().join("data/stops.reserve");
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(file).unwrap();
    assert_eq!(metadata.len(), 16_384);
    assert!(metadata.blocks() * 512 >= 16_384, "{} blocks", metadata.blocks());
    assert_eq!(metadata.mode() & 0o777, 0o600);
}

/// A stop that is pulled at any moment while the same scope is being lifted: it is either lifted or in
/// force, and memory and journal say the same about that.
#[tokio::test]
async fn a_stop_pulled_while_its_scope_is_lifted_is_not_lost() {
    let scope = StopScope::All;
    let mut stood = 0;
    for polls in 0..12 {
        let world = World::new().await;
        world.gate.stop(&eve(), scope.clone(), "first").await;
        let (gate, all) = (world.gate.clone(), scope.clone());
        let lifting = tokio::spawn(async move { gate.lift(&eve(), gate::EVERYWHERE, &all, "over").await });
        for _ in 0..polls {
            tokio::task::yield_now().await;
        }
        let answer = world.gate.stop(&eve(), scope.clone(), "second").await;
        assert!(answer.durable);
        assert!(lifting.await.unwrap().unwrap(), "there was a stop");
        let in_memory = world.gate.stops();
        let world = world.reopened().await;
        assert_eq!(world.gate.stops(), in_memory, "after {polls} polls");
        stood += in_memory.len();
        assert_eq!(
            world
                .gate
                .lift(&eve(), gate::EVERYWHERE, &scope, "over")
                .await
                .unwrap(),
            !in_memory.is_empty()
        );
        assert!(world.gate.stops().is_empty());
        let kinds = world.kinds();
        let last = kinds.iter().rposition(|kind| kind == "stop.raised").unwrap();
        assert!(kinds[last..].contains(&"stop.lifted".to_owned()), "{kinds:?}");
        assert_eq!(world.bodies("stop.raised").len(), 2);
    }
    assert!(stood > 0, "no round pulled the stop while the lift was under way");
}

#[tokio::test]
async fn an_altered_journal_stops_everything_and_identifies_nobody() {
    let world = World::new().await;
    let session = world.running("triage").await;
    let agent = StopScope::Agent("reader".into());
    world.gate.stop(&eve(), agent.clone(), "halt").await;
    let new = gate::NewToken {
        principal: Principal::person("somebody"),
        roles: vec![gate::Role::Viewer.into()],
        groups: Vec::new(),
        trigger: None,
        expires: None,
    };
    let (_, secret) = world.gate.create_token(&eve(), new).await.unwrap();
    let secret = String::from_utf8(secret.expose().to_vec()).unwrap();
    assert!(world.gate.identify(&secret).is_ok());
    let world = world.altered("viewer", "admin ").await;
    assert!(matches!(world.gate.store().health(), store::Health::Corrupt(_)));
    assert!(world.gate.identify(&secret).is_err());
    let scopes: Vec<_> = world.gate.stops().into_iter().map(|stop| stop.scope).collect();
    assert_eq!(scopes, [StopScope::All, agent]);
    let said = world.check(&session, "a", &read("a")).await;
    assert!(
        said.starts_with("stopped by service:cofferdam: the journal does not verify: "),
        "{said}"
    );
    assert!(
        world
            .gate
            .lift(&eve(), gate::EVERYWHERE, &StopScope::All, "over")
            .await
            .is_err()
    );
    assert_eq!(world.gate.stops().len(), 2);
}

/// Found while it runs: what is in flight is cut, nothing is admitted or lifted, and the stop is there
/// after a restart that finds nothing, until a person lifts it.
#[tokio::test]
async fn a_journal_that_is_found_altered_in_use_stops_everything_for_good() {
    let world = World::new().await;
    let session = world.running("triage").await;
    let flight = world
        .admit(&session, "a", &post("x"))
        .await
        .unwrap()
        .spend(world.gate.stop_set())
        .unwrap();
    assert!(!world.gate.stop_over_altered().await, "nothing was found yet");
    world.gate.store().quarantine("entry 3 was altered".to_owned());
    assert!(world.gate.stop_over_altered().await);
    assert!(!world.gate.stop_over_altered().await, "once is enough");
    assert!(flight.cancel().is_cancelled());
    let stopped = "stopped by service:cofferdam: the journal does not verify: entry 3 was altered";
    assert_eq!(world.check(&session, "b", &read("a")).await, stopped);
    assert!(
        world
            .gate
            .lift(&eve(), gate::EVERYWHERE, &StopScope::All, "over")
            .await
            .is_err()
    );
    drop(flight);
    let world = world.reopened().await;
    assert_eq!(world.gate.store().health(), store::Health::Ready);
    assert_eq!(world.check(&session, "b", &read("a")).await, stopped);
    assert!(
        world
            .gate
            .lift(&eve(), gate::EVERYWHERE, &StopScope::All, "over")
            .await
            .unwrap()
    );
    assert_eq!(world.check(&session, "b", &read("a")).await, "permit");
}
