//! Control groups: what all processes of a guest together may use, and what became of it. Versions 1 and 2.
//!
//! A guest's groups lie below the group that the platform is in, so whatever limits the platform limits them too.
//! Their names hold the pid of the zygote: what a zygote that was killed left behind is found and removed.
//!
//! Invariant: **limits are written before the guest starts**, and read back by nobody but this file.

use crate::rules;
use crate::spec::{Limits, Part};
use crate::step::Cause;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const PREFIX: &str = "cofferdam-";
/// Processor time is dealt out in periods of so many microseconds: the kernel's own default.
const PERIOD_US: u64 = 100_000;

/// A controller, by the name that both versions know it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Controller {
    Memory,
    Pids,
    Cpu,
}

impl Controller {
    const ALL: [Controller; 3] = [Controller::Memory, Controller::Pids, Controller::Cpu];

    fn name(self) -> &'static str {
        match self {
            Controller::Memory => "memory",
            Controller::Pids => "pids",
            Controller::Cpu => "cpu",
        }
    }

    pub(crate) fn part(self) -> Part {
        match self {
            Controller::Memory => Part::MemoryLimit,
            Controller::Pids => Part::ProcessCount,
            Controller::Cpu => Part::CpuLimit,
        }
    }
}

/// Where groups can be made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Home {
    /// Directory and version, by controller.
    places: BTreeMap<Controller, (PathBuf, u8)>,
    /// Why there is none, by controller.
    missing: BTreeMap<Controller, String>,
    zygote: u32,
    made: u64,
}

impl Home {
    /// Finds the groups that this process is in, and tries whether groups can be made below them.
    pub(crate) fn find() -> Home {
        let mut home = Home {
            zygote: std::process::id(),
            ..Home::default()
        };
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        for controller in Controller::ALL {
            match place(controller, &mounts, &own).and_then(|(at, version)| usable(controller, &at, version))
            {
                Ok(place) => {
                    home.places.insert(controller, place);
                }
                Err(why) => {
                    home.missing.insert(controller, why);
                }
            }
        }
        home.sweep();
        home
    }

    /// Why a part cannot be enforced, for each that cannot.
    pub(crate) fn missing(&self) -> impl Iterator<Item = (Part, &str)> {
        self.missing.iter().map(|(c, why)| (c.part(), why.as_str()))
    }

    /// Which version each part is enforced by.
    pub(crate) fn versions(&self) -> impl Iterator<Item = (Part, u8)> {
        self.places.iter().map(|(c, (_, version))| (c.part(), *version))
    }

    /// Makes a group in each hierarchy. What is `omitted` is left away.
    pub(crate) fn make(&mut self, omitted: impl Fn(Part) -> bool) -> Result<Group, Cause> {
        self.made += 1;
        let name = format!("{PREFIX}{}-{}", self.zygote, self.made);
        let mut group = Group::default();
        for (controller, (at, version)) in self.places.iter().filter(|(c, _)| !omitted(c.part())) {
            let directory = at.join(&name);
            match fs::create_dir(&directory) {
                Ok(()) => (),
                // Several controllers of one hierarchy.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => (),
                Err(e) => return Err(Cause::of(directory.display())(e)),
            }
            group.at.insert(*controller, (directory, *version));
        }
        Ok(group)
    }

    /// Removes what zygotes left that are no more. Processes in such a group are what outlived one, and are ended.
    fn sweep(&self) {
        for (at, _) in self.places.values() {
            for entry in fs::read_dir(at).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                let owner = name
                    .strip_prefix(PREFIX)
                    .and_then(|n| n.split('-').next()?.parse::<u32>().ok());
                let Some(owner) = owner else { continue };
                if owner != self.zygote && !Path::new(&format!("/proc/{owner}")).exists() {
                    kill_all(&entry.path());
                    let _ = fs::remove_dir(entry.path());
                }
            }
        }
    }
}

fn kill_all(group: &Path) {
    let pids = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    for pid in pids.lines().filter_map(|p| p.parse().ok()) {
        if let Some(pid) = rustix::process::Pid::from_raw(pid) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// Where this process' group of a controller is, and of which version.
fn place(controller: Controller, mounts: &str, own: &str) -> Result<(PathBuf, u8), String> {
    for version in [1, 2] {
        let path = own.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            let is = if version == 1 {
                controllers.split(',').any(|c| c == controller.name())
            } else {
                controllers.is_empty()
            };
            is.then_some(path)
        });
        let mount = mounts
            .lines()
            .find_map(|line| hierarchy(line, controller, version));
        if let (Some(path), Some((root, at))) = (path, mount) {
            // In a container the mount may begin below the root of the hierarchy.
            let below = Path::new(path).strip_prefix(&root).unwrap_or(Path::new(""));
            return Ok((Path::new(&at).join(below), version));
        }
    }
    Err(format!(
        "no hierarchy with the {} controller is mounted",
        controller.name()
    ))
}

