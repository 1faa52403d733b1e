//! What a lone durable action costs: how long admitting, spending and settling take on a real disk, and
//! how many syncs they need. The syncs have goals: three in all, of which one is before the effect.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a benchmark that cannot be set up has nothing to measure"
)]

#[path = "../../cofferdam/benches/platform/disk.rs"]
mod disk;
#[path = "../../cofferdam/benches/platform/figure.rs"]
mod figure;

use figure::figure;
use gate::{AgentAuthority, Authority, Bounds, Gate, NewSession, Proposal};
use journal::machine::SessionEvent;
use policy::{
    Action, Autonomy, Capability, Effect, Environment, Grant, Idempotence, Outcome, PolicySet, Principal,
    Resources, Settlement, Verb,
};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::clock::SystemClock;
use store::{Keys, Options, Store};
use testkit::faulty::Disk;

/// Actions that are measured, after a tenth as many that are not.
const ROUNDS: usize = 1_000;
/// Checks of a chain that are measured.
const CHECKS: usize = 20_000;
/// Goal for checking a chain that was seen before, in microseconds.
const CHAIN_MAX: f64 = 5.0;
/// Goal for the median of syncs of an action.
const SYNCS_MAX: f64 = 3.0;
/// Goal for the median of syncs before its effect.
const SYNCS_BEFORE_MAX: f64 = 1.0;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(latency());
    runtime.block_on(chains());
    let (all, before) = runtime.block_on(syncs());
    figure("lone action, syncs, p50", all as f64, "", ..=SYNCS_MAX, "");
    figure(
        "lone action, syncs before the effect, p50",
        before as f64,
        "",
        ..=SYNCS_BEFORE_MAX,
        "",
    );
}

/// What it costs to check a chain of three that was seen before, as every admission under it does.
async fn chains() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let (gate, _) = gate(directory.path(), None).await;
    let by = Principal::person("alice");
    let delegate = async |from: &str, to: &str, under: Option<String>| {
        let new = gate::NewDelegation {
            from: from.to_owned(),
            to: to.to_owned(),
            capabilities: vec![Capability::parse("git.log:repository/*").expect("a capability")],
            except: Vec::new(),
            ttl_ms: 60 * 60 * 1000,
            trust: None,
            under,
        };
        gate.delegate(&by, new).await.expect("a delegation").id
    };
    let first = delegate("triage", "scout", None).await;
    let second = delegate("scout", "intern", Some(first)).await;
    let mut times = Vec::new();
    for round in 0..CHECKS + CHECKS / 10 {
        let start = Instant::now();
        gate.check_chain("intern", &second).expect("it stands");
        if round >= CHECKS / 10 {
            times.push(start.elapsed());
        }
    }
    let [half, most] = [50, 99].map(|percent| disk::share(&mut times, percent));
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    let beside = format!("by revocation epoch; p99 {:.1} µs", us(most));
    figure(
        "a chain of 3 seen before, p50",
        us(half),
        "µs",
        ..=CHAIN_MAX,
        &beside,
    );
}

async fn latency() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let (gate, session) = gate(directory.path(), None).await;
    let (mut admitted, mut whole) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS + ROUNDS / 10 {
        let start = Instant::now();
        let proposal = Proposal {
            session: session.clone(),
            step: format!("steps/{round}"),
            action: action(),
        };
        let permit = gate.admit(proposal).await.expect("a permit");
        let middle = start.elapsed();
        let flight = permit.spend(gate.stop_set()).expect("no stop");
        flight.settle(settlement()).await.expect("it is recorded");
        if round >= ROUNDS / 10 {
            admitted.push(middle);
            whole.push(start.elapsed());
        }
    }
    let [floor, _] = disk::fdatasync(directory.path());
    for (name, mut times) in [
        ("lone action, to the permit, p50", admitted),
        ("lone action, to the durable outcome, p50", whole),
    ] {
        let [half, most] = [50, 99].map(|percent| disk::share(&mut times, percent));
        let us = |time: Duration| time.as_secs_f64() * 1e6;
        let ratio = half.div_duration_f64(floor);
        let beside = format!(
            "{ratio:.1} × fdatasync at {:.0} µs; p99 {:.0} µs",
            us(floor),
            us(most)
        );
        figure(name, us(half), "µs", .., &beside);
    }
}

