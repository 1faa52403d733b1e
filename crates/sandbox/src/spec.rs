//! What a guest is started with: its command, its place, its doors and its limits.
//!
//! Invariants:
//! - **Nothing is inherited.** Environment, files and descriptors of the guest are those of its [`Spec`].
//! - **A wall is given up by name alone** ([`Spec::degrade`]), and only where the machine cannot build it.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

/// The user and group that a guest is inside, whatever it is outside. The number that S1-4.3 names.
pub const GUEST_UID: u32 = 1000;
/// Most doors of one guest: each is two sockets, and 253 descriptors go into one message (`SCM_MAX_FD`).
pub const DOORS_MAX: usize = 32;
/// Most paths to read of one guest: each is a descriptor of one message.
pub const READS_MAX: usize = 64;
/// Most directories that are hidden from one guest.
pub const HIDDEN_MAX: usize = 16;
/// Where a workspace is inside, unless a spec says otherwise.
pub const WORKSPACE_AT: &str = "/workspace";
/// Largest [`Spec`], in bytes of JSON. The kernel takes two megabytes of arguments and environment.
pub const SPEC_BYTES_MAX: usize = 2 * 1024 * 1024;

/// One run of one program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The program and its arguments, never a shell string. A program without `/` is looked up in the
    /// `PATH` of [`Spec::env`].
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// The directory outside that the guest may write in. Absolute.
    pub workspace: PathBuf,
    /// Device and inode of the directory that was looked at under that name: another one is refused. `None`: nobody
    /// looked.
    pub looked_at: Option<(u64, u64)>,
    /// Where the workspace is inside; the guest starts there. Absolute, and below no system directory.
    pub workspace_at: PathBuf,
    /// What the guest may do with the repository in its workspace.
    pub git: Git,
    /// Where changes to the workspace are collected instead of being made: an empty directory outside,
    /// on a file system that overlayfs can write to. Without it changes are made at once.
    pub review: Option<PathBuf>,
    /// Further files and directories that the guest may read.
    pub reads: Vec<Bind>,
    /// Directories outside that lie in the workspace and are the platform's own: the guest finds them empty.
    pub hidden: Vec<PathBuf>,
    /// TCP ports on the guest's loopback whose listening sockets the platform gets. At least 1024.
    pub doors: BTreeSet<u16>,
    /// Which system calls it may make.
    pub profile: Profile,
    /// How much it may use.
    pub limits: Limits,
    /// What is given up where the machine cannot enforce it. What can be enforced is, whatever stands here.
    pub degrade: BTreeSet<Part>,
    /// The container that it runs in. Without it the platform builds the walls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<Container>,
    /// Parts that are left away although the machine has them: how tests show what each of them does.
    #[cfg(feature = "unwalled")]
    #[serde(default)]
    pub without: BTreeSet<Part>,
}

/// A container of an engine that runs here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Container {
    /// Which engine; without it the first that is found.
    pub engine: Option<EngineKind>,
    /// The image as somebody wrote it: a name may mean another image tomorrow.
    pub image: String,
    /// The image that is meant, by the digest of its configuration, which names all its layers: `sha256:…`.
    pub id: String,
}

/// A container engine whose interface is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineKind {
    /// Docker Engine, API 1.41 (20.10) or newer.
    Docker,
    /// Podman 4 or newer, by the same API.
    Podman,
}

impl std::fmt::Display for EngineKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            EngineKind::Docker => "docker",
            EngineKind::Podman => "podman",
        })
    }
}

/// A path outside that is seen, read-only, at a path inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bind {
    /// Outside; absolute.
    pub source: PathBuf,
    /// Inside; absolute.
    pub target: PathBuf,
}

/// What a guest may do with `.git` of its workspace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Git {
    /// Read it.
    #[default]
    Read,
    /// Commit: objects, references and index can be written; hooks and configuration cannot.
    Commit,
}

