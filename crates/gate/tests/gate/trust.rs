//! Trust as the journal moves it, and what it does to decisions.

use crate::races::{held, queued, settle_down};
use crate::world::{World, action, agent, authority, done, post, propose, read, rules};
use gate::{
    AgentAuthority, Authority, Bounds, DocumentChange, Owner, PromoteError, Refusal, Role, TrustTerms,
    Verdict,
};
use policy::trust::{Band, Origin, Tier};
use policy::{Effect, Failure, Idempotence, Level, Outcome, Principal, Settlement, StopScope};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

pub fn sponsored(level: Level) -> AgentAuthority {
    AgentAuthority {
        trust: TrustTerms {
            origin: Origin::Sponsored,
            ..TrustTerms::default()
        },
        ..agent(level)
    }
}

/// A world whose `triage` has a document, and so a record that begins at 600.
pub async fn world_of(rules: &Value, held: AgentAuthority) -> World {
    with_document(authority(rules, &[("triage", held)])).await
}

pub async fn with_document(authority: Authority) -> World {
    let world = World::with(authority.clone()).await;
    let change = DocumentChange::Apply {
        kind: "Agent".to_owned(),
        name: "triage".to_owned(),
        document: json!({ "n": 1 }),
    };
    let by = Principal::person("sam");
    world
        .gate
        .install(&by, Owner::Api, 0, vec![change], authority)
        .await
        .unwrap();
    world
}

pub async fn world() -> World {
    world_of(&rules(), sponsored(Level::L3)).await
}

pub fn score(world: &World) -> u16 {
    world.gate.trust_of("triage").unwrap().unwrap().told.score
}

fn failed() -> Settlement {
    Settlement {
        outcome: Outcome::Failure,
        failure: Some(Failure {
            kind: "timeout".to_owned(),
            message: "no answer".to_owned(),
        }),
        ..done(json!(null))
    }
}

pub async fn fail(world: &World, session: &str, step: &str) {
    let permit = world.admit(session, step, &read("a")).await.unwrap();
    let flight = permit.spend(world.gate.stop_set()).unwrap();
    flight.settle(failed()).await.unwrap();
}

/// Asks for `title` and lets bob decide.
async fn asked(world: &World, session: &str, title: &str, verdict: Verdict) {
    let refusal = world.admit(session, title, &propose(title)).await.unwrap_err();
    let Refusal::Parked { approval, .. } = refusal else {
        panic!("{refusal}")
    };
    let bob = world.caller("bob", &[Role::Approver]).await;
    world
        .gate
        .decide_approval(&bob, &approval, verdict, "seen")
        .await
        .unwrap();
}

/// What each thing that an agent does or meets makes of a score of 600.
#[tokio::test]
async fn entries_move_trust() {
    let write = |verb, resource| action(verb, resource, json!({}), Effect::Write, Idempotence::Once);
    #[rustfmt::skip]
    let table = [
        ("a success",                        634),
        ("a failure",                        588),
        ("what a rule forbids",              585),
        ("what it holds no grant for",       585),
        ("what no rule permits",             600),
        ("a proposal that is approved",      606),
        ("a proposal that is refused",       591),
        ("a stop on everything",             600),
        ("a stop on it",                     300),
        ("a permit that is dropped",         600),
    ];
    for (what, expected) in table {
        let world = world().await;
        let session = world.running("triage").await;
        let eve = Principal::person("eve");
        match what {
            "a success" => drop(world.check(&session, "s", &read("a")).await),
            "a failure" => fail(&world, &session, "s").await,
            "what a rule forbids" => drop(world.check(&session, "s", &write("git.push", "forbidden")).await),
            "what it holds no grant for" => {
                drop(world.check(&session, "s", &write("ungranted.x", "y")).await)
            }
            "what no rule permits" => drop(world.check(&session, "s", &write("http.request", "y")).await),
            "a proposal that is approved" => asked(&world, &session, "t", Verdict::Approve).await,
            "a proposal that is refused" => asked(&world, &session, "t", Verdict::Deny).await,
            "a stop on everything" => drop(world.gate.stop(&eve, StopScope::All, "halt").await),
            "a stop on it" => drop(
                world
                    .gate
                    .stop(&eve, StopScope::Agent("triage".into()), "halt")
                    .await,
            ),
            _ => drop(world.admit(&session, "s", &read("a")).await.unwrap()),
        }
        world.gate.flush().await.unwrap();
        assert_eq!(score(&world), expected, "{what}");
    }
}

