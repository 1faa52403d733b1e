//! People of a real OpenID provider: npm's `oidc-provider`, started by the script beside this file.
//!
//! Without Node and that package (`scripts/setup` brings it) the test says so and passes, unless
//! `COFFERDAM_REQUIRE_PEERS=1`.

use crate::common::{Answer, Platform};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::Method;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// Where `scripts/setup` puts it.
pub(crate) fn packages() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    let packages = cache.join("cofferdam/oidc");
    packages
        .join("node_modules/oidc-provider")
        .exists()
        .then_some(packages)
}

/// A running one.
pub struct Provider {
    child: Child,
    pub issuer: String,
    http: reqwest::Client,
}

impl Provider {
    /// On a port of its own, or `None` where there is none to start.
    pub async fn fresh() -> Option<Provider> {
        let Some(packages) = packages() else {
            assert!(
                std::env::var_os("COFFERDAM_REQUIRE_PEERS").is_none(),
                "oidc-provider is missing"
            );
            eprintln!("oidc-provider is not installed: skipping");
            return None;
        };
        let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        Some(Provider::start(&packages, port, "first").await)
    }

    async fn start(packages: &std::path::Path, port: u16, key: &str) -> Provider {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/server/oidc-provider.mjs");
        let mut child = Command::new("node")
            .args([script, packages.to_str().unwrap(), &port.to_string(), key])
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        loop {
            let line = tokio::time::timeout(Duration::from_secs(60), lines.next_line())
                .await
                .unwrap();
            if line.unwrap().unwrap_or_else(|| panic!("the provider ended")) == "ready" {
                break;
            }
        }
        // What it says later has to go somewhere.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Provider {
            child,
            issuer: format!("http://127.0.0.1:{port}"),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }

