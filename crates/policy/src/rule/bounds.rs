//! Walks a parsed condition once: refuses what is not listed, and replaces what can be looked up or
//! made when the rules are loaded.
//!
//! What is allowed is a list, so that a misspelt name is an error of the document and never a rule
//! that quietly does not match. The size, the loops and the functions are bounded, so that no rule
//! takes long whatever the arguments hold.

use super::constants::{Constants, MATCHES};
use super::facts::{COUNT, compiled_name};
use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue, operators};
use cel::common::types::CelString;

/// Most nodes of a compiled condition.
const NODES_MAX: usize = 256;
/// Most `+` in a condition: each may copy a text.
const SUMS_MAX: usize = 8;

const VARIABLES: [&str; 8] = [
    "action", "agent", "agents", "cause", "session", "trust", "taint", "now",
];
const ACTION_FIELDS: &str = "verb, resource, effect, environment, production, arguments, brings";
const TAINT_FIELDS: &str = "untrusted, secrets, customer_data";
/// The labels of a session as a list. No source can name it.
const LABELS: &str = "@taints";
const SESSION_FIELDS: &str = "id, actions";
const FUNCTIONS: [&str; 4] = ["size", "startsWith", "endsWith", "contains"];
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

/// One walk.
pub(super) struct Bounds<'a> {
    constants: &'a mut Constants,
    nodes: usize,
    sums: usize,
    loops: bool,
    of_agent: bool,
    of_count: bool,
    /// Names that the enclosing loop binds; empty outside one.
    bound: Vec<String>,
}

