//! A gate over a real store in a temporary directory, with scripted tools and a runtime over it.

use gate::{
    AgentAuthority, Authority, BoxFuture, Caller, Gate, NewSession, NewToken, Proposal, Role, SessionView,
};
use gate::{Tool, ToolError, Tools};
use journal::machine::{Session, SessionEvent};
use policy::{
    Action, Autonomy, Capability, Effect, Environment, Failure, Grant, Idempotence, InFlight, Level, Outcome,
};
use policy::{PolicySet, Principal, Resources, Settlement, Verb};
use runtime::tools::{IncidentSearch, Similar, Supplied, ToolsetSpec, bind};
use runtime::{Finished, Runtime, Settings, Watcher};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::clock::{SharedClock, SystemClock};
use store::{Keys, Options, Store};

/// Longest that a test waits for something that has to happen.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct World {
    pub gate: Arc<Gate>,
    pub runtime: Arc<Runtime>,
    pub told: Arc<Told>,
}

/// Everything that watchers were told.
#[derive(Default)]
pub struct Told(Mutex<Vec<Finished>>);

impl Watcher for Told {
    fn finished(&self, finished: &Finished) {
        self.0.lock().unwrap().push(finished.clone());
    }
}

impl Told {
    /// `STATE partial? OUTPUT` of each.
    pub fn lines(&self) -> Vec<String> {
        let line = |f: &Finished| {
            let partial = if f.partial { " partial" } else { "" };
            let output = f.output.as_ref().map(Value::to_string).unwrap_or_default();
            format!("{:?}{partial} {output}", f.session.state)
        };
        self.0.lock().unwrap().iter().map(line).collect()
    }
}

struct NoIncidents;

impl IncidentSearch for NoIncidents {
    fn similar(&self, _: &str, words: &str, not: Option<&str>, limit: usize) -> Result<Similar, String> {
        if words == "broken" {
            Err("no index".to_owned())
        } else {
            Ok(Similar {
                incidents: vec![json!({"id": words, "not": not, "limit": limit})],
                taint: policy::Taints::of(&[policy::Taint::Secrets]),
            })
        }
    }
}

pub fn supplied() -> Supplied {
    Supplied {
        incidents: Arc::new(NoIncidents),
        commands: None,
    }
}

/// Rules for most tests: `ask.*` needs a person, `never.*` is denied, everything else is permitted.
pub fn rules() -> Value {
    json!({"rules": [
        {"name": "ask", "match": {"verbs": ["ask.*"]}, "outcome": "require_approval", "reason": "ask first"},
        {"name": "never", "match": {"verbs": ["never.*"]}, "outcome": "deny", "reason": "not this one"},
        {"name": "rest", "match": {}, "outcome": "permit"},
    ]})
}

/// An agent that holds `grants` at level L3.
fn authority(grants: Vec<Grant>, bounds: gate::Bounds) -> Authority {
    let document = serde_json::from_value(rules()).unwrap();
    let autonomy = Autonomy {
        default: Level::L3,
        ..Autonomy::default()
    };
    let agent = AgentAuthority {
        grants,
        autonomy,
        bounds,
        deny: Vec::new(),
        sponsor: "alice".to_owned(),
        place: policy::Place::default(),
        trust: gate::TrustTerms::PLATFORM,
    };
    let agent = Arc::new(agent);
    Authority {
        budgets: Arc::default(),
        generation: 0,
        policies: Arc::new(PolicySet::load(&[("test".to_owned(), document)]).unwrap()),
        agents: [
            ("worker".to_owned(), Arc::clone(&agent)),
            ("other".to_owned(), agent),
        ]
        .into(),
    }
}

fn everything() -> Vec<Grant> {
    let capability = Capability::parse("*:*").unwrap();
    vec![Grant {
        capability,
        from: "toolset/all".to_owned(),
        until: None,
    }]
}

fn open(directory: &Path, clock: SharedClock, vfs: Option<&str>) -> Arc<Gate> {
    let store = Store::open(Options {
        directory: directory.join("data"),
        origin: "test.local/default".to_owned(),
        keys: Keys::open_or_create(&directory.join("data-keys"), "test.local/default").unwrap(),
        projections: gate::projections(),
        clock,
        checkpoints: None,
        vfs: vfs.map(str::to_owned),
        synchronous: "FULL",
    })
    .unwrap();
    Gate::open(store).unwrap()
}

impl World {
    pub fn open(directory: &Path) -> World {
        World::with(
            directory,
            SystemClock::shared(),
            Settings { workers: 2 },
            gate::Bounds::default(),
        )
    }

    pub fn with(directory: &Path, clock: SharedClock, settings: Settings, bounds: gate::Bounds) -> World {
        World::over(open(directory, clock, None), settings, bounds)
    }

    /// The database on a disk that a test can make refuse.
    pub fn on(directory: &Path, vfs: &str) -> World {
        let gate = open(directory, SystemClock::shared(), Some(vfs));
        World::over(gate, Settings { workers: 2 }, gate::Bounds::default())
    }

