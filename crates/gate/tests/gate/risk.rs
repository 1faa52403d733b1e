//! Risk as entries make it, when channels are told of it, whom it reaches; and the report.

use crate::trust::{delegated, sponsored, with_document, work, world, world_of};
use crate::world::{World, action, agent, authority, post, read, rules};
use policy::trust::{Component, RiskLevel, Severity, Trend};
use policy::{Action, AgentEvent, Effect, Idempotence, Level, Principal, StopScope};
use serde_json::json;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

fn write(verb: &str, resource: &str) -> Action {
    action(verb, resource, json!({}), Effect::Write, Idempotence::Once)
}

async fn happens(world: &World, what: &str) {
    let session = world.running("triage").await;
    let eve = Principal::person("eve");
    let event = |event| {
        let (eve, gate) = (eve.clone(), &world.gate);
        async move {
            gate.agent_event(&eve, gate::EVERYWHERE, "triage", event, "odd", None)
                .await
                .unwrap();
        }
    };
    match what {
        "a success" => drop(world.check(&session, "s", &read("a")).await),
        "what a rule forbids" => drop(world.check(&session, "s", &write("git.push", "forbidden")).await),
        "what it holds no grant for" => drop(world.check(&session, "s", &write("ungranted.x", "y")).await),
        "too little trust" => drop(world.check(&session, "s", &post("x")).await),
        "what no rule permits" => drop(world.check(&session, "s", &write("http.request", "y")).await),
        "the network, forbidden" => drop(
            world
                .check(&session, "s", &write("http.request", "forbidden"))
                .await,
        ),
        "a credential, not granted" => drop(
            world
                .check(&session, "s", &write("ungranted.x", "secret/db"))
                .await,
        ),
        "odd behaviour" => {
            world.check(&session, "s", &read("secret/db")).await;
            world.gate.detect_anomalies().await.unwrap();
        }
        "a stop on it" => drop(
            world
                .gate
                .stop(&eve, StopScope::Agent("triage".into()), "halt")
                .await,
        ),
        "a stop on everything" => drop(world.gate.stop(&eve, StopScope::All, "halt").await),
        "held back" => event(AgentEvent::Suspend).await,
        "held back for security" => event(AgentEvent::Lock).await,
        other => panic!("{other}"),
    }
    world.gate.flush().await.unwrap();
}

#[tokio::test]
async fn entries_are_signals() {
    use Component::{Behaviour, Compliance, Identity, Network};
    use Severity::{Critical, High, Low, Medium};
    #[rustfmt::skip]
    let table = [
        ("a success",                 775, None),
        ("what no rule permits",      775, None),
        ("a stop on everything",      775, None),
        ("what a rule forbids",       730, Some(("forbidden git.push",       Compliance, Medium))),
        ("what it holds no grant for", 752, Some(("not_granted ungranted.x", Compliance, Low))),
        ("the network, forbidden",    745, Some(("forbidden http.request",   Network,    High))),
        ("a credential, not granted", 745, Some(("not_granted ungranted.x",  Identity,   High))),
        ("odd behaviour",             700, Some(("anomaly sensitive_access", Behaviour,  Critical))),
        ("a stop on it",              700, Some(("stopped",                  Behaviour,  Critical))),
        ("held back",                 745, Some(("suspended",                Identity,   High))),
        ("held back for security",    735, Some(("suspended for security",   Identity,   Critical))),
    ];
    for (what, score, expected) in table {
        let world = world().await;
        world.gate.identify_agents(&["triage".to_owned()]).await.unwrap();
        happens(&world, what).await;
        let risk = world.gate.risk_of("triage").unwrap().unwrap().risk;
        let signals: Vec<_> = risk
            .signals
            .iter()
            .map(|one| (one.what.as_str(), one.component, one.severity))
            .collect();
        assert_eq!(
            (risk.score, signals),
            (score, expected.into_iter().collect()),
            "{what}"
        );
        let cited = risk
            .signals
            .iter()
            .all(|one| one.entry < world.entries().len() as u64);
        assert!(cited, "{what}");
    }
    let world = world_of(
        &json!({"rules": [], "thresholds": {"email": 700}}),
        sponsored(Level::L3),
    )
    .await;
    happens(&world, "too little trust").await;
    assert_eq!(world.bodies("action.denied")[0]["code"], "below_threshold");
    assert_eq!(world.gate.risk_of("triage").unwrap().unwrap().risk.score, 775);
    assert_eq!(world.gate.risk_of("nobody").unwrap(), None);
}

/// Six things that a rule forbids: 255 points of compliance.
async fn misbehave(world: &World) {
    let session = world.running("triage").await;
    for n in 0..6 {
        world
            .check(
                &session,
                &n.to_string(),
                &write("git.push", &format!("forbidden/{n}")),
            )
            .await;
    }
    world.gate.flush().await.unwrap();
}

