//! What a runbook does next, given what came of what it did so far. Pure: performs nothing.
//!
//! A run is replayed by giving a new plan the recorded results in turn: the same runbook, input and
//! results lead to the same steps.

use super::template::{self, Scope};
use super::{OnError, OutputType, Runbook, Step};
use minijinja::Value as Rendered;
use policy::Outcome;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What came of a step, as later templates see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepResult {
    /// `success`, `failure`, `partial`, `uncertain`, `cancelled`, `denied`, `skipped`, `unproposed`.
    pub outcome: String,
    /// Policy or a person said no.
    pub denied: bool,
    /// It was tried, or could not even be proposed, and did not succeed.
    pub failed: bool,
    /// Its `when` was not true.
    pub skipped: bool,
    /// Why, in words.
    pub reason: Option<String>,
    /// What would change a denial.
    pub remedy: Option<String>,
    /// The rule that denied.
    pub rule: Option<String>,
    /// Sequence of the permit or the denial.
    pub entry: Option<u64>,
    /// The result.
    pub output: Value,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Propose this and [`Plan::record`] what came of it.
    Propose {
        /// The step's key.
        key: String,
        /// Which tool.
        tool: String,
        /// Rendered.
        arguments: Value,
    },
    /// Nothing more.
    End(End),
}

/// How a run ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Every step is done.
    Complete,
    /// It ends early, with what there is.
    Stopped(String),
    /// A step that had to succeed did not.
    Failed(String),
}

/// A run of a runbook.
#[derive(Debug)]
pub struct Plan<'a> {
    runbook: &'a Runbook,
    event: Rendered,
    frames: Vec<Frame<'a>>,
    results: BTreeMap<String, Rendered>,
    taken: u32,
    pending: Option<(String, &'a Step)>,
    unproposed: Vec<(String, String)>,
    ended: Option<End>,
}

/// Steps that are gone through: all of the runbook, or those of a loop.
#[derive(Debug)]
struct Frame<'a> {
    steps: &'a [Step],
    next: usize,
    repeat: Option<Repeat<'a>>,
}

#[derive(Debug)]
struct Repeat<'a> {
    step: &'a Step,
    key: String,
    items: Vec<Rendered>,
    index: usize,
    done: Vec<Rendered>,
    truncated: bool,
}

impl StepResult {
    /// A settled call; `entry` is its permit.
    pub fn settled(
        outcome: Outcome,
        output: Value,
        reason: Option<String>,
        entry: Option<u64>,
    ) -> StepResult {
        let word = serde_json::to_value(outcome)
            .ok()
            .and_then(|w| w.as_str().map(str::to_owned))
            .unwrap_or_default();
        let failed = !matches!(outcome, Outcome::Success | Outcome::Partial);
        StepResult {
            failed,
            reason,
            entry,
            output,
            ..StepResult::of(&word)
        }
    }

    /// Policy or a person said no.
    pub fn denied(
        reason: &str,
        remedy: Option<String>,
        rule: Option<String>,
        entry: Option<u64>,
    ) -> StepResult {
        StepResult {
            denied: true,
            reason: Some(reason.to_owned()),
            remedy,
            rule,
            entry,
            ..StepResult::of("denied")
        }
    }

    /// Never became an action: arguments, templates or names were at fault.
    pub fn unproposed(reason: &str) -> StepResult {
        StepResult {
            failed: true,
            reason: Some(reason.to_owned()),
            ..StepResult::of("unproposed")
        }
    }

    fn skipped() -> StepResult {
        StepResult {
            skipped: true,
            ..StepResult::of("skipped")
        }
    }

    fn of(outcome: &str) -> StepResult {
        StepResult {
            outcome: outcome.to_owned(),
            denied: false,
            failed: false,
            skipped: false,
            reason: None,
            remedy: None,
            rule: None,
            entry: None,
            output: Value::Null,
        }
    }
}

