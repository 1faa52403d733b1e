//! TLS that is opened: requests are seen inside it, and whoever does not play along fails by name.

use crate::servers::https;
use crate::world::{World, rules, verdict_of};
use policy::{Level, Principal, StopScope};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

fn rule(port: u16) -> Value {
    json!([{
        "name": "api", "hosts": ["api.test"], "ports": [port], "networks": ["127.0.0.0/8"], "inspect": true,
        "methods": ["GET", "POST"], "paths": ["/v1"],
    }])
}

async fn world(level: Level) -> (World, u16, crate::servers::Seen) {
    let (address, seen, root) = https("api.test", ANSWER).await;
    let world = World::with(rules(rule(address.port())), level, json!({}), vec![root]).await;
    world.names.set("api.test", &[&["127.0.0.1"]]);
    (world, address.port(), seen)
}

/// A client that trusts the installation's authority, or nobody.
async fn client(
    world: &World,
    target: &str,
    name: &str,
    trusts: bool,
) -> std::io::Result<TlsStream<TcpStream>> {
    let tunnel = world.tunnel(target).await.unwrap();
    let mut roots = RootCertStore::empty();
    if trusts {
        let pem = world.egress.authority_pem().unwrap();
        roots
            .add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
            .unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, tunnel).await
}

async fn say(stream: &mut TlsStream<TcpStream>, bytes: &str) -> String {
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    let mut buffer = [0u8; 4096];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        all.extend_from_slice(&buffer[..length]);
    }
    String::from_utf8_lossy(&all).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_inside_tls_are_judged_one_by_one() {
    let (world, port, seen) = world(Level::L3).await;
    let target = format!("api.test:{port}");
    let request = |method: &str, path: &str, host: &str| {
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nAuthorization: Bearer mine\r\n\r\n"
        )
    };
    #[rustfmt::skip]
    let table = [
        ("GET",    "/v1/models", target.as_str(), "200"),
        ("POST",   "/v1/chat",   target.as_str(), "200"),
        ("DELETE", "/v1/chat",   target.as_str(), "403 not_granted"),
        ("GET",    "/v2",        target.as_str(), "403 not_granted"),
        ("GET",    "/v1/../v2",  target.as_str(), "403 not_granted"),
        ("GET",    "/v1/models", "evil.test",     "403 domain_fronting"),
        ("GET",    "http://api.test/v1", target.as_str(), "400 malformed"),
    ];
    for (method, path, host, expected) in table {
        let mut stream = client(&world, &target, "api.test", true).await.unwrap();
        let said = say(&mut stream, &request(method, path, host)).await;
        assert_eq!(verdict_of(&said), expected, "{method} {path} {host}: {said}");
    }
    let sent = seen.lock().unwrap().clone();
    assert_eq!(sent.len(), 2);
    let expected = format!(
        "GET /v1/models HTTP/1.1\r\nHost: api.test:{port}\r\nConnection: close\r\nAuthorization: Bearer mine\r\n\r\n"
    );
    assert_eq!(sent[0], expected);
    let permitted = world.bodies("action.permitted");
    let said: Vec<String> = permitted
        .iter()
        .map(|body| format!("{} {} {}", body["verb"], body["resource"], body["effect"]))
        .collect();
    assert_eq!(
        said,
        [
            format!("\"http.get\" \"https://api.test:{port}/v1/models\" \"read\""),
            format!("\"http.request\" \"https://api.test:{port}/v1/chat\" \"write\""),
        ]
    );
    assert!(
        world.notes().contains(&"domain_fronting".to_owned()),
        "{:?}",
        world.notes()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_only_reads_reads() {
    let (world, port, _) = world(Level::L0).await;
    let target = format!("api.test:{port}");
    for (method, expected) in [("GET", "200"), ("POST", "403 read_only")] {
        let mut stream = client(&world, &target, "api.test", true).await.unwrap();
        let request = format!("{method} /v1 HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n");
        assert_eq!(
            verdict_of(&say(&mut stream, &request).await),
            expected,
            "{method}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_requests_share_the_clients_connection_and_nothing_else() {
    let (world, port, seen) = world(Level::L3).await;
    let target = format!("api.test:{port}");
    let mut stream = client(&world, &target, "api.test", true).await.unwrap();
    let one = |path: &str, more: &str| format!("GET {path} HTTP/1.1\r\nHost: {target}\r\n{more}\r\n");
    let said = say(
        &mut stream,
        &(one("/v1/a", "") + &one("/v1/b", "Connection: close\r\n")),
    )
    .await;
    assert_eq!(said.matches("HTTP/1.1 200 OK").count(), 2, "{said}");
    assert_eq!(seen.lock().unwrap().len(), 2);
    assert_eq!(world.settled(2).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_does_not_play_along_fails_by_name() {
    let (world, port, seen) = world(Level::L3).await;
    let target = format!("api.test:{port}");
    // It trusts somebody else, as one that pins does.
    assert!(client(&world, &target, "api.test", false).await.is_err());
    // Its TLS is to another host than its connection.
    assert!(client(&world, &target, "evil.test", true).await.is_err());
    // It speaks something else.
    let mut tunnel = world.tunnel(&target).await.unwrap();
    tunnel.write_all(b"SSH-2.0-x\r\n").await.unwrap();
    let _ = tunnel.read(&mut [0; 64]).await;
    for _ in 0..200 {
        if world.notes().len() == 3 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let mut notes = world.notes();
    notes.sort();
    assert_eq!(notes, ["domain_fronting", "not_tls", "pinned"]);
    assert_eq!(seen.lock().unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_checked_as_if_nobody_stood_between() {
    // Its certificate is another host's.
    let (address, seen, root) = https("elsewhere.test", ANSWER).await;
    let port = address.port();
    for (name, roots) in [("another name", vec![root]), ("an unknown authority", Vec::new())] {
        let world = World::with(rules(rule(port)), Level::L3, json!({}), roots).await;
        world.names.set("api.test", &[&["127.0.0.1"]]);
        let target = format!("api.test:{port}");
        let mut stream = client(&world, &target, "api.test", true).await.unwrap();
        let request = format!("GET /v1 HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n");
        let said = say(&mut stream, &request).await;
        assert_eq!(verdict_of(&said), "502 server_not_trusted", "{name}: {said}");
        assert_eq!(seen.lock().unwrap().len(), 0, "{name}");
    }
}

/// Where a rule has a host inspected, no other rule leaves an opaque tunnel to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_inspected_is_never_opaque() {
    let (world, port, _) = world(Level::L3).await;
    let mut all = rule(port);
    all.as_array_mut().unwrap().insert(
        0,
        json!({
            "name": "wide", "hosts": ["api.test"], "ports": [port], "networks": ["127.0.0.0/8"], "tls": false,
        }),
    );
    world.install(&rules(all));
    let mut tunnel = world.tunnel(&format!("api.test:{port}")).await.unwrap();
    tunnel.write_all(b"anything\r\n").await.unwrap();
    let _ = tunnel.read(&mut [0; 64]).await;
    assert_eq!(world.bodies("action.permitted").len(), 0);
}

/// TLS has last words, which such a client would have to read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_nothing_inside_tls_holds_up_neither_a_kill_nor_the_end() {
    let length = 32 * 1024 * 1024;
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{}",
        "x".repeat(length)
    );
    let answer: &'static str = Box::leak(answer.into_boxed_str());
    for ends in ["kill", "drain"] {
        let (address, _, root) = https("api.test", answer).await;
        let port = address.port();
        let world = World::with(rules(rule(port)), Level::L3, json!({}), vec![root]).await;
        world.names.set("api.test", &[&["127.0.0.1"]]);
        let target = format!("api.test:{port}");
        let mut stream = client(&world, &target, "api.test", true).await.unwrap();
        let asked = format!("GET /v1 HTTP/1.1\r\nHost: {target}\r\n\r\n");
        stream.write_all(asked.as_bytes()).await.unwrap();
        // Until nothing fits between them any more.
        tokio::time::sleep(Duration::from_millis(800)).await;
        assert_eq!(world.egress.open(), 1, "{ends}");
        let ending = async {
            match ends {
                "kill" => {
                    let by = Principal::person("eve");
                    drop(
                        world
                            .gate
                            .kill(&by, StopScope::Agent("guest".into()), "halt")
                            .await,
                    );
                }
                _ => world.egress.drain().await,
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(4), ending).await;
        assert!(ended.is_ok(), "{ends}: it waits for the client");
        assert_eq!(world.egress.open(), 0, "{ends}");
    }
}
