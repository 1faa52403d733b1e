//! Chat, written.

use super::{Ask, Choice, Format, Part, Role, Says, Source, Thinking, Turn};
use crate::json::Json;
use crate::provider::Dialect;
use crate::translate::Ledger;

/// Most stop sequences that OpenAI takes.
const STOPS_MAX: usize = 4;

pub(in crate::translate) fn encode_chat(ask: &Ask, to: &Dialect, ledger: &mut Ledger) -> Json {
    let mut body = Json::object().set("model", ask.model);
    if ask.stream {
        body.put("stream", true);
    }
    // The usage of the whole comes in the last chunk only where it is asked for, and the client's protocol has it.
    if ask.stream && to.ask_usage {
        body.put("stream_options", Json::object().set("include_usage", true));
    }
    let mut messages = Vec::new();
    if !ask.system.is_empty() {
        messages.push(message("system", &ask.system, ledger));
    }
    for turn in &ask.turns {
        turn_messages(turn, &mut messages, ledger);
    }
    body.put("messages", messages);
    settings(ask, to, &mut body, ledger);
    tools(ask, &mut body);
    body
}

fn settings(ask: &Ask, to: &Dialect, body: &mut Json, ledger: &mut Ledger) {
    if let Some(cap) = ask.cap {
        body.put(
            if to.older_cap {
                "max_tokens"
            } else {
                "max_completion_tokens"
            },
            cap,
        );
    }
    let mut user = ask.user;
    if to.strict
        && let Some(user) = user.take()
    {
        ledger.note(user, "left out: a hint");
    }
    for (key, value) in [
        ("temperature", ask.temperature),
        ("top_p", ask.top_p),
        ("user", user),
    ] {
        if let Some(value) = value {
            body.put(key, value);
        }
    }
    if let Some(top_k) = ask.top_k {
        ledger.refuse(top_k, "there is no `top_k` there");
    }
    if let Some(beyond) = ask.stop.get(STOPS_MAX) {
        ledger.refuse(*beyond, "more than four stop sequences");
    }
    if !ask.stop.is_empty() {
        body.put("stop", ask.stop.iter().map(Json::from).collect::<Vec<_>>());
    }
    match &ask.format {
        None => (),
        Some(Format::Json(at)) => body.put("response_format", *at),
        Some(Format::Schema { name, schema, strict }) => {
            let schema = Json::object()
                .set("name", name.map_or_else(|| "answer".into(), Json::from))
                .set("schema", *schema)
                .maybe("strict", *strict);
            let format = Json::object()
                .set("type", "json_schema")
                .set("json_schema", schema);
            body.put("response_format", format);
        }
    }
    match (ask.effort, &ask.thinking) {
        (Some(effort), _) if effort.is("max") => {
            ledger.note(effort, "the greatest effort there is `xhigh`");
            body.put("reasoning_effort", "xhigh");
        }
        (Some(effort), _) => body.put("reasoning_effort", effort),
        (None, Thinking::Budget(budget)) => {
            ledger.note(*budget, "a budget of thinking became an effort");
            let effort = match budget.whole().unwrap_or_default() {
                0..=2048 => "low",
                2049..=8192 => "medium",
                _ => "high",
            };
            body.put("reasoning_effort", effort);
        }
        (None, _) => (),
    }
}

fn tools(ask: &Ask, body: &mut Json) {
    let function = |function: Json| Json::object().set("type", "function").set("function", function);
    if !ask.tools.is_empty() {
        let tools = ask.tools.iter().map(|tool| {
            function(
                Json::object()
                    .set("name", tool.name)
                    .maybe("description", tool.description)
                    .maybe("parameters", tool.schema)
                    .maybe("strict", tool.strict),
            )
        });
        body.put("tools", tools.collect::<Vec<_>>());
        if !ask.parallel {
            body.put("parallel_tool_calls", false);
        }
    }
    match &ask.choice {
        None => (),
        Some(Choice::Auto) => body.put("tool_choice", "auto"),
        Some(Choice::None) => body.put("tool_choice", "none"),
        Some(Choice::Any) => body.put("tool_choice", "required"),
        Some(Choice::Named(name)) => body.put("tool_choice", function(Json::object().set("name", *name))),
    }
}

