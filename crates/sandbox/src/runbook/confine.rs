//! Steps that this process takes away from itself: limits, privileges, paths, ports, system calls.
//!
//! Their order is given by the kernel: limits may need a privilege to be read as they are, Landlock and the filter
//! ask for `no_new_privs`, dropping capabilities needs one of them, and the filter would refuse what comes before it.

use super::{House, identify};
use crate::spec::Part;
use crate::step::Cause;
use crate::sys;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
    set_no_new_privs,
};
use std::sync::Arc;

/// `CAP_LAST_CAP` may grow to this: the sets are of 64 bits.
const CAPABILITIES_MAX: u32 = 63;

/// Hard limits, which nobody without `CAP_SYS_RESOURCE` raises again.
pub(super) fn limit_process(house: &mut House) -> Result<(), Cause> {
    if !house.builds(Part::ProcessLimits) {
        return Ok(());
    }
    let limits = &house.spec()?.limits;
    let mut wanted = vec![
        // Memory of a crash would be written where the kernel's pattern says.
        (Resource::Core, "core", 0),
        (Resource::Fsize, "fsize", limits.file_bytes),
        (Resource::Nofile, "nofile", limits.files),
        // What may be kept out of swap: the default of Linux since 5.16.
        (Resource::Memlock, "memlock", 8 * 1024 * 1024),
        (Resource::Msgqueue, "msgqueue", 0),
        (Resource::Rtprio, "rtprio", 0),
        (Resource::Nice, "nice", 0),
    ];
    // In a container its user may be somebody outside, who has processes of their own: unless nothing else counts them,
    // or its users are of a namespace, what counts is the cgroup.
    let counts = !house.contained || !house.builds(Part::ProcessCount) || super::contained::has_own_users();
    if let Some(pids) = limits.pids.filter(|_| counts) {
        // Counted by user: outside, of all guests that have it, so it is no replacement for a cgroup.
        wanted.push((Resource::Nproc, "nproc", pids));
    }
    for (resource, name, value) in wanted {
        // What this process may not have itself it cannot give.
        let value = getrlimit(resource).maximum.map_or(value, |most| most.min(value));
        let both = Rlimit {
            current: Some(value),
            maximum: Some(value),
        };
        setrlimit(resource, both).map_err(Cause::of(name))?;
        house.rules.process_limits.insert(name.to_owned(), value);
    }
    Ok(())
}

pub(super) fn no_new_privileges(house: &mut House) -> Result<(), Cause> {
    if house.builds(Part::NoNewPrivileges) {
        set_no_new_privs(true)?;
        house.rules.no_new_privileges = true;
    }
    Ok(())
}

fn each_capability() -> impl Iterator<Item = CapabilitySet> {
    (0..=CAPABILITIES_MAX).map(|n| CapabilitySet::from_bits_retain(1 << n))
}

/// What is executed gains none of them. Ahead of time: what this process has it keeps until
/// [`drop_capabilities`], and a process without a user namespace needs one of them to become another user.
pub(super) fn bound_capabilities(house: &mut House) -> Result<(), Cause> {
    if !house.builds(Part::Capabilities) {
        return Ok(());
    }
    for capability in each_capability() {
        match remove_capability_from_bounding_set(capability) {
            Ok(()) => (),
            // Past the last that this kernel knows.
            Err(rustix::io::Errno::INVAL) => break,
            Err(e) => return Err(Cause::of("bounding set")(e)),
        }
    }
    Ok(())
}

/// None is left in any set, and none comes back: not by a file, not by a change of user, not by inheritance.
pub(super) fn drop_capabilities(house: &mut House) -> Result<(), Cause> {
    if !house.builds(Part::Capabilities) {
        // Without the wall a program would still lose them when it is executed, and nothing would be shown.
        return keep_capabilities(house, each_capability());
    }
    clear_ambient_capability_set().map_err(Cause::of("ambient set"))?;
    if !house.builds(Part::Users) {
        become_other_user(house)?;
    }
    let none = CapabilitySet::empty();
    set_capabilities(
        None,
        CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        },
    )?;
    let left = capabilities(None)?;
    if !(left.effective | left.permitted | left.inheritable).is_empty() {
        return Err(Cause("some are left".to_owned()));
    }
    Ok(())
}

/// The user of the guest, where no namespace makes one of its own.
fn become_other_user(house: &House) -> Result<(), Cause> {
    rustix::thread::set_thread_groups(&[])?;
    identify(house)?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(rustix::process::set_dumpable_behavior(
        rustix::process::DumpableBehavior::NotDumpable,
    )?)
}

fn keep_capabilities(house: &mut House, each: impl Iterator<Item = CapabilitySet>) -> Result<(), Cause> {
    if !house.builds(Part::Users) {
        return become_other_user(house);
    }
    let held = capabilities(None)?.permitted;
    set_capabilities(
        None,
        CapabilitySets {
            effective: held,
            permitted: held,
            inheritable: held,
        },
    )?;
    for capability in each.filter(|c| held.contains(*c)) {
        configure_capability_in_ambient_set(capability, true)?;
    }
    house
        .rules
        .capabilities
        .insert("all of the user namespace".to_owned());
    Ok(())
}

/// The last wall: all that the steps before had to call may be what it refuses.
pub(super) fn filter_calls(house: &mut House) -> Result<(), Cause> {
    if !house.builds(Part::Seccomp) {
        return Ok(());
    }
    // Without it the kernel takes filters from the privileged alone, which this process no longer is.
    set_no_new_privs(true)?;
    let profile = house.spec()?.profile;
    let filters = Arc::clone(&house.filters);
    let (program, account) = filters
        .of(profile)
        .ok_or_else(|| Cause("no such profile".to_owned()))?;
    house.listener = Some(sys::install_filter(program)?);
    house.rules.seccomp = Some(account.clone());
    Ok(())
}
