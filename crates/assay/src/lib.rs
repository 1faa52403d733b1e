//! What untrusted content really holds. Pure; depends on none of our crates.
//!
//! Every reader here is total: any bytes give a value or a refusal that names the place, never a
//! panic, and never more work than its limits allow.

pub mod alertmanager;
pub mod json;
pub mod redact;
