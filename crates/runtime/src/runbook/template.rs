//! Templates: texts with `{{ … }}` in them, rendered with limits. Pure.
//!
//! Invariants:
//! - **A value is never a template**: what comes out of one is not rendered again, so text from outside
//!   that holds `{{` stays text.
//! - **What is not there is an error**, unless a template says `default`. Inside a list or a map that a
//!   template writes down (`[event.gone]`) it is null.
//! - **No text makes more than it may**: what a filter could be told to make without end is not there.

use minijinja::value::{Serde, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value as Rendered};
use policy::Timestamp;
use serde_json::Value;
use std::sync::LazyLock;

/// Instructions that one template may take.
const FUEL: u64 = 100_000;
/// Longest text that one template may give, in bytes.
const TEXT_BYTES_MAX: usize = 1024 * 1024;
/// Greatest depth of values with templates in them.
const DEPTH_MAX: usize = 16;
/// What is said of deeper ones.
const TOO_DEEP: &str = "is nested too deeply";

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(64);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_formatter(format);
    // A width or a count is a number that may come from outside; fuel does not see what it costs.
    for endless in ["format", "indent", "batch", "slice"] {
        environment.remove_filter(endless);
    }
    environment.add_filter("tojson", tojson);
    environment.add_filter("urlencode", urlencode);
    environment.add_filter("truncate", truncate);
    environment.add_filter("minutes_before", minutes_before);
    environment.add_filter("plus_minutes", plus_minutes);
    environment
});

/// Whether every template in `value` compiles; else the place and the reason.
pub(super) fn check(value: &Value, place: &str, problems: &mut Vec<(String, String)>) {
    // What holds the arguments of a step is a level too.
    checked(value, place, problems, DEPTH_MAX - 1);
}

fn checked(value: &Value, place: &str, problems: &mut Vec<(String, String)>, depth: usize) {
    if depth == 0 {
        problems.push((place.to_owned(), TOO_DEEP.to_owned()));
        return;
    }
    let mut below = |value: &Value, place: String| checked(value, &place, problems, depth - 1);
    match value {
        Value::String(text) => {
            let compiled = match expression_of(text) {
                Some(inner) if ENVIRONMENT.compile_expression(inner).is_ok() => Ok(()),
                _ => ENVIRONMENT.template_from_str(text).map(drop),
            };
            problems.extend(compiled.err().map(|error| (place.to_owned(), said(&error))));
        }
        Value::Array(elements) => {
            elements
                .iter()
                .enumerate()
                .for_each(|(i, v)| below(v, format!("{place}[{i}]")));
        }
        Value::Object(members) => match comprehension(members) {
            Some(parts) => {
                check_expression(parts.for_each, &format!("{place}.forEach"), problems);
                parts
                    .when
                    .into_iter()
                    .for_each(|w| check_expression(w, &format!("{place}.when"), problems));
                checked(parts.value, &format!("{place}.value"), problems, depth - 1);
            }
            None => members.iter().for_each(|(k, v)| below(v, format!("{place}.{k}"))),
        },
        Value::Null | Value::Bool(_) | Value::Number(_) => (),
    }
}

/// Whether a bare expression compiles.
pub(super) fn check_expression(text: &str, place: &str, problems: &mut Vec<(String, String)>) {
    if let Err(error) = ENVIRONMENT.compile_expression(bare(text)) {
        problems.push((place.to_owned(), said(&error)));
    }
}

/// What the names in templates mean.
#[derive(Clone, Debug)]
pub(super) struct Scope(pub(super) Vec<(String, Rendered)>);

impl Scope {
    fn value(&self) -> Rendered {
        Rendered::from_pairs(self.0.iter().map(|(name, value)| (name.clone(), value.clone())))
    }

    fn with(&self, name: &str, value: Rendered) -> Scope {
        let mut inner: Vec<_> = self.0.iter().filter(|(n, _)| n != name).cloned().collect();
        inner.push((name.to_owned(), value));
        Scope(inner)
    }
}

/// `value` with its templates rendered. With `lenient` what cannot be rendered becomes null.
/// `iterations` limits comprehensions.
pub(super) fn render(
    value: &Value,
    scope: &Scope,
    lenient: bool,
    iterations: usize,
) -> Result<Value, String> {
    rendered(value, scope, lenient, iterations, DEPTH_MAX)
}

