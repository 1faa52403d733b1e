//! The platform over real HTTP: started in-process on a free port, with a data directory of its own.

mod common;
mod configuration;
mod hooks;
mod lifecycle;
mod peers;
mod routes;
mod stream;
mod tasks;
