//! Past decisions under other policies, and what would have been enough for those that no rule permitted.

use crate::world::{World, action, agent, authority, post, propose, read, rules};
use gate::{Role, Verdict};
use policy::{Effect, Idempotence, Level, PolicyDocument, PolicySet, Principal, StopScope, Timestamp};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const ALWAYS: Timestamp = Timestamp::from_ms(0);

fn set(rules: &Value) -> PolicySet {
    let document: PolicyDocument = serde_json::from_value(rules.clone()).unwrap();
    PolicySet::load(&[("test".to_owned(), document)]).unwrap()
}

/// The rules that the world has, with this one changed.
fn changed(name: &str, rule: Value) -> PolicySet {
    let mut all = rules();
    let list = all["rules"].as_array_mut().unwrap();
    list.retain(|rule| rule["name"] != name);
    list.extend((!rule.is_null()).then_some(rule));
    set(&all)
}

fn write(verb: &str, resource: &str) -> policy::Action {
    action(verb, resource, json!({}), Effect::Write, Idempotence::Once)
}

/// One read, one permit by a rule, one request that is approved and used, one of each kind of denial.
async fn lived() -> World {
    let world = World::new().await;
    let session = world.running("triage").await;
    assert_eq!(
        world.check(&session, "read", &read("repository/shop")).await,
        "permit"
    );
    assert_eq!(world.check(&session, "post", &post("hello")).await, "permit");
    assert!(
        world
            .check(&session, "ask", &propose("mend it"))
            .await
            .starts_with("needs approval")
    );
    let approval = world.gate.approvals(10).unwrap()[0].id.clone();
    let carol = world.caller("carol", &[Role::Approver]).await;
    world
        .gate
        .decide_approval(&carol, &approval, Verdict::Approve, "fine")
        .await
        .unwrap();
    assert_eq!(world.check(&session, "ask", &propose("mend it")).await, "permit");
    assert!(
        world
            .check(&session, "never", &write("http.request", "forbidden/a"))
            .await
            .starts_with("denied")
    );
    assert!(
        world
            .check(&session, "unruled", &write("git.merge", "repository/shop"))
            .await
            .starts_with("denied")
    );
    assert!(
        world
            .check(&session, "ungranted", &write("shell.run", "host/a"))
            .await
            .starts_with("denied")
    );
    let eve = Principal::person("eve");
    let stop = StopScope::Tool(policy::Pattern::new("http.*").unwrap());
    drop(world.gate.stop(&eve, stop, "halt").await);
    drop(
        world
            .check(&session, "stopped", &write("http.request", "http://h/x"))
            .await,
    );
    world
}

#[tokio::test]
async fn the_same_policies_decide_the_same_and_others_are_told_apart() {
    let world = lived().await;
    let permit = |verb: &str| json!({ "name": "more", "match": { "verbs": [verb] }, "outcome": "permit" });
    let asks = |by: &str| json!({ "name": "ask", "match": { "verbs": ["git.propose"] }, "outcome": "require_approval", "approvers": [by] });
    let no = json!({ "name": "post", "match": { "verbs": ["channel.post"] }, "outcome": "deny", "reason": "not now" });
    #[rustfmt::skip]
    let table = [
        // policies                                 what is different
        (set(&rules()),                             json!({})),
        (changed("post", no),                       json!({ "permit → deny": 1 })),
        (changed("post", Value::Null),              json!({ "permit → deny": 1 })),
        (changed("more", permit("git.merge")),      json!({ "deny → permit": 1 })),
        (changed("more", permit("shell.run")),      json!({})),
        (changed("never", Value::Null),             json!({ "deny by another rule": 1 })),
        (changed("ask", asks("dora")),              json!({ "permit → require_approval": 1 })),
        (changed("ask", asks("carol")),             json!({})),
        (changed("ask", Value::Null),               json!({ "permit → deny": 1, "require_approval → deny": 1 })),
    ];
    for (policies, expected) in table {
        let found = world.gate.replay(ALWAYS, &policies).unwrap();
        assert_eq!(serde_json::to_value(&found.changed).unwrap(), expected);
        let counted = (
            found.decisions,
            found.replayed,
            found.beside,
            found.erased,
            found.waived,
        );
        assert_eq!(counted, (8, 7, 1, 0, 0));
        assert_eq!(
            found.differences.len() as u64,
            found.changed.values().sum::<u64>()
        );
    }
}

