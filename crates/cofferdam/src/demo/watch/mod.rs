//! A stand-in for Prometheus and Alertmanager, which a stranger's machine does not have.
//!
//! It scrapes the patient's real `/metrics`, keeps samples, answers the queries that the demo's
//! runbook asks (in Prometheus's HTTP format), evaluates two alert rules, and sends real Alertmanager
//! version 4 payloads. It understands a small part of PromQL and says so when asked for more. Against
//! the real ones the platform is tested elsewhere.

mod alerts;
mod api;
mod promql;
mod series;

pub use alerts::{Rule, Sent};
pub use api::Watch;