    fn over(gate: Arc<Gate>, settings: Settings, bounds: gate::Bounds) -> World {
        gate.restore(authority(everything(), bounds));
        let runtime = Runtime::new(Arc::clone(&gate), settings);
        let told = Arc::new(Told::default());
        runtime.watch(Arc::clone(&told) as Arc<dyn Watcher>);
        World { gate, runtime, told }
    }

    /// Gives agent `worker` this runbook and these tools, and starts.
    pub async fn start(&self, runbook: &Value, tools: &[Scripted]) {
        self.install(runbook, tools);
        self.runtime.start().await.unwrap();
    }

    pub fn install(&self, runbook: &Value, tools: &[Scripted]) {
        self.install_for(&["worker"], runbook, tools);
    }

    pub fn install_for(&self, agents: &[&str], runbook: &Value, tools: &[Scripted]) {
        let spec: runtime::agent::AgentSpec =
            serde_json::from_value(json!({"sponsor": "alice", "runbook": runbook})).unwrap();
        spec.runbook.as_ref().unwrap().validate().unwrap();
        let tools: Tools = tools
            .iter()
            .map(|t| (t.verb.as_str().to_owned(), Arc::new(t.clone()) as Arc<dyn Tool>))
            .collect();
        let (spec, tools) = (Arc::new(spec), Arc::new(tools));
        let kits = agents
            .iter()
            .map(|name| ((*name).to_owned(), (Arc::clone(&spec), Arc::clone(&tools))));
        self.runtime.install(kits.collect());
    }

    pub async fn create(&self, input: Value) -> String {
        self.create_for("worker", input).await
    }

    pub async fn create_for(&self, agent: &str, input: Value) -> String {
        let new = NewSession {
            agent: agent.to_owned(),
            cause: Principal::service("trigger/test"),
            correlation: None,
            input,
            title: "a test".to_owned(),
            idempotency_key: None,
            urgent: false,
            taint: policy::Taints::NONE,
        };
        let (session, _) = self.gate.create_session(new).await.unwrap();
        self.runtime.wake();
        session.id
    }

    /// Waits until `done` holds of the journal; every commit is looked at.
    pub async fn until<T>(&self, what: &str, done: impl Fn(&Gate) -> Option<T>) -> T {
        let mut committed = self.gate.store().committed();
        let wait = async {
            loop {
                if let Some(found) = done(&self.gate) {
                    return found;
                }
                // A session changes by an entry; what is not an entry is looked at again.
                let _ = tokio::time::timeout(Duration::from_millis(50), committed.changed()).await;
            }
        };
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(found) => found,
            Err(_) => panic!("waited in vain for {what}: {:#?}", self.gate.sessions(None, 10)),
        }
    }

    pub async fn reaches(&self, session: &str, state: Session) -> SessionView {
        let what = format!("{session} to be {state:?}");
        let reached = |gate: &Gate| Some(gate.session(session).unwrap()).filter(|view| view.state == state);
        let view = self.until(&what, reached).await;
        // Watchers are told after the entry.
        let knows = |_: &Gate| {
            let told = self.told.0.lock().unwrap();
            (state == Session::Running || told.iter().any(|told| told.session == view)).then_some(())
        };
        self.until("the watcher to be told", knows).await;
        view
    }

    pub async fn person(&self, name: &str) -> Caller {
        let principal = Principal::person(name);
        let new = NewToken {
            principal,
            roles: vec![Role::Admin.into()],
            groups: Vec::new(),
            trigger: None,
            expires: None,
        };
        let (_, secret) = self
            .gate
            .create_token(&Principal::service("cofferdam"), new)
            .await
            .unwrap();
        self.gate
            .identify(std::str::from_utf8(secret.expose()).unwrap())
            .unwrap()
    }

    /// Kinds of a session's entries, with the step where there is one.
    pub fn entries(&self, session: &str) -> Vec<String> {
        let read = self
            .gate
            .store()
            .read(|reader| reader.session_entries(session, 0, 1000))
            .unwrap();
        let line = |entry: journal::Entry| match entry.body.get("step").and_then(Value::as_str) {
            Some(step) => format!("{} {step}", entry.kind),
            None => entry.kind,
        };
        read.into_iter().map(|stored| line(stored.entry)).collect()
    }
}

type Script = dyn Fn(&Value, usize) -> Does + Send + Sync;

/// What a scripted tool does when it runs.
pub enum Does {
    Gives(Value),
    Fails(&'static str),
    Loses,
    /// Until it is cut off.
    Hangs,
    Panics,
}

/// A tool that does what a test says, and counts how often.
#[derive(Clone)]
pub struct Scripted {
    verb: Verb,
    effect: Effect,
    idempotence: Idempotence,
    script: Arc<Script>,
    runs: Arc<AtomicUsize>,
}

impl Scripted {
    pub fn new(
        verb: &str,
        effect: Effect,
        idempotence: Idempotence,
        script: impl Fn(&Value, usize) -> Does + Send + Sync + 'static,
    ) -> Scripted {
        let (verb, script) = (Verb::new(verb).unwrap(), Arc::new(script));
        Scripted {
            verb,
            effect,
            idempotence,
            script,
            runs: Arc::default(),
        }
    }

