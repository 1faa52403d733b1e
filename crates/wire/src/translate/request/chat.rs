//! Chat, read.

use super::{Ask, Call, Choice, Format, Part, Role, Says, Tool, arguments, only, required, source, stops};
use crate::json::{Kind, View};
use crate::translate::Ledger;

const READ: &[&str] = &[
    "model",
    "messages",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "top_k",
    "stop",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "reasoning_effort",
    "user",
    "safety_identifier",
    "n",
    "best_of",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "frequency_penalty",
    "presence_penalty",
    "modalities",
    "service_tier",
];
/// They change nothing in what an answer may be: records, caches, speed, a wish to sample alike.
const HINTS: &[&str] = &[
    "metadata",
    "store",
    "seed",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_cache_options",
    "prediction",
    "verbosity",
];

pub(in crate::translate) fn decode_chat<'a>(root: View<'a>, ledger: &mut Ledger) -> Ask<'a> {
    ledger.fields(root, READ, HINTS);
    let mut ask = Ask::new(root.get("model").unwrap_or(root));
    ask.stream = root.get("stream").and_then(|value| value.bool()) == Some(true);
    if let Some(options) = root.some("stream_options") {
        ledger.fields(options, &["include_usage"], &["include_obfuscation"]);
    }
    // The newer name counts where both are there.
    ask.cap = root
        .some("max_completion_tokens")
        .or_else(|| root.some("max_tokens"));
    ask.temperature = root.some("temperature");
    ask.top_p = root.some("top_p");
    ask.top_k = root.some("top_k");
    ask.stop = stops(root.some("stop"), ledger);
    ask.parallel = root.some("parallel_tool_calls").and_then(|value| value.bool()) != Some(false);
    ask.effort = root.some("reasoning_effort");
    ask.user = root.some("safety_identifier").or_else(|| root.some("user"));
    neutral(root, ledger);
    for message in root.get("messages").into_iter().flat_map(|list| list.items()) {
        turn(message, &mut ask, ledger);
    }
    for tool in root.get("tools").into_iter().flat_map(|list| list.items()) {
        ask.tools.extend(function(tool, ledger));
    }
    ask.choice = root.some("tool_choice").and_then(|value| choice(value, ledger));
    ask.format = root
        .some("response_format")
        .and_then(|value| format(value, ledger));
    ask
}

/// Settings that other protocols lack: fine where they say what holds without them.
fn neutral(root: View, ledger: &mut Ledger) {
    let zero = |value: View| value.number() == Some(0.0);
    let one = |value: View| value.whole() == Some(1);
    let off = |value: View| value.bool() == Some(false);
    only(root.some("n"), one, "other protocols give one answer", ledger);
    only(
        root.some("best_of"),
        one,
        "other protocols give one answer",
        ledger,
    );
    only(
        root.some("logprobs"),
        off,
        "other protocols give no probabilities",
        ledger,
    );
    only(
        root.some("top_logprobs"),
        zero,
        "other protocols give no probabilities",
        ledger,
    );
    only(
        root.some("logit_bias"),
        |value| value.is_empty(),
        "other protocols have no bias",
        ledger,
    );
    for key in ["frequency_penalty", "presence_penalty"] {
        only(root.some(key), zero, "other protocols have no penalties", ledger);
    }
    let text = |value: View| value.items().all(|item| item.is("text"));
    only(
        root.some("modalities"),
        text,
        "other protocols answer in text alone",
        ledger,
    );
    let usual = |value: View| value.is("auto") || value.is("default");
    only(
        root.some("service_tier"),
        usual,
        "tiers are each vendor's own",
        ledger,
    );
}

fn turn<'a>(message: View<'a>, ask: &mut Ask<'a>, ledger: &mut Ledger) {
    let role = message
        .get("role")
        .and_then(|role| role.text())
        .unwrap_or_default();
    let content = message.some("content");
    match role.as_ref() {
        "system" | "developer" => {
            ledger.fields(message, &["role", "content"], &["name"]);
            let said = parts(content, false, ledger);
            ask.say_system(said);
        }
        "user" => {
            ledger.fields(message, &["role", "content"], &["name"]);
            let said = parts(content, true, ledger);
            ask.say(Role::User, said);
        }
        "assistant" => assistant(message, ask, ledger),
        "tool" => {
            ledger.fields(message, &["role", "content", "tool_call_id"], &["name"]);
            let says = Says::Result {
                id: required(message, "tool_call_id", ledger),
                parts: parts(content, true, ledger),
                error: false,
            };
            ask.say(Role::User, vec![Part { at: message, says }]);
        }
        _ => ledger.refuse(message, "a role that other protocols do not have"),
    }
}

