//! The drill of the kill switch: what it measures, and that it touches nobody else.

use crate::world::{Does, Scripted, World};
use journal::machine::Session;
use policy::{Principal, StopScope};
use runtime::Settings;
use runtime::drill::{DrillError, SESSIONS_MAX};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use store::clock::SystemClock;

fn alice() -> Principal {
    Principal::person("alice")
}

/// With one worker, which a session of somebody else occupies for as long as the test lasts.
async fn busy(directory: &std::path::Path) -> (World, String) {
    let bounds = gate::Bounds::default();
    let world = World::with(directory, SystemClock::shared(), Settings { workers: 1 }, bounds);
    let hang = Scripted::reads("get.it", |_, _| Does::Hangs);
    let runbook = json!({"steps": [{"name": "a", "tool": "get.it", "onError": "continue"}]});
    world.start(&runbook, std::slice::from_ref(&hang)).await;
    let id = world.create(json!({})).await;
    world
        .until("the tool to run", |_| (hang.runs() == 1).then_some(()))
        .await;
    (world, id)
}

fn of_kind(world: &World, kind: &str) -> Vec<Value> {
    let entries = world
        .gate
        .store()
        .read(|reader| reader.entries(0, 100_000))
        .unwrap();
    let entries = entries.into_iter().map(|stored| stored.entry);
    entries
        .filter(|entry| entry.kind == kind)
        .map(|entry| entry.body)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_stops_live_sessions_writes_the_figures_and_touches_nobody_else() {
    let directory = tempfile::tempdir().unwrap();
    let (world, others) = busy(directory.path()).await;
    let agents: Vec<String> = world.gate.authority().agents.keys().cloned().collect();
    let drilled = world.runtime.drill(&alice(), 12).await.unwrap();
    assert_eq!((drilled.sessions, drilled.unreached.len()), (12, 0));
    assert!(drilled.cut >= 6, "those that wait were in flight: {drilled:?}");
    assert!(drilled.last_action <= drilled.last_session);
    assert!(drilled.last_session > Duration::ZERO);
    let entries = of_kind(&world, "stop.drilled");
    let us = |time: Duration| u64::try_from(time.as_micros()).unwrap();
    let expected = json!({
        "scope": "agent:drill.kill", "sessions": 12, "cut": drilled.cut, "unreached": 0, "durable": true,
        "last_action_us": us(drilled.last_action), "last_session_us": us(drilled.last_session),
        "answered_us": us(drilled.answered),
    });
    assert_eq!(entries, [expected]);
    // A real stop of its own, raised and lifted.
    let raised = of_kind(&world, "stop.raised");
    assert_eq!(raised.len(), 1);
    assert_eq!(raised[0]["scope"], "agent:drill.kill");
    assert_eq!(of_kind(&world, "stop.lifted").len(), 1);
    assert!(world.gate.stops().is_empty());
    // Every session of its own is over, and nothing else moved.
    let sessions = world.gate.sessions(None, 100).unwrap();
    let ended = |session: &&gate::SessionView| session.state == Session::Cancelled;
    assert_eq!(sessions.iter().filter(ended).count(), 12);
    assert_eq!(world.gate.session(&others).unwrap().state, Session::Running);
    let flying = world.gate.stop_set().in_flight(&StopScope::All);
    assert_eq!(flying.len(), 1, "the other session's action is still under way");
    let after: Vec<String> = world.gate.authority().agents.keys().cloned().collect();
    assert_eq!(after, agents, "its agent is gone");
    // And again.
    assert_eq!(world.runtime.drill(&alice(), 1).await.unwrap().sessions, 1);
}

/// Its agent is taken away while its sessions are being created, so that some are and others are not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drill_of_which_some_sessions_are_not_created_ends_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let (world, others) = busy(directory.path()).await;
    let mut partly = 0;
    for _ in 0..200 {
        let gate = Arc::clone(&world.gate);
        let removing = std::thread::spawn(move || {
            while !gate.authority().agents.contains_key("drill.kill") {
                std::hint::spin_loop();
            }
            gate.remove_agent("drill.kill");
        });
        let before = world.gate.sessions(None, 100_000).unwrap().len();
        let drilled = world.runtime.drill(&alice(), 200).await;
        removing.join().unwrap();
        let sessions = world.gate.sessions(None, 100_000).unwrap();
        let left: Vec<_> = sessions
            .iter()
            .filter(|session| session.id != others && !session.state.is_final())
            .collect();
        assert!(left.is_empty(), "{drilled:?} left {left:?}");
        partly += usize::from((1..200).contains(&(sessions.len() - before)));
        if partly > 0 {
            break;
        }
    }
    assert!(partly > 0, "every round created all of them, or none");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_that_cannot_be_says_why_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (world, _) = busy(directory.path()).await;
    for sessions in [0, SESSIONS_MAX + 1] {
        let refused = world.runtime.drill(&alice(), sessions).await;
        assert!(matches!(refused, Err(DrillError::Sessions)));
    }
    let runtime = Arc::clone(&world.runtime);
    let first = tokio::spawn(async move { runtime.drill(&alice(), 5).await });
    world
        .until("the drill to begin", |gate| {
            gate.authority().agents.contains_key("drill.kill").then_some(())
        })
        .await;
    let second = world.runtime.drill(&alice(), 5).await;
    assert!(matches!(second, Err(DrillError::UnderWay)), "{second:?}");
    first.await.unwrap().unwrap();
    // Something that stops its tool keeps it from being a drill.
    let tools = StopScope::parse("tool:drill.*").unwrap();
    world.gate.stop(&alice(), tools.clone(), "no drills").await;
    let denied = world.runtime.drill(&alice(), 3).await.unwrap_err().to_string();
    assert!(
        denied.starts_with("only 0 of 3 sessions came to act; "),
        "{denied}"
    );
    let scopes: Vec<_> = world.gate.stops().into_iter().map(|stop| stop.scope).collect();
    assert_eq!(scopes, [tools], "its own stop is lifted");
    assert!(!world.gate.authority().agents.contains_key("drill.kill"));
    assert_eq!(of_kind(&world, "stop.drilled").len(), 1);
}
