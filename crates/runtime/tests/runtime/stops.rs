//! What stops do to sessions: end those that run, fence those that are queued or wait.

use crate::stoppable::{Stand, is_kept_by};
use crate::world::{Does, Scripted, World};
use gate::{Gate, Held};
use journal::machine::Session;
use policy::{Principal, StopScope};
use runtime::Settings;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use store::clock::SystemClock;

const BOTH: &[&str] = &["worker", "other"];

fn eve() -> Principal {
    Principal::person("eve")
}

fn worker() -> StopScope {
    StopScope::Agent("worker".into())
}

fn agent_of(covered: bool) -> &'static str {
    if covered { "worker" } else { "other" }
}

fn world(directory: &std::path::Path, workers: usize) -> World {
    let bounds = gate::Bounds {
        actions_per_minute: 10_000,
        ..gate::Bounds::default()
    };
    World::with(directory, SystemClock::shared(), Settings { workers }, bounds)
}

fn one_step(tool: &str) -> Value {
    json!({"steps": [{"name": "a", "tool": tool, "onError": "continue"}, {"name": "b", "tool": tool, "onError": "continue"}]})
}

fn state(gate: &Gate, session: &str) -> Session {
    gate.session(session).unwrap().state
}

/// Sessions whose tool waits for its cancel handle.
struct Running(World);

impl Stand for Running {
    fn gate(&self) -> &Arc<Gate> {
        &self.0.gate
    }
    fn what(&self) -> &'static str {
        "sessions"
    }
    fn scope(&self) -> StopScope {
        worker()
    }
    async fn open(&self, covered: bool) -> Option<String> {
        let id = self.0.create_for(agent_of(covered), json!({})).await;
        // Under the stop one that is covered stays queued, which is the other stand's matter.
        let flies = |gate: &Gate| {
            let fenced = covered && !gate.stops().is_empty();
            (fenced || gate.call(&id, "a").unwrap().is_some()).then_some(())
        };
        self.0.until("it to fly", flies).await;
        Some(id)
    }
    async fn lives(&self, name: &str) -> bool {
        self.0.runtime.wake();
        state(&self.0.gate, name) == Session::Running
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn running_sessions_keep_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let world = world(directory.path(), 64);
    let hang = Scripted::reads("get.it", |_, _| Does::Hangs);
    world.install_for(BOTH, &one_step("get.it"), &[hang]);
    world.runtime.start().await.unwrap();
    is_kept_by(&Running(world)).await;
}

/// Sessions that nobody took up yet: their agents have no tools until somebody asks whether they live.
struct Queued {
    world: World,
    installed: AtomicBool,
}

