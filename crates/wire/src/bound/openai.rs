//! What costs in OpenAI's protocols, and in those of servers that speak them.

use super::{CostKind, List, Place, data_url, written};
use crate::json::View;

/// Free in both protocols: sampling, shape of the answer, names for the vendor's records.
const FREE: &[&str] = &[
    "model",
    "metadata",
    "parallel_tool_calls",
    "prompt_cache_key",
    "safety_identifier",
    "stream",
    "stream_options",
    "temperature",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "user",
];

const CHAT_FREE: &[&str] = &[
    "messages",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "n",
    "best_of",
    "presence_penalty",
    "reasoning_effort",
    "response_format",
    "seed",
    "stop",
    "verbosity",
];

/// Sampling and constraints of servers that speak the protocol (vLLM, llama.cpp, Ollama, Mistral, DeepSeek): they change
/// which token comes, not how many are read or written.
const CHAT_FREE_ELSEWHERE: &[&str] = &[
    "top_k",
    "min_p",
    "typical_p",
    "repetition_penalty",
    "length_penalty",
    "min_tokens",
    "stop_token_ids",
    "ignore_eos",
    "skip_special_tokens",
    "include_stop_str_in_output",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "structured_outputs",
    "chat_template_kwargs",
    "random_seed",
    "prompt_mode",
    "enable_thinking",
    "thinking",
    "reasoning",
    "keep_alive",
];

const CHAT_COSTS: &[(&str, CostKind)] = &[
    ("audio", CostKind::AudioOutput),
    ("moderation", CostKind::OtherModel),
    ("prediction", CostKind::Prediction),
    ("prompt_cache_options", CostKind::CacheWrite),
    ("store", CostKind::Stored),
    ("web_search_options", CostKind::ServerTool),
];

const RESPONSES_FREE: &[&str] = &[
    "include",
    "input",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "reasoning",
    "text",
    "truncation",
];

const RESPONSES_COSTS: &[(&str, CostKind)] = &[
    ("background", CostKind::Background),
    ("background_options", CostKind::Background),
    ("context_management", CostKind::ContextManagement),
    ("conversation", CostKind::HeldContext),
    ("moderation", CostKind::OtherModel),
    ("previous_response_id", CostKind::HeldContext),
    ("prompt", CostKind::HeldContext),
    ("prompt_cache_options", CostKind::CacheWrite),
    ("store", CostKind::Stored),
];

/// Read by name below.
const BY_WORD: &[&str] = &["modalities", "prompt_cache_retention", "service_tier"];

pub(super) fn chat(root: View, list: &mut List) {
    costs(root, CHAT_COSTS, list);
    words(root, list);
    list.unknown_fields(
        root,
        &[FREE, CHAT_FREE, CHAT_FREE_ELSEWHERE, &names(CHAT_COSTS), BY_WORD],
    );
    let modalities = Place::ROOT.key("modalities");
    for (at, value) in root
        .get("modalities")
        .into_iter()
        .flat_map(|list| list.items())
        .enumerate()
    {
        list.word(
            Some(value),
            &["text"],
            CostKind::AudioOutput,
            &modalities.index(at),
        );
    }
    let place = Place::ROOT.key("messages");
    for (at, message) in root
        .get("messages")
        .into_iter()
        .flat_map(|list| list.items())
        .enumerate()
    {
        let place = place.index(at);
        if message.some("audio").is_some() {
            list.add(CostKind::HeldContext, "audio", &place.key("audio"));
        }
        if let Some(content) = message.get("content") {
            parts(content, &place.key("content"), list);
        }
    }
    tools(root, &Place::ROOT, list);
}

pub(super) fn responses(root: View, list: &mut List) {
    costs(root, RESPONSES_COSTS, list);
    words(root, list);
    list.unknown_fields(root, &[FREE, RESPONSES_FREE, &names(RESPONSES_COSTS), BY_WORD]);
    let mode = root.at(&["reasoning", "mode"]);
    let reasoning = Place::ROOT.key("reasoning");
    list.word(
        mode,
        &["standard"],
        CostKind::ReasoningMode,
        &reasoning.key("mode"),
    );
    let place = Place::ROOT.key("input");
    for (at, value) in root
        .get("input")
        .into_iter()
        .flat_map(|list| list.items())
        .enumerate()
    {
        item(value, &place.index(at), list);
    }
    tools(root, &Place::ROOT, list);
}

pub(super) fn embeddings(root: View, list: &mut List) {
    const FREE: &[&str] = &["input", "model", "dimensions", "encoding_format", "user"];
    // Of servers that speak the protocol: how the text is prepared.
    const ELSEWHERE: &[&str] = &[
        "input_type",
        "truncate",
        "task",
        "output_dtype",
        "output_dimension",
    ];
    list.unknown_fields(root, &[FREE, ELSEWHERE]);
    let place = Place::ROOT.key("input");
    for (at, value) in root
        .get("input")
        .into_iter()
        .flat_map(|list| list.items())
        .enumerate()
    {
        if value.kind() == crate::json::Kind::Object {
            list.add(CostKind::UnknownPart, "object", &place.index(at));
        }
    }
}

fn costs(root: View, table: &[(&str, CostKind)], list: &mut List) {
    for (key, kind) in table {
        list.field(root, key, *kind);
    }
}

fn words(root: View, list: &mut List) {
    let place = Place::ROOT.key("service_tier");
    // `auto` is what holds where nothing is said.
    list.word(
        root.some("service_tier"),
        &["auto", "default"],
        CostKind::ServiceTier,
        &place,
    );
    let place = Place::ROOT.key("prompt_cache_retention");
    list.word(
        root.some("prompt_cache_retention"),
        &["in_memory"],
        CostKind::CacheWrite,
        &place,
    );
}

