//! Agents written for one vendor on the model of another: requests there, answers and streams back.
//!
//! A request is read into one neutral form and written from it, so that each protocol has one reader and one writer.
//! What the other protocol has no word for refuses, by pointer and reason; hints that change nothing in what an answer
//! may be are left out with a note. Nothing else is left out.

mod answer;
mod request;

use crate::json::View;
use crate::protocol::Protocol;
use crate::provider::Dialect;
use crate::request::Request;

pub use answer::{Context, Ended, Stream, Untold, answer};

/// A request in another protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Translated {
    /// The body. Its model is still the client's: read it with [`Request::parse`] and [`Request::rewrite`] it. A body of
    /// Converse has none.
    pub body: Vec<u8>,
    /// What was left out or put in other words.
    pub notes: Vec<Note>,
}

/// Something that the other protocol says otherwise, or does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// JSON pointer into the client's body.
    pub pointer: String,
    /// What became of it.
    pub what: &'static str,
}

/// How a place is told; the whole has no name.
fn place(pointer: &str) -> String {
    match pointer {
        "" => "the request".to_owned(),
        pointer => format!("`{pointer}`"),
    }
}

/// Something that cannot be said in the other protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} cannot be translated: {why}", place(pointer))]
pub struct Untranslatable {
    /// JSON pointer into the client's body.
    pub pointer: String,
    /// Why.
    pub why: &'static str,
}

/// Most entries of either list: one is enough to refuse.
const ENTRIES_MAX: usize = 64;

/// Translates a request. From Chat, Messages and Responses to Chat, Messages and Converse; all else refuses.
///
/// `to` is a protocol, or the dialect of it that a provider speaks ([`crate::provider::Provider::dialect`]).
/// The cap on its output, and for Converse the model (which stands in the path there), is set before: the translation says
/// what `request` says.
pub fn request(request: &Request, to: impl Into<Dialect>) -> Result<Translated, Vec<Untranslatable>> {
    let to = to.into();
    let mut ledger = Ledger::default();
    let root = request.root();
    let ask = match request.protocol() {
        Protocol::Chat => request::decode_chat(root, &mut ledger),
        Protocol::Messages => request::decode_messages(root, &mut ledger),
        Protocol::Responses => request::decode_responses(root, &mut ledger),
        _ => return Err(vec![unspoken(root)]),
    };
    let body = match to.protocol {
        Protocol::Converse => request::encode_converse(&ask, &mut ledger),
        Protocol::Chat => request::encode_chat(&ask, &to, &mut ledger),
        Protocol::Messages => request::encode_messages(&ask, &mut ledger),
        _ => return Err(vec![unspoken(root)]),
    };
    if ledger.refused.is_empty() {
        Ok(Translated {
            body: body.to_string().into_bytes(),
            notes: ledger.notes,
        })
    } else {
        Err(ledger.refused)
    }
}

fn unspoken(root: View) -> Untranslatable {
    Untranslatable {
        pointer: root.pointer(),
        why: "there is no translation between these two protocols",
    }
}

/// What was refused and noted so far.
#[derive(Default)]
struct Ledger {
    refused: Vec<Untranslatable>,
    notes: Vec<Note>,
}

impl Ledger {
    fn refuse(&mut self, at: View, why: &'static str) {
        if self.refused.len() < ENTRIES_MAX {
            let pointer = at.pointer();
            self.refused.push(Untranslatable { pointer, why });
        }
    }

    fn note(&mut self, at: View, what: &'static str) {
        if self.notes.len() < ENTRIES_MAX {
            let pointer = at.pointer();
            self.notes.push(Note { pointer, what });
        }
    }

    /// Each field of an object is read by somebody, or is a hint, or refuses.
    fn fields(&mut self, object: View, read: &[&str], hints: &[&str]) {
        for (key, value) in object.members() {
            if value.is_null() || read.contains(&key.as_ref()) {
                continue;
            }
            if hints.contains(&key.as_ref()) {
                self.note(value, "left out: a hint");
            } else {
                self.refuse(value, "the other protocol has no such field");
            }
        }
    }
}
