//! How fast an agent may act, at the gate: refused with a reason and a time, counted and not written down over and over.

use crate::trust::{score, sponsored, world_of};
use crate::world::{World, action, agent, authority, post, read, rules};
use gate::{AgentAuthority, Bounds, Pace, Proposal, Refusal};
use policy::{Effect, Idempotence, Level, Principal, Rate, Ring, StopScope};
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn the_eleventh_of_eleven_quick_actions_in_ring_3_is_refused() {
    let world = world_of(&rules(), sponsored(Level::L0)).await;
    let session = world.running("triage").await;
    for step in 0..10 {
        let said = world.check(&session, &format!("{step}"), &read("a")).await;
        assert_eq!(said, "permit", "{step}");
    }
    let (before, trusted) = (world.kinds().len(), score(&world));
    for _ in 0..50 {
        match world.admit(&session, "eleventh", &read("a")).await {
            Err(Refusal::Bound {
                what,
                limit,
                retry_after_ms,
            }) => assert_eq!(
                (what, limit, retry_after_ms),
                ("actions per second in ring 3", 5, Some(200))
            ),
            other => panic!("{other:?}"),
        }
    }
    let denied = world.bodies("action.denied");
    assert_eq!(denied.len(), 1, "fifty refusals are one entry");
    assert_eq!(
        (&denied[0]["code"], &denied[0]["reason"], &denied[0]["remedy"]),
        (
            &json!("rate"),
            &json!("bound reached: actions per second in ring 3 is limited to 5"),
            &json!("try again in 200 ms, or raise the bound of the agent")
        )
    );
    assert_eq!(world.kinds().len(), before + 1);
    assert_eq!(score(&world), trusted, "haste alone moves no trust");
    world.advance(200);
    assert_eq!(world.check(&session, "eleventh", &read("a")).await, "permit");
}

