//! A gate with an egress surface, an agent with documents, and clients that say exactly what a test wants.

use gate::egress::spec::{EgressDocument, EgressSpec};
use gate::egress::{Egress, Resolve, Serving, Settings, Who};
use gate::{AgentAuthority, Authority, Bounds, BoxFuture, Gate, NewSession};
use journal::machine::SessionEvent;
use policy::{Autonomy, Level, PolicySet, Principal};
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::clock::SystemClock;
use store::{Keys, Options, Store};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Names as a test says; each look-up is counted, and may be answered differently from the one before.
#[derive(Default)]
pub struct Names {
    answers: Mutex<BTreeMap<String, Vec<Vec<IpAddr>>>>,
    pub asked: Mutex<Vec<String>>,
}

impl Names {
    /// What is answered, one after the other; the last one stays.
    pub fn set(&self, name: &str, answers: &[&[&str]]) {
        let answers = answers
            .iter()
            .map(|one| one.iter().map(|a| a.parse().unwrap()).collect())
            .collect();
        self.answers.lock().unwrap().insert(name.to_owned(), answers);
    }
}

impl Resolve for Names {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, std::io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            self.asked.lock().unwrap().push(name.to_owned());
            let mut all = self.answers.lock().unwrap();
            let Some(answers) = all.get_mut(name) else {
                return Err(std::io::Error::other("no such name"));
            };
            match answers.len() {
                1 => Ok(answers[0].clone()),
                _ => Ok(answers.remove(0)),
            }
        })
    }
}

pub struct World {
    pub gate: Arc<Gate>,
    pub egress: Arc<Egress>,
    pub names: Arc<Names>,
    pub session: String,
    pub address: SocketAddr,
    /// The agents' levels, for whoever installs documents anew.
    level: Level,
    extra: Value,
    _directory: tempfile::TempDir,
    _serving: Serving,
}

pub fn document(spec: &Value) -> EgressDocument {
    let spec: EgressSpec = serde_json::from_value(spec.clone()).unwrap();
    spec.compile("test").unwrap_or_else(|wrong| panic!("{wrong:?}"))
}

/// A document for the agent `guest` with these rules.
pub fn rules(rules: Value) -> Value {
    json!({ "agents": ["guest"], "rules": rules, "limits": { "perSecond": 10_000, "connections": 1_000 } })
}

/// The authority that `spec` makes, with more policies in `extra`.
fn authority(level: Level, spec: &Value, extra: &Value) -> (Authority, EgressDocument) {
    let document = document(spec);
    let mut policies = vec![("extra".to_owned(), serde_json::from_value(extra.clone()).unwrap())];
    policies.extend(
        document
            .policy
            .clone()
            .map(|policy| ("cofferdam-egress-test".to_owned(), policy)),
    );
    let agent = |grants: Vec<policy::Grant>| AgentAuthority {
        grants,
        autonomy: Autonomy {
            default: level,
            ..Autonomy::default()
        },
        bounds: Bounds {
            actions_per_session: 100_000,
            actions_per_minute: 100_000,
            ..Bounds::default()
        },
        deny: Vec::new(),
        sponsor: "alice".to_owned(),
        place: policy::Place::default(),
        trust: gate::TrustTerms::PLATFORM,
    };
    let mut agents = BTreeMap::new();
    for name in ["guest", "other"] {
        let named = document.agents.iter().any(|one| one == name);
        let grants = if named {
            let reads = policy::Grant {
                capability: policy::Capability::parse("files.read:file/*").unwrap(),
                from: "toolset/files".to_owned(),
                until: None,
            };
            document.grants.iter().cloned().chain([reads]).collect()
        } else {
            Vec::new()
        };
        agents.insert(name.to_owned(), Arc::new(agent(grants)));
    }
    let authority = Authority {
        budgets: Arc::default(),
        generation: 0,
        policies: Arc::new(PolicySet::load(&policies).unwrap()),
        agents,
    };
    (authority, document)
}

impl World {
    pub async fn new(spec: Value) -> World {
        World::with(spec, Level::L3, json!({}), Vec::new()).await
    }

    pub async fn with(spec: Value, level: Level, extra: Value, roots: Vec<CertificateDer<'static>>) -> World {
        let directory = tempfile::tempdir().unwrap();
        let origin = "test.local/default";
        let store = Store::open(Options {
            directory: directory.path().join("data"),
            origin: origin.to_owned(),
            keys: Keys::open_or_create(&directory.path().join("data-keys"), origin).unwrap(),
            projections: gate::projections(),
            clock: SystemClock::shared(),
            checkpoints: None,
            vfs: None,
            synchronous: "OFF",
        });
        let gate = Gate::open(store.unwrap()).unwrap();
        let names = Arc::new(Names::default());
        let egress = Egress::new(
            Arc::clone(&gate),
            Settings {
                resolver: names.clone(),
                keys: Some(directory.path().join("data-keys/egress")),
                roots,
                own: Vec::new(),
                head_time: Duration::from_millis(700),
            },
        );
        let (authority, document) = authority(level, &spec, &extra);
        gate.restore(authority);
        egress.install(&[document]);
        let session = running(&gate, "guest").await;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let serving = egress.serve(listener, Who::Session(session.clone())).unwrap();
        World {
            address: serving.address(),
            gate,
            egress,
            names,
            session,
            level,
            extra,
            _directory: directory,
            _serving: serving,
        }
    }

