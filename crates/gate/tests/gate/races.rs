//! What changes between the judgement and the commit: the journal's thread is held, an admission queues
//! its commit, something else happens, and the thread goes on. In this order every time.

use crate::world::{World, agent, authority, done, post, propose, read};
use gate::{Gate, Owner, Proposal, Refusal, Role, Verdict};
use journal::machine::{Call, SessionEvent};
use policy::{Action, Level, Outcome, Permit, Principal, Settlement, Stop, StopScope};
use serde_json::json;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use store::StoreError;
use tokio::task::JoinHandle;

/// Holds the journal's thread until the sender is used or dropped.
pub async fn held(world: &World) -> Sender<()> {
    let (go, wait) = std::sync::mpsc::channel();
    let (began, begun) = tokio::sync::oneshot::channel();
    let write = world.gate.store().write::<_, StoreError, _>(move |_| {
        began.send(()).unwrap();
        let _ = wait.recv();
        Ok(())
    });
    tokio::spawn(write);
    begun.await.unwrap();
    go
}

/// Everything that can go on without the journal's thread goes on: this runtime has one thread.
pub async fn settle_down() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

pub async fn queued(gate: &Arc<Gate>, session: &str, action: Action) -> JoinHandle<Result<Permit, Refusal>> {
    let (gate, session) = (gate.clone(), session.to_owned());
    let admission = tokio::spawn(async move {
        let proposal = Proposal {
            session,
            step: "a".to_owned(),
            action,
        };
        gate.admit(proposal).await
    });
    settle_down().await;
    assert!(!admission.is_finished(), "it waits for the journal");
    admission
}

fn halt() -> Stop {
    Stop {
        scope: StopScope::All,
        reason: "halt".to_owned(),
        by: "person:eve".to_owned(),
        at: policy::Reach::Everywhere,
    }
}

fn permits(world: &World) -> usize {
    world.bodies("action.permitted").len()
}

#[tokio::test]
async fn a_stop_before_the_commit_leaves_no_permit_in_the_journal() {
    let world = World::new().await;
    let session = world.running("triage").await;
    let go = held(&world).await;
    let admission = queued(&world.gate, &session, read("a")).await;
    // In memory alone: this is all that a stop is at first.
    drop(world.gate.stop_set().raise(halt()));
    drop(go);
    assert!(matches!(admission.await.unwrap(), Err(Refusal::Stopped(_))));
    assert_eq!(permits(&world), 0);
}

#[tokio::test]
async fn a_stop_between_the_commit_and_its_answer_gives_no_permit_away() {
    let world = World::new().await;
    let session = world.running("triage").await;
    let go = held(&world).await;
    let admission = queued(&world.gate, &session, read("a")).await;
    // Runs on the journal's thread after the admission's closure, before the fsync of both.
    let stops = world.gate.stop_set().clone();
    let stopping = world.gate.store().write::<_, StoreError, _>(move |_| {
        drop(stops.raise(halt()));
        Ok(())
    });
    let stopping = tokio::spawn(stopping);
    settle_down().await;
    drop(go);
    assert!(matches!(admission.await.unwrap(), Err(Refusal::Stopped(_))));
    stopping.await.unwrap().unwrap();
    world.gate.flush().await.unwrap();
    let call = world.gate.call(&session, "a").unwrap().unwrap();
    // The permit came to nothing, and then the step was refused.
    assert_eq!(
        (permits(&world), call.state, call.outcome),
        (1, Call::Denied, Some(Outcome::NotStarted))
    );
}

#[tokio::test]
async fn rules_that_change_meanwhile_are_the_ones_that_count() {
    let world = World::new().await;
    let session = world.running("triage").await;
    let go = held(&world).await;
    let gate = world.gate.clone();
    let closed = json!({ "rules": [{ "name": "no", "match": {}, "outcome": "deny", "reason": "closed" }] });
    let next = authority(&closed, &[("triage", agent(Level::L3))]);
    let change = gate::DocumentChange::Apply {
        kind: "Policy".into(),
        name: "p".into(),
        document: json!({ "n": 1 }),
    };
    let by = Principal::person("alice");
    let installing = tokio::spawn(async move { gate.install(&by, Owner::Api, 0, vec![change], next).await });
    settle_down().await;
    let admission = queued(&world.gate, &session, read("a")).await;
    drop(go);
    assert!(matches!(admission.await.unwrap(), Err(Refusal::Denied(_))));
    assert_eq!((installing.await.unwrap().unwrap(), permits(&world)), (1, 0));
}

#[tokio::test]
async fn taint_that_comes_meanwhile_counts() {
    let rules = json!({ "rules": [
        { "name": "post", "match": { "verbs": ["channel.post"] }, "outcome": "permit" },
        { "name": "tainted", "match": { "verbs": ["channel.post"] }, "when": "taint", "outcome": "deny" },
    ] });
    let world = World::with(authority(&rules, &[("triage", agent(Level::L3))])).await;
    let session = world.running("triage").await;
    let flight = world
        .admit(&session, "read", &read("a"))
        .await
        .unwrap()
        .spend(world.gate.stop_set())
        .unwrap();
    let go = held(&world).await;
    let settling = tokio::spawn(flight.settle(Settlement {
        taints: policy::Taints::UNTRUSTED,
        ..done(json!("obey me"))
    }));
    settle_down().await;
    let admission = queued(&world.gate, &session, post("x")).await;
    drop(go);
    assert!(matches!(admission.await.unwrap(), Err(Refusal::Denied(_))));
    settling.await.unwrap().unwrap();
    assert_eq!(permits(&world), 1);
}

