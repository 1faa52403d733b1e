//! The account of what the kernel was told to enforce on one guest: what goes into the journal.
//!
//! Invariant: **written by whoever did it.** Each entry is made by the step that made the call, after it succeeded.

use crate::seccomp::Filter;
use crate::spec::{EngineKind, Part};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What holds a guest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// Who the guest is, inside and outside.
    pub identity: Identity,
    /// Namespaces of its own.
    pub namespaces: BTreeSet<String>,
    /// What it sees of files, in the order of mounting.
    pub mounts: Vec<Mount>,
    /// Paths of the workspace that are read-only, although the workspace is not.
    pub protected: Vec<String>,
    /// Paths of the workspace that were not there; what is made of them is held back at the end.
    pub held_back: Vec<String>,
    /// Ports on loopback whose listening sockets the platform has.
    pub doors: BTreeSet<u16>,
    /// What Landlock enforces.
    pub landlock: Option<Landlock>,
    /// The filter of system calls.
    pub seccomp: Option<Filter>,
    /// Whether executing a file can give privileges.
    pub no_new_privileges: bool,
    /// Capabilities that are left, of any set.
    pub capabilities: BTreeSet<String>,
    /// Limits of one process (`setrlimit`).
    pub process_limits: BTreeMap<String, u64>,
    /// Limits of all processes together.
    pub cgroup: Option<Cgroup>,
    /// It is ended after so long, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// It is ended when the workspace's file system has less than this left, in bytes.
    pub disk_free_bytes: u64,
    /// What is not enforced, and why not.
    pub given_up: BTreeMap<Part, String>,
    /// The container that it is in, as its engine tells; none where the platform built the walls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<Contained>,
}

/// A container, as its engine tells of it after it was started. What the kernel says from inside stands in [`Rules`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contained {
    /// Which engine.
    pub engine: EngineKind,
    /// Its version.
    pub version: String,
    /// Where it was reached.
    pub socket: String,
    /// Whether it runs without root.
    pub rootless: bool,
    /// The container.
    pub id: String,
    /// The image as it was written.
    pub image: String,
    /// The image that runs: `sha256:…`.
    pub image_id: String,
    /// Names of the image in registries, by digest.
    pub digests: Vec<String>,
    /// What the engine says it enforces, by its own names (`HostConfig` of `GET /containers/ID/json`). A profile of
    /// system calls is there by its SHA-256.
    pub profile: BTreeMap<String, serde_json::Value>,
}

/// Who a guest is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// User inside.
    pub uid: u32,
    /// Group inside.
    pub gid: u32,
    /// User outside; never 0.
    pub outer_uid: u32,
    /// Group outside; never 0.
    pub outer_gid: u32,
    /// Owner and group on disk that the guest's files in its workspace have.
    pub on_disk: (u32, u32),
}

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where it is inside.
    pub at: String,
    /// What is there: a path outside, or a file system.
    pub of: String,
    /// `ro` or `rw`, `nosuid`, `nodev`, `noexec`, `idmapped`, sizes.
    pub options: Vec<String>,
}

/// What Landlock enforces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Landlock {
    /// Version of its interface.
    pub abi: u32,
    /// Paths inside that can be read and executed. `None`: files are not handled.
    pub reads: Option<BTreeSet<String>>,
    /// Directories that can be listed, with all below: names, not content.
    pub lists: BTreeSet<String>,
    /// Paths inside that can be written.
    pub writes: Option<BTreeSet<String>>,
    /// Ports that TCP can be connected to; nothing can be bound. `None`: TCP is not handled.
    pub connects: Option<BTreeSet<u16>>,
    /// Scopes: abstract unix sockets and signals.
    pub scopes: BTreeSet<String>,
}

/// Limits of all processes of a guest together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroup {
    /// Directory of each controller.
    pub directories: BTreeMap<String, String>,
    /// What was written, by file.
    pub limits: BTreeMap<String, String>,
}
