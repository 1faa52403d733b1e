//! Whether a peer is who it says: ten checks, each failed once, and what is remembered of one that held.

use crate::common::{DOCUMENTS, Platform};
use gate::AgentKey;
use gate::handshake::{Challenge, Failed, Response, respond, signed_text};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use testkit::ManualClock;

const PEERS: &str = r#"
---
apiVersion: cofferdam.dev/v1
kind: Agent
metadata: {name: other}
spec: {sponsor: alice, toolsets: [search], runbook: {steps: [{name: found, tool: incidents.search, arguments: {words: x}}]}}
---
apiVersion: cofferdam.dev/v1
kind: Agent
metadata: {name: weak}
spec:
  sponsor: alice
  toolsets: [search]
  trust: {ceiling: 399}
  runbook: {steps: [{name: found, tool: incidents.search, arguments: {words: x}}]}
"#;

struct World {
    platform: Platform,
    clock: Arc<ManualClock>,
}

/// An agent as its own program knows it.
struct Peer {
    key: AgentKey,
    did: String,
}

impl World {
    async fn start() -> World {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("cofferdam.yaml");
        std::fs::write(&config, format!("{DOCUMENTS}{PEERS}")).unwrap();
        let clock = ManualClock::new();
        let shared: store::clock::SharedClock = clock.clone();
        let platform = Platform::start_in(directory, |options| {
            options.config = Some(config);
            options.clock = Some(shared);
        });
        World {
            platform: platform.await,
            clock,
        }
    }

    async fn peer(&self, name: &str) -> Peer {
        let shown = self.platform.get(&format!("/api/v1/agents/{name}")).await.body;
        let file = format!(
            "data-keys/agents/{}.key",
            shown["keys"][0]["id"].as_str().unwrap()
        );
        let seed = std::fs::read(self.platform.directory.path().join(file)).unwrap();
        Peer {
            key: AgentKey::from_seed(&seed.try_into().unwrap()),
            did: shown["did"].as_str().unwrap().to_owned(),
        }
    }

    async fn begin(&self, body: Value) -> Value {
        let begun = self.platform.post("/api/v1/handshakes", &body).await;
        assert!(begun.status.is_success(), "{begun:?}");
        begun.body
    }

    async fn challenge(&self, body: Value) -> Challenge {
        serde_json::from_value(self.begin(body).await).unwrap()
    }

