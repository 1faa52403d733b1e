//! Steps of the first process of a container, whose engine built namespaces, root, mounts and cgroups.

use super::House;
use super::start::Ends;
use crate::container::counted;
use crate::runbook::{Report, Used};
use crate::step::Cause;
use crate::{sys, wire};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, capabilities, capability_is_in_bounding_set};

/// `CAP_LAST_CAP` may grow to this: the sets are of 64 bits.
const CAPABILITIES_MAX: u32 = 63;

/// Where it starts.
pub(super) fn enter_workspace(house: &mut House) -> Result<(), Cause> {
    let workspace = &house.spec()?.workspace_at;
    rustix::process::chdir(workspace).map_err(Cause::of(workspace.display()))?;
    // Nobody of the same user looks into this process: neither memory nor environment nor open files.
    Ok(rustix::process::set_dumpable_behavior(
        rustix::process::DumpableBehavior::NotDumpable,
    )?)
}

/// Whether users here are others outside: a namespace that is none maps everybody to themselves.
pub(super) fn has_own_users() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let mut fields = map.split_whitespace();
    let everybody = u32::MAX.to_string();
    !(fields.next() == Some("0") && fields.next() == Some("0") && fields.next() == Some(&everybody))
}

/// The engine drops them, and a process without any cannot.
pub(super) fn look_for_capabilities(_: &mut House) -> Result<(), Cause> {
    let held = capabilities(None)?;
    let mut left = held.effective | held.permitted | held.inheritable;
    for capability in (0..=CAPABILITIES_MAX).map(|n| CapabilitySet::from_bits_retain(1 << n)) {
        match capability_is_in_bounding_set(capability) {
            Ok(is_there) if is_there => left |= capability,
            Ok(_) => (),
            // Past the last that this kernel knows.
            Err(Errno::INVAL) => break,
            Err(e) => return Err(Cause::of("bounding set")(e)),
        }
    }
    match left.is_empty() {
        true => Ok(()),
        false => Err(Cause(format!("the engine left {:#x}", left.bits()))),
    }
}

/// Reaps whatever ends, and ends with the guest or with the connection to the platform, and with it the container: the
/// kernel ends what is left in a pid namespace whose first process ended.
pub(super) fn watch(house: &House, guest: i32) -> Ends {
    let Ok(ends) = sys::ends_of_children() else {
        return Ends::Badly;
    };
    loop {
        loop {
            match sys::wait(None, false) {
                Ok(Some((pid, ended))) if pid == guest => {
                    let used = Used {
                        user_us: ended.user_us,
                        system_us: ended.system_us,
                        resident_bytes: ended.resident_bytes,
                        counted: counted(),
                    };
                    let ended = Report::Ended {
                        status: ended.status,
                        used: Some(used),
                    };
                    let _ = wire::send(&house.control, &ended, &[]);
                    return Ends::Well;
                }
                Ok(Some(_)) | Err(Errno::INTR) => (),
                Ok(None) => break,
                Err(_) => return Ends::Badly,
            }
        }
        let mut fds = [
            PollFd::new(&house.control, PollFlags::IN),
            PollFd::new(&ends, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => (),
            Err(_) => return Ends::Badly,
        }
        let [control, ends_told] = fds.map(|fd| fd.revents());
        // A platform says nothing any more: it is gone, or wants the end.
        if !control.is_empty() {
            return Ends::Badly;
        }
        if !ends_told.is_empty() {
            // One for all that ended since; which, is asked above.
            let mut told = [0; 128];
            let _ = rustix::io::read(&ends, &mut told);
        }
    }
}
