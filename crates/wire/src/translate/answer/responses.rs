//! Responses, heard.

use super::{Finish, Heard};
use crate::json::View;
use crate::protocol::Protocol;
use crate::usage::{owned, usage};

#[derive(Debug, Default)]
pub(super) struct Reader {
    started: bool,
    /// Something of the open item came in parts: what is said at its end is a repetition.
    in_parts: bool,
    calls: bool,
}

impl Reader {
    pub(super) fn body(&mut self, root: View, heard: &mut Vec<Heard>) {
        self.start(root, heard);
        for item in root.get("output").into_iter().flat_map(|list| list.items()) {
            self.open(item, heard);
            self.whole(item, heard);
        }
        self.finish(root, heard);
    }

    pub(super) fn event(&mut self, name: &str, root: View, heard: &mut Vec<Heard>) {
        let kind = root.some("type").and_then(|kind| kind.text());
        let text = |key| owned(root.some(key)).filter(|text| !text.is_empty());
        match kind.as_deref().unwrap_or(name) {
            "response.created" | "response.in_progress" => {
                if let Some(response) = root.some("response") {
                    self.start(response, heard);
                }
            }
            "response.output_item.added" => {
                self.in_parts = false;
                if let Some(item) = root.some("item") {
                    self.open(item, heard);
                }
            }
            "response.output_text.delta" | "response.refusal.delta" => {
                self.in_parts = true;
                heard.extend(text("delta").map(Heard::Text));
            }
            "response.reasoning_text.delta" | "response.reasoning_summary_text.delta" => {
                self.in_parts = true;
                heard.extend(text("delta").map(Heard::Thinking));
            }
            "response.function_call_arguments.delta" => {
                self.in_parts = true;
                heard.extend(text("delta").map(Heard::Arguments));
            }
            "response.output_item.done" => {
                if let Some(item) = root.some("item").filter(|_| !self.in_parts) {
                    self.whole(item, heard);
                }
            }
            "response.completed" | "response.incomplete" | "response.failed" => {
                if let Some(response) = root.some("response") {
                    self.finish(response, heard);
                }
            }
            "error" => heard.push(Heard::failed(root.some("error").unwrap_or(root))),
            // Repetitions, and progress of what the vendor runs (which a translated request cannot ask for).
            _ => (),
        }
    }

    fn start(&mut self, response: View, heard: &mut Vec<Heard>) {
        if !std::mem::replace(&mut self.started, true) {
            let (id, model) = (owned(response.some("id")), owned(response.some("model")));
            heard.push(Heard::Start { id, model });
        }
    }

    fn open(&mut self, item: View, heard: &mut Vec<Heard>) {
        let kind = item.get("type").and_then(|kind| kind.text()).unwrap_or_default();
        match kind.as_ref() {
            "message" | "reasoning" => (),
            "function_call" => {
                self.calls = true;
                let id = owned(item.some("call_id")).unwrap_or_default();
                let name = owned(item.some("name")).unwrap_or_default();
                heard.push(Heard::Call { id, name });
            }
            _ => heard.push(Heard::untold(
                "the answer holds an item of a kind that the other protocol lacks",
            )),
        }
    }

    /// An item that came in one piece.
    fn whole(&mut self, item: View, heard: &mut Vec<Heard>) {
        let kind = item.get("type").and_then(|kind| kind.text()).unwrap_or_default();
        let said = |key, inner| {
            let parts = item.get(key).into_iter().flat_map(|list: View| list.items());
            parts
                .filter_map(move |part| owned(part.some(inner)))
                .filter(|text| !text.is_empty())
        };
        match kind.as_ref() {
            "message" => {
                heard.extend(said("content", "text").map(Heard::Text));
                heard.extend(said("content", "refusal").map(Heard::Text));
            }
            "reasoning" => {
                heard.extend(said("content", "text").map(Heard::Thinking));
                heard.extend(said("summary", "text").map(Heard::Thinking));
            }
            "function_call" => heard.extend(owned(item.some("arguments")).map(Heard::Arguments)),
            _ => (),
        }
    }

    fn finish(&mut self, response: View, heard: &mut Vec<Heard>) {
        if let Some(error) = response.some("error") {
            heard.push(Heard::failed(error));
            return;
        }
        let reason = response.at(&["incomplete_details", "reason"]);
        heard.push(Heard::Finish(match reason {
            Some(reason) if reason.is("content_filter") => Finish::Filter,
            Some(_) => Finish::Length,
            None if self.calls => Finish::Calls,
            None => Finish::Stop,
        }));
        heard.extend(usage(Protocol::Responses, response).map(Heard::Usage));
        heard.push(Heard::End);
    }
}
