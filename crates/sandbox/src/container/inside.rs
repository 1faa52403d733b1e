//! The first process of a container: tells what it sees of the place, is told what to run, and builds the walls that a
//! process builds for itself.

use super::program::INSIDE;
use super::seen::{self, Ask};
use crate::runbook::{self, Prepare};
use crate::step::Cause;
use crate::{sys, wire};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

/// The socket's name in its directory.
pub(super) const SOCKET: &str = "gate";
/// Where that directory is.
pub(super) const DOOR: &str = "door";

/// The life of the first process of a container. Called first thing in `main`, when the first argument is
/// [`super::ARGUMENT`]. Harmless when a person types it: without a platform it says so and ends.
pub fn entry() -> ExitCode {
    let Ok(control) = platform() else {
        let _ = std::io::Write::write_all(
            &mut std::io::stderr(),
            b"cofferdam starts this by itself, in containers; there is nothing here to call\n",
        );
        return ExitCode::from(2);
    };
    match live(control) {
        Ok(()) => ExitCode::FAILURE,
        Err(cause) => {
            let text = format!("sandbox: {}\n", cause.0);
            let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
            ExitCode::FAILURE
        }
    }
}

fn platform() -> Result<OwnedFd, rustix::io::Errno> {
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    connect(
        &socket,
        &SocketAddrUnix::new(format!("{INSIDE}/{DOOR}/{SOCKET}"))?,
    )?;
    sys::copy_at_least(socket.as_fd(), 3)
}

fn live(control: OwnedFd) -> Result<(), Cause> {
    // Whoever else the engine puts here, as the same user, looks into no memory or descriptor of this process.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    // Nothing that the engine left open.
    runbook::close_others(&control)?;
    let failed = |e: wire::WireError| Cause(e.to_string());
    let (ask, _) = wire::receive::<Ask>(&control).map_err(failed)?;
    let seen = seen::look(&ask)?;
    let first = |of: &[u32]| of.first().copied().unwrap_or(0);
    let prepare = Prepare {
        omit: BTreeSet::new(),
        outer: (first(&seen.users), first(&seen.groups)),
        landlock_abi: seen.landlock_abi,
        mounts: false,
    };
    wire::send(&control, &seen, &[]).map_err(failed)?;
    runbook::live_contained(control, prepare)
}
