//! Types of all that is read later, checked once.

use crate::json::{Kind, View, step};
use crate::protocol::Protocol;
use crate::request::{Fault, FaultCode};

/// What a field may be. `null` counts as absent wherever a field is not required.
#[derive(Clone, Copy)]
enum Want {
    Text,
    Flag,
    /// A finite number.
    Number,
    /// A whole number from 0.
    Whole,
    /// A whole number from 1.
    Count,
    Object,
    Text0rList,
    /// Objects, each with the fields named: (key, required).
    Objects(&'static [(&'static str, bool, Want)]),
    /// A string, or objects that have a type.
    Content,
}

type Field = (&'static str, bool, Want);

const PART: &[Field] = &[("type", true, Want::Text)];
const TOOL: &[Field] = &[("type", false, Want::Text), ("name", false, Want::Text)];

const CHAT: &[Field] = &[
    ("model", true, Want::Text),
    (
        "messages",
        true,
        Want::Objects(&[
            ("role", true, Want::Text),
            ("content", false, Want::Content),
            ("tool_calls", false, Want::Objects(&[])),
        ]),
    ),
    ("stream", false, Want::Flag),
    ("stream_options", false, Want::Object),
    ("max_tokens", false, Want::Whole),
    ("max_completion_tokens", false, Want::Whole),
    ("n", false, Want::Count),
    ("best_of", false, Want::Count),
    ("temperature", false, Want::Number),
    ("tools", false, Want::Objects(&[("type", true, Want::Text)])),
    ("service_tier", false, Want::Text),
    ("store", false, Want::Flag),
];

const RESPONSES: &[Field] = &[
    ("model", true, Want::Text),
    ("input", false, Want::Text0rList),
    ("stream", false, Want::Flag),
    ("max_output_tokens", false, Want::Whole),
    ("max_tool_calls", false, Want::Whole),
    ("temperature", false, Want::Number),
    ("tools", false, Want::Objects(&[("type", true, Want::Text)])),
    ("service_tier", false, Want::Text),
    ("background", false, Want::Flag),
    ("store", false, Want::Flag),
    ("previous_response_id", false, Want::Text),
];

const EMBEDDINGS: &[Field] = &[("model", true, Want::Text), ("input", true, Want::Text0rList)];

const MESSAGES: &[Field] = &[
    ("model", true, Want::Text),
    (
        "messages",
        true,
        Want::Objects(&[("role", true, Want::Text), ("content", true, Want::Content)]),
    ),
    ("system", false, Want::Content),
    ("stream", false, Want::Flag),
    ("max_tokens", false, Want::Whole),
    ("temperature", false, Want::Number),
    ("tools", false, Want::Objects(TOOL)),
    ("thinking", false, Want::Object),
    ("service_tier", false, Want::Text),
    ("mcp_servers", false, Want::Objects(&[])),
];

/// Checks what is read of a body. Other fields are the vendor's to judge.
pub(crate) fn check(protocol: Protocol, root: View) -> Result<(), Fault> {
    if root.kind() != Kind::Object {
        return Err(wrong("", "the body is no object"));
    }
    let table = match protocol {
        Protocol::Chat => CHAT,
        Protocol::Responses => RESPONSES,
        Protocol::Embeddings => EMBEDDINGS,
        Protocol::Messages | Protocol::CountTokens => MESSAGES,
        Protocol::Converse => return Err(wrong("", "no client speaks this protocol here")),
    };
    fields(root, table, "")?;
    match protocol {
        Protocol::Chat => chat(root)?,
        Protocol::Responses => input(root)?,
        _ => (),
    }
    if root.get("model").is_some_and(|model| model.is("")) {
        return Err(fault(
            FaultCode::OutOfRange,
            "/model",
            "the name of a model is empty",
        ));
    }
    Ok(())
}

fn chat(root: View) -> Result<(), Fault> {
    match root.at(&["stream_options", "include_usage"]) {
        Some(value) => want(value, Want::Flag, "/stream_options/include_usage"),
        None => Ok(()),
    }
}

/// Items of `input` have a type, or are messages in short.
fn input(root: View) -> Result<(), Fault> {
    let items = root.get("input").into_iter().flat_map(|input| input.items());
    for (at, item) in items.enumerate() {
        let place = || step("/input", &at.to_string());
        if item.kind() != Kind::Object {
            return Err(wrong(&place(), "expected an object"));
        }
        if let Some(content) = item.some("content") {
            want(content, Want::Content, &step(&place(), "content"))?;
        }
        let named = ["type", "role"].iter().any(|key| item.some(key).is_some());
        if !named {
            let message = "neither a type nor a role";
            return Err(fault(FaultCode::Missing, &step(&place(), "type"), message));
        }
        if let Some(kind) = item.some("type") {
            want(kind, Want::Text, &step(&place(), "type"))?;
        }
    }
    Ok(())
}

fn fields(object: View, table: &[Field], place: &str) -> Result<(), Fault> {
    for (key, required, kind) in table {
        match object.some(key) {
            Some(value) => want(value, *kind, &step(place, key))?,
            None if *required => {
                return Err(fault(
                    FaultCode::Missing,
                    &step(place, key),
                    "a required field is missing",
                ));
            }
            None => (),
        }
    }
    Ok(())
}

fn want(value: View, want: Want, place: &str) -> Result<(), Fault> {
    let kind = value.kind();
    let good = match want {
        Want::Text => kind == Kind::Text,
        Want::Flag => value.bool().is_some(),
        Want::Number => return number(value.number().is_some(), kind, place, "expected a number"),
        Want::Whole => return number(value.whole().is_some(), kind, place, "expected a whole number"),
        Want::Count => {
            let good = value.whole().is_some_and(|count| count > 0);
            return number(good, kind, place, "expected a whole number from 1");
        }
        Want::Object => kind == Kind::Object,
        Want::Text0rList => matches!(kind, Kind::Text | Kind::Array),
        Want::Objects(table) => return objects(value, table, place),
        Want::Content if kind == Kind::Text => true,
        Want::Content => return objects(value, PART, place),
    };
    let expected = match want {
        Want::Text => "expected a string",
        Want::Flag => "expected true or false",
        Want::Object => "expected an object",
        _ => "expected a string or an array",
    };
    if good { Ok(()) } else { Err(wrong(place, expected)) }
}

fn number(good: bool, kind: Kind, place: &str, expected: &str) -> Result<(), Fault> {
    match (good, kind) {
        (true, _) => Ok(()),
        (false, Kind::Number) => Err(fault(FaultCode::OutOfRange, place, expected)),
        (false, _) => Err(wrong(place, expected)),
    }
}

fn objects(value: View, table: &[Field], place: &str) -> Result<(), Fault> {
    if value.kind() != Kind::Array {
        return Err(wrong(place, "expected an array"));
    }
    for (at, item) in value.items().enumerate() {
        if item.kind() != Kind::Object {
            return Err(wrong(&step(place, &at.to_string()), "expected an object"));
        }
        // The place is made where it is needed: most bodies are right.
        if fields(item, table, "").is_err() {
            return fields(item, table, &step(place, &at.to_string()));
        }
    }
    Ok(())
}

fn wrong(place: &str, message: &str) -> Fault {
    fault(FaultCode::WrongType, place, message)
}

fn fault(code: FaultCode, place: &str, message: &str) -> Fault {
    Fault {
        code,
        place: place.to_owned(),
        message: message.to_owned(),
    }
}