    pub fn reads(verb: &str, script: impl Fn(&Value, usize) -> Does + Send + Sync + 'static) -> Scripted {
        Scripted::new(verb, Effect::Read, Idempotence::Idempotent, script)
    }

    pub fn runs(&self) -> usize {
        self.runs.load(Ordering::SeqCst)
    }
}

impl Tool for Scripted {
    fn verb(&self) -> &Verb {
        &self.verb
    }
    fn description(&self) -> &str {
        "does what a test says"
    }
    fn schema(&self) -> Value {
        json!({"type": "object"})
    }
    fn propose<'a>(&'a self, arguments: &'a Value) -> BoxFuture<'a, Result<Action, ToolError>> {
        Box::pin(async move {
            if arguments.get("bad").is_some() {
                return Err(ToolError::Arguments {
                    place: "/bad".to_owned(),
                    what: "is not known".to_owned(),
                });
            }
            let environment = Environment::new("staging").unwrap();
            let (verb, arguments) = (self.verb.clone(), arguments.clone());
            Ok(Action::new(
                verb,
                "thing/a",
                arguments,
                environment,
                self.effect,
                self.idempotence,
            )
            .unwrap())
        })
    }
    fn run<'a>(&'a self, flight: &'a InFlight) -> BoxFuture<'a, Settlement> {
        Box::pin(async move {
            let run = self.runs.fetch_add(1, Ordering::SeqCst) + 1;
            match (self.script)(flight.action().arguments(), run) {
                Does::Gives(result) => settlement(Outcome::Success, result, "done"),
                Does::Fails(why) => settlement(Outcome::Failure, Value::Null, why),
                Does::Loses => settlement(Outcome::Uncertain, Value::Null, "lost"),
                Does::Hangs => {
                    flight.cancel().cancelled().await;
                    settlement(Outcome::Cancelled, Value::Null, "cut off")
                }
                Does::Panics => panic!("a defect of the tool"),
            }
        })
    }
}

fn settlement(outcome: Outcome, result: Value, summary: &str) -> Settlement {
    let failure = Failure {
        kind: "scripted".to_owned(),
        message: summary.to_owned(),
    };
    let failure = Some(failure).filter(|_| outcome != Outcome::Success);
    Settlement {
        outcome,
        result,
        summary: summary.to_owned(),
        failure,
        resources: Resources::default(),
        taints: policy::Taints::NONE,
    }
}

/// The tools of a toolset, used one by one in a session that runs: through the gate, as always.
pub struct Hands {
    pub gate: Arc<Gate>,
    tools: Tools,
    session: String,
    steps: AtomicUsize,
    _directory: tempfile::TempDir,
}

impl Hands {
    pub async fn on(toolset: Value) -> Hands {
        let directory = tempfile::tempdir().unwrap();
        let spec: ToolsetSpec = serde_json::from_value(toolset).unwrap();
        let (tools, grants) = bind("test", &spec, &supplied()).unwrap();
        let gate = open(directory.path(), SystemClock::shared(), None);
        gate.restore(authority(grants, gate::Bounds::default()));
        let new = NewSession {
            agent: "worker".to_owned(),
            cause: Principal::service("trigger/test"),
            correlation: None,
            input: Value::Null,
            title: String::new(),
            idempotency_key: None,
            urgent: false,
            taint: policy::Taints::NONE,
        };
        let (session, _) = gate.create_session(new).await.unwrap();
        let by = Principal::service("cofferdam");
        gate.session_event(&session.id, &by, SessionEvent::Start, None, None)
            .await
            .unwrap();
        Hands {
            gate,
            tools,
            session: session.id,
            steps: AtomicUsize::new(0),
            _directory: directory,
        }
    }

    pub async fn propose(&self, verb: &str, arguments: &Value) -> Result<Action, String> {
        let tool = self.tools.get(verb).ok_or_else(|| format!("no tool {verb}"))?;
        tool.propose(arguments).await.map_err(|error| error.to_string())
    }

    /// Proposes, admits, runs, settles. What the gate or the tool refuses is an error in words.
    pub async fn act(&self, verb: &str, arguments: Value) -> Result<Settlement, String> {
        let action = self.propose(verb, &arguments).await?;
        self.act_on(action).await
    }

    pub async fn act_on(&self, action: Action) -> Result<Settlement, String> {
        let tool = self.tools.get(action.verb().as_str()).unwrap();
        let step = format!("s{}", self.steps.fetch_add(1, Ordering::SeqCst));
        let proposal = Proposal {
            session: self.session.clone(),
            step,
            action,
        };
        let permit = self
            .gate
            .admit(proposal)
            .await
            .map_err(|refusal| refusal.to_string())?;
        let flight = permit
            .spend(self.gate.stop_set())
            .map_err(|stopped| stopped.to_string())?;
        let settlement = tool.run(&flight).await;
        flight.settle(settlement.clone()).await.unwrap();
        Ok(settlement)
    }
}

/// `OUTCOME SUMMARY`.
pub fn line(settlement: &Settlement) -> String {
    format!("{:?} {}", settlement.outcome, settlement.summary)
}
