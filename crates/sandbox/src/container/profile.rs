//! What is ordered from an engine, and what it says afterwards that it gave.

use super::engine::Engine;
use super::program::INSIDE;
use crate::rules::Contained;
use crate::spec::{Container, EngineKind, Spec};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Label of every container of ours: whose platform it is of.
pub(super) const OWNER: &str = "dev.cofferdam.owner";
/// Label: of which session it is.
pub(super) const SESSION: &str = "dev.cofferdam.session";
/// The variable by which a guest knows its session.
pub(super) const SESSION_VARIABLE: &str = "COFFERDAM_SESSION";
/// A check of health that is none (Engine API, `HealthConfig`).
const NO_CHECK: &str = "NONE";
/// Where the home is that guests are given.
const HOME: &str = "/home/guest";
/// Places in memory that are ordered.
pub(super) const TMPFS: [&str; 4] = ["/tmp", HOME, "/run", "/var/tmp"];
/// A guest is killed for memory before anything of the platform's is.
const OOM_SCORE: i32 = 500;
/// Variables by which an image would have the loader load something of its own into our process.
const LOADER: [&str; 5] = [
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "LD_AUDIT",
    "LD_DEBUG",
    "GLIBC_TUNABLES",
];

/// What the place of one guest is made of.
pub(super) struct Order<'o> {
    pub spec: &'o Spec,
    pub container: &'o Container,
    pub engine: &'o Engine,
    pub owner: &'o str,
    /// User and group inside.
    pub user: (u32, u32),
    pub command: &'o [String],
    /// Variables that the image sets.
    pub image_env: &'o [String],
    pub binds: &'o [Bound],
    /// The profile of system calls: its text, and a file that holds it.
    pub seccomp: (&'o Value, PathBuf),
    /// Most processes that the platform itself may have: it cannot ask for more.
    pub processes_max: u64,
}

/// One directory or file outside, and where it is inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bound {
    pub source: PathBuf,
    pub target: PathBuf,
    pub writable: bool,
}

