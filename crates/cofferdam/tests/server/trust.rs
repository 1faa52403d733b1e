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
            (&json!("cofferdam-guest"), &json!(1000), &json!("verified")),
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
        "/api/v1/trust/nobody/risk",
        "/api/v1/trust/nobody/history",
        "/api/v1/trust/nobody/equation",
    ] {
        assert_eq!(platform.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    platform.stop().await;
}

#[tokio::test]
async fn risk_and_the_report_are_told_of_agents_that_are_seen() {
    let platform = Platform::start().await;
    let risk = platform.get("/api/v1/trust/finder/risk").await.body;
    assert_eq!(
        (&risk["score"], &risk["level"], &risk["signals"], &risk["echoes"]),
        (&json!(775), &json!("low"), &json!([]), &json!([]))
    );
    let parts: Vec<_> = risk["parts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["points"])
        .collect();
    assert_eq!(parts, [160, 210, 150, 255]);
    let stop = json!({"scope": "agent:finder", "reason": "look at it"});
    let stopped = platform.post("/api/v1/stops", &stop).await;
    assert!(stopped.status.is_success(), "{stopped:?}");
    let risk = platform
        .until("/api/v1/trust/finder/risk", |risk| risk["score"] == 700)
        .await;
    assert_eq!(
        (&risk["critical"], &risk["signals"][0]["what"]),
        (&json!(1), &json!("stopped"))
    );
    let report = platform
        .get("/api/v1/reports/trust?since_seconds=604800")
        .await
        .body;
    let agents: Vec<_> = report["agents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["agent"])
        .collect();
    assert_eq!(agents, ["finder"], "the platform's own earns and loses nothing");
    let finder = &report["agents"][0];
    assert_eq!(
        (
            &finder["min"],
            &finder["score"],
            &finder["risk"],
            &finder["concerns"]
        ),
        (
            &json!(300),
            &json!(300),
            &json!(700),
            &json!(["trust 300 is probationary"])
        )
    );
    assert_eq!(report["at_risk"], json!(["finder"]));
    for (query, status) in [
        ("", 200),
        ("?since_seconds=0", 400),
        ("?since_seconds=34560001", 400),
        ("?days=1", 400),
    ] {
        let answer = platform.get(&format!("/api/v1/reports/trust{query}")).await;
        assert_eq!(answer.status.as_u16(), status, "{query}: {answer:?}");
    }
    platform.stop().await;
}

/// What people set about trust counts from when it is applied, and what does not fit is refused where it stands.
#[tokio::test]
async fn weights_and_thresholds_are_applied_like_any_document() {
    let platform = Platform::start().await;
    let mut agent = platform.get("/api/v1/documents/agent/finder").await.body["document"].clone();
    agent["metadata"]["name"] = json!("weighed");
    let weigh = |policy: u8| {
        let mut agent = agent.clone();
        agent["spec"]["trust"] = json!({"weights": {"policy": policy, "security": 20, "quality": 20, "efficiency": 10, "collaboration": 10}});
        json!({ "documents": [agent] })
    };
    let plain = json!({ "documents": [agent] });
    let thresholds = |read: u16| {
        json!({"documents": [{"apiVersion": "cofferdam.dev/v1", "kind": "Policy", "metadata": {"name": "caution"},
            "spec": {"thresholds": {"set": "conservative", "read": read}}}]})
    };
    #[rustfmt::skip]
    let table = [
        // what is applied  status  where it is wrong       weight of `policy` after it
        (plain,             200,    None,                   25),
        (weigh(39),         400,    Some("/spec/trust/weights"), 25),
        (weigh(40),         200,    None,                   40),
        (thresholds(1001),  400,    Some("/spec/thresholds"), 40),
        (thresholds(601),   200,    None,                   40),
    ];
    for (documents, status, wrong, weight) in table {
        let answer = platform.post("/api/v1/documents", &documents).await;
        assert_eq!(answer.status.as_u16(), status, "{answer:?}");
        let told = answer.body.to_string();
        assert!(wrong.is_none_or(|wrong| told.contains(wrong)), "{told}");
        let view = platform.get("/api/v1/trust/weighed").await.body;
        assert_eq!(view["contributions"][0]["weight"], json!(weight), "{view}");
    }
    let question =
        json!({"agent": "weighed", "verb": "incidents.search", "resource": "incidents", "effect": "read"});
    let explained = platform.post("/api/v1/explain", &question).await.body;
    assert_eq!(
        (&explained["outcome"], &explained["reason"]),
        (
            &json!("deny"),
            &json!("trust 600 is below 601, the threshold of `policy/caution#thresholds` for `read` actions")
        ),
        "{explained}"
    );
    platform.stop().await;
}
