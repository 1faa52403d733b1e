//! Answers back: an upstream's body or stream in the words of the client's protocol.

mod chat;
mod converse;
mod messages;
mod responses;
mod write_chat;
mod write_messages;
mod write_responses;

use crate::failure::{Failure, error_event};
use crate::json::{Kind, Tape, View};
use crate::protocol::Protocol;
use crate::scan::{EVENT_BYTES_MAX, Overlong};
use crate::sse::{Decoder, Step, TooLong};
use crate::usage::Usage;

/// What an answer needs that the upstream's does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// When it was made, in seconds since 1970: OpenAI's protocols say it, Anthropic's does not.
    pub created: u64,
    /// Whether the client of a Chat stream asked for its usage ([`crate::Request::wants_usage`]).
    pub wants_usage: bool,
}

/// An answer that cannot be told in the client's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer cannot be translated: {why}")]
pub struct Untold {
    /// Why.
    pub why: &'static str,
}

/// Translates the body of an answer that is no stream and no error.
pub fn answer(from: Protocol, to: Protocol, body: &[u8], context: &Context) -> Result<Vec<u8>, Untold> {
    let text = std::str::from_utf8(body).ok();
    let parsed = text.and_then(|text| Some((text, Tape::parse(text, crate::Limits::default().depth).ok()?)));
    let (text, tape) = parsed.ok_or(Untold {
        why: "it is no JSON that everybody reads alike",
    })?;
    let root = tape.root(text);
    let mut heard = Vec::new();
    Reader::new(from)?.body(root, &mut heard);
    let mut reply = Reply::default();
    for event in heard {
        if let Heard::Error { .. } = event {
            return Err(Untold {
                why: "it holds something that the other protocol does not have",
            });
        }
        reply.fold(&event);
    }
    let json = match to {
        Protocol::Chat => write_chat::body(&reply, context),
        Protocol::Messages => write_messages::body(&reply)?,
        Protocol::Responses => write_responses::body(&reply, context),
        _ => return Err(NO_PAIR),
    };
    Ok(json.to_string().into_bytes())
}

const NO_PAIR: Untold = Untold {
    why: "there is no translation between these two protocols",
};

/// A stream of one protocol in another. Holds an event at most, but for a client of Responses, whose last event repeats
/// the whole answer.
#[derive(Debug)]
pub struct Stream {
    decoder: Decoder,
    reader: Reader,
    writer: Writer,
    started: bool,
    /// The reason why it ended came.
    finished: bool,
    /// Its mark, or an error: nothing is read after it.
    over: bool,
    ended: Ended,
}

/// How a translated stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The answer is whole, and the client was told so.
    Whole,
    /// The client was told of an error, and nothing after it.
    Failed,
    /// Neither: the client is owed an error ([`error_event`]).
    Cut,
}

impl Stream {
    /// From the upstream's protocol to the client's.
    pub fn new(from: Protocol, to: Protocol, context: Context) -> Result<Stream, Untold> {
        Ok(Stream {
            decoder: Decoder::new(EVENT_BYTES_MAX),
            reader: Reader::new(from)?,
            writer: match to {
                Protocol::Chat => Writer::Chat(write_chat::Writer::new(context)),
                Protocol::Messages => Writer::Messages(write_messages::Writer::default()),
                Protocol::Responses => Writer::Responses(write_responses::Writer::new(context)),
                _ => return Err(NO_PAIR),
            },
            started: false,
            finished: false,
            over: false,
            ended: Ended::Cut,
        })
    }

    /// Reads the next piece, and gives what goes to the client.
    pub fn push(&mut self, piece: &[u8]) -> Result<Vec<u8>, Overlong> {
        let mut out = Vec::new();
        let mut heard = Vec::new();
        let reader = &mut self.reader;
        self.decoder
            .push(piece, |step| {
                if let Step::Over(Some(event), _) = step {
                    reader.event(&event.name, &event.data, &mut heard);
                }
            })
            .map_err(|TooLong| Overlong)?;
        self.write(heard, &mut out);
        Ok(out)
    }

