//! What conditions hold that is the same in every decision: lists of literals and regular
//! expressions, made once when the rules are loaded.

use cel::common::ast::{Expr, IdedExpr, LiteralValue};
use cel::common::types::{CelBool, CelList, CelString, STRING_TYPE, Type};
use cel::common::value::{CowVal, StaticVal, Val};
use cel::{DeclarationError, Env, ExecutionError};
use regex::{Regex, RegexBuilder};
use std::any::Any;

/// The function that a call of `matches` becomes. No source can name it.
pub(super) const MATCHES: &str = "@matches";
/// Before the number of a constant, where a variable stands.
const PREFIX: &str = "@c";
/// Longest regular expression, in bytes.
const REGEX_BYTES_MAX: usize = 256;
/// Largest compiled regular expression, in bytes.
const REGEX_COMPILED_BYTES_MAX: usize = 512 * 1024;

/// The constants of all rules of a set.
#[derive(Debug, Default)]
pub(crate) struct Constants(Vec<Box<dyn Val>>);

impl Constants {
    /// The value that a variable's name stands for, if it is a constant's.
    pub(super) fn named(&self, name: &str) -> Option<&dyn Val> {
        let number: usize = name.strip_prefix(PREFIX)?.parse().ok()?;
        self.0.get(number).map(|value| &**value)
    }

    /// Keeps a list of literals; `None` when one of its elements is not a literal.
    pub(super) fn list(&mut self, elements: &[IdedExpr]) -> Option<Expr> {
        let literal = |element: &IdedExpr| match &element.expr {
            Expr::Literal(literal) => Some(literal.to_val().into_owned()),
            _ => None,
        };
        let values: Vec<Box<dyn Val>> = elements.iter().map(literal).collect::<Option<_>>()?;
        Some(self.keep(Box::new(CelList::from(values))))
    }

    /// Keeps a regular expression, which must be a literal, so that a bad one is found at load.
    pub(super) fn regex(&mut self, pattern: &IdedExpr) -> Result<Expr, String> {
        let Expr::Literal(LiteralValue::String(pattern)) = &pattern.expr else {
            return Err("the pattern of `matches` must be a text in quotes".to_owned());
        };
        let pattern = pattern.inner();
        if pattern.len() > REGEX_BYTES_MAX {
            return Err(format!(
                "the pattern of `matches` is longer than {REGEX_BYTES_MAX} bytes"
            ));
        }
        let regex = RegexBuilder::new(pattern)
            .size_limit(REGEX_COMPILED_BYTES_MAX)
            .dfa_size_limit(REGEX_COMPILED_BYTES_MAX)
            .build()
            .map_err(|_| format!("`{pattern}` is not a regular expression, or too large a one"))?;
        Ok(self.keep(Box::new(Pattern(regex))))
    }

    fn keep(&mut self, value: Box<dyn Val>) -> Expr {
        self.0.push(value);
        Expr::Ident(format!("{PREFIX}{}", self.0.len() - 1))
    }
}

/// Teaches `environment` the function that matches a text against a kept regular expression.
pub(super) fn declare(environment: &mut Env) -> Result<(), DeclarationError> {
    environment.add_overload(
        MATCHES,
        "matches_compiled",
        vec![STRING_TYPE, PATTERN_TYPE],
        matches,
    )
}

fn matches<'b, 'v>(arguments: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let [text, pattern] = arguments.as_slice() else {
        return Err(ExecutionError::InvalidArgumentCount {
            expected: 2,
            actual: arguments.len(),
        });
    };
    match (
        text.downcast_ref::<CelString>(),
        pattern.downcast_ref::<Pattern>(),
    ) {
        (Some(text), Some(pattern)) => Ok(CowVal::owned(CelBool::from(pattern.0.is_match(text.inner())))),
        _ => Err(ExecutionError::UnexpectedType {
            got: text.get_type().name().to_owned(),
            want: STRING_TYPE.name().to_owned(),
        }),
    }
}

/// A compiled regular expression as a CEL value.
#[derive(Clone, Debug)]
struct Pattern(Regex);

const PATTERN_TYPE: Type = Type::new_unspecified_type("@pattern");
static PATTERN: Type = PATTERN_TYPE;

impl Val for Pattern {
    fn get_type(&self) -> &Type {
        &PATTERN
    }
    fn cel_type() -> &'static Type {
        &PATTERN
    }
    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }
    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Pattern {}