impl Bounds<'_> {
    pub(super) fn new(constants: &mut Constants) -> Bounds<'_> {
        Bounds {
            constants,
            nodes: 0,
            sums: 0,
            loops: false,
            of_agent: false,
            of_count: false,
            bound: Vec::new(),
        }
    }

    /// Whether the condition loops over something.
    pub(super) fn loops(&self) -> bool {
        self.loops
    }

    /// Whether the condition speaks of `agent`.
    pub(super) fn of_agent(&self) -> bool {
        self.of_agent
    }

    /// Whether the condition speaks of how many actions the session had.
    pub(super) fn of_count(&self) -> bool {
        self.of_count
    }

    /// Checks `expression` and everything in it.
    pub(super) fn check(&mut self, expression: &mut IdedExpr) -> Result<(), String> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(format!("condition has more than {NODES_MAX} parts"));
        }
        match &mut expression.expr {
            Expr::Literal(LiteralValue::Bytes(_)) => Err("bytes are not supported in a condition".to_owned()),
            Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.name(name),
            Expr::Select(_) => self.select(expression),
            Expr::Call(call) => self.call(call),
            Expr::List(list) if list.optional_indices.is_empty() => {
                self.all(&mut list.elements)?;
                if let Some(constant) = self.constants.list(&list.elements) {
                    expression.expr = constant;
                }
                Ok(())
            }
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::List(_) | Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => {
                Err("maps, structures and optional values are not supported in a condition".to_owned())
            }
        }
    }

    fn all(&mut self, expressions: &mut [IdedExpr]) -> Result<(), String> {
        expressions
            .iter_mut()
            .try_for_each(|expression| self.check(expression))
    }

    fn name(&mut self, name: &str) -> Result<(), String> {
        match name {
            _ if self.bound.iter().any(|bound| bound == name) => Ok(()),
            LABELS => Ok(()),
            "action" => Err(format!("use `action` with one of {ACTION_FIELDS}")),
            "session" => Err(format!("use `session` with one of {SESSION_FIELDS}")),
            _ if VARIABLES.contains(&name) => {
                self.of_agent |= name == "agent";
                Ok(())
            }
            _ => Err(format!(
                "`{name}` is not known: use one of {}",
                VARIABLES.join(", ")
            )),
        }
    }

    /// `action.verb` becomes a variable, `a.b` an index, which is found faster and means the same.
    fn select(&mut self, expression: &mut IdedExpr) -> Result<(), String> {
        let Expr::Select(select) = &mut expression.expr else {
            return Ok(());
        };
        if let Expr::Ident(root) = &select.operand.expr
            && matches!(root.as_str(), "action" | "session" | "taint")
        {
            let fields = match root.as_str() {
                "action" => ACTION_FIELDS,
                "taint" => TAINT_FIELDS,
                _ => SESSION_FIELDS,
            };
            let name = compiled_name(root, &select.field)
                .ok_or_else(|| format!("`{root}.{}` is not known: use one of {fields}", select.field))?;
            if select.test {
                return Err(format!(
                    "`has({root}.{})` is always true: remove it",
                    select.field
                ));
            }
            // A loop looks at its element and at facts of fixed size: what it costs grows with the
            // arguments and never with their square.
            if name == "@arguments" && !self.bound.is_empty() {
                return Err("`action.arguments` is not supported inside a loop of a condition".to_owned());
            }
            self.of_count |= name == COUNT;
            expression.expr = Expr::Ident(name.to_owned());
            return Ok(());
        }
        self.check(&mut select.operand)?;
        if !select.test {
            let field = LiteralValue::String(CelString::from(std::mem::take(&mut select.field)));
            let operand = std::mem::take(&mut *select.operand);
            let key = IdedExpr {
                id: expression.id,
                expr: Expr::Literal(field),
            };
            let index = CallExpr {
                func_name: operators::INDEX.to_owned(),
                target: None,
                args: vec![operand, key],
            };
            expression.expr = Expr::Call(index);
        }
        Ok(())
    }

    fn call(&mut self, call: &mut CallExpr) -> Result<(), String> {
        match call.func_name.as_str() {
            "matches" => return self.matches(call),
            operators::ADD => self.sum()?,
            name if OPERATORS.contains(&name) || FUNCTIONS.contains(&name) => (),
            name => {
                return Err(format!(
                    "function `{name}` is not supported in a condition: use operators, has, all, exists, \
                     exists_one, matches, {}",
                    FUNCTIONS.join(", ")
                ));
            }
        }
        if matches!(call.func_name.as_str(), operators::IN | "size") {
            call.args.last_mut().into_iter().for_each(labels_of_taint);
            call.target.as_deref_mut().into_iter().for_each(labels_of_taint);
        }
        if let Some(target) = &mut call.target {
            self.check(target)?;
        }
        self.all(&mut call.args)
    }

    /// `text.matches('…')` and `matches(text, '…')`, with a pattern that is compiled now.
    fn matches(&mut self, call: &mut CallExpr) -> Result<(), String> {
        let mut arguments: Vec<IdedExpr> = call.target.take().map(|target| *target).into_iter().collect();
        arguments.append(&mut call.args);
        let [text, pattern] = arguments.as_mut_slice() else {
            return Err("`matches` takes a text and a pattern".to_owned());
        };
        self.check(text)?;
        pattern.expr = self.constants.regex(pattern)?;
        *call = CallExpr {
            func_name: MATCHES.to_owned(),
            target: None,
            args: arguments,
        };
        Ok(())
    }

    fn sum(&mut self) -> Result<(), String> {
        self.sums += 1;
        if !self.bound.is_empty() || self.sums > SUMS_MAX {
            return Err(format!(
                "`+` is supported {SUMS_MAX} times in a condition, and not inside a loop"
            ));
        }
        Ok(())
    }

    fn comprehension(&mut self, loops: &mut ComprehensionExpr) -> Result<(), String> {
        if !self.bound.is_empty() {
            return Err("a loop inside a loop is not supported in a condition".to_owned());
        }
        if !matches!(loops.accu_init.expr, Expr::Literal(_)) || loops.iter_var2.is_some() {
            return Err(
                "map and filter are not supported in a condition: use all, exists or exists_one".to_owned(),
            );
        }
        if VARIABLES.contains(&loops.iter_var.as_str()) {
            return Err(format!(
                "`{}` cannot be the name of a loop's variable",
                loops.iter_var
            ));
        }
        self.loops = true;
        labels_of_taint(&mut loops.iter_range);
        self.check(&mut loops.iter_range)?;
        self.bound = vec![loops.iter_var.clone(), loops.accu_var.clone()];
        self.check(&mut loops.loop_cond)?;
        self.step(&mut loops.loop_step, &loops.accu_var)?;
        self.check(&mut loops.result)?;
        self.bound.clear();
        Ok(())
    }

    /// `exists_one` counts: its macro alone may add, as `condition ? @result + 1 : @result`.
    fn step(&mut self, step: &mut IdedExpr, accumulator: &str) -> Result<(), String> {
        if let Expr::Call(call) = &mut step.expr
            && call.func_name == operators::CONDITIONAL
            && let [condition, counted, _] = call.args.as_mut_slice()
            && let Expr::Call(sum) = &counted.expr
            && sum.func_name == operators::ADD
            && matches!(sum.args.first().map(|arg| &arg.expr), Some(Expr::Ident(name)) if name == accumulator)
        {
            self.nodes += 5;
            return self.check(condition);
        }
        self.check(step)
    }
}

/// `taint` by itself is whether there is any label; where a list is asked for, it is the labels.
fn labels_of_taint(expression: &mut IdedExpr) {
    if matches!(&expression.expr, Expr::Ident(name) if name == "taint") {
        expression.expr = Expr::Ident(LABELS.to_owned());
    }
}
