//! Tests of the runtime: runbooks planned, tools against real peers, sessions over a real gate.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests; clippy sees only the functions marked so"
)]

mod drills;
mod git;
mod http;
mod plan;
mod prometheus;
mod queue;
mod server;
mod sessions;
mod stops;
mod uncertain;
mod world;

#[path = "../../../gate/tests/common/stoppable.rs"]
mod stoppable;