#[tokio::test]
async fn a_difference_names_both_rules_and_the_entry() {
    let world = lived().await;
    let no = json!({ "name": "frozen", "match": { "verbs": ["channel.*"] }, "outcome": "deny", "reason": "not now" });
    let found = world.gate.replay(ALWAYS, &changed("frozen", no)).unwrap();
    let [one] = found.differences.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!(
        world.entries()[usize::try_from(one.sequence).unwrap()].kind,
        "action.permitted"
    );
    assert_eq!(
        (one.agent.as_str(), one.verb.as_str(), one.resource.as_str()),
        ("triage", "channel.post", "channel/oncall")
    );
    assert_eq!(
        (one.before.outcome, one.before.rule.as_deref()),
        ("permit", Some("policy/test#post"))
    );
    assert_eq!(
        (one.after.outcome, one.after.rule.as_deref()),
        ("deny", Some("policy/test#frozen"))
    );
    assert_eq!(one.after.reason, "rule `policy/test#frozen` forbids it: not now");
    let later = world.gate.store().clock().now().plus_ms(1);
    assert_eq!(
        world.gate.replay(later, &set(&rules())).unwrap().decisions,
        0,
        "nothing since then"
    );
}

#[tokio::test]
async fn what_was_erased_is_counted_and_never_guessed() {
    let world = lived().await;
    let posted = world
        .entries()
        .into_iter()
        .find(|entry| entry.kind == "action.permitted" && entry.body["verb"] == "channel.post");
    let sequence = posted.unwrap().sequence;
    world
        .gate
        .store()
        .write(move |tx| tx.erase(sequence, "person:alice", "asked for"))
        .await
        .unwrap();
    let found = world.gate.replay(ALWAYS, &changed("post", Value::Null)).unwrap();
    assert_eq!((found.replayed, found.erased, found.changed.len()), (6, 1, 0));
}

#[tokio::test]
async fn what_is_suggested_permits_what_was_denied_and_nothing_beside_it() {
    let world = lived().await;
    let session = world.running("triage").await;
    for n in 0..8 {
        let action = write("git.tag", &format!("repository/r{n}"));
        assert!(
            world
                .check(&session, &format!("tag{n}"), &action)
                .await
                .starts_with("denied")
        );
    }
    let found = world.gate.suggestions(ALWAYS, Some("triage")).unwrap();
    assert_eq!(found.denials, 12);
    assert_eq!(
        serde_json::to_value(&found.left_out).unwrap(),
        json!({ "action_stopped": 1, "forbidden": 1 })
    );
    assert_eq!(
        serde_json::to_value(&found.grants).unwrap(),
        json!([{ "principal": "agent:triage", "capability": "shell.run:host/a:production", "denials": 1 }])
    );
    let [suggested] = found.policies.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!(
        (suggested.name.as_str(), suggested.place.to_string()),
        ("suggested-triage", "everywhere".to_owned())
    );
    assert_eq!(
        serde_json::to_value(&suggested.rules).unwrap(),
        json!([{ "denials": 1, "wildcards": [] }, { "denials": 8, "wildcards": [["repository/*", 8]] }])
    );
    let document: PolicyDocument = serde_json::from_value(rules()).unwrap();
    let mut applied = suggested.document.clone();
    applied.rules.extend(document.rules);
    let applied = serde_json::to_value(&applied.rules).unwrap();
    let world = World::with(authority(
        &json!({ "rules": applied }),
        &[("triage", agent(Level::L3)), ("other", agent(Level::L3))],
    ))
    .await;
    let destructive = action(
        "git.merge",
        "repository/shop",
        json!({}),
        Effect::Destructive,
        Idempotence::Once,
    );
    #[rustfmt::skip]
    let table = [
        ("triage", write("git.merge", "repository/shop"),    true),
        ("triage", write("git.tag", "repository/r3"),        true),
        ("triage", write("git.tag", "repository/other"),     true), // told as a wildcard
        ("triage", write("git.tag", "other/r3"),             false),
        ("triage", write("git.merge", "repository/shop2"),   false),
        ("triage", write("git.merged", "repository/shop"),   false),
        ("triage", destructive,                              false),
        ("other",  write("git.merge", "repository/shop"),    false),
        ("triage", write("shell.run", "host/a"),             false),
        ("triage", write("http.request", "forbidden/a"),     false),
    ];
    for (at, (who, action, permitted)) in table.into_iter().enumerate() {
        let session = world.running(who).await;
        let found = world.check(&session, &format!("s{at}"), &action).await;
        assert_eq!(
            found == "permit",
            permitted,
            "{who} {} {}: {found}",
            action.verb().as_str(),
            action.resource()
        );
    }
}

