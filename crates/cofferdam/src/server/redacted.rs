//! Values as they are shown to whoever reads them without having been part of them: what looks like a
//! secret is replaced. It never changes what is stored, and never decides who may read.

use serde_json::Value;

/// What stands for a value whose name says that it is a secret.
const MARK: &str = "[REDACTED]";

/// `value` with every text redacted. A text whose name, or that of what it is in, says that it is a
/// secret is replaced whole.
#[must_use]
pub fn redacted(value: Value) -> Value {
    within(value, false)
}

fn within(value: Value, secret: bool) -> Value {
    match value {
        Value::String(_) if secret => MARK.into(),
        Value::String(text) => Value::String(assay::redact::redact(&text, usize::MAX)),
        Value::Array(list) => list.into_iter().map(|value| within(value, secret)).collect(),
        Value::Object(map) => map
            .into_iter()
            .map(|(name, value)| {
                let secret = secret || names_a_secret(&name);
                (assay::redact::redact(&name, usize::MAX), within(value, secret))
            })
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
    }
}

/// Whether redaction would hide what is given under this name in a text.
fn names_a_secret(name: &str) -> bool {
    assay::redact::redact(&format!("{name}: x"), usize::MAX).ends_with(MARK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_are_hidden_by_look_and_by_name_and_nothing_else() {
        let value = json!({
            "title": "High error rate", "count": 3, "tokens": 7,
            "lines": ["password=hunter2", {"api_key": "short", "path": "new.txt"}],
            "credentials": ["short", {"user": "bob", "n": 1}], "password": 1234,
            "cfd_AAAAAAAAAAAAAAAAAAAAAAAA": null,
        });
        let expected = json!({
            "title": "High error rate", "count": 3, "tokens": 7,
            "lines": ["password=[REDACTED]", {"api_key": "[REDACTED]", "path": "new.txt"}],
            "credentials": ["[REDACTED]", {"user": "[REDACTED]", "n": 1}], "password": 1234,
            "[REDACTED]": null,
        });
        assert_eq!(redacted(value), expected);
    }
}
