//! Policies that are only observed: recorded with each decision, and without any effect on it.

use crate::world::{World, agent, authority, post, propose, read};
use gate::Authority;
use policy::{Level, PolicyDocument, PolicySet};
use serde_json::{Value, json};
use std::sync::Arc;

/// The usual rules beside a policy that is observed and would forbid everything on `shop`.
async fn observing() -> World {
    let usual = authority(&crate::world::rules(), &[("triage", agent(Level::L3))]);
    let enforced: PolicyDocument = serde_json::from_value(crate::world::rules()).unwrap();
    let observed = json!({
        "mode": "observe",
        "rules": [{ "name": "log", "match": { "verbs": ["git.log"] }, "outcome": "deny", "reason": "password=hunter2hunter2" }],
        "rego": "package o\ndeny contains \"no posts\" if input.action.verb == \"channel.post\"\nrequire_approval contains \"look twice\" if input.action.verb == \"git.propose\"\n",
    });
    let observed: PolicyDocument = serde_json::from_value(observed).unwrap();
    let documents = [("test".to_owned(), enforced), ("trial".to_owned(), observed)];
    let policies = Arc::new(PolicySet::load(&documents).unwrap());
    World::with(Authority { policies, ..usual }).await
}

#[tokio::test]
async fn what_would_have_been_said_is_in_the_entry_of_the_decision() {
    let world = observing().await;
    let session = world.running("triage").await;
    #[rustfmt::skip]
    let table = [
        // action                what is decided   entry                  what would have been, and who says so
        (read("forbidden/x"),    "denied",         "action.denied",       "deny policy/trial#log deny"),
        (read("repository/x"),   "permit",         "action.permitted",    "deny policy/trial#log deny"),
        (post("x"),              "permit",         "action.permitted",    "deny policy/trial#rego deny no posts"),
        (propose("x"),           "needs approval", "approval.requested",  "require_approval policy/trial#rego require_approval look twice"),
    ];
    for (n, (action, decided, kind, expected)) in table.into_iter().enumerate() {
        let found = world.check(&session, &n.to_string(), &action).await;
        assert!(found.contains(decided), "{}: {found}", action.verb().as_str());
        let body = world.bodies(kind).pop().unwrap();
        let said = &body["observed"]["said"][0];
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let told = [
            &body["observed"]["outcome"],
            &said["rule"],
            &said["outcome"],
            &said["reason"],
        ]
        .map(text);
        assert!(told.join(" ").starts_with(expected), "{told:?}");
        assert!(!told.join(" ").contains("hunter2"), "redacted: {told:?}");
    }
}

#[tokio::test]
async fn what_says_nothing_stands_in_no_entry() {
    let world = World::new().await;
    let session = world.running("triage").await;
    world.check(&session, "a", &read("repository/x")).await;
    assert_eq!(world.bodies("action.permitted")[0].get("observed"), None);
}
