//! The trust equation of agents that work together, from configuration and real delegations.

use crate::common::Platform;
use reqwest::StatusCode;
use serde_json::{Value, json};

/// A supervisor that holds more than it passes on, two workers with one toolset, and one elsewhere.
const DOCUMENTS: &str = r#"
apiVersion: cofferdam.dev/v1
kind: Toolset
metadata: {name: wide}
spec: {tools: [{type: http, allow: ["https://a.example/", "https://b.example/"], write: true}, {type: incidents}]}
---
apiVersion: cofferdam.dev/v1
kind: Toolset
metadata: {name: search}
spec: {tools: [{type: incidents}]}
"#;

fn agent(name: &str, team: &str, toolset: &str, level: &str) -> String {
    format!(
        "---\napiVersion: cofferdam.dev/v1\nkind: Agent\nmetadata: {{name: {name}, organization: acme, team: {team}}}\n\
         spec: {{sponsor: carol, toolsets: [{toolset}], autonomy: {{default: {level}}}, runbook: {{steps: [{{name: look, tool: incidents.search, arguments: {{words: x}}}}]}}}}\n"
    )
}

async fn platform() -> Platform {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("cofferdam.yaml");
    let agents = [
        agent("chief", "pay", "wide", "L1"),
        agent("worker", "pay", "wide", "L3"),
        agent("other", "pay", "wide", "L2"),
        agent("stranger", "search", "search", "L0"),
    ];
    std::fs::write(&config, format!("{DOCUMENTS}{}", agents.concat())).unwrap();
    let platform = Platform::start_in(directory, |options| options.config = Some(config)).await;
    // Once the journal verified after the start, nothing moves observability any more.
    let verified = |equation: &Value| equation["factors"][0]["answers"][2]["percent"] == 100;
    platform.until("/api/v1/trust/chief/equation", verified).await;
    platform
}

async fn delegate(platform: &Platform, from: &str, to: &str, capabilities: &[Value]) -> String {
    let body = json!({"from": from, "to": to, "capabilities": capabilities, "ttl_seconds": 600});
    let made = platform.post("/api/v1/delegations", &body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    made.body["id"].as_str().unwrap().to_owned()
}

/// The three factors of an agent by itself.
async fn alone(platform: &Platform, agent: &str) -> [u64; 3] {
    let equation = platform
        .get(&format!("/api/v1/trust/{agent}/equation"))
        .await
        .body;
    [0, 1, 2].map(|at| equation["factors"][at]["value"].as_u64().unwrap())
}

async fn of(platform: &Platform, of: &str) -> Value {
    let answer = platform.get(&format!("/api/v1/topology?of={of}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.body
}

#[tokio::test(flavor = "multi_thread")]
async fn an_arrangement_is_its_highest_level_and_its_least_of_everything_else() {
    let platform = platform().await;
    let (chief, worker, other) = (
        alone(&platform, "chief").await,
        alone(&platform, "worker").await,
        alone(&platform, "other").await,
    );
    let place = of(&platform, "acme/pay").await;
    let least = |at: usize| chief[at].min(worker[at]).min(other[at]);
    assert_eq!(
        (&place["kind"], &place["level"], &place["highest"]),
        (&json!("place"), &json!("L3"), &json!(["worker"])),
        "{place}"
    );
    assert_eq!(place["observability"]["value"], json!(least(0)), "{place}");
    assert_eq!(place["reversibility"]["value"], json!(least(1)), "{place}");
    assert_eq!(place["control"]["value"], json!(least(2)), "{place}");
    // The chief changes nothing, so the toolset is shared by two, and takes a tenth.
    assert_eq!(
        place["shared"],
        json!([{"toolset": "toolset/wide", "agents": ["other", "worker"]}])
    );
    assert_eq!(place["blast_radius"], json!(least(2) * 9 / 10), "{place}");
    let names: Vec<_> = place["members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["agent"].clone())
        .collect();
    assert_eq!(names, ["chief", "other", "worker"]);
    // What would change it is computed, and is no worse.
    let (weakest, score) = (&place["weakest"], place["score"].as_u64().unwrap());
    assert!(
        weakest["criterion"].is_string() && !weakest["because"].as_str().unwrap().is_empty(),
        "{weakest}"
    );
    assert!(weakest["then"].as_u64().unwrap() >= score, "{place}");
    assert!(weakest["one_level_lower"].as_u64().unwrap() > score, "{place}");
    assert_eq!(weakest["reaches"], json!([]), "nobody passed anything on");
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_is_the_agent_and_those_below_it_and_what_a_link_narrows_gives_control_back() {
    let platform = platform().await;
    let whole: Vec<Value> = platform.get("/api/v1/agents/chief").await.body["grants"]
        .as_array()
        .unwrap()
        .iter()
        .map(|grant| grant["capability"].clone())
        .collect();
    assert!(whole.len() > 1, "{whole:?}");
    let (chief, worker) = (
        alone(&platform, "chief").await[2],
        alone(&platform, "worker").await[2],
    );
    let single = of(&platform, "chief").await;
    assert_eq!(
        (
            &single["kind"],
            &single["members"].as_array().unwrap().len(),
            &single["chains"]
        ),
        (
            &json!("tree"),
            &1,
            &json!([{"agents": ["chief"], "delegation": null, "narrowing": 0, "control": chief}])
        )
    );
    // All of it, and then one capability of it.
    let all = delegate(&platform, "chief", "worker", &whole).await;
    let chain = |tree: &Value, id: &str| {
        let chains = tree["chains"].as_array().unwrap().clone();
        chains.into_iter().find(|chain| chain["delegation"] == id)
    };
    let tree = of(&platform, "chief").await;
    let found = chain(&tree, &all).unwrap();
    assert_eq!(
        (&found["narrowing"], &found["control"]),
        (&json!(0), &json!(worker)),
        "{tree}"
    );
    let one = delegate(&platform, "chief", "worker", &whole[..1]).await;
    let tree = of(&platform, "chief").await;
    let found = chain(&tree, &one).unwrap();
    let raised = worker + (10_000 - worker) / 4;
    assert_eq!(
        (&found["narrowing"], &found["control"]),
        (&json!(1), &json!(raised)),
        "{tree}"
    );
    assert_eq!(
        tree["control"]["value"],
        json!(chief.min(worker)),
        "the wider way counts while it stands"
    );
    // What was revoked is no way any more.
    let revoke = format!("/api/v1/delegations/{all}/revoke");
    assert!(
        platform
            .post(&revoke, &json!({"reason": "too much"}))
            .await
            .status
            .is_success()
    );
    let tree = of(&platform, "chief").await;
    assert_eq!(
        (chain(&tree, &all), tree["control"]["value"].as_u64()),
        (None, Some(chief.min(raised))),
        "{tree}"
    );
    // Two hand-overs of a hundred: 0.3 × 0.02 × 0.5.
    let (weakest, reaches) = (&tree["weakest"]["agent"], &tree["weakest"]["reaches"][0]);
    let neighbour = if weakest == "chief" { "worker" } else { "chief" };
    assert_eq!(
        reaches,
        &json!({"agent": neighbour, "hops": 1, "interactions": 2, "share": 30}),
        "{tree}"
    );
    for (name, status) in [("nobody", 404), ("acme/none", 404), ("a/b/c/d/e", 404), ("", 404)] {
        let answer = platform.get(&format!("/api/v1/topology?of={name}")).await;
        assert_eq!(answer.status.as_u16(), status, "{name}: {answer:?}");
    }
    platform.stop().await;
}
