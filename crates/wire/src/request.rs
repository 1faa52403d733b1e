//! A request as a client sent it: its bytes, and what we read in them.

use crate::bound::{Bound, bound};
use crate::check;
use crate::json::{Malformed, Tape, View, What};
use crate::protocol::Protocol;
use std::borrow::Cow;

/// How much is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Greatest size of a body, in bytes.
    pub bytes: usize,
    /// Greatest depth of nesting. Schemas of tools are the deepest that is met; 64 is far beyond them.
    pub depth: usize,
}

impl Default for Limits {
    /// 32 MiB (what Anthropic takes; OpenAI takes 50 MB), 64 deep.
    fn default() -> Limits {
        Limits {
            bytes: 32 << 20,
            depth: 64,
        }
    }
}

/// Why a body is no request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} at `{place}`")]
pub struct Fault {
    /// Why, for machines.
    pub code: FaultCode,
    /// Where: a JSON pointer (`` is the body as a whole).
    pub place: String,
    /// Why, for people. Never holds a value of the body.
    pub message: String,
}

/// Stable reasons of a [`Fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultCode {
    /// More bytes than the limit.
    TooLarge,
    /// Nested deeper than the limit.
    TooDeep,
    /// Bytes that are no UTF-8.
    InvalidUtf8,
    /// Not JSON.
    InvalidJson,
    /// A key is twice in one object, so that two readers could read two things.
    DuplicateKey,
    /// Half of a surrogate pair in a string.
    LoneSurrogate,
    /// A field without which nothing can be judged is not there.
    Missing,
    /// A field is of another type than the protocol says.
    WrongType,
    /// A number outside of what the protocol says.
    OutOfRange,
}

impl FaultCode {
    /// For records and error bodies.
    pub fn as_str(self) -> &'static str {
        match self {
            FaultCode::TooLarge => "too_large",
            FaultCode::TooDeep => "too_deep",
            FaultCode::InvalidUtf8 => "invalid_utf8",
            FaultCode::InvalidJson => "invalid_json",
            FaultCode::DuplicateKey => "duplicate_key",
            FaultCode::LoneSurrogate => "lone_surrogate",
            FaultCode::Missing => "missing_field",
            FaultCode::WrongType => "wrong_type",
            FaultCode::OutOfRange => "out_of_range",
        }
    }

    /// The HTTP status that says it: 413 for what is too large, else 400.
    pub fn status(self) -> u16 {
        match self {
            FaultCode::TooLarge => 413,
            _ => 400,
        }
    }
}

impl From<Malformed> for Fault {
    fn from(error: Malformed) -> Fault {
        let code = match error.what {
            What::Grammar(_) => FaultCode::InvalidJson,
            What::DuplicateKey => FaultCode::DuplicateKey,
            What::LoneSurrogate => FaultCode::LoneSurrogate,
            What::TooDeep => FaultCode::TooDeep,
            What::TooLarge => FaultCode::TooLarge,
        };
        Fault {
            code,
            message: format!("{} (byte {})", error.what, error.offset),
            place: error.place,
        }
    }
}

/// A body that can be judged: JSON that everybody reads alike, with the types the protocol says in all that
/// is read here. Whether a vendor would take it is the vendor's to say.
#[derive(Clone, Debug)]
pub struct Request {
    protocol: Protocol,
    text: String,
    tape: Tape,
}

impl Request {
    /// Reads a body.
    pub fn parse(protocol: Protocol, body: Vec<u8>, limits: Limits) -> Result<Request, Fault> {
        let fault = |code, message: String| Fault {
            code,
            place: String::new(),
            message,
        };
        if body.len() > limits.bytes {
            let message = format!("the body is larger than {} bytes", limits.bytes);
            return Err(fault(FaultCode::TooLarge, message));
        }
        let text = String::from_utf8(body).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            fault(FaultCode::InvalidUtf8, format!("no UTF-8 (byte {at})"))
        })?;
        let tape = Tape::parse(&text, limits.depth)?;
        let request = Request { protocol, text, tape };
        check::check(protocol, request.root())?;
        Ok(request)
    }

    /// The protocol it was read by.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The body as it came.
    pub fn bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// The body as a value.
    pub fn root(&self) -> View<'_> {
        self.tape.root(&self.text)
    }

    /// The name of the model, as the client wrote it. Not empty.
    pub fn model(&self) -> Cow<'_, str> {
        self.root()
            .get("model")
            .and_then(|model| model.text())
            .unwrap_or_default()
    }

    /// Whether the answer is to come as a stream.
    pub fn stream(&self) -> bool {
        self.protocol.streams() && self.flag("stream")
    }

    /// Whether the client reads the usage of a stream. Where it does not, and the gateway asked for it
    /// ([`crate::Rewrite::ask_usage`]), it is withheld: Chat alone has that choice.
    pub fn wants_usage(&self) -> bool {
        match self.protocol {
            Protocol::Chat => {
                let asked = self.root().at(&["stream_options", "include_usage"]);
                asked.and_then(|value| value.bool()) == Some(true)
            }
            _ => true,
        }
    }

    /// The sampling temperature, where the client set one.
    pub fn temperature(&self) -> Option<f64> {
        self.root().get("temperature").and_then(|value| value.number())
    }

    /// Whether tools are offered, or were used in what is sent.
    pub fn has_tools(&self) -> bool {
        let root = self.root();
        let offered = ["tools", "functions", "mcp_servers", "web_search_options"];
        if offered
            .iter()
            .any(|key| root.some(key).is_some_and(|value| !value.is_empty()))
        {
            return true;
        }
        let turns = |key| root.get(key).into_iter().flat_map(|list| list.items());
        match self.protocol {
            Protocol::Chat => turns("messages").any(|message| {
                message.some("tool_calls").is_some()
                    || message.get("role").is_some_and(|role| role.is("tool"))
            }),
            Protocol::Responses => turns("input").any(|item| {
                item.get("type")
                    .and_then(|kind| kind.text())
                    .is_some_and(|kind| kind.contains("_call"))
            }),
            Protocol::Messages | Protocol::CountTokens => turns("messages")
                .flat_map(|message| {
                    message
                        .get("content")
                        .into_iter()
                        .flat_map(|content| content.items())
                })
                .any(|block| {
                    block
                        .get("type")
                        .and_then(|kind| kind.text())
                        .is_some_and(|kind| kind.contains("tool_"))
                }),
            Protocol::Embeddings | Protocol::Converse => false,
        }
    }

    /// Whether the same answer may be given again: nothing but text goes in and comes out, no tools, a temperature
    /// of 0 that the client itself set (embeddings have none), one choice, and nothing held by the provider.
    pub fn cacheable(&self) -> bool {
        let settled = match self.protocol {
            Protocol::Embeddings => true,
            Protocol::CountTokens | Protocol::Converse => false,
            _ => self.temperature() == Some(0.0),
        };
        let bound = self.bound();
        settled && bound.choices == 1 && bound.costs.is_empty() && !self.has_tools()
    }

    /// What bounds the cost, before anything is sent.
    pub fn bound(&self) -> Bound {
        bound(self)
    }

    /// A flag that is set.
    fn flag(&self, key: &str) -> bool {
        self.root().get(key).and_then(|value| value.bool()) == Some(true)
    }
}