/// An agent pays for what it lacks itself, whoever else lacks it too, and not for what a person, a
/// delegation or an agent above it lacks.
#[tokio::test]
async fn what_others_lack_costs_an_agent_nothing() {
    let ungranted = action("ungranted.x", "y", json!({}), Effect::Read, Idempotence::Once);
    let carol = || Principal::person("carol");
    let robot = || Principal::service("trigger/alerts");
    #[rustfmt::skip]
    let table = [
        // its own  lead's     on behalf of           what               code           who lacks it        score
        (Level::L3, None,            carol(), read("repository/a"), "not_granted", "person:carol",     600),
        (Level::L3, None,            carol(), ungranted.clone(),    "not_granted", "agent:triage",     585),
        (Level::L3, Some(Level::L3), robot(), read("elsewhere"),    "not_granted", "delegation/",      600),
        (Level::L3, Some(Level::L3), robot(), ungranted.clone(),    "not_granted", "agent:triage",     585),
        (Level::L3, Some(Level::L1), robot(), post("x"),            "read_only",   "agent:lead",       600),
        (Level::L1, Some(Level::L1), robot(), post("x"),            "read_only",   "agent:triage",     585),
        (Level::L1, None,            robot(), post("x"),            "read_only",   "agent:triage",     585),
    ];
    for (own, lead, cause, action, code, lacking, expected) in table {
        let authority = |lead| authority(&rules(), &[("triage", sponsored(own)), ("lead", agent(lead))]);
        let world = with_document(authority(lead.unwrap_or(Level::L3))).await;
        let delegation = match lead {
            Some(_) => Some(delegated(&world, &["git.log:repository/*", "channel.post:channel/*"]).await),
            None => None,
        };
        let new = gate::NewSession {
            cause,
            ..crate::world::new_session("triage")
        };
        let session = world
            .gate
            .create_session_under(new, delegation)
            .await
            .unwrap()
            .0
            .id;
        world.drive(&session, journal::machine::SessionEvent::Start).await;
        let said = world.check(&session, "s", &action).await;
        let denied = world.bodies("action.denied").remove(0);
        assert_eq!(denied["code"], code, "{said}");
        let told = denied["lacking"].as_str().unwrap();
        assert!(told.starts_with(lacking), "{told} instead of {lacking}: {said}");
        assert_eq!(score(&world), expected, "{lacking}: {said}");
    }
}

/// What `lead` passes on to `triage`.
pub async fn delegated(world: &World, capabilities: &[&str]) -> String {
    world.gate.identify_agents(&["lead".to_owned()]).await.unwrap();
    let capability = |text: &&str| policy::Capability::parse(text).unwrap();
    let new = gate::NewDelegation {
        from: "lead".to_owned(),
        to: "triage".to_owned(),
        capabilities: capabilities.iter().map(capability).collect(),
        except: Vec::new(),
        ttl_ms: 15 * 60 * 1000,
        trust: None,
        under: None,
    };
    world
        .gate
        .delegate(&Principal::person("alice"), new)
        .await
        .unwrap()
        .id
}

#[tokio::test]
async fn bounds_and_repeats_cost_efficiency_and_lack_of_trust_costs_nothing() {
    let bounded = AgentAuthority {
        bounds: Bounds {
            actions_per_session: 1,
            ..Bounds::default()
        },
        ..sponsored(Level::L3)
    };
    let world = world_of(&rules(), bounded).await;
    let session = world.running("triage").await;
    world.check(&session, "a", &read("a")).await;
    assert_eq!(score(&world), 634);
    for _ in 0..2 {
        let refused = world.check(&session, "b", &read("b")).await;
        assert!(refused.starts_with("bound reached"), "{refused}");
    }
    assert_eq!(score(&world), 624, "once");
    world.gate.flush().await.unwrap();
    assert_eq!(score(&world), 615, "and once for all that were counted");

    let ceiling = AgentAuthority {
        trust: TrustTerms {
            ceiling: Some(400),
            ..sponsored(Level::L3).trust
        },
        ..sponsored(Level::L3)
    };
    let world = world_of(&rules(), ceiling).await;
    let session = world.running("triage").await;
    assert_eq!(
        world.check(&session, "a", &post("x")).await,
        "denied: trust 400 is probationary, which holds level L3 at L1: read-only"
    );
    let view = world.gate.trust_of("triage").unwrap().unwrap();
    assert_eq!(
        (view.told.score, view.told.earned, view.told.level),
        (400, 600, Level::L1)
    );
    let denied = world.bodies("action.denied").remove(0);
    assert_eq!(
        (&denied["code"], &denied["trust"], &denied["level"]),
        (&json!("untrusted"), &json!(400), &json!("L1"))
    );
}

