//! Sessions and agents: the durable runbook, the built-in tools, and the workers that run them.
//!
//! Invariants:
//! - **An agent acts through the gate alone**: a tool runs with an `InFlight`, which only a permit gives.
//! - **Replay touches nothing**: a step with a recorded outcome gives that outcome and runs no tool.
//! - **The effect of an action is computed by its tool**, never given by the runbook, a model or a caller.

pub mod agent;
pub mod drill;
pub mod guest;
pub mod runbook;
pub mod tools;
mod worker;

pub use worker::{Finished, Runtime, Settings, Watcher};
