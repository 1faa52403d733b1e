//! Sessions from the queue to their end: loops, denials, approvals, limits, stops.

use crate::world::{Does, Scripted, World};
use gate::{Bounds, Verdict};
use journal::machine::Session;
use policy::{Effect, Idempotence, Principal, StopScope};
use runtime::Settings;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use testkit::ManualClock;

fn gives(verb: &str) -> Scripted {
    Scripted::reads(verb, |arguments, _| Does::Gives(json!({"of": arguments})))
}

fn asks() -> Scripted {
    Scripted::new("ask.write", Effect::Write, Idempotence::Idempotent, |_, _| {
        Does::Gives(json!("written"))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_loops_and_goes_on_after_a_denial() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(directory.path());
    let runbook = json!({
        "steps": [
            {"name": "each", "forEach": "event.names", "steps": [
                {"name": "look", "tool": "get.it", "arguments": {"name": "{{ item }}"}}]},
            {"name": "try", "tool": "never.write", "onError": "continue"},
            {"name": "last", "tool": "get.it", "arguments": {"saw": "{{ steps.try.reason }}"}},
        ],
        "output": {
            "names": {"forEach": "steps.each.iterations", "value": "{{ item.look.output.of.name }}"},
            "denied": "{{ steps.try.denied }}", "rule": "{{ steps.try.rule }}", "denial": "{{ steps.try.entry }}",
            "reason": "{{ steps.last.output.of.saw }}", "entry": "{{ steps.last.entry }}",
        },
    });
    let (get, never) = (
        gives("get.it"),
        Scripted::new("never.write", Effect::Write, Idempotence::Once, |_, _| {
            Does::Loses
        }),
    );
    world.start(&runbook, &[get.clone(), never.clone()]).await;
    let id = world.create(json!({"names": ["a", "b"]})).await;
    let view = world.reaches(&id, Session::Completed).await;
    assert_eq!((get.runs(), never.runs(), view.reason), (3, 0, None));
    let output = world.gate.session_output(&id).unwrap().unwrap();
    assert_eq!(output["names"], json!(["a", "b"]));
    assert_eq!(output["denied"], json!(true));
    assert_eq!(output["rule"], json!("policy/test#never"));
    assert!(
        output["reason"].as_str().unwrap().contains("not this one"),
        "{output}"
    );
    let kind = |sequence: &Value| {
        let read = world
            .gate
            .store()
            .read(|reader| reader.entry(sequence.as_u64().unwrap()))
            .unwrap();
        read.unwrap().entry.kind
    };
    assert_eq!(
        (kind(&output["denial"]), kind(&output["entry"])),
        ("action.denied".into(), "action.permitted".into())
    );
    assert_eq!(
        world.entries(&id),
        [
            "session.created",
            "session.queued",
            "session.started",
            "action.permitted each/0/look",
            "action.settled each/0/look",
            "action.permitted each/1/look",
            "action.settled each/1/look",
            "action.denied try",
            "action.permitted last",
            "action.settled last",
            "session.completed",
        ]
    );
    assert_eq!(world.told.lines(), [format!("Completed {output}")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_parks_the_session_and_resumes_it_without_repeating() {
    for (verdict, expected) in [(Verdict::Approve, json!("written")), (Verdict::Deny, Value::Null)] {
        let directory = tempfile::tempdir().unwrap();
        let world = World::open(directory.path());
        let runbook = json!({
            "steps": [
                {"name": "look", "tool": "get.it", "arguments": {"a": 1}},
                {"name": "write", "tool": "ask.write", "onError": "continue"},
            ],
            "output": {"looked": "{{ steps.look.output.of.a }}", "wrote": "{{ steps.write.output }}"},
        });
        let (get, ask) = (gives("get.it"), asks());
        world.start(&runbook, &[get.clone(), ask.clone()]).await;
        let id = world.create(json!({})).await;
        let view = world.reaches(&id, Session::Waiting).await;
        let reason = view.reason.unwrap();
        let approval = reason.strip_prefix("approval ").unwrap();
        assert_eq!(
            world.told.lines(),
            [r#"Waiting {"looked":1,"wrote":null}"#],
            "told without waiting for a person"
        );
        assert_eq!(
            world.gate.session_output(&id).unwrap().unwrap()["looked"],
            json!(1)
        );
        let alice = world.person("alice").await;
        world
            .gate
            .decide_approval(&alice, approval, verdict, "so be it")
            .await
            .unwrap();
        world.runtime.wake();
        world.reaches(&id, Session::Completed).await;
        let wrote = usize::from(verdict == Verdict::Approve);
        assert_eq!((get.runs(), ask.runs()), (1, wrote), "replay runs no tool");
        assert_eq!(
            world.gate.session_output(&id).unwrap().unwrap()["wrote"],
            expected
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_that_nobody_gives_becomes_a_denial() {
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let world = World::with(
        directory.path(),
        clock.clone(),
        Settings::default(),
        Bounds::default(),
    );
    let runbook = json!({
        "steps": [{"name": "write", "tool": "ask.write", "onError": "continue"}],
        "output": {"denied": "{{ steps.write.denied }}", "reason": "{{ steps.write.reason }}"},
    });
    let ask = asks();
    world.start(&runbook, std::slice::from_ref(&ask)).await;
    let id = world.create(json!({})).await;
    world.reaches(&id, Session::Waiting).await;
    // Longer than the time box, which waiting for a person does not count against.
    clock.advance(Duration::from_secs(3600));
    world.reaches(&id, Session::Completed).await;
    let output = world.gate.session_output(&id).unwrap().unwrap();
    assert_eq!(output["denied"], json!(true));
    assert!(output["reason"].as_str().unwrap().contains("expired"), "{output}");
    assert_eq!(ask.runs(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_becomes_an_action_is_noted_and_seen() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(directory.path());
    let runbook = json!({
        "steps": [
            {"name": "bad", "tool": "get.it", "arguments": {"bad": 1}, "onError": "continue"},
            {"name": "gone", "tool": "no.such", "onError": "continue"},
            {"name": "text", "tool": "get.it", "arguments": {"x": "{{ event.none }}"}, "onError": "continue"},
        ],
        "output": ["{{ steps.bad.reason }}", "{{ steps.gone.reason }}", "{{ steps.text.failed }}"],
    });
    let get = gives("get.it");
    world.start(&runbook, std::slice::from_ref(&get)).await;
    let id = world.create(json!({})).await;
    world.reaches(&id, Session::Completed).await;
    let output = world.gate.session_output(&id).unwrap().unwrap();
    assert_eq!(
        output,
        json!([
            "argument `/bad`: is not known",
            "this agent has no tool `no.such`",
            true
        ])
    );
    let noted: Vec<String> = world
        .entries(&id)
        .into_iter()
        .filter(|e| e.starts_with("session.noted"))
        .collect();
    assert_eq!(
        noted,
        ["session.noted bad", "session.noted gone", "session.noted text"]
    );
    assert_eq!(get.runs(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_end_a_session_with_what_there_is() {
    #[rustfmt::skip]
    let table = [
        ("a failure",        json!("fail"), json!({"a": 1}),  Session::Failed,    "step `b` failed: refused"),
        ("stop",             json!("stop"), json!({"a": 1}),  Session::Completed, "partial: step `b` failed: refused"),
        ("a defect",         json!("fail"), json!({"a": 2}),  Session::Failed,    "step `b` failed: the tool broke off by a defect"),
        ("a bad output",     json!("continue"), json!({"a": 3}), Session::Failed, "output.b: is not a string"),
    ];
    for (what, on_error, input, state, reason) in table {
        let directory = tempfile::tempdir().unwrap();
        let world = World::open(directory.path());
        let runbook = json!({
            "steps": [{"name": "a", "tool": "get.it"}, {"name": "b", "tool": "get.it", "onError": on_error,
                       "arguments": {"n": "{{ event.a }}"}}],
            "output": {"a": "{{ steps.a.output }}", "b": "{{ steps.b.output }}"},
            "outputTypes": {"b": "string"},
        });
        let get = Scripted::reads("get.it", |arguments, _| match arguments["n"].as_u64() {
            None => Does::Gives(json!("first")),
            Some(1) => Does::Fails("refused"),
            Some(2) => Does::Panics,
            Some(_) => Does::Gives(json!(5)),
        });
        world.start(&runbook, &[get]).await;
        let id = world.create(input).await;
        let view = world.reaches(&id, state).await;
        assert_eq!(view.reason.as_deref(), Some(reason), "{what}");
        assert_eq!(
            world.told.lines(),
            [format!(r#"{state:?} partial {{"a":"first","b":null}}"#)],
            "{what}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_box_ends_a_run_with_what_there_is() {
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let world = World::with(
        directory.path(),
        clock.clone(),
        Settings::default(),
        Bounds::default(),
    );
    let runbook = json!({
        "steps": [{"name": "a", "tool": "get.it"}, {"name": "b", "tool": "get.it"}],
        "output": {"a": "{{ steps.a.output }}", "b": "{{ steps.b.output }}"},
        "limits": {"timeBoxSeconds": 60},
    });
    let slow = Scripted::reads("get.it", move |_, _| {
        clock.advance(Duration::from_secs(61));
        Does::Gives(json!("late"))
    });
    world.start(&runbook, std::slice::from_ref(&slow)).await;
    let id = world.create(json!({})).await;
    let view = world.reaches(&id, Session::Completed).await;
    assert_eq!(
        view.reason.as_deref(),
        Some("partial: the time box of 60 s ran out")
    );
    assert_eq!(world.told.lines(), [r#"Completed partial {"a":"late","b":null}"#]);
    assert_eq!(slow.runs(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_read_is_cut_when_the_time_box_ends() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(directory.path());
    let runbook = json!({
        "steps": [{"name": "a", "tool": "get.it", "onError": "continue"}],
        "output": {"reason": "{{ steps.a.reason }}"},
        "limits": {"timeBoxSeconds": 1},
    });
    world
        .start(&runbook, &[Scripted::reads("get.it", |_, _| Does::Hangs)])
        .await;
    let id = world.create(json!({})).await;
    world.reaches(&id, Session::Completed).await;
    assert_eq!(
        world.told.lines(),
        [r#"Completed partial {"reason":"the time box ran out"}"#]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_and_stopping_cut_what_is_in_flight() {
    for stop_all in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let world = World::open(directory.path());
        let runbook = json!({"steps": [{"name": "a", "tool": "get.it", "onError": "continue"}, {"name": "b", "tool": "get.it"}]});
        let hang = Scripted::reads("get.it", |_, _| Does::Hangs);
        world.start(&runbook, std::slice::from_ref(&hang)).await;
        let id = world.create(json!({})).await;
        world
            .until("the tool to run", |_| (hang.runs() == 1).then_some(()))
            .await;
        let alice = Principal::person("alice");
        if stop_all {
            world.gate.stop(&alice, StopScope::All, "enough").await;
        } else {
            world.runtime.cancel(&id, &alice, "enough").await.unwrap();
            assert!(
                world.gate.stops().is_empty(),
                "no stop is left of a session that is over"
            );
        }
        world.reaches(&id, Session::Cancelled).await;
        assert_eq!(hang.runs(), 1, "no further step");
        assert_eq!(world.told.lines(), ["Cancelled partial "]);
        let call = world.gate.call(&id, "a").unwrap().unwrap();
        assert_eq!(call.outcome, Some(policy::Outcome::Cancelled));
        assert!(world.runtime.cancel(&id, &alice, "again").await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bounds_put_off_or_end_a_session() {
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let bounds = Bounds {
        actions_per_session: 3,
        actions_per_minute: 2,
        ..Bounds::default()
    };
    let world = World::with(directory.path(), clock.clone(), Settings::default(), bounds);
    let step = |name: &str| json!({"name": name, "tool": "get.it"});
    let runbook = json!({"steps": [step("a"), step("b"), step("c"), step("d")], "output": {"c": "{{ steps.c.outcome }}"}});
    let get = gives("get.it");
    world.start(&runbook, std::slice::from_ref(&get)).await;
    let id = world.create(json!({})).await;
    world
        .until("two actions", |gate| gate.call(&id, "c").unwrap().map(drop))
        .await;
    assert_eq!(
        (get.runs(), world.gate.session(&id).unwrap().state),
        (2, Session::Running)
    );
    let moves = |gate: &gate::Gate| {
        clock.advance(Duration::from_secs(1));
        world.runtime.wake();
        (gate.session(&id).unwrap().state == Session::Completed).then_some(())
    };
    world.until("the minute to pass", moves).await;
    let view = world.reaches(&id, Session::Completed).await;
    assert_eq!(
        view.reason.as_deref(),
        Some("partial: bound reached: actions per session is limited to 3")
    );
    assert_eq!(world.told.lines(), [r#"Completed partial {"c":"success"}"#]);
    assert_eq!(get.runs(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_sessions_run_than_there_are_workers() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(directory.path());
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (n, m) = (Arc::clone(&now), Arc::clone(&most));
    let busy = Scripted::reads("get.it", move |_, _| {
        m.fetch_max(n.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(20));
        n.fetch_sub(1, Ordering::SeqCst);
        Does::Gives(json!(1))
    });
    world
        .start(&json!({"steps": [{"name": "a", "tool": "get.it"}]}), &[busy])
        .await;
    let mut sessions = Vec::new();
    for _ in 0..10 {
        sessions.push(world.create(json!({})).await);
    }
    for id in &sessions {
        world.reaches(id, Session::Completed).await;
    }
    assert_eq!((most.load(Ordering::SeqCst), now.load(Ordering::SeqCst)), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_wait_cost_no_task() {
    let directory = tempfile::tempdir().unwrap();
    let bounds = Bounds {
        actions_per_session: 10,
        actions_per_minute: 10_000,
        ..Bounds::default()
    };
    let world = World::with(
        directory.path(),
        store::clock::SystemClock::shared(),
        Settings::default(),
        bounds,
    );
    world
        .start(&json!({"steps": [{"name": "a", "tool": "ask.write"}]}), &[asks()])
        .await;
    world.until("the dispatcher", |_| Some(())).await;
    let before = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    for _ in 0..50 {
        world.create(json!({})).await;
    }
    world
        .until("all to wait", |gate| {
            (gate.sessions(Some(Session::Waiting), 100).unwrap().len() == 50).then_some(())
        })
        .await;
    world
        .until("their tasks to end", |_| {
            (tokio::runtime::Handle::current().metrics().num_alive_tasks() <= before + 1).then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_others_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(directory.path());
    world
        .start(
            &json!({"steps": [{"name": "a", "tool": "get.it"}]}),
            &[gives("get.it")],
        )
        .await;
    let other = world.create_for("other", json!({})).await;
    let ours = world.create(json!({})).await;
    world.reaches(&ours, Session::Completed).await;
    assert_eq!(world.gate.session(&other).unwrap().state, Session::Queued);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_keeps_the_tools_it_started_with() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(directory.path());
    let runbook = json!({"steps": [{"name": "w", "tool": "ask.write"}, {"name": "a", "tool": "get.it"}],
                         "output": {"a": "{{ steps.a.output }}"}});
    let old = Scripted::reads("get.it", |_, _| Does::Gives(json!("old")));
    let new = Scripted::reads("get.it", |_, _| Does::Gives(json!("new")));
    world.start(&runbook, &[asks(), old]).await;
    let id = world.create(json!({})).await;
    let reason = world.reaches(&id, Session::Waiting).await.reason.unwrap();
    world.install(&runbook, &[asks(), new]);
    let alice = world.person("alice").await;
    world
        .gate
        .decide_approval(&alice, &reason["approval ".len()..], Verdict::Approve, "yes")
        .await
        .unwrap();
    world.reaches(&id, Session::Completed).await;
    assert_eq!(world.gate.session_output(&id).unwrap(), Some(json!({"a": "old"})));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_no_entry_can_carry_ends_the_session_without_it() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(directory.path());
    let runbook = json!({
        "steps": [{"name": "a", "tool": "get.it"}],
        "output": {"forEach": "event.list", "value": "{{ steps.a.output }}"},
    });
    let large = Scripted::reads("get.it", |_, _| Does::Gives(json!("x".repeat(1_000_000))));
    world.start(&runbook, &[large]).await;
    let id = world
        .create(json!({"list": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]}))
        .await;
    let view = world.reaches(&id, Session::Failed).await;
    let reason = view.reason.unwrap();
    assert!(reason.contains("larger than"), "{reason}");
    assert_eq!(world.told.lines(), ["Failed partial "]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_an_agent_that_was_deleted_end_and_others_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(directory.path());
    let others = world.create_for("other", json!({})).await;
    let orphan = world.create(json!({})).await;
    // Known to the gate and not installed: left alone.
    world.runtime.start().await.unwrap();
    let mut authority = (*world.gate.authority()).clone();
    authority.agents.remove("worker");
    world.gate.restore(authority);
    world.runtime.install([].into());
    let view = world.reaches(&orphan, Session::Failed).await;
    assert_eq!(view.reason.as_deref(), Some("its agent was deleted"));
    assert_eq!(world.gate.session(&others).unwrap().state, Session::Queued);
    assert_eq!(world.told.lines(), ["Failed partial "]);
}

/// A document can make a guest of an agent that has tasks: nobody will ever do them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_of_a_guest_ends_and_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::open(directory.path());
    let spec = serde_json::from_value(json!({"sponsor": "alice", "guest": {}})).unwrap();
    let kit = (Arc::new(spec), Arc::default());
    world.runtime.install([("worker".to_owned(), kit)].into());
    world.runtime.start().await.unwrap();
    assert!(world.runtime.is_guest("worker") && !world.runtime.is_guest("nobody"));
    let session = world.create(json!(1)).await;
    let failed = world.reaches(&session, Session::Failed).await;
    let reason = failed.reason.unwrap();
    assert!(
        reason.contains("its agent is a guest, which takes no tasks"),
        "{reason}"
    );
}
