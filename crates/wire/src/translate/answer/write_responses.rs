//! Responses, told.

use super::{Context, Finish, Heard, Reply, Said, write_error};
use crate::json::Json;
use crate::protocol::Protocol;
use crate::sse;
use crate::usage::Usage;

pub(super) fn body(reply: &Reply, context: &Context) -> Json {
    response(reply, context, true)
}

fn response(reply: &Reply, context: &Context, over: bool) -> Json {
    let reason = match reply.finish() {
        Finish::Length => Some("max_output_tokens"),
        Finish::Filter => Some("content_filter"),
        _ => None,
    };
    let status = match (over, reason) {
        (false, _) => "in_progress",
        (true, Some(_)) => "incomplete",
        (true, None) => "completed",
    };
    let details = reason
        .filter(|_| over)
        .map(|reason| Json::object().set("reason", reason));
    let output = reply
        .parts
        .iter()
        .enumerate()
        .map(|(at, part)| item(at, part, true));
    Json::object()
        .set("id", reply.id.as_deref().unwrap_or("resp"))
        .set("object", "response")
        .set("created_at", context.created)
        .set("status", status)
        .set("error", Json::null())
        .set("incomplete_details", details.unwrap_or_else(Json::null))
        .set("model", reply.model.as_deref().unwrap_or_default())
        .set("output", output.collect::<Vec<_>>())
        // What the SDK's types want; nothing is held here between calls.
        .set("parallel_tool_calls", true)
        .set("tool_choice", "auto")
        .set("tools", Vec::new())
        .set("store", false)
        .set(
            "usage",
            reply.usage.filter(|_| over).map_or_else(Json::null, usage),
        )
}

fn usage(usage: Usage) -> Json {
    let details = Json::object().set("cached_tokens", usage.cached).set(
        "cache_write_tokens",
        usage.cache_write.saturating_add(usage.cache_write_long),
    );
    Json::object()
        .set("input_tokens", usage.input_total())
        .set("input_tokens_details", details)
        .set("output_tokens", usage.output)
        .set(
            "output_tokens_details",
            Json::object().set("reasoning_tokens", usage.reasoning),
        )
        .set("total_tokens", usage.input_total().saturating_add(usage.output))
}

fn id(at: usize, part: &Said) -> String {
    match part {
        Said::Text(_) => format!("msg_{at}"),
        Said::Thinking(_) => format!("rs_{at}"),
        Said::Call { .. } => format!("fc_{at}"),
    }
}

/// An item; before it is done, without what comes in parts.
fn item(at: usize, part: &Said, done: bool) -> Json {
    let status = if done { "completed" } else { "in_progress" };
    let kind = |kind: &str| {
        Json::object()
            .set("id", id(at, part))
            .set("type", kind)
            .set("status", status)
    };
    let content = |inner: &str, text: &str| {
        if done {
            vec![text_part(inner, text)]
        } else {
            Vec::new()
        }
    };
    match part {
        Said::Text(text) => kind("message")
            .set("role", "assistant")
            .set("content", content("output_text", text)),
        Said::Thinking(text) => kind("reasoning")
            .set("summary", Vec::new())
            .set("content", content("reasoning_text", text)),
        Said::Call { id, name, arguments } => kind("function_call")
            .set("call_id", id.as_str())
            .set("name", name.as_str())
            .set("arguments", if done { arguments.as_str() } else { "" }),
    }
}

fn text_part(kind: &str, text: &str) -> Json {
    let part = Json::object().set("type", kind).set("text", text);
    if kind == "output_text" {
        part.set("annotations", Vec::new())
    } else {
        part
    }
}

/// Events. The answer is kept, since its last event repeats it.
#[derive(Debug)]
pub(super) struct Writer {
    context: Context,
    reply: Reply,
    /// The last part is open.
    open: bool,
    sequence: u64,
}

impl Writer {
    pub(super) fn new(context: Context) -> Writer {
        Writer {
            context,
            reply: Reply::default(),
            open: false,
            sequence: 0,
        }
    }

