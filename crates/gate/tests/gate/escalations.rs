//! Stages whose time is over: who decides then, across restarts and clocks that go back.

use crate::world::{World, agent, authority, propose};
use gate::{Refusal, Role, Verdict};
use policy::Level;
use serde_json::{Value, json};
use store::clock::Clock as _;

/// Asked of oncall for ten minutes, then of two leads for ten more, then of the boss; an hour in all.
async fn asked() -> (World, String, String) {
    let rule = json!({
        "name": "r", "match": {"verbs": ["git.propose"]}, "outcome": "require_approval",
        "reason": "r asks", "expires_after_seconds": 3600,
        "approvers": [
            {"team": "oncall", "escalate_after_seconds": 600},
            {"team": "leads", "count": 2, "escalate_after_seconds": 600}, "boss",
        ],
    });
    let rules = json!({ "rules": [rule] });
    let world = World::with(authority(&rules, &[("triage", agent(Level::L3))])).await;
    world
        .gate
        .tell_through([("triage".to_owned(), vec!["pager".to_owned()])].into());
    let session = world.running("triage").await;
    match world.admit(&session, "a", &propose("x")).await {
        Err(Refusal::Parked { approval, .. }) => (world, session, approval),
        other => panic!("not parked: {other:?}"),
    }
}

async fn says(world: &World, id: &str, name: &str, team: &str) -> String {
    let caller = world.member(name, &[Role::Approver], &[team]).await;
    let said = world
        .gate
        .decide_approval(&caller, id, Verdict::Approve, "")
        .await;
    said.map_or_else(|error| error.to_string(), |view| format!("{:?}", view.state))
}

fn escalated(world: &World) -> Vec<Value> {
    world
        .bodies("approval.escalated")
        .into_iter()
        .map(|body| body["escalated"].clone())
        .collect()
}

const FIRST: &str = r#"[{"list":0,"stage":0}]"#;
const SECOND: &str = r#"[{"list":0,"stage":1}]"#;

/// Each line: when, in seconds after the request; who says yes then; what comes of it; the stages that were
/// passed over by then, and whom it waits for.
#[tokio::test]
async fn the_next_stage_decides_when_the_time_of_one_is_over() {
    let not_yet = "person:bob decides later; first it waits for team:oncall";
    #[rustfmt::skip]
    let table: &[(u64, &str, &str, &str, &[&str])] = &[
        (599,  "ann oncall", "Pending",  "first of all",          &[]),
        (599,  "bob leads",  not_yet,    "too early",             &[]),
        (600,  "bob leads",  "Pending",  "the next stage",        &[FIRST]),
        (600,  "ann oncall", "person:ann decides later; first it waits for 2 of team:leads", "too late", &[FIRST]),
        (3599, "bob leads",  "Pending",  "nobody looked for long, and its turn begins now", &[FIRST]),
        (3599, "boss none",  "person:boss decides later; first it waits for 2 of team:leads", "nor is a stage skipped that never had its turn", &[FIRST]),
        (3600, "boss none",  "`approve` cannot happen to an approval that is `expired`", "the end denies", &[]),
    ];
    for (seconds, who, expected, why, passed) in table {
        // Found out by the vote itself, and by the timer before it.
        for ticks in [false, true] {
            let (world, _, id) = asked().await;
            world.advance(seconds * 1000);
            if ticks {
                world.gate.expire_approvals().await.unwrap();
            }
            let (name, team) = who.split_once(' ').unwrap();
            let said = says(&world, &id, name, team).await;
            assert_eq!(&said, expected, "{why}, ticks: {ticks}");
            let recorded: Vec<String> = escalated(&world).iter().map(Value::to_string).collect();
            // A refused vote takes with it what it found out; the timer records it.
            let kept = ticks || !said.starts_with("person:");
            assert_eq!(
                recorded,
                if kept { passed.to_vec() } else { vec![] },
                "{why}, ticks: {ticks}"
            );
        }
    }
}

#[tokio::test]
async fn a_stage_that_was_answered_in_time_is_not_passed_over() {
    let (world, session, id) = asked().await;
    assert_eq!(says(&world, &id, "ann", "oncall").await, "Pending");
    world.advance(700_000);
    world.gate.expire_approvals().await.unwrap();
    assert_eq!(
        escalated(&world),
        Vec::<Value>::new(),
        "its time is twenty minutes after the request"
    );
    assert_eq!(says(&world, &id, "bob", "leads").await, "Pending");
    assert_eq!(says(&world, &id, "cyd", "leads").await, "Pending");
    assert_eq!(says(&world, &id, "boss", "none").await, "Approved");
    assert_eq!(world.check(&session, "a", &propose("x")).await, "permit");
}

