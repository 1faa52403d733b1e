//! The builtin functions that a module may call, each behind a guard that weighs what it is given.
//!
//! What is allowed is a list. Nothing here reads a clock, a random source or the network, and no call
//! is made whose result could be much larger than its arguments. All counts are of the arguments, so the
//! same facts always give the same answer.

use anyhow::{Result, anyhow};
use regorus::unstable::{BUILTINS, BuiltinFcn, Expr, Ref, Span};
use regorus::{LimitError, Value};
use std::cell::Cell;

/// Most that one call may be given, in values and bytes of text together.
const CALL_WEIGHT_MAX: usize = 128 * 1024;
/// Most that all calls of one evaluation may be given, counted in the same way.
const WEIGHT_MAX: usize = 2 * 1024 * 1024;
/// What a call weighs that compiles a pattern, besides its arguments.
const PATTERN_WEIGHT: usize = 4096;
/// Longest regular expression, in bytes.
const PATTERN_BYTES_MAX: usize = 256;
/// Largest whole number that shifts, repeats or counts.
const COUNT_MAX: f64 = 10_000.0;
/// Largest factor of a product: beyond, numbers grow without bound.
const FACTOR_MAX: f64 = 1e150;
/// The functions that arithmetic becomes. No source can call them by these names.
pub(super) const ARITHMETIC: [&str; 5] = ["+", "-", "*", "/", "%"];

thread_local! {
    /// What the evaluation on this thread has been given so far, and what made it fail.
    static METER: Cell<Meter> = const { Cell::new(Meter { weight: 0, failed: None }) };
}

#[derive(Clone, Copy)]
struct Meter {
    weight: usize,
    failed: Option<Failed>,
}

/// Why a call was refused or gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// The call would have been given, or would have made, too much.
    TooLarge(&'static str),
    /// It does not take what it was given.
    Refused(&'static str),
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failed::TooLarge(name) => write!(f, "the module calls `{name}` with more than it may"),
            Failed::Refused(name) => write!(f, "the module calls `{name}` with what it does not take"),
        }
    }
}

/// Begins an evaluation on this thread.
pub(super) fn begin() {
    METER.set(Meter {
        weight: 0,
        failed: None,
    });
}

/// What made a call of the evaluation fail, if one did.
pub(super) fn failed() -> Option<Failed> {
    METER.get().failed
}

/// The guarded function of this name; `None` when modules may not call it.
pub(super) fn guarded(name: &str) -> Option<BuiltinFcn> {
    let (_, call) = GUARDED.iter().find(|(known, _)| *known == name)?;
    let arguments = match ARITHMETIC.contains(&name) {
        true => 2,
        false => BUILTINS.get(name)?.1,
    };
    Some((*call, arguments))
}

type Call = fn(&Span, &[Ref<Expr>], &[Value], bool) -> Result<Value>;

macro_rules! guard {
    ($($name:expr,)*) => {
        /// By name.
        const GUARDED: &[(&str, Call)] = &[$(($name, {
            fn call(span: &Span, expressions: &[Ref<Expr>], given: &[Value], strict: bool) -> Result<Value> {
                guarded_call($name, span, expressions, given, strict)
            }
            call
        })),*];
    };
}

guard! {
    "+", "-", "*", "/", "%", "__builtin_sets.intersection", "__builtin_sets.union",
    "abs", "array.concat", "array.reverse", "array.slice", "base64.decode", "base64.encode",
    "base64.is_valid", "base64url.decode", "base64url.encode", "base64url.encode_no_pad", "bits.and",
    "bits.lsh", "bits.negate", "bits.or", "bits.rsh", "bits.xor", "ceil", "concat", "contains", "count",
    "endswith", "floor", "format_int", "glob.match", "glob.quote_meta", "graph.reachable", "hex.decode",
    "hex.encode", "indexof", "indexof_n", "intersection", "is_array", "is_boolean", "is_null",
    "is_number", "is_object", "is_set", "is_string", "json.filter", "json.is_valid", "json.marshal",
    "json.remove", "json.unmarshal", "lower", "max", "min", "net.cidr_contains", "net.cidr_is_valid",
    "numbers.range", "object.filter", "object.get", "object.keys", "object.remove", "object.subset",
    "object.union", "object.union_n", "product", "regex.find_n", "regex.is_valid", "regex.match",
    "regex.replace", "regex.split", "replace", "round", "semver.compare", "semver.is_valid", "sort",
    "split", "sprintf", "startswith", "strings.any_prefix_match", "strings.any_suffix_match",
    "strings.count", "strings.replace_n", "strings.reverse", "substring", "sum", "time.add_date",
    "time.clock", "time.date", "time.diff", "time.format", "time.parse_duration_ns", "time.parse_ns",
    "time.parse_rfc3339_ns", "time.weekday", "to_number", "trim", "trim_left", "trim_prefix", "trim_right",
    "trim_space", "trim_suffix", "type_name", "union", "units.parse", "units.parse_bytes", "upper", "walk",
}

fn guarded_call(
    name: &'static str,
    span: &Span,
    expressions: &[Ref<Expr>],
    given: &[Value],
    strict: bool,
) -> Result<Value> {
    let mut weight = 0;
    let within = given.iter().all(|value| weigh(value, &mut weight))
        && is_bounded(name, given)
        && charge(weight + pattern_weight(name));
    if !within {
        fail(Failed::TooLarge(name));
        // The one kind of error that no `not` in a module turns into an answer.
        let limit = LimitError::MemoryLimitExceeded {
            usage: weight as u64,
            limit: CALL_WEIGHT_MAX as u64,
        };
        return Err(limit.into());
    }
    let result = match given {
        [left, right] if ARITHMETIC.contains(&name) => arithmetic(name, left, right),
        _ => called(name, span, expressions, given, strict),
    };
    result.inspect_err(|_| fail(Failed::Refused(name)))
}