/// Which system calls a guest may make, and what becomes of it when it makes another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// A list of what is allowed; the first other call ends the guest. TCP to doors alone.
    Strict,
    /// A list of what is refused with `EPERM`, and recorded. TCP to doors alone.
    #[default]
    Standard,
    /// As `standard`, with any TCP on the guest's own loopback: what test suites do.
    Build,
}

/// How much a guest may use. `None` is no limit of this kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Memory of all its processes, with its `/tmp` and `/home`, in bytes.
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Processor time per second, in thousandths of a core.
    pub cpu_millis: Option<u64>,
    /// Open files of one process.
    pub files: u64,
    /// Largest file, in bytes.
    pub file_bytes: u64,
    /// Size of `/tmp`, in bytes.
    pub tmp_bytes: u64,
    /// Size of `/home`, in bytes.
    pub home_bytes: u64,
    /// The guest is ended when the workspace's file system has less than this left, in bytes.
    pub disk_free_bytes: u64,
    /// The guest is ended after so long, in milliseconds.
    pub timeout_ms: Option<u64>,
}

impl Default for Limits {
    /// The container profile (S1-4.2): 4 GiB, two cores, 256 processes, 1 GiB of `/tmp`; half an hour (S1-4.3).
    fn default() -> Limits {
        const GIB: u64 = 1024 * 1024 * 1024;
        Limits {
            memory_bytes: Some(4 * GIB),
            pids: Some(256),
            cpu_millis: Some(2000),
            files: 1024,
            file_bytes: 4 * GIB,
            tmp_bytes: GIB,
            home_bytes: GIB,
            disk_free_bytes: 256 * 1024 * 1024,
            timeout_ms: Some(30 * 60 * 1000),
        }
    }
}

impl Limits {
    /// Parts that limit nothing.
    pub(crate) fn without(&self) -> BTreeSet<Part> {
        let limits = [
            (Part::MemoryLimit, self.memory_bytes),
            (Part::ProcessCount, self.pids),
            (Part::CpuLimit, self.cpu_millis),
        ];
        let none = limits.into_iter().filter(|(_, limit)| limit.is_none());
        none.map(|(part, _)| part).collect()
    }
}

/// One wall, or one part of a wall, that a machine may be unable to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// A user namespace: the guest is nobody outside, and root of nothing inside.
    Users,
    /// A root of its own with a list of files in it.
    Root,
    /// Read-only mounts over what is run later by others: hooks, configuration, start-up files.
    Protected,
    /// An idmapped mount, so that files of the workspace keep their owner.
    IdmappedWorkspace,
    /// A pid namespace: other processes can be neither seen nor signalled, and all end with the first.
    Processes,
    /// A network namespace: loopback and doors.
    Network,
    /// An IPC namespace.
    Ipc,
    /// A host name of its own.
    HostName,
    /// A cgroup namespace.
    CgroupNames,
    /// No privilege through the execution of a file.
    NoNewPrivileges,
    /// No capability.
    Capabilities,
    /// Limits per process.
    ProcessLimits,
    /// Landlock for files.
    LandlockFiles,
    /// Landlock for TCP.
    LandlockTcp,
    /// Landlock for abstract unix sockets and signals.
    LandlockScopes,
    /// The filter of system calls.
    Seccomp,
    /// A cgroup that limits memory.
    MemoryLimit,
    /// A cgroup that limits processes.
    ProcessCount,
    /// A cgroup that limits processor time.
    CpuLimit,
}

impl Part {
    /// Every part.
    pub const ALL: &[Part] = &[
        Part::Users,
        Part::Root,
        Part::Protected,
        Part::IdmappedWorkspace,
        Part::Processes,
        Part::Network,
        Part::Ipc,
        Part::HostName,
        Part::CgroupNames,
        Part::NoNewPrivileges,
        Part::Capabilities,
        Part::ProcessLimits,
        Part::LandlockFiles,
        Part::LandlockTcp,
        Part::LandlockScopes,
        Part::Seccomp,
        Part::MemoryLimit,
        Part::ProcessCount,
        Part::CpuLimit,
    ];
}

