//! What this machine can enforce, found out by trying it.

use crate::spec::{Part, Profile, Spec};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What this machine can enforce, what it cannot, and what follows from that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ability {
    /// What enforces each part that can be.
    pub enforced: BTreeMap<Part, String>,
    /// What cannot be enforced.
    pub missing: BTreeMap<Part, Missing>,
    /// Version of Landlock's interface; 0 for none.
    pub landlock_abi: u32,
    /// Whether guests are other users outside than the platform is.
    pub other_users: bool,
    /// Whether changes can be collected for a review (overlayfs within a user namespace); if not, why.
    pub review: Result<(), String>,
    /// Whether the kernel has namespaces of time: without, guests see how long the machine runs. Nothing rests on it.
    #[serde(default)]
    pub clocks: bool,
    /// Whether the kernel has nftables. Nothing here needs it: guests have no interface but loopback.
    pub nftables: bool,
}

/// A part that this machine cannot enforce.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// What the system said.
    pub why: String,
    /// What is not guaranteed without it.
    pub lost: String,
    /// How to get it.
    pub remedy: String,
}

impl Default for Ability {
    fn default() -> Ability {
        Ability {
            enforced: BTreeMap::new(),
            missing: BTreeMap::new(),
            landlock_abi: 0,
            other_users: false,
            review: Err("not tried".to_owned()),
            clocks: false,
            nftables: false,
        }
    }
}

/// From which version of its interface on Landlock has each part.
pub(crate) const LANDLOCK_FROM: [(Part, u32); 3] = [
    (Part::LandlockFiles, 1),
    (Part::LandlockTcp, 4),
    (Part::LandlockScopes, 6),
];

impl Ability {
    /// Whether every part can be enforced.
    pub fn is_whole(&self) -> bool {
        self.missing.is_empty()
    }

    /// Parts of `spec` that are not built, and why not; or the first part that is missing and not given up.
    pub(crate) fn parts_left_out(&self, spec: &Spec) -> Result<BTreeMap<Part, String>, (Part, Missing)> {
        let needed: BTreeSet<Part> = Part::ALL.iter().copied().filter(|p| needs(spec, *p)).collect();
        let mut out = BTreeMap::new();
        for part in needed {
            if spec.leaves_out(part) {
                out.insert(part, "left away on purpose, in a test".to_owned());
            } else if let Some(missing) = self.missing.get(&part) {
                if !spec.degrade.contains(&part) {
                    return Err((part, missing.clone()));
                }
                out.insert(part, missing.why.clone());
            }
        }
        Ok(out)
    }

    pub(crate) fn lacks(&mut self, part: Part, why: impl Into<String>) {
        let (lost, remedy) = consequences(part);
        self.enforced.remove(&part);
        self.missing.insert(
            part,
            Missing {
                why: why.into(),
                lost: lost.to_owned(),
                remedy: remedy.to_owned(),
            },
        );
    }

    pub(crate) fn has(&mut self, part: Part, by: impl Into<String>) {
        if !self.missing.contains_key(&part) {
            self.enforced.insert(part, by.into());
        }
    }
}

/// A limit that nobody asked for needs no controller; TCP is handled by Landlock in two profiles alone.
pub(crate) fn needs(spec: &Spec, part: Part) -> bool {
    match part {
        Part::MemoryLimit => spec.limits.memory_bytes.is_some(),
        Part::ProcessCount => spec.limits.pids.is_some(),
        Part::CpuLimit => spec.limits.cpu_millis.is_some(),
        Part::LandlockTcp => spec.profile != Profile::Build,
        _ => true,
    }
}

const USER_NAMESPACES: &str = "allow user namespaces: `sysctl user.max_user_namespaces=15000`, on Debian \
    `kernel.unprivileged_userns_clone=1`, on Ubuntu `kernel.apparmor_restrict_unprivileged_userns=0` or an AppArmor \
    profile with `userns`; in a container, a seccomp profile that lets `clone3` and `unshare` through";
const LANDLOCK: &str = "Linux 6.12 or newer with `landlock` in `lsm=` of the kernel's command line";
const CGROUPS: &str = "run the platform as root, or give it a cgroup: \
    `systemd-run --user --scope -p Delegate=yes cofferdam …`";

