//! Triage from a notification to a delivered summary, with everything real but the alert.

#![cfg(test)]

mod told;
mod world;

use gate::{Role, Verdict};
use hmac::{Hmac, KeyInit, Mac};
use journal::machine::SessionEvent;
use ops::incident::Status;
use ops::summary::Summary;
use ops::triage::IntakeError;
use policy::Principal;
use serde_json::{Value, json};
use sha2::Sha256;
use std::time::Duration;
use world::{KEY, World, webhook};

/// Looks for similar incidents, and says what it found.
fn reads() -> Value {
    json!({
        "steps": [{"name": "similar", "tool": "incidents.search", "arguments": {"words": "{{ event.alert.name }}", "not": "{{ event.incident.id }}"}}],
        "output": {
            "summary": "{{ event.alert.name }} on {{ event.alert.labels.instance }}: {{ event.alert.annotations.summary }}",
            "observations": [
                {"text": "{{ steps.similar.output.incidents | length }} like it", "entry": "{{ steps.similar.entry }}"},
                {"text": "made up", "entry": 1},
            ],
            "suggestions": ["look at the last deploy"],
        },
    })
}

/// Turns the switch, which takes an approval.
fn writes(switch: &str) -> Value {
    json!({
        "steps": [{"name": "switch", "tool": "http.request", "arguments": {"method": "POST", "url": switch, "body": ""}}],
        "output": {"summary": "switch: {{ steps.switch.outcome or 'asked for' }}"},
    })
}

/// A session that somebody made, with an incident as its correlation.
fn foreign(incident: &str, key: Option<&str>) -> gate::NewSession {
    gate::NewSession {
        agent: "triage".to_owned(),
        cause: Principal::person("mallory"),
        correlation: Some(incident.to_owned()),
        input: json!({"alert": {"name": "x", "labels": {"instance": "y"}, "annotations": {"summary": "z"}}, "incident": {"id": "q"}}),
        title: "not an investigation".to_owned(),
        idempotency_key: key.map(str::to_owned),
        urgent: false,
        taint: policy::Taints::NONE,
    }
}

/// What entered a session with its input.
fn entered(world: &World, session: &str) -> Value {
    let sequence = session.strip_prefix("ses-").unwrap().parse().unwrap();
    let entry = world.gate.store().read(|reader| reader.entry(sequence));
    entry.unwrap().unwrap().entry.body["taint"].clone()
}

