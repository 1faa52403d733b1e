//! Alertmanager's webhook, version 4, read strictly and normalised.

use serde_json::Value;
use std::collections::BTreeMap;

/// Limits of what is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Body, in bytes.
    pub bytes: usize,
    /// Nesting.
    pub depth: usize,
    /// Alerts in one notification.
    pub alerts: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { bytes: 1024 * 1024, depth: 16, alerts: 1000 }
    }
}

/// Whether it burns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It does.
    Firing,
    /// It is over.
    Resolved,
}

/// One alert.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// Firing or resolved.
    pub status: Status,
    /// As sent.
    pub labels: BTreeMap<String, String>,
    /// As sent. Untrusted text.
    pub annotations: BTreeMap<String, String>,
    /// RFC 3339 as sent.
    pub starts_at: String,
    /// RFC 3339 as sent; the year 1 when it has not ended.
    pub ends_at: String,
    /// As sent.
    pub generator_url: String,
    /// Alertmanager's fingerprint: 16 hexadecimal digits.
    pub fingerprint: String,
}

/// One notification.
#[derive(Clone, Debug, PartialEq)]
pub struct Notification {
    /// Firing while any alert of the group fires.
    pub status: Status,
    /// Name of the receiver.
    pub receiver: String,
    /// Identity of the group.
    pub group_key: String,
    /// As sent.
    pub group_labels: BTreeMap<String, String>,
    /// As sent.
    pub common_labels: BTreeMap<String, String>,
    /// As sent.
    pub common_annotations: BTreeMap<String, String>,
    /// As sent.
    pub external_url: String,
    /// Alerts that Alertmanager left out.
    pub truncated_alerts: u64,
    /// At least one.
    pub alerts: Vec<Alert>,
}

/// Why a body is refused, and where in it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{what} at `{place}`")]
pub struct Refused {
    /// JSON pointer, or `line L, column C`.
    pub place: String,
    /// What is wrong.
    pub what: String,
}

/// Reads a body.
pub fn parse(body: &[u8], limits: Limits) -> Result<Notification, Refused> {
    let _ = (body, limits, Value::Null);
    todo!()
}
