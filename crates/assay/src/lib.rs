//! What untrusted content really holds. Pure; depends on none of our crates.
//!
//! Every reader here is total: any bytes give a value or a refusal that names the place, never a
//! panic, and never more work than its limits allow.

pub mod address;
pub mod alertmanager;
pub mod head;
pub mod hello;
pub mod json;
pub mod link;
pub mod redact;
pub mod socks;
pub mod target;
