//! What untrusted content really holds. Pure; depends on none of our crates.

pub mod alertmanager;
pub mod redact;
