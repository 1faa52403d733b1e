//! One container, from what is ordered to a guest that runs in it; or nothing, and nothing left of it.

use super::engine::Engine;
use super::http::short;
use super::inside::SOCKET;
use super::profile::{Bound, Order, SESSION_VARIABLE, hidden, is_without_check, read_back};
use super::program::{EMPTY, INSIDE, NOTHING, Program};
use super::seen::{self, Ask, File, Seen};
use super::verify::{Known, verify};
use super::ward::Ward;
use crate::cgroup;
use crate::guest::{Door, Guest};
use crate::launcher::{LaunchError, sealed};
use crate::protect::{self, Protected};
use crate::rules::Rules;
use crate::runbook::{Claim, Report};
use crate::seccomp;
use crate::seccomp::stopped::Stopped;
use crate::spec::{Container, EngineKind, Part, Profile, Spec};
use crate::step::Cause;
use crate::wire;
use crate::zygote::now_ms;
use policy::InFlight;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, fstat, open};
use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_peercred};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with,
};
use rustix::process::{PidfdFlags, Resource, getrlimit, pidfd_open};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, Permissions};
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a container's first process may take to connect, and to answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Most processes of whoever a container runs as, who may be somebody with processes of their own; what counts is the
/// cgroup. Less than engines have themselves, for some ask for more than that unless they are told.
const PROCESSES_MAX: u64 = 4_096;

/// Where one container is made.
pub(super) struct Place<'p> {
    pub engine: Engine,
    pub program: &'p Program,
    /// Not there yet; of this container alone.
    pub directory: PathBuf,
    pub owner: &'p str,
    /// What a stop reaches it by while it is made, which takes long.
    pub flight: &'p InFlight,
}

/// A directory that is removed with this.
struct Directory<'d>(&'d Path);

impl Drop for Directory<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.0);
    }
}

/// A container that is removed with this, unless it was handed on.
struct Made<'m> {
    engine: &'m Engine,
    id: String,
    is_kept: bool,
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        if !self.is_kept {
            let _ = self.engine.remove(&self.id);
        }
    }
}

/// What of this machine goes into a container.
struct Own {
    workspace: OwnedFd,
    on_disk: (u32, u32),
    protected: Protected,
    binds: Vec<Bound>,
    files: BTreeMap<PathBuf, File>,
}

/// The first process of a container, which is the one that the engine started.
struct First {
    link: OwnedFd,
    pid: i32,
    pidfd: OwnedFd,
    outer: (u32, u32),
}

fn refused(why: impl Into<String>) -> LaunchError {
    LaunchError::Container(why.into())
}

fn failed(cause: Cause) -> LaunchError {
    LaunchError::Container(cause.0)
}

