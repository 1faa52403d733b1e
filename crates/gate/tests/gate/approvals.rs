//! Approvals: bound to the exact action, decided by the right people, used once, expiring to denial.

use crate::world::{World, action, propose, read};
use gate::{ApproveError, NewToken, Refusal, Role, Verdict};
use journal::machine::{Approval, Call, SessionEvent};
use policy::{Effect, Idempotence, Principal, StopScope};
use serde_json::json;

async fn parked(world: &World, session: &str, step: &str, action: &policy::Action) -> String {
    match world.admit(session, step, action).await {
        Err(Refusal::Parked { approval, .. }) => approval,
        other => panic!("not parked: {other:?}"),
    }
}

async fn say(world: &World, name: &str, id: &str, verdict: Verdict) -> Result<Approval, ApproveError> {
    let caller = world.caller(name, &[Role::Approver]).await;
    world
        .gate
        .decide_approval(&caller, id, verdict, "because")
        .await
        .map(|view| view.state)
}

#[tokio::test]
async fn the_life_of_an_approval() {
    #[rustfmt::skip]
    let table = [
        // what happens                          what the identical action gets then   state at last
        ("",                                     "needs approval `ID`: a person reads the diff", Approval::Pending),
        ("approve",                              "permit",                                       Approval::Spent),
        ("deny",                                 "approval `ID` was denied: because",            Approval::Denied),
        ("approve deny",                         "approval `ID` was denied: because",            Approval::Denied),
        ("wait",                                 "approval `ID` was expired: nobody decided in time",                    Approval::Expired),
        ("wait timer",                           "approval `ID` was expired: nobody decided in time", Approval::Expired),
        ("approve wait",                         "approval `ID` was expired: it was approved, but not used in time",                    Approval::Expired),
        ("approve stop",                         "stopped by person:eve: halt",                  Approval::Approved),
        ("approve stop lift",                    "permit",                                       Approval::Spent),
        ("approve complete retry",               "needs approval `NEW`: a person reads the diff", Approval::Cancelled),
    ];
    for (events, answer, state) in table {
        let world = World::new().await;
        let session = world.running("triage").await;
        let id = parked(&world, &session, "steps/1", &propose("x")).await;
        for event in events.split_whitespace() {
            match event {
                "approve" => drop(say(&world, "alice", &id, Verdict::Approve).await.unwrap()),
                "deny" => drop(say(&world, "alice", &id, Verdict::Deny).await.unwrap()),
                "wait" => world.advance(10 * 60_000),
                "timer" => assert_eq!(world.gate.expire_approvals().await.unwrap().len(), 1),
                "stop" => drop(
                    world
                        .gate
                        .stop(&Principal::person("eve"), StopScope::All, "halt")
                        .await,
                ),
                "lift" => assert!(
                    world
                        .gate
                        .lift(&Principal::person("eve"), gate::EVERYWHERE, &StopScope::All, "")
                        .await
                        .unwrap()
                ),
                "complete" => world.drive(&session, SessionEvent::Complete).await,
                "retry" => {
                    world.drive(&session, SessionEvent::Retry).await;
                    world.drive(&session, SessionEvent::Start).await;
                }
                other => panic!("{other}"),
            }
        }
        let said = world.check(&session, "steps/1", &propose("x")).await;
        let newest = world.gate.approvals(9).unwrap().remove(0).id;
        assert_eq!(
            said,
            answer.replace("ID", &id).replace("NEW", &newest),
            "{events}"
        );
        assert_eq!(
            world.gate.approval(&id).unwrap().unwrap().state,
            state,
            "{events}"
        );
    }
}

