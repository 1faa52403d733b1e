//! Messages, told.

use super::{Finish, Heard, Reply, Said, Untold, object, settle, write_error};
use crate::json::Json;
use crate::protocol::Protocol;
use crate::sse;
use crate::usage::Usage;

pub(super) fn body(reply: &Reply) -> Result<Json, Untold> {
    let mut content = Vec::new();
    for part in &reply.parts {
        content.push(match part {
            Said::Text(text) => kind("text").set("text", text.as_str()),
            Said::Thinking(text) => kind("thinking")
                .set("thinking", text.as_str())
                .set("signature", ""),
            Said::Call { id, name, arguments } => {
                let arguments = if arguments.trim().is_empty() {
                    "{}"
                } else {
                    arguments
                };
                if !object(arguments) {
                    return Err(Untold {
                        why: "the model's arguments of a call are no JSON object",
                    });
                }
                tool_use(id, name, arguments)
            }
        });
    }
    let (reason, sequence) = reason(&reply.finish());
    Ok(message(reply.id.as_deref(), reply.model.as_deref(), content)
        .set("stop_reason", reason)
        .set("stop_sequence", sequence)
        .set("usage", usage(reply.usage.unwrap_or_default())))
}

fn kind(kind: &str) -> Json {
    Json::object().set("type", kind)
}

fn message(id: Option<&str>, model: Option<&str>, content: Vec<Json>) -> Json {
    Json::object()
        .set("id", id.unwrap_or("msg"))
        .set("type", "message")
        .set("role", "assistant")
        .set("model", model.unwrap_or_default())
        .set("content", content)
}

fn tool_use(id: &str, name: &str, input: &str) -> Json {
    kind("tool_use")
        .set("id", id)
        .set("name", name)
        .set("input", Json::Raw(input.to_owned()))
}

fn reason(finish: &Finish) -> (&'static str, Json) {
    match finish {
        Finish::Stop => ("end_turn", Json::null()),
        Finish::Sequence(met) => ("stop_sequence", met.as_str().into()),
        Finish::Length => ("max_tokens", Json::null()),
        Finish::Calls => ("tool_use", Json::null()),
        Finish::Filter => ("refusal", Json::null()),
    }
}

/// `input_tokens` excludes what was read from a cache and written to it.
fn usage(usage: Usage) -> Json {
    Json::object()
        .set("input_tokens", usage.input)
        .set(
            "cache_creation_input_tokens",
            usage.cache_write.saturating_add(usage.cache_write_long),
        )
        .set("cache_read_input_tokens", usage.cached)
        .set("output_tokens", usage.output)
        .maybe(
            "output_tokens_details",
            (usage.reasoning > 0).then(|| Json::object().set("thinking_tokens", usage.reasoning)),
        )
}

/// Events. One block is open at a time.
#[derive(Debug, Default)]
pub(super) struct Writer {
    blocks: u64,
    open: Option<Open>,
    calls: bool,
    finish: Finish,
    usage: Usage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Text,
    Thinking,
    Call,
}

impl Writer {
    pub(super) fn event(&mut self, event: &Heard, out: &mut Vec<u8>) {
        match event {
            Heard::Start { id, model } => {
                let message = message(id.as_deref(), model.as_deref(), Vec::new())
                    .set("stop_reason", Json::null())
                    .set("stop_sequence", Json::null())
                    .set("usage", usage(Usage::default()));
                write("message_start", Json::object().set("message", message), out);
            }
            Heard::Text(text) => {
                self.open(Open::Text, || kind("text").set("text", ""), out);
                self.delta(kind("text_delta").set("text", text.as_str()), out);
            }
            Heard::Thinking(text) => {
                self.open(
                    Open::Thinking,
                    || kind("thinking").set("thinking", "").set("signature", ""),
                    out,
                );
                self.delta(kind("thinking_delta").set("thinking", text.as_str()), out);
            }
            Heard::Call { id, name } => {
                self.calls = true;
                self.close(out);
                self.open(Open::Call, || tool_use(id, name, "{}"), out);
            }
            Heard::Arguments(text) => {
                self.delta(kind("input_json_delta").set("partial_json", text.as_str()), out);
            }
            // The last counts come with the reason, in one event.
            Heard::Finish(finish) => self.finish = finish.clone(),
            Heard::Usage(usage) => self.usage = *usage,
            Heard::Ping => write("ping", Json::object(), out),
            Heard::Error { code, message } => write_error(Protocol::Messages, code, message, 0, out),
            Heard::End => self.end(out),
        }
    }

    fn open(&mut self, what: Open, block: impl FnOnce() -> Json, out: &mut Vec<u8>) {
        if self.open == Some(what) {
            return;
        }
        self.close(out);
        self.open = Some(what);
        let event = Json::object()
            .set("index", self.blocks)
            .set("content_block", block());
        write("content_block_start", event, out);
    }

    fn delta(&self, delta: Json, out: &mut Vec<u8>) {
        let event = Json::object().set("index", self.blocks).set("delta", delta);
        write("content_block_delta", event, out);
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if self.open.take().is_some() {
            write(
                "content_block_stop",
                Json::object().set("index", self.blocks),
                out,
            );
            self.blocks += 1;
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.close(out);
        let (reason, sequence) = reason(&settle(&self.finish, self.calls));
        let delta = Json::object()
            .set("stop_reason", reason)
            .set("stop_sequence", sequence);
        write(
            "message_delta",
            Json::object().set("delta", delta).set("usage", usage(self.usage)),
            out,
        );
        write("message_stop", Json::object(), out);
    }
}

/// The type stands in the data too, and first.
fn write(name: &str, event: Json, out: &mut Vec<u8>) {
    let mut all = kind(name);
    if let Json::Object(members) = event {
        for (key, value) in members {
            all.put(&key, value);
        }
    }
    sse::write(Some(name), &all.to_string(), out);
}
