//! Who is asked for an approval, when rules ask for different people.

use crate::world::{World, propose};
use gate::{Refusal, Role, Verdict};
use journal::machine::SessionEvent;
use policy::Principal;
use serde_json::json;

/// Two rules that ask for people who are not the same, and a rule that asks for nobody but whoever caused
/// the action: no silent wait for the deadline.
#[tokio::test]
async fn what_nobody_can_approve_says_so() {
    let asks = |name: &str, verb: &str, approvers: &[&str]| {
        json!({"name": name, "match": {"verbs": [verb]}, "outcome": "require_approval",
            "reason": format!("{name} asks"), "approvers": approvers})
    };
    let rules = json!({"rules": [
        asks("one", "git.propose", &["alice"]), asks("two", "git.propose", &["bob"]),
        asks("three", "channel.post", &["carol"]),
    ]});
    let world = World::with(crate::world::authority(
        &rules,
        &[("triage", crate::world::agent(policy::Level::L3))],
    ))
    .await;
    let new = gate::NewSession {
        cause: Principal::person("carol"),
        ..crate::world::new_session("triage")
    };
    let session = world.gate.create_session(new).await.unwrap().0.id;
    world.drive(&session, SessionEvent::Start).await;
    let nobody = "nobody can approve this: no one but who caused it is in every list of approvers";
    for (action, asked) in [
        (propose("x"), "one asks; two asks"),
        (crate::world::post("x"), "three asks"),
    ] {
        let Err(Refusal::Parked { approval: id, .. }) = world.admit(&session, asked, &action).await else {
            panic!("not parked: {asked}");
        };
        let reason = world.gate.approval(&id).unwrap().unwrap().reason;
        assert_eq!(reason, format!("{nobody}; {asked}"));
        for name in ["alice", "bob", "carol"] {
            let caller = world.caller(name, &[Role::Approver]).await;
            let said = world
                .gate
                .decide_approval(&caller, &id, Verdict::Approve, "")
                .await;
            assert!(said.is_err(), "{name}");
        }
    }
}
