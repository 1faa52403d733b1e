//! In which order queued sessions run: what is urgent first, now and after a restart.

use crate::world::{Does, Scripted, World};
use gate::{Bounds, NewSession};
use journal::machine::Session;
use policy::Principal;
use runtime::Settings;
use serde_json::json;
use std::path::Path;
use std::sync::{Arc, Mutex};

fn one_worker(directory: &Path) -> World {
    let clock = store::clock::SystemClock::shared();
    World::with(directory, clock, Settings { workers: 1 }, Bounds::default())
}

async fn created(world: &World, name: &str, urgent: bool) -> String {
    let new = NewSession {
        agent: "worker".to_owned(),
        cause: Principal::service("trigger/test"),
        correlation: None,
        input: json!({"name": name}),
        title: name.to_owned(),
        idempotency_key: None,
        urgent,
        taint: policy::Taints::NONE,
    };
    world.gate.create_session(new).await.unwrap().0.id
}

/// In which order they ran, with a runtime that is started over them.
async fn order(world: &World, expedited: &[&String], sessions: &[String]) -> Vec<String> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&seen);
    let tool = Scripted::reads("get.it", move |arguments, _| {
        notes
            .lock()
            .unwrap()
            .push(arguments["name"].as_str().unwrap().to_owned());
        Does::Gives(json!(1))
    });
    let step = json!({"name": "a", "tool": "get.it", "arguments": {"name": "{{ event.name }}"}});
    for id in expedited {
        world.runtime.expedite(id);
    }
    world.start(&json!({"steps": [step]}), &[tool]).await;
    for id in sessions {
        world.reaches(id, Session::Completed).await;
    }
    seen.lock().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_urgent_runs_first_also_after_a_restart() {
    for restarts in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let mut world = one_worker(directory.path());
        let mut sessions = Vec::new();
        for (name, urgent) in [("a", false), ("B", true), ("c", false), ("D", true), ("e", false)] {
            sessions.push(created(&world, name, urgent).await);
        }
        let mut expedited = vec![&sessions[1], &sessions[3]];
        if restarts {
            world.gate.store().close().await.unwrap();
            drop(world);
            world = one_worker(directory.path());
            expedited.clear();
        }
        let order = order(&world, &expedited, &sessions).await;
        assert_eq!(order, ["B", "D", "a", "c", "e"], "restarts: {restarts}");
    }
}
