//! What a process that the zygote made does until it is a guest: one list of steps, in the order of this file.
//!
//! It reads top to bottom. [`WARM`] needs nothing that a caller says, and is done ahead of time in the pool;
//! [`CLAIMED`] begins when a spec is there. Each step is one function and fails with its number and name; whatever
//! fails, nothing runs. Nothing here returns: the process executes, watches, or ends.
//!
//! Invariants:
//! - **Walls before the guest.** The program is executed by the last step alone, in a process that all others hold.
//! - **The first process is held too.** It watches the guest from inside, under the same walls, and has nothing
//!   in its memory or open that the guest lacks, but the socket on which it says how the guest ended.
//! - **Its end is everybody's end**: it is the first of its pid namespace, and dies with the zygote.

mod confine;
mod contained;
mod landlock;
mod mounts;
mod network;
mod start;

use crate::container::Counted;
use crate::protect::Protected;
use crate::rules::Rules;
use crate::seccomp::{Filter, FilterError};
use crate::spec::{GUEST_UID, Part, Profile, Spec};
use crate::step::{Cause, StepFailure};
use crate::{sys, wire};
use rustix::process::Signal;
use rustix::time::ClockId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// Done before anybody asks.
pub(crate) const WARM: &[(&str, Step)] = &[
    ("die with the launcher", die_with_the_launcher),
    ("begin time anew", new_time),
    ("become the guest's user", become_user),
    ("name the cgroup root", new_cgroup_names),
    ("set host name", set_host_name),
    ("raise loopback", network::raise_loopback),
    ("keep mounts from spreading", mounts::keep_private),
    ("collect the system", mounts::collect),
    ("make a new root", mounts::new_root),
    ("show the system", mounts::show_system),
    ("mount /proc", mounts::mount_proc),
    ("make /dev", mounts::make_dev),
    ("prepare Landlock", landlock::prepare),
    ("bound capabilities", confine::bound_capabilities),
];

/// Done for one spec.
pub(crate) const CLAIMED: &[(&str, Step)] = &[
    ("listen at doors", network::listen_at_doors),
    ("collect what is shown", mounts::collect_own),
    ("narrow /proc", mounts::narrow_proc),
    ("mount /tmp and /home", mounts::mount_scratch),
    ("show what may be read", mounts::show_reads),
    ("mount the workspace", mounts::mount_workspace),
    ("protect what is run later", mounts::protect),
    ("hide what is the platform's", mounts::hide),
    ("pivot_root", mounts::pivot),
    ("limit each process", confine::limit_process),
    ("allow no new privileges", confine::no_new_privileges),
    ("restrict by Landlock", landlock::restrict),
    ("drop capabilities", confine::drop_capabilities),
    ("filter system calls", confine::filter_calls),
    ("start the guest", start::start),
];

/// Done in a container, of which the engine built the rest.
pub(crate) const CONTAINED: &[(&str, Step)] = &[
    ("listen at doors", network::listen_at_doors),
    ("enter the workspace", contained::enter_workspace),
    ("limit each process", confine::limit_process),
    ("allow no new privileges", confine::no_new_privileges),
    ("restrict by Landlock", landlock::restrict),
    (
        "look whether a capability is left",
        contained::look_for_capabilities,
    ),
    ("filter system calls", confine::filter_calls),
    ("start the guest", start::start),
];

pub(crate) type Step = fn(&mut House) -> Result<(), Cause>;

/// From the zygote, before the first step.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Prepare {
    /// Parts that are not built.
    pub omit: BTreeSet<Part>,
    /// User and group outside.
    pub outer: (u32, u32),
    /// Version of Landlock's interface.
    pub landlock_abi: u32,
    /// Whether this process may mount: as root outside, or in a user namespace.
    pub mounts: bool,
}

/// From the zygote, for one spec. With it come: the spec, three descriptors of the guest's, and if `trees` the
/// workspace and each path to read as a detached tree, and in review the directory that changes go to.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Claim {
    /// Whether trees come along, or paths are opened here, where this user may.
    pub trees: bool,
    /// Parts that are not built, beside those that were named before.
    pub omit: BTreeSet<Part>,
}

/// The filters of all profiles, built once and found in memory by whoever needs one.
#[derive(Clone, Debug)]
pub(crate) struct Filters(Vec<(Vec<libc::sock_filter>, Filter)>);

impl Filters {
    pub(crate) fn build() -> Result<Filters, FilterError> {
        let profiles = [Profile::Strict, Profile::Standard, Profile::Build];
        Ok(Filters(
            profiles
                .into_iter()
                .map(crate::seccomp::build)
                .collect::<Result<_, _>>()?,
        ))
    }

    fn of(&self, profile: Profile) -> Option<&(Vec<libc::sock_filter>, Filter)> {
        self.0.iter().find(|(_, account)| account.profile == profile)
    }
}

