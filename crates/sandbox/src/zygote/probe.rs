//! Tries what guests need, and says what this machine refuses.

use super::outside::{self, Outside};
use crate::ability::{Ability, LANDLOCK_FROM};
use crate::cgroup;
use crate::spec::{GUEST_UID, Part};
use crate::step::{Cause, name};
use crate::{runbook, sys, wire};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount,
    open_tree,
};
use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsFd;

/// What a user namespace gives.
const OF_NAMESPACES: &[(Part, &str)] = &[
    (Part::Users, "user namespace"),
    (Part::Root, "mount namespace and pivot_root"),
    (Part::Protected, "read-only bind mounts"),
    (Part::Processes, "pid namespace"),
    (Part::Network, "network namespace"),
    (Part::Ipc, "ipc namespace"),
    (Part::HostName, "uts namespace"),
    (Part::CgroupNames, "cgroup namespace"),
];
/// What guests can be held by here.
pub(super) fn probe(outside: &Outside, cgroups: &cgroup::Home) -> Ability {
    let mut ability = Ability {
        landlock_abi: sys::landlock_abi(),
        other_users: outside.is_privileged(),
        clocks: fs::exists("/proc/self/ns/time").unwrap_or(false),
        nftables: fs::read_to_string("/proc/net/netfilter/nf_log").is_ok(),
        ..Ability::default()
    };
    namespaces(&mut ability, outside);
    landlock(&mut ability);
    if sys::has_notifications() {
        ability.has(Part::Seccomp, "seccomp with notifications");
    } else {
        ability.lacks(Part::Seccomp, "the kernel has no seccomp, or no notifications");
    }
    for (part, by) in [
        (Part::NoNewPrivileges, "no_new_privs"),
        (Part::Capabilities, "capability sets and bounding set"),
        (Part::ProcessLimits, "setrlimit"),
    ] {
        ability.has(part, by);
    }
    for (part, why) in cgroups.missing() {
        ability.lacks(part, why);
    }
    for (part, version) in cgroups.versions() {
        ability.has(part, format!("cgroup v{version}"));
    }
    ability
}

fn landlock(ability: &mut Ability) {
    let abi = ability.landlock_abi;
    for (part, first) in LANDLOCK_FROM {
        if abi >= first {
            ability.has(part, format!("Landlock, interface {abi}"));
        } else if abi == 0 {
            ability.lacks(part, "the kernel has no Landlock, or it is off");
        } else {
            ability.lacks(
                part,
                format!("Landlock has interface {abi}, and {first} is needed"),
            );
        }
    }
}

/// All namespaces at once, and in them what a guest's process will do.
fn namespaces(ability: &mut Ability, outside: &Outside) {
    let tried = attempts(outside);
    let refused = |what: &str| match &tried {
        Ok(found) => found.get(what).cloned().flatten(),
        Err(cause) => Some(format!("{}{}", cause.0, hint())),
    };
    for (part, by) in OF_NAMESPACES {
        // Each needs the user namespace; what it needs besides is tried by name.
        let own = match part {
            Part::Root | Part::Protected => refused("tmpfs").or_else(|| refused("proc")),
            Part::HostName => refused("hostname"),
            Part::CgroupNames => refused("cgroup"),
            Part::Network => refused("loopback"),
            _ => None,
        };
        match own.or_else(|| refused("user")) {
            Some(why) => ability.lacks(*part, why),
            None => ability.has(*part, *by),
        }
    }
    ability.review = refused("overlay").or_else(|| refused("user")).map_or(Ok(()), Err);
    if outside.is_privileged() {
        match refused("user").or_else(idmapping) {
            Some(why) => ability.lacks(Part::IdmappedWorkspace, why),
            None => ability.has(Part::IdmappedWorkspace, "idmapped mount"),
        }
    } else {
        ability.has(
            Part::IdmappedWorkspace,
            "not needed: guests are the platform's own user outside",
        );
    }
}

/// Settings that are known to refuse user namespaces.
fn hint() -> String {
    let settings = [
        ("/proc/sys/user/max_user_namespaces", "0"),
        ("/proc/sys/kernel/unprivileged_userns_clone", "0"),
        ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"),
    ];
    let set = settings
        .iter()
        .filter(|(file, value)| fs::read_to_string(file).is_ok_and(|v| v.trim() == *value));
    set.map(|(file, value)| format!("; `{file}` is {value}"))
        .collect()
}

