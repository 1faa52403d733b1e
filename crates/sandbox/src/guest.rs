//! A program that runs behind walls, seen from outside.

use crate::protect::HeldBack;
use crate::rules::Rules;
use crate::wire;
use rustix::io::Errno;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::Interest;

/// A running guest. Dropped, it is ended with all that it started.
#[derive(Debug)]
pub struct Guest {
    pidfd: OwnedFd,
    doors: Vec<Door>,
    rules: Rules,
    reply: OwnedFd,
    killed: AtomicBool,
}

/// A socket that listens inside and is accepted from outside. Non-blocking.
#[derive(Debug)]
pub struct Door {
    /// Its port, on 127.0.0.1 or `[::1]` of the guest.
    pub port: u16,
    /// The socket. As long as it is open, so is the guest's network namespace, which nobody is in any more.
    pub listener: TcpListener,
}

/// How a guest ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// What the program said, or was told.
    pub end: End,
    /// Who or what ended it, if it did not end by itself.
    pub stop: Option<Stop>,
    /// Calls that were refused, and how often.
    pub refused: BTreeMap<String, u64>,
    /// What was made in the workspace to be run later by others, and was renamed.
    pub held_back: Vec<HeldBack>,
    /// What it used.
    pub usage: Usage,
}

/// What a program ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Its own status, 0 to 255.
    Code(i32),
    /// A signal, by number.
    Signal(i32),
}

/// What ended a guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// Its time was over.
    Timeout,
    /// It wanted more memory than there was for it.
    Memory,
    /// The workspace's file system was nearly full.
    Disk,
    /// In `strict`, a call that is not allowed; in any profile, one of a foreign architecture.
    Call(String),
    /// [`Guest::kill`], or the guest was dropped.
    Killed,
    /// The launcher is gone, and the guest with it. How the program fared is not known.
    Launcher,
}

/// What a guest used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// From start to end, in milliseconds.
    pub wall_ms: u64,
    /// Processor time in user mode, of all processes that were waited for, in microseconds.
    pub user_us: u64,
    /// Processor time in the kernel, likewise.
    pub system_us: u64,
    /// Largest resident memory of one process, in bytes.
    pub resident_bytes: u64,
    /// Most memory of all at once, with files in memory, in bytes; where a cgroup counted it.
    pub memory_peak_bytes: Option<u64>,
    /// Processes that were killed for memory.
    pub memory_kills: u64,
    /// Processes that were refused for their number.
    pub refused_processes: u64,
}

impl Guest {
    pub(crate) fn new(reply: OwnedFd, pidfd: OwnedFd, doors: Vec<Door>, rules: Rules) -> Guest {
        Guest {
            pidfd,
            doors,
            rules,
            reply,
            killed: AtomicBool::new(false),
        }
    }

    /// Names the first process of the guest, and no other when it has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// The doors' sockets, by port; one for each family of addresses.
    pub fn doors(&self) -> &[Door] {
        &self.doors
    }

    /// The doors' sockets, for whoever accepts from them.
    pub fn take_doors(&mut self) -> Vec<Door> {
        std::mem::take(&mut self.doors)
    }

    /// What the kernel was told to enforce.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Ends all processes of the guest, which can prevent it by nothing. Does not wait for it: [`Guest::wait`] does.
    pub fn kill(&self) {
        self.killed.store(true, Ordering::Release);
        // In a container of somebody else's engine it may be another user: whoever watches it asks the engine. Any other
        // error says that it has ended already.
        if rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL) == Err(Errno::PERM) {
            let _ = rustix::net::shutdown(&self.reply, rustix::net::Shutdown::Write);
        }
    }

    /// Waits until the last process of the guest is dead, and tells how it ended. Needs a tokio runtime; cancelled,
    /// it may be called again. The answer is given once: later ones say [`Stop::Launcher`].
    pub async fn wait(&self) -> Exit {
        let mut exit = match self.exit().await {
            Ok(exit) => exit,
            // A message that is none, or the end of the connection, is the end of the launcher.
            Err(_) => Exit {
                end: End::Signal(Signal::KILL.as_raw()),
                stop: Some(Stop::Launcher),
                refused: BTreeMap::new(),
                held_back: Vec::new(),
                usage: Usage::default(),
            },
        };
        if exit.stop.is_none()
            && self.killed.load(Ordering::Acquire)
            && exit.end == End::Signal(Signal::KILL.as_raw())
        {
            exit.stop = Some(Stop::Killed);
        }
        exit
    }

    async fn exit(&self) -> Result<Exit, wire::WireError> {
        let system = |e: std::io::Error| wire::WireError::Unreadable(e.to_string());
        // Tokio has no type for sockets of this kind. That of datagrams waits for any.
        let copy = std::os::unix::net::UnixDatagram::from(self.reply.try_clone().map_err(system)?);
        let reply = tokio::net::UnixDatagram::from_std(copy).map_err(system)?;
        loop {
            reply.readable().await.map_err(system)?;
            let received = reply.try_io(Interest::READABLE, || match wire::receive(&self.reply) {
                Err(wire::WireError::Silent) => Err(std::io::ErrorKind::WouldBlock.into()),
                other => Ok(other),
            });
            match received {
                Ok(received) => return received.map(|(exit, _)| exit),
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => (),
                Err(e) => return Err(system(e)),
            }
        }
    }
}
