//! Webhooks: what is taken is durable; what is not says why, is counted, and never a fault of ours.

use crate::common::{Platform, notification};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_becomes_an_incident_with_a_summary() {
    let platform = Platform::start().await;
    let trigger = platform.trigger().await;
    let send = async |name: &str, status: &str, severity: &str| {
        let body = notification(name, status, severity).to_string().into_bytes();
        platform
            .send(Method::POST, "/hooks/alertmanager", Some(&trigger), Some(body))
            .await
    };
    let first = send("HighErrors", "firing", "critical").await;
    assert!(first.status.is_success(), "{first:?}");
    assert_eq!(first.body["disposition"], "opened");
    let id = first.body["incident"].as_str().unwrap().to_owned();
    let seen = platform
        .until(&format!("/api/v1/incidents/{id}"), |i| i["summary"].is_object())
        .await;
    assert_eq!(
        (&seen["severity"], &seen["status"]),
        (&json!("critical"), &json!("triaged")),
        "{seen}"
    );
    assert_eq!(seen["summary"]["incident_id"], json!(id));
    let again = send("HighErrors", "firing", "critical").await;
    assert_eq!(
        (again.status, &again.body["disposition"]),
        (StatusCode::OK, &json!("repeated")),
        "{again:?}"
    );
    let info = send("Chatter", "firing", "info").await;
    assert_eq!(info.body["disposition"], "logged", "{info:?}");
    let resolved = send("HighErrors", "resolved", "critical").await;
    assert_eq!(resolved.body["disposition"], "resolved", "{resolved:?}");
    let list = platform.get("/api/v1/incidents").await.body;
    assert_eq!(list.as_array().unwrap().len(), 2, "{list}");
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_notifications_are_refused_with_a_place_and_counted() {
    let platform = Platform::start().await;
    let trigger = platform.trigger().await;
    let good = notification("A", "firing", "warning");
    let with = |pointer: &str, value: Value| {
        let mut body = good.clone();
        *body.pointer_mut(pointer).unwrap() = value;
        body.to_string().into_bytes()
    };
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let twice = good
        .to_string()
        .replacen("\"version\":\"4\"", "\"version\":\"4\",\"version\":\"4\"", 1);
    let table: [(&str, Vec<u8>, u16, &str); 10] = [
        ("nothing", Vec::new(), 400, ""),
        ("no JSON", b"<xml/>".to_vec(), 400, "line 1"),
        ("bytes that are no text", vec![0xff, 0xfe, b'{'], 400, "line 1"),
        ("another version", with("/version", json!("3")), 400, "/version"),
        ("no alerts", with("/alerts", json!([])), 400, "/alerts"),
        ("alerts that are none", with("/alerts", json!({})), 400, "/alerts"),
        (
            "a label that is no text",
            with("/alerts/0/labels/severity", json!(7)),
            400,
            "/alerts/0/labels/severity",
        ),
        ("a key twice", twice.into_bytes(), 400, ""),
        ("too deep", deep.into_bytes(), 400, ""),
        ("too large", vec![b' '; 1024 * 1024 + 1], 413, ""),
    ];
    for (name, body, status, place) in table {
        let answer = platform
            .send(Method::POST, "/hooks/alertmanager", Some(&trigger), Some(body))
            .await;
        assert_eq!(answer.status.as_u16(), status, "{name}: {answer:?}");
        assert_eq!(answer.kind, "application/problem+json", "{name}");
        assert!(
            !answer.body["detail"].as_str().unwrap().is_empty(),
            "{name}: {answer:?}"
        );
        let said = answer.body["place"].as_str().unwrap_or_default();
        assert!(said.starts_with(place), "{name}: place `{said}`");
    }
    // Refused before it is read, and yet the sender hears why instead of being cut off.
    let huge = || Some(vec![b' '; 16 * 1024 * 1024]);
    for (token, status) in [(Some(trigger.as_str()), 413), (None, 401)] {
        let answer = platform
            .send(Method::POST, "/hooks/alertmanager", token, huge())
            .await;
        assert_eq!(answer.status.as_u16(), status, "{answer:?}");
    }
    let none = platform
        .send(
            Method::POST,
            "/hooks/alertmanager",
            None,
            Some(with("/version", json!("4"))),
        )
        .await;
    assert_eq!(none.status, StatusCode::UNAUTHORIZED);
    let metrics = platform.get("/metrics").await.body;
    let metrics = metrics.as_str().unwrap();
    for line in [
        "cofferdam_unauthenticated_total 2",
        "cofferdam_webhooks_refused_total{reason=\"malformed\"} 9",
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line} is not in\n{metrics}");
    }
    assert_eq!(platform.get("/api/v1/incidents").await.body, json!([]));
    platform.stop().await;
}

/// Real notifications of other people decide as they are labelled.
#[tokio::test(flavor = "multi_thread")]
async fn real_notifications_are_taken() {
    let Some(corpora) = std::env::var_os("COFFERDAM_CORPORA") else {
        eprintln!("COFFERDAM_CORPORA is not set: skipping real notifications");
        return;
    };
    let directory = std::path::Path::new(&corpora).join("alerts/alertmanager-real");
    let platform = Platform::start().await;
    let trigger = platform.trigger().await;
    let mut taken = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "json") {
            let body = std::fs::read(&path).unwrap();
            let answer = platform
                .send(Method::POST, "/hooks/alertmanager", Some(&trigger), Some(body))
                .await;
            assert!(answer.status.is_success(), "{}: {answer:?}", path.display());
            taken += 1;
        }
    }
    assert!(taken >= 10, "only {taken} notifications in the corpus");
    platform.stop().await;
}
