//! Server-sent events: no gap, no duplicate, while others write.

use crate::common::Platform;
use serde_json::{Value, json};

/// Reads a stream until `enough` says so or it ends; gives `(id, event, data)`.
async fn read(
    mut response: reqwest::Response,
    enough: impl Fn(&[(Option<u64>, String, Value)]) -> bool,
) -> Vec<(Option<u64>, String, Value)> {
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut text = String::new();
    let mut events = Vec::new();
    while let Some(chunk) = response.chunk().await.unwrap() {
        text.push_str(std::str::from_utf8(&chunk).unwrap());
        while let Some(end) = text.find("\n\n") {
            let block: String = text.drain(..end + 2).collect();
            let field = |name: &str| {
                block
                    .lines()
                    .find_map(|l| l.strip_prefix(name).map(|v| v.trim().to_owned()))
            };
            if let Some(data) = field("data:") {
                let id = field("id:").map(|id| id.parse().unwrap());
                events.push((
                    id,
                    field("event:").unwrap_or_default(),
                    serde_json::from_str(&data).unwrap(),
                ));
            }
        }
        if enough(&events) {
            break;
        }
    }
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journal_is_followed_without_gap_or_duplicate_under_concurrent_writes() {
    const TASKS: usize = 40;
    let platform = Platform::start().await;
    let from = platform.get("/api/v1/audit/entries?limit=1").await.body["size"]
        .as_u64()
        .unwrap();
    let open = |query: String| {
        platform
            .http
            .get(platform.url(&format!("/api/v1/audit/events{query}")))
            .bearer_auth(&platform.admin)
            .send()
    };
    let enough = |events: &[(Option<u64>, String, Value)]| {
        events
            .iter()
            .filter(|(_, _, entry)| entry["kind"] == "session.completed")
            .count()
            == TASKS
    };
    let follow = read(open(format!("?from={from}")).await.unwrap(), enough);
    let write = async {
        for i in 0..TASKS {
            let body = json!({"task_id": format!("t{i}"), "agent": "finder", "input": i});
            assert!(platform.post("/api/v1/tasks", &body).await.status.is_success());
        }
    };
    let (events, ()) = tokio::join!(follow, write);
    let ids: Vec<u64> = events.iter().map(|(id, _, _)| id.unwrap()).collect();
    let expected: Vec<u64> = (from..from + ids.len() as u64).collect();
    assert_eq!(ids, expected);
    // Whoever was cut off goes on where it was.
    let middle = ids[ids.len() / 2];
    let resumed = platform
        .http
        .get(platform.url("/api/v1/audit/events"))
        .bearer_auth(&platform.admin)
        .header("last-event-id", middle.to_string())
        .send();
    let last = *ids.last().unwrap();
    let events = read(resumed.await.unwrap(), |events| {
        events.last().is_some_and(|(id, _, _)| *id >= Some(last))
    })
    .await;
    let resumed: Vec<u64> = events.iter().map(|(id, _, _)| id.unwrap()).collect();
    assert_eq!(resumed.first(), Some(&(middle + 1)));
    assert!(resumed.windows(2).all(|pair| pair[1] == pair[0] + 1));
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_told_from_its_beginning_to_its_end() {
    let platform = Platform::start().await;
    let made = platform
        .post(
            "/api/v1/tasks",
            &json!({"task_id": "t", "agent": "finder", "input": 1}),
        )
        .await
        .body;
    let session = made["session"].as_str().unwrap();
    let path = format!("/api/v1/sessions/{session}/events");
    let open = || {
        platform
            .http
            .get(platform.url(&path))
            .bearer_auth(&platform.admin)
            .send()
    };
    let live = read(open().await.unwrap(), |_| false).await;
    let history = read(open().await.unwrap(), |_| false).await;
    assert_eq!(live, history, "live and afterwards the same is told");
    let kinds: Vec<&str> = live
        .iter()
        .map(|(_, _, entry)| entry["kind"].as_str().unwrap_or("end"))
        .collect();
    assert_eq!(kinds.first(), Some(&"session.created"), "{kinds:?}");
    assert!(
        kinds.contains(&"action.permitted") && kinds.contains(&"action.settled"),
        "{kinds:?}"
    );
    let (id, event, data) = live.last().unwrap();
    assert_eq!(
        (id, event.as_str(), data),
        (&None, "end", &json!({"state": "completed"}))
    );
    let ids: Vec<u64> = live.iter().filter_map(|(id, _, _)| *id).collect();
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
    platform.stop().await;
}

/// Both kinds of stream end at the next thing that happens after the token was revoked, before it is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_the_token_that_opened_it() {
    let platform = Platform::start().await;
    let task = json!({"task_id": "t", "agent": "finder", "input": 1});
    let session = platform.post("/api/v1/tasks", &task).await.body["session"].clone();
    let session = format!(
        "/api/v1/sessions/{}/events?follow=true",
        session.as_str().unwrap()
    );
    platform
        .until("/api/v1/tasks/t", |task| task["status"] == "completed")
        .await;
    for path in ["/api/v1/audit/events", &session] {
        let made = json!({"principal": "person:eve", "roles": ["auditor"]});
        let made = platform.post("/api/v1/tokens", &made).await.body;
        let open = platform.http.get(platform.url(path));
        let open = open
            .bearer_auth(made["secret"].as_str().unwrap())
            .send()
            .await
            .unwrap();
        let follow = read(open, |_| false);
        let token = format!("/api/v1/tokens/{}", made["token"]["id"].as_str().unwrap());
        let revoke = platform.send(reqwest::Method::DELETE, &token, Some(&platform.admin), None);
        let (events, revoked) = tokio::join!(follow, revoke);
        assert_eq!(revoked.status, 204);
        let (_, event, data) = events.last().unwrap();
        assert_eq!(
            (event.as_str(), data),
            ("end", &json!({"error": "the token no longer holds"})),
            "{path}"
        );
        assert!(
            events
                .iter()
                .all(|(_, _, entry)| entry["kind"] != "token.revoked"),
            "{path}"
        );
    }
    platform.stop().await;
}