/// Why a [`Spec`] describes no guest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpecError {
    /// There is no program.
    #[error("no program to run: `argv` is empty")]
    NoProgram,
    /// The kernel ends strings at NUL, and a name of a variable at `=`.
    #[error("`{what}` holds a NUL byte, or is no name of a variable")]
    Text {
        /// Where.
        what: String,
    },
    /// A path that is relative or has `..` in it.
    #[error("`{path}` is not an absolute path without `..`")]
    Path {
        /// Which.
        path: PathBuf,
    },
    /// The guest would see its own files in the place of the system's.
    #[error("`{path}` lies in `{system}`, which is the system's; choose another place inside")]
    Covers {
        /// Which.
        path: PathBuf,
        /// What is there.
        system: String,
    },
    /// What is hidden has to be seen without that.
    #[error("`{path}` cannot be hidden: it does not lie in the workspace")]
    NotWithin {
        /// Which.
        path: PathBuf,
    },
    /// Guests hold no port below 1024.
    #[error("door {port} is below 1024")]
    Door {
        /// Which.
        port: u16,
    },
    /// Too much of something.
    #[error("{what}: {found}, more than {most}")]
    TooMany {
        /// Of what.
        what: String,
        /// How much there is.
        found: usize,
        /// How much there may be.
        most: usize,
    },
}

/// Where the system is inside; nothing of a guest is mounted there or above.
const SYSTEM: &[&str] = &[
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/dev", "/proc", "/sys", "/run",
];

