//! Crashes, and what nobody knows the outcome of.

use crate::world::{Does, Scripted, World};
use gate::Resolution;
use journal::machine::{Call, Session};
use policy::{Effect, Idempotence, Principal};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use testkit::faulty::{Disk, Refusal};
use tokio::runtime::{Builder, Runtime};

fn runbook(verb: &str) -> Value {
    json!({
        "steps": [{"name": "look", "tool": "get.it"}, {"name": "act", "tool": verb}, {"name": "then", "tool": "get.it"}],
        "output": {"act": "{{ steps.act.output }}", "then": "{{ steps.then.output }}"},
    })
}

fn looks() -> Scripted {
    Scripted::reads("get.it", |_, run| Does::Gives(json!(run)))
}

fn acts(
    verb: &str,
    idempotence: Idempotence,
    does: impl Fn(usize) -> Does + Send + Sync + 'static,
) -> Scripted {
    Scripted::new(verb, Effect::Write, idempotence, move |_, run| does(run))
}

fn tokio() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// Runs until the second step is under way, and then loses everything that is in memory.
fn crash(directory: &Path, verb: &str, idempotence: Idempotence) -> String {
    let tokio = tokio();
    let id = tokio.block_on(async {
        let world = World::open(directory);
        let hangs = acts(verb, idempotence, |_| Does::Hangs);
        world.start(&runbook(verb), &[looks(), hangs.clone()]).await;
        let id = world.create(json!({})).await;
        world
            .until("the tool to run", |_| (hangs.runs() == 1).then_some(()))
            .await;
        assert_eq!(
            world.gate.call(&id, "act").unwrap().unwrap().state,
            Call::Permitted
        );
        id
    });
    // Every task is dropped where it stands; nothing gets to say goodbye to the journal.
    tokio.shutdown_timeout(Duration::from_secs(10));
    id
}

#[test]
fn crash_in_something_idempotent_repeats_it_once_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let id = crash(directory.path(), "put.it", Idempotence::Idempotent);
    tokio().block_on(async {
        let world = World::open(directory.path());
        let (look, put) = (
            looks(),
            acts("put.it", Idempotence::Idempotent, |_| Does::Gives(json!("put"))),
        );
        world
            .start(&runbook("put.it"), &[look.clone(), put.clone()])
            .await;
        world.reaches(&id, Session::Completed).await;
        assert_eq!((look.runs(), put.runs()), (1, 1), "the first look is replayed");
        assert_eq!(
            world.gate.session_output(&id).unwrap(),
            Some(json!({"act": "put", "then": 1}))
        );
        assert_eq!(world.gate.call(&id, "act").unwrap().unwrap().attempts, 2);
    });
}

#[test]
fn crash_in_something_that_must_not_be_repeated_waits_for_a_person() {
    #[rustfmt::skip]
    let table = [
        ("it was done",     Resolution::Done(json!("by hand")), 0, json!("by hand")),
        ("it was not done", Resolution::NotDone,                1, json!("posted")),
    ];
    for (what, resolution, runs, expected) in table {
        let directory = tempfile::tempdir().unwrap();
        let id = crash(directory.path(), "post.it", Idempotence::Once);
        tokio().block_on(async {
            let world = World::open(directory.path());
            let (look, post) = (
                looks(),
                acts("post.it", Idempotence::Once, |_| Does::Gives(json!("posted"))),
            );
            world
                .start(&runbook("post.it"), &[look.clone(), post.clone()])
                .await;
            let view = world.reaches(&id, Session::Waiting).await;
            assert_eq!(
                (view.reason.as_deref(), post.runs()),
                (Some("uncertain act"), 0),
                "{what}"
            );
            assert_eq!(
                world.told.lines(),
                [r#"Waiting {"act":null,"then":null}"#],
                "{what}"
            );
            let alice = Principal::person("alice");
            world
                .gate
                .resolve(&id, None, &alice, resolution, "looked")
                .await
                .unwrap();
            world.runtime.wake();
            world.reaches(&id, Session::Completed).await;
            assert_eq!((look.runs(), post.runs()), (1, runs), "{what}");
            assert_eq!(
                world.gate.session_output(&id).unwrap().unwrap()["act"],
                expected,
                "{what}"
            );
        });
    }
}

#[test]
fn a_lost_outcome_is_tried_again_only_if_that_is_harmless_and_not_for_ever() {
    tokio().block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let world = World::open(directory.path());
        let twice = acts("put.it", Idempotence::Idempotent, |run| {
            if run < 3 {
                Does::Loses
            } else {
                Does::Gives(json!(run))
            }
        });
        world.start(&runbook("put.it"), &[looks(), twice.clone()]).await;
        let id = world.create(json!({})).await;
        world.reaches(&id, Session::Completed).await;
        assert_eq!(
            world.gate.session_output(&id).unwrap(),
            Some(json!({"act": 3, "then": 2}))
        );

        let directory = tempfile::tempdir().unwrap();
        let world = World::open(directory.path());
        let once = acts("post.it", Idempotence::Once, |_| Does::Loses);
        world.start(&runbook("post.it"), &[looks(), once.clone()]).await;
        let id = world.create(json!({})).await;
        let view = world.reaches(&id, Session::Waiting).await;
        assert_eq!((view.reason.as_deref(), once.runs()), (Some("uncertain act"), 1));
    });
}

