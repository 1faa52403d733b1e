//! Converse (Amazon Bedrock), written. The model and whether it is a stream stand in the path.

use super::{Ask, Choice, Format, Part, Role, Says, Source, Thinking};
use crate::json::Json;
use crate::translate::Ledger;

pub(in crate::translate) fn encode_converse(ask: &Ask, ledger: &mut Ledger) -> Json {
    let mut messages = Vec::new();
    for turn in ask.turns.iter().filter(|turn| !turn.parts.is_empty()) {
        let role = match turn.role {
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::System => {
                for part in &turn.parts {
                    ledger.refuse(part.at, "system text stands before all else there");
                }
                continue;
            }
        };
        let content: Vec<Json> = turn.parts.iter().filter_map(|part| block(part, ledger)).collect();
        messages.push(Json::object().set("role", role).set("content", content));
    }
    let mut body = Json::object().set("messages", messages);
    let system: Vec<Json> = ask.system.iter().filter_map(|part| block(part, ledger)).collect();
    if !system.is_empty() {
        body.put("system", system);
    }
    settings(ask, &mut body, ledger);
    tools(ask, &mut body, ledger);
    body
}

fn settings(ask: &Ask, body: &mut Json, ledger: &mut Ledger) {
    if let Some(temperature) = ask.temperature
        && temperature.number().is_none_or(|value| value > 1.0)
    {
        ledger.refuse(temperature, "a temperature above 1 does not exist there");
    }
    let stops: Vec<Json> = ask.stop.iter().map(Json::from).collect();
    let config = Json::object()
        .maybe("maxTokens", ask.cap)
        .maybe("temperature", ask.temperature)
        .maybe("topP", ask.top_p)
        .maybe("stopSequences", (!stops.is_empty()).then_some(stops));
    if config != Json::object() {
        body.put("inferenceConfig", config);
    }
    let mut output = Json::object();
    match &ask.format {
        None => (),
        Some(Format::Json(at)) => ledger.refuse(*at, "JSON without a schema cannot be asked for there"),
        Some(Format::Schema { name, schema, .. }) => {
            // The schema is a string there.
            let schema = Json::object().set("schema", schema.raw()).maybe("name", *name);
            let structure = Json::object().set("jsonSchema", schema);
            output.put(
                "textFormat",
                Json::object()
                    .set("type", "json_schema")
                    .set("structure", structure),
            );
        }
    }
    if let Some(effort) = ask.effort {
        output.put("effort", effort);
    }
    if output != Json::object() {
        body.put("outputConfig", output);
    }
    if let Some(top_k) = ask.top_k {
        ledger.refuse(top_k, "there is no `top_k` there");
    }
    if let Some(user) = ask.user {
        ledger.note(user, "left out: a hint");
    }
    // Models of one vendor alone think by a budget; the field is theirs.
    if let Thinking::Budget(budget) = ask.thinking {
        let thinking = Json::object().set("type", "enabled").set("budget_tokens", budget);
        body.put(
            "additionalModelRequestFields",
            Json::object().set("thinking", thinking),
        );
    }
}

fn tools(ask: &Ask, body: &mut Json, ledger: &mut Ledger) {
    if let Some(Choice::None) = ask.choice {
        if let Some(tool) = ask.tools.first() {
            ledger.refuse(tool.name, "tools that may not be used cannot be offered there");
        }
        return;
    }
    if ask.tools.is_empty() {
        return;
    }
    if !ask.parallel
        && let Some(tool) = ask.tools.first()
    {
        ledger.refuse(tool.name, "one call at a time cannot be asked for there");
    }
    let tools = ask.tools.iter().map(|tool| {
        let schema = tool.schema.map_or_else(
            || {
                Json::object()
                    .set("type", "object")
                    .set("properties", Json::object())
            },
            Json::from,
        );
        let spec = Json::object()
            .set("name", tool.name)
            .maybe("description", tool.description)
            .set("inputSchema", Json::object().set("json", schema))
            .maybe("strict", tool.strict.filter(|strict| *strict));
        Json::object().set("toolSpec", spec)
    });
    let choice = match &ask.choice {
        Some(Choice::Auto) => Some(Json::object().set("auto", Json::object())),
        Some(Choice::Any) => Some(Json::object().set("any", Json::object())),
        Some(Choice::Named(name)) => Some(Json::object().set("tool", Json::object().set("name", *name))),
        Some(Choice::None) | None => None,
    };
    let config = Json::object()
        .set("tools", tools.collect::<Vec<_>>())
        .maybe("toolChoice", choice);
    body.put("toolConfig", config);
}

fn block(part: &Part, ledger: &mut Ledger) -> Option<Json> {
    Some(match &part.says {
        Says::Text(text) => Json::object().set("text", text.as_ref()),
        Says::Image(from) => {
            let formats = [
                ("image/png", "png"),
                ("image/jpeg", "jpeg"),
                ("image/gif", "gif"),
                ("image/webp", "webp"),
            ];
            Json::object().set("image", data(part, from, &formats, ledger)?)
        }
        Says::Document { source, name } => {
            let formats = [
                ("application/pdf", "pdf"),
                ("text/csv", "csv"),
                ("text/html", "html"),
                ("text/plain", "txt"),
            ];
            Json::object().set(
                "document",
                data(part, source, &formats, ledger)?.set("name", named(name.as_deref())),
            )
        }
        Says::Call(call) => {
            let call = Json::object()
                .set("toolUseId", call.id.as_ref())
                .set("name", call.name.as_ref())
                .set("input", Json::Raw(call.input.clone().into_owned()));
            Json::object().set("toolUse", call)
        }
        Says::Result { id, parts, error } => {
            let mut content: Vec<Json> = parts.iter().filter_map(|part| block(part, ledger)).collect();
            if content.is_empty() {
                content.push(Json::object().set("text", "(no output)"));
            }
            let result = Json::object()
                .set("toolUseId", id.as_ref())
                .set("content", content)
                .maybe("status", error.then_some("error"));
            Json::object().set("toolResult", result)
        }
    })
}

fn data(part: &Part, from: &Source, formats: &[(&str, &str)], ledger: &mut Ledger) -> Option<Json> {
    let Source::Data { media, data } = from else {
        ledger.refuse(part.at, "content by its address");
        return None;
    };
    let Some((_, format)) = formats.iter().find(|(known, _)| known == media) else {
        ledger.refuse(part.at, "a kind of image or file that is not taken there");
        return None;
    };
    Some(
        Json::object()
            .set("format", *format)
            .set("source", Json::object().set("bytes", data.as_ref())),
    )
}

/// Letters, digits, spaces, hyphens and brackets are taken, and a name there has to be.
fn named(name: Option<&str>) -> String {
    let clean = |c: char| {
        if c.is_ascii_alphanumeric() || " -()[]".contains(c) {
            c
        } else {
            '-'
        }
    };
    name.filter(|name| !name.is_empty())
        .unwrap_or("document")
        .chars()
        .take(200)
        .map(clean)
        .collect()
}