    /// The upstream has closed. Gives what is left, and how it ended.
    pub fn finish(mut self) -> (Vec<u8>, Ended) {
        let mut out = Vec::new();
        let mut heard = Vec::new();
        // A part of an event is no event; a whole one may lack the empty line behind it.
        if let Some(event) = self.decoder.finish()
            && readable(&event.data)
        {
            self.reader.event(&event.name, &event.data, &mut heard);
        }
        self.write(heard, &mut out);
        // The reason came, and the mark did not: some servers leave it out.
        if self.finished && self.ended == Ended::Cut {
            self.write(vec![Heard::End], &mut out);
        }
        (out, self.ended)
    }

    fn write(&mut self, heard: Vec<Heard>, out: &mut Vec<u8>) {
        for event in heard {
            if self.over {
                return;
            }
            match event {
                Heard::Start { .. } => self.started = true,
                Heard::Finish(_) => self.finished = true,
                // The mark without a reason before it: nobody said that the answer is whole. Nothing comes after it.
                Heard::End if !self.finished => {
                    self.over = true;
                    return;
                }
                Heard::End => self.ended = Ended::Whole,
                Heard::Error { .. } => self.ended = Ended::Failed,
                _ => (),
            }
            self.over = self.ended != Ended::Cut;
            let says = !matches!(event, Heard::Ping | Heard::Error { .. } | Heard::Usage(_));
            if says && !std::mem::replace(&mut self.started, true) {
                // Clients want it first, whatever the upstream does.
                self.tell(
                    &Heard::Start {
                        id: None,
                        model: None,
                    },
                    out,
                );
            }
            self.tell(&event, out);
        }
    }

    fn tell(&mut self, event: &Heard, out: &mut Vec<u8>) {
        match &mut self.writer {
            Writer::Chat(writer) => writer.event(event, out),
            Writer::Messages(writer) => writer.event(event, out),
            Writer::Responses(writer) => writer.event(event, out),
        }
    }
}

#[derive(Debug)]
enum Writer {
    Chat(write_chat::Writer),
    Messages(write_messages::Writer),
    Responses(write_responses::Writer),
}

#[derive(Debug)]
enum Reader {
    Chat(chat::Reader),
    Messages(Box<messages::Reader>),
    Responses(responses::Reader),
    Converse(converse::Reader),
}

impl Reader {
    fn new(from: Protocol) -> Result<Reader, Untold> {
        match from {
            Protocol::Chat => Ok(Reader::Chat(chat::Reader::default())),
            Protocol::Messages => Ok(Reader::Messages(Box::default())),
            Protocol::Responses => Ok(Reader::Responses(responses::Reader::default())),
            Protocol::Converse => Ok(Reader::Converse(converse::Reader::default())),
            _ => Err(NO_PAIR),
        }
    }

    fn body(&mut self, root: View, heard: &mut Vec<Heard>) {
        match self {
            Reader::Chat(reader) => reader.body(root, heard),
            Reader::Messages(reader) => reader.body(root, heard),
            Reader::Responses(reader) => reader.body(root, heard),
            Reader::Converse(reader) => reader.body(root, heard),
        }
    }

    fn event(&mut self, name: &str, data: &[u8], heard: &mut Vec<Heard>) {
        if data.trim_ascii() == b"[DONE]" {
            heard.push(Heard::End);
            return;
        }
        let text = std::str::from_utf8(data).ok();
        let parsed =
            text.and_then(|text| Some((text, Tape::parse(text, crate::Limits::default().depth).ok()?)));
        let Some((text, tape)) = parsed else {
            heard.push(Heard::untold("an event of the stream that cannot be read"));
            return;
        };
        let root = tape.root(text);
        match self {
            Reader::Chat(reader) => reader.event(root, heard),
            Reader::Messages(reader) => reader.event(name, root, heard),
            Reader::Responses(reader) => reader.event(name, root, heard),
            Reader::Converse(reader) => reader.event(name, root, heard),
        }
    }
}

/// What an upstream says, in order.
#[derive(Debug)]
enum Heard {
    Start {
        id: Option<String>,
        model: Option<String>,
    },
    Text(String),
    Thinking(String),
    /// A call begins.
    Call {
        id: String,
        name: String,
    },
    /// More of the arguments of the last call.
    Arguments(String),
    Finish(Finish),
    Usage(Usage),
    /// The stream is alive.
    Ping,
    Error {
        code: String,
        message: String,
    },
    End,
}