/// To the zygote.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The guest runs. With it come the listener of stopped calls if there is a filter, and the doors' sockets.
    Started {
        /// What was told to the kernel.
        rules: Box<Rules>,
        /// Ports of the sockets that come along, in their order.
        doors: Vec<u16>,
        /// Whether the first descriptor is a listener.
        listener: bool,
    },
    /// A step failed.
    Failed(StepFailure),
    /// The program could not be executed.
    NotExecuted {
        /// What the system said.
        cause: String,
    },
    /// The guest ended; the status is encoded as `wait` does.
    Ended {
        /// Its status.
        status: i32,
        /// What it used, where nobody outside counts it.
        used: Option<Used>,
    },
}

/// What the guest of a container used.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Used {
    /// Processor time in user mode, in microseconds.
    pub user_us: u64,
    /// Processor time in the kernel, likewise.
    pub system_us: u64,
    /// Largest resident memory of one process, in bytes.
    pub resident_bytes: u64,
    /// What its cgroup counted.
    pub counted: Counted,
}

/// All that a guest in the making has.
pub(crate) struct House {
    control: OwnedFd,
    omit: BTreeSet<Part>,
    outer: (u32, u32),
    landlock_abi: u32,
    mounts: bool,
    /// Whether an engine built the rest.
    contained: bool,
    filters: Arc<Filters>,
    /// Who it is, as numbers of the namespace that it is in.
    uid: u32,
    gid: u32,
    spec: Option<Spec>,
    claim: Option<Claim>,
    stdio: Vec<OwnedFd>,
    trees: Vec<OwnedFd>,
    shown: mounts::Shown,
    protected: Protected,
    doors: Vec<(u16, OwnedFd)>,
    listener: Option<OwnedFd>,
    prepared: Option<landlock::Prepared>,
    rules: Rules,
}

/// The life of a process that the zygote made. `control` leads to the zygote.
pub(crate) fn live(control: BorrowedFd<'_>, filters: &Arc<Filters>) -> ! {
    // An unwinding panic would run destructors of the zygote's, whose descriptors are closed here.
    let lived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        build(control, Arc::clone(filters))
    }));
    drop(lived);
    sys::exit_now(127)
}

fn build(control: BorrowedFd<'_>, filters: Arc<Filters>) -> Option<()> {
    let control = keep_only(control).ok()?;
    let (prepare, _): (Prepare, _) = wire::receive(&control).ok()?;
    let mut house = House::new(control, prepare, filters);
    let built = house
        .walk(WARM, 1)
        .and_then(|()| house.wait_for_claim())
        .and_then(|()| house.walk(CLAIMED, WARM.len() + 1));
    if let Err(failure) = built {
        wire::send(&house.control, &Report::Failed(failure), &[]).ok()?;
    }
    None
}

/// The life of the first process of a container. `control` leads to the platform. Returns when no guest was started,
/// which was told there.
pub(crate) fn live_contained(control: OwnedFd, prepare: Prepare) -> Result<(), Cause> {
    let filters = Filters::build().map_err(|e| Cause(e.to_string()))?;
    let mut house = House::new(control, prepare, Arc::new(filters));
    house.contained = true;
    let built = house.wait_for_claim().and_then(|()| house.walk(CONTAINED, 1));
    if let Err(failure) = built {
        let told = wire::send(&house.control, &Report::Failed(failure), &[]);
        told.map_err(|e| Cause(e.to_string()))?;
    }
    Ok(())
}

/// A copy of `control`, and nothing else open but the zygote's standard descriptors, which lead nowhere.
pub(crate) fn keep_only(control: BorrowedFd<'_>) -> Result<OwnedFd, Cause> {
    let kept = sys::copy_at_least(control, 3)?;
    close_others(&kept)?;
    Ok(kept)
}

/// Closes every descriptor above the standard ones but `kept`.
pub(crate) fn close_others(kept: &OwnedFd) -> Result<(), Cause> {
    let number = u32::try_from(kept.as_raw_fd()).map_err(|e| Cause(e.to_string()))?;
    if number > 3 {
        sys::close_range(3, number - 1)?;
    }
    Ok(sys::close_range(number + 1, u32::MAX)?)
}

impl House {
    fn new(control: OwnedFd, prepare: Prepare, filters: Arc<Filters>) -> House {
        House {
            control,
            omit: prepare.omit,
            outer: prepare.outer,
            landlock_abi: prepare.landlock_abi,
            mounts: prepare.mounts,
            contained: false,
            filters,
            uid: GUEST_UID,
            gid: GUEST_UID,
            spec: None,
            claim: None,
            stdio: Vec::new(),
            trees: Vec::new(),
            shown: mounts::Shown::default(),
            protected: Protected::default(),
            doors: Vec::new(),
            listener: None,
            prepared: None,
            rules: Rules::default(),
        }
    }

