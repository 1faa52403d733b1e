//! A write that waits for a person, from the API's side.

use crate::common::{DOCUMENTS, Platform, notification};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// An agent that proposes a file in `repository`, and a rule that asks a person each time, as `asks` says more.
fn documents(repository: &std::path::Path, asks: &str) -> String {
    format!(
        r#"{DOCUMENTS}---
apiVersion: cofferdam.dev/v1
kind: Toolset
metadata: {{name: change}}
spec:
  tools: [{{type: git, name: service, path: {}, propose: true}}]
---
apiVersion: cofferdam.dev/v1
kind: Policy
metadata: {{name: changes}}
spec:
  rules:
    - {{name: ask, match: {{verbs: [git.propose]}}, outcome: require_approval, reason: a person looks{asks}}}
---
apiVersion: cofferdam.dev/v1
kind: Agent
metadata: {{name: changer}}
spec:
  sponsor: carol
  toolsets: [change]
  autonomy: {{default: L2}}
  runbook:
    steps:
      - name: proposal
        tool: git.propose
        arguments:
          base: main
          title: Add a file
          message: because
          files: [{{path: new.txt, content: "s3cret"}}]
    output: {{branch: "{{{{ steps.proposal.output.branch }}}}"}}
---
apiVersion: cofferdam.dev/v1
kind: Trigger
metadata: {{name: changes}}
spec: {{source: alertmanager, agent: changer}}
"#,
        repository.display()
    )
}

pub struct World {
    pub platform: Platform,
    repository: std::path::PathBuf,
}

pub async fn world() -> World {
    world_asking("", "").await
}

/// The same with more in the rule, and more documents.
pub async fn world_asking(asks: &str, more: &str) -> World {
    let directory = tempfile::tempdir().unwrap();
    let repository = directory.path().join("service");
    std::fs::create_dir(&repository).unwrap();
    git(&repository, &["init", "--quiet", "--initial-branch=main"]);
    let who = ["-c", "user.name=x", "-c", "user.email=x@invalid"];
    git(
        &repository,
        &[&who[..], &["commit", "--quiet", "--allow-empty", "-m", "Begin"]].concat(),
    );
    let config = directory.path().join("cofferdam.yaml");
    std::fs::write(&config, documents(&repository, asks) + more).unwrap();
    let platform = Platform::start_in(directory, |options| options.config = Some(config)).await;
    World { platform, repository }
}

fn git(repository: &std::path::Path, arguments: &[&str]) -> String {
    let run = std::process::Command::new("git")
        .arg("-C")
        .arg(repository)
        .args(arguments)
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8(run.stdout).unwrap()
}

impl World {
    /// An alert starts the agent.
    pub async fn start(&self) {
        let trigger = self.platform.token(json!({"trigger": "changes"})).await;
        let body = notification("Broken", "firing", "critical")
            .to_string()
            .into_bytes();
        let sent = self
            .platform
            .send(Method::POST, "/hooks/alertmanager", Some(&trigger), Some(body))
            .await;
        assert!(sent.status.is_success(), "{sent:?}");
    }

    /// The same; gives the approval that it waits for.
    pub async fn parked(&self) -> Value {
        self.start().await;
        let list = self
            .platform
            .until("/api/v1/approvals", |list| list[0]["state"] == "pending")
            .await;
        list[0].clone()
    }

