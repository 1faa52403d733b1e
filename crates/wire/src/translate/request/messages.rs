//! Messages, read.

use super::{Ask, Call, Choice, Format, Part, Role, Says, Source, Thinking, Tool, only, required};
use crate::json::{Kind, View};
use crate::translate::Ledger;

const READ: &[&str] = &[
    "model",
    "messages",
    "system",
    "stream",
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "stop_sequences",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "output_format",
    "metadata",
    "service_tier",
    "speed",
];
/// Caching is each vendor's own, and changes what is paid, not what is answered.
const HINTS: &[&str] = &["cache_control", "diagnostics"];

pub(in crate::translate) fn decode_messages<'a>(root: View<'a>, ledger: &mut Ledger) -> Ask<'a> {
    ledger.fields(root, READ, HINTS);
    let mut ask = Ask::new(root.get("model").unwrap_or(root));
    ask.stream = root.get("stream").and_then(|value| value.bool()) == Some(true);
    ask.cap = root.some("max_tokens");
    ask.temperature = root.some("temperature");
    ask.top_p = root.some("top_p");
    ask.top_k = root.some("top_k");
    ask.stop = super::stops(root.some("stop_sequences"), ledger);
    ask.user = root.at(&["metadata", "user_id"]);
    if let Some(metadata) = root.some("metadata") {
        ledger.fields(metadata, &["user_id"], &[]);
    }
    let usual = |value: View| value.is("auto") || value.is("standard_only") || value.is("standard");
    only(
        root.some("service_tier"),
        usual,
        "tiers are each vendor's own",
        ledger,
    );
    only(root.some("speed"), usual, "speeds are each vendor's own", ledger);
    ask.system = blocks(root.some("system"), ledger);
    for message in root.get("messages").into_iter().flat_map(|list| list.items()) {
        ledger.fields(message, &["role", "content"], &[]);
        let role = message
            .get("role")
            .and_then(|role| role.text())
            .unwrap_or_default();
        let said = blocks(message.some("content"), ledger);
        match role.as_ref() {
            "user" => ask.say(Role::User, said),
            "assistant" => ask.say(Role::Assistant, said),
            "system" => ask.say_system(said),
            _ => ledger.refuse(message, "a role that other protocols do not have"),
        }
    }
    for tool in root.get("tools").into_iter().flat_map(|list| list.items()) {
        ask.tools.extend(custom(tool, ledger));
    }
    choice(root.some("tool_choice"), &mut ask, ledger);
    settings(root, &mut ask, ledger);
    ask
}

fn settings<'a>(root: View<'a>, ask: &mut Ask<'a>, ledger: &mut Ledger) {
    if let Some(config) = root.some("output_config") {
        ledger.fields(config, &["effort", "format"], &[]);
        ask.effort = config.some("effort");
    }
    let format = root
        .at(&["output_config", "format"])
        .or_else(|| root.some("output_format"));
    if let Some(format) = format {
        ledger.fields(format, &["type", "schema"], &[]);
        match format.some("schema") {
            Some(schema) if format.get("type").is_some_and(|kind| kind.is("json_schema")) => {
                ask.format = Some(Format::Schema {
                    name: None,
                    schema,
                    strict: Some(true),
                });
            }
            _ => ledger.refuse(format, "a format that the other protocol does not have"),
        }
    }
    if let Some(thinking) = root.some("thinking") {
        ledger.fields(thinking, &["type", "budget_tokens"], &["display"]);
        let kind = thinking
            .get("type")
            .and_then(|kind| kind.text())
            .unwrap_or_default();
        ask.thinking = match (kind.as_ref(), thinking.some("budget_tokens")) {
            ("disabled", _) => Thinking::Off,
            ("adaptive", _) => Thinking::Adaptive,
            ("enabled", Some(budget)) => Thinking::Budget(budget),
            _ => {
                ledger.refuse(thinking, "a way to think that the other protocol does not have");
                Thinking::Unsaid
            }
        };
    }
}

