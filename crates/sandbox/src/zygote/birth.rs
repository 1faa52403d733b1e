//! How a process comes to be that becomes a guest: made ahead, then claimed for a spec.

use super::outside::{self, Outside};
use super::ward::Ward;
use super::{Zygote, failed};
use crate::cgroup;
use crate::order::{Answer, Order};
use crate::rules::Rules;
use crate::runbook::{self, Claim, Prepare, Report};
use crate::spec::{GUEST_UID, Part, Profile};
use crate::step::Cause;
use crate::{sys, wire};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Gid, Mode, OFlags, Uid, chownat, fstat, mkdirat, open};
use rustix::mount::{OpenTreeFlags, open_tree};
use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Parts that are decided when the process is made. What leaves one of them away is not of the pool.
pub(super) const AT_BIRTH: &[Part] = &[
    Part::Users,
    Part::Root,
    Part::Processes,
    Part::Network,
    Part::Ipc,
    Part::HostName,
    Part::CgroupNames,
    Part::IdmappedWorkspace,
    Part::Capabilities,
    Part::MemoryLimit,
    Part::ProcessCount,
    Part::CpuLimit,
];
/// How long a guest may take until it runs. A machine that swaps takes longer than one that does not.
const PATIENCE_S: i64 = 15;
/// A guest is killed for memory before anything of the platform's is.
const OOM_SCORE: &str = "500";

/// A process past its namespaces that waits for a spec.
pub(super) struct Warm {
    pub(super) child: sys::Child,
    pub(super) socket: OwnedFd,
    pub(super) group: cgroup::Group,
    pub(super) slot: u32,
    outer: (u32, u32),
}

impl Warm {
    /// A process of the pool could have been killed, for memory or by hand.
    pub(super) fn is_alive(&self) -> bool {
        let mut fds = [PollFd::new(&self.child.pidfd, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut fds, Some(&now)).is_ok_and(|n| n == 0)
    }

    /// Ends it. The group is what is left.
    pub(super) fn end(self) -> cgroup::Group {
        let _ = rustix::process::pidfd_send_signal(&self.child.pidfd, rustix::process::Signal::KILL);
        let _ = sys::wait(Some(self.child.pid), true);
        self.group
    }
}

type Born = (Ward, Rules, Vec<(u16, OwnedFd)>);

impl Zygote {
    /// Makes a process in new namespaces, and says who it is.
    pub(super) fn prepare(
        &mut self,
        omit: &BTreeSet<Part>,
        unlimited: &BTreeSet<Part>,
        owner: Option<(u32, u32)>,
    ) -> Result<Warm, Cause> {
        let (slot, user) = self.outside.take()?;
        let outer = owner.unwrap_or(user);
        let made = self.make(omit, unlimited, slot, outer);
        if made.is_err() {
            self.outside.free(slot);
        }
        made
    }

    fn make(
        &mut self,
        omit: &BTreeSet<Part>,
        unlimited: &BTreeSet<Part>,
        slot: u32,
        outer: (u32, u32),
    ) -> Result<Warm, Cause> {
        let (socket, theirs) = wire::pair()?;
        // To join a group takes milliseconds, which what has no limit is spared.
        let without = |part| omit.contains(&part) || unlimited.contains(&part);
        let group = self.cgroups.make(without)?;
        let mounts = self.outside.is_privileged() || !omit.contains(&Part::Users);
        let child = match sys::clone_process(namespaces(omit, mounts))? {
            sys::Side::Child => runbook::live(theirs.as_fd(), &self.filters),
            sys::Side::Parent(child) => child,
        };
        drop(theirs);
        let warm = Warm {
            child,
            socket,
            group,
            slot,
            outer,
        };
        let prepare = Prepare {
            omit: omit.clone(),
            outer,
            landlock_abi: self.ability.landlock_abi,
            mounts,
        };
        match settle(&warm, omit, &prepare) {
            Ok(()) => Ok(warm),
            Err(e) => {
                let group = warm.end();
                self.leftovers.push(group);
                Err(e)
            }
        }
    }