/// Medians of the syncs in all and before the effect, on a disk that counts them.
async fn syncs() -> (u64, u64) {
    let disk = Disk::new();
    let directory = tempfile::tempdir().expect("a directory");
    let (gate, session) = gate(directory.path(), Some(&disk)).await;
    let count = || disk.syncs("");
    let (mut all, mut before) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS / 10 {
        let start = count();
        let proposal = Proposal {
            session: session.clone(),
            step: format!("steps/{round}"),
            action: action(),
        };
        let permit = gate.admit(proposal).await.expect("a permit");
        before.push(count() - start);
        let flight = permit.spend(gate.stop_set()).expect("no stop");
        flight.settle(settlement()).await.expect("it is recorded");
        all.push(count() - start);
    }
    let median = |mut counts: Vec<u64>| {
        counts.sort_unstable();
        counts.get(counts.len() / 2).copied().unwrap_or_default()
    };
    (median(all), median(before))
}

async fn gate(directory: &Path, disk: Option<&Disk>) -> (Arc<Gate>, String) {
    let origin = "bench.local/default";
    let store = Store::open(Options {
        directory: directory.join("data"),
        origin: origin.to_owned(),
        keys: Keys::open_or_create(&directory.join("keys"), origin).expect("keys"),
        projections: gate::projections(),
        clock: SystemClock::shared(),
        checkpoints: None,
        vfs: disk.map(|disk| disk.vfs().to_owned()),
        synchronous: "FULL",
    });
    let gate = Gate::open(store.expect("a store")).expect("a gate");
    let grant = Grant {
        capability: Capability::parse("git.*:*").expect("a capability"),
        from: "toolset/git".to_owned(),
        until: None,
    };
    let triage = AgentAuthority {
        grants: vec![grant],
        autonomy: Autonomy::default(),
        bounds: Bounds {
            actions_per_session: u32::MAX,
            actions_per_minute: u32::MAX,
            actions_per_second: Some(std::num::NonZeroU32::MAX),
            ..Bounds::default()
        },
        deny: Vec::new(),
        sponsor: "alice".to_owned(),
        place: policy::Place::default(),
        trust: gate::TrustTerms::default(),
    };
    let (triage, agents) = (Arc::new(triage), ["triage", "scout", "intern"].map(str::to_owned));
    gate.restore(Authority {
        budgets: Arc::default(),
        generation: 0,
        policies: Arc::new(PolicySet::empty()),
        agents: agents
            .iter()
            .map(|name| (name.clone(), Arc::clone(&triage)))
            .collect(),
    });
    gate.identify_agents(&agents).await.expect("keys");
    let new = NewSession {
        agent: "triage".to_owned(),
        cause: Principal::service("trigger/bench"),
        correlation: None,
        input: json!({}),
        title: "bench".to_owned(),
        idempotency_key: None,
        urgent: false,
        taint: policy::Taints::NONE,
    };
    let session = gate.create_session(new).await.expect("a session").0.id;
    let by = Principal::service("cofferdam");
    gate.session_event(&session, &by, SessionEvent::Start, None, None)
        .await
        .expect("it starts");
    (gate, session)
}

fn action() -> Action {
    let arguments = json!({ "limit": 20, "since": "2026-01-01T00:00:00Z" });
    let verb = Verb::new("git.log").expect("a verb");
    let environment = Environment::production();
    Action::new(
        verb,
        "repository/shop",
        arguments,
        environment,
        Effect::Read,
        Idempotence::Idempotent,
    )
    .expect("an action")
}

fn settlement() -> Settlement {
    Settlement {
        outcome: Outcome::Success,
        result: json!([{ "commit": "3f2a8c1d9e0b4a5c6d7e8f9012345678deadbeef", "title": "Shrink the pool" }]),
        summary: "1 commit".to_owned(),
        failure: None,
        resources: Resources::default(),
        taints: policy::Taints::UNTRUSTED,
    }
}
