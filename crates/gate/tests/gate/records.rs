//! What stands in the journal: the form of the bodies, nothing secret in any of them, repeats counted,
//! and projections that are what the entries say.

use crate::world::{START_MS, World, action, done, post, propose, read};
use gate::{Resolution, Role, Verdict};
use journal::machine::SessionEvent;
use policy::{Effect, Idempotence, Principal, Settlement, StopScope};
use serde_json::{Value, json};

const SECRET: &str = "c0ffee-5ecret-0f-the-harbour";

/// A bit of everything, with [`SECRET`] wherever an argument, an input or a result goes.
async fn busy() -> (World, String) {
    let world = World::new().await;
    let input = json!({ "secret": SECRET });
    let new = gate::NewSession {
        input: input.clone(),
        idempotency_key: Some("task-1".into()),
        ..crate::world::new_session("triage")
    };
    let session = world.gate.create_session(new).await.unwrap().0.id;
    world.drive(&session, SessionEvent::Start).await;
    let read = action(
        "git.log",
        "repository/shop",
        input.clone(),
        Effect::Read,
        Idempotence::Idempotent,
    );
    let flight = world
        .admit(&session, "read", &read)
        .await
        .unwrap()
        .spend(world.gate.stop_set())
        .unwrap();
    flight
        .settle(Settlement {
            taints: policy::Taints::UNTRUSTED,
            ..done(json!([SECRET]))
        })
        .await
        .unwrap();
    let denied = action(
        "http.request",
        "http://shop/restart",
        input.clone(),
        Effect::Write,
        Idempotence::Once,
    );
    world.check(&session, "denied", &denied).await;
    world.check(&session, "denied", &denied).await;
    world.check(&session, "parked", &propose(SECRET)).await;
    let id = world.gate.approvals(1).unwrap().remove(0).id;
    let alice = world.caller("alice", &[Role::Approver]).await;
    world
        .gate
        .decide_approval(&alice, &id, Verdict::Approve, &format!("password={SECRET}"))
        .await
        .unwrap();
    world.check(&session, "parked", &propose(SECRET)).await;
    let flight = world
        .admit(&session, "lost", &post(SECRET))
        .await
        .unwrap()
        .spend(world.gate.stop_set())
        .unwrap();
    drop(flight);
    world.gate.flush().await.unwrap();
    let resolution = Resolution::Done(json!(SECRET));
    world
        .gate
        .resolve(&session, None, &Principal::person("alice"), resolution, "seen")
        .await
        .unwrap();
    let document = json!({ "kind": "Agent", "spec": { "note": SECRET } });
    let change = gate::DocumentChange::Apply {
        kind: "Agent".into(),
        name: "triage".into(),
        document,
    };
    let authority = gate::Authority::clone(&world.gate.authority());
    world
        .gate
        .install(
            &Principal::person("alice"),
            gate::Owner::Api,
            0,
            vec![change],
            authority,
        )
        .await
        .unwrap();
    world
        .gate
        .stop(
            &Principal::person("eve"),
            StopScope::Session(session.clone()),
            "halt",
        )
        .await;
    let by = Principal::service("cofferdam");
    world
        .gate
        .session_event(&session, &by, SessionEvent::Complete, None, Some(json!(SECRET)))
        .await
        .unwrap();
    world.gate.flush().await.unwrap();
    (world, session)
}

#[tokio::test]
async fn no_argument_and_no_result_is_in_a_leaf_or_a_row_or_a_file() {
    let (world, session) = busy().await;
    assert_eq!(
        world.gate.session_input(&session).unwrap(),
        Some(json!({ "secret": SECRET }))
    );
    assert_eq!(world.gate.session_output(&session).unwrap(), Some(json!(SECRET)));
    assert_eq!(
        world.gate.documents().unwrap()[0].document["spec"]["note"],
        SECRET
    );
    for entry in world.entries() {
        let leaf = String::from_utf8(entry.to_leaf().unwrap()).unwrap();
        assert!(!leaf.contains(SECRET), "{leaf}");
    }
    for (key, row) in world.rows() {
        assert!(!row.contains(SECRET), "{key}: {row}");
    }
    for file in std::fs::read_dir(world.directory.path().join("data")).unwrap() {
        let path = file.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        assert!(
            !bytes
                .windows(SECRET.len())
                .any(|window| window == SECRET.as_bytes()),
            "{}",
            path.display()
        );
    }
}

#[tokio::test]
async fn the_form_of_the_bodies() {
    let (world, _) = busy().await;
    let mut text = String::new();
    let mut seen = std::collections::BTreeSet::new();
    // What the store itself writes is the store's.
    for entry in world
        .entries()
        .into_iter()
        .filter(|entry| !entry.kind.starts_with("log."))
    {
        let payloads: Vec<_> = entry
            .commitments
            .iter()
            .map(|commitment| commitment.name.as_str())
            .collect();
        let form = format!(
            "{} by {}\n  payloads: {}\n  {}\n",
            entry.kind,
            entry.actor,
            payloads.join(" "),
            form(&entry.body)
        );
        if seen.insert(form.clone()) {
            text.push_str(&form);
        }
    }
    golden("bodies.txt", &text);
}

