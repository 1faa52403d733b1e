//! Elevations: who may raise whom, what it changes, and everything that ends it.

use crate::trust::{sponsored, with_document, world_of};
use crate::world::{World, action, agent, authority, new_session, read, rules};
use gate::{
    AgentAuthority, Caller, ElevateError, ElevationState, ElevationView, NewElevation, Proposal, Refusal,
    Role,
};
use journal::machine::SessionEvent;
use policy::{Action, AgentEvent, Effect, Idempotence, Level, Principal, Ring, StopScope, Verb};
use serde_json::{Value, json};

/// Posts to a channel of an environment: `channel.post` is permitted by a rule.
fn post_in(environment: &str) -> Action {
    let verb = Verb::new("channel.post").unwrap();
    let environment = policy::Environment::new(environment).unwrap();
    let arguments = json!({"text": environment.as_str()});
    Action::new(
        verb,
        "channel/log",
        arguments,
        environment,
        Effect::Write,
        Idempotence::Once,
    )
    .unwrap()
}

fn asked(to: Level) -> NewElevation {
    NewElevation {
        agent: "triage".to_owned(),
        to,
        seconds: 300,
        reason: "the shop is down".to_owned(),
    }
}

async fn bob(world: &World) -> Caller {
    world.caller("bob", &[Role::Operator]).await
}

async fn raised(world: &World, to: Level) -> ElevationView {
    let bob = bob(world).await;
    world.gate.elevate(&bob, asked(to)).await.unwrap()
}

/// What `triage` is told in a new session that `cause` causes.
async fn said_to(world: &World, cause: &Principal, action: &Action) -> String {
    let mut new = new_session("triage");
    new.cause = cause.clone();
    new.idempotency_key = None;
    let (session, _) = world.gate.create_session(new).await.unwrap();
    world.drive(&session.id, SessionEvent::Start).await;
    world.check(&session.id, "a", action).await
}

async fn said(world: &World, action: &Action) -> String {
    said_to(world, &Principal::service("trigger/alerts"), action).await
}

/// An agent that only reads, and is trusted as much as can be.
async fn reader() -> World {
    with_document(authority(&rules(), &[("triage", agent(Level::L1))])).await
}

const READ_ONLY: &str = "denied: autonomy level L1 is read-only here";

#[tokio::test]
async fn it_raises_the_level_outside_production_and_the_record_names_it() {
    let world = reader().await;
    assert_eq!(said(&world, &post_in("staging")).await, READ_ONLY);
    let view = raised(&world, Level::L3).await;
    assert_eq!(
        (
            view.state,
            view.from,
            view.to,
            view.by.as_str(),
            view.trust,
            view.floor
        ),
        (ElevationState::Active, Level::L1, Level::L3, "bob", 1000, 850)
    );
    assert_eq!(said(&world, &post_in("staging")).await, "permit");
    assert_eq!(said(&world, &post_in("production")).await, READ_ONLY);
    assert_eq!(
        said(&world, &post_in("prod-eu")).await,
        READ_ONLY,
        "another production"
    );
    let named = |body: &Value| (body["level"].clone(), body["elevation"].clone());
    let permitted = world.bodies("action.permitted").remove(0);
    assert_eq!(named(&permitted), (json!("L3"), json!(view.id)));
    let denied = world.bodies("action.denied").pop().unwrap();
    assert_eq!(
        named(&denied),
        (json!("L1"), Value::Null),
        "it changes nothing there"
    );
    assert_eq!(world.gate.pace("triage").unwrap().unwrap().ring, Ring::R0);

    let line = |environment| {
        let explained = world.gate.explain("triage", &post_in(environment)).unwrap();
        let line = explained
            .lines
            .into_iter()
            .find(|line| line.step == "elevation")
            .unwrap();
        (explained.outcome, line.subject, line.matched)
    };
    assert_eq!(line("staging"), ("permit", view.id.clone(), true));
    assert_eq!(line("production"), ("deny", view.id.clone(), false));

    let world = world.reopened().await;
    assert_eq!(world.gate.elevation("triage").unwrap(), Some(view));
    assert_eq!(
        said(&world, &post_in("staging")).await,
        "permit",
        "also after a start"
    );
}

