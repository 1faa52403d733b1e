//! Kills: what they wait for, how long, and what they name.

use crate::stoppable::{Stand, is_kept_by};
use crate::world::{World, agent, authority, post, propose, read, rules};
use gate::{BoxFuture, Gate, Held, Role, Stoppable, Verdict};
use policy::{Level, Principal, Stop, StopScope};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn eve() -> Principal {
    Principal::person("eve")
}

fn triage() -> StopScope {
    StopScope::Agent("triage".into())
}

async fn two_agents() -> World {
    let agents = [("triage", agent(Level::L3)), ("other", agent(Level::L3))];
    World::with(authority(&rules(), &agents)).await
}

fn agent_of(covered: bool) -> &'static str {
    if covered { "triage" } else { "other" }
}

/// Effects under way, each of which ends when it is told to.
struct InTheAir(World);

impl Stand for InTheAir {
    fn gate(&self) -> &Arc<Gate> {
        &self.0.gate
    }
    fn what(&self) -> &'static str {
        "actions"
    }
    fn scope(&self) -> StopScope {
        triage()
    }
    async fn open(&self, covered: bool) -> Option<String> {
        let session = self.0.running(agent_of(covered)).await;
        let permit = self.0.admit(&session, "a", &read("a")).await.ok()?;
        let flight = permit.spend(self.0.gate.stop_set()).ok()?;
        let name = format!("entry {}", flight.entry());
        tokio::spawn(async move {
            flight.cancel().cancelled().await;
            drop(flight);
        });
        Some(name)
    }
    async fn lives(&self, name: &str) -> bool {
        let flying = self.0.gate.stop_set().in_flight(&StopScope::All);
        flying.iter().any(|entry| format!("entry {entry}") == name)
    }
}

#[tokio::test]
async fn flights_keep_the_contract() {
    is_kept_by(&InTheAir(two_agents().await)).await;
}

/// Approvals that a person gave and nobody used yet.
struct Given {
    world: World,
    bob: gate::Caller,
}

impl Stand for Given {
    fn gate(&self) -> &Arc<Gate> {
        &self.world.gate
    }
    fn what(&self) -> &'static str {
        "approvals"
    }
    fn scope(&self) -> StopScope {
        triage()
    }
    async fn open(&self, covered: bool) -> Option<String> {
        let session = self.world.running(agent_of(covered)).await;
        let Err(gate::Refusal::Parked { approval, .. }) =
            self.world.admit(&session, "a", &propose("x")).await
        else {
            return None;
        };
        let approve = self
            .world
            .gate
            .decide_approval(&self.bob, &approval, Verdict::Approve, "");
        approve.await.unwrap();
        Some(approval)
    }
    async fn lives(&self, name: &str) -> bool {
        let session = self.world.gate.approval(name).unwrap().unwrap().session;
        self.world.check(&session, "a", &propose("x")).await == "permit"
    }
}

#[tokio::test]
async fn approvals_keep_the_contract() {
    let world = two_agents().await;
    let bob = world.caller("bob", &[Role::Approver]).await;
    is_kept_by(&Given { world, bob }).await;
}

#[tokio::test]
async fn what_was_approved_before_a_stop_is_used_after_it_and_never_when_it_expired() {
    for (decided_under, minutes, expected) in [
        (false, 1, "permit"),
        (true, 1, "permit"),
        (false, 11, "approval `"),
    ] {
        let world = two_agents().await;
        let bob = world.caller("bob", &[Role::Approver]).await;
        let session = world.running("triage").await;
        let Err(gate::Refusal::Parked { approval, .. }) = world.admit(&session, "a", &propose("x")).await
        else {
            panic!("it needs an approval");
        };
        let approve = || world.gate.decide_approval(&bob, &approval, Verdict::Approve, "");
        if !decided_under {
            approve().await.unwrap();
        }
        let answer = world.gate.kill(&eve(), triage(), "halt").await;
        let fenced = Held {
            what: "approvals",
            names: vec![approval.clone()],
        };
        assert_eq!(answer.reached, [fenced]);
        if decided_under {
            approve().await.unwrap();
        }
        let said = world.check(&session, "a", &propose("x")).await;
        assert_eq!(said, "stopped by person:eve: halt");
        world.advance(minutes * 60_000);
        world
            .gate
            .lift(&eve(), gate::EVERYWHERE, &triage(), "over")
            .await
            .unwrap();
        let said = world.check(&session, "a", &propose("x")).await;
        assert!(said.starts_with(expected), "after {minutes} minutes: {said}");
        assert_eq!(said.contains("expired"), minutes > 10, "{said}");
    }
}

/// An effect that does not heed its cancel handle is named, with what it does and where.
#[tokio::test]
async fn what_does_not_land_within_the_bound_is_named() {
    let world = World::new().await;
    let session = world.running("triage").await;
    let permit = world.admit(&session, "a", &post("x")).await.unwrap();
    let flight = permit.spend(world.gate.stop_set()).unwrap();
    let (gate, clock) = (Arc::clone(&world.gate), Arc::clone(&world.clock));
    let killing = tokio::spawn(async move { gate.kill(&eve(), triage(), "halt").await });
    while !flight.cancel().is_cancelled() {
        tokio::task::yield_now().await;
    }
    clock.advance(std::time::Duration::from_millis(4_900));
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert!(
        !killing.is_finished(),
        "the bound is five seconds by the gate's clock"
    );
    clock.advance(std::time::Duration::from_millis(100));
    let answer = killing.await.unwrap();
    let expected = Held {
        what: "actions",
        names: vec![format!(
            "entry {}: channel.post channel/oncall in {session}",
            flight.entry()
        )],
    };
    assert_eq!((answer.unreached, answer.reached), (vec![expected], vec![]));
    assert_eq!(answer.cancelled, [flight.entry()]);
    assert!(answer.durable, "and the stop stands");
    let said = world.check(&session, "b", &read("a")).await;
    assert_eq!(said, "stopped by person:eve: halt");
}

