//! What the events of each protocol say.

use super::{State, StreamError};
use crate::json::View;
use crate::protocol::Protocol;
use crate::usage::{block_bytes, owned, text_bytes, usage};

impl State {
    /// `chat.completion.chunk`. With `include_usage` the last one has no choices, and the usage of the whole.
    pub(super) fn chat(&mut self, root: View) -> bool {
        if let Some(error) = root.some("error") {
            self.fail(error);
            return false;
        }
        self.answer.names(root);
        let mut choices = 0;
        for choice in root.get("choices").into_iter().flat_map(|list| list.items()) {
            choices += 1;
            self.answer.chat_choice(choice, "delta");
        }
        match usage(Protocol::Chat, root) {
            Some(usage) => {
                self.answer.usage = Some(usage);
                // Nothing comes after it but the mark. One choice that has ended says nothing of the others.
                self.finished |= choices == 0;
                choices == 0
            }
            None => false,
        }
    }

    pub(super) fn responses(&mut self, root: View, name: &str) -> bool {
        let kind = root.some("type").and_then(|kind| kind.text());
        let kind = kind.as_deref().unwrap_or(name);
        match kind {
            "error" => self.fail(root.some("error").unwrap_or(root)),
            "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled" => {
                (self.ended, self.finished) = (true, true);
                if let Some(response) = root.some("response") {
                    self.answer.names(response);
                    self.answer.response(response);
                    self.answer.usage = usage(Protocol::Responses, response).or(self.answer.usage);
                    if let Some(error) = response.some("error") {
                        self.fail(error);
                    }
                }
            }
            "response.created" | "response.in_progress" | "response.queued" => {
                if let Some(response) = root.some("response") {
                    self.answer.names(response);
                }
            }
            "response.output_item.added" => {
                self.answer.output_bytes += text_bytes(root.at(&["item", "name"]));
            }
            // Text, refusals, arguments, code, reasoning. Sound and images are no text.
            delta if delta.ends_with(".delta") && !delta.starts_with("response.audio.") => {
                self.answer.output_bytes += text_bytes(root.get("delta"));
            }
            _ => (),
        }
        false
    }

    pub(super) fn messages(&mut self, root: View, name: &str) -> bool {
        let kind = root.some("type").and_then(|kind| kind.text());
        match kind.as_deref().unwrap_or(name) {
            "message_start" => {
                if let Some(message) = root.some("message") {
                    self.answer.names(message);
                    self.count(message);
                }
            }
            "content_block_start" => {
                // `input` of a tool is `{}` here, and comes in parts.
                let block = root.some("content_block");
                self.answer.output_bytes += block.map_or(0, |block| {
                    block_bytes(block)
                        .saturating_sub(block.some("input").map_or(0, |input| input.raw().len() as u64))
                });
            }
            "content_block_delta" => {
                for key in ["text", "partial_json", "thinking"] {
                    self.answer.output_bytes += text_bytes(root.at(&["delta", key]));
                }
            }
            "message_delta" => {
                if let Some(reason) = owned(root.at(&["delta", "stop_reason"])) {
                    (self.answer.finish, self.finished) = (Some(reason), true);
                }
                self.count(root);
            }
            "message_stop" => (self.ended, self.finished) = (true, true),
            "error" => self.fail(root.some("error").unwrap_or(root)),
            _ => (),
        }
        false
    }

    pub(super) fn converse(&mut self, root: View, name: &str) -> bool {
        match name {
            "contentBlockStart" => {
                self.answer.output_bytes += text_bytes(root.at(&["start", "toolUse", "name"]));
            }
            "contentBlockDelta" => {
                for keys in [
                    ["delta", "text"].as_slice(),
                    &["delta", "toolUse", "input"],
                    &["delta", "reasoningContent", "text"],
                ] {
                    self.answer.output_bytes += text_bytes(root.at(keys));
                }
            }
            "messageStop" => self.answer.finish = owned(root.some("stopReason")),
            // Comes last, and there is no other mark.
            "metadata" => {
                self.answer.usage = usage(Protocol::Converse, root).or(self.answer.usage);
                (self.ended, self.finished) = (true, true);
            }
            "error" => self.fail(root.some("error").unwrap_or(root)),
            _ => (),
        }
        false
    }

    fn count(&mut self, holder: View) {
        if let Some(usage) = holder.some("usage") {
            self.totals.read(usage);
            self.answer.usage = Some(self.totals.sum());
        }
    }

    fn fail(&mut self, error: View) {
        let code = ["code", "type"].iter().find_map(|key| owned(error.some(key)));
        self.error = Some(StreamError {
            code,
            message: owned(error.some("message")).or_else(|| owned(Some(error))),
        });
    }
}
