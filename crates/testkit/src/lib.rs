//! What tests of several crates need: a clock that stands still, a disk that fails, a container engine.
//!
//! Never part of the product: no crate depends on it but for tests and benches.

mod clock;
pub mod engine;
pub mod faulty;

pub use clock::ManualClock;
