//! Bad days: a disk that refuses, and power that goes.

use crate::world::{START_MS, World, done, post, propose, read};
use gate::{Gate, NewToken, Refusal, Role, Thumbprint, TokenError, Verdict};
use journal::machine::{Approval, Call};
use policy::{Outcome, Principal, StopScope, Timestamp};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use store::StoreError;
use testkit::faulty::{self, Disk, Loss};

const REFUSALS: [faulty::Refusal; 3] = [
    faulty::Refusal::Full,
    faulty::Refusal::Fsync,
    faulty::Refusal::ReadOnly,
];

/// Waits for something that another thread brings about; the test fails when it never comes.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_secs(30), waiting)
            .await
            .is_ok(),
        "{what}"
    );
}

#[tokio::test]
async fn without_a_record_nothing_is_permitted_and_a_stop_works_all_the_same() {
    for refusal in REFUSALS {
        let world = World::on(Disk::new()).await;
        let disk = world.disk.clone().unwrap();
        let session = world.running("triage").await;
        disk.refuse(Some(refusal));
        for (step, action) in [
            ("read", read("a")),
            ("write", post("a")),
            ("ask", propose("a")),
            ("no", read("forbidden")),
        ] {
            let said = world.admit(&session, step, &action).await;
            assert!(
                matches!(said, Err(Refusal::Unrecorded(_))),
                "{refusal:?} {step}: {said:?}"
            );
        }
        let answer = world
            .gate
            .stop(&Principal::person("eve"), StopScope::All, "halt")
            .await;
        assert!(answer.durable, "{refusal:?}: the reserve has it");
        assert_eq!(
            world.check(&session, "read", &read("a")).await,
            "stopped by person:eve: halt"
        );
        // The stop outlives the power, although the journal never took it.
        let world = world.after_power_loss().await;
        assert_eq!(
            world.check(&session, "read", &read("a")).await,
            "stopped by person:eve: halt"
        );
        until("the stop is recorded", || world.bodies("stop.raised").len() == 1).await;
        assert!(
            world
                .gate
                .lift(
                    &Principal::person("eve"),
                    gate::EVERYWHERE,
                    &StopScope::All,
                    "over"
                )
                .await
                .unwrap()
        );
        let world = world.reopened().await;
        assert!(
            world.gate.stops().is_empty(),
            "the reserve forgot what the journal took"
        );
        assert_eq!(world.check(&session, "read", &read("a")).await, "permit");
    }
}

/// Every scope: on a full disk it works, is answered in time, outlives the power, and is recorded later.
#[tokio::test]
async fn a_full_disk_keeps_no_scope_from_being_stopped() {
    #[rustfmt::skip]
    let scopes = [
        "all", "network", "org:default", "team:default/default", "project:default/default/default", "tool:git.*",
        "capability:git.*:*", "agent:triage",
    ];
    for text in scopes {
        let world = World::on(Disk::new()).await;
        let session = world.running("triage").await;
        let permit = world.admit(&session, "a", &read("a")).await.unwrap();
        let flight = permit.spend(world.gate.stop_set()).unwrap();
        let cancel = flight.cancel();
        tokio::spawn(async move {
            flight.cancel().cancelled().await;
            drop(flight);
        });
        let disk = world.disk.clone().unwrap();
        disk.refuse(Some(faulty::Refusal::Full));
        let scope = StopScope::parse(text).unwrap();
        let answer = world
            .gate
            .kill(&Principal::person("eve"), scope.clone(), "halt")
            .await;
        assert!(answer.durable && cancel.is_cancelled(), "{text}: {answer:?}");
        assert_eq!(answer.unreached, [], "{text}");
        let world = world.after_power_loss().await;
        assert_eq!(
            world.check(&session, "b", &read("a")).await,
            "stopped by person:eve: halt",
            "{text}"
        );
        until("it is recorded", || world.bodies("stop.raised").len() == 1).await;
        assert_eq!(world.bodies("stop.raised")[0]["scope"], text);
    }
}

