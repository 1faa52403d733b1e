//! Writes RFC 8785: members sorted by UTF-16 code units, the shortest escapes, no white space.

use super::{CanonicalError, DEPTH_MAX, number};
use serde_json::{Map, Value};

/// Appends the canonical form of `value`, which stands `depth` containers deep.
pub(crate) fn write_value(out: &mut Vec<u8>, value: &Value, depth: usize) -> Result<(), CanonicalError> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => number::write(out, number).ok_or_else(|| CanonicalError::Number {
            number: number.to_string(),
            pointer: String::new(),
        })?,
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
    out.push(b'{');
    if members.keys().is_sorted_by(|a, b| a < b)
        && !members.keys().any(|key| key.bytes().any(|b| b >= ODD_MIN))
    {
        write_members(out, members.iter(), depth)?;
    } else {
        let mut sorted: Vec<_> = members.iter().collect();
        sorted.sort_unstable_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
        write_members(out, sorted.into_iter(), depth)?;
    }
    out.push(b'}');
    Ok(())
}

/// First byte from which on the order of UTF-8 is not that of UTF-16: it leads U+E000 and all above,
/// some of which (from U+10000 on) are surrogates in UTF-16 and sort before U+E000 there.
const ODD_MIN: u8 = 0xee;

fn write_members<'m>(
    out: &mut Vec<u8>,
    members: impl Iterator<Item = (&'m String, &'m Value)>,
    depth: usize,
) -> Result<(), CanonicalError> {
    for (at, (key, value)) in members.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_string(out, key);
        out.push(b':');
        write_value(out, value, depth).map_err(|error| below(error, key))?;
    }
    Ok(())
}

/// Appends `text` as a JSON string: only `"`, `\` and control characters are escaped.
pub(crate) fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest
        .iter()
        .position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))
    {
        let (plain, odd) = rest.split_at(at);
        out.extend_from_slice(plain);
        let Some((byte, after)) = odd.split_first() else {
            break;
        };
        write_escape(out, *byte);
        rest = after;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

fn write_escape(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        0x08 => b'b',
        0x09 => b't',
        0x0a => b'n',
        0x0c => b'f',
        0x0d => b'r',
        0x00..=0x1f => return out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
        itself => itself,
    };
    out.extend_from_slice(&[b'\\', short]);
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
