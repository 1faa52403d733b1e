//! OPA's own cases for Rego, run by the engine that modules run on. The share that passes is printed, and may
//! only rise. Needs `COFFERDAM_CORPORA`; without it the test says so and passes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]
#![expect(clippy::print_stdout, reason = "the pass rate is for people")]

use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, Value};
use serde_json::{Value as Json, json};
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Cases that pass. What does not is mostly a function that modules may not call at all.
const REGO_PASS_MIN: usize = 1560;
/// Longest that one case may take; none of those that pass comes near it.
const CASE_MAX: Duration = Duration::from_secs(5);

#[test]
fn cases_of_opa_pass_as_often_as_before() {
    let Some(corpora) = std::env::var_os("COFFERDAM_CORPORA") else {
        println!("skipped: COFFERDAM_CORPORA is not set");
        return;
    };
    let archive = Path::new(&corpora).join("rego-opa-testcases/cases.tar.gz");
    let directory = tempfile::tempdir().unwrap();
    let unpacked = Command::new("tar")
        .arg("xzf")
        .arg(&archive)
        .arg("-C")
        .arg(directory.path())
        .arg("slim")
        .status();
    assert!(unpacked.unwrap().success());
    // The engine goes down the stack with what it parses.
    let root = directory.path().to_owned();
    let run = std::thread::Builder::new()
        .stack_size(64 * 1024 * 1024)
        .spawn(move || count(&root));
    let (passed, all) = run.unwrap().join().unwrap();
    println!(
        "rego: {passed} of {all} cases of OPA pass ({:.1} %)",
        100.0 * passed as f64 / all as f64
    );
    assert!(passed >= REGO_PASS_MIN, "{passed} pass, and {REGO_PASS_MIN} did");
}

fn count(root: &Path) -> (usize, usize) {
    let (mut passed, mut all) = (0, 0);
    for file in files(root) {
        let text = std::fs::read_to_string(&file).unwrap();
        let cases: Json = serde_json::from_str(&text).unwrap();
        for case in cases.get("cases").and_then(Json::as_array).into_iter().flatten() {
            all += 1;
            passed += usize::from(catch_unwind(AssertUnwindSafe(|| passes(case))).unwrap_or(false));
        }
    }
    (passed, all)
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "json") {
            found.push(path);
        }
    }
    found
}

fn passes(case: &Json) -> bool {
    let wants_error = case.get("want_error").is_some() || case.get("want_error_code").is_some();
    match (results(case), wants_error) {
        (Err(_), wanted) => wanted,
        (Ok(_), true) => false,
        (Ok(mut found), false) => {
            let mut wanted = case
                .get("want_result")
                .and_then(Json::as_array)
                .cloned()
                .unwrap_or_default();
            found.sort_by_key(Json::to_string);
            wanted.sort_by_key(Json::to_string);
            found == wanted
        }
    }
}

fn results(case: &Json) -> anyhow::Result<Vec<Json>> {
    let mut engine = Engine::new();
    engine.set_execution_timer_config(ExecutionTimerConfig {
        limit: CASE_MAX,
        check_interval: NonZeroU32::new(1000).unwrap(),
    });
    engine.set_strict_builtin_errors(case.get("strict_error") == Some(&json!(true)));
    let modules = case.get("modules").and_then(Json::as_array).into_iter().flatten();
    for (n, module) in modules.enumerate() {
        engine.add_policy(
            format!("{n}.rego"),
            module.as_str().unwrap_or_default().to_owned(),
        )?;
    }
    if let Some(data) = case.get("data") {
        engine.add_data(Value::from(data.clone()))?;
    }
    if let Some(input) = case.get("input") {
        engine.set_input(Value::from(input.clone()));
    }
    if let Some(term) = case.get("input_term").and_then(Json::as_str) {
        let found = Engine::new().eval_query(term.to_owned(), false)?;
        let value = found.result.first().and_then(|result| result.expressions.first());
        engine.set_input(value.map_or(Value::Undefined, |expression| expression.value.clone()));
    }
    let query = case.get("query").and_then(Json::as_str).unwrap_or_default();
    let found = engine.eval_query(query.to_owned(), false)?.result;
    found
        .into_iter()
        .map(|result| Ok(serde_json::to_value(&result.bindings)?))
        .collect()
}