#[tokio::test]
async fn what_asks_a_person_asks_and_names_it() {
    let world = world_of(&rules(), sponsored(Level::L0)).await;
    let view = raised(&world, Level::L2).await;
    assert_eq!((view.trust, view.floor), (600, 500));
    let refused = said(&world, &post_in("staging")).await;
    assert!(
        refused.ends_with("level L2 asks for each write action"),
        "{refused}"
    );
    let asked = world.bodies("approval.requested").remove(0);
    assert_eq!(
        (&asked["level"], &asked["elevation"]),
        (&json!("L2"), &json!(view.id))
    );
    assert_eq!(
        world.gate.pace("triage").unwrap().unwrap().ring,
        Ring::R2,
        "it acts faster meanwhile"
    );
}

#[tokio::test]
async fn six_reasons_not_to() {
    let world = world_of(&rules(), sponsored(Level::L2)).await;
    let (alice, eve) = (
        world.caller("alice", &[Role::Admin]).await,
        world
            .caller("eve", &[Role::Viewer, Role::Approver, Role::Auditor])
            .await,
    );
    let bob = bob(&world).await;
    let silent = NewElevation {
        reason: " ".to_owned(),
        ..asked(Level::L3)
    };
    let table = [
        (
            "unattended",
            &bob,
            asked(Level::L4),
            "forbidden_level: L4 is given by no elevation: L2 and L3 are",
        ),
        (
            "to read",
            &bob,
            asked(Level::L1),
            "forbidden_level: L1 is given by no elevation: L2 and L3 are",
        ),
        (
            "what it has",
            &bob,
            asked(Level::L2),
            "not_higher: agent `triage` has that level already, or more, wherever an elevation reaches: nowhere in production",
        ),
        (
            "too little trust",
            &bob,
            asked(Level::L3),
            "insufficient_trust: it takes a score of 850, and agent `triage` has 600",
        ),
        (
            "its sponsor",
            &alice,
            asked(Level::L3),
            "not_attested: who sponsors the agent does not judge it as well: somebody else has to sign",
        ),
        (
            "no operator",
            &eve,
            asked(Level::L3),
            "not_attested: an elevation is signed by a person who is admin or operator",
        ),
        (
            "no reason",
            &bob,
            silent,
            "not_attested: say why: whoever looks at it later wants to know",
        ),
    ];
    let before = world.kinds();
    for (name, caller, new, expected) in table {
        let error = world.gate.elevate(caller, new).await.unwrap_err();
        assert_eq!(format!("{}: {error}", error.code().unwrap()), expected, "{name}");
    }
    let odd = |seconds| NewElevation {
        seconds,
        ..asked(Level::L3)
    };
    for seconds in [0, 3601] {
        let error = world.gate.elevate(&bob, odd(seconds)).await.unwrap_err();
        assert!(matches!(error, ElevateError::Seconds), "{error}");
    }
    let nobody = NewElevation {
        agent: "nobody".to_owned(),
        ..asked(Level::L3)
    };
    assert!(matches!(
        world.gate.elevate(&bob, nobody).await,
        Err(ElevateError::Unknown(_))
    ));
    assert_eq!(world.kinds(), before, "nothing is recorded of what is not done");

    let world = reader().await;
    let bob = self::bob(&world).await;
    let first = world.gate.elevate(&bob, asked(Level::L2)).await.unwrap();
    let error = world.gate.elevate(&bob, asked(Level::L3)).await.unwrap_err();
    assert_eq!(
        (error.code(), error.to_string()),
        (
            Some("already_elevated"),
            format!("`{}` is active: lower it first", first.id)
        )
    );
    // One whose time is over is no hindrance, also before anybody recorded that.
    world.advance(300_000);
    world.gate.elevate(&bob, asked(Level::L3)).await.unwrap();

    let eve = Principal::person("eve");
    world
        .gate
        .stop(&eve, StopScope::Agent("triage".into()), "odd")
        .await;
    let error = world.gate.elevate(&bob, asked(Level::L3)).await.unwrap_err();
    assert_eq!(
        (error.code(), error.to_string()),
        (
            Some("not_active"),
            "agent `triage` does not act now: it is stopped by person:eve: odd".to_owned()
        )
    );
}

