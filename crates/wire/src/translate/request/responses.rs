//! Responses, read. What the provider would hold between calls is refused: the other one does not have it.

use super::{Ask, Call, Choice, Format, Part, Role, Says, Tool, arguments, only, required, source};
use crate::json::{Kind, View};
use crate::translate::Ledger;

const READ: &[&str] = &[
    "model",
    "input",
    "instructions",
    "stream",
    "stream_options",
    "max_output_tokens",
    "temperature",
    "top_p",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "text",
    "reasoning",
    "user",
    "safety_identifier",
    "truncation",
    "background",
    "include",
    "top_logprobs",
    "service_tier",
];
const HINTS: &[&str] = &[
    "metadata",
    "store",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_cache_options",
    "max_tool_calls",
];

pub(in crate::translate) fn decode_responses<'a>(root: View<'a>, ledger: &mut Ledger) -> Ask<'a> {
    ledger.fields(root, READ, HINTS);
    let mut ask = Ask::new(root.get("model").unwrap_or(root));
    ask.stream = root.get("stream").and_then(|value| value.bool()) == Some(true);
    ask.cap = root.some("max_output_tokens");
    ask.temperature = root.some("temperature");
    ask.top_p = root.some("top_p");
    ask.parallel = root.some("parallel_tool_calls").and_then(|value| value.bool()) != Some(false);
    ask.user = root.some("safety_identifier").or_else(|| root.some("user"));
    neutral(root, ledger);
    if let Some(instructions) = root.some("instructions") {
        ask.system = parts(Some(instructions), false, ledger);
    }
    match root.some("input") {
        Some(input) if input.kind() == Kind::Text => {
            let said = parts(Some(input), true, ledger);
            ask.say(Role::User, said);
        }
        Some(input) => {
            for one in input.items() {
                item(one, &mut ask, ledger);
            }
        }
        None => ledger.refuse(root, "nothing is asked"),
    }
    for tool in root.get("tools").into_iter().flat_map(|list| list.items()) {
        ask.tools.extend(function(tool, ledger));
    }
    ask.choice = root.some("tool_choice").and_then(|value| choice(value, ledger));
    if let Some(text) = root.some("text") {
        ledger.fields(text, &["format"], &["verbosity"]);
        ask.format = text.some("format").and_then(|value| format(value, ledger));
    }
    if let Some(reasoning) = root.some("reasoning") {
        ledger.fields(
            reasoning,
            &["effort"],
            &["summary", "generate_summary", "context"],
        );
        ask.effort = reasoning.some("effort");
    }
    ask
}

fn neutral(root: View, ledger: &mut Ledger) {
    let off = |value: View| value.bool() == Some(false);
    only(
        root.some("background"),
        off,
        "other protocols answer while one waits",
        ledger,
    );
    only(
        root.some("truncation"),
        |value| value.is("disabled"),
        "other protocols shorten nothing",
        ledger,
    );
    let zero = |value: View| value.number() == Some(0.0);
    only(
        root.some("top_logprobs"),
        zero,
        "other protocols give no probabilities",
        ledger,
    );
    let usual = |value: View| value.is("auto") || value.is("default");
    only(
        root.some("service_tier"),
        usual,
        "tiers are each vendor's own",
        ledger,
    );
    let harmless = |value: View| value.items().all(|item| item.is("reasoning.encrypted_content"));
    only(
        root.some("include"),
        harmless,
        "other protocols do not give it",
        ledger,
    );
    if let Some(options) = root.some("stream_options") {
        ledger.fields(options, &[], &["include_obfuscation"]);
    }
}

fn item<'a>(item: View<'a>, ask: &mut Ask<'a>, ledger: &mut Ledger) {
    let kind = item.get("type").and_then(|kind| kind.text()).unwrap_or_default();
    match kind.as_ref() {
        "" | "message" => message(item, ask, ledger),
        "function_call" => {
            ledger.fields(item, &["type", "call_id", "name", "arguments"], &["id", "status"]);
            let text = required(item, "arguments", ledger);
            let says = Says::Call(Call {
                id: required(item, "call_id", ledger),
                name: required(item, "name", ledger),
                input: arguments(item.get("arguments").unwrap_or(item), text, ledger),
            });
            ask.say(Role::Assistant, vec![Part { at: item, says }]);
        }
        "function_call_output" => {
            ledger.fields(item, &["type", "call_id", "output"], &["id", "status", "name"]);
            let says = Says::Result {
                id: required(item, "call_id", ledger),
                parts: parts(item.some("output"), true, ledger),
                error: false,
            };
            ask.say(Role::User, vec![Part { at: item, says }]);
        }
        "reasoning" => ledger.note(item, "left out: thinking of another model"),
        _ => ledger.refuse(item, "a kind of item that the other protocol does not have"),
    }
}

