//! Many actions of one session at once: none starves another, and what is bounded is bounded exactly.

use crate::world::{World, agent, authority, read, rules};
use gate::{Bounds, Proposal, Refusal};
use policy::Level;
use serde_json::{Value, json};

/// How many of so many actions that one session takes at once are permitted, and why the others are not.
async fn at_once(world: &World, session: &str, numbers: std::ops::Range<usize>) -> (usize, Vec<Refusal>) {
    let mut admissions = tokio::task::JoinSet::new();
    for number in numbers {
        let (gate, session) = (world.gate.clone(), session.to_owned());
        admissions.spawn(async move {
            let action = read(&format!("host-{number}"));
            let step = format!("egress/{number}");
            let permit = gate
                .admit(Proposal {
                    session,
                    step,
                    action,
                })
                .await?;
            drop(permit);
            Ok::<_, Refusal>(())
        });
    }
    let answers = admissions.join_all().await;
    let permitted = answers.iter().filter(|answer| answer.is_ok()).count();
    (permitted, answers.into_iter().filter_map(Result::err).collect())
}

async fn world(rules: &Value, actions_per_session: u32) -> (World, String) {
    let mut acting = agent(Level::L3);
    acting.bounds = Bounds {
        actions_per_session,
        actions_per_minute: 10_000,
        actions_per_second: 10_000.try_into().ok(),
        ..Bounds::default()
    };
    let world = World::with(authority(rules, &[("triage", acting)])).await;
    let session = world.running("triage").await;
    (world, session)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_hundred_at_once_are_all_permitted_and_the_bound_is_exact() {
    let (world, session) = world(&rules(), 200).await;
    let (permitted, refused) = at_once(&world, &session, 0..200).await;
    assert_eq!((permitted, refused.len()), (200, 0), "{refused:?}");
    let said = world.bodies("action.permitted");
    let mut counts: Vec<u64> = said
        .iter()
        .map(|body| body["actions"].as_u64().unwrap())
        .collect();
    counts.sort_unstable();
    assert_eq!(
        counts,
        (0..200).collect::<Vec<_>>(),
        "each says how many were before"
    );
    let (permitted, refused) = at_once(&world, &session, 200..220).await;
    let bound = |refusal: &Refusal| matches!(refusal, Refusal::Bound { limit: 200, .. });
    assert_eq!((permitted, refused.len()), (0, 20));
    assert!(refused.iter().all(bound), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_bound_that_is_met_at_once_lets_exactly_so_many_through() {
    let (world, session) = world(&rules(), 150).await;
    let (permitted, refused) = at_once(&world, &session, 0..200).await;
    assert_eq!((permitted, refused.len()), (150, 50), "{refused:?}");
    assert_eq!(world.gate.session(&session).unwrap().actions, 150);
}

/// Where a policy reads the count it is compared: however many come at once, no more get through than one
/// after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rule_that_counts_actions_counts_every_one() {
    let condition = json!({ "rules": [{
        "name": "few", "when": "session.actions >= 10", "outcome": "deny", "reason": "ten are enough",
    }] });
    let module =
        json!({ "rego": "package p\n\ndeny contains \"ten are enough\" if input.session.actions >= 10\n" });
    for rules in [condition, module] {
        let (world, session) = world(&rules, 1_000).await;
        let (mut permitted, _) = at_once(&world, &session, 0..40).await;
        assert!(permitted <= 10, "{permitted}");
        for number in 0..20 {
            let one = world
                .check(&session, &format!("steps/{number}"), &read("a"))
                .await;
            permitted += usize::from(one == "permit");
        }
        assert_eq!(permitted, 10);
    }
}