impl Order<'_> {
    /// The body of `POST /containers/create`. The environment of the guest, which may hold secrets, is not in it.
    pub(super) fn body(&self) -> Value {
        let limits = &self.spec.limits;
        let image = self
            .image_env
            .iter()
            .filter_map(|one| Some(one.split_once('=')?.0));
        let of_loader = image.filter(|name| name.starts_with("LD_")).chain(LOADER);
        let env: Vec<String> = of_loader.map(|name| format!("{name}=")).collect();
        let mut host = json!({
            "NetworkMode": "none",
            "ReadonlyRootfs": true,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges", self.seccomp()],
            "Privileged": false,
            "IpcMode": "private",
            "CgroupnsMode": "private",
            "RestartPolicy": { "Name": "no" },
            // Once its first process ended nothing is left of it, whether or not the platform still lives.
            "AutoRemove": true,
            "LogConfig": { "Type": "none" },
            "OomScoreAdj": OOM_SCORE,
            "Tmpfs": self.tmpfs(),
            "Mounts": self.mounts(),
            "ShmSize": limits.tmp_bytes,
            "Ulimits": self.ulimits(),
        });
        if let Some(host) = host.as_object_mut() {
            self.limit(host);
        }
        json!({
            "Image": self.container.id,
            "Entrypoint": self.command,
            "Cmd": [],
            "Env": env,
            "User": format!("{}:{}", self.user.0, self.user.1),
            "WorkingDir": "/",
            "Hostname": "cofferdam",
            "Tty": false,
            "OpenStdin": false,
            "StopTimeout": 0,
            // An image's own would be executed by the engine, outside the walls that are built inside.
            "Healthcheck": { "Test": [NO_CHECK] },
            "Labels": {
                OWNER: self.owner,
                SESSION: self.spec.env.get(SESSION_VARIABLE).map_or("", String::as_str),
            },
            "HostConfig": host,
        })
    }

    fn limit(&self, host: &mut Map<String, Value>) {
        let limits = &self.spec.limits;
        if let Some(bytes) = limits.memory_bytes {
            host.insert("Memory".to_owned(), bytes.into());
            // With swap: as much, which leaves none.
            host.insert("MemorySwap".to_owned(), bytes.into());
        }
        if let Some(pids) = limits.pids {
            host.insert("PidsLimit".to_owned(), pids.into());
        }
        if let Some(millis) = limits.cpu_millis {
            host.insert("NanoCpus".to_owned(), millis.saturating_mul(1_000_000).into());
        }
        if self.engine.rootless && self.engine.kind == EngineKind::Podman {
            let (uid, gid) = self.user;
            host.insert(
                "UsernsMode".to_owned(),
                format!("keep-id:uid={uid},gid={gid}").into(),
            );
        }
    }

    /// Docker takes the profile itself, Podman a file of this machine.
    fn seccomp(&self) -> String {
        match self.engine.kind {
            EngineKind::Docker => format!("seccomp={}", self.seccomp.0),
            EngineKind::Podman => format!("seccomp={}", self.seccomp.1.display()),
        }
    }

    /// What is written and gone with it. Podman makes `/run` and `/var/tmp` writable unless they are named.
    fn tmpfs(&self) -> BTreeMap<String, String> {
        let limits = &self.spec.limits;
        // Podman would copy what the image has there, with its owner and its mode.
        let empty = match self.engine.kind {
            EngineKind::Docker => "",
            EngineKind::Podman => ",notmpcopyup",
        };
        // Where an image has a directory at that place, runc gives it the mode that the image has: for `/tmp` the same
        // in all but those made by hand, and the home lies where none has any.
        let scratch = |bytes: u64| format!("rw,nosuid,nodev,exec,size={bytes},mode=1777{empty}");
        let nothing = || format!("ro,nosuid,nodev,noexec,size=4096,mode=555{empty}");
        let [tmp, home, run, var_tmp] = TMPFS.map(str::to_owned);
        BTreeMap::from([
            (tmp, scratch(limits.tmp_bytes)),
            (home, scratch(limits.home_bytes)),
            (run, nothing()),
            (var_tmp, nothing()),
        ])
    }

    fn mounts(&self) -> Vec<Value> {
        let binds = self.binds.iter().map(|bound| {
            json!({
                "Type": "bind",
                "Source": bound.source,
                "Target": bound.target,
                "ReadOnly": !bound.writable,
                "BindOptions": { "Propagation": "rprivate" },
            })
        });
        binds.collect()
    }

    /// An engine would otherwise ask for what its own user may not have.
    fn ulimits(&self) -> Vec<Value> {
        let limit = |name: &str, most: u64| json!({ "Name": name, "Soft": most, "Hard": most });
        vec![
            limit("nofile", self.spec.limits.files),
            limit("nproc", self.processes_max),
            limit("core", 0),
        ]
    }
}

/// Places inside where the platform's own lies.
pub(super) fn hidden(spec: &Spec) -> impl Iterator<Item = PathBuf> {
    let inside = |path: &PathBuf| Some(spec.workspace_at.join(path.strip_prefix(&spec.workspace).ok()?));
    spec.hidden.iter().filter_map(inside)
}

/// What an engine tells that is worth keeping.
const TOLD: [&str; 22] = [
    "AutoRemove",
    "CapAdd",
    "CapDrop",
    "CgroupnsMode",
    "CpuPeriod",
    "CpuQuota",
    "Devices",
    "IpcMode",
    "Memory",
    "MemorySwap",
    "NanoCpus",
    "NetworkMode",
    "OomScoreAdj",
    "PidMode",
    "PidsLimit",
    "Privileged",
    "ReadonlyRootfs",
    "Runtime",
    "SecurityOpt",
    "Tmpfs",
    "UTSMode",
    "UsernsMode",
];