#[tokio::test]
async fn who_may_decide() {
    let world = World::new().await;
    let session = world.running("triage").await;
    let (any, by_alice) = (propose("x"), propose("y"));
    let bobs = action(
        "db.drop",
        "db/orders",
        json!({}),
        Effect::Destructive,
        Idempotence::Once,
    );
    let any = parked(&world, &session, "any", &any).await;
    let bobs = parked(&world, &session, "bobs", &bobs).await;
    // A session that alice herself caused.
    world.caller("alice", &[Role::Operator]).await;
    let new = gate::NewSession {
        cause: Principal::person("alice"),
        ..crate::world::new_session("triage")
    };
    let own = world.gate.create_session(new).await.unwrap().0.id;
    world.drive(&own, SessionEvent::Start).await;
    let own = parked(&world, &own, "own", &by_alice).await;
    #[rustfmt::skip]
    let table: [(&str, &[Role], &str, &str); 10] = [
        ("viewer",   &[Role::Viewer],              &any,  "person:viewer is not an approver of this action"),
        ("operator", &[Role::Operator],            &any,  "person:operator is not an approver of this action"),
        ("auditor",  &[Role::Auditor],             &any,  "person:auditor is not an approver of this action"),
        ("alice",    &[Role::Approver],            &own,  "person:alice caused this action and cannot decide about it"),
        ("alice",    &[Role::Admin],               &own,  "person:alice caused this action and cannot decide about it"),
        ("alice",    &[Role::Admin],               &bobs, "person:alice is not an approver of this action"),
        ("bob",      &[Role::Viewer],              &bobs, "person:bob is not an approver of this action"),
        ("bob",      &[Role::Approver],            &bobs, "approved"),
        ("alice",    &[Role::Admin],               &any,  "approved"),
        ("carol",    &[Role::Approver],            "apr-9999", "no approval `apr-9999`"),
    ];
    for (name, roles, id, answer) in table {
        let caller = world.caller(name, roles).await;
        let said = match world
            .gate
            .decide_approval(&caller, id, Verdict::Approve, "ok")
            .await
        {
            Ok(view) => format!("{:?}", view.state).to_lowercase(),
            Err(error) => error.to_string(),
        };
        assert_eq!(said, answer, "{name} {roles:?} {id}");
    }
    let new = NewToken {
        principal: Principal::service("trigger/alerts"),
        roles: vec![Role::Trigger.into()],
        groups: Vec::new(),
        trigger: Some("alerts".into()),
        expires: None,
    };
    let (_, secret) = world
        .gate
        .create_token(&Principal::service("cofferdam"), new)
        .await
        .unwrap();
    let service = world
        .gate
        .identify(std::str::from_utf8(secret.expose()).unwrap())
        .unwrap();
    let said = world
        .gate
        .decide_approval(&service, &own, Verdict::Approve, "")
        .await
        .unwrap_err();
    assert_eq!(
        said.to_string(),
        "only a person decides; service:trigger/alerts is none"
    );
}

#[tokio::test]
async fn a_verdict_stands_and_repeating_it_changes_nothing() {
    let world = World::new().await;
    let session = world.running("triage").await;
    let id = parked(&world, &session, "a", &propose("x")).await;
    assert_eq!(
        say(&world, "alice", &id, Verdict::Approve).await.unwrap(),
        Approval::Approved
    );
    let size = world.bodies("approval.approved").len();
    assert_eq!(
        say(&world, "alice", &id, Verdict::Approve).await.unwrap(),
        Approval::Approved
    );
    assert_eq!(world.bodies("approval.approved").len(), size);
    let other = say(&world, "bob", &id, Verdict::Approve)
        .await
        .unwrap_err()
        .to_string();
    assert_eq!(other, "`approve` cannot happen to an approval that is `approved`");
    assert_eq!(world.check(&session, "a", &propose("x")).await, "permit");
    assert_eq!(
        say(&world, "alice", &id, Verdict::Approve).await.unwrap(),
        Approval::Spent
    );
    let late = say(&world, "alice", &id, Verdict::Deny)
        .await
        .unwrap_err()
        .to_string();
    assert_eq!(late, "`deny` cannot happen to an approval that is `spent`");
    // A verdict that comes too late is refused, and the expiry is recorded.
    let id = parked(&world, &session, "b", &propose("y")).await;
    world.advance(600_000);
    let late = say(&world, "alice", &id, Verdict::Approve)
        .await
        .unwrap_err()
        .to_string();
    assert_eq!(late, "`approve` cannot happen to an approval that is `expired`");
    assert_eq!(
        world.gate.approval(&id).unwrap().unwrap().state,
        Approval::Expired
    );
}

