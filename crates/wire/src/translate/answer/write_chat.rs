//! Chat, told.

use super::{Context, Finish, Heard, Reply, Said, settle, write_error};
use crate::json::Json;
use crate::protocol::Protocol;
use crate::sse;
use crate::usage::Usage;

pub(super) fn body(reply: &Reply, context: &Context) -> Json {
    let calls = reply.parts.iter().filter_map(|part| match part {
        Said::Call { id, name, arguments } => Some(call(id, name, arguments)),
        _ => None,
    });
    let calls: Vec<Json> = calls.collect();
    let (text, thinking) = (reply.text(), reply.thinking());
    let content = if text.is_empty() && !calls.is_empty() {
        Json::null()
    } else {
        text.into()
    };
    let message = Json::object()
        .set("role", "assistant")
        .set("content", content)
        .set("refusal", Json::null())
        .maybe("reasoning_content", (!thinking.is_empty()).then_some(thinking))
        .maybe("tool_calls", (!calls.is_empty()).then_some(calls));
    let choice = Json::object()
        .set("index", 0)
        .set("message", message)
        .set("logprobs", Json::null())
        .set("finish_reason", reason(&reply.finish()));
    Json::object()
        .set("id", reply.id.as_deref().unwrap_or("chatcmpl"))
        .set("object", "chat.completion")
        .set("created", context.created)
        .set("model", reply.model.as_deref().unwrap_or_default())
        .set("choices", vec![choice])
        .maybe("usage", reply.usage.map(usage))
}

fn call(id: &str, name: &str, arguments: &str) -> Json {
    Json::object().set("id", id).set("type", "function").set(
        "function",
        Json::object().set("name", name).set("arguments", arguments),
    )
}

fn reason(finish: &Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::Sequence(_) => "stop",
        Finish::Length => "length",
        Finish::Calls => "tool_calls",
        Finish::Filter => "content_filter",
    }
}

/// `prompt_tokens` includes what was read from a cache and written to it.
fn usage(usage: Usage) -> Json {
    let written = usage.cache_write.saturating_add(usage.cache_write_long);
    Json::object()
        .set("prompt_tokens", usage.input_total())
        .set("completion_tokens", usage.output)
        .set("total_tokens", usage.input_total().saturating_add(usage.output))
        .set(
            "prompt_tokens_details",
            Json::object()
                .set("cached_tokens", usage.cached)
                .maybe("cache_write_tokens", (written > 0).then_some(written)),
        )
        .set(
            "completion_tokens_details",
            Json::object().set("reasoning_tokens", usage.reasoning),
        )
}

/// Chunks.
#[derive(Debug)]
pub(super) struct Writer {
    context: Context,
    id: String,
    model: String,
    calls: u64,
    usage: Option<Usage>,
}

impl Writer {
    pub(super) fn new(context: Context) -> Writer {
        Writer {
            context,
            id: "chatcmpl".to_owned(),
            model: String::new(),
            calls: 0,
            usage: None,
        }
    }

    pub(super) fn event(&mut self, event: &Heard, out: &mut Vec<u8>) {
        let delta = match event {
            Heard::Start { id, model } => {
                self.id = id.clone().unwrap_or_else(|| "chatcmpl".to_owned());
                self.model = model.clone().unwrap_or_default();
                Json::object()
                    .set("role", "assistant")
                    .set("content", "")
                    .set("refusal", Json::null())
            }
            Heard::Text(text) => Json::object().set("content", text.as_str()),
            Heard::Thinking(text) => Json::object().set("reasoning_content", text.as_str()),
            Heard::Call { id, name } => {
                self.calls += 1;
                let call = Json::object()
                    .set("index", self.calls - 1)
                    .set("id", id.as_str())
                    .set("type", "function")
                    .set(
                        "function",
                        Json::object().set("name", name.as_str()).set("arguments", ""),
                    );
                Json::object().set("tool_calls", vec![call])
            }
            Heard::Arguments(text) => {
                let call = Json::object()
                    .set("index", self.calls.saturating_sub(1))
                    .set("function", Json::object().set("arguments", text.as_str()));
                Json::object().set("tool_calls", vec![call])
            }
            Heard::Finish(finish) => {
                let reason = reason(&settle(finish, self.calls > 0));
                return self.chunk(vec![choice(Json::object(), reason.into())], None, out);
            }
            Heard::Usage(usage) => {
                self.usage = Some(*usage);
                return;
            }
            Heard::Ping => return out.extend_from_slice(b": ping\n\n"),
            Heard::Error { code, message } => return write_error(Protocol::Chat, code, message, 0, out),
            Heard::End => return self.end(out),
        };
        self.chunk(vec![choice(delta, Json::null())], None, out);
    }

    fn end(&self, out: &mut Vec<u8>) {
        if let Some(counted) = self.usage.filter(|_| self.context.wants_usage) {
            self.chunk(Vec::new(), Some(usage(counted)), out);
        }
        sse::write(None, "[DONE]", out);
    }

    fn chunk(&self, choices: Vec<Json>, usage: Option<Json>, out: &mut Vec<u8>) {
        let chunk = Json::object()
            .set("id", self.id.as_str())
            .set("object", "chat.completion.chunk")
            .set("created", self.context.created)
            .set("model", self.model.as_str())
            .set("choices", choices)
            .maybe("usage", usage);
        sse::write(None, &chunk.to_string(), out);
    }
}

fn choice(delta: Json, reason: Json) -> Json {
    Json::object()
        .set("index", 0)
        .set("delta", delta)
        .set("logprobs", Json::null())
        .set("finish_reason", reason)
}
