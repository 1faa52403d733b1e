//! Runbooks: steps written down. Deterministic; needs no model.
//!
//! Texts in `arguments`, `when`, `forEach` and `output` are minijinja templates over `event` (the
//! session's input), `steps.NAME` (earlier results: `.output`, `.outcome`, `.entry`, `.denied`,
//! `.failed`, `.skipped`, `.reason`, `.remedy`), `item`, `index` and `outer` (the `item` and `index` of
//! the loop around) inside a loop. A text that is one expression and nothing else
//! (`"{{ steps.a.output.values }}"`) keeps its type.
//!
//! A step's key is `NAME`, inside a loop `LOOP/INDEX/NAME`. Inside a loop `steps.NAME` is the step of the
//! same iteration; after it `steps.LOOP.iterations` is a list of `{item, index, NAME…}`, and
//! `steps.LOOP.truncated` tells whether elements were left out. In `output`,
//! `{forEach: LIST, when: CONDITION, value: …}` makes a list from a list.
//!
//! Filters besides those of minijinja: `truncate(n)`, `plus_minutes(n)`, `minutes_before(later)`,
//! `urlencode`. Not there are `format`, `indent`, `batch` and `slice`. Text of the outside becomes part of
//! a query through `tojson` (with its quotes) and part of a URL through `urlencode`.

mod plan;
mod template;
mod validate;

pub use plan::{End, Next, Plan, StepResult};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// A runbook.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Runbook {
    /// In order.
    pub steps: Vec<Step>,
    /// The session's result: a value with templates in it. Its JSON type is checked against `outputTypes`.
    #[serde(default)]
    pub output: Option<Value>,
    /// Name of a top-level key of `output` to `string`, `number`, `boolean`, `array`, `object`.
    #[serde(default)]
    pub output_types: BTreeMap<String, OutputType>,
    /// Limits.
    #[serde(default)]
    pub limits: Limits,
}

/// Limits of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Limits {
    /// Seconds, waiting for people not counted. Default 300 (triage: S2-9.7.4e).
    pub time_box_seconds: u32,
    /// Iterations of one loop. Default 50.
    pub iterations: u32,
    /// Steps in all, loops unrolled. Default 200.
    pub steps: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            time_box_seconds: 300,
            iterations: 50,
            steps: 200,
        }
    }
}

/// A JSON type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "each name is the documentation of its value")]
pub enum OutputType {
    String,
    Number,
    Boolean,
    Array,
    Object,
}

/// One step: a tool call, or a loop over inner steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Step {
    /// Unique in the runbook; `[a-z][a-z0-9_]*`.
    pub name: String,
    /// For people, shown as it runs.
    #[serde(default)]
    pub title: String,
    /// A verb.
    #[serde(default)]
    pub tool: Option<String>,
    /// Arguments, with templates.
    #[serde(default)]
    pub arguments: BTreeMap<String, Value>,
    /// Runs only if this expression is true.
    #[serde(default)]
    pub when: Option<String>,
    /// Runs once for each element of this expression's value.
    #[serde(default)]
    pub for_each: Option<String>,
    /// Inner steps of a loop.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// What follows when it is denied or fails.
    #[serde(default)]
    pub on_error: OnError,
}

/// What follows when a step is denied or fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// The session fails.
    #[default]
    Fail,
    /// The next step runs and can see what happened.
    Continue,
    /// The run ends here, with what there is.
    Stop,
}
