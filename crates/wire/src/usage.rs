//! What an answer used, in one form for all vendors, so that a price table can be applied.
//!
//! What includes what differs: OpenAI's count of input tokens includes those read from and written to its cache,
//! Anthropic's excludes both. Here the four parts of input exclude each other, and their sum is all of the input.

use crate::json::{Tape, View};
use crate::protocol::Protocol;

/// Tokens of one answer. A count that the upstream did not give is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Input at the full price: neither read from a cache nor written to one.
    pub input: u64,
    /// Input read from the provider's cache.
    pub cached: u64,
    /// Input written to the cache for the shorter time (Anthropic 5 minutes, OpenAI 30 minutes or by default).
    pub cache_write: u64,
    /// Input written to the cache for the longer time (Anthropic 1 hour, OpenAI 12 hours).
    pub cache_write_long: u64,
    /// All output, reasoning and sound included.
    pub output: u64,
    /// Part of the output: reasoning.
    pub reasoning: u64,
    /// Part of the input (of `input` or `cached`): sound.
    pub audio_input: u64,
    /// Part of the output: sound.
    pub audio_output: u64,
    /// Tokens, in and out, that another model used (an advisor); in none of the above.
    pub other_model: u64,
    /// Calls of server-side tools.
    pub tools: ServerTools,
    /// The tier in which it was served, where the upstream said so.
    pub tier: Tier,
}

/// How often tools of the vendor ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerTools {
    /// Searches of the web.
    pub web_search: u64,
    /// Pages fetched.
    pub web_fetch: u64,
    /// Runs of code (in containers that are billed by time).
    pub code: u64,
    /// Searches in files.
    pub file_search: u64,
    /// Images made.
    pub image_generation: u64,
    /// Anything else the vendor ran: MCP, shells.
    pub other: u64,
}

/// The tier an answer was served in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tier {
    /// Not said, or the standard one.
    #[default]
    Standard,
    /// Cheaper and slower (OpenAI `flex`, Anthropic `batch`).
    Flex,
    /// Dearer and faster (`priority`, `fast`).
    Priority,
    /// Another word: price it as the dearest.
    Other,
}

impl Usage {
    /// All tokens of the input.
    pub fn input_total(&self) -> u64 {
        let parts = [self.cached, self.cache_write, self.cache_write_long];
        parts
            .iter()
            .fold(self.input, |sum, part| sum.saturating_add(*part))
    }

    /// All tokens.
    pub fn total(&self) -> u64 {
        self.input_total()
            .saturating_add(self.output)
            .saturating_add(self.other_model)
    }
}

/// What an answer says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The vendor's id of it.
    pub id: Option<String>,
    /// The model that answered, as the upstream names it.
    pub model: Option<String>,
    /// Why it ended, in the word of the protocol.
    pub finish: Option<String>,
    /// What it used.
    pub usage: Option<Usage>,
    /// Bytes of text, of arguments of tools and of reasoning that the model wrote: at least as many as tokens
    /// of what was shown. Reasoning that is not shown is not in it.
    pub output_bytes: u64,
}

/// The usage in a body that is not a stream.
pub fn usage_of(protocol: Protocol, body: &[u8]) -> Option<Usage> {
    answer_of(protocol, body)?.usage
}

