//! Waivers: an approver is not asked again about actions alike, and everything else stays as it is.

use crate::world::{START_MS, World, action, agent, authority, new_session, propose};
use gate::{Caller, Refusal, Role, Verdict, WaiverState};
use journal::machine::SessionEvent;
use policy::{Effect, Idempotence, Level, Principal, StopScope, WaiverScope};
use serde_json::{Value, json};

fn scope(text: &str) -> WaiverScope {
    text.to_owned().try_into().unwrap()
}

/// Rules that ask for `git.propose` and for `db.drop`, and let it be waived.
fn rules(extra: &[Value]) -> gate::Authority {
    let ask = |name: &str, verb: &str| {
        json!({"name": name, "match": {"verbs": [verb]}, "outcome": "require_approval", "reason": "asked",
            "waivable": ["session", "1h"]})
    };
    let mut rules = vec![
        ask("ask", "git.propose"),
        ask("drop", "db.drop"),
        ask("drop-one", "db.drop-one"),
    ];
    rules.extend(extra.iter().cloned());
    authority(
        &json!({ "rules": rules }),
        &[
            ("triage", agent(Level::L3)),
            ("other", agent(Level::L3)),
            ("careful", agent(Level::L2)),
        ],
    )
}

async fn parked(world: &World, session: &str, action: &policy::Action) -> String {
    match world.admit(session, "first", action).await {
        Err(Refusal::Parked { approval, .. }) => approval,
        other => panic!("not parked: {other:?}"),
    }
}

async fn alice(world: &World) -> Caller {
    world.caller("alice", &[Role::Approver, Role::Operator]).await
}

/// A session of triage in which alice approved `propose("x")` with this scope, and the waiver's id.
async fn waived(text: &str) -> (World, String, String) {
    let world = World::with(rules(&[])).await;
    let session = world.running("triage").await;
    let id = parked(&world, &session, &propose("x")).await;
    let caller = alice(&world).await;
    let said = world
        .gate
        .decide_in_scope(&caller, &id, Verdict::Approve, "fine", Some(scope(text)));
    said.await.unwrap();
    let waiver = world.gate.waivers(9).unwrap().remove(0).id;
    (world, session, waiver)
}

/// A session that `name` causes.
async fn caused_by(world: &World, agent: &str, name: &str) -> String {
    let new = gate::NewSession {
        cause: Principal::person(name),
        ..new_session(agent)
    };
    let session = world.gate.create_session(new).await.unwrap().0.id;
    world.drive(&session, SessionEvent::Start).await;
    session
}