    async fn decide(&self, verdict: &str, id: &Value, token: &str) -> crate::common::Answer {
        let path = format!("/api/v1/approvals/{}/{verdict}", id.as_str().unwrap());
        self.platform
            .send(
                Method::POST,
                &path,
                Some(token),
                Some(br#"{"reason": "looked at it"}"#.to_vec()),
            )
            .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proposed_change_waits_is_shown_whole_and_happens_once_after_a_yes() {
    let world = world().await;
    let platform = &world.platform;
    let approval = world.parked().await;
    assert!(
        approval["action"].is_null(),
        "a list holds no arguments: {approval}"
    );
    let path = format!("/api/v1/approvals/{}", approval["id"].as_str().unwrap());
    let shown = platform.get(&path).await.body;
    assert!(
        shown["action"].to_string().contains("s3cret"),
        "whoever decides sees the exact action: {shown}"
    );
    let viewer = platform
        .token(json!({"principal": "vera", "roles": ["viewer"]}))
        .await;
    let seen = platform.send(Method::GET, &path, Some(&viewer), None).await.body;
    assert!(seen["action"].is_null() && seen["id"] == approval["id"], "{seen}");
    assert_eq!(
        world.decide("approve", &approval["id"], &viewer).await.status,
        StatusCode::FORBIDDEN
    );
    assert!(
        git(&world.repository, &["branch", "--list", "cofferdam/*"]).is_empty(),
        "nothing happened yet"
    );

    let approver = platform
        .token(json!({"principal": "bob", "roles": ["approver"]}))
        .await;
    let approved = world.decide("approve", &approval["id"], &approver).await;
    assert_eq!(
        (approved.status, &approved.body["decided_by"]),
        (StatusCode::OK, &json!("person:bob")),
        "{approved:?}"
    );
    let session = format!("/api/v1/sessions/{}", approval["session"].as_str().unwrap());
    let done = platform
        .until(&session, |session| session["state"] == "completed")
        .await;
    assert_eq!(
        (&done["calls"][0]["outcome"], &done["calls"][0]["approval"]),
        (&json!("success"), &approval["id"]),
        "{done}"
    );
    let branch = platform.get(&format!("{session}/output")).await.body["branch"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        git(&world.repository, &["show", &format!("{branch}:new.txt")]),
        "s3cret"
    );
    let late = world.decide("deny", &approval["id"], &approver).await;
    assert_eq!(
        late.status,
        StatusCode::CONFLICT,
        "what is spent cannot be taken back: {late:?}"
    );
    world.platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_causes_a_change_cannot_approve_it_and_a_no_ends_it() {
    let world = world().await;
    let platform = &world.platform;
    let task = platform
        .post(
            "/api/v1/tasks",
            &json!({"task_id": "t", "agent": "changer", "input": {}}),
        )
        .await;
    assert_eq!(task.status, StatusCode::CREATED, "{task:?}");
    let list = platform
        .until("/api/v1/approvals", |list| list[0]["state"] == "pending")
        .await;
    let own = world.decide("approve", &list[0]["id"], &platform.admin).await;
    assert_eq!(own.status, StatusCode::FORBIDDEN, "{own:?}");
    assert!(
        own.body["detail"]
            .as_str()
            .unwrap()
            .contains("person:alice caused this action"),
        "{own:?}"
    );
    let waiting = platform.get("/api/v1/tasks/t").await.body;
    assert_eq!(waiting["status"], "waiting", "{waiting}");
    let approver = platform
        .token(json!({"principal": "bob", "roles": ["approver"]}))
        .await;
    assert_eq!(
        world.decide("deny", &list[0]["id"], &approver).await.status,
        StatusCode::OK
    );
    let failed = platform
        .until("/api/v1/tasks/t", |task| task["status"] == "failed")
        .await;
    assert!(
        failed["error"]["message"]
            .as_str()
            .unwrap()
            .contains("looked at it"),
        "{failed}"
    );
    assert!(git(&world.repository, &["branch", "--list", "cofferdam/*"]).is_empty());
    world.platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_session_survives_a_restart_and_can_be_cancelled() {
    let mut world = world().await;
    let approval = world.parked().await;
    let session = format!("/api/v1/sessions/{}", approval["session"].as_str().unwrap());
    world.platform = world.platform.restart().await;
    let still = world.platform.get("/api/v1/approvals").await.body;
    assert_eq!(
        (&still[0]["id"], &still[0]["state"]),
        (&approval["id"], &json!("pending"))
    );
    let cancelled = world
        .platform
        .post(&format!("{session}/cancel"), &json!({"reason": "not needed"}))
        .await;
    assert_eq!(
        (cancelled.status, &cancelled.body["state"]),
        (StatusCode::OK, &json!("cancelled")),
        "{cancelled:?}"
    );
    let again = world
        .platform
        .post(&format!("{session}/cancel"), &json!({}))
        .await;
    assert_eq!(again.status, StatusCode::CONFLICT, "{again:?}");
    let missing = world
        .platform
        .post("/api/v1/sessions/ses-999999/cancel", &json!({}))
        .await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND, "{missing:?}");
    let resolve = json!({"resolution": "not_done", "reason": "looked"});
    let resolved = world.platform.post(&format!("{session}/resolve"), &resolve).await;
    assert_eq!(
        resolved.status,
        StatusCode::CONFLICT,
        "nothing is uncertain: {resolved:?}"
    );
    world.platform.stop().await;
}

/// To compute what an action is, a tool may read the world; whoever asks what the gate would say of it
/// does not get to read what the tool read.
#[tokio::test(flavor = "multi_thread")]
async fn an_explanation_shows_the_question_and_not_what_the_tool_read() {
    let world = world().await;
    let platform = &world.platform;
    std::fs::write(world.repository.join("config.txt"), "the old line\n").unwrap();
    git(&world.repository, &["add", "config.txt"]);
    let who = ["-c", "user.name=x", "-c", "user.email=x@invalid"];
    git(
        &world.repository,
        &[&who[..], &["commit", "--quiet", "-m", "Configure"]].concat(),
    );
    let arguments = json!({
        "base": "main", "title": "t", "message": "m",
        "files": [{"path": "config.txt", "content": "new\n"}],
    });
    let body = json!({"agent": "changer", "verb": "git.propose", "arguments": arguments});
    let ask = async |roles: Value| {
        let token = platform
            .token(json!({"principal": "oscar", "roles": roles}))
            .await;
        let body = body.to_string().into_bytes();
        platform
            .send(Method::POST, "/api/v1/explain", Some(&token), Some(body))
            .await
    };
    let answer = ask(json!(["operator"])).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(
        answer.body["outcome"], "require_approval",
        "the tool computed it: {answer:?}"
    );
    assert_eq!(answer.body["action"]["arguments"], arguments, "{answer:?}");
    assert_eq!(answer.body["action"]["effect"], "write", "{answer:?}");
    assert!(!answer.body.to_string().contains("the old line"), "{answer:?}");
    assert_eq!(ask(json!(["viewer"])).await.status, StatusCode::FORBIDDEN);
    platform
        .running
        .as_ref()
        .unwrap()
        .app()
        .explaining
        .forget_permits(4);
    let busy = ask(json!(["operator"])).await;
    assert_eq!(busy.status, StatusCode::TOO_MANY_REQUESTS, "{busy:?}");
}

/// Whoever decides may name the action that was shown; about another nothing is decided.
#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_about_another_action_than_the_one_shown_is_refused() {
    let world = world().await;
    let approval = world.parked().await;
    let path = format!("/api/v1/approvals/{}", approval["id"].as_str().unwrap());
    let shown = world.platform.get(&path).await.body;
    let right = policy::canonical::hex(&policy::canonical::digest(&shown["action"]).unwrap());
    let token = world
        .platform
        .token(json!({"principal": "bob", "roles": ["approver"]}))
        .await;
    let (other, cut) = ("0".repeat(64), right[..63].to_owned());
    for (verdict, digest, status, state) in [
        ("approve", &other, StatusCode::CONFLICT, "pending"),
        ("deny", &cut, StatusCode::CONFLICT, "pending"),
        ("deny", &right, StatusCode::OK, "denied"),
    ] {
        let body = json!({"reason": "", "digest": digest}).to_string().into_bytes();
        let answer = world
            .platform
            .send(
                Method::POST,
                &format!("{path}/{verdict}"),
                Some(&token),
                Some(body),
            )
            .await;
        assert_eq!(answer.status, status, "{digest}: {answer:?}");
        if status != StatusCode::OK {
            assert_eq!(
                answer.body["type"], "urn:cofferdam:problem:another_action",
                "{answer:?}"
            );
        }
        assert_eq!(world.platform.get(&path).await.body["state"], state, "{digest}");
    }
    world.platform.stop().await;
}
