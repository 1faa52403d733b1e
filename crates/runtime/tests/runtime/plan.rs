//! Runbooks, planned without doing anything: a table of results leads to a list of steps and an end.

use policy::Outcome;
use runtime::runbook::{End, Next, Plan, Runbook, StepResult};
use serde_json::{Value, json};

/// Plays `runbook`; `answer` says what came of each step. Gives keys with arguments, and the end.
fn play(
    runbook: &Value,
    event: &Value,
    answer: impl Fn(&str) -> StepResult,
) -> (Vec<String>, End, Option<Value>) {
    let runbook: Runbook = serde_json::from_value(runbook.clone()).unwrap();
    runbook.validate().unwrap();
    let mut plan = Plan::new(&runbook, event);
    let mut taken = Vec::new();
    loop {
        match plan.advance() {
            Next::Propose { key, tool, arguments } => {
                taken.push(format!("{key} {tool} {arguments}"));
                plan.record(answer(&key));
            }
            Next::End(end) => return (taken, end, plan.output(true).unwrap()),
        }
    }
}

fn ok(output: Value) -> StepResult {
    StepResult::settled(Outcome::Success, output, None, Some(7))
}

fn step(name: &str, arguments: Value) -> Value {
    json!({"name": name, "tool": "t", "arguments": arguments})
}

