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
    if is_sorted(members) {
        return write_members(out, members.iter(), depth);
    }
    let mut sorted: Vec<_> = members.iter().collect();
    sorted.sort_unstable_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
    write_members(out, sorted.into_iter(), depth)
}

/// First byte from which on the order of UTF-8 is not that of UTF-16: it leads U+E000 and all above,
/// some of which (from U+10000 on) are surrogates in UTF-16 and sort before U+E000 there.
const ODD_MIN: u8 = 0xee;

/// Whether the members lie in canonical order for sure. Looks at the keys only: what would go over the
/// values as well, and start again when it finds a key out of order, could double its work at each depth.
fn is_sorted(members: &Map<String, Value>) -> bool {
    let mut previous: Option<&[u8]> = None;
    members.keys().all(|key| {
        let key = key.as_bytes();
        let is_after = previous
            .replace(key)
            .is_none_or(|previous| is_before(previous, key));
        is_after && (key.is_ascii() || key.iter().all(|byte| *byte < ODD_MIN))
    })
}

/// Most keys differ in their first byte already.
fn is_before(a: &[u8], b: &[u8]) -> bool {
    match (a.first(), b.first()) {
        (Some(first), Some(second)) if first != second => first < second,
        _ => a < b,
    }
}

fn write_members<'m>(
    out: &mut Vec<u8>,
    members: impl Iterator<Item = (&'m String, &'m Value)>,
    depth: usize,
) -> Result<(), CanonicalError> {
    out.push(b'{');
    for (at, (key, value)) in members.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_member(out, key, value, depth)?;
    }
    out.push(b'}');
    Ok(())
}

fn write_member(out: &mut Vec<u8>, key: &str, value: &Value, depth: usize) -> Result<(), CanonicalError> {
    write_string(out, key);
    out.push(b':');
    write_value(out, value, depth).map_err(|error| below(error, key))
}

/// Appends `text` as a JSON string: only `"`, `\` and control characters are escaped.
pub(crate) fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = escaped_at(rest) {
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

/// Where the first byte stands that has to be escaped. Looks at sixteen at a time, without a branch
/// between them, for the compiler to put side by side.
fn escaped_at(text: &[u8]) -> Option<usize> {
    let is_escaped = |byte: u8| (byte < 0x20) | (byte == b'"') | (byte == b'\\');
    let (blocks, tail) = text.as_chunks::<16>();
    let plain = blocks
        .iter()
        .take_while(|block| !block.iter().fold(false, |any, byte| any | is_escaped(*byte)))
        .count();
    let rest = blocks.get(plain).map_or(tail, |block| block.as_slice());
    rest.iter()
        .position(|byte| is_escaped(*byte))
        .map(|at| plain * 16 + at)
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