#[tokio::test]
async fn nobody_raises_what_they_caused() {
    let world = reader().await;
    let bob = bob(&world).await;
    world.caller("carol", &[Role::Operator]).await;
    world.gate.elevate(&bob, asked(Level::L3)).await.unwrap();
    let caused_by = async |name: &str| said_to(&world, &Principal::person(name), &post_in("staging")).await;
    assert_eq!(caused_by("carol").await, "permit");
    assert_eq!(caused_by("bob").await, READ_ONLY);
}

#[tokio::test]
async fn it_ends_by_itself_and_by_everything_that_should_end_it() {
    let eve = Principal::person("eve");
    let of_agent = StopScope::Agent("triage".into());
    let table: [(&str, ElevationState, &str); 8] = [
        ("time", ElevationState::Expired, "its time is over"),
        ("lowered", ElevationState::Lowered, "done"),
        ("stop", ElevationState::Void, "stop of `agent:triage`"),
        ("stop of all", ElevationState::Void, "stop of `all`"),
        ("suspended", ElevationState::Void, "agent `triage` was suspended"),
        ("its giver left", ElevationState::Void, "who granted it has left"),
        (
            "its giver was demoted",
            ElevationState::Void,
            "who granted it is neither admin nor operator there any more",
        ),
        (
            "its giver sponsors now",
            ElevationState::Void,
            "who granted it sponsors the agent now",
        ),
    ];
    for (what, state, why) in table {
        let world = reader().await;
        let bob = bob(&world).await;
        let view = world.gate.elevate(&bob, asked(Level::L3)).await.unwrap();
        assert_eq!(said(&world, &post_in("staging")).await, "permit", "{what}");
        match what {
            "time" => {
                world.advance(299_999);
                assert_eq!(said(&world, &post_in("staging")).await, "permit");
                // The wall clock goes back, and the time by which things end does not.
                world
                    .clock
                    .set(policy::Timestamp::from_ms(crate::world::START_MS - 86_400_000));
                world.advance(1);
            }
            "lowered" => drop(world.gate.lower(&eve, "triage", "done").await.unwrap()),
            "stop" | "stop of all" => {
                let scope = if what == "stop" {
                    of_agent.clone()
                } else {
                    StopScope::All
                };
                world.gate.stop(&eve, scope.clone(), "odd").await;
                world
                    .gate
                    .lift(&eve, gate::EVERYWHERE, &scope, "seen")
                    .await
                    .unwrap();
            }
            "suspended" => {
                for event in [AgentEvent::Suspend, AgentEvent::Resume] {
                    world
                        .gate
                        .agent_event(&eve, gate::EVERYWHERE, "triage", event, "odd", None)
                        .await
                        .unwrap();
                }
            }
            "its giver sponsors now" => {
                let held = AgentAuthority {
                    sponsor: "bob".to_owned(),
                    ..agent(Level::L1)
                };
                let change = gate::DocumentChange::Apply {
                    kind: "Agent".to_owned(),
                    name: "triage".to_owned(),
                    document: json!({"n": 2}),
                };
                let (generation, next) = (
                    world.gate.authority().generation,
                    authority(&rules(), &[("triage", held)]),
                );
                world
                    .gate
                    .install(&eve, gate::Owner::Api, generation, vec![change], next)
                    .await
                    .unwrap();
            }
            _ => {
                if what == "its giver was demoted" {
                    world.caller("bob", &[Role::Viewer]).await;
                }
                world.gate.revoke_token(&eve, bob.token()).await.unwrap();
            }
        }
        assert_eq!(said(&world, &post_in("staging")).await, READ_ONLY, "{what}");
        world.gate.expire_approvals().await.unwrap();
        let row: ElevationView =
            serde_json::from_str(&world.rows()[&format!("elevations:{}", view.id)]).unwrap();
        assert_eq!(
            (row.state, row.ended_because.as_deref()),
            (state, Some(why)),
            "{what}"
        );
        assert_eq!(world.gate.elevation("triage").unwrap(), None, "{what}");
    }
}

