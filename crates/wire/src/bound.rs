//! What bounds the cost of a request before it is sent, and all that no bound is known for.
//!
//! One token per byte of the body bounds text, since no vendor's tokenizer makes a token of less than a byte and
//! what a template puts around a message is shorter than the JSON around it. Images, sound and files are
//! taken out of that count and listed with their size, since they are priced otherwise. So is everything else that costs.
//! Lists of what is free, not of what costs: a field, part or tool that is on none is listed as unknown.

mod anthropic;
mod openai;

use crate::json::{Kind, View, step};
use crate::protocol::Protocol;
use crate::request::Request;

/// What a request can cost at most is computed from these facts and a price table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    /// Tokens of input at most: bytes of the body without the payloads of images, sound and files that are listed in
    /// [`Bound::costs`]. The fixed overhead of a model (its own system text, that of tools) is not in it.
    pub input_bytes: u64,
    /// Tokens of output at most per choice, as the client set it; the greater one where two fields say it.
    pub output_cap: Option<u64>,
    /// How many answers are asked for (`n`, `best_of`); input is billed once, output for each.
    pub choices: u64,
    /// Tokens of thinking at most (Anthropic). Part of the output cap, but for interleaved thinking (a beta, by
    /// header), where it may be greater: then it is what bounds the output.
    pub thinking_budget: Option<u64>,
    /// How many calls of server-side tools at most (Responses).
    pub tool_calls_cap: Option<u64>,
    /// All that costs otherwise, or might.
    pub costs: Vec<Cost>,
    /// There was more than [`Bound::COSTS_MAX`]: refuse.
    pub more: bool,
}

impl Bound {
    /// Most entries of [`Bound::costs`].
    pub const COSTS_MAX: usize = 4096;

    /// What is listed of one kind.
    pub fn of(&self, kind: CostKind) -> impl Iterator<Item = &Cost> {
        self.costs.iter().filter(move |cost| cost.kind == kind)
    }

    /// How many are listed of one kind.
    pub fn count(&self, kind: CostKind) -> usize {
        self.of(kind).count()
    }
}

/// Something in a request that costs, or might, by other rules than tokens of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Of what kind.
    pub kind: CostKind,
    /// The word that the protocol has for it: a type of tool, a tier, a field.
    pub name: String,
    /// JSON pointer.
    pub place: String,
    /// Bytes of payload in the body, as it is written there (base64); 0 for what is named by address or id.
    pub bytes: u64,
}

/// The kinds of [`Cost`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CostKind {
    /// An image of the input.
    Image,
    /// Sound in the input.
    Audio,
    /// A film in the input.
    Video,
    /// A document in the input: its pages are counted as text and as images.
    File,
    /// A tool that the vendor runs and bills: searches, code, containers, images, MCP. Its results are input too.
    ServerTool,
    /// A tool that the client runs, but the vendor describes to the model: some hundred tokens of its own.
    VendorTool,
    /// Context that the provider holds and the body does not show.
    HeldContext,
    /// The provider shortens the context in calls of its own.
    ContextManagement,
    /// The answer is made later, and nobody is there to stop it.
    Background,
    /// Another price: a tier, a speed.
    ServiceTier,
    /// A mode of reasoning that uses several answers for one.
    ReasoningMode,
    /// A region that costs more.
    Region,
    /// The answer is sound.
    AudioOutput,
    /// A predicted answer: what of it is not used is billed as output.
    Prediction,
    /// The input is written to a cache, which costs more than reading it; the name is how long it is kept.
    CacheWrite,
    /// Another model than the one named takes part.
    OtherModel,
    /// The provider keeps the answer. It costs nothing today.
    Stored,
    /// A field of the body that is on no list here.
    UnknownField,
    /// A content part or an input item that is on no list here.
    UnknownPart,
    /// A tool that is on no list here.
    UnknownTool,
}

impl CostKind {
    /// For records and error bodies.
    pub fn as_str(self) -> &'static str {
        match self {
            CostKind::Image => "image",
            CostKind::Audio => "audio",
            CostKind::Video => "video",
            CostKind::File => "file",
            CostKind::ServerTool => "server_tool",
            CostKind::VendorTool => "vendor_tool",
            CostKind::HeldContext => "held_context",
            CostKind::ContextManagement => "context_management",
            CostKind::Background => "background",
            CostKind::ServiceTier => "service_tier",
            CostKind::ReasoningMode => "reasoning_mode",
            CostKind::Region => "region",
            CostKind::AudioOutput => "audio_output",
            CostKind::Prediction => "prediction",
            CostKind::CacheWrite => "cache_write",
            CostKind::OtherModel => "other_model",
            CostKind::Stored => "stored",
            CostKind::UnknownField => "unknown_field",
            CostKind::UnknownPart => "unknown_part",
            CostKind::UnknownTool => "unknown_tool",
        }
    }
}

