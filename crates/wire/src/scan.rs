//! A stream on its way to the client: passed on, and read on the side.
//!
//! Nothing is held but where an event has to be withheld; then each event waits until it is whole.

mod read;

use crate::json::Tape;
use crate::protocol::Protocol;
use crate::sse::{Decoder, Event, Step, TooLong};
use crate::usage::{Answer, Totals, Usage};
use std::ops::Range;

/// Greatest length of a line and of the data of an event, in bytes. The longest that vendors send are images (some MB).
pub const EVENT_BYTES_MAX: usize = 16 << 20;
/// JSON in a stream is nested at most this deep.
const DEPTH_MAX: usize = 64;

/// Reads a stream of one protocol.
#[derive(Debug)]
pub struct Scan {
    protocol: Protocol,
    withhold_usage: bool,
    decoder: Decoder,
    /// Bytes of an event that is not over, from earlier pieces. Used only where something may be withheld.
    held: Vec<u8>,
    /// What the last event that was over met, for an LF that comes behind it.
    last_withheld: bool,
    state: State,
}

/// What was read so far.
#[derive(Debug, Default)]
struct State {
    answer: Answer,
    totals: Totals,
    error: Option<StreamError>,
    /// The mark of the end came.
    ended: bool,
    /// The answer is whole, though the mark of the end may be missing.
    finished: bool,
    events: u64,
    unread: u64,
}

/// What goes on to the client: `held` first, then these parts of what was pushed, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passage {
    /// Bytes of earlier pieces.
    pub held: Vec<u8>,
    /// Parts of the piece that was pushed.
    pub ranges: Vec<Range<usize>>,
}

impl Passage {
    /// All of it, copied together.
    pub fn collect(&self, piece: &[u8]) -> Vec<u8> {
        let mut out = self.held.clone();
        for range in &self.ranges {
            out.extend_from_slice(piece.get(range.clone()).unwrap_or_default());
        }
        out
    }

    fn push(&mut self, range: Range<usize>) {
        match self.ranges.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ if range.is_empty() => (),
            _ => self.ranges.push(range),
        }
    }
}

/// An error that came inside a stream that had begun well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamError {
    /// The vendor's type or code of it.
    pub code: Option<String>,
    /// The vendor's text. Comes from outside: show it as such.
    pub message: Option<String>,
}

/// The stream cannot be read on: cut it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is longer than {EVENT_BYTES_MAX} bytes")]
pub struct Overlong;

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// What it said of itself. `usage` is final only if [`Ending::cut`] is `false`.
    pub answer: Answer,
    /// An error inside.
    pub error: Option<StreamError>,
    /// It ended before the answer was whole, or before its usage came where one was to come: its cost is not known.
    pub cut: bool,
    /// The mark of the end came (`[DONE]`, `message_stop`, `response.completed` and its like).
    pub marked: bool,
    /// Events that were read.
    pub events: u64,
    /// Events that could not be read.
    pub unread: u64,
    /// What was held and goes to the client after all: the rest of an event that never ended.
    pub rest: Vec<u8>,
}

impl Scan {
    /// `withhold_usage`: the client did not ask for the usage of this stream, and the gateway did (Chat).
    pub fn new(protocol: Protocol, withhold_usage: bool) -> Scan {
        Scan {
            protocol,
            withhold_usage: withhold_usage && protocol == Protocol::Chat,
            decoder: Decoder::new(EVENT_BYTES_MAX),
            held: Vec::new(),
            last_withheld: false,
            state: State::default(),
        }
    }

    /// Reads the next piece, and says what of it goes on.
    pub fn push(&mut self, piece: &[u8]) -> Result<Passage, Overlong> {
        let (protocol, withhold) = (self.protocol, self.withhold_usage);
        let (state, held, last) = (&mut self.state, &mut self.held, &mut self.last_withheld);
        let mut passage = Passage::default();
        let mut from = 0;
        let read = self.decoder.push(piece, |step| {
            let end = match step {
                Step::Over(event, end) => {
                    *last = event.is_some_and(|event| state.event(protocol, event)) && withhold;
                    end
                }
                Step::Tail(end) => end,
            };
            if *last {
                held.clear();
            } else {
                passage.held.append(held);
                passage.push(from..end);
            }
            from = end;
        });
        read.map_err(|TooLong| Overlong)?;
        if self.withhold_usage {
            self.held.extend_from_slice(piece.get(from..).unwrap_or_default());
            if self.held.len() > 2 * EVENT_BYTES_MAX {
                return Err(Overlong);
            }
        } else {
            passage.push(from..piece.len());
        }
        Ok(passage)
    }

    /// What was used so far, where the stream has said it. A running count: it may grow.
    pub fn usage(&self) -> Option<Usage> {
        self.state.answer.usage
    }

    /// Bytes that the model wrote so far (see [`Answer::output_bytes`]).
    pub fn output_bytes(&self) -> u64 {
        self.state.answer.output_bytes
    }

    /// Whether the mark of the end came.
    pub fn ended(&self) -> bool {
        self.state.ended
    }

    /// An error that came inside.
    pub fn error(&self) -> Option<&StreamError> {
        self.state.error.as_ref()
    }

    /// The upstream has closed, or was left.
    pub fn finish(mut self) -> Ending {
        let mut rest = std::mem::take(&mut self.held);
        if let Some(event) = self.decoder.finish()
            && self.state.event(self.protocol, &event)
            && self.withhold_usage
        {
            rest.clear();
        }
        let state = self.state;
        let whole = state.ended || state.finished;
        Ending {
            cut: !whole || state.error.is_some() || state.answer.usage.is_none(),
            answer: state.answer,
            error: state.error,
            marked: state.ended,
            events: state.events,
            unread: state.unread,
            rest,
        }
    }
}

impl State {
    /// Reads one event; `true` says that it holds usage and nothing else.
    fn event(&mut self, protocol: Protocol, event: &Event) -> bool {
        self.events = self.events.saturating_add(1);
        if event.data.trim_ascii() == b"[DONE]" {
            self.ended = true;
            return false;
        }
        let text = std::str::from_utf8(&event.data).ok();
        let Some((text, tape)) = text.and_then(|text| Some((text, Tape::parse(text, DEPTH_MAX).ok()?)))
        else {
            self.unread = self.unread.saturating_add(1);
            return false;
        };
        let root = tape.root(text);
        match protocol {
            Protocol::Chat | Protocol::Embeddings | Protocol::CountTokens => self.chat(root),
            Protocol::Responses => self.responses(root, &event.name),
            Protocol::Messages => self.messages(root, &event.name),
            Protocol::Converse => self.converse(root, &event.name),
        }
    }
}
