//! Runs other people's programs behind walls: namespaces, a root of their own, Landlock, a filter of system calls,
//! control groups.
//!
//! Or asks a container engine for such a place ([`container`]), and builds the same inside as far as that leaves it to it.
//!
//! A [`Launcher`] starts a [`Guest`] from a [`Spec`], for an action in flight and for nothing else. It never decides
//! whether something may run, keeps no secret, writes no journal, and knows no address: a guest's network ends at its
//! doors, whose sockets the platform accepts from.
//!
//! Invariants:
//! - **Nothing runs without a flight**: [`Launcher::launch`] borrows an [`policy::InFlight`].
//! - **Nothing runs half-walled**: a step that fails ends the process that it failed in, before it executed anything.
//! - **No wall is missing unseen**: what this machine cannot enforce refuses, unless [`Spec::degrade`] names it, and
//!   then [`Rules`] says so.
//! - **Nothing outlives its launcher**: not a kill of the guest, nor of the zygote, nor of the platform.
//! - **The platform never forks itself**: guests come from the zygote, which has one thread.

mod ability;
mod backend;
mod cgroup;
pub mod container;
pub mod drill;
mod guest;
mod launcher;
mod order;
mod protect;
pub mod review;
mod rules;
mod runbook;
mod seccomp;
mod spec;
mod step;
#[expect(
    unsafe_code,
    reason = "the one file where system calls without a safe wrapper are made"
)]
mod sys;
pub mod wire;
mod zygote;

pub use ability::{Ability, Missing, consequences};
pub use backend::{Backend, Choice, Isolation, check};
pub use guest::{Door, End, Exit, Guest, Stop, Usage};
pub use launcher::{ARGUMENT, Config, LaunchError, Launcher};
pub use protect::{HELD_BACK, HeldBack};
pub use rules::{Cgroup, Contained, Identity, Landlock, Mount, Rules};
pub use seccomp::Filter;
pub use spec::{
    Bind, Container, DOORS_MAX, EngineKind, GUEST_UID, Git, Limits, Part, Profile, READS_MAX, SPEC_BYTES_MAX,
    Spec, SpecError, WORKSPACE_AT,
};
pub use step::StepFailure;
pub use zygote::entry;