#[tokio::test]
async fn an_approval_is_of_one_action_in_one_session() {
    let world = World::new().await;
    let (one, two) = (world.running("triage").await, world.running("triage").await);
    let id = parked(&world, &one, "a", &propose("x")).await;
    say(&world, "alice", &id, Verdict::Approve).await.unwrap();
    for (name, session, action) in [
        ("another argument", &one, propose("y")),
        ("another session", &two, propose("x")),
        (
            "another effect",
            &one,
            action(
                "git.propose",
                "repository/shop",
                json!({"title": "x"}),
                Effect::Destructive,
                Idempotence::Idempotent,
            ),
        ),
        (
            "another resource",
            &one,
            action(
                "git.propose",
                "repository/other",
                json!({"title": "x"}),
                Effect::Write,
                Idempotence::Idempotent,
            ),
        ),
    ] {
        let other = parked(&world, session, "b", &action).await;
        assert_ne!(other, id, "{name}");
    }
    // The very same action uses it, at whichever step, once.
    assert_eq!(world.check(&one, "c", &propose("x")).await, "permit");
    assert_ne!(parked(&world, &one, "d", &propose("x")).await, id);
    let permitted = world.bodies("action.permitted").pop().unwrap();
    assert_eq!(permitted["approval"], json!(id));
}

#[tokio::test]
async fn of_many_who_spend_one_approval_exactly_one_wins() {
    let world = World::new().await;
    let session = world.running("triage").await;
    let id = parked(&world, &session, "steps/0", &propose("x")).await;
    say(&world, "alice", &id, Verdict::Approve).await.unwrap();
    let mut set = tokio::task::JoinSet::new();
    for step in 0..16 {
        let (gate, session, step) = (world.gate.clone(), session.clone(), format!("steps/{step}"));
        set.spawn(async move {
            gate.admit(gate::Proposal {
                session,
                step,
                action: propose("x"),
            })
            .await
        });
    }
    let (permits, refusals): (Vec<_>, Vec<_>) = set.join_all().await.into_iter().partition(Result::is_ok);
    assert_eq!((permits.len(), refusals.len()), (1, 15));
    // The others asked for one more approval, together.
    let again: std::collections::BTreeSet<String> = refusals
        .into_iter()
        .map(|refusal| refusal.unwrap_err().to_string())
        .collect();
    assert_eq!(again.len(), 1, "{again:?}");
    assert_eq!(world.bodies("approval.requested").len(), 2);
    assert_eq!(world.bodies("action.permitted").len(), 1);
}

#[tokio::test]
async fn of_many_who_ask_at_once_one_approval_comes() {
    let world = World::new().await;
    let session = world.running("triage").await;
    let mut set = tokio::task::JoinSet::new();
    for step in 0..8 {
        let (gate, session, step) = (world.gate.clone(), session.clone(), format!("steps/{step}"));
        set.spawn(async move {
            gate.admit(gate::Proposal {
                session,
                step,
                action: propose("x"),
            })
            .await
            .map(drop)
        });
    }
    for answer in set.join_all().await {
        assert!(matches!(answer, Err(Refusal::Parked { .. })), "{answer:?}");
    }
    assert_eq!(world.bodies("approval.requested").len(), 1);
}

#[tokio::test]
async fn what_waits_survives_a_restart() {
    let world = World::new().await;
    let session = world.running("triage").await;
    let pending = parked(&world, &session, "a", &propose("x")).await;
    let approved = parked(&world, &session, "b", &propose("y")).await;
    say(&world, "alice", &approved, Verdict::Approve).await.unwrap();
    let world = world.reopened().await;
    let shown: Vec<_> = world
        .gate
        .approvals(9)
        .unwrap()
        .into_iter()
        .map(|view| (view.id, view.state))
        .collect();
    assert_eq!(
        shown,
        [
            (pending.clone(), Approval::Pending),
            (approved, Approval::Approved)
        ]
    );
    let view = world.gate.approval(&pending).unwrap().unwrap();
    assert_eq!(view.action.unwrap()["arguments"], json!({ "title": "x" }));
    assert_eq!(parked(&world, &session, "a", &propose("x")).await, pending);
    assert_eq!(world.check(&session, "b", &propose("y")).await, "permit");
}

