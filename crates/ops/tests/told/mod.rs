//! Who is told of approvals, of odd behaviour and of levels of risk, through real channels.

use crate::world::{World, webhook};
use crate::{reads, writes};
use gate::{Role, Verdict};
use ops::incident::Status;
use policy::Principal;
use serde_json::{Value, json};
use std::time::Duration;

/// The bodies that came, in order.
fn letters(world: &World) -> Vec<Value> {
    let letters = world.outside.letters.lock().unwrap();
    letters
        .iter()
        .map(|(_, body)| serde_json::from_slice(body).unwrap())
        .collect()
}

/// A world whose agent waits for a person, and tells `channels` of it.
async fn waiting(token: &str, channels: &[&str]) -> (World, String) {
    waiting_for(json!([]), token, channels).await
}

/// The same, with these approvers.
async fn waiting_for(approvers: Value, token: &str, channels: &[&str]) -> (World, String) {
    let world = World::start(reads(), json!({})).await;
    let told = channels.iter().map(|&name| name.to_owned()).collect();
    world.gate.tell_through([("triage".to_owned(), told)].into());
    *world.approvers.lock().unwrap() = approvers;
    let hook = webhook(world.root.path(), &format!("{}/letters", world.outside.address));
    let dead = webhook(world.root.path(), "http://127.0.0.1:9/dead");
    let switch = format!("{}/switch?token={token}", world.outside.address);
    let log = json!({"type": "log"});
    world.configure_to(
        writes(&switch),
        json!({"hook": hook, "dead": dead, "log": log}),
        &[],
    );
    world.notify("firing", "critical").await;
    let id = world
        .eventually("asked", || {
            Some(world.gate.approvals(1).unwrap().first()?.id.clone())
        })
        .await;
    (world, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn approvers_are_told_what_is_asked_and_what_became_of_it() {
    let token = "ghp_0123456789abcdefghijABCDEFGHIJ012345";
    let (world, id) = waiting(token, &["hook", "log"]).await;
    world
        .eventually("told", || (world.kinds("channel.told").len() == 2).then_some(()))
        .await;
    let bob = world.caller(Principal::person("bob"), Role::Approver).await;
    world
        .gate
        .decide_approval(&bob, &id, Verdict::Deny, "not today")
        .await
        .unwrap();
    world
        .eventually("told again", || {
            (world.kinds("channel.told").len() == 4).then_some(())
        })
        .await;
    let letters = letters(&world);
    let events: Vec<&Value> = letters.iter().map(|letter| &letter["event"]).collect();
    assert_eq!(events, ["approval.requested", "approval.denied"]);
    let asked = &letters[0]["approval"];
    let number = id.strip_prefix("apr-").unwrap();
    assert_eq!(letters[0]["delivery"], json!(format!("{id}/{number}/hook")));
    assert_eq!(
        [
            &asked["id"],
            &asked["agent"],
            &asked["cause"],
            &asked["environment"],
            &asked["effect"]
        ],
        [
            &json!(id),
            &json!("agent:triage"),
            &json!("service:trigger/alerts"),
            &json!("production"),
            &json!("write")
        ]
    );
    assert_eq!(asked["on_behalf_of"], json!(["agent:triage"]));
    assert_eq!(asked["waits_for"], "someone who may approve");
    assert_eq!(
        asked["commands"]["approve"],
        json!(format!("cofferdam approvals approve {id} --reason WHY"))
    );
    for name in ["action", "reason", "rule", "expires"] {
        assert!(asked[name].is_string(), "{name}: {asked}");
    }
    assert_eq!(
        letters[1]["came"],
        json!({"by": "person:bob", "reason": "not today"})
    );
    assert_eq!(letters[1]["approval"]["commands"], Value::Null);
    let all = json!(letters).to_string();
    assert!(!all.contains(token), "no argument's secret: {all}");
}

/// Whom a vote leaves it waiting for, and nobody who has answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_vote_tells_whom_it_waits_for_now() {
    let stages = json!([{"any": ["bob"]}, {"any": ["cyd", "dan"], "count": 2}]);
    let (world, id) = waiting_for(stages, "x", &["hook"]).await;
    let told = |count: usize| (world.kinds("channel.told").len() == count).then_some(());
    world.eventually("asked", || told(1)).await;
    for (at, name) in ["bob", "cyd", "dan"].into_iter().enumerate() {
        let caller = world.caller(Principal::person(name), Role::Approver).await;
        let said = world.gate.decide_approval(&caller, &id, Verdict::Approve, "fine");
        said.await.unwrap();
        world.eventually("told", || told(at + 2)).await;
    }
    let letters = letters(&world);
    let waits: Vec<&Value> = letters
        .iter()
        .map(|letter| &letter["approval"]["waits_for"])
        .collect();
    assert_eq!(
        waits,
        [
            &json!("bob, then 2 of cyd or dan"),
            &json!("2 of cyd or dan"),
            &json!("1 more of cyd or dan"),
            &Value::Null
        ]
    );
    let action = letters[1]["approval"]["action"].as_str().unwrap();
    assert_eq!(
        letters[1]["text"],
        format!("{id}: person:bob approved {action}: fine; it waits for 2 of cyd or dan now")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_channel_keeps_nobody_waiting_and_is_tried_again_after_a_restart() {
    let (world, id) = waiting("x", &["dead"]).await;
    let failed = |count: usize| (world.kinds("channel.not_told").len() == count).then_some(());
    world.eventually("a failure", || failed(1)).await;
    // The question stands and is answered while the channel is dead.
    let bob = world.caller(Principal::person("bob"), Role::Approver).await;
    world
        .gate
        .decide_approval(&bob, &id, Verdict::Approve, "go")
        .await
        .unwrap();
    world.runtime.wake();
    world
        .until("done", |incident| incident.status == Status::Triaged)
        .await;
    let world = world.restart().await;
    world.clock.advance(Duration::from_secs(3600));
    let hook = webhook(world.root.path(), &format!("{}/letters", world.outside.address));
    world.configure_to(reads(), json!({"dead": hook}), &[]);
    world.run().await;
    world
        .eventually("told", || (world.kinds("channel.told").len() >= 2).then_some(()))
        .await;
    let mut told: Vec<String> = letters(&world)
        .iter()
        .map(|letter| letter["delivery"].to_string())
        .collect();
    let all = told.len();
    told.sort();
    told.dedup();
    assert_eq!(told.len(), all, "each once: {told:?}");
}

/// What a channel is told of an entry with this body.
async fn told_of(kind: &'static str, body: Value) -> Value {
    let world = World::start(reads(), json!({})).await;
    world
        .gate
        .tell_through([("triage".to_owned(), vec!["hook".to_owned()])].into());
    let hook = webhook(world.root.path(), &format!("{}/letters", world.outside.address));
    world.configure_to(reads(), json!({"hook": hook}), &[]);
    let entry = store::NewEntry::new(kind, Principal::service("cofferdam"), body);
    world
        .gate
        .store()
        .write::<_, store::StoreError, _>(move |tx| tx.append(entry))
        .await
        .unwrap();
    world
        .eventually("told", || (world.kinds("channel.told").len() == 1).then_some(()))
        .await;
    letters(&world).remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_is_nearly_or_all_used_up_is_told() {
    let spent = |percent: Value| {
        json!({"budget": "day", "account": "day/2026-11-27/all", "unit": "money", "used": 4_500_000,
        "limit": 5_000_000, "percent": percent, "channels": ["hook"]})
    };
    #[rustfmt::skip]
    let table = [
        ("budget.alerted", spent(json!(90)), "budget day is used or reserved to 90 % ($4.50 of $5.00, account day/2026-11-27/all)"),
        ("budget.exhausted", spent(Value::Null),
         "budget day is used up ($4.50 of $5.00, account day/2026-11-27/all): what it pays for is refused; `cofferdam budget raise day --account day/2026-11-27/all` lets it go on"),
    ];
    for (kind, body, expected) in table {
        let told = told_of(kind, body).await;
        assert_eq!(
            (&told["event"], &told["about"]),
            (&json!(kind), &json!("budget:day"))
        );
        assert_eq!(told["text"], expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_behaviour_and_levels_of_risk_are_told() {
    let risk = |from: &str, to: &str, score: u16, because: Value| json!({"agent": "triage", "from": from, "to": to, "score": score, "because": because, "channels": ["hook"]});
    #[rustfmt::skip]
    let table = [
        ("anomaly.detected",
         json!({"agent": "triage", "rule": "sensitive_access", "severity": 50, "finding": "read secret/db", "suspends": true,
            "channels": ["hook"]}),
         "agent triage behaves oddly (sensitive_access): read secret/db; it is stopped: `cofferdam kill lift --agent triage --reason WHY` ends that"),
        ("risk.changed", risk("low", "medium", 520, json!(["forbidden git.push", "stopped"])),
         "risk of agent triage is medium (520 of 1000 safe), low before; lately: forbidden git.push, stopped; it says why: `cofferdam trust risk triage`"),
        ("risk.changed", risk("high", "critical", 160, json!(["stopped"])),
         "risk of agent triage is critical (160 of 1000 safe), high before; lately: stopped; look at it now: `cofferdam trust risk triage`"),
        ("risk.changed", risk("medium", "low", 775, json!([])),
         "risk of agent triage is low (775 of 1000 safe), medium before; it is safer than it was: `cofferdam trust risk triage`"),
    ];
    for (kind, body, expected) in table {
        let told = told_of(kind, body).await;
        assert_eq!(
            (&told["event"], &told["about"]),
            (&json!(kind), &json!("agent:triage"))
        );
        assert_eq!(told["text"], expected);
    }
}