fn rendered(
    value: &Value,
    scope: &Scope,
    lenient: bool,
    iterations: usize,
    depth: usize,
) -> Result<Value, String> {
    if depth == 0 {
        return Err(TOO_DEEP.to_owned());
    }
    let below = |v: &Value, scope: &Scope| rendered(v, scope, lenient, iterations, depth - 1);
    match value {
        Value::String(template) => match text(template, scope) {
            Err(_) if lenient => Ok(Value::Null),
            other => other,
        },
        Value::Array(elements) => elements
            .iter()
            .map(|v| below(v, scope))
            .collect::<Result<_, _>>()
            .map(Value::Array),
        Value::Object(members) => {
            let Some(parts) = comprehension(members) else {
                let pairs = members.iter().map(|(k, v)| Ok((k.clone(), below(v, scope)?)));
                return pairs.collect::<Result<_, String>>().map(Value::Object);
            };
            let elements = match elements(parts.for_each, scope) {
                Err(_) if lenient => return Ok(Value::Array(Vec::new())),
                other => other?,
            };
            let mut list = Vec::new();
            for (index, item) in elements.into_iter().take(iterations).enumerate() {
                let inner = scope.with("item", item).with("index", index.into());
                match parts.when.map_or(Ok(true), |when| condition(when, &inner)) {
                    Ok(true) => list.push(below(parts.value, &inner)?),
                    Ok(false) => (),
                    Err(_) if lenient => (),
                    Err(error) => return Err(error),
                }
            }
            Ok(Value::Array(list))
        }
        other => Ok(other.clone()),
    }
}

/// JSON, or what serialises to it, as templates see it.
pub(super) fn from_json(value: &impl serde::Serialize) -> Rendered {
    Rendered::from(Serde(value))
}

/// Whether an expression is true.
pub(super) fn condition(text: &str, scope: &Scope) -> Result<bool, String> {
    Ok(evaluate(bare(text), scope)?.is_true())
}

/// The elements of an expression that has to be a list.
pub(super) fn elements(text: &str, scope: &Scope) -> Result<Vec<Rendered>, String> {
    let value = evaluate(bare(text), scope)?;
    if !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) {
        return Err(format!("`{}` is not a list", shown(text)));
    }
    Ok(value
        .try_iter()
        .map_err(|error| said(&error))?
        .take(100_000)
        .collect())
}

fn text(template: &str, scope: &Scope) -> Result<Value, String> {
    if !template.contains("{{") && !template.contains("{%") && !template.contains("{#") {
        return Ok(Value::String(template.to_owned()));
    }
    if let Some(inner) = expression_of(template)
        && ENVIRONMENT.compile_expression(inner).is_ok()
    {
        let value = evaluate(inner, scope)?;
        return serde_json::to_value(&value).map_err(|error| error.to_string());
    }
    let compiled = ENVIRONMENT
        .template_from_str(template)
        .map_err(|error| said(&error))?;
    let mut page = Page::default();
    match compiled.render_captured_to(scope.value(), &mut page) {
        _ if page.is_full => Err(format!("gives a text of more than {TEXT_BYTES_MAX} bytes")),
        Err(error) => Err(said(&error)),
        Ok(_) => String::from_utf8(page.bytes)
            .map(Value::String)
            .map_err(|error| error.to_string()),
    }
}

/// Takes text until it is full: a loop over what came from outside fills no memory.
#[derive(Default)]
struct Page {
    bytes: Vec<u8>,
    is_full: bool,
}

impl std::io::Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.bytes.len() + bytes.len() > TEXT_BYTES_MAX {
            self.is_full = true;
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn evaluate(expression: &str, scope: &Scope) -> Result<Rendered, String> {
    let compiled = ENVIRONMENT
        .compile_expression(expression)
        .map_err(|error| said(&error))?;
    let value = compiled
        .eval(scope.value())
        .map_err(|error| format!("`{}`: {}", shown(expression), said(&error)))?;
    if value.is_undefined() {
        return Err(format!("`{}` is not there", shown(expression)));
    }
    Ok(value)
}

/// The inside of a text that may be one expression and nothing else.
fn expression_of(text: &str) -> Option<&str> {
    let inner = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    let inner = inner.strip_prefix('-').unwrap_or(inner);
    Some(inner.strip_suffix('-').unwrap_or(inner).trim())
}

/// Conditions and `forEach` are expressions; braces around them are tolerated.
fn bare(text: &str) -> &str {
    expression_of(text).unwrap_or(text.trim())
}

/// `{forEach: LIST, value: …, when: CONDITION}` in an output: a list made from a list.
struct Comprehension<'a> {
    for_each: &'a str,
    when: Option<&'a str>,
    value: &'a Value,
}