/// An agent that a place asks about `git.propose`, and that nothing permits anything.
async fn asked_at(places: &[&str]) -> World {
    let ask = json!({ "rules": [{ "name": "ask", "match": { "verbs": ["git.propose"] }, "outcome": "require_approval",
        "reason": "a person reads the diff" }] });
    with_policies(places.iter().map(|place| (*place, ask.clone())).collect()).await
}

async fn with_policies(policies: Vec<(&str, Value)>) -> World {
    let document = |(at, (place, rules)): (usize, (&str, Value))| {
        let mut document: PolicyDocument = serde_json::from_value(rules).unwrap();
        document.place = policy::Branch::parse(place).unwrap();
        (format!("p{at}"), document)
    };
    let documents: Vec<_> = policies.into_iter().enumerate().map(document).collect();
    World::with(gate::Authority {
        policies: Arc::new(PolicySet::load(&documents).unwrap()),
        ..authority(&json!({}), &[("triage", agent(Level::L3))])
    })
    .await
}

#[tokio::test]
async fn a_first_permit_is_suggested_where_it_withholds_nothing_that_is_asked_about() {
    let tag = write("git.tag", "repository/shop");
    let ask = json!({ "rules": [{ "name": "ask", "match": { "verbs": ["git.propose"] }, "outcome": "require_approval",
        "reason": "a person reads the diff" }] });
    #[rustfmt::skip]
    let table = [
        // where propose is asked about           where the permit for tag is suggested
        (vec![],                                  Some("everywhere")),
        (vec!["everywhere"],                      Some("everywhere")),
        (vec!["default/default"],                 Some("default/default")),
        (vec!["acme"],                            Some("everywhere")), // another place
        (vec!["everywhere", "default/default"],   None),
    ];
    for (places, expected) in table {
        let world = asked_at(&places).await;
        let session = world.running("triage").await;
        let before = world.check(&session, "propose", &propose("mend it")).await;
        assert!(
            world.check(&session, "tag", &tag).await.starts_with("denied"),
            "{places:?}"
        );
        let found = world.gate.suggestions(ALWAYS, Some("triage")).unwrap();
        let Some(expected) = expected else {
            assert_eq!(found.policies, [], "{places:?}");
            assert_eq!(
                found.left_out["would_withhold"], 1,
                "{places:?}: {:?}",
                found.left_out
            );
            continue;
        };
        let [suggested] = found.policies.as_slice() else {
            panic!("{places:?}: {found:?}")
        };
        assert_eq!(
            (suggested.place.to_string(), suggested.first),
            (expected.to_owned(), true),
            "{places:?}"
        );
        // Applied, it permits the tag, and what was asked about is asked about still.
        let mut all: Vec<_> = places.iter().map(|place| (*place, ask.clone())).collect();
        let rules = serde_json::to_value(&suggested.document.rules).unwrap();
        all.push((expected, json!({ "rules": rules })));
        let world = with_policies(all).await;
        let session = world.running("triage").await;
        assert_eq!(world.check(&session, "tag", &tag).await, "permit", "{places:?}");
        let after = world.check(&session, "propose", &propose("mend it")).await;
        let kind = |told: &str| told.split_whitespace().next().unwrap_or_default().to_owned();
        // What no place asked about was denied, and is suggested too.
        let expected = if before.starts_with("denied") {
            "permit".to_owned()
        } else {
            kind(&before)
        };
        assert_eq!(kind(&after), expected, "{places:?}: {after}");
    }
}

#[tokio::test]
async fn what_was_decided_before_the_clock_went_back_is_decided_again_too() {
    let world = World::new().await;
    let start = world.gate.store().clock().now();
    let hour = Duration::from_secs(3600);
    let session = world.running("triage").await;
    let decide = async |step: &str| {
        assert_eq!(world.check(&session, step, &post(step)).await, "permit");
    };
    decide("long ago").await;
    world.clock.advance(10 * hour);
    decide("by the wrong clock").await;
    world.clock.set(start.plus_ms(9 * 3_600_000));
    decide("after it was set right").await;
    world.clock.advance(Duration::from_secs(1800));
    decide("now").await;
    let none = set(&json!({ "rules": [] }));
    let counted = |ms: i64| {
        let since = world.gate.store().clock().now().plus_ms(-ms);
        world.gate.replay(since, &none).unwrap().decisions
    };
    // By the entries' times: 0 h, 10 h, 9 h, 9 h 30. Since 9 h 15 there were the second, the third and the fourth.
    assert_eq!(counted(15 * 60_000), 3);
    assert_eq!(counted(2 * 3_600_000), 3);
    assert_eq!(counted(100 * 3_600_000), 4);
    // Once nothing before the step can count, nothing of it does.
    world.clock.advance(2 * hour);
    decide("later").await;
    assert_eq!(counted(60_000), 1);
}
