//! What the platform asks of the zygote, and what it answers.

use crate::ability::Ability;
use crate::rules::Rules;
use crate::spec::{Limits, Part, Profile, Spec};
use crate::step::StepFailure;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The zygote's first message.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub ability: Ability,
}

/// What the zygote has to know of a spec. With it come: where to answer, the spec, and three descriptors.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub workspace: PathBuf,
    /// Device and inode of the workspace, by whoever looked at it before.
    pub looked_at: Option<(u64, u64)>,
    pub review: Option<PathBuf>,
    pub reads: Vec<PathBuf>,
    pub profile: Profile,
    pub limits: Limits,
    /// Parts that are not built, and why not.
    pub left_out: BTreeMap<Part, String>,
}

impl Order {
    pub(crate) fn of(spec: &Spec, left_out: BTreeMap<Part, String>) -> Order {
        Order {
            workspace: spec.workspace.clone(),
            looked_at: spec.looked_at,
            review: spec.review.clone(),
            reads: spec.reads.iter().map(|b| b.source.clone()).collect(),
            profile: spec.profile,
            limits: spec.limits.clone(),
            left_out,
        }
    }
}

/// The answer to an order. How a guest ended follows as a message of its own ([`crate::guest::Exit`]).
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// With it come a pidfd and the doors' sockets.
    Started {
        rules: Box<Rules>,
        /// Port of each socket, in their order.
        doors: Vec<u16>,
    },
    Failed(StepFailure),
    NotExecuted(String),
}