/// What the machine does by itself, but that whatever it cannot do fails the evaluation.
fn arithmetic(operator: &str, left: &Value, right: &Value) -> Result<Value> {
    let result = match (operator, left, right) {
        ("+", Value::Number(left), Value::Number(right)) => left.add(right)?,
        ("-", Value::Number(left), Value::Number(right)) => left.sub(right)?,
        ("*", Value::Number(left), Value::Number(right)) => left.mul(right)?,
        ("/", Value::Number(left), Value::Number(by)) if !is_zero(right) => left.clone().divide(by)?,
        ("%", Value::Number(left), Value::Number(by))
            if !is_zero(right) && left.is_integer() && by.is_integer() =>
        {
            left.clone().modulo(by)?
        }
        ("-", Value::Set(left), Value::Set(right)) => return Ok(Value::from(left.difference(right))),
        _ => return Err(anyhow!("`{operator}` does not take these values")),
    };
    Ok(Value::from(result))
}

fn is_zero(value: &Value) -> bool {
    number_of(value) == 0.0
}

fn called(
    name: &str,
    span: &Span,
    expressions: &[Ref<Expr>],
    given: &[Value],
    strict: bool,
) -> Result<Value> {
    let (call, _) = BUILTINS.get(name).ok_or_else(|| anyhow!("`{name}` is unknown"))?;
    call(span, expressions, given, strict)
}

fn fail(failed: Failed) {
    let meter = METER.get();
    METER.set(Meter {
        failed: meter.failed.or(Some(failed)),
        ..meter
    });
}

fn charge(weight: usize) -> bool {
    let meter = METER.get();
    let total = meter.weight.saturating_add(weight);
    METER.set(Meter {
        weight: total,
        ..meter
    });
    total <= WEIGHT_MAX
}

/// Adds the weight of `value` to `weight`; `false`, without going on, when it becomes too much.
fn weigh(value: &Value, weight: &mut usize) -> bool {
    *weight += 1 + match value {
        Value::String(text) => text.len(),
        _ => 0,
    };
    if *weight > CALL_WEIGHT_MAX {
        return false;
    }
    match value {
        Value::Array(items) => items.iter().all(|item| weigh(item, weight)),
        Value::Set(items) => items.iter().all(|item| weigh(item, weight)),
        Value::Object(members) => members
            .iter()
            .all(|(key, value)| weigh(key, weight) && weigh(value, weight)),
        _ => true,
    }
}

fn pattern_weight(name: &str) -> usize {
    match name.starts_with("regex.") || name.starts_with("glob.") {
        true => PATTERN_WEIGHT,
        false => 0,
    }
}

/// Whether the result is not much larger than the arguments, where the function alone does not see to it.
fn is_bounded(name: &str, given: &[Value]) -> bool {
    let small = |value: &Value| value.as_f64().is_ok_and(|number| number.abs() <= FACTOR_MAX);
    match (name, given) {
        ("+" | "-" | "*" | "/" | "%", given) => given.iter().all(|value| !is_number(value) || small(value)),
        ("product", [list]) => elements(list).len() <= 2 && elements(list).into_iter().all(small),
        ("bits.lsh" | "bits.rsh", [_, by]) => count_of(by) <= 64.0,
        ("numbers.range", [from, to]) => (number_of(from) - number_of(to)).abs() <= COUNT_MAX,
        ("concat", [between, list]) => bytes(between).saturating_mul(elements(list).len()) <= CALL_WEIGHT_MAX,
        ("replace", [text, _, new]) => bytes(text).saturating_mul(bytes(new)) <= CALL_WEIGHT_MAX,
        ("regex.replace", [text, pattern, new]) => {
            bytes(pattern) <= PATTERN_BYTES_MAX && bytes(text).saturating_mul(bytes(new)) <= CALL_WEIGHT_MAX
        }
        ("strings.replace_n", [_, _]) => false,
        ("regex.split" | "regex.is_valid" | "regex.match" | "regex.find_n", [pattern, ..]) => {
            bytes(pattern) <= PATTERN_BYTES_MAX
        }
        ("glob.match", [pattern, ..]) => bytes(pattern) <= PATTERN_BYTES_MAX,
        // The library panics on it.
        ("strings.count", [_, sought]) => bytes(sought) > 0,
        ("sprintf", [format, _]) => is_plain_format(format),
        ("walk", [value]) => {
            let mut weight = 0;
            weigh(value, &mut weight) && weight <= CALL_WEIGHT_MAX / 32
        }
        _ => true,
    }
}

/// A format without a width or a precision of more than two digits, or one that an argument gives.
fn is_plain_format(format: &Value) -> bool {
    let Ok(format) = format.as_string() else {
        return true;
    };
    let mut digits = 0;
    let mut within = false;
    for c in format.chars() {
        match c {
            '%' => (within, digits) = (!within, 0),
            '*' if within => return false,
            '0'..='9' if within => digits += 1,
            c if c.is_ascii_alphabetic() => within = false,
            _ => {}
        }
        if digits > 2 {
            return false;
        }
    }
    true
}

fn is_number(value: &Value) -> bool {
    matches!(value, Value::Number(_))
}

fn number_of(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::INFINITY)
}

fn count_of(value: &Value) -> f64 {
    number_of(value).abs()
}

fn bytes(value: &Value) -> usize {
    value.as_string().map_or(0, |text| text.len())
}

fn elements(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Set(items) => items.iter().collect(),
        _ => Vec::new(),
    }
}
