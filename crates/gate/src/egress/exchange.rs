//! One request and its answer, over a connection to the server that carries nothing else. Heads are written anew, the
//! bodies' framing too; what a message says of its own length is never passed on as it was said.

use super::answer::Refused;
use super::seen::Told;
use super::wire::{ReadError, Wire};
use assay::head::{Body, Request, Response, chunk_size, passed_on};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use url::{Position, Url};

/// As long as the connection lives.
const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

/// What a client or a server speaks over.
pub(super) trait Client: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Client for S {}

/// Bytes of a body that are passed on at a time.
const AT_ONCE: usize = 64 * 1024;
/// Answers before the answer (100, 103) that are put up with.
const EARLY_MAX: usize = 8;

/// An exchange that came to its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    pub status: u16,
    pub out: u64,
    pub back: u64,
    /// Whether another request may follow on the client's connection.
    pub goes_on: bool,
}

/// Largest body of the request, most bytes of the exchange, longest pause.
type Limits = (u64, u64, Duration);

/// Sends the request that `wire` holds the body of, and passes the answer back.
pub(super) async fn exchange<S: Client, U: Client>(
    wire: &mut Wire<S>,
    server: U,
    (url, request): (&Url, &Request),
    (body_max, bytes_max, idle): Limits,
    told: &mut Told,
) -> Result<Ended, Refused> {
    let (read, mut write) = tokio::io::split(server);
    let mut answers = Wire::new(tokio::io::join(read, tokio::io::sink()));
    told.sent = true;
    let lost = |error: std::io::Error| Refused::new(502, "broken", format!("the server: {error}"));
    write.write_all(&head_of(url, request)).await.map_err(lost)?;
    write.flush().await.map_err(lost)?;
    if request.is_1_1 && request.body != Body::None && expects(request) {
        let gone = |error: std::io::Error| Refused::new(499, "client_gone", error.to_string());
        wire.write(b"HTTP/1.1 100 Continue\r\n\r\n").await.map_err(gone)?;
    }
    let mut out = 0;
    // A server may answer before it has read everything; then the rest is not waited for.
    let mut answer = None;
    let whole = {
        let most = body_max.min(bytes_max);
        let sending = body(wire, &mut write, request.body, most, idle, &mut out);
        tokio::select! {
            sent = sending => {
                sent?;
                true
            }
            // The body has its own time: an answer is not late before there is a question.
            early = head(&mut answers, FOREVER) => {
                answer = Some(early?);
                request.body == Body::None
            }
        }
    };
    let response = match answer {
        Some(response) => response,
        None => head(&mut answers, idle).await?,
    };
    let framed = match (request.method.as_str(), response.body) {
        ("HEAD", _) | (_, Body::None) => Body::None,
        (_, Body::UntilClose) if request.is_1_1 => Body::UntilClose,
        (_, body) => body,
    };
    let chunks = request.is_1_1 && matches!(framed, Body::Chunked | Body::UntilClose);
    let ends = !request.is_1_1
        || !whole
        || closes(request)
        || (!chunks && matches!(framed, Body::Chunked | Body::UntilClose));
    let gone = |error: std::io::Error| Refused::new(499, "client_gone", error.to_string());
    told.answered = true;
    wire.write(&answer_head(&response, request, chunks, ends))
        .await
        .map_err(gone)?;
    let mut back = 0;
    let left = bytes_max.saturating_sub(out);
    answer_body(&mut answers, wire, framed, chunks, (left, idle), &mut back).await?;
    Ok(Ended {
        status: response.status,
        out,
        back,
        goes_on: !ends,
    })
}

fn expects(request: &Request) -> bool {
    assay::head::values(&request.fields, "expect").any(|value| value.eq_ignore_ascii_case(b"100-continue"))
}

fn closes(request: &Request) -> bool {
    let named = |name| assay::head::values(&request.fields, name);
    named("connection")
        .chain(named("proxy-connection"))
        .flat_map(|value| value.split(|b| *b == b','))
        .any(|one| one.trim_ascii().eq_ignore_ascii_case(b"close"))
}

