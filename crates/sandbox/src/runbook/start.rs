//! The last step: a second process becomes the guest, and this one watches it.

use super::{House, Report, borrowed, contained};
use crate::step::Cause;
use crate::{sys, wire};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{ioctl_tiocsctty, setsid};
use std::ffi::CString;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

/// Where programs are looked for when the environment does not say.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Returns when it fails alone. Why two processes: the first of a pid namespace ignores signals that it has no
/// handler for, and has to reap what others leave; programs expect neither.
pub(super) fn start(house: &mut House) -> Result<(), Cause> {
    let program = Program::of(house)?;
    let (failed, fails) = pipe_with(PipeFlags::CLOEXEC)?;
    let guest = match sys::fork()? {
        0 => program.become_guest(house, fails),
        guest => guest,
    };
    // What only the guest holds from now on: readers see its end.
    drop(fails);
    house.stdio.clear();
    let mut error = [0; 4];
    // The pipe closes with the execution, or says why there was none.
    if std::fs::File::from(failed).read_exact(&mut error).is_ok() {
        let cause = crate::step::name(Errno::from_raw_os_error(i32::from_le_bytes(error)));
        let cause = format!(
            "`{}`: {cause}",
            house.spec()?.argv.first().map_or("", String::as_str)
        );
        let _ = wire::send(&house.control, &Report::NotExecuted { cause }, &[]);
        sys::exit_now(127);
    }
    report(house)?;
    let ends = match house.contained {
        true => contained::watch(house, guest),
        false => watch(house, guest),
    };
    match ends {
        Ends::Well => sys::exit_now(0),
        Ends::Badly => sys::exit_now(1),
    }
}

struct Program {
    candidates: Vec<CString>,
    argv: Vec<CString>,
    env: Vec<CString>,
    terminal: bool,
}

impl Program {
    fn of(house: &House) -> Result<Program, Cause> {
        let spec = house.spec()?;
        let text = |s: String| CString::new(s).map_err(|_| Cause("a NUL byte".to_owned()));
        let name = spec.argv.first().ok_or_else(|| Cause("no program".to_owned()))?;
        let candidates = if name.contains('/') {
            vec![name.clone()]
        } else {
            let path = spec.env.get("PATH").map_or(PATH, String::as_str);
            path.split(':')
                .filter(|d| d.starts_with('/'))
                .map(|d| format!("{d}/{name}"))
                .collect()
        };
        Ok(Program {
            candidates: candidates.into_iter().map(text).collect::<Result<_, _>>()?,
            argv: spec.argv.iter().cloned().map(text).collect::<Result<_, _>>()?,
            env: spec
                .env
                .iter()
                .map(|(k, v)| text(format!("{k}={v}")))
                .collect::<Result<_, _>>()?,
            terminal: house.stdio.first().is_some_and(rustix::termios::isatty),
        })
    }

    fn become_guest(&self, house: &House, fails: OwnedFd) -> ! {
        let error = match self.take_place(house) {
            Ok(()) => {
                let mut error = Errno::NOENT;
                for candidate in &self.candidates {
                    match sys::execute(candidate, &self.argv, &self.env) {
                        Errno::NOENT | Errno::NOTDIR => (),
                        other => error = other,
                    }
                }
                error
            }
            Err(error) => error,
        };
        let _ = std::fs::File::from(fails).write_all(&error.raw_os_error().to_le_bytes());
        sys::exit_now(127)
    }

    fn take_place(&self, house: &House) -> Result<(), Errno> {
        setsid()?;
        for (number, fd) in (0..).zip(&house.stdio) {
            sys::put_at(fd.as_fd(), number)?;
        }
        if self.terminal {
            // A terminal that was made for the guest becomes its own, and job control works. One that is somebody's
            // stays theirs.
            let _ = ioctl_tiocsctty(rustix::stdio::stdin());
        }
        // Everything else closes with the execution; this holds if something was not made so.
        sys::close_on_exec_from(3)?;
        sys::default_signals()
    }
}

fn report(house: &mut House) -> Result<(), Cause> {
    let doors = std::mem::take(&mut house.doors);
    let listener = house.listener.take();
    let started = Report::Started {
        rules: Box::new(std::mem::take(&mut house.rules)),
        doors: doors.iter().map(|(port, _)| *port).collect(),
        listener: listener.is_some(),
    };
    let fds: Vec<OwnedFd> = listener
        .into_iter()
        .chain(doors.into_iter().map(|(_, s)| s))
        .collect();
    wire::send(&house.control, &started, &borrowed(&fds)).map_err(|e| Cause(e.to_string()))
}

/// How the first process ends.
pub(super) enum Ends {
    Well,
    Badly,
}

/// Reaps whatever ends, and ends with the guest: what it left running ends too.
fn watch(house: &House, guest: i32) -> Ends {
    loop {
        match sys::wait(None, true) {
            Ok(Some((pid, ended))) if pid == guest => {
                let ended = Report::Ended {
                    status: ended.status,
                    used: None,
                };
                let _ = wire::send(&house.control, &ended, &[]);
                return Ends::Well;
            }
            Ok(_) | Err(Errno::INTR) => (),
            Err(_) => return Ends::Badly,
        }
    }
}