impl Stand for Queued {
    fn gate(&self) -> &Arc<Gate> {
        &self.world.gate
    }
    fn what(&self) -> &'static str {
        "queue"
    }
    fn scope(&self) -> StopScope {
        worker()
    }
    async fn open(&self, covered: bool) -> Option<String> {
        Some(self.world.create_for(agent_of(covered), json!({})).await)
    }
    async fn lives(&self, name: &str) -> bool {
        if !self.installed.swap(true, Ordering::SeqCst) {
            let get = Scripted::reads("get.it", |_, _| Does::Gives(json!(1)));
            self.world.install_for(BOTH, &one_step("get.it"), &[get]);
        }
        // One that was queued after it and is not covered: when it is done, this one had its turn.
        let later = self.world.create_for("other", json!({})).await;
        self.world.reaches(&later, Session::Completed).await;
        state(&self.world.gate, name) != Session::Queued
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn queued_sessions_keep_the_contract_and_go_on_when_the_stop_is_lifted() {
    let directory = tempfile::tempdir().unwrap();
    let world = world(directory.path(), 2);
    world.runtime.start().await.unwrap();
    let installed = AtomicBool::new(false);
    let stand = Queued { world, installed };
    is_kept_by(&stand).await;
    let world = &stand.world;
    let queued = world.gate.sessions(Some(Session::Queued), 100).unwrap();
    assert_eq!(queued.len(), 9, "what was covered and nothing else");
    assert!(
        world
            .gate
            .lift(&eve(), gate::EVERYWHERE, &worker(), "over")
            .await
            .unwrap()
    );
    world.runtime.wake();
    for session in queued {
        world.reaches(&session.id, Session::Completed).await;
    }
}

/// Stops of single actions: the step is cut or refused, and the session goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_tool_fails_its_steps_and_ends_no_session() {
    let directory = tempfile::tempdir().unwrap();
    let world = world(directory.path(), 2);
    let hang = Scripted::reads("get.it", |_, _| Does::Hangs);
    let other = Scripted::reads("get.other", |_, _| Does::Gives(json!(7)));
    let step = |name: &str, tool: &str| json!({"name": name, "tool": tool, "onError": "continue"});
    let runbook = json!({
        "steps": [step("a", "get.it"), step("b", "get.it"), step("c", "get.other")],
        "output": {"b": "{{ steps.b.reason }}", "c": "{{ steps.c.output }}"},
    });
    world.start(&runbook, &[hang.clone(), other]).await;
    let id = world.create(json!({})).await;
    world
        .until("the tool to run", |_| (hang.runs() == 1).then_some(()))
        .await;
    let scope = StopScope::parse("tool:get.it").unwrap();
    let answer = world.gate.kill(&eve(), scope, "it lies").await;
    assert_eq!((answer.unreached, answer.cancelled.len()), (vec![], 1));
    world.reaches(&id, Session::Completed).await;
    assert_eq!(hang.runs(), 1);
    assert_eq!(
        world.told.lines(),
        [r#"Completed {"b":"stopped by person:eve: it lies","c":7}"#]
    );
}

/// A stop that is lifted while the sessions under it still end lets none of them go on.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_killed_stays_dead_when_the_stop_is_lifted_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let world = world(directory.path(), 16);
    let hang = Scripted::reads("get.it", |_, run| {
        if run <= 8 {
            Does::Hangs
        } else {
            Does::Gives(json!(1))
        }
    });
    world
        .start(&one_step("get.it"), std::slice::from_ref(&hang))
        .await;
    let mut ids = Vec::new();
    for _ in 0..8 {
        ids.push(world.create(json!({})).await);
    }
    world
        .until("all to fly", |_| (hang.runs() == 8).then_some(()))
        .await;
    let (gate, scope) = (Arc::clone(&world.gate), worker());
    let killing = tokio::spawn(async move { gate.kill(&eve(), scope, "halt").await });
    world
        .until("the stop to stand", |gate| {
            let lifting = gate.stop_set().standing(&worker()).number;
            lifting.filter(|number| gate.stop_set().lift(&worker(), *number))
        })
        .await;
    let answer = killing.await.unwrap();
    assert_eq!(answer.unreached, []);
    let mut names = ids.clone();
    names.sort();
    assert!(
        answer.reached.contains(&Held {
            what: "sessions",
            names
        }),
        "{answer:?}"
    );
    for id in ids {
        assert_eq!(state(&world.gate, &id), Session::Cancelled);
    }
    assert_eq!(hang.runs(), 8, "no further step");
}

/// A session that waits for a person is fenced: an approval under the stop wakes it only afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_session_goes_on_only_when_the_stop_is_lifted() {
    let directory = tempfile::tempdir().unwrap();
    let world = world(directory.path(), 2);
    let ask = Scripted::new(
        "ask.it",
        policy::Effect::Write,
        policy::Idempotence::Once,
        |_, _| Does::Gives(json!(1)),
    );
    let runbook = json!({"steps": [{"name": "a", "tool": "ask.it"}]});
    world.install_for(BOTH, &runbook, std::slice::from_ref(&ask));
    world.runtime.start().await.unwrap();
    let id = world.create(json!({})).await;
    world.reaches(&id, Session::Waiting).await;
    let answer = world.gate.kill(&eve(), worker(), "halt").await;
    let held = |what| answer.reached.iter().find(|held| held.what == what).cloned();
    assert_eq!(held("queue").unwrap().names, std::slice::from_ref(&id));
    let approval = held("approvals").unwrap().names;
    let bob = world.person("bob").await;
    let approve = world
        .gate
        .decide_approval(&bob, &approval[0], gate::Verdict::Approve, "");
    approve.await.unwrap();
    // Another session has its turn after the approval; this one has not.
    let later = world.create_for("other", json!({})).await;
    world.reaches(&later, Session::Waiting).await;
    assert_eq!(state(&world.gate, &id), Session::Waiting);
    world
        .gate
        .lift(&eve(), gate::EVERYWHERE, &worker(), "over")
        .await
        .unwrap();
    world.runtime.wake();
    world.reaches(&id, Session::Completed).await;
    assert_eq!(ask.runs(), 1);
}

/// What cannot be read is not taken for nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_says_what_it_could_not_find_out() {
    let directory = tempfile::tempdir().unwrap();
    let world = world(directory.path(), 2);
    world.start(&one_step("get.it"), &[]).await;
    world.gate.store().close().await.unwrap();
    let answer = world.gate.kill(&eve(), worker(), "halt").await;
    let of = |what: &str| {
        let held = answer.unreached.iter().filter(|held| held.what == what);
        held.flat_map(|held| held.names.clone())
            .collect::<Vec<_>>()
            .join("; ")
    };
    #[rustfmt::skip]
    let table = [
        // who      what it says
        ("approvals", "those that are fenced cannot be named: "),
        ("sessions",  "those that are recorded as Running cannot be named: "),
        ("queue",     "those that are recorded as Waiting cannot be named: "),
    ];
    for (what, expected) in table {
        assert!(of(what).contains(expected), "{what}: {answer:?}");
    }
}