/// What is refused for another reason counts as well, and what waits for its turn leaves no entry.
#[tokio::test]
async fn refused_actions_count_and_who_waits_is_not_recorded() {
    let world = world_of(&rules(), sponsored(Level::L0)).await;
    let session = world.running("triage").await;
    let ungranted = action("shell.run", "host/a", json!({}), Effect::Read, Idempotence::Once);
    for step in 0..10 {
        let said = world.check(&session, &format!("{step}"), &ungranted).await;
        assert!(said.starts_with("denied: agent:triage holds no grant"), "{said}");
    }
    let before = world.kinds().len();
    let proposal = Proposal {
        session: session.clone(),
        step: "in turn".to_owned(),
        action: read("a"),
    };
    match world.gate.admit_in_turn(proposal.clone()).await {
        Err(Refusal::Bound {
            retry_after_ms: Some(200),
            ..
        }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(world.kinds().len(), before);
    world.advance(200);
    assert!(world.gate.admit_in_turn(proposal).await.is_ok());
}

/// A client that does not try again by itself is kept waiting for its turn; not for ever, and not past a stop.
#[tokio::test]
async fn who_is_patient_gets_its_turn_or_is_refused_after_a_second() {
    let world = world_of(&rules(), sponsored(Level::L0)).await;
    let session = world.running("triage").await;
    for step in 0..10 {
        let said = world.check(&session, &format!("{step}"), &read("a")).await;
        assert_eq!(said, "permit", "{step}");
    }
    let before = world.kinds().len();
    let soon = |step: &str| {
        world.gate.admit_soon(Proposal {
            session: session.clone(),
            step: step.to_owned(),
            action: read("a"),
        })
    };
    // The gate's clock stands still until it is told: the turn does not come by itself.
    let mut waiting = Box::pin(soon("eleventh"));
    let early = tokio::time::timeout(Duration::from_millis(50), &mut waiting).await;
    assert!(early.is_err(), "{early:?}");
    assert_eq!(world.kinds().len(), before, "nothing is recorded of who waits");
    world.advance(200);
    waiting.await.unwrap();

    match soon("twelfth").await {
        Err(Refusal::Bound {
            what,
            limit,
            retry_after_ms,
        }) => assert_eq!(
            (what, limit, retry_after_ms),
            ("actions per second in ring 3", 5, Some(200))
        ),
        other => panic!("{other:?}"),
    }

    let codes: Vec<_> = world
        .bodies("action.denied")
        .into_iter()
        .map(|body| body["code"].clone())
        .collect();
    assert_eq!(codes, [json!("rate")], "refused once, and recorded");

    let mut waiting = Box::pin(soon("stopped"));
    let early = tokio::time::timeout(Duration::from_millis(50), &mut waiting).await;
    assert!(early.is_err(), "{early:?}");
    let eve = Principal::person("eve");
    let scope = StopScope::Agent("triage".into());
    world.gate.stop(&eve, scope, "odd").await;
    world.advance(200);
    match waiting.await {
        Err(Refusal::Stopped(stopped)) => assert_eq!(stopped.to_string(), "stopped by person:eve: odd"),
        other => panic!("{other:?}"),
    }
}

/// Who is stopped is told so, and not to try again in 200 ms.
#[tokio::test]
async fn a_stop_is_told_before_haste() {
    let world = world_of(&rules(), sponsored(Level::L0)).await;
    let session = world.running("triage").await;
    for step in 0..10 {
        let said = world.check(&session, &format!("{step}"), &read("a")).await;
        assert_eq!(said, "permit", "{step}");
    }
    let said = world.check(&session, "eleventh", &read("a")).await;
    assert_eq!(
        said,
        "bound reached: actions per second in ring 3 is limited to 5"
    );
    let eve = Principal::person("eve");
    world
        .gate
        .stop(&eve, StopScope::Agent("triage".into()), "odd")
        .await;
    let said = world.check(&session, "twelfth", &read("a")).await;
    assert_eq!(said, "stopped by person:eve: odd");
    let denied = world.bodies("action.denied").pop().unwrap();
    assert_eq!(denied["code"], "stopped");
}

#[tokio::test]
async fn the_ring_falls_and_rises_with_trust_and_documents_say_otherwise() {
    let pace = |ring, per_second, burst, left| Pace {
        ring,
        rate: Rate { per_second, burst },
        left,
    };
    let world = world_of(&rules(), sponsored(Level::L3)).await;
    // 600 is standard, which leaves L2 of it.
    assert_eq!(
        world.gate.pace("triage").unwrap(),
        Some(pace(Ring::R2, 20, 40, 40))
    );
    assert_eq!(world.gate.pace("nobody").unwrap(), None);
    let session = world.running("triage").await;
    for step in 0..30 {
        world.check(&session, &format!("{step}"), &read("a")).await;
    }
    assert_eq!(
        world.gate.pace("triage").unwrap(),
        Some(pace(Ring::R2, 20, 40, 10))
    );

    let told = AgentAuthority {
        bounds: Bounds {
            actions_per_second: 1.try_into().ok(),
            ..Bounds::default()
        },
        ..agent(Level::L3)
    };
    let world = World::with(authority(&rules(), &[("triage", told)])).await;
    let session = world.running("triage").await;
    let mut said = Vec::new();
    for step in 0..3 {
        said.push(world.check(&session, &format!("{step}"), &post("a")).await);
    }
    assert_eq!(said[1], "permit");
    assert_eq!(
        said[2],
        "bound reached: actions per second in ring 0 is limited to 1"
    );
    let explained = world.gate.explain("triage", &post("a")).unwrap();
    assert_eq!(
        (explained.outcome, explained.reason.as_str()),
        ("deny", "actions per second in ring 0 is limited to 1")
    );
    let line = explained
        .lines
        .iter()
        .find(|line| line.subject.ends_with("ring 0"))
        .unwrap();
    assert_eq!(
        (line.matched, line.finding.as_str()),
        (true, "0 at once now, of 2, and 1 a second")
    );
}