/// One turn can be several messages: each result of a tool is one, before what else is said.
fn turn_messages(turn: &Turn, messages: &mut Vec<Json>, ledger: &mut Ledger) {
    if turn.role == Role::Assistant {
        messages.extend(assistant(turn, ledger));
        return;
    }
    let mut said = Vec::new();
    for part in &turn.parts {
        match &part.says {
            Says::Result { id, parts, error } => {
                if *error {
                    ledger.note(part.at, "that a call failed is left to its text");
                }
                let text = texts(parts, ledger);
                messages.push(
                    Json::object()
                        .set("role", "tool")
                        .set("tool_call_id", id.as_ref())
                        .set("content", text),
                );
            }
            Says::Call(_) => ledger.refuse(part.at, "a call that the model did not make"),
            _ => said.push(part),
        }
    }
    if !said.is_empty() {
        let role = if turn.role == Role::System {
            "system"
        } else {
            "user"
        };
        messages.push(message(role, said, ledger));
    }
}

fn message<'p, 'a: 'p>(
    role: &str,
    parts: impl IntoIterator<Item = &'p Part<'a>>,
    ledger: &mut Ledger,
) -> Json {
    let parts: Vec<&Part> = parts.into_iter().collect();
    let content = match parts.as_slice() {
        [
            Part {
                says: Says::Text(text),
                ..
            },
        ] => Json::from(text.as_ref()),
        parts => parts
            .iter()
            .filter_map(|part| content_part(part, ledger))
            .collect::<Vec<_>>()
            .into(),
    };
    Json::object().set("role", role).set("content", content)
}

fn content_part(part: &Part, ledger: &mut Ledger) -> Option<Json> {
    let kind = |kind: &str| Json::object().set("type", kind);
    Some(match &part.says {
        Says::Text(text) => kind("text").set("text", text.as_ref()),
        Says::Image(source) => kind("image_url").set("image_url", Json::object().set("url", url(source))),
        Says::Document {
            source: Source::Url(_),
            ..
        } => {
            ledger.refuse(part.at, "a file by its address");
            return None;
        }
        Says::Document { source, name } => {
            let name = name.as_deref().unwrap_or("document.pdf");
            kind("file").set(
                "file",
                Json::object().set("filename", name).set("file_data", url(source)),
            )
        }
        Says::Call(_) | Says::Result { .. } => {
            ledger.refuse(part.at, "a call or a result of one in this place");
            return None;
        }
    })
}

fn url(source: &Source) -> String {
    match source {
        Source::Data { media, data } => format!("data:{media};base64,{data}"),
        Source::Url(url) => url.clone().into_owned(),
    }
}

fn assistant(turn: &Turn, ledger: &mut Ledger) -> Option<Json> {
    let mut calls = Vec::new();
    let mut said = Vec::new();
    for part in &turn.parts {
        match &part.says {
            Says::Call(call) => calls.push(
                Json::object()
                    .set("id", call.id.as_ref())
                    .set("type", "function")
                    .set(
                        "function",
                        Json::object()
                            .set("name", call.name.as_ref())
                            .set("arguments", call.input.as_ref()),
                    ),
            ),
            Says::Text(_) => said.push(part),
            _ => ledger.refuse(part.at, "content that a model does not give there"),
        }
    }
    if calls.is_empty() && said.is_empty() {
        return None;
    }
    let message = if said.is_empty() {
        Json::object()
            .set("role", "assistant")
            .set("content", Json::null())
    } else {
        message("assistant", said, ledger)
    };
    Some(message.maybe("tool_calls", (!calls.is_empty()).then_some(calls)))
}

/// What a tool gave: text alone.
fn texts(parts: &[Part], ledger: &mut Ledger) -> Json {
    for part in parts {
        if !matches!(part.says, Says::Text(_)) {
            ledger.refuse(part.at, "results of tools are text alone there");
        }
    }
    match parts {
        [] => "".into(),
        [
            Part {
                says: Says::Text(text),
                ..
            },
        ] => text.as_ref().into(),
        parts => parts
            .iter()
            .filter_map(|part| content_part(part, ledger))
            .collect::<Vec<_>>()
            .into(),
    }
}
