//! A stream on its way to the client: the bytes as they come, counted on the side, cut by a stop, by what it rests on, or
//! when it passes what was reserved.

use super::attempt::Tried;
use super::reply::{Body, Reply, failure, told};
use super::send::{client_error, left};
use super::settle::{Account, Ended, KEPT_BYTES_MAX};
use super::spec::Model;
use super::spoken::Spoken;
use super::{Ask, Llm};
use crate::egress::answer::Refused;
use bytes::Bytes;
use policy::{Cancel, InFlight, Outcome};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use wire::failure::error_event;
use wire::scan::{Ending, Scan};
use wire::translate::{self, Stream};
use wire::{Protocol, Usage};

/// Pieces that wait for a client that reads slowly.
const AHEAD: usize = 8;
/// How long an upstream may say nothing in the middle of a stream.
const IDLE: Duration = Duration::from_secs(300);
/// How long a client may take for one piece.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked at whether the stream may go on.
const LOOK: Duration = Duration::from_secs(2);
/// Bytes that one token is at most, where an upstream says nothing of what it used: longer ones are seldom, and none of
/// them follows another.
const TOKEN_BYTES: u64 = 128;

/// One stream.
pub(super) struct Relay {
    llm: Arc<Llm>,
    model: Arc<Model>,
    session: String,
    protocol: Protocol,
    flight: InFlight,
    account: Account,
    cap: u64,
    scan: Scan,
    /// Where the client speaks another protocol.
    translating: Option<Result<Stream, String>>,
    events: u64,
    /// What came, for the record.
    kept: Vec<u8>,
    bytes: u64,
}

