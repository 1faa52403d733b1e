//! One entry of the journal, as its leaf holds it.

use policy::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// The kinds of entries that this crate's machines and the gate give a meaning. Owners of domains
/// add their own (`incident.opened`): `DOMAIN.EVENT`, lower case.
pub mod kind {
    #![expect(missing_docs, reason = "each name is the documentation of its value")]
    pub const ACTION_PERMITTED: &str = "action.permitted";
    pub const ACTION_DENIED: &str = "action.denied";
    pub const ACTION_DENIED_AGAIN: &str = "action.denied_again";
    pub const ACTION_SETTLED: &str = "action.settled";
    pub const ACTION_RESOLVED: &str = "action.resolved";
    pub const APPROVAL_REQUESTED: &str = "approval.requested";
    pub const APPROVAL_APPROVED: &str = "approval.approved";
    pub const APPROVAL_DENIED: &str = "approval.denied";
    pub const APPROVAL_EXPIRED: &str = "approval.expired";
    pub const APPROVAL_CANCELLED: &str = "approval.cancelled";
    pub const SESSION_CREATED: &str = "session.created";
    pub const SESSION_QUEUED: &str = "session.queued";
    pub const SESSION_STARTED: &str = "session.started";
    pub const SESSION_WAITING: &str = "session.waiting";
    pub const SESSION_RESUMED: &str = "session.resumed";
    pub const SESSION_COMPLETED: &str = "session.completed";
    pub const SESSION_FAILED: &str = "session.failed";
    pub const SESSION_CANCELLED: &str = "session.cancelled";
    pub const SESSION_NOTED: &str = "session.noted";
    pub const STOP_RAISED: &str = "stop.raised";
    pub const STOP_LIFTED: &str = "stop.lifted";
    pub const CONFIG_APPLIED: &str = "config.applied";
    pub const CONFIG_DELETED: &str = "config.deleted";
    pub const TOKEN_CREATED: &str = "token.created";
    pub const TOKEN_REVOKED: &str = "token.revoked";
    pub const CLOCK_JUMPED: &str = "clock.jumped";
    pub const PAYLOAD_ERASED: &str = "payload.erased";
    pub const LOG_OPENED: &str = "log.opened";
    pub const LOG_RECOVERED: &str = "log.recovered";
}

/// A salted commitment to a payload: `HMAC-SHA-256(salt, payload)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commitment {
    /// Which payload of the entry: `arguments`, `result`, `document`.
    pub name: String,
    /// Lower-case hexadecimal, 32 bytes.
    pub hmac_sha256: String,
}

/// One entry. Its canonical JSON is the leaf.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Format of the entry: 1.
    pub v: u16,
    /// Name of the log, which is the origin of its checkpoints.
    pub log: String,
    /// Position, from 0, without gaps.
    pub sequence: u64,
    /// By the clock of whoever wrote it. Order is the sequence, never this.
    pub timestamp: Timestamp,
    /// What happened.
    pub kind: String,
    /// `ses-42`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Who did it: `agent:triage`, `person:alice`, `service:cofferdam`.
    pub actor: String,
    /// On whose account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Links entries across sessions: an incident, a task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<String>,
    /// The event, by kind; versioned by its owner.
    pub body: Value,
    /// To the payloads beside it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commitments: Vec<Commitment>,
    /// Digest of every projection that this commit changed, after it. On the last entry of a commit.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub projections: BTreeMap<String, String>,
}

/// Why something is no entry.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EntryError {
    /// Larger than a leaf may be.
    #[error("entry of {bytes} bytes is larger than {max}", max = crate::LEAF_BYTES_MAX)]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Not canonical, not JSON, or not of the entry's form.
    #[error("not an entry: {0}")]
    Malformed(String),
}

impl Entry {
    /// The leaf's bytes.
    pub fn to_leaf(&self) -> Result<Vec<u8>, EntryError> {
        todo!()
    }
    /// Reads a leaf; refuses bytes that are not the canonical form of what they say.
    pub fn from_leaf(leaf: &[u8]) -> Result<Entry, EntryError> {
        let _ = leaf;
        todo!()
    }
}

/// `HMAC-SHA-256(salt, payload)`.
pub fn commit(salt: &[u8; 32], payload: &[u8]) -> [u8; 32] {
    let _ = (salt, payload);
    todo!()
}
