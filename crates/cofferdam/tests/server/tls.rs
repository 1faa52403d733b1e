//! TLS on the listener and client certificates as identities, with real handshakes: the client of the commands,
//! `curl`, and sockets that misbehave.

use crate::certificates::{Authority, Pair, around, files, put};
use crate::common::{DOCUMENTS, Platform, answer};
use cofferdam::tls::TlsFiles;
use rcgen::ExtendedKeyUsagePurpose;
use reqwest::Method;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use store::clock::Clock as _;
use testkit::ManualClock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const NOW: &str = "2026-11-26T12:00:00Z";

const MAPPINGS: &str = r#"
---
apiVersion: cofferdam.dev/v1
kind: IdentityProvider
metadata: {name: staff}
spec:
  certificates:
    nameFrom: subject-cn
    roles: {alice: [operator@acme, viewer], bob: [admin], brief: [viewer]}
---
apiVersion: cofferdam.dev/v1
kind: IdentityProvider
metadata: {name: mesh}
spec:
  certificates:
    nameFrom: san-uri
    trustDomain: example.org
    triggers: {monitoring/alertmanager: am}
"#;

/// A platform behind TLS that knows the certificates of one authority.
pub struct World {
    pub platform: Platform,
    pub servers: Authority,
    pub clients: Authority,
    pub clock: Arc<ManualClock>,
    files: TlsFiles,
}

impl World {
    /// What the next start finds.
    async fn restarted(self) -> World {
        let World {
            platform,
            servers,
            clients,
            clock,
            files,
        } = self;
        let directory = platform.stopped().await;
        let (shared, tls): (store::clock::SharedClock, _) = (clock.clone(), files.clone());
        let mut platform = Platform::start_in(directory, |options| {
            options.tls = Some(tls);
            options.clock = Some(shared);
        })
        .await;
        platform.http = client(&servers, None);
        World {
            platform,
            servers,
            clients,
            clock,
            files,
        }
    }

    pub async fn start() -> World {
        let directory = tempfile::tempdir().unwrap();
        let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
        let files = files(directory.path(), &servers, &clients.pem);
        let config = directory.path().join("cofferdam.yaml");
        std::fs::write(&config, DOCUMENTS).unwrap();
        let clock = ManualClock::at(NOW);
        let shared: store::clock::SharedClock = clock.clone();
        let tls = files.clone();
        let mut platform = Platform::start_in(directory, |options| {
            options.config = Some(config);
            options.tls = Some(tls);
            options.clock = Some(shared);
        })
        .await;
        platform.http = client(&servers, None);
        let world = World {
            platform,
            servers,
            clients,
            clock,
            files,
        };
        world.configure(MAPPINGS).await;
        world
    }

