//! What a process sees of its own place: how a container is known by what the kernel says, not by what was ordered.

use crate::step::Cause;
use crate::sys;
use rustix::fs::{AtFlags, CWD, FileType, StatxFlags, statx};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// From the platform to the first process of a container: which paths to look at.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ask {
    pub paths: Vec<PathBuf>,
}

/// Its answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// Real, effective, saved and file system user.
    pub users: Vec<u32>,
    /// The same of groups.
    pub groups: Vec<u32>,
    /// Further groups.
    pub more_groups: Vec<u32>,
    /// Every set of capabilities, by the name in `/proc/self/status`.
    pub capabilities: BTreeMap<String, u64>,
    pub no_new_privileges: bool,
    /// 2 with a filter of system calls.
    pub seccomp: u32,
    /// Number of each namespace.
    pub namespaces: BTreeMap<String, u64>,
    /// Network interfaces that are up.
    pub interfaces: Vec<String>,
    pub mounts: Vec<Mounted>,
    /// What is at each path that was asked for; none where nothing is.
    pub paths: BTreeMap<PathBuf, Option<Place>>,
    /// Limits of its cgroup, by our own names: `memory`, `pids`, `cpu_millis`; and `swap`, what it may have there besides,
    /// in bytes. What has none is not there; `swap` is not where the kernel does not count it.
    pub limits: BTreeMap<String, u64>,
    pub landlock_abi: u32,
}

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub file: File,
    /// The mount that it is seen by, which is not always the one that was mounted there: something may lie over it.
    pub mount: u64,
}

/// Which file it is, on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct File {
    pub device: (u32, u32),
    pub number: u64,
    pub is_directory: bool,
}

/// The file at a path, or that a descriptor is of when the path is empty, and its mount.
pub(super) fn place(at: impl AsFd, path: &Path) -> Result<Place, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
    let found = statx(at, path, flags, wanted)?;
    // Linux 5.8.
    if found.stx_mask & StatxFlags::MNT_ID.bits() == 0 {
        return Err(Errno::NOSYS);
    }
    let kind = FileType::from_raw_mode(found.stx_mode.into());
    Ok(Place {
        file: File {
            device: (found.stx_dev_major, found.stx_dev_minor),
            number: found.stx_ino,
            is_directory: kind == FileType::Directory,
        },
        mount: found.stx_mnt_id,
    })
}

/// One line of `/proc/self/mountinfo`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mounted {
    pub id: u64,
    /// Of the file system, `8:1`.
    pub device: String,
    pub at: String,
    /// What part of the file system is seen.
    pub root: String,
    pub options: Vec<String>,
    /// The kind of file system.
    pub kind: String,
    /// Options of the file system itself, such as sizes.
    pub file_system: Vec<String>,
}

impl Mounted {
    pub(super) fn is_read_only(&self) -> bool {
        let says = |options: &[String]| options.iter().any(|option| option == "ro");
        says(&self.options) || says(&self.file_system)
    }
}

/// The namespaces that are told of, by their names in `/proc/self/ns`.
pub(super) const NAMESPACES: [&str; 7] = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"];

/// Looks around.
pub(super) fn look(ask: &Ask) -> Result<Seen, Cause> {
    let status = fs::read_to_string("/proc/self/status").map_err(Cause::of("/proc/self/status"))?;
    let mut seen = Seen {
        namespaces: namespaces(),
        interfaces: interfaces(),
        mounts: mounts()?,
        limits: limits(),
        landlock_abi: sys::landlock_abi(),
        ..Seen::default()
    };
    for (name, value) in status.lines().filter_map(|line| line.split_once(':')) {
        let numbers = || value.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        match name {
            "Uid" => seen.users = numbers(),
            "Gid" => seen.groups = numbers(),
            "Groups" => seen.more_groups = numbers(),
            "NoNewPrivs" => seen.no_new_privileges = value.trim() == "1",
            "Seccomp" => seen.seccomp = value.trim().parse().unwrap_or(0),
            name if name.starts_with("Cap") => {
                let bits =
                    u64::from_str_radix(value.trim(), 16).map_err(|e| Cause(format!("{name}: {e}")))?;
                seen.capabilities.insert(name.to_owned(), bits);
            }
            _ => (),
        }
    }
    for path in &ask.paths {
        seen.paths.insert(path.clone(), place(CWD, path).ok());
    }
    Ok(seen)
}

/// Of whoever asks.
pub(super) fn namespaces() -> BTreeMap<String, u64> {
    let number = |name: &&str| {
        let there = fs::metadata(Path::new("/proc/self/ns").join(name)).ok()?;
        Some(((*name).to_owned(), there.ino()))
    };
    NAMESPACES.iter().filter_map(number).collect()
}

/// A new network namespace has loopback, and what modules put into every one (`sit0`, `tunl0`), which is down.
fn interfaces() -> Vec<String> {
    /// `IFF_UP`.
    const UP: u32 = 1;
    let text = fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let names = text
        .lines()
        .skip(2)
        .filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()));
    let is_up = |name: &String| {
        let flags = fs::read_to_string(format!("/sys/class/net/{name}/flags")).ok();
        let flags = flags.and_then(|text| u32::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok());
        // What cannot be asked counts as up.
        flags.is_none_or(|flags| flags & UP != 0)
    };
    names.filter(is_up).collect()
}

/// Of whoever asks.
pub(super) fn mounts() -> Result<Vec<Mounted>, Cause> {
    let text = fs::read_to_string("/proc/self/mountinfo").map_err(Cause::of("/proc/self/mountinfo"))?;
    Ok(text.lines().filter_map(mounted).collect())
}

