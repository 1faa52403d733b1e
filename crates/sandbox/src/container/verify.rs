//! Whether a container is what a guest may be put into, by what its first process sees: and if so, by which rules.
//!
//! INVARIANT (no container taken at its engine's word): everything of the profile that the kernel tells is compared
//! with what was ordered, before the container is told what to run.

use super::profile::{Bound, ENGINES_OWN, HARMLESS, TMPFS, is_ours};
use super::seen::{File, Mounted, Seen};
use crate::ability::{LANDLOCK_FROM, Missing, consequences, needs};
use crate::launcher::LaunchError;
use crate::rules::{Cgroup, Identity, Mount, Rules};
use crate::spec::{Part, Spec};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What the platform knows of the place that it ordered.
pub(super) struct Known<'k> {
    pub spec: &'k Spec,
    /// User and group inside.
    pub user: (u32, u32),
    /// User and group outside, as the kernel says of the connection.
    pub outer: (u32, u32),
    /// Whose the workspace is.
    pub on_disk: (u32, u32),
    pub binds: &'k [Bound],
    /// What was bound, by its place inside.
    pub files: &'k BTreeMap<PathBuf, File>,
    /// What the platform sees mounted on its machine, now that the container is there.
    pub outside: &'k [Mounted],
    /// The platform's own namespaces.
    pub namespaces: &'k BTreeMap<String, u64>,
}

/// Parts that an engine has or has not, by how its machine was set up. Nobody is asked to give them up, and their absence
/// is recorded.
const NOT_CLAIMED: [Part; 3] = [Part::Users, Part::IdmappedWorkspace, Part::CgroupNames];

/// The rules so far, with what is not enforced; or why nothing is run in it.
pub(super) fn verify(known: &Known<'_>, seen: &Seen) -> Result<Rules, LaunchError> {
    person(known, seen).map_err(LaunchError::Container)?;
    mounts(known, seen).map_err(LaunchError::Container)?;
    let missing = missing(known, seen);
    let mut given_up = BTreeMap::new();
    for (part, why) in missing {
        if !NOT_CLAIMED.contains(&part) && !known.spec.degrade.contains(&part) {
            let (lost, remedy) = consequences(part);
            return Err(LaunchError::Unenforceable {
                part,
                missing: Missing {
                    why,
                    lost: lost.to_owned(),
                    remedy: remedy.to_owned(),
                },
            });
        }
        given_up.insert(part, why);
    }
    Ok(Rules {
        identity: Identity {
            uid: known.user.0,
            gid: known.user.1,
            outer_uid: known.outer.0,
            outer_gid: known.outer.1,
            on_disk: known.on_disk,
        },
        namespaces: own_namespaces(known, seen),
        mounts: seen.mounts.iter().map(mount).collect(),
        capabilities: BTreeSet::new(),
        no_new_privileges: seen.no_new_privileges,
        cgroup: Some(Cgroup {
            directories: BTreeMap::new(),
            limits: seen
                .limits
                .iter()
                .map(|(name, value)| (name.clone(), value.to_string()))
                .collect(),
        }),
        timeout_ms: known.spec.limits.timeout_ms,
        disk_free_bytes: known.spec.limits.disk_free_bytes,
        given_up,
        ..Rules::default()
    })
}

/// Nobody who is root anywhere, and nobody with a privilege.
fn person(known: &Known<'_>, seen: &Seen) -> Result<(), String> {
    let all = |of: &[u32], one: u32| of.len() == 4 && of.iter().all(|id| *id == one);
    if !all(&seen.users, known.user.0) || !all(&seen.groups, known.user.1) {
        return Err(format!(
            "the container runs as {:?}:{:?} and was to run as {}:{}",
            seen.users, seen.groups, known.user.0, known.user.1
        ));
    }
    let ids = [known.user.0, known.user.1, known.outer.0, known.outer.1];
    if ids.contains(&0) || seen.more_groups.contains(&0) {
        return Err("the container runs as root, inside or outside, or with root's group".to_owned());
    }
    if let Some(group) = seen.more_groups.iter().find(|group| **group != known.user.1) {
        return Err(format!(
            "the container has the further group {group}, which nobody asked for"
        ));
    }
    let held = seen.capabilities.iter().find(|(_, bits)| **bits != 0);
    if seen.capabilities.is_empty() || held.is_some() {
        return Err(format!("the engine left capabilities: {held:x?}"));
    }
    if !seen.no_new_privileges {
        return Err("the engine did not set no_new_privs".to_owned());
    }
    if seen.seccomp != 2 {
        return Err("the engine filters no system calls".to_owned());
    }
    match seen.interfaces.iter().find(|name| *name != "lo") {
        Some(name) => Err(format!("the container has the network interface `{name}`")),
        None => Ok(()),
    }
}

