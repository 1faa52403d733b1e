//! Guests, for real: what they see, what they are held by, and what becomes of them.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests; clippy sees only the functions marked so"
)]

mod container;
mod door;
mod drill;
#[path = "../attacker/flight.rs"]
mod flight;
mod keep;
mod life;
mod walls;
mod world;
