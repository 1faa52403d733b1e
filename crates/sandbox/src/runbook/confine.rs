//! Steps that this process takes away from itself: limits, privileges, paths, ports, system calls.
//!
//! Their order is given by the kernel: limits may need a privilege to be read as they are, Landlock and the filter
//! ask for `no_new_privs`, dropping capabilities needs one of them, and the filter would refuse what comes before it.

use super::{House, identify};
use crate::rules;
use crate::spec::{Part, Profile};
use crate::step::Cause;
use crate::sys;
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, NetPort, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, Scope, make_bitflags,
};
use rustix::fs::{FileType, fstat};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
    set_no_new_privs,
};
use std::collections::BTreeSet;
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

/// A second wall for files and TCP, by another part of the kernel than mounts and network namespaces are.
pub(super) fn landlock(house: &mut House) -> Result<(), Cause> {
    let files = house.builds(Part::LandlockFiles);
    // Test suites talk to servers of their own, at ports that nobody knows before.
    let tcp = house.builds(Part::LandlockTcp) && house.spec()?.profile != Profile::Build;
    let scopes = house.builds(Part::LandlockScopes);
    if !(files || tcp || scopes) {
        return Ok(());
    }
    let abi = abi(house.landlock_abi);
    let mut account = rules::Landlock {
        abi: house.landlock_abi,
        ..rules::Landlock::default()
    };
    let ruleset = handled(abi, files, tcp, scopes).and_then(Ruleset::create);
    let mut ruleset = ruleset.map_err(|e| Cause(e.to_string()))?;
    if files {
        ruleset = add_files(house, ruleset, abi, &mut account)?;
    }
    if tcp {
        let doors = house.spec()?.doors.clone();
        for port in &doors {
            let rule = NetPort::new(*port, AccessNet::ConnectTcp);
            ruleset = ruleset.add_rule(rule).map_err(|e| Cause(e.to_string()))?;
        }
        account.connects = Some(doors);
    }
    if scopes {
        account.scopes = ["abstract unix sockets", "signals"].map(str::to_owned).into();
    }
    ruleset.restrict_self().map_err(|e| Cause(e.to_string()))?;
    house.rules.landlock = Some(account);
    Ok(())
}

/// What is named here is enforced or refused: nothing is enforced as far as possible.
fn handled(abi: ABI, files: bool, tcp: bool, scopes: bool) -> Result<Ruleset, RulesetError> {
    let mut ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    if files {
        ruleset = ruleset.handle_access(AccessFs::from_all(abi))?;
    }
    if tcp {
        ruleset = ruleset.handle_access(make_bitflags!(AccessNet::{BindTcp | ConnectTcp}))?;
    }
    if scopes {
        ruleset = ruleset.scope(make_bitflags!(Scope::{AbstractUnixSocket | Signal}))?;
    }
    Ok(ruleset)
}

/// The newest version that both this program and the kernel know.
fn abi(kernel: u32) -> ABI {
    match kernel {
        0 => ABI::Unsupported,
        1 => ABI::V1,
        2 => ABI::V2,
        3 => ABI::V3,
        4 => ABI::V4,
        5 => ABI::V5,
        6 => ABI::V6,
        7 => ABI::V7,
        8 => ABI::V8,
        _ => ABI::V9,
    }
}

/// The same as the mounts say, said again: the system and what may be read is read and executed, the workspace and
/// what is in memory is written.
fn add_files(
    house: &House,
    mut ruleset: RulesetCreated,
    abi: ABI,
    account: &mut rules::Landlock,
) -> Result<RulesetCreated, Cause> {
    let spec = house.spec()?;
    let root = house.builds(Part::Root);
    let mut reads: BTreeSet<String> = if house.contained {
        // All of the image: only its author knows where what is.
        ["/".to_owned()].into()
    } else {
        super::mounts::shown().chain(["/proc".to_owned()]).collect()
    };
    let binds = spec
        .reads
        .iter()
        .map(|b| if root { &b.target } else { &b.source });
    reads.extend(binds.map(|p| p.display().to_string()));
    let workspace = if root { &spec.workspace_at } else { &spec.workspace };
    let mut writes = BTreeSet::from([workspace.display().to_string()]);
    if root {
        writes.extend(["/tmp", "/home", "/dev/shm"].map(str::to_owned));
    }
    let read = AccessFs::from_read(abi);
    // Nothing here has `CAP_MKNOD` anyway.
    let write = AccessFs::from_all(abi) & !make_bitflags!(AccessFs::{MakeChar | MakeBlock});
    let mut device = make_bitflags!(AccessFs::{ReadFile | ReadDir | WriteFile});
    if abi >= ABI::V5 {
        device |= AccessFs::IoctlDev;
    }
    let devices = BTreeSet::from(["/dev".to_owned()]);
    // Its own root has no names that it may not know. That of the machine has.
    if root {
        account.lists.insert("/".to_owned());
    }
    let list = make_bitflags!(AccessFs::{ReadDir});
    let mut there = [const { BTreeSet::new() }; 4];
    let lists = std::mem::take(&mut account.lists);
    let wanted = [(reads, read), (writes, write), (devices, device), (lists, list)];
    for ((paths, access), there) in wanted.into_iter().zip(&mut there) {
        for path in paths {
            // Not every distribution has every path.
            let Ok(fd) = PathFd::new(&path) else { continue };
            let directory = FileType::from_raw_mode(fstat(&fd)?.st_mode) == FileType::Directory;
            // A rule about a file that is no directory may speak of files alone.
            let access = if directory {
                access
            } else {
                access & AccessFs::from_file(abi)
            };
            ruleset = ruleset
                .add_rule(PathBeneath::new(fd, access))
                .map_err(|e| Cause(format!("{path}: {e}")))?;
            there.insert(path);
        }
    }
    let [reads, mut writes, devices, lists] = there;
    writes.extend(devices);
    (account.reads, account.writes, account.lists) = (Some(reads), Some(writes), lists);
    Ok(ruleset)
}

/// None is left in any set, and none comes back: not by a file, not by a change of user, not by inheritance.
pub(super) fn drop_capabilities(house: &mut House) -> Result<(), Cause> {
    let each = (0..=CAPABILITIES_MAX).map(|n| CapabilitySet::from_bits_retain(1 << n));
    if !house.builds(Part::Capabilities) {
        // Without the wall a program would still lose them when it is executed, and nothing would be shown.
        return keep_capabilities(house, each);
    }
    for capability in each {
        match remove_capability_from_bounding_set(capability) {
            Ok(()) => (),
            // Past the last that this kernel knows.
            Err(rustix::io::Errno::INVAL) => break,
            Err(e) => return Err(Cause::of("bounding set")(e)),
        }
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