/// Why a stream is over.
enum Over {
    /// The upstream closed it.
    Ended,
    /// The client left.
    Left,
    /// For this reason, by us.
    Cut(&'static str, String),
    /// For this reason, by the upstream.
    Broken(&'static str, String),
}

impl Relay {
    pub fn new(
        llm: &Arc<Llm>,
        (ask, spoken): (&Ask, &Spoken<'_>),
        model: &Arc<Model>,
        flight: InFlight,
        account: Account,
        (cap, withhold): (u64, bool),
    ) -> Relay {
        let protocol = spoken.request.protocol();
        // The translation leaves out what the client did not ask for by itself.
        let translating = spoken
            .translation
            .as_ref()
            .map(|translation| translation.stream(protocol));
        Relay {
            llm: Arc::clone(llm),
            model: Arc::clone(model),
            session: ask.session.clone(),
            protocol: ask.protocol,
            flight,
            account,
            cap,
            scan: Scan::new(protocol, withhold && translating.is_none()),
            translating,
            events: 0,
            kept: Vec::new(),
            bytes: 0,
        }
    }

    /// Waits for the first piece, so that a stream that never begins can still be asked of another model; then a task of
    /// its own passes on what comes.
    pub async fn begin(
        self,
        mut response: reqwest::Response,
        headers: Vec<(String, String)>,
        ask: &Ask,
    ) -> Tried {
        let cancel = self.flight.cancel();
        let first = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(("stopped", "a stop covers it".to_owned(), false)),
            () = left(ask) => Err(("client_gone", "the client left".to_owned(), false)),
            first = tokio::time::timeout(self.model.timeout, response.chunk()) => match first {
                Ok(Ok(Some(first))) => Ok(first),
                Ok(Ok(None)) => Err(("broken", "the stream is empty".to_owned(), true)),
                Ok(Err(error)) => Err(("broken", client_error(&error), true)),
                Err(_) => Err(("too_slow", "the stream does not begin".to_owned(), true)),
            },
        };
        let entry = self.flight.entry();
        match first {
            Ok(first) => {
                self.llm.breakers.well(&self.model.name);
                let (sender, receiver) = mpsc::channel(AHEAD);
                tokio::spawn(self.run(response, first, sender));
                Tried::Answered(Reply {
                    status: 200,
                    headers,
                    body: Body::Stream(receiver),
                })
            }
            Err((code, what, upstream)) => {
                let what = format!("model `{}`: {what}", self.model.name);
                let ended = match upstream {
                    true => Ended::lost(code, &what),
                    false => Ended::cut(code, &what),
                };
                if upstream {
                    self.llm.breakers.failed(&self.model.name);
                }
                self.account.settle(self.flight, ended).await;
                let status = if upstream { 502 } else { 403 };
                Tried::Failed {
                    refused: Refused::new(status, code, what).recorded(Some(entry)),
                    again: upstream,
                    after: None,
                    elsewhere: upstream,
                }
            }
        }
    }

    async fn run(mut self, mut response: reqwest::Response, first: Bytes, sender: mpsc::Sender<Bytes>) {
        let cancel = self.flight.cancel();
        let mut over = self.pass_on(first, &sender, &cancel).await;
        let mut looks = tokio::time::interval(LOOK);
        let mut quiet = tokio::time::Instant::now();
        while over.is_none() {
            over = tokio::select! {
                biased;
                () = cancel.cancelled() => Some(Over::Cut("stopped", "a stop covers it".to_owned())),
                () = sender.closed() => Some(Over::Left),
                chunk = response.chunk() => {
                    quiet = tokio::time::Instant::now();
                    match chunk {
                        Ok(Some(chunk)) => self.pass_on(chunk, &sender, &cancel).await,
                        Ok(None) => Some(Over::Ended),
                        Err(error) => Some(Over::Broken("broken", client_error(&error))),
                    }
                }
                _ = looks.tick() => match quiet.elapsed() > IDLE {
                    true => Some(Over::Broken("too_slow", "nothing came for too long".to_owned())),
                    false => self.falls(),
                },
            };
        }
        // The upstream is told by the end of its connection.
        drop(response);
        self.end(over.unwrap_or(Over::Ended), sender).await;
    }

    /// Whether it may not go on: its session, its agent, its grants.
    fn falls(&self) -> Option<Over> {
        let still = self.llm.gate.still_grants(&self.session, self.flight.action());
        still.err().map(|why| Over::Cut("revoked", why))
    }

    /// One piece.
    async fn pass_on(&mut self, chunk: Bytes, sender: &mpsc::Sender<Bytes>, cancel: &Cancel) -> Option<Over> {
        self.bytes += chunk.len() as u64;
        if self.kept.len() + chunk.len() <= KEPT_BYTES_MAX {
            self.kept.extend_from_slice(&chunk);
        }
        let passage = match self.scan.push(&chunk) {
            Ok(passage) => passage,
            Err(overlong) => return Some(Over::Broken("overlong", overlong.to_string())),
        };
        let piece = match &mut self.translating {
            Some(Ok(stream)) => match stream.push(&chunk) {
                Ok(told) => Some(Bytes::from(told)),
                Err(overlong) => return Some(Over::Broken("overlong", overlong.to_string())),
            },
            Some(Err(what)) => return Some(Over::Cut("not_translated", what.clone())),
            None => None,
        };
        let is_whole = |range: &std::ops::Range<usize>| *range == (0..chunk.len());
        let all = passage.held.is_empty() && matches!(passage.ranges.as_slice(), [range] if is_whole(range));
        let piece = match piece {
            Some(piece) => piece,
            None if all => chunk,
            None => Bytes::from(passage.collect(&chunk)),
        };
        self.events += 1;
        if let Some(over) = self.give(piece, sender, cancel).await {
            return Some(over);
        }
        self.passes().map(|what| Over::Cut("ceiling", what))
    }

    /// Hands a piece to the client, who may be slow. INVARIANT (a client that does not read holds nothing up): stops and
    /// what it rests on cut it meanwhile, and so does time.
    async fn give(&self, piece: Bytes, sender: &mpsc::Sender<Bytes>, cancel: &Cancel) -> Option<Over> {
        if piece.is_empty() {
            return None;
        }
        let piece = match sender.try_send(piece) {
            Ok(()) => return None,
            Err(mpsc::error::TrySendError::Closed(_)) => return Some(Over::Left),
            Err(mpsc::error::TrySendError::Full(piece)) => piece,
        };
        let sending = sender.reserve();
        tokio::pin!(sending);
        let mut looks = tokio::time::interval(LOOK);
        let began = tokio::time::Instant::now();
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Some(Over::Cut("stopped", "a stop covers it".to_owned())),
                place = &mut sending => {
                    return match place {
                        Ok(place) => {
                            place.send(piece);
                            None
                        }
                        Err(_) => Some(Over::Left),
                    };
                }
                _ = looks.tick() => {
                    if began.elapsed() > PATIENCE {
                        return Some(Over::Cut("client_slow", "the client reads too slowly".to_owned()));
                    }
                    if let Some(over) = self.falls() {
                        return Some(over);
                    }
                }
            }
        }
    }

