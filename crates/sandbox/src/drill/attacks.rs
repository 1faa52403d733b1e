//! Every attack of the drill, by area.
//!
//! Words in braces are filled in by [`Setting`](super::Setting). `walls` are the parts each of which claims to stop the
//! attack alone: it is held as long as one of them is built, and promised by nobody when none is.

mod files;
mod gate;
mod kernel;
mod network;
mod processes;
mod resources;

pub(super) use files::LATER_FILES;

use crate::spec::Part;

/// One attack.
#[derive(Debug)]
pub struct Attack {
    /// Its area and its name: stable, for scripts.
    pub id: &'static str,
    /// What it tries.
    pub title: &'static str,
    /// What it would mean if it worked.
    pub why: &'static str,
    /// Parts that each claim to stop it alone. None where it is no matter of a part of the walls: see [`Attack::by`].
    pub walls: &'static [Part],
    /// Who claims to stop it, for people.
    pub by: &'static str,
    /// The tries that it is made of. It is held when each is stopped.
    pub attempts: &'static [&'static [&'static str]],
    /// How it is made, and who says what came of it.
    pub way: Way,
}

/// How an attack is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Inside; what it says counts, and what is seen outside counts more.
    Inside,
    /// Inside, in a guest of its own to whom every host of the Internet is lent: what is left is where names and
    /// addresses may lead.
    LentEverything,
    /// Inside, in a guest of its own: it eats what the next one would need, or ends the guest.
    Alone,
    /// Inside and in a guest of its own, where it works; whether something came of it is seen outside, at the end.
    SeenOutside,
    /// From outside: whoever started a guest goes away.
    Disconnect,
    /// From outside: the launcher is killed.
    KillLauncher,
    /// Not at all: nobody could see what came of it, or promises anything.
    Opaque {
        /// Why nothing is guaranteed.
        reason: &'static str,
        /// How to get it.
        remedy: &'static str,
    },
}

/// Areas and what they are about, in the order in which they are shown.
#[rustfmt::skip]
pub const AREAS: &[(&str, &str)] = &[
    ("files",      "Files outside the workspace"),
    ("later",      "What others run later"),
    ("processes",  "Processes, users and names of others"),
    ("kernel",     "Calls into the kernel"),
    ("network",    "The network, past the door"),
    ("gate",       "The network, through the door"),
    ("resources",  "What there is of the machine"),
    ("life",       "Life after the end"),
];

/// Every attack, area by area.
pub fn attacks() -> impl Iterator<Item = &'static Attack> {
    [
        files::FILES,
        files::LATER,
        processes::PROCESSES,
        kernel::KERNEL,
        network::NETWORK,
        gate::GATE,
        resources::RESOURCES,
        resources::LIFE,
    ]
    .into_iter()
    .flatten()
}

impl Attack {
    /// Its area.
    #[must_use]
    pub fn area(&self) -> &'static str {
        self.id.split('.').next().unwrap_or_default()
    }

    /// Whether it is made by a guest.
    #[must_use]
    pub fn is_inside(&self) -> bool {
        matches!(
            self.way,
            Way::Inside | Way::Alone | Way::LentEverything | Way::SeenOutside
        )
    }
}

type Attempts = &'static [&'static [&'static str]];

const fn attack(
    id: &'static str,
    title: &'static str,
    why: &'static str,
    walls: &'static [Part],
    attempts: Attempts,
) -> Attack {
    Attack {
        id,
        title,
        why,
        walls,
        by: "",
        attempts,
        way: Way::Inside,
    }
}

const fn opaque(
    id: &'static str,
    title: &'static str,
    why: &'static str,
    reason: &'static str,
    remedy: &'static str,
) -> Attack {
    attack(id, title, why, &[], &[]).way(Way::Opaque { reason, remedy })
}

impl Attack {
    const fn way(mut self, way: Way) -> Attack {
        self.way = way;
        self
    }

    const fn by(mut self, by: &'static str) -> Attack {
        self.by = by;
        self
    }
}