impl Spec {
    /// A guest that runs `argv` in `workspace`, with everything else as it is by default.
    pub fn new(argv: Vec<String>, workspace: PathBuf) -> Spec {
        Spec {
            argv,
            env: BTreeMap::from([
                ("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned()),
                ("HOME".to_owned(), "/home/guest".to_owned()),
                ("LANG".to_owned(), "C.UTF-8".to_owned()),
            ]),
            workspace,
            looked_at: None,
            workspace_at: PathBuf::from(WORKSPACE_AT),
            git: Git::default(),
            review: None,
            reads: Vec::new(),
            hidden: Vec::new(),
            doors: BTreeSet::new(),
            profile: Profile::default(),
            limits: Limits::default(),
            degrade: BTreeSet::new(),
            container: None,
            #[cfg(feature = "unwalled")]
            without: BTreeSet::new(),
        }
    }

    /// Whether a part is left away on purpose: in tests alone.
    pub(crate) fn leaves_out(&self, part: Part) -> bool {
        #[cfg(feature = "unwalled")]
        return self.without.contains(&part);
        #[cfg(not(feature = "unwalled"))]
        {
            let _ = part;
            false
        }
    }

    /// Refuses what could not be meant. Whether files exist is found out when they are mounted.
    pub fn check(&self) -> Result<(), SpecError> {
        let program = self.argv.first().ok_or(SpecError::NoProgram)?;
        if program.is_empty() {
            return Err(SpecError::NoProgram);
        }
        for (at, word) in self.argv.iter().enumerate() {
            text(&format!("argv[{at}]"), word)?;
        }
        for (name, value) in &self.env {
            if name.is_empty() || name.contains('=') {
                return Err(SpecError::Text { what: name.clone() });
            }
            text("env", name)?;
            text(name, value)?;
        }
        absolute(&self.workspace)?;
        inside(&self.workspace_at)?;
        for bind in &self.reads {
            absolute(&bind.source)?;
            inside(&bind.target)?;
        }
        for hidden in &self.hidden {
            absolute(hidden)?;
            if hidden == &self.workspace || !hidden.starts_with(&self.workspace) {
                return Err(SpecError::NotWithin { path: hidden.clone() });
            }
        }
        at_most("hidden directories", self.hidden.len(), HIDDEN_MAX)?;
        if let Some(review) = &self.review {
            absolute(review)?;
        }
        if let Some(port) = self.doors.iter().find(|p| **p < 1024) {
            return Err(SpecError::Door { port: *port });
        }
        at_most("doors", self.doors.len(), DOORS_MAX)?;
        at_most("paths to read", self.reads.len(), READS_MAX)
    }
}

fn text(what: &str, text: &str) -> Result<(), SpecError> {
    if text.contains('\0') {
        return Err(SpecError::Text {
            what: what.to_owned(),
        });
    }
    Ok(())
}

fn at_most(what: &str, found: usize, most: usize) -> Result<(), SpecError> {
    if found > most {
        return Err(SpecError::TooMany {
            what: what.to_owned(),
            found,
            most,
        });
    }
    Ok(())
}

fn absolute(path: &Path) -> Result<(), SpecError> {
    let plain = path
        .components()
        .all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
    if !path.is_absolute() || !plain || path.to_str().is_none_or(|p| p.contains('\0')) {
        return Err(SpecError::Path {
            path: path.to_owned(),
        });
    }
    Ok(())
}

/// A place inside: absolute, not the root, and not where the system is.
fn inside(path: &Path) -> Result<(), SpecError> {
    absolute(path)?;
    // `/usr/local/…` is where sites put their own; the mount lies on top of the system's, which stays read-only.
    let system = SYSTEM
        .iter()
        .find(|s| path == Path::new("/") || (path.starts_with(s) && !path.starts_with("/usr/local/")));
    match system {
        Some(system) => Err(SpecError::Covers {
            path: path.to_owned(),
            system: if path == Path::new("/") { "/" } else { system }.to_owned(),
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_guest_is_refused_with_its_reason() {
        type Change = fn(&mut Spec);
        #[rustfmt::skip]
        let table: [(&str, Change, &str); 13] = [
            ("as it is",           |_| (),                                       "ok"),
            ("no program",         |s| s.argv.clear(),                           "no program to run: `argv` is empty"),
            ("NUL in argv",        |s| s.argv.push("a\0b".to_owned()),           "`argv[1]` holds a NUL byte, or is no name of a variable"),
            ("= in a name",        |s| { s.env.insert("A=B".into(), String::new()); }, "`A=B` holds a NUL byte, or is no name of a variable"),
            ("a relative path",    |s| s.workspace = "here".into(),              "`here` is not an absolute path without `..`"),
            ("up and out",         |s| s.workspace = "/tmp/../etc".into(),       "`/tmp/../etc` is not an absolute path without `..`"),
            ("over the system",    |s| s.workspace_at = "/etc/x".into(),         "`/etc/x` lies in `/etc`, which is the system's; choose another place inside"),
            ("over everything",    |s| s.workspace_at = "/".into(),              "`/` lies in `/`, which is the system's; choose another place inside"),
            ("over the socket",    |s| s.reads.push(Bind { source: "/run/docker.sock".into(), target: "/run/docker.sock".into() }),
                                                                                 "`/run/docker.sock` lies in `/run`, which is the system's; choose another place inside"),
            ("hidden elsewhere",   |s| s.hidden.push("/tmpfs".into()),           "`/tmpfs` cannot be hidden: it does not lie in the workspace"),
            ("all of it hidden",   |s| s.hidden.push("/tmp".into()),             "`/tmp` cannot be hidden: it does not lie in the workspace"),
            ("a low door",         |s| { s.doors.insert(80); },                  "door 80 is below 1024"),
            ("too many doors",     |s| s.doors.extend(2000..2033),               "doors: 33, more than 32"),
        ];
        for (name, change, expected) in table {
            let mut spec = Spec::new(vec!["true".to_owned()], "/tmp".into());
            change(&mut spec);
            let found = spec.check().map_or_else(|e| e.to_string(), |()| "ok".to_owned());
            assert_eq!(found, expected, "{name}");
        }
    }
}