#[tokio::test]
async fn what_a_waiver_covers_and_what_ends_it() {
    let asks = "needs approval ";
    #[rustfmt::skip]
    let table = [
        // scope     what happens             what the next action alike gets, up to the first quote    the waiver then
        ("session",  "",                      "permit",                                   WaiverState::Active),
        ("1h",       "",                      "permit",                                   WaiverState::Active),
        ("1h",       "59 minutes",            "permit",                                   WaiverState::Active),
        ("1h",       "an hour",               asks,                                       WaiverState::Expired),
        ("1h",       "an hour, timer",        asks,                                       WaiverState::Expired),
        ("session",  "an hour",               "permit",                                   WaiverState::Active),
        ("session",  "another session",       asks,                                       WaiverState::Active),
        ("1h",       "another session",       "permit",                                   WaiverState::Active),
        ("1h",       "another agent",         asks,                                       WaiverState::Active),
        ("1h",       "another resource",      asks,                                       WaiverState::Active),
        ("1h",       "destructive",           asks,                                       WaiverState::Active),
        ("1h",       "staging",               asks,                                       WaiverState::Active),
        ("1h",       "her own session",       asks,                                       WaiverState::Active),
        ("1h",       "bob's session",         asks,                                       WaiverState::Active),
        ("1h",       "alice only views",          asks,                                       WaiverState::Active),
        ("1h",       "alice resolves a step", asks,                                       WaiverState::Active),
        ("1h",       "suspend triage, resume triage", asks,                               WaiverState::Void),
        ("1h",       "suspend other, resume other", "permit",                             WaiverState::Active),
        ("1h",       "rule asks besides",     asks,                                       WaiverState::Active),
        ("1h",       "stop triage",           asks,                                       WaiverState::Void),
        ("1h",       "stop other",            "permit",                                   WaiverState::Active),
        ("1h",       "revoke",                asks,                                       WaiverState::Revoked),
        ("1h",       "withdraw",              asks,                                       WaiverState::Revoked),
        ("1h",       "stop all",              asks,                                       WaiverState::Void),
        ("1h",       "stop another session",  "permit",                                   WaiverState::Active),
        ("1h",       "taint",                 asks,                                       WaiverState::Active),
        ("session",  "retry",                 asks,                                       WaiverState::Expired),
        ("1h",       "restart",               "permit",                                   WaiverState::Active),
        ("1h",       "rule asks each time",   asks,                                       WaiverState::Active),
        ("1h",       "rule asks for bob",     asks,                                       WaiverState::Active),
        ("1h",       "rule forbids",          "denied: rule ",                            WaiverState::Active),
    ];
    for (scope, events, expected, state) in table {
        let (mut world, mut session, waiver) = waived(scope).await;
        let mut next = propose("y");
        for event in events.split(", ") {
            match event {
                "" => {}
                "59 minutes" => world.advance(59 * 60_000),
                "an hour" => world.advance(60 * 60_000),
                "timer" => drop(world.gate.expire_approvals().await.unwrap()),
                "another session" => session = world.running("triage").await,
                "another agent" => session = world.running("other").await,
                "another resource" => next = of("repository/other", Effect::Write),
                "destructive" => next = of("repository/shop", Effect::Destructive),
                "staging" => next = in_staging(),
                "her own session" => session = caused_by(&world, "triage", "alice").await,
                "bob's session" => {
                    world.caller("bob", &[Role::Operator]).await;
                    session = caused_by(&world, "triage", "bob").await;
                }
                "alice only views" => only_views(&world, "alice").await,
                "alice resolves a step" => resolve(&world, &session, "alice").await,
                "stop triage" => stop_and_lift(&world, StopScope::Agent("triage".to_owned())).await,
                "stop other" => stop_and_lift(&world, StopScope::Agent("other".to_owned())).await,
                event if event.starts_with("suspend ") || event.starts_with("resume ") => turn(&world, event).await,
                "rule asks besides" => world.gate.restore(rules(&[
                    json!({"name": "besides", "match": {"verbs": ["git.propose"]}, "outcome": "require_approval",
                        "waivable": ["1h"]}),
                ])),
                "revoke" => drop(world.gate.revoke_waiver(&alice(&world).await, &waiver, "no more").await.unwrap()),
                "withdraw" => {
                    let approval = world.gate.waivers(9).unwrap().remove(0).approval;
                    let caller = alice(&world).await;
                    world.gate.decide_approval(&caller, &approval, Verdict::Deny, "").await.unwrap();
                }
                "stop all" => stop_and_lift(&world, StopScope::All).await,
                "stop another session" => {
                    let other = world.running("triage").await;
                    stop_and_lift(&world, StopScope::Session(other)).await;
                }
                "taint" => taint(&world, &session).await,
                "retry" => {
                    for event in [SessionEvent::Complete, SessionEvent::Retry, SessionEvent::Start] {
                        world.drive(&session, event).await;
                    }
                }
                "restart" => world = world.reopened().await,
                "rule asks each time" => world.gate.restore(rules(&[asking(json!([]))])),
                "rule asks for bob" => world.gate.restore(rules(&[waivable_by_bob()])),
                "rule forbids" => world.gate.restore(rules(&[
                    json!({"name": "no", "match": {"verbs": ["git.propose"]}, "outcome": "deny", "reason": "closed"}),
                ])),
                other => panic!("{other}"),
            }
        }
        let said = world.check(&session, "next", &next).await;
        assert_eq!(said.split('`').next().unwrap(), expected, "{scope}: {events}");
        let found = world
            .gate
            .waivers(9)
            .unwrap()
            .into_iter()
            .find(|view| view.id == waiver);
        assert_eq!(found.unwrap().state, state, "{scope}: {events}");
        let named = world
            .bodies("action.permitted")
            .pop()
            .map(|body| body["waiver"].clone());
        assert_eq!(
            named == Some(json!(waiver)),
            expected == "permit",
            "{scope}: {events}: {named:?}"
        );
    }
}

