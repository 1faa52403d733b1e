//! Tasks: submitted, polled, submitted again, refused.

use crate::common::{DOCUMENTS, Platform, notification};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_done_once_however_often_it_is_sent() {
    let platform = Platform::start().await;
    let body = json!({"task_id": "t-1", "agent": "finder", "input": {"a": 1}, "title": "look token=hunter2"});
    let made = platform.post("/api/v1/tasks", &body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    assert_eq!(made.body["id"], "t-1");
    let done = platform
        .until("/api/v1/tasks/t-1", |task| task["status"] == "completed")
        .await;
    assert_eq!(done["output"], json!({"summary": "found 0", "given": {"a": 1}}));
    let again = platform.post("/api/v1/tasks", &body).await;
    assert_eq!(
        (again.status, &again.body["session"]),
        (StatusCode::OK, &made.body["session"]),
        "{again:?}"
    );
    let other = platform
        .post(
            "/api/v1/tasks",
            &json!({"task_id": "t-1", "agent": "finder", "input": 2}),
        )
        .await;
    assert_eq!(other.status, StatusCode::CONFLICT, "{other:?}");
    let sessions = platform.get("/api/v1/sessions").await.body;
    assert_eq!(sessions.as_array().unwrap().len(), 1);
    assert_eq!(sessions[0]["title"], "look token=[REDACTED]");
    // It is there after a restart, too.
    let platform = platform.restart().await;
    assert_eq!(
        platform.get("/api/v1/tasks/t-1").await.body["status"],
        "completed"
    );
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_text_of_a_task_is_untrusted_unless_a_person_vouches_for_it() {
    let platform = Platform::start().await;
    #[rustfmt::skip]
    let table = [
        // what is said of the text                                   what enters with it
        (json!({"agent": "finder", "input": 1}),                      json!(["untrusted"])),
        (json!({"agent": "finder", "input": 1, "own_words": false}),  json!(["untrusted"])),
        (json!({"agent": "finder", "input": 1, "own_words": true}),   json!([])),
    ];
    for (body, expected) in table {
        let made = platform.post("/api/v1/tasks", &body).await;
        let session = made.body["session"].as_str().unwrap().to_owned();
        let created = format!("/api/v1/audit/entries?session={session}&kind=session.created");
        let entries = platform.get(&created).await.body;
        assert_eq!(
            entries["entries"][0]["body"]["taint"], expected,
            "{body}: {entries}"
        );
    }
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_without_an_id_gets_one_and_a_failed_one_is_seen() {
    let platform = Platform::start().await;
    let made = platform
        .post(
            "/api/v1/tasks",
            &json!({"agent": "finder", "input": {"incident": {"title": 7}}}),
        )
        .await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    let id = made.body["id"].as_str().unwrap().to_owned();
    assert_eq!(
        format!("ses-{}", id.strip_prefix("task-").unwrap()),
        made.body["session"]
    );
    let failed = platform
        .until(&format!("/api/v1/tasks/{id}"), |task| task["status"] == "failed")
        .await;
    assert!(
        failed["error"]["message"]
            .as_str()
            .is_some_and(|m| m.contains("words")),
        "{failed}"
    );
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_named_after_an_incident_is_only_a_task() {
    let platform = Platform::start().await;
    let trigger = platform.trigger().await;
    let mut incidents = Vec::new();
    for (name, severity) in [("Chatter", "info"), ("HighErrors", "critical")] {
        let body = notification(name, "firing", severity).to_string().into_bytes();
        let answer = platform
            .send(Method::POST, "/hooks/alertmanager", Some(&trigger), Some(body))
            .await;
        let id = answer.body["incident"].as_str().unwrap().to_owned();
        incidents.push(format!("/api/v1/incidents/{id}"));
    }
    let triaged = platform.until(&incidents[1], |i| i["summary"].is_object()).await;
    let logged = platform.get(&incidents[0]).await.body;
    for before in [&logged, &triaged] {
        let id = &before["id"];
        let task = platform
            .post(
                "/api/v1/tasks",
                &json!({"task_id": id, "agent": "finder", "input": 1}),
            )
            .await;
        assert_eq!(
            (task.status, &task.body["id"]),
            (StatusCode::CREATED, id),
            "{task:?}"
        );
        let path = format!("/api/v1/tasks/{}", id.as_str().unwrap());
        let done = platform.until(&path, |task| task["status"] == "completed").await;
        assert_eq!(&done["id"], id, "{done}");
    }
    // What concludes incidents looks at every one of them when it starts.
    let platform = platform.restart().await;
    for (path, before) in incidents.iter().zip([&logged, &triaged]) {
        assert_eq!(&platform.get(path).await.body, before, "nothing became of it");
    }
    platform.stop().await;
}

/// Somebody else's program.
const HELPER: &str = "---
apiVersion: cofferdam.dev/v1
kind: Agent
metadata: {name: helper}
spec: {sponsor: alice, guest: {}}
";

#[tokio::test(flavor = "multi_thread")]
async fn bad_tasks_are_refused_with_a_place() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("cofferdam.yaml");
    std::fs::write(&config, format!("{DOCUMENTS}{HELPER}")).unwrap();
    let platform = Platform::start_in(directory, |options| options.config = Some(config)).await;
    let id = |id: &str| json!({"task_id": id, "agent": "finder", "input": 1}).to_string();
    let table: [(&str, String, u16, &str); 15] = [
        ("an empty id", id(""), 400, "/task_id"),
        ("a long id", id(&"x".repeat(65)), 400, "/task_id"),
        ("a path as id", id("../x"), 400, "/task_id"),
        ("an id of ours", id("task-7"), 400, "/task_id"),
        ("no input", json!({"agent": "finder"}).to_string(), 400, "/input"),
        (
            "null as input",
            json!({"agent": "finder", "input": null}).to_string(),
            400,
            "/input",
        ),
        ("no agent", json!({"input": 1}).to_string(), 400, ""),
        (
            "an unknown agent",
            json!({"agent": "nobody", "input": 1}).to_string(),
            400,
            "/agent",
        ),
        (
            "an agent of ours",
            json!({"agent": "cofferdam-notifier", "input": 1}).to_string(),
            400,
            "/agent",
        ),
        (
            "somebody else's program",
            json!({"agent": "helper", "input": 1}).to_string(),
            400,
            "/agent",
        ),
        (
            "a field too many",
            json!({"agent": "finder", "input": 1, "x": 1}).to_string(),
            400,
            "",
        ),
        (
            "a key twice",
            r#"{"agent": "finder", "agent": "x", "input": 1}"#.into(),
            400,
            "line 1",
        ),
        (
            "a lone surrogate",
            r#"{"agent": "finder", "input": "\ud800"}"#.into(),
            400,
            "line 1",
        ),
        (
            "a number that JSON cannot carry",
            r#"{"agent": "finder", "input": 9007199254740993}"#.into(),
            400,
            "",
        ),
        ("no JSON", "agent=finder".into(), 400, "line 1"),
    ];
    for (name, body, status, place) in table {
        let answer = platform
            .send(
                Method::POST,
                "/api/v1/tasks",
                Some(&platform.admin),
                Some(body.into_bytes()),
            )
            .await;
        assert_eq!(answer.status.as_u16(), status, "{name}: {answer:?}");
        assert!(
            answer.body["place"].as_str().unwrap().starts_with(place),
            "{name}: {answer:?}"
        );
    }
    for missing in ["t-9", "task-1", "task-999999", "..%2Fx", "%00"] {
        let answer = platform.get(&format!("/api/v1/tasks/{missing}")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{missing}: {answer:?}");
    }
    assert_eq!(
        platform.get("/api/v1/sessions").await.body,
        Value::Array(Vec::new())
    );
    platform.stop().await;
}
