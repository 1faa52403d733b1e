//! Starting and stopping: the first administrator, the lock, what survives.

use crate::common::{Platform, options};
use reqwest::{Method, StatusCode};
use serde_json::json;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn the_first_start_makes_one_administrator_whose_token_only_the_owner_reads() {
    let platform = Platform::start().await;
    let file = platform.data_dir().join("admin.token");
    assert_eq!(
        std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let tokens = platform.get("/api/v1/tokens").await.body;
    assert_eq!(tokens.as_array().unwrap().len(), 1, "{tokens}");
    assert_eq!(
        (&tokens[0]["principal"], &tokens[0]["roles"]),
        (&json!("person:alice"), &json!(["admin", "approver", "operator"]))
    );
    assert!(
        !tokens.to_string().contains(&platform.admin),
        "a listing never holds a secret"
    );
    let before = platform.admin.clone();
    let platform = platform.restart().await;
    assert_eq!(platform.admin, before, "the next start leaves it alone");
    // A start that died between making the token and writing it: the file is empty.
    std::fs::write(&file, "").unwrap();
    let platform = platform.restart().await;
    assert_ne!(platform.admin, before);
    let old = platform
        .send(Method::GET, "/api/v1/tokens", Some(&before), None)
        .await;
    assert_eq!(
        old.status,
        StatusCode::UNAUTHORIZED,
        "the token of the broken start is revoked"
    );
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_directory_and_a_taken_port_are_refused() {
    let platform = Platform::start().await;
    let second = cofferdam::app::start(options(platform.directory.path()))
        .await
        .unwrap_err();
    assert!(
        format!("{second:#}").contains("is in use by another process"),
        "{second:#}"
    );
    let mut taken = options(tempfile::tempdir().unwrap().path());
    taken.listen = platform.running.as_ref().unwrap().address();
    let taken = cofferdam::app::start(taken).await.unwrap_err();
    assert!(
        taken.to_string().contains("cannot listen on `127.0.0.1:"),
        "{taken:#}"
    );
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_is_wrong_does_not_start_when_nothing_is_stored() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("c.yaml");
    std::fs::write(&file, "apiVersion: cofferdam.dev/v1\nkind: Agnet\n").unwrap();
    let mut wrong = options(directory.path());
    wrong.config = Some(file);
    let error = cofferdam::app::start(wrong).await.unwrap_err().to_string();
    assert!(
        error.contains("c.yaml:2:7: unknown kind `Agnet`") && error.contains("2 | kind: Agnet"),
        "{error}"
    );
}

/// A refused change must not become an outage at the next restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_is_wrong_leaves_the_stored_one_in_force() {
    let platform = Platform::start().await;
    let file = platform.directory.path().join("cofferdam.yaml");
    std::fs::write(&file, "apiVersion: cofferdam.dev/v1\nkind: Agnet\n").unwrap();
    let platform = platform.restart().await;
    let health = platform.get("/api/v1/health").await.body;
    let parts = health["parts"].as_array().unwrap();
    let config = parts.iter().find(|part| part["name"] == "config").unwrap();
    let detail = config["detail"].as_str().unwrap();
    assert!(
        config["status"] == "degraded" && detail.contains("cofferdam.yaml:2:7: unknown kind `Agnet`"),
        "{config}"
    );
    let task = platform
        .post("/api/v1/tasks", &json!({"agent": "finder", "input": 1}))
        .await;
    assert_eq!(
        task.status,
        StatusCode::CREATED,
        "the stored state acts: {task:?}"
    );
    platform.stop().await;
}

/// The file is the only copy of the secret, so losing it must not lock everybody out.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_administrators_token_is_replaced_and_one_given_up_is_not() {
    let platform = Platform::start().await;
    let file = platform.running.as_ref().unwrap().admin_token_file().to_owned();
    let lost = platform.admin.clone();
    std::fs::remove_file(&file).unwrap();
    let platform = platform.restart().await;
    assert_ne!(platform.admin, lost);
    let health = platform
        .send(Method::GET, "/api/v1/health", Some(&lost), None)
        .await;
    assert_eq!(health.status, StatusCode::UNAUTHORIZED, "{health:?}");
    let tokens = platform.get("/api/v1/tokens").await;
    assert_eq!(tokens.status, StatusCode::OK, "{tokens:?}");
    // With another administrator the file's token can be given up for good.
    platform
        .token(json!({"principal": "person:bob", "roles": ["admin"]}))
        .await;
    let list = tokens.body.as_array().unwrap().clone();
    let held = list.iter().find(|token| token["revoked"] == false).unwrap();
    let path = format!("/api/v1/tokens/{}", held["id"].as_str().unwrap());
    let revoked = platform
        .send(Method::DELETE, &path, Some(&platform.admin), None)
        .await;
    assert!(revoked.status.is_success(), "{revoked:?}");
    std::fs::remove_file(&file).unwrap();
    let directory = platform.stopped().await;
    let running = cofferdam::app::start(options(directory.path())).await.unwrap();
    assert!(!file.exists(), "nothing was made that nobody asked for");
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_names_every_part_and_the_journal_is_verified_at_start() {
    let platform = Platform::start().await;
    let verified =
        |health: &serde_json::Value| {
            health["parts"].as_array().unwrap().iter().any(|p| {
                p["name"] == "journal" && p["detail"].as_str().unwrap().contains("verified at start")
            })
        };
    let health = platform
        .until("/api/v1/health", |h| h["status"] == "healthy" && verified(h))
        .await;
    let names: Vec<_> = health["parts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        names,
        [
            "store",
            "journal",
            "runtime",
            "triage",
            "config",
            "background",
            "disk"
        ]
    );
    assert_eq!(
        platform.send(Method::GET, "/readyz", None, None).await.status,
        StatusCode::OK
    );
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stops_hold_over_a_restart_and_are_lifted() {
    let platform = Platform::start().await;
    let stop = platform
        .post(
            "/api/v1/stops",
            &json!({"scope": "agent:finder", "reason": "drill"}),
        )
        .await;
    assert_eq!(
        (stop.status, &stop.body["durable"]),
        (StatusCode::OK, &json!(true)),
        "{stop:?}"
    );
    let platform = platform.restart().await;
    let stops = platform.get("/api/v1/stops").await.body;
    assert_eq!(
        stops,
        json!([{"scope": "agent:finder", "reason": "drill", "by": "person:alice", "at": "the root"}])
    );
    let body = json!({"scope": "agent:finder", "reason": "over"})
        .to_string()
        .into_bytes();
    let lifted = platform
        .send(Method::DELETE, "/api/v1/stops", Some(&platform.admin), Some(body))
        .await;
    assert_eq!(lifted.status, StatusCode::OK, "{lifted:?}");
    assert_eq!(platform.get("/api/v1/stops").await.body, json!([]));
    let bad = platform
        .post("/api/v1/stops", &json!({"scope": "everything"}))
        .await;
    assert_eq!(
        (bad.status, &bad.body["place"]),
        (StatusCode::BAD_REQUEST, &json!("/scope"))
    );
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gate_explains_without_deciding() {
    let platform = Platform::start().await;
    let size = async || platform.get("/api/v1/audit/entries?limit=1").await.body["size"].clone();
    let before = size().await;
    let ask = async |body| platform.post("/api/v1/explain", &body).await;
    let read = ask(json!({"agent": "finder", "verb": "incidents.search", "arguments": {"words": "x"}})).await;
    assert_eq!(
        (&read.body["outcome"], &read.body["assumed"]),
        (&json!("permit"), &json!([])),
        "{read:?}"
    );
    let write = ask(json!({"agent": "finder", "verb": "git.propose", "resource": "repository/x", "environment": "staging"})).await;
    assert_eq!(
        (&write.body["outcome"], &write.body["assumed"]),
        (&json!("deny"), &json!(["effect write"])),
        "{write:?}"
    );
    assert!(!write.body["remedy"].as_str().unwrap().is_empty());
    let nobody = ask(json!({"agent": "nobody", "verb": "x.y", "resource": "z"})).await;
    assert_eq!(
        (nobody.status, &nobody.body["place"]),
        (StatusCode::BAD_REQUEST, &json!("/agent"))
    );
    assert_eq!(size().await, before, "nothing was recorded");
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journal_proves_and_verifies_itself_over_the_api() {
    let platform = Platform::start().await;
    platform
        .post(
            "/api/v1/tasks",
            &json!({"task_id": "t", "agent": "finder", "input": "s3cret-input"}),
        )
        .await;
    platform
        .until("/api/v1/tasks/t", |task| task["status"] == "completed")
        .await;
    let checkpoint = platform.get("/api/v1/audit/checkpoint").await.body;
    let vkey = journal::note::Verifier::parse(checkpoint["vkey"].as_str().unwrap()).unwrap();
    let opened = journal::checkpoint::Checkpoint::open(checkpoint["note"].as_str().unwrap(), &vkey).unwrap();
    assert_eq!(json!(opened.size), checkpoint["size"]);
    let bundle = platform
        .get("/api/v1/audit/proofs/inclusion?sequence=1")
        .await
        .body
        .to_string();
    let proven = journal::proof::InclusionBundle::parse(bundle.as_bytes())
        .unwrap()
        .verify(Some(&vkey))
        .unwrap();
    assert_eq!(proven.entry.sequence, 1);
    let consistency = platform.get("/api/v1/audit/proofs/consistency?old=1").await;
    assert_eq!(consistency.status, StatusCode::OK, "{consistency:?}");
    let verify = platform
        .send(Method::POST, "/api/v1/audit/verify", Some(&platform.admin), None)
        .await;
    let last = match &verify.body {
        serde_json::Value::String(lines) => serde_json::from_str(lines.lines().last().unwrap()).unwrap(),
        one => one.clone(),
    };
    assert!(
        last["verified"]["entries"]
            .as_u64()
            .is_some_and(|n| n >= opened.size),
        "{verify:?}"
    );
    // Leaves hold no input; the payload of the entry does, for those who may see it.
    let entries = platform.get("/api/v1/audit/entries?from=0&limit=1000").await.body;
    assert!(!entries.to_string().contains("s3cret-input"));
    let created = entries["entries"]
        .as_array()
        .unwrap()
        .iter()
        .find(|e| e["kind"] == "session.created")
        .unwrap();
    let entry = platform
        .get(&format!("/api/v1/audit/entries/{}", created["sequence"]))
        .await
        .body;
    assert_eq!(
        entry["payloads"]["input"],
        json!({"state": "present", "value": "s3cret-input"}),
        "{entry}"
    );
    platform.stop().await;
}

/// A client that sends its head slowly or not at all must not hold up others or the end.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_does_not_hold_up_the_end() {
    let platform = Platform::start().await;
    let address = platform.running.as_ref().unwrap().address();
    let idle = tokio::net::TcpStream::connect(address).await.unwrap();
    assert_eq!(platform.get("/healthz").await.status, StatusCode::OK);
    tokio::time::timeout(Duration::from_secs(20), platform.stop())
        .await
        .expect("ends in time");
    drop(idle);
}

/// Auditors verify the journal; they are not given the secrets that may have got into it.
#[tokio::test(flavor = "multi_thread")]
async fn payloads_are_redacted_for_whoever_only_looks() {
    let platform = Platform::start().await;
    let input = json!({"note": "password=hunter2hunter2", "api_key": "k1"});
    let task = json!({"task_id": "t", "agent": "finder", "input": input});
    assert_eq!(
        platform.post("/api/v1/tasks", &task).await.status,
        StatusCode::CREATED
    );
    let done = platform
        .until("/api/v1/tasks/t", |task| task["status"] == "completed")
        .await;
    let session = done["session"]
        .as_str()
        .or(done["session_id"].as_str())
        .unwrap()
        .to_owned();
    let created = platform
        .get(&format!(
            "/api/v1/audit/entries?session={session}&kind=session.created"
        ))
        .await
        .body;
    let entry = format!("/api/v1/audit/entries/{}", created["entries"][0]["sequence"]);
    let output = format!("/api/v1/sessions/{session}/output");
    let table = [
        ("admin", &entry, true),
        ("auditor", &entry, false),
        ("admin", &output, true),
        ("operator", &output, true),
        ("approver", &output, true),
        ("auditor", &output, false),
        ("viewer", &output, false),
    ];
    for (role, path, plain) in table {
        let token = platform
            .token(json!({"principal": format!("person:{role}"), "roles": [role]}))
            .await;
        let answer = platform.send(Method::GET, path, Some(&token), None).await;
        assert_eq!(answer.status, StatusCode::OK, "{role} {path}: {answer:?}");
        let text = answer.body.to_string();
        assert_eq!(text.contains("hunter2"), plain, "{role} {path}: {text}");
        assert_eq!(text.contains("k1"), plain, "{role} {path}: {text}");
        assert_eq!(text.contains("[REDACTED]"), !plain, "{role} {path}: {text}");
    }
    platform.stop().await;
}
