//! Who guests are outside: users that exist nowhere else, or where the platform is no root, its own user.

use crate::step::Cause;
use crate::{runbook, sys, wire};
use rustix::thread::{CapabilitySet, capabilities};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// First of the users of guests. Above what systemd gives to containers (up to 1878982656) and below 2^31, where no
/// distribution and no directory has anybody.
const USERS_FROM: u32 = 2_000_000_000;
/// So many guests at once have a user of their own.
const USERS: u32 = 65_536;

/// Zygotes begin so far apart, by their pid: two platforms on one machine rarely give one user to two guests.
const USERS_APART: u32 = 64;
/// So many mappings are kept: each is a descriptor.
const MAPPINGS_MAX: usize = 256;

type Pair = (u32, u32);

/// Users outside, and who has which.
#[derive(Debug)]
pub(super) struct Outside {
    privileged: bool,
    own: Pair,
    taken: BTreeSet<u32>,
    /// User namespaces that turn an owner on disk into a guest's user, by both.
    maps: BTreeMap<(Pair, Pair), OwnedFd>,
}

impl Outside {
    /// Finds out whether this process may be others.
    pub(super) fn find() -> Outside {
        let needed = CapabilitySet::SETUID | CapabilitySet::SETGID | CapabilitySet::SYS_ADMIN;
        let able = capabilities(None).is_ok_and(|c| c.effective.contains(needed));
        let known = |file: &str| fs::read_to_string(file).is_ok_and(|map| covers(&map));
        Outside {
            privileged: able && known("/proc/self/uid_map") && known("/proc/self/gid_map"),
            own: (
                rustix::process::geteuid().as_raw(),
                rustix::process::getegid().as_raw(),
            ),
            taken: BTreeSet::new(),
            maps: BTreeMap::new(),
        }
    }

    /// Whether guests are other users than the platform.
    pub(super) fn is_privileged(&self) -> bool {
        self.privileged
    }

    /// The user of the platform.
    pub(super) fn own(&self) -> Pair {
        self.own
    }

    /// A user for a guest, and the slot that has to be freed when the guest is over.
    pub(super) fn take(&mut self) -> Result<(u32, Pair), Cause> {
        if !self.privileged {
            // Root without the right to be others would run guests as root.
            if self.own.0 == 0 || self.own.1 == 0 {
                return Err(Cause(
                    "the platform is root and may not be another user".to_owned(),
                ));
            }
            return Ok((0, self.own));
        }
        let from = std::process::id().wrapping_mul(USERS_APART);
        let mut slots = (0..USERS).map(|n| from.wrapping_add(n) % USERS);
        let slot = slots.find(|slot| !self.taken.contains(slot));
        let slot = slot.ok_or_else(|| Cause("no user is left".to_owned()))?;
        self.taken.insert(slot);
        Ok((slot, (USERS_FROM + slot, USERS_FROM + slot)))
    }

    pub(super) fn free(&mut self, slot: u32) {
        self.taken.remove(&slot);
    }

    /// A namespace in which what `on_disk` owns belongs to `outer`, for a mount.
    pub(super) fn mapping(&mut self, on_disk: Pair, outer: Pair) -> Result<&OwnedFd, Cause> {
        if self.maps.len() >= MAPPINGS_MAX {
            self.maps.clear();
        }
        match self.maps.entry((on_disk, outer)) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(place) => Ok(place.insert(user_namespace(on_disk, outer)?)),
        }
    }
}

/// Whether a map of a namespace has all users of guests in it.
fn covers(map: &str) -> bool {
    map.lines().any(|line| {
        let mut fields = line.split_whitespace().filter_map(|n| n.parse::<u64>().ok());
        let (Some(first), Some(_), Some(count)) = (fields.next(), fields.next(), fields.next()) else {
            return false;
        };
        first <= u64::from(USERS_FROM) && u64::from(USERS_FROM) + u64::from(USERS) <= first + count
    })
}

/// Says who `inside` of a new user namespace is outside. Once, and before anybody in it is anybody.
pub(super) fn map(pid: i32, inside: Pair, outer: Pair) -> Result<(), Cause> {
    let write = |file: &str, text: &str| {
        let path = format!("/proc/{pid}/{file}");
        fs::write(&path, text).map_err(Cause::of(path))
    };
    // Groups of the platform cannot be left, which could be how a file is kept from somebody.
    write("setgroups", "deny")?;
    write("uid_map", &format!("{} {} 1", inside.0, outer.0))?;
    write("gid_map", &format!("{} {} 1", inside.1, outer.1))
}

/// A namespace with nobody in it: whoever made it ended, and the descriptor keeps it. The process in it opens it,
/// since to others, also to this one, it is closed like all of its kind.
pub(super) fn user_namespace(inside: Pair, outer: Pair) -> Result<OwnedFd, Cause> {
    let (ours, theirs) = wire::pair()?;
    match sys::clone_process(libc::CLONE_NEWUSER as u64)? {
        sys::Side::Child => {
            let _ = show_own(theirs.as_fd());
            sys::exit_now(0)
        }
        sys::Side::Parent(child) => {
            drop(theirs);
            let made = map(child.pid, inside, outer).and_then(|()| {
                let received = wire::receive::<()>(&ours).map_err(|e| Cause(e.to_string()))?;
                received
                    .1
                    .into_iter()
                    .next()
                    .ok_or_else(|| Cause("no namespace".to_owned()))
            });
            drop(ours);
            let _ = rustix::process::pidfd_send_signal(&child.pidfd, rustix::process::Signal::KILL);
            let _ = sys::wait(Some(child.pid), true);
            made
        }
    }
}

/// Sends this process' user namespace, and stays until it is mapped: an end without it would end the mapping too.
fn show_own(to: BorrowedFd<'_>) -> Result<(), Cause> {
    let kept = runbook::keep_only(to)?;
    let own = fs::File::open("/proc/self/ns/user")?;
    wire::send(&kept, &(), &[own.as_fd()]).map_err(|e| Cause(e.to_string()))?;
    wire::receive::<()>(&kept)
        .map(drop)
        .map_err(|e| Cause(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_have_users_of_their_own_where_the_namespace_has_them() {
        #[rustfmt::skip]
        let table = [
            ("the machine's",     "         0          0 4294967295\n",  true),
            ("a container's",     "         0     100000      65536\n",  false),
            ("two ranges",        "0 1000 1\n1 100000 2147483647\n",     true),
            ("one too few",       "0 0 2000065535\n",                    false),
            ("nonsense",          "x",                                   false),
        ];
        for (name, map, expected) in table {
            assert_eq!(covers(map), expected, "{name}");
        }
    }
}
