//! Messages, heard.

use super::{Finish, Heard};
use crate::json::View;
use crate::usage::{Totals, owned};

#[derive(Debug, Default)]
pub(super) struct Reader {
    totals: Totals,
    /// A call is open; what came with its beginning is its input if nothing comes after.
    call: Option<String>,
}

impl Reader {
    pub(super) fn body(&mut self, root: View, heard: &mut Vec<Heard>) {
        self.start(root, heard);
        for block in root.get("content").into_iter().flat_map(|list| list.items()) {
            self.open(block, heard);
            self.close(heard);
        }
        self.finish(root, root, heard);
        heard.push(Heard::End);
    }

    pub(super) fn event(&mut self, name: &str, root: View, heard: &mut Vec<Heard>) {
        let kind = root.some("type").and_then(|kind| kind.text());
        match kind.as_deref().unwrap_or(name) {
            "message_start" => {
                if let Some(message) = root.some("message") {
                    self.start(message, heard);
                    self.count(message, heard);
                }
            }
            "content_block_start" => {
                if let Some(block) = root.some("content_block") {
                    self.open(block, heard);
                }
            }
            "content_block_delta" => {
                if let Some(delta) = root.some("delta") {
                    self.delta(delta, heard);
                }
            }
            "content_block_stop" => self.close(heard),
            "message_delta" => {
                if let Some(delta) = root.some("delta") {
                    self.finish(delta, root, heard);
                }
            }
            "message_stop" => heard.push(Heard::End),
            "ping" => heard.push(Heard::Ping),
            "error" => heard.push(Heard::failed(root.some("error").unwrap_or(root))),
            // Newer kinds of events are to be passed over, the vendor says.
            _ => (),
        }
    }

    fn start(&mut self, message: View, heard: &mut Vec<Heard>) {
        let (id, model) = (owned(message.some("id")), owned(message.some("model")));
        heard.push(Heard::Start { id, model });
    }

    fn open(&mut self, block: View, heard: &mut Vec<Heard>) {
        let kind = block.get("type").and_then(|kind| kind.text()).unwrap_or_default();
        let text = |key| owned(block.some(key)).filter(|text| !text.is_empty());
        match kind.as_ref() {
            "text" => heard.extend(text("text").map(Heard::Text)),
            "thinking" => heard.extend(text("thinking").map(Heard::Thinking)),
            // Nobody but the vendor can read it.
            "redacted_thinking" => (),
            "tool_use" => {
                let id = owned(block.some("id")).unwrap_or_default();
                let name = owned(block.some("name")).unwrap_or_default();
                heard.push(Heard::Call { id, name });
                self.call = Some(block.get("input").map_or("{}", |input| input.raw()).to_owned());
            }
            _ => heard.push(Heard::untold(
                "the answer holds content of a kind that the other protocol lacks",
            )),
        }
    }

    fn delta(&mut self, delta: View, heard: &mut Vec<Heard>) {
        let text = |key| owned(delta.some(key)).filter(|text| !text.is_empty());
        heard.extend(text("text").map(Heard::Text));
        heard.extend(text("thinking").map(Heard::Thinking));
        if let Some(part) = text("partial_json") {
            self.call = None;
            heard.push(Heard::Arguments(part));
        }
    }

    fn close(&mut self, heard: &mut Vec<Heard>) {
        heard.extend(self.call.take().map(Heard::Arguments));
    }

    fn finish(&mut self, holder: View, usage: View, heard: &mut Vec<Heard>) {
        if let Some(reason) = holder.some("stop_reason").and_then(|reason| reason.text()) {
            heard.push(Heard::Finish(match reason.as_ref() {
                "max_tokens" | "model_context_window_exceeded" => Finish::Length,
                "tool_use" => Finish::Calls,
                "refusal" => Finish::Filter,
                "stop_sequence" => Finish::Sequence(owned(holder.some("stop_sequence")).unwrap_or_default()),
                _ => Finish::Stop,
            }));
        }
        self.count(usage, heard);
    }

    fn count(&mut self, holder: View, heard: &mut Vec<Heard>) {
        if let Some(usage) = holder.some("usage") {
            self.totals.read(usage);
            heard.push(Heard::Usage(self.totals.sum()));
        }
    }
}