/// What the engine says it gave, if that is what was ordered.
pub(super) fn read_back(
    order: &Order<'_>,
    id: &str,
    inspected: &Value,
    digests: Vec<String>,
) -> Result<Contained, String> {
    let host = inspected
        .get("HostConfig")
        .ok_or("the engine tells nothing of the container's profile")?;
    let text = |name: &str| host.get(name).and_then(Value::as_str).unwrap_or("");
    let is_on = |name: &str| host.get(name).and_then(Value::as_bool) == Some(true);
    let is_empty = |name: &str| match host.get(name) {
        None | Some(Value::Null) => true,
        Some(value) => value.as_array().is_some_and(Vec::is_empty),
    };
    let image = inspected.get("Image").and_then(Value::as_str).unwrap_or("");
    let user = inspected
        .pointer("/Config/User")
        .and_then(Value::as_str)
        .unwrap_or("");
    let (uid, gid) = order.user;
    #[rustfmt::skip]
    let wanted = [
        (image.trim_start_matches("sha256:") == order.container.id.trim_start_matches("sha256:"), "the image"),
        (user == format!("{uid}:{gid}"),            "the user"),
        (text("NetworkMode") == "none",             "no network"),
        (is_on("ReadonlyRootfs"),                   "a read-only root"),
        (!is_on("Privileged"),                      "no privilege"),
        (is_empty("CapAdd"),                        "no capability"),
        (is_empty("Devices"),                       "no device"),
        (is_own(text("PidMode")),                   "processes of its own"),
        (is_own(text("IpcMode")),                   "shared memory of its own"),
        (is_own(text("UTSMode")),                   "a name of its own"),
        (text("UsernsMode") != "host",              "users of its own"),
        (is_without_check(inspected),               "no check of its health"),
    ];
    if let Some((_, what)) = wanted.iter().find(|(is_so, _)| !is_so) {
        return Err(format!(
            "{} was asked for {what}, and says it gave something else",
            order.engine.kind
        ));
    }
    let told = TOLD
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), told(host.get(*name)?, order))));
    Ok(Contained {
        engine: order.engine.kind,
        version: order.engine.version.clone(),
        socket: order.engine.socket.display().to_string(),
        rootless: order.engine.rootless,
        id: id.to_owned(),
        image: order.container.image.clone(),
        image_id: order.container.id.clone(),
        digests,
        profile: told.collect(),
    })
}

/// Whether the engine executes nothing in it by itself, to see how it does.
pub(super) fn is_without_check(inspected: &Value) -> bool {
    let test = inspected
        .pointer("/Config/Healthcheck/Test")
        .and_then(Value::as_array);
    test.is_some_and(|words| words.first().and_then(Value::as_str) == Some(NO_CHECK))
}

/// Neither the machine's nor another container's.
fn is_own(mode: &str) -> bool {
    mode != "host" && !mode.starts_with("container:") && !mode.starts_with("ns:")
}

/// A profile of system calls is many kilobytes: the digest of what the engine returned says which it is. The file that
/// Podman was given holds ours.
fn told(value: &Value, order: &Order<'_>) -> Value {
    let (ours, file) = &order.seccomp;
    let digest = |text: &str| {
        let digest = match Path::new(text) == file {
            true => Sha256::digest(ours.to_string()),
            false => Sha256::digest(text),
        };
        digest.iter().map(|b| format!("{b:02x}")).collect::<String>()
    };
    let one = |one: &Value| match one.as_str().and_then(|text| text.strip_prefix("seccomp=")) {
        Some(text) => Value::String(format!("seccomp=sha256:{}", digest(text))),
        None => one.clone(),
    };
    match value.as_array() {
        Some(all) => Value::Array(all.iter().map(one).collect()),
        None => value.clone(),
    }
}

/// Places where an engine mounts what it makes itself, besides what it is asked for.
pub(super) const ENGINES_OWN: [&str; 6] = [
    "/etc/hosts",
    "/etc/hostname",
    "/etc/resolv.conf",
    "/etc/passwd",
    "/etc/group",
    "/run/.containerenv",
];

/// Devices that hold nothing, by which an engine without root makes a `/dev`, and hides files of `/proc`.
pub(super) const HARMLESS: [&str; 6] = ["/null", "/zero", "/full", "/tty", "/random", "/urandom"];

/// Where everything of ours is.
pub(super) fn is_ours(path: &str) -> bool {
    path == INSIDE
        || path
            .strip_prefix(INSIDE)
            .is_some_and(|rest| rest.starts_with('/'))
}
