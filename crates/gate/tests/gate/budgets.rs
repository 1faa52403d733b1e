//! Budgets: nothing passes a ceiling, whatever happens at once and in between; and the accounts are what a naive count of
//! the journal says.

use crate::world::{World, agent, authority, read, rules};
use gate::{AgentAuthority, Authority, Bounds, CostBy, NewSession, RaiseError, Refusal};
use journal::machine::SessionEvent;
use policy::budget::{Amounts, Budget, BudgetSpec, Unit};
use policy::{Action, Branch, InFlight, Level, Outcome, Place, Principal, Resources, Settlement, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

fn budget(name: &str, place: &str, spec: Value) -> Budget {
    let mut spec: BudgetSpec = serde_json::from_value(spec).unwrap();
    spec.place = Branch::parse(place).unwrap();
    spec.compile(name).unwrap()
}

fn acting() -> AgentAuthority {
    AgentAuthority {
        bounds: Bounds {
            actions_per_session: 100_000,
            actions_per_minute: 100_000,
            actions_per_second: NonZeroU32::new(100_000),
            ..Bounds::default()
        },
        place: Place::new("acme", "sre", "ops").unwrap(),
        ..agent(Level::L3)
    }
}

fn paying(budgets: Vec<Budget>) -> Authority {
    Authority {
        budgets: Arc::new(budgets),
        ..authority(&rules(), &[("triage", acting()), ("other", acting())])
    }
}

/// A call of a model that may cost so much.
fn call(name: &str, micros: u64, tokens: u64) -> Action {
    read(name).costing(Amounts {
        micros,
        tokens,
        turns: 1,
        calls: 0,
    })
}

fn cost(outcome: Outcome, micros: u64, tokens: u64) -> Settlement {
    Settlement {
        outcome,
        result: Value::Null,
        summary: String::new(),
        failure: None,
        resources: Resources {
            tokens_input: tokens,
            cost_micros: micros,
            ..Resources::default()
        },
        taints: policy::Taints::NONE,
    }
}

async fn flying(world: &World, session: &str, step: &str, action: &Action) -> Result<InFlight, Refusal> {
    let permit = world.admit(session, step, action).await?;
    Ok(permit.spend(world.gate.stop_set()).unwrap())
}

fn micros(world: &World, budget: &str) -> (u64, u64) {
    let accounts = world.gate.accounts(Some(budget)).unwrap();
    let sum = |of: fn(&gate::AccountView) -> u64| accounts.iter().map(of).sum();
    (
        sum(|account| account.spent.micros),
        sum(|account| account.reserved.micros),
    )
}

#[tokio::test]
async fn what_could_pass_the_limit_is_refused_before_it_begins_and_says_what_would_change_it() {
    let day = budget(
        "day",
        "acme",
        json!({"per": "day", "limits": {"money": "0.001 usd"}}),
    );
    let world = World::with(paying(vec![day])).await;
    let session = world.running("triage").await;
    let flight = flying(&world, &session, "a", &call("a", 600, 10)).await.unwrap();
    assert_eq!(micros(&world, "day"), (0, 600));
    let Err(Refusal::Unpaid(unpaid)) = flying(&world, &session, "b", &call("b", 401, 10)).await else {
        panic!("it is paid for");
    };
    assert_eq!(
        (unpaid.unit, unpaid.limit, unpaid.used, unpaid.wanted),
        (Unit::Money, 1_000, 600, 401)
    );
    assert_eq!(
        unpaid.retry_after_ms,
        Some(1_000),
        "what is reserved may be given back"
    );
    let denied = &world.bodies("action.denied")[0];
    assert_eq!(denied["code"], "budget");
    assert_eq!(
        denied["reason"],
        "budget `day` would be passed: $0.0006 of $0.001 are used or reserved, and this could use $0.000401"
    );
    assert!(
        denied["remedy"]
            .as_str()
            .unwrap()
            .contains("cofferdam budget raise day --account day/")
    );
    // It cost less than it could, so the next one fits.
    flight.settle(cost(Outcome::Success, 100, 5)).await.unwrap();
    assert_eq!(micros(&world, "day"), (100, 0));
    let flight = flying(&world, &session, "b", &call("b", 900, 10)).await.unwrap();
    flight.settle(cost(Outcome::Success, 900, 5)).await.unwrap();
    let Err(Refusal::Unpaid(unpaid)) = flying(&world, &session, "c", &call("c", 1, 0)).await else {
        panic!("it is paid for");
    };
    assert!(
        unpaid.retry_after_ms.is_some_and(|ms| ms > 3_600_000),
        "not before tomorrow: {unpaid:?}"
    );
}

#[tokio::test]
async fn each_outcome_is_charged_as_it_has_to_be() {
    #[rustfmt::skip]
    let table = [
        (Some((Outcome::Success, 70)),    70),
        (Some((Outcome::Failure, 0)),      0),
        (Some((Outcome::Partial, 100)),  100),
        (Some((Outcome::NotStarted, 9)),   0),
        (Some((Outcome::Uncertain, 9)),  100),
        (None,                           100),
    ];
    for (ended, expected) in table {
        let day = budget("day", "everywhere", json!({"per": "day", "limits": {"money": 1}}));
        let world = World::with(paying(vec![day])).await;
        let session = world.running("triage").await;
        let flight = flying(&world, &session, "a", &call("a", 100, 1)).await.unwrap();
        match ended {
            Some((outcome, micros)) => drop(flight.settle(cost(outcome, micros, 1)).await.unwrap()),
            None => drop(flight),
        }
        world.gate.flush().await.unwrap();
        assert_eq!(micros(&world, "day"), (expected, 0), "{ended:?}");
    }
}

#[tokio::test]
async fn a_permit_that_is_never_spent_gives_back_all() {
    let day = budget(
        "day",
        "everywhere",
        json!({"per": "day", "limits": {"money": 1, "turns": 5}}),
    );
    let world = World::with(paying(vec![day])).await;
    let session = world.running("triage").await;
    drop(world.admit(&session, "a", &call("a", 100, 1)).await.unwrap());
    world.gate.flush().await.unwrap();
    let account = &world.gate.accounts(None).unwrap()[0];
    assert_eq!(
        (account.spent, account.reserved),
        (Amounts::default(), Amounts::default())
    );
}

#[tokio::test]
async fn turns_and_calls_are_counted_apart_and_a_run_has_its_own() {
    let run = budget(
        "run",
        "acme/sre/ops/triage",
        json!({"per": "run", "each": "session", "limits": {"turns": 2, "calls": 1}}),
    );
    let world = World::with(paying(vec![run])).await;
    let (one, two, other) = (
        world.running("triage").await,
        world.running("triage").await,
        world.running("other").await,
    );
    let mut said = Vec::new();
    for (session, step, action) in [
        (&one, "a", call("a", 1, 1)),
        (&one, "b", call("b", 1, 1)),
        (&one, "c", call("c", 1, 1)),
        (&one, "d", read("d")),
        (&one, "e", read("e")),
        (&two, "a", call("a", 1, 1)),
        (&other, "a", call("a", 1, 1)),
    ] {
        said.push(world.check(session, step, &action).await);
    }
    let turns =
        "budget `run` would be passed: 2 turns of 2 turns are used or reserved, and this could use 1 turns";
    let calls =
        "budget `run` would be passed: 1 calls of 1 calls are used or reserved, and this could use 1 calls";
    assert_eq!(
        said,
        ["permit", "permit", turns, "permit", calls, "permit", "permit"]
    );
}

#[tokio::test]
async fn an_incident_has_one_account_whoever_works_on_it() {
    let incident = budget(
        "inc",
        "acme",
        json!({"per": "run", "each": "incident", "limits": {"turns": 2}}),
    );
    let world = World::with(paying(vec![incident])).await;
    let mut said = Vec::new();
    for (agent, step) in [("triage", "a"), ("other", "b"), ("triage", "c")] {
        let session = world.running(agent).await;
        said.push(world.check(&session, step, &call(step, 1, 1)).await == "permit");
    }
    assert_eq!(
        said,
        [true, true, false],
        "the sessions of `running` have one correlation"
    );
}

#[tokio::test]
async fn alerts_come_once_each_and_a_person_raises_an_account() {
    let day = budget(
        "day",
        "acme",
        json!({"per": "day", "limits": {"turns": 10}, "channels": ["ops"]}),
    );
    let world = World::with(paying(vec![day])).await;
    let session = world.running("triage").await;
    for n in 0..12 {
        world
            .check(&session, &format!("s{n}"), &call(&format!("h{n}"), 1, 1))
            .await;
    }
    let told: Vec<u64> = world
        .bodies("budget.alerted")
        .iter()
        .map(|body| body["percent"].as_u64().unwrap())
        .collect();
    assert_eq!(told, [50, 75, 90]);
    let exhausted = world.bodies("budget.exhausted");
    assert_eq!(exhausted.len(), 1, "once, however often it is refused");
    assert_eq!(
        (&exhausted[0]["channels"], &exhausted[0]["unit"]),
        (&json!(["ops"]), &json!("turns"))
    );
    let account = world.gate.accounts(Some("day")).unwrap()[0].account.clone();
    let (by, more) = (
        Principal::person("alice"),
        Amounts {
            turns: 1,
            ..Amounts::default()
        },
    );
    let none = world
        .gate
        .raise_budget(&by, ("day", "day/1999-01-01/all"), more, "x")
        .await;
    assert!(matches!(none, Err(RaiseError::NoAccount(..))));
    let none = world.gate.raise_budget(&by, ("none", &account), more, "x").await;
    assert!(matches!(none, Err(RaiseError::Unknown(..))));
    let nothing = Amounts {
        micros: 5,
        ..Amounts::default()
    };
    let none = world
        .gate
        .raise_budget(&by, ("day", &account), nothing, "x")
        .await;
    assert!(
        matches!(none, Err(RaiseError::Nothing(..))),
        "money is not limited here"
    );
    let view = world
        .gate
        .raise_budget(&by, ("day", &account), more, "the outage goes on")
        .await
        .unwrap();
    assert_eq!(view.limit.unwrap().turns, Some(11));
    assert_eq!(world.check(&session, "s20", &call("h20", 1, 1)).await, "permit");
    assert_ne!(world.check(&session, "s21", &call("h21", 1, 1)).await, "permit");
    assert_eq!(world.bodies("budget.raised")[0]["by"], "person:alice");
}

#[tokio::test]
async fn a_throttled_account_lets_one_call_through_at_a_time() {
    let day = budget(
        "day",
        "acme",
        json!({"per": "day", "limits": {"turns": 10}, "throttle": 50}),
    );
    let world = World::with(paying(vec![day])).await;
    let session = world.running("triage").await;
    let mut open = Vec::new();
    for n in 0..5 {
        open.push(
            flying(&world, &session, &format!("s{n}"), &call(&format!("h{n}"), 1, 1))
                .await
                .unwrap(),
        );
    }
    let slowed = flying(&world, &session, "s6", &call("h6", 1, 1)).await;
    let Err(Refusal::Unpaid(unpaid)) = slowed else {
        panic!("{slowed:?}")
    };
    assert!(
        unpaid.throttled && unpaid.retry_after_ms == Some(250),
        "{unpaid:?}"
    );
    for flight in open {
        flight.settle(cost(Outcome::Success, 1, 1)).await.unwrap();
    }
    flying(&world, &session, "s6", &call("h6", 1, 1)).await.unwrap();
}

#[tokio::test]
async fn a_day_begins_anew() {
    let day = budget("day", "acme", json!({"per": "day", "limits": {"turns": 1}}));
    let world = World::with(paying(vec![day])).await;
    let session = world.running("triage").await;
    assert_eq!(world.check(&session, "a", &call("a", 1, 1)).await, "permit");
    assert_ne!(world.check(&session, "b", &call("b", 1, 1)).await, "permit");
    world.advance(24 * 3_600_000);
    assert_eq!(world.check(&session, "b", &call("b", 1, 1)).await, "permit");
    assert_eq!(
        world.gate.accounts(Some("day")).unwrap().len(),
        1,
        "yesterday's is no account of today"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_at_once_against_a_budget_for_a_hundred_end_at_it() {
    let day = budget(
        "day",
        "acme",
        json!({"per": "day", "limits": {"money": "0.01 usd"}}),
    );
    let world = World::with(paying(vec![day])).await;
    let session = world.running("triage").await;
    let mut all = tokio::task::JoinSet::new();
    for n in 0..1_000_u64 {
        let (gate, session) = (world.gate.clone(), session.clone());
        all.spawn(async move {
            let (step, action) = (format!("s{n}"), call(&format!("h{n}"), 100, 1));
            let permit = gate
                .admit(gate::Proposal {
                    session,
                    step,
                    action,
                })
                .await;
            let permit = match permit {
                Ok(permit) => permit,
                Err(Refusal::Unpaid(_)) => return false,
                Err(other) => panic!("{other}"),
            };
            let flight = permit.spend(gate.stop_set()).unwrap();
            // All that it could; nothing, once in a while lost.
            match n % 7 {
                0 => drop(flight),
                _ => drop(flight.settle(cost(Outcome::Success, 100, 1)).await.unwrap()),
            }
            true
        });
    }
    let permitted = all
        .join_all()
        .await
        .into_iter()
        .filter(|permitted| *permitted)
        .count();
    world.gate.flush().await.unwrap();
    assert_eq!(permitted, 100);
    assert_eq!(micros(&world, "day"), (10_000, 0));
    let world = world.reopened().await;
    assert_eq!(micros(&world, "day"), (10_000, 0), "and after a start");
}

/// What happens in one step of the property.
#[derive(Clone, Debug)]
enum Event {
    /// A call that could cost so much, by one of the agents.
    Call(u64, bool),
    /// The oldest open one ends so.
    End(Outcome, u64),
    /// The oldest open one is lost.
    Lose,
    /// The platform starts anew: what was open is uncertain.
    Restart,
    Wait,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let outcome = prop_oneof![
        Just(Outcome::Success),
        Just(Outcome::Failure),
        Just(Outcome::NotStarted),
        Just(Outcome::Uncertain),
        Just(Outcome::Partial),
    ];
    let event = prop_oneof![
        6 => (1..400_u64, any::<bool>()).prop_map(|(most, other)| Event::Call(most, other)),
        4 => (outcome, 0..=100_u64).prop_map(|(outcome, percent)| Event::End(outcome, percent)),
        1 => Just(Event::Lose),
        1 => Just(Event::Restart),
        1 => Just(Event::Wait),
    ];
    proptest::collection::vec(event, 1..40)
}

async fn property(events: Vec<Event>) {
    const LIMIT: u64 = 1_000;
    let budgets = vec![
        budget("all", "acme", json!({"per": "day", "limits": {"money": "0.001"}})),
        budget(
            "each",
            "acme",
            json!({"per": "hour", "each": "agent", "limits": {"money": "0.0006"}}),
        ),
    ];
    let mut world = World::with(paying(budgets)).await;
    let sessions = [world.running("triage").await, world.running("other").await];
    // The naive model: by account, what was spent and what is open.
    let mut spent: BTreeMap<String, u64> = BTreeMap::new();
    let mut open: Vec<(Option<InFlight>, u64, [String; 2])> = Vec::new();
    let mut hours = 0_u64;
    for (n, event) in events.into_iter().enumerate() {
        match event {
            Event::Call(most, other) => {
                let agent = if other { "other" } else { "triage" };
                let accounts = ["all".to_owned(), format!("{hours}/{agent}")];
                let used = |account: &String| {
                    let held = open.iter().filter(|(_, _, accounts)| accounts.contains(account));
                    spent.get(account).copied().unwrap_or(0) + held.map(|(_, most, _)| most).sum::<u64>()
                };
                let fits = used(&accounts[0]) + most <= LIMIT && used(&accounts[1]) + most <= 600;
                let got = flying(
                    &world,
                    &sessions[usize::from(other)],
                    &format!("s{n}"),
                    &call(&format!("h{n}"), most, 0),
                )
                .await;
                assert_eq!(got.is_ok(), fits, "{got:?}");
                if let Ok(flight) = got {
                    open.push((Some(flight), most, accounts));
                }
            }
            Event::End(outcome, percent) if !open.is_empty() => {
                let (flight, most, accounts) = open.remove(0);
                let micros = most * percent / 100;
                flight.unwrap().settle(cost(outcome, micros, 0)).await.unwrap();
                let charged = match outcome {
                    Outcome::NotStarted => 0,
                    Outcome::Uncertain => most,
                    _ => micros,
                };
                accounts
                    .into_iter()
                    .for_each(|account| *spent.entry(account).or_default() += charged);
            }
            Event::Lose if !open.is_empty() => {
                let (flight, most, accounts) = open.remove(0);
                drop(flight);
                world.gate.flush().await.unwrap();
                accounts
                    .into_iter()
                    .for_each(|account| *spent.entry(account).or_default() += most);
            }
            Event::Restart => {
                for (flight, most, accounts) in open.drain(..) {
                    drop(flight);
                    accounts
                        .into_iter()
                        .for_each(|account| *spent.entry(account).or_default() += most);
                }
                world.gate.flush().await.unwrap();
                world = world.reopened().await;
            }
            Event::Wait if open.is_empty() && hours < 5 => {
                hours += 1;
                world.advance(3_600_000);
            }
            _ => {}
        }
        let (now, held) = micros(&world, "all");
        assert_eq!(now, spent.get("all").copied().unwrap_or(0));
        assert_eq!(held, open.iter().map(|(_, most, _)| most).sum::<u64>());
        assert!(now + held <= LIMIT);
    }
    // The report says what the entries say, to the micro-unit.
    let settled = world.bodies("action.settled");
    let from = Timestamp::parse("2000-01-01T00:00:00Z").unwrap();
    let to = Timestamp::parse("2100-01-01T00:00:00Z").unwrap();
    let report = world.gate.cost(&[CostBy::Agent], from, to).unwrap();
    let permitted = world.bodies("action.permitted");
    assert!(permitted.len() >= settled.len());
    assert_eq!(report.total.micros, spent.get("all").copied().unwrap_or(0));
    assert_eq!(
        report.lines.iter().map(|line| line.micros).sum::<u64>(),
        report.total.micros
    );
    drop(open);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn the_accounts_are_what_a_naive_count_says_and_never_above_the_limit(events in events()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(property(events));
    }
}

#[tokio::test]
async fn an_agent_that_spends_far_more_than_it_uses_to_is_told_once_an_hour() {
    #[rustfmt::skip]
    let table: [(&str, &[u64], u64, bool); 5] = [
        ("far more",            &[100_000; 6],                                    600_000, true),
        ("too little history",  &[100_000; 5],                                    900_000, false),
        ("as usual",            &[300_000; 8],                                    600_000, false),
        ("not worth a word",    &[1_000; 8],                                      400_000, false),
        ("one odd hour before", &[100_000, 100_000, 100_000, 2_000_000, 100_000, 100_000], 600_000, true),
    ];
    for (name, before, now, expected) in table {
        let world = World::with(paying(Vec::new())).await;
        let session = world.running("triage").await;
        for (n, micros) in before.iter().chain([&now]).enumerate() {
            world.advance(3_600_000);
            let flight = flying(&world, &session, &format!("s{n}"), &call("m", 2_000_000, 9))
                .await
                .unwrap();
            flight.settle(cost(Outcome::Success, *micros, 3)).await.unwrap();
        }
        let found = world.gate.detect_cost_anomalies().await.unwrap();
        assert_eq!(found.len(), usize::from(expected), "{name}: {found:?}");
        assert_eq!(
            world.gate.detect_cost_anomalies().await.unwrap(),
            [],
            "{name}: once"
        );
        if expected {
            let body = &world.bodies("anomaly.detected")[0];
            assert_eq!(
                (&body["rule"], &body["agent"]),
                (&json!("cost"), &json!("triage"))
            );
            let finding = body["finding"].as_str().unwrap();
            assert!(
                finding.starts_with("it spent $0.60 in this hour, and $0.10 in a usual one"),
                "{finding}"
            );
        }
    }
}

#[tokio::test]
async fn a_report_is_by_what_was_asked_for_and_adds_up() {
    let world = World::with(paying(Vec::new())).await;
    let mut new = crate::world::new_session("triage");
    new.correlation = Some("INC-7".to_owned());
    let view = world.gate.create_session(NewSession { ..new }).await.unwrap().0;
    world.drive(&view.id, SessionEvent::Start).await;
    let other = world.running("other").await;
    for (session, step, micros) in [(&view.id, "a", 5), (&view.id, "b", 7), (&other, "a", 11)] {
        let flight = flying(&world, session, step, &call("m", 100, 9)).await.unwrap();
        flight.settle(cost(Outcome::Success, micros, 3)).await.unwrap();
    }
    let at = |text| Timestamp::parse(text).unwrap();
    let span = (at("2000-01-01T00:00:00Z"), at("2100-01-01T00:00:00Z"));
    let told = |by: &[CostBy]| {
        let report = world.gate.cost(by, span.0, span.1).unwrap();
        assert_eq!(
            (report.total.micros, report.total.calls, report.total.tokens_input),
            (23, 3, 9)
        );
        report
            .lines
            .into_iter()
            .map(|line| (line.of.join(" "), line.micros))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        told(&[CostBy::Agent]),
        [("triage".to_owned(), 12), ("other".to_owned(), 11)]
    );
    assert_eq!(told(&[CostBy::Team]), [("acme/sre".to_owned(), 23)]);
    assert_eq!(
        told(&[CostBy::Organization, CostBy::Incident]),
        [
            ("acme INC-7".to_owned(), 12),
            ("acme INC-2026-0921-001".to_owned(), 11)
        ]
    );
    let none = world
        .gate
        .cost(&[CostBy::Agent], span.0, at("2001-01-01T00:00:00Z"))
        .unwrap();
    assert_eq!((none.lines.len(), none.total.micros), (0, 0));
}