/// Root and mount point of a line of `mountinfo` that is the hierarchy looked for.
fn hierarchy(line: &str, controller: Controller, version: u8) -> Option<(String, String)> {
    let (before, after) = line.split_once(" - ")?;
    let mut fields = before.split(' ').skip(3);
    let (root, at) = (fields.next()?, fields.next()?);
    let mut kind = after.split(' ');
    let (name, options) = (kind.next()?, kind.nth(1)?);
    let is = match version {
        1 => name == "cgroup" && options.split(',').any(|o| o == controller.name()),
        _ => name == "cgroup2",
    };
    is.then(|| (root.to_owned(), at.to_owned()))
}

/// Whether groups can be made there, found out by making one.
fn usable(controller: Controller, at: &Path, version: u8) -> Result<(PathBuf, u8), String> {
    let name = controller.name();
    if version == 2 {
        let has = |file: &str| {
            let text = fs::read_to_string(at.join(file)).unwrap_or_default();
            text.split_whitespace().any(|c| c == name)
        };
        if !has("cgroup.controllers") {
            return Err(format!(
                "the {name} controller is not given to `{}`",
                at.display()
            ));
        }
        if !has("cgroup.subtree_control") {
            // Refused where processes are in the group itself, unless it is the root.
            fs::write(at.join("cgroup.subtree_control"), format!("+{name}"))
                .map_err(|e| format!("cannot give the {name} controller on in `{}`: {e}", at.display()))?;
        }
    }
    let probe = at.join(format!("{PREFIX}{}-0", std::process::id()));
    fs::create_dir(&probe).map_err(|e| format!("cannot make a group in `{}`: {e}", at.display()))?;
    fs::remove_dir(&probe).map_err(|e| format!("cannot remove `{}`: {e}", probe.display()))?;
    Ok((at.to_owned(), version))
}

/// The groups of one guest.
#[derive(Debug, Default)]
pub(crate) struct Group {
    at: BTreeMap<Controller, (PathBuf, u8)>,
}

impl Group {
    /// Puts a process in, with all that it starts from then on.
    pub(crate) fn admit(&self, pid: i32) -> Result<(), Cause> {
        for (directory, _) in self.at.values() {
            let file = directory.join("cgroup.procs");
            fs::write(&file, pid.to_string()).map_err(Cause::of(file.display()))?;
        }
        Ok(())
    }

    /// Writes limits, and tells what was written.
    pub(crate) fn limit(&self, limits: &Limits) -> Result<rules::Cgroup, Cause> {
        let mut account = rules::Cgroup::default();
        for (controller, (directory, version)) in &self.at {
            for (file, value) in settings(*controller, *version, limits) {
                let path = directory.join(file);
                match fs::write(&path, &value) {
                    Ok(()) => account.limits.insert(file.to_owned(), value),
                    // Swap is not accounted for on this kernel: without swap there is nothing to limit.
                    Err(_) if OPTIONAL.contains(&file) => continue,
                    Err(e) => return Err(Cause::of(path.display())(e)),
                };
            }
            let at = directory.display().to_string();
            account.directories.insert(controller.name().to_owned(), at);
        }
        Ok(account)
    }

    /// The groups that somebody else put a process in, to read what they count.
    pub(crate) fn of(pid: i32) -> Group {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let its = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let at = Controller::ALL.into_iter().filter_map(|controller| {
            let found = place(controller, &mounts, &its).ok()?;
            Some((controller, found))
        });
        Group { at: at.collect() }
    }

    /// Their directories, by controller.
    pub(crate) fn directories(&self) -> BTreeMap<String, String> {
        let each = self.at.iter();
        each.map(|(controller, (at, _))| (controller.name().to_owned(), at.display().to_string()))
            .collect()
    }

    /// How often a process was killed for memory.
    pub(crate) fn memory_kills(&self) -> u64 {
        self.counter(
            Controller::Memory,
            |version| {
                if version == 1 {
                    "memory.oom_control"
                } else {
                    "memory.events"
                }
            },
            "oom_kill",
        )
    }

    /// How often a process was refused for their number.
    pub(crate) fn refused_processes(&self) -> u64 {
        self.counter(Controller::Pids, |_| "pids.events", "max")
    }

    /// Most memory that was used at once, in bytes, where the kernel keeps it.
    pub(crate) fn memory_peak(&self) -> Option<u64> {
        let (directory, version) = self.at.get(&Controller::Memory)?;
        let file = if *version == 1 {
            "memory.max_usage_in_bytes"
        } else {
            "memory.peak"
        };
        fs::read_to_string(directory.join(file)).ok()?.trim().parse().ok()
    }

