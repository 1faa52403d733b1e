//! The platform over real HTTP: started in-process on a free port, with a data directory of its own.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests; clippy sees only the functions marked so"
)]

mod agents;
mod answers;
mod approvals;
mod bad_days;
mod bundles;
mod certificates;
mod chain;
mod common;
mod configuration;
mod egress;
mod exchange;
mod guests;
mod handshakes;
mod hooks;
mod ldap;
mod lifecycle;
mod login;
mod oidc;
mod organizations;
mod peers;
mod routes;
mod stream;
mod svid;
mod tasks;
mod tenants;
mod tls;
mod topology;
mod trust;
mod watch;

#[path = "../../../gate/tests/common/stoppable.rs"]
mod stoppable;