    async fn judged(&self, challenge: &str, response: &Response) -> Value {
        let path = format!("/api/v1/handshakes/{challenge}");
        let judged = self.platform.post(&path, &json!(response)).await;
        assert_eq!(judged.status, StatusCode::OK, "{judged:?}");
        judged.body
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_ten_checks_fails_by_its_name() {
    let world = World::start().await;
    let (finder, other, weak) = (
        world.peer("finder").await,
        world.peer("other").await,
        world.peer("weak").await,
    );
    let stranger = AgentKey::from_seed(&[7; 32]);
    let own = [1; 32];
    let named = json!({"peer": "finder"});
    let mut failed = BTreeSet::new();
    let mut note = |name: &str, judged: Value, check: Failed| {
        assert_eq!(
            (&judged["verified"], &judged["check"]),
            (&json!(false), &json!(check.code())),
            "{name}: {judged}"
        );
        assert_eq!(judged["reason"], check.to_string(), "{name}");
        failed.insert(check.code());
    };

    let challenge = world.challenge(named.clone()).await;
    let good = respond(&finder.key, &finder.did, &challenge, &own);
    note(
        "another challenge",
        world.judged("chl-0", &good).await,
        Failed::UnknownChallenge,
    );
    let bob = world
        .platform
        .token(json!({"principal": "person:bob", "roles": ["viewer"]}))
        .await;
    let body = Some(json!(good).to_string().into_bytes());
    let path = format!("/api/v1/handshakes/{}", challenge.challenge);
    let asked_by_another = world.platform.send(Method::POST, &path, Some(&bob), body).await;
    note(
        "asked for by somebody else",
        asked_by_another.body,
        Failed::UnknownChallenge,
    );
    assert_eq!(world.judged(&challenge.challenge, &good).await["verified"], true);
    note(
        "twice",
        world.judged(&challenge.challenge, &good).await,
        Failed::UsedChallenge,
    );

    let fresh = json!({"peer": "finder", "fresh": true});
    let challenge = world.challenge(fresh.clone()).await;
    let late = respond(&finder.key, &finder.did, &challenge, &own);
    world.clock.advance(Duration::from_millis(30_001));
    note(
        "late",
        world.judged(&challenge.challenge, &late).await,
        Failed::Expired,
    );

    type Change = fn(&mut Response);
    let short: Change = |response| response.response_nonce.truncate(20);
    let cut: Change = |response| response.signature.truncate(80);
    let stale: Change = |response| response.freshness = None;
    let swapped: Change = |response| response.response_nonce = gate_text(&[2; 32]);
    let nothing: Change = |_| {};
    #[rustfmt::skip]
    let table = [
        ("a short nonce",             &finder.key,  &finder.did, json!({"peer": "finder", "fresh": true}), short,   Failed::Malformed),
        ("a signature cut off",       &finder.key,  &finder.did, json!({"peer": "finder", "fresh": true}), cut,     Failed::Malformed),
        ("another agent, honestly",   &other.key,   &other.did,  json!({"peer": "finder", "fresh": true}), nothing, Failed::OtherPeer),
        ("what was signed before",    &finder.key,  &finder.did, json!({"peer": "finder", "fresh": true}), stale,   Failed::NotFresh),
        ("nobody's DID",              &stranger,    &policy::did_key(&stranger.public()), json!({}),        nothing, Failed::UnknownDid),
        ("a forged DID",              &other.key,   &finder.did, json!({"peer": "finder", "fresh": true}), nothing, Failed::Signature),
        ("a forged DID, unasked",     &stranger,    &finder.did, json!({}),                                nothing, Failed::Signature),
        ("another nonce than signed", &finder.key,  &finder.did, json!({"peer": "finder", "fresh": true}), swapped, Failed::Signature),
        ("too little trust",          &weak.key,    &weak.did,   json!({"peer": "weak"}),                  nothing, Failed::Untrusted),
    ];
    for (name, key, did, body, change, check) in table {
        let challenge = world.challenge(body).await;
        let mut response = respond(key, did, &challenge, &own);
        change(&mut response);
        note(name, world.judged(&challenge.challenge, &response).await, check);
    }
    // What it signs is what the specification says.
    let challenge = world.challenge(fresh.clone()).await;
    let (id, nonce, freshness) = (
        &challenge.challenge,
        &challenge.nonce,
        challenge.freshness.as_ref().unwrap(),
    );
    assert_eq!(
        signed_text(&challenge, "did:key:z", "N"),
        format!("{id}:{nonce}:N:did:key:z:{freshness}")
    );

    let suspended = world
        .platform
        .post("/api/v1/agents/finder/suspend", &json!({"reason": "odd"}))
        .await;
    assert_eq!(suspended.status, StatusCode::OK);
    let challenge = world.challenge(named).await;
    let response = respond(&finder.key, &finder.did, &challenge, &own);
    note(
        "suspended, though it signed lately",
        world.judged(&challenge.challenge, &response).await,
        Failed::NotActive,
    );
    let all: BTreeSet<&str> = Failed::ALL.into_iter().map(Failed::code).collect();
    assert_eq!(failed, all, "each has failed once");
    world.platform.stop().await;
}

/// As a nonce is written.
fn gate_text(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_is_remembered_for_a_quarter_of_an_hour_as_long_as_it_stands() {
    let world = World::start().await;
    let finder = world.peer("finder").await;
    let named = json!({"peer": finder.did});
    let sign = async |body: &Value| {
        let challenge = world.challenge(body.clone()).await;
        let response = respond(&finder.key, &finder.did, &challenge, &[3; 32]);
        world.judged(&challenge.challenge, &response).await
    };
    let verified = sign(&named).await;
    let peer =
        json!({"agent": "finder", "did": finder.did, "level": "limited", "trust": 600, "remembered": false});
    assert_eq!(verified, json!({"verified": true, "peer": peer}));
    let again = world.begin(named.clone()).await;
    assert_eq!(
        (&again["verified"], &again["peer"]["remembered"]),
        (&json!(true), &json!(true)),
        "{again}"
    );
    let fresh = world.begin(json!({"peer": "finder", "fresh": true})).await;
    assert!(fresh["challenge"].is_string(), "it has to sign: {fresh}");
    // A signature of then by a key of then: the key that replaced it has signed nothing, and the old one verifies still.
    world.clock.advance(Duration::from_secs(15 * 60 + 1));
    assert!(world.begin(named.clone()).await["challenge"].is_string(), "over");
    assert_eq!(sign(&named).await["verified"], true);
    world
        .platform
        .post("/api/v1/agents/finder/suspend", &json!({"reason": "odd"}))
        .await;
    assert!(
        world.begin(named).await["challenge"].is_string(),
        "what stands no more is not remembered"
    );
    world.platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_challenges_wait_and_no_more() {
    let world = World::start().await;
    let ask = async || world.platform.post("/api/v1/handshakes", &json!({})).await.status;
    for _ in 0..100 {
        assert_eq!(ask().await, StatusCode::CREATED);
    }
    assert_eq!(ask().await, StatusCode::TOO_MANY_REQUESTS);
    world.clock.advance(Duration::from_millis(30_001));
    assert_eq!(ask().await, StatusCode::CREATED);
    let unknown = world
        .platform
        .post("/api/v1/handshakes", &json!({"peer": "did:key:z6MkNobody"}))
        .await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND, "{unknown:?}");
    world.platform.stop().await;
}