/// Nothing is there that was not ordered, nothing else can be written, and what was ordered is what was meant.
fn mounts(known: &Known<'_>, seen: &Seen) -> Result<(), String> {
    let by_id: BTreeMap<u64, &Mounted> = seen.mounts.iter().map(|mount| (mount.id, mount)).collect();
    // By which mount a path is seen: one that was mounted there may lie below another.
    let seen_by = |path: &Path| {
        let place = seen.paths.get(path).copied().flatten()?;
        by_id.get(&place.mount).map(|mount| (place, *mount))
    };
    if !seen_by(Path::new("/")).is_some_and(|(_, root)| root.at == "/" && root.is_read_only()) {
        return Err("the container's root can be written".to_owned());
    }
    for (path, file) in known.files {
        let found =
            seen_by(path).filter(|(place, mount)| place.file == *file && Path::new(&mount.at) == path);
        let Some((_, mount)) = found else {
            return Err(format!(
                "`{}` in the container is not what was to be there",
                path.display()
            ));
        };
        let is_to_be_written = known.binds.iter().any(|one| one.target == *path && one.writable);
        if !is_to_be_written && !mount.is_read_only() {
            return Err(format!(
                "`{}` can be written in the container, and was not to be",
                path.display()
            ));
        }
    }
    let bound: BTreeMap<&Path, &Bound> = known
        .binds
        .iter()
        .map(|one| (one.target.as_path(), one))
        .collect();
    for mount in &seen.mounts {
        let at = mount.at.as_str();
        let within = known
            .binds
            .iter()
            .filter(|one| Path::new(at).starts_with(&one.target));
        let within = within.max_by_key(|one| one.target.as_os_str().len());
        let is_asked_for = match within {
            _ if at == "/" => true,
            // Looked at above.
            _ if bound.contains_key(Path::new(at)) => true,
            Some(one) if !comes_along(known, one, mount) => false,
            // What is mounted in the workspace outside comes along, and may be written like all of it.
            Some(one) if one.writable || mount.is_read_only() => true,
            Some(_) => {
                return Err(format!(
                    "`{at}`, mounted there outside, can be written in the container"
                ));
            }
            None => is_nobodys(known, mount) || ENGINES_OWN.contains(&at) && mount.is_read_only(),
        };
        if !is_asked_for {
            return Err(format!(
                "the engine mounted `{at}`, which nobody asked for; look at `volumes` of containers.conf, and at mounts.conf"
            ));
        }
    }
    Ok(())
}

/// Whether it is mounted at that place below what was bound outside as well: the platform sees the same there.
fn comes_along(known: &Known<'_>, one: &Bound, mount: &Mounted) -> bool {
    let Ok(below) = Path::new(&mount.at).strip_prefix(&one.target) else {
        return false;
    };
    let source = one.source.join(below);
    known
        .outside
        .iter()
        .any(|seen| seen.device == mount.device && seen.root == mount.root && Path::new(&seen.at) == source)
}

