//! Cofferdam as a library, so that tests and the demo can start it in-process.
//!
//! The binary is `main.rs`; everything it does is here. Nothing outside this workspace may
//! depend on this crate: its only stable interfaces are the command line and the HTTP API.

pub mod app;
pub mod cli;
pub mod config;
pub mod demo;
pub mod guests;
pub mod health;
pub mod identity;
mod import;
#[cfg(test)]
mod rights;
pub mod server;
pub mod tls;
pub mod up;
