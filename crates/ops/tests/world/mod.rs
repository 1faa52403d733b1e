//! A whole platform but its API, over a real store in a temporary directory: gate, runtime, triage, and
//! an HTTP server on loopback that takes webhooks and has a switch for an agent to turn.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use gate::{AgentAuthority, Authority, Bounds, Caller, Gate, NewToken, Role};
use ops::Triage;
use ops::channel::ChannelSpec;
use ops::incident::IncidentView;
use ops::triage::TriggerSpec;
use policy::{Level, PolicySet, Principal};
use runtime::agent::AgentSpec;
use runtime::tools::{Supplied, ToolsetSpec, bind};
use runtime::{Runtime, Settings};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::{Keys, Options, Store};
use testkit::ManualClock;

/// The key of every webhook.
pub const KEY: &[u8] = b"a key of the test";

/// One that is running. Dropped and made again over the same directory it has crashed and restarted.
pub struct World {
    pub gate: Arc<Gate>,
    pub runtime: Arc<Runtime>,
    pub triage: Arc<Triage>,
    pub clock: Arc<ManualClock>,
    pub root: Arc<tempfile::TempDir>,
    pub outside: Arc<Outside>,
    /// Who approves writes; nobody in particular unless a test says otherwise before it configures.
    pub approvers: Mutex<Value>,
}

/// What is out there.
#[derive(Default)]
pub struct Outside {
    pub address: String,
    /// Headers and bodies of the webhooks that came.
    pub letters: Mutex<Vec<(HeaderMap, Bytes)>>,
    /// Answers to give before 200.
    pub answers: Mutex<Vec<u16>>,
    pub switched: Mutex<u32>,
}

impl Outside {
    pub async fn open() -> Arc<Outside> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let outside = Arc::new(Outside {
            address,
            ..Outside::default()
        });
        let app = Router::new()
            .route("/letters", post(letter))
            .route(
                "/switch",
                post(async |State(outside): State<Arc<Outside>>| *outside.switched.lock().unwrap() += 1),
            )
            .with_state(Arc::clone(&outside));
        tokio::spawn(async move { axum::serve(listener, app).await });
        outside
    }
}

async fn letter(State(outside): State<Arc<Outside>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    outside.letters.lock().unwrap().push((headers, body));
    let mut answers = outside.answers.lock().unwrap();
    let status = if answers.is_empty() {
        200
    } else {
        answers.remove(0)
    };
    StatusCode::from_u16(status).unwrap()
}

impl World {
    /// Running, with `channels` and an agent that runs `runbook` at L2 with a rule that asks a person
    /// about every write.
    pub async fn start(runbook: Value, channels: Value) -> World {
        let world = World::made(
            ManualClock::at("2026-11-21T10:00:00Z"),
            Arc::new(tempfile::tempdir().unwrap()),
            Outside::open().await,
        );
        world.configure(runbook, channels);
        world.run().await;
        world
    }

    /// Made, and nothing moves yet.
    pub fn made(clock: Arc<ManualClock>, root: Arc<tempfile::TempDir>, outside: Arc<Outside>) -> World {
        let store = open_store(root.path(), &clock);
        let gate = Gate::open(store).unwrap();
        let runtime = Runtime::new(Arc::clone(&gate), Settings::default());
        let triage = Triage::new(
            Arc::clone(&gate),
            Arc::clone(&runtime),
            "",
            [root.path().join("keys"), root.path().join("tls.key")].into(),
        );
        World {
            gate,
            runtime,
            triage,
            clock,
            root,
            outside,
            approvers: Mutex::new(json!([])),
        }
    }

    pub async fn run(&self) {
        self.runtime.start().await.unwrap();
        self.triage.start().await;
    }

    /// What the next start finds.
    pub async fn restart(self) -> World {
        let World {
            gate,
            runtime,
            triage,
            clock,
            root,
            outside,
            ..
        } = self;
        triage.drain(Duration::from_secs(5)).await;
        runtime.drain(Duration::from_secs(5)).await;
        gate.store().close().await.unwrap();
        drop((gate, runtime, triage));
        World::made(clock, root, outside)
    }

    pub fn configure(&self, runbook: Value, channels: Value) {
        self.configure_bringing(json!([]), runbook, channels);
    }

    /// The same with tools whose results bring `labels`.
    pub fn configure_bringing(&self, labels: Value, runbook: Value, channels: Value) {
        let names: Vec<String> = channels.as_object().unwrap().keys().cloned().collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.configured(labels, runbook, channels, &names);
    }

    /// With a trigger that sends summaries to `summaries` only.
    pub fn configure_to(&self, runbook: Value, channels: Value, summaries: &[&str]) {
        self.configured(json!([]), runbook, channels, summaries);
    }

