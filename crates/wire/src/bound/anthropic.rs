//! What costs in Anthropic's protocol.

use super::{CostKind, List, Place, written};
use crate::json::View;

const FREE: &[&str] = &[
    "max_tokens",
    "messages",
    "metadata",
    "model",
    "output_config",
    "output_format",
    "stop_sequences",
    "stream",
    "system",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
    "diagnostics",
];

const COSTS: &[(&str, CostKind)] = &[
    ("compaction", CostKind::ContextManagement),
    ("container", CostKind::HeldContext),
    ("context_management", CostKind::ContextManagement),
    ("fallbacks", CostKind::OtherModel),
    ("inference_geo", CostKind::Region),
    ("mcp_servers", CostKind::ServerTool),
    ("thread", CostKind::HeldContext),
];

/// Read by name below.
const BY_WORD: &[&str] = &["cache_control", "service_tier", "speed"];

pub(super) fn messages(root: View, list: &mut List) {
    for (key, kind) in COSTS {
        list.field(root, key, *kind);
    }
    let names: Vec<&str> = COSTS.iter().map(|(name, _)| *name).collect();
    list.unknown_fields(root, &[FREE, &names, BY_WORD]);
    let place = Place::ROOT.key("service_tier");
    list.word(
        root.some("service_tier"),
        &["auto", "standard_only"],
        CostKind::ServiceTier,
        &place,
    );
    let place = Place::ROOT.key("speed");
    list.word(root.some("speed"), &["standard"], CostKind::ServiceTier, &place);
    cached(root, &Place::ROOT, list);
    if let Some(system) = root.get("system") {
        blocks(system, &Place::ROOT.key("system"), list);
    }
    let place = Place::ROOT.key("messages");
    for (at, message) in root
        .get("messages")
        .into_iter()
        .flat_map(|list| list.items())
        .enumerate()
    {
        if let Some(content) = message.get("content") {
            blocks(content, &place.index(at).key("content"), list);
        }
    }
    tools(root, list);
}

/// `cache_control` of this object, by how long it keeps.
fn cached(object: View, place: &Place, list: &mut List) {
    if let Some(control) = object.some("cache_control") {
        let ttl = control.some("ttl").and_then(|ttl| ttl.text());
        let place = place.key("cache_control");
        list.add(CostKind::CacheWrite, ttl.as_deref().unwrap_or("5m"), &place);
    }
}

fn blocks(content: View, place: &Place, list: &mut List) {
    for (at, block) in content.items().enumerate() {
        let place = place.index(at);
        cached(block, &place, list);
        let kind = block.get("type").and_then(|kind| kind.text()).unwrap_or_default();
        match kind.as_ref() {
            "text" | "thinking" | "redacted_thinking" | "tool_use" | "server_tool_use" | "mcp_tool_use"
            | "tool_reference" | "compaction" | "browser_state" | "fallback" => (),
            "image" => sourced(CostKind::Image, block, &place, list),
            "document" => document(block, &place, list),
            "container_upload" => list.add(CostKind::File, &kind, &place),
            "tool_result" | "mcp_tool_result" | "search_result" => {
                if let Some(content) = block.get("content") {
                    blocks(content, &place.key("content"), list);
                }
            }
            // Results of server tools that ran before: their text is in them, but what a page or a file was is not.
            "web_search_tool_result"
            | "web_search_result"
            | "code_execution_tool_result"
            | "bash_code_execution_tool_result"
            | "text_editor_code_execution_tool_result"
            | "tool_search_tool_result" => (),
            other => list.add(CostKind::UnknownPart, other, &place),
        }
    }
}

fn document(block: View, place: &Place, list: &mut List) {
    let source = block.some("source");
    let kind = source
        .and_then(|source| source.some("type")?.text())
        .unwrap_or_default();
    match (kind.as_ref(), source) {
        ("text", _) => (),
        ("content", Some(source)) => {
            if let Some(content) = source.get("content") {
                blocks(content, &place.key("source").key("content"), list);
            }
        }
        _ => sourced(CostKind::File, block, place, list),
    }
}

/// What is in a source that is no text. One of a kind that is not known may be anything: its bytes count as text.
fn sourced(kind: CostKind, block: View, place: &Place, list: &mut List) {
    let from = block
        .at(&["source", "type"])
        .and_then(|from| from.text())
        .unwrap_or_default();
    match from.as_ref() {
        "base64" | "url" | "file" => {
            let bytes = written(block.at(&["source", "data"]));
            list.add_bytes(kind, &from, place, bytes);
        }
        other => list.add(CostKind::UnknownPart, other, place),
    }
}

fn tools(root: View, list: &mut List) {
    // By the start of their types: the rest is a date.
    const TYPES: &[(&str, CostKind)] = &[
        ("web_search_", CostKind::ServerTool),
        ("web_fetch_", CostKind::ServerTool),
        ("code_execution_", CostKind::ServerTool),
        ("mcp_toolset", CostKind::ServerTool),
        ("advisor_", CostKind::OtherModel),
        ("tool_search_tool_", CostKind::VendorTool),
        ("bash_", CostKind::VendorTool),
        ("text_editor_", CostKind::VendorTool),
        ("memory_", CostKind::VendorTool),
        ("computer_", CostKind::VendorTool),
        ("browser_toolset_", CostKind::VendorTool),
    ];
    let place = Place::ROOT.key("tools");
    for (at, tool) in root
        .get("tools")
        .into_iter()
        .flat_map(|list| list.items())
        .enumerate()
    {
        let place = place.index(at);
        cached(tool, &place, list);
        let kind = tool.some("type").and_then(|kind| kind.text()).unwrap_or_default();
        if matches!(kind.as_ref(), "" | "custom") {
            continue;
        }
        let known = TYPES.iter().find(|(start, _)| kind.starts_with(start));
        list.add(
            known.map_or(CostKind::UnknownTool, |(_, kind)| *kind),
            &kind,
            &place,
        );
    }
}