impl<'a> Plan<'a> {
    /// At its beginning.
    pub fn new(runbook: &'a Runbook, event: &Value) -> Plan<'a> {
        Plan {
            runbook,
            event: template::from_json(event),
            frames: vec![Frame {
                steps: &runbook.steps,
                next: 0,
                repeat: None,
            }],
            results: BTreeMap::new(),
            taken: 0,
            pending: None,
            unproposed: Vec::new(),
            ended: None,
        }
    }

    /// The next thing to do. The same again until its result is recorded.
    pub fn advance(&mut self) -> Next {
        if let Some((_, step)) = self.pending.take() {
            // Asked again without a result: the step is rendered again.
            self.back(step);
        }
        loop {
            if let Some(end) = &self.ended {
                return Next::End(end.clone());
            }
            let Some(frame) = self.frames.last_mut() else {
                self.ended = Some(End::Complete);
                continue;
            };
            let Some(step) = frame.steps.get(frame.next) else {
                self.close();
                continue;
            };
            frame.next += 1;
            self.taken += 1;
            if self.taken > self.runbook.limits.steps {
                self.ended = Some(End::Stopped(format!(
                    "more than {} steps",
                    self.runbook.limits.steps
                )));
                continue;
            }
            if let Some(next) = self.enter(step) {
                return next;
            }
        }
    }

    /// What came of the step that [`Plan::advance`] gave last.
    pub fn record(&mut self, result: StepResult) {
        if let Some((key, step)) = self.pending.take() {
            self.put(&key, step, result);
        }
    }

    /// Ends the run early.
    pub fn stop(&mut self, reason: &str) {
        self.ended.get_or_insert_with(|| End::Stopped(reason.to_owned()));
    }

    /// Steps that could not be rendered since this was last asked, with the reason.
    pub fn take_unproposed(&mut self) -> Vec<(String, String)> {
        std::mem::take(&mut self.unproposed)
    }

    /// The output as it stands. With `lenient` what cannot be made is null; else it is an error.
    pub fn output(&self, lenient: bool) -> Result<Option<Value>, String> {
        let Some(wanted) = &self.runbook.output else {
            return Ok(None);
        };
        let iterations = self.runbook.limits.iterations as usize;
        let scope = self.scope();
        let members = match wanted {
            Value::Object(members) if !template::makes_a_list(members) => members,
            whole => return template::render(whole, &scope, lenient, iterations).map(Some),
        };
        let mut output = Map::new();
        for (name, member) in members {
            let value = template::render(member, &scope, lenient, iterations);
            let value = value.map_err(|error| format!("output.{name}: {error}"))?;
            let value = match self.runbook.output_types.get(name) {
                Some(wanted) if !wanted.fits(&value) && lenient => Value::Null,
                Some(wanted) if !wanted.fits(&value) => {
                    return Err(format!("output.{name}: is not {}", wanted.word()));
                }
                _ => value,
            };
            output.insert(name.clone(), value);
        }
        Ok(Some(Value::Object(output)))
    }

    fn back(&mut self, step: &Step) {
        if let Some(frame) = self.frames.last_mut() {
            frame.next = frame
                .steps
                .iter()
                .position(|s| s.name == step.name)
                .unwrap_or(frame.next);
            self.taken = self.taken.saturating_sub(1);
        }
    }

    fn enter(&mut self, step: &'a Step) -> Option<Next> {
        let key = self.key(&step.name);
        let scope = self.scope();
        match step
            .when
            .as_ref()
            .map_or(Ok(true), |when| template::condition(when, &scope))
        {
            Ok(true) => (),
            Ok(false) => {
                self.put(&key, step, StepResult::skipped());
                return None;
            }
            Err(error) => return self.refuse(key, step, &format!("when: {error}")),
        }
        if let Some(list) = &step.for_each {
            match template::elements(list, &scope) {
                Ok(items) => self.open(key, step, items),
                Err(error) => return self.refuse(key, step, &format!("forEach: {error}")),
            }
            return None;
        }
        let arguments: Value = step
            .arguments
            .iter()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect::<Map<_, _>>()
            .into();
        match template::render(&arguments, &scope, false, self.runbook.limits.iterations as usize) {
            Ok(arguments) => {
                let tool = step.tool.clone().unwrap_or_default();
                self.pending = Some((key.clone(), step));
                Some(Next::Propose { key, tool, arguments })
            }
            Err(error) => self.refuse(key, step, &format!("arguments: {error}")),
        }
    }

    fn refuse(&mut self, key: String, step: &'a Step, reason: &str) -> Option<Next> {
        self.unproposed.push((key.clone(), reason.to_owned()));
        self.put(&key, step, StepResult::unproposed(reason));
        None
    }

    fn put(&mut self, key: &str, step: &'a Step, result: StepResult) {
        if result.denied || result.failed {
            let how = if result.denied { "was denied" } else { "failed" };
            let reason = format!(
                "step `{key}` {how}: {}",
                result.reason.as_deref().unwrap_or("no reason given")
            );
            // A run that ends already ends for the first reason.
            match (step.on_error, &self.ended) {
                (OnError::Continue, _) | (_, Some(_)) => (),
                (OnError::Stop, None) => self.ended = Some(End::Stopped(reason)),
                (OnError::Fail, None) => self.ended = Some(End::Failed(reason)),
            }
        }
        self.results
            .insert(step.name.clone(), template::from_json(&result));
    }

    fn open(&mut self, key: String, step: &'a Step, mut items: Vec<Rendered>) {
        let limit = self.runbook.limits.iterations as usize;
        let truncated = items.len() > limit;
        items.truncate(limit);
        let next = if items.is_empty() { step.steps.len() } else { 0 };
        let repeat = Repeat {
            step,
            key,
            items,
            index: 0,
            done: Vec::new(),
            truncated,
        };
        self.frames.push(Frame {
            steps: &step.steps,
            next,
            repeat: Some(repeat),
        });
    }

    /// One pass over a frame's steps is over.
    fn close(&mut self) {
        let Some(mut frame) = self.frames.pop() else {
            return;
        };
        let Some(repeat) = &mut frame.repeat else { return };
        if let Some(item) = repeat.items.get(repeat.index) {
            let mut iteration: BTreeMap<String, Rendered> = BTreeMap::new();
            iteration.insert("item".to_owned(), item.clone());
            iteration.insert("index".to_owned(), repeat.index.into());
            for step in frame.steps {
                if let Some(result) = self.results.remove(&step.name) {
                    iteration.insert(step.name.clone(), result);
                }
            }
            repeat.done.push(Rendered::from_pairs(iteration));
            repeat.index += 1;
        }
        if repeat.index < repeat.items.len() {
            frame.next = 0;
            self.frames.push(frame);
            return;
        }
        let mut result = json!(StepResult::of("success"));
        if let Some(result) = result.as_object_mut() {
            result.insert("truncated".to_owned(), json!(repeat.truncated));
        }
        let iterations = (
            "iterations".to_owned(),
            Rendered::from(std::mem::take(&mut repeat.done)),
        );
        let rest = result
            .as_object()
            .into_iter()
            .flatten()
            .map(|(k, v)| (k.clone(), template::from_json(v)));
        self.results.insert(
            repeat.step.name.clone(),
            Rendered::from_pairs(rest.chain([iterations])),
        );
    }

    fn key(&self, name: &str) -> String {
        match self.frames.iter().rev().find_map(|frame| frame.repeat.as_ref()) {
            Some(repeat) => format!("{}/{}/{name}", repeat.key, repeat.index),
            None => name.to_owned(),
        }
    }

    fn scope(&self) -> Scope {
        let steps = Rendered::from_pairs(self.results.iter().map(|(k, v)| (k.clone(), v.clone())));
        let mut scope = vec![
            ("event".to_owned(), self.event.clone()),
            ("steps".to_owned(), steps),
        ];
        let mut repeats = self.frames.iter().rev().filter_map(|frame| frame.repeat.as_ref());
        let place = |repeat: &Repeat<'_>| {
            let item = repeat.items.get(repeat.index).cloned().unwrap_or_default();
            [
                ("item".to_owned(), item),
                ("index".to_owned(), Rendered::from(repeat.index)),
            ]
        };
        if let Some(inner) = repeats.next() {
            scope.extend(place(inner));
        }
        if let Some(outer) = repeats.next() {
            scope.push(("outer".to_owned(), Rendered::from_pairs(place(outer))));
        }
        Scope(scope)
    }
}

impl OutputType {
    fn fits(self, value: &Value) -> bool {
        match self {
            OutputType::String => value.is_string(),
            OutputType::Number => value.is_number(),
            OutputType::Boolean => value.is_boolean(),
            OutputType::Array => value.is_array(),
            OutputType::Object => value.is_object(),
        }
    }

    fn word(self) -> &'static str {
        match self {
            OutputType::String => "a string",
            OutputType::Number => "a number",
            OutputType::Boolean => "a boolean",
            OutputType::Array => "an array",
            OutputType::Object => "an object",
        }
    }
}