    pub(super) fn event(&mut self, event: &Heard, out: &mut Vec<u8>) {
        let before = self.reply.parts.len();
        if matches!(event, Heard::Ping) {
            return out.extend_from_slice(b": ping\n\n");
        }
        // What is open ends before another thing begins: the fold adds to the last part, or begins one.
        if self.opens(event) {
            self.close(out);
        }
        self.reply.fold(event);
        if self.reply.parts.len() > before {
            self.open(out);
        }
        match event {
            Heard::Start { .. } => {
                for name in ["response.created", "response.in_progress"] {
                    let response = response(&self.reply, &self.context, false);
                    self.write(name, Json::object().set("response", response), out);
                }
            }
            Heard::Text(text) => self.delta("response.output_text.delta", text, out),
            Heard::Thinking(text) => self.delta("response.reasoning_text.delta", text, out),
            Heard::Arguments(text) => self.delta("response.function_call_arguments.delta", text, out),
            Heard::Error { code, message } => {
                write_error(Protocol::Responses, code, message, self.sequence, out)
            }
            Heard::End => self.end(out),
            _ => (),
        }
    }

    fn opens(&self, event: &Heard) -> bool {
        match event {
            Heard::Text(_) => !matches!(self.reply.parts.last(), Some(Said::Text(_))),
            Heard::Thinking(_) => !matches!(self.reply.parts.last(), Some(Said::Thinking(_))),
            Heard::Call { .. } | Heard::End => true,
            _ => false,
        }
    }

    /// The last part and its place.
    fn last(&self) -> Option<(usize, &Said)> {
        let part = self.reply.parts.last()?;
        Some((self.reply.parts.len() - 1, part))
    }

    fn open(&mut self, out: &mut Vec<u8>) {
        self.open = true;
        let Some((at, part)) = self.last() else { return };
        let (added, id) = (item(at, part, false), id(at, part));
        let inner = match part {
            Said::Text(_) => Some("output_text"),
            Said::Thinking(_) => Some("reasoning_text"),
            Said::Call { .. } => None,
        };
        let added = Json::object().set("output_index", at as u64).set("item", added);
        self.write("response.output_item.added", added, out);
        if let Some(inner) = inner {
            let event = place(at, &id)
                .set("content_index", 0)
                .set("part", text_part(inner, ""));
            self.write("response.content_part.added", event, out);
        }
    }

    fn delta(&mut self, name: &str, text: &str, out: &mut Vec<u8>) {
        let Some((at, part)) = self.last() else { return };
        let mut event = place(at, &id(at, part));
        match part {
            Said::Text(_) => {
                event.put("content_index", 0);
                event.put("logprobs", Vec::new());
            }
            Said::Thinking(_) => event.put("content_index", 0),
            Said::Call { .. } => (),
        }
        self.write(name, event.set("delta", text), out);
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if !std::mem::take(&mut self.open) {
            return;
        }
        let Some((at, part)) = self.last() else { return };
        let place = || place(at, &id(at, part));
        let inside = |inner: &str, text: &str| {
            place()
                .set("content_index", 0)
                .set("part", text_part(inner, text))
        };
        let text = |text: &str| place().set("content_index", 0).set("text", text);
        let mut events = match part {
            Said::Text(said) => vec![
                (
                    "response.output_text.done",
                    text(said).set("logprobs", Vec::new()),
                ),
                ("response.content_part.done", inside("output_text", said)),
            ],
            Said::Thinking(said) => vec![
                ("response.reasoning_text.done", text(said)),
                ("response.content_part.done", inside("reasoning_text", said)),
            ],
            Said::Call { name, arguments, .. } => {
                let done = place()
                    .set("name", name.as_str())
                    .set("arguments", arguments.as_str());
                vec![("response.function_call_arguments.done", done)]
            }
        };
        let done = Json::object()
            .set("output_index", at as u64)
            .set("item", item(at, part, true));
        events.push(("response.output_item.done", done));
        for (name, event) in events {
            self.write(name, event, out);
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        let response = response(&self.reply, &self.context, true);
        let name = match self.reply.finish() {
            Finish::Length | Finish::Filter => "response.incomplete",
            _ => "response.completed",
        };
        self.write(name, Json::object().set("response", response), out);
    }

    fn write(&mut self, name: &str, event: Json, out: &mut Vec<u8>) {
        let mut all = Json::object()
            .set("type", name)
            .set("sequence_number", self.sequence);
        self.sequence += 1;
        if let Json::Object(members) = event {
            for (key, value) in members {
                all.put(&key, value);
            }
        }
        sse::write(Some(name), &all.to_string(), out);
    }
}

fn place(at: usize, id: &str) -> Json {
    Json::object().set("item_id", id).set("output_index", at as u64)
}
