//! The gate over a real store: one binary, because linking is what tests wait for.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests may panic"
)]

mod acceptance;
mod admit;
mod approvals;
mod approvers;
mod budgets;
mod calls;
mod concurrent;
mod elevations;
mod escalations;
mod explain;
mod faults;
mod guests;
mod kills;
mod llm;
mod model;
mod observed;
mod races;
mod rates;
mod records;
mod replay;
mod risk;
mod sources;
mod stops;
mod svid;
mod tokens;
mod trust;
mod waivers;
mod webhooks;
mod weighing;
mod world;

#[path = "../common/stoppable.rs"]
mod stoppable;
#[path = "../common/upstream.rs"]
mod upstream;