impl Place<'_> {
    pub(super) fn launch(
        self,
        spec: &Spec,
        container: &Container,
        stdio: [OwnedFd; 3],
    ) -> Result<Guest, LaunchError> {
        let _directory = Directory(&self.directory);
        let listener = self.listen().map_err(failed)?;
        let own = self.own(spec)?;
        let user = user(&self.engine, own.on_disk).map_err(refused)?;
        let image = self.engine.image(&container.id)?;
        let filter = seccomp::oci_profile(spec.profile);
        let order = Order {
            spec,
            container,
            engine: &self.engine,
            owner: self.owner,
            user,
            command: &self.program.command(),
            image_env: &image.env,
            binds: &own.binds,
            seccomp: (&filter, self.filter(&filter).map_err(failed)?),
            processes_max: getrlimit(Resource::Nproc)
                .maximum
                .map_or(PROCESSES_MAX, |n| n.min(PROCESSES_MAX)),
        };
        let mut made = self.start(&self.name(spec), &order)?;
        let first = self.first(&made.id, &listener)?;
        drop(listener);
        let inspected = self.engine.inspect(&made.id)?;
        is_it(&inspected, first.pid)?;
        let contained = read_back(&order, &made.id, &inspected, image.digests).map_err(refused)?;
        let seen = ask(&first.link, &own)?;
        let known = Known {
            spec,
            user,
            outer: first.outer,
            on_disk: own.on_disk,
            binds: &own.binds,
            files: &own.files,
            outside: &seen::mounts().map_err(failed)?,
            namespaces: &seen::namespaces(),
        };
        let mut rules = verify(&known, &seen)?;
        let group = cgroup::Group::of(first.pid);
        if let Some(cgroup) = &mut rules.cgroup {
            cgroup.directories = group.directories();
        }
        rules.container = Some(contained);
        protect_in(&mut rules, &own.protected);
        self.is_still_wanted()?;
        let (guest, ward) = enter(&first, spec, stdio, rules, (own, group), &made)?;
        made.is_kept = true;
        let watching = std::thread::Builder::new()
            .name("container".to_owned())
            .spawn(|| ward.watch());
        // The guest, dropped, is ended.
        watching.map_err(|e| LaunchError::Gone(e.to_string()))?;
        Ok(guest)
    }

    fn is_still_wanted(&self) -> Result<(), LaunchError> {
        match self.flight.cancel().is_cancelled() {
            true => Err(LaunchError::Stopped),
            false => Ok(()),
        }
    }

    /// Creates it, and starts it.
    fn start(&self, name: &str, order: &Order<'_>) -> Result<Made<'_>, LaunchError> {
        let made = Made {
            engine: &self.engine,
            id: self.engine.create(name, &order.body())?,
            is_kept: false,
        };
        // It would be executed before anything of the place was looked at.
        if !is_without_check(&self.engine.inspect(&made.id)?) {
            return Err(refused(format!(
                "{} was asked to check no health, and keeps the image's HEALTHCHECK, which it would execute outside the \
                 walls: take an image that has none",
                self.engine.kind
            )));
        }
        self.is_still_wanted()?;
        self.engine.start(&made.id)?;
        Ok(made)
    }

    /// By which people find it in their engine's lists.
    fn name(&self, spec: &Spec) -> String {
        let session = spec.env.get(SESSION_VARIABLE).map_or("guest", String::as_str);
        let owner: String = self.owner.chars().take(8).collect();
        let number = self.directory.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("cofferdam-{owner}-{session}-{number}");
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        name.chars().map(|c| if is_plain(c) { c } else { '-' }).collect()
    }

    /// The socket that the first process connects to.
    fn listen(&self) -> Result<OwnedFd, Cause> {
        let door = self.door();
        let mut made = DirBuilder::new();
        made.mode(0o700)
            .recursive(true)
            .create(&self.directory)
            .map_err(Cause::of(self.directory.display()))?;
        fs::create_dir(&door).map_err(Cause::of(door.display()))?;
        // Nobody else comes to it: what is above is closed. In the container it is whoever the guest is.
        fs::set_permissions(&door, Permissions::from_mode(0o755))?;
        let socket = socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        let at = open(
            &door,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        // The path of a socket has 107 bytes at most, which those of data directories may be longer than.
        let short = format!("/proc/self/fd/{}/{SOCKET}", at.as_raw_fd());
        bind(&socket, &SocketAddrUnix::new(short)?).map_err(Cause::of(door.display()))?;
        fs::set_permissions(door.join(SOCKET), Permissions::from_mode(0o666))?;
        listen(&socket, 1)?;
        Ok(socket)
    }

    fn door(&self) -> PathBuf {
        self.directory.join("door")
    }

    /// The profile of system calls in a file, for engines that take one.
    fn filter(&self, filter: &Value) -> Result<PathBuf, Cause> {
        let path = self.directory.join("seccomp.json");
        fs::write(&path, filter.to_string()).map_err(Cause::of(path.display()))?;
        Ok(path)
    }

    /// Everything that is mounted, and what is known of it before the engine is given its path.
    fn own(&self, spec: &Spec) -> Result<Own, LaunchError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let workspace = open(&spec.workspace, flags, Mode::empty())
            .map_err(Cause::of(spec.workspace.display()))
            .map_err(failed)?;
        let found = fstat(&workspace).map_err(|e| failed(e.into()))?;
        let protected = match spec.degrade.contains(&Part::Protected) {
            true => Protected::default(),
            false => protect::find(&workspace, spec.git).map_err(failed)?,
        };
        let bound = |source: &Path, target: PathBuf, writable| Bound {
            source: source.to_owned(),
            target,
            writable,
        };
        let ours = &self.program.directory;
        let mut binds = vec![
            bound(ours, INSIDE.into(), false),
            bound(&self.door(), Path::new(INSIDE).join(super::inside::DOOR), false),
            bound(&ours.join(NOTHING), "/etc/ld.so.preload".into(), false),
            bound(&spec.workspace, spec.workspace_at.clone(), true),
        ];
        for hidden in hidden(spec) {
            binds.push(bound(&ours.join(EMPTY), hidden, false));
        }
        for (path, _, read_only) in &protected.there {
            let target = spec.workspace_at.join(path);
            if !binds.iter().any(|bound| bound.target == target) {
                binds.push(bound(&spec.workspace.join(path), target, !read_only));
            }
        }
        for read in &spec.reads {
            binds.push(bound(&read.source, read.target.clone(), false));
        }
        // What each of them is now; what was protected was opened through no link, and is that.
        let mut files = BTreeMap::new();
        for bound in &binds {
            let fd = open(&bound.source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
            let fd = fd.map_err(Cause::of(bound.source.display())).map_err(failed)?;
            files.insert(bound.target.clone(), what(&fd).map_err(failed)?);
        }
        for (path, fd, _) in &protected.there {
            let target = spec.workspace_at.join(path);
            if let Some(file) = files
                .get_mut(&target)
                .filter(|_| !spec.hidden.contains(&spec.workspace.join(path)))
            {
                *file = what(fd).map_err(failed)?;
            }
        }
        Ok(Own {
            workspace,
            on_disk: (found.st_uid, found.st_gid),
            protected,
            binds,
            files,
        })
    }

    /// Whoever connects, once it is clear that the kernel knows which process that is.
    fn first(&self, id: &str, listener: &OwnedFd) -> Result<First, LaunchError> {
        let mut fds = [PollFd::new(listener, PollFlags::IN)];
        let timeout = Timespec {
            tv_sec: PATIENCE.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: 0,
        };
        if !matches!(poll(&mut fds, Some(&timeout)), Ok(1)) {
            let state = self.engine.inspect(id).ok();
            let state = state
                .and_then(|found| found.get("State").cloned())
                .unwrap_or_default();
            return Err(refused(format!(
                "the container did not connect to this platform: its engine may be in a virtual machine, or SELinux keep it \
                 from sockets of this machine; its state: {}",
                short(&state.to_string())
            )));
        }
        let system = |e: rustix::io::Errno| failed(e.into());
        let link = accept_with(listener, SocketFlags::CLOEXEC).map_err(system)?;
        set_socket_timeout(&link, Timeout::Recv, Some(PATIENCE)).map_err(system)?;
        let peer = socket_peercred(&link).map_err(system)?;
        Ok(First {
            pid: peer.pid.as_raw_nonzero().get(),
            pidfd: pidfd_open(peer.pid, PidfdFlags::empty()).map_err(system)?,
            outer: (peer.uid.as_raw(), peer.gid.as_raw()),
            link,
        })
    }
}

/// Which file a descriptor is of.
fn what(fd: impl AsFd) -> Result<File, Cause> {
    let place = seen::place(fd, Path::new(""));
    Ok(place.map_err(Cause::of("statx"))?.file)
}

/// Who a guest is inside: whoever may write in its workspace, and never root.
fn user(engine: &Engine, on_disk: (u32, u32)) -> Result<(u32, u32), String> {
    let own = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    match (engine.kind, engine.user_namespace) {
        (_, false) if on_disk.0 == 0 || on_disk.1 == 0 => Err(
            "the workspace belongs to root, and whoever writes there in a container would be root outside: give it to another \
             user (`chown`), or run as a process, where owners are mapped"
                .to_owned(),
        ),
        (_, false) => Ok(on_disk),
        (EngineKind::Podman, true) if engine.rootless && on_disk.0 == own.0 => {
            Ok((crate::spec::GUEST_UID, crate::spec::GUEST_UID))
        }
        (EngineKind::Podman, true) => Err("the workspace is not of the user whose podman it is".to_owned()),
        (EngineKind::Docker, true) => Err(
            "this docker gives containers other users outside (rootless, or userns-remap), so that a workspace belongs to \
             nobody or to root inside: use podman, or a docker that does not"
                .to_owned(),
        ),
    }
}

/// The process that connected is the one that the engine started.
fn is_it(inspected: &Value, connected: i32) -> Result<(), LaunchError> {
    let started = inspected.pointer("/State/Pid").and_then(Value::as_i64);
    match started {
        Some(started) if started == i64::from(connected) && started > 1 => Ok(()),
        _ => Err(refused(format!(
            "process {connected} connected, and the engine started {started:?}: they are not of one machine"
        ))),
    }
}

/// What the first process sees of its place.
fn ask(link: &OwnedFd, own: &Own) -> Result<Seen, LaunchError> {
    let root = PathBuf::from("/");
    let ask = Ask {
        paths: own.files.keys().cloned().chain([root]).collect(),
    };
    let silent = |e: wire::WireError| refused(format!("the container does not answer: {e}"));
    wire::send(link, &ask, &[]).map_err(silent)?;
    Ok(wire::receive(link).map_err(silent)?.0)
}

fn protect_in(rules: &mut Rules, protected: &Protected) {
    let read_only = protected.there.iter().filter(|(.., read_only)| *read_only);
    rules.protected = read_only.map(|(path, ..)| (*path).to_owned()).collect();
    rules.held_back = protected.missing.iter().map(|path| (*path).to_owned()).collect();
}

/// Tells the first process what to run, and hands it the guest's descriptors. From here on something may run.
fn enter(
    first: &First,
    spec: &Spec,
    stdio: [OwnedFd; 3],
    rules: Rules,
    (own, group): (Own, cgroup::Group),
    made: &Made<'_>,
) -> Result<(Guest, Ward), LaunchError> {
    let text = sealed(spec)?;
    let claim = Claim {
        trees: false,
        omit: omitted(spec, &rules),
    };
    let fds = std::iter::once(&text).chain(&stdio);
    let fds: Vec<BorrowedFd<'_>> = fds.map(AsFd::as_fd).collect();
    wire::send(&first.link, &claim, &fds)?;
    drop(stdio);
    let (report, fds) = wire::receive(&first.link)?;
    let (built, doors, has_listener) = match report {
        Report::Started {
            rules,
            doors,
            listener,
        } => (rules, doors, listener),
        Report::Failed(failure) => return Err(LaunchError::Step(failure)),
        Report::NotExecuted { cause } => return Err(LaunchError::NotExecuted(cause)),
        Report::Ended { .. } => return Err(LaunchError::Gone("it ended before it began".to_owned())),
    };
    let mut fds = fds.into_iter();
    let listener = if has_listener { fds.next() } else { None };
    let doors = doors.into_iter().zip(fds).map(|(port, fd)| Door {
        port,
        listener: TcpListener::from(fd),
    });
    // What it did itself is what it says; the rest is what was seen.
    let rules = Rules {
        doors: built.doors,
        landlock: built.landlock,
        seccomp: built.seccomp,
        no_new_privileges: built.no_new_privileges,
        process_limits: built.process_limits,
        ..rules
    };
    let (reply, ours) = wire::pair()?;
    rustix::io::ioctl_fionbio(&reply, true)?;
    let now = now_ms();
    let ward = Ward {
        engine: made.engine.clone(),
        id: made.id.clone(),
        link: first.link.try_clone()?,
        pidfd: first.pidfd.try_clone()?,
        stopped: Stopped::new(listener, spec.profile == Profile::Strict),
        reply: ours,
        group,
        workspace: own.workspace,
        missing: rules.held_back.clone(),
        disk_free_bytes: rules.disk_free_bytes,
        deadline_ms: rules.timeout_ms.map(|ms| now.saturating_add(ms)),
        started_ms: now,
        stop: None,
        ended: None,
        is_held: true,
        is_linked: true,
    };
    let guest = Guest::new(reply, first.pidfd.try_clone()?, doors.collect(), rules);
    Ok((guest, ward))
}

/// Parts that the first process does not build, or has to know of: they are given up.
fn omitted(spec: &Spec, rules: &Rules) -> BTreeSet<Part> {
    let of_ours = [
        Part::ProcessLimits,
        Part::ProcessCount,
        Part::NoNewPrivileges,
        Part::LandlockFiles,
        Part::LandlockTcp,
        Part::LandlockScopes,
        Part::Seccomp,
    ];
    let is_out = |part: &Part| rules.given_up.contains_key(part) || spec.leaves_out(*part);
    of_ours.into_iter().filter(is_out).collect()
}
