//! How fast an agent may act, at the gate: refused with a reason and a time, counted and not written down over and over.

use crate::trust::{score, sponsored, world_of};
use crate::world::{World, action, agent, authority, post, read, rules};
use gate::{AgentAuthority, Bounds, Pace, Proposal, Refusal};
use policy::{Effect, Idempotence, Level, Rate, Ring};
use serde_json::json;

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