fn assistant<'a>(message: View<'a>, ask: &mut Ask<'a>, ledger: &mut Ledger) {
    // What a model thought is not taken by another; `annotations` are of a search that was.
    let hints = ["name", "reasoning_content", "reasoning", "annotations"];
    ledger.fields(message, &["role", "content", "refusal", "tool_calls"], &hints);
    let mut said = parts(message.some("content"), false, ledger);
    if let Some(refusal) = message.some("refusal") {
        said.extend(refusal.text().and_then(|text| Part::text(refusal, text)));
    }
    for call in message
        .get("tool_calls")
        .into_iter()
        .flat_map(|list| list.items())
    {
        let Some(function) = call.some("function") else {
            ledger.refuse(call, "a call of something else than a function");
            continue;
        };
        // Some vendors put signatures of their own beside a call; they mean nothing elsewhere.
        ledger.fields(call, &["id", "type", "function"], &["index", "extra_content"]);
        ledger.fields(function, &["name", "arguments"], &[]);
        let text = required(function, "arguments", ledger);
        let says = Says::Call(Call {
            id: required(call, "id", ledger),
            name: required(function, "name", ledger),
            input: arguments(function.get("arguments").unwrap_or(function), text, ledger),
        });
        said.push(Part { at: call, says });
    }
    ask.say(Role::Assistant, said);
}

/// The content of a message; images and files only from users and tools.
fn parts<'a>(content: Option<View<'a>>, shown: bool, ledger: &mut Ledger) -> Vec<Part<'a>> {
    let Some(content) = content else { return Vec::new() };
    if let Some(text) = content.text() {
        return Part::text(content, text).into_iter().collect();
    }
    let mut said = Vec::new();
    for part in content.items() {
        let kind = part.get("type").and_then(|kind| kind.text()).unwrap_or_default();
        match kind.as_ref() {
            "text" | "refusal" => {
                ledger.fields(part, &["type", &kind], &["prompt_cache_breakpoint"]);
                let text = required(part, &kind, ledger);
                said.extend(Part::text(part, text));
            }
            "image_url" if shown => said.extend(image(part, ledger)),
            "file" if shown => said.extend(file(part, ledger)),
            _ => ledger.refuse(
                part,
                "a kind of content that the other protocol does not have here",
            ),
        }
    }
    said
}

fn image<'a>(part: View<'a>, ledger: &mut Ledger) -> Option<Part<'a>> {
    ledger.fields(part, &["type", "image_url"], &["prompt_cache_breakpoint"]);
    let image = part
        .some("image_url")
        .filter(|image| image.kind() == Kind::Object);
    let Some(image) = image else {
        ledger.refuse(part, "an image without an address");
        return None;
    };
    ledger.fields(image, &["url"], &["detail"]);
    let url = required(image, "url", ledger);
    let says = Says::Image(source(image, url, ledger)?);
    Some(Part { at: part, says })
}

fn file<'a>(part: View<'a>, ledger: &mut Ledger) -> Option<Part<'a>> {
    ledger.fields(part, &["type", "file"], &["prompt_cache_breakpoint"]);
    let Some((file, data)) = part
        .some("file")
        .and_then(|file| Some((file, file.some("file_data")?.text()?)))
    else {
        ledger.refuse(part, "a file that another vendor holds");
        return None;
    };
    ledger.fields(file, &["file_data", "filename"], &[]);
    let says = Says::Document {
        source: source(file, data, ledger)?,
        name: file.some("filename").and_then(|name| name.text()),
    };
    Some(Part { at: part, says })
}

fn function<'a>(tool: View<'a>, ledger: &mut Ledger) -> Option<Tool<'a>> {
    let function = tool
        .some("function")
        .filter(|_| tool.get("type").is_some_and(|kind| kind.is("function")));
    let Some((function, name)) = function.and_then(|function| Some((function, function.some("name")?)))
    else {
        ledger.refuse(tool, "a tool that is no function");
        return None;
    };
    ledger.fields(tool, &["type", "function"], &[]);
    ledger.fields(function, &["name", "description", "parameters", "strict"], &[]);
    Some(Tool {
        name,
        description: function.some("description"),
        schema: function.some("parameters"),
        strict: function.some("strict").and_then(|strict| strict.bool()),
    })
}

fn choice<'a>(value: View<'a>, ledger: &mut Ledger) -> Option<Choice<'a>> {
    let named = value
        .at(&["function", "name"])
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
    match (kind.as_ref(), value.at(&["json_schema", "schema"])) {
        ("text", _) => None,
        ("json_object", _) => Some(Format::Json(value)),
        ("json_schema", Some(schema)) => {
            let holder = value.get("json_schema").unwrap_or(value);
            ledger.fields(holder, &["name", "schema", "strict"], &["description"]);
            Some(Format::Schema {
                name: holder.some("name"),
                schema,
                strict: holder.some("strict").and_then(|strict| strict.bool()),
            })
        }
        _ => {
            ledger.refuse(value, "a format that the other protocol does not have");
            None
        }
    }
}
