//! The egress surface over a real store and real sockets on loopback; names are resolved by a table.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests may panic"
)]
#![expect(clippy::print_stderr, reason = "a test that is skipped says so")]

mod attacks;
mod clients;
mod corpora;
mod documents;
mod ends;
mod inspect;
mod servers;
mod slow;
mod tunnels;
mod world;

#[path = "../common/stoppable.rs"]
mod stoppable;
