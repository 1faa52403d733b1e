//! A body as views show it: its shape, and of its words only those that belong to the protocol.
//!
//! Lists of what is shown, not of what is hidden: a text under a key that is on none becomes its length.

use crate::json::{Kind, Tape, View};
use serde_json::{Map, Value};

/// Words of protocols: shown while they are short.
const WORDS: &[&str] = &[
    "code",
    "detail",
    "effort",
    "finish_reason",
    "format",
    "id",
    "media_type",
    "model",
    "name",
    "object",
    "role",
    "service_tier",
    "status",
    "stop_reason",
    "tool_call_id",
    "tool_choice",
    "tool_use_id",
    "call_id",
    "ttl",
    "type",
];

/// Objects and lists that are gone into.
const SHAPES: &[&str] = &[
    "cache_control",
    "cache_creation",
    "choices",
    "completion_tokens_details",
    "content",
    "content_block",
    "custom",
    "delta",
    "error",
    "function",
    "image_url",
    "incomplete_details",
    "input",
    "input_audio",
    "input_tokens_details",
    "item",
    "message",
    "messages",
    "output",
    "output_config",
    "output_tokens_details",
    "part",
    "prompt_tokens_details",
    "reasoning",
    "response",
    "response_format",
    "server_tool_use",
    "source",
    "stream_options",
    "summary",
    "system",
    "thinking",
    "tool_calls",
    "tool_choice",
    "tools",
    "usage",
];

/// Longest word that is shown, in bytes.
const WORD_BYTES_MAX: usize = 128;
/// Most elements of a list that are shown.
const ITEMS_MAX: usize = 256;

/// The body of a request or an answer, with texts replaced by their lengths. What is no JSON becomes its length.
pub fn redacted(body: &[u8]) -> Value {
    let text = std::str::from_utf8(body).unwrap_or_default();
    match Tape::parse(text, crate::Limits::default().depth) {
        Ok(tape) if !text.is_empty() => value("", tape.root(text)),
        _ => length(body.len()),
    }
}

fn length(bytes: usize) -> Value {
    Value::String(format!("‹{bytes} bytes›"))
}

fn value(key: &str, view: View) -> Value {
    match view.kind() {
        Kind::Null => Value::Null,
        Kind::Bool(value) => Value::Bool(value),
        // Numbers are settings and counts wherever we go.
        Kind::Number => serde_json::from_str(view.raw()).unwrap_or(Value::Null),
        Kind::Text => {
            let text = view.text().unwrap_or_default();
            let word =
                WORDS.contains(&key) && text.len() <= WORD_BYTES_MAX && !text.contains(char::is_whitespace);
            if word {
                Value::String(text.into_owned())
            } else {
                length(text.len())
            }
        }
        Kind::Array => array(view),
        // What a tool is called with has keys of others.
        Kind::Object if key == "input" => length(view.raw().len()),
        Kind::Object => object(view),
    }
}

fn array(view: View) -> Value {
    let mut items = Vec::new();
    let mut rest = view.items();
    for item in rest.by_ref().take(ITEMS_MAX) {
        // Tokens and vectors are content in numbers.
        if item.kind() == Kind::Number || item.kind() == Kind::Array {
            return length(view.raw().len());
        }
        items.push(value("", item));
    }
    let left = rest.count();
    if left > 0 {
        items.push(Value::String(format!("‹{left} more›")));
    }
    Value::Array(items)
}

fn object(view: View) -> Value {
    let mut object = Map::new();
    let mut others = 0;
    // Who speaks may have a name; it is a person's, where that of a tool is a word.
    let person = view.get("role").is_some();
    for (key, inner) in view.members() {
        let scalar = !matches!(inner.kind(), Kind::Array | Kind::Object);
        if !known(&key) {
            others += inner.raw().len();
        } else if person && key == "name" {
            object.insert(key.into_owned(), length(inner.raw().len()));
        } else if scalar || SHAPES.contains(&key.as_ref()) {
            object.insert(key.clone().into_owned(), value(&key, inner));
        } else {
            object.insert(key.into_owned(), length(inner.raw().len()));
        }
    }
    if others > 0 {
        object.insert("…".to_owned(), length(others));
    }
    Value::Object(object)
}

/// Keys come from outside too: those that protocols have are short words of small letters.
fn known(key: &str) -> bool {
    key.len() <= 32
        && key
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}
