//! What a guest reads and writes: our own standard descriptors as they are, and in the place of each that is a
//! terminal one made for the guest, which we copy.
//!
//! INVARIANT (no terminal of ours inside): whoever has a terminal open can put words into the mouth of whoever reads
//! from it later.

use crate::cli::failure::Failure;
use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::getpgrp;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{
    OptionalActions, Termios, isatty, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr, tcsetwinsize,
};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;

/// Bytes that are copied at once.
const COPIED: usize = 16 * 1024;

/// The three descriptors of a guest.
pub(super) struct Stdio {
    fds: [OwnedFd; 3],
    terminal: Option<OwnedFd>,
    /// Whether its input is the terminal's.
    reads: bool,
}

/// What copies between the terminals until the guest is gone.
pub(super) struct Passing {
    writer: Option<JoinHandle<()>>,
    before: Option<Termios>,
    /// Closed to end what waits for keys.
    quit: Option<OwnedFd>,
    reader: Option<JoinHandle<()>>,
}

fn own() -> [BorrowedFd<'static>; 3] {
    [
        rustix::stdio::stdin(),
        rustix::stdio::stdout(),
        rustix::stdio::stderr(),
    ]
}

/// A new terminal: what a person would see and type at, and what a program has.
pub(in crate::cli) fn pair() -> Result<(OwnedFd, OwnedFd), Failure> {
    let made = |what| move || format!("cannot make a terminal for the guest: {what}");
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let terminal = openpt(flags).with_context(made("openpt"))?;
    grantpt(&terminal).with_context(made("grantpt"))?;
    unlockpt(&terminal).with_context(made("unlockpt"))?;
    let name = ptsname(&terminal, Vec::new()).with_context(made("ptsname"))?;
    let mode = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
    let inside = rustix::fs::open(name, mode, rustix::fs::Mode::empty()).with_context(made("open"))?;
    Ok((terminal, inside))
}

impl Stdio {
    /// Ours, or those of a terminal of its own.
    pub(super) fn open() -> Result<Stdio, Failure> {
        let terminals = own().map(isatty);
        let copy = |fd: BorrowedFd<'_>| {
            fd.try_clone_to_owned()
                .context("cannot copy a standard descriptor")
        };
        if !terminals.contains(&true) {
            let [stdin, stdout, stderr] = own().map(copy);
            return Ok(Stdio {
                fds: [stdin?, stdout?, stderr?],
                terminal: None,
                reads: false,
            });
        }
        let made = |what| move || format!("cannot make a terminal for the guest: {what}");
        let (terminal, inside) = pair()?;
        for fd in own() {
            if let Ok(size) = tcgetwinsize(fd) {
                tcsetwinsize(&terminal, size).with_context(made("its size"))?;
                break;
            }
        }
        let mut fds = Vec::new();
        for (fd, is_terminal) in own().into_iter().zip(terminals) {
            fds.push(copy(if is_terminal { inside.as_fd() } else { fd })?);
        }
        let fds = fds
            .try_into()
            .map_err(|_| Failure::Failed("three descriptors are needed".to_owned()))?;
        // In the background the terminal is somebody else's: whoever sets it there is stopped.
        let is_ours = tcgetpgrp(rustix::stdio::stdin()).is_ok_and(|group| group == getpgrp());
        let [reads, ..] = terminals.map(|is_terminal| is_terminal && is_ours);
        Ok(Stdio {
            fds,
            terminal: Some(terminal),
            reads,
        })
    }

    pub(super) fn for_guest(&self) -> &[OwnedFd; 3] {
        &self.fds
    }

    /// Gives the guest's descriptors away, and copies until [`Passing::finish`].
    pub(super) fn pass(self) -> Result<Passing, Failure> {
        let Stdio { fds, terminal, reads } = self;
        drop(fds);
        let mut passing = Passing {
            writer: None,
            before: None,
            quit: None,
            reader: None,
        };
        let Some(terminal) = terminal.map(Arc::new) else {
            return Ok(passing);
        };
        let from = Arc::clone(&terminal);
        // What goes to a file or a pipe goes there by itself; what is shown is shown on the terminal.
        let shown = own()
            .into_iter()
            .skip(1)
            .find(|fd| isatty(fd))
            .unwrap_or(rustix::stdio::stdin());
        passing.writer = Some(std::thread::spawn(move || show(&from, shown)));
        if reads {
            let before = tcgetattr(rustix::stdio::stdin()).context("cannot ask the terminal")?;
            let mut raw = before.clone();
            raw.make_raw();
            tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &raw)
                .context("cannot set the terminal")?;
            passing.before = Some(before);
            let (wait, quit) =
                rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).context("no pipe")?;
            passing.quit = Some(quit);
            passing.reader = Some(std::thread::spawn(move || type_in(&terminal, &wait)));
        }
        Ok(passing)
    }
}

impl Passing {
    /// Puts the terminal back once everything that was written is shown.
    pub(super) fn finish(mut self) {
        drop(self.quit.take());
        for thread in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            let _ = thread.join();
        }
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Flush, before);
        }
    }
}

/// What the guest writes, until nobody inside has its terminal open. When it cannot be shown any more it is taken all
/// the same: a guest that waits for a reader would never end.
fn show(terminal: &OwnedFd, shown: BorrowedFd<'_>) {
    let mut bytes = vec![0; COPIED];
    let mut is_shown = true;
    loop {
        match rustix::io::read(terminal, &mut bytes) {
            Err(Errno::INTR) => {}
            Ok(0) | Err(_) => return,
            Ok(read) if is_shown => {
                is_shown = write_all(shown, bytes.get(..read).unwrap_or_default()).is_ok();
            }
            Ok(_) => {}
        }
    }
}

/// What is typed, and the size of our terminal as it changes, until `quit` is closed.
fn type_in(terminal: &OwnedFd, quit: &OwnedFd) {
    /// How often the size is looked at, in nanoseconds: a signal would need a handler.
    const TICK: i64 = 250_000_000;
    let mut bytes = vec![0; COPIED];
    let stdin = rustix::stdio::stdin();
    let mut size = tcgetwinsize(stdin).ok();
    loop {
        let mut fds = [
            PollFd::new(&stdin, PollFlags::IN),
            PollFd::new(quit, PollFlags::empty()),
        ];
        let tick = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: TICK,
        };
        match poll(&mut fds, Some(&tick)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
        let [keys, ended] = fds.map(|fd| fd.revents());
        if !ended.is_empty() {
            return;
        }
        let now = tcgetwinsize(stdin).ok();
        if let Some(changed) = now.filter(|_| now != size) {
            let _ = tcsetwinsize(terminal, changed);
            size = now;
        }
        if keys.is_empty() {
            continue;
        }
        match rustix::io::read(stdin, &mut bytes) {
            Err(Errno::INTR) => {}
            Ok(0) | Err(_) => return,
            Ok(read) => {
                if write_all(terminal.as_fd(), bytes.get(..read).unwrap_or_default()).is_err() {
                    return;
                }
            }
        }
    }
}

fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
