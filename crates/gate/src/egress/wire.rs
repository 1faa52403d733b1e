//! One side of a connection with what was read ahead of it. Reads are bounded in size and in time.

use super::answer::Refused;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes that are asked for at a time.
const AT_ONCE: usize = 4096;
/// Most pieces that one message comes in: each is looked at with all that came before.
const PIECES_MAX: usize = 1024;

/// A stream and what was read of it and not used.
pub(crate) struct Wire<S> {
    pub stream: S,
    pub ahead: Vec<u8>,
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The other side ended before it had said anything.
    #[error("the connection ended")]
    Ended,
    /// In the middle.
    #[error("the connection ended in the middle of a message")]
    Broken,
    /// Too slow.
    #[error("it took longer than {0} seconds")]
    Slow(u64),
    /// By the system.
    #[error("the connection broke: {0}")]
    Io(#[from] std::io::Error),
    /// What was read is none.
    #[error("{0}")]
    Malformed(String),
}

impl ReadError {
    /// What a client is told; nothing when nobody is there any more.
    pub fn refused(&self) -> Option<Refused> {
        match self {
            ReadError::Ended | ReadError::Broken | ReadError::Io(_) => None,
            ReadError::Slow(_) => Some(Refused::new(408, "too_slow", self.to_string())),
            ReadError::Malformed(what) => Some(Refused::new(400, "malformed", what.clone())),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub fn new(stream: S) -> Wire<S> {
        Wire {
            stream,
            ahead: Vec::new(),
        }
    }

    /// Reads more; an error when there is nothing more to come.
    pub async fn more(&mut self) -> Result<(), ReadError> {
        let before = self.ahead.len();
        self.ahead.reserve(AT_ONCE);
        match self.stream.read_buf(&mut self.ahead).await? {
            0 if before == 0 => Err(ReadError::Ended),
            0 => Err(ReadError::Broken),
            _ => Ok(()),
        }
    }

    /// Reads until `parse` finds something at the start, and uses that up. `parse` bounds what it looks at, and says
    /// how many bytes it used.
    pub async fn read<T>(
        &mut self,
        time: Duration,
        parse: impl Fn(&[u8]) -> Result<Option<(T, usize)>, String>,
    ) -> Result<T, ReadError> {
        let reading = async {
            for _ in 0..PIECES_MAX {
                if let Some((found, used)) = parse(&self.ahead).map_err(ReadError::Malformed)? {
                    self.ahead.drain(..used.min(self.ahead.len()));
                    return Ok(found);
                }
                self.more().await?;
            }
            Err(ReadError::Malformed(format!(
                "it comes in more than {PIECES_MAX} pieces"
            )))
        };
        tokio::time::timeout(time, reading)
            .await
            .unwrap_or(Err(ReadError::Slow(time.as_secs())))
    }

    /// Some of what comes next, at most `limit` bytes; nothing at the end.
    pub async fn some(&mut self, limit: usize) -> Result<Vec<u8>, ReadError> {
        if self.ahead.is_empty() {
            match self.more().await {
                Ok(()) => {}
                Err(ReadError::Ended) => return Ok(Vec::new()),
                Err(error) => return Err(error),
            }
        }
        let taken = limit.min(self.ahead.len());
        match taken == self.ahead.len() {
            true => Ok(std::mem::take(&mut self.ahead)),
            false => Ok(self.ahead.drain(..taken).collect()),
        }
    }

    /// A line without its CRLF, of at most 64 bytes: what stands before and after a chunk.
    pub async fn line(&mut self) -> Result<Vec<u8>, ReadError> {
        loop {
            if let Some(end) = self.ahead.windows(2).position(|two| two == b"\r\n") {
                let line = self.ahead.drain(..end + 2).take(end).collect();
                return Ok(line);
            }
            if self.ahead.len() > 64 {
                return Err(ReadError::Malformed("a chunk has no size".to_owned()));
            }
            match self.more().await {
                Err(ReadError::Ended) => return Err(ReadError::Broken),
                other => other?,
            }
        }
    }

    pub async fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_message_comes_in_so_many_pieces_and_no_more() {
        for (bytes, expected) in [(1_000, "ok"), (1_100, "it comes in more than 1024 pieces")] {
            // One byte fits between the two.
            let (mut theirs, ours) = tokio::io::duplex(1);
            let sending = tokio::spawn(async move {
                let mut text = vec![b'x'; bytes];
                text.push(b'.');
                let _ = theirs.write_all(&text).await;
                theirs
            });
            let end = |bytes: &[u8]| Ok(bytes.ends_with(b".").then_some(((), bytes.len())));
            let read = Wire::new(ours).read(Duration::from_secs(60), end).await;
            assert_eq!(
                read.map_or_else(|error| error.to_string(), |()| "ok".to_owned()),
                expected,
                "{bytes}"
            );
            sending.abort();
        }
    }
}
