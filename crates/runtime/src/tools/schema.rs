//! Checks arguments against a tool's own JSON Schema. Covers the words that our schemas use and no
//! others; never coerces, never fills in defaults.

use gate::ToolError;
use serde_json::Value;

/// Greatest depth of a schema and of the arguments it describes.
const DEPTH_MAX: usize = 16;

/// Whether `arguments` fit `schema`: `type`, `properties`, `required`, `additionalProperties: false`,
/// `enum`, `minLength` and `maxLength` (characters), `minimum`, `maximum`, `items`, `minItems`, `maxItems`.
pub fn check(schema: &Value, arguments: &Value) -> Result<(), ToolError> {
    at(schema, arguments, &mut String::new(), DEPTH_MAX)
}

fn at(schema: &Value, value: &Value, place: &mut String, depth: usize) -> Result<(), ToolError> {
    if depth == 0 {
        return refuse(place, "is nested too deeply");
    }
    if let Some(wanted) = schema.get("type").and_then(Value::as_str)
        && !is_a(wanted, value)
    {
        return refuse(place, &format!("is {}, not {}", name(value), article(wanted)));
    }
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
        && !allowed.contains(value)
    {
        let list: Vec<String> = allowed.iter().map(Value::to_string).collect();
        return refuse(place, &format!("is none of {}", list.join(", ")));
    }
    match value {
        Value::String(text) => lengths(schema, text.chars().count(), place, "Length", "characters"),
        Value::Number(number) => range(schema, number.as_f64().unwrap_or(f64::NAN), place),
        Value::Array(elements) => {
            lengths(schema, elements.len(), place, "Items", "elements")?;
            let Some(items) = schema.get("items") else {
                return Ok(());
            };
            elements.iter().enumerate().try_for_each(|(index, element)| {
                below(place, &index.to_string(), |p| at(items, element, p, depth - 1))
            })
        }
        Value::Object(members) => object(schema, members, place, depth),
        Value::Null | Value::Bool(_) => Ok(()),
    }
}

fn object(
    schema: &Value,
    members: &serde_json::Map<String, Value>,
    place: &mut String,
    depth: usize,
) -> Result<(), ToolError> {
    let required = schema
        .get("required")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    if let Some(missing) = required
        .iter()
        .filter_map(Value::as_str)
        .find(|name| !members.contains_key(*name))
    {
        return below(place, missing, |p| refuse(p, "is missing"));
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    let closed = schema.get("additionalProperties") == Some(&Value::Bool(false));
    for (key, member) in members {
        match properties.and_then(|p| p.get(key)) {
            Some(inner) => below(place, key, |p| at(inner, member, p, depth - 1))?,
            None if closed => return below(place, key, |p| refuse(p, "is not known")),
            None => (),
        }
    }
    Ok(())
}

fn lengths(schema: &Value, length: usize, place: &str, word: &str, unit: &str) -> Result<(), ToolError> {
    let limit = |side: &str| schema.get(format!("{side}{word}")).and_then(Value::as_u64);
    let length = length as u64;
    match (limit("min"), limit("max")) {
        (Some(min), _) if length < min => refuse(place, &format!("has {length} {unit}, fewer than {min}")),
        (_, Some(max)) if length > max => refuse(place, &format!("has {length} {unit}, more than {max}")),
        _ => Ok(()),
    }
}

fn range(schema: &Value, number: f64, place: &str) -> Result<(), ToolError> {
    let limit = |word: &str| schema.get(word).and_then(Value::as_f64);
    match (limit("minimum"), limit("maximum")) {
        (Some(min), _) if number < min => refuse(place, &format!("is less than {min}")),
        (_, Some(max)) if number > max => refuse(place, &format!("is more than {max}")),
        _ => Ok(()),
    }
}

fn is_a(wanted: &str, value: &Value) -> bool {
    match wanted {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        _ => false,
    }
}

fn name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn article(wanted: &str) -> String {
    let article = if wanted.starts_with(['a', 'i', 'o']) {
        "an"
    } else {
        "a"
    };
    format!("{article} {wanted}")
}

fn below<T>(place: &mut String, key: &str, inner: impl FnOnce(&mut String) -> T) -> T {
    let length = place.len();
    place.push('/');
    place.push_str(&key.replace('~', "~0").replace('/', "~1"));
    let result = inner(place);
    place.truncate(length);
    result
}

fn refuse(place: &str, what: &str) -> Result<(), ToolError> {
    let place: String = if place.is_empty() {
        "/".to_owned()
    } else {
        place.chars().take(200).collect()
    };
    Err(ToolError::Arguments {
        place,
        what: what.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn arguments_are_refused_with_their_place() {
        let schema = json!({
            "type": "object", "additionalProperties": false, "required": ["url"],
            "properties": {
                "url": {"type": "string", "minLength": 1, "maxLength": 5},
                "limit": {"type": "integer", "minimum": 1, "maximum": 100},
                "method": {"type": "string", "enum": ["GET", "PUT"]},
                "files": {"type": "array", "maxItems": 2, "minItems": 1, "items": {
                    "type": "object", "required": ["path"], "properties": {"path": {"type": "string"}},
                    "additionalProperties": false}},
                "free": {"type": "object"},
                "flag": {"type": "boolean"}
            }
        });
        #[rustfmt::skip]
        let table = [
            ("fits",                  json!({"url": "a", "limit": 7, "files": [{"path": "x"}]}), "fits"),
            ("characters, not bytes", json!({"url": "ééééé"}),                    "fits"),
            ("an open object",        json!({"url": "a", "free": {"any": [1]}}),  "fits"),
            ("not an object",         json!(["url"]),                             "/: is an array, not an object"),
            ("missing",               json!({}),                                  "/url: is missing"),
            ("unknown",               json!({"url": "a", "x/y": 1}),              "/x~1y: is not known"),
            ("wrong type",            json!({"url": 1}),                          "/url: is a number, not a string"),
            ("a float is no integer", json!({"url": "a", "limit": 1.5}),          "/limit: is a number, not an integer"),
            ("too short",             json!({"url": ""}),                         "/url: has 0 characters, fewer than 1"),
            ("too long",              json!({"url": "abcdef"}),                   "/url: has 6 characters, more than 5"),
            ("too small",             json!({"url": "a", "limit": 0}),            "/limit: is less than 1"),
            ("too large",             json!({"url": "a", "limit": 101}),          "/limit: is more than 100"),
            ("not in the list",       json!({"url": "a", "method": "TRACE"}),     "/method: is none of \"GET\", \"PUT\""),
            ("no element",            json!({"url": "a", "files": []}),           "/files: has 0 elements, fewer than 1"),
            ("inside an array",       json!({"url": "a", "files": [{"path": "x"}, {}]}), "/files/1/path: is missing"),
            ("null is not absent",    json!({"url": "a", "flag": null}),          "/flag: is null, not a boolean"),
        ];
        for (what, arguments, expected) in table {
            let found = match check(&schema, &arguments) {
                Ok(()) => "fits".to_owned(),
                Err(ToolError::Arguments { place, what }) => format!("{place}: {what}"),
                Err(other) => other.to_string(),
            };
            assert_eq!(found, expected, "{what}");
        }
    }

    #[test]
    fn an_unknown_type_fits_nothing() {
        assert!(check(&json!({"type": "strnig"}), &json!("a")).is_err());
    }
}