/// Reads a body that is not a stream; `None` where it is no JSON object.
pub fn answer_of(protocol: Protocol, body: &[u8]) -> Option<Answer> {
    let text = std::str::from_utf8(body).ok()?;
    let tape = Tape::parse(text, crate::Limits::default().depth).ok()?;
    let root = tape.root(text);
    if root.kind() != crate::json::Kind::Object {
        return None;
    }
    let mut answer = Answer::default();
    answer.names(root);
    match protocol {
        Protocol::Chat => {
            for choice in root.get("choices").into_iter().flat_map(|list| list.items()) {
                answer.chat_choice(choice, "message");
            }
        }
        Protocol::Responses => answer.response(root),
        Protocol::Messages => {
            answer.finish = owned(root.some("stop_reason"));
            for block in root.get("content").into_iter().flat_map(|list| list.items()) {
                answer.output_bytes += block_bytes(block);
            }
        }
        Protocol::Converse => {
            answer.finish = owned(root.some("stopReason"));
            let content = root.at(&["output", "message", "content"]);
            for block in content.into_iter().flat_map(|list| list.items()) {
                answer.output_bytes += text_bytes(block.get("text"));
                answer.output_bytes += block.some("toolUse").map_or(0, block_bytes);
                answer.output_bytes += text_bytes(block.at(&["reasoningContent", "reasoningText", "text"]));
            }
        }
        Protocol::Embeddings | Protocol::CountTokens => (),
    }
    answer.usage = usage(protocol, root);
    Some(answer)
}

impl Answer {
    pub(crate) fn names(&mut self, root: View) {
        self.id = self.id.take().or_else(|| owned(root.some("id")));
        self.model = self.model.take().or_else(|| owned(root.some("model")));
    }

    /// A choice of Chat: `message` of an answer, `delta` of a stream.
    pub(crate) fn chat_choice(&mut self, choice: View, part: &str) {
        if let Some(finish) = choice.some("finish_reason") {
            self.finish = owned(Some(finish));
        }
        let Some(part) = choice.some(part) else { return };
        for key in ["content", "refusal", "reasoning_content", "reasoning"] {
            self.output_bytes += text_bytes(part.get(key));
        }
        // Mistral gives a list where it thinks.
        let list = part
            .some("content")
            .filter(|content| content.kind() == crate::json::Kind::Array);
        self.output_bytes += list.map_or(0, |list| list.raw().len() as u64);
        self.output_bytes += text_bytes(part.at(&["audio", "transcript"]));
        let calls = part.get("tool_calls").into_iter().flat_map(|list| list.items());
        for call in calls.chain(part.some("function_call").map(|_| part)) {
            for holder in ["function", "custom", "function_call"] {
                for key in ["name", "arguments", "input"] {
                    self.output_bytes += text_bytes(call.at(&[holder, key]));
                }
            }
        }
    }

    /// A response as a whole, as a body or in the last event of a stream.
    pub(crate) fn response(&mut self, root: View) {
        self.finish = root
            .at(&["incomplete_details", "reason"])
            .or_else(|| root.some("status"))
            .and_then(|word| owned(Some(word)));
        let mut bytes = 0;
        for item in root.get("output").into_iter().flat_map(|list| list.items()) {
            for key in ["name", "arguments", "input"] {
                bytes += text_bytes(item.get(key));
            }
            for list in ["content", "summary"] {
                for part in item.get(list).into_iter().flat_map(|list| list.items()) {
                    bytes += text_bytes(part.get("text")) + text_bytes(part.get("refusal"));
                }
            }
        }
        self.output_bytes = self.output_bytes.max(bytes);
    }
}

pub(crate) fn block_bytes(block: View) -> u64 {
    let input = block.some("input").map_or(0, |input| input.raw().len() as u64);
    ["text", "thinking", "name", "data"]
        .iter()
        .fold(input, |sum, key| sum + text_bytes(block.get(key)))
}

/// The length of a string without its escapes.
pub(crate) fn text_bytes(value: Option<View>) -> u64 {
    value
        .and_then(|value| value.text())
        .map_or(0, |text| text.len() as u64)
}

pub(crate) fn owned(value: Option<View>) -> Option<String> {
    Some(value?.text()?.into_owned())
}