fn names<'a>(table: &[(&'a str, CostKind)]) -> Vec<&'a str> {
    table.iter().map(|(name, _)| *name).collect()
}

/// The content of a message: a string is free.
fn parts(content: View, place: &Place, list: &mut List) {
    for (at, part) in content.items().enumerate() {
        let place = place.index(at);
        let kind = part.get("type").and_then(|kind| kind.text()).unwrap_or_default();
        if part.some("prompt_cache_breakpoint").is_some() {
            let ttl = part
                .at(&["prompt_cache_breakpoint", "ttl"])
                .and_then(|ttl| ttl.text());
            let place = place.key("prompt_cache_breakpoint");
            list.add(CostKind::CacheWrite, ttl.as_deref().unwrap_or("default"), &place);
        }
        match kind.as_ref() {
            "text" | "refusal" | "input_text" | "output_text" | "thinking" | "reasoning_text"
            | "summary_text" => (),
            "image_url" | "input_image" => {
                let url = part.at(&["image_url", "url"]).or_else(|| part.some("image_url"));
                list.add_bytes(CostKind::Image, &kind, &place, url.map_or(0, data_url));
            }
            "computer_screenshot" => {
                let bytes = part.some("image_url").map_or(0, data_url);
                list.add_bytes(CostKind::Image, &kind, &place, bytes);
            }
            "input_audio" => {
                list.add_bytes(
                    CostKind::Audio,
                    &kind,
                    &place,
                    written(part.at(&["input_audio", "data"])),
                );
            }
            "audio_url" => {
                let bytes = part.at(&["audio_url", "url"]).map_or(0, data_url);
                list.add_bytes(CostKind::Audio, &kind, &place, bytes);
            }
            "video_url" => {
                let bytes = part.at(&["video_url", "url"]).map_or(0, data_url);
                list.add_bytes(CostKind::Video, &kind, &place, bytes);
            }
            "file" | "input_file" => {
                let data = part.at(&["file", "file_data"]).or_else(|| part.some("file_data"));
                list.add_bytes(CostKind::File, &kind, &place, written(data));
            }
            other => list.add(CostKind::UnknownPart, other, &place),
        }
    }
}

/// An element of `input`.
fn item(item: View, place: &Place, list: &mut List) {
    let kind = item.get("type").and_then(|kind| kind.text()).unwrap_or_default();
    match kind.as_ref() {
        // A message in short has no type.
        "" | "message" => {
            if let Some(content) = item.get("content") {
                parts(content, &place.key("content"), list);
            }
        }
        "reasoning" => {
            // What the body does not hold the provider does.
            if item.some("encrypted_content").is_none() {
                list.add(CostKind::HeldContext, "reasoning", place);
            }
            for key in ["summary", "content"] {
                if let Some(content) = item.get(key) {
                    parts(content, &place.key(key), list);
                }
            }
        }
        "function_call_output" | "custom_tool_call_output" => {
            if let Some(output) = item.get("output") {
                parts(output, &place.key("output"), list);
            }
        }
        "function_call"
        | "custom_tool_call"
        | "computer_call"
        | "local_shell_call"
        | "local_shell_call_output"
        | "shell_call"
        | "shell_call_output"
        | "apply_patch_call"
        | "apply_patch_call_output"
        | "file_search_call"
        | "code_interpreter_call"
        | "mcp_list_tools"
        | "mcp_approval_request"
        | "mcp_approval_response"
        | "mcp_call"
        | "compaction"
        | "tool_search_call" => (),
        "computer_call_output" => {
            let bytes = item.at(&["output", "image_url"]).map_or(0, data_url);
            list.add_bytes(CostKind::Image, &kind, place, bytes);
        }
        "image_generation_call" => {
            list.add_bytes(CostKind::Image, &kind, place, written(item.some("result")));
        }
        // What a search found is not in the item: the provider has it.
        "web_search_call" | "item_reference" => list.add(CostKind::HeldContext, &kind, place),
        "compaction_trigger" => list.add(CostKind::ContextManagement, &kind, place),
        "tool_search_output" | "additional_tools" => tools(item, place, list),
        other => list.add(CostKind::UnknownPart, other, place),
    }
}

fn tools(holder: View, place: &Place, list: &mut List) {
    let place = place.key("tools");
    for (at, tool) in holder
        .get("tools")
        .into_iter()
        .flat_map(|list| list.items())
        .enumerate()
    {
        let place = place.index(at);
        let kind = tool.get("type").and_then(|kind| kind.text()).unwrap_or_default();
        match kind.as_ref() {
            "function" | "custom" => (),
            "namespace" => tools(tool, &place, list),
            "local_shell" | "apply_patch" | "computer" | "computer_use_preview" | "tool_search" => {
                list.add(CostKind::VendorTool, &kind, &place);
            }
            "shell"
                if tool
                    .at(&["environment", "type"])
                    .is_some_and(|kind| kind.is("local")) =>
            {
                list.add(CostKind::VendorTool, &kind, &place);
            }
            "shell"
            | "file_search"
            | "code_interpreter"
            | "image_generation"
            | "mcp"
            | "programmatic_tool_calling" => {
                list.add(CostKind::ServerTool, &kind, &place);
            }
            // `web_search`, `web_search_2025_08_26`, `web_search_preview`, and what comes after them.
            search if search.starts_with("web_search") => list.add(CostKind::ServerTool, search, &place),
            other => list.add(CostKind::UnknownTool, other, &place),
        }
    }
}
