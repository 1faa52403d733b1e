//! A gate over a real store in a temporary directory, with a clock that tests set; and one `check`
//! that says in words what an admission gave.

use gate::{AgentAuthority, Authority, Bounds, Caller, Gate, NewSession, NewToken, Proposal, Refusal, Role};
use journal::machine::SessionEvent;
use policy::{
    Action, Autonomy, Capability, Effect, Environment, Grant, Idempotence, Level, Outcome, Permit,
    PolicyDocument, PolicySet, Principal, Resources, Settlement, Verb,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::{Keys, Options, Store, StoreError};
use testkit::ManualClock;
use testkit::faulty::{Disk, Loss};

/// When every test begins: 2026-01-01T00:00:00Z.
pub const START_MS: i64 = 1_767_225_600_000;

pub struct World {
    pub gate: Arc<Gate>,
    pub clock: Arc<ManualClock>,
    pub directory: Arc<tempfile::TempDir>,
    authority: Mutex<Authority>,
    /// Where the journal is, when it is not on a real disk.
    pub disk: Option<Disk>,
}

/// Rules that the tests speak of: `git.propose` needs approval, `channel.post` is permitted, anything on
/// `forbidden` is denied.
pub fn rules() -> Value {
    json!({ "rules": [
        { "name": "ask", "match": { "verbs": ["git.propose"] }, "outcome": "require_approval", "reason": "a person reads the diff" },
        { "name": "post", "match": { "verbs": ["channel.post"] }, "outcome": "permit", "reason": "posting is fine" },
        { "name": "never", "match": { "resources": ["forbidden*"] }, "outcome": "deny", "reason": "not this one" },
        { "name": "bob", "match": { "verbs": ["db.drop"] }, "outcome": "require_approval", "reason": "bob decides",
          "approvers": ["bob"] },
    ] })
}

pub fn authority(rules: &Value, agents: &[(&str, AgentAuthority)]) -> Authority {
    let document: PolicyDocument = serde_json::from_value(rules.clone()).unwrap();
    Authority {
        budgets: Arc::default(),
        generation: 0,
        policies: Arc::new(PolicySet::load(&[("test".to_owned(), document)]).unwrap()),
        agents: agents
            .iter()
            .map(|(name, held)| ((*name).to_owned(), Arc::new(held.clone())))
            .collect(),
    }
}

/// An agent that acts and one that only reads.
fn usual() -> Authority {
    authority(
        &rules(),
        &[("triage", agent(Level::L3)), ("reader", agent(Level::L0))],
    )
}

/// An agent that may read and propose everything but `ungranted.*`.
pub fn agent(level: Level) -> AgentAuthority {
    let grant = |text: &str| Grant {
        capability: Capability::parse(text).unwrap(),
        from: "toolset/all".to_owned(),
        until: None,
    };
    AgentAuthority {
        grants: ["git.*:*", "http.*:*", "channel.*:*", "db.*:*"]
            .map(grant)
            .to_vec(),
        autonomy: Autonomy {
            default: level,
            ..Autonomy::default()
        },
        bounds: Bounds::default(),
        deny: Vec::new(),
        sponsor: "alice".to_owned(),
        place: policy::Place::default(),
        // Trust has tests of its own.
        trust: gate::TrustTerms::PLATFORM,
    }
}

fn open_store(directory: &Path, clock: Arc<ManualClock>, disk: Option<&Disk>) -> Result<Store, StoreError> {
    Store::open(Options {
        directory: directory.join("data"),
        origin: "test.local/default".to_owned(),
        keys: Keys::open_or_create(&directory.join("data-keys"), "test.local/default").unwrap(),
        projections: gate::projections(),
        clock,
        checkpoints: None,
        vfs: disk.map(|disk| disk.vfs().to_owned()),
        synchronous: "FULL",
    })
}

impl World {
    pub async fn new() -> World {
        World::with(usual()).await
    }

    pub async fn with(authority: Authority) -> World {
        World::open(
            tempfile::tempdir().unwrap().into(),
            ManualClock::new(),
            authority,
            None,
        )
        .unwrap()
    }

    /// With the journal on `disk`; everything else is on the real one.
    pub async fn on(disk: Disk) -> World {
        World::open(
            tempfile::tempdir().unwrap().into(),
            ManualClock::new(),
            usual(),
            Some(disk),
        )
        .unwrap()
    }

    fn open(
        directory: Arc<tempfile::TempDir>,
        clock: Arc<ManualClock>,
        authority: Authority,
        disk: Option<Disk>,
    ) -> Result<World, StoreError> {
        let gate = Gate::open(open_store(directory.path(), clock.clone(), disk.as_ref())?)?;
        gate.restore(authority.clone());
        Ok(World {
            gate,
            clock,
            directory,
            authority: Mutex::new(authority),
            disk,
        })
    }

    /// What the next start finds: everything is dropped and opened again.
    pub async fn reopened(self) -> World {
        match self.gate.store().close().await {
            Ok(()) | Err(StoreError::Closed | StoreError::Corrupt { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        let World {
            gate,
            clock,
            directory,
            authority,
            disk,
        } = self;
        drop(gate);
        World::open(directory, clock, authority.into_inner().unwrap(), disk).unwrap()
    }

    /// What the next start finds after somebody wrote `to` for `from`, of the same length, in the file.
    pub async fn altered(self, from: &str, to: &str) -> World {
        assert_eq!(from.len(), to.len());
        self.gate.store().close().await.unwrap();
        let file = self.directory.path().join("data/journal.db");
        let mut bytes = std::fs::read(&file).unwrap();
        let mut places = 0;
        for at in 0..=bytes.len() - from.len() {
            if bytes[at..].starts_with(from.as_bytes()) {
                bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
                places += 1;
            }
        }
        assert!(places > 0, "`{from}` is not in the file");
        std::fs::write(&file, bytes).unwrap();
        self.reopened().await
    }

    /// What the next start finds after the power was lost.
    pub async fn after_power_loss(self) -> World {
        let World {
            gate,
            clock,
            directory,
            authority,
            disk,
        } = self;
        let disk = disk.unwrap();
        disk.lose_power(Loss::Drop);
        // Lets go of the directory; nothing reaches the disk any more.
        drop(gate.store().close().await);
        drop(gate);
        World::open(
            directory,
            clock,
            authority.into_inner().unwrap(),
            Some(disk.after_power_loss()),
        )
        .unwrap()
    }

    pub fn advance(&self, ms: u64) {
        self.clock.advance(Duration::from_millis(ms));
    }

    /// A session of `agent` that runs, caused by a trigger.
    pub async fn running(&self, agent: &str) -> String {
        let (view, new) = self.gate.create_session(new_session(agent)).await.unwrap();
        assert!(new);
        self.drive(&view.id, SessionEvent::Start).await;
        view.id
    }

    pub async fn drive(&self, session: &str, event: SessionEvent) {
        let by = Principal::service("cofferdam");
        self.gate
            .session_event(session, &by, event, None, None)
            .await
            .unwrap();
    }

    pub async fn admit(&self, session: &str, step: &str, action: &Action) -> Result<Permit, Refusal> {
        let proposal = Proposal {
            session: session.to_owned(),
            step: step.to_owned(),
            action: action.clone(),
        };
        self.gate.admit(proposal).await
    }

    /// What came of it, in words. A permit is settled as done.
    pub async fn check(&self, session: &str, step: &str, action: &Action) -> String {
        match self.admit(session, step, action).await {
            Ok(permit) => {
                let flight = permit.spend(self.gate.stop_set()).unwrap();
                flight.settle(done(json!({ "ok": true }))).await.unwrap();
                "permit".to_owned()
            }
            Err(refusal) => refusal.to_string(),
        }
    }

    pub async fn caller(&self, name: &str, roles: &[Role]) -> Caller {
        self.member(name, roles, &[]).await
    }

    /// Somebody who belongs to teams.
    pub async fn member(&self, name: &str, roles: &[Role], groups: &[&str]) -> Caller {
        let new = NewToken {
            principal: Principal::person(name),
            roles: gate::RoleAt::everywhere(roles),
            groups: groups.iter().map(|&group| group.to_owned()).collect(),
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

    /// An approver; `None` when no token can be recorded.
    pub async fn alice(&self) -> Option<Caller> {
        let principal = Principal::person("alice");
        let new = NewToken {
            principal,
            roles: vec![Role::Approver.into()],
            groups: Vec::new(),
            trigger: None,
            expires: None,
        };
        let (_, secret) = self
            .gate
            .create_token(&Principal::service("cofferdam"), new)
            .await
            .ok()?;
        self.gate
            .identify(std::str::from_utf8(secret.expose()).unwrap())
            .ok()
    }

    /// Every entry, in order.
    pub fn entries(&self) -> Vec<journal::Entry> {
        let read = self
            .gate
            .store()
            .read(|reader| reader.entries(0, 100_000))
            .unwrap();
        read.into_iter().map(|stored| stored.entry).collect()
    }

    pub fn kinds(&self) -> Vec<String> {
        self.entries().into_iter().map(|entry| entry.kind).collect()
    }

    pub fn bodies(&self, kind: &str) -> Vec<Value> {
        self.entries()
            .into_iter()
            .filter(|entry| entry.kind == kind)
            .map(|entry| entry.body)
            .collect()
    }

    /// Every row of every projection, as text.
    pub fn rows(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        for projection in gate::projections() {
            let name = projection.name();
            for row in self
                .gate
                .store()
                .read(|reader| reader.rows(name, None, 100_000))
                .unwrap()
            {
                all.insert(format!("{name}:{}", row.key), row.value.to_string());
            }
        }
        all
    }
}

pub fn new_session(agent: &str) -> NewSession {
    NewSession {
        agent: agent.to_owned(),
        cause: Principal::service("trigger/alerts"),
        correlation: Some("INC-2026-0921-001".to_owned()),
        input: json!({ "alert": "HighErrorRate" }),
        title: "HighErrorRate on shop".to_owned(),
        idempotency_key: None,
        urgent: false,
        taint: policy::Taints::NONE,
    }
}

pub fn action(
    verb: &str,
    resource: &str,
    arguments: Value,
    effect: Effect,
    idempotence: Idempotence,
) -> Action {
    let environment = Environment::production();
    Action::new(
        Verb::new(verb).unwrap(),
        resource,
        arguments,
        environment,
        effect,
        idempotence,
    )
    .unwrap()
}

pub fn read(resource: &str) -> Action {
    action(
        "git.log",
        resource,
        json!({ "limit": 10 }),
        Effect::Read,
        Idempotence::Idempotent,
    )
}

/// Permitted by a rule, and not to be repeated.
pub fn post(text: &str) -> Action {
    action(
        "channel.post",
        "channel/oncall",
        json!({ "text": text }),
        Effect::Write,
        Idempotence::Once,
    )
}

/// Needs an approval.
pub fn propose(title: &str) -> Action {
    action(
        "git.propose",
        "repository/shop",
        json!({ "title": title }),
        Effect::Write,
        Idempotence::Idempotent,
    )
}

pub fn done(result: Value) -> Settlement {
    Settlement {
        outcome: Outcome::Success,
        result,
        summary: "done".to_owned(),
        failure: None,
        resources: Resources::default(),
        taints: policy::Taints::NONE,
    }
}