fn summary(value: &Value) -> Summary {
    serde_json::from_value(value.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_investigated_summarised_and_delivered() {
    let world = World::start(reads(), json!({"log": {"type": "log"}})).await;
    let hook = world.webhook(&format!("{}/letters", world.outside.address));
    world.configure(reads(), json!({"log": {"type": "log"}, "hook": hook}));

    let received = world.notify("firing", "critical").await;
    assert_eq!(
        (received.disposition.as_str(), received.incident.as_deref()),
        ("opened", Some("INC-2026-1121-001"))
    );
    let incident = world
        .until("triaged", |incident| incident.status == Status::Triaged)
        .await;
    assert_eq!(incident.sessions, [received.session.unwrap()]);
    assert!(world.gate.session(&incident.sessions[0]).unwrap().urgent);
    assert_eq!(entered(&world, &incident.sessions[0]), json!(["untrusted"]));
    let said = summary(&incident.summary);
    assert_eq!(said.summary, "HighErrors on patient:8080: 5xx above 5 %");
    let seen: Vec<&str> = said.observations.iter().map(|seen| seen.text.as_str()).collect();
    assert_eq!((seen, said.uncited, said.partial), (vec!["0 like it"], 1, false));
    let cited = world
        .gate
        .store()
        .read(|reader| reader.entry(said.observations[0].entry))
        .unwrap()
        .unwrap();
    assert_eq!(
        cited.entry.session.as_deref(),
        Some(incident.sessions[0].as_str()),
        "cites its own session"
    );

    let (headers, body) = world
        .eventually("a letter", || {
            world.outside.letters.lock().unwrap().first().cloned()
        })
        .await;
    let letter: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(letter["summary"]["summary"], said.summary);
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    let mut mac = Hmac::<Sha256>::new_from_slice(KEY).unwrap();
    mac.update(format!("{}.", header("x-cofferdam-timestamp")).as_bytes());
    mac.update(&body);
    let expected = policy::canonical::hex(&mac.finalize().into_bytes());
    assert_eq!(header("x-cofferdam-signature"), format!("sha256={expected}"));
    assert_eq!(
        header("x-cofferdam-delivery"),
        letter["delivery"].as_str().unwrap()
    );

    world
        .eventually("both delivered", || {
            (world.kinds("incident.delivered").len() == 2).then_some(())
        })
        .await;
    assert_eq!(world.notify("firing", "critical").await.disposition, "repeated");
    assert_eq!(world.notify("resolved", "critical").await.disposition, "resolved");
    let over = world.triage.incident(&incident.id).unwrap().unwrap();
    assert_eq!(
        (over.status, over.repeats, over.resolution.as_deref()),
        (Status::Resolved, 1, Some("resolved without a recorded change"))
    );
    let posted = world.outside.letters.lock().unwrap().len();
    assert_eq!(posted, 1, "the same delivery once");
    assert_eq!(
        world.gate.store().rebuild().unwrap(),
        Vec::<String>::new(),
        "rebuilt rows are the same"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_past_incident_is_found_with_its_resolution() {
    let world = World::start(reads(), json!({})).await;
    world.notify("firing", "warning").await;
    world
        .until("triaged", |incident| incident.status == Status::Triaged)
        .await;
    world.notify("resolved", "warning").await;
    world.notify("firing", "warning").await;
    let second = world
        .until("the second triaged", |incident| {
            incident.id.ends_with("002") && incident.status == Status::Triaged
        })
        .await;
    let said = summary(&second.summary);
    assert_eq!(said.observations[0].text, "1 like it");
    let similar = &said.similar_incidents[0];
    assert_eq!(
        (similar.id.as_str(), similar.resolution.as_deref()),
        ("INC-2026-1121-001", Some("resolved without a recorded change"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn info_is_logged_and_nobody_investigates() {
    let world = World::start(reads(), json!({})).await;
    let received = world.notify("firing", "info").await;
    assert_eq!(
        (received.disposition.as_str(), received.session),
        ("logged", None)
    );
    assert!(world.gate.sessions(None, 10).unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_summary_does_not_wait_for_the_person_and_the_resolution_names_them() {
    let world = World::start(reads(), json!({})).await;
    world.configure(writes(&format!("{}/switch", world.outside.address)), json!({}));
    world.notify("firing", "critical").await;
    let waiting = world
        .until("a summary while waiting", |incident| !incident.summary.is_null())
        .await;
    assert_eq!(*world.outside.switched.lock().unwrap(), 0);
    assert!(!summary(&waiting.summary).partial);

    let alice = world.caller(Principal::person("alice"), Role::Approver).await;
    let approval = world.gate.approvals(1).unwrap().remove(0);
    world
        .gate
        .decide_approval(&alice, &approval.id, Verdict::Approve, "go on")
        .await
        .unwrap();
    // What waits is looked at a few times a second, by the clock.
    world.clock.advance(Duration::from_secs(1));
    world.runtime.wake();
    world
        .until("a summary of the end", |incident| {
            summary(&incident.summary).summary == "switch: success"
        })
        .await;
    assert_eq!(*world.outside.switched.lock().unwrap(), 1);
    world.notify("resolved", "critical").await;
    let over = world.triage.incident(&waiting.id).unwrap().unwrap();
    let resolution = over.resolution.unwrap();
    assert!(
        resolution.ends_with("by approval of person:alice") && resolution.starts_with("http.request"),
        "{resolution}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_investigation_gives_a_partial_summary() {
    let mut runbook = reads();
    runbook["steps"] = json!([runbook["steps"][0], {"name": "gone", "tool": "http.get", "arguments": {"url": "http://127.0.0.1:9/"}}]);
    let world = World::start(runbook, json!({})).await;
    world.notify("firing", "warning").await;
    let said = summary(
        &world
            .until("a summary", |incident| !incident.summary.is_null())
            .await
            .summary,
    );
    assert!(said.partial);
    assert!(!said.observations.is_empty(), "what was seen before is told");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_taken_says_why() {
    let world = World::start(reads(), json!({})).await;
    let caller = world
        .caller(Principal::service("trigger/alerts"), Role::Trigger)
        .await;
    let refused = world
        .triage
        .receive(&caller, b"{\"version\":\"3\"}")
        .await
        .unwrap_err();
    assert!(matches!(refused, IntakeError::Refused(_)), "{refused}");
    world.triage.install([].into(), [].into());
    let refused = world.triage.receive(&caller, b"{}").await.unwrap_err();
    assert_eq!(refused.to_string(), "no trigger `alerts`");
    assert!(world.kinds("incident.").is_empty(), "nothing is recorded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_intake_and_session_is_taken_up_once() {
    let world = World::start(reads(), json!({})).await;
    // Recorded, and then nobody could make the session: its agent was not there.
    world.gate.restore(gate::Authority {
        budgets: std::sync::Arc::default(),
        generation: 0,
        policies: std::sync::Arc::new(policy::PolicySet::empty()),
        agents: [].into(),
    });
    let received = world.notify("firing", "critical").await;
    assert_eq!(
        (received.disposition.as_str(), received.session),
        ("opened", None)
    );
    let world = world.restart().await;
    world.configure(reads(), json!({}));
    world.run().await;
    let incident = world
        .until("triaged", |incident| incident.status == Status::Triaged)
        .await;
    assert_eq!(incident.sessions.len(), 1);
    let world = world.restart().await;
    world.configure(reads(), json!({}));
    world.run().await;
    assert_eq!(
        world.gate.sessions(None, 10).unwrap().len(),
        1,
        "one investigation however often it restarts"
    );
    assert_eq!(world.kinds("incident."), ["incident.opened", "incident.triaged"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_the_end_of_a_session_and_its_summary_is_taken_up() {
    let world = World::start(reads(), json!({})).await;
    let world = world.restart().await;
    world.configure(reads(), json!({}));
    // The session runs and ends, and triage hears nothing of it.
    world.runtime.start().await.unwrap();
    let received = world.notify("firing", "warning").await;
    let session = received.session.unwrap();
    world
        .eventually("completed", || {
            world
                .gate
                .session(&session)
                .unwrap()
                .state
                .is_final()
                .then_some(())
        })
        .await;
    assert!(
        world
            .triage
            .incident("INC-2026-1121-001")
            .unwrap()
            .unwrap()
            .summary
            .is_null()
    );
    let world = world.restart().await;
    world.configure(reads(), json!({}));
    world.run().await;
    let said = summary(
        &world
            .until("triaged", |incident| incident.status == Status::Triaged)
            .await
            .summary,
    );
    assert_eq!((said.session, said.partial), (session, false));
}

/// Approves what the only session waits for, and waits until it has ended.
async fn approve(world: &World) {
    let alice = world.caller(Principal::person("alice"), Role::Approver).await;
    let approval = world.gate.approvals(1).unwrap().remove(0);
    world
        .gate
        .decide_approval(&alice, &approval.id, Verdict::Approve, "go on")
        .await
        .unwrap();
    // What waits is looked at a few times a second, by the clock.
    world.clock.advance(Duration::from_secs(1));
    world.runtime.wake();
    let ended = || {
        let session = world.gate.sessions(None, 1).unwrap().remove(0);
        session.state.is_final().then_some(())
    };
    world.eventually("ended", ended).await;
}

fn said(world: &World) -> String {
    summary(&world.triage.incidents(1).unwrap().remove(0).summary).summary
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_the_end_after_an_approval_and_its_summary_is_taken_up() {
    let world = World::start(reads(), json!({})).await;
    let runbook = writes(&format!("{}/switch", world.outside.address));
    world.configure(runbook.clone(), json!({}));
    world.notify("firing", "critical").await;
    world
        .until("a summary while waiting", |incident| !incident.summary.is_null())
        .await;
    let world = world.restart().await;
    world.configure(runbook.clone(), json!({}));
    // The session goes on and ends, and triage hears nothing of it.
    world.runtime.start().await.unwrap();
    approve(&world).await;
    assert_ne!(said(&world), "switch: success");
    let mut world = world;
    // The second start finds nothing to do.
    for _ in 0..2 {
        world = world.restart().await;
        world.configure(runbook.clone(), json!({}));
        world.run().await;
        assert_eq!(said(&world), "switch: success");
    }
    let entries = ["incident.opened", "incident.triaged", "incident.triaged"];
    assert_eq!(world.kinds("incident."), entries);
    assert_eq!(
        world.gate.store().rebuild().unwrap(),
        Vec::<String>::new(),
        "rebuilt rows are the same"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_again_with_the_same_summary_is_not_told_twice() {
    let world = World::start(reads(), json!({"log": {"type": "log"}})).await;
    world.notify("firing", "critical").await;
    let delivered = || (world.kinds("incident.delivered").len() == 1).then_some(());
    world.eventually("delivered", delivered).await;
    let session = world.gate.sessions(None, 10).unwrap();
    let session = session.iter().find(|session| session.agent == "triage").unwrap();
    world
        .gate
        .session_event(
            &session.id,
            &Principal::person("alice"),
            SessionEvent::Retry,
            None,
            None,
        )
        .await
        .unwrap();
    world.runtime.wake();
    let concluded = || (!world.kinds("incident.concluded").is_empty()).then_some(());
    world.eventually("concluded", concluded).await;
    let mut world = world;
    for _ in 0..2 {
        world = world.restart().await;
        world.configure(reads(), json!({"log": {"type": "log"}}));
        world.run().await;
    }
    assert_eq!(
        world.kinds("incident."),
        [
            "incident.opened",
            "incident.triaged",
            "incident.delivered",
            "incident.concluded"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_stop_concludes_what_has_just_ended() {
    // Whether the end or the stop is heard first is chance, so more than once.
    for round in 1..=8 {
        let world = World::start(reads(), json!({})).await;
        world.configure(writes(&format!("{}/switch", world.outside.address)), json!({}));
        world.notify("firing", "critical").await;
        world
            .until("a summary while waiting", |incident| !incident.summary.is_null())
            .await;
        approve(&world).await;
        world.runtime.drain(Duration::from_secs(5)).await;
        let world = world.restart().await;
        assert_eq!(said(&world), "switch: success", "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_names_an_incident_does_not_belong_to_it() {
    let world = World::start(reads(), json!({})).await;
    world.notify("firing", "critical").await;
    let before = world
        .until("triaged", |incident| incident.status == Status::Triaged)
        .await;
    for key in [
        None,
        Some("incident/INC-2026-1121-001/2"),
        Some("task/INC-2026-1121-001"),
    ] {
        let new = foreign("INC-2026-1121-001", key);
        let (session, is_new) = world.gate.create_session(new).await.unwrap();
        world.runtime.wake();
        assert!(is_new, "{key:?}");
        let ended = || {
            world
                .gate
                .session(&session.id)
                .unwrap()
                .state
                .is_final()
                .then_some(())
        };
        world.eventually("ended", ended).await;
    }
    let after = world.triage.incident("INC-2026-1121-001").unwrap().unwrap();
    assert_eq!(after, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incident_that_cannot_be_summarised_holds_up_no_other_and_no_start() {
    let world = World::start(reads(), json!({})).await;
    let world = world.restart().await;
    world.configure(reads(), json!({}));
    // Both sessions end, and triage hears nothing of it.
    world.runtime.start().await.unwrap();
    world.notify("firing", "info").await;
    // A summary of what is only logged is refused.
    let new = foreign("INC-2026-1121-001", Some("incident/INC-2026-1121-001/1"));
    world.gate.create_session(new).await.unwrap();
    let mut other = world::notification("firing", "critical");
    other["groupKey"] = json!("other");
    other["alerts"][0]["labels"]["alertname"] = json!("Other");
    other["alerts"][0]["fingerprint"] = json!("00000000000000b2");
    let caller = world
        .caller(Principal::service("trigger/alerts"), Role::Trigger)
        .await;
    let received = world
        .triage
        .receive(&caller, other.to_string().as_bytes())
        .await
        .unwrap();
    assert_eq!(received.incident.as_deref(), Some("INC-2026-1121-002"));
    let completed = || {
        let sessions = world.gate.sessions(None, 10).unwrap();
        let all = sessions.iter().all(|session| session.state.is_final());
        (sessions.len() == 2 && all).then_some(())
    };
    world.eventually("both completed", completed).await;
    let world = world.restart().await;
    world.configure(reads(), json!({}));
    world.run().await;
    world
        .until("triaged", |incident| incident.status == Status::Triaged)
        .await;
    let first = world.triage.incident("INC-2026-1121-001").unwrap().unwrap();
    assert_eq!((first.status, first.summary), (Status::Logged, Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_channel_holds_up_nothing_and_is_given_up_in_the_end() {
    let world = World::start(reads(), json!({})).await;
    let dead = webhook(world.root.path(), "http://127.0.0.1:9/dead");
    world.configure(reads(), json!({"dead": dead, "log": {"type": "log"}}));
    world.notify("firing", "critical").await;
    world
        .until("triaged", |incident| incident.status == Status::Triaged)
        .await;
    world
        .eventually("the live one delivered", || {
            (world.kinds("incident.delivered").len() == 1).then_some(())
        })
        .await;
    for attempt in 1..=10 {
        let failed = || (world.kinds("incident.delivery_failed").len() == attempt).then_some(());
        world.eventually("one more attempt", failed).await;
        world.clock.advance(Duration::from_secs(2 * 3600));
        // Wakes the deliveries, which otherwise look at the clock every half minute.
        let dead = webhook(world.root.path(), "http://127.0.0.1:9/dead");
        world.configure(reads(), json!({"dead": dead, "log": {"type": "log"}}));
    }
    let sessions = world
        .gate
        .sessions(Some(journal::machine::Session::Failed), 10)
        .unwrap();
    assert_eq!(sessions.len(), 1, "its session ends with it");
    assert_eq!(world.kinds("incident.delivery_failed").len(), 10);
}

/// Whoever writes documents names the file of a channel's key, and where it is told: with a key of the platform's own
/// nothing is signed.
#[tokio::test(flavor = "multi_thread")]
async fn no_channel_is_given_a_key_of_the_platforms_own() {
    let world = World::start(reads(), json!({})).await;
    let (one, other) = (
        world.root.path().join("tls.key"),
        world.root.path().join("keys/own"),
    );
    let mut channels = json!({});
    for (name, file) in [("one", &one), ("other", &other)] {
        let mut hook = world.webhook(&format!("{}/letters", world.outside.address));
        std::fs::copy(world.root.path().join("hook.key"), file).unwrap();
        hook["secretRef"]["file"] = json!(file);
        channels[name] = hook;
    }
    world.configure(reads(), channels);
    world.notify("firing", "critical").await;
    let failed = || (world.kinds("incident.delivery_failed").len() == 2).then_some(());
    world.eventually("both failed", failed).await;
    assert_eq!(world.outside.letters.lock().unwrap().len(), 0, "nothing is sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_letter_is_the_same_letter_again_also_after_a_crash() {
    let world = World::start(reads(), json!({})).await;
    let hook = world.webhook(&format!("{}/letters", world.outside.address));
    *world.outside.answers.lock().unwrap() = vec![500, 302];
    world.configure(reads(), json!({"hook": hook}));
    world.notify("firing", "critical").await;
    let failed = |count: usize| (world.kinds("incident.delivery_failed").len() == count).then_some(());
    world.eventually("one failure", || failed(1)).await;
    let world = world.restart().await;
    for count in 2..=3 {
        world.clock.advance(Duration::from_secs(3600));
        let hook = world.webhook(&format!("{}/letters", world.outside.address));
        world.configure(reads(), json!({"hook": hook}));
        if count == 2 {
            world.run().await;
        }
        world
            .eventually("another try", || {
                (world.outside.letters.lock().unwrap().len() == count).then_some(())
            })
            .await;
        world
            .eventually("its record", || {
                (world.kinds("incident.deliver").len() == count).then_some(())
            })
            .await;
    }
    let letters = world.outside.letters.lock().unwrap().clone();
    let told = letters
        .iter()
        .map(|(headers, body)| (headers["x-cofferdam-delivery"].clone(), body.clone()));
    let told: std::collections::HashSet<_> = told.collect();
    assert_eq!(
        (letters.len(), told.len()),
        (3, 1),
        "three tries, one delivery, one text"
    );
    assert_eq!(world.kinds("incident.delivered").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dropped_lets_go_of_the_store() {
    let world = World::start(reads(), json!({"log": {"type": "log"}})).await;
    world.notify("firing", "critical").await;
    world
        .eventually("delivered", || {
            (world.kinds("incident.delivered").len() == 1).then_some(())
        })
        .await;
    assert!(world.triage.heartbeat() <= world.gate.store().clock().monotonic());
    let (gate, triage) = (
        std::sync::Arc::downgrade(&world.gate),
        std::sync::Arc::downgrade(&world.triage),
    );
    drop(world);
    let gone = async {
        while gate.upgrade().is_some() || triage.upgrade().is_some() {
            tokio::task::yield_now().await;
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_secs(20), gone).await.is_ok(),
        "no task keeps it"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_summary_keeps_the_labels_of_the_session_that_made_it() {
    let channels = json!({"log": {"type": "log"}});
    let world = World::start(reads(), json!({})).await;
    world.configure_bringing(json!(["secrets"]), reads(), channels.clone());
    world.notify("firing", "critical").await;
    // Told to a channel by a session of another agent, which is asked about as if it had read all of that.
    let asked = || world.gate.approvals(1).unwrap().pop();
    let approval = world.eventually("asked", asked).await;
    assert_eq!(
        (
            approval.agent.as_str(),
            approval.resource.as_str(),
            approval.reason.as_str()
        ),
        (
            "cofferdam-notifier",
            "channel/log",
            "untrusted input and sensitive data have entered this session, and this changes something"
        )
    );
    let both = policy::Taints::of(&[policy::Taint::Untrusted, policy::Taint::Secrets]);
    assert_eq!(entered(&world, &approval.session), json!(both));
    assert_eq!(world.kinds("incident.deliver"), Vec::<String>::new());
    // Found by whoever looks for incidents like it.
    let search = world.triage.search();
    assert_eq!(
        search.similar("triage", "HighErrors", None, 5).unwrap().taint,
        both
    );
    assert_eq!(
        search
            .similar("triage", "nothing like it", None, 5)
            .unwrap()
            .taint,
        policy::Taints::NONE
    );

    // To wait for a person is no attempt; after the answer it is sent as it was asked about.
    let world = world.restart().await;
    world.configure_bringing(json!(["secrets"]), reads(), channels);
    world.run().await;
    let alice = world.caller(Principal::person("alice"), Role::Approver).await;
    let decided = world
        .gate
        .decide_approval(&alice, &approval.id, Verdict::Approve, "go on");
    decided.await.unwrap();
    world.configure_bringing(json!(["secrets"]), reads(), json!({"log": {"type": "log"}}));
    world.clock.advance(Duration::from_secs(60));
    // A try that was under way while it was decided rests from when it ended, by whatever the clock says then.
    let looks = std::cell::Cell::new(0);
    let delivered = || {
        looks.set(looks.get() + 1);
        if looks.get() % 40 == 0 {
            world.clock.advance(Duration::from_secs(16));
        }
        (!world.kinds("incident.deliver").is_empty()).then_some(())
    };
    world.eventually("delivered", delivered).await;
    assert_eq!(world.kinds("incident.deliver"), ["incident.delivered"]);
}