fn blocks<'a>(content: Option<View<'a>>, ledger: &mut Ledger) -> Vec<Part<'a>> {
    let Some(content) = content else { return Vec::new() };
    if let Some(text) = content.text() {
        return Part::text(content, text).into_iter().collect();
    }
    let mut said = Vec::new();
    for block in content.items() {
        let kind = block.get("type").and_then(|kind| kind.text()).unwrap_or_default();
        if block.some("cache_control").is_some() {
            ledger.note(block, "caching is left out: a hint");
        }
        match kind.as_ref() {
            "text" => {
                ledger.fields(block, &["type", "text", "cache_control"], &["citations"]);
                let text = required(block, "text", ledger);
                said.extend(Part::text(block, text));
            }
            "image" => {
                ledger.fields(block, &["type", "source", "cache_control"], &[]);
                let image = source(block, ledger).map(Says::Image);
                said.extend(image.map(|says| Part { at: block, says }));
            }
            "document" => said.extend(document(block, ledger)),
            // What a model thought is signed for itself, and not taken by another.
            "thinking" | "redacted_thinking" => ledger.note(block, "left out: thinking of another model"),
            "tool_use" => said.push(tool_use(block, ledger)),
            "tool_result" => {
                let read = ["type", "tool_use_id", "content", "is_error", "cache_control"];
                ledger.fields(block, &read, &[]);
                let says = Says::Result {
                    id: required(block, "tool_use_id", ledger),
                    parts: blocks(block.some("content"), ledger),
                    error: block.some("is_error").and_then(|error| error.bool()) == Some(true),
                };
                said.push(Part { at: block, says });
            }
            _ => ledger.refuse(block, "a kind of content that the other protocol does not have"),
        }
    }
    said
}

fn tool_use<'a>(block: View<'a>, ledger: &mut Ledger) -> Part<'a> {
    ledger.fields(
        block,
        &["type", "id", "name", "input", "cache_control"],
        &["caller"],
    );
    let input = block.get("input").filter(|input| input.kind() == Kind::Object);
    if input.is_none() {
        ledger.refuse(block, "a call without an object as its input");
    }
    let says = Says::Call(Call {
        id: required(block, "id", ledger),
        name: required(block, "name", ledger),
        input: input.map(|input| input.raw()).unwrap_or_default().into(),
    });
    Part { at: block, says }
}

fn document<'a>(block: View<'a>, ledger: &mut Ledger) -> Option<Part<'a>> {
    ledger.fields(block, &["type", "source", "title", "cache_control"], &[]);
    if block.at(&["source", "type"]).is_some_and(|kind| kind.is("text")) {
        ledger.refuse(
            block,
            "a document of plain text: other protocols have text, or files",
        );
        return None;
    }
    let says = Says::Document {
        source: source(block, ledger)?,
        name: block.some("title").and_then(|title| title.text()),
    };
    Some(Part { at: block, says })
}

fn source<'a>(block: View<'a>, ledger: &mut Ledger) -> Option<Source<'a>> {
    let source = block.some("source")?;
    let kind = source
        .some("type")
        .and_then(|kind| kind.text())
        .unwrap_or_default();
    match kind.as_ref() {
        "base64" => Some(Source::Data {
            media: required(source, "media_type", ledger),
            data: required(source, "data", ledger),
        }),
        "url" => Some(Source::Url(required(source, "url", ledger))),
        _ => {
            ledger.refuse(
                block,
                "content that another vendor holds, or of a kind it alone has",
            );
            None
        }
    }
}

fn custom<'a>(tool: View<'a>, ledger: &mut Ledger) -> Option<Tool<'a>> {
    let own = tool.some("type").is_none_or(|kind| kind.is("custom"));
    let Some(name) = tool.some("name").filter(|_| own) else {
        ledger.refuse(tool, "a tool that the vendor defines");
        return None;
    };
    let read = ["type", "name", "description", "input_schema", "strict"];
    ledger.fields(
        tool,
        &read,
        &["cache_control", "eager_input_streaming", "input_examples"],
    );
    Some(Tool {
        name,
        description: tool.some("description"),
        schema: tool.some("input_schema"),
        strict: tool.some("strict").and_then(|strict| strict.bool()),
    })
}

fn choice<'a>(value: Option<View<'a>>, ask: &mut Ask<'a>, ledger: &mut Ledger) {
    let Some(value) = value else { return };
    ledger.fields(value, &["type", "name", "disable_parallel_tool_use"], &[]);
    ask.parallel = value
        .get("disable_parallel_tool_use")
        .and_then(|value| value.bool())
        != Some(true);
    let kind = value.get("type").and_then(|kind| kind.text()).unwrap_or_default();
    ask.choice = match (kind.as_ref(), value.some("name")) {
        ("auto", _) => Some(Choice::Auto),
        ("none", _) => Some(Choice::None),
        ("any", _) => Some(Choice::Any),
        ("tool", Some(name)) => Some(Choice::Named(name)),
        _ => {
            ledger.refuse(value, "a choice of tools that the other protocol does not have");
            None
        }
    };
}
