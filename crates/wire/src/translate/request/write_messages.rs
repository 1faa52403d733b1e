//! Messages, written.

use super::{Ask, Choice, Format, Part, Role, Says, Source, Thinking};
use crate::json::Json;
use crate::translate::Ledger;

pub(in crate::translate) fn encode_messages(ask: &Ask, ledger: &mut Ledger) -> Json {
    let mut body = Json::object()
        .set("model", ask.model)
        .maybe("max_tokens", ask.cap);
    if ask.stream {
        body.put("stream", true);
    }
    match ask.system.as_slice() {
        [] => (),
        [
            Part {
                says: Says::Text(text),
                ..
            },
        ] => body.put("system", text.as_ref()),
        parts => body.put("system", blocks(parts, ledger)),
    }
    let turns = ask.turns.iter().filter(|turn| !turn.parts.is_empty());
    let messages = turns.map(|turn| {
        let role = match turn.role {
            Role::User => "user",
            Role::Assistant => "assistant",
            // Newer models take it behind other turns; to older ones the vendor refuses it.
            Role::System => "system",
        };
        let content = match turn.parts.as_slice() {
            [
                Part {
                    says: Says::Text(text),
                    ..
                },
            ] => text.as_ref().into(),
            parts => Json::from(blocks(parts, ledger)),
        };
        Json::object().set("role", role).set("content", content)
    });
    let messages: Vec<Json> = messages.collect();
    body.put("messages", messages);
    settings(ask, &mut body, ledger);
    tools(ask, &mut body);
    body
}

fn settings(ask: &Ask, body: &mut Json, ledger: &mut Ledger) {
    if let Some(temperature) = ask.temperature {
        if temperature.number().is_none_or(|value| value > 1.0) {
            ledger.refuse(temperature, "a temperature above 1 does not exist there");
        }
        body.put("temperature", temperature);
    }
    for (key, value) in [("top_p", ask.top_p), ("top_k", ask.top_k)] {
        if let Some(value) = value {
            body.put(key, value);
        }
    }
    if !ask.stop.is_empty() {
        body.put(
            "stop_sequences",
            ask.stop.iter().map(|stop| Json::from(*stop)).collect::<Vec<_>>(),
        );
    }
    if let Some(user) = ask.user {
        body.put("metadata", Json::object().set("user_id", user));
    }
    let mut config = Json::object();
    match &ask.format {
        None => (),
        Some(Format::Json(at)) => ledger.refuse(*at, "JSON without a schema cannot be asked for there"),
        Some(Format::Schema { schema, .. }) => {
            config.put(
                "format",
                Json::object().set("type", "json_schema").set("schema", *schema),
            );
        }
    }
    match ask.effort.and_then(|effort| Some((effort, effort.text()?))) {
        None => (),
        Some((_, word)) if word == "none" => body.put("thinking", Json::object().set("type", "disabled")),
        Some((at, word)) if word == "minimal" => {
            ledger.note(at, "the least effort there is `low`");
            config.put("effort", "low");
        }
        Some((at, _)) => config.put("effort", at),
    }
    if config != Json::object() {
        body.put("output_config", config);
    }
    match ask.thinking {
        Thinking::Unsaid => (),
        Thinking::Off => body.put("thinking", Json::object().set("type", "disabled")),
        Thinking::Adaptive => body.put("thinking", Json::object().set("type", "adaptive")),
        Thinking::Budget(budget) => {
            body.put(
                "thinking",
                Json::object().set("type", "enabled").set("budget_tokens", budget),
            );
        }
    }
}

fn tools(ask: &Ask, body: &mut Json) {
    if !ask.tools.is_empty() {
        let tools = ask.tools.iter().map(|tool| {
            // A function without parameters takes none.
            let schema = tool.schema.map_or_else(
                || {
                    Json::object()
                        .set("type", "object")
                        .set("properties", Json::object())
                },
                Json::from,
            );
            Json::object()
                .set("name", tool.name)
                .maybe("description", tool.description)
                .set("input_schema", schema)
                .maybe("strict", tool.strict.filter(|strict| *strict))
        });
        body.put("tools", tools.collect::<Vec<_>>());
    }
    let one = |choice: Json| {
        if ask.parallel {
            choice
        } else {
            choice.set("disable_parallel_tool_use", true)
        }
    };
    let kind = |kind: &str| Json::object().set("type", kind);
    match &ask.choice {
        Some(Choice::None) => body.put("tool_choice", kind("none")),
        Some(Choice::Auto) => body.put("tool_choice", one(kind("auto"))),
        Some(Choice::Any) => body.put("tool_choice", one(kind("any"))),
        Some(Choice::Named(name)) => body.put("tool_choice", one(kind("tool").set("name", *name))),
        None if !ask.parallel && !ask.tools.is_empty() => body.put("tool_choice", one(kind("auto"))),
        None => (),
    }
}

fn blocks(parts: &[Part], ledger: &mut Ledger) -> Vec<Json> {
    // The vendor wants results of tools before all else in a turn.
    let (results, others): (Vec<_>, Vec<_>) = parts
        .iter()
        .partition(|part| matches!(part.says, Says::Result { .. }));
    results
        .into_iter()
        .chain(others)
        .filter_map(|part| block(part, ledger))
        .collect()
}

fn block(part: &Part, ledger: &mut Ledger) -> Option<Json> {
    let kind = |kind: &str| Json::object().set("type", kind);
    Some(match &part.says {
        Says::Text(text) => kind("text").set("text", text.as_ref()),
        Says::Image(from) => kind("image").set("source", source(from)),
        Says::Document { source: from, name } => {
            if let Source::Data { media, .. } = from
                && media != "application/pdf"
            {
                ledger.refuse(part.at, "a file that is no PDF");
                return None;
            }
            kind("document")
                .set("source", source(from))
                .maybe("title", name.as_deref())
        }
        Says::Call(call) => kind("tool_use")
            .set("id", call.id.as_ref())
            .set("name", call.name.as_ref())
            .set("input", Json::Raw(call.input.clone().into_owned())),
        Says::Result { id, parts, error } => {
            let content = match parts.as_slice() {
                [] => None,
                [
                    Part {
                        says: Says::Text(text),
                        ..
                    },
                ] => Some(Json::from(text.as_ref())),
                parts => Some(blocks(parts, ledger).into()),
            };
            kind("tool_result")
                .set("tool_use_id", id.as_ref())
                .maybe("content", content)
                .maybe("is_error", error.then_some(true))
        }
    })
}

fn source(from: &Source) -> Json {
    match from {
        Source::Data { media, data } => Json::object()
            .set("type", "base64")
            .set("media_type", media.as_ref())
            .set("data", data.as_ref()),
        Source::Url(url) => Json::object().set("type", "url").set("url", url.as_ref()),
    }
}
