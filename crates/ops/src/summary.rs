//! Triage summaries (S2-9.7.4f).

use crate::incident::Severity;
use policy::Timestamp;
use serde::{Deserialize, Serialize};

/// A triage summary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each name is the documentation of its value; S2-9.7.4f")]
pub struct Summary {
    pub incident_id: String,
    pub triggered_by: String,
    pub timestamp: Timestamp,
    pub severity: Severity,
    pub summary: String,
    pub observations: Vec<Observation>,
    pub changes: Vec<Change>,
    pub similar_incidents: Vec<Similar>,
    pub suggested_actions: Vec<String>,
    /// The time box ran out or the run stopped early.
    pub partial: bool,
    pub session: String,
}

/// Something seen, and where it is recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// In words.
    pub text: String,
    /// Sequence of the entry that shows it.
    pub entry: u64,
}

/// A change near the onset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each name is the documentation of its value")]
pub struct Change {
    pub commit: String,
    pub author: String,
    pub title: String,
    pub at: Timestamp,
    /// Seconds from the change to the onset; positive when it came before.
    pub before_onset_seconds: i64,
    pub entry: u64,
}

/// An incident like this one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each name is the documentation of its value")]
pub struct Similar {
    pub id: String,
    pub title: String,
    pub resolution: Option<String>,
    pub entry: u64,
}
