//! Requests to a container engine over its socket: HTTP/1.1, one connection for each, JSON both ways.
//!
//! An engine is trusted with root, and still read with limits: an answer has a size and a time.

use super::EngineError;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixStream;

/// Largest answer, in bytes. An inspected container takes some ten thousand.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Most of what an engine says that is told on, in characters.
const SAID_MAX: usize = 500;

/// What an engine answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: u16,
    /// Null where there was nothing, or nothing that is JSON.
    pub body: Value,
}

impl Answer {
    /// What it says went wrong.
    pub(super) fn message(&self) -> String {
        let said = self.body.get("message").and_then(Value::as_str);
        said.map_or_else(|| format!("status {}", self.status), short)
    }
}

/// What an engine said, for people: one line, and the beginning of it.
pub(super) fn short(said: &str) -> String {
    let visible = said.chars().map(|c| if c.is_control() { ' ' } else { c });
    let visible: String = visible.take(4 * SAID_MAX).collect();
    let line = visible.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SAID_MAX) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

/// Asks, and waits so long at most. Blocks; not from a task of a runtime.
pub(super) fn ask(
    socket: &Path,
    method: &str,
    path: &str,
    body: Option<&Value>,
    patience: Duration,
) -> Result<Answer, EngineError> {
    let unreachable = |why: String| EngineError::Unreachable {
        socket: socket.to_owned(),
        why,
    };
    let text = match body {
        Some(body) => serde_json::to_vec(body).map_err(|e| unreachable(e.to_string()))?,
        None => Vec::new(),
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "engine")
        .header("content-type", "application/json")
        .header("connection", "close")
        .body(Full::new(Bytes::from(text)))
        .map_err(|e| unreachable(e.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| unreachable(e.to_string()))?;
    let asked = runtime.block_on(async {
        let asking = async {
            let stream = UnixStream::connect(socket).await.map_err(|e| e.to_string())?;
            let spoken = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
            let (mut sender, connection) = spoken.map_err(|e| e.to_string())?;
            let connection = tokio::spawn(connection);
            let answer = sender.send_request(request).await.map_err(|e| e.to_string())?;
            let status = answer.status().as_u16();
            let read = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
            let bytes = read.map_err(|e| e.to_string())?.to_bytes();
            connection.abort();
            Ok(Answer {
                status,
                body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
            })
        };
        let late = |_| Err(format!("no answer in {} seconds", patience.as_secs()));
        tokio::time::timeout(patience, asking).await.unwrap_or_else(late)
    });
    asked.map_err(unreachable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_engine_says_is_one_line_of_some_length() {
        let answer = |message: &str| Answer {
            status: 500,
            body: serde_json::json!({ "message": message }),
        };
        assert_eq!(answer(" no\n\u{1b}[31m  such ").message(), "no [31m such");
        let long = answer(&"é".repeat(100_000)).message();
        assert_eq!((long.chars().count(), long.ends_with("é…")), (501, true));
        assert_eq!(short("as it is"), "as it is");
    }
}
