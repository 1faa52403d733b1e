//! Tests of the store as its users see it, on real files or on a disk that fails.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests; clippy sees only the functions marked so"
)]

mod common;
mod crash_disk;
mod histories;
mod journal;
mod proofs;
mod tamper;
