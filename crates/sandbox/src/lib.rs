//! Runs other people's programs behind walls: what a guest is, and which system calls it may make.

mod seccomp;
mod spec;
mod step;

pub use seccomp::Filter;
pub use spec::{
    Bind, DOORS_MAX, GUEST_UID, Git, Limits, Part, Profile, READS_MAX, SPEC_BYTES_MAX, Spec, SpecError,
};
pub use step::StepFailure;