/// What is not guaranteed without a part, and how to get it.
#[rustfmt::skip]
pub fn consequences(part: Part) -> (&'static str, &'static str) {
    match part {
        Part::Users => ("a guest is a user of this machine, and a flaw of the kernel that gives it root gives it the machine", USER_NAMESPACES),
        Part::Root => ("every file that the guest's user can read outside can be read by the guest, as far as Landlock lets it", USER_NAMESPACES),
        Part::Protected => ("hooks, configuration and start-up files of the workspace can be changed, and are run by whoever works there later", USER_NAMESPACES),
        Part::IdmappedWorkspace => ("guests work as the owner of their workspace, who may be somebody outside", "a file system with idmapped mounts (ext4, xfs, btrfs, tmpfs since 6.3) and Linux 5.12 or newer, as root"),
        Part::Processes => ("other processes are seen and can be signalled, and what a guest started can outlive it", USER_NAMESPACES),
        Part::Network => ("the guest has the network of this machine; Landlock holds back TCP alone", USER_NAMESPACES),
        Part::Ipc => ("message queues and shared memory of others can be reached", USER_NAMESPACES),
        Part::HostName => ("the name of this machine is seen", USER_NAMESPACES),
        Part::CgroupNames => ("names of cgroups outside are seen", "Linux 4.6 or newer"),
        Part::NoNewPrivileges => ("set-user-id programs give privileges", "Linux 3.5 or newer"),
        Part::Capabilities => ("privileges within its own namespaces stay with the guest", "a kernel that lets capabilities be dropped"),
        Part::ProcessLimits => ("one process can open, lock and write without limit", "a kernel that lets limits be set"),
        Part::LandlockFiles | Part::LandlockTcp => ("mounts and namespaces hold alone: there is no second wall behind them", LANDLOCK),
        Part::LandlockScopes => ("abstract unix sockets and signals are held back by namespaces alone", LANDLOCK),
        Part::Seccomp => ("every system call reaches the kernel, with all its flaws, and none is recorded", "Linux 5.5 or newer with CONFIG_SECCOMP_FILTER"),
        Part::MemoryLimit => ("a guest can use all memory of this machine", CGROUPS),
        Part::ProcessCount => ("processes are limited by user, not by guest", CGROUPS),
        Part::CpuLimit => ("a guest can use all processors", CGROUPS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Limits;

    #[test]
    fn a_missing_part_refuses_unless_it_is_given_up_by_name() {
        let mut ability = Ability {
            review: Ok(()),
            ..Ability::default()
        };
        ability.lacks(Part::LandlockTcp, "interface 3");
        ability.lacks(Part::MemoryLimit, "read-only");
        let spec = || Spec::new(vec!["true".to_owned()], "/w".into());
        let no_limit = Limits {
            memory_bytes: None,
            ..Limits::default()
        };
        #[rustfmt::skip]
        let table = [
            ("nothing given up",        spec(),                                                       "landlock_tcp refuses"),
            ("one of two",              Spec { degrade: [Part::LandlockTcp].into(), ..spec() },       "memory_limit refuses"),
            ("both",                    Spec { degrade: [Part::LandlockTcp, Part::MemoryLimit].into(), ..spec() }, "without landlock_tcp memory_limit"),
            ("what is not missing",     Spec { degrade: Part::ALL.iter().copied().collect(), ..spec() }, "without landlock_tcp memory_limit"),
            ("not asked for",           Spec { limits: no_limit, profile: Profile::Build, ..spec() }, "without"),
        ];
        for (name, spec, expected) in table {
            let word = |p: &Part| serde_json::to_value(p).unwrap().as_str().unwrap().to_owned();
            let found = match ability.parts_left_out(&spec) {
                Err((part, _)) => format!("{} refuses", word(&part)),
                Ok(out) => out
                    .keys()
                    .fold("without".to_owned(), |all, p| format!("{all} {}", word(p))),
            };
            assert_eq!(found, expected, "{name}");
        }
    }
}
