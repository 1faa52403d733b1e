//! One condition: CEL, compiled and bounded when it is loaded.
//!
//! What is allowed is listed; everything else is refused at load, so that a misspelt name is an error
//! of the document and never a rule that quietly does not match.

use super::dialect;
use super::facts::{ENVIRONMENT, Facts};
use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue, SelectExpr, operators};
use cel::common::types::CelBool;
use cel::{ExecutionError, Value};

/// Longest source, in bytes.
const SOURCE_BYTES_MAX: usize = 4096;
/// Most nodes of a compiled condition.
const NODES_MAX: usize = 256;
/// Longest regular expression, in bytes.
const REGEX_BYTES_MAX: usize = 256;
/// Most values in the arguments of an action that a condition may loop over.
const LOOPED_NODES_MAX: usize = 4096;

const VARIABLES: [&str; 7] = ["action", "agent", "cause", "session", "trust", "taint", "now"];
const ACTION_FIELDS: [&str; 5] = ["verb", "resource", "effect", "environment", "arguments"];
const SESSION_FIELDS: [&str; 2] = ["id", "actions"];
const OPERATORS: [&str; 18] = [
    operators::CONDITIONAL,
    operators::LOGICAL_AND,
    operators::LOGICAL_OR,
    operators::LOGICAL_NOT,
    operators::SUBSTRACT,
    operators::MULTIPLY,
    operators::DIVIDE,
    operators::MODULO,
    operators::EQUALS,
    operators::NOT_EQUALS,
    operators::GREATER_EQUALS,
    operators::LESS_EQUALS,
    operators::GREATER,
    operators::LESS,
    operators::NEGATE,
    operators::INDEX,
    operators::NOT_STRICTLY_FALSE,
    operators::IN,
];
const FUNCTIONS: [&str; 4] = ["size", "startsWith", "endsWith", "contains"];

/// A compiled condition.
#[derive(Debug)]
pub(super) struct Condition {
    expression: IdedExpr,
    /// As compiled, to tell its own words from those of the arguments.
    source: String,
    loops: bool,
}

impl Condition {
    /// Compiles CEL.
    pub(super) fn from_cel(source: &str) -> Result<Condition, String> {
        within_limit(source)?;
        compile(source)
    }

    /// Compiles the dialect of the source documents.
    pub(super) fn from_dialect(source: &str) -> Result<Condition, String> {
        within_limit(source)?;
        compile(&dialect::to_cel(source)?)
    }

    /// Whether it is true; an error when it has no truth value. The error's text holds nothing of the
    /// arguments.
    pub(super) fn holds(&self, facts: &Facts<'_>) -> Result<bool, String> {
        if self.loops && facts.argument_nodes() > LOOPED_NODES_MAX {
            return Err(format!(
                "arguments hold more than {LOOPED_NODES_MAX} values, too many to loop over"
            ));
        }
        let value =
            Value::resolve_val(&self.expression, facts.variables()).map_err(|error| self.tell(&error))?;
        match value.downcast_ref::<CelBool>() {
            Some(truth) => Ok(*truth.inner()),
            None => Err(format!(
                "condition is a {}, not true or false",
                value.get_type().name()
            )),
        }
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
            ExecutionError::NoSuchOverload(overload) => overload.to_string(),
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

fn compile(source: &str) -> Result<Condition, String> {
    let expression = ENVIRONMENT
        .parser()
        .parse(source)
        .map_err(|errors| match errors.errors.first() {
            Some(error) => format!("condition: {} at column {}", error.msg, error.pos.1),
            None => "condition does not parse".to_owned(),
        })?;
    let mut check = Check {
        nodes: 0,
        bound: Vec::new(),
        loops: false,
    };
    check.expression(&expression)?;
    Ok(Condition {
        expression,
        source: source.to_owned(),
        loops: check.loops,
    })
}

/// Walks a parsed condition and refuses what is not listed.
struct Check {
    nodes: usize,
    /// Names that the enclosing comprehension binds.
    bound: Vec<String>,
    loops: bool,
}

impl Check {
    fn expression(&mut self, expression: &IdedExpr) -> Result<(), String> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(format!("condition has more than {NODES_MAX} parts"));
        }
        match &expression.expr {
            Expr::Literal(LiteralValue::Bytes(_)) => Err("bytes are not supported in a condition".to_owned()),
            Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.name(name),
            Expr::Select(select) => self.select(select),
            Expr::Call(call) => self.call(call),
            Expr::List(list) if list.optional_indices.is_empty() => self.all(&list.elements),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::List(_) | Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => {
                Err("maps, structures and optional values are not supported in a condition".to_owned())
            }
        }
    }