/// A body with the types of its values in place of those that change.
fn form(value: &Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members
                .iter()
                .map(|(name, value)| (name.clone(), form(value)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(form).collect()),
        Value::String(text) if text.len() == 64 => json!("<64 hex>"),
        Value::String(text) if text.starts_with("did:key:") => json!("<did:key>"),
        Value::String(text) if text.starts_with("key-") && text.len() == 20 => json!("<key>"),
        Value::String(text) if text.len() == 43 => json!("<public key>"),
        other => other.clone(),
    }
}

fn golden(name: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/gate/golden")
        .join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        text,
        expected,
        "{} differs; UPDATE_GOLDEN=1 writes it",
        path.display()
    );
}

#[tokio::test]
async fn projections_are_what_the_entries_say() {
    let (world, _) = busy().await;
    let rows = world.rows();
    assert_eq!(world.gate.store().rebuild().unwrap(), Vec::<String>::new());
    assert_eq!(world.rows(), rows);
    let world = world.reopened().await;
    assert_eq!(world.rows(), rows);
}

#[tokio::test]
async fn repeated_denials_are_counted() {
    let world = World::new().await;
    let session = world.running("reader").await;
    let again = |world: &World| -> Vec<(u64, u64)> {
        let bodies = world.bodies("action.denied_again");
        bodies
            .iter()
            .map(|body| (body["of"].as_u64().unwrap(), body["count"].as_u64().unwrap()))
            .collect()
    };
    for _ in 0..10 {
        assert!(
            world
                .check(&session, "a", &post("x"))
                .await
                .starts_with("denied: ")
        );
    }
    assert_eq!((world.bodies("action.denied").len(), again(&world)), (1, vec![]));
    let first = world.entries().last().unwrap().sequence;
    // The next other event of the session brings the count.
    assert_eq!(world.check(&session, "read", &read("a")).await, "permit");
    assert_eq!(again(&world), [(first, 9)]);
    // Two in turn are still counted, each for itself.
    for _ in 0..5 {
        world.check(&session, "p", &propose("x")).await;
        world.check(&session, "a", &post("x")).await;
    }
    assert_eq!((world.bodies("action.denied").len(), again(&world).len()), (2, 1));
    // Another step is another denial, and so are other arguments: each has its entry and its call.
    world.check(&session, "b", &post("x")).await;
    world.check(&session, "a", &post("y")).await;
    assert_eq!(world.bodies("action.denied").len(), 4);
    assert!(world.gate.call(&session, "b").unwrap().is_some());
    // But what is different each time is counted beyond a number.
    for n in 0..200 {
        let one_of_many = action(
            "http.request",
            &format!("http://a/{n}"),
            json!({}),
            Effect::Write,
            Idempotence::Once,
        );
        world.check(&session, &format!("r{n}"), &one_of_many).await;
    }
    assert_eq!(world.bodies("action.denied").len(), 64);
    // The end of the minute brings the rest, and the next one is an entry again.
    world.advance(60_000);
    world.gate.expire_approvals().await.unwrap();
    assert_eq!(
        again(&world).iter().map(|(_, count)| count).sum::<u64>(),
        9 + 4 + 5
    );
    let others = |body: &Value| body["others"].as_u64().unwrap_or(0);
    let bodies = world.bodies("action.denied_again");
    assert_eq!(bodies.iter().map(others).sum::<u64>(), 200 - 60);
    world.check(&session, "s", &post("x")).await;
    assert_eq!(world.bodies("action.denied").len(), 65);
    // And so does a shutdown.
    world.check(&session, "s", &post("x")).await;
    world.gate.flush().await.unwrap();
    assert_eq!(again(&world).last().unwrap().1, 1);
}

#[tokio::test]
async fn waiting_for_people_is_added_up() {
    let world = World::new().await;
    let session = world.running("triage").await;
    world.advance(500);
    for (wait, back) in [(1000, SessionEvent::Resume), (30_000, SessionEvent::Queue)] {
        world.drive(&session, SessionEvent::Wait).await;
        world.advance(wait);
        world.drive(&session, back).await;
        world.advance(7);
    }
    let view = world.gate.session(&session).unwrap();
    assert_eq!(view.waited_ms, 31_000);
    assert_eq!(view.updated.ms() - START_MS, 500 + 1000 + 7 + 30_000);
    let note = world
        .gate
        .note(&session, &Principal::agent("triage"), json!("half way"))
        .await
        .unwrap();
    assert_eq!(world.entries().last().unwrap().sequence, note);
    assert_eq!(world.bodies("session.noted"), [json!({ "note": "half way" })]);
    assert_eq!(world.gate.session(&session).unwrap().version, view.version);
}