type Attempts = BTreeMap<String, Option<String>>;

/// What was tried in namespaces like a guest's, and what the system said to what it refused.
fn attempts(outside: &Outside) -> Result<Attempts, Cause> {
    let (ours, theirs) = wire::pair()?;
    let flags = libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS;
    let child = match sys::clone_process(flags as u64).map_err(Cause::of("clone3"))? {
        sys::Side::Child => {
            let control = runbook::keep_only(theirs.as_fd());
            let _ = control.map(|c| {
                let told = wire::receive::<()>(&c).is_ok();
                wire::send(&c, &told.then(try_all), &[])
            });
            sys::exit_now(0)
        }
        sys::Side::Parent(child) => child,
    };
    drop(theirs);
    let outer = if outside.is_privileged() {
        (65_534, 65_534)
    } else {
        outside.own()
    };
    let found = outside::map(child.pid, (GUEST_UID, GUEST_UID), outer).and_then(|()| {
        let answered = wire::send(&ours, &(), &[]).and_then(|()| wire::receive::<Option<Attempts>>(&ours));
        let (found, _) = answered.map_err(|e| Cause(e.to_string()))?;
        found.ok_or_else(|| Cause("no answer".to_owned()))
    });
    let _ = rustix::process::pidfd_send_signal(&child.pidfd, rustix::process::Signal::KILL);
    let _ = sys::wait(Some(child.pid), true);
    found
}

fn try_all() -> Attempts {
    let user = rustix::process::Uid::from_raw(GUEST_UID);
    let group = rustix::process::Gid::from_raw(GUEST_UID);
    type Try<'a> = (&'a str, &'a dyn Fn() -> Result<(), Errno>);
    let tries: [Try<'_>; 7] = [
        ("user", &|| {
            rustix::thread::set_thread_res_gid(group, group, group)?;
            rustix::thread::set_thread_res_uid(user, user, user)?;
            mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        }),
        ("hostname", &|| rustix::system::sethostname(b"probe")),
        ("cgroup", &sys::unshare_cgroup_names),
        ("loopback", &|| {
            let family = rustix::net::AddressFamily::INET;
            let any = rustix::net::socket(family, rustix::net::SocketType::DGRAM, None)?;
            sys::raise_loopback(any.as_fd())
        }),
        // A container that hides parts of its `/proc` gets no new one.
        ("proc", &|| {
            file_system("proc", &[("hidepid", "invisible")]).map(drop)
        }),
        ("tmpfs", &|| {
            let root = file_system("tmpfs", &[("mode", "755")])?;
            move_mount(
                root.as_fd(),
                "",
                CWD,
                "/tmp",
                MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
            )
        }),
        ("overlay", &overlay),
    ];
    tries
        .into_iter()
        .map(|(what, attempt)| (what.to_owned(), attempt().err().map(name)))
        .collect()
}

fn file_system(kind: &str, options: &[(&str, &str)]) -> Result<std::os::fd::OwnedFd, Errno> {
    let fs = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (option, value) in options {
        if value.is_empty() {
            fsconfig_set_flag(fs.as_fd(), *option)?;
        } else {
            fsconfig_set_string(fs.as_fd(), *option, *value)?;
        }
    }
    fsconfig_create(fs.as_fd())?;
    fsmount(
        fs.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_NODEV,
    )
}

/// In the file system in memory that the attempt before left at `/tmp`.
fn overlay() -> Result<(), Errno> {
    for directory in ["/tmp/lower", "/tmp/upper", "/tmp/work"] {
        rustix::fs::mkdir(directory, rustix::fs::Mode::RWXU)?;
    }
    let layers = [
        ("lowerdir", "/tmp/lower"),
        ("upperdir", "/tmp/upper"),
        ("workdir", "/tmp/work"),
        ("userxattr", ""),
    ];
    file_system("overlay", &layers).map(drop)
}

/// What the system says to an idmapped mount of `/tmp`. File systems differ: a workspace on one that has none is
/// found out when it is mounted.
fn idmapping() -> Option<String> {
    let attempt = || -> Result<(), Cause> {
        let users = outside::user_namespace((0, 0), (65_534, 65_534))?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = open_tree(CWD, "/tmp", flags)?;
        Ok(sys::set_mount_attributes(
            tree.as_fd(),
            false,
            0,
            Some(users.as_fd()),
        )?)
    };
    attempt().err().map(|cause| cause.0)
}
