//! Server-sent events, read from a response as they come.
//!
//! Total: any bytes give events or nothing. An event larger than a megabyte is dropped.

use super::failure::Failure;
use serde_json::Value;
use std::collections::VecDeque;

/// Largest event that is kept, in bytes.
const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// One event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Event {
    /// `id:`, which is a sequence here.
    pub id: Option<u64>,
    /// `event:`, or `message`.
    pub name: String,
    /// `data:` as JSON; null when it is none.
    pub data: Value,
}

/// Events of one response, in order.
#[derive(Debug)]
pub struct Events {
    response: reqwest::Response,
    parser: Parser,
}

impl Events {
    /// Of a response whose status was looked at.
    #[must_use]
    pub fn new(response: reqwest::Response) -> Events {
        Events {
            response,
            parser: Parser::default(),
        }
    }

    /// The next event; `None` when the server ended the stream.
    pub async fn next(&mut self) -> Result<Option<Event>, Failure> {
        loop {
            if let Some(event) = self.parser.ready.pop_front() {
                return Ok(Some(event));
            }
            match self.response.chunk().await {
                Ok(Some(chunk)) => self.parser.feed(&chunk),
                Ok(None) => return Ok(None),
                Err(source) => return Err(lost(&self.response, source)),
            }
        }
    }
}

/// Lines of JSON of one response, in order.
#[derive(Debug)]
pub struct Lines {
    response: reqwest::Response,
    rest: Vec<u8>,
}

impl Lines {
    /// Of a response whose status was looked at.
    #[must_use]
    pub fn new(response: reqwest::Response) -> Lines {
        Lines {
            response,
            rest: Vec::new(),
        }
    }

    /// The next line; null when it is no JSON, `None` when the server ended the answer.
    pub async fn next(&mut self) -> Result<Option<Value>, Failure> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Ok(Some(serde_json::from_slice(&line).unwrap_or_default()));
            }
            match self.response.chunk().await {
                Ok(Some(chunk)) if self.rest.len() < EVENT_BYTES_MAX => self.rest.extend_from_slice(&chunk),
                Ok(Some(_)) => {
                    return Err(Failure::Failed(
                        "a line of the server's answer is too long".into(),
                    ));
                }
                Ok(None) => return Ok(None),
                Err(source) => return Err(lost(&self.response, source)),
            }
        }
    }
}

fn lost(response: &reqwest::Response, source: reqwest::Error) -> Failure {
    let server = response.url().origin().ascii_serialization();
    Failure::Unreachable {
        server,
        source: source.without_url(),
    }
}

/// The parser of the stream's lines.
#[derive(Debug, Default)]
struct Parser {
    line: Vec<u8>,
    data: String,
    name: String,
    id: Option<u64>,
    ready: VecDeque<Event>,
}

impl Parser {
    fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' => {
                    let line = std::mem::take(&mut self.line);
                    self.line(String::from_utf8_lossy(&line).trim_end_matches('\r'));
                }
                _ if self.line.len() < EVENT_BYTES_MAX => self.line.push(*byte),
                _ => (),
            }
        }
    }

    fn line(&mut self, line: &str) {
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            let name = std::mem::take(&mut self.name);
            if !data.is_empty() || !name.is_empty() {
                let name = if name.is_empty() {
                    "message".to_owned()
                } else {
                    name
                };
                self.ready.push_back(Event {
                    id: self.id,
                    name,
                    data: serde_json::from_str(&data).unwrap_or_default(),
                });
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" if self.data.len() + value.len() < EVENT_BYTES_MAX => {
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            "event" => value.clone_into(&mut self.name),
            "id" => self.id = value.parse().ok(),
            _ => (),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    type Seen<'s> = (Option<u64>, &'s str, Value);

    fn read(chunks: &[&str]) -> Vec<(Option<u64>, String, Value)> {
        let mut parser = Parser::default();
        for chunk in chunks {
            parser.feed(chunk.as_bytes());
        }
        parser.ready.into_iter().map(|e| (e.id, e.name, e.data)).collect()
    }

    #[test]
    fn streams_become_events() {
        let table: [(&str, &[&str], Vec<Seen<'_>>); 5] = [
            (
                "one event",
                &["id: 7\nevent: entry\ndata: {\"a\":1}\n\n"],
                vec![(Some(7), "entry", json!({"a": 1}))],
            ),
            (
                "cut anywhere",
                &["id: 7\nda", "ta: 1", "\n\r\n"],
                vec![(Some(7), "message", json!(1))],
            ),
            ("comments are nothing", &[": keep-alive\n\n"], vec![]),
            (
                "data over lines",
                &["data: [1,\ndata: 2]\n\n"],
                vec![(None, "message", json!([1, 2]))],
            ),
            (
                "no JSON is null",
                &["data: x\n\n"],
                vec![(None, "message", Value::Null)],
            ),
        ];
        for (name, chunks, expected) in table {
            let expected: Vec<_> = expected
                .into_iter()
                .map(|(i, n, d)| (i, n.to_owned(), d))
                .collect();
            assert_eq!(read(chunks), expected, "{name}");
        }
    }
}
