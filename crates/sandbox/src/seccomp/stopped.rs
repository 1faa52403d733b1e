//! Calls that a guest's filter stopped: each is answered with an error, or ends the guest, and is counted by name.

use super::names;
use crate::guest::Stop;
use crate::sys;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

/// Stopped calls that are answered before other guests are looked after: one that makes nothing else slows nobody.
const CALLS_AT_ONCE: usize = 64;

/// The listener of one guest's filter, and what was counted.
pub(crate) struct Stopped {
    listener: Option<OwnedFd>,
    /// Whether a stopped call ends the guest.
    ends: bool,
    refused: BTreeMap<i32, u64>,
}

impl Stopped {
    pub(crate) fn new(listener: Option<OwnedFd>, ends: bool) -> Stopped {
        Stopped {
            listener,
            ends,
            refused: BTreeMap::new(),
        }
    }

    /// What wakes whoever watches.
    pub(crate) fn listener(&self) -> Option<&OwnedFd> {
        self.listener.as_ref()
    }

    /// Answers what waits. What it returns has to end the guest: that call is never answered, since with an answer the
    /// guest would go on until the kill arrives.
    pub(crate) fn answer(&mut self) -> Option<Stop> {
        let listener = self.listener.take()?;
        let mut stop = None;
        for _ in 0..CALLS_AT_ONCE {
            let events = events(&listener);
            if events.is_empty() {
                break;
            }
            if !events.contains(PollFlags::IN) {
                // Nobody is left whom the filter holds.
                return stop;
            }
            match sys::next_stopped(listener.as_fd()) {
                Ok(Some(call)) => {
                    *self.refused.entry(call.number).or_default() += 1;
                    if self.ends {
                        stop.get_or_insert_with(|| Stop::Call(names::name(call.number.into())));
                    } else if sys::refuse_stopped(listener.as_fd(), call, super::REFUSED).is_err() {
                        return stop;
                    }
                }
                Ok(None) => (),
                // Nobody is left who could be stopped; were there, their calls would fail, for nobody listens.
                Err(_) => return stop,
            }
        }
        self.listener = Some(listener);
        stop
    }

    /// How often each call was stopped.
    pub(crate) fn counted(&self) -> BTreeMap<String, u64> {
        let counted = self.refused.iter();
        counted
            .map(|(number, times)| (names::name((*number).into()), *times))
            .collect()
    }
}

/// What there is to know of a descriptor now.
pub(crate) fn events(fd: &OwnedFd) -> PollFlags {
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    match poll(&mut fds, Some(&now)) {
        Ok(_) => fds.first().map_or(PollFlags::empty(), PollFd::revents),
        Err(_) => PollFlags::empty(),
    }
}
