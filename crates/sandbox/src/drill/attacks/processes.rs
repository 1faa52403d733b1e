//! Attacks on processes and users.

use super::{Attack, attack};
use crate::spec::Part::{
    self, Capabilities, CgroupNames, HostName, Ipc, LandlockFiles, LandlockScopes, LandlockTcp,
    NoNewPrivileges, Processes, Root, Seccomp, Users,
};

const TRACED: &[Part] = &[
    Processes,
    Seccomp,
    Users,
    LandlockFiles,
    LandlockTcp,
    LandlockScopes,
];
/// Those of the kernel's confinements that ask for `no_new_privs` set it.
const GAINED: &[Part] = &[
    Users,
    Root,
    NoNewPrivileges,
    LandlockFiles,
    LandlockTcp,
    LandlockScopes,
    Seccomp,
];
const OTHERS: &str = "other programs of this machine could be stopped, read or made to act";
const ROOT: &str = "root of this machine has everything on it, the platform too";

#[rustfmt::skip]
pub const PROCESSES: &[Attack] = &[
    attack("processes.signal", "signal a process outside", OTHERS, &[Processes, LandlockScopes, Users], &[
        &["signal-victim", "{victim}", "{nonce}"],
    ]),
    attack("processes.trace", "trace the first process of the guest, or one outside", OTHERS, TRACED, &[
        &["attach", "1"], &["attach", "{victim}"],
    ]),
    attack("processes.memory", "read memory and environment of others", "secrets of other programs stand there",
        &[Processes], &[
        &["read", "/proc/1/environ"], &["read", "/proc/1/mem"], &["read", "/proc/1/maps"],
        &["read-of-victim", "/proc/{victim}/environ", "{nonce}"], &["read-of-victim", "/proc/{victim}/cmdline", "{nonce}"],
    ]),
    attack("processes.set-user-id", "become root by a set-user-id program", ROOT, GAINED, &[
        &["execute-system-set-user-id"],
    ]),
    attack("processes.root", "become root by asking", ROOT, &[Users, Capabilities], &[&["become-root"]]),
    attack("processes.capabilities", "have a privilege", "each of them opens a part of the kernel", &[Capabilities], &[
        &["capabilities"],
    ]),
    attack("processes.namespace", "make new namespaces, in which it would be root",
        "most flaws of the kernel are reached by whoever is root of a namespace", &[Seccomp], &[
        &["new-user-namespace"], &["clone-user-namespace"], &["clone3-user-namespace"],
    ]),
    attack("processes.enter", "enter the namespaces of another process", "it would be outside", &[Seccomp, Capabilities], &[
        &["enter-namespace", "/proc/1/ns/mnt"], &["enter-namespace", "/proc/1/ns/net"],
        &["enter-namespace", "/proc/self/ns/user"],
    ]),
    attack("processes.change-root", "change the root directory", "a new root is the first step out of the old one",
        &[Seccomp, Capabilities], &[&["change-root"]]),
    attack("processes.set-host-name", "set the machine's name", "logs and other machines know it by that", &[Seccomp, Capabilities], &[
        &["set-host-name"],
    ]),
    attack("processes.host-name", "learn the machine's name", "it tells where the agent is", &[HostName], &[&["host-name", "{host}"]]),
    attack("processes.cgroup", "learn names of cgroups outside", "they tell what else runs here", &[CgroupNames], &[
        &["cgroup-names"],
    ]),
    attack("processes.shared-memory", "reach shared memory of others", "other programs keep their state there", &[Ipc], &[
        &["shared-memory", "{key}"],
    ]),
    attack("processes.shared-files", "reach files in shared memory of others", "other programs keep their state there",
        &[Root], &[&["read", "/dev/shm/{shared}"]]),
];