/// The usage that stands in `root`, the outermost object of an answer.
pub(crate) fn usage(protocol: Protocol, root: View) -> Option<Usage> {
    match protocol {
        Protocol::Chat | Protocol::Embeddings => {
            let mut usage = openai(root.some("usage")?, "prompt_tokens", "completion_tokens")?;
            usage.tier = tier(root.some("service_tier"));
            Some(usage)
        }
        Protocol::Responses => {
            let mut usage = openai(root.some("usage")?, "input_tokens", "output_tokens")?;
            usage.tier = tier(root.some("service_tier"));
            for item in root.get("output").into_iter().flat_map(|list| list.items()) {
                let kind = item.get("type").and_then(|kind| kind.text()).unwrap_or_default();
                usage.tools.count_item(&kind);
            }
            Some(usage)
        }
        Protocol::Messages => {
            let usage = root.some("usage")?;
            usage
                .some("input_tokens")
                .or_else(|| usage.some("output_tokens"))?;
            let mut totals = Totals::default();
            totals.read(usage);
            Some(totals.sum())
        }
        Protocol::CountTokens => None,
        Protocol::Converse => converse(root),
    }
}

/// Bedrock: the counts exclude each other, as Anthropic's do.
fn converse(root: View) -> Option<Usage> {
    let usage = root.some("usage")?;
    let whole = |key| usage.get(key).and_then(|value| value.whole());
    let written = whole("cacheWriteInputTokens").unwrap_or(0);
    let long = usage
        .get("cacheDetails")
        .into_iter()
        .flat_map(|list| list.items());
    let long = long.filter(|detail| detail.get("ttl").is_some_and(|ttl| ttl.is("1h")));
    let long = long
        .filter_map(|detail| detail.get("inputTokens")?.whole())
        .fold(0_u64, u64::saturating_add);
    let long = long.min(written);
    Some(Usage {
        input: whole("inputTokens")?,
        cached: whole("cacheReadInputTokens").unwrap_or(0),
        cache_write: written - long,
        cache_write_long: long,
        output: whole("outputTokens").unwrap_or(0),
        tier: tier(root.at(&["serviceTier", "type"])),
        ..Usage::default()
    })
}

impl ServerTools {
    fn count_item(&mut self, kind: &str) {
        let slot = match kind {
            "web_search_call" => &mut self.web_search,
            "file_search_call" => &mut self.file_search,
            "code_interpreter_call" => &mut self.code,
            "image_generation_call" => &mut self.image_generation,
            "mcp_call" | "shell_call_output" | "program_output" => &mut self.other,
            _ => return,
        };
        *slot += 1;
    }
}

/// OpenAI: `prompt_tokens` (`input_tokens`) includes what `…_details` breaks down.
fn openai(usage: View, input_key: &str, output_key: &str) -> Option<Usage> {
    let whole = |keys: &[&str]| usage.at(keys).and_then(|value| value.whole());
    let input = whole(&[input_key])?;
    let (details_in, details_out) = (format!("{input_key}_details"), format!("{output_key}_details"));
    let part_in = |key| whole(&[&details_in, key]).unwrap_or(0);
    let part_out = |key| whole(&[&details_out, key]).unwrap_or(0);
    // An upstream that says that more was cached than was read is not believed.
    let cached = part_in("cached_tokens").min(input);
    let written = part_in("cache_write_tokens").min(input - cached);
    let long = whole(&[&details_in, "cache_write_tokens_details", "ttl_12h_tokens"])
        .unwrap_or(0)
        .min(written);
    // Google's endpoint of this protocol leaves thoughts out of the output, but not out of the total.
    let rest = whole(&["total_tokens"]).map_or(0, |total| total.saturating_sub(input));
    let output = whole(&[output_key]).unwrap_or(0).max(rest);
    Some(Usage {
        input: input - cached - written,
        cached,
        cache_write: written - long,
        cache_write_long: long,
        output,
        reasoning: part_out("reasoning_tokens").min(output),
        audio_input: part_in("audio_tokens").min(input),
        audio_output: part_out("audio_tokens").min(output),
        ..Usage::default()
    })
}