/// Whether an object stands for a list made from a list.
pub(super) fn makes_a_list(members: &serde_json::Map<String, Value>) -> bool {
    comprehension(members).is_some()
}

fn comprehension(members: &serde_json::Map<String, Value>) -> Option<Comprehension<'_>> {
    let for_each = members.get("forEach").and_then(Value::as_str)?;
    let value = members.get("value")?;
    let when = members.get("when").and_then(Value::as_str);
    (members.len() == 2 + usize::from(when.is_some())).then_some(Comprehension {
        for_each,
        when,
        value,
    })
}

fn said(error: &Error) -> String {
    let detail = error.detail().map(|d| format!(": {d}")).unwrap_or_default();
    format!("{}{detail}", error.kind()).chars().take(300).collect()
}

fn shown(expression: &str) -> String {
    expression.chars().take(80).collect()
}

/// What is not text is written as JSON: `true`, `null`, `[1,2]`.
fn format(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Rendered) -> Result<(), Error> {
    match value.kind() {
        ValueKind::Bool | ValueKind::None | ValueKind::Seq | ValueKind::Map => {
            out.write_str(&tojson(value.clone())?).map_err(Error::from)
        }
        _ => minijinja::escape_formatter(out, state, value),
    }
}

/// Compact JSON.
fn tojson(value: Rendered) -> Result<String, Error> {
    serde_json::to_string(&value).map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))
}

/// At most `length` characters, an ellipsis included.
fn truncate(text: &str, length: usize) -> String {
    match text.char_indices().nth(length) {
        None => text.to_owned(),
        Some(_) if length == 0 => String::new(),
        Some(_) => text.chars().take(length - 1).chain(['…']).collect(),
    }
}

/// By how many minutes `earlier` lies before `later`; negative when it does not. RFC 3339 both.
fn minutes_before(earlier: &str, later: &str) -> Result<f64, Error> {
    let ms = time(later)?.since_ms(time(earlier)?);
    Ok((ms as f64 / 6_000.0).round() / 10.0)
}

/// The point `minutes` after an RFC 3339 time; before it when negative.
fn plus_minutes(start: &str, minutes: f64) -> Result<String, Error> {
    let point = time(start)?.plus_ms((minutes * 60_000.0) as i64).to_string();
    // Beyond the years that RFC 3339 can write.
    time(&point).map(|_| point)
}

/// Text as a part of a URL: everything but letters, digits, `-`, `.`, `_` and `~` percent-encoded
/// (RFC 3986, section 2.3).
fn urlencode(text: &str) -> String {
    let encoded = text.bytes().map(|byte| match byte {
        b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    });
    encoded.collect()
}

