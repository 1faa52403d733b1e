//! Agents and delegation through the API: from a document to an identity, from a delegation to what a task
//! under it may do, and who is told what.

use crate::common::Platform;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn an_applied_agent_has_a_key_and_a_sponsor_and_can_be_held_back() {
    let platform = Platform::start().await;
    let me = platform.get("/api/v1/whoami").await.body;
    assert!(me["roles"].as_array().unwrap().contains(&json!("admin")), "{me}");
    let agents = platform.get("/api/v1/agents").await.body;
    let finder = agents
        .as_array()
        .unwrap()
        .iter()
        .find(|agent| agent["name"] == "finder")
        .unwrap();
    assert_eq!(
        (&finder["status"], &finder["configured"]),
        (&json!("active"), &json!(true))
    );
    assert!(
        finder["did"].as_str().unwrap().starts_with("did:key:z6Mk"),
        "{finder}"
    );
    let shown = platform.get("/api/v1/agents/default%2Ffinder").await;
    assert_eq!(
        shown.status,
        StatusCode::OK,
        "its name after a suffix of its path"
    );
    assert!(
        !shown.body["warnings"].as_array().unwrap().is_empty(),
        "a toolset's grants have no end"
    );
    let change = |what: &str, body: Value| (format!("/api/v1/agents/finder/{what}"), body);
    #[rustfmt::skip]
    let table = [
        ("suspended for security",      change("suspend", json!({"reason": "odd", "security": true})), StatusCode::OK,       "locked"),
        ("resumed without saying so",   change("resume", json!({"reason": "fine"})),                   StatusCode::CONFLICT, "an agent that is locked cannot resume"),
        ("resumed with an override",    change("resume", json!({"reason": "fine", "override": true})), StatusCode::OK,       "active"),
        ("a new key",                   change("rotate", json!({})),                                   StatusCode::OK,       "active"),
        ("a task while it acts",        ("/api/v1/tasks".into(), json!({"agent": "finder", "input": 1, "delegation": "del-1"})), StatusCode::BAD_REQUEST, "delegation `del-1` is not there"),
        ("revoked",                     change("revoke", json!({"reason": "over"})),                   StatusCode::OK,       "revoked"),
        ("resumed after that",          change("resume", json!({"reason": "no", "override": true})),   StatusCode::CONFLICT, "an agent that is revoked cannot override"),
    ];
    for (name, (path, body), status, expected) in table {
        let answer = platform.post(&path, &body).await;
        assert_eq!(answer.status, status, "{name}: {answer:?}");
        let told = answer.body["status"]
            .as_str()
            .or(answer.body["detail"].as_str())
            .unwrap_or_default();
        assert!(told.contains(expected), "{name}: {answer:?}");
    }
    // The revoked one is denied, with its reason, on its next action.
    let task = platform
        .post("/api/v1/tasks", &json!({"agent": "finder", "input": {"a": 1}}))
        .await;
    let id = task.body["id"].as_str().unwrap().to_owned();
    let failed = platform
        .until(&format!("/api/v1/tasks/{id}"), |task| task["status"] == "failed")
        .await;
    assert!(
        failed["error"]["message"]
            .as_str()
            .unwrap()
            .contains("agent:finder is revoked"),
        "{failed}"
    );
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_delegated_is_told_and_what_it_allows_is_explained() {
    let platform = Platform::start().await;
    let finder = platform.get("/api/v1/agents/finder").await.body;
    let held = finder["grants"][0]["capability"].as_str().unwrap().to_owned();
    let created = platform
        .post("/api/v1/agents", &json!({"name": "scout", "parent": "finder"}))
        .await;
    assert_eq!(created.status, StatusCode::CREATED, "{created:?}");
    assert_eq!(
        created.body["sponsor"], finder["sponsor"],
        "its sponsor is inherited"
    );
    let delegate = |to: &str, capability: &str| json!({"from": "finder", "to": to, "capabilities": [capability], "ttl_seconds": 60});
    let to_nobody = platform
        .post("/api/v1/delegations", &delegate("scout", &held))
        .await;
    assert_eq!(
        to_nobody.status,
        StatusCode::NOT_FOUND,
        "nothing configures it: {to_nobody:?}"
    );
    let widened = platform
        .post(
            "/api/v1/delegations",
            &delegate("finder", "git.push:repository/x"),
        )
        .await;
    assert_eq!(widened.status, StatusCode::BAD_REQUEST, "{widened:?}");
    let listed = platform.get("/api/v1/delegations").await.body;
    assert_eq!(listed, json!([]), "what was refused is nowhere");
    let viewer = platform
        .token(json!({"principal": "person:victor", "roles": ["viewer"]}))
        .await;
    let denied = platform
        .send(
            Method::POST,
            "/api/v1/delegations",
            Some(&viewer),
            Some(b"{}".to_vec()),
        )
        .await;
    assert_eq!(denied.status, StatusCode::FORBIDDEN, "{denied:?}");
    platform.stop().await;
}

/// Raised by somebody who does not answer for it, seen by who looks, ended early; each refusal says which of the reasons it is.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_raised_for_minutes_and_lowered() {
    let platform = Platform::start().await;
    let token = async |name: &str, role: &str| {
        let new = json!({"principal": format!("person:{name}"), "roles": [role]});
        platform.token(new).await
    };
    let (bob, alice) = (token("bob", "operator").await, token("alice", "operator").await);
    let ask = |to: &str, seconds: u32, reason: &str| json!({"to": to, "seconds": seconds, "reason": reason});
    let elevate = async |who: &str, body: &Value| {
        let path = "/api/v1/agents/finder/elevate";
        let body = Some(body.to_string().into_bytes());
        platform.send(Method::POST, path, Some(who), body).await
    };
    let before = platform.get("/api/v1/agents/finder").await.body;
    assert_eq!(
        before["pace"],
        json!({"ring": 3, "per_second": 5, "burst": 10, "left": 10})
    );
    assert_eq!(before["elevation"], Value::Null);
    #[rustfmt::skip]
    let table = [
        ("its sponsor",       &alice, ask("L2", 300, "why"),  StatusCode::FORBIDDEN,   "not_attested"),
        ("no reason",         &bob,   ask("L2", 300, ""),     StatusCode::FORBIDDEN,   "not_attested"),
        ("unattended",        &bob,   ask("L4", 300, "why"),  StatusCode::FORBIDDEN,   "forbidden_level"),
        ("what it has",       &bob,   ask("L0", 300, "why"),  StatusCode::FORBIDDEN,   "forbidden_level"),
        ("too little trust",  &bob,   ask("L3", 300, "why"),  StatusCode::CONFLICT,    "insufficient_trust"),
        ("for too long",      &bob,   ask("L2", 3601, "why"), StatusCode::BAD_REQUEST, "malformed"),
        ("raised",            &bob,   ask("L2", 60, "why"),   StatusCode::CREATED,     ""),
        ("raised twice",      &bob,   ask("L2", 60, "why"),   StatusCode::CONFLICT,    "already_elevated"),
    ];
    for (name, who, body, status, code) in table {
        let answer = elevate(who, &body).await;
        assert_eq!(answer.status, status, "{name}: {answer:?}");
        let told = answer.body["type"].as_str().unwrap_or_default();
        assert_eq!(told.rsplit(':').next(), Some(code), "{name}: {answer:?}");
    }
    let raised = platform.get("/api/v1/agents/finder").await.body;
    assert_eq!(
        raised["pace"],
        json!({"ring": 2, "per_second": 20, "burst": 40, "left": 40})
    );
    let elevation = &raised["elevation"];
    assert_eq!(
        (&elevation["to"], &elevation["by"], &elevation["floor"]),
        (&json!("L2"), &json!("bob"), &json!(500))
    );
    let lower = json!({"reason": "done"});
    let lowered = platform.post("/api/v1/agents/finder/lower", &lower).await;
    assert_eq!(
        (lowered.status, &lowered.body["state"]),
        (StatusCode::OK, &json!("lowered"))
    );
    let again = platform.post("/api/v1/agents/finder/lower", &lower).await;
    assert_eq!(again.status, StatusCode::CONFLICT, "{again:?}");
    assert_eq!(
        platform.get("/api/v1/agents/finder").await.body["elevation"],
        Value::Null
    );
    platform.stop().await;
}
