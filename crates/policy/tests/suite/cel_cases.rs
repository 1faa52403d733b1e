//! CEL's own conformance cases, run twice: by the engine that conditions run on, and as conditions of rules.
//! The share that the engine passes is printed, and may only rise; a condition that loads never means other
//! than CEL says. Needs `COFFERDAM_CORPORA`; without it the tests say so and pass.

#![expect(clippy::print_stdout, reason = "the pass rate is for people")]

mod textproto;
mod values;

use crate::conditions::judge;
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use cel::parser::PrattParser;
use cel::{Context, Env, Value};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use textproto::Message;

/// Cases that the engine passes.
const CEL_PASS_MIN: usize = 985;
/// Conditions that load, and mean what the case says.
const RULES_PASS_MIN: usize = 486;
/// Longest that one case may take; none of them comes near it.
const CASE_MAX: Duration = Duration::from_secs(10);
/// As rules have it.
const DEPTH_MAX: u16 = 32;

/// What a test may say. The reader knows no schema, and so a new field would be passed over.
const FIELDS: [&str; 14] = [
    "name",
    "description",
    "expr",
    "disable_macros",
    "disable_check",
    "check_only",
    "type_env",
    "container",
    "locale",
    "bindings",
    "value",
    "typed_result",
    "eval_error",
    "any_eval_errors",
];

/// As the rules' own, but for what they add to it.
static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

#[derive(Clone)]
struct Case {
    file: String,
    name: String,
    test: Message,
}

/// What became of a case.
enum Verdict {
    Passed,
    Failed(String),
    Skipped(&'static str),
    /// The engine panicked or did not end.
    Broke(&'static str),
}

#[derive(Default)]
struct Tally {
    /// By file: passed, failed, skipped.
    files: BTreeMap<String, [usize; 3]>,
    skipped: BTreeMap<&'static str, usize>,
    failed: Vec<String>,
    broke: Vec<String>,
}

#[test]
fn cases_of_cel_pass_as_often_as_before() {
    let Some(cases) = cases() else { return };
    let tally = tally(cases, by_engine);
    let passed = tally.print("cel");
    assert_eq!(tally.broke, Vec::<String>::new());
    assert!(passed >= CEL_PASS_MIN, "{passed} pass, and {CEL_PASS_MIN} did");
}

#[test]
fn a_condition_that_loads_means_what_cel_says() {
    let Some(cases) = cases() else { return };
    let tally = tally(cases, by_rule);
    let passed = tally.print("conditions");
    assert_eq!((&tally.broke, &tally.failed), (&Vec::new(), &Vec::new()));
    assert!(
        passed >= RULES_PASS_MIN,
        "{passed} pass, and {RULES_PASS_MIN} did"
    );
}

/// All cases, or none when there are no corpora.
fn cases() -> Option<Vec<Case>> {
    let Some(corpora) = std::env::var_os("COFFERDAM_CORPORA") else {
        println!("skipped: COFFERDAM_CORPORA is not set");
        return None;
    };
    let directory = Path::new(&corpora).join("cel-conformance/tests/simple/testdata");
    let mut all = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "textproto") {
            continue;
        }
        let file = path.file_stem().unwrap().to_string_lossy().into_owned();
        let source = std::fs::read_to_string(&path).unwrap();
        let read = textproto::read(&source).map_err(|error| format!("{file}: {error}"));
        let read = read.unwrap();
        for section in read.messages("section") {
            for test in section.messages("test") {
                let name = format!("{file}/{}/{}", section.text("name"), test.text("name"));
                let unknown = test.fields().find(|(field, _)| !FIELDS.contains(field));
                assert!(unknown.is_none(), "{name}: {unknown:?}");
                assert!(test.has("expr"), "{name}");
                all.push(Case {
                    file: file.clone(),
                    name,
                    test: test.clone(),
                });
            }
        }
    }
    Some(all)
}

fn tally(cases: Vec<Case>, judged: fn(&Case) -> Verdict) -> Tally {
    let mut tally = Tally::default();
    for case in cases {
        let counts = tally.files.entry(case.file.clone()).or_default();
        let [passed, failed, skipped] = counts;
        let name = case.name.clone();
        match guarded(case, judged) {
            Verdict::Passed => *passed += 1,
            Verdict::Failed(how) => {
                *failed += 1;
                tally.failed.push(format!("{name}: {how}"));
            }
            Verdict::Skipped(why) => {
                *skipped += 1;
                *tally.skipped.entry(why).or_default() += 1;
            }
            Verdict::Broke(how) => {
                *failed += 1;
                tally.broke.push(format!("{name}: {how}"));
            }
        }
    }
    tally
}

/// On a thread of its own, which may panic or not end.
fn guarded(case: Case, judged: fn(&Case) -> Verdict) -> Verdict {
    let (tell, told) = channel();
    std::thread::spawn(move || tell.send(judged(&case)));
    match told.recv_timeout(CASE_MAX) {
        Ok(verdict) => verdict,
        Err(RecvTimeoutError::Disconnected) => Verdict::Broke("panicked"),
        Err(RecvTimeoutError::Timeout) => Verdict::Broke("did not end"),
    }
}