    /// Puts another document in force, in the place of the first.
    pub fn install(&self, spec: &Value) {
        let (authority, document) = authority(self.level, spec, &self.extra);
        self.gate.restore(authority);
        self.egress.install(&[document]);
    }

    /// The same, with grants that end so long from now.
    pub fn install_until(&self, spec: &Value, time: Duration) {
        let (mut authority, document) = authority(self.level, spec, &self.extra);
        let until = self.gate.time().plus_ms(i64::try_from(time.as_millis()).unwrap());
        for held in authority.agents.values_mut() {
            let held = Arc::make_mut(held);
            held.grants.iter_mut().for_each(|grant| grant.until = Some(until));
        }
        self.gate.restore(authority);
        self.egress.install(&[document]);
    }

    /// Has the session see something with this label, by an action of its own.
    pub async fn taint(&self, label: &str) {
        let taints = serde_json::from_value(json!([label])).unwrap();
        let action = policy::Action::new(
            policy::Verb::new("files.read").unwrap(),
            "file/x",
            json!({}),
            policy::Environment::production(),
            policy::Effect::Read,
            policy::Idempotence::Idempotent,
        );
        let proposal = gate::Proposal {
            session: self.session.clone(),
            step: "look".to_owned(),
            action: action.unwrap(),
        };
        let permit = self.gate.admit(proposal).await.unwrap();
        let settlement = policy::Settlement {
            outcome: policy::Outcome::Success,
            result: json!({}),
            summary: "seen".to_owned(),
            failure: None,
            resources: policy::Resources::default(),
            taints,
        };
        permit
            .spend(self.gate.stop_set())
            .unwrap()
            .settle(settlement)
            .await
            .unwrap();
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Says `bytes`, and what comes back until the end, or for as long as anything does.
    pub async fn say(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        all_of(&mut stream).await
    }

    /// What became of a request: the status, and the word for a refusal.
    pub async fn verdict(&self, bytes: &[u8]) -> String {
        verdict_of(&self.say(bytes).await)
    }

    /// A tunnel to `target` that is established; or the verdict.
    pub async fn tunnel(&self, target: &str) -> Result<TcpStream, String> {
        let mut stream = self.connect().await;
        stream
            .write_all(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut head = Vec::new();
        let mut byte = [0u8];
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read(&mut byte).await.unwrap() {
                0 => return Err(verdict_of(&String::from_utf8_lossy(&head))),
                _ => head.push(byte[0]),
            }
        }
        let head = String::from_utf8(head).unwrap();
        match head.starts_with("HTTP/1.1 200 ") {
            true => Ok(stream),
            false => Err(verdict_of(&(head + &all_of(&mut stream).await))),
        }
    }

    pub fn bodies(&self, kind: &str) -> Vec<Value> {
        let read = self
            .gate
            .store()
            .read(|reader| reader.entries(0, 100_000))
            .unwrap();
        let entries = read.into_iter().map(|stored| stored.entry);
        entries
            .filter(|entry| entry.kind == kind)
            .map(|entry| entry.body)
            .collect()
    }

    /// The summaries of outcomes once there are `count` of them.
    pub async fn settled(&self, count: usize) -> Vec<Value> {
        for _ in 0..500 {
            let settled = self.bodies("action.settled");
            if settled.len() >= count {
                return settled;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{:?}", self.bodies("action.settled"));
    }

    /// What was noted of refusals that were no action.
    pub fn notes(&self) -> Vec<String> {
        let notes = self.bodies("session.noted").into_iter();
        let said = notes.filter_map(|body| Some(body.get("egress")?.get("refused")?.as_str()?.to_owned()));
        said.collect()
    }
}

pub async fn running(gate: &Gate, agent: &str) -> String {
    let new = NewSession {
        agent: agent.to_owned(),
        cause: Principal::service("trigger/t"),
        correlation: None,
        input: json!({}),
        title: String::new(),
        idempotency_key: None,
        urgent: false,
        taint: policy::Taints::NONE,
    };
    let session = gate.create_session(new).await.unwrap().0.id;
    drive(gate, &session, SessionEvent::Start).await;
    session
}

pub async fn drive(gate: &Gate, session: &str, event: SessionEvent) {
    let by = Principal::service("cofferdam");
    gate.session_event(session, &by, event, None, None).await.unwrap();
}

pub async fn all_of(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let reading = async {
        let mut buffer = [0u8; 4096];
        while let Ok(length @ 1..) = stream.read(&mut buffer).await {
            all.extend_from_slice(&buffer[..length]);
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(3), reading).await;
    String::from_utf8_lossy(&all).into_owned()
}

/// `403 not_granted`, or `200` for what went through.
pub fn verdict_of(answer: &str) -> String {
    let status = answer.split(' ').nth(1).unwrap_or("nothing").to_owned();
    let code = answer
        .lines()
        .find_map(|line| line.strip_prefix("Cofferdam-Reason: "));
    match code {
        Some(code) => format!("{status} {}", code.trim()),
        None => status,
    }
}

/// Whether anything still comes through an echoing tunnel.
pub async fn echoes(stream: &mut TcpStream) -> bool {
    let echo = async {
        stream.write_all(b"ping").await?;
        let mut back = [0u8; 4];
        stream.read_exact(&mut back).await.map(|_| back == *b"ping")
    };
    matches!(
        tokio::time::timeout(Duration::from_secs(2), echo).await,
        Ok(Ok(true))
    )
}