#[tokio::test]
async fn a_stop_on_a_full_disk_is_recorded_when_there_is_space() {
    let world = World::on(Disk::new()).await;
    let disk = world.disk.clone().unwrap();
    disk.refuse(Some(faulty::Refusal::Full));
    for name in ["a", "b", "c"] {
        assert!(
            world
                .gate
                .stop(&Principal::person("eve"), StopScope::Agent(name.into()), "halt")
                .await
                .durable
        );
    }
    // More than the reserve holds: it then says that everything is stopped.
    for n in 0..200 {
        assert!(
            world
                .gate
                .stop(
                    &Principal::person("eve"),
                    StopScope::Session(format!("ses-{n}")),
                    &"x".repeat(300)
                )
                .await
                .durable
        );
    }
    let world = world.after_power_loss().await;
    let scopes: Vec<_> = world.gate.stops().into_iter().map(|stop| stop.scope).collect();
    assert_eq!(scopes, [StopScope::All]);
    let disk = world.disk.clone().unwrap();
    until("it is recorded", || world.bodies("stop.raised").len() == 1).await;
    disk.refuse(Some(faulty::Refusal::Full));
    assert!(
        world
            .gate
            .stop(&Principal::person("eve"), StopScope::Agent("d".into()), "halt")
            .await
            .durable
    );
    assert!(
        world
            .gate
            .lift(
                &Principal::person("eve"),
                gate::EVERYWHERE,
                &StopScope::Agent("d".into()),
                ""
            )
            .await
            .is_err()
    );
    disk.refuse(None);
    world.advance(1000);
    until("it is recorded", || world.bodies("stop.raised").len() == 2).await;
}

#[tokio::test]
async fn an_outcome_waits_for_the_disk_and_is_not_lost() {
    for refusal in REFUSALS {
        let world = World::on(Disk::new()).await;
        let disk = world.disk.clone().unwrap();
        let session = world.running("triage").await;
        let flight = world
            .admit(&session, "a", &post("x"))
            .await
            .unwrap()
            .spend(world.gate.stop_set())
            .unwrap();
        disk.refuse(Some(refusal));
        let settled = tokio::spawn(flight.settle(done(json!({ "ok": true }))));
        until("it alarms", || world.gate.unsettled() == 1).await;
        assert_eq!(
            world.gate.call(&session, "a").unwrap().unwrap().state,
            Call::Permitted
        );
        disk.refuse(None);
        world.advance(1000);
        let entry = settled.await.unwrap().unwrap();
        assert_eq!(world.gate.unsettled(), 0);
        let call = world.gate.call(&session, "a").unwrap().unwrap();
        assert_eq!(
            (call.state, call.settled),
            (Call::Settled, Some(entry)),
            "{refusal:?}"
        );
        assert_eq!(world.bodies("action.settled").len(), 1);
    }
}

#[tokio::test]
async fn counts_of_denials_wait_for_the_disk() {
    let world = World::on(Disk::new()).await;
    let disk = world.disk.clone().unwrap();
    let session = world.running("reader").await;
    for _ in 0..3 {
        world.check(&session, "a", &post("x")).await;
    }
    disk.refuse(Some(faulty::Refusal::Full));
    assert!(matches!(
        world.gate.flush().await,
        Err(StoreError::Unavailable { .. })
    ));
    disk.refuse(None);
    world.advance(1000);
    world.gate.flush().await.unwrap();
    let counts: Vec<_> = world
        .bodies("action.denied_again")
        .iter()
        .map(|body| body["count"].clone())
        .collect();
    assert_eq!(counts, [2]);
}

/// A refusal at each boundary of an admission in turn: whatever became of its commit, no permit stands
/// that nobody holds, and the step can be proposed again.
#[tokio::test]
async fn a_commit_that_was_not_acknowledged_blocks_nothing() {
    for refusal in REFUSALS {
        for offset in 1..12 {
            let world = World::on(Disk::new()).await;
            let disk = world.disk.clone().unwrap();
            let session = world.running("triage").await;
            let at = disk.boundaries() + offset;
            disk.refuse_at(at..at + 1, refusal);
            let first = world.admit(&session, "a", &post("x")).await;
            let refused = first.is_err();
            drop(first);
            disk.refuse(None);
            world.advance(1000);
            world.gate.flush().await.unwrap();
            let said = world.check(&session, "a", &post("x")).await;
            assert_eq!(
                said, "permit",
                "{refusal:?} at {offset}, first refused: {refused}"
            );
            world.gate.flush().await.unwrap();
            let open = world
                .gate
                .calls(&session)
                .unwrap()
                .iter()
                .filter(|call| call.state == Call::Permitted)
                .count();
            assert_eq!(open, 0, "{refusal:?} at {offset}");
        }
    }
}