    fn configured(&self, labels: Value, runbook: Value, channels: Value, summaries: &[&str]) {
        let agent: AgentSpec = serde_json::from_value(json!({
            "sponsor": "alice", "autonomy": {"default": "L2"}, "runbook": runbook,
        }))
        .unwrap();
        let toolset: ToolsetSpec = serde_json::from_value(json!({"brings": labels, "tools": [
            {"type": "incidents"},
            {"type": "http", "allow": [format!("{}/", self.outside.address)], "private": true, "write": true},
        ]}))
        .unwrap();
        let supplied = Supplied {
            incidents: self.triage.search(),
            commands: None,
        };
        let (tools, grants) = bind("all", &toolset, &supplied).unwrap();
        let (notifier, notifying, built_in) = ops::channel::authority();
        let ask = serde_json::from_value(json!({"rules": [
            {"name": "ask", "match": {"effects": ["write"], "agents": ["triage"]}, "outcome": "require_approval",
             "approvers": *self.approvers.lock().unwrap()},
        ]}));
        let triaging = AgentAuthority {
            grants,
            autonomy: agent.autonomy.clone(),
            bounds: Bounds::default(),
            deny: Vec::new(),
            sponsor: "alice".to_owned(),
            place: policy::Place::default(),
            trust: gate::TrustTerms::PLATFORM,
        };
        assert_eq!(triaging.autonomy.default, Level::L2);
        self.gate.restore(Authority {
            budgets: Arc::default(),
            generation: 0,
            policies: Arc::new(
                PolicySet::load(&[built_in, policy::rule_of_two(), ("ask".to_owned(), ask.unwrap())])
                    .unwrap(),
            ),
            agents: [
                (notifier, Arc::new(notifying)),
                ("triage".to_owned(), Arc::new(triaging)),
            ]
            .into(),
        });
        self.runtime
            .install([("triage".to_owned(), (Arc::new(agent), Arc::new(tools)))].into());
        let channels: BTreeMap<String, ChannelSpec> = serde_json::from_value(channels).unwrap();
        let trigger: TriggerSpec = serde_json::from_value(json!({
            "source": "alertmanager", "agent": "triage", "channels": summaries,
        }))
        .unwrap();
        self.triage
            .install([("alerts".to_owned(), trigger)].into(), channels);
    }

    /// The document of a webhook channel to this address, with its key in a file.
    pub fn webhook(&self, url: &str) -> Value {
        webhook(self.root.path(), url)
    }

    pub async fn caller(&self, principal: Principal, role: Role) -> Caller {
        let trigger = (role == Role::Trigger).then(|| "alerts".to_owned());
        let new = NewToken {
            principal,
            roles: vec![role.into()],
            groups: Vec::new(),
            trigger,
            expires: None,
        };
        let (_, secret) = self
            .gate
            .create_token(&Principal::person("admin"), new)
            .await
            .unwrap();
        self.gate
            .identify(std::str::from_utf8(secret.expose()).unwrap())
            .unwrap()
    }

    /// Sends a notification of one alert.
    pub async fn notify(&self, status: &str, severity: &str) -> ops::triage::Received {
        let caller = self
            .caller(Principal::service("trigger/alerts"), Role::Trigger)
            .await;
        self.triage
            .receive(&caller, notification(status, severity).to_string().as_bytes())
            .await
            .unwrap()
    }

    /// Waits until the newest incident is as wanted; fails with what it is when that takes too long.
    pub async fn until(&self, what: &str, wanted: impl Fn(&IncidentView) -> bool) -> IncidentView {
        let newest = || self.triage.incidents(1).unwrap().into_iter().next();
        self.eventually(what, || newest().filter(&wanted)).await
    }

    /// Looks again after every commit, for at most 20 seconds.
    pub async fn eventually<T>(&self, what: &str, look: impl Fn() -> Option<T>) -> T {
        let mut commits = self.gate.store().committed();
        let found = tokio::time::timeout(Duration::from_secs(20), async {
            loop {
                if let Some(found) = look() {
                    return found;
                }
                // A change that is no commit (a letter that came) is seen at the latest after this.
                let _ = tokio::time::timeout(Duration::from_millis(50), commits.changed()).await;
            }
        });
        match found.await {
            Ok(found) => found,
            Err(_) => panic!("never {what}: {:#?}", self.triage.incidents(3)),
        }
    }

    pub fn kinds(&self, prefix: &str) -> Vec<String> {
        let entries = self
            .gate
            .store()
            .read(|reader| reader.entries(0, 10_000))
            .unwrap();
        entries
            .into_iter()
            .map(|stored| stored.entry.kind)
            .filter(|kind| kind.starts_with(prefix))
            .collect()
    }
}

pub fn webhook(root: &Path, url: &str) -> Value {
    let key = root.join("hook.key");
    std::fs::write(&key, KEY).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    json!({"type": "webhook", "url": url, "secretRef": {"file": key}, "private": true})
}

pub fn notification(status: &str, severity: &str) -> Value {
    json!({
        "version": "4", "status": status, "receiver": "r", "groupKey": "g", "groupLabels": {}, "commonLabels": {},
        "commonAnnotations": {}, "externalURL": "", "truncatedAlerts": 0,
        "alerts": [{
            "status": status, "labels": {"alertname": "HighErrors", "instance": "patient:8080", "severity": severity},
            "annotations": {"summary": "5xx above 5 %"}, "startsAt": "2026-11-21T09:58:00Z",
            "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "", "fingerprint": "00000000000000a1",
        }],
    })
}

fn open_store(root: &Path, clock: &Arc<ManualClock>) -> Store {
    Store::open(Options {
        directory: root.join("data"),
        origin: "test.local/default".to_owned(),
        keys: Keys::open_or_create(&root.join("keys"), "test.local/default").unwrap(),
        projections: [gate::projections(), ops::triage::projections()].concat(),
        clock: clock.clone(),
        checkpoints: None,
        vfs: None,
        synchronous: "FULL",
    })
    .unwrap()
}
