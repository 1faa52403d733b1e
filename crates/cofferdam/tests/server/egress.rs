//! The way to the network of a whole platform: documents open it and close it while it runs, and whoever asks is told.

use crate::common::{DOCUMENTS, Platform};
use cofferdam::app::Door;
use gate::NewSession;
use policy::Principal;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    port
}

fn document(port: u16) -> Value {
    json!({
        "apiVersion": "cofferdam.dev/v1", "kind": "Egress", "metadata": {"name": "echo"},
        "spec": {"agents": ["finder"], "environment": "test", "rules": [
            {"name": "echo", "hosts": ["localhost"], "ports": [port], "networks": ["127.0.0.0/8", "::1/128"], "tls": false},
        ]},
    })
}

/// A server that takes connections and says nothing for a while.
async fn silent() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(6)).await;
                drop(stream);
            });
        }
    });
    port
}

/// With an agent that waits for an answer: its sessions run.
async fn platform() -> Platform {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("cofferdam.yaml");
    let url = format!("http://127.0.0.1:{}/", silent().await);
    let documents = DOCUMENTS
        .replace(
            "{type: incidents}",
            &format!("{{type: http, allow: ['{url}'], private: true}}"),
        )
        .replace(
            "  toolsets: [search]",
            "  autonomy: {default: L3, sandboxes: [test]}\n  toolsets: [search]",
        )
        .replace("tool: incidents.search", "tool: http.get");
    let arguments = documents
        .lines()
        .find(|line| line.contains("arguments:"))
        .unwrap()
        .to_owned();
    let documents = documents
        .replace(&arguments, &format!("        arguments: {{url: '{url}'}}"))
        .replace("{{ steps.found.output.incidents | length }}", "nothing");
    std::fs::write(&config, documents).unwrap();
    Platform::start_in(directory, |options| {
        options.config = Some(config);
        options.egress = Door::At("127.0.0.1:0".parse().unwrap());
    })
    .await
}

/// A session that runs, caused by a trigger.
async fn running(platform: &Platform) -> String {
    let app = platform.running.as_ref().unwrap().app();
    let new = NewSession {
        agent: "finder".to_owned(),
        cause: Principal::service("trigger/am"),
        correlation: None,
        input: json!({}),
        title: String::new(),
        idempotency_key: None,
        urgent: false,
        taint: policy::Taints::NONE,
    };
    let session = app.gate.create_session(new).await.unwrap().0.id;
    app.runtime.wake();
    let path = format!("/api/v1/sessions/{session}");
    platform
        .until(&path, |session| session["state"] == "running")
        .await;
    session
}

/// A running session, where the proxy is, and the secret for it.
async fn way_in(platform: &Platform) -> (String, SocketAddr, String) {
    let session = running(platform).await;
    let path = format!("/api/v1/sessions/{session}/egress");
    let made = platform.post(&path, &json!({})).await;
    assert_eq!(made.status, StatusCode::OK, "{made:?}");
    let address = made.body["address"].as_str().unwrap();
    let proxy = made.body["proxy"].as_str().unwrap();
    assert!(proxy.starts_with(&format!("http://{session}:cfe_")) && proxy.ends_with(address));
    let secret = proxy.split(['@', ':']).nth(2).unwrap().to_owned();
    (session, address.parse().unwrap(), secret)
}

/// What the proxy says to a CONNECT, and the connection.
async fn connect(address: SocketAddr, target: &str, token: &str) -> (String, TcpStream) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request =
        format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: Bearer {token}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    let mut byte = [0u8];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).await.unwrap() == 1 {
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    (head.lines().next().unwrap_or_default().to_owned(), stream)
}

async fn echoes(stream: &mut TcpStream) -> bool {
    let mut back = [0u8; 4];
    stream.write_all(b"ping").await.is_ok() && stream.read_exact(&mut back).await.is_ok() && back == *b"ping"
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_open_the_way_and_close_it_at_once() {
    let platform = platform().await;
    let port = echo().await;
    let target = format!("localhost:{port}");
    let (session, address, token) = way_in(&platform).await;
    let token = token.as_str();
    // Nothing is allowed.
    let (said, _) = connect(address, &target, token).await;
    assert_eq!(
        said,
        format!("HTTP/1.1 403 no Egress document lets agent `finder` reach {target}")
    );
    let tested = json!({"agent": "finder", "target": target});
    let answer = platform.post("/api/v1/egress/test", &tested).await.body;
    assert_eq!(
        (&answer["allowed"], &answer["rule"]),
        (&json!(false), &Value::Null),
        "{answer}"
    );
    assert_eq!(answer["addresses"][0]["class"], "a loopback address");
    // A document opens it, while it runs.
    let applied = platform
        .post("/api/v1/documents", &json!({"documents": [document(port)]}))
        .await;
    assert_eq!(applied.status, StatusCode::OK, "{applied:?}");
    let answer = platform.post("/api/v1/egress/test", &tested).await.body;
    assert_eq!(
        (&answer["allowed"], &answer["rule"]),
        (&json!(true), &json!("egress/echo#echo")),
        "{answer}"
    );
    let (_, address, second) = way_in(&platform).await;
    let (said, mut tunnel) = connect(address, &target, &second).await;
    assert_eq!(said, "HTTP/1.1 200 Connection established");
    assert!(echoes(&mut tunnel).await);
    // And closes it, with what is open.
    let gone = platform
        .send(
            Method::DELETE,
            "/api/v1/documents/Egress/echo",
            Some(&platform.admin),
            None,
        )
        .await;
    assert!(gone.status.is_success(), "{gone:?}");
    assert!(!echoes(&mut tunnel).await);
    let (said, _) = connect(address, &target, token).await;
    assert!(said.starts_with("HTTP/1.1 403 "), "{said}");
    // Neither a stranger's word nor a person's token is a way in.
    for token in ["cfe_stranger", platform.admin.as_str()] {
        let (said, _) = connect(address, &target, token).await;
        assert!(said.starts_with("HTTP/1.1 407 "), "{said}");
    }
    let session = platform
        .get(&format!("/api/v1/sessions/{session}"))
        .await
        .body
        .to_string();
    assert!(!session.contains(token), "the secret is told once");
    platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_platform_ends_with_open_tunnels_and_records_them() {
    let platform = platform().await;
    let port = echo().await;
    let applied = platform
        .post("/api/v1/documents", &json!({"documents": [document(port)]}))
        .await;
    assert_eq!(applied.status, StatusCode::OK, "{applied:?}");
    let (session, address, token) = way_in(&platform).await;
    let (said, mut tunnel) = connect(address, &format!("localhost:{port}"), &token).await;
    assert_eq!(said, "HTTP/1.1 200 Connection established");
    assert!(echoes(&mut tunnel).await);
    let platform = platform.restart().await;
    assert!(!echoes(&mut tunnel).await);
    let calls = platform
        .running
        .as_ref()
        .unwrap()
        .app()
        .gate
        .calls(&session)
        .unwrap();
    let call = calls.iter().find(|call| call.verb == "connect").unwrap();
    assert_eq!(call.outcome, Some(policy::Outcome::Cancelled), "{call:?}");
    platform.stop().await;
}
