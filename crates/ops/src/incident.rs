//! Incidents: their machine, their projection, their ids.

use policy::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "each name is the documentation of its value")]
pub enum Severity {
    Info,
    Warning,
    Critical,
}

/// Where an incident stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Recorded; nobody investigates (severity info).
    Logged,
    /// A triage session is queued or runs.
    Investigating,
    /// Has a summary; still firing.
    Triaged,
    /// No alert of it fires any more.
    Resolved,
}

/// An incident as shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each name is the documentation of its value")]
pub struct IncidentView {
    /// `INC-2026-1121-001`: date and number of the day.
    pub id: String,
    pub severity: Severity,
    pub status: Status,
    pub title: String,
    /// `alert/NAME/INSTANCE`.
    pub triggered_by: String,
    pub trigger: String,
    pub group_key: String,
    pub fingerprints: Vec<String>,
    pub opened: Timestamp,
    pub updated: Timestamp,
    pub resolved: Option<Timestamp>,
    /// Notifications that told nothing new.
    pub repeats: u64,
    pub sessions: Vec<String>,
    /// See [`crate::summary::Summary`]; null until there is one.
    pub summary: Value,
    /// What ended it, in words: from the changes that were approved and done.
    pub resolution: Option<String>,
}