impl Heard {
    fn untold(message: &str) -> Heard {
        Heard::Error {
            code: "untranslatable".to_owned(),
            message: message.to_owned(),
        }
    }

    fn failed(error: View) -> Heard {
        let word = |key| crate::usage::owned(error.some(key));
        Heard::Error {
            code: word("code")
                .or_else(|| word("type"))
                .unwrap_or_else(|| "upstream_error".to_owned()),
            message: word("message")
                .or_else(|| crate::usage::owned(Some(error)))
                .unwrap_or_default(),
        }
    }
}

/// Why an answer ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Finish {
    #[default]
    Stop,
    /// The stop sequence that was met.
    Sequence(String),
    Length,
    Calls,
    Filter,
}

/// An answer as a whole.
#[derive(Debug, Default)]
struct Reply {
    id: Option<String>,
    model: Option<String>,
    parts: Vec<Said>,
    finish: Finish,
    usage: Option<Usage>,
}

#[derive(Debug)]
enum Said {
    Text(String),
    Thinking(String),
    Call {
        id: String,
        name: String,
        arguments: String,
    },
}

impl Reply {
    fn fold(&mut self, event: &Heard) {
        match event {
            Heard::Start { id, model } => (self.id, self.model) = (id.clone(), model.clone()),
            Heard::Text(more) => match self.parts.last_mut() {
                Some(Said::Text(text)) => text.push_str(more),
                _ => self.parts.push(Said::Text(more.clone())),
            },
            Heard::Thinking(more) => match self.parts.last_mut() {
                Some(Said::Thinking(text)) => text.push_str(more),
                _ => self.parts.push(Said::Thinking(more.clone())),
            },
            Heard::Call { id, name } => self.parts.push(Said::Call {
                id: id.clone(),
                name: name.clone(),
                arguments: String::new(),
            }),
            Heard::Arguments(more) => {
                if let Some(Said::Call { arguments, .. }) = self.parts.last_mut() {
                    arguments.push_str(more);
                }
            }
            Heard::Finish(finish) => self.finish = finish.clone(),
            Heard::Usage(usage) => self.usage = Some(*usage),
            Heard::Ping | Heard::Error { .. } | Heard::End => (),
        }
    }

    /// Some servers say `stop` of an answer that ends with calls.
    fn finish(&self) -> Finish {
        settle(
            &self.finish,
            self.parts.iter().any(|part| matches!(part, Said::Call { .. })),
        )
    }

    fn text(&self) -> String {
        let texts = self.parts.iter().filter_map(|part| match part {
            Said::Text(text) => Some(text.as_str()),
            _ => None,
        });
        texts.collect()
    }

    fn thinking(&self) -> String {
        let texts = self.parts.iter().filter_map(|part| match part {
            Said::Thinking(text) => Some(text.as_str()),
            _ => None,
        });
        texts.collect()
    }
}

fn settle(finish: &Finish, calls: bool) -> Finish {
    match finish {
        Finish::Stop if calls => Finish::Calls,
        other => other.clone(),
    }
}

/// What an upstream's error inside a stream becomes.
fn write_error(protocol: Protocol, code: &str, message: &str, sequence: u64, out: &mut Vec<u8>) {
    let status = match code {
        "overloaded_error" => 529,
        "rate_limit_error" | "rate_limit_exceeded" => 429,
        _ => 502,
    };
    let failure = Failure {
        status,
        code,
        message,
        reference: None,
        retry_after: None,
    };
    out.extend(error_event(protocol, &failure, sequence));
}

fn readable(data: &[u8]) -> bool {
    let text = std::str::from_utf8(data).unwrap_or_default();
    data.trim_ascii() == b"[DONE]" || Tape::parse(text, crate::Limits::default().depth).is_ok()
}

/// Arguments that are a JSON object, and nothing else.
fn object(arguments: &str) -> bool {
    Tape::parse(arguments, crate::Limits::default().depth)
        .is_ok_and(|tape| tape.root(arguments).kind() == Kind::Object)
}