#[tokio::test]
async fn a_fall_of_trust_ends_it_at_once_and_for_good() {
    let world = world_of(&rules(), sponsored(Level::L0)).await;
    let view = raised(&world, Level::L2).await;
    let session = world.running("triage").await;
    let forbidden = action(
        "channel.post",
        "forbidden/x",
        json!({}),
        Effect::Write,
        Idempotence::Once,
    );
    let mut step = 0;
    while crate::trust::score(&world) >= 500 {
        step += 1;
        world.check(&session, &format!("{step}"), &forbidden).await;
    }
    assert!(world.gate.time() < view.expires);
    assert_eq!(
        said(&world, &post_in("staging")).await,
        "denied: autonomy level L0 is read-only here"
    );
    world.gate.expire_approvals().await.unwrap();
    let ended = world.bodies("elevation.ended").remove(0);
    assert_eq!(ended["state"], "void");
    let why = ended["reason"].as_str().unwrap();
    assert!(
        why.starts_with("trust fell to 4") && why.ends_with("; it takes 500"),
        "{why}"
    );
}

/// Between the decision and its commit somebody lowers it: it is decided again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_lowered_while_it_is_decided_is_decided_again() {
    let world = reader().await;
    raised(&world, Level::L3).await;
    let mut sessions = Vec::new();
    for _ in 0..20 {
        let mut new = new_session("triage");
        new.idempotency_key = None;
        let (session, _) = world.gate.create_session(new).await.unwrap();
        world.drive(&session.id, SessionEvent::Start).await;
        sessions.push(session.id);
    }
    let eve = Principal::person("eve");
    let mut tries = tokio::task::JoinSet::new();
    for session in sessions {
        let gate = std::sync::Arc::clone(&world.gate);
        tries.spawn(async move {
            let proposal = Proposal {
                session,
                step: "a".to_owned(),
                action: post_in("staging"),
            };
            match gate.admit(proposal).await {
                Ok(permit) => Ok(permit.entry()),
                Err(Refusal::Denied(denial)) => Err(denial.reason()),
                Err(other) => panic!("{other}"),
            }
        });
    }
    let (lowered, said) = tokio::join!(world.gate.lower(&eve, "triage", "enough"), tries.join_all());
    lowered.unwrap();
    let ended = world
        .entries()
        .into_iter()
        .find(|entry| entry.kind == "elevation.ended")
        .unwrap();
    for said in said {
        match said {
            Ok(entry) => assert!(entry < ended.sequence, "{entry} after {}", ended.sequence),
            Err(reason) => assert_eq!(reason, "autonomy level L1 is read-only here"),
        }
    }
}

/// It is of the agent that acts: who gets something passed on is not raised with its giver, nor its giver with it.
#[tokio::test]
async fn another_agent_is_not_raised() {
    let agents: [(&str, AgentAuthority); 2] = [("triage", agent(Level::L1)), ("reader", agent(Level::L1))];
    let world = World::with(authority(&rules(), &agents)).await;
    raised(&world, Level::L3).await;
    let session = world.running("reader").await;
    assert_eq!(world.check(&session, "a", &post_in("staging")).await, READ_ONLY);
    assert_eq!(world.check(&session, "b", &read("a")).await, "permit");
}