    /// Whether it wrote more than was reserved for it.
    fn passes(&self) -> Option<String> {
        let written = self.scan.usage().map_or(0, |usage: Usage| usage.output);
        let bytes = self.scan.output_bytes();
        let passes = written > self.cap || bytes > self.cap.saturating_mul(TOKEN_BYTES);
        passes.then(|| format!("it wrote more than its cap of {} tokens", self.cap))
    }

    /// Tells the client, where there is one, and settles.
    async fn end(self, over: Over, sender: mpsc::Sender<Bytes>) {
        let Relay {
            llm,
            model,
            protocol,
            flight,
            account,
            scan,
            translating,
            events,
            kept,
            bytes,
            ..
        } = self;
        let ending = scan.finish();
        let over = match over {
            Over::Ended if ending.cut => {
                Over::Broken("cut", "the stream ended before its answer was whole".to_owned())
            }
            over => over,
        };
        let is_translated = translating.is_some();
        let mut is_told = ending.error.is_some();
        let mut last = Vec::new();
        if let Some(Ok(stream)) = translating {
            let (rest, ended) = stream.finish();
            is_told = ended != translate::Ended::Cut;
            last.push(Bytes::from(rest));
        }
        if !ending.rest.is_empty() && matches!(over, Over::Ended) && !is_translated {
            last.push(Bytes::from(ending.rest.clone()));
        }
        if let (Over::Cut(code, what) | Over::Broken(code, what), false) = (&over, is_told) {
            let refused = Refused::new(502, code, what.clone()).recorded(Some(flight.entry()));
            let (message, reference) = told(&refused);
            let event = error_event(
                protocol,
                &failure(&refused, &message, reference.as_deref()),
                events,
            );
            last.push(Bytes::from(event));
        }
        if matches!(over, Over::Broken(..)) {
            llm.breakers.failed(&model.name);
        }
        // INVARIANT (a client that does not read holds nothing up): settled, and its place given on, before the last words.
        drop(account.hand_over(flight, settled(&account, over, &ending, (kept, bytes))));
        drop(account);
        for piece in last.into_iter().filter(|piece| !piece.is_empty()) {
            if !matches!(
                tokio::time::timeout(PATIENCE, sender.send(piece)).await,
                Ok(Ok(()))
            ) {
                return;
            }
        }
    }
}

/// How it is written down. What was cut is paid for whole.
fn settled(account: &Account, over: Over, ending: &Ending, (kept, bytes): (Vec<u8>, u64)) -> Ended {
    let (outcome, code, what) = match (over, &ending.error) {
        (Over::Ended, None) => (Outcome::Success, None, String::new()),
        (_, Some(error)) => {
            // Its words may quote the prompt: they are in the payload.
            let code = error.code.as_deref().unwrap_or("no code");
            let code = assay::redact::line(code, 64);
            (
                Outcome::Failure,
                Some("upstream_failed"),
                format!("an error came inside the stream: {code}"),
            )
        }
        (Over::Left, None) => (
            Outcome::Partial,
            Some("client_gone"),
            "the client left".to_owned(),
        ),
        (Over::Cut(code, what), None) => (Outcome::Cancelled, Some(code), what),
        (Over::Broken(code, what), None) => (Outcome::Partial, Some(code), what),
    };
    let text = String::from_utf8(kept)
        .ok()
        .filter(|kept| kept.len() as u64 == bytes);
    Ended {
        outcome,
        code,
        what,
        usage: account.plausible(&ending.answer).filter(|_| !ending.cut),
        used: true,
        result: json!({
            "status": 200, "bytes": bytes, "events": ending.events, "answer": text, "finish": ending.answer.finish,
        }),
    }
}