/// What a life on a disk that dies was told.
#[derive(Default)]
struct Told {
    session: String,
    /// Entry of every permit that was handed out, by step.
    permits: BTreeMap<String, u64>,
    settled: Vec<String>,
    approved: Option<String>,
    spent: bool,
    stopped: bool,
}

/// Some steps, an approval that is asked for, given and used, and a stop.
async fn live(gate: &Arc<Gate>, world: &World, told: &mut Told) -> Option<()> {
    let by = Principal::service("cofferdam");
    told.session = gate
        .create_session(crate::world::new_session("triage"))
        .await
        .ok()?
        .0
        .id;
    gate.session_event(
        &told.session,
        &by,
        journal::machine::SessionEvent::Start,
        None,
        None,
    )
    .await
    .ok()?;
    for step in ["one", "two"] {
        act(world, told, step, &post(step)).await?;
    }
    let Err(Refusal::Parked { approval, .. }) = world.admit(&told.session, "ask", &propose("x")).await else {
        return None;
    };
    let alice = world.alice().await?;
    gate.decide_approval(&alice, &approval, Verdict::Approve, "ok")
        .await
        .ok()?;
    told.approved = Some(approval);
    act(world, told, "ask", &propose("x")).await?;
    told.spent = true;
    told.stopped = gate.stop(&by, StopScope::All, "halt").await.durable;
    Some(())
}

async fn act(world: &World, told: &mut Told, step: &str, action: &policy::Action) -> Option<()> {
    let permit = world.admit(&told.session, step, action).await.ok()?;
    told.permits.insert(step.to_owned(), permit.entry());
    let flight = permit.spend(world.gate.stop_set()).ok()?;
    let settled = flight.settle(done(json!({ "step": step })));
    // The disk may be dead, and then this never comes.
    if world.disk.as_ref().is_some_and(Disk::is_dead) {
        return None;
    }
    let mut settled = std::pin::pin!(settled);
    loop {
        tokio::select! {
            settled = &mut settled => {
                settled.ok()?;
                told.settled.push(step.to_owned());
                return Some(());
            }
            () = tokio::time::sleep(Duration::from_millis(5)) => {
                if world.disk.as_ref().is_some_and(Disk::is_dead) {
                    return None;
                }
            }
        }
    }
}

/// More boundaries than a life has: each takes memory, and a gate that permits nothing never ends one.
const LIVES_MAX: u64 = 500;

/// Loses power at each boundary in turn, and looks at what the next start finds.
#[tokio::test]
async fn crash_at_every_boundary() {
    let mut lives = 0;
    for at in 1..=LIVES_MAX {
        // Torn writes are the store's to test; here they are a sample.
        let torn = at.is_multiple_of(4).then_some(Loss::Tear(at));
        for loss in [Loss::Drop].into_iter().chain(torn) {
            let disk = Disk::new();
            // Opening makes the schema; what happens there is the store's to test.
            let world = World::on(disk.clone()).await;
            disk.lose_power_at(disk.boundaries() + at, loss);
            let mut told = Told::default();
            let whole = live(&world.gate.clone(), &world, &mut told).await.is_some() && !disk.is_dead();
            let world = world.after_power_loss().await;
            look(&world, &told, &format!("boundary {at}, {loss:?}")).await;
            lives += 1;
            if whole {
                assert!(lives > 20, "{lives}");
                return;
            }
        }
    }
    panic!("a life that nothing interrupts does not end either");
}

