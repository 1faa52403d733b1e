//! An outside system that approves, over real HTTP: it is told, signs its answer, and the change lands; and what
//! each bad answer gets.

use crate::approvals::{World, world_asking};
use crate::common::{Answer, Platform, answer, notification};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};
use reqwest::Method;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};

const KEY: [u8; 32] = [1; 32];

/// A ticket system, as whoever writes one would write it.
#[derive(Default)]
struct Tickets {
    /// Where answers go; while it is empty nobody answers.
    platform: Mutex<String>,
    letters: Mutex<Vec<Value>>,
    http: reqwest::Client,
}

async fn letter(State(tickets): State<Arc<Tickets>>, body: Bytes) {
    let letter: Value = serde_json::from_slice(&body).unwrap();
    tickets.letters.lock().unwrap().push(letter.clone());
    let platform = tickets.platform.lock().unwrap().clone();
    if !platform.is_empty() && letter["answer"].is_object() {
        let (to, body) = answer_to(&letter, "approve");
        let url = format!("{platform}{to}");
        // The delivery is taken first: nobody answers within it.
        tokio::spawn(async move { send(&tickets.http, &url, KEY, &body).await });
    }
}

/// What it answers, and where to.
fn answer_to(letter: &Value, decision: &str) -> (String, Value) {
    let asked = &letter["answer"];
    let body = json!({
        "version": 1, "approval": asked["approval"], "digest": asked["digest"], "nonce": asked["nonce"],
        "stages": asked["stages"], "decision": decision, "reason": "CHG-1",
    });
    (asked["to"].as_str().unwrap().to_owned(), body)
}

async fn send(http: &reqwest::Client, url: &str, key: [u8; 32], body: &Value) -> Answer {
    let now = std::process::Command::new("date").arg("+%s").output().unwrap();
    let now = String::from_utf8(now.stdout).unwrap().trim().to_owned();
    let body = body.to_string();
    let signature = SigningKey::from_bytes(&key).sign(format!("msg_1.{now}.{body}").as_bytes());
    let request = http
        .post(url)
        .header("webhook-id", "msg_1")
        .header("webhook-timestamp", now)
        .header(
            "webhook-signature",
            format!("v1a,{}", STANDARD.encode(signature.to_bytes())),
        );
    answer(request.body(body).send().await.unwrap()).await
}

/// A platform whose agent's change asks the ticket system, and a log that approves nothing.
async fn asking(approvers: &str) -> (World, Arc<Tickets>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/letters", listener.local_addr().unwrap());
    let tickets = Arc::<Tickets>::default();
    let app = Router::new()
        .route("/letters", post(letter))
        .with_state(Arc::clone(&tickets));
    tokio::spawn(async move { axum::serve(listener, app).await });
    let secrets = tempfile::tempdir().unwrap().keep();
    let secret = secrets.join("hmac");
    std::fs::write(&secret, "a secret of the test").unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let public = STANDARD.encode(SigningKey::from_bytes(&KEY).verifying_key().to_bytes());
    let channels = format!(
        r#"---
apiVersion: cofferdam.dev/v1
kind: Channel
metadata: {{name: tickets}}
spec:
  type: webhook
  url: {url}
  secretRef: {{file: {}}}
  private: true
  approver: {{publicKey: whpk_{public}}}
---
apiVersion: cofferdam.dev/v1
kind: Channel
metadata: {{name: log}}
spec: {{type: log}}
"#,
        secret.display()
    );
    let world = world_asking(&format!(", approvers: {approvers}"), &channels).await;
    (world, tickets)
}