impl Tally {
    /// Prints all of it; how many passed.
    fn print(&self, what: &str) -> usize {
        let mut all = [0; 3];
        for (file, counts) in &self.files {
            let [passed, failed, skipped] = counts;
            println!("{what}: {file}: {passed} passed, {failed} failed, {skipped} skipped");
            all.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        for (why, count) in &self.skipped {
            println!("{what}: {count} skipped: {why}");
        }
        for case in self.failed.iter().chain(&self.broke) {
            println!("{what}: failed: {case}");
        }
        let [passed, failed, skipped] = all;
        let share = 100.0 * passed as f64 / (passed + failed).max(1) as f64;
        println!("{what}: {passed} passed, {failed} failed, {skipped} skipped ({share:.1} % of those run)");
        passed
    }
}

impl Case {
    /// The text of the value that is wanted; `None` when an error is.
    fn wanted(&self) -> Result<Option<String>, String> {
        let error = self.test.has("eval_error") || self.test.has("any_eval_errors");
        let typed = self
            .test
            .messages("typed_result")
            .flat_map(|typed| typed.messages("result"));
        match self.test.messages("value").chain(typed).next() {
            _ if error => Ok(None),
            Some(value) => values::value(value).map(|value| Some(values::shown(&*value))),
            None => Ok(Some("true".to_owned())),
        }
    }

    fn bindings(&self) -> Result<Bindings, String> {
        let mut bound = HashMap::new();
        for binding in self.test.messages("bindings") {
            let value = binding
                .messages("value")
                .flat_map(|value| value.messages("value"))
                .next();
            let value = value.ok_or("a binding that is no value")?;
            bound.insert(binding.text("key"), values::value(value)?);
        }
        Ok(Bindings(bound))
    }

    /// Why the engine as we build it cannot be asked.
    fn beyond(&self) -> Option<&'static str> {
        let source = self.test.text("expr");
        let speaks_of = |words: &[&str]| words.iter().any(|word| source.contains(word));
        let container = self.test.text("container");
        let extension = self.file.ends_with("_ext") || matches!(self.file.as_str(), "optionals" | "macros2");
        if extension {
            Some("an extension library")
        } else if container.starts_with("cel.expr.conformance")
            || speaks_of(&["TestAllTypes", "google.protobuf.", "cel.expr."])
        {
            Some("messages of protocol buffers")
        } else if self.test.has("check_only") || self.test.has("typed_result") {
            Some("types that only a checker deduces")
        } else if !container.is_empty() {
            Some("names in a container")
        } else if speaks_of(&["timestamp(", "duration("]) {
            Some("times and durations, which the engine is built without")
        } else if speaks_of(&["matches("]) {
            Some("regular expressions, which rules bring of their own")
        } else {
            None
        }
    }
}

/// Variables, given as rules give them.
struct Bindings(HashMap<String, Box<dyn Val>>);

impl VariableResolver for Bindings {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        self.0.get(variable).map(|value| CowVal::Borrowed(&**value))
    }
}

fn by_engine(case: &Case) -> Verdict {
    if let Some(why) = case.beyond() {
        return Verdict::Skipped(why);
    }
    let (Ok(wanted), Ok(bindings)) = (case.wanted(), case.bindings()) else {
        return Verdict::Skipped("messages of protocol buffers");
    };
    let parser = PrattParser::new().max_recursion_depth(DEPTH_MAX);
    let parsed = parser
        .parse(&case.test.text("expr"))
        .map_err(|error| error.to_string());
    if parsed
        .as_ref()
        .is_err_and(|error| error.contains("recursion limit"))
    {
        return Verdict::Skipped("nested deeper than a condition may be");
    }
    let mut variables = Context::with_env(Arc::clone(&ENVIRONMENT));
    variables.set_variable_resolver(&bindings);
    let found = parsed.and_then(|expression| {
        let value = Value::resolve_val(&expression, &variables).map_err(|error| error.to_string())?;
        Ok(values::shown(&*value))
    });
    match (found, wanted) {
        (Err(_), None) => Verdict::Passed,
        (Ok(found), Some(wanted)) if found == wanted => Verdict::Passed,
        (found, wanted) => Verdict::Failed(format!("{found:?}, not {wanted:?}")),
    }
}

/// As the condition of a rule that forbids.
fn by_rule(case: &Case) -> Verdict {
    if case.test.has("check_only") {
        return Verdict::Skipped("types that only a checker deduces");
    }
    let found = judge("when", &case.test.text("expr"));
    if found.starts_with("refused: ") {
        return Verdict::Skipped("refused when it is loaded");
    }
    let passed = match case.wanted() {
        Ok(Some(wanted)) if matches!(wanted.as_str(), "true" | "false") => found == wanted,
        Ok(Some(_)) | Err(_) => found.starts_with("broken: condition is a "),
        Ok(None) => found.starts_with("broken: "),
    };
    match passed {
        true => Verdict::Passed,
        false => Verdict::Failed(format!("{found}, not {:?}", case.wanted())),
    }
}
