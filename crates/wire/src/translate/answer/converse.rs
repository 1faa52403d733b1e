//! Converse (Amazon Bedrock), heard: its events after [`crate::frames`].

use super::{Finish, Heard};
use crate::json::View;
use crate::protocol::Protocol;
use crate::usage::{owned, usage};

#[derive(Debug, Default)]
pub(super) struct Reader {
    started: bool,
    /// A call is open that has no arguments yet.
    empty_call: bool,
}

impl Reader {
    pub(super) fn body(&mut self, root: View, heard: &mut Vec<Heard>) {
        self.start(heard);
        let content = root.at(&["output", "message", "content"]);
        for block in content.into_iter().flat_map(|list| list.items()) {
            self.block(block, heard);
        }
        self.stop(root, heard);
        heard.extend(usage(Protocol::Converse, root).map(Heard::Usage));
        heard.push(Heard::End);
    }

    pub(super) fn event(&mut self, name: &str, root: View, heard: &mut Vec<Heard>) {
        match name {
            "messageStart" => self.start(heard),
            "contentBlockStart" => {
                if let Some(start) = root.some("start") {
                    self.block(start, heard);
                }
            }
            "contentBlockDelta" => {
                if let Some(delta) = root.some("delta") {
                    self.delta(delta, heard);
                }
            }
            "contentBlockStop" => self.close(heard),
            "messageStop" => self.stop(root, heard),
            // Comes last.
            "metadata" => {
                heard.extend(usage(Protocol::Converse, root).map(Heard::Usage));
                heard.push(Heard::End);
            }
            "error" => heard.push(Heard::failed(root.some("error").unwrap_or(root))),
            _ => heard.push(Heard::untold("an event of a kind that the other protocol lacks")),
        }
    }

    fn start(&mut self, heard: &mut Vec<Heard>) {
        // It names neither the answer nor the model.
        if !std::mem::replace(&mut self.started, true) {
            heard.push(Heard::Start {
                id: None,
                model: None,
            });
        }
    }

    fn block(&mut self, block: View, heard: &mut Vec<Heard>) {
        if let Some(text) = owned(block.some("text")) {
            heard.push(Heard::Text(text));
        } else if let Some(call) = block.some("toolUse").filter(|call| call.some("type").is_none()) {
            let id = owned(call.some("toolUseId")).unwrap_or_default();
            let name = owned(call.some("name")).unwrap_or_default();
            heard.push(Heard::Call { id, name });
            match call.some("input") {
                Some(input) => heard.push(Heard::Arguments(input.raw().to_owned())),
                None => self.empty_call = true,
            }
        } else if let Some(thought) = block.some("reasoningContent") {
            heard.extend(owned(thought.at(&["reasoningText", "text"])).map(Heard::Thinking));
        } else if !block.is_empty() {
            heard.push(Heard::untold(
                "the answer holds content of a kind that the other protocol lacks",
            ));
        }
    }

    fn delta(&mut self, delta: View, heard: &mut Vec<Heard>) {
        let text = |keys: &[&str]| owned(delta.at(keys)).filter(|text| !text.is_empty());
        heard.extend(text(&["text"]).map(Heard::Text));
        heard.extend(text(&["reasoningContent", "text"]).map(Heard::Thinking));
        if let Some(part) = text(&["toolUse", "input"]) {
            self.empty_call = false;
            heard.push(Heard::Arguments(part));
        }
        if delta.some("image").is_some() || delta.some("toolResult").is_some() {
            heard.push(Heard::untold(
                "the answer holds content of a kind that the other protocol lacks",
            ));
        }
    }

    fn close(&mut self, heard: &mut Vec<Heard>) {
        if std::mem::take(&mut self.empty_call) {
            heard.push(Heard::Arguments("{}".to_owned()));
        }
    }

    fn stop(&mut self, root: View, heard: &mut Vec<Heard>) {
        let reason = root
            .some("stopReason")
            .and_then(|reason| reason.text())
            .unwrap_or_default();
        heard.push(match reason.as_ref() {
            "max_tokens" | "model_context_window_exceeded" => Heard::Finish(Finish::Length),
            "tool_use" => Heard::Finish(Finish::Calls),
            "stop_sequence" => Heard::Finish(Finish::Sequence(String::new())),
            "guardrail_intervened" | "content_filtered" => Heard::Finish(Finish::Filter),
            "malformed_model_output" | "malformed_tool_use" => Heard::Error {
                code: reason.into_owned(),
                message: "the model's answer cannot be read".to_owned(),
            },
            _ => Heard::Finish(Finish::Stop),
        });
    }
}
