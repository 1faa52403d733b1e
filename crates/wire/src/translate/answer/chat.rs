//! Chat, heard.

use super::{Finish, Heard};
use crate::json::{Kind, View};
use crate::protocol::Protocol;
use crate::usage::{owned, usage};

#[derive(Debug, Default)]
pub(super) struct Reader {
    started: bool,
    /// The call whose arguments come: its number in the protocol, and its id.
    open: Option<(u64, String)>,
    calls: u64,
}

impl Reader {
    pub(super) fn body(&mut self, root: View, heard: &mut Vec<Heard>) {
        self.read(root, "message", heard);
        heard.push(Heard::End);
    }

    pub(super) fn event(&mut self, root: View, heard: &mut Vec<Heard>) {
        self.read(root, "delta", heard);
    }

    fn read(&mut self, root: View, part: &str, heard: &mut Vec<Heard>) {
        if let Some(error) = root.some("error") {
            heard.push(Heard::failed(error));
            return;
        }
        if !std::mem::replace(&mut self.started, true) {
            let (id, model) = (owned(root.some("id")), owned(root.some("model")));
            heard.push(Heard::Start { id, model });
        }
        // One answer was asked for: a second one is nobody's.
        let first = |choice: &View| choice.some("index").and_then(|at| at.whole()).unwrap_or(0) == 0;
        for choice in root
            .get("choices")
            .into_iter()
            .flat_map(|list| list.items())
            .filter(first)
        {
            if let Some(part) = choice.some(part) {
                self.said(part, heard);
            }
            if let Some(reason) = choice.some("finish_reason") {
                heard.push(Heard::Finish(finish(&reason.text().unwrap_or_default())));
            }
        }
        heard.extend(usage(Protocol::Chat, root).map(Heard::Usage));
    }

    fn said(&mut self, part: View, heard: &mut Vec<Heard>) {
        let before = heard.len();
        let text = |key| owned(part.some(key)).filter(|text| !text.is_empty());
        heard.extend(
            text("reasoning_content")
                .or_else(|| text("reasoning"))
                .map(Heard::Thinking),
        );
        heard.extend(text("content").map(Heard::Text));
        for piece in part.get("content").into_iter().flat_map(|list| list.items()) {
            listed(piece, heard);
        }
        heard.extend(text("refusal").map(Heard::Text));
        if heard.len() > before {
            // What was open is over: arguments that come after are of another call, or mixed.
            self.open = None;
        }
        for key in ["audio", "function_call"] {
            if part.some(key).is_some() {
                heard.push(Heard::untold(
                    "the answer holds sound, or a call of the oldest kind",
                ));
            }
        }
        for (at, call) in part
            .get("tool_calls")
            .into_iter()
            .flat_map(|list| list.items())
            .enumerate()
        {
            self.call(at as u64, call, heard);
        }
    }

    fn call(&mut self, at: u64, call: View, heard: &mut Vec<Heard>) {
        let Some(function) = call.some("function") else {
            heard.push(Heard::untold("the answer calls something else than a function"));
            return;
        };
        let index = call.some("index").and_then(|index| index.whole()).unwrap_or(at);
        let id = owned(call.some("id")).filter(|id| !id.is_empty());
        let name = owned(function.some("name")).filter(|name| !name.is_empty());
        // Some servers number every call 0, and tell them apart by their ids.
        let same = self
            .open
            .as_ref()
            .is_some_and(|(open, known)| *open == index && id.as_ref().is_none_or(|id| id == known));
        match (same, name) {
            (true, _) => (),
            (false, Some(name)) => {
                let id = id.unwrap_or_else(|| format!("call_{}", self.calls));
                self.calls += 1;
                self.open = Some((index, id.clone()));
                heard.push(Heard::Call { id, name });
            }
            (false, None) => {
                heard.push(Heard::untold("the arguments of several calls are mixed"));
                return;
            }
        }
        let arguments = function
            .some("arguments")
            .map(|arguments| match arguments.kind() {
                Kind::Text => arguments.text().unwrap_or_default().into_owned(),
                // Some servers give an object where the protocol has a string.
                _ => arguments.raw().to_owned(),
            });
        heard.extend(arguments.filter(|text| !text.is_empty()).map(Heard::Arguments));
    }
}

/// Mistral gives content as a list where it thinks.
fn listed(piece: View, heard: &mut Vec<Heard>) {
    let kind = piece.get("type").and_then(|kind| kind.text()).unwrap_or_default();
    match kind.as_ref() {
        "text" => heard.extend(owned(piece.some("text")).map(Heard::Text)),
        "thinking" => {
            let thoughts = piece.get("thinking").into_iter().flat_map(|list| list.items());
            heard.extend(
                thoughts
                    .filter_map(|thought| owned(thought.some("text")))
                    .map(Heard::Thinking),
            );
        }
        _ => heard.push(Heard::untold(
            "the answer holds content of a kind that the other protocol lacks",
        )),
    }
}

fn finish(reason: &str) -> Finish {
    match reason {
        "length" => Finish::Length,
        "tool_calls" | "function_call" => Finish::Calls,
        "content_filter" => Finish::Filter,
        _ => Finish::Stop,
    }
}