fn message<'a>(item: View<'a>, ask: &mut Ask<'a>, ledger: &mut Ledger) {
    ledger.fields(item, &["type", "role", "content"], &["id", "status", "phase"]);
    let role = item.get("role").and_then(|role| role.text()).unwrap_or_default();
    let said = parts(item.some("content"), role == "user", ledger);
    match role.as_ref() {
        "user" => ask.say(Role::User, said),
        "assistant" => ask.say(Role::Assistant, said),
        "system" | "developer" => ask.say_system(said),
        _ => ledger.refuse(item, "a role that other protocols do not have"),
    }
}

fn parts<'a>(content: Option<View<'a>>, shown: bool, ledger: &mut Ledger) -> Vec<Part<'a>> {
    let Some(content) = content else { return Vec::new() };
    if let Some(text) = content.text() {
        return Part::text(content, text).into_iter().collect();
    }
    if content.kind() != Kind::Array {
        ledger.refuse(content, "neither a string nor a list");
    }
    let mut said = Vec::new();
    for part in content.items() {
        let kind = part.get("type").and_then(|kind| kind.text()).unwrap_or_default();
        match kind.as_ref() {
            "input_text" | "output_text" => {
                ledger.fields(
                    part,
                    &["type", "text"],
                    &["annotations", "logprobs", "prompt_cache_breakpoint"],
                );
                let text = required(part, "text", ledger);
                said.extend(Part::text(part, text));
            }
            "refusal" => {
                let text = required(part, "refusal", ledger);
                said.extend(Part::text(part, text));
            }
            "input_image" if shown && part.some("image_url").is_some() => {
                ledger.fields(
                    part,
                    &["type", "image_url"],
                    &["detail", "prompt_cache_breakpoint"],
                );
                let url = required(part, "image_url", ledger);
                let image = source(part, url, ledger).map(Says::Image);
                said.extend(image.map(|says| Part { at: part, says }));
            }
            "input_file" if shown && part.some("file_data").is_some() => {
                ledger.fields(
                    part,
                    &["type", "file_data", "filename"],
                    &["detail", "prompt_cache_breakpoint"],
                );
                let data = required(part, "file_data", ledger);
                let name = part.some("filename").and_then(|name| name.text());
                let file = source(part, data, ledger).map(|source| Says::Document { source, name });
                said.extend(file.map(|says| Part { at: part, says }));
            }
            _ => ledger.refuse(
                part,
                "a kind of content that the other protocol does not have here",
            ),
        }
    }
    said
}

fn function<'a>(tool: View<'a>, ledger: &mut Ledger) -> Option<Tool<'a>> {
    let own = tool.get("type").is_some_and(|kind| kind.is("function"));
    let Some(name) = tool.some("name").filter(|_| own) else {
        ledger.refuse(tool, "a tool that is no function");
        return None;
    };
    ledger.fields(
        tool,
        &["type", "name", "description", "parameters", "strict"],
        &[],
    );
    Some(Tool {
        name,
        description: tool.some("description"),
        schema: tool.some("parameters"),
        strict: tool.some("strict").and_then(|strict| strict.bool()),
    })
}

fn choice<'a>(value: View<'a>, ledger: &mut Ledger) -> Option<Choice<'a>> {
    let named = value
        .some("name")
        .filter(|_| value.get("type").is_some_and(|kind| kind.is("function")));
    match (value.text().as_deref(), named) {
        (Some("auto"), _) => Some(Choice::Auto),
        (Some("none"), _) => Some(Choice::None),
        (Some("required"), _) => Some(Choice::Any),
        (_, Some(name)) => Some(Choice::Named(name)),
        _ => {
            ledger.refuse(value, "a choice of tools that the other protocol does not have");
            None
        }
    }
}

fn format<'a>(value: View<'a>, ledger: &mut Ledger) -> Option<Format<'a>> {
    let kind = value.get("type").and_then(|kind| kind.text()).unwrap_or_default();
    match (kind.as_ref(), value.some("schema")) {
        ("text", _) => None,
        ("json_object", _) => Some(Format::Json(value)),
        ("json_schema", Some(schema)) => {
            ledger.fields(value, &["type", "name", "schema", "strict"], &["description"]);
            Some(Format::Schema {
                name: value.some("name"),
                schema,
                strict: value.some("strict").and_then(|strict| strict.bool()),
            })
        }
        _ => {
            ledger.refuse(value, "a format that the other protocol does not have");
            None
        }
    }
}