    /// A guest for an order, or why there is none.
    pub(super) fn bear(&mut self, order: &Order, spec: OwnedFd, stdio: [OwnedFd; 3]) -> Result<Born, Answer> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let workspace = open(&order.workspace, flags, Mode::empty())
            .map_err(|e| failed("open the workspace", Cause::of(order.workspace.display())(e)))?;
        let found = fstat(&workspace).map_err(|e| failed("open the workspace", e.into()))?;
        // INVARIANT (looked at is mounted): whoever asked looked at this directory, and at no other of its name.
        if order
            .looked_at
            .is_some_and(|it| it != (found.st_dev, found.st_ino))
        {
            let cause = format!(
                "`{}` is another directory than was looked at",
                order.workspace.display()
            );
            return Err(failed("open the workspace", Cause(cause)));
        }
        let on_disk = (found.st_uid, found.st_gid);
        let warm = self
            .waiting(order, on_disk)
            .map_err(|e| failed("make a process", e))?;
        match self.claim(&warm, (order, workspace.as_fd()), on_disk, spec, stdio) {
            Ok((rules, listener, doors)) => {
                let ends = order.profile == Profile::Strict;
                // What is written, and what is held back at the end, is where changes go.
                let review = order.review.as_ref().map(|review| review.join("changes"));
                let workspace = match &review {
                    Some(path) => open(path, flags, Mode::empty())
                        .map_err(|e| failed("open the review", Cause::of(path.display())(e)))?,
                    None => workspace,
                };
                let ward = Ward::new(warm, listener, ends, workspace, &rules);
                Ok((ward, rules, doors))
            }
            Err(answer) => {
                self.outside.free(warm.slot);
                let group = warm.end();
                self.leftovers.push(group);
                Err(answer)
            }
        }
    }