#[tokio::test]
async fn a_change_of_level_is_told_once_and_a_rebuild_says_the_same() {
    let world = world().await;
    world
        .gate
        .tell_through([("triage".to_owned(), vec!["pager".to_owned()])].into());
    happens(&world, "what a rule forbids").await;
    assert_eq!(
        world.gate.detect_risks().await.unwrap(),
        [],
        "it is low as before"
    );
    misbehave(&world).await;
    let told = world.gate.detect_risks().await.unwrap();
    let told: Vec<_> = told.iter().map(|one| (one.from, one.to, one.score)).collect();
    assert_eq!(told, [(RiskLevel::Low, RiskLevel::Medium, 520)]);
    assert_eq!(world.gate.detect_risks().await.unwrap(), []);
    happens(&world, "a stop on it").await;
    happens(&world, "odd behaviour").await;
    happens(&world, "held back for security").await;
    for _ in 0..3 {
        misbehave(&world).await;
    }
    let view = world.gate.risk_of("triage").unwrap().unwrap();
    let (rows, level) = (world.rows(), view.risk.level);
    assert!(level < RiskLevel::Medium, "{view:?}");
    assert_eq!(world.gate.detect_risks().await.unwrap().len(), 1);
    assert_ne!(world.rows(), rows, "what was told is part of the fold");
    let rows = world.rows();
    assert_eq!(world.gate.store().rebuild().unwrap(), Vec::<String>::new());
    assert_eq!(world.rows(), rows);
    assert_eq!(world.gate.risk_of("triage").unwrap().unwrap(), view);
    let world = world.reopened().await;
    assert_eq!(world.gate.risk_of("triage").unwrap().unwrap(), view);
    world
        .gate
        .restore(authority(&rules(), &[("triage", sponsored(Level::L3))]));
    world.advance(DAY_MS);
    let told = world.gate.detect_risks().await.unwrap();
    let told: Vec<_> = told.iter().map(|one| (one.from, one.to, one.score)).collect();
    assert_eq!(told, [(level, RiskLevel::Low, 775)], "and that it is over");
    let bodies = world.bodies("risk.changed");
    assert_eq!(
        bodies[0],
        json!({"agent": "triage", "from": "low", "to": "medium", "score": 520, "channels": ["pager"],
            "because": ["forbidden git.push", "forbidden git.push", "forbidden git.push"]})
    );
    assert_eq!(bodies.len(), 3);
}

/// A fall is seen at the risk of whoever hands over to the one that fell, and moves nobody's trust.
#[tokio::test]
async fn falls_of_others_reach_the_network_part_and_no_trust() {
    let authority = authority(
        &rules(),
        &[("triage", sponsored(Level::L3)), ("lead", agent(Level::L3))],
    );
    let world = with_document(authority).await;
    for _ in 0..2 {
        delegated(&world, &["git.log:repository/*"]).await;
    }
    let trust = |agent: &str| world.gate.trust_of(agent).unwrap().unwrap();
    let (before, score) = (trust("lead"), |agent: &str| {
        world.gate.risk_of(agent).unwrap().unwrap().risk.score
    });
    let told = |agent: &str| {
        let echoes = trust(agent).echoes.into_iter();
        echoes
            .map(|one| {
                let (fell, arrives) = (one.fell, one.arrives);
                format!(
                    "{} {} {} {} {fell} {arrives}",
                    one.agent, one.hops, one.interactions, one.share
                )
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (told("lead"), told("triage")),
        (
            vec!["triage 1 2 30 0 0".to_owned()],
            vec!["lead 1 2 30 0 0".to_owned()]
        )
    );
    assert_eq!((score("lead"), score("triage")), (775, 775));
    happens(&world, "a stop on it").await;
    // 0.3 × 2/100 × 0.5 of a hundred points.
    assert_eq!(told("lead"), ["triage 1 2 30 100 30"]);
    assert_eq!((score("lead"), score("triage")), (774, 700));
    let after = trust("lead");
    assert_eq!(
        (after.told.score, after.told.events),
        (before.told.score, before.told.events)
    );
    assert_eq!(world.gate.detect_risks().await.unwrap(), []);
}

#[tokio::test]
async fn a_report_tells_the_course_of_each_and_whom_to_look_after() {
    let world = world().await;
    work(&world).await;
    let report = |days: u64| {
        let since = world
            .gate
            .store()
            .clock()
            .now()
            .plus_ms(-((days * DAY_MS) as i64));
        world.gate.trust_report(since).unwrap().remove(0)
    };
    let week = report(7);
    assert_eq!((week.agent.as_str(), week.events), ("triage", 3 * 12 + 4 * 11));
    assert_eq!(
        (week.course.trend, week.risk_level),
        (Trend::Steady, RiskLevel::Low)
    );
    assert_eq!(week.concerns, Vec::<String>::new());
    let year = report(365);
    assert_eq!((year.course.min, year.events > week.events), (606, true));
    let eve = Principal::person("eve");
    world
        .gate
        .stop(&eve, StopScope::Agent("triage".into()), "halt")
        .await;
    misbehave(&world).await;
    let week = report(7);
    assert_eq!((week.score, week.course.min, week.course.max), (252, 252, 699));
    assert_eq!(
        week.concerns,
        ["trust 252 is untrusted", "trust fell by 447"],
        "a stop leaves 300, and a day of silence has gone before: {week:?}"
    );
}
