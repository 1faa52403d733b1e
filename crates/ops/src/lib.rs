//! The domain: alerts become incidents, incidents are triaged, summaries are delivered.
//!
//! Invariants:
//! - **Nothing acknowledged is lost**: a webhook is answered after its entry is durable.
//! - **One investigation per incident**: repeats are counted, related alerts attach.
//! - **A dead channel never holds triage up.**
//! - **A summary always comes**, marked partial if the time box ran out.

mod board;
pub mod channel;
mod compose;
mod conclude;
mod delivery;
mod event;
pub mod incident;
mod intake;
mod post;
mod record;
mod search;
pub mod summary;
mod tell;
pub mod triage;
mod webhook;

pub use triage::Triage;
