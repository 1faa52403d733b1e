//! What becomes of outputs and calls of all shapes.

use super::*;
use crate::incident::{IncidentView, Severity, Status};
use policy::Idempotence;
use proptest::prelude::*;
use serde_json::json;

const ONSET: &str = "2026-11-21T10:00:00Z";

fn record() -> Record {
    let onset = Timestamp::parse(ONSET).unwrap();
    Record {
        view: IncidentView {
            id: "INC-2026-1121-002".to_owned(),
            severity: Severity::Critical,
            status: Status::Investigating,
            title: "HighErrors: 5xx".to_owned(),
            triggered_by: "alert/HighErrors/patient:8080".to_owned(),
            trigger: "alerts".to_owned(),
            group_key: "g".to_owned(),
            fingerprints: Vec::new(),
            opened: onset.plus_ms(30_000),
            updated: onset,
            resolved: None,
            repeats: 0,
            sessions: vec!["ses-40".to_owned()],
            summary: Value::Null,
            resolution: None,
        },
        entry: 30,
        told: 30,
        notification: 30,
        repeated: None,
        firing: BTreeSet::new(),
        relations: BTreeSet::new(),
        labels: String::new(),
        onset: Some(onset),
        moved: None,
        concluded: None,
        triaged: None,
        before: None,
        taint: policy::Taints::NONE,
    }
}

/// A call that was permitted by entry `permit` and settled by the next one.
fn call(verb: &str, permit: u64, outcome: Outcome, summary: &str) -> CallView {
    CallView {
        session: "ses-40".to_owned(),
        step: format!("steps/{permit}"),
        state: Call::Settled,
        first: permit,
        attempts: 1,
        verb: verb.to_owned(),
        resource: "repository/patient".to_owned(),
        effect: if verb == "git.propose" {
            Effect::Write
        } else {
            Effect::Read
        },
        environment: "production".to_owned(),
        idempotence: Idempotence::Idempotent,
        decision: "permit".to_owned(),
        reason: String::new(),
        rule: None,
        remedy: None,
        approval: None,
        permit: Some(permit),
        settled: Some(permit + 1),
        outcome: Some(outcome),
        summary: Some(summary.to_owned()),
        may_bring: policy::Taints::NONE,
        resolved_by: Vec::new(),
    }
}

fn denied() -> CallView {
    let settled = call("git.propose", 50, Outcome::Success, "");
    CallView {
        state: Call::Denied,
        permit: None,
        settled: None,
        outcome: None,
        summary: None,
        ..settled
    }
}

fn of(calls: &[(CallView, Option<Value>)], output: Option<&Value>, state: Session) -> Summary {
    let run = Run {
        session: "ses-40",
        state,
        reason: Some("time box"),
        calls,
        output,
        partial: false,
    };
    compose(&record(), &run, Timestamp::from_ms(0))
}

fn calls() -> Vec<(CallView, Option<Value>)> {
    let commits = json!({"commits": [
        {"commit": "aaa", "author": "ann", "title": "Old", "time": "2026-11-21T08:00:00Z"},
        {"commit": "bbb", "author": "bob", "title": "Break it", "time": "2026-11-21T09:57:00Z"},
        {"commit": "ccc", "author": "cem", "title": "Too late", "time": "2026-11-21T10:01:00Z"},
        {"commit": "ddd", "author": "dot", "title": "No time"},
    ]});
    let incidents =
        json!({"incidents": [{"id": "INC-2026-1120-001", "title": "HighErrors", "resolution": "reverted"}]});
    vec![
        (
            call("prometheus.query", 41, Outcome::Success, "1 series"),
            Some(json!({"result": []})),
        ),
        (call("git.log", 43, Outcome::Success, "4 commits"), Some(commits)),
        (
            call("incidents.search", 45, Outcome::Success, "1 similar incidents"),
            Some(incidents),
        ),
        (call("http.get", 47, Outcome::Failure, "no connection"), None),
        (denied(), None),
    ]
}

