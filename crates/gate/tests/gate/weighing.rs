//! What people set about trust: thresholds in a policy, and weights of dimensions in an agent's document.

use crate::trust::{fail, score, sponsored, with_document, world_of};
use crate::world::{World, authority, post, propose, read, rules};
use gate::{AgentAuthority, DocumentChange, Owner, TrustTerms};
use policy::trust::Weights;
use policy::{Level, PolicyDocument, PolicySet, Principal, Timestamp};
use serde_json::{Value, json};

/// The rules of the world under these thresholds.
fn cautious(thresholds: Value) -> Value {
    let mut rules = rules();
    rules["thresholds"] = thresholds;
    rules
}

#[tokio::test]
async fn a_threshold_refuses_names_itself_and_costs_no_trust() {
    let world = world_of(&cautious(json!({"set": "conservative"})), sponsored(Level::L3)).await;
    let session = world.running("triage").await;
    let asked = world.check(&session, "a", &propose("x")).await;
    assert!(
        asked.starts_with("needs approval"),
        "600 is enough to write: {asked}"
    );
    assert_eq!(
        world.check(&session, "b", &post("x")).await,
        "denied: trust 600 is below 700, the threshold of `policy/test#thresholds` for `email` actions"
    );
    let denied = world.bodies("action.denied").remove(0);
    assert_eq!(
        (&denied["code"], &denied["rule"], &denied["trust"]),
        (
            &json!("below_threshold"),
            &json!("policy/test#thresholds"),
            &json!(600)
        )
    );
    assert!(
        denied["remedy"]
            .as_str()
            .unwrap()
            .starts_with("it takes a score of 700"),
        "{denied}"
    );
    assert_eq!(score(&world), 600, "too little trust is no misconduct");
    fail(&world, &session, "c").await;
    assert_eq!(
        world.check(&session, "d", &propose("y")).await,
        "denied: trust 588 is below 600, the threshold of `policy/test#thresholds` for `write` actions"
    );
    assert_eq!(world.check(&session, "e", &read("b")).await, "permit");
    let explained = world.gate.explain("triage", &post("x")).unwrap();
    let line = explained.lines.iter().find(|line| line.step == "trust").unwrap();
    assert_eq!((explained.outcome, line.matched), ("deny", true), "{explained:?}");
    assert!(
        line.finding.starts_with("`email` actions take 700: trust is 6"),
        "{line:?}"
    );
}

/// Whoever thinks about thresholds can ask first what they would have refused.
#[tokio::test]
async fn thresholds_can_be_tried_on_the_past() {
    let world = world_of(&rules(), sponsored(Level::L3)).await;
    let session = world.running("triage").await;
    assert_eq!(world.check(&session, "a", &read("a")).await, "permit");
    assert_eq!(world.check(&session, "b", &read("b")).await, "permit");
    for (least, changed) in [(600, 0), (601, 1), (700, 2)] {
        let document: PolicyDocument = serde_json::from_value(cautious(json!({"read": least}))).unwrap();
        let policies = PolicySet::load(&[("test".to_owned(), document)]).unwrap();
        let replayed = world.gate.replay(Timestamp::from_ms(0), &policies).unwrap();
        let told = replayed.changed.get("permit → deny").copied().unwrap_or(0);
        assert_eq!((replayed.replayed, told), (2, changed), "{least}: {replayed:?}");
    }
}

fn weighed(weights: Option<Weights>) -> AgentAuthority {
    AgentAuthority {
        trust: TrustTerms {
            weights,
            ..sponsored(Level::L3).trust
        },
        ..sponsored(Level::L3)
    }
}

async fn apply(world: &World, generation: u64, weights: Option<Weights>) {
    let change = DocumentChange::Apply {
        kind: "Agent".to_owned(),
        name: "triage".to_owned(),
        document: json!({ "n": generation }),
    };
    let by = Principal::person("sam");
    let authority = authority(&rules(), &[("triage", weighed(weights))]);
    let installing = world
        .gate
        .install(&by, Owner::Api, generation, vec![change], authority);
    assert_eq!(installing.await.unwrap(), generation + 1);
}

/// A failure costs 12 points by the weights of the guide, and 24 where quality counts twice as much.
#[tokio::test]
async fn weights_count_from_the_document_that_tunes_them_and_a_rebuild_counts_alike() {
    let twice = Weights {
        quality: 40,
        policy: 15,
        security: 15,
        ..Weights::default()
    };
    let world = with_document(authority(&rules(), &[("triage", weighed(None))])).await;
    let session = world.running("triage").await;
    fail(&world, &session, "a").await;
    assert_eq!(score(&world), 588);
    apply(&world, 1, Some(twice)).await;
    assert_eq!(score(&world), 576, "at once, of what is remembered");
    fail(&world, &session, "b").await;
    let fallen = score(&world);
    assert_eq!(fallen, 554);
    let view = world.gate.trust_of("triage").unwrap().unwrap();
    let weights: Vec<i64> = view.told.contributions.iter().map(|one| one.weight).collect();
    assert_eq!(weights, [15, 15, 40, 15, 15]);
    let applied = world.bodies("config.applied");
    assert_eq!(applied[0].get("weights"), None);
    assert_eq!(applied[1]["weights"], json!(twice));
    let rows = world.rows();
    assert_eq!(world.gate.store().rebuild().unwrap(), Vec::<String>::new());
    assert_eq!(world.rows(), rows);
    apply(&world, 2, None).await;
    assert_eq!(score(&world), 577, "as before it was tuned");
    let world = world.reopened().await;
    assert_eq!(score(&world), 577);
}