fn asking(approvers: Value) -> Value {
    json!({"name": "each-time", "match": {"verbs": ["git.propose"]}, "outcome": "require_approval",
        "reason": "asked each time", "approvers": approvers})
}

fn waivable_by_bob() -> Value {
    let mut rule = asking(json!(["bob"]));
    rule["waivable"] = json!(["1h"]);
    rule
}

fn of(resource: &str, effect: Effect) -> policy::Action {
    action(
        "git.propose",
        resource,
        json!({ "title": "y" }),
        effect,
        Idempotence::Idempotent,
    )
}

fn in_staging() -> policy::Action {
    policy::Action::new(
        policy::Verb::new("git.propose").unwrap(),
        "repository/shop",
        json!({ "title": "y" }),
        policy::Environment::new("staging").unwrap(),
        Effect::Write,
        Idempotence::Idempotent,
    )
    .unwrap()
}

async fn stop_and_lift(world: &World, scope: StopScope) {
    let eve = Principal::person("eve");
    drop(world.gate.stop(&eve, scope.clone(), "halt").await);
    assert!(world.gate.lift(&eve, gate::EVERYWHERE, &scope, "").await.unwrap());
}

async fn taint(world: &World, session: &str) {
    let permit = world
        .admit(session, "read", &crate::world::read("a"))
        .await
        .unwrap();
    let settled = policy::Settlement {
        taints: policy::Taints::UNTRUSTED,
        ..crate::world::done(json!("obey me"))
    };
    permit
        .spend(world.gate.stop_set())
        .unwrap()
        .settle(settled)
        .await
        .unwrap();
}

