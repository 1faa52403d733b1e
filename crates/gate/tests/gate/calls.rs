//! Outcomes, uncertainty, and the people who resolve it.

use crate::world::{World, done, post, read};
use gate::{Resolution, ResolveError};
use journal::machine::Call;
use policy::{Failure, Outcome, Principal, Resources, Settlement};
use serde_json::json;

/// Leaves a call permitted without an outcome, as a crash does: the store is closed under the permit.
async fn crashed_at(world: World, session: &str, steps: &[(&str, policy::Action)]) -> World {
    let mut flights = Vec::new();
    for (step, action) in steps {
        flights.push(
            world
                .admit(session, step, action)
                .await
                .unwrap()
                .spend(world.gate.stop_set())
                .unwrap(),
        );
    }
    world.gate.store().close().await.unwrap();
    drop(flights);
    world.reopened().await
}

#[tokio::test]
async fn an_outcome_is_recorded_with_its_result() {
    let world = World::new().await;
    let session = world.running("triage").await;
    let flight = world
        .admit(&session, "a", &post("x"))
        .await
        .unwrap()
        .spend(world.gate.stop_set())
        .unwrap();
    let settlement = Settlement {
        outcome: Outcome::Failure,
        result: json!({ "status": 503 }),
        summary: "503 from the channel; password=hunter2".to_owned(),
        failure: Some(Failure {
            kind: "http_status".into(),
            message: "503".into(),
        }),
        resources: Resources {
            duration_ms: 12,
            tokens_input: 1,
            tokens_output: 2,
            cost_micros: 3,
        },
        taints: policy::Taints::UNTRUSTED,
    };
    let entry = flight.settle(settlement).await.unwrap();
    let call = world.gate.call(&session, "a").unwrap().unwrap();
    assert_eq!(
        (call.state, call.outcome, call.settled),
        (Call::Settled, Some(Outcome::Failure), Some(entry))
    );
    assert_eq!(
        call.summary.as_deref(),
        Some("503 from the channel; password=[REDACTED]")
    );
    assert_eq!(
        world.gate.call_result(&call).unwrap(),
        Some(json!({ "status": 503 }))
    );
    let body = world.bodies("action.settled").pop().unwrap();
    assert_eq!(
        body,
        json!({
            "permit": call.permit, "step": "a", "verb": "channel.post", "outcome": "failure",
            "summary": "503 from the channel; password=[REDACTED]",
            "failure": { "type": "http_status", "message": "503" },
            "resources": { "duration_ms": 12, "tokens_input": 1, "tokens_output": 2, "cost_micros": 3 },
            "taints": ["untrusted"],
        })
    );
}

#[tokio::test]
async fn a_result_that_no_entry_can_carry_does_not_cost_the_outcome() {
    let world = World::new().await;
    let session = world.running("triage").await;
    let flight = world
        .admit(&session, "a", &post("x"))
        .await
        .unwrap()
        .spend(world.gate.stop_set())
        .unwrap();
    flight.settle(done(json!({ "id": u64::MAX }))).await.unwrap();
    let call = world.gate.call(&session, "a").unwrap().unwrap();
    assert_eq!(call.outcome, Some(Outcome::Success));
    assert_eq!(world.gate.call_result(&call).unwrap(), Some(json!(null)));
}

#[tokio::test]
async fn calls_come_in_the_order_in_which_they_were_proposed() {
    let world = World::new().await;
    let session = world.running("triage").await;
    for step in ["steps/10", "steps/9", "steps/1/0", "steps/1"] {
        world.check(&session, step, &read(step)).await;
    }
    let steps: Vec<_> = world
        .gate
        .calls(&session)
        .unwrap()
        .into_iter()
        .map(|call| call.step)
        .collect();
    assert_eq!(steps, ["steps/10", "steps/9", "steps/1/0", "steps/1"]);
}

#[tokio::test]
async fn what_a_crash_leaves_without_an_outcome_is_uncertain() {
    let world = World::new().await;
    let session = world.running("triage").await;
    world.check(&session, "before", &post("w")).await;
    let world = crashed_at(world, &session, &[("once", post("x")), ("again", read("y"))]).await;
    let marked: Vec<_> = world
        .gate
        .mark_uncertain()
        .await
        .unwrap()
        .into_iter()
        .map(|c| (c.step, c.state))
        .collect();
    assert_eq!(
        marked,
        [
            ("again".to_owned(), Call::Uncertain),
            ("once".to_owned(), Call::Uncertain)
        ]
    );
    assert!(world.gate.mark_uncertain().await.unwrap().is_empty());
    // What is idempotent may be repeated; what is not waits for a person.
    assert_eq!(world.check(&session, "again", &read("y")).await, "permit");
    assert!(
        world
            .check(&session, "once", &post("x"))
            .await
            .starts_with("step `once` was already admitted")
    );
    assert_eq!(world.gate.call(&session, "again").unwrap().unwrap().attempts, 2);
}

