//! Writing JSON in a given order, with parts taken over as they were written.

use super::View;
use std::fmt::Write as _;

/// A value to be written. Objects keep the order in which their keys were set.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    /// JSON already: numbers, words, parts of a parsed text.
    Raw(String),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    pub(crate) fn object() -> Json {
        Json::Object(Vec::new())
    }

    pub(crate) fn null() -> Json {
        Json::Raw("null".to_owned())
    }

    /// Sets a key that is not there yet. On anything but an object it does nothing.
    pub(crate) fn set(mut self, key: &str, value: impl Into<Json>) -> Json {
        self.put(key, value);
        self
    }

    /// [`Json::set`], where there is a value.
    pub(crate) fn maybe(self, key: &str, value: Option<impl Into<Json>>) -> Json {
        match value {
            Some(value) => self.set(key, value),
            None => self,
        }
    }

    pub(crate) fn put(&mut self, key: &str, value: impl Into<Json>) {
        if let Json::Object(members) = self {
            members.push((key.to_owned(), value.into()));
        }
    }

    pub(crate) fn write(&self, out: &mut String) {
        match self {
            Json::Raw(raw) => out.push_str(raw),
            Json::Text(text) => write_text(text, out),
            Json::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    out.push(if at == 0 { '[' } else { ',' });
                    item.write(out);
                }
                out.push_str(if items.is_empty() { "[]" } else { "]" });
            }
            Json::Object(members) => {
                for (at, (key, value)) in members.iter().enumerate() {
                    out.push(if at == 0 { '{' } else { ',' });
                    write_text(key, out);
                    out.push(':');
                    value.write(out);
                }
                out.push_str(if members.is_empty() { "{}" } else { "}" });
            }
        }
    }
}

impl std::fmt::Display for Json {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = String::new();
        self.write(&mut out);
        f.write_str(&out)
    }
}

fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\u{1f}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

impl From<&str> for Json {
    fn from(text: &str) -> Json {
        Json::Text(text.to_owned())
    }
}
impl From<String> for Json {
    fn from(text: String) -> Json {
        Json::Text(text)
    }
}
impl From<std::borrow::Cow<'_, str>> for Json {
    fn from(text: std::borrow::Cow<'_, str>) -> Json {
        Json::Text(text.into_owned())
    }
}
impl From<u64> for Json {
    fn from(number: u64) -> Json {
        Json::Raw(number.to_string())
    }
}
impl From<bool> for Json {
    fn from(value: bool) -> Json {
        Json::Raw(value.to_string())
    }
}
impl From<Vec<Json>> for Json {
    fn from(items: Vec<Json>) -> Json {
        Json::Array(items)
    }
}
/// As it was written.
impl From<View<'_>> for Json {
    fn from(view: View<'_>) -> Json {
        Json::Raw(view.raw().to_owned())
    }
}
impl From<&View<'_>> for Json {
    fn from(view: &View) -> Json {
        Json::from(*view)
    }
}
