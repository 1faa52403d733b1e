//! The formats of others: requests, answers and streams of model APIs, read, judged and rewritten.
//!
//! Pure: no input or output, no clock, no randomness; depends on none of our crates. Every reader is total: any
//! bytes give a value or a refusal that names the place, never a panic, and no more work than its limits allow.
//!
//! Invariants:
//! - **What is not understood survives.** A [`Request`] keeps its bytes; [`Request::rewrite`] changes those of
//!   three fields and no other.
//! - **What is not understood is named.** A field, content part or tool that is on no list here is in
//!   [`Bound::costs`], since it could cost money.
//! - **Nothing is dropped silently**: what another protocol has no word for refuses, by pointer and reason.
//!
//! Formats after the vendors' API references and the types of their official SDKs (openai 3.57, anthropic 2.14).

mod bound;
mod check;
pub mod failure;
pub mod frames;
pub mod json;
mod protocol;
pub mod provider;
pub mod redacted;
mod request;
mod rewrite;
pub mod scan;
mod sse;
pub mod translate;
pub mod upstream;
mod usage;

pub use bound::{Bound, Cost, CostKind};
pub use protocol::{Family, Protocol};
pub use request::{Fault, FaultCode, Limits, Request};
pub use rewrite::{Change, Rewrite};
pub use usage::{Answer, ServerTools, Tier, Usage, answer_of, usage_of};