/// The head that is sent: the URL that was judged, one Host, one length.
fn head_of(url: &Url, request: &Request) -> Vec<u8> {
    let path = &url[Position::BeforePath..Position::AfterQuery];
    let host = &url[Position::BeforeHost..Position::AfterPort];
    let mut head = format!(
        "{} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n",
        request.method
    )
    .into_bytes();
    match request.body {
        Body::Length(length) => head.extend_from_slice(format!("Content-Length: {length}\r\n").as_bytes()),
        Body::Chunked => head.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        Body::None | Body::UntilClose => {}
    }
    fields(&mut head, &request.fields);
    head
}

fn fields(head: &mut Vec<u8>, fields: &[assay::head::Field]) {
    for field in passed_on(fields) {
        head.extend_from_slice(field.name.as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(&field.value);
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
}

fn answer_head(response: &Response, request: &Request, chunks: bool, ends: bool) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {} {}\r\n", response.status, response.reason).into_bytes();
    match response.body {
        _ if chunks && request.method != "HEAD" => head.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        Body::Length(length) => head.extend_from_slice(format!("Content-Length: {length}\r\n").as_bytes()),
        _ => {}
    }
    if ends {
        head.extend_from_slice(b"Connection: close\r\n");
    }
    fields(&mut head, &response.fields);
    head
}

/// The head of the answer itself.
async fn head<U: Client>(answers: &mut Wire<U>, idle: Duration) -> Result<Response, Refused> {
    let parse = |bytes: &[u8]| {
        let read = Response::parse(bytes).map_err(|error| error.to_string())?;
        Ok(read.map(|response| {
            let length = response.length;
            (response, length)
        }))
    };
    for _ in 0..EARLY_MAX {
        let response = answers.read(idle, parse).await.map_err(|error| server(&error))?;
        match response.status {
            101 => {
                return Err(Refused::new(
                    502,
                    "bad_answer",
                    "the server changes the protocol, unasked",
                ));
            }
            100..=199 => {}
            _ => return Ok(response),
        }
    }
    Err(Refused::new(
        502,
        "bad_answer",
        "the server does not come to its answer",
    ))
}

fn server(error: &ReadError) -> Refused {
    match error {
        ReadError::Slow(_) => Refused::new(504, "no_answer", format!("the server: {error}")),
        ReadError::Malformed(_) => Refused::new(502, "bad_answer", format!("the server's answer: {error}")),
        _ => Refused::new(502, "no_answer", format!("the server: {error}")),
    }
}

fn client(error: &ReadError) -> Refused {
    match error {
        ReadError::Malformed(what) => Refused::new(400, "malformed", what.clone()),
        ReadError::Slow(_) => Refused::new(408, "too_slow", error.to_string()),
        _ => Refused::new(499, "client_gone", error.to_string()),
    }
}

/// What comes next of a body: nothing at its end.
struct Chunks {
    /// Left of what has a length, or of the chunk.
    left: u64,
    framing: Body,
    over: bool,
}

impl Chunks {
    fn of(framing: Body) -> Chunks {
        let (left, over) = match framing {
            Body::None => (0, true),
            Body::Length(length) => (length, length == 0),
            Body::Chunked => (0, false),
            Body::UntilClose => (u64::MAX, false),
        };
        Chunks { left, framing, over }
    }

    async fn next<S: Client>(&mut self, wire: &mut Wire<S>) -> Result<Option<Vec<u8>>, ReadError> {
        if self.over {
            return Ok(None);
        }
        if self.framing == Body::Chunked && self.left == 0 {
            let line = wire.line().await?;
            self.left =
                chunk_size(&line).ok_or(ReadError::Malformed("a chunk has no plain size".to_owned()))?;
            if self.left == 0 {
                // What stands behind the last chunk would be read as headers by some and not by others.
                return match wire.line().await?.is_empty() {
                    true => {
                        self.over = true;
                        Ok(None)
                    }
                    false => Err(ReadError::Malformed(
                        "there are trailers behind the last chunk".to_owned(),
                    )),
                };
            }
        }
        let most = usize::try_from(self.left).unwrap_or(AT_ONCE).min(AT_ONCE);
        let some = wire.some(most).await?;
        if some.is_empty() {
            self.over = true;
            return match self.framing {
                Body::UntilClose => Ok(None),
                _ => Err(ReadError::Broken),
            };
        }
        self.left -= some.len() as u64;
        if self.left == 0 {
            match self.framing {
                Body::Chunked if !wire.line().await?.is_empty() => {
                    return Err(ReadError::Malformed("a chunk is longer than it says".to_owned()));
                }
                Body::Length(_) => self.over = true,
                _ => {}
            }
        }
        Ok(Some(some))
    }
}

/// Passes the body of the request on.
async fn body<S: Client, W: AsyncWrite + Unpin>(
    wire: &mut Wire<S>,
    write: &mut W,
    framing: Body,
    limit: u64,
    idle: Duration,
    out: &mut u64,
) -> Result<(), Refused> {
    let lost = |error: std::io::Error| Refused::new(502, "broken", format!("the server: {error}"));
    let mut chunks = Chunks::of(framing);
    loop {
        let next = tokio::time::timeout(idle, chunks.next(wire)).await;
        let next = next.unwrap_or(Err(ReadError::Slow(idle.as_secs())));
        let Some(some) = next.map_err(|error| client(&error))? else {
            break;
        };
        *out += some.len() as u64;
        if *out > limit {
            let what = format!("its body is larger than {limit} bytes, which the rule lets through");
            return Err(Refused::new(413, "body_too_large", what));
        }
        let writing = async {
            if framing == Body::Chunked {
                write
                    .write_all(format!("{:x}\r\n", some.len()).as_bytes())
                    .await?;
            }
            write.write_all(&some).await?;
            if framing == Body::Chunked {
                write.write_all(b"\r\n").await?;
            }
            write.flush().await
        };
        let late = |_| {
            Refused::new(
                504,
                "no_answer",
                "the server reads nothing of the body for too long",
            )
        };
        tokio::time::timeout(idle, writing)
            .await
            .map_err(late)?
            .map_err(lost)?;
    }
    if framing == Body::Chunked {
        write.write_all(b"0\r\n\r\n").await.map_err(lost)?;
    }
    write.flush().await.map_err(lost)
}

/// Passes the body of the answer back.
async fn answer_body<U: Client, S: Client>(
    answers: &mut Wire<U>,
    wire: &mut Wire<S>,
    framing: Body,
    chunked: bool,
    (limit, idle): (u64, Duration),
    back: &mut u64,
) -> Result<(), Refused> {
    let gone = |error: std::io::Error| Refused::new(499, "client_gone", error.to_string());
    let mut chunks = Chunks::of(framing);
    loop {
        let next = tokio::time::timeout(idle, chunks.next(answers)).await;
        let next = next.unwrap_or(Err(ReadError::Slow(idle.as_secs())));
        let Some(some) = next.map_err(|error| server(&error))? else {
            break;
        };
        *back += some.len() as u64;
        if *back > limit {
            return Err(Refused::new(
                502,
                "too_many_bytes",
                "more bytes than the agent's limit for one connection",
            ));
        }
        let before = if chunked {
            format!("{:x}\r\n", some.len())
        } else {
            String::new()
        };
        let after: &[u8] = if chunked { b"\r\n" } else { b"" };
        let words = [before.as_bytes(), &some, after].concat();
        let late = |_| {
            Refused::new(
                408,
                "too_slow",
                "the client reads nothing of the answer for too long",
            )
        };
        tokio::time::timeout(idle, wire.write(&words))
            .await
            .map_err(late)?
            .map_err(gone)?;
    }
    match chunked {
        true => wire.write(b"0\r\n\r\n").await.map_err(gone),
        false => Ok(()),
    }
}