#[tokio::test]
async fn a_step_that_asks_for_something_else_withdraws_its_question() {
    let world = World::new().await;
    let session = world.running("triage").await;
    let first = parked(&world, &session, "a", &propose("x")).await;
    let second = parked(&world, &session, "a", &propose("y")).await;
    let states = [&first, &second].map(|id| world.gate.approval(id).unwrap().unwrap().state);
    assert_eq!(states, [Approval::Cancelled, Approval::Pending]);
    let call = world.gate.call(&session, "a").unwrap().unwrap();
    assert_eq!(
        (call.state, call.approval, call.decision.as_str()),
        (Call::Parked, Some(second), "require_approval")
    );
}

#[tokio::test]
async fn the_end_of_a_session_cancels_what_it_waits_for() {
    for event in [SessionEvent::Complete, SessionEvent::Fail, SessionEvent::Cancel] {
        let world = World::new().await;
        let session = world.running("triage").await;
        let id = parked(&world, &session, "a", &propose("x")).await;
        assert_eq!(world.check(&session, "b", &read("a")).await, "permit");
        world.drive(&session, event).await;
        assert_eq!(
            world.gate.approval(&id).unwrap().unwrap().state,
            Approval::Cancelled,
            "{event:?}"
        );
        let late = say(&world, "alice", &id, Verdict::Approve).await.unwrap_err();
        assert_eq!(
            late.to_string(),
            "`approve` cannot happen to an approval that is `cancelled`"
        );
    }
}

#[tokio::test]
async fn a_clock_that_goes_back_gives_an_approval_no_more_time() {
    for approved in [false, true] {
        let world = World::new().await;
        let session = world.running("triage").await;
        let id = parked(&world, &session, "a", &propose("x")).await;
        if approved {
            say(&world, "alice", &id, Verdict::Approve).await.unwrap();
        }
        world.advance(9 * 60_000);
        assert!(world.gate.expire_approvals().await.unwrap().is_empty());
        world
            .clock
            .set(policy::Timestamp::from_ms(crate::world::START_MS));
        world.advance(60_000);
        let late = say(&world, "alice", &id, Verdict::Approve).await.unwrap_err();
        assert_eq!(
            late.to_string(),
            "`approve` cannot happen to an approval that is `expired`",
            "approved: {approved}"
        );
        let said = world.check(&session, "a", &propose("x")).await;
        assert!(
            said.starts_with(&format!("approval `{id}` was expired")),
            "{said}"
        );
    }
}

/// Somebody else's entry, which tells the time of the machine's clock.
async fn note_the_time(world: &World) {
    drop(world.running("triage").await);
}

#[tokio::test]
async fn a_clock_that_goes_back_before_a_restart_gives_an_approval_no_more_time() {
    let start = |minutes: i64| policy::Timestamp::from_ms(crate::world::START_MS).plus_ms(minutes * 60_000);
    #[rustfmt::skip]
    let table = [
        // what happens before a restart                    which clock the next start finds    seconds left then
        ("9 minutes, back an hour, a minute less",          None,                               1),
        ("9 minutes, back an hour, restart, a minute less", None,                               1),
        ("4 minutes, back an hour, 5 minutes, back a day, a minute less", None,                 1),
        ("9 minutes, back an hour, a minute less",          Some(start(9)),                     1),
        ("4 minutes, back an hour, put right, 5 minutes",   None,                               60),
    ];
    for (events, found, left) in table {
        let mut world = World::new().await;
        let session = world.running("triage").await;
        let id = parked(&world, &session, "a", &propose("x")).await;
        for event in events.split(", ") {
            match event {
                "4 minutes" => world.advance(4 * 60_000),
                "5 minutes" => world.advance(5 * 60_000),
                "9 minutes" => world.advance(9 * 60_000),
                "a minute less" => world.advance(59_000),
                "back an hour" => world.clock.set(start(-60)),
                "back a day" => world.clock.set(start(-24 * 60)),
                "put right" => world.clock.set(start(4)),
                "restart" => world = world.reopened().await,
                other => panic!("{other}"),
            }
            note_the_time(&world).await;
        }
        if let Some(found) = found {
            world.clock.set(found);
        }
        let world = world.reopened().await;
        world.advance(left * 1_000 - 1);
        assert!(
            world.gate.expire_approvals().await.unwrap().is_empty(),
            "{events}"
        );
        world.advance(1);
        let expired = world.gate.expire_approvals().await.unwrap();
        assert_eq!(expired.first().map(|view| &view.id), Some(&id), "{events}");
    }
}

