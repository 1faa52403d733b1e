//! Redeeming a delegation over HTTP: what an agent's own program sends, and what it may do with the answer.

use crate::common::{Answer, DOCUMENTS, Platform, answer};
use gate::AgentKey;
use gate::delegations::proof::prove;
use reqwest::{Method, StatusCode};
use serde_json::json;
use store::clock::SystemClock;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// With a second agent that could do the same.
async fn platform() -> Platform {
    let directory = tempfile::tempdir().unwrap();
    let agent = DOCUMENTS
        .split("---\n")
        .find(|text| text.contains("kind: Agent"))
        .unwrap();
    let text = format!("{DOCUMENTS}---\n{}", agent.replace("finder", "scout"));
    let config = directory.path().join("cofferdam.yaml");
    std::fs::write(&config, text).unwrap();
    Platform::start_in(directory, |options| options.config = Some(config)).await
}

async fn redeem(platform: &Platform, grant: &str, chain: &str, proof: Option<&str>) -> Answer {
    let form = format!("grant_type={grant}&subject_token_type={JWT}&subject_token={chain}");
    let mut request = platform
        .http
        .request(Method::POST, platform.url("/api/v1/token"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form);
    if let Some(proof) = proof {
        request = request.header("dpop", proof);
    }
    answer(request.send().await.unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_redeems_its_delegation_and_acts_as_itself_alone() {
    let platform = platform().await;
    let finder = platform.get("/api/v1/agents/finder").await.body;
    let held = &finder["grants"][0]["capability"];
    let new = json!({"from": "finder", "to": "scout", "capabilities": [held], "ttl_seconds": 600});
    let made = platform.post("/api/v1/delegations", &new).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    let (chain, delegation) = (made.body["token"].as_str().unwrap(), &made.body["id"]);
    let scout = platform.get("/api/v1/agents/scout").await.body;
    let file = format!(
        "data-keys/agents/{}.key",
        scout["keys"][0]["id"].as_str().unwrap()
    );
    let seed: [u8; 32] = std::fs::read(platform.directory.path().join(file))
        .unwrap()
        .try_into()
        .unwrap();
    let (key, now) = (AgentKey::from_seed(&seed), SystemClock::shared().now());
    let proof = |url: &str| prove(&key, "POST", url, chain, now, &[1; 16]).unwrap();
    let good = proof(&platform.url("/api/v1/token"));
    let elsewhere = proof("http://evil.example/api/v1/token");
    #[rustfmt::skip]
    let table = [
        ("another grant",        "password", Some(&good),      "unsupported_grant_type", "grant_type has to be"),
        ("no proof",             GRANT,      None,             "invalid_dpop_proof",     "send one proof"),
        ("a proof of elsewhere", GRANT,      Some(&elsewhere), "invalid_dpop_proof",     "the proof is for another request"),
        ("as it should be",      GRANT,      Some(&good),      "",                       ""),
        ("twice",                GRANT,      Some(&good),      "invalid_grant",          "the token was redeemed before"),
    ];
    let mut token = String::new();
    for (name, grant, proof, error, description) in table {
        let got = redeem(&platform, grant, chain, proof.map(String::as_str)).await;
        if error.is_empty() {
            assert_eq!(got.status, StatusCode::OK, "{name}: {got:?}");
            assert_eq!(
                (&got.body["agent"], &got.body["token_type"]),
                (&json!("scout"), &json!("Bearer"))
            );
            token = got.body["access_token"].as_str().unwrap().to_owned();
            continue;
        }
        assert_eq!(
            (got.status, &got.body["error"]),
            (StatusCode::BAD_REQUEST, &json!(error)),
            "{name}"
        );
        assert!(
            got.body["error_description"]
                .as_str()
                .unwrap()
                .contains(description),
            "{name}: {got:?}"
        );
    }
    let send = async |method: Method, path: &str, body: serde_json::Value| {
        let body = (method == Method::POST).then(|| body.to_string().into_bytes());
        platform.send(method, path, Some(&token), body).await
    };
    let me = send(Method::GET, "/api/v1/whoami", json!(null)).await.body;
    assert_eq!(me["principal"], json!("agent:scout"), "{me}");
    assert_eq!(
        (&me["delegation"]["id"], &me["roles"]),
        (delegation, &json!(["agent"]))
    );
    let theirs = platform
        .post("/api/v1/tasks", &json!({"agent": "scout", "input": 1}))
        .await
        .body;
    let theirs = format!("/api/v1/tasks/{}", theirs["id"].as_str().unwrap());
    let ask = |agent: &str| json!({"agent": agent, "verb": "incidents.search", "arguments": {"words": "x"}});
    let task = |agent: &str| json!({"agent": agent, "input": {"a": 1}, "task_id": "mine"});
    #[rustfmt::skip]
    let table = [
        ("what it can",             Method::POST, "/api/v1/explain",     ask("scout"),   StatusCode::OK),
        ("what another can",        Method::POST, "/api/v1/explain",     ask("finder"),  StatusCode::FORBIDDEN),
        ("a task for another",      Method::POST, "/api/v1/tasks",       task("finder"), StatusCode::FORBIDDEN),
        ("a task for itself",       Method::POST, "/api/v1/tasks",       task("scout"),  StatusCode::CREATED),
        ("its own task",            Method::GET,  "/api/v1/tasks/mine",  json!(null),    StatusCode::OK),
        ("somebody else's task",    Method::GET,  theirs.as_str(),       json!(null),    StatusCode::NOT_FOUND),
        ("other agents",            Method::GET,  "/api/v1/agents",      json!(null),    StatusCode::FORBIDDEN),
        ("a delegation",            Method::POST, "/api/v1/delegations", json!({}),      StatusCode::FORBIDDEN),
    ];
    for (name, method, path, body, status) in table {
        let got = send(method, path, body).await;
        assert_eq!(got.status, status, "{name}: {got:?}");
    }
    let done = platform
        .until("/api/v1/tasks/mine", |task| {
            task["status"] != "queued" && task["status"] != "running"
        })
        .await;
    assert_eq!(done["status"], "completed", "{done}");
    let id = delegation.as_str().unwrap();
    platform
        .post(
            &format!("/api/v1/delegations/{id}/revoke"),
            &json!({"reason": "done"}),
        )
        .await;
    let gone = send(Method::GET, "/api/v1/whoami", json!(null)).await;
    assert_eq!(gone.status, StatusCode::UNAUTHORIZED, "revoked: {gone:?}");
    platform.stop().await;
}

/// Whoever received a proof elsewhere cannot show it here by sending along the name that it was made for.
#[tokio::test(flavor = "multi_thread")]
async fn a_proof_is_of_a_name_that_this_server_knows_itself_by() {
    let platform = platform().await;
    let (own, port) = (
        platform.url("/api/v1/token"),
        reqwest::Url::parse(&platform.url("/")).unwrap().port().unwrap(),
    );
    let send = async |host: String| {
        let request = platform
            .http
            .request(Method::POST, &own)
            .header("host", host)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("dpop", "a.b.c")
            .body(format!(
                "grant_type={GRANT}&subject_token_type={JWT}&subject_token=a.b.c"
            ));
        answer(request.send().await.unwrap()).await
    };
    #[rustfmt::skip]
    let table = [
        (format!("127.0.0.1:{port}"),                true),
        (format!("localhost:{port}"),                true),
        (format!("LOCALHOST:{port}"),                true),
        (format!("[::1]:{port}"),                    true),
        (format!("10.9.8.7:{port}"),                 false),
        (format!("[2001:db8::1]:{port}"),            false),
        (format!("127.0.0.1:{}", port ^ 1),          false),
        (format!("localhost:{}", port ^ 1),          false),
        ("localhost".to_owned(),                     false),
    ];
    for (host, ours) in table {
        let got = send(host.clone()).await;
        assert_eq!(got.status, StatusCode::BAD_REQUEST, "{host}: {got:?}");
        let detail = got.body["detail"].as_str().unwrap();
        assert_eq!(
            detail.contains("does not know itself by that name"),
            !ours,
            "{host}: {detail}"
        );
    }
    platform.stop().await;
    let platform = Platform::start_in(tempfile::tempdir().unwrap(), |options| {
        options.hosts = vec!["Cofferdam.example".to_owned()];
    })
    .await;
    let request = platform
        .http
        .request(Method::POST, platform.url("/api/v1/token"))
        .header("host", "cofferdam.example")
        .header("content-type", "application/x-www-form-urlencoded")
        .header("dpop", "a.b.c")
        .body(format!(
            "grant_type={GRANT}&subject_token_type={JWT}&subject_token=a.b.c"
        ));
    let got = answer(request.send().await.unwrap()).await;
    assert_eq!(
        got.body["error"], "invalid_grant",
        "a name that it was told: {got:?}"
    );
    platform.stop().await;
}

/// A stranger's body is read as far as a redemption can need, and no further.
#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_is_too_long_is_refused_before_it_is_read() {
    let platform = platform().await;
    let table = [
        (39 * 1024, StatusCode::BAD_REQUEST),
        (41 * 1024, StatusCode::PAYLOAD_TOO_LARGE),
        (900 * 1024, StatusCode::PAYLOAD_TOO_LARGE),
    ];
    for (length, status) in table {
        let request = platform
            .http
            .request(Method::POST, platform.url("/api/v1/token"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body("a".repeat(length));
        let got = answer(request.send().await.unwrap()).await;
        assert_eq!(got.status, status, "{length}: {got:?}");
    }
    platform.stop().await;
}