/// `36 35 98:0 /root /at rw,noatime master:1 - ext4 /dev/root rw,errors=continue` (`proc_pid_mountinfo(5)`).
pub(super) fn mounted(line: &str) -> Option<Mounted> {
    let (before, after) = line.split_once(" - ")?;
    let mut fields = before.split(' ');
    let id = fields.next()?.parse().ok()?;
    let mut fields = fields.skip(1);
    let device = fields.next()?.to_owned();
    let (root, at, options) = (fields.next()?, fields.next()?, fields.next()?);
    let mut rest = after.split(' ');
    let (kind, _, file_system) = (rest.next()?, rest.next()?, rest.next()?);
    let list = |text: &str| text.split(',').map(str::to_owned).collect();
    Some(Mounted {
        id,
        device,
        at: unescaped(at),
        root: unescaped(root),
        options: list(options),
        kind: kind.to_owned(),
        file_system: list(file_system),
    })
}

/// Blanks, tabs, line ends and backslashes are in octal there.
fn unescaped(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (code, sign)| text.replace(code, sign))
}

/// Of the cgroup that is the root inside, of either version.
fn limits() -> BTreeMap<String, u64> {
    let read = |names: [&str; 2]| {
        let paths = names.iter().map(|name| format!("/sys/fs/cgroup/{name}"));
        paths.filter_map(|path| fs::read_to_string(path).ok()).next()
    };
    let mut limits = BTreeMap::new();
    let mut put = |name: &str, value: Option<u64>| limits.extend(value.map(|value| (name.to_owned(), value)));
    // Version 1 has no word for none: a limit near 2^63 is none.
    let number = |text: String| text.trim().parse().ok().filter(|bytes| *bytes < 1 << 62);
    put(
        "memory",
        read(["memory.max", "memory/memory.limit_in_bytes"]).and_then(number),
    );
    put("swap", swap(read));
    put("pids", read(["pids.max", "pids/pids.max"]).and_then(number));
    let share = |quota: &str, period: &str| {
        let (quota, period): (u64, u64) = (quota.trim().parse().ok()?, period.trim().parse().ok()?);
        (quota * 1000).checked_div(period)
    };
    let cpu = match read(["cpu.max", "cpu.max"]) {
        Some(text) => text
            .split_once(' ')
            .and_then(|(quota, period)| share(quota, period)),
        None => {
            let of = |name| read([name, name]);
            let (quota, period) = (of("cpu/cpu.cfs_quota_us"), of("cpu/cpu.cfs_period_us"));
            quota
                .zip(period)
                .and_then(|(quota, period)| share(&quota, &period))
        }
    };
    put("cpu_millis", cpu);
    limits
}

/// Version 1 has a limit of both together.
fn swap(read: impl Fn([&str; 2]) -> Option<String>) -> Option<u64> {
    let of = |name| read([name, name]);
    if let Some(text) = of("memory.swap.max") {
        return Some(text.trim().parse().unwrap_or(u64::MAX));
    }
    let number = |text: String| text.trim().parse::<u64>().ok();
    let both = of("memory/memory.memsw.limit_in_bytes").and_then(number)?;
    let memory = of("memory/memory.limit_in_bytes").and_then(number)?;
    Some(both.saturating_sub(memory))
}

/// What a cgroup counted: kills for memory, most memory at once, processes that were refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counted {
    pub memory_kills: u64,
    pub memory_peak: Option<u64>,
    pub refused_processes: u64,
}

/// Of the cgroup that is the root inside.
pub(crate) fn counted() -> Counted {
    let read = |name: &str| fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok();
    let line = |text: Option<String>, name: &str| -> Option<u64> {
        text?
            .lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    };
    let number = |text: Option<String>| text.and_then(|text| text.trim().parse().ok());
    Counted {
        memory_kills: line(read("memory.events"), "oom_kill ")
            .or_else(|| line(read("memory/memory.oom_control"), "oom_kill "))
            .unwrap_or(0),
        memory_peak: number(read("memory.peak")).or_else(|| number(read("memory/memory.max_usage_in_bytes"))),
        refused_processes: line(read("pids.events"), "max ")
            .or_else(|| line(read("pids/pids.events"), "max "))
            .unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_mountinfo() {
        let line = r"36 35 98:0 /a\040b /w\134 ro,nosuid shared:1 master:2 - ext4 /dev/root rw,size=4k";
        let found = mounted(line).unwrap();
        assert_eq!(found.id, 36);
        assert_eq!(
            (found.at.as_str(), found.root.as_str(), found.kind.as_str()),
            ("/w\\", "/a b", "ext4")
        );
        assert_eq!(
            (found.options, found.file_system),
            (
                vec!["ro".to_owned(), "nosuid".to_owned()],
                vec!["rw".to_owned(), "size=4k".to_owned()],
            )
        );
        assert_eq!(mounted("36 35 98:0 / /"), None);
    }

    #[test]
    fn this_process_sees_itself() {
        let seen = look(&Ask {
            paths: vec!["/proc".into(), "/none".into()],
        })
        .unwrap();
        assert_eq!(seen.users.len(), 4);
        assert_eq!(seen.namespaces, namespaces());
        assert!(
            seen.mounts
                .iter()
                .any(|mount| mount.at == "/proc" && mount.kind == "proc")
        );
        assert!(seen.capabilities.contains_key("CapBnd"), "{seen:?}");
        let proc = seen.paths[Path::new("/proc")].unwrap();
        assert!(proc.file.is_directory, "{proc:?}");
        let mount = seen.mounts.iter().find(|mount| mount.id == proc.mount).unwrap();
        assert_eq!(mount.at, "/proc");
        assert_eq!(seen.paths[Path::new("/none")], None);
    }
}