    fn counter(&self, controller: Controller, file: impl Fn(u8) -> &'static str, name: &str) -> u64 {
        let Some((directory, version)) = self.at.get(&controller) else {
            return 0;
        };
        let text = fs::read_to_string(directory.join(file(*version))).unwrap_or_default();
        let value = text
            .lines()
            .find_map(|l| l.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or(0)
    }

    /// Removes the groups; `false` while the kernel still finds somebody in one. Called when the guest is over, so
    /// whoever is left outlived it, which happens without a pid namespace alone, and is ended.
    pub(crate) fn remove(&mut self) -> bool {
        self.at
            .retain(|_, (directory, _)| match fs::remove_dir(&*directory) {
                Ok(()) => false,
                Err(e) => {
                    kill_all(directory);
                    e.kind() != io::ErrorKind::NotFound
                }
            });
        self.at.is_empty()
    }
}

const OPTIONAL: &[&str] = &[
    "memory.memsw.limit_in_bytes",
    "memory.swap.max",
    "memory.oom.group",
];

/// Files and values, in the order in which the kernel takes them.
fn settings(controller: Controller, version: u8, limits: &Limits) -> Vec<(&'static str, String)> {
    let quota = |millis: u64| millis.saturating_mul(PERIOD_US) / 1000;
    match (controller, version) {
        (Controller::Memory, 1) => match limits.memory_bytes {
            Some(bytes) => vec![
                ("memory.limit_in_bytes", bytes.to_string()),
                ("memory.memsw.limit_in_bytes", bytes.to_string()),
            ],
            None => Vec::new(),
        },
        (Controller::Memory, _) => match limits.memory_bytes {
            Some(bytes) => vec![
                ("memory.max", bytes.to_string()),
                ("memory.swap.max", "0".to_owned()),
                ("memory.oom.group", "1".to_owned()),
            ],
            None => Vec::new(),
        },
        (Controller::Pids, _) => limits
            .pids
            .map(|p| ("pids.max", p.to_string()))
            .into_iter()
            .collect(),
        (Controller::Cpu, 1) => match limits.cpu_millis {
            Some(millis) => vec![
                ("cpu.cfs_period_us", PERIOD_US.to_string()),
                ("cpu.cfs_quota_us", quota(millis).to_string()),
            ],
            None => Vec::new(),
        },
        (Controller::Cpu, _) => {
            let value = limits
                .cpu_millis
                .map(|m| ("cpu.max", format!("{} {PERIOD_US}", quota(m))));
            value.into_iter().collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "\
36 32 0:31 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
37 32 0:32 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
38 32 0:33 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";
    const V2: &str = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate";
    const CONTAINER: &str = "36 32 0:31 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory";

    #[test]
    fn the_group_of_this_process_is_found() {
        #[rustfmt::skip]
        let table = [
            ("version 1",          Controller::Memory, V1, "4:memory:/user\n0::/",      "/sys/fs/cgroup/memory/user 1"),
            ("shared hierarchy",   Controller::Cpu,    V1, "2:cpu,cpuacct:/a\n0::/",    "/sys/fs/cgroup/cpu,cpuacct/a 1"),
            ("version 2",          Controller::Pids,   V2, "0::/user.slice/x.scope",    "/sys/fs/cgroup/user.slice/x.scope 2"),
            ("both, and v1 lacks", Controller::Pids,   V1, "4:memory:/\n0::/x",         "/sys/fs/cgroup/unified/x 2"),
            ("in a container",     Controller::Memory, CONTAINER, "4:memory:/docker/abc/in", "/sys/fs/cgroup/memory/in 1"),
            ("none",               Controller::Cpu,    "", "0::/",                      "no hierarchy with the cpu controller is mounted"),
        ];
        for (name, controller, mounts, own, expected) in table {
            let found = place(controller, mounts, own);
            let found = found.map_or_else(|e| e, |(at, version)| format!("{} {version}", at.display()));
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn limits_are_what_each_version_writes() {
        let limits = Limits {
            cpu_millis: Some(1500),
            pids: None,
            memory_bytes: Some(7),
            ..Limits::default()
        };
        let say = |controller, version| {
            let all = settings(controller, version, &limits);
            all.iter()
                .map(|(f, v)| format!("{f}={v}"))
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(
            say(Controller::Cpu, 1),
            "cpu.cfs_period_us=100000 cpu.cfs_quota_us=150000"
        );
        assert_eq!(say(Controller::Cpu, 2), "cpu.max=150000 100000");
        assert_eq!(
            say(Controller::Memory, 2),
            "memory.max=7 memory.swap.max=0 memory.oom.group=1"
        );
        assert_eq!(
            say(Controller::Memory, 1),
            "memory.limit_in_bytes=7 memory.memsw.limit_in_bytes=7"
        );
        assert_eq!(say(Controller::Pids, 1), "");
    }
}
