//! The process that guests come from: small, with one thread, without anything of the platform in its memory.
//!
//! The platform cannot start guests itself. It has many threads, and a copy of such a process may do next to nothing
//! before it executes; and executing a program of its size for every guest takes longer than all walls together. So
//! the platform executes itself once, as this, and this forks.
//!
//! Invariants:
//! - **It ends with the platform**, and all guests with it: by the parent's death signal, and by the end of the
//!   connection that it is asked on.
//! - **It sees no spec**: those go through it unread, in files.
//! - **What it cannot finish it ends.** A guest whose platform no longer listens, whose time is over or whose answer
//!   makes no sense is killed.

mod birth;
mod outside;
mod probe;
mod ward;

use crate::ability::Ability;
use crate::cgroup;
use crate::order::{Answer, Hello, Order};
use crate::runbook::Filters;
use crate::spec::Part;
use crate::step::{Cause, StepFailure};
use crate::wire::{self, WireError};
use birth::Warm;
use outside::Outside;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SocketType, sockopt};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};
use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::sync::Arc;
use ward::Ward;
pub(crate) use ward::now_ms;

/// How often file systems and groups that could not be removed are looked at, in milliseconds.
const TICK_MS: u64 = 200;

/// How long nothing may happen before the pool is filled, in milliseconds: joining a cgroup takes as long, in which
/// nobody is watched.
const REFILL_AFTER_MS: u64 = 5;

/// The life of the zygote. Called first thing in `main`, when the first argument is [`crate::launcher::ARGUMENT`].
/// Harmless when a person types it: without a platform at its standard input it says so and ends.
pub fn entry() -> ExitCode {
    let Some(control) = platform() else {
        let _ = std::io::Write::write_all(
            &mut std::io::stderr(),
            b"cofferdam starts this by itself, to run guests from; there is nothing here to call\n",
        );
        return ExitCode::from(2);
    };
    let pool = std::env::args().nth(2).and_then(|n| n.parse().ok()).unwrap_or(0);
    match begin(control, pool) {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            let _ = std::io::Write::write_all(
                &mut std::io::stderr(),
                format!("sandbox: {}\n", cause.0).as_bytes(),
            );
            ExitCode::FAILURE
        }
    }
}

/// Standard input, if it is what a platform gives.
fn platform() -> Option<OwnedFd> {
    let stdin = rustix::stdio::stdin();
    let kind = sockopt::socket_type(stdin).ok()?;
    (kind == SocketType::SEQPACKET).then(|| crate::sys::copy_at_least(stdin, 3).ok())?
}

fn begin(control: OwnedFd, pool: usize) -> Result<(), Cause> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // Guests inherit neither the platform's connection nor anything that it had open.
    let null = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty())?;
    crate::sys::put_at(null.as_fd(), 0)?;
    drop(null);
    crate::runbook::close_others(&control)?;
    allow_many_descriptors()?;
    let outside = Outside::find();
    if outside.is_privileged() {
        rustix::thread::set_thread_groups(&[])?;
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
        keep_needed_capabilities()?;
    }
    let filters = Filters::build().map_err(|e| Cause(e.to_string()))?;
    let cgroups = cgroup::Home::find();
    let ability = probe::probe(&outside, &cgroups);
    wire::send(
        &control,
        &Hello {
            ability: ability.clone(),
        },
        &[],
    )
    .map_err(|e| Cause(e.to_string()))?;
    let mut zygote = Zygote {
        control,
        ability,
        filters: Arc::new(filters),
        outside,
        cgroups,
        wards: Vec::new(),
        warm: Vec::new(),
        pool,
        leftovers: Vec::new(),
    };
    zygote.run();
    zygote.finish();
    Ok(())
}

/// A guest is watched through six descriptors, and the usual limit of 1,024 is for others.
fn allow_many_descriptors() -> Result<(), Cause> {
    let most = getrlimit(Resource::Nofile).maximum;
    Ok(setrlimit(
        Resource::Nofile,
        Rlimit {
            current: most,
            maximum: most,
        },
    )?)
}

/// Mounts, owners and processes of other users are all that root is needed for.
fn keep_needed_capabilities() -> Result<(), Cause> {
    let needed = CapabilitySet::SYS_ADMIN
        | CapabilitySet::SETUID
        | CapabilitySet::SETGID
        | CapabilitySet::SETPCAP
        | CapabilitySet::NET_ADMIN
        | CapabilitySet::DAC_OVERRIDE
        | CapabilitySet::DAC_READ_SEARCH
        | CapabilitySet::CHOWN
        | CapabilitySet::FOWNER
        | CapabilitySet::KILL;
    let held = rustix::thread::capabilities(None)?.permitted & needed;
    let none = CapabilitySet::empty();
    Ok(rustix::thread::set_capabilities(
        None,
        CapabilitySets {
            effective: held,
            permitted: held,
            inheritable: none,
        },
    )?)
}

/// All that the zygote has.
pub(crate) struct Zygote {
    control: OwnedFd,
    ability: Ability,
    filters: Arc<Filters>,
    outside: Outside,
    cgroups: cgroup::Home,
    wards: Vec<Ward>,
    warm: Vec<Warm>,
    pool: usize,
    /// Groups that the kernel would not remove yet.
    leftovers: Vec<cgroup::Group>,
}