pub(crate) fn bound(request: &Request) -> Bound {
    let root = request.root();
    let mut list = List::default();
    let (mut output_cap, mut choices) = (None, 1);
    let caps: &[&str] = match request.protocol() {
        Protocol::Chat => {
            openai::chat(root, &mut list);
            let asked = |key| root.get(key).and_then(|value| value.whole()).unwrap_or(1);
            choices = asked("n").max(asked("best_of"));
            &["max_tokens", "max_completion_tokens"]
        }
        Protocol::Responses => {
            openai::responses(root, &mut list);
            &["max_output_tokens"]
        }
        Protocol::Embeddings => {
            openai::embeddings(root, &mut list);
            output_cap = Some(0);
            &[]
        }
        Protocol::Messages => {
            anthropic::messages(root, &mut list);
            &["max_tokens"]
        }
        Protocol::CountTokens => {
            anthropic::messages(root, &mut list);
            output_cap = Some(0);
            &[]
        }
        // Never parsed as a request.
        Protocol::Converse => &[],
    };
    for cap in caps {
        output_cap = output_cap.max(root.get(cap).and_then(|value| value.whole()));
    }
    let payload: u64 = list.payload;
    Bound {
        input_bytes: (request.bytes().len() as u64).saturating_sub(payload),
        output_cap,
        choices,
        thinking_budget: root
            .at(&["thinking", "budget_tokens"])
            .and_then(|value| value.whole()),
        tool_calls_cap: root.get("max_tool_calls").and_then(|value| value.whole()),
        costs: list.costs,
        more: list.more,
    }
}

/// What was found so far.
#[derive(Default)]
struct List {
    costs: Vec<Cost>,
    /// Bytes that are not text.
    payload: u64,
    more: bool,
}

impl List {
    fn add(&mut self, kind: CostKind, name: &str, place: &Place) {
        self.add_bytes(kind, name, place, 0);
    }

    fn add_bytes(&mut self, kind: CostKind, name: &str, place: &Place, bytes: usize) {
        self.more |= self.costs.len() >= Bound::COSTS_MAX;
        if self.more {
            return;
        }
        let bytes = bytes as u64;
        self.payload += bytes;
        self.costs.push(Cost {
            kind,
            name: short(name),
            place: place.pointer(),
            bytes,
        });
    }

    /// Fields of the outermost object that are on no list.
    fn unknown_fields(&mut self, root: View, known: &[&[&str]]) {
        for (key, value) in root.members() {
            if !value.is_null() && !known.iter().any(|list| list.contains(&key.as_ref())) {
                self.add(CostKind::UnknownField, &key, &Place::ROOT.key(&key));
            }
        }
    }

    /// A field that costs wherever it is set, under its own name. An empty object sets it (`web_search_options`), an
    /// empty list does not.
    fn field(&mut self, root: View, key: &str, kind: CostKind) {
        if let Some(value) = root.some(key)
            && value.bool() != Some(false)
            && !(value.kind() == Kind::Array && value.is_empty())
        {
            self.add(kind, key, &Place::ROOT.key(key));
        }
    }

    /// A field that costs unless it says one of the words that are free.
    fn word(&mut self, value: Option<View>, free: &[&str], kind: CostKind, place: &Place) {
        if let Some(value) = value
            && !free.iter().any(|word| value.is(word))
        {
            let word = value.text();
            self.add(kind, word.as_deref().unwrap_or(value.raw()), place);
        }
    }
}

/// Names come from the client: as long as is of use.
fn short(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(64).collect()
}

/// Where we are, written out only where it is told.
#[derive(Clone, Copy)]
struct Place<'a> {
    up: Option<&'a Place<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Key(&'a str),
    Index(usize),
}

impl<'a> Place<'a> {
    const ROOT: Place<'static> = Place {
        up: None,
        step: Step::Root,
    };

    fn key(&'a self, key: &'a str) -> Place<'a> {
        Place {
            up: Some(self),
            step: Step::Key(key),
        }
    }

    fn index(&'a self, at: usize) -> Place<'a> {
        Place {
            up: Some(self),
            step: Step::Index(at),
        }
    }

    fn pointer(&self) -> String {
        let up = self.up.map(Place::pointer).unwrap_or_default();
        match self.step {
            Step::Root => up,
            Step::Key(key) => step(&up, key),
            Step::Index(at) => step(&up, &at.to_string()),
        }
    }
}

/// The payload of a data URL (RFC 2397), in bytes: 0 for any other address.
fn data_url(url: View) -> usize {
    match url.text() {
        Some(text)
            if text
                .get(..5)
                .is_some_and(|head| head.eq_ignore_ascii_case("data:")) =>
        {
            text.find(',').map_or(0, |comma| text.len() - comma - 1)
        }
        _ => 0,
    }
}

/// The length of a string as it is written, without its quotes.
fn written(value: Option<View>) -> usize {
    value
        .filter(|value| value.kind() == Kind::Text)
        .map_or(0, |value| value.raw().len() - 2)
}
