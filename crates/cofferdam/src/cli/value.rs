//! Reading what the server sent: fields that may be missing, shown safely.
//!
//! The client shows what it gets and never fails on a field that it does not know or does not find.

use super::text::{moment, visible};
use serde_json::Value;

/// A field as one safe line; empty when missing or null. `path` separates with dots.
#[must_use]
pub fn text(value: &Value, path: &str) -> String {
    shown(field(value, path))
}

/// A field that is a time.
#[must_use]
pub fn time(value: &Value, path: &str) -> String {
    field(value, path).as_str().map(moment).unwrap_or_default()
}

/// A field as sent, unsafe to print.
#[must_use]
pub fn raw<'v>(value: &'v Value, path: &str) -> &'v str {
    field(value, path).as_str().unwrap_or_default()
}

/// A number; 0 when missing.
#[must_use]
pub fn number(value: &Value, path: &str) -> u64 {
    field(value, path).as_u64().unwrap_or_default()
}

/// The elements of an array; none when it is something else.
#[must_use]
pub fn list<'v>(value: &'v Value, path: &str) -> &'v [Value] {
    field(value, path).as_array().map_or(&[], Vec::as_slice)
}

/// A field; null when missing.
#[must_use]
pub fn field<'v>(value: &'v Value, path: &str) -> &'v Value {
    const NULL: &Value = &Value::Null;
    if path.is_empty() {
        return value;
    }
    path.split('.')
        .try_fold(value, |value, key| value.get(key))
        .unwrap_or(NULL)
}

/// Any value as one safe line.
#[must_use]
pub fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => visible(text),
        Value::Array(values) if values.iter().all(|v| v.is_string() || v.is_number()) => {
            values.iter().map(shown).collect::<Vec<_>>().join(", ")
        }
        other => visible(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_that_are_missing_are_empty() {
        let value = json!({"a": {"b": "x\u{1b}"}, "n": 7, "l": ["p", 2], "t": "2026-11-21T10:00:00Z"});
        assert_eq!(text(&value, "a.b"), "x␛");
        assert_eq!(text(&value, "a.c.d"), "");
        assert_eq!(text(&value, "n"), "7");
        assert_eq!(text(&value, "l"), "p, 2");
        assert_eq!(time(&value, "t"), "2026-11-21 10:00:00");
        assert_eq!(number(&value, "a"), 0);
        assert_eq!(list(&value, "l").len(), 2);
    }
}