#[test]
fn draining_leaves_a_session_between_two_steps_and_the_next_start_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let first = tokio();
    let id = first.block_on(async {
        let world = World::open(directory.path());
        let (entered, left) = (std::sync::mpsc::channel::<()>(), std::sync::mpsc::channel::<()>());
        let gate = std::sync::Mutex::new((entered.0, left.1));
        let slow = acts("put.it", Idempotence::Idempotent, move |_| {
            let gate = gate.lock().unwrap();
            gate.0.send(()).unwrap();
            gate.1.recv().unwrap();
            Does::Gives(json!("put"))
        });
        let look = looks();
        world.start(&runbook("put.it"), &[look.clone(), slow]).await;
        let id = world.create(json!({})).await;
        tokio::task::block_in_place(|| entered.1.recv().unwrap());
        let mut drain = std::pin::pin!(world.runtime.drain(Duration::from_secs(20)));
        // Its first poll is what stops new steps.
        tokio::select! {
            biased;
            () = &mut drain => panic!("a step is still under way"),
            () = std::future::ready(()) => (),
        }
        left.0.send(()).unwrap();
        drain.await;
        let call = world.gate.call(&id, "act").unwrap().unwrap();
        assert_eq!(call.state, Call::Settled, "what was in flight is recorded");
        id
    });
    first.shutdown_timeout(Duration::from_secs(10));
    tokio().block_on(async {
        let world = World::open(directory.path());
        let (look, put) = (
            looks(),
            acts("put.it", Idempotence::Idempotent, |_| Does::Gives(json!("again"))),
        );
        world.start(&runbook("put.it"), &[look, put.clone()]).await;
        world.reaches(&id, Session::Completed).await;
        assert_eq!(put.runs(), 0);
        assert_eq!(
            world.gate.session_output(&id).unwrap().unwrap()["act"],
            json!("put")
        );
    });
}

#[test]
fn a_runbook_that_changed_under_a_session_ends_it() {
    let directory = tempfile::tempdir().unwrap();
    let id = crash(directory.path(), "put.it", Idempotence::Idempotent);
    tokio().block_on(async {
        let world = World::open(directory.path());
        let changed = json!({"steps": [{"name": "look", "tool": "put.it"}]});
        let put = acts("put.it", Idempotence::Idempotent, |_| Does::Gives(json!(1)));
        world.start(&changed, std::slice::from_ref(&put)).await;
        let view = world.reaches(&id, Session::Failed).await;
        let reason = "step `look` was `get.it` and is `put.it` now: the runbook changed";
        assert_eq!((view.reason.as_deref(), put.runs()), (Some(reason), 0));
    });
}

#[test]
fn a_full_disk_puts_a_session_off_and_repeats_nothing() {
    for (refused, while_running) in [("the start", false), ("the outcome", true)] {
        let directory = tempfile::tempdir().unwrap();
        tokio().block_on(async {
            let disk = Disk::new();
            let world = World::on(directory.path(), disk.vfs());
            let full = disk.clone();
            let post = acts("post.it", Idempotence::Once, move |_| {
                full.refuse(Some(Refusal::Full).filter(|_| while_running));
                Does::Gives(json!("posted"))
            });
            let look = looks();
            let id = world.create(json!({})).await;
            disk.refuse(Some(Refusal::Full).filter(|_| !while_running));
            world
                .start(&runbook("post.it"), &[look.clone(), post.clone()])
                .await;
            let refuses = |gate: &gate::Gate| {
                matches!(gate.store().health(), store::Health::Unavailable(_)).then_some(())
            };
            world.until("the journal to refuse", refuses).await;
            assert!(!world.gate.session(&id).unwrap().state.is_final(), "{refused}");
            disk.refuse(None);
            world.reaches(&id, Session::Completed).await;
            assert_eq!((look.runs(), post.runs()), (2, 1), "{refused}");
        });
    }
}