fn time(text: &str) -> Result<Timestamp, Error> {
    Timestamp::parse(text).ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidOperation,
            format!("`{}` is not an RFC 3339 time", shown(text)),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn scope() -> Scope {
        let event = json!({
            "name": "Down", "n": 3, "half": 0.5, "on": true, "list": [1, 2], "at": "2026-11-21T10:00:00Z",
            "evil": "{{ 7 * 7 }}", "query": "a&b=/..?é~-._1", "big": 3_000_000_000u64, "alerts": [{"id": "a", "bad": true}, {"id": "b", "bad": false}],
        });
        Scope(vec![("event".to_owned(), from_json(&event))])
    }

    #[test]
    fn values_keep_their_type() {
        #[rustfmt::skip]
        let table = [
            (json!("plain"),                                       json!("plain")),
            (json!("{{ event.n }}"),                               json!(3)),
            (json!("  {{- event.n -}} "),                          json!(3)),
            (json!("{{ event.half }}"),                            json!(0.5)),
            (json!("{{ event.on }}"),                              json!(true)),
            (json!("{{ event.list }}"),                            json!([1, 2])),
            (json!("{{ event.alerts | first }}"),                  json!({"id": "a", "bad": true})),
            (json!("{{ event.alerts | map(attribute='id') | list }}"), json!(["a", "b"])),
            (json!("{{ event.name }} x{{ event.n }} {{ event.on }} {{ none }}"), json!("Down x3 true null")),
            (json!("{{ event.none | default('?') }}"),             json!("?")),
            (json!("{{ event.evil }}"),                            json!("{{ 7 * 7 }}")),
            (json!("<{{ event.evil }}>"),                          json!("<{{ 7 * 7 }}>")),
            (json!("{{ '}} {{' }}"),                               json!("}} {{")),
            (json!("{{ event.name | truncate(3) }}"),              json!("Do…")),
            (json!("{{ event.at | plus_minutes(-30) }}"),          json!("2026-11-21T09:30:00.000Z")),
            (json!("{{ event.at | minutes_before('2026-11-21T10:01:30Z') }}"), json!(1.5)),
            (json!("{{ 2.345 | round(1) }}"),                      json!(2.3)),
            (json!({"a": ["{{ event.n + 1 }}", 1, null]}),         json!({"a": [4, 1, null]})),
            (json!({"forEach": "event.alerts", "when": "item.bad", "value": {"id": "{{ item.id }}", "i": "{{ index }}"}}),
             json!([{"id": "a", "i": 0}])),
            (json!({"forEach": "event.alerts", "value": 1, "other": 2}),
             json!({"forEach": "event.alerts", "value": 1, "other": 2})),
            (json!("{{ event.list | tojson }}"),                   json!("[1,2]")),
            (json!("{{ event.name | truncate(0) }}"),              json!("")),
            (json!("{{ event.name | truncate(1) }}"),              json!("…")),
            (json!("{{ event.name | truncate(4) }}"),              json!("Down")),
            (json!("http://h/?q={{ event.query | urlencode }}"),   json!("http://h/?q=a%26b%3D%2F..%3F%C3%A9~-._1")),
            (json!("{{ [event.none] }}"),                          json!([null])),
        ];
        for (template, expected) in table {
            assert_eq!(render(&template, &scope(), false, 50), Ok(expected), "{template}");
        }
    }

    #[test]
    fn what_is_not_there_is_an_error_or_null() {
        #[rustfmt::skip]
        let table = [
            ("{{ event.none }}",                    "is not there"),
            ("{{ event.none.deeper }}",             "undefined value"),
            ("a {{ event.none }}",                  "undefined value"),
            ("{{ nothing }}",                       "`nothing` is not there"),
            ("{{ event.name | plus_minutes(1) }}",  "`Down` is not an RFC 3339 time"),
            ("{% for i in range(99999) %}{{ i }}{% endfor %}", "fuel"),
            ("{{ event.name | nofilter }}",         "unknown filter"),
            ("{{ event.n",                          "syntax error"),
            ("{{ event.at | plus_minutes(1e300) }}", "is not an RFC 3339 time"),
            ("{{ event.name | indent(event.big) }}", "unknown filter"),
            ("{{ '%3000000000d' | format(1) }}",    "unknown filter"),
            ("{{ event.list | batch(event.big, 0) | list }}", "unknown filter"),
            ("{{ event.list | slice(event.big) | list }}", "unknown filter"),
            ("{{ event.name * event.big }}",        "too large"),
            ("{% for i in range(9999) %}{{ 'x' * 99999999 }}{% endfor %}", "more than 1048576 bytes"),
        ];
        for (template, expected) in table {
            let error = render(&json!(template), &scope(), false, 50).unwrap_err();
            assert!(error.contains(expected), "{template}: {error}");
            assert_eq!(
                render(&json!({"a": template, "b": 1}), &scope(), true, 50),
                Ok(json!({"a": null, "b": 1}))
            );
        }
    }

    #[test]
    fn conditions_and_lists() {
        for (text, expected) in [
            ("event.n > 2", Ok(true)),
            ("{{ event.n > 5 }}", Ok(false)),
            ("event.list | length == 2 and not event.none is defined", Ok(true)),
        ] {
            assert_eq!(condition(text, &scope()), expected, "{text}");
        }
        assert!(condition("event.none", &scope()).is_err());
        assert_eq!(elements("event.list", &scope()).map(|l| l.len()), Ok(2));
        assert_eq!(
            elements("event.name", &scope()).map(|l| l.len()),
            Err("`event.name` is not a list".to_owned())
        );
    }
}
