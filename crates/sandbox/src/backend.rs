//! What starts guests: as processes behind walls of our own, or in containers of an engine; virtual machines have room
//! beside them (S1-4.1).

use crate::ability::Ability;
use crate::guest::Guest;
use crate::launcher::{Config, LaunchError, Launcher};
use crate::spec::Spec;
use policy::InFlight;
use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;

/// How far guests are from the machine, weakest first. A policy asks for a least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Namespaces, Landlock, seccomp and cgroups, on the kernel of the machine.
    Process,
    /// A container engine's.
    Container,
    /// A kernel of its own.
    MicroVm,
}

/// A way to start guests.
pub trait Backend: Send + Sync + std::fmt::Debug {
    /// How far its guests are from the machine.
    fn isolation(&self) -> Isolation;

    /// What it can enforce here.
    fn ability(&self) -> Ability;

    /// Starts a guest, or says why not; then nothing runs. See [`Launcher::launch`].
    fn launch(&self, flight: &InFlight, spec: &Spec, stdio: [OwnedFd; 3]) -> Result<Guest, LaunchError>;
}

impl Backend for Launcher {
    fn isolation(&self) -> Isolation {
        Isolation::Process
    }

    fn ability(&self) -> Ability {
        Launcher::ability(self).clone()
    }

    fn launch(&self, flight: &InFlight, spec: &Spec, stdio: [OwnedFd; 3]) -> Result<Guest, LaunchError> {
        Launcher::launch(self, flight, spec, stdio)
    }
}

/// What this machine can enforce, and what is missing. Starts a zygote that tries it, and ends it.
pub fn check() -> Result<Ability, LaunchError> {
    Ok(Launcher::start(Config::default())?.ability().clone())
}