#[tokio::test]
async fn a_tier_caps_what_the_document_gives_and_falls_at_once() {
    let world = world().await;
    let session = world.running("triage").await;
    let refusal = world.admit(&session, "a", &post("x")).await.unwrap_err();
    assert!(
        refusal
            .to_string()
            .ends_with("trust 600 is standard, so level L2 instead of L3 asks for each write action"),
        "{refusal}"
    );
    let eve = Principal::person("eve");
    let scope = StopScope::Agent("triage".into());
    world.gate.stop(&eve, scope.clone(), "odd").await;
    world
        .gate
        .lift(&eve, gate::EVERYWHERE, &scope, "seen")
        .await
        .unwrap();
    assert_eq!(
        world.check(&session, "a", &post("x")).await,
        "denied: trust 300 is probationary, which holds level L3 at L1: read-only"
    );
    assert_eq!(
        world.check(&session, "b", &read("a")).await,
        "permit",
        "reads are within every level"
    );
    let explained = world.gate.explain("triage", &post("x")).unwrap();
    assert_eq!(explained.outcome, "deny");
    assert!(
        explained.remedy.starts_with("it takes tier standard"),
        "{}",
        explained.remedy
    );
}

/// The admission is judged with trust 600, which falls to 588 before its commit.
#[tokio::test]
async fn trust_that_falls_meanwhile_counts() {
    let rules = json!({ "rules": [
        { "name": "low", "match": { "verbs": ["git.log"] }, "when": "trust < 590", "outcome": "deny", "reason": "too little trust" },
    ] });
    let world = world_of(&rules, sponsored(Level::L3)).await;
    let session = world.running("triage").await;
    let permit = world.admit(&session, "first", &read("a")).await.unwrap();
    let flight = permit.spend(world.gate.stop_set()).unwrap();
    let go = held(&world).await;
    let settling = tokio::spawn(flight.settle(failed()));
    settle_down().await;
    let admission = queued(&world.gate, &session, read("b")).await;
    drop(go);
    let refusal = admission.await.unwrap().unwrap_err();
    assert!(refusal.to_string().contains("too little trust"), "{refusal}");
    settling.await.unwrap().unwrap();
    assert_eq!(world.bodies("action.permitted").len(), 1);
}

/// Good work for nine days, with proposals approved on the way.
pub async fn work(world: &World) {
    for day in 0..9 {
        let session = world.running("triage").await;
        if day < 5 {
            asked(world, &session, &format!("change {day}"), Verdict::Approve).await;
        }
        for step in 0..11 {
            let done = world.check(&session, &step.to_string(), &read("a")).await;
            assert_eq!(done, "permit");
        }
        world.advance(DAY_MS);
    }
}

#[tokio::test]
async fn a_tier_is_won_by_evidence_and_a_signature_of_somebody_else() {
    let world = world().await;
    let bob = world.caller("bob", &[Role::Operator]).await;
    let viewer = world.caller("vera", &[Role::Viewer]).await;
    let sponsor = world.caller("alice", &[Role::Admin]).await;
    let early = world.gate.promote(&bob, "triage", "now").await.unwrap_err();
    assert!(
        matches!(&early, PromoteError::Lacks(lacks) if lacks.len() == 4),
        "{early}"
    );
    work(&world).await;
    let view = world.gate.trust_of("triage").unwrap().unwrap();
    assert_eq!(
        (view.told.tier, view.told.held, view.lacks),
        (Tier::Standard, Tier::Standard, Vec::new())
    );
    assert!(view.told.earned > 900, "{}", view.told.earned);
    #[rustfmt::skip]
    let table = [
        (&viewer,  "triage",  "a promotion is signed by a person who is admin or operator"),
        (&sponsor, "triage",  "`alice` sponsors this agent, so somebody else has to sign"),
        (&bob,     "nobody",  "there is no agent `nobody` with a record of trust"),
    ];
    for (caller, name, expected) in table {
        assert_eq!(
            world
                .gate
                .promote(caller, name, "x")
                .await
                .unwrap_err()
                .to_string(),
            expected
        );
    }
    let promoted = world
        .gate
        .promote(&bob, "triage", "nine good days")
        .await
        .unwrap();
    assert_eq!((promoted.told.tier, promoted.told.score), (Tier::Trusted, 899));
    let body = world.bodies("trust.promoted").remove(0);
    assert_eq!(
        (&body["from"], &body["to"], &body["evidence"]),
        (
            &json!("standard"),
            &json!("trusted"),
            &json!({ "done": 99, "failed": 0, "approved": 5, "refused": 0 })
        )
    );
    let session = world.running("triage").await;
    assert_eq!(
        world.check(&session, "a", &post("x")).await,
        "permit",
        "level L3 at last"
    );
    let again = world.gate.promote(&bob, "triage", "more").await.unwrap_err();
    assert!(
        again.to_string().contains("it is trusted for 0 of 7 days"),
        "{again}"
    );
}