    /// What the server says of a certificate in the handshake. The client of the commands may have begun its
    /// request by then, and lose what was said to it.
    pub async fn handshake(&self, pair: &Pair) -> String {
        let read = |text: &str| CertificateDer::from_pem_slice(text.as_bytes()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(read(&self.servers.pem)).unwrap();
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![read(&pair.certificate)], key)
            .unwrap();
        let address = self.platform.running.as_ref().unwrap().address();
        let socket = TcpStream::connect(address).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let mut stream = match connector.connect("127.0.0.1".try_into().unwrap(), socket).await {
            Ok(stream) => stream,
            Err(error) => return error.to_string(),
        };
        match stream.read(&mut [0u8; 1]).await {
            Ok(_) => "nothing".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    /// Status and reason of `GET /api/v1/whoami`, or why nothing was answered.
    pub async fn whoami(&self, pair: Option<&Pair>, token: Option<&str>) -> (u16, Value) {
        self.ask(&client(&self.servers, pair), token).await
    }

    pub async fn ask(&self, http: &reqwest::Client, token: Option<&str>) -> (u16, Value) {
        let mut request = http.get(self.platform.url("/api/v1/whoami"));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        match request.send().await {
            Ok(response) => {
                let answer = answer(response).await;
                (answer.status.as_u16(), answer.body)
            }
            Err(error) => (0, json!({"detail": error.to_string()})),
        }
    }

    pub async fn configure(&self, mappings: &str) {
        let body = json!({"documents": documents(mappings)});
        let answer = self.platform.post("/api/v1/documents", &body).await;
        assert!(answer.status.is_success(), "{answer:?}");
    }
}

fn documents(text: &str) -> Vec<Value> {
    text.split("---\n")
        .filter(|part| !part.trim().is_empty())
        .map(|part| serde_saphyr::from_str(part).unwrap())
        .collect()
}

pub fn client(servers: &Authority, pair: Option<&Pair>) -> reqwest::Client {
    let trusted = reqwest::Certificate::from_pem(servers.pem.as_bytes()).unwrap();
    let builder = reqwest::Client::builder().no_proxy().tls_certs_only([trusted]);
    let builder = match pair {
        Some(pair) => builder.identity(pair.identity()),
        None => builder,
    };
    builder.build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_shows_a_certificate_is_known_by_it_and_nobody_else_is() {
    let world = World::start().await;
    let clients = &world.clients;
    let alice = clients.client("alice");
    let bound = world
        .platform
        .token(json!({"principal": "dave", "roles": ["viewer"], "certificate": alice.thumbprint()}))
        .await;
    let plain = world
        .platform
        .token(json!({"principal": "erin", "roles": ["viewer"]}))
        .await;
    let two = |params: &mut rcgen::CertificateParams| {
        params.subject_alt_names = vec![
            rcgen::SanType::URI("spiffe://example.org/monitoring/alertmanager".try_into().unwrap()),
            rcgen::SanType::URI("spiffe://example.org/other".try_into().unwrap()),
        ];
    };
    let none = "send `Authorization: Bearer TOKEN`, or show a client certificate";
    let other = "the token is bound to a client certificate, which this connection has not shown";
    #[rustfmt::skip]
    let table = [
        ("no certificate",            None,                                                                None,         401, none),
        ("a person's",                Some(alice.clone()),                                                 None,         200, "person:staff/alice"),
        ("a person's, once more",     Some(alice.clone()),                                                 None,         200, "person:staff/alice"),
        ("a service's",               Some(clients.client("spiffe://example.org/monitoring/alertmanager")), None,        403, "this needs one of the roles: admin, operator, approver, auditor, viewer, agent"),
        ("of nobody who is mapped",   Some(clients.client("mallory")),                                     None,         401, "nothing here is mapped to `mallory`, whom the client certificate names"),
        ("another trust domain",      Some(clients.client("spiffe://evil.org/monitoring/alertmanager")),   None,         401, "the client certificate has not exactly one address of SPIFFE that can be one here"),
        ("two addresses",             Some(clients.client_with("spiffe://example.org/a", two)),                             None,         401, "the client certificate has not exactly one address of SPIFFE that can be one here"),
        ("a token decides",           Some(alice.clone()),                                                 Some(plain.as_str()), 200, "person:erin"),
        ("a bad token decides too",   Some(alice.clone()),                                                 Some("cfd_x"), 401, "no valid token"),
        ("a bound token",             Some(alice.clone()),                                                 Some(bound.as_str()), 200, "person:dave"),
        ("bound, another certificate", Some(clients.client("bob")),                                        Some(bound.as_str()), 401, other),
        ("bound, the same name",      Some(clients.client("alice")),                                       Some(bound.as_str()), 401, other),
        ("bound, no certificate",     None,                                                                Some(bound.as_str()), 401, other),
    ];
    for (name, pair, token, status, expected) in table {
        let (found, body) = world.whoami(pair.as_ref(), token).await;
        let said = if found == 200 {
            &body["principal"]
        } else {
            &body["detail"]
        };
        assert_eq!(
            (found, said.as_str().unwrap_or_default()),
            (status, expected),
            "{name}: {body}"
        );
    }
    let (_, body) = world.whoami(Some(&alice), None).await;
    assert_eq!(body["roles"], json!(["operator@acme", "viewer"]));
    assert_eq!(
        (&body["provider"], &body["certificate"]),
        (&json!("staff"), &json!(alice.thumbprint()))
    );

    // What was taken is in the record: by which provider, and which certificate.
    let tokens = world.platform.get("/api/v1/tokens").await.body;
    let of_alice = |token: &&Value| token["principal"] == "person:staff/alice";
    let taken: Vec<&Value> = tokens.as_array().unwrap().iter().filter(of_alice).collect();
    assert_eq!(taken.len(), 1, "one certificate, one record: {taken:?}");
    assert_eq!(taken[0]["certificate"], json!(alice.thumbprint()));

    // Bound to what is none.
    let odd = json!({"principal": "dave", "roles": ["viewer"], "certificate": "abc"});
    let refused = world.platform.post("/api/v1/tokens", &odd).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.body["place"]),
        (400, &json!("/certificate"))
    );

    // What a thumbprint is made of is public: it is no token.
    for guess in [alice.thumbprint(), alice.certificate.replace('\n', "")] {
        let (status, body) = world.whoami(None, Some(&guess)).await;
        assert_eq!((status, &body["detail"]), (401, &json!("no valid token")));
    }
    world.platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_proves_nothing_ends_the_handshake() {
    let world = World::start().await;
    let clients = &world.clients;
    let server_only = |params: &mut rcgen::CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    };
    let stolen = Pair {
        key: clients.client("mallory").key,
        ..clients.client("alice")
    };
    #[rustfmt::skip]
    let table = [
        ("an unknown authority's",          Authority::new("strangers").client("alice"),            "received fatal alert: UnknownCA"),
        ("an authority's of the same name", Authority::new("clients").client("alice"),              "received fatal alert: DecryptError"),
        ("expired",                         clients.client_with("alice", around(NOW, -60, -1)),     "received fatal alert: CertificateExpired"),
        ("not yet valid",                   clients.client_with("alice", around(NOW, 1, 60)),       "received fatal alert: CertificateExpired"),
        ("made for servers",                clients.client_with("alice", server_only),              "received fatal alert: UnsupportedCertificate"),
    ];
    for (name, pair, expected) in table {
        assert_eq!(world.handshake(&pair).await, expected, "{name}");
    }
    // Whoever has no key for it cannot even make a client of it.
    let both = format!("{}\n{}", stolen.certificate, stolen.key);
    let made = reqwest::Identity::from_pem(both.as_bytes())
        .map(|own| reqwest::Client::builder().identity(own).build());
    assert!(!matches!(made, Ok(Ok(_))), "a certificate without its key");
    world.platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_its_certificate_at_its_trigger() {
    let world = World::start().await;
    let service = world
        .clients
        .client("spiffe://example.org/monitoring/alertmanager");
    let hook = |http: reqwest::Client| {
        let body = crate::common::notification("Slow", "firing", "critical").to_string();
        http.post(world.platform.url("/hooks/alertmanager"))
            .body(body)
            .send()
    };
    assert_eq!(
        hook(client(&world.servers, Some(&service)))
            .await
            .unwrap()
            .status(),
        202
    );
    let alice = world.clients.client("alice");
    assert_eq!(
        hook(client(&world.servers, Some(&alice))).await.unwrap().status(),
        403
    );
    world.platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_ended_is_refused_on_the_next_request() {
    let world = World::start().await;
    let detail = |answer: (u16, Value)| {
        (
            answer.0,
            answer.1["detail"].as_str().unwrap_or_default().to_owned(),
        )
    };
    let revoke = async |principal: &str| {
        let tokens = world.platform.get("/api/v1/tokens").await.body;
        let found = tokens
            .as_array()
            .unwrap()
            .iter()
            .find(|token| token["principal"] == principal);
        let path = format!("/api/v1/tokens/{}", found.unwrap()["id"].as_str().unwrap());
        let admin = Some(world.platform.admin.as_str());
        assert_eq!(
            world
                .platform
                .send(Method::DELETE, &path, admin, None)
                .await
                .status,
            204
        );
    };

    // Its time is over, over a connection that stays open.
    let brief = client(
        &world.servers,
        Some(&world.clients.client_with("brief", around(NOW, -1, 10))),
    );
    assert_eq!(world.ask(&brief, None).await.0, 200);
    world.clock.advance(Duration::from_secs(11 * 60));
    assert_eq!(
        detail(world.ask(&brief, None).await),
        (401, "the client certificate has expired".to_owned())
    );

    // Its record was revoked: no mapping brings it back, and another certificate of the same name is another.
    let alice = world.clients.client("alice");
    let http = client(&world.servers, Some(&alice));
    assert_eq!(world.ask(&http, None).await.0, 200);
    revoke("person:staff/alice").await;
    let revoked = (401, "the client certificate was revoked".to_owned());
    assert_eq!(detail(world.ask(&http, None).await), revoked);
    assert_eq!(
        world.whoami(Some(&world.clients.client("alice")), None).await.0,
        200
    );

    // The mapping changes: other rights at once, then none.
    let staff = MAPPINGS.split("---\n").nth(1).unwrap();
    let bob = client(&world.servers, Some(&world.clients.client("bob")));
    assert_eq!(world.ask(&bob, None).await.1["roles"], json!(["admin"]));
    world
        .configure(&staff.replace("bob: [admin]", "bob: [auditor]"))
        .await;
    assert_eq!(world.ask(&bob, None).await.1["roles"], json!(["auditor"]));
    assert_eq!(detail(world.ask(&http, None).await), revoked, "still");
    world
        .configure(&staff.replace("nameFrom: subject-cn", "nameFrom: subject-cn\n    deny: [bob]"))
        .await;
    assert_eq!(
        detail(world.ask(&bob, None).await),
        (401, "the client certificate of `bob` is denied here".to_owned())
    );
    // Whoever was denied has lost it for good, with what it said; another certificate of theirs is another.
    world.configure(staff).await;
    assert_eq!(
        detail(world.ask(&bob, None).await),
        revoked,
        "what was denied stays ended"
    );
    let tokens = world.platform.get("/api/v1/tokens").await.body;
    let of_bob = |token: &&Value| token["principal"] == "person:staff/bob";
    let mut ended = tokens.as_array().unwrap().iter().filter(of_bob);
    assert!(ended.any(|token| token["revoked"] == true), "{tokens}");
    let bob = client(&world.servers, Some(&world.clients.client("bob")));
    assert_eq!(world.ask(&bob, None).await.1["roles"], json!(["admin"]));

    // What no mapping names any more is over as if its time were, also when nobody shows it.
    world
        .configure(&staff.replace("bob: [admin]", "rob: [admin]"))
        .await;
    world
        .platform
        .until("/api/v1/tokens", |tokens| {
            let all = tokens.as_array().unwrap();
            let of_bob =
                |token: &&Value| token["principal"] == "person:staff/bob" && token["revoked"] == false;
            let last = all.iter().find(of_bob);
            last.is_some_and(|token| token["expires"].as_str() <= Some(&world.clock.now().to_string()))
        })
        .await;
    world.configure(staff).await;
    assert_eq!(
        world.ask(&bob, None).await.1["roles"],
        json!(["admin"]),
        "and back"
    );

    // Its authority is trusted no more.
    put(
        world.files.client_ca.as_deref().unwrap(),
        &Authority::new("clients").pem,
    );
    let mut said = world.ask(&bob, None).await;
    for _ in 0..100 {
        if said.0 == 401 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        said = world.ask(&bob, None).await;
    }
    assert_eq!(
        detail(said),
        (
            401,
            "the authority of the client certificate is not trusted any more".to_owned()
        )
    );
    world.platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_bound_to_a_certificate_is_worth_no_more_than_it() {
    let world = World::start().await;
    let staff = MAPPINGS.split("---\n").nth(1).unwrap();
    let brief = world.clients.client_with("brief", around(NOW, -1, 10));
    let alice = world.clients.client("alice");
    let bound = async |pair: &Pair| {
        let body = json!({"principal": "ann", "roles": ["viewer"], "certificate": pair.thumbprint()});
        world.platform.token(body).await
    };
    let (of_brief, of_alice) = (bound(&brief).await, bound(&alice).await);
    let (brief, http) = (
        client(&world.servers, Some(&brief)),
        client(&world.servers, Some(&alice)),
    );
    let says = async |http: &reqwest::Client, token: &str| {
        let (status, body) = world.ask(http, Some(token)).await;
        (status, body["detail"].as_str().unwrap_or_default().to_owned())
    };
    let good = (200, String::new());
    assert_eq!(says(&brief, &of_brief).await, good);
    assert_eq!(says(&http, &of_alice).await, good);

    world.clock.advance(Duration::from_secs(11 * 60));
    let expired = (401, "the client certificate has expired".to_owned());
    assert_eq!(says(&brief, &of_brief).await, expired);

    let deny = staff.replace("nameFrom: subject-cn", "nameFrom: subject-cn\n    deny: [alice]");
    world.configure(&deny).await;
    let denied = (401, "the client certificate is denied".to_owned());
    assert_eq!(says(&http, &of_alice).await, denied);
    world.configure(staff).await;
    assert_eq!(says(&http, &of_alice).await, good);

    // The record of the certificate itself is revoked.
    assert_eq!(world.ask(&http, None).await.0, 200);
    let tokens = world.platform.get("/api/v1/tokens").await.body;
    let of_record = |token: &&Value| token["principal"] == "person:staff/alice";
    let id = tokens.as_array().unwrap().iter().find(of_record).unwrap()["id"].clone();
    let path = format!("/api/v1/tokens/{}", id.as_str().unwrap());
    let admin = Some(world.platform.admin.as_str());
    assert_eq!(
        world
            .platform
            .send(Method::DELETE, &path, admin, None)
            .await
            .status,
        204
    );
    let revoked = (401, "the client certificate was revoked".to_owned());
    assert_eq!(says(&http, &of_alice).await, revoked);
    world.platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_of_a_certificate_outlives_a_restart_and_so_does_its_end() {
    let world = World::start().await;
    let (alice, bob) = (world.clients.client("alice"), world.clients.client("bob"));
    for pair in [&alice, &bob] {
        assert_eq!(world.whoami(Some(pair), None).await.0, 200);
    }
    // Its record runs out after a day and is made anew.
    world.clock.advance(Duration::from_secs(25 * 60 * 60));
    assert_eq!(world.whoami(Some(&alice), None).await.0, 200);
    assert_eq!(world.whoami(Some(&bob), None).await.0, 200);
    let tokens = world.platform.get("/api/v1/tokens").await.body;
    let of_bob = |token: &&Value| token["principal"] == "person:staff/bob";
    let ids: Vec<&Value> = tokens.as_array().unwrap().iter().filter(of_bob).collect();
    assert_eq!(ids.len(), 2, "the first ran out: {ids:?}");
    let path = format!("/api/v1/tokens/{}", ids[0]["id"].as_str().unwrap());
    let admin = Some(world.platform.admin.as_str());
    assert_eq!(
        world
            .platform
            .send(Method::DELETE, &path, admin, None)
            .await
            .status,
        204
    );

    let world = world.restarted().await;
    assert_eq!(world.whoami(Some(&alice), None).await.0, 200);
    let (status, body) = world.whoami(Some(&bob), None).await;
    assert_eq!(
        (status, &body["detail"]),
        (401, &json!("the client certificate was revoked"))
    );
    world.platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_the_mapping_of_whoever_follows_it() {
    let world = World::start().await;
    let http = client(&world.servers, Some(&world.clients.client("bob")));
    let mut stream = http
        .get(world.platform.url("/api/v1/audit/events?from=0"))
        .send()
        .await
        .unwrap();
    assert_eq!(stream.status(), 200);
    stream.chunk().await.unwrap().unwrap();
    let staff = MAPPINGS.split("---\n").nth(1).unwrap();
    world.configure(&staff.replace("bob: [admin], ", "")).await;
    let mut text = String::new();
    while let Some(chunk) = tokio::time::timeout(Duration::from_secs(10), stream.chunk())
        .await
        .unwrap()
        .unwrap()
    {
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    assert!(text.contains("the token no longer holds"), "{text}");
    world.platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_speaks_http_where_tls_is_spoken_is_told_so() {
    let world = World::start().await;
    let plain = world.platform.url("/healthz").replace("https:", "http:");
    let said = answer(reqwest::get(&plain).await.unwrap()).await;
    assert_eq!(said.status, 400);
    assert_eq!(said.body["detail"], "this port speaks TLS: write https://");
    world.platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_that_never_end_cut_nobody_off_and_keep_nobody_out_for_long() {
    let world = World::start().await;
    let admin = Some(world.platform.admin.as_str());
    let inside = client(&world.servers, None);
    assert_eq!(world.ask(&inside, admin).await.0, 200);
    // More than there are places for: some say nothing, some stop within a record.
    let address = world.platform.running.as_ref().unwrap().address();
    let mut silent = Vec::new();
    for n in 0..300 {
        let mut socket = TcpStream::connect(address).await.unwrap();
        if n % 2 == 0 {
            socket.write_all(&[22, 3, 1]).await.unwrap();
        }
        silent.push(socket);
    }
    assert_eq!(world.ask(&inside, admin).await.0, 200, "whoever is in stays in");
    let newcomer = tokio::time::timeout(Duration::from_secs(30), world.whoami(None, admin)).await;
    assert_eq!(
        newcomer.unwrap().0,
        200,
        "their places are free again after a while"
    );
    let mut byte = [0u8; 1];
    let first = tokio::time::timeout(Duration::from_secs(30), silent[0].read(&mut byte)).await;
    assert!(matches!(first.unwrap(), Ok(0) | Err(_)), "they were cut");
    world.platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_exchanged_while_requests_come_and_a_bad_pair_is_refused_whole() {
    let world = World::start().await;
    let admin = world.platform.admin.clone();
    let part = async || {
        let health = world.platform.get("/api/v1/health").await.body;
        let parts = health["parts"].as_array().unwrap().clone();
        let part = parts.into_iter().find(|part| part["name"] == "tls").unwrap();
        (
            part["status"].as_str().unwrap().to_owned(),
            part["detail"].as_str().unwrap().to_owned(),
        )
    };
    let until = async |status: &str, wanted: &str| {
        for _ in 0..100 {
            let found = part().await;
            if found.0 == status && found.1.contains(wanted) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("never said `{wanted}`: {:?}", part().await);
    };
    assert_eq!(part().await.0, "healthy");

    // Whoever asks meanwhile, over new connections, is answered all the time.
    let (over, url) = (
        Arc::new(std::sync::atomic::AtomicBool::new(false)),
        world.platform.url("/api/v1/whoami"),
    );
    let asking = tokio::spawn({
        let (over, servers) = (Arc::clone(&over), world.servers.pem.clone());
        async move {
            let mut asked = 0;
            while !over.load(std::sync::atomic::Ordering::SeqCst) {
                let trusted = reqwest::Certificate::from_pem(servers.as_bytes()).unwrap();
                let http = reqwest::Client::builder()
                    .no_proxy()
                    .tls_certs_only([trusted])
                    .build()
                    .unwrap();
                assert_eq!(
                    http.get(&url).bearer_auth(&admin).send().await.unwrap().status(),
                    200
                );
                asked += 1;
            }
            asked
        }
    });
    let good = std::fs::read_to_string(&world.files.certificate).unwrap();
    let other = world.servers.server("127.0.0.1");
    put(&world.files.certificate, &other.certificate);
    until("degraded", "do not fit together").await; // half of a new pair
    put(&world.files.certificate, "nonsense");
    until("degraded", "holds no certificate in PEM").await;
    put(&world.files.certificate, &good);
    let mode = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(&world.files.key, mode(0o640)).unwrap();
    until("degraded", "can be read by others").await;
    std::fs::set_permissions(&world.files.key, mode(0o600)).unwrap();
    until("healthy", "the certificate holds until").await;

    // A whole new pair of another authority: new connections see it, and those that are open go on.
    let kept = client(&world.servers, None);
    assert_eq!(world.ask(&kept, None).await.0, 401);
    let successors = Authority::new("successors");
    over.store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(asking.await.unwrap() > 0);
    successors
        .server("127.0.0.1")
        .write(world.platform.directory.path(), "server");
    let fresh = async || {
        let http = client(&successors, None);
        http.get(world.platform.url("/healthz")).send().await.is_ok()
    };
    for _ in 0..100 {
        if fresh().await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(fresh().await);
    assert_eq!(world.ask(&kept, None).await.0, 401, "an open connection goes on");
    assert_eq!(
        world.whoami(None, None).await.0,
        0,
        "who trusts the old authority alone comes in no more"
    );
    world.platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_comes_in_with_a_certificate_and_not_without() {
    let world = World::start().await;
    let directory = world.platform.directory.path().to_owned();
    put(&directory.join("servers.pem"), &world.servers.pem);
    world.clients.client("alice").write(&directory, "alice");
    let url = world.platform.url("/api/v1/whoami");
    let curl = async |arguments: &'static [&'static str]| {
        let (directory, url) = (directory.clone(), url.clone());
        let run = move || {
            let mut command = Command::new("curl");
            command
                .current_dir(directory)
                .args(["--silent", "--show-error", "--noproxy", "*"]);
            command.args(arguments).arg(url).output()
        };
        tokio::task::spawn_blocking(run).await.unwrap()
    };
    if curl(&["--version"]).await.is_err() {
        assert!(
            std::env::var_os("COFFERDAM_REQUIRE_PEERS").is_none(),
            "curl is missing"
        );
        eprintln!("curl is not installed: skipping");
        return;
    }
    let with = &[
        "--cacert",
        "servers.pem",
        "--cert",
        "alice.crt",
        "--key",
        "alice.key",
    ];
    let older = &[
        "--cacert",
        "servers.pem",
        "--cert",
        "alice.crt",
        "--key",
        "alice.key",
        "--tls-max",
        "1.2",
    ];
    let table: [(&str, &'static [&'static str], &str); 4] = [
        ("with a certificate", with, "person:staff/alice"),
        ("with a certificate, TLS 1.2", older, "person:staff/alice"),
        (
            "without",
            &["--cacert", "servers.pem"],
            "or show a client certificate",
        ),
        (
            "without trust in us",
            &[],
            "unable to get local issuer certificate",
        ),
    ];
    for (name, arguments, expected) in table {
        let output = curl(arguments).await.unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(said.contains(expected), "{name}: {said}");
    }
    world.platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_say_what_is_wrong_with_a_certificate() {
    let world = World::start().await;
    let directory = world.platform.directory.path().to_owned();
    put(&directory.join("servers.pem"), &world.servers.pem);
    put(&directory.join("token"), &world.platform.admin);
    world.clients.client("alice").write(&directory, "alice");
    Authority::new("x").client("alice").write(&directory, "stranger");
    let run = async |server: String, arguments: &'static str| {
        let directory = directory.clone();
        let run = move || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_cofferdam"));
            command.current_dir(directory).env("COFFERDAM_SERVER", server);
            let output = command.args(arguments.split(' ')).output().unwrap();
            let said = [output.stdout, output.stderr].concat();
            (output.status.code(), String::from_utf8_lossy(&said).into_owned())
        };
        tokio::task::spawn_blocking(run).await.unwrap()
    };
    let here = world.platform.url("");
    let named = here.replace("127.0.0.1", "localhost");
    let plain = here.replace("https", "http");
    #[rustfmt::skip]
    let table = [
        ("a certificate alone",   &here,  "whoami --ca-file servers.pem --client-cert alice.crt --client-key alice.key", 0, "person:staff/alice"),
        ("a token alone",         &here,  "whoami --ca-file servers.pem --token-file token", 0, "person:alice"),
        ("both",                  &here,  "whoami --ca-file servers.pem --token-file token --client-cert alice.crt --client-key alice.key", 0, "person:alice"),
        ("a bound token is made", &here,  "tokens create dave --bind-certificate alice.crt --ca-file servers.pem --token-file token", 0, "cfd_"),
        ("no trust",              &here,  "whoami --token-file token", 3, "is of no authority that is trusted here; name its authority with --ca-file"),
        ("another name",          &named, "whoami --ca-file servers.pem --token-file token", 3, "its certificate is for another name"),
        ("a stranger's",          &here,  "whoami --ca-file servers.pem --client-cert stranger.crt --client-key stranger.key", 3, "the certificate in --client-cert"),
        ("no TLS",                &plain, "whoami --token-file token", 1, "this port speaks TLS: write https://"),
        ("no certificate in it",  &here,  "whoami --ca-file token --token-file token", 2, "`token` holds no certificate in PEM"),
    ];
    for (name, server, arguments, code, expected) in table {
        let (found, said) = run(server.clone(), arguments).await;
        assert_eq!(found, Some(code), "{name}: {said}");
        assert!(said.contains(expected), "{name}: {said}");
    }

    // An expired one, at a server of its own: certificates are compared with the machine's clock here.
    let expired = Authority::new("expired");
    let mut pair = expired.client_with("127.0.0.1", |params| {
        around("2020-01-01T00:00:00Z", -60, 60)(params);
        params.subject_alt_names = vec![rcgen::SanType::IpAddress([127, 0, 0, 1].into())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    pair.certificate.push('\n');
    put(&directory.join("expired.pem"), &expired.pem);
    let (certificate, key) = pair.write(&directory, "expired");
    let server = tempfile::tempdir().unwrap();
    let clock: store::clock::SharedClock = ManualClock::at("2020-01-01T00:00:00Z");
    let options = crate::common::options(server.path());
    let running = cofferdam::app::start(cofferdam::app::Options {
        tls: Some(TlsFiles {
            certificate,
            key,
            client_ca: None,
        }),
        clock: Some(clock),
        ..options
    })
    .await
    .unwrap();
    let (code, said) = run(running.url(), "whoami --ca-file expired.pem --token-file token").await;
    assert!(
        code == Some(3) && said.contains("its certificate has expired"),
        "{said}"
    );
    running.shutdown().await;
    world.platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_be_used_keep_it_from_starting() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let authority = Authority::new("a");
    let (certificate, key) = authority.server("127.0.0.1").write(directory.path(), "good");
    authority.server("127.0.0.1").write(directory.path(), "other");
    authority
        .client_with("old", around(NOW, -60, -1))
        .write(directory.path(), "old");
    put(&at("open.key"), &std::fs::read_to_string(&key).unwrap());
    std::fs::set_permissions(
        at("open.key"),
        std::os::unix::fs::PermissionsExt::from_mode(0o644),
    )
    .unwrap();
    put(&at("empty"), "");
    #[rustfmt::skip]
    let table = [
        ("no file",                at("none"),          key.clone(),      None,               "cannot read `"),
        ("no certificate",         at("empty"),         key.clone(),      None,               "holds no certificate in PEM that can be read"),
        ("no key",                 certificate.clone(), at("empty"),      None,               "holds no key in PEM that can be read"),
        ("another's key",          certificate.clone(), at("other.key"),  None,               "do not fit together"),
        ("a key for all to read",  certificate.clone(), at("open.key"),   None,               "can be read by others; set its mode to 0600"),
        ("an expired certificate", at("old.crt"),       at("old.key"),    None,               "ended at 2026-11-26T11:59:00"),
        ("no authority",           certificate.clone(), key.clone(),      Some(at("empty")),  "holds no certificate in PEM that can be read"),
        ("a directory",            certificate,         key,              Some(at(".")),      "is not a regular file of at most 1 MiB"),
    ];
    for (name, certificate, key, client_ca, expected) in table {
        let clock: store::clock::SharedClock = ManualClock::at(NOW);
        let options = cofferdam::app::Options {
            tls: Some(TlsFiles {
                certificate,
                key,
                client_ca,
            }),
            clock: Some(clock),
            ..crate::common::options(directory.path())
        };
        let error = cofferdam::app::start(options).await.unwrap_err();
        let said = format!("{error:#}");
        assert!(said.contains(expected), "{name}: {said}");
    }
    assert!(!at("data").exists(), "nothing was changed");
}

/// The tokens of `principal`, the newest first.
async fn tokens_of(world: &World, principal: &str) -> Vec<Value> {
    let tokens = world.platform.get("/api/v1/tokens").await.body;
    let of = |token: &&Value| token["principal"] == principal;
    tokens.as_array().unwrap().iter().filter(of).cloned().collect()
}

/// Waits until every token of `principal` is revoked.
async fn until_revoked(world: &World, principal: &str, count: usize) {
    for _ in 0..100 {
        let tokens = tokens_of(world, principal).await;
        if tokens.iter().all(|token| token["revoked"] == true) {
            assert_eq!(tokens.len(), count, "{tokens:?}");
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("never revoked: {:?}", tokens_of(world, principal).await);
}

/// What somebody said while their certificate held counts on when its record has run out, so it is revoked also then;
/// nobody comes and shows it.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_denied_when_their_record_is_over_has_said_nothing() {
    let staff = MAPPINGS.split("---\n").nth(1).unwrap();
    let deny = |what: &str| {
        let with = format!("nameFrom: subject-cn\n    deny: [{what}]");
        staff.replace("nameFrom: subject-cn", &with)
    };
    let world = World::start().await;
    // Alice's runs out, bob's ends when no role names him any more.
    let (alice, bob) = (world.clients.client("alice"), world.clients.client("bob"));
    let bound = json!({"principal": "ann", "roles": ["viewer"], "certificate": bob.thumbprint()});
    let bound = world.platform.token(bound).await;
    for pair in [&alice, &bob] {
        assert_eq!(world.whoami(Some(pair), None).await.0, 200);
    }
    world.clock.advance(Duration::from_secs(25 * 60 * 60));
    assert_eq!(world.whoami(Some(&bob), None).await.0, 200);
    world.configure(&staff.replace("bob: [admin], ", "")).await;
    world
        .platform
        .until("/api/v1/audit/entries?kind=token.ended&limit=10", |found| {
            !found["entries"].as_array().unwrap().is_empty()
        })
        .await;
    // By name, and by the certificate itself in the mapping of others.
    world.configure(&deny("alice")).await;
    until_revoked(&world, "person:staff/alice", 1).await;
    assert!(
        tokens_of(&world, "person:staff/bob")
            .await
            .iter()
            .all(|token| token["revoked"] == false)
    );
    let mesh = MAPPINGS.split("---\n").nth(2).unwrap();
    let mesh = mesh.replace(
        "nameFrom: san-uri",
        &format!("nameFrom: san-uri\n    deny: ['{}']", bob.thumbprint()),
    );
    world.configure(&mesh).await;
    until_revoked(&world, "person:staff/bob", 2).await;
    // With what was bound to it, which its holder may have lost as well.
    until_revoked(&world, "person:ann", 1).await;
    let (status, body) = world.whoami(Some(&bob), Some(&bound)).await;
    assert_eq!((status, &body["detail"]), (401, &json!("no valid token")));
    let (status, body) = world.whoami(Some(&bob), None).await;
    assert_eq!(
        (status, &body["detail"]),
        (401, &json!("the client certificate is denied"))
    );
    world.platform.stop().await;
}

/// A record says what the mapping said: when it says something else, nobody goes on as before for a day.
#[tokio::test(flavor = "multi_thread")]
async fn a_mapping_that_gives_less_ends_what_it_gave() {
    let world = World::start().await;
    let staff = MAPPINGS.split("---\n").nth(1).unwrap();
    let alice = world.clients.client("alice");
    let service = world
        .clients
        .client("spiffe://example.org/monitoring/alertmanager");
    for pair in [&alice, &service] {
        assert_ne!(world.whoami(Some(pair), None).await.0, 401);
    }
    world.configure(staff).await;
    cofferdam::identity::end_unmapped(world.platform.running.as_ref().unwrap().app()).await;
    let path = "/api/v1/audit/entries?kind=token.ended&limit=100";
    let entries = world.platform.get(path).await.body;
    assert_eq!(entries["entries"], json!([]), "nothing is another");
    let narrowed = staff.replace("[operator@acme, viewer]", "[viewer]");
    world.configure(&narrowed).await;
    let all = |count: usize| move |found: &Value| found["entries"].as_array().unwrap().len() == count;
    world.platform.until(path, all(1)).await;
    let mesh = MAPPINGS.split("---\n").nth(2).unwrap();
    let mut other = documents(DOCUMENTS).pop().unwrap();
    other["metadata"]["name"] = json!("other");
    let applied = world
        .platform
        .post("/api/v1/documents", &json!({"documents": [other]}))
        .await;
    assert!(applied.status.is_success(), "{applied:?}");
    world
        .configure(&mesh.replace("alertmanager: am", "alertmanager: other"))
        .await;
    world.platform.until(path, all(2)).await;
    let (_, body) = world.whoami(Some(&alice), None).await;
    assert_eq!(body["roles"], json!(["viewer"]));
    world.platform.stop().await;
}

/// A name means whoever the authority of its mapping calls so; a certificate is the same one for all.
#[tokio::test(flavor = "multi_thread")]
async fn a_denied_name_is_of_its_authority_and_a_denied_certificate_of_any() {
    let world = World::start().await;
    let staff = MAPPINGS.split("---\n").nth(1).unwrap();
    let (alice, bob) = (world.clients.client("alice"), world.clients.client("bob"));
    let bound = async |pair: &Pair| {
        let body = json!({"principal": "ann", "roles": ["viewer"], "certificate": pair.thumbprint()});
        world.platform.token(body).await
    };
    let (of_alice, of_bob) = (bound(&alice).await, bound(&bob).await);
    let other = staff.replace("{name: staff}", "{name: partners}").replace(
        "  certificates:",
        &format!("  certificates:\n    authority: '{}'", "00".repeat(32)),
    );
    let deny = format!("nameFrom: subject-cn\n    deny: [alice, '{}']", bob.thumbprint());
    world
        .configure(&other.replace("nameFrom: subject-cn", &deny))
        .await;
    let (status, body) = world.whoami(Some(&alice), Some(&of_alice)).await;
    assert_eq!(
        (status, &body["principal"]),
        (200, &json!("person:ann")),
        "{body}"
    );
    assert_eq!(world.whoami(Some(&alice), None).await.0, 200);
    for token in [Some(of_bob.as_str()), None] {
        let (status, body) = world.whoami(Some(&bob), token).await;
        assert_eq!(status, 401, "{body}");
    }
    world.platform.stop().await;
}

/// What is stored and cannot be read any more maps nobody, and says nothing of anybody either.
#[tokio::test(flavor = "multi_thread")]
async fn while_no_configuration_is_in_force_nobodys_record_ends() {
    let world = World::start().await;
    let bob = world.clients.client("bob");
    assert_eq!(world.whoami(Some(&bob), None).await.0, 200);
    let gate = Arc::clone(&world.platform.running.as_ref().unwrap().app().gate);
    let nonsense = gate::DocumentChange::Apply {
        kind: "Channel".to_owned(),
        name: "odd".to_owned(),
        document: json!({"apiVersion": "cofferdam.dev/v1", "kind": "Channel", "metadata": {"name": "odd"}, "spec": {"type": "pigeon"}}),
    };
    let (by, now) = (policy::Principal::person("alice"), gate.authority());
    let (generation, same) = (now.generation, gate::Authority::clone(&now));
    gate.install(&by, gate::Owner::Api, generation, vec![nonsense], same)
        .await
        .unwrap();
    drop(gate);
    let world = world.restarted().await;
    // Nobody is mapped, which is looked at when somebody comes as well as by itself.
    assert_eq!(world.whoami(Some(&bob), None).await.0, 401);
    let entries = world
        .platform
        .get("/api/v1/audit/entries?kind=token.ended&limit=10")
        .await
        .body;
    assert_eq!(entries["entries"], json!([]));
    let health = world.platform.get("/api/v1/health").await.body.to_string();
    assert!(health.contains("the stored documents are not valid"), "{health}");
    world.platform.stop().await;
}
