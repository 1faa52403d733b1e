//! Trust from the API's side: what people see of an agent, and what they may do about it.

use crate::common::Platform;
use reqwest::{Method, StatusCode};
use serde_json::json;

#[tokio::test]
async fn a_new_agent_is_shown_explained_and_weighed() {
    let platform = Platform::start().await;
    let all = platform.get("/api/v1/trust").await.body;
    let told: Vec<_> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (&one["agent"], &one["score"], &one["tier"]))
        .collect();
    assert_eq!(
        told,
        [
            (&json!("cofferdam-notifier"), &json!(1000), &json!("verified")),
            (&json!("finder"), &json!(600), &json!("standard")),
        ]
    );
    let finder = platform.get("/api/v1/trust/finder").await.body;
    assert_eq!(
        (
            &finder["origin"],
            &finder["level"],
            &finder["next"],
            &finder["contributions"][0]
        ),
        (
            &json!("sponsored"),
            &json!("L2"),
            &json!("trusted"),
            &json!({"dimension": "policy", "weight": 25, "value": 6000, "points": 150, "trend": "steady"})
        )
    );
    assert_eq!(platform.get("/api/v1/trust/finder/history").await.body, json!([]));
    let trigger = platform.trigger().await;
    let alert = crate::common::notification("Broken", "firing", "critical").to_string();
    platform
        .send(
            Method::POST,
            "/hooks/alertmanager",
            Some(&trigger),
            Some(alert.into_bytes()),
        )
        .await;
    let moved = platform
        .until("/api/v1/trust/finder/history", |days| {
            days[0]["events"].as_u64() > Some(0)
        })
        .await;
    assert!(moved[0]["last"].as_u64() > Some(600), "{moved}");
    let equation = platform.get("/api/v1/trust/finder/equation").await.body;
    assert_eq!(
        (
            &equation["level"],
            &equation["verdict"],
            &equation["factors"][0]["answers"][0]["criterion"]
        ),
        (&json!("L0"), &json!("sufficient"), &json!("logging"))
    );
    platform.stop().await;
}

#[tokio::test]
async fn a_promotion_is_refused_with_its_reason() {
    let platform = Platform::start().await;
    let bob = platform
        .token(json!({"principal": "bob", "roles": ["operator"]}))
        .await;
    let vera = platform
        .token(json!({"principal": "vera", "roles": ["viewer"]}))
        .await;
    #[rustfmt::skip]
    let table = [
        // who                   agent     status                  what it says
        (&platform.admin, "finder", StatusCode::FORBIDDEN, "`alice` sponsors this agent"),
        (&bob,            "finder", StatusCode::CONFLICT,  "the journal does not bear it out: it has earned"),
        (&bob,            "nobody", StatusCode::NOT_FOUND, "agent `nobody`"),
        (&vera,           "finder", StatusCode::FORBIDDEN, "one of the roles: admin, operator"),
    ];
    for (token, agent, status, expected) in table {
        let path = format!("/api/v1/trust/{agent}/promote");
        let body = br#"{"reason": "good work"}"#.to_vec();
        let answer = platform.send(Method::POST, &path, Some(token), Some(body)).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(
            answer.body["detail"].as_str().unwrap().contains(expected),
            "{answer:?}"
        );
    }
    for path in [
        "/api/v1/trust/nobody",
        "/api/v1/trust/nobody/history",
        "/api/v1/trust/nobody/equation",
    ] {
        assert_eq!(platform.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    platform.stop().await;
}