#[tokio::test]
async fn a_rebuild_gives_the_same_numbers() {
    let world = world().await;
    work(&world).await;
    let session = world.running("triage").await;
    fail(&world, &session, "f").await;
    asked(&world, &session, "no", Verdict::Deny).await;
    world.check(&session, "s", &read("secret/db")).await;
    world.gate.detect_anomalies().await.unwrap();
    let (rows, view) = (world.rows(), world.gate.trust_of("triage").unwrap());
    assert!(rows.contains_key("trust:agent/triage") && rows.contains_key("activity:triage"));
    assert_eq!(world.gate.store().rebuild().unwrap(), Vec::<String>::new());
    assert_eq!(world.rows(), rows);
    assert_eq!(world.gate.trust_of("triage").unwrap(), view);
    let world = world.reopened().await;
    assert_eq!(world.rows(), rows);
    assert_eq!(world.gate.trust_of("triage").unwrap(), view);
    let days = world.gate.trust_history("triage").unwrap();
    assert_eq!(
        days.first().map(|day| (day.day.as_str(), day.low, day.events)),
        Some(("2026-01-01", 606, 12))
    );
    assert_eq!(days.len(), 10);
}

#[tokio::test]
async fn a_record_is_not_washed_by_a_document() {
    let world = world().await;
    let session = world.running("triage").await;
    fail(&world, &session, "f").await;
    let by = Principal::person("sam");
    let (kind, name) = ("Agent".to_owned(), "triage".to_owned());
    let delete = DocumentChange::Delete {
        kind: kind.clone(),
        name: name.clone(),
    };
    let apply = DocumentChange::Apply {
        kind,
        name,
        document: json!({ "n": 2 }),
    };
    for (generation, change) in [(1, delete), (2, apply)] {
        let authority = authority(&rules(), &[("triage", sponsored(Level::L3))]);
        let installing = world
            .gate
            .install(&by, Owner::Api, generation, vec![change], authority);
        assert_eq!(installing.await.unwrap(), generation + 1);
    }
    assert_eq!(score(&world), 588);
}

#[tokio::test]
async fn odd_behaviour_is_recorded_once_and_may_suspend() {
    for suspend in [false, true] {
        let mut held = sponsored(Level::L3);
        held.trust.suspend_on_anomaly = suspend;
        let world = world_of(&rules(), held).await;
        world
            .gate
            .tell_through([("triage".to_owned(), vec!["pager".to_owned()])].into());
        let session = world.running("triage").await;
        assert_eq!(world.gate.detect_anomalies().await.unwrap(), []);
        world.check(&session, "a", &read("secret/db")).await;
        let found = world.gate.detect_anomalies().await.unwrap();
        let told: Vec<_> = found
            .iter()
            .map(|one| (one.agent.as_str(), one.anomaly.rule, one.suspended))
            .collect();
        assert_eq!(told, [("triage", "sensitive_access", suspend)]);
        assert_eq!(world.gate.detect_anomalies().await.unwrap(), []);
        assert_eq!(world.gate.stops().len(), usize::from(suspend));
        assert_eq!(score(&world), if suspend { 300 } else { 534 });
        let [body] = world.bodies("anomaly.detected").try_into().unwrap();
        assert_eq!(
            (&body["suspends"], &body["channels"]),
            (&json!(suspend), &json!(["pager"]))
        );
        let read = world.check(&session, "b", &read("a")).await;
        assert_eq!(read == "permit", !suspend, "{read}");
    }
}

/// Answers by criterion, as percentages.
fn answers(world: &World, surroundings: gate::Surroundings) -> BTreeMap<&'static str, u8> {
    let equation = world
        .gate
        .trust_equation("triage", surroundings)
        .unwrap()
        .unwrap();
    let answers = equation.factors.into_iter().flat_map(|factor| factor.answers);
    answers
        .map(|answer| {
            assert!(!answer.because.is_empty(), "{}", answer.criterion);
            (answer.criterion, answer.percent)
        })
        .collect()
}