async fn look(world: &World, told: &Told, place: &str) {
    let gate = &world.gate;
    assert_eq!(gate.store().rebuild().unwrap(), Vec::<String>::new(), "{place}");
    if told.session.is_empty() {
        return;
    }
    for call in gate.mark_uncertain().await.unwrap() {
        assert!(
            !told.settled.contains(&call.step),
            "{place}: {} lost its outcome",
            call.step
        );
    }
    let kind = |entry: u64| {
        world
            .gate
            .store()
            .read(|reader| reader.entry(entry))
            .unwrap()
            .unwrap()
            .entry
            .kind
    };
    for (step, entry) in &told.permits {
        let call = gate.call(&told.session, step).unwrap();
        let call = call.unwrap_or_else(|| panic!("{place}: {step} was permitted, and is not there"));
        assert_eq!(call.permit, Some(*entry), "{place}");
        assert_eq!(kind(*entry), "action.permitted", "{place}");
        let settled = told.settled.contains(step);
        assert_eq!(
            call.outcome == Some(Outcome::Success),
            settled || call.state == Call::Settled,
            "{place}"
        );
        // INVARIANT (no silent repeat): what may have happened is not permitted again.
        if world.gate.stops().is_empty() && call.idempotence == policy::Idempotence::Once {
            let again = world.admit(&told.session, step, &post(step)).await;
            assert!(
                matches!(again, Err(Refusal::AlreadyAdmitted { .. })),
                "{place}: {again:?}"
            );
        }
    }
    if let Some(approval) = &told.approved {
        let state = gate.approval(approval).unwrap().unwrap().state;
        let used = told.permits.contains_key("ask");
        assert!(
            state == Approval::Spent || (state == Approval::Approved && !used),
            "{place}: {state:?}"
        );
        assert!(!told.spent || state == Approval::Spent, "{place}");
    }
    if told.stopped {
        assert_eq!(gate.stops().len(), 1, "{place}");
    }
}

#[tokio::test]
async fn an_outcome_that_is_refused_for_good_stays_counted() {
    let world = World::new().await;
    let session = world.running("triage").await;
    let flight = world
        .admit(&session, "a", &post("x"))
        .await
        .unwrap()
        .spend(world.gate.stop_set())
        .unwrap();
    world.gate.store().quarantine("a test says so".to_owned());
    let refused = flight.settle(done(json!(1))).await.unwrap_err();
    assert!(refused.reason.contains("a test says so"), "{}", refused.reason);
    assert_eq!(world.gate.unsettled(), 1);
}

/// A revocation that could not be recorded holds all the same: whoever shows the certificate, or the provider's token,
/// again is not taken by its row, and the record is made when there is space.
#[tokio::test]
async fn what_was_revoked_on_a_full_disk_is_put_back_by_nobody() {
    let world = World::on(Disk::new()).await;
    let disk = world.disk.clone().unwrap();
    let (by, certificate) = (Principal::person("eve"), Thumbprint::of(b"ann's"));
    let new = |name: &str, ms: i64| NewToken {
        principal: Principal::person(name),
        roles: vec![Role::Viewer.into()],
        groups: Vec::new(),
        trigger: None,
        expires: Some(Timestamp::from_ms(START_MS + ms)),
    };
    let shown = async |ms| {
        let taken = world
            .gate
            .take_certificate(&by, new("mesh/ann", ms), "mesh", &certificate)
            .await;
        taken.map(|caller| caller.token().to_owned())
    };
    let sent = async || {
        let taken = world
            .gate
            .take_token(&by, new("corporate/ann", 9_000), "corporate", "a.b.c")
            .await;
        taken.map(|caller| caller.token().to_owned())
    };
    let (old, token) = (shown(1_000).await.unwrap(), sent().await.unwrap());
    world.advance(2_000);
    let present = shown(9_000).await.unwrap();
    assert_ne!(old, present, "it ran out and was recorded anew");

    disk.refuse(Some(faulty::Refusal::Full));
    // Of the certificate the record that ran out, with which the other goes.
    for id in [&old, &token] {
        let refused = world.gate.revoke_token(&by, id).await.unwrap_err();
        assert!(matches!(refused, TokenError::Store(_)), "{refused}");
    }
    assert!(world.gate.identify("a.b.c").is_err());
    assert!(world.gate.is_certificate_revoked(&certificate).unwrap());
    disk.refuse(None);
    world.advance(1000);
    for taken in [shown(9_000).await, sent().await] {
        assert!(matches!(taken, Err(TokenError::Unknown(_))), "{taken:?}");
    }
    assert!(world.gate.identify("a.b.c").is_err());
    assert_eq!(world.bodies("token.revoked").len(), 0);
    world.gate.revoke_owed().await;
    assert_eq!(
        world.bodies("token.revoked").len(),
        3,
        "both of one certificate, and the token"
    );
    world.gate.revoke_owed().await;
    assert_eq!(world.bodies("token.revoked").len(), 3, "once");
    let world = world.reopened().await;
    assert!(world.gate.identify("a.b.c").is_err());
    for id in [&old, &present, &token] {
        assert!(world.gate.token(id).unwrap().revoked, "{id}");
    }
}