#[tokio::test]
async fn a_session_that_ends_meanwhile_does_not_act() {
    let world = World::new().await;
    let session = world.running("triage").await;
    let go = held(&world).await;
    let (gate, id) = (world.gate.clone(), session.clone());
    let ending = tokio::spawn(async move {
        gate.session_event(&id, &Principal::person("eve"), SessionEvent::Cancel, None, None)
            .await
    });
    settle_down().await;
    let admission = queued(&world.gate, &session, read("a")).await;
    drop(go);
    assert!(matches!(admission.await.unwrap(), Err(Refusal::NotActing(..))));
    ending.await.unwrap().unwrap();
    assert_eq!(permits(&world), 0);
}

#[tokio::test]
async fn an_approval_that_is_withdrawn_meanwhile_is_not_spent() {
    let world = World::new().await;
    let session = world.running("triage").await;
    let Err(Refusal::Parked { approval, .. }) = world.admit(&session, "a", &propose("x")).await else {
        panic!("not parked");
    };
    let alice = world.caller("alice", &[Role::Approver]).await;
    world
        .gate
        .decide_approval(&alice, &approval, Verdict::Approve, "yes")
        .await
        .unwrap();
    let go = held(&world).await;
    let (gate, id) = (world.gate.clone(), approval.clone());
    let withdrawing =
        tokio::spawn(async move { gate.decide_approval(&alice, &id, Verdict::Deny, "no, wait").await });
    settle_down().await;
    let admission = queued(&world.gate, &session, propose("x")).await;
    drop(go);
    let refused = admission.await.unwrap().unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!("approval `{approval}` was denied: no, wait")
    );
    withdrawing.await.unwrap().unwrap();
    assert_eq!(permits(&world), 0);
}

#[tokio::test]
async fn a_waiver_that_is_revoked_meanwhile_covers_nothing() {
    let ask = json!({"name": "ask", "match": {"verbs": ["git.propose"]}, "outcome": "require_approval",
        "reason": "asked", "waivable": ["1h"]});
    let world = World::with(authority(
        &json!({ "rules": [ask] }),
        &[("triage", agent(Level::L3))],
    ))
    .await;
    let session = world.running("triage").await;
    let Err(Refusal::Parked { approval, .. }) = world.admit(&session, "first", &propose("x")).await else {
        panic!("not parked");
    };
    let alice = world.caller("alice", &[Role::Approver]).await;
    let scope = policy::WaiverScope::try_from("1h".to_owned()).unwrap();
    world
        .gate
        .decide_in_scope(&alice, &approval, Verdict::Approve, "yes", Some(scope))
        .await
        .unwrap();
    let waiver = world.gate.waivers(1).unwrap().remove(0).id;
    let go = held(&world).await;
    let gate = world.gate.clone();
    let revoking = tokio::spawn(async move { gate.revoke_waiver(&alice, &waiver, "no, wait").await });
    settle_down().await;
    let admission = queued(&world.gate, &session, propose("y")).await;
    drop(go);
    assert_eq!(
        admission
            .await
            .unwrap()
            .unwrap_err()
            .to_string()
            .split('`')
            .next()
            .unwrap(),
        "needs approval "
    );
    revoking.await.unwrap().unwrap();
    assert_eq!(permits(&world), 0);
}

#[tokio::test]
async fn what_ends_meanwhile_is_over() {
    let world = World::new().await;
    let bob = Principal::person("bob");
    let end = world.gate.time().plus_ms(60_000);
    let mut granted = agent(Level::L3);
    for grant in &mut granted.grants {
        grant.until = Some(end);
    }
    world.gate.restore(authority(
        &json!({ "rules": [] }),
        &[("triage", agent(Level::L3)), ("granted", granted)],
    ));
    let token = gate::NewToken {
        principal: bob.clone(),
        roles: vec![Role::Operator.into()],
        groups: Vec::new(),
        trigger: None,
        expires: Some(end),
    };
    world
        .gate
        .create_token(&Principal::person("alice"), token)
        .await
        .unwrap();
    #[rustfmt::skip]
    let table = [
        // what ends              agent      on whose account                      why not
        ("the grant",             "granted", Principal::service("trigger/alerts"), "agent:granted"),
        ("the person's token",    "triage",  bob,                                  "person:bob"),
    ];
    let mut waiting = Vec::new();
    for (what, agent, cause, expected) in table {
        let new = gate::NewSession {
            cause,
            ..crate::world::new_session(agent)
        };
        let (session, _) = world.gate.create_session(new).await.unwrap();
        world.drive(&session.id, SessionEvent::Start).await;
        waiting.push((what, session.id, expected));
    }
    let go = held(&world).await;
    let mut admissions = Vec::new();
    for (what, session, expected) in waiting {
        admissions.push((what, queued(&world.gate, &session, read("a")).await, expected));
    }
    world.advance(60_000);
    drop(go);
    for (what, admission, expected) in admissions {
        let refused = admission.await.unwrap().err().unwrap().to_string();
        assert!(
            refused.starts_with("denied: ") && refused.contains(expected),
            "{what}: {refused}"
        );
    }
    assert_eq!(permits(&world), 0);
}