/// One that never answers, one that panics, and one that knows what it could not reach.
struct Stubborn(&'static str);

impl Stoppable for Stubborn {
    fn name(&self) -> &'static str {
        self.0
    }
    fn stop<'a>(&'a self, _: &'a Stop) -> BoxFuture<'a, gate::Stood> {
        assert!(self.0 != "panics", "on purpose");
        Box::pin(std::future::pending())
    }
    fn open(&self, _: &Stop) -> Vec<String> {
        let names = ["tunnel-1", "tunnel-2"].map(str::to_owned).to_vec();
        if self.0 == "tunnels" { names } else { Vec::new() }
    }
}

#[tokio::test]
async fn nobody_who_hangs_or_breaks_keeps_a_kill_from_returning() {
    let world = World::new().await;
    for name in ["panics", "silent", "tunnels"] {
        world.gate.add_stoppable(Arc::new(Stubborn(name)));
    }
    let (gate, clock) = (Arc::clone(&world.gate), Arc::clone(&world.clock));
    let killing = tokio::spawn(async move { gate.kill(&eve(), StopScope::All, "halt").await });
    while world.gate.stops().is_empty() {
        tokio::task::yield_now().await;
    }
    clock.advance(std::time::Duration::from_secs(5));
    let answer = killing.await.unwrap();
    let said: Vec<_> = answer
        .unreached
        .iter()
        .map(|held| format!("{}: {}", held.what, held.names.join(", ")))
        .collect();
    assert_eq!(
        said,
        [
            "panics: all of them: broke off",
            "silent: all of them: did not answer in time",
            "tunnels: tunnel-1, tunnel-2",
        ]
    );
}

/// Many sessions act as fast as they can while scopes of every kind are stopped: once a kill returned,
/// nothing that it covers is spent, although everybody goes on trying.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_spent_after_a_kill_returned() {
    for text in [
        "all",
        "network",
        "org:default",
        "tool:git.*",
        "capability:git.log:a",
        "agent:triage",
    ] {
        let world = two_agents().await;
        let (spent, tried) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut acting = tokio::task::JoinSet::new();
        for _ in 0..6 {
            let session = world.running("triage").await;
            let (gate, spent, tried) = (world.gate.clone(), spent.clone(), tried.clone());
            acting.spawn(async move {
                for step in 0.. {
                    let proposal = gate::Proposal {
                        session: session.clone(),
                        step: step.to_string(),
                        action: read("a"),
                    };
                    let permit = gate.admit(proposal).await;
                    if tried.fetch_add(1, Ordering::SeqCst) > 400 {
                        return;
                    }
                    let Ok(permit) = permit else { continue };
                    if let Ok(flight) = permit.spend(gate.stop_set()) {
                        spent.fetch_add(1, Ordering::SeqCst);
                        drop(flight);
                    }
                }
            });
        }
        let mut committed = world.gate.store().committed();
        let begun = *committed.borrow();
        committed.wait_for(|size| *size >= begun + 20).await.unwrap();
        let scope = StopScope::parse(text).unwrap();
        let answer = world.gate.kill(&eve(), scope, "halt").await;
        let (before, tries) = (spent.load(Ordering::SeqCst), tried.load(Ordering::SeqCst));
        assert_eq!(answer.unreached, [], "{text}");
        acting.join_all().await;
        assert_eq!(
            spent.load(Ordering::SeqCst),
            before,
            "{text}: spent after the kill returned"
        );
        assert!(
            tried.load(Ordering::SeqCst) > tries,
            "{text}: nobody tried any more"
        );
    }
}

/// Stops and lifts of the same scopes from two sides at once: at the end memory and journal say the same,
/// and what is said to be in force refuses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_stops_and_lifts_end_in_one_truth() {
    let scopes = ["all", "tool:git.*", "agent:triage"];
    for round in 0..6 {
        let world = two_agents().await;
        let session = world.running("triage").await;
        let mut racing = tokio::task::JoinSet::new();
        for side in 0..4 {
            let gate = world.gate.clone();
            racing.spawn(async move {
                for (n, text) in scopes.iter().cycle().take(9).enumerate() {
                    let scope = StopScope::parse(text).unwrap();
                    if (n + side + round) % 2 == 0 {
                        assert!(gate.kill(&eve(), scope, "halt").await.durable);
                    } else {
                        gate.lift(&eve(), gate::EVERYWHERE, &scope, "over").await.unwrap();
                    }
                }
            });
        }
        racing.join_all().await;
        let in_memory = world.gate.stops();
        let said = world.check(&session, "a", &read("a")).await;
        assert_eq!(said == "permit", in_memory.is_empty(), "{said}: {in_memory:?}");
        let world = world.reopened().await;
        assert_eq!(world.gate.stops(), in_memory);
        for stop in in_memory {
            assert!(
                world
                    .gate
                    .lift(&eve(), gate::EVERYWHERE, &stop.scope, "over")
                    .await
                    .unwrap()
            );
        }
        assert_eq!(world.check(&session, "b", &read("a")).await, "permit");
    }
}