#[tokio::test]
async fn to_ask_is_bounded_like_to_act() {
    let bounded = |session, minute| {
        let mut held = crate::world::agent(policy::Level::L3);
        held.bounds = gate::Bounds {
            actions_per_session: session,
            actions_per_minute: minute,
            ..gate::Bounds::default()
        };
        crate::world::authority(&crate::world::rules(), &[("triage", held)])
    };
    for (authority, answer) in [
        (
            bounded(3, 9),
            "bound reached: actions per session is limited to 3",
        ),
        (bounded(9, 3), "bound reached: actions per minute is limited to 3"),
    ] {
        let world = World::with(authority).await;
        let session = world.running("triage").await;
        let ids = [
            parked(&world, &session, "0", &propose("0")).await,
            parked(&world, &session, "1", &propose("1")).await,
            parked(&world, &session, "2", &propose("2")).await,
        ];
        // The same question again asks nothing new.
        assert_eq!(parked(&world, &session, "2", &propose("2")).await, ids[2]);
        assert_eq!(world.check(&session, "3", &propose("3")).await, answer);
        let world = world.reopened().await;
        assert_eq!(world.check(&session, "4", &propose("4")).await, answer);
        assert_eq!(world.bodies("approval.requested").len(), 3);
        // What was approved may still be done.
        say(&world, "alice", &ids[0], Verdict::Approve).await.unwrap();
        world.advance(60_000);
        assert_eq!(world.check(&session, "0", &propose("0")).await, "permit");
    }
}

#[tokio::test]
async fn a_rule_that_asks_for_somebody_else_outdates_an_approval() {
    let ask = |approvers: &[&str]| json!({ "match": { "verbs": ["git.propose"] }, "outcome": "require_approval", "approvers": approvers });
    let world = World::with(crate::world::authority(
        &json!({ "rules": [ask(&["alice", "bob"])] }),
        &[("triage", crate::world::agent(policy::Level::L3))],
    ))
    .await;
    let session = world.running("triage").await;
    let first = parked(&world, &session, "a", &propose("x")).await;
    say(&world, "alice", &first, Verdict::Approve).await.unwrap();
    let mut named = [ask(&["alice", "bob"]), ask(&["bob", "security"])];
    for (n, rule) in named.iter_mut().enumerate() {
        rule["name"] = json!(format!("rule-{n}"));
    }
    world.gate.restore(crate::world::authority(
        &json!({ "rules": named }),
        &[("triage", crate::world::agent(policy::Level::L3))],
    ));
    let second = parked(&world, &session, "a", &propose("x")).await;
    assert_ne!(second, first);
    let states = [&first, &second].map(|id| world.gate.approval(id).unwrap().unwrap().state);
    assert_eq!(states, [Approval::Cancelled, Approval::Pending]);
    // One who is in one list only satisfies one rule only.
    for (name, state) in [("alice", Approval::Pending), ("security", Approval::Approved)] {
        assert_eq!(
            say(&world, name, &second, Verdict::Approve).await.unwrap(),
            state,
            "{name}"
        );
    }
    assert_eq!(world.check(&session, "a", &propose("x")).await, "permit");
}
