//! What `explain` says is what the gate says.

use crate::world::{World, action, agent, authority, post, propose, read, rules};
use gate::{AgentAuthority, Bounds};
use policy::{Effect, Idempotence, Level, Principal, StopScope};
use serde_json::json;

#[tokio::test]
async fn explanations_agree_with_admissions() {
    let bounds = Bounds {
        actions_per_session: 100,
        actions_per_minute: 3,
        ..Bounds::default()
    };
    let agents = [
        (
            "triage",
            AgentAuthority {
                bounds,
                ..agent(Level::L3)
            },
        ),
        ("reader", agent(Level::L0)),
    ];
    let world = World::with(authority(&rules(), &agents)).await;
    let ungranted = action(
        "shell.run",
        "host/a",
        json!({}),
        Effect::Destructive,
        Idempotence::Once,
    );
    let eve = Principal::person("eve");
    let scenes = ["free", "stopped", "bound"];
    for scene in scenes {
        match scene {
            "stopped" => drop(
                world
                    .gate
                    .stop(&eve, StopScope::Agent("triage".into()), "halt")
                    .await,
            ),
            "bound" => {
                world
                    .gate
                    .lift(&eve, gate::EVERYWHERE, &StopScope::Agent("triage".into()), "")
                    .await
                    .unwrap();
                world.advance(60_000);
                let session = world.running("triage").await;
                for step in 0..3 {
                    assert_eq!(
                        world.check(&session, &format!("{step}"), &read("a")).await,
                        "permit"
                    );
                }
            }
            _ => {}
        }
        for (name, action) in [
            ("triage", read("a")),
            ("triage", post("a")),
            ("triage", propose("a")),
            ("triage", ungranted.clone()),
            ("reader", post("a")),
            ("reader", read("a")),
        ] {
            let explanation = world.gate.explain(name, &action).unwrap();
            let session = world.running(name).await;
            let said = world.check(&session, "a", &action).await;
            let outcome = match said.as_str() {
                "permit" => "permit",
                parked if parked.starts_with("needs approval") => "require_approval",
                _ => "deny",
            };
            assert_eq!(explanation.outcome, outcome, "{scene} {name} {action:?}: {said}");
            assert_eq!(explanation.lines.first().unwrap().step, "stopped");
            assert_eq!(explanation.lines.last().unwrap().step, "bounds");
            assert_eq!(
                explanation.lines[0].matched,
                scene == "stopped" && name == "triage"
            );
            assert_eq!(
                explanation.remedy.is_empty(),
                outcome == "permit",
                "{scene} {explanation:?}"
            );
        }
    }
    assert!(world.gate.explain("nobody", &read("a")).is_none());
    let recorded = world.kinds().len();
    drop(world.gate.explain("triage", &post("a")));
    assert_eq!(world.kinds().len(), recorded);
}