#[tokio::test]
async fn what_cannot_be_waived_says_so() {
    let drop_all = action(
        "db.drop",
        "db/orders",
        json!({}),
        Effect::Destructive,
        Idempotence::Once,
    );
    let each = asking(json!([]));
    #[rustfmt::skip]
    let table = [
        // agent      action           more rules                 scope       answer
        ("triage",    propose("x"),    vec![],                    "2h",       "approval `ID` cannot be given for `2h`: its rules allow session, 1h"),
        ("triage",    propose("x"),    vec![each],                "1h",       "approval `ID` cannot be given for `1h`: its rules ask each time"),
        // What destroys in production is asked each time, and so is what the level asks.
        ("triage",    drop_all,        vec![],                    "session",  "approval `ID` cannot be given for `session`: its rules ask each time"),
        ("careful",   propose("x"),    vec![],                    "session",  "approval `ID` cannot be given for `session`: its rules ask each time"),
    ];
    for (agent, action, more, text, expected) in table {
        let world = World::with(rules(&more)).await;
        let session = world.running(agent).await;
        let id = parked(&world, &session, &action).await;
        let caller = alice(&world).await;
        let said = world
            .gate
            .decide_in_scope(&caller, &id, Verdict::Approve, "", Some(scope(text)))
            .await;
        assert_eq!(
            said.unwrap_err().to_string().replace(&id, "ID"),
            expected,
            "{agent} {text}"
        );
        assert!(world.gate.waivers(9).unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_waiver_needs_everybody_who_approves() {
    for (scopes, granted) in [
        (["1h", "1h"], true),
        (["1h", ""], false),
        (["session", "1h"], false),
    ] {
        let two = json!({"name": "two", "match": {"verbs": ["git.propose"]}, "outcome": "require_approval",
            "approvers": [{ "count": 2 }], "waivable": ["session", "1h"]});
        let world = World::with(rules(&[two])).await;
        let session = world.running("triage").await;
        let id = parked(&world, &session, &propose("x")).await;
        for (name, text) in ["alice", "bob"].into_iter().zip(scopes) {
            let caller = world.caller(name, &[Role::Approver]).await;
            let scope = (!text.is_empty()).then(|| scope(text));
            world
                .gate
                .decide_in_scope(&caller, &id, Verdict::Approve, "", scope)
                .await
                .unwrap();
        }
        let waivers = world.gate.waivers(9).unwrap();
        assert_eq!(waivers.len(), usize::from(granted), "{scopes:?}");
        // The approval itself is there in any case, and single-use.
        assert_eq!(world.check(&session, "first", &propose("x")).await, "permit");
        let next = world.check(&session, "next", &propose("y")).await;
        assert_eq!(next == "permit", granted, "{scopes:?}: {next}");
    }
}

#[tokio::test]
async fn a_waiver_and_its_end_are_in_the_journal() {
    let (world, _, waiver) = waived("1h").await;
    let granted = world.bodies("waiver.granted").remove(0);
    let expires = policy::Timestamp::from_ms(START_MS).plus_ms(3_600_000);
    assert_eq!(
        (
            &granted["waiver"],
            &granted["by"],
            &granted["scope"],
            &granted["expires"]
        ),
        (&json!(waiver), &json!(["alice"]), &json!("1h"), &json!(expires))
    );
    let caller = alice(&world).await;
    for _ in 0..2 {
        world
            .gate
            .revoke_waiver(&caller, &waiver, "enough")
            .await
            .unwrap();
    }
    assert_eq!(
        world.bodies("waiver.revoked"),
        [json!({ "waiver": waiver, "reason": "enough" })]
    );
    let unknown = world
        .gate
        .revoke_waiver(&caller, "wvr-999", "")
        .await
        .unwrap_err();
    assert_eq!(unknown.to_string(), "no waiver `wvr-999`");
    let (world, _, waiver) = waived("1h").await;
    world.advance(3_600_000);
    for _ in 0..2 {
        world.gate.expire_approvals().await.unwrap();
    }
    assert_eq!(
        world.bodies("waiver.expired"),
        [json!({ "waiver": waiver, "reason": "its time is over" })]
    );
}

async fn only_views(world: &World, name: &str) {
    world.caller(name, &[Role::Viewer]).await;
    let by = Principal::service("cofferdam");
    for token in world.gate.tokens().unwrap() {
        if token.principal == Principal::person(name) && token.roles.contains(&Role::Approver.into()) {
            world.gate.revoke_token(&by, &token.id).await.unwrap();
        }
    }
}

/// A step of the session is left without an outcome, and this person says what became of it.
async fn resolve(world: &World, session: &str, name: &str) {
    let read = crate::world::read("repository/shop");
    std::mem::forget(world.admit(session, "lost", &read).await.unwrap());
    world.gate.mark_uncertain().await.unwrap();
    let (by, done) = (Principal::person(name), gate::Resolution::Done(json!({})));
    world
        .gate
        .resolve(session, None, &by, done, "I saw it")
        .await
        .unwrap();
}

/// `suspend NAME` or `resume NAME`.
async fn turn(world: &World, event: &str) {
    let (verb, name) = event.split_once(' ').unwrap();
    let event = match verb {
        "suspend" => policy::AgentEvent::Suspend,
        _ => policy::AgentEvent::Resume,
    };
    let by = Principal::person("alice");
    world.gate.identify_agents(&[name.to_owned()]).await.unwrap();
    world
        .gate
        .agent_event(&by, gate::EVERYWHERE, name, event, "", None)
        .await
        .unwrap();
}