async fn told(tickets: &Tickets) -> Value {
    for _ in 0..600 {
        if let Some(letter) = tickets.letters.lock().unwrap().first() {
            return letter.clone();
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("nobody was told");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_system_approves_and_so_does_a_person_whom_the_level_asks_and_the_change_lands() {
    let (world, tickets) = asking("[{webhook: tickets}]").await;
    let platform = &world.platform;
    *tickets.platform.lock().unwrap() = platform.url("");
    world.start().await;
    let list = platform
        .until("/api/v1/approvals", |list| !list[0]["votes"].is_null())
        .await;
    let (approval, vote) = (&list[0], &list[0]["votes"][0]);
    assert_eq!(
        approval["state"], "pending",
        "its level asks a person as well: {approval}"
    );
    assert_eq!(
        (&vote["by"], &vote["reason"]),
        (&json!("service:channel/tickets"), &json!("CHG-1"))
    );
    let bob = platform
        .token(json!({"principal": "bob", "roles": ["approver"]}))
        .await;
    let path = format!("/api/v1/approvals/{}/approve", approval["id"].as_str().unwrap());
    let said = platform
        .send(Method::POST, &path, Some(&bob), Some(b"{}".to_vec()))
        .await;
    assert_eq!(said.body["decided_by"], "person:bob", "{said:?}");
    let session = approval["session"].as_str().unwrap();
    let path = format!("/api/v1/sessions/{session}");
    platform.until(&path, |view| view["state"] == "completed").await;
    let letters = tickets.letters.lock().unwrap().clone();
    let asked = &letters[0];
    let waits_for = asked["approval"]["waits_for"].as_str().unwrap();
    assert!(waits_for.starts_with("webhook:tickets; and "), "{waits_for}");
    assert!(!asked.to_string().contains("s3cret"), "no arguments");
    let events = ["approval.requested", "approval.voted"];
    let open = |letter: &&Value| events.iter().any(|event| letter["event"] == *event);
    let mut decided = letters.iter().filter(|letter| !open(letter));
    assert!(
        decided.all(|letter| letter["answer"].is_null()),
        "nothing is left to answer: {letters:?}"
    );
    world.platform.stop().await;
}

/// Below an organization everything is at another path, and what the ticket system is told says so.
#[tokio::test(flavor = "multi_thread")]
async fn in_an_organization_it_is_told_where_that_one_is_answered() {
    let (World { platform, .. }, tickets) = asking("[{webhook: tickets}]").await;
    let config = std::fs::read_to_string(platform.directory.path().join("cofferdam.yaml")).unwrap();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&config).unwrap();
    let directory = platform.stopped().await;
    let platform = Platform::start_in(directory, |options| {
        options.organizations = vec!["acme".to_owned()];
    })
    .await;
    *tickets.platform.lock().unwrap() = platform.url("");
    let data = cofferdam::app::organizations::directory(&platform.data_dir(), "acme");
    let admin = std::fs::read_to_string(data.join("admin.token")).unwrap();
    let send = async |token: &str, path: &str, body: Value| {
        let path = format!("/organizations/acme{path}");
        let body = body.to_string().into_bytes();
        let sent = platform
            .send(Method::POST, &path, Some(token.trim()), Some(body))
            .await;
        assert!(sent.status.is_success(), "{path}: {sent:?}");
        sent.body
    };
    send(&admin, "/api/v1/documents", json!({"documents": documents})).await;
    let trigger = send(&admin, "/api/v1/tokens", json!({"trigger": "changes"})).await;
    let secret = trigger["secret"].as_str().unwrap();
    send(
        secret,
        "/hooks/alertmanager",
        notification("Broken", "firing", "critical"),
    )
    .await;
    let letter = told(&tickets).await;
    assert_eq!(
        letter["answer"]["to"],
        "/organizations/acme/hooks/approvals/tickets"
    );
    let path = "/organizations/acme/api/v1/approvals";
    let mut voted = Value::Null;
    for _ in 0..200 {
        let list = platform
            .send(Method::GET, path, Some(admin.trim()), None)
            .await
            .body;
        voted = list[0]["votes"][0]["by"].clone();
        if !voted.is_null() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(voted, "service:channel/tickets");
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_an_answer_is_refused_and_unauthenticated_ones_are_counted_only() {
    let (world, tickets) = asking("[{webhook: tickets}, alice]").await;
    let platform = &world.platform;
    world.start().await;
    let (to, good) = answer_to(&told(&tickets).await, "approve");
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        body
    };
    let conflicting = with("decision", json!("deny"));
    #[rustfmt::skip]
    let table = [
        // where to                signed by  body                                         status  what it says
        ("/hooks/approvals/none",  KEY,       good.clone(),                                401, "urn:cofferdam:problem:unauthenticated"),
        ("/hooks/approvals/log",   KEY,       good.clone(),                                401, "urn:cofferdam:problem:unauthenticated"),
        (to.as_str(),              [9; 32],   good.clone(),                                401, "urn:cofferdam:problem:unauthenticated"),
        (to.as_str(),              KEY,       with("by", json!("person:alice")),           400, "urn:cofferdam:problem:malformed"),
        (to.as_str(),              KEY,       with("reason", json!("x".repeat(20_000))),   413, "urn:cofferdam:problem:too_large"),
        (to.as_str(),              KEY,       with("nonce", json!("x")),                   403, "urn:cofferdam:problem:not_asked"),
        (to.as_str(),              KEY,       with("approval", json!("apr-999999")),       403, "urn:cofferdam:problem:not_asked"),
        (to.as_str(),              KEY,       with("digest", json!("x")),                  409, "urn:cofferdam:problem:another_action"),
        (to.as_str(),              KEY,       with("stages", json!([])),                   409, "urn:cofferdam:problem:another_stage"),
        (to.as_str(),              KEY,       good.clone(),                                200, ""),
        (to.as_str(),              KEY,       good.clone(),                                200, ""),
        (to.as_str(),              KEY,       conflicting,                                 409, "urn:cofferdam:problem:conflict"),
    ];
    for (to, key, body, status, kind) in table {
        let answer = send(&platform.http, &platform.url(to), key, &body).await;
        let told = answer.body["type"].as_str().unwrap_or_default();
        assert_eq!(
            (answer.status.as_u16(), told),
            (status, kind),
            "{to} {body}: {answer:?}"
        );
        if status == 401 {
            let detail = "send an answer that the approver of this channel signed";
            assert_eq!(answer.body["detail"], detail, "the same for whoever is not known");
        }
        if status == 200 {
            assert_eq!(
                answer.body,
                json!({"approval": good["approval"], "decision": "approve"})
            );
        }
    }
    let unsigned = platform
        .http
        .post(platform.url(&to))
        .body(good.to_string())
        .send()
        .await;
    assert_eq!(unsigned.unwrap().status(), 401);
    let metrics = platform.get("/metrics").await.body;
    assert!(
        metrics
            .as_str()
            .unwrap()
            .contains("cofferdam_unauthenticated_total 4\n"),
        "{metrics}"
    );
    let entries = platform
        .get("/api/v1/audit/entries?limit=1000")
        .await
        .body
        .to_string();
    assert_eq!(
        entries.matches("\"approval.voted\"").count(),
        1,
        "one vote, and no trace of the others"
    );
    world.platform.stop().await;
}
