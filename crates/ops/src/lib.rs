//! The domain: alerts become incidents, incidents are triaged, summaries are delivered.
//!
//! Invariants:
//! - **Nothing acknowledged is lost**: a webhook is answered after its entry is durable.
//! - **One investigation per incident**: repeats are counted, related alerts attach.
//! - **A dead channel never holds triage up.**
//! - **A summary always comes**, marked partial if the time box ran out.

pub mod channel;
pub mod incident;
pub mod summary;
pub mod triage;

pub use triage::Triage;
