//! What was called since the start, for metrics.

use crate::gate::lock;
use policy::Outcome;
use std::collections::BTreeMap;
use std::sync::Mutex;

/// Calls of one model that ended in one way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// The `Model`.
    pub model: String,
    /// `success`, `failure`, …
    pub outcome: &'static str,
    /// How many.
    pub calls: u64,
    /// Tokens that were read.
    pub tokens_input: u64,
    /// Tokens that were written.
    pub tokens_output: u64,
    /// Millionths of a US dollar.
    pub micros: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counts(Mutex<BTreeMap<(String, &'static str), Counted>>);

impl Counts {
    pub fn add(&self, model: &str, outcome: Outcome, input: u64, output: u64, micros: u64) {
        let outcome = match outcome {
            Outcome::Success => "success",
            Outcome::Failure => "failure",
            Outcome::Partial => "partial",
            Outcome::Uncertain => "uncertain",
            Outcome::Cancelled => "cancelled",
            Outcome::NotStarted => "not_started",
        };
        let mut all = lock(&self.0);
        let counted = all.entry((model.to_owned(), outcome)).or_insert_with(|| Counted {
            model: model.to_owned(),
            outcome,
            ..Counted::default()
        });
        counted.calls += 1;
        counted.tokens_input += input;
        counted.tokens_output += output;
        counted.micros += micros;
    }

    pub fn all(&self) -> Vec<Counted> {
        lock(&self.0).values().cloned().collect()
    }
}