    fn walk(&mut self, steps: &[(&str, Step)], first: usize) -> Result<(), StepFailure> {
        for (number, (name, step)) in (first..).zip(steps) {
            step(self).map_err(|cause| StepFailure {
                number,
                name: (*name).to_owned(),
                cause: cause.0,
            })?;
        }
        Ok(())
    }

    /// Ends quietly when the zygote goes away instead.
    fn wait_for_claim(&mut self) -> Result<(), StepFailure> {
        let failed = |cause: String| StepFailure {
            number: 0,
            name: "receive the spec".to_owned(),
            cause,
        };
        let (claim, fds) = match wire::receive::<Claim>(&self.control) {
            Ok(received) => received,
            Err(wire::WireError::Closed) => sys::exit_now(0),
            Err(e) => return Err(failed(e.to_string())),
        };
        let mut fds = fds.into_iter();
        let spec = fds.next().ok_or_else(|| failed("no spec".to_owned()))?;
        let mut text = Vec::new();
        let read = std::fs::File::from(spec).read_to_end(&mut text);
        read.map_err(|e| failed(e.to_string()))?;
        self.spec = Some(serde_json::from_slice(&text).map_err(|e| failed(e.to_string()))?);
        self.stdio = fds.by_ref().take(3).collect();
        self.trees = fds.collect();
        self.omit.extend(claim.omit.iter().copied());
        self.claim = Some(claim);
        Ok(())
    }

    fn builds(&self, part: Part) -> bool {
        !self.omit.contains(&part)
    }

    fn spec(&self) -> Result<&Spec, Cause> {
        self.spec.as_ref().ok_or_else(|| Cause("no spec".to_owned()))
    }

    fn claim(&self) -> Result<&Claim, Cause> {
        self.claim.as_ref().ok_or_else(|| Cause("no claim".to_owned()))
    }

    fn has_namespace(&mut self, part: Part, name: &str) {
        if self.builds(part) {
            self.rules.namespaces.insert(name.to_owned());
        }
    }
}

/// A zygote that died before this call is noticed by the next message that does not come.
fn die_with_the_launcher(house: &mut House) -> Result<(), Cause> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    for (part, name) in [
        (Part::Users, "user"),
        (Part::Processes, "pid"),
        (Part::Network, "network"),
        (Part::Ipc, "ipc"),
    ] {
        house.has_namespace(part, name);
    }
    Ok(())
}

/// In a user namespace now, since a user that is not mapped can make no file; without one, when there is nothing
/// left that root has to do (see [`confine::drop_capabilities`]). Capabilities stay: the user before is no root of
/// this namespace.
fn become_user(house: &mut House) -> Result<(), Cause> {
    if house.builds(Part::Users) {
        identify(house)?;
        // Changing the user clears it.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    } else {
        (house.uid, house.gid) = house.outer;
    }
    house.rules.identity.uid = house.uid;
    house.rules.identity.gid = house.gid;
    (house.rules.identity.outer_uid, house.rules.identity.outer_gid) = house.outer;
    // Nobody of the same user looks into this process: neither memory nor environment nor open files.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}

fn identify(house: &House) -> Result<(), Cause> {
    let uid = rustix::process::Uid::from_raw(house.uid);
    let gid = rustix::process::Gid::from_raw(house.gid);
    // The namespace denies `setgroups`; supplementary groups of the platform were left by the zygote.
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    Ok(())
}

/// After the zygote put this process into its cgroup, which thereby is the root that it sees.
fn new_cgroup_names(house: &mut House) -> Result<(), Cause> {
    if house.builds(Part::CgroupNames) {
        sys::unshare_cgroup_names()?;
    }
    house.has_namespace(Part::CgroupNames, "cgroup");
    Ok(())
}

fn set_host_name(house: &mut House) -> Result<(), Cause> {
    if house.builds(Part::HostName) {
        rustix::system::sethostname(b"cofferdam")?;
    }
    house.has_namespace(Part::HostName, "uts");
    Ok(())
}

/// What the machine's clocks say since it started is not the guest's business. Where the kernel has no namespaces of
/// time (before 5.6), or does not let this one be told, it sees them as they are: nothing rests on that, so nothing is
/// refused. Before the user changes: `/proc/self` belongs to the one who was there first.
fn new_time(house: &mut House) -> Result<(), Cause> {
    if house.builds(Part::Users) && sys::unshare_time().is_ok() {
        let now = |clock| rustix::time::clock_gettime(clock).tv_sec;
        let (monotonic, boottime) = (now(ClockId::Monotonic), now(ClockId::Boottime));
        let offsets = format!("monotonic -{monotonic} 0\nboottime -{boottime} 0\n");
        if std::fs::write("/proc/self/timens_offsets", offsets).is_ok() {
            house.rules.namespaces.insert("time".to_owned());
        }
    }
    Ok(())
}

/// A descriptor that a message brought.
fn borrowed(fds: &[OwnedFd]) -> Vec<BorrowedFd<'_>> {
    fds.iter().map(AsFd::as_fd).collect()
}