/// Every input that changes, and the one answer that it changes.
#[tokio::test]
async fn the_equation_is_made_of_configuration_and_journal() {
    let nothing = gate::Surroundings::default();
    let world = world().await;
    let before = answers(&world, nothing);
    assert_eq!(before.len(), 17);
    let changed = |after: BTreeMap<&'static str, u8>, before: &BTreeMap<&'static str, u8>| {
        let pairs = after
            .iter()
            .filter(|(name, percent)| before.get(*name) != Some(percent));
        pairs
            .map(|(name, percent)| format!("{name} {} to {percent}", before[name]))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let of = |channels, verified, checkpoints| gate::Surroundings {
        channels,
        verified,
        checkpoints,
    };
    #[rustfmt::skip]
    let table = [
        (of(1, None, false),        "monitoring 50 to 100"),
        (of(0, Some(true), false),  "state 50 to 100"),
        (of(0, Some(false), false), "state 50 to 0"),
        (of(0, None, true),         "auditability 75 to 100"),
    ];
    for (surroundings, expected) in table {
        assert_eq!(changed(answers(&world, surroundings), &before), expected);
    }
    world.caller("alice", &[Role::Admin]).await;
    assert_eq!(
        changed(answers(&world, nothing), &before),
        "",
        "its sponsor is nobody else"
    );
    world.caller("bob", &[Role::Operator]).await;
    assert_eq!(
        changed(answers(&world, nothing), &before),
        "human override 0 to 75"
    );
    let session = world.running("triage").await;
    world.check(&session, "r", &read("a")).await;
    let reads = answers(&world, nothing);
    assert_eq!(
        changed(reads.clone(), &before),
        "human override 0 to 75, undo 25 to 75"
    );
    asked(&world, &session, "a change", Verdict::Approve).await;
    assert_eq!(
        changed(answers(&world, nothing), &reads),
        "",
        "nothing was done yet"
    );
    world.check(&session, "a change", &propose("a change")).await;
    assert_eq!(
        changed(answers(&world, nothing), &reads),
        "",
        "what may be repeated can be undone"
    );

    let narrow = AgentAuthority {
        grants: vec![policy::Grant {
            capability: policy::Capability::parse("git.log:repository/shop").unwrap(),
            from: "toolset/narrow".to_owned(),
            until: None,
        }],
        ..sponsored(Level::L0)
    };
    let world = world_of(&rules(), narrow).await;
    assert_eq!(
        changed(answers(&world, nothing), &before),
        "approval gates 50 to 100, least privilege 50 to 100, scope 25 to 100, target restriction 0 to 100, undo 25 to 100"
    );
    let equation = world.gate.trust_equation("triage", nothing).unwrap().unwrap();
    assert_eq!(
        (equation.level, equation.verdict, equation.gaps.len()),
        (Level::L0, "sufficient", 0)
    );
    assert_eq!(
        (equation.equation.score, equation.equation.band),
        (5_637, Band::ConditionallyHigh)
    );
    assert_eq!(world.gate.trust_equation("nobody", nothing).unwrap(), None);
}

#[tokio::test]
async fn the_equation_says_what_to_invest_in_or_constrain_to() {
    let world = world().await;
    let equation = world
        .gate
        .trust_equation("triage", gate::Surroundings::default())
        .unwrap()
        .unwrap();
    let gaps: Vec<_> = equation.gaps.iter().map(|gap| (gap.takes, gap.has)).collect();
    assert_eq!(
        gaps,
        [
            ("alerts on anomalies", "logs with their rationale"),
            ("within 15 min", "automatic within 1 h"),
            ("a single service", "a department"),
        ]
    );
    assert_eq!(
        (equation.verdict, equation.constrain_to),
        ("invest or constrain", Some(Level::L1))
    );
}

#[tokio::test]
async fn what_a_grant_names_is_meant() {
    for (grant, expected) in [("git.log:*", 1), ("git.log:secret/*", 0)] {
        let held = AgentAuthority {
            grants: vec![policy::Grant {
                capability: policy::Capability::parse(grant).unwrap(),
                from: "toolset/x".to_owned(),
                until: None,
            }],
            ..sponsored(Level::L0)
        };
        let world = world_of(&rules(), held).await;
        let session = world.running("triage").await;
        assert_eq!(world.check(&session, "a", &read("secret/db")).await, "permit");
        assert_eq!(
            world.gate.detect_anomalies().await.unwrap().len(),
            expected,
            "{grant}"
        );
    }
}