    async fn token(&self, who: &str, resource: &str) -> String {
        let answer = self
            .http
            .post(format!("{}/token", self.issuer))
            .basic_auth(who, Some("not-a-secret-of-anybody"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!(
                "grant_type=client_credentials&scope=use&resource={resource}"
            ))
            .send()
            .await
            .unwrap();
        let body: Value = answer.json().await.unwrap();
        body["access_token"]
            .as_str()
            .unwrap_or_else(|| panic!("{body}"))
            .to_owned()
    }

    pub async fn stop(mut self) {
        self.child.kill().await.unwrap();
    }
}

fn documents(issuer: &str) -> String {
    format!(
        r#"
apiVersion: cofferdam.dev/v1
kind: IdentityProvider
metadata: {{name: corporate}}
spec:
  issuer: {issuer}
  audience: cofferdam
  roles: {{sre: [operator@acme, viewer], leads: [admin]}}
"#
    )
}

const NOBODY_NEW: &str = "the identity provider `corporate` cannot be asked, so nobody new comes in";

/// Needs no provider: there is none, which is the point.
#[tokio::test(flavor = "multi_thread")]
async fn while_the_provider_is_down_whoever_is_in_stays_to_their_end_and_nobody_new_comes() {
    let nowhere = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", nowhere.local_addr().unwrap());
    drop(nowhere);
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("cofferdam.yaml");
    std::fs::write(&config, documents(&issuer)).unwrap();
    let clock = testkit::ManualClock::new();
    let shared: store::clock::SharedClock = clock.clone();
    let platform = Platform::start_in(directory, |options| {
        options.config = Some(config);
        options.clock = Some(shared);
    })
    .await;
    let token = |who: &str| {
        let header = URL_SAFE_NO_PAD.encode(json!({"alg": "RS256", "kid": "first"}).to_string());
        let claims =
            URL_SAFE_NO_PAD.encode(json!({"iss": issuer, "aud": "cofferdam", "sub": who}).to_string());
        format!("{header}.{claims}.AAAA")
    };
    // Alice came while it was up.
    let app = platform.running.as_ref().unwrap().app();
    let new = gate::NewToken {
        principal: policy::Principal::person("corporate/alice"),
        roles: vec![gate::Role::Viewer.into()],
        groups: Vec::new(),
        trigger: None,
        expires: Some(app.gate.time().plus_ms(60_000)),
    };
    let by = policy::Principal::service("cofferdam");
    app.gate
        .take_token(&by, new, "corporate", &token("alice"))
        .await
        .unwrap();
    let answered = async |who: &str| {
        let answer = whoami(&platform, &token(who)).await;
        let said = answer.body["principal"]
            .as_str()
            .or(answer.body["detail"].as_str());
        (answer.status.as_u16(), said.unwrap_or_default().to_owned())
    };
    assert_eq!(
        answered("alice").await,
        (200, "person:corporate/alice".to_owned())
    );
    assert_eq!(answered("bob").await, (503, NOBODY_NEW.to_owned()));
    assert_eq!(
        answered("bob").await,
        (503, NOBODY_NEW.to_owned()),
        "also when it is not asked again"
    );
    clock.advance(Duration::from_secs(61));
    assert_eq!(
        answered("alice").await,
        (503, NOBODY_NEW.to_owned()),
        "to the end of the token and not past it"
    );
    platform.stop().await;
}

async fn whoami(platform: &Platform, token: &str) -> Answer {
    platform
        .send(Method::GET, "/api/v1/whoami", Some(token), None)
        .await
}

/// The token with another header, and what `sign` makes of both.
fn forged(token: &str, header: &Value, sign: impl Fn(&str) -> String) -> String {
    let claims = token.split('.').nth(1).unwrap();
    let signed = format!("{}.{claims}", URL_SAFE_NO_PAD.encode(header.to_string()));
    format!("{signed}.{}", sign(&signed))
}

#[tokio::test(flavor = "multi_thread")]
async fn people_of_a_real_provider_come_in_by_what_their_groups_may() {
    let Some(packages) = packages() else {
        assert!(
            std::env::var_os("COFFERDAM_REQUIRE_PEERS").is_none(),
            "oidc-provider is missing"
        );
        eprintln!("oidc-provider is not installed: skipping");
        return;
    };
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let provider = Provider::start(&packages, port, "first").await;
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("cofferdam.yaml");
    std::fs::write(&config, documents(&provider.issuer)).unwrap();
    let platform = Platform::start_in(directory, |options| options.config = Some(config)).await;

    let alice = provider.token("alice", "urn:ours").await;
    let brief = provider.token("alice", "urn:brief").await;
    let keys: Value = provider
        .http
        .get(format!("{}/jwks", provider.issuer))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let public = keys["keys"][0]["n"].as_str().unwrap().as_bytes().to_vec();
    let hmac = |signed: &str| {
        jsonwebtoken::crypto::sign(
            signed.as_bytes(),
            &EncodingKey::from_secret(&public),
            Algorithm::HS256,
        )
        .unwrap()
    };
    let mut changed = alice.clone();
    changed.replace_range(alice.len() - 8.., "AAAAAAAA");
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let listed = whoami(&platform, &alice).await;
    assert_eq!(listed.body["principal"], "person:corporate/alice", "{listed:?}");
    assert_eq!(listed.body["roles"], json!(["operator@acme", "viewer"]));
    #[rustfmt::skip]
    let table = [
        ("good again", alice.clone(), 200, ""),
        ("wrong audience", provider.token("alice", "urn:other").await, 401, "it is for another audience"),
        ("expired", brief, 401, "it has expired"),
        ("altered", changed, 401, "its signature is not the provider's"),
        ("alg none", forged(&alice, &json!({"alg": "none", "typ": "JWT", "kid": "first"}), |_| String::new()), 401, "its algorithm is not one of RS256, ES256, EdDSA"),
        ("HS256 with the public key", forged(&alice, &json!({"alg": "HS256", "typ": "JWT", "kid": "first"}), hmac), 401, "its algorithm is not one of RS256, ES256, EdDSA"),
        ("RS256 in name, HMAC in truth", forged(&alice, &json!({"alg": "RS256", "typ": "JWT", "kid": "first"}), hmac), 401, "its signature is not the provider's"),
        ("another algorithm than the key's", forged(&alice, &json!({"alg": "ES256", "typ": "JWT", "kid": "first"}), |_| "AAAA".into()), 401, "the provider has no such key"),
        ("a key that nobody has", forged(&alice, &json!({"alg": "RS256", "typ": "JWT", "kid": "x"}), |_| "AAAA".into()), 401, "the provider has no such key"),
        ("a logout token", forged(&alice, &json!({"alg": "RS256", "typ": "logout+jwt", "kid": "first"}), |_| "AAAA".into()), 401, "it is a token of another kind"),
        ("another issuer", jsonwebtoken::encode(&Header { kid: Some("first".into()), alg: Algorithm::HS256, ..Header::default() }, &json!({"iss": "https://evil.example"}), &EncodingKey::from_secret(b"x")).unwrap(), 401, "its algorithm is not one of RS256, ES256, EdDSA"),
        ("a group without a role", provider.token("bob", "urn:ours").await, 403, "none of the groups that `bob` is in has a role here"),
    ];
    for (name, token, status, why) in table {
        let answer = whoami(&platform, &token).await;
        assert_eq!(answer.status.as_u16(), status, "{name}: {answer:?}");
        assert_eq!(answer.body["detail"].as_str().unwrap_or_default(), why, "{name}");
    }

    // Another key: it is asked for, once its pause is over.
    let carol_before = provider.token("carol", "urn:ours").await;
    provider.stop().await;
    let provider = Provider::start(&packages, port, "second").await;
    let rotated = provider.token("carol", "urn:ours").await;
    tokio::time::sleep(Duration::from_millis(5100)).await;
    assert_eq!(whoami(&platform, &rotated).await.status.as_u16(), 200);
    let held = whoami(&platform, &alice).await;
    assert_eq!(
        held.status.as_u16(),
        200,
        "it was taken before its key was withdrawn: {held:?}"
    );
    let withdrawn = whoami(&platform, &carol_before).await;
    assert_eq!(
        withdrawn.status.as_u16(),
        401,
        "its key was withdrawn before anybody saw it: {withdrawn:?}"
    );

    // The provider is down, and the platform starts again: who was in stays in, nobody new comes.
    let new = provider.token("alice", "urn:ours").await;
    provider.stop().await;
    let platform = platform.restart().await;
    assert_eq!(whoami(&platform, &alice).await.status.as_u16(), 200);
    let refused = whoami(&platform, &new).await;
    assert_eq!(refused.status.as_u16(), 503, "{refused:?}");
    assert_eq!(refused.body["detail"], NOBODY_NEW);
    // A token that was ended is not taken again.
    let tokens = platform.get("/api/v1/tokens").await.body;
    let hers = tokens
        .as_array()
        .unwrap()
        .iter()
        .find(|token| token["principal"] == "person:corporate/alice" && token["provider"] == "corporate");
    let path = format!("/api/v1/tokens/{}", hers.unwrap()["id"].as_str().unwrap());
    platform
        .send(Method::DELETE, &path, Some(&platform.admin), None)
        .await;
    assert_ne!(whoami(&platform, &alice).await.status.as_u16(), 200);
    platform.stop().await;
}