/// Whether it is the kernel's own, or was made in memory for the container, and is where such belongs: nobody's files.
/// What is also mounted outside, such as `/run` of the machine, is somebody's.
fn is_nobodys(known: &Known<'_>, mount: &Mounted) -> bool {
    let at = Path::new(&mount.at);
    let is_below = |above: &str| at.starts_with(above);
    let mut outside = known.outside.iter().filter(|seen| seen.device == mount.device);
    let is_mask = (is_below("/proc/") || is_below("/sys/")) && at.components().count() > 2;
    let is_harmless = HARMLESS.contains(&mount.root.as_str()) && (is_below("/dev") || is_mask);
    let has = |name: &str| mount.options.iter().any(|option| option == name);
    match (mount.kind.as_str(), mount.at.as_str()) {
        ("tmpfs" | "devtmpfs", _) if is_harmless => true,
        // One controller's names are those of the machine.
        ("cgroup" | "cgroup2", _) => is_below("/sys/fs/cgroup"),
        // The engine makes it outside, in a directory of the container's, which is called this.
        ("tmpfs", "/dev/shm") => {
            mount.root == "/" && outside.all(|seen| seen.at.ends_with("/shm") && seen.at != "/dev/shm")
        }
        _ if outside.next().is_some() => false,
        ("tmpfs", at) if TMPFS.contains(&at) => mount.root == "/" && has("nosuid") && has("nodev"),
        ("tmpfs", "/dev" | "/sys/fs/cgroup") => mount.root == "/",
        ("tmpfs", _) => mount.root == "/" && is_mask && mount.is_read_only(),
        ("proc", _) => is_below("/proc"),
        ("sysfs", _) => is_below("/sys"),
        ("devpts", at) => matches!(at, "/dev/pts" | "/dev/console"),
        ("mqueue", at) => at == "/dev/mqueue",
        _ => false,
    }
}

/// Namespaces that are not the platform's.
fn own_namespaces(known: &Known<'_>, seen: &Seen) -> BTreeSet<String> {
    let is_own = |(name, number): &(&String, &u64)| {
        let ours = known.namespaces.get(*name);
        ours.is_some_and(|ours| ours != *number)
    };
    let names = seen
        .namespaces
        .iter()
        .filter(is_own)
        .map(|(name, _)| match name.as_str() {
            "mnt" => "mount",
            "net" => "network",
            name => name,
        });
    names.map(str::to_owned).collect()
}

/// Parts that it lacks, and why.
fn missing(known: &Known<'_>, seen: &Seen) -> BTreeMap<Part, String> {
    let own = own_namespaces(known, seen);
    let mut missing = BTreeMap::new();
    for (part, name) in [
        (Part::Users, "user"),
        (Part::Root, "mount"),
        (Part::Processes, "pid"),
        (Part::Network, "network"),
        (Part::Ipc, "ipc"),
        (Part::HostName, "uts"),
        (Part::CgroupNames, "cgroup"),
    ] {
        if !own.contains(name) {
            missing.insert(
                part,
                format!("the engine gives containers no {name} namespace of their own"),
            );
        }
    }
    if known.user != known.on_disk && known.outer != known.on_disk {
        let why = "the engine maps no owners";
        missing.insert(Part::IdmappedWorkspace, why.to_owned());
    }
    for (part, from) in LANDLOCK_FROM {
        if seen.landlock_abi < from {
            let why = format!(
                "Landlock has interface {} in the container, and {from} is needed",
                seen.landlock_abi
            );
            missing.insert(part, why);
        }
    }
    let limits = &known.spec.limits;
    for (part, name, wanted) in [
        (Part::MemoryLimit, "memory", limits.memory_bytes),
        (Part::ProcessCount, "pids", limits.pids),
        (Part::CpuLimit, "cpu_millis", limits.cpu_millis),
    ] {
        let Some(wanted) = wanted else { continue };
        let is_held = seen.limits.get(name).is_some_and(|found| *found <= wanted);
        if !is_held {
            let found = seen.limits.get(name).map_or("none".to_owned(), u64::to_string);
            missing.insert(
                part,
                format!("the container's cgroup has the limit {found}, and {wanted} was asked for"),
            );
        }
    }
    let swap = seen.limits.get("swap").copied().unwrap_or(0);
    if limits.memory_bytes.is_some() && swap > 0 {
        let why =
            format!("the container may have {swap} bytes in swap besides its memory, and was to have none");
        missing.entry(Part::MemoryLimit).or_insert(why);
    }
    missing.retain(|part, _| needs(known.spec, *part));
    missing
}