#[test]
fn what_the_runbook_says_is_kept_when_it_cites_its_own_entries() {
    let output = json!({
        "summary": "Errors since bbb",
        "observations": [
            {"text": "ratio 0.2", "entry": 42},
            {"text": "by its permit", "entry": 41},
            {"text": "of nowhere", "entry": 7},
            {"text": "of a refused step", "entry": 50},
            {"text": "uncited"},
            {"entry": 42},
        ],
        "changes": [{"commit": "bbb", "author": {"name": "bob"}, "title": "Break it", "at": "2026-11-21T11:57:00+02:00", "entry": 44}],
        "similar": [{"id": "INC-2026-1120-001", "title": "HighErrors", "resolution": null, "entry": 46}],
        "suggestions": ["revert bbb", 7, "password=hunter2"],
        "something": "else",
    });
    let got = of(&calls(), Some(&output), Session::Completed);
    assert_eq!(got.summary, "Errors since bbb");
    let seen: Vec<_> = got
        .observations
        .iter()
        .map(|seen| (seen.text.as_str(), seen.entry))
        .collect();
    assert_eq!(seen, [("ratio 0.2", 42), ("by its permit", 41)]);
    assert_eq!(got.uncited, 3);
    let change = &got.changes[0];
    assert_eq!(
        (change.author.as_str(), change.before_onset_seconds, change.entry),
        ("bob", 180, 44)
    );
    assert_eq!(got.similar_incidents[0].resolution, None);
    assert_eq!(got.suggested_actions, ["revert bbb", "password=[REDACTED]"]);
    assert!(!got.partial);
}

#[test]
fn a_runbook_that_says_nothing_gives_what_was_recorded() {
    for output in [
        None,
        Some(json!(null)),
        Some(json!("text")),
        Some(json!({"observations": "none", "changes": {}})),
    ] {
        let got = of(&calls(), output.as_ref(), Session::Failed);
        assert_eq!(
            got.summary,
            "HighErrors: 5xx. 3 actions recorded, 1 refused; the investigation failed: time box"
        );
        let seen: Vec<_> = got
            .observations
            .iter()
            .map(|seen| (seen.text.as_str(), seen.entry))
            .collect();
        assert_eq!(
            seen,
            [
                ("prometheus.query repository/patient: 1 series", 42),
                ("git.log repository/patient: 4 commits", 44),
                ("incidents.search repository/patient: 1 similar incidents", 46),
            ]
        );
        let changes: Vec<_> = got
            .changes
            .iter()
            .map(|c| (c.commit.as_str(), c.before_onset_seconds, c.entry))
            .collect();
        assert_eq!(
            changes,
            [("bbb", 180, 44), ("aaa", 7200, 44), ("ccc", -60, 44)],
            "the most likely first"
        );
        assert_eq!(got.similar_incidents[0].resolution.as_deref(), Some("reverted"));
        assert_eq!((got.partial, got.uncited), (true, 0));
    }
}

#[test]
fn a_session_without_calls_gives_a_summary_too() {
    let got = of(&[], None, Session::Cancelled);
    assert_eq!(
        got.summary,
        "HighErrors: 5xx. 0 actions recorded, 0 refused; the investigation was cancelled: time box"
    );
    assert!(got.partial && got.observations.is_empty() && got.changes.is_empty());
}

#[test]
fn resolutions_tell_what_was_done_and_who_approved() {
    let approved = CallView {
        approval: Some("apr-9".to_owned()),
        ..call("git.propose", 51, Outcome::Success, "revert-bbb at eee")
    };
    let failed = call("git.propose", 53, Outcome::Failure, "no such branch");
    let by = |approval: &str| (approval == "apr-9").then(|| "person:alice".to_owned());
    let read = call("git.log", 41, Outcome::Success, "4 commits");
    assert_eq!(
        resolution(&[read.clone(), approved, failed.clone(), denied()], by).as_deref(),
        Some("git.propose repository/patient: revert-bbb at eee by approval of person:alice")
    );
    assert_eq!(resolution(&[read, failed, denied()], by), None);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (38u64..55).prop_map(Value::from),
        "[a-z<>\\u{202e}]{0,8}".prop_map(Value::from),
        Just(json!("2026-11-21T09:00:00Z")),
    ];
    let names = prop::sample::select(vec![
        "summary",
        "observations",
        "changes",
        "similar",
        "suggestions",
        "text",
        "entry",
        "commit",
        "at",
        "author",
        "id",
        "title",
        "resolution",
        "commits",
        "incidents",
    ]);
    leaf.prop_recursive(4, 60, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(names.clone().prop_map(str::to_owned), inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_comes_out_every_statement_cites_a_permitted_action(output in any_json(), result in any_json()) {
        let mut calls = calls();
        calls.push((call("git.log", 61, Outcome::Success, "more"), Some(result)));
        let got = of(&calls, Some(&output), Session::Completed);
        let allowed: Vec<u64> = vec![41, 42, 43, 44, 45, 46, 47, 48, 61, 62];
        let cited = got.observations.iter().map(|seen| seen.entry)
            .chain(got.changes.iter().map(|change| change.entry))
            .chain(got.similar_incidents.iter().map(|one| one.entry));
        for entry in cited {
            prop_assert!(allowed.contains(&entry), "{entry}");
        }
        prop_assert!(!got.summary.is_empty());
        let hidden = serde_json::to_string(&got).unwrap().contains('\u{202e}');
        prop_assert!(!hidden);
    }
}