/// An entry of before the time of a passing was told folds into the row that it made then, and its stages' times count
/// from the request.
#[tokio::test]
async fn an_escalation_of_before_its_time_was_told_changes_the_same_as_then() {
    let (world, session, id) = asked().await;
    world.advance(700_000);
    let body = json!({
        "approval": id, "escalated": [{"list": 0, "stage": 0}], "waits_for": "2 of team:leads", "reason": "late",
    });
    let entry = store::NewEntry::new("approval.escalated", "service:cofferdam", body).session(&session);
    let write = move |tx: &mut store::Tx<'_>| tx.append(entry).map(drop);
    world
        .gate
        .store()
        .write::<_, store::StoreError, _>(write)
        .await
        .unwrap();
    let row = world
        .gate
        .store()
        .read(|reader| reader.row("approvals", &id))
        .unwrap()
        .unwrap();
    assert_eq!(row["escalated"].to_string(), FIRST);
    for (ms, passed) in [(499_000, 1), (1_000, 2)] {
        world.advance(ms);
        world.gate.expire_approvals().await.unwrap();
        assert_eq!(escalated(&world).len(), passed, "after {ms} ms");
    }
}

/// While the platform was away nobody could answer: each stage has its own time after that, by the clock that
/// never goes back, and none is passed over together with the one before it.
#[tokio::test]
async fn after_an_outage_every_stage_has_its_own_time() {
    let (world, _, id) = asked().await;
    world.advance(1_500_000);
    let world = world.reopened().await;
    #[rustfmt::skip]
    let table: &[(u64, &[&str], &str)] = &[
        (0,       &[FIRST],         "found when it is back"),
        (599_000, &[FIRST],         "a second before the leads' time is over"),
        (1_000,   &[FIRST, SECOND], "and then"),
    ];
    for (ms, passed, why) in table {
        world.advance(*ms);
        world.gate.expire_approvals().await.unwrap();
        let recorded: Vec<String> = escalated(&world).iter().map(Value::to_string).collect();
        assert_eq!(recorded, *passed, "{why}");
    }
    assert_eq!(says(&world, &id, "boss", "none").await, "Approved");
    assert_eq!(world.gate.store().rebuild().unwrap(), Vec::<String>::new());

    // The approval's own time ends all the same, though a stage has not had all of its own.
    let (world, session, id) = asked().await;
    world.advance(3_500_000);
    world.gate.expire_approvals().await.unwrap();
    world.advance(100_000);
    world.gate.expire_approvals().await.unwrap();
    let denied = format!("approval `{id}` was expired: nobody decided in time");
    assert_eq!(world.check(&session, "a", &propose("x")).await, denied);
    assert_eq!(escalated(&world).len(), 1);
}

#[tokio::test]
async fn what_was_escalated_is_used_once_and_the_end_of_time_denies() {
    let (world, session, id) = asked().await;
    for _ in 0..2 {
        world.advance(600_000);
        world.gate.expire_approvals().await.unwrap();
    }
    let told: Vec<Value> = world
        .bodies("approval.escalated")
        .into_iter()
        .map(|body| body["waits_for"].clone())
        .collect();
    assert_eq!(told, [json!("2 of team:leads"), json!("boss")]);
    assert_eq!(says(&world, &id, "boss", "none").await, "Approved");
    assert_eq!(world.check(&session, "a", &propose("x")).await, "permit");

    let (world, session, id) = asked().await;
    world.advance(3_600_000);
    world.gate.expire_approvals().await.unwrap();
    let denied = format!("approval `{id}` was expired: nobody decided in time");
    assert_eq!(world.check(&session, "a", &propose("x")).await, denied);
}

#[tokio::test]
async fn times_of_stages_survive_restarts_and_a_clock_that_goes_back() {
    let (world, _, id) = asked().await;
    world.advance(300_000);
    world.caller("xia", &[Role::Viewer]).await;
    world.clock.set(world.clock.now().plus_ms(-86_400_000));
    world.caller("zoe", &[Role::Viewer]).await;
    world.advance(299_000);
    world.gate.expire_approvals().await.unwrap();
    assert_eq!(escalated(&world), Vec::<Value>::new(), "a second before");
    // What passed is known up to the last entry.
    world.caller("yan", &[Role::Viewer]).await;
    let world = world.reopened().await;
    world.gate.expire_approvals().await.unwrap();
    assert_eq!(escalated(&world), Vec::<Value>::new(), "a second before");
    world.advance(1_000);
    world.gate.expire_approvals().await.unwrap();
    world.gate.expire_approvals().await.unwrap();
    assert_eq!(escalated(&world).len(), 1, "once");
    let world = world.reopened().await;
    assert_eq!(world.gate.approval(&id).unwrap().unwrap().escalated.len(), 1);
    assert_eq!(says(&world, &id, "bob", "leads").await, "Pending");
    assert_eq!(world.gate.store().rebuild().unwrap(), Vec::<String>::new());
}
