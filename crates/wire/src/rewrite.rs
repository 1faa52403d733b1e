//! The three changes that are made to a body, in its bytes: all others stay as the client wrote them.

use crate::json::{Json, View, step};
use crate::protocol::Protocol;
use crate::request::Request;
use std::ops::Range;

/// What is to be changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rewrite<'a> {
    /// The upstream's name of the model.
    pub model: Option<&'a str>,
    /// A cap on the tokens of the answer, set where the client set none; never in place of the client's.
    pub output_cap: Option<u64>,
    /// Chat has two names for the cap: `max_completion_tokens`, and the older `max_tokens` that many servers
    /// of the same protocol know alone. `true` writes the older one.
    pub older_cap: bool,
    /// Ask a stream for its usage. Chat alone has to be asked.
    pub ask_usage: bool,
}

/// A change that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// JSON pointer.
    pub pointer: String,
    /// JSON text that stood there, where anything did.
    pub from: Option<String>,
    /// JSON text that stands there now.
    pub to: String,
}

impl Request {
    /// The body with these changes, and those that had to be made.
    pub fn rewrite(&self, rewrite: &Rewrite) -> (Vec<u8>, Vec<Change>) {
        let root = self.root();
        let mut edits = Vec::new();
        if let (Some(model), Some(old)) = (rewrite.model, root.get("model"))
            && !old.is(model)
        {
            edits.push(Edit::replace(old, Json::from(model).to_string(), "/model"));
        }
        if let (Some(cap), Some(key)) = (rewrite.output_cap, self.missing_cap(rewrite.older_cap)) {
            edits.push(Edit::set(root, key, cap.to_string(), ""));
        }
        if rewrite.ask_usage && self.stream() && !self.wants_usage() {
            edits.push(match root.some("stream_options") {
                Some(options) => Edit::set(options, "include_usage", "true".to_owned(), "/stream_options"),
                None => Edit::set(root, "stream_options", r#"{"include_usage":true}"#.to_owned(), ""),
            });
        }
        splice(self.bytes(), edits)
    }

    /// The field to cap the answer with, where the client capped nothing.
    fn missing_cap(&self, older: bool) -> Option<&'static str> {
        let (fields, key): (&[&str], _) = match self.protocol() {
            // A server that knows no other would not be held by what it does not read.
            Protocol::Chat if older => (&["max_tokens"], "max_tokens"),
            Protocol::Chat => (&["max_completion_tokens", "max_tokens"], "max_completion_tokens"),
            Protocol::Responses => (&["max_output_tokens"], "max_output_tokens"),
            Protocol::Messages => (&["max_tokens"], "max_tokens"),
            Protocol::Embeddings | Protocol::CountTokens | Protocol::Converse => return None,
        };
        let root = self.root();
        fields
            .iter()
            .all(|field| root.some(field).is_none())
            .then_some(key)
    }
}

/// Bytes to put in the place of others.
struct Edit {
    span: Range<usize>,
    bytes: String,
    change: Change,
}

impl Edit {
    fn replace(old: View, to: String, pointer: &str) -> Edit {
        Edit {
            span: old.span(),
            bytes: to.clone(),
            change: Change {
                pointer: pointer.to_owned(),
                from: Some(old.raw().to_owned()),
                to,
            },
        }
    }

    /// Sets a key of an object that has it as something else, or not: then before its first key.
    fn set(object: View, key: &str, to: String, place: &str) -> Edit {
        let pointer = step(place, key);
        if let Some(old) = object.get(key) {
            return Edit::replace(old, to, &pointer);
        }
        let start = object.span().start + 1;
        let comma = if object.is_empty() { "" } else { "," };
        Edit {
            span: start..start,
            bytes: format!("\"{key}\":{to}{comma}"),
            change: Change {
                pointer,
                from: None,
                to,
            },
        }
    }
}

fn splice(text: &[u8], mut edits: Vec<Edit>) -> (Vec<u8>, Vec<Change>) {
    // Stable: of two that are put before the first key, the one that was asked for first stands first.
    edits.sort_by_key(|edit| edit.span.start);
    let added: usize = edits.iter().map(|edit| edit.bytes.len()).sum();
    let mut out = Vec::with_capacity(text.len() + added);
    let mut at = 0;
    for edit in &edits {
        out.extend_from_slice(text.get(at..edit.span.start).unwrap_or_default());
        out.extend_from_slice(edit.bytes.as_bytes());
        at = edit.span.end;
    }
    out.extend_from_slice(text.get(at..).unwrap_or_default());
    (out, edits.into_iter().map(|edit| edit.change).collect())
}
