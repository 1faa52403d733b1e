//! Certificates of agents: what they say, that they identify over a real handshake, and what ends that at the next request.

use crate::certificates::{Authority, Pair};
use crate::tls::{World, client};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cofferdam::identity::ClientCertificate;
use reqwest::{Method, StatusCode};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use std::time::Duration;

/// The agent's certificate with its key, which lies with the platform.
async fn issued(world: &World, agent: &str) -> (Pair, Value) {
    let path = format!("/api/v1/agents/{agent}/svid");
    let made = world.platform.post(&path, &json!({})).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    let key = made.body["key"].as_str().unwrap();
    (
        Pair {
            certificate: made.body["certificate"].as_str().unwrap().to_owned(),
            key: key_of(world, key),
        },
        made.body,
    )
}

/// A key of an agent in PEM (RFC 8410).
fn key_of(world: &World, id: &str) -> String {
    let file = format!("data-keys/agents/{id}.key");
    let seed = std::fs::read(world.platform.directory.path().join(file)).unwrap();
    let der = [
        &b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20"[..],
        &seed,
    ]
    .concat();
    format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode(der)
    )
}

fn read(pair: &Pair) -> ClientCertificate {
    let der = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
    ClientCertificate::read(&der).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_its_certificate_and_the_bundle_is_what_signed_it() {
    let world = World::start().await;
    let (pair, svid) = issued(&world, "finder").await;
    let finder = world.platform.get("/api/v1/agents/finder").await.body;
    let did = finder["did"].as_str().unwrap();
    let id = format!("spiffe://cofferdam.local/agent/{}", did.replace(':', "."));
    assert_eq!(svid["spiffe_id"], id);
    let said = read(&pair);
    assert_eq!(
        (said.uris, said.hosts, said.common_names),
        (vec![id], vec![], vec![])
    );
    assert_eq!(said.until.to_string(), svid["expires"].as_str().unwrap());
    assert_eq!(svid["expires"], "2026-11-26T12:15:00.000Z", "fifteen minutes");
    let (again, _) = issued(&world, "finder").await;
    assert_eq!(
        again.certificate, pair.certificate,
        "asking again at once fills no journal"
    );

    let (status, me) = world.whoami(Some(&pair), None).await;
    assert_eq!((status, &me["principal"]), (200, &json!("agent:finder")), "{me}");
    assert_eq!(me["certificate"], svid["thumbprint"]);

    let bundle: Value = client(&world.servers, None)
        .get(world.platform.url("/.well-known/spiffe/bundle"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let root = STANDARD
        .decode(bundle["keys"][0]["x5c"][0].as_str().unwrap())
        .unwrap();
    assert_eq!(bundle["keys"][0]["use"], "x509-svid");
    let root = CertificateDer::from(root);
    assert_eq!(
        ClientCertificate::read(&root).unwrap().uris,
        ["spiffe://cofferdam.local"],
        "the authority is of the trust domain"
    );
    // Whoever trusts the bundle takes the certificate, by another's verification than ours.
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
    let leaf = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
    let at = rustls::pki_types::UnixTime::since_unix_epoch(Duration::from_secs(1_795_694_400));
    verifier
        .build()
        .unwrap()
        .verify_client_cert(&leaf, &[], at)
        .unwrap();
    world.platform.stop().await;
}

/// Who it is decides nothing else: it asks about itself, and gives itself no task on nobody's account.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_gives_an_agent_no_right_but_to_be_itself() {
    let world = World::start().await;
    let created = world
        .platform
        .post("/api/v1/agents", &json!({"name": "scout", "parent": "finder"}))
        .await;
    assert_eq!(created.status, StatusCode::CREATED);
    let (pair, _) = issued(&world, "finder").await;
    let http = client(&world.servers, Some(&pair));
    #[rustfmt::skip]
    let table = [
        ("another certificate for itself", Method::POST, "/api/v1/agents/finder/svid", json!({"seconds": 60}), 201),
        ("a certificate for another",      Method::POST, "/api/v1/agents/scout/svid",  json!({}), 404),
        ("one that lasts too long",        Method::POST, "/api/v1/agents/finder/svid", json!({"seconds": 901}), 400),
        ("a task for itself",              Method::POST, "/api/v1/tasks", json!({"agent": "finder", "input": 1}), 403),
        ("a task for another",             Method::POST, "/api/v1/tasks", json!({"agent": "scout", "input": 1}), 403),
        ("what it may do",                 Method::POST, "/api/v1/explain", json!({"agent": "finder", "verb": "incidents.search", "resource": "incidents"}), 200),
        ("what another may do",            Method::POST, "/api/v1/explain", json!({"agent": "scout", "verb": "incidents.search", "resource": "incidents"}), 400),
        ("the list of agents",             Method::GET,  "/api/v1/agents", Value::Null, 403),
        ("who is raised",                  Method::POST, "/api/v1/agents/finder/elevate", json!({"to": "L2", "reason": "me"}), 403),
    ];
    for (name, method, path, body, status) in table {
        let answer = http
            .request(method, world.platform.url(path))
            .json(&body)
            .send()
            .await
            .unwrap();
        assert_eq!(
            answer.status(),
            status,
            "{name}: {}",
            answer.text().await.unwrap()
        );
    }
    world.platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_the_agent_or_its_key_ends_the_certificate_at_the_next_request() {
    let world = World::start().await;
    let (pair, _) = issued(&world, "finder").await;
    // One connection, which stays open: each request is judged anew.
    let http = client(&world.servers, Some(&pair));
    let change = async |what: &str, body: Value| {
        let changed = world
            .platform
            .post(&format!("/api/v1/agents/finder/{what}"), &body)
            .await;
        assert_eq!(changed.status, StatusCode::OK, "{changed:?}");
    };
    let told = async || {
        let (status, answer) = world.ask(&http, None).await;
        (status, answer["detail"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(told().await.0, 200);
    change("suspend", json!({"reason": "odd"})).await;
    assert_eq!(told().await, (401, "agent:finder is suspended".to_owned()));
    let refused = world
        .platform
        .post("/api/v1/agents/finder/svid", &json!({}))
        .await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{refused:?}");
    assert!(
        refused.body["detail"]
            .as_str()
            .unwrap()
            .contains("it is suspended"),
        "{refused:?}"
    );
    change("resume", json!({"reason": "fine"})).await;
    assert_eq!(told().await.0, 200);
    change("rotate", json!({})).await;
    assert_eq!(told().await.0, 200, "the old key verifies for a day");
    let (newer, _) = issued(&world, "finder").await;
    assert_ne!(newer.key, pair.key, "over the new key");
    change("revoke", json!({"reason": "over"})).await;
    assert_eq!(told().await, (401, "agent:finder is revoked".to_owned()));
    world.platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_ours_or_over_or_of_another_key_names_no_agent() {
    let world = World::start().await;
    let (pair, svid) = issued(&world, "finder").await;
    let id = svid["spiffe_id"].as_str().unwrap();
    // The same name, signed by the authority of people.
    let forged = world.clients.client(id);
    let (status, told) = world.whoami(Some(&forged), None).await;
    assert_eq!(status, 401, "{told}");
    let why = "the client certificate has not exactly one address of SPIFFE that can be one here";
    assert_eq!(
        told["detail"], why,
        "a mapping of people is asked, whose trust domain is another"
    );
    // By an authority that nobody trusts: the handshake ends.
    let stranger = Authority::new("Cofferdam agents").client(id);
    let told = world.handshake(&stranger).await;
    assert!(told.contains("UnknownCA"), "{told}");
    // With another key than the certificate's: no handshake of it can be made.
    let scout = json!({"name": "scout", "parent": "finder"});
    let scout = world.platform.post("/api/v1/agents", &scout).await.body;
    let stolen = Pair {
        key: key_of(&world, scout["keys"][0]["id"].as_str().unwrap()),
        ..pair.clone()
    };
    let built = reqwest::Client::builder().identity(stolen.identity()).build();
    assert!(built.is_err(), "the library refuses the pair");
    let (status, _) = world.whoami(Some(&pair), None).await;
    assert_eq!(status, 200);
    world.clock.advance(Duration::from_secs(901));
    let http = client(&world.servers, Some(&pair));
    let (status, told) = world.ask(&http, None).await;
    assert_eq!(status, 0, "over: the handshake ends: {told}");
    world.platform.stop().await;
}