    fn all(&mut self, expressions: &[IdedExpr]) -> Result<(), String> {
        expressions
            .iter()
            .try_for_each(|expression| self.expression(expression))
    }

    fn name(&self, name: &str) -> Result<(), String> {
        match name {
            _ if self.bound.iter().any(|bound| bound == name) => Ok(()),
            "action" => Err(format!("use `action` with one of {}", ACTION_FIELDS.join(", "))),
            "session" => Err(format!("use `session` with one of {}", SESSION_FIELDS.join(", "))),
            _ if VARIABLES.contains(&name) => Ok(()),
            _ => Err(format!(
                "`{name}` is not known: use one of {}",
                VARIABLES.join(", ")
            )),
        }
    }

    fn select(&mut self, select: &SelectExpr) -> Result<(), String> {
        let fields: &[&str] = match &select.operand.expr {
            Expr::Ident(name) if self.bound.contains(name) => return Ok(()),
            Expr::Ident(name) if name == "action" => &ACTION_FIELDS,
            Expr::Ident(name) if name == "session" => &SESSION_FIELDS,
            _ => return self.expression(&select.operand),
        };
        self.nodes += 1;
        if fields.contains(&select.field.as_str()) {
            return Ok(());
        }
        Err(format!(
            "`{}` is not known: use one of {}",
            select.field,
            fields.join(", ")
        ))
    }

    fn call(&mut self, call: &CallExpr) -> Result<(), String> {
        let name = call.func_name.as_str();
        match name {
            "matches" => regex_is_fixed(call)?,
            operators::ADD if self.loops_now() => {
                return Err("`+` is not supported inside a loop of a condition".to_owned());
            }
            operators::ADD => (),
            _ if OPERATORS.contains(&name) || FUNCTIONS.contains(&name) => (),
            _ => {
                return Err(format!(
                    "function `{name}` is not supported in a condition: use operators, has, all, exists, \
                     exists_one, matches, {}",
                    FUNCTIONS.join(", ")
                ));
            }
        }
        if let Some(target) = &call.target {
            self.expression(target)?;
        }
        self.all(&call.args)
    }

    fn loops_now(&self) -> bool {
        !self.bound.is_empty()
    }

    fn comprehension(&mut self, comprehension: &ComprehensionExpr) -> Result<(), String> {
        if self.loops_now() {
            return Err("a loop inside a loop is not supported in a condition".to_owned());
        }
        if !matches!(comprehension.accu_init.expr, Expr::Literal(_)) || comprehension.iter_var2.is_some() {
            return Err(
                "map and filter are not supported in a condition: use all, exists or exists_one".to_owned(),
            );
        }
        self.loops = true;
        self.expression(&comprehension.iter_range)?;
        if VARIABLES.contains(&comprehension.iter_var.as_str()) {
            return Err(format!(
                "`{}` cannot be the name of a loop's variable",
                comprehension.iter_var
            ));
        }
        self.bound = vec![comprehension.iter_var.clone(), comprehension.accu_var.clone()];
        self.expression(&comprehension.loop_cond)?;
        self.step(&comprehension.loop_step, &comprehension.accu_var)?;
        self.expression(&comprehension.result)?;
        self.bound.clear();
        Ok(())
    }

    /// `exists_one` counts: its macro alone adds, as `condition ? @result + 1 : @result`.
    fn step(&mut self, step: &IdedExpr, accumulator: &str) -> Result<(), String> {
        if let Expr::Call(call) = &step.expr
            && call.func_name == operators::CONDITIONAL
            && let [condition, counted, _] = call.args.as_slice()
            && let Expr::Call(sum) = &counted.expr
            && sum.func_name == operators::ADD
            && matches!(sum.args.first().map(|arg| &arg.expr), Some(Expr::Ident(name)) if name == accumulator)
        {
            self.nodes += 4;
            return self.expression(condition);
        }
        self.expression(step)
    }
}

/// A pattern is a literal that compiles, so that a bad one is found when the rule is loaded.
fn regex_is_fixed(call: &CallExpr) -> Result<(), String> {
    let Some(Expr::Literal(LiteralValue::String(pattern))) = call.args.last().map(|arg| &arg.expr) else {
        return Err("the pattern of `matches` must be a text in quotes".to_owned());
    };
    if pattern.inner().len() > REGEX_BYTES_MAX {
        return Err(format!(
            "pattern of `matches` is longer than {REGEX_BYTES_MAX} bytes"
        ));
    }
    Ok(())
}