fn mount(mounted: &Mounted) -> Mount {
    let size = mounted
        .file_system
        .iter()
        .filter(|option| option.starts_with("size="));
    let of = match is_ours(&mounted.at) {
        true => "this program".to_owned(),
        false if mounted.root == "/" => mounted.kind.clone(),
        false => format!("{} {}", mounted.kind, mounted.root),
    };
    Mount {
        at: mounted.at.clone(),
        of,
        options: mounted.options.iter().chain(size).cloned().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::seen::{Place, mounted};
    use super::*;

    fn seen() -> Seen {
        let mounts = [
            "1 0 0:1 / / ro,relatime - overlay overlay rw,lowerdir=/l",
            "2 1 0:2 / /proc rw - proc proc rw",
            "3 1 0:3 / /tmp rw,nosuid,nodev - tmpfs tmpfs rw,size=1024k",
            "4 1 8:1 /w /workspace rw - ext4 /dev/vda rw",
            "5 4 8:1 /e /workspace/.cofferdam ro - ext4 /dev/vda rw",
            "6 1 8:1 /s /.cofferdam ro - ext4 /dev/vda rw",
            "7 1 8:1 /h /etc/hosts ro - ext4 /dev/vda rw",
            "8 1 0:6 /null /proc/kcore rw - devtmpfs devtmpfs rw",
        ];
        let capabilities = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
        let names = super::super::seen::NAMESPACES;
        Seen {
            users: vec![1001; 4],
            groups: vec![1002; 4],
            more_groups: vec![],
            capabilities: capabilities.map(|name| (name.to_owned(), 0)).into(),
            no_new_privileges: true,
            seccomp: 2,
            namespaces: names
                .map(|name| (name.to_owned(), if name == "user" { 1 } else { 2 }))
                .into(),
            interfaces: vec!["lo".to_owned()],
            mounts: mounts.iter().filter_map(|line| mounted(line)).collect(),
            paths: [
                ("/".into(), place(0, 1)),
                ("/workspace".into(), place(1, 4)),
                ("/workspace/.cofferdam".into(), place(2, 5)),
                ("/.cofferdam".into(), place(3, 6)),
            ]
            .into(),
            limits: [("memory", 1 << 20), ("pids", 64), ("cpu_millis", 2000)]
                .map(|(n, v)| (n.to_owned(), v))
                .into(),
            landlock_abi: 6,
        }
    }

    fn file(number: u64) -> File {
        File {
            device: (8, 1),
            number,
            is_directory: true,
        }
    }

    fn place(number: u64, mount: u64) -> Option<Place> {
        let file = file(number);
        Some(Place { file, mount })
    }

    fn told(change: impl FnOnce(&mut Seen)) -> String {
        let spec = Spec::new(vec!["true".to_owned()], "/outside".into());
        let bound = |source: &str, target: &str, writable| Bound {
            source: source.into(),
            target: target.into(),
            writable,
        };
        let mut found = seen();
        change(&mut found);
        let binds = [
            bound("/outside", "/workspace", true),
            bound("/staging/empty", "/workspace/.cofferdam", false),
            bound("/staging", "/.cofferdam", false),
        ];
        let outside = [
            "1 0 8:1 / / rw - ext4 /dev/vda rw",
            "2 1 0:90 / /run rw - tmpfs tmpfs rw",
            "3 1 0:91 / /dev/shm rw - tmpfs tmpfs rw",
            "4 1 0:92 / /proc rw - proc proc rw",
            "5 1 0:93 / /outside/disk rw - ext4 /dev/vdb rw",
            "6 1 0:94 / /var/lib/engine/1/shm rw - tmpfs shm rw",
            "7 1 0:95 / /staging/x rw - ext4 /dev/vdb rw",
        ];
        let outside: Vec<Mounted> = outside.iter().filter_map(|line| mounted(line)).collect();
        let known = Known {
            spec: &spec,
            user: (1001, 1002),
            outer: (1001, 1002),
            on_disk: (1001, 1002),
            binds: &binds,
            files: &[
                ("/workspace".into(), file(1)),
                ("/workspace/.cofferdam".into(), file(2)),
                ("/.cofferdam".into(), file(3)),
            ]
            .into(),
            outside: &outside,
            namespaces: &super::super::seen::NAMESPACES
                .map(|name| (name.to_owned(), 1))
                .into(),
        };
        match verify(&known, &found) {
            Ok(rules) => format!("without {:?}", rules.given_up.keys().collect::<Vec<_>>()),
            Err(LaunchError::Unenforceable { part, .. }) => format!("needs {part:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_container_that_is_not_what_was_ordered_is_refused() {
        let add = |line: &'static str| move |seen: &mut Seen| seen.mounts.extend(mounted(line));
        type Change = Box<dyn Fn(&mut Seen)>;
        #[rustfmt::skip]
        let table: Vec<(&str, Change, &str)> = vec![
            ("as it is",         Box::new(|_| ()),                                     "without [Users]"),
            ("another user",     Box::new(|s| s.users[2] = 0),                         "was to run as 1001:1002"),
            ("root's group",     Box::new(|s| s.more_groups.push(0)),                  "or with root's group"),
            ("a capability",     Box::new(|s| { s.capabilities.insert("CapBnd".into(), 1 << 21); }), "left capabilities: Some((\"CapBnd\", 200000))"),
            ("nothing known",    Box::new(|s| s.capabilities.clear()),                 "left capabilities: None"),
            ("new privileges",   Box::new(|s| s.no_new_privileges = false),            "did not set no_new_privs"),
            ("no filter",        Box::new(|s| s.seccomp = 0),                          "filters no system calls"),
            ("a network",        Box::new(|s| s.interfaces.push("eth0".into())),       "the network interface `eth0`"),
            ("a writable root",  Box::new(|s| s.mounts[0].options = vec!["rw".into()]), "root can be written"),
            ("a root below",     Box::new(|s| { s.paths.insert("/".into(), place(0, 3)); }), "root can be written"),
            ("a socket",         Box::new(add("9 0 0:9 /docker.sock /run/docker.sock ro - ext4 /dev/vda rw")), "mounted `/run/docker.sock`, which nobody asked for"),
            ("a disk",           Box::new(add("9 0 0:6 /vda /dev/vda rw - devtmpfs devtmpfs rw")), "mounted `/dev/vda`, which nobody asked for"),
            ("its secrets",      Box::new(add("9 0 0:7 /secrets /run/secrets ro - tmpfs tmpfs rw")), "mounted `/run/secrets`, which nobody asked for"),
            ("a volume",         Box::new(add("9 0 8:1 /x /data rw - ext4 /dev/vda rw")), "mounted `/data`, which nobody asked for"),
            ("the engine's own", Box::new(add("9 0 8:1 /h /etc/hosts rw - ext4 /dev/vda rw")), "mounted `/etc/hosts`, which nobody asked for"),
            ("ours writable",    Box::new(|s| s.mounts[5].options = vec!["rw".into()]), "`/.cofferdam` can be written"),
            ("below ours",       Box::new(add("9 0 8:1 /s /.cofferdam/x rw - ext4 /dev/vda rw")), "mounted `/.cofferdam/x`, which nobody asked for"),
            ("along and written", Box::new(add("9 0 0:95 / /.cofferdam/x rw - ext4 /dev/vdb rw")), "`/.cofferdam/x`, mounted there outside"),
            ("comes along",      Box::new(add("9 0 0:93 / /workspace/disk rw - ext4 /dev/vdb rw")), "without [Users]"),
            ("another along",    Box::new(add("9 0 0:93 / /workspace/x rw - ext4 /dev/vdb rw")), "mounted `/workspace/x`, which nobody asked for"),
            ("the disk within",  Box::new(add("9 0 8:1 / /workspace/x rw - ext4 /dev/vda rw")), "mounted `/workspace/x`, which nobody asked for"),
            ("all of /run",      Box::new(add("9 0 0:90 / /data rw,nosuid,nodev - tmpfs tmpfs rw")), "mounted `/data`, which nobody asked for"),
            ("/run as ordered",  Box::new(add("9 0 0:90 / /run ro,nosuid,nodev - tmpfs tmpfs rw")), "mounted `/run`, which nobody asked for"),
            ("/run as a mask",   Box::new(add("9 0 0:90 / /sys/firmware ro - tmpfs tmpfs rw")), "mounted `/sys/firmware`, which nobody asked for"),
            ("the host's shm",   Box::new(add("9 0 0:91 / /dev/shm rw - tmpfs tmpfs rw")), "mounted `/dev/shm`, which nobody asked for"),
            ("its own shm",      Box::new(add("9 0 0:94 / /dev/shm rw - tmpfs shm rw")), "without [Users]"),
            ("no nosuid",        Box::new(|s| s.mounts[2].options = vec!["rw".into(), "nodev".into()]), "mounted `/tmp`, which nobody asked for"),
            ("a new memory",     Box::new(add("9 0 0:7 / /data rw,nosuid,nodev - tmpfs tmpfs rw")), "mounted `/data`, which nobody asked for"),
            ("a written mask",   Box::new(add("9 0 0:7 / /proc/acpi rw - tmpfs tmpfs rw")), "mounted `/proc/acpi`, which nobody asked for"),
            ("a mask",           Box::new(add("9 0 0:7 / /proc/acpi ro - tmpfs tmpfs ro")), "without [Users]"),
            ("the host's proc",  Box::new(add("9 0 0:92 / /proc rw - proc proc rw")),   "mounted `/proc`, which nobody asked for"),
            ("proc elsewhere",   Box::new(add("9 0 0:7 / /hostproc rw - proc proc rw")), "mounted `/hostproc`, which nobody asked for"),
            ("sys elsewhere",    Box::new(add("9 0 0:7 / /hostsys ro - sysfs sysfs ro")), "mounted `/hostsys`, which nobody asked for"),
            ("terminals",        Box::new(add("9 0 0:7 / /dev/hostpts rw - devpts devpts rw")), "mounted `/dev/hostpts`, which nobody asked for"),
            ("its terminals",    Box::new(add("9 0 0:7 / /dev/pts rw - devpts devpts rw")), "without [Users]"),
            ("cgroups",          Box::new(add("9 0 0:7 / /cgroup ro - cgroup2 cgroup rw")), "mounted `/cgroup`, which nobody asked for"),
            ("queues",           Box::new(add("9 0 0:7 / /mqueue rw - mqueue mqueue rw")), "mounted `/mqueue`, which nobody asked for"),
            ("its queues",       Box::new(add("9 0 0:7 / /dev/mqueue rw - mqueue mqueue rw")), "without [Users]"),
            ("a further group",  Box::new(|s| s.more_groups.push(999)),                "the further group 999"),
            ("its own group",    Box::new(|s| s.more_groups.push(1002)),               "without [Users]"),
            ("swap",             Box::new(|s| { s.limits.insert("swap".into(), 4096); }), "needs MemoryLimit"),
            ("hidden below",     Box::new(|s| { s.paths.insert("/workspace/.cofferdam".into(), place(2, 4)); }), "`/workspace/.cofferdam` in the container is not what was to be there"),
            ("another place",    Box::new(|s| { s.paths.insert("/workspace".into(), place(7, 4)); }), "`/workspace` in the container is not what was to be there"),
            ("nothing there",    Box::new(|s| { s.paths.remove(Path::new("/.cofferdam")); }), "`/.cofferdam` in the container is not what was to be there"),
            ("the host's pids",  Box::new(|s| { s.namespaces.insert("pid".into(), 1); }), "needs Processes"),
            ("no namespace told", Box::new(|s| { s.namespaces.remove("net"); }),       "needs Network"),
            ("an old kernel",    Box::new(|s| s.landlock_abi = 3),                     "needs LandlockTcp"),
            ("no limit",         Box::new(|s| { s.limits.remove("memory"); }),         "needs MemoryLimit"),
            ("a higher limit",   Box::new(|s| { s.limits.insert("pids".into(), 4096); }), "needs ProcessCount"),
        ];
        for (name, change, expected) in table {
            let found = told(change);
            assert!(found.contains(expected), "{name}: {found}");
        }
    }
}
