//! The framing of AWS event streams (`application/vnd.amazon.eventstream`), turned into server-sent events.
//!
//! A message is: its length and that of its headers (4 bytes each, big endian), a CRC-32 of these eight bytes, headers, a
//! payload, and a CRC-32 of all before. Nothing of a message is passed on before both sums are right.

use crate::json::Json;
use crate::scan::EVENT_BYTES_MAX;
use crate::sse;

/// Bytes around headers and payload.
const FRAME: usize = 16;
/// Greatest size of the headers, after AWS.
const HEADERS_MAX: usize = 128 << 10;

/// Reads frames, wherever they are cut.
#[derive(Debug, Default)]
pub struct Frames {
    held: Vec<u8>,
}

/// The stream is no event stream, or was changed on its way: cut it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the event stream is broken: {why}")]
pub struct BrokenFrame {
    /// How.
    pub why: &'static str,
}

impl Frames {
    /// Reads the next piece. What comes back are server-sent events: their name is the type of the message, their data its
    /// payload; an exception is an event `error`, as [`crate::scan::Scan`] and [`crate::translate::Stream`] read it.
    pub fn push(&mut self, piece: &[u8]) -> Result<Vec<u8>, BrokenFrame> {
        self.held.extend_from_slice(piece);
        let mut out = Vec::new();
        let mut at = 0;
        while let Some(length) = frame(self.held.get(at..).unwrap_or_default(), &mut out)? {
            at += length;
        }
        self.held.drain(..at);
        Ok(out)
    }

    /// Whether a message was cut at the end.
    pub fn finish(self) -> bool {
        !self.held.is_empty()
    }
}

/// Reads one message; gives its length, or nothing where there is more to come.
fn frame(bytes: &[u8], out: &mut Vec<u8>) -> Result<Option<usize>, BrokenFrame> {
    let broken = |why| Err(BrokenFrame { why });
    let word = |at: usize| -> Option<u32> {
        let word = bytes.get(at..at + 4)?;
        word.try_into().ok().map(u32::from_be_bytes)
    };
    let (Some(total), Some(headers), Some(sum)) = (word(0), word(4), word(8)) else {
        return Ok(None);
    };
    if crc32(bytes.get(..8).unwrap_or_default()) != sum {
        return broken("the sum of a prelude is wrong");
    }
    let (total, headers) = (total as usize, headers as usize);
    if total > EVENT_BYTES_MAX || headers > HEADERS_MAX || headers + FRAME > total {
        return broken("a message is longer than it may be, or shorter than its headers");
    }
    let Some(message) = bytes.get(..total) else {
        return Ok(None);
    };
    let (body, sum) = message.split_at(total - 4);
    if crc32(body).to_be_bytes() != sum {
        return broken("the sum of a message is wrong");
    }
    let (headers, payload) = body.get(12..).unwrap_or_default().split_at(headers);
    let Some(headers) = Headers::parse(headers) else {
        return broken("the headers of a message cannot be read");
    };
    let Ok(payload) = std::str::from_utf8(payload) else {
        return broken("the payload of a message is no UTF-8");
    };
    match headers.kind.as_deref() {
        Some("event") => sse::write(headers.event.as_deref(), payload, out),
        // `exception` is modeled and has a payload; `error` has a code and a text in its headers.
        Some("exception" | "error") => {
            let message = crate::json::Tape::parse(payload, 8)
                .ok()
                .and_then(|tape| crate::usage::owned(tape.root(payload).some("message")))
                .or(headers.message);
            let error = Json::object()
                .set("type", headers.exception.unwrap_or_else(|| "error".to_owned()))
                .set("message", message.unwrap_or_default());
            sse::write(
                Some("error"),
                &Json::object().set("error", error).to_string(),
                out,
            );
        }
        _ => return broken("a message of an unknown type"),
    }
    Ok(Some(total))
}

/// The headers that are read.
#[derive(Default)]
struct Headers {
    kind: Option<String>,
    event: Option<String>,
    exception: Option<String>,
    message: Option<String>,
}

impl Headers {
    fn parse(mut rest: &[u8]) -> Option<Headers> {
        let mut headers = Headers::default();
        while !rest.is_empty() {
            let length = usize::from(take(&mut rest, 1)?.first().copied()?);
            let name = std::str::from_utf8(take(&mut rest, length)?).ok()?;
            let kind = take(&mut rest, 1)?.first().copied()?;
            let length = match kind {
                0 | 1 => 0,
                2 => 1,
                3 => 2,
                4 => 4,
                5 | 8 => 8,
                6 | 7 => usize::from(u16::from_be_bytes(take(&mut rest, 2)?.try_into().ok()?)),
                9 => 16,
                _ => return None,
            };
            let value = take(&mut rest, length)?;
            let slot = match name {
                ":message-type" => &mut headers.kind,
                ":event-type" => &mut headers.event,
                ":exception-type" | ":error-code" => &mut headers.exception,
                ":error-message" => &mut headers.message,
                _ => continue,
            };
            let text = std::str::from_utf8(value).ok().filter(|_| kind == 7)?;
            // It becomes the name of an event: no line may end in it.
            if text.contains(char::is_control) {
                return None;
            }
            *slot = Some(text.to_owned());
        }
        Some(headers)
    }
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

/// CRC-32 of IEEE 802.3, as in zlib.
fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 16] = table();
    let mut sum = !0_u32;
    for b in bytes {
        for half in [b & 15, b >> 4] {
            let at = (sum ^ u32::from(half)) & 15;
            sum = (sum >> 4) ^ TABLE.get(at as usize).copied().unwrap_or_default();
        }
    }
    !sum
}

/// Half a byte at a time: events are small, and the table is too.
#[expect(
    clippy::indexing_slicing,
    reason = "computed when compiled; an index beyond would not compile"
)]
const fn table() -> [u32; 16] {
    let mut table = [0; 16];
    let mut at = 0;
    while at < 16 {
        #[expect(clippy::cast_possible_truncation, reason = "below 16")]
        let mut sum = at as u32;
        let mut bit = 0;
        while bit < 4 {
            sum = if sum & 1 == 1 {
                (sum >> 1) ^ 0xedb8_8320
            } else {
                sum >> 1
            };
            bit += 1;
        }
        table[at] = sum;
        at += 1;
    }
    table
}
