//! A guest in a container as the platform watches it: its stopped calls, its time, its end. A thread for each.

use super::engine::Engine;
use crate::cgroup;
use crate::guest::{End, Exit, Stop, Usage};
use crate::protect;
use crate::runbook::{Report, Used};
use crate::seccomp::stopped::{Stopped, events};
use crate::wire;
use crate::zygote::now_ms;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::Signal;
use std::os::fd::OwnedFd;

/// How often the workspace's file system is looked at, in milliseconds.
const DISK_LOOK_MS: u64 = 200;

/// What is watched, and what has to be known at its end.
pub(super) struct Ward {
    pub engine: Engine,
    pub id: String,
    /// To the first process of the container.
    pub link: OwnedFd,
    pub pidfd: OwnedFd,
    pub stopped: Stopped,
    /// To whoever holds the guest.
    pub reply: OwnedFd,
    /// Its groups, as seen from outside: for memory the kernel may end the first process as well.
    pub group: cgroup::Group,
    pub workspace: OwnedFd,
    pub missing: Vec<String>,
    pub disk_free_bytes: u64,
    pub deadline_ms: Option<u64>,
    pub started_ms: u64,
    pub stop: Option<Stop>,
    pub ended: Option<(i32, Option<Used>)>,
    /// Whether whoever holds the guest may still say something.
    pub is_held: bool,
    /// Whether the guest may still say something.
    pub is_linked: bool,
}

impl Ward {
    /// Until its last process is dead. Then says how it ended.
    pub(super) fn watch(mut self) {
        let mut disk_look_ms = self.started_ms;
        while events(&self.pidfd).is_empty() {
            let now = now_ms();
            if let Some(stop) = self.stopped.answer() {
                self.end(stop);
            }
            if self.is_held && !events(&self.reply).is_empty() {
                // It says nothing but that it shall end.
                self.is_held = false;
                self.end(Stop::Killed);
            }
            self.hear();
            if self.deadline_ms.is_some_and(|at| at <= now) {
                self.end(Stop::Timeout);
            }
            if disk_look_ms <= now {
                disk_look_ms = now + DISK_LOOK_MS;
                let left = rustix::fs::fstatvfs(&self.workspace);
                let left = left.map(|s| s.f_bavail.saturating_mul(s.f_frsize));
                if left.is_ok_and(|left| left < self.disk_free_bytes) {
                    self.end(Stop::Disk);
                }
            }
            self.wait(disk_look_ms.saturating_sub(now));
        }
        self.conclude();
    }

    /// Until something happens, or so many milliseconds.
    fn wait(&self, ms: u64) {
        let until = self.deadline_ms.filter(|_| self.stop.is_none());
        let ms = until.map_or(ms, |at| at.saturating_sub(now_ms()).min(ms));
        let mut fds = vec![PollFd::new(&self.pidfd, PollFlags::IN)];
        fds.extend(self.stopped.listener().map(|fd| PollFd::new(fd, PollFlags::IN)));
        fds.extend(self.is_held.then(|| PollFd::new(&self.reply, PollFlags::IN)));
        fds.extend(self.is_linked.then(|| PollFd::new(&self.link, PollFlags::IN)));
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: i64::try_from(ms.min(DISK_LOOK_MS) * 1_000_000).unwrap_or(0),
        };
        // An error is looked into by whoever asks each of them.
        let _ = poll(&mut fds, Some(&timeout));
    }

    /// What the first process says.
    fn hear(&mut self) {
        while self.is_linked && !events(&self.link).is_empty() {
            match wire::receive::<Report>(&self.link) {
                Ok((Report::Ended { status, used }, _)) => self.ended = Some((status, used)),
                Ok(_) => (),
                Err(_) => self.is_linked = false,
            }
        }
    }

    fn end(&mut self, stop: Stop) {
        if self.stop.is_some() {
            return;
        }
        self.stop = Some(stop);
        let killed = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
        if killed == Err(Errno::PERM) {
            // Another user, which the end of this connection ends at once. The engine, which may take its time, makes sure.
            let _ = rustix::net::shutdown(&self.link, rustix::net::Shutdown::Both);
            let _ = self.engine.remove(&self.id);
        }
    }

    /// The first process is dead, and with it its pid namespace.
    fn conclude(mut self) {
        // At once: the engine removes them.
        let (kills, refused) = (self.group.memory_kills(), self.group.refused_processes());
        let peak = self.group.memory_peak();
        self.hear();
        let (status, used) = self.ended.unwrap_or((Signal::KILL.as_raw(), None));
        let end = match libc::WIFEXITED(status) {
            true => End::Code(libc::WEXITSTATUS(status)),
            false => End::Signal(libc::WTERMSIG(status)),
        };
        let counted = used.map(|used| used.counted).unwrap_or_default();
        let exit = Exit {
            end,
            stop: self
                .stop
                .take()
                .or_else(|| reason(end, kills.max(counted.memory_kills), used.is_some())),
            refused: self.stopped.counted(),
            held_back: protect::hold_back(&self.workspace, &self.missing),
            usage: Usage {
                wall_ms: now_ms().saturating_sub(self.started_ms),
                user_us: used.map_or(0, |used| used.user_us),
                system_us: used.map_or(0, |used| used.system_us),
                resident_bytes: used.map_or(0, |used| used.resident_bytes),
                memory_peak_bytes: counted.memory_peak.or(peak),
                memory_kills: kills.max(counted.memory_kills),
                refused_processes: refused.max(counted.refused_processes),
            },
        };
        // A platform that is gone asks for nothing.
        let _ = wire::send(&self.reply, &exit, &[]);
        // The engine does by itself; should it not, the next start of a platform does.
        let _ = self.engine.remove(&self.id);
    }
}

/// What ended a guest that the platform did not end. `is_told`: its first process lived to say how the program ended.
fn reason(end: End, memory_kills: u64, is_told: bool) -> Option<Stop> {
    match end {
        End::Signal(libc::SIGKILL) if memory_kills > 0 => Some(Stop::Memory),
        // Somebody ended it by the engine, or by hand.
        End::Signal(libc::SIGKILL) if !is_told => Some(Stop::Killed),
        // The engine's filter kills without telling which call it was.
        End::Signal(libc::SIGSYS) => Some(Stop::Call(
            "a call that its engine's filter does not tell".to_owned(),
        )),
        _ => None,
    }
}
