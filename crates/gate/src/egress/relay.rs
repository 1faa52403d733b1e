//! Bytes both ways between two sockets, as fast as they come and without memory while none do.

use super::tunnels::Cut;
use crate::gate::lock;
use policy::Cancel;
use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::task::coop;

/// Bytes moved at a time.
const BUFFER_BYTES: usize = 64 * 1024;
/// Buffers that are kept while nobody needs them.
const KEPT_MAX: usize = 32;
/// In how many parts the time without movement is looked at: an idle connection ends at most so much too late.
const LOOKS: u32 = 4;

/// Buffers that tunnels borrow while bytes move: an idle one holds none.
#[derive(Debug, Default)]
pub(crate) struct Buffers(Mutex<Vec<Box<[u8]>>>);

impl Buffers {
    fn take(&self) -> Box<[u8]> {
        let kept = lock(&self.0).pop();
        kept.unwrap_or_else(|| vec![0; BUFFER_BYTES].into_boxed_slice())
    }

    fn give(&self, buffer: Box<[u8]>) {
        let mut kept = lock(&self.0);
        if kept.len() < KEPT_MAX {
            kept.push(buffer);
        }
    }
}

/// How far it may go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Within {
    pub bytes: u64,
    pub idle: Duration,
    pub lifetime: Duration,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Both sides were done.
    Closed,
    /// One of them broke off.
    Broken(String),
    /// Nothing moved for too long.
    Idle,
    /// It lived for too long.
    Aged,
    /// Too much.
    Bytes,
    /// By a stop, or because what it rests on is gone.
    Cut(String),
}

impl Ended {
    /// For the record.
    pub fn told(&self) -> String {
        match self {
            Ended::Closed => "closed by both sides".to_owned(),
            Ended::Broken(what) => format!("broken off: {what}"),
            Ended::Idle => "cut: nothing moved for too long".to_owned(),
            Ended::Aged => "cut: it lived for too long".to_owned(),
            Ended::Bytes => "cut: more bytes than its limit".to_owned(),
            Ended::Cut(why) => format!("cut: {why}"),
        }
    }
}

/// What moved.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    pub out: AtomicU64,
    pub back: AtomicU64,
    /// Whether one direction is over.
    half: AtomicBool,
}

impl Moved {
    pub fn both(&self) -> u64 {
        self.out
            .load(Ordering::Relaxed)
            .saturating_add(self.back.load(Ordering::Relaxed))
    }
}

/// Moves bytes until one of the reasons of [`Ended`].
pub(crate) async fn relay(
    (client, server): (&mut TcpStream, &mut TcpStream),
    buffers: &Buffers,
    moved: &Moved,
    within: Within,
    (cut, cancel): (&Cut, &Cancel),
) -> Ended {
    let (client_read, client_write) = client.split();
    let (server_read, server_write) = server.split();
    let both = async {
        let out = pump(
            client_read,
            server_write,
            buffers,
            (&moved.out, moved, within.bytes),
        );
        let back = pump(
            server_read,
            client_write,
            buffers,
            (&moved.back, moved, within.bytes),
        );
        match tokio::try_join!(out, back) {
            Ok(_) => Ended::Closed,
            Err(ended) => ended,
        }
    };
    let aged = tokio::time::sleep(within.lifetime);
    tokio::select! {
        biased;
        why = cut.turned() => Ended::Cut(why),
        () = cancel.cancelled() => Ended::Cut("a stop covers it".to_owned()),
        ended = both => ended,
        () = idle(moved, within.idle) => Ended::Idle,
        () = aged => Ended::Aged,
    }
}

/// Resolves when nothing has moved for `time`.
async fn idle(moved: &Moved, time: Duration) {
    let (mut seen, mut still) = (moved.both(), 0);
    while still < LOOKS {
        tokio::time::sleep(time / LOOKS).await;
        let now = moved.both();
        still = if now == seen { still + 1 } else { 0 };
        seen = now;
    }
}

/// One direction, until its source ends: then the other side is told so, and may go on answering.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    buffers: &Buffers,
    (count, moved, limit): (&AtomicU64, &Moved, u64),
) -> Result<(), Ended> {
    let broken = |error: std::io::Error| Ended::Broken(error.to_string());
    loop {
        coop::consume_budget().await;
        from.readable().await.map_err(broken)?;
        let mut buffer = buffers.take();
        let read = read_now(&mut from, &mut buffer).await;
        let result = match read {
            Ok(0) => {
                buffers.give(buffer);
                // Whoever is the second closes both; the other side may be gone already.
                if !moved.half.swap(true, Ordering::Relaxed) {
                    let _ = to.shutdown().await;
                }
                return Ok(());
            }
            Ok(length) => {
                count.fetch_add(length as u64, Ordering::Relaxed);
                match moved.both() > limit {
                    true => Err(Ended::Bytes),
                    false => write(&to, buffer.get(..length).unwrap_or_default())
                        .await
                        .map_err(broken),
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(broken(error)),
        };
        buffers.give(buffer);
        result?;
    }
}

/// What is there, without waiting. A read that does not fill the buffer says that there is no more, and costs no second
/// one to find out.
async fn read_now(from: &mut ReadHalf<'_>, buffer: &mut [u8]) -> std::io::Result<usize> {
    // What is pending is pending for want of bytes alone: whose turn it is was asked before.
    coop::unconstrained(std::future::poll_fn(|context| {
        let mut read = ReadBuf::new(buffer);
        Poll::Ready(match Pin::new(&mut *from).poll_read(context, &mut read) {
            Poll::Ready(done) => done.map(|()| read.filled().len()),
            Poll::Pending => Err(ErrorKind::WouldBlock.into()),
        })
    }))
    .await
}

async fn write(to: &WriteHalf<'_>, mut bytes: &[u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        match to.try_write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => to.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