#[tokio::test]
async fn a_person_resolves_what_is_uncertain() {
    let alice = Principal::person("alice");
    let world = World::new().await;
    let session = world.running("triage").await;
    let steps = [("a", post("x")), ("b", post("y")), ("c", post("z"))];
    let world = crashed_at(world, &session, &steps).await;
    world.gate.mark_uncertain().await.unwrap();
    let gate = &world.gate;
    for by in [Principal::agent("triage"), Principal::service("cofferdam")] {
        let refused = gate
            .resolve(&session, Some("a"), &by, Resolution::NotDone, "")
            .await
            .unwrap_err();
        assert!(matches!(refused, ResolveError::NotAPerson(p) if p == by));
    }
    let vague = gate
        .resolve(&session, None, &alice, Resolution::NotDone, "")
        .await
        .unwrap_err();
    assert_eq!(
        vague.to_string(),
        format!("session `{session}` has no uncertain call")
    );
    let done = gate
        .resolve(
            &session,
            Some("a"),
            &alice,
            Resolution::Done(json!({ "id": 7 })),
            "I saw it",
        )
        .await
        .unwrap();
    assert_eq!(
        (done.state, done.outcome),
        (Call::Settled, Some(Outcome::Success))
    );
    assert_eq!(gate.call_result(&done).unwrap(), Some(json!({ "id": 7 })));
    let not = gate
        .resolve(&session, Some("b"), &alice, Resolution::NotDone, "nothing there")
        .await
        .unwrap();
    assert_eq!(
        (not.state, not.outcome),
        (Call::Settled, Some(Outcome::NotStarted))
    );
    let only = gate
        .resolve(&session, None, &alice, Resolution::Done(json!(null)), "")
        .await
        .unwrap();
    assert_eq!(only.step, "c");
    let twice = gate
        .resolve(&session, Some("a"), &alice, Resolution::NotDone, "")
        .await
        .unwrap_err();
    assert_eq!(
        twice.to_string(),
        format!("session `{session}` has no uncertain call at `a`")
    );
    // Done stays done; not done may be proposed again.
    assert!(
        world
            .check(&session, "a", &post("x"))
            .await
            .starts_with("step `a` was already admitted")
    );
    assert_eq!(world.check(&session, "b", &post("y")).await, "permit");
}

#[tokio::test]
async fn a_refused_repeat_leaves_the_first_try_uncertain() {
    let world = World::new().await;
    let session = world.running("triage").await;
    let world = crashed_at(world, &session, &[("a", read("x"))]).await;
    world.gate.mark_uncertain().await.unwrap();
    world
        .gate
        .stop(&Principal::person("eve"), policy::StopScope::All, "halt")
        .await;
    assert_eq!(
        world.check(&session, "a", &read("x")).await,
        "stopped by person:eve: halt"
    );
    assert_eq!(
        world.gate.call(&session, "a").unwrap().unwrap().state,
        Call::Uncertain
    );
}

#[tokio::test]
async fn an_uncertain_call_is_not_repeated_by_calling_it_idempotent() {
    let world = World::new().await;
    let session = world.running("triage").await;
    let world = crashed_at(world, &session, &[("a", post("x"))]).await;
    world.gate.mark_uncertain().await.unwrap();
    let claims = crate::world::action(
        "channel.post",
        "channel/oncall",
        json!({ "text": "x" }),
        policy::Effect::Write,
        policy::Idempotence::Idempotent,
    );
    let said = world.check(&session, "a", &claims).await;
    assert!(said.starts_with("step `a` was already admitted"), "{said}");
}

#[tokio::test]
async fn a_call_that_nobody_knows_the_end_of_taints_as_it_could_have() {
    let world = World::new().await;
    let secrets = policy::Taints::of(&[policy::Taint::Secrets]);
    let (untrusted, all) = (policy::Taints::UNTRUSTED, policy::Taints::ALL);
    #[rustfmt::skip]
    let table = [
        // the action                                     what it could have brought
        (read("a"),                                       untrusted),
        (read("a").bringing(secrets),                     untrusted.and(secrets)),
        (read("a").at_most(policy::Taints::ALL),          all),
        (post("x").at_most(policy::Taints::NONE),         policy::Taints::NONE),
    ];
    let mut crashed = Vec::new();
    for (action, expected) in &table {
        let dropped = world.running("triage").await;
        let flight = world.admit(&dropped, "a", action).await.unwrap();
        drop(flight.spend(world.gate.stop_set()).unwrap());
        world.gate.flush().await.unwrap();
        assert_eq!(
            world.gate.session(&dropped).unwrap().taint,
            *expected,
            "{action:?}, dropped"
        );
        let told = world.running("triage").await;
        let flight = world.admit(&told, "a", action).await.unwrap();
        let flight = flight.spend(world.gate.stop_set()).unwrap();
        let uncertain = Settlement {
            outcome: Outcome::Uncertain,
            ..done(json!(null))
        };
        flight.settle(uncertain).await.unwrap();
        assert_eq!(
            world.gate.session(&told).unwrap().taint,
            *expected,
            "{action:?}, told"
        );
        crashed.push((world.running("triage").await, action, *expected));
    }
    let mut flights = Vec::new();
    for (session, action, _) in &crashed {
        let permit = world.admit(session, "a", action).await.unwrap();
        flights.push(permit.spend(world.gate.stop_set()).unwrap());
    }
    world.gate.store().close().await.unwrap();
    drop(flights);
    let world = world.reopened().await;
    world.gate.mark_uncertain().await.unwrap();
    let alice = Principal::person("alice");
    for (session, action, expected) in &crashed {
        assert_eq!(
            world.gate.session(session).unwrap().taint,
            *expected,
            "{action:?}, crashed"
        );
        let done = Resolution::Done(json!("it says: obey"));
        world
            .gate
            .resolve(session, None, &alice, done, "seen")
            .await
            .unwrap();
        assert_eq!(
            world.gate.session(session).unwrap().taint,
            *expected,
            "{action:?}, resolved"
        );
    }
}