impl Zygote {
    fn run(&mut self) {
        loop {
            let (asked, idle) = match self.wait() {
                Ok(asked) => asked,
                Err(Errno::INTR) => continue,
                // Nobody could be watched any more.
                Err(_) => return,
            };
            if asked {
                match wire::receive::<Order>(&self.control) {
                    Ok((order, fds)) => self.serve(&order, fds),
                    Err(WireError::Closed) => return,
                    // A platform that sends what is no order is none.
                    Err(_) => return,
                }
            }
            self.look_after();
            if idle {
                self.refill();
            }
        }
    }

    /// Ends all there is, and removes its groups. A zygote that is killed cannot: the next one does.
    fn finish(mut self) {
        let warm = self.warm.drain(..).map(Warm::end);
        let wards = self.wards.drain(..).map(Ward::end_now);
        let mut groups: Vec<cgroup::Group> = warm.chain(wards).collect();
        groups.append(&mut self.leftovers);
        groups.retain_mut(|group| !group.remove());
    }

    /// Until somebody asks or something happened to a guest. Whether somebody asked, and whether nothing happened.
    fn wait(&mut self) -> Result<(bool, bool), Errno> {
        let now = ward::now_ms();
        let next = self.wards.iter().filter_map(|w| w.next_look(now)).min();
        let waiting = !self.leftovers.is_empty();
        let refill = self.warm.len() < self.pool;
        let timeout = match (refill, waiting) {
            (true, _) => Some(REFILL_AFTER_MS.min(next.unwrap_or(u64::MAX))),
            (false, true) => Some(next.unwrap_or(TICK_MS).min(TICK_MS)),
            (false, false) => next,
        };
        let timeout = timeout.map(|ms| Timespec {
            tv_sec: i64::try_from(ms / 1000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(ms % 1000 * 1_000_000).unwrap_or(0),
        });
        let mut fds = vec![PollFd::new(&self.control, PollFlags::IN)];
        for ward in &self.wards {
            fds.extend(ward.watched());
        }
        let happened = poll(&mut fds, timeout.as_ref())?;
        let asked = fds.first().is_some_and(|f| !f.revents().is_empty());
        Ok((asked, happened == 0))
    }

    fn look_after(&mut self) {
        let now = ward::now_ms();
        for mut ward in std::mem::take(&mut self.wards) {
            match ward.look(now) {
                ward::Life::Goes => self.wards.push(ward),
                ward::Life::Over => {
                    self.outside.free(ward.slot());
                    self.leftovers.push(ward.into_group());
                }
            }
        }
        self.leftovers.retain_mut(|group| !group.remove());
    }

    fn serve(&mut self, order: &Order, fds: Vec<OwnedFd>) {
        let Ok([reply, spec, stdin, stdout, stderr]) = <[OwnedFd; 5]>::try_from(fds) else {
            return;
        };
        let born = self.bear(order, spec, [stdin, stdout, stderr]);
        let sent = match born {
            Ok((mut ward, rules, doors)) => {
                let ports = doors.iter().map(|(port, _)| *port).collect();
                let answer = Answer::Started {
                    rules: Box::new(rules),
                    doors: ports,
                };
                let mut fds = vec![ward.pidfd()];
                fds.extend(doors.iter().map(|(_, socket)| socket.as_fd()));
                let sent = wire::send(&reply, &answer, &fds);
                ward.answer_to(reply);
                self.wards.push(ward);
                sent
            }
            Err(answer) => wire::send(&reply, &answer, &[]),
        };
        // Whoever asked is gone; the ward notices and ends.
        let _ = sent;
    }

    /// Makes one process ahead of time.
    fn refill(&mut self) {
        if self.warm.len() < self.pool {
            match self.prepare(&BTreeSet::new(), &BTreeSet::new(), None) {
                Ok(warm) => self.warm.push(warm),
                // Without a pool guests start later, and say what is wrong.
                Err(_) => self.pool = 0,
            }
        }
    }

    /// A process that waits for a spec, of the pool if it is built alike.
    fn waiting(&mut self, order: &Order, on_disk: (u32, u32)) -> Result<Warm, Cause> {
        let omit: BTreeSet<Part> = order.left_out.keys().copied().collect();
        if omit.iter().all(|part| !birth::AT_BIRTH.contains(part)) {
            while let Some(warm) = self.warm.pop() {
                if warm.is_alive() {
                    return Ok(warm);
                }
                self.outside.free(warm.slot);
                self.leftovers.push(warm.end());
            }
        }
        // Without a mount that turns owners around, whoever is to write has to be the owner.
        let as_owner = self.outside.is_privileged() && omit.contains(&Part::IdmappedWorkspace);
        if as_owner && (on_disk.0 == 0 || on_disk.1 == 0) {
            return Err(Cause(
                "the workspace belongs to root, as which no guest runs".to_owned(),
            ));
        }
        self.prepare(&omit, &order.limits.without(), as_owner.then_some(on_disk))
    }
}

fn failed(name: &str, cause: Cause) -> Answer {
    Answer::Failed(StepFailure {
        number: 0,
        name: name.to_owned(),
        cause: cause.0,
    })
}