/// Anthropic: the counts exclude each other. In a stream they are running totals, and a later event that
/// leaves one out does not take it back.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    named: Usage,
    /// Rounds that the totals leave out: shortening the context.
    rounds: Usage,
}

impl Totals {
    pub(crate) fn sum(&self) -> Usage {
        let mut sum = self.named;
        sum.input = sum.input.saturating_add(self.rounds.input);
        sum.cached = sum.cached.saturating_add(self.rounds.cached);
        sum.cache_write_long = sum.cache_write_long.saturating_add(self.rounds.cache_write_long);
        sum.output = sum.output.saturating_add(self.rounds.output);
        sum.other_model = self.rounds.other_model;
        sum
    }

    /// Takes in one object `usage`.
    pub(crate) fn read(&mut self, usage: View) {
        let whole = |keys: &[&str]| usage.at(keys).and_then(|value| value.whole());
        let total = &mut self.named;
        let mut set = |slot: fn(&mut Usage) -> &mut u64, value: Option<u64>| {
            if let Some(value) = value {
                *slot(total) = value;
            }
        };
        set(|u| &mut u.input, whole(&["input_tokens"]));
        set(|u| &mut u.cached, whole(&["cache_read_input_tokens"]));
        set(|u| &mut u.output, whole(&["output_tokens"]));
        set(
            |u| &mut u.reasoning,
            whole(&["output_tokens_details", "thinking_tokens"]),
        );
        set(
            |u| &mut u.tools.web_search,
            whole(&["server_tool_use", "web_search_requests"]),
        );
        set(
            |u| &mut u.tools.web_fetch,
            whole(&["server_tool_use", "web_fetch_requests"]),
        );
        set(
            |u| &mut u.tools.code,
            whole(&["server_tool_use", "code_execution_requests"]),
        );
        set(
            |u| &mut u.cache_write_long,
            whole(&["cache_creation", "ephemeral_1h_input_tokens"]),
        );
        if let Some(written) = whole(&["cache_creation_input_tokens"]) {
            total.cache_write_long = total.cache_write_long.min(written);
            total.cache_write = written - total.cache_write_long;
        }
        if let Some(word) = usage.some("service_tier") {
            total.tier = tier(Some(word));
        }
        if usage.some("speed").is_some_and(|speed| speed.is("fast")) {
            total.tier = Tier::Priority;
        }
        if let Some(rounds) = usage.some("iterations") {
            self.rounds = left_out(rounds);
        }
    }
}

/// What the rounds used that no total holds. How long a cache is kept is not said of them: the longer time is the dearer.
fn left_out(rounds: View) -> Usage {
    let mut sum = Usage::default();
    for round in rounds.items() {
        let whole = |key| round.get(key).and_then(|value| value.whole()).unwrap_or(0);
        let counts = [
            whole("input_tokens"),
            whole("cache_read_input_tokens"),
            whole("cache_creation_input_tokens"),
            whole("output_tokens"),
        ];
        let kind = round.get("type").and_then(|kind| kind.text()).unwrap_or_default();
        match kind.as_ref() {
            "compaction" => {
                let slots = [
                    &mut sum.input,
                    &mut sum.cached,
                    &mut sum.cache_write_long,
                    &mut sum.output,
                ];
                for (slot, count) in slots.into_iter().zip(counts) {
                    *slot = slot.saturating_add(count);
                }
            }
            "advisor_message" => {
                for count in counts {
                    sum.other_model = sum.other_model.saturating_add(count);
                }
            }
            _ => (),
        }
    }
    sum
}

fn tier(word: Option<View>) -> Tier {
    match word.and_then(|word| word.text()).as_deref() {
        None | Some("default" | "standard" | "auto" | "scale") => Tier::Standard,
        Some("flex" | "batch") => Tier::Flex,
        Some("priority" | "fast") => Tier::Priority,
        Some(_) => Tier::Other,
    }
}
