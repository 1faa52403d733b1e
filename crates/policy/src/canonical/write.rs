//! Writes RFC 8785: members sorted by UTF-16 code units, the shortest escapes, no white space.

use super::{CanonicalError, DEPTH_MAX, number};
use serde_json::{Map, Value};

/// Appends the canonical form of `value`, which stands `depth` containers deep.
pub(crate) fn write_value(out: &mut Vec<u8>, value: &Value, depth: usize) -> Result<(), CanonicalError> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => match number::canonical(number) {
            Some(text) => out.extend_from_slice(text.as_bytes()),
            None => {
                return Err(CanonicalError::Number {
                    number: number.to_string(),
                    pointer: String::new(),
                });
            }
        },
        Value::String(text) => write_string(out, text),
        Value::Array(items) => write_array(out, items, inner(depth)?)?,
        Value::Object(members) => write_object(out, members, inner(depth)?)?,
    }
    Ok(())
}

fn write_array(out: &mut Vec<u8>, items: &[Value], depth: usize) -> Result<(), CanonicalError> {
    out.push(b'[');
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_value(out, item, depth).map_err(|error| below(error, &at.to_string()))?;
    }
    out.push(b']');
    Ok(())
}

fn write_object(out: &mut Vec<u8>, members: &Map<String, Value>, depth: usize) -> Result<(), CanonicalError> {
    let mut sorted: Vec<_> = members.iter().collect();
    sorted.sort_unstable_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
    out.push(b'{');
    for (at, (key, value)) in sorted.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_string(out, key);
        out.push(b':');
        write_value(out, value, depth).map_err(|error| below(error, key))?;
    }
    out.push(b'}');
    Ok(())
}

/// Appends `text` as a JSON string: only `"`, `\` and control characters are escaped.
pub(crate) fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x09 => out.extend_from_slice(b"\\t"),
            0x0a => out.extend_from_slice(b"\\n"),
            0x0c => out.extend_from_slice(b"\\f"),
            0x0d => out.extend_from_slice(b"\\r"),
            0x00..=0x1f => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

fn inner(depth: usize) -> Result<usize, CanonicalError> {
    if depth >= DEPTH_MAX {
        Err(CanonicalError::TooDeep)
    } else {
        Ok(depth + 1)
    }
}

/// The same error, seen from the container that holds `token`.
fn below(error: CanonicalError, token: &str) -> CanonicalError {
    match error {
        CanonicalError::Number { number, pointer } => {
            let token = token.replace('~', "~0").replace('/', "~1");
            CanonicalError::Number {
                number,
                pointer: format!("/{token}{pointer}"),
            }
        }
        other => other,
    }
}
