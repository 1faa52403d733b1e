//! A guest as the zygote watches it: its stopped calls, its time, its end.

use super::birth::Warm;
use crate::cgroup;
use crate::guest::{End, Exit, Stop, Usage};
use crate::protect;
use crate::rules::Rules;
use crate::runbook::Report;
use crate::seccomp::stopped::{Stopped, events};
use crate::{sys, wire};
use rustix::event::{PollFd, PollFlags};
use rustix::process::Signal;
use rustix::time::{ClockId, clock_gettime};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// How often the workspace's file system is looked at, in milliseconds: at a gigabyte a second a fifth of one.
const DISK_LOOK_MS: u64 = 200;

/// Milliseconds of the clock that only goes forward. The zygote is a process of its own, where no clock is injected.
pub(crate) fn now_ms() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1000 + now.tv_nsec.unsigned_abs() / 1_000_000
}

/// Whether a guest is still there.
pub(super) enum Life {
    Goes,
    Over,
}

pub(super) struct Ward {
    warm: Warm,
    reply: Option<OwnedFd>,
    stopped: Stopped,
    workspace: OwnedFd,
    disk_free_bytes: u64,
    disk_look_ms: u64,
    started_ms: u64,
    deadline_ms: Option<u64>,
    missing: Vec<String>,
    stop: Option<Stop>,
    status: Option<i32>,
}

impl Ward {
    pub(super) fn new(
        warm: Warm,
        listener: Option<OwnedFd>,
        ends: bool,
        workspace: OwnedFd,
        rules: &Rules,
    ) -> Ward {
        let now = now_ms();
        Ward {
            warm,
            reply: None,
            stopped: Stopped::new(listener, ends),
            workspace,
            disk_free_bytes: rules.disk_free_bytes,
            disk_look_ms: now,
            started_ms: now,
            deadline_ms: rules.timeout_ms.map(|ms| now.saturating_add(ms)),
            missing: rules.held_back.clone(),
            stop: None,
            status: None,
        }
    }

    pub(super) fn pidfd(&self) -> BorrowedFd<'_> {
        self.warm.child.pidfd.as_fd()
    }

    pub(super) fn answer_to(&mut self, reply: OwnedFd) {
        self.reply = Some(reply);
    }

    pub(super) fn slot(&self) -> u32 {
        self.warm.slot
    }

    pub(super) fn into_group(self) -> cgroup::Group {
        self.warm.group
    }

    /// Ends it without an account.
    pub(super) fn end_now(self) -> cgroup::Group {
        self.warm.end()
    }

    /// What wakes the zygote for this guest.
    pub(super) fn watched(&self) -> impl Iterator<Item = PollFd<'_>> {
        let fds = [
            Some(&self.warm.child.pidfd),
            self.stopped.listener(),
            self.reply.as_ref(),
        ];
        fds.into_iter().flatten().map(|fd| PollFd::new(fd, PollFlags::IN))
    }

    /// In how many milliseconds something has to be looked at, whatever happens.
    pub(super) fn next_look(&self, now: u64) -> Option<u64> {
        if self.stop.is_some() {
            return None;
        }
        let next = self.deadline_ms.unwrap_or(u64::MAX).min(self.disk_look_ms);
        Some(next.saturating_sub(now))
    }

    /// Does what is due. Once over, the answer was sent and the group is all that is left.
    pub(super) fn look(&mut self, now: u64) -> Life {
        if let Some(stop) = self.stopped.answer().filter(|_| self.stop.is_none()) {
            self.end(stop);
        }
        if self.stop.is_none() {
            self.look_for_a_reason_to_end(now);
        }
        if !is_ready(&self.warm.child.pidfd) {
            return Life::Goes;
        }
        let exit = self.conclude(now);
        if let Some(reply) = &self.reply {
            // A platform that is gone asks for nothing.
            let _ = wire::send(reply, &exit, &[]);
        }
        Life::Over
    }

    fn look_for_a_reason_to_end(&mut self, now: u64) {
        if self.reply.as_ref().is_some_and(is_ready) {
            // It says nothing, so it is closed.
            self.reply = None;
            return self.end(Stop::Killed);
        }
        if self.deadline_ms.is_some_and(|at| at <= now) {
            return self.end(Stop::Timeout);
        }
        if self.disk_look_ms <= now {
            self.disk_look_ms = now + DISK_LOOK_MS;
            let left = rustix::fs::fstatvfs(&self.workspace).map(|s| s.f_bavail.saturating_mul(s.f_frsize));
            if left.is_ok_and(|left| left < self.disk_free_bytes) {
                self.end(Stop::Disk);
            }
        }
    }

    fn end(&mut self, stop: Stop) {
        self.stop = Some(stop);
        let _ = rustix::process::pidfd_send_signal(&self.warm.child.pidfd, Signal::KILL);
    }

    /// The first process is dead, and with it its pid namespace.
    fn conclude(&mut self, now: u64) -> Exit {
        while is_ready(&self.warm.socket) {
            match wire::receive::<Report>(&self.warm.socket) {
                Ok((Report::Ended { status, .. }, _)) => self.status = Some(status),
                Ok(_) => (),
                Err(_) => break,
            }
        }
        let ended = sys::wait(Some(self.warm.child.pid), true)
            .ok()
            .flatten()
            .map(|(_, ended)| ended);
        let status = self
            .status
            .or(ended.map(|e| e.status))
            .unwrap_or(Signal::KILL.as_raw());
        let end = if libc::WIFEXITED(status) {
            End::Code(libc::WEXITSTATUS(status))
        } else {
            End::Signal(libc::WTERMSIG(status))
        };
        let usage = Usage {
            wall_ms: now.saturating_sub(self.started_ms),
            user_us: ended.map_or(0, |e| e.user_us),
            system_us: ended.map_or(0, |e| e.system_us),
            resident_bytes: ended.map_or(0, |e| e.resident_bytes),
            memory_peak_bytes: self.warm.group.memory_peak(),
            memory_kills: self.warm.group.memory_kills(),
            refused_processes: self.warm.group.refused_processes(),
        };
        Exit {
            end,
            stop: self.stop.take().or_else(|| reason(end, &usage)),
            refused: self.stopped.counted(),
            held_back: protect::hold_back(&self.workspace, &self.missing),
            usage,
        }
    }
}

/// What ended a guest that the zygote did not end.
fn reason(end: End, usage: &Usage) -> Option<Stop> {
    match end {
        End::Signal(libc::SIGKILL) if usage.memory_kills > 0 => Some(Stop::Memory),
        // The filter kills what is not of this architecture.
        End::Signal(libc::SIGSYS) => Some(Stop::Call("a call of a foreign architecture".to_owned())),
        _ => None,
    }
}

fn is_ready(fd: &OwnedFd) -> bool {
    !events(fd).is_empty()
}
