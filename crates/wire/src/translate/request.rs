//! The neutral form of a request.

mod chat;
mod messages;
mod responses;
mod write_chat;
mod write_converse;
mod write_messages;

use super::Ledger;
use crate::json::{Kind, Tape, View};
use std::borrow::Cow;

pub(super) use chat::decode_chat;
pub(super) use messages::decode_messages;
pub(super) use responses::decode_responses;
pub(super) use write_chat::encode_chat;
pub(super) use write_converse::encode_converse;
pub(super) use write_messages::encode_messages;

/// A request. Parts keep where they came from, for the writer that cannot say them.
pub(super) struct Ask<'a> {
    pub model: View<'a>,
    pub stream: bool,
    /// Before all turns.
    pub system: Vec<Part<'a>>,
    /// Neighbours differ in their roles.
    pub turns: Vec<Turn<'a>>,
    pub tools: Vec<Tool<'a>>,
    pub choice: Option<Choice<'a>>,
    /// `false` asks for one call at a time.
    pub parallel: bool,
    pub cap: Option<View<'a>>,
    pub temperature: Option<View<'a>>,
    pub top_p: Option<View<'a>>,
    pub top_k: Option<View<'a>>,
    /// Strings.
    pub stop: Vec<View<'a>>,
    pub format: Option<Format<'a>>,
    pub effort: Option<View<'a>>,
    pub thinking: Thinking<'a>,
    /// Who the vendor may hold to account, in the client's words.
    pub user: Option<View<'a>>,
}

impl<'a> Ask<'a> {
    fn new(model: View<'a>) -> Ask<'a> {
        Ask {
            model,
            stream: false,
            system: Vec::new(),
            turns: Vec::new(),
            tools: Vec::new(),
            choice: None,
            parallel: true,
            cap: None,
            temperature: None,
            top_p: None,
            top_k: None,
            stop: Vec::new(),
            format: None,
            effort: None,
            thinking: Thinking::Unsaid,
            user: None,
        }
    }

    /// Adds to the last turn where it is of the same role: what one protocol says in several messages, another has in one.
    fn say(&mut self, role: Role, parts: Vec<Part<'a>>) {
        match self.turns.last_mut() {
            Some(last) if last.role == role => last.parts.extend(parts),
            _ => self.turns.push(Turn { role, parts }),
        }
    }

    /// System text stands before all turns in some protocols, and anywhere in others.
    fn say_system(&mut self, parts: Vec<Part<'a>>) {
        if self.turns.is_empty() {
            self.system.extend(parts);
        } else {
            self.say(Role::System, parts);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Only behind other turns.
    System,
    User,
    Assistant,
}

pub(super) struct Turn<'a> {
    pub role: Role,
    pub parts: Vec<Part<'a>>,
}

pub(super) struct Part<'a> {
    pub at: View<'a>,
    pub says: Says<'a>,
}

pub(super) enum Says<'a> {
    Text(Cow<'a, str>),
    Image(Source<'a>),
    Document {
        source: Source<'a>,
        name: Option<Cow<'a, str>>,
    },
    Call(Call<'a>),
    Result {
        id: Cow<'a, str>,
        /// Texts, images and documents.
        parts: Vec<Part<'a>>,
        error: bool,
    },
}

pub(super) struct Call<'a> {
    pub id: Cow<'a, str>,
    pub name: Cow<'a, str>,
    /// A JSON object.
    pub input: Cow<'a, str>,
}

pub(super) enum Source<'a> {
    /// Base64.
    Data {
        media: Cow<'a, str>,
        data: Cow<'a, str>,
    },
    Url(Cow<'a, str>),
}

pub(super) struct Tool<'a> {
    pub name: View<'a>,
    pub description: Option<View<'a>>,
    /// An object, where there is one.
    pub schema: Option<View<'a>>,
    pub strict: Option<bool>,
}

pub(super) enum Choice<'a> {
    Auto,
    None,
    Any,
    Named(View<'a>),
}

pub(super) enum Format<'a> {
    /// Some JSON.
    Json(View<'a>),
    Schema {
        name: Option<View<'a>>,
        schema: View<'a>,
        strict: Option<bool>,
    },
}

/// Anthropic's setting.
pub(super) enum Thinking<'a> {
    Unsaid,
    Off,
    Adaptive,
    /// Tokens.
    Budget(View<'a>),
}

impl<'a> Part<'a> {
    /// A text. An empty one says nothing, and some vendors refuse it.
    fn text(at: View<'a>, text: Cow<'a, str>) -> Option<Part<'a>> {
        let says = Says::Text(text);
        (!matches!(&says, Says::Text(text) if text.is_empty())).then_some(Part { at, says })
    }
}

/// A string of a field that has to be there.
fn required<'a>(object: View<'a>, key: &str, ledger: &mut Ledger) -> Cow<'a, str> {
    let text = object.some(key).and_then(|value| value.text());
    if text.is_none() {
        ledger.refuse(
            object,
            "a string that belongs to it is missing (an id, a name, a text or arguments)",
        );
    }
    text.unwrap_or_default()
}

/// An address, or data in it (RFC 2397). Data that is no base64 is refused.
fn source<'a>(at: View<'a>, url: Cow<'a, str>, ledger: &mut Ledger) -> Option<Source<'a>> {
    let data = |url: &str| {
        url.get(..5)
            .is_some_and(|head| head.eq_ignore_ascii_case("data:"))
    };
    if !data(&url) {
        return Some(Source::Url(url));
    }
    let split = url.get(5..).and_then(|rest| rest.split_once(','));
    let Some((media, payload)) =
        split.and_then(|(head, payload)| Some((head.strip_suffix(";base64")?, payload)))
    else {
        ledger.refuse(at, "a data URL that is not base64");
        return None;
    };
    let media = media.split(';').next().unwrap_or_default();
    Some(Source::Data {
        media: Cow::Owned(media.to_owned()),
        data: Cow::Owned(payload.to_owned()),
    })
}

/// Arguments that came as a string: a JSON object, or nothing, which is one without fields.
fn arguments<'a>(at: View<'a>, text: Cow<'a, str>, ledger: &mut Ledger) -> Cow<'a, str> {
    if text.trim().is_empty() {
        return Cow::Borrowed("{}");
    }
    let object = Tape::parse(&text, crate::Limits::default().depth)
        .is_ok_and(|tape| tape.root(&text).kind() == Kind::Object);
    if !object {
        ledger.refuse(at, "arguments of a call that are no JSON object");
    }
    text
}

/// A `stop` that is a string or a list of strings.
fn stops<'a>(value: Option<View<'a>>, ledger: &mut Ledger) -> Vec<View<'a>> {
    let Some(value) = value else { return Vec::new() };
    let list: Vec<View> = if value.kind() == Kind::Text {
        vec![value]
    } else {
        value.items().collect()
    };
    if value.kind() != Kind::Text
        && (value.kind() != Kind::Array || list.iter().any(|item| item.kind() != Kind::Text))
    {
        ledger.refuse(value, "neither a string nor a list of strings");
    }
    list
}

/// Refuses a value that is set to anything but what holds without it.
fn only(value: Option<View>, good: impl Fn(View) -> bool, why: &'static str, ledger: &mut Ledger) {
    if let Some(value) = value
        && !good(value)
    {
        ledger.refuse(value, why);
    }
}
