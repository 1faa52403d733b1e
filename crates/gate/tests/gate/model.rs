//! Random lives of a gate, judged afterwards from the entries alone by rules that know nothing of
//! projections: whatever was done in whatever order, the journal tells a lawful story.

use crate::world::{World, action, agent, authority, done, post, propose, read, rules};
use gate::{AgentAuthority, Bounds, Role, Verdict};
use journal::{Entry, kind};
use policy::{
    Action, Effect, Idempotence, InFlight, Level, Outcome, Permit, Principal, Settlement, StopScope,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const PER_SESSION: u64 = 12;
const PER_MINUTE: usize = 8;

/// One thing that happens. Numbers choose among what there is.
#[derive(Clone, Debug)]
enum Happening {
    Propose { session: usize, step: u8, action: usize },
    Spend(usize),
    DropPermit(usize),
    Settle(usize, Outcome),
    DropFlight(usize),
    Decide(usize, bool),
    Wait(u64),
    Timer,
    Stop(usize),
    Lift,
    Restart,
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening as H;
    let outcome = prop::sample::select(vec![
        Outcome::Success,
        Outcome::Failure,
        Outcome::Uncertain,
        Outcome::NotStarted,
        Outcome::Cancelled,
    ]);
    prop_oneof![
        12 => (0..2usize, 0..8u8, 0..6usize).prop_map(|(session, step, action)| H::Propose { session, step, action }),
        8 => (0..2usize).prop_map(H::Spend),
        1 => (0..4usize).prop_map(H::DropPermit),
        6 => (0..2usize, outcome).prop_map(|(flight, outcome)| H::Settle(flight, outcome)),
        1 => (0..4usize).prop_map(H::DropFlight),
        6 => (0..3usize, prop::bool::weighted(0.9)).prop_map(|(approval, yes)| H::Decide(approval, yes)),
        4 => prop::sample::select(vec![1u64, 20_000, 60_000, 700_000]).prop_map(H::Wait),
        1 => Just(H::Timer),
        1 => (0..3usize).prop_map(H::Stop),
        3 => Just(H::Lift),
        1 => Just(H::Restart),
    ]
}

fn actions() -> [Action; 6] {
    [
        read("repository/a"),
        post("hello"),
        propose("x"),
        propose("y"),
        action(
            "db.drop",
            "db/orders",
            json!({}),
            Effect::Destructive,
            Idempotence::Once,
        ),
        action(
            "http.request",
            "http://a/",
            json!({}),
            Effect::Write,
            Idempotence::Once,
        ),
    ]
}

struct Life {
    world: World,
    sessions: Vec<String>,
    permits: Vec<Permit>,
    flights: Vec<InFlight>,
}

impl Life {
    async fn begin() -> Life {
        let bounds = Bounds {
            actions_per_session: PER_SESSION.try_into().unwrap(),
            actions_per_minute: PER_MINUTE.try_into().unwrap(),
            ..Bounds::default()
        };
        let triage = AgentAuthority {
            bounds,
            ..agent(Level::L3)
        };
        let world = World::with(authority(&rules(), &[("triage", triage)])).await;
        let sessions = vec![world.running("triage").await, world.running("triage").await];
        Life {
            world,
            sessions,
            permits: Vec::new(),
            flights: Vec::new(),
        }
    }

    fn scope(&self, which: usize) -> StopScope {
        match which {
            0 => StopScope::All,
            1 => StopScope::Agent("triage".to_owned()),
            _ => StopScope::Session(self.sessions[0].clone()),
        }
    }

    async fn happen(mut self, happening: Happening) -> Life {
        let gate = self.world.gate.clone();
        let by = Principal::person("eve");
        match happening {
            Happening::Propose {
                session,
                step,
                action,
            } => {
                let admitted = self
                    .world
                    .admit(&self.sessions[session], &format!("{step}"), &actions()[action])
                    .await;
                self.permits.extend(admitted.ok());
            }
            Happening::Spend(n) if n < self.permits.len() => {
                let covered = gate.stops();
                match self.permits.remove(n).spend(gate.stop_set()) {
                    Ok(flight) => self.flights.push(flight),
                    Err(stopped) => assert!(covered.contains(&stopped.stop)),
                }
            }
            Happening::DropPermit(n) if n < self.permits.len() => drop(self.permits.remove(n)),
            Happening::Settle(n, outcome) if n < self.flights.len() => {
                self.flights
                    .remove(n)
                    .settle(Settlement {
                        outcome,
                        ..done(json!(n))
                    })
                    .await
                    .unwrap();
            }
            Happening::DropFlight(n) if n < self.flights.len() => drop(self.flights.remove(n)),
            Happening::Decide(n, yes) => {
                if let Some(view) = gate.approvals(9).unwrap().get(n) {
                    let caller = self.world.caller("bob", &[Role::Approver]).await;
                    let verdict = if yes { Verdict::Approve } else { Verdict::Deny };
                    drop(gate.decide_approval(&caller, &view.id, verdict, "so").await);
                }
            }
            Happening::Wait(ms) => self.world.advance(ms),
            Happening::Timer => drop(gate.expire_approvals().await.unwrap()),
            Happening::Stop(which) => assert!(gate.stop(&by, self.scope(which), "halt").await.durable),
            Happening::Lift => {
                for stop in gate.stops() {
                    assert!(
                        gate.lift(&by, gate::EVERYWHERE, &stop.scope, "over")
                            .await
                            .unwrap()
                    );
                }
            }
            Happening::Restart => {
                // As after a crash: what was open has no outcome.
                gate.flush().await.unwrap();
                gate.store().close().await.unwrap();
                self.permits.clear();
                self.flights.clear();
                self.world = self.world.reopened().await;
                self.world.gate.mark_uncertain().await.unwrap();
            }
            _ => {}
        }
        self
    }
}

/// The story so far, as an auditor reads it.
#[derive(Default)]
struct Story {
    /// By session and step: the open permit, or how the last one ended.
    steps: BTreeMap<(String, String), Step>,
    /// By id: who asked, for which action, until when, and whether it is approved now.
    approvals: BTreeMap<String, Asked>,
    stops: BTreeSet<String>,
    permits: Vec<(i64, String)>,
    spent: usize,
    settled: usize,
}

#[derive(Clone, PartialEq, Debug)]
enum Step {
    Open(u64),
    Ended(String, bool),
}

struct Asked {
    session: String,
    action: Value,
    expires: policy::Timestamp,
    approved: bool,
}

impl Story {
    fn read(&mut self, entry: &Entry, payload: impl Fn(&str) -> Value) {
        let text = |name: &str| entry.body[name].as_str().unwrap_or_default().to_owned();
        let session = entry.session.clone().unwrap_or_default();
        match entry.kind.as_str() {
            kind::ACTION_PERMITTED => self.permitted(entry, &session, &payload("arguments")),
            kind::ACTION_SETTLED => {
                let step = self
                    .steps
                    .get_mut(&(session, text("step")))
                    .expect("a permit before its outcome");
                let idempotent = match step {
                    Step::Open(permit) => {
                        assert_eq!(entry.body["permit"], *permit);
                        self.settled += 1;
                        entry.body["verb"] == "git.log" || entry.body["verb"] == "git.propose"
                    }
                    Step::Ended(outcome, idempotent) => {
                        assert_eq!(outcome, "uncertain", "only an unknown outcome comes twice");
                        *idempotent
                    }
                };
                *step = Step::Ended(text("outcome"), idempotent);
            }
            kind::APPROVAL_REQUESTED => {
                let expires = policy::Timestamp::parse(&text("expires")).unwrap();
                let asked = Asked {
                    session,
                    action: payload("action"),
                    expires,
                    approved: false,
                };
                assert!(self.approvals.insert(text("approval"), asked).is_none());
            }
            kind::APPROVAL_APPROVED => {
                assert_ne!(entry.cause.as_deref(), Some(entry.actor.as_str()));
                let asked = self.approvals.get_mut(&text("approval")).unwrap();
                assert!(entry.timestamp < asked.expires, "approved too late");
                asked.approved = true;
            }
            kind::APPROVAL_DENIED | kind::APPROVAL_EXPIRED | kind::APPROVAL_CANCELLED => {
                self.approvals.get_mut(&text("approval")).unwrap().approved = false;
            }
            kind::STOP_RAISED => drop(self.stops.insert(text("scope"))),
            kind::STOP_LIFTED => drop(self.stops.remove(&text("scope"))),
            _ => {}
        }
    }

    fn permitted(&mut self, entry: &Entry, session: &str, action: &Value) {
        let text = |name: &str| entry.body[name].as_str().unwrap_or_default().to_owned();
        for scope in [
            "all".to_owned(),
            "agent:triage".to_owned(),
            format!("session:{session}"),
        ] {
            assert!(
                !self.stops.contains(&scope),
                "entry {}: permitted under a stop of `{scope}`",
                entry.sequence
            );
        }
        let step = (session.to_owned(), text("step"));
        match self.steps.get(&step) {
            None => {}
            Some(Step::Ended(outcome, idempotent)) => {
                let harmless = outcome == "not_started" || (outcome == "uncertain" && *idempotent);
                assert!(
                    harmless,
                    "entry {}: {step:?} again after `{outcome}`",
                    entry.sequence
                );
            }
            Some(Step::Open(permit)) => panic!("entry {}: {step:?} is open as {permit}", entry.sequence),
        }
        self.steps.insert(step, Step::Open(entry.sequence));
        if matches!(text("verb").as_str(), "git.propose" | "db.drop") {
            let asked = self.approvals.get_mut(&text("approval")).expect("an approval");
            assert!(
                asked.approved && entry.timestamp < asked.expires,
                "entry {}",
                entry.sequence
            );
            assert_eq!(
                (asked.session.as_str(), &asked.action),
                (session, action),
                "of another action"
            );
            // Once.
            asked.approved = false;
            self.spent += 1;
        }
        assert_ne!(text("verb"), "http.request", "no rule permits it");
        let now = entry.timestamp.ms();
        let minute = self.permits.iter().filter(|(at, _)| now - at < 60_000).count();
        assert!(
            minute < PER_MINUTE,
            "entry {}: {minute} in the last minute",
            entry.sequence
        );
        let so_far = self.permits.iter().filter(|(_, other)| other == session).count() as u64;
        assert!(
            so_far < PER_SESSION,
            "entry {}: {so_far} in the session",
            entry.sequence
        );
        self.permits.push((now, session.to_owned()));
    }
}

async fn live(happenings: Vec<Happening>) -> (usize, usize, usize) {
    let mut life = Life::begin().await;
    for happening in happenings {
        life = life.happen(happening).await;
    }
    life.permits.clear();
    life.flights.clear();
    let world = life.world;
    world.gate.flush().await.unwrap();
    let mut story = Story::default();
    for entry in world.entries() {
        let read = |name: &str| {
            world
                .gate
                .store()
                .read(|reader| reader.payload(entry.sequence, name))
                .unwrap()
        };
        story.read(&entry, |name| match read(name) {
            store::Erasable::Present(value) => value,
            other => panic!("entry {}: {name} is {other:?}", entry.sequence),
        });
    }
    for (step, stands) in &story.steps {
        assert!(matches!(stands, Step::Ended(..)), "{step:?} has no outcome");
    }
    assert_eq!(world.gate.store().rebuild().unwrap(), Vec::<String>::new());
    (story.permits.len(), story.spent, story.settled)
}

#[test]
fn every_life_tells_a_lawful_story() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut runner = TestRunner::new(Config {
        cases: 24,
        failure_persistence: None,
        ..Config::default()
    });
    let told = std::cell::Cell::new((0, 0, 0));
    let result = runner.run(&prop::collection::vec(happening(), 40..120), |happenings| {
        let (permits, spent, settled) = runtime.block_on(live(happenings));
        let sum = told.get();
        told.set((sum.0 + permits, sum.1 + spent, sum.2 + settled));
        Ok(())
    });
    result.unwrap();
    let (permits, spent, settled) = told.get();
    assert!(
        permits > 50 && spent > 0 && settled > 50,
        "the lives were dull: {:?}",
        told.get()
    );
}