    #[expect(clippy::type_complexity, reason = "three things that come in one message")]
    fn claim(
        &mut self,
        warm: &Warm,
        (order, workspace): (&Order, BorrowedFd<'_>),
        on_disk: (u32, u32),
        spec: OwnedFd,
        stdio: [OwnedFd; 3],
    ) -> Result<(Rules, Option<OwnedFd>, Vec<(u16, OwnedFd)>), Answer> {
        let idmapped = self.outside.is_privileged() && !order.left_out.contains_key(&Part::IdmappedWorkspace);
        let owner = if idmapped { on_disk } else { warm.outer };
        let trees = trees(
            &mut self.outside,
            (order, workspace),
            idmapped.then_some((on_disk, warm.outer)),
            owner,
        );
        let trees = trees.map_err(|e| failed("open what is shown", e))?;
        let limits = warm
            .group
            .limit(&order.limits)
            .map_err(|e| failed("limit all processes", e))?;
        let claim = Claim {
            trees: self.outside.is_privileged(),
            omit: order.left_out.keys().copied().collect(),
        };
        let fds = std::iter::once(&spec).chain(&stdio).chain(&trees);
        let fds: Vec<BorrowedFd<'_>> = fds.map(AsFd::as_fd).collect();
        let answered = match wire::send(&warm.socket, &claim, &fds) {
            Ok(()) => answer(warm),
            // It ended before, and may have said why.
            Err(error) => wire::receive(&warm.socket).map_err(|_| error),
        };
        let (report, fds) = answered.map_err(|e| failed("build the walls", Cause(e.to_string())))?;
        let mut fds = fds.into_iter();
        match report {
            Report::Started {
                mut rules,
                doors,
                listener,
            } => {
                let listener = if listener { fds.next() } else { None };
                rules.identity.on_disk = owner;
                rules.cgroup = (!limits.directories.is_empty()).then_some(limits);
                rules.timeout_ms = order.limits.timeout_ms;
                rules.disk_free_bytes = order.limits.disk_free_bytes;
                rules.given_up = order.left_out.clone();
                Ok((*rules, listener, doors.into_iter().zip(fds).collect()))
            }
            Report::Failed(failure) => Err(Answer::Failed(failure)),
            Report::NotExecuted { cause } => Err(Answer::NotExecuted(cause)),
            Report::Ended { .. } => Err(failed(
                "build the walls",
                Cause("it ended before it began".to_owned()),
            )),
        }
    }
}

/// The next message of a process, if it comes in time.
fn answer(warm: &Warm) -> Result<(Report, Vec<OwnedFd>), wire::WireError> {
    let mut fds = [PollFd::new(&warm.socket, PollFlags::IN)];
    let timeout = Timespec {
        tv_sec: PATIENCE_S,
        tv_nsec: 0,
    };
    match poll(&mut fds, Some(&timeout)) {
        Ok(0) => Err(wire::WireError::Silent),
        Ok(_) => wire::receive(&warm.socket),
        Err(e) => Err(wire::WireError::System(e)),
    }
}

fn namespaces(omit: &BTreeSet<Part>, mounts: bool) -> u64 {
    let of = [
        (Part::Users, libc::CLONE_NEWUSER),
        (Part::Processes, libc::CLONE_NEWPID),
        (Part::Network, libc::CLONE_NEWNET),
        (Part::Ipc, libc::CLONE_NEWIPC),
        (Part::HostName, libc::CLONE_NEWUTS),
    ];
    let built = of.iter().filter(|(part, _)| !omit.contains(part));
    let flags = built.fold(0, |all, (_, flag)| all | *flag as u64);
    if mounts {
        flags | libc::CLONE_NEWNS as u64
    } else {
        flags
    }
}

/// What only the process that made it can say of a process.
fn settle(warm: &Warm, omit: &BTreeSet<Part>, prepare: &Prepare) -> Result<(), Cause> {
    let pid = warm.child.pid;
    if !omit.contains(&Part::Users) {
        outside::map(pid, (GUEST_UID, GUEST_UID), warm.outer)?;
    }
    warm.group.admit(pid)?;
    let score = format!("/proc/{pid}/oom_score_adj");
    std::fs::write(&score, OOM_SCORE).map_err(Cause::of(score))?;
    wire::send(&warm.socket, prepare, &[]).map_err(|e| Cause(e.to_string()))
}

/// The workspace, what may be read, and in a review where changes go: opened by whoever may, and attached by the
/// process that could not. Empty where the platform is no other than its guests.
fn trees(
    outside: &mut Outside,
    (order, workspace): (&Order, BorrowedFd<'_>),
    map: Option<((u32, u32), (u32, u32))>,
    owner: (u32, u32),
) -> Result<Vec<OwnedFd>, Cause> {
    if let Some(review) = &order.review {
        review_directories(review, owner)?;
    }
    if !outside.is_privileged() {
        return Ok(Vec::new());
    }
    let users = match map {
        Some((on_disk, outer)) => Some(outside.mapping(on_disk, outer)?.as_fd()),
        None => None,
    };
    let careful = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    // The very directory that was looked at, whatever has its name by now.
    let mut trees = vec![tree(workspace, &order.workspace, careful, users)?];
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let at = |path: &Path| open(path, flags, Mode::empty()).map_err(Cause::of(path.display()));
    for path in &order.reads {
        trees.push(tree(
            at(path)?.as_fd(),
            path,
            careful | libc::MOUNT_ATTR_RDONLY,
            None,
        )?);
    }
    if let Some(review) = &order.review {
        trees.push(tree(at(review)?.as_fd(), review, careful, users)?);
    }
    Ok(trees)
}

/// What was opened, which had this path.
fn tree(
    opened: BorrowedFd<'_>,
    path: &Path,
    attributes: u64,
    users: Option<BorrowedFd<'_>>,
) -> Result<OwnedFd, Cause> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = open_tree(opened, "", flags).map_err(Cause::of(path.display()))?;
    sys::set_mount_attributes(tree.as_fd(), true, attributes, users).map_err(Cause::of(path.display()))?;
    Ok(tree)
}

/// Where overlayfs puts changes and works. Both belong to whom the workspace belongs to.
fn review_directories(review: &Path, owner: (u32, u32)) -> Result<(), Cause> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let at = open(review, flags, Mode::empty()).map_err(Cause::of(review.display()))?;
    for name in ["changes", "work"] {
        mkdirat(&at, name, Mode::from_raw_mode(0o755)).map_err(Cause::of(review.join(name).display()))?;
        if rustix::process::geteuid().is_root() {
            chownat(
                &at,
                name,
                Some(Uid::from_raw(owner.0)),
                Some(Gid::from_raw(owner.1)),
                rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
            )?;
        }
    }
    Ok(())
}
