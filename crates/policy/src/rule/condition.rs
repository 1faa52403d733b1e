//! One condition: CEL, compiled and bounded when it is loaded, evaluated with the facts of a decision.

use super::bounds::Bounds;
use super::constants::Constants;
use super::dialect;
use super::facts::{Facts, Seen};
use crate::guard::guarded;
use cel::common::ast::IdedExpr;
use cel::common::types::CelBool;
use cel::parser::PrattParser;
use cel::{ExecutionError, Value};

/// Longest source, in bytes.
const SOURCE_BYTES_MAX: usize = 4096;
/// Deepest nesting of parentheses, lists and arguments.
const DEPTH_MAX: u16 = 32;
/// Most values in the arguments of an action that a condition may loop over.
const LOOPED_NODES_MAX: usize = 4096;

/// A compiled condition.
#[derive(Debug)]
pub(super) struct Condition {
    expression: IdedExpr,
    /// As compiled, to tell its own words from those of the arguments.
    source: String,
    loops: bool,
    of_agent: bool,
    of_count: bool,
}

impl Condition {
    /// Compiles CEL.
    pub(super) fn from_cel(source: &str, constants: &mut Constants) -> Result<Condition, String> {
        within_limit(source)?;
        compile(source, constants)
    }

    /// Compiles the dialect of the source documents.
    pub(super) fn from_dialect(source: &str, constants: &mut Constants) -> Result<Condition, String> {
        within_limit(source)?;
        compile(&dialect::to_cel(source)?, constants)
    }

    /// Whether it speaks of how many actions the session had.
    pub(super) fn of_count(&self) -> bool {
        self.of_count
    }

    /// Whether it is true; an error when it has no truth value. One that speaks of `agent` is asked about
    /// each agent of the chain, and is true when it is of any, or with `of_all` of every one. The error's
    /// text holds nothing of the arguments.
    pub(super) fn holds(&self, facts: &Facts<'_>, of_all: bool) -> Result<bool, String> {
        let asked = if self.of_agent { usize::MAX } else { 1 };
        let (mut any, mut all) = (false, true);
        for seen in facts.each_agent().take(asked) {
            let holds = self.holds_for(seen)?;
            any |= holds;
            all &= holds;
        }
        Ok(if of_all { all } else { any })
    }

    /// Whether it is true of the agent that acts.
    pub(super) fn holds_for_actor(&self, facts: &Facts<'_>) -> Result<bool, String> {
        facts
            .each_agent()
            .next()
            .map_or(Ok(false), |actor| self.holds_for(actor))
    }

    fn holds_for(&self, seen: Seen<'_, '_>) -> Result<bool, String> {
        if self.loops && seen.facts().argument_nodes() > LOOPED_NODES_MAX {
            return Err(format!(
                "arguments hold more than {LOOPED_NODES_MAX} values, too many to loop over"
            ));
        }
        guarded("the condition made its engine fail", || {
            let variables = seen.variables();
            let value =
                Value::resolve_val(&self.expression, &variables).map_err(|error| self.tell(&error))?;
            match value.downcast_ref::<CelBool>() {
                Some(truth) => Ok(*truth.inner()),
                None => Err(format!(
                    "condition is a {}, not true or false",
                    value.get_type().name()
                )),
            }
        })
    }

    /// An error in words. CEL's own texts may quote arguments, which belong in no record.
    fn tell(&self, error: &ExecutionError) -> String {
        match error {
            ExecutionError::NoSuchKey(key) if self.source.contains(key.as_str()) => {
                format!("there is no `{key}`")
            }
            ExecutionError::NoSuchKey(_) | ExecutionError::IndexOutOfBounds(_) => {
                "there is no such member".to_owned()
            }
            ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
                "division by zero".to_owned()
            }
            ExecutionError::Overflow(..) => "a number is too large".to_owned(),
            _ => "values are of types that do not go together".to_owned(),
        }
    }
}

fn within_limit(source: &str) -> Result<(), String> {
    if source.trim().is_empty() {
        return Err("condition is empty".to_owned());
    }
    if source.len() > SOURCE_BYTES_MAX {
        return Err(format!("condition is longer than {SOURCE_BYTES_MAX} bytes"));
    }
    Ok(())
}

fn compile(source: &str, constants: &mut Constants) -> Result<Condition, String> {
    // The library's other parser overflows the stack on a few dozen parentheses.
    let parser = PrattParser::new()
        .max_recursion_depth(DEPTH_MAX)
        .error_reporting_limit(1);
    let mut expression = parser
        .parse(source)
        .map_err(|errors| match errors.errors.first() {
            Some(error) if error.pos.0 > 0 => {
                format!(
                    "condition, line {}, column {}: {}",
                    error.pos.0, error.pos.1, error.msg
                )
            }
            Some(error) => format!("condition: {}", error.msg),
            None => "condition does not parse".to_owned(),
        })?;
    let mut bounds = Bounds::new(constants);
    bounds.check(&mut expression)?;
    let (loops, of_agent, of_count) = (bounds.loops(), bounds.of_agent(), bounds.of_count());
    Ok(Condition {
        expression,
        source: source.to_owned(),
        loops,
        of_agent,
        of_count,
    })
}