#[test]
fn steps_see_the_event_and_earlier_results() {
    let runbook = json!({
        "steps": [step("a", json!({"q": "{{ event.name }}"})), step("b", json!({"n": "{{ steps.a.output.n + 1 }}"}))],
        "output": {"n": "{{ steps.b.output.n }}", "entry": "{{ steps.b.entry }}", "gone": "{{ steps.c.output }}"},
        "outputTypes": {"n": "number"},
    });
    let (taken, end, output) = play(&runbook, &json!({"name": "x"}), |key| ok(json!({"n": key.len()})));
    assert_eq!(taken, [r#"a t {"q":"x"}"#, r#"b t {"n":2}"#]);
    assert_eq!(end, End::Complete);
    assert_eq!(output, Some(json!({"n": 1, "entry": 7, "gone": null})));
}

#[test]
fn what_a_bad_step_leads_to_is_said_by_on_error() {
    let denied = || StepResult::denied("read-only", Some("raise the level".into()), None, Some(9));
    let failed = || StepResult::settled(Outcome::Failure, json!(null), Some("refused".into()), Some(9));
    #[rustfmt::skip]
    let table = [
        ("fail",     denied(), 1, End::Failed("step `a` was denied: read-only".into())),
        ("stop",     denied(), 1, End::Stopped("step `a` was denied: read-only".into())),
        ("continue", denied(), 2, End::Complete),
        ("fail",     failed(), 1, End::Failed("step `a` failed: refused".into())),
        ("continue", failed(), 2, End::Complete),
        ("fail",     StepResult::unproposed("no tool"), 1, End::Failed("step `a` failed: no tool".into())),
    ];
    for (on_error, result, steps, expected) in table {
        let mut first = step("a", json!({}));
        first["onError"] = json!(on_error);
        let seen = "{{ steps.a.denied }} {{ steps.a.failed }} {{ steps.a.reason }} {{ steps.a.remedy }} {{ steps.a.entry }}";
        let runbook = json!({"steps": [first, step("b", json!({"seen": seen}))]});
        let (taken, end, _) = play(&runbook, &json!({}), |key| {
            if key == "a" { result.clone() } else { ok(json!(1)) }
        });
        assert_eq!((taken.len(), end), (steps, expected), "{on_error}");
        if result.denied && steps == 2 {
            assert_eq!(
                taken[1],
                r#"b t {"seen":"true false read-only raise the level 9"}"#
            );
        }
    }
}

#[test]
fn loops_run_once_for_each_element_and_keep_what_came_of_it() {
    let inner = json!({"name": "in", "tool": "t", "arguments": {"i": "{{ item }}", "n": "{{ index }}"}});
    let twice = json!({"name": "dip", "tool": "t", "arguments": {"of": "{{ steps.in.output }}"}, "when": "index == 1"});
    let runbook = json!({
        "steps": [{"name": "each", "forEach": "event.list", "steps": [inner, twice]}],
        "limits": {"iterations": 2},
        "output": {
            "all": {"forEach": "steps.each.iterations", "value": "{{ item.in.output }}"},
            "skipped": "{{ steps.each.iterations[0].dip.skipped }}",
            "cut": "{{ steps.each.truncated }}",
        },
    });
    let (taken, end, output) = play(&runbook, &json!({"list": ["x", "y", "z"]}), |key| ok(json!(key)));
    assert_eq!(
        taken,
        [
            r#"each/0/in t {"i":"x","n":0}"#,
            r#"each/1/in t {"i":"y","n":1}"#,
            r#"each/1/dip t {"of":"each/1/in"}"#,
        ]
    );
    assert_eq!(end, End::Complete);
    assert_eq!(
        output,
        Some(json!({"all": ["each/0/in", "each/1/in"], "skipped": true, "cut": true}))
    );
}

#[test]
fn a_loop_in_a_loop_sees_the_outer_one() {
    let inner = json!({"name": "in", "tool": "t", "arguments": {"p": "{{ outer.item.n }}.{{ item }}"}});
    let runbook = json!({"steps": [{"name": "a", "forEach": "event.list", "steps": [
        {"name": "b", "forEach": "item.l", "steps": [inner]}]}]});
    let event = json!({"list": [{"n": 1, "l": [5]}, {"n": 2, "l": []}, {"n": 3, "l": [6, 7]}]});
    let (taken, _, _) = play(&runbook, &event, |_| ok(json!(null)));
    assert_eq!(
        taken,
        [
            r#"a/0/b/0/in t {"p":"1.5"}"#,
            r#"a/2/b/0/in t {"p":"3.6"}"#,
            r#"a/2/b/1/in t {"p":"3.7"}"#,
        ]
    );
}

#[test]
fn templates_that_fail_are_failed_steps() {
    let runbook: Runbook = serde_json::from_value(json!({"steps": [
        {"name": "a", "tool": "t", "arguments": {"x": "{{ event.none }}"}, "onError": "continue"},
        {"name": "b", "tool": "t", "when": "event.none.x", "onError": "continue"},
        {"name": "c", "forEach": "event.n", "steps": [{"name": "d", "tool": "t"}], "onError": "continue"},
    ]}))
    .unwrap();
    let mut plan = Plan::new(&runbook, &json!({"n": 1}));
    assert_eq!(plan.advance(), Next::End(End::Complete));
    let said: Vec<String> = plan
        .take_unproposed()
        .into_iter()
        .map(|(key, reason)| format!("{key} {reason}"))
        .collect();
    assert_eq!(
        said,
        [
            "a arguments: `event.none` is not there",
            "b when: `event.none.x`: undefined value",
            "c forEach: `event.n` is not a list",
        ]
    );
}

#[test]
fn limits_end_a_run_with_what_there_is() {
    let runbook = json!({
        "steps": [{"name": "each", "forEach": "event.list", "steps": [step("in", json!({}))]}],
        "limits": {"steps": 3},
    });
    let (taken, end, _) = play(&runbook, &json!({"list": [1, 2, 3, 4]}), |_| ok(json!(1)));
    assert_eq!(
        (taken.len(), end),
        (2, End::Stopped("more than 3 steps".to_owned()))
    );
}

#[test]
fn asking_again_without_a_result_gives_the_same_step() {
    let runbook: Runbook = serde_json::from_value(json!({"steps": [
        {"name": "each", "forEach": "event.list", "steps": [step("a", json!({})), step("b", json!({}))]}]}))
    .unwrap();
    let mut plan = Plan::new(&runbook, &json!({"list": [1]}));
    let first = plan.advance();
    assert_eq!(plan.advance(), first);
    plan.record(ok(json!(1)));
    assert_ne!(plan.advance(), first);
}

#[test]
fn an_output_is_strict_at_the_end_and_lenient_before() {
    let runbook: Runbook = serde_json::from_value(json!({
        "steps": [step("a", json!({}))],
        "output": {"text": "{{ steps.a.output }}", "list": ["{{ steps.a.output }}", "kept"]},
        "outputTypes": {"text": "string"},
    }))
    .unwrap();
    let mut plan = Plan::new(&runbook, &json!({}));
    assert_eq!(
        plan.output(true),
        Ok(Some(json!({"text": null, "list": [null, "kept"]})))
    );
    plan.advance();
    plan.record(ok(json!(5)));
    assert_eq!(plan.output(false), Err("output.text: is not a string".to_owned()));
    assert_eq!(
        plan.output(true),
        Ok(Some(json!({"text": null, "list": [5, "kept"]})))
    );
}
